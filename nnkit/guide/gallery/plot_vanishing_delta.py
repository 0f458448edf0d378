"""
Delta vanishes
==============

Backpropagation sends delta, the gradient of the loss by z, from layer to layer towards the input.
Each sigmoid on the way multiplies it by a slope of at most 1/4. Behind eight of them little is
left, and the first layers stand still.
"""

import textwrap
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)
X, y = load_digits(return_X_y=True)
X = X / 16

# %%
# Eight hidden layers, three activations
# --------------------------------------
# A list among the layers is a block of its own, here of a linear layer and its activation.
#
# `nnkit.Monitor` notes the size of delta (its root mean square) at every layer, before training and
# after each epoch. It also warns where delta vanishes: we print what it says of the sigmoids.

DEPTH = 8
starts = {"sigmoid": "glorot_normal", "tanh": "glorot_normal", "relu": "kaiming_normal"}
sgd = nn.SGD(lr=0.02)
training = {"loss": "cross_entropy", "optimizer": sgd, "epochs": 30, "random_state": 0}
deltas, losses, warned = {}, {}, {}
for activation, start in starts.items():
    hidden = [[nn.Linear(32, weight_init=start), activation] for _ in range(DEPTH)]
    net, monitor = nn.Sequential([*hidden, nn.Linear(10)]), nn.Monitor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nn.TrainingWarning)
        losses[activation] = net.fit(X, y, callbacks=[monitor], **training)["loss"]
    delta = monitor.series("delta")  # for each layer, a number for each look
    deltas[activation] = [looks[0] for name, looks in delta.items() if "Linear" in name]
    warned[activation] = list(monitor.warned.values())
print(textwrap.fill(warned["sigmoid"][0], 76))

# %%
# Where delta gets lost
# ---------------------
# Left: delta at each layer, before training. The output layer is number nine, and delta comes from
# there. Right: what it means for learning.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
for (activation, delta), marker in zip(deltas.items(), "sov", strict=True):
    left.plot(range(1, DEPTH + 2), delta, marker=marker, label=activation)
    right.plot(range(1, 31), losses[activation], label=activation)
left.set(yscale="log", xlabel="layer, from input to output", xticks=range(1, DEPTH + 2))
left.set_ylabel("delta (root mean square)")
arrow = {"arrowstyle": "->", "linewidth": 1.5}
place = {"xy": (0.25, 0.12), "xytext": (0.6, 0.12), "xycoords": "axes fraction"}
left.annotate("backpropagation", va="center", arrowprops=arrow, **place)
right.set(xlabel="epoch", ylabel="training loss (cross-entropy)", ylim=(0, None))
left.legend(frameon=False)
plt.show()
