"""What estimators of tables share: a scheme reads the table, a recipe says what net it has, and several nets may vote."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from math import ceil, prod
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from nnkit.core.callback import Callback
from nnkit.core.calls import explained
from nnkit.core.exchange import File, Value
from nnkit.core.part import listed
from nnkit.engine.critical import interruptible
from nnkit.engine.workers import available_threads
from nnkit.errors import ParameterError, PersistenceError
from nnkit.estimators.budget import TRIAL, Deadline, Until, fitting, require_seconds, seconds_of
from nnkit.estimators.learned import NetRows
from nnkit.estimators.legs import on_leg
from nnkit.estimators.members import OfMembers, Several, by_member, side_by_side
from nnkit.estimators.parameters import random_of
from nnkit.estimators.recipes import Recipe, recipe_of
from nnkit.estimators.resampling import SEEDS, resampled
from nnkit.estimators.saving import described
from nnkit.model import Sequential
from nnkit.network import network_of
from nnkit.persistence.file import write
from nnkit.tables.scheme import TableScheme
from nnkit.tables.targets import Classes, Scaled, names_of
from nnkit.training.callbacks import EarlyStopping
from nnkit.training.fit import Fit
from nnkit.training.together import fit_together

__all__ = ["TableEstimator"]

NONE = np.empty(0, np.int64)  # rows


class Rows(NamedTuple):
    """Rows as a net reads them, what it is to say of them, and what they weigh."""

    X: NDArray[Any]
    target: NDArray[Any]
    weights: NDArray[np.float64] | None

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """These alone."""
        return Rows(self.X[rows], self.target[rows], None if self.weights is None else self.weights[rows])


class Job(NamedTuple):
    """What one net is to learn from, and for how long."""

    train: Rows
    held: Rows
    seed: int
    epochs: int
    callbacks: Sequence[Callback]

    def anew(self, data: Rows, epochs: int) -> Job:
        """The same from all rows, for so many epochs."""
        return self._replace(train=data, held=data.take(NONE), callbacks=[*self.callbacks, Until(epochs)])


class TableEstimator(Several):
    """What the classifier and the regressor of tables share."""

    _targets: ClassVar[type[Classes] | type[Scaled]]
    _classes: ClassVar[bool]
    _remedy = "fit with n_members=5, or with recipe='tabm'"
    _metric: ClassVar[type[OfMembers]]  # of the rows held out: it says what the best epoch is
    _kinds: ClassVar[dict[str, Any]] = {
        "scheme_": TableScheme, "targets_": Classes | Scaled, "recipe_": str, "n_iter_": int, "loss_": float,
        "loss_curve_": list, "best_epochs_": list,
    }  # fmt: skip
    scheme_: TableScheme
    targets_: Any
    recipe_: str
    best_epochs_: list[int]
    target_names_: list[str]

    def __init__(
        self,
        recipe: str = "td",
        *,
        hidden: Any = None,
        epochs: int = 256,
        batch_size: int = 256,
        validation_fraction: float = 0.2,
        n_members: int = 1,
        resample: str = "folds",
        refit: bool = False,
        categorical: Any = (),
        numeric: Any = (),
        dates: Any = (),
        ignore: Any = (),
        callbacks: Any = (),
        random_state: Any = None,
        n_threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.n_members = n_members
        self.resample = resample
        self.refit = refit
        self.categorical = categorical
        self.numeric = numeric
        self.dates = dates
        self.ignore = ignore
        self.callbacks = callbacks
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    # ------------------------------------------------------------------------------------------------------ training

    @explained
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None, seconds: float | None = None
    ) -> Self:
        """Learn what the columns are, and train a net from scratch, or ``n_members`` of them.

        Parameters
        ----------
        X : a frame (pandas, Polars, PyArrow ...), an array or a list of rows, as `TableScheme` takes them
        y : targets: arrays, lists, or columns of any such library
        sample_weight : (n_samples,), optional: a row of weight 2 counts as much as two; one of weight 0 is not trained on
        X_val, y_val : rows of one's own, of which the error says what the best epoch is; then none are held out
        seconds : about how long it may take: as many epochs as fit in, and where all of them do several times, as many nets, up
            to 8. How many that are depends on the machine, so that another run may give other numbers.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            A hyper-parameter is not what it can be; the message names it.
        DataError, ValueError
            The data cannot be learned from.
        KeyboardInterrupt
            Ctrl-C. What was learned before this call is as it was, as after every error.
        """
        begin = time.perf_counter()
        if (X_val is None) != (y_val is None):
            raise ValueError("fit: expected both X_val and y_val, or none, got one of them")
        with self._all_or_nothing():
            with interruptible():
                recipe, random = self._checked(seconds)
                data = self._read(recipe, X, y, sample_weight)
                own = None if X_val is None else self._own(X_val, y_val)
                deadline = None if seconds is None else begin + seconds
                epochs, members = self._affordable(recipe, data, deadline)
                jobs = self._jobs(data, own, epochs, members, deadline, random)
            fits = self._trained(recipe, jobs)
            with interruptible():
                self.best_epochs_ = [_best(fit) for fit in fits]
                self._learn_doubt(recipe, jobs, fits, shared=own is not None)
            if self.refit:
                fits = self._trained(recipe, [job.anew(data, best) for job, best in zip(jobs, self.best_epochs_, strict=True)])
            with interruptible():
                self._take(fits)
        return self

    def _checked(self, seconds: Any) -> tuple[Recipe, np.random.RandomState]:
        """Check the hyper-parameters."""
        with self._naming("random_state"):
            random = random_of(self.random_state)
        with self._naming():
            recipe = recipe_of(self.recipe)
        self._require_members()
        counts = {"batch_size": self.batch_size, "epochs": self.epochs}
        for name, given in [*counts.items(), *(("hidden", size) for size in self._sizes(recipe))]:
            if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
                raise ParameterError(f"{type(self).__name__}: {name}: expected integers of at least 1, got {given!r}")
        self._require_switches("refit")
        if seconds is not None:
            require_seconds(seconds, type(self).__name__)
        return recipe, random

    def _sizes(self, recipe: Recipe) -> Sequence[Any]:
        return recipe.hidden if self.hidden is None else listed(self.hidden)

    def _read(self, recipe: Recipe, X: Any, y: Any, sample_weight: Any) -> Rows:
        """Learn what columns and targets are; the rows that weigh something, as the net learns them."""
        self.recipe_ = self.recipe
        self.scheme_ = TableScheme(categorical=self.categorical, numeric=self.numeric, dates=self.dates, ignore=self.ignore,
                                   max_one_hot=recipe.max_one_hot)  # fmt: skip
        rows = _something(self.scheme_.fit_transform(X))
        self.targets_ = self._targets.of(y)
        self.__dict__.pop("target_names_", None)
        if names := names_of(y):
            self.target_names_ = names
        target = self._encoded(y)
        check_consistent_length(rows, target)
        weights = self._usable_weights(sample_weight, rows, recipe.loss(classes=self._classes))
        data = Rows(rows, target, self._weights(target, weights))
        return data if data.weights is None else data.take(np.flatnonzero(data.weights))

    def _own(self, X_val: Any, y_val: Any) -> Rows:
        """Rows that the user holds out."""
        own = Rows(self._matrix(X_val), self._encoded(y_val), None)
        check_consistent_length(own.X, own.target)
        return own

    def _affordable(self, recipe: Recipe, data: Rows, deadline: float | None) -> tuple[int, int]:
        """How many epochs and nets there is time for."""
        if deadline is None:
            return self.epochs, self.n_members
        trial = Job(data, data.take(NONE), 0, self.epochs, ())
        epoch = seconds_of(*self._task(recipe, trial), TRIAL * (deadline - time.perf_counter()))
        left = (deadline - time.perf_counter()) / (1 + self.refit)
        return fitting(left, epoch, available_threads(self.n_threads), self.epochs, self.n_members)

    def _jobs(
        self, data: Rows, own: Rows | None, epochs: int, members: int, deadline: float | None, random: np.random.RandomState
    ) -> list[Job]:
        """What each net is to learn from."""
        callbacks, ends = self._callbacks_of(members), [] if deadline is None else [Deadline(deadline)]
        labels, count = data.target if self._classes else None, len(data.X)
        with self._naming():
            splits = list(resampled(self.resample, members, labels, count, self.validation_fraction, random) if own is None
                          else resampled("seeds", members, None, count, 0.0, random))  # fmt: skip
        return [Job(data.take(split.train), own or data.take(split.held), random.randint(SEEDS), epochs, [*watching, *ends])
                for split, watching in zip(splits, callbacks, strict=True)]  # fmt: skip

    def _trained(self, recipe: Recipe, jobs: Sequence[Job]) -> list[Fit]:
        """The fits of these nets, side by side."""
        tasks = [partial(self._task, recipe, job) for job in jobs]
        return fit_together(tasks, n_threads=self.n_threads, progress=bool(self.verbose))

    def _task(self, recipe: Recipe, job: Job) -> tuple[Sequential, dict[str, Any]]:
        """A net, and what `Fit` is to be given."""
        random, classes = np.random.RandomState(job.seed), self._classes
        train, held, width = job.train, job.held, self._width(self.targets_)
        layers = recipe.layers(self.scheme_, self._sizes(recipe), width, classes=classes)
        model = Sequential(layers).build(train.X.shape[1:], random)
        validated = len(held.X) > 0
        best = EarlyStopping(f"val_{self._metric.name}", keep="last_best", patience=recipe.patience or 0,
                             stop=recipe.patience is not None)  # fmt: skip
        return model, on_leg(dict(
            X=train.X, y=recipe.goals(train.target), sample_weight=train.weights, loss=recipe.loss(classes=classes),
            optimizer=recipe.optimizer(self.scheme_, classes=classes), epochs=job.epochs,
            batch_size=_even(len(train.X), self.batch_size), validation_split=0.0,
            validation_data=(held.X, recipe.goals(held.target), held.weights) if validated else None,
            metrics=[self._metric(width)] if validated else (), callbacks=[*job.callbacks, *[best] * validated],
            shuffle=True, random_state=random, engine="compiled",
        ))  # fmt: skip

    def _learn_doubt(self, recipe: Recipe, jobs: Sequence[Job], fits: Sequence[Fit], *, shared: bool) -> None:
        """Learn from the rows that were held out how far predictions are to be trusted.

        Where all nets have held out the same ones, it is their mean that counts; else each speaks for itself.
        """
        width = self._width(self.targets_)
        said = [by_member(fit.model.predict(job.held.X, n_threads=self.n_threads), width)
                for job, fit in zip(jobs, fits, strict=True) if len(job.held.X)]  # fmt: skip
        if not said:
            self._trust(np.empty((0, 1, width)), jobs[0].held)
            return
        held = [jobs[0].held] if shared else [job.held for job in jobs if len(job.held.X)]
        weights = None if held[0].weights is None else np.concatenate([rows.weights for rows in held])
        together = Rows(held[0].X[:0], np.concatenate([rows.target for rows in held]), weights)
        self._trust(np.concatenate(said, axis=1 if shared else 0), together)

    @abstractmethod
    def _trust(self, said: NDArray[np.float64], held: Rows) -> None:
        """Learn it from what nets have said, (rows, members, width), of rows that were held out."""

    def _take(self, fits: Sequence[Fit]) -> None:
        """Be fitted."""
        self.model_ = side_by_side([cast(Sequential, fit.model) for fit in fits], self._width(self.targets_))
        self.loss_curve_, self.n_iter_ = [], 0
        self._note(fits[0])
        self._before = None  # nothing goes on from here

    def _encoded(self, y: Any) -> NDArray[Any]:
        """Targets as the net learns them."""
        return self.targets_.encode(y)

    def _weights(self, target: NDArray[Any], sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Weights of rows with such targets."""
        return sample_weight

    # --------------------------------------------------------------------------------------------------- using the net

    @property
    def n_features_in_(self) -> int:
        """How many columns tables have; an attribute of the fit."""
        return self._fitted_scheme("n_features_in_").n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """What the columns are called, where they have names; an attribute of the fit."""
        names: NDArray[Any] = self._fitted_scheme("feature_names_in_").feature_names_in_
        return names

    def _fitted_scheme(self, name: str) -> TableScheme:
        if "scheme_" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} before fit")
        return self.scheme_

    def _matrix(self, X: Any) -> NDArray[Any]:
        """Rows as the net reads them."""
        return _something(self.scheme_.transform(X))

    def net_rows(self, X: Any) -> NetRows:
        check_is_fitted(self, "model_")
        rows = self._matrix(X)
        origins = np.resize(self.scheme_.origins(), rows.shape[1])  # where there is nothing, the zeros are of the first
        return NetRows(rows, origins, [column.name for column in self.scheme_.columns_])

    def _said(self, X: Any) -> NDArray[np.float64]:
        """What the nets say, (rows, members, width)."""
        check_is_fitted(self, "model_")
        return by_member(self.model_.predict(self._matrix(X), n_threads=self.n_threads), self._width(self.targets_))

    # ------------------------------------------------------------------------------------------------------- in a file

    def save(self, path: Any) -> None:
        """Write the fitted estimator to one file: hyper-parameters, what the columns are, the net, targets, history.

        Nothing in the file can be executed, and `nnkit.load` gives the estimator back.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        NotBuiltError
            The estimator is not fitted.
        PersistenceError
            A hyper-parameter or a label cannot be described, or the system refuses.
        """
        write(path, *described(self))

    def write_onnx(self, graph: File) -> None:
        """Write all to the graph of a file: the table's columns as its inputs, what is predicted as its outputs."""
        network, width = network_of(self.model_, "onnx.export"), self._width(self.targets_)
        out = graph.net(network, self.scheme_.onnx(graph).astype(network.input_dtype)).astype("float64")
        self._onnx_out(graph, graph.node("Reshape", out, [-1, prod(network.out_shape) // width, width]))

    @abstractmethod
    def _onnx_out(self, graph: File, said: Value) -> None:
        """Write the outputs, of what the nets say, (N, members, width)."""

    def noted(self) -> dict[str, Any]:
        learned = super().noted()
        return learned | {name: learned[name].record() for name in ("scheme_", "targets_")}

    @classmethod
    def recalled(cls, noted: dict[str, Any], model: Sequential) -> dict[str, Any]:
        if noted.keys() - {"target_names_"} != cls._kinds.keys():
            raise PersistenceError(f"expected the attributes {', '.join(cls._kinds)} of a fitted {cls.__name__}")
        scheme, targets = TableScheme.of_record(noted["scheme_"]), cls._targets.of_record(noted["targets_"])
        learned = noted | {"scheme_": scheme, "targets_": targets}
        wrong = [name for name, kind in cls._kinds.items() if not isinstance(learned[name], kind)]
        names = learned.get("target_names_", [])
        if wrong or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise PersistenceError(f"expected {', '.join(wrong or ['target_names_'])} as a fit leaves them")
        try:
            recipe_of(learned["recipe_"])
        except ParameterError as error:
            raise PersistenceError(str(error)) from error
        columns = max(scheme.n_numbers_ + scheme.n_codes_, 1)
        if model.in_shape != (columns,) or model.out_shape[-1:] != (cls._width(targets),) or len(model.out_shape) > 2:
            raise PersistenceError(f"expected the net of a {cls.__name__} to fit its columns and its targets")
        return learned

    @staticmethod
    @abstractmethod
    def _width(targets: Any) -> int:
        """How many outputs such targets have."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inputs = tags.input_tags
        inputs.allow_nan = inputs.string = inputs.categorical = True
        tags.target_tags.required = True
        return tags


def _even(rows: int, batch_size: int) -> int:
    """The size of batches of about ``batch_size`` that are about equal: one of a few rows would count as much as the others."""
    return max(1, ceil(rows / max(1, round(rows / batch_size))))


def _something(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows for a net: one column of zeros where there is nothing to learn from."""
    return rows if rows.shape[1] else np.zeros((len(rows), 1), rows.dtype)


def _best(fit: Fit) -> int:
    """How many epochs the best parameters have been trained for."""
    best = fit.history.best_epoch
    return fit.history.epochs if best is None else best + 1
