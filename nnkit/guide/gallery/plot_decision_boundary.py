"""
A decision boundary finds its shape
===================================

Two spirals lie in each other. No straight line can tell them apart, so at first the net is wrong
about half of the points. While it trains, the line between its two answers bends, until it runs
between the arms.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# The data
# --------
# Each arm turns once and a half around the middle. The second arm is the first one, turned by half
# a circle.

random = np.random.default_rng(0)
angle = np.linspace(0.5, 3 * np.pi, 200)
arm = angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) / 4
X = np.concatenate([arm, -arm]) + random.normal(scale=0.05, size=(400, 2))
y = np.repeat([0, 1], 200)

# %%
# The net, and copies of it on the way
# ------------------------------------
# `nnkit.LambdaCallback` calls a function after each epoch. Here it keeps a copy of the net at some
# of them.

layers = [nn.Linear(32), nn.Tanh(), nn.Linear(32), nn.Tanh(), nn.Linear(2)]
model = nn.Sequential(layers).build((2,), random_state=0)
shown = [0, 10, 30, 50, 80, 200]
nets = {0: model.copy()}


def keep(fit):
    """Copy the net after the epochs that are shown."""
    if fit.epoch + 1 in shown:
        nets[fit.epoch + 1] = fit.model.copy()


adam, keeper = nn.Adam(lr=5e-3), nn.LambdaCallback(keep)
training = {"epochs": 200, "batch_size": 32, "random_state": 0}
model.fit(X, y, loss="cross_entropy", optimizer=adam, callbacks=[keeper], **training)

# %%
# What each of them decides
# -------------------------
# `nnkit.plot_decision` asks the net about every point of the plane. The fuller a colour, the surer
# the net is.

same = {"layout": "constrained", "sharex": True, "sharey": True}
figure, panels = plt.subplots(2, 3, figsize=(9.5, 6.4), **same)
right = {}
for panel, epoch in zip(panels.flat, shown, strict=True):
    nn.plot_decision(nets[epoch], X, y, panel, loss="cross_entropy")
    right[epoch] = (nets[epoch].predict(X).argmax(axis=1) == y).mean()
    panel.set_title(f"after {epoch} epochs: {right[epoch]:.0%} right")
    panel.set(xlabel="", ylabel="")
    panel.set_aspect("equal")
    panel.get_legend().remove()
figure.supxlabel("first feature")
figure.supylabel("second feature")
plt.show()
