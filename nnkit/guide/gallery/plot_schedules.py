"""
All schedules of the learning rate
==================================

A schedule gives a factor between 0 and 1 for every moment of a training; the learning rate is that
of the optimizer, times the factor. Any other number can follow one, too: ``nn.Dropout(0.5 *
nn.CosineSchedule())``.
"""

import matplotlib.pyplot as plt
import numpy as np

import nnkit as nn

plt.style.use("seaborn-v0_8-colorblind")
plt.rc("font", size=11)
plt.rc("axes.spines", top=False, right=False)

# %%
# Settings for thirty epochs
# --------------------------
# Times are counted in epochs. Most schedules go by the time alone; `nnkit.ReduceOnPlateau` goes by
# the losses of past epochs.

EPOCHS = 30
schedules = [
    nn.ConstantSchedule(),
    nn.LinearSchedule(initial=1.0, final=0.0, length=None),
    nn.PolynomialSchedule(power=2.0),
    nn.ExponentialSchedule(0.9),
    nn.StepSchedule(8, gamma=0.5),
    nn.MultiStepSchedule([12, 24], gamma=0.3),
    nn.CosineSchedule(),
    nn.CosineSchedule(restart=10),
    nn.FlatCosineSchedule(),
    nn.CoslogSchedule(),
    nn.LinearWarmup(5, after="cosine"),
    nn.OneCycle(),
    nn.CyclicSchedule(step_size_up=5),
    nn.SequentialSchedule(["linear_warmup", "constant", "cosine"], milestones=[2, 15]),
    nn.ChainedSchedule([nn.LinearWarmup(5), nn.ExponentialSchedule(0.9)]),
    0.5 * nn.CosineSchedule(),
    nn.LambdaSchedule(lambda t: 1 / (1 + 0.3 * t)),
    nn.MultiplicativeSchedule(lambda t: 0.8 if t % 5 == 0 else 1.0),
    nn.ReduceOnPlateau(gamma=0.3, patience=3),
]

# %%
# What an optimizer is told
# -------------------------
# ``factor`` takes times, and how many epochs there are in all. A schedule that goes by losses hears
# of them after each epoch: those that we make up here fall for ten epochs, and then no more.


def curve(schedule, times):
    """The factors at these times."""
    if not schedule.adaptive:
        return schedule.factor(times, EPOCHS)
    factors = []
    for epoch in range(EPOCHS):
        factors.append(schedule.factor(times[times.astype(int) == epoch], EPOCHS))
        schedule.observe(1 / (1 + min(epoch, 10)))
    return np.concatenate(factors)


times = np.arange(0, EPOCHS, 0.05)
same = {"layout": "constrained", "sharex": True, "sharey": True}
figure, panels = plt.subplots(5, 4, figsize=(9.5, 9), **same)
for panel in panels.flat[len(schedules) :]:
    panel.remove()
for panel, schedule in zip(panels.flat, schedules, strict=False):
    factors = curve(schedule, times)
    panel.fill_between(times, factors, color="C0", alpha=0.15, linewidth=0)
    panel.plot(times, factors, color="C0", linewidth=1.8)
    panel.set(xlim=(0, EPOCHS), ylim=(0, 1.05), yticks=[0, 1])
    panel.set_title(type(schedule).__name__, fontsize=10)
figure.supxlabel("epoch")
figure.supylabel("factor of the learning rate")
plt.show()
