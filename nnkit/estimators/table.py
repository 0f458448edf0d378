"""Estimators that take tables as they are: a scheme reads them, a recipe says what net they have, and how it is trained."""

from __future__ import annotations

from abc import abstractmethod
from math import ceil
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from nnkit.core.callback import Callback
from nnkit.core.calls import explained
from nnkit.core.loss import Loss
from nnkit.core.part import listed
from nnkit.errors import DataError, ParameterError, PersistenceError
from nnkit.estimators.learned import Learner
from nnkit.estimators.parameters import random_of
from nnkit.estimators.recipes import recipe_of
from nnkit.estimators.saving import described, saved
from nnkit.estimators.splitting import held_out
from nnkit.estimators.weights import class_weighted
from nnkit.losses import CrossEntropyLoss, MSELoss
from nnkit.model import Sequential
from nnkit.persistence.file import write
from nnkit.tables.scheme import TableScheme
from nnkit.tables.targets import Classes, Scaled
from nnkit.training.callbacks import EarlyStopping

__all__ = ["TableClassifier", "TableRegressor"]


class TableEstimator(Learner):
    """What the classifier and the regressor of tables share."""

    _targets: ClassVar[type[Classes] | type[Scaled]]
    _classes: ClassVar[bool]
    _measured: ClassVar[tuple[str, ...]]  # metrics of the rows held out
    _monitor: ClassVar[str]  # which figure says what the best epoch is
    _kinds: ClassVar[dict[str, Any]] = {
        "scheme_": TableScheme, "targets_": Classes | Scaled, "recipe_": str, "n_iter_": int, "loss_": float,
        "loss_curve_": list,
    }  # fmt: skip
    scheme_: TableScheme
    recipe_: str

    def __init__(
        self,
        recipe: str = "td",
        *,
        hidden: Any = (256, 256, 256),
        epochs: int = 256,
        batch_size: int = 256,
        validation_fraction: float = 0.2,
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
        self.categorical = categorical
        self.numeric = numeric
        self.dates = dates
        self.ignore = ignore
        self.callbacks = callbacks
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    # ------------------------------------------------------------------------------------------------------ training

    @abstractmethod
    def _loss(self) -> Loss:
        """What is trained for."""

    @explained
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Learn what the columns are, and train a net from scratch.

        Parameters
        ----------
        X : a frame (pandas, Polars, PyArrow ...), an array or a list of rows, as `TableScheme` takes them
        y : targets: arrays, lists, or columns of any such library
        sample_weight : (n_samples,), optional: a row of weight 2 counts as much as two; one of weight 0 is not trained on
        X_val, y_val : rows of one's own, of which the error says what the best epoch is; then none are held out

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
        if (X_val is None) != (y_val is None):
            raise ValueError("fit: expected both X_val and y_val, or none, got one of them")
        self._train(lambda: self._plan(X, y, sample_weight, None if X_val is None else (X_val, y_val)))
        self._before = None  # nothing goes on from here
        return self

    def _plan(self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any] | None) -> dict[str, Any]:
        """Check everything, and make the net; what `Fit` is to be given."""
        with self._naming("random_state"):
            random = random_of(self.random_state)
        with self._naming():
            recipe = recipe_of(self.recipe)
        self._check_sizes()
        self.recipe_ = self.recipe
        self.scheme_ = TableScheme(categorical=self.categorical, numeric=self.numeric, dates=self.dates, ignore=self.ignore,
                                   max_one_hot=recipe.max_one_hot).fit(X)  # fmt: skip
        self.targets_ = self._targets.of(y)
        rows, target, loss = self._matrix(X), self._encoded(y), self._loss()
        check_consistent_length(rows, target)
        weights = self._weights(target, self._usable_weights(sample_weight, rows, loss))
        chosen = np.arange(len(rows)) if weights is None else np.flatnonzero(weights)
        held = np.empty(0, np.int64)
        if validation is None:
            with self._naming():
                labels = target[chosen] if self._classes else None
                held = chosen[held_out(labels, len(chosen), self.validation_fraction, random)]
            chosen = np.setdiff1d(chosen, held, assume_unique=True)
        validated: tuple[Any, ...] | None = (rows[held], target[held], None if weights is None else weights[held])
        if validation is not None:
            validated = self._matrix(validation[0]), self._encoded(validation[1])
            check_consistent_length(*validated)
        elif not len(held):
            validated = None
        layers = recipe.layers(self.scheme_, listed(self.hidden), self._width(self.targets_), classes=self._classes)
        self.model_ = Sequential(layers).build(rows.shape[1:], random)
        self._before, self.loss_curve_, self.n_iter_ = None, [], 0
        return dict(
            X=rows[chosen], y=target[chosen], loss=loss, optimizer=recipe.optimizer(self.scheme_, classes=self._classes),
            epochs=self.epochs, batch_size=_even(len(chosen), self.batch_size), validation_data=validated,
            validation_split=0.0, sample_weight=None if weights is None else weights[chosen],
            metrics=self._measured if validated else (), callbacks=self._made_callbacks(validated is not None), shuffle=True,
            random_state=random, n_threads=self.n_threads, progress=bool(self.verbose), engine="compiled",
        )  # fmt: skip

    def _check_sizes(self) -> None:
        sizes = self.hidden if isinstance(self.hidden, list | tuple) else [self.hidden]
        for name, given in [("batch_size", self.batch_size), ("epochs", self.epochs), *(("hidden", size) for size in sizes)]:
            if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
                raise ParameterError(f"{type(self).__name__}: {name}: expected integers of at least 1, got {given!r}")

    def _made_callbacks(self, validated: bool) -> list[Callback]:
        with self._naming("callbacks"):
            callbacks = [Callback.make(item, "callbacks") for item in listed(self.callbacks)]
        best = [EarlyStopping(self._monitor, keep="last_best", stop=False)] if validated else []
        return [*callbacks, *best]

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
        """Rows as the net reads them: one column of zeros where there is nothing to learn from."""
        rows = self.scheme_.transform(X)
        return rows if rows.shape[1] else np.zeros((len(rows), 1), rows.dtype)

    def _raw(self, X: Any) -> NDArray[np.float64]:
        """What the last layer gives."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.predict(self._matrix(X), n_threads=self.n_threads), np.float64)

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

    def noted(self) -> dict[str, Any]:
        learned = super().noted()
        return learned | {name: learned[name].record() for name in ("scheme_", "targets_")}

    @classmethod
    def recalled(cls, noted: dict[str, Any], model: Sequential) -> dict[str, Any]:
        if noted.keys() != cls._kinds.keys():
            raise PersistenceError(f"expected the attributes {', '.join(cls._kinds)} of a fitted {cls.__name__}")
        scheme, targets = TableScheme.of_record(noted["scheme_"]), cls._targets.of_record(noted["targets_"])
        learned = noted | {"scheme_": scheme, "targets_": targets}
        if wrong := [name for name, kind in cls._kinds.items() if not isinstance(learned[name], kind)]:
            raise PersistenceError(f"expected {', '.join(wrong)} as a fit leaves them")
        try:
            recipe_of(learned["recipe_"])
        except ParameterError as error:
            raise PersistenceError(str(error)) from error
        columns = max(scheme.n_numbers_ + scheme.n_codes_, 1)
        if model.in_shape != (columns,) or model.out_shape != (cls._width(targets),):
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


@saved
class TableClassifier(ClassifierMixin, TableEstimator):
    """Classes of the rows of a table, which may have columns of any kind; a net that is trained by a recipe known to be good.

    Columns are read as `TableScheme` says: numbers, categories, text, dates, missing values anywhere. Their names count, not
    their order. A part of the rows is held out, and the parameters of the last of the best epochs are kept.

    Parameters
    ----------
    recipe : "td", RealMLP-TD: embeddings of numbers and of many categories, learnt activations, dropout and weight decay; or
        "td-s", RealMLP-TD-S, which is smaller and faster
    hidden : sizes of the hidden layers; the recipes are made for those of the default
    epochs : int >= 1
    batch_size : int >= 1; batches are about so large, all of about one size
    validation_fraction : float in [0, 1), held out of `fit`, the same share of each class, where it is given no X_val; with 0
        the parameters of the last epoch are kept
    categorical, numeric, dates, ignore : names or places of columns, see `TableScheme`
    class_weight : None, "balanced", or a dict from labels to weights, which those of rows are multiplied by; they count for the
        rows held out, too
    callbacks : callbacks or their names
    random_state : None, int or RandomState
    n_threads : int, optional; all cores by default. The result does not depend on it.
    verbose : show a line of progress

    Attributes
    ----------
    classes_ : labels
    scheme_ : TableScheme, what the columns are; ``scheme_.about()`` says it in words
    model_ : Sequential, the net of the rows of ``scheme_.transform``
    recipe_ : that of the fit
    loss_curve_, loss_ : training loss of each epoch, and of the last
    n_iter_ : epochs done
    history_ : History of the fit; ``history_.best_epoch`` is the one that was kept
    n_features_in_, feature_names_in_

    Examples
    --------
    >>> import nnkit as nn
    >>> rows = [[20.0, "red"], [30.0, "blue"], [None, "red"], [25.0, "blue"]] * 10
    >>> labels = ["apple", "plum", "apple", "plum"] * 10
    >>> net = nn.TableClassifier("td-s", hidden=16, epochs=20, random_state=0).fit(rows, labels)
    >>> net.predict([[22.0, "red"], [28.0, "blue"]]).tolist()
    ['apple', 'plum']

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data".
    """

    _targets = Classes
    _classes = True
    _measured = ("accuracy",)
    _monitor = "val_accuracy"
    targets_: Classes

    def __init__(
        self,
        recipe: str = "td",
        *,
        hidden: Any = (256, 256, 256),
        epochs: int = 256,
        batch_size: int = 256,
        validation_fraction: float = 0.2,
        categorical: Any = (),
        numeric: Any = (),
        dates: Any = (),
        ignore: Any = (),
        class_weight: Any = None,
        callbacks: Any = (),
        random_state: Any = None,
        n_threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            recipe, hidden=hidden, epochs=epochs, batch_size=batch_size, validation_fraction=validation_fraction,
            categorical=categorical, numeric=numeric, dates=dates, ignore=ignore, callbacks=callbacks,
            random_state=random_state, n_threads=n_threads, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    def _loss(self) -> Loss:
        return CrossEntropyLoss(label_smoothing=0.1)

    def _weights(self, target: NDArray[Any], sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        with self._naming("class_weight"):
            return class_weighted(self.class_weight, self.targets_.decode(target[:, None]), sample_weight)

    def _encoded(self, y: Any) -> NDArray[Any]:
        codes = super()._encoded(y)
        if codes.shape[1] > 1:
            raise DataError(f"{type(self).__name__}: y: expected one label a row, shape (n_samples,), got {codes.shape[1]}; "
                            "fit one for each")  # fmt: skip
        return codes[:, 0]

    @staticmethod
    def _width(targets: Any) -> int:
        return len(targets.labels[0])

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels; an attribute of the fit."""
        self._fitted_scheme("classes_")
        return self.targets_.labels[0]

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels, (n_samples,)."""
        raw = self._raw(X)
        return self.targets_.decode(raw.argmax(axis=1)[:, None])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class, (n_samples, n_classes)."""
        given = self._loss().probabilities(self._raw(X))
        assert given is not None
        return np.asarray(given / given.sum(axis=1, keepdims=True))


