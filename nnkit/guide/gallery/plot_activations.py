"""
All activations, with their slopes
==================================

The registry knows every activation, those of installed plugins included. Here is each as a function
of one number (blue), and its derivative (orange, dashed), which is what backpropagation multiplies
by.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Both come from the parts themselves
# -----------------------------------
# Every part brings examples of itself, with a shape that it takes. Each row has x as its first
# number, and zeros as all others, which a softmax sees, too. ``backward`` gets the gradient 1 of
# the first output, and gives the derivative.


def curve(part, shape, x):
    """The first output, and its derivative by the first input."""
    model = nn.Sequential([part]).build(shape, random_state=0, dtype="float64")
    rows, gradient = (np.zeros((len(x), *shape)) for _ in range(2))
    rows.reshape(len(x), -1)[:, 0] = x
    gradient.reshape(len(x), -1)[:, 0] = 1.0
    out = model.forward(rows).reshape(len(x), -1)[:, 0].copy()
    return out, model.backward(gradient).reshape(len(x), -1)[:, 0]


x = np.linspace(-4, 4, 801)
curves = {}
for part in nn.registry.activations.values():
    example = part.examples()[0]
    curves[part.__name__] = curve(example.part, example.in_shape, x)

# %%
# The zoo
# -------
# All panels have the same axes. Where a function jumps, as `nnkit.Hardshrink` does, the derivative
# does not know of it.

rows = -(-len(curves) // 6)
same = {"layout": "constrained", "sharex": True, "sharey": True}
figure, panels = plt.subplots(rows, 6, figsize=(9.5, 1.7 * rows), **same)
for panel in panels.flat[len(curves) :]:
    panel.remove()
for panel, (name, (value, slope)) in zip(panels.flat, curves.items(), strict=False):
    panel.axhline(0, color="silver", linewidth=0.7)
    panel.axvline(0, color="silver", linewidth=0.7)
    panel.plot(x, value, color="C0", linewidth=2)
    panel.plot(x, slope, color="C2", linewidth=1.4, linestyle="--")
    panel.set(xlim=(-4, 4), ylim=(-2.2, 3.2), xticks=[-4, 0, 4], yticks=[-2, 0, 2])
    panel.set_title(name, fontsize=10)
figure.supxlabel("x")
figure.supylabel("activation (line) and its derivative (dashed)")
plt.show()
