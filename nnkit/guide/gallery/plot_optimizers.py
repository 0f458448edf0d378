"""
Optimizers in a narrow valley
=============================

A loss of two weights that is steep across a valley and flat along it. Plain gradient descent jumps
from side to side, and gets on slowly. Here is how each of nnkit's optimizers goes, in 60 steps from
the same place.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# The valley
# ----------
# Two inputs that are almost the same make a valley: the data say well what the sum of their weights
# is, and badly what the difference is.

random = np.random.default_rng(0)
common, own = random.normal(size=(2, 300, 1))
X = np.hstack([common + 0.15 * own, common - 0.15 * own])
GOAL = np.array([[1.0], [-0.5]])
y = X @ GOAL
START = np.array([[-1.2], [-0.6]])


class Path(nn.Callback):
    """Notes the weights after every step."""

    acts_outside = False

    def on_fit_begin(self, fit):
        self.places = [START[:, 0]]

    def on_batch_end(self, fit):
        self.places.append(fit.model.parameters()["0.weight"][:, 0].copy())


# %%
# Every optimizer, with a learning rate that suits it
# ---------------------------------------------------
# The rates were found by trying. All rows are one batch. The last three are trainers, which have no
# learning rate, and choose the length of each step by themselves.

optimizers = {
    "SGD": nn.SGD(lr=0.4),
    "SGD, Nesterov": nn.SGD(lr=0.2, momentum=0.9, nesterov=True),
    "ASGD": nn.ASGD(lr=0.4),
    "Rprop": nn.Rprop(lr=0.05),
    "Adagrad": nn.Adagrad(lr=2.0),
    "Adadelta": nn.Adadelta(lr=100.0),
    "RMSprop": nn.RMSprop(lr=0.05, momentum=0.9),
    "Adam": nn.Adam(lr=0.8),
    "AdamW": nn.AdamW(lr=0.8),
    "Adamax": nn.Adamax(lr=2.0),
    "NAdam": nn.NAdam(lr=0.8),
    "RAdam": nn.RAdam(lr=0.8),
    "Lion": nn.Lion(lr=0.2),
    "Adafactor": nn.Adafactor(lr=1.0),
    "Muon": nn.Muon(lr=0.4),
    "L-BFGS": nn.LBFGS(),
    "LM": nn.LevenbergMarquardt(),
    "Bayesian LM": nn.BayesianLM(),
}
paths = {}
for name, optimizer in optimizers.items():
    model = nn.Sequential([nn.Linear(1, bias=False)]).build((2,), dtype="float64")
    model.parameters()["0.weight"] = START
    path, batch = Path(), None if isinstance(optimizer, nn.Trainer) else len(X)
    model.fit(X, y, optimizer=optimizer, epochs=60, batch_size=batch, callbacks=[path])
    paths[name] = np.array(path.places)

# %%
# The paths
# ---------
# The number is how far the last place is from the goal.

across, along = np.meshgrid(np.linspace(-2, 2, 120), np.linspace(-2, 1.5, 120))
height = ((np.stack([across, along], axis=-1) @ X.T - y[:, 0]) ** 2).mean(axis=-1)
levels = np.geomspace(0.002, 20, 9)
same = {"layout": "constrained", "sharex": True, "sharey": True}
figure, panels = plt.subplots(3, 6, figsize=(11, 5.8), **same)
far = {}
for panel, (name, path) in zip(panels.flat, paths.items(), strict=True):
    far[name] = np.hypot(*(path[-1] - GOAL[:, 0]))
    panel.contour(across, along, height, levels, colors="silver", linewidths=0.8)
    panel.plot(*path.T, "-", color="C0", linewidth=1.2)
    panel.plot(*path.T, ".", color="C0", markersize=3.5)
    panel.plot(*GOAL, "*", color="C2", markersize=12)
    panel.set(xlim=(-2, 2), ylim=(-2, 1.5), aspect="equal")
    panel.set_title(f"{name}: {far[name]:.2f}", fontsize=10)
figure.supxlabel("first weight")
figure.supylabel("second weight")
plt.show()
