"""
Levenberg-Marquardt and Adam
============================

Where the loss is a sum of squares and the net is small, ``"lm"`` solves a system of linear
equations in each iteration, instead of taking a small step against the gradient. One iteration
costs more than one of Adam's, but far fewer are needed.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# A curve with 200 points, and a net with 61 numbers to choose
# ------------------------------------------------------------
# Both optimizers see all rows in every iteration, and begin with the same weights. Nguyen and
# Widrow's way to draw them lets the units bend all over the interval.

x = np.linspace(-1, 1, 200)[:, None]
y = np.sin(9 * x) * np.exp(-x)
spread = "nguyen_widrow"


def new_net():
    """The same net, with the same first weights, each time."""
    layers = [nn.Linear(20, weight_init=spread, bias_init=spread), nn.Tanh(), nn.Linear(1)]
    return nn.Sequential(layers).build((1,), random_state=0, dtype="float64")


adam = nn.Adam(lr=1e-2, schedule=nn.CosineSchedule())  # its rate falls to 0
ways = {
    "Levenberg-Marquardt": {"optimizer": "lm", "epochs": 100},
    "Adam": {"optimizer": adam, "epochs": 5000, "batch_size": len(x)},
}
nets = {name: new_net() for name in ways}
losses = {}
for name, way in ways.items():
    losses[name] = nets[name].fit(x, y, loss="mse", **way)["loss"]

# %%
# The loss, iteration by iteration
# --------------------------------
# Both axes are logarithmic. On the right is what is left of the error when both have ended.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
for name, net in nets.items():
    left.plot(range(1, len(losses[name]) + 1), losses[name])
    label = f"{name}, {len(losses[name])} iterations"
    right.plot(x, np.abs(net.predict(x) - y), label=label)
left.set(xscale="log", yscale="log")
left.set(xlabel="iterations on all rows", ylabel="mean squared error")
right.set(yscale="log", xlabel="x", ylabel="|prediction - y|", ylim=(1e-8, 3))
left.set_title("The loss on the way")
right.set_title("What is left of the error")
right.legend(frameon=False, loc="upper right")
plt.show()
