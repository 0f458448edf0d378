r"""
Sigmoids saturate
=================

The sigmoid :math:`\sigma(z) = 1 / (1 + e^{-z})` has the slope :math:`\sigma(z) (1 - \sigma(z))`.
It is at most 1/4, and far from zero it is almost nothing. Backpropagation multiplies by it, so a
unit whose z is large learns almost nothing.
"""

import textwrap
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)
X, y = load_digits(return_X_y=True)
X = X / 16

# %%
# Three nets that differ in the scale of their first weights
# ----------------------------------------------------------
# A `nnkit.Monitor` looks at every layer before training and after each epoch, and warns in plain
# words of what is wrong. Here the warnings are caught, and printed.

scales = {0.1: "small", 3.0: "large", 30.0: "huge"}
sgd = nn.SGD(lr=1.0)
training = {"loss": "cross_entropy", "optimizer": sgd, "epochs": 40, "random_state": 0}
outputs, losses, said = {}, {}, []
for scale in scales:
    first = nn.Linear(16, weight_init=nn.Normal(std=scale))
    net = nn.Sequential([first, nn.Sigmoid(), nn.Linear(10)])
    net.build((64,), random_state=0)
    outputs[scale] = net[:2].predict(X).ravel()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = net.fit(X, y, callbacks=[nn.Monitor()], **training)
    losses[scale] = history["loss"]
    said += [textwrap.fill(f"{scales[scale]} weights: {item.message}", 76) for item in caught]
print(*said, sep="\n\n")

# %%
# Where the units stand, and how fast the nets learn
# --------------------------------------------------
# Above: the outputs a of the hidden units, for all images, before training; the black line is the
# slope a (1 - a). Huge weights put almost all outputs to the ends, where the slope is zero. Below:
# that net hardly learns, with the same learning rate.

figure, panels = plt.subplot_mosaic("ABC;DDD", figsize=(9.5, 6), layout="constrained")
a = np.linspace(0, 1, 200)
for number, (scale, label) in enumerate(scales.items()):
    panel, colour = panels["ABC"[number]], f"C{number}"
    share = np.full(len(outputs[scale]), 1 / len(outputs[scale]))
    panel.hist(outputs[scale], bins=50, range=(0, 1), color=colour, weights=share)
    panel.set(title=f"{label} weights, std {scale:g}", xlabel="output a", xlim=(0, 1))
    panel.set_xticks([0, 0.5, 1])
    slope = panel.twinx()
    slope.plot(a, a * (1 - a), color="black", linewidth=1.5)
    slope.set(ylim=(0, 0.3), yticks=[])
    panels["D"].plot(range(1, 41), losses[scale], colour, label=f"{label} weights")
panels["A"].set_ylabel("share of outputs")
slope.set_ylabel("slope a (1 - a)")
slope.set_yticks([0, 0.25])
slope.spines["right"].set_visible(True)
panels["D"].set(xlabel="epoch", ylabel="training loss (cross-entropy)", ylim=(0, None))
panels["D"].legend(frameon=False)
plt.show()
