"""
Are probabilities true?
=======================

Of all rows that a net is 80 % sure of, it should be right about 80 %. A reliability diagram shows whether it is. `calibrate=True`
divides the scores by a temperature, which is the best one for the rows held out of the training.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nnkit as nn

plt.style.use(["seaborn-v0_8-colorblind", {"axes.spines.top": False, "axes.spines.right": False, "font.size": 11}])

# %%
# Digits as a table of 64 columns
# -------------------------------
# The recipe `"td-s"` trains with smoothed labels: 0.9 instead of 1, roughly. That makes better nets, which say less than they know.

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)
nets = {
    calibrate: nn.TableClassifier("td-s", epochs=20, validation_fraction=0.3, calibrate=calibrate, random_state=0).fit(X, y)
    for calibrate in (False, True)
}

# %%
# How sure, and how often right
# -----------------------------
# Rows are sorted by the probability of the class that is predicted, and cut into ten groups of the same size. The mean distance of
# sureness from truth is called the expected calibration error (ECE).


def reliability(net, bins=10):
    """Mean probability and share of right answers in each group, and their mean distance."""
    probability = net.predict_proba(X_test)
    sure, correct = probability.max(axis=1), net.classes_[probability.argmax(axis=1)] == y_test
    groups = np.array_split(np.argsort(sure), bins)
    said, true = (np.array([values[group].mean() for group in groups]) for values in (sure, correct))
    return said, true, np.abs(said - true).mean()


figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.4), layout="constrained")
left.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as sure as right")
errors = {}
for calibrate, colour, marker in ((False, "C2", "s"), (True, "C0", "o")):
    said, true, errors[calibrate] = reliability(nets[calibrate])
    name = f"temperature {nets[calibrate].temperature_:.2f}" if calibrate else "as trained"
    left.plot(said, true, marker=marker, color=colour, label=f"{name}: ECE {errors[calibrate]:.3f}")
    sure = nets[calibrate].predict_proba(X_test).max(axis=1)
    right.hist(sure, bins=40, range=(0.3, 1), histtype="step", linewidth=2, color=colour, label=name)
left.set(xlabel="mean probability of the predicted class", ylabel="share of right answers", aspect="equal", xlim=(0.2, 1.02), ylim=(0.2, 1.02))
left.legend(frameon=False, loc="lower right")
right.set(xlabel="probability of the predicted class", ylabel="rows", xlim=(0.3, 1))
right.legend(frameon=False, loc="upper left")
plt.show()
