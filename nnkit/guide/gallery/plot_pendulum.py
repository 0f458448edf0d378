r"""
A net in a differential equation
================================

A pendulum with angle :math:`\theta` and angular velocity :math:`\omega` obeys

.. math:: \dot\theta = \omega, \qquad \dot\omega = -\sin\theta - 0.1\,\omega .

A net learns the right-hand side of the second equation from noisy measurements. Then it takes the
place of the physics, inside of compiled code that integrates the motion.
"""

import matplotlib.pyplot as plt
import numba
import numpy as np
from scipy.integrate import solve_ivp

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Learn the acceleration
# ----------------------
# 500 states, drawn at random, and the acceleration at each, measured with an error of 0.05.

random = np.random.default_rng(0)
states = random.uniform([-np.pi, -2.5], [np.pi, 2.5], size=(500, 2))
acceleration = -np.sin(states[:, :1]) - 0.1 * states[:, 1:]
measured = acceleration + random.normal(scale=0.05, size=acceleration.shape)

model = nn.Sequential([nn.Linear(12), nn.Tanh(), nn.Linear(1)])
model.build((2,), random_state=0, dtype="float64")
model.fit(states, measured, optimizer="lm", epochs=60)
error = np.sqrt(((model.predict(states) - acceleration) ** 2).mean())

# %%
# The net as a function
# ---------------------
# ``as_function`` gives the net as a function of one row, which any function under ``numba.njit``
# can call: ``net(state, out)``. The four slopes of a step are those of the classical method of
# Runge and Kutta.


@numba.njit
def slope(net, state):
    """Time derivative of (angle, velocity)."""
    out = np.empty(1)
    net(state, out)
    return np.array([state[1], out[0]])


@numba.njit
def motion(net, start, step, steps):
    """The states from a start, step by step: (steps + 1, 2)."""
    path = np.empty((steps + 1, 2))
    path[0] = start
    for n in range(steps):
        s = path[n]
        k1 = slope(net, s)
        k2 = slope(net, s + 0.5 * step * k1)
        k3 = slope(net, s + 0.5 * step * k2)
        k4 = slope(net, s + step * k3)
        path[n + 1] = s + step * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    return path


# %%
# The same motion by physics
# --------------------------
# For comparison, SciPy integrates the true equation.


def physics(time, state):
    """Time derivative of (angle, velocity), as it is."""
    return [state[1], -np.sin(state[0]) - 0.1 * state[1]]


times = np.linspace(0, 20, 401)
starts = np.array([[0.5, 0.0], [1.5, 0.0], [2.8, 0.0]])
learnt = [motion(model.as_function(), start, 0.05, 400) for start in starts]
exact = {"t_eval": times, "rtol": 1e-8}
true = [solve_ivp(physics, (0, 20), start, **exact).y.T for start in starts]
apart = np.abs(np.array(learnt) - np.array(true)).max()

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
left.scatter(*states.T, s=4, color="silver", label="measured states")
for number, (ours, theirs) in enumerate(zip(learnt, true, strict=True)):
    left.plot(*theirs.T, color="black", linewidth=1, label="" if number else "physics")
    name = f"net, from {starts[number, 0]:g} rad"
    left.plot(*ours.T, "--", color=f"C{number}", linewidth=2.5, label=name)
    right.plot(times, theirs[:, 0], color="black", linewidth=1)
    right.plot(times, ours[:, 0], "--", color=f"C{number}", linewidth=2.5)
left.set(xlabel="angle (rad)", ylabel="angular velocity (rad / s)")
left.set_title("Paths in the plane of states")
left.legend(frameon=True, edgecolor="none", loc="upper right", fontsize=9)
right.set(xlabel="time (s)", ylabel="angle (rad)")
right.set_title(f"Never more than {apart:.2f} apart")
plt.show()
