"""Fits in several legs: left at some epoch, and taken up from there when more epochs are asked for."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import numpy as np

from nnkit.core.callback import Callback
from nnkit.core.container import chain_of
from nnkit.core.training import RunningFit
from nnkit.estimators.parameters import random_of
from nnkit.training.data import is_sparse
from nnkit.training.snapshot import Snapshot

__all__ = ["Leg", "on_leg"]


class Leg(int):
    """A number of epochs after which a fit is left; one that is given a later leg with the same places goes on from there.

    What a fit of the last leg ends with are the bits of one of ``total`` epochs in one go; schedules are those of ``total``
    epochs in all legs.

    Attributes
    ----------
    total : epochs of the last leg
    places : where fits were left after each leg, by what they were fitted to; several may be fitted to the same
    """

    total: int
    places: dict[bytes, dict[int, Snapshot]]

    def __new__(cls, epochs: int, total: int, places: dict[bytes, dict[int, Snapshot]]) -> Self:
        leg = super().__new__(cls, epochs)
        leg.total, leg.places = total, places
        return leg

    def __sklearn_clone__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> Any:
        return int, (int(self),)  # elsewhere there are no places


class _LeaveOff(Callback):
    """Ends a leg, and keeps the place."""

    late = True
    acts_outside = False
    interruptible = False

    def __init__(self, leg: Leg, mark: bytes) -> None:
        self.leg, self.mark = leg, mark

    def on_epoch_end(self, fit: RunningFit) -> None:
        if fit.stopping or fit.epoch + 1 >= self.leg:
            self.leg.places.setdefault(self.mark, {})[int(self.leg)] = _kept(fit)
            fit.stop(f"left after {self.leg} epochs")


def on_leg(settings: dict[str, Any]) -> dict[str, Any]:
    """What a fit is to be given, where its epochs are a leg."""
    leg = settings["epochs"]
    if not isinstance(leg, Leg):
        return settings
    mark = _mark(settings)
    callbacks = [*settings["callbacks"], _LeaveOff(leg, mark)]
    left = leg.places.get(mark, {})
    before = max((epochs for epochs in left if epochs < leg), default=None)
    resumed = None if before is None else replace(left[before], noted=copy.deepcopy(left[before].noted))
    return {**settings, "epochs": leg.total, "resumed": resumed, "callbacks": callbacks}


def _kept(fit: RunningFit) -> Snapshot:
    """Where a fit is, in memory of its own."""
    live: Snapshot = fit.snapshot()
    return replace(
        live, network=live.network.copied(chain_of(fit.model), live.network.dtype, lambda name: name),
        moments={name: moment.copy() for name, moment in live.moments.items()}, last_fit=dict(live.last_fit),
        history=copy.deepcopy(live.history), schedule=copy.deepcopy(live.schedule), noted=copy.deepcopy(live.noted),
    )  # fmt: skip


def _mark(settings: dict[str, Any]) -> bytes:
    """What tells fits of one candidate from each other: their rows, and their random numbers, where those can be repeated."""
    hashed = hashlib.sha256()
    for array in _arrays(settings):
        hashed.update(f"{array.dtype} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.digest()


def _arrays(settings: dict[str, Any]) -> Iterator[Any]:
    X, random = settings["X"], settings["random_state"]
    yield from (X.data, X.indices, X.indptr) if is_sparse(X) else (np.asarray(X),)
    yield from (np.asarray(settings[name]) for name in ("y", "sample_weight") if settings[name] is not None)
    if random is not random_of(None):  # the one that all share, which is elsewhere at each fit
        _, words, place, *_ = random.get_state()
        yield from (words, np.array(place))
