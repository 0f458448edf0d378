"""What a fit leaves behind in an estimator: which attributes, of which types, and how an error takes them back."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from nnkit.core.arrays import refuse_masked
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer, UpdaterProgress
from nnkit.core.trainer import Trainer
from nnkit.engine.critical import uninterrupted
from nnkit.errors import DataError, PersistenceError
from nnkit.estimators.parameters import Nested
from nnkit.model import Sequential
from nnkit.network import network_of
from nnkit.training.fit import Fit
from nnkit.training.history import History

__all__ = ["Learner", "NetRows"]


class NetRows(NamedTuple):
    """Rows as the net of an estimator reads them.

    Attributes
    ----------
    rows : (N, ...)
    origins : of which number in a row of X each number in one of these is made
    names : of the columns of X; of rows with more axes there are none
    """

    rows: NDArray[Any]
    origins: NDArray[np.int64]
    names: list[str]


class Learner(Nested):
    """An estimator that has learned, or has not yet: what files and scikit-learn's callbacks see of it."""

    _kinds: ClassVar[dict[str, Any]] = {  # of what a fit leaves behind, beside the net, its history and the optimizer's state
        "n_features_in_": int, "n_outputs_": int, "n_layers_": int, "n_iter_": int, "loss_": float, "loss_curve_": list,
        "_random": np.random.RandomState,
    }  # fmt: skip
    model_: Sequential
    history_: History
    loss_curve_: list[float]
    loss_: float
    n_iter_: int
    _before: UpdaterProgress | None  # the optimizer, where the last fit has left it
    _random: np.random.RandomState  # goes on from fit to fit, or each would drop the same units in the same order

    @abstractmethod
    def net_rows(self, X: Any) -> NetRows:
        """Rows as the net reads them: who looks at the net, ``model_``, wants those. It raises what `predict` does."""

    def _learned(self) -> dict[str, Any]:
        """All that a fit leaves behind, as it is now."""
        return {name: value for name, value in vars(self).items()
                if name.endswith("_") or name in self._kinds or name in ("_before", "_loss")}  # fmt: skip

    def noted(self) -> dict[str, Any]:
        """The same, as a file can hold it."""
        return self._learned()

    @classmethod
    def recalled(cls, noted: dict[str, Any], model: Sequential) -> dict[str, Any]:
        """What `noted` has told of, beside the net.

        Raises
        ------
        PersistenceError
            It was not told so: the file may come from anybody.
        """
        cls.check_learned(noted, model)
        return noted

    @classmethod
    def check_learned(cls, learned: dict[str, Any], model: Sequential) -> None:
        """Refuse attributes that are not those of a fitted estimator with this net."""
        missing = cls._kinds.keys() - learned.keys()
        more = learned.keys() - cls._kinds.keys() - {"feature_names_in_", "target_name_", "_loss", "optimizer_"}
        wrong = [name for name, kind in cls._kinds.items() if name in learned and not isinstance(learned[name], kind)]
        sizes = (learned.get("n_features_in_"), learned.get("n_outputs_"), learned.get("n_layers_"))
        names = learned.get("feature_names_in_", np.empty(model.in_shape[:1], object))
        if missing or more or wrong or sizes != (model.in_shape[0], *model.out_shape, len(model)):
            raise PersistenceError(f"expected the attributes {', '.join(cls._kinds)} of a fitted {cls.__name__}")
        if not isinstance(names, np.ndarray) or names.shape != model.in_shape[:1]:
            raise PersistenceError(f"expected {model.in_shape[0]} names of features")
        if not isinstance(learned.get("target_name_", ""), str):
            raise PersistenceError("expected the name of a target")
        if "_loss" in learned and not isinstance(learned["_loss"], Loss):
            raise PersistenceError("expected the loss of a fit")
        if "optimizer_" in learned and not isinstance(learned["optimizer_"], Optimizer | Trainer):
            raise PersistenceError("expected the optimizer of a fit")

    def _note(self, fit: Fit) -> None:
        """Take over what a fit has learned and measured; it goes on from what was there."""
        self.history_ = fit.history
        self._before = fit.updater_progress
        self.loss_curve_ = self.loss_curve_ + self.history_.get("loss", [])
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else fit.loss
        self.n_iter_ += self.history_.epochs

    def _usable_weights(self, sample_weight: Any, X: Any, loss: Loss) -> NDArray[np.float64] | None:
        """Weights of rows, one for each of X, as the loss takes them."""
        if sample_weight is None:
            return None
        with self._naming("sample_weight", DataError):
            refuse_masked(sample_weight, "sample_weight")
            checked = _check_sample_weight(sample_weight, X, dtype=np.float64)
        return loss.usable_weights(checked)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """What has been learned is forgotten again where there is an error, or Ctrl-C: nobody shall predict with half a fit."""
        with uninterrupted:
            before = _Before(self._learned())
            try:
                yield
            except BaseException:
                before.restore(self)
                raise


class _Before:
    """What an estimator had learned before a fit, to go back to: a fit that goes on works on the same net, in place."""

    def __init__(self, learned: dict[str, Any]) -> None:
        self.learned = learned
        self.members = [(member, _Before(member._learned())) for member in learned.get("estimators_", [])]
        self.drawn = learned["_random"].get_state() if "_random" in learned else None
        if "model_" in learned:
            network, progress = network_of(learned["model_"], "fit"), learned["_before"]
            self.numbers, self.position = copy.deepcopy(network.arrays()), network.random_position
            if progress is not None:  # the next updater copies its states, but goes on with its schedule
                learned["_before"] = replace(progress, schedule=copy.deepcopy(progress.schedule))

    def restore(self, estimator: Learner) -> None:
        """Be as before."""
        for name in estimator._learned():
            delattr(estimator, name)
        estimator.__dict__.update(self.learned)
        if "model_" in self.learned:
            network_of(self.learned["model_"], "fit").fill(self.numbers, self.position)
        if self.drawn is not None:
            estimator._random.set_state(self.drawn)
        for member, before in self.members:
            before.restore(member)
