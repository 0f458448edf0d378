"""
Intervals that keep their promise
=================================

``predict_interval`` gives bounds for each prediction. They come from the rows that were held out of
the training: if nine tenths of those are at most d away from their predictions, then about nine
tenths of all new rows like them are, too. That holds for any net and any distribution, and is called split
conformal prediction.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# A noisy curve
# -------------
# The noise is not normal: it has long tails.

random = np.random.default_rng(0)


def draw(count):
    """Rows (count, 1) and their targets."""
    x = random.uniform(0, 10, size=(count, 1))
    return x, np.sin(x[:, 0]) + 0.15 * x[:, 0] + random.standard_t(4, size=count) * 0.25


X, y = draw(1500)
X_test, y_test = draw(4000)
settings = {"hidden": 64, "epochs": 60, "validation_fraction": 0.3, "random_state": 0}
net = nn.TableRegressor("td-s", **settings).fit(X, y)

# %%
# What was promised, and what came
# --------------------------------
# On the right, each point is one coverage that was asked for, and the share of 4000 new rows that
# lie within.

asked = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])


def within(coverage):
    """Which share of the new rows lies within its interval."""
    low, high = net.predict_interval(X_test, coverage).T
    return ((low <= y_test) & (y_test <= high)).mean()


came = np.array([within(coverage) for coverage in asked])

wide = {"figsize": (9.5, 4.4), "width_ratios": [1.5, 1]}
figure, (left, right) = plt.subplots(1, 2, layout="constrained", **wide)
grid = np.linspace(0, 10, 300)[:, None]
for coverage, shade in ((0.98, 0.18), (0.8, 0.3), (0.5, 0.5)):
    bounds, name = net.predict_interval(grid, coverage).T, f"{coverage:.0%} of new rows"
    left.fill_between(grid[:, 0], *bounds, color="C0", alpha=shade, lw=0, label=name)
left.plot(grid, net.predict(grid), color="black", label="prediction")
left.scatter(X_test[:400], y_test[:400], s=6, color="C2", label="new rows")
left.set(xlabel="x", ylabel="y", xlim=(0, 10), ylim=(-2, 5))
left.legend(frameon=False, loc="upper left", ncols=2)
right.plot([0.45, 1], [0.45, 1], color="grey", linewidth=1)
right.plot(asked, came, "o", color="C0")
right.set(xlabel="coverage asked for", ylabel="share of new rows within")
right.set(aspect="equal", xlim=(0.45, 1), ylim=(0.45, 1))
plt.show()
