"""
Find a learning rate
====================

A learning rate is too small where the loss hardly falls, and too large where it rises again. One
short training finds both ends: the rate grows at every step, by the same factor, and we watch the
loss.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)
X, y = load_digits(return_X_y=True)
X = X / 16


def new_net():
    """The same net, with the same first weights, each time."""
    layers = [nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)]
    return nn.Sequential(layers).build((64,), random_state=0)


# %%
# A rate that grows, and a callback that notes the loss of every step
# -------------------------------------------------------------------
# A schedule gives the factor of the learning rate, from 0 to 1. From 1e-7 to 1 the rate grows from
# 3e-6 to 30, in ten epochs.

LARGEST, EPOCHS = 30.0, 10


class EveryLoss(nn.Callback):
    """Notes the loss of every step."""

    acts_outside = False

    def on_fit_begin(self, fit):
        self.losses = []

    def on_batch_end(self, fit):
        self.losses.append(fit.loss)


seen = EveryLoss()
growth = nn.LambdaSchedule(lambda t: 10 ** (7 * (t / EPOCHS - 1)))
growing = nn.SGD(lr=LARGEST, schedule=growth)
same = {"loss": "cross_entropy", "batch_size": 32, "random_state": 0}
new_net().fit(X, y, optimizer=growing, epochs=EPOCHS, callbacks=[seen], **same)
losses = np.array(seen.losses)
rates = LARGEST * 10 ** (7 * (np.arange(len(losses)) / len(losses) - 1))

# %%
# Choose
# ------
# The loss of single batches is noisy: its mean over 15 steps is smoother. A good choice is some
# factor below the rate where that is smallest. Here we take a fifth.

smooth = np.convolve(losses, np.ones(15) / 15, mode="same")[8:-8]
best = rates[8:-8][smooth.argmin()]
chosen = best / 5
tried = {chosen / 100: "a hundredth", chosen: "chosen", chosen * 20: "twenty times"}
curves = {}
for rate in tried:
    history = new_net().fit(X, y, optimizer=nn.SGD(lr=rate), epochs=15, **same)
    curves[rate] = history["loss"]

# %%
# The search, and three trainings
# -------------------------------
# With a hundredth of the chosen rate the net hardly gets on, and with twenty times as much it learns
# nothing at all.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
left.plot(rates, losses, color="silver", linewidth=0.8, label="each step")
left.plot(rates[8:-8], smooth, color="C0", label="mean of 15 steps")
left.axvline(chosen, color="C2", linestyle="--", label=f"chosen: {chosen:.2g}")
left.set(xscale="log", xlabel="learning rate", ylabel="loss of a batch", ylim=(0, 5))
left.set_title("Search: the rate grows")
left.legend(frameon=False, loc="upper left")
for (rate, name), style in zip(tried.items(), (":", "-", "--"), strict=True):
    label = f"{rate:.2g}, {name}"
    right.plot(range(1, 16), curves[rate], f"o{style}", markersize=4, label=label)
right.set(xlabel="epoch", ylabel="training loss", yscale="log")
right.set_title("Training: the rate stays")
right.legend(frameon=False)
plt.show()
