"""
A map of the months
===================

A net that is given the name of a month knows nothing about it at first: `nnkit.Embedding` has a
vector for each of the twelve names, drawn at random, and trains them like any other weights. From
weather alone it finds out which months are neighbours, and that the year is a circle.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Days of some invented town
# --------------------------
# Length of the day and temperature of 3000 days; it is warmest some weeks after the longest day.
# The net sees the number of the month, in an order without meaning, and predicts both,
# standardised.

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
random = np.random.default_rng(0)
month = random.integers(12, size=3000)
season = 2 * np.pi * (month + random.uniform(size=3000)) / 12
daylight = 12 - 4 * np.cos(season + 0.17) + random.normal(scale=0.2, size=3000)  # hours
temperature = 9 - 9 * np.cos(season - 0.5) + random.normal(scale=3, size=3000)  # Celsius
weather = np.stack([daylight, temperature], axis=1)
y = (weather - weather.mean(axis=0)) / weather.std(axis=0)
names = random.permutation(12)  # the number by which the net knows each month
X = names[month][:, None]

# %%
# Two numbers for each month
# --------------------------
# The first layer looks up the two numbers of a month, and a small net reads them.

layers = [nn.Embedding(12, 2), nn.Flatten(), nn.Linear(16), nn.Tanh(), nn.Linear(2)]
net = nn.Sequential(layers).build((1,), random_state=1)
before = net.parameters()["0.weight"][names].copy()  # (12, 2), from January to December
adam = nn.AdamW(lr=1e-2, weight_decay=0.1)
net.fit(X, y, loss="mse", optimizer=adam, epochs=120, random_state=0)
after = net.parameters()["0.weight"][names].copy()

# %%
# Before and after
# ----------------
# A line joins the months in their order.

figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.8), layout="constrained")
summer = np.cos(2 * np.pi * (np.arange(12) - 6) / 12)  # yellow in July, blue in January
for panel, vectors, when in zip(panels, (before, after), ("before", "after"), strict=True):
    closed = np.concatenate([vectors, vectors[:1]])
    panel.plot(*closed.T, color="silver", linewidth=1.2, zorder=1)
    panel.scatter(*vectors.T, c=summer, cmap="cividis", s=90, zorder=2)
    for name, place in zip(MONTHS, vectors, strict=True):
        panel.annotate(name, place, xytext=(8, 5), textcoords="offset points")
    panel.set(title=f"{when} training", xlabel="first number", ylabel="second number")
    panel.set_aspect("equal")
    panel.margins(0.15)
plt.show()
