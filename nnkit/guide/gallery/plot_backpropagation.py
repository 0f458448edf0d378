r"""
Backpropagation in one picture
==============================

A net with two inputs, two hidden units and three outputs, all sigmoids, and one row of data.
`nnkit.trace` computes everything that a lecture writes on the blackboard: forward
:math:`z_j = b_j + \sum_i w_{ij} a_i` and :math:`a_j = \sigma(z_j)`, backward
:math:`\delta_j = \partial L / \partial a_j \cdot \partial a_j / \partial z_j`, and
:math:`\partial L / \partial w_{ij} = \delta_j a_i`.
"""

import matplotlib.pyplot as plt

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# A net and a row
# ---------------
# Every formula is printed twice, with letters and with numbers.

net = nn.Sequential([nn.Linear(2), nn.Sigmoid(), nn.Linear(3), nn.Sigmoid()])
net.build((2,), random_state=0, dtype="float64")
x, y = [0.05, 0.9], [0.0, 1.0, 0.0]
trace = nn.trace(net, x, y, loss="half_squared_error")
print(trace)

# %%
# Are the gradients right?
# ------------------------
# Move each weight a little, and see how much the loss changes: the finite difference must agree with
# what backpropagation says.

check = trace.check()
print(check.ok)

# %%
# The picture
# -----------
# Above forward, below backward. Wide lines are large numbers, orange ones positive, purple ones
# negative.

panels = trace.plot()
plt.show()
