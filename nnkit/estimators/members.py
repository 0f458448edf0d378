"""Nets that predict together: one net of several, the mean of what they say, and how far they agree."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.callback import Callback
from nnkit.core.container import Chain
from nnkit.core.loss import Loss
from nnkit.core.metric import Metric
from nnkit.core.part import listed
from nnkit.errors import ParameterError, PersistenceError
from nnkit.estimators.learned import Learner
from nnkit.estimators.resampling import require_resample
from nnkit.layers import Branches, Reshape
from nnkit.model import Sequential
from nnkit.network import network_of

__all__ = [
    "ACCURACY", "RMSE", "MeanAccuracy", "MeanError", "OfMembers", "Several", "apart", "by_member", "mean_of", "side_by_side",
]  # fmt: skip

ACCURACY, RMSE = "accuracy", "rmse"


def by_member(outputs: NDArray[Any], width: int) -> NDArray[np.float64]:
    """What a net gives, as (rows, members, width); a net of one net has one member."""
    return np.asarray(outputs, np.float64).reshape(len(outputs), -1, width)


def side_by_side(models: Sequence[Sequential], width: int) -> Sequential:
    """One net of several: it gives what each of them gives, (members, width)."""
    return models[0] if len(models) == 1 else _branching(models, [Reshape((-1, width))], "concat")


def mean_of(models: Sequence[Sequential], link: Sequence[Any]) -> Sequential:
    """One net of several: the mean of what they give, each after the layers ``link``."""
    return _branching(models, link, "mean")


def _branching(models: Sequence[Sequential], ends: Sequence[Any], merge: str) -> Sequential:
    """One net whose branches are copies of these, each with some more layers at its end."""
    branches = [[*copy.deepcopy(model.layers), *ends] for model in models]
    whole = Sequential([Branches(*branches, merge=merge)]).build(models[0].in_shape, 0, models[0].dtype)
    networks = [network_of(model) for model in models]
    arrays = {f"0.{place}.{name}": array for place, network in enumerate(networks) for name, array in network.arrays().items()}
    frozen = (f"0.{place}.{name}" for place, network in enumerate(networks) for name in network.frozen)
    network_of(whole).fill(arrays, networks[0].random_position, frozenset(frozen))
    return whole


def apart(whole: Sequential, positions: Sequence[tuple[int, int]], layers: int) -> list[Sequential]:
    """The nets that one is made of, each of so many layers, with their positions in the random numbers that they draw.

    Raises
    ------
    PersistenceError
        It is not made so.
    """
    network, models = network_of(whole), []
    branches = [branch.layer.layers if isinstance(branch.layer, Chain) else []
                for split in network.root.children[:1] for branch in split.children]  # fmt: skip
    if len(branches) != len(positions) or any(len(branch) < layers for branch in branches):
        raise PersistenceError(f"expected a net with {len(positions)} branches of {layers} layers each")
    for place, (branch, position) in enumerate(zip(branches, positions, strict=True)):
        model, inside = Sequential(copy.deepcopy(branch[:layers])).build(whole.in_shape, 0, whole.dtype), f"0.{place}."
        mine = {name.removeprefix(inside): array for name, array in network.arrays().items() if name.startswith(inside)}
        frozen = {name.removeprefix(inside) for name in network.frozen if name.startswith(inside)}
        network_of(model).fill(mine, position, frozenset(frozen))
        models.append(model)
    return models


class Several(Learner):
    """An estimator that is one net, or several: they are trained side by side, and it says the mean of what they say."""

    _remedy: ClassVar[str] = "fit with n_members=5"  # where there is one net
    n_members: int
    resample: str
    callbacks: Any

    def _require_members(self) -> None:
        """Check how many nets there are to be, and which rows they learn from."""
        count = self.n_members
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ParameterError(f"{type(self).__name__}: n_members: expected an integer of at least 1, got {count!r}")
        with self._naming():
            require_resample(self.resample)

    def _callbacks_of(self, members: int) -> list[list[Callback]]:
        """The callbacks of each net: those that were given for the first, and copies for the others.

        Raises
        ------
        ParameterError
            Several nets would write one file, or report to one trial.
        """
        with self._naming("callbacks"):
            made = [Callback.make(item, "callbacks") for item in listed(self.callbacks)]
            for callback in made if members > 1 else ():
                if type(callback).checkpoint is not Callback.checkpoint:
                    raise ParameterError(f"expected callbacks that write no checkpoints, got {callback!r}: {members} nets "
                                         "would write one file; use nnkit.fit_many, with a Checkpoint for each")  # fmt: skip
                if callback.unsaved:
                    raise ParameterError(f"expected callbacks of which each net can have a copy, got {callback!r}: its "
                                         f"{callback.unsaved[0]} hears one fit; use n_members=1 with it")  # fmt: skip
        return [copy.deepcopy(made) if place else made for place in range(members)]

    def _spread(self, each: NDArray[Any]) -> NDArray[Any]:
        """Standard deviation over the members, of (rows, members, ...).

        Raises
        ------
        ParameterError
            There is one.
        """
        if each.shape[1] == 1:
            raise ParameterError(f"{type(self).__name__}: return_std: expected several nets, got one; {self._remedy}")
        return np.asarray(each.std(axis=1))


class OfMembers(Metric):
    """A figure of what members say together; a target is the same for all of them."""

    name: ClassVar[str]

    def __init__(self, width: int) -> None:
        self.width = width

    def _mean(self, given: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[Any] | None) -> tuple[Any, Any, Any]:
        weights = None if sample_weight is None else sample_weight.reshape(len(given), -1).mean(axis=1)
        return by_member(given, self.width).mean(axis=1), y.reshape(len(given), -1), weights


class MeanAccuracy(OfMembers):
    """Share of the rows of which the mean of the members' probabilities is largest for the right class."""

    name = ACCURACY
    greater_is_better = True

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        mean, labels, weights = self._mean(loss.probabilities(prediction), y, sample_weight)  # type: ignore[arg-type]
        return float(np.average(mean.argmax(axis=1) == labels[:, 0], weights=weights))


class MeanError(OfMembers):
    """Root of the mean squared error of the members' mean, over rows and outputs."""

    name = RMSE
    greater_is_better = False

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        mean, targets, weights = self._mean(prediction, y, sample_weight)
        return float(np.sqrt(np.average(((mean - targets[:, : self.width]) ** 2).mean(axis=1), weights=weights)))
