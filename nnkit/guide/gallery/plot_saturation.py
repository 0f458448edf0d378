"""
Sigmoids saturate
=================

The sigmoid :math:`\\sigma(z) = 1 / (1 + e^{-z})` has the slope :math:`\\sigma(z) (1 - \\sigma(z))`. It is at most 1/4, and far
from zero it is almost nothing. Backpropagation multiplies by it, so a unit whose z is large learns almost nothing.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnkit as nn

plt.style.use(["seaborn-v0_8-colorblind", {"axes.spines.top": False, "axes.spines.right": False, "font.size": 11}])
X, y = load_digits(return_X_y=True)
X = X / 16

# %%
# Three nets that differ in the scale of their first weights
# ----------------------------------------------------------
# A `Monitor` looks at every layer before training and after each epoch. It would warn us of the third net, in plain words; here
# the warning is caught, and printed.

scales = {0.1: "small", 3.0: "large", 30.0: "huge"}
outputs, losses, said = {}, {}, []
for scale in scales:
    net = nn.Sequential([nn.Linear(16, weight_init=nn.Normal(std=scale)), nn.Sigmoid(), nn.Linear(10)])
    net.build((64,), random_state=0)
    outputs[scale] = net[:2].predict(X).ravel()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses[scale] = net.fit(X, y, loss="cross_entropy", optimizer=nn.SGD(lr=1.0), epochs=40, random_state=0,
                                callbacks=[nn.Monitor()])["loss"]  # fmt: skip
    said += [f"{scales[scale]} weights: {item.message}" for item in caught]
print(*said, sep="\n")

# %%
# Where the units stand, and how fast the nets learn
# --------------------------------------------------
# Above: the outputs a of the hidden units, for all images, before training. The line is the slope a (1 - a). Huge weights put
# almost all outputs to the ends, where the slope is zero. Below: that net hardly learns, with the same learning rate.

figure, panels = plt.subplot_mosaic("ABC;DDD", figsize=(9.5, 6), layout="constrained", height_ratios=[1, 1.1])
a = np.linspace(0, 1, 200)
for name, (scale, label), colour in zip("ABC", scales.items(), ("C0", "C1", "C2"), strict=True):
    panel = panels[name]
    count = len(outputs[scale])
    panel.hist(outputs[scale], bins=50, range=(0, 1), color=colour, weights=np.full(count, 1 / count))
    panel.set(title=f"{label} weights, std {scale:g}", xlabel="output a", xlim=(0, 1), xticks=[0, 0.5, 1], ylim=(0, None))
    slope = panel.twinx()
    slope.plot(a, a * (1 - a), color="black", linewidth=1.5)
    slope.set(ylim=(0, 0.3), yticks=[])
    panels["D"].plot(range(1, 41), losses[scale], color=colour, label=f"{label} weights, std {scale:g}")
panels["A"].set_ylabel("share of outputs")
slope.set_ylabel("slope a (1 - a)")
slope.set_yticks([0, 0.25])
slope.spines["right"].set_visible(True)
panels["D"].set(xlabel="epoch", ylabel="training loss (cross-entropy)", xlim=(1, 40), ylim=(0, None))
panels["D"].legend(frameon=False)
plt.show()
