"""
Averages of weights
===================

Gradients of small batches are noisy, so the weights never come to rest: they walk around the
minimum. Their mean does not. `nnkit.EMA` keeps a mean that forgets what was long ago, `nnkit.SWA`
one that does not.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# A net with two weights
# ----------------------
# So that the whole loss fits into one picture.

random = np.random.default_rng(0)
X = random.normal(size=(400, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
y = X @ np.array([[1.0], [-0.5]]) + random.normal(scale=1.0, size=(400, 1))
model = nn.Sequential([nn.Linear(1, bias=False)]).build((2,), dtype="float64")
model.parameters()["0.weight"] = [[0.0], [-1.2]]

# %%
# Training by hand
# ----------------
# In a fit, ``callbacks=[nn.EMA(0.95)]`` does all of this. By hand we see each step: forward, loss,
# backward, a step of the optimizer, and then the means.

loss, optimizer = nn.MSELoss(), nn.SGD(lr=0.12)
ema, swa = nn.EMA(0.95), nn.SWA()
paths = {"SGD, batches of 8": [], "EMA": [], "SWA, from step 60": []}


def weights(net):
    """The two numbers."""
    return net.parameters()["0.weight"][:, 0].copy()


for step in range(300):
    rows = random.choice(len(X), 8, replace=False)
    model.backward(loss(model.forward(X[rows], training=True), y[rows]).grad)
    optimizer.step(model)
    ema.update(model)
    paths["SGD, batches of 8"].append(weights(model))
    paths["EMA"].append(weights(ema.averaged(model)))
    if step >= 60:
        swa.update(model)
        paths["SWA, from step 60"].append(weights(swa.averaged(model)))

# %%
# Where the paths lead
# --------------------
# The lines of equal loss are those of all 400 rows; the cross is the minimum, which least squares
# finds at once. On the right is how far the loss is above that minimum: that of the EMA is about
# six times closer, that of the SWA forty times.


def loss_of(path):
    """Mean squared error of all rows, for each pair of weights (..., 2)."""
    return ((np.asarray(path) @ X.T - y[:, 0]) ** 2).mean(axis=-1)


best = np.linalg.lstsq(X, y, rcond=None)[0][:, 0]
across, along = np.meshgrid(np.linspace(-0.2, 1.7, 150), np.linspace(-1.4, 0.5, 150))
height = loss_of(np.stack([across, along], axis=-1)) - loss_of(best)
above = {name: loss_of(path) - loss_of(best) for name, path in paths.items()}

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
levels = np.geomspace(0.01, 3, 10)
left.contour(across, along, height, levels, colors="silver", linewidths=0.8)
for (name, path), style, width in zip(paths.items(), ("C5", "C2", "k"), (0.8, 1.8, 2.5), strict=True):
    left.plot(*np.transpose(path), style, lw=width)
    right.plot(np.arange(300 - len(path), 300), above[name], style, lw=width, label=name)
left.plot(*best, "x", color="C0", markersize=12, markeredgewidth=3)
left.set(xlabel="first weight", ylabel="second weight", aspect="equal")
right.set(xlabel="step", ylabel="loss above the minimum", yscale="log", ylim=(1e-5, 10))
right.legend(frameon=False, loc="upper right")
plt.show()
