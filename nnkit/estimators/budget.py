"""How many epochs, and how many nets, fit into a time."""

from __future__ import annotations

import time
from typing import Any

from nnkit.core.callback import Callback
from nnkit.core.training import RunningFit
from nnkit.errors import ParameterError
from nnkit.model import Sequential
from nnkit.training.kinds import fit_of

__all__ = ["Deadline", "Until", "fitting", "require_seconds", "seconds_of"]

TRIAL, SHORTEST = 0.05, 0.2  # the part of the time that a trial takes, and the least of it in seconds
RESERVE = 0.8  # of the time is planned for: steps of several nets at once are slower than those of one alone
MOST = 8  # nets


class Until(Callback):
    """Ends a fit after so many epochs; schedules go on as if there were more."""

    acts_outside = False

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(self, fit: RunningFit) -> None:
        if fit.epoch + 1 >= self.epochs:
            fit.stop(f"after {self.epochs} epochs")


class Deadline(Callback):
    """Ends a fit when a time has come."""

    acts_outside = False

    def __init__(self, when: float) -> None:
        self.when = when

    def on_epoch_end(self, fit: RunningFit) -> None:
        if time.perf_counter() > self.when:
            fit.stop("out of time")


class _Trial(Callback):
    """Ends a fit as soon as it is known how long a step takes."""

    acts_outside = False

    step_seconds: float

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_fit_begin(self, fit: RunningFit) -> None:
        self._begin = 0.0

    def on_batch_end(self, fit: RunningFit) -> None:
        now = time.perf_counter()
        if not self._begin:
            self._begin, self._first = now, fit.step
        elif now - self._begin > self.seconds:
            self.step_seconds = (now - self._begin) / (fit.step - self._first)
            fit.stop("measured")


def seconds_of(model: Sequential, settings: dict[str, Any], seconds: float) -> float:
    """How long an epoch takes in one thread, by a trial of about so many seconds, which trains the model."""
    trial = _Trial(seconds)
    given = settings | {"callbacks": [trial], "metrics": (), "validation_data": None, "epochs": 1_000_000}
    fit = fit_of(model, **given, n_threads=1, progress=False)
    fit.run()
    if fit.failure is not None:
        raise fit.failure
    return trial.step_seconds * fit.steps_per_epoch


def fitting(left: float, epoch: float, threads: int, epochs: int, members: int) -> tuple[int, int]:
    """How many epochs, and how many nets, fit into the seconds that are left.

    Parameters
    ----------
    left, epoch : seconds that are left, and that an epoch of one net takes in one thread
    threads : cores
    epochs, members : as many as are wanted; there are never more epochs, and never fewer nets
    """
    each = RESERVE * left / max(epoch, 1e-9)  # epochs that one thread has time for
    rounds = -(-members // threads)
    if each < rounds * epochs:
        return max(1, int(each / rounds)), members
    return epochs, max(members, min(MOST, threads * int(each / epochs)))


def require_seconds(seconds: Any, who: str) -> None:
    """Refuse what is no time."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise ParameterError(f"{who}: seconds: expected a number above 0, got {seconds!r}")
