"""
First weights decide what arrives
=================================

A signal goes through 30 layers. If each makes it a little smaller, nothing arrives at the end; if
each makes it a little larger, it explodes. Which of them happens is decided by the spread of the
first weights, and by the activation.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# How large is the signal behind each layer?
# ------------------------------------------
# Each layer is a model of its own here, so that we can look at what comes out of it.

DEPTH, WIDTH = 30, 64
X = np.random.default_rng(0).standard_normal((100, WIDTH))


def signal(initializer, activation):
    """Root of the mean square of the signal behind 0, 1, ... layers."""
    random, sizes, rows = np.random.default_rng(1), [1.0], X
    for _ in range(DEPTH):
        layer = nn.Sequential([nn.Linear(WIDTH, weight_init=initializer), activation])
        rows = layer.build((WIDTH,), random_state=random, dtype="float64").predict(rows)
        sizes.append(np.sqrt((rows**2).mean()))
    return np.array(sizes)


initializers = {
    "normal, std 0.08": nn.Normal(std=0.08),
    "LeCun normal": nn.LeCunNormal(),
    "Glorot normal": nn.GlorotNormal(),
    "Kaiming normal": nn.KaimingNormal(),
    "orthogonal": nn.Orthogonal(),
    "normal, std 0.3": nn.Normal(std=0.3),
}
signals = {}
for activation in ("relu", "tanh"):
    signals[activation] = {}
    for name, initializer in initializers.items():
        signals[activation][name] = signal(initializer, activation)

# %%
# Flat lines are good
# -------------------
# ReLU throws half of the signal away, so its weights need twice the variance: that is Kaiming's 2 /
# fan_in. A tanh keeps large signals in bounds, but its slope there is small, and the gradient pays
# for it on the way back. Where layers have as many outputs as inputs, Glorot's and LeCun's rules
# are the same.

figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.6), layout="constrained", sharey=True)
styles = ("-", "--", "-.", "-", ":", "--")
colours = ("C0", "C1", "C2", "black", "C3", "C5")
for panel, (activation, curves) in zip(panels, signals.items(), strict=True):
    for (name, sizes), style, colour in zip(curves.items(), styles, colours, strict=True):
        panel.plot(sizes, style, color=colour, label=name, linewidth=2)
    panel.set(xlabel="layers passed", yscale="log", ylim=(1e-6, 1e6), xlim=(0, DEPTH))
    panel.set_title(f"{activation}, {WIDTH} units wide")
panels[0].set_ylabel("root mean square of the signal")
panels[1].legend(frameon=False, loc="upper left", ncols=2)
plt.show()
