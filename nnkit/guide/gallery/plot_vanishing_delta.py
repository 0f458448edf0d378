"""
Delta vanishes
==============

Backpropagation sends delta, the gradient of the loss by z, from layer to layer towards the input. Each sigmoid on the way multiplies it
by a slope of at most 1/4. Behind eight of them little is left, and the first layers stand still.
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
# Eight hidden layers, three activations
# --------------------------------------
# `Monitor` notes the size of delta (its root mean square) at every layer, before training and after each epoch. It also warns that
# delta vanishes; the warnings are what we expect here.

DEPTH = 8
deltas, losses, warned = {}, {}, {}
for activation, weights in {"sigmoid": "glorot_uniform", "tanh": "glorot_uniform", "relu": "kaiming_uniform"}.items():
    hidden = [part for _ in range(DEPTH) for part in (nn.Linear(32, weight_init=weights), activation)]
    net, monitor = nn.Sequential([*hidden, nn.Linear(10)]), nn.Monitor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nn.TrainingWarning)
        history = net.fit(X, y, loss="cross_entropy", optimizer=nn.SGD(lr=0.03), epochs=30, random_state=0, callbacks=[monitor])
    of_linear = [values for name, values in monitor.series("delta").items() if "Linear" in name]
    deltas[activation], losses[activation] = np.array(of_linear)[:, 0], history["loss"]  # before training
    warned[activation] = [*monitor.warned.values()]
print(*warned["sigmoid"], sep="\n")

# %%
# Where delta gets lost
# ---------------------
# Left: delta at each layer, before training. The output layer is number nine, and delta comes from there. Right: what it means for
# learning.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
for (activation, delta), marker in zip(deltas.items(), "sov", strict=True):
    left.plot(range(1, DEPTH + 2), delta, marker=marker, label=activation)
    right.plot(range(1, 31), losses[activation], label=activation)
left.set(yscale="log", xlabel="layer, from input to output", ylabel="delta (root mean square)", xticks=range(1, DEPTH + 2))
left.annotate("backpropagation", xy=(0.25, 0.12), xytext=(0.6, 0.12), xycoords="axes fraction", va="center",
              arrowprops={"arrowstyle": "->", "linewidth": 1.5})  # fmt: skip
right.set(xlabel="epoch", ylabel="training loss (cross-entropy)", ylim=(0, None), xlim=(1, 30))
left.legend(frameon=False)
plt.show()
