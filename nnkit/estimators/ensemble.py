"""Estimators of several nets, each of which is an estimator of its own: which rows each learns from, and what all say."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import ParameterError
from nnkit.estimators.members import Several, mean_of, side_by_side
from nnkit.estimators.parameters import random_of
from nnkit.estimators.resampling import SEEDS, resampled
from nnkit.estimators.splitting import TrainingSet

__all__ = ["Ensemble"]

Share = tuple[TrainingSet, TrainingSet | None]  # what a net learns from, and what was left out, if anything
# Of an estimator of several nets, those of the first.
MEASURED = ("history_", "loss_curve_", "loss_", "n_iter_", "n_layers_", "optimizer_")
OF_NET = (*MEASURED, "model_", "_before", "_random", "estimators_")  # what nets of one estimator do not share


class Ensemble(Several):
    """One net, or several with the same hyper-parameters, which differ by their seeds and their rows.

    With M nets f_m, probabilities, or numbers, are their mean, f(x) = 1/M sum_m f_m(x), and ``return_std`` gives how far they
    are from it, sqrt(1/M sum_m (f_m(x) - f(x))**2).

    Attributes
    ----------
    estimators_ : of several nets, one estimator for each, with its ``random_state``: trained alone, on the same rows, it would
        be the same to the bit
    """

    estimators_: list[Self]
    random_state: Any

    @abstractmethod
    def _link(self) -> list[str] | None:
        """The layers between what a net gives and what is averaged; None where no layer is that."""

    @abstractmethod
    def _raw(self, X: Any) -> NDArray[Any]:
        """What the net gives, where there is one."""

    @abstractmethod
    def _rows(self, X: Any) -> Any:
        """Rows like those that nets were trained on, in their dtype."""

    @property
    def _several(self) -> bool:
        """Whether there are several nets."""
        return "estimators_" in self.__dict__

    @property
    def _nets(self) -> list[Self]:
        """The estimators of one net each that are in this one: itself, where it has one net."""
        return self.estimators_ if self._several else [self]

    # ------------------------------------------------------------------------------------------------------ training

    def _learners(self, reset: bool) -> list[Self]:
        """The estimators of one net each that are to be trained, new ones after a ``reset``."""
        if reset:
            self.__dict__.pop("estimators_", None)
        elif len(self._nets) != self.n_members:
            raise ParameterError(f"{type(self).__name__}: expected n_members={len(self._nets)} of the fit that goes on, got "
                                 f"{self.n_members}; set warm_start=False, and call fit")  # fmt: skip
        if self.n_members == 1:
            return [self]
        callbacks = self._callbacks_of(self.n_members)
        learners = self._begun() if reset else self.estimators_
        shared = self.get_params(deep=False), {name: it for name, it in self._learned().items() if name not in OF_NET}
        for place, (learner, watching) in enumerate(zip(learners, callbacks, strict=True)):
            settings, learned = copy.deepcopy(shared) if place else shared  # each has parts of its own
            own = {"n_members": 1, "random_state": learner.random_state, "callbacks": watching}
            learner.set_params(**settings | own)
            learner.__dict__.update(learned)
        return learners

    def _begun(self) -> list[Self]:
        """So many new ones; the random state that has drawn their seeds goes on to draw their rows."""
        with self._naming("random_state"):
            self._random = random_of(self.random_state)
        return [type(self)(random_state=int(seed)) for seed in self._random.randint(SEEDS, size=self.n_members)]

    def _shares(self, data: TrainingSet, labels: NDArray[Any] | None, *, streamed: bool) -> list[Share]:
        """What each net learns from: the same rows whenever a fit goes on, others of each part where data come in parts."""
        if self.n_members == 1 or self.resample == "seeds":
            return [(data, None)] * self.n_members
        random = self._random if streamed else copy.deepcopy(self._random)
        with self._naming():
            splits = list(resampled(self.resample, self.n_members, labels, data.X.shape[0], 0.0, random))
        return [(data.take(train), data.take(held) if len(held) else None) for train, held in splits]

    def _join(self, learners: list[Self]) -> None:
        """Be one of what these have learned."""
        first = learners[0]
        if first is self:
            return
        self.estimators_ = learners
        self.__dict__.update({name: getattr(first, name) for name in MEASURED}, _before=None)
        models, link = [learner.model_ for learner in learners], self._link()
        self.model_ = side_by_side(models, models[0].out_shape[-1]) if link is None else mean_of(models, link)

    # --------------------------------------------------------------------------------------------------- using the nets

    def _average(self, X: Any, of: Callable[[NDArray[Any]], NDArray[Any]], return_std: bool = False) -> Any:
        """The mean over the nets of what is made of their outputs, and with ``return_std`` how far they are from it."""
        if not self._several and not return_std:
            return of(self._raw(X))
        rows = self._rows(X)
        each = [of(net.model_.predict(rows, n_threads=self.n_threads)) for net in self._nets]
        together = np.stack(each, axis=1)  # (rows, members, ...)
        mean = together.mean(axis=1)
        return (mean, self._spread(together)) if return_std else mean
