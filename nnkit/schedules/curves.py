"""Curves over time, and the one that goes by losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.core.schedule import Schedule

__all__ = [
    "ConstantSchedule",
    "CosineSchedule",
    "CyclicSchedule",
    "ExponentialSchedule",
    "LinearSchedule",
    "LinearWarmup",
    "MultiStepSchedule",
    "OneCycle",
    "PolynomialSchedule",
    "ReduceOnPlateau",
    "StepSchedule",
]

Times = NDArray[np.float64]

# How much is left of the difference between two values, on the way from one to the other.
WAYS: dict[str, Callable[[Times], Times]] = {
    "cos": lambda part: np.asarray((1 + np.cos(np.pi * part)) / 2),
    "linear": lambda part: np.asarray(1 - part),
}


def _periods(time: Times, length: float) -> Times:
    """How many whole periods have passed. Times are decimal fractions: 0.3 / 0.1 is less than 3, by three roundings."""
    return np.asarray(np.floor(time / length * (1 + 4 * np.finfo(np.float64).eps)))


@register("constant")
class ConstantSchedule(Schedule):
    """factor(t) = gamma for t < length, else 1. By default it is 1 all the time.

    Parameters
    ----------
    gamma : float in [0, 1]
    length : float > 0, optional, in epochs; by default gamma holds for the whole training

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.ConstantSchedule().factor(np.array([0.0, 5.0]), 10)
    array([1., 1.])
    >>> nn.ConstantSchedule(gamma=0.5, length=2).factor(np.array([0.0, 1.9, 2.0]), 10)
    array([0.5, 0.5, 1. ])
    """

    elsewhere = ("factor", "total_iters")

    def __init__(self, *, gamma: float = 1.0, length: float | None = None) -> None:
        self.gamma = gamma
        self.length = length
        self.require_number("gamma", 0.0, 1.0)
        if length is not None:
            self.require_number("length", 0.0, above=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        if self.gamma == 1.0:
            return np.ones_like(epoch)
        return np.where(epoch < (np.inf if self.length is None else self.length), float(self.gamma), 1.0)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(gamma=0.5, length=2))]


@register("linear")
class LinearSchedule(Schedule):
    """From ``initial`` to ``final`` on a line, and then on from there: initial + (final - initial) min(t / length, 1).

    Parameters
    ----------
    initial, final : float in [0, 1]
    length : float > 0, optional, in epochs; None: the whole training

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.LinearSchedule(initial=0.5, length=2).factor(np.array([0.0, 1.0, 2.0, 3.0]), 10)
    array([0.5 , 0.75, 1.  , 1.  ])
    >>> nn.LinearSchedule(initial=1.0, final=0.0, length=None).factor(np.array([0.0, 5.0, 10.0]), 10)
    array([1. , 0.5, 0. ])
    """

    elsewhere = ("start_factor", "end_factor", "total_iters")

    def __init__(self, *, initial: float = 1 / 3, final: float = 1.0, length: float | None = 5.0) -> None:
        self.initial = initial
        self.final = final
        self.length = length
        self.require_number("initial", 0.0, 1.0)
        self.require_number("final", 0.0, 1.0)
        if length is not None:
            self.require_number("length", 0.0, above=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        u = np.minimum(epoch / (self.length or epochs), 1.0)
        return np.asarray(self.initial + (self.final - self.initial) * u)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(initial=1.0, final=0.25, length=None))]


@register("polynomial")
class PolynomialSchedule(Schedule):
    """factor(t) = (1 - min(t / length, 1)) ** power.

    Parameters
    ----------
    power : float > 0
    length : float > 0, optional, in epochs; by default the whole training

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.PolynomialSchedule(power=2).factor(np.array([0.0, 5.0, 10.0]), 10)
    array([1.  , 0.25, 0.  ])
    """

    elsewhere = ("total_iters", "power")

    def __init__(self, *, power: float = 1.0, length: float | None = None) -> None:
        self.power = power
        self.length = length
        self.require_number("power", 0.0, above=True)
        if length is not None:
            self.require_number("length", 0.0, above=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.asarray((1 - np.minimum(epoch / (self.length or epochs), 1.0)) ** self.power)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(power=2, length=4))]


@register("cyclic")
class CyclicSchedule(Schedule):
    """Up from ``initial`` to 1 and down again on lines, over and over: factor = initial + (1 - initial) h(t) a(t).

    h goes from 0 to 1 in ``step_size_up`` epochs, and back in ``step_size_down``. What is a(t), says the mode: 1
    ("triangular"), 2**-n in the cycle after n others ("triangular2"), or gamma**t ("exp_range"). The learning rate of the
    optimizer is the highest.

    Parameters
    ----------
    initial : float in [0, 1], the lowest rate as a part of the highest
    step_size_up : float > 0, in epochs
    step_size_down : float > 0, optional, in epochs; by default as ``step_size_up``
    mode : "triangular", "triangular2" or "exp_range"
    gamma : float in (0, 1], for "exp_range": what the height is multiplied by in one epoch
    cycle_momentum : bool; the optimizer's momentum, or the first of its betas, goes the other way, from ``max_momentum`` down
        to ``base_momentum`` and up again: it is max_momentum - (max_momentum - base_momentum) h(t) a(t) in all groups
    base_momentum, max_momentum : float in [0, 1)

    Raises
    ------
    ParameterError
        As training begins: the optimizer has neither momentum nor betas; pass ``cycle_momentum=False``.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.CyclicSchedule(initial=0.2, step_size_up=2).factor(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 10)
    array([0.2, 0.6, 1. , 0.6, 0.2])
    >>> nn.CyclicSchedule(initial=0.2, step_size_up=1, mode="triangular2").factor(np.array([1.0, 3.0, 5.0]), 10)
    array([1. , 0.6, 0.4])

    References
    ----------
    Smith 2017, "Cyclical learning rates for training neural networks", section 3.
    """

    elsewhere = (
        "base_lr", "max_lr", "step_size_up", "step_size_down", "mode", "gamma", "scale_fn", "scale_mode", "cycle_momentum",
        "base_momentum", "max_momentum",
    )  # fmt: skip

    def __init__(
        self, *, initial: float = 0.1, step_size_up: float = 2.0, step_size_down: float | None = None,
        mode: str = "triangular", gamma: float = 1.0, cycle_momentum: bool = True, base_momentum: float = 0.8,
        max_momentum: float = 0.9,
    ) -> None:  # fmt: skip
        self.initial = initial
        self.step_size_up = step_size_up
        self.step_size_down = step_size_down
        self.mode = mode
        self.gamma = gamma
        self.require_number("initial", 0.0, 1.0)
        self.require_number("step_size_up", 0.0, above=True)
        if step_size_down is not None:
            self.require_number("step_size_down", 0.0, above=True)
        self.require("mode", mode in ("triangular", "triangular2", "exp_range"), "'triangular', 'triangular2' or 'exp_range'")
        self.require_number("gamma", 0.0, 1.0, above=True)
        self.cycle_momentum = cycle_momentum
        self.base_momentum = base_momentum
        self.max_momentum = max_momentum
        self.require_number("base_momentum", 0.0, 1.0, below=True)
        self.require_number("max_momentum", 0.0, 1.0, below=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.asarray(self.initial + (1 - self.initial) * self._height(epoch))

    def momentum(self, epoch: Times, epochs: float, own: Times) -> Times:
        if not self.cycle_momentum:
            return own
        return np.asarray(self.max_momentum - (self.max_momentum - self.base_momentum) * self._height(epoch))

    def _height(self, epoch: Times) -> Times:
        """H a, between the lowest rate and the highest."""
        rise = self.step_size_up
        fall = rise if self.step_size_down is None else self.step_size_down
        cycles = _periods(epoch, rise + fall)
        within = np.maximum(epoch - cycles * (rise + fall), 0.0)
        height = np.minimum(within / rise, (rise + fall - within) / fall)
        falls = {"triangular": np.ones_like(epoch), "triangular2": 0.5**cycles, "exp_range": self.gamma**epoch}
        return np.asarray(np.maximum(height, 0.0) * falls[self.mode])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls()), Example(cls(step_size_up=1, step_size_down=2.5, mode="triangular2")),
            Example(cls(initial=0.0, mode="exp_range", gamma=0.9, cycle_momentum=False)),
        ]  # fmt: skip


@register("step")
class StepSchedule(Schedule):
    """factor(t) = gamma ** floor(t / step_size).

    Parameters
    ----------
    step_size : float > 0, in epochs
    gamma : float > 0

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.StepSchedule(step_size=2, gamma=0.5).factor(np.array([0.0, 1.9, 2.0, 4.0]), 10)
    array([1.  , 1.  , 0.5 , 0.25])
    """

    def __init__(self, step_size: float = 10, *, gamma: float = 0.1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        self.require_number("step_size", 0.0, above=True)
        self.require_number("gamma", 0.0, above=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.asarray(self.gamma ** _periods(epoch, self.step_size))


@register("multi_step")
class MultiStepSchedule(Schedule):
    """factor(t) = gamma ** (number of milestones up to t).

    Parameters
    ----------
    milestones : times in epochs, in order
    gamma : float > 0

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.MultiStepSchedule([3, 5], gamma=0.5).factor(np.array([0.0, 3.0, 5.0]), 10)
    array([1.  , 0.5 , 0.25])
    """

    def __init__(self, milestones: Sequence[float] = (30, 60, 90), *, gamma: float = 0.1) -> None:
        self.milestones = tuple(milestones)
        self.gamma = gamma
        self.require("milestones", list(self.milestones) == sorted(self.milestones), "in increasing order")
        self.require_number("gamma", 0.0, above=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.asarray(self.gamma ** np.searchsorted(self.milestones, epoch, side="right").astype(float))


@register("exponential")
class ExponentialSchedule(Schedule):
    """factor(t) = gamma ** t: smooth within the epoch.

    Parameters
    ----------
    gamma : float > 0, factor of one epoch

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.ExponentialSchedule(0.5).factor(np.array([0.0, 1.0, 2.0]), 10)
    array([1.  , 0.5 , 0.25])
    """

    def __init__(self, gamma: float = 0.95) -> None:
        self.gamma = gamma
        self.require_number("gamma", 0.0, above=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.asarray(self.gamma**epoch)


@register("cosine")
class CosineSchedule(Schedule):
    """From 1 down to ``final`` along half a cosine: factor(t) = final + (1 - final) (1 + cos(pi u)) / 2.

    u runs from 0 to 1 over the period: over the whole training or, with ``restart``, over so many epochs, after which it starts
    again at 1 with the period multiplied by ``stretch``.

    Parameters
    ----------
    final : float in [0, 1]
    restart : float > 0, optional: length of the first period in epochs
    stretch : float >= 1

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.CosineSchedule().factor(np.array([0.0, 5.0, 10.0]), 10).round(6)
    array([1. , 0.5, 0. ])
    >>> nn.CosineSchedule(restart=2, stretch=2).factor(np.array([0.0, 1.0, 2.0, 4.0]), 10).round(6)
    array([1. , 0.5, 1. , 0.5])

    References
    ----------
    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", eq. 5.
    """

    elsewhere = ("T_max", "eta_min")

    def __init__(self, *, final: float = 0.0, restart: float | None = None, stretch: float = 1.0) -> None:
        self.final = final
        self.restart = restart
        self.stretch = stretch
        self.require_number("final", 0.0, 1.0)
        self.require_number("stretch", 1.0)
        if restart is not None:
            self.require_number("restart", 0.0, above=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        if self.restart is None:
            u = np.minimum(epoch / epochs, 1.0)
        elif self.stretch == 1.0:
            u = np.maximum(epoch / self.restart - _periods(epoch, self.restart), 0.0)
        else:  # the n-th period begins at restart (stretch**n - 1) / (stretch - 1)
            n = np.floor(np.log1p(epoch * (self.stretch - 1) / self.restart) / np.log(self.stretch) + 1e-9)
            begin = self.restart * (self.stretch**n - 1) / (self.stretch - 1)
            u = (epoch - begin) / (self.restart * self.stretch**n)
        return np.asarray(self.final + (1 - self.final) * (1 + np.cos(np.pi * u)) / 2)


@register("linear_warmup")
class LinearWarmup(Schedule):
    """From ``initial`` up to 1 on a line over the first epochs, then another schedule.

    factor(t) = initial + (1 - initial) t / warmup for t < warmup, else after(t - warmup).

    Parameters
    ----------
    warmup : float > 0, in epochs
    initial : float in [0, 1]
    after : Schedule or its name

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.LinearWarmup(2, after="cosine").factor(np.array([0.0, 1.0, 2.0, 10.0]), 10).round(6)
    array([0. , 0.5, 1. , 0. ])

    References
    ----------
    Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1 hour", section 2.2.
    """

    def __init__(self, warmup: float = 1.0, *, initial: float = 0.0, after: Any = "constant") -> None:
        self.warmup = warmup
        self.initial = initial
        self.after = after
        self.require_number("warmup", 0.0, above=True)
        self.require_number("initial", 0.0, 1.0)
        self._after = Schedule.make(after)
        self._observed = 0

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        return self._after.adaptive

    @property
    def cycle_momentum(self) -> bool:  # type: ignore[override]
        return self._after.cycle_momentum

    def factor(self, epoch: Times, epochs: float) -> Times:
        rising = self.initial + (1 - self.initial) * epoch / self.warmup
        return np.where(epoch < self.warmup, rising, self._after.factor(*self._later(epoch, epochs)))

    def momentum(self, epoch: Times, epochs: float, own: Times) -> Times:
        return np.where(epoch < self.warmup, own, self._after.momentum(*self._later(epoch, epochs), own))

    def _later(self, epoch: Times, epochs: float) -> tuple[Times, float]:
        """The time of the schedule after it, and how long that has."""
        return np.maximum(epoch - self.warmup, 0.0), max(epochs - self.warmup, 1e-9)

    def observe(self, loss: float) -> None:
        self._observed += 1
        if self._observed > self.warmup:
            self._after.observe(loss)


@register("one_cycle")
class OneCycle(Schedule):
    """Up from 1 / div to 1 over the first part of training, then down to 1 / (div final_div); momentum goes the other way.

    From one to the other it is (1 + cos(pi u)) / 2, or with ``anneal_strategy="linear"`` 1 - u, with u the part that is over.

    Parameters
    ----------
    rise : float in (0, 1), the part of training that goes up
    div : float >= 1; lr is the highest learning rate, lr / div the first
    final_div : float >= 1
    three_phase : bool; after as long a way down as up, to 1 / div, the rest of training leads on to 1 / (div final_div), and
        momentum stays at ``max_momentum``; then ``rise`` is below 0.5
    anneal_strategy : "cos" or "linear"
    cycle_momentum : bool; the optimizer's momentum, or the first of its betas, goes from ``max_momentum`` down to
        ``base_momentum`` while the rate goes up, and back while it goes down, in all groups
    base_momentum, max_momentum : float in [0, 1)

    Raises
    ------
    ParameterError
        As training begins: the optimizer has neither momentum nor betas; pass ``cycle_momentum=False``.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> schedule, times = nn.OneCycle(rise=0.5, div=10, final_div=10), np.array([0.0, 5.0, 10.0])
    >>> schedule.factor(times, 10).round(6)
    array([0.1 , 1.  , 0.01])
    >>> schedule.momentum(times, 10, own=times).round(6)  # whatever the optimizer's own is
    array([0.95, 0.85, 0.95])

    References
    ----------
    Smith and Topin 2018, "Super-convergence: very fast training of neural networks using large learning rates".
    """

    elsewhere = (
        "max_lr", "total_steps", "epochs", "steps_per_epoch", "pct_start", "anneal_strategy", "cycle_momentum", "base_momentum",
        "max_momentum", "div_factor", "final_div_factor", "three_phase",
    )  # fmt: skip

    def __init__(
        self, *, rise: float = 0.3, div: float = 25.0, final_div: float = 1e4, three_phase: bool = False,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float = 0.85, max_momentum: float = 0.95,
    ) -> None:  # fmt: skip
        self.rise = rise
        self.div = div
        self.final_div = final_div
        self.three_phase = three_phase
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.base_momentum = base_momentum
        self.max_momentum = max_momentum
        self.require_number("rise", 0.0, 0.5 if three_phase else 1.0, above=True, below=True)
        self.require_number("div", 1.0)
        self.require_number("final_div", 1.0)
        self.require("anneal_strategy", isinstance(anneal_strategy, str) and anneal_strategy in WAYS, "'cos' or 'linear'")
        self.require_number("base_momentum", 0.0, 1.0, below=True)
        self.require_number("max_momentum", 0.0, 1.0, below=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        first, last = 1 / self.div, 1 / (self.div * self.final_div)
        return self._along(epoch / epochs, [first, 1.0, *[first] * self.three_phase, last])

    def momentum(self, epoch: Times, epochs: float, own: Times) -> Times:
        if not self.cycle_momentum:
            return own
        high = self.max_momentum
        return self._along(epoch / epochs, [high, self.base_momentum, high, *[high] * self.three_phase])

    def _along(self, u: Times, values: list[float]) -> Times:
        """From one of the values to the next, one phase after the other."""
        ends = np.array([0.0, self.rise, *[2 * self.rise] * self.three_phase, 1.0])
        u = np.minimum(u, 1.0)
        phase = np.searchsorted(ends[1:-1], u, side="right")
        first, last = np.array(values)[phase], np.array(values)[phase + 1]
        part = (u - ends[phase]) / (ends[phase + 1] - ends[phase])
        return np.asarray(last + (first - last) * WAYS[self.anneal_strategy](part))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(rise=0.2, three_phase=True, anneal_strategy="linear"))]


@register("reduce_on_plateau")
class ReduceOnPlateau(Schedule):
    """Multiply the learning rate by ``gamma`` when the loss has not improved for ``patience`` epochs.

    The loss is that of the validation data where there are any, else that of training; by hand, `observe` tells it.

    Parameters
    ----------
    gamma : float in (0, 1)
    patience : int >= 0, in epochs
    threshold : float >= 0; an improvement counts from this part of the best loss on
    min_factor : float >= 0; the least learning rate is lr min_factor
    threshold_mode : "rel", or "abs": the threshold is a difference of losses, not a part of the best one
    cooldown : int >= 0, epochs after a reduction that are not waited for
    eps : float in (0, 1); a factor that would change by no more stays as it is

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> schedule = nn.ReduceOnPlateau(gamma=0.5, patience=1)
    >>> for loss in [1.0, 1.0, 1.0]:
    ...     schedule.observe(loss)
    >>> schedule.factor(np.array([3.0]), 10)
    array([0.5])
    """

    elsewhere = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps")
    adaptive = True

    def __init__(
        self, *, gamma: float = 0.1, patience: int = 10, threshold: float = 1e-4, min_factor: float = 0.0,
        threshold_mode: str = "rel", cooldown: int = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        self.gamma = gamma
        self.patience = patience
        self.threshold = threshold
        self.min_factor = min_factor
        self.require_number("gamma", 0.0, 1.0, above=True, below=True)
        self.require_size("patience", 0)
        self.require_number("threshold", 0.0)
        self.require_number("min_factor", 0.0)
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self.require("threshold_mode", threshold_mode in ("rel", "abs"), "'rel' or 'abs'")
        self.require_size("cooldown", 0)
        self.require_eps()
        self._factor, self._best, self._waited, self._cooling = 1.0, np.inf, 0, 0

    def factor(self, epoch: Times, epochs: float) -> Times:
        return np.full_like(epoch, self._factor)

    def observe(self, loss: float) -> None:
        scale = abs(self._best) if self.threshold_mode == "rel" else 1.0
        margin = scale * self.threshold if np.isfinite(self._best) else 0.0
        better = loss < self._best - margin  # neither NaN nor another infinity is better
        self._best = loss if better else self._best
        self._waited = 0 if better or self._cooling else self._waited + 1
        self._cooling = max(self._cooling - 1, 0)
        if self._waited > self.patience:
            reduced = max(self._factor * self.gamma, self.min_factor)
            self._factor = reduced if self._factor - reduced > self.eps else self._factor
            self._waited, self._cooling = 0, self.cooldown

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls()), Example(cls(gamma=0.5, patience=2)), Example(cls(threshold_mode="abs", cooldown=2))]
