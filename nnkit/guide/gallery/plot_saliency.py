"""
Which pixels decide?
====================

`nnkit.expected_gradients` tells what each pixel has added to what a net says about an image, beside
what it says on average. All pixels together add up to the answer, to a small error of sampling:
nothing is left over.
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
# A convolutional net
# -------------------
# A row is one map of 8 x 8 pixels.

X, y = load_digits(return_X_y=True)
X = X.reshape(-1, 1, 8, 8) / 16
X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=y)
model = nn.Sequential([
    nn.Conv2d(16, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 3, padding="same"), nn.ReLU(), nn.Flatten(), nn.Linear(10),
])
adam = nn.Adam(lr=3e-3)
model.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=15, random_state=0)
accuracy = model.evaluate(X_test, y_test, metrics=["accuracy"])["accuracy"]

# %%
# Four digits, and for each another one that it might be taken for
# ----------------------------------------------------------------
# ``values`` has one number for each pixel of each image and each of the ten scores. The scores are
# those before the softmax. The background, with which each image is compared, are 200 images of the
# training data.

pairs = [(3, 8), (4, 9), (7, 1), (9, 5)]
images = np.stack([X_test[y_test == digit][0] for digit, _ in pairs])
found = nn.expected_gradients(model, images, X[:200], n_samples=400, random_state=0)
print(found.values.shape)  # images, maps, rows and columns of pixels, scores
gap = np.abs(found.gap).max()

# %%
# What speaks for, and what against
# ---------------------------------
# Orange pixels raise the score, purple ones lower it. Empty pixels count, too: that there is no
# stroke on the left speaks for a 3, and against an 8. Above each picture stands the sum of its
# pixels.

limit = np.abs(found.values).max()
figure, panels = plt.subplots(3, 4, figsize=(8, 6.6), layout="constrained")
for column, (image, pair) in enumerate(zip(images, pairs, strict=True)):
    panels[0, column].imshow(image[0], cmap="Greys")
    panels[0, column].set_title(f"a {pair[0]}")
    for panel, digit in zip(panels[1:, column], pair, strict=True):
        added = found.values[column, 0, :, :, digit]
        shown = panel.imshow(added, cmap="PuOr_r", vmin=-limit, vmax=limit)
        panel.set_title(f"is it a {digit}? {added.sum():+.1f}")
for panel in panels.flat:
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
figure.colorbar(shown, ax=panels[1:], label="added to the score", shrink=0.8)
plt.show()
