"""
Optimizers in a narrow valley
=============================

A loss of two weights, as steep across a valley as it is flat along it. Plain gradient descent jumps from side to side and hardly moves
along. Here is how every optimizer of the registry goes, in 60 steps from the same place.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use(["seaborn-v0_8-colorblind", {"axes.spines.top": False, "axes.spines.right": False, "font.size": 11}])

# %%
# The valley
# ----------
# Two inputs that are almost the same make a valley: only the difference of their weights is well determined by the data.

random = np.random.default_rng(0)
common, own = random.normal(size=(2, 300, 1))
X = np.hstack([common + 0.25 * own, common - 0.25 * own])
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
# All rows are one batch. The last two are trainers: they have no learning rate, and need fewer steps.

optimizers = [
    nn.SGD(lr=0.4), nn.SGD(lr=0.1, momentum=0.9, nesterov=True), nn.ASGD(lr=0.4), nn.Rprop(lr=0.05),
    nn.Adagrad(lr=0.5), nn.Adadelta(lr=10.0), nn.RMSprop(lr=0.05), nn.Adam(lr=0.2),
    nn.AdamW(lr=0.2), nn.Adamax(lr=0.2), nn.NAdam(lr=0.2), nn.RAdam(lr=0.3),
    nn.Lion(lr=0.05), nn.Adafactor(lr=0.5), nn.Muon(lr=0.1), nn.LBFGS(),
    nn.LevenbergMarquardt(), nn.BayesianLM(),
]  # fmt: skip
paths = []
for optimizer in optimizers:
    model, path = nn.Sequential([nn.Linear(1, bias=False)]).build((2,), dtype="float64"), Path()
    model.parameters()["0.weight"] = START
    model.fit(X, y, loss="mse", optimizer=optimizer, epochs=60, batch_size=None if isinstance(optimizer, nn.Trainer) else len(X),
              callbacks=[path])  # fmt: skip
    paths.append(np.array(path.places))

# %%
# The paths
# ---------
# The number is how far the last place is from the goal.

across, along = np.meshgrid(np.linspace(-2, 2, 120), np.linspace(-2, 1.5, 120))
height = ((X @ (np.stack([across.ravel(), along.ravel()]) - GOAL)) ** 2).mean(axis=0).reshape(across.shape)
figure, panels = plt.subplots(3, 6, figsize=(11, 6), layout="constrained", sharex=True, sharey=True)
left_over = []
for panel, optimizer, path in zip(panels.flat, optimizers, paths, strict=True):
    left_over.append(np.hypot(*(path[-1] - GOAL[:, 0])))
    panel.contourf(across, along, height, levels=np.geomspace(0.002, 20, 14), cmap="Greys", alpha=0.6, extend="both")
    panel.plot(*path.T, "-", color="C0", linewidth=1.2)
    panel.plot(*path.T, ".", color="C0", markersize=3.5)
    panel.plot(*GOAL, "*", color="C2", markersize=12)
    panel.set(xlim=(-2, 2), ylim=(-2, 1.5), aspect="equal")
    panel.set_title(f"{type(optimizer).__name__}: {left_over[-1]:.2g}", fontsize=10)
figure.supxlabel("first weight")
figure.supylabel("second weight")
plt.show()
