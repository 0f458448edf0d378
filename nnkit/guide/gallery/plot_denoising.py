"""
An autoencoder that removes noise
=================================

The net gets an image with noise on it, and is to give back the image without. Its middle layer is
narrow: what passes through it is what digits have in common, and noise is not.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Noise is a layer
# ----------------
# `nnkit.GaussianNoise` adds new noise in every training step, and does nothing afterwards. So the
# clean images are both input and target. The last sigmoid keeps all pixels between 0 and 1.

NOISE = 0.4
images = load_digits().data / 16
train, test = train_test_split(images, random_state=0)
model = nn.Sequential([
    nn.GaussianNoise(NOISE),
    nn.Linear(128), nn.ReLU(), nn.Linear(24), nn.ReLU(),
    nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.Sigmoid(),
])
adam = nn.Adam(lr=2e-3)
model.fit(train, train, loss="mse", optimizer=adam, epochs=120, random_state=0)

# %%
# New images, with noise that the net has not seen
# ------------------------------------------------
# The number is the root of the mean squared error of a pixel.

noisy = test + np.random.default_rng(1).normal(scale=NOISE, size=test.shape)
cleaned = model.predict(noisy)
before, after = (np.sqrt(((some - test) ** 2).mean()) for some in (noisy, cleaned))

figure, panels = plt.subplots(3, 8, figsize=(9.5, 4), layout="constrained")
names = (f"with noise\nerror {before:.2f}", f"cleaned\nerror {after:.2f}", "original")
for line, name, pictures in zip(panels, names, (noisy, cleaned, test), strict=True):
    for panel, picture in zip(line, pictures, strict=False):
        panel.imshow(picture.reshape(8, 8), cmap="Greys", vmin=0, vmax=1)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()