@saved
class TableRegressor(RegressorMixin, TableEstimator):
    """Numbers for the rows of a table, which may have columns of any kind; a net that is trained by a recipe known to be good.

    Targets, of one output or of several, are learned with mean 0 and standard deviation 1. The recipe "td" predicts nothing
    below the least and above the largest target of training.

    Parameters
    ----------
    recipe, hidden, epochs, batch_size, callbacks, random_state, n_threads, verbose : as those of `TableClassifier`
    validation_fraction : float in [0, 1), held out of `fit`, where it is given no X_val
    categorical, numeric, dates, ignore : names or places of columns, see `TableScheme`

    Attributes
    ----------
    scheme_, model_, recipe_, loss_curve_, loss_, n_iter_, history_, n_features_in_, feature_names_in_ : as those of
        `TableClassifier`

    Examples
    --------
    >>> import nnkit as nn
    >>> rows = [[float(size), town] for size in range(40, 120, 4) for town in ("Bonn", "Jena")]
    >>> rents = [size * (12 if town == "Bonn" else 9) for size, town in rows]
    >>> net = nn.TableRegressor("td-s", hidden=32, epochs=100, random_state=0).fit(rows, rents)
    >>> bool(net.score(rows, rents) > 0.9)
    True

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data".
    """

    _targets = Scaled
    _classes = False
    _measured = ()
    _monitor = "val_loss"
    targets_: Scaled

    def _loss(self) -> Loss:
        return MSELoss()

    @staticmethod
    def _width(targets: Any) -> int:
        return len(targets.mean)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predicted values, (n_samples,) or (n_samples, n_outputs), as y was."""
        raw = self._raw(X)
        given = self.targets_.decode(raw)
        return self.targets_.clamped(given) if recipe_of(self.recipe_).clamps else given

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
