r"""
What the first layer looks for
==============================

A unit of the first layer computes :math:`z_j = b_j + \sum_i w_{ij} x_i`. Where the input is an
image, its weights are an image, too: orange pixels speak for the unit, purple ones against it.
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
# Two nets read digits
# --------------------
# The images have 8 x 8 pixels. The first net has one layer: its ten units are the ten answers. The
# second has 64 hidden units. Weight decay and noise on the input keep weights small that are not
# needed.

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, stratify=y)
noise = nn.GaussianNoise(0.2)
nets = {
    "one layer": nn.Sequential([noise, nn.Linear(10, weight_init="zeros")]),
    "two layers": nn.Sequential([noise, nn.Linear(64), nn.Tanh(), nn.Linear(10)]),
}
right = {}
for name, net in nets.items():
    optimizer = nn.AdamW(lr=1e-2, weight_decay=0.05)
    net.fit(X, y, loss="cross_entropy", optimizer=optimizer, epochs=60, random_state=0)
    right[name] = net.evaluate(X_test, y_test, metrics=["accuracy"])["accuracy"]

# %%
# Column j of the matrix is the picture of unit j
# -----------------------------------------------
# Weights are stored as (inputs, outputs). The units of one layer look for whole digits: compare
# them with the means above. Hidden units look for strokes, and leave it to the next layer to put
# them together; here are the ten with the largest weights.

templates = nets["one layer"].parameters()["1.weight"]  # (64, 10)
hidden = nets["two layers"].parameters()["1.weight"]  # (64, 64)
strokes = hidden[:, np.sort(np.argsort(-(hidden**2).sum(axis=0))[:10])]
rows = {
    "mean image": np.stack([X[y == digit].mean(axis=0) for digit in range(10)], axis=1),
    f"one layer\n{right['one layer']:.1%} right": templates,
    f"hidden units\n{right['two layers']:.1%} right": strokes,
}

figure, panels = plt.subplots(3, 10, figsize=(9.5, 3.4), layout="constrained")
for line, (name, pictures) in zip(panels, rows.items(), strict=True):
    limit = np.abs(pictures).max()
    for panel, picture in zip(line, pictures.T, strict=True):
        if name == "mean image":
            panel.imshow(picture.reshape(8, 8), cmap="Greys", vmin=0, vmax=limit)
        else:
            panel.imshow(picture.reshape(8, 8), cmap="PuOr_r", vmin=-limit, vmax=limit)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
for digit, panel in enumerate(panels[0]):
    panel.set_title(digit)
plt.show()
