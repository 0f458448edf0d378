"""
What an ensemble does not know
==============================

Nets that begin with other weights, and see other rows, agree where there are data. Where there are
none, each goes its own way. So the spread of what they say tells how far to trust them.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Data with a gap
# ---------------
# Between -1 and 1.5 nothing was measured.

random = np.random.default_rng(0)
x = np.concatenate([random.uniform(-4, -1, 60), random.uniform(1.5, 4, 60)])[:, None]
y = np.sin(1.5 * x) + random.normal(scale=0.1, size=x.shape)

# %%
# Twenty nets at once
# -------------------
# `nnkit.fit_many` trains models side by side on the cores. Each has a seed and rows of its own,
# drawn with replacement (a bootstrap).

nets, own = [], []
for seed in range(20):
    layers = [nn.Linear(32), nn.Tanh(), nn.Linear(32), nn.Tanh(), nn.Linear(1)]
    nets.append(nn.Sequential(layers))
    own.append({"random_state": seed, "rows": random.integers(len(x), size=len(x))})
common = {"loss": "mse", "optimizer": nn.Adam(lr=1e-2), "epochs": 400, "batch_size": 30}
nn.fit_many(nets, x, y, settings=own, **common)

# %%
# Mean and spread
# ---------------
# Below is the standard deviation of the twenty answers; the ticks show where the data are.

grid = np.linspace(-6, 6, 400)[:, None]
said = np.array([net.predict(grid)[:, 0] for net in nets])  # (nets, points)
mean, spread = said.mean(axis=0), said.std(axis=0)

figure, (above, below) = plt.subplots(
    2, 1, figsize=(8, 5.8), layout="constrained", sharex=True, height_ratios=[2.2, 1]
)
above.plot(grid, said.T, color="C0", linewidth=0.6, alpha=0.6)
above.plot([], [], color="C0", linewidth=0.6, label="each of 20 nets")
above.plot(grid, mean, color="black", linewidth=2, label="their mean")
above.plot(grid, np.sin(1.5 * grid), "--", color="grey", label="truth")
above.plot(x, y, "o", color="C2", markersize=3.5, label="data")
above.set(ylabel="y", ylim=(-2.5, 2.5))
above.legend(frameon=False, loc="upper center", ncols=4)
below.fill_between(grid[:, 0], spread, color="C0", alpha=0.5, linewidth=0)
below.plot(x[:, 0], np.zeros(len(x)), "|", color="C2", markersize=12, clip_on=False)
below.set(xlabel="x", ylabel="standard deviation", xlim=(-6, 6), ylim=(0, None))
plt.show()
