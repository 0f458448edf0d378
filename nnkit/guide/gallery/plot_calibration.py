"""
Are probabilities true?
=======================

Of all rows that a net is 80 % sure of, it should be right about 80 %. A reliability diagram shows
whether it is. ``calibrate=True`` divides the scores by a temperature, which is the best one for the
rows held out of the training.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Digits as a table of 64 columns
# -------------------------------
# The recipe ``"td-s"`` trains with smoothed labels: 0.9 instead of 1, roughly. That often makes
# better nets, but they say less than they know.

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)
settings = {"epochs": 20, "validation_fraction": 0.3, "random_state": 0}
nets = {
    "as trained": nn.TableClassifier("td-s", **settings).fit(X, y),
    "calibrated": nn.TableClassifier("td-s", calibrate=True, **settings).fit(X, y),
}
temperature = nets["calibrated"].temperature_

# %%
# How sure, and how often right
# -----------------------------
# Rows are sorted by the probability of the class that is predicted, and cut into ten groups of the
# same size. The mean distance of sureness from truth is called the expected calibration error
# (ECE).


def reliability(net):
    """Probability of the predicted class, and whether it is right, of ten groups of rows."""
    probability = net.predict_proba(X_test)
    sure, correct = probability.max(axis=1), net.classes_[probability.argmax(axis=1)] == y_test
    groups = np.array_split(np.argsort(sure), 10)
    return np.array([(sure[rows].mean(), correct[rows].mean()) for rows in groups]).T


figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
left.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as sure as right")
errors = {}
for (name, net), style in zip(nets.items(), ("C2s-", "C0o-"), strict=True):
    said, true = reliability(net)
    errors[name] = np.abs(said - true).mean()
    left.plot(said, true, style, label=f"{name}: ECE {errors[name]:.3f}")
    sure = net.predict_proba(X_test).max(axis=1)
    bins = np.linspace(0.2, 1, 41)
    right.hist(sure, bins, histtype="step", linewidth=2, color=style[:2], label=name)
left.set(xlabel="mean probability of the predicted class", ylabel="share of right answers")
left.set(aspect="equal", xlim=(0.2, 1.02), ylim=(0.2, 1.02))
left.legend(frameon=False, loc="lower right")
right.set(xlabel="probability of the predicted class", ylabel="rows", xlim=(0.2, 1))
right.set_title(f"temperature {temperature:.2f}")
right.legend(frameon=False, loc="upper left")
plt.show()
