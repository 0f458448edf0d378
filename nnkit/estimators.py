"""scikit-learn's estimators: a classifier and a regressor whose nets are made of parts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils._repr_html.estimator import _VisualBlock
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from nnkit.core.callback import Callback
from nnkit.core.initializer import Initializer
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.metric import Metric
from nnkit.core.optimizer import Optimizer, UpdaterProgress
from nnkit.core.part import Part, listed
from nnkit.core.schedule import Schedule
from nnkit.engine.critical import interruptible, uninterrupted
from nnkit.engine.memory import aligned_zeros
from nnkit.errors import NotBuiltError, ParameterError, PersistenceError, RegistryError, ShapeError
from nnkit.layers import Linear
from nnkit.model import Sequential
from nnkit.persistence.description import Describer, Restorer
from nnkit.persistence.file import write
from nnkit.persistence.model import describe, pack
from nnkit.training.callbacks import EarlyStopping
from nnkit.training.data import is_sparse
from nnkit.training.fit import Fit
from nnkit.training.history import History

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9 has no callbacks
    CallbackSupportMixin = object

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Leave the method as it is."""
        return method


__all__ = ["NNClassifier", "NNRegressor"]

BATCH = 200  # rows, where batch_size is "auto"

KINDS: dict[str, type[Part]] = {  # what a name stands for, by the hyper-parameter that it is the value of
    "layers": Layer, "activation": Layer, "loss": Loss, "optimizer": Optimizer, "metrics": Metric, "callbacks": Callback,
    "schedule": Schedule, "after": Schedule, "weight_init": Initializer, "bias_init": Initializer,
}  # fmt: skip


def _within(value: Any, path: str, new: Any, kind: type[Part] | None) -> Any:
    """``value`` with what stands at ``path`` in it replaced: ``0__rate`` of a list of layers, ``lr`` of an optimizer."""
    name, _, rest = path.partition("__")
    if isinstance(value, list | tuple | np.ndarray):
        if not name.isdigit() or int(name) >= len(value):
            raise ValueError(f"expected a place from 0 to {len(value) - 1}, got {name!r}")
        items = list(value)
        items[int(name)] = _within(items[int(name)], rest, new, kind) if rest else new
        return tuple(items) if isinstance(value, tuple) else items
    if kind is None and not isinstance(value, Part):
        raise ParameterError(f"expected a part with hyper-parameters of its own, got {value!r}")
    part = value if isinstance(value, Part) or kind is None else kind.make(value)
    return part.replace(**{name: _within(getattr(part, name), rest, new, KINDS.get(name)) if rest else new})


def _random_of(random_state: Any) -> np.random.RandomState:
    """What scikit-learn makes of a random state."""
    try:
        return check_random_state(random_state)
    except (ValueError, TypeError, OverflowError) as error:
        raise ParameterError(f"random_state: expected None, an integer from 0 to 2**32 - 1 or a RandomState ({error}); "
                             "0 will do") from error  # fmt: skip


def _take(rows: Any, *arrays: Any) -> list[Any]:
    """These rows of each array that there is."""
    return [None if array is None else array[rows] for array in arrays]


class _Protocol(Callback):
    """Tells scikit-learn's callbacks about the epochs of a fit; each is a subtask of the estimator's."""

    def __init__(self, estimator: _Estimator, data: dict[str, Any]) -> None:
        self.estimator, self.data = estimator, data

    def on_fit_begin(self, fit: Fit) -> None:
        estimator = self.estimator
        self.root = estimator._init_callback_context(max_subtasks=fit.epochs)
        self.root.call_on_fit_task_begin(estimator=estimator, **self.data)
        self._begin()

    def _begin(self) -> None:
        self.epoch = self.root.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def _end(self, context: Any) -> bool:
        def learned() -> dict[str, Any]:
            return copy.deepcopy(self.estimator._learned())

        return bool(context.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=learned, **self.data))

    def on_epoch_end(self, fit: Fit) -> None:
        if self._end(self.epoch):
            fit.stop("a callback of scikit-learn said so")
        elif fit.epoch + 1 < fit.epochs and not fit.stopping:
            self._begin()

    def on_fit_end(self, fit: Fit) -> None:
        self._end(self.root)


class _Estimator(CallbackSupportMixin, TransformerMixin, ClassNamePrefixFeaturesOutMixin, BaseEstimator):
    """What the classifier and the regressor share: hyper-parameters, the net, training, hidden activations."""

    _default_loss: str
    model_: Sequential
    history_: History
    loss_curve_: list[float]
    n_iter_: int
    n_outputs_: int
    n_features_in_: int
    target_name_: str
    _kinds: ClassVar[dict[str, Any]] = {  # of what a fit leaves behind, beside the net, its history and the optimizer's state
        "n_features_in_": int, "n_outputs_": int, "n_layers_": int, "n_iter_": int, "loss_": float, "loss_curve_": list,
        "_random": np.random.RandomState,
    }  # fmt: skip
    _before: UpdaterProgress | None  # the optimizer, where the last fit has left it
    _random: np.random.RandomState  # goes on from fit to fit, or each would drop the same units in the same order

    def __init__(
        self,
        layers: Any = (100,),
        loss: Any = "auto",
        optimizer: Any = "adam",
        *,
        activation: Any = "relu",
        epochs: int = 200,
        batch_size: int | str = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        metrics: Any = (),
        callbacks: Any = (),
        shuffle: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        dtype: str = "auto",
        n_threads: int | None = None,
        transform_layer: int = -2,
        verbose: bool = False,
    ) -> None:
        self.layers = layers
        self.loss = loss
        self.optimizer = optimizer
        self.activation = activation
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.metrics = metrics
        self.callbacks = callbacks
        self.shuffle = shuffle
        self.warm_start = warm_start
        self.random_state = random_state
        self.dtype = dtype
        self.n_threads = n_threads
        self.transform_layer = transform_layer
        self.verbose = verbose

    # ------------------------------------------------------------------------------------------ hyper-parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyper-parameters by name; with ``deep``, also those of parts: ``optimizer__lr``, ``layers__0__out_features``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for name, value in list(params.items()):
                items = enumerate(value) if isinstance(value, list | tuple | np.ndarray) else [("", value)]
                for place, item in items:
                    path = f"{name}__{place}" if place != "" else name
                    params[path] = item
                    if isinstance(item, Part):
                        params |= {f"{path}__{inner}": number for inner, number in item.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters by name, also those of parts (and of parts that are given by name)."""
        known = self._get_param_names()
        for key, value in sorted(params.items(), key=lambda item: item[0].count("__")):  # the whole before its pieces
            name, _, path = key.partition("__")
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {known!r}.")
            if path:
                try:
                    whole = self._make_loss() if name == "loss" else getattr(self, name)
                    value = _within(whole, path, value, KINDS.get(name))
                except (ValueError, RegistryError, AttributeError) as error:
                    raise ValueError(f"Invalid parameter {key!r} for estimator {self}: {error}") from error
            setattr(self, name, value)
        return self

    def _sk_visual_block_(self) -> Any:
        """The layers, one below the other, for the HTML that notebooks show."""
        model = getattr(self, "model_", None)
        layers = list(model) if model is not None else self._hidden()
        return _VisualBlock(
            "serial", layers, names=[type(layer).__name__ for layer in layers], name_details=list(map(repr, layers)),
            dash_wrapped=False,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- the net

    def _hidden(self) -> list[Layer]:
        """All layers but the last; a number stands for so many units and the activation."""
        layers: list[Layer] = []
        for item in listed(self.layers):
            size = isinstance(item, Integral) and not isinstance(item, bool)
            if size:  # with the initial weights that scikit-learn's nets have
                layers += [Linear(int(item), weight_init="glorot_uniform"), Layer.make(self.activation)]
            else:
                layers.append(Layer.make(item, "layers"))
        return layers

    def _make_loss(self) -> Loss:
        return Loss.make(self._default_loss if isinstance(self.loss, str) and self.loss == "auto" else self.loss, "loss")

    def _dtype(self, X: Any) -> str:
        if self.dtype not in ("auto", "float32", "float64"):
            raise ParameterError(f"dtype: expected 'auto', 'float32' or 'float64', got {self.dtype!r}")
        return ("float32" if X.dtype == np.float32 else "float64") if self.dtype == "auto" else self.dtype

    # ------------------------------------------------------------------------------------------------------ training

    def _encode(self, y: Any, loss: Loss) -> NDArray[Any]:
        """Targets as the loss wants them."""
        raise NotImplementedError

    def _outputs(self, loss: Loss, columns: int) -> int:
        """Width of the last layer whose targets have so many columns."""
        for width in (columns, 2 * columns):
            with suppress(ShapeError):
                if loss.target_shape((width,)) == (columns,):
                    return width
        raise ParameterError(f"{loss!r}: expected a loss whose targets are numbers, as those of a regressor are")

    def _weights(self, y: Any, sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return sample_weight

    def _check_rows(self, X: Any) -> Any:
        """Rows like those that the net was trained on."""
        plain = type(X) is np.ndarray and X.ndim == 2 and X.dtype in (np.float32, np.float64) and len(X) > 0
        named = hasattr(self, "feature_names_in_")
        with np.errstate(over="ignore", invalid="ignore"):  # of sums, which only say whether to look closer
            if plain and not named and X.shape[1] == self.n_features_in_ and np.isfinite(X.sum()):
                return X  # all that validate_data would look at, and five times as fast for one row
            return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)

    def _check_pairs(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Rows and their targets; with ``reset``, note how many features there are and their names."""
        return validate_data(
            self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], multi_output=True, reset=reset
        )

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train the net; from scratch, unless ``warm_start``.

        Parameters
        ----------
        X : array, data frame or CSR matrix of shape (n_samples, n_features)
        y : targets
        sample_weight : (n_samples,), optional: a row of weight 2 counts as much as two
        X_val, y_val : a validation set of one's own, evaluated after every epoch

        Returns
        -------
        self
        """
        again = self.warm_start and hasattr(self, "model_")
        if (X_val is None) != (y_val is None):
            raise ValueError("fit: expected both X_val and y_val, or none, got one of them")
        watched = bool(getattr(self, "_skl_callbacks", None)) or hasattr(self, "_parent_callback_ctx")
        validation = None if X_val is None else (X_val, y_val)
        return self._train(X, y, sample_weight, self.epochs, reset=not again, validation=validation, watched=watched)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """What has been learned is forgotten again where there is an error: nobody shall predict with half a fit."""
        before = self._learned()
        with uninterrupted:
            try:
                yield
            except BaseException:
                for name in self._learned():
                    delattr(self, name)
                self.__dict__.update(before)
                raise

    def _train(self, X: Any, y: Any, sample_weight: Any, epochs: int, **how: Any) -> Self:
        """Train the net as `_plan` says, which also says what else may be given."""
        with self._all_or_nothing():
            with interruptible():
                settings = self._plan(X, y, sample_weight, **how)
            with self.model_.changing("fit"):
                with interruptible():
                    fit = Fit(self.model_, **settings, epochs=epochs)
                self.history_ = fit.run()
            self._before = fit.updater_progress
            self.loss_curve_ = self.loss_curve_ + self.history_.get("loss", [])
            self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else fit.loss
            self.n_iter_ += self.history_.epochs
        return self

    def _plan(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        reset: bool,
        labels: Any = None,
        validation: tuple[Any, Any] | None = None,
        watched: bool = False,
    ) -> dict[str, Any]:
        """Check everything, and make a net where there is none yet (or a ``reset`` is asked for); what `Fit` is to be given.

        ``labels``: all that will ever come; ``watched``: scikit-learn's callbacks are told.
        """
        if reset:
            self.__dict__.pop("target_name_", None)
            if isinstance(name := getattr(y, "name", None), str):
                self.target_name_ = name
        X, y = self._check_pairs(X, y, reset)
        loss = self._make_loss()
        if loss.of_probabilities:
            raise ParameterError(
                f"loss: expected a loss of raw outputs, such as 'bce_with_logits' or 'cross_entropy', got {loss!r}: "
                "the output layer is linear, and gives no probabilities"
            )
        if sample_weight is not None:
            sample_weight = loss.usable_weights(_check_sample_weight(sample_weight, X, dtype=np.float64))
        if reset:
            self._learn_targets(y, loss, labels)
        target, weights = self._encode(y, loss), self._weights(y, sample_weight)
        if reset:
            self._random = _random_of(self.random_state)
            self.model_ = Sequential([*self._hidden(), Linear(self.n_outputs_)])
            self.model_.build(X.shape[1:], self._random, self._dtype(X))
            self.n_layers_ = len(self.model_)
            self._before, self.loss_curve_, self.n_iter_ = None, [], 0
        held_out = None
        if validation is not None:
            X_val, y_val = self._check_pairs(*validation, reset=False)
            held_out = X_val, self._encode(y_val, loss)
        elif self.early_stopping:
            rows, strata = np.arange(X.shape[0]), self._strata(y)
            left, held = train_test_split(
                rows, test_size=self.validation_fraction, random_state=self._random, stratify=strata
            )
            held_out = tuple(_take(held, X, target, weights))
            X, y, sample_weight, target, weights = _take(left, X, y, sample_weight, target, weights)
        callbacks = [Callback.make(item, "callbacks") for item in listed(self.callbacks)]
        if self.early_stopping:
            callbacks.append(EarlyStopping(patience=self.patience))
        if watched:
            callbacks.append(_Protocol(self, {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}))
        return dict(
            X=X, y=target, loss=loss, optimizer=self.optimizer, batch_size=self._batch(X.shape[0]), validation_data=held_out,
            validation_split=0.0, sample_weight=weights, metrics=self.metrics, callbacks=callbacks, shuffle=self.shuffle,
            random_state=self._random, n_threads=self.n_threads, progress=bool(self.verbose), engine="compiled",
            progress_before=self._before,
        )  # fmt: skip

    def _batch(self, rows: int) -> Any:
        return min(BATCH, rows) if isinstance(self.batch_size, str) and self.batch_size == "auto" else self.batch_size

    def _strata(self, y: Any) -> Any:
        return None

    def _learn_targets(self, y: Any, loss: Loss, labels: Any) -> None:
        raise NotImplementedError

    def _learned(self) -> dict[str, Any]:
        """All that a fit leaves behind, as it is now."""
        private = ("_multilabel", "_columns", "_before", "_random")
        return {name: value for name, value in vars(self).items() if name.endswith("_") or name in private}

    # ------------------------------------------------------------------------------------------------------- in a file

    def save(self, path: Any) -> None:
        """Write the fitted estimator to one file: hyper-parameters, the net, labels, history, the optimizer's state.

        The file is that of `Sequential.save`: nothing in it can be executed, `nnkit.load` gives the estimator back, and
        `partial_fit` and warm starts go on as if it had never been away.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        NotBuiltError
            The estimator is not fitted.
        PersistenceError
            A hyper-parameter cannot be described (a class that is not registered, a function), or the system refuses.

        Examples
        --------
        >>> import tempfile
        >>> from sklearn.datasets import load_iris
        >>> import nnkit as nn
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = nn.NNClassifier(layers=[16], epochs=5, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.save(f"{folder}/iris.safetensors")
        ...     again = nn.load(f"{folder}/iris.safetensors")
        >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
        True
        """
        who = type(self).__name__
        if type(self) not in ESTIMATORS.values():
            raise PersistenceError(f"{who}.save: expected one of {', '.join(ESTIMATORS)}; save its net, {who}.model_, instead")
        if not hasattr(self, "model_"):
            raise NotBuiltError(f"{who}.save: expected a fitted estimator; call fit first")
        describer, learned = Describer(), self._learned()
        net, history, before = (learned.pop(name) for name in ("model_", "history_", "_before"))
        model = describe(net, describer)
        described = {
            "class": who,
            "parameters": {name: describer.describe(value, f"{who}'s {name}")
                           for name, value in self.get_params(deep=False).items()},
            "learned": {name: describer.describe(value, f"{who}'s {name}") for name, value in learned.items()},
            "history": describer.describe(history.record(), "the history"),
            "optimizer": describer.describe(_describable(net, before), "the optimizer's state"),
        }  # fmt: skip
        write(path, *pack(describer, model=model, estimator=described))

    @classmethod
    def check_learned(cls, learned: dict[str, Any], model: Sequential) -> None:
        """Refuse attributes that are not those of a fitted estimator with this net."""
        missing = cls._kinds.keys() - learned.keys()
        more = learned.keys() - cls._kinds.keys() - {"feature_names_in_", "target_name_"}
        wrong = [name for name, kind in cls._kinds.items() if name in learned and not isinstance(learned[name], kind)]
        sizes = (learned.get("n_features_in_"), learned.get("n_outputs_"), learned.get("n_layers_"))
        names = learned.get("feature_names_in_", np.empty(model.in_shape, object))
        if missing or more or wrong or sizes != (*model.in_shape, *model.out_shape, len(model)):
            raise PersistenceError(f"expected the attributes {', '.join(cls._kinds)} of a fitted {cls.__name__}")
        if not isinstance(names, np.ndarray) or names.shape != model.in_shape:
            raise PersistenceError(f"expected {model.in_shape[0]} names of features")
        if not isinstance(learned.get("target_name_", ""), str):
            raise PersistenceError("expected the name of a target")

    # --------------------------------------------------------------------------------------------------- using the net

    def _raw(self, X: Any) -> NDArray[Any]:
        """What the last layer gives."""
        if not hasattr(self, "model_"):
            check_is_fitted(self, "model_")  # takes its time
        return self._outputs_of(self.model_, X)

    def _outputs_of(self, net: Sequential, X: Any) -> NDArray[Any]:
        X = self._check_rows(X)
        return net.predict(X if is_sparse(X) else np.asarray(X, net.dtype), n_threads=self.n_threads)

    def transform(self, X: Any) -> NDArray[Any]:
        """Activations of a hidden layer, that of ``transform_layer``: features that the net has learnt.

        Returns
        -------
        (n_samples, n_units) array; X itself where there is no hidden layer
        """
        check_is_fitted(self, "model_")
        net = self._hidden_net()
        if net is None:
            return self._check_rows(X).astype(self.model_.dtype)
        hidden = self._outputs_of(net, X)
        return hidden.reshape(len(hidden), -1)

    def _hidden_net(self) -> Sequential | None:
        """The layers up to the one whose output `transform` gives; none where the last hidden one is asked for, and absent."""
        places = range(len(self.model_))
        if len(places) == 1 and self.transform_layer == -2:
            return None
        if not -len(places) <= self.transform_layer < len(places):
            raise ParameterError(
                f"transform_layer: expected a place among {len(places)} layers, from {-len(places)} to {len(places) - 1} "
                f"(the last one is the output), got {self.transform_layer!r}"
            )
        return self.model_[: places[self.transform_layer] + 1]

    @property
    def _n_features_out(self) -> int:
        net = self._hidden_net()
        return self.n_features_in_ if net is None else prod(net.out_shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"] if self.dtype == "auto" else [self.dtype]
        return tags


def _describable(net: Sequential, before: UpdaterProgress | None) -> dict[str, Any] | None:
    """How far the optimizer has come, the states by the names of the parameters that they belong to."""
    if before is None:
        return None
    states = {name: net.network.views(state) for name, state in before.states.items()}
    observed = before.schedule.observed()
    return {"optimizer": before.kind, "steps": before.steps, "schedule": before.schedule, "observed": observed,
            "states": states}  # fmt: skip


def _progress(net: Sequential, described: Any) -> UpdaterProgress | None:
    """What `_describable` has described."""
    if described is None:
        return None
    optimizer, schedule = Optimizer.registry[described["optimizer"]], Schedule.make(described["schedule"])
    steps, given = described["steps"], described["states"]
    if type(steps) is not int or not 0 <= steps < 2**53 or set(given) != set(optimizer.states):
        raise PersistenceError(f"expected the steps and the states of {optimizer.__name__}")
    schedule.resume(described["observed"])
    states = {name: aligned_zeros(net.network.vector.size, net.dtype) for name in optimizer.states}
    for name, state in states.items():
        views = net.network.views(state)
        came = {parameter: (array.dtype, array.shape) for parameter, array in given[name].items()}
        if came != {parameter: (view.dtype, view.shape) for parameter, view in views.items()}:
            raise PersistenceError(f"expected the state {name!r} of the optimizer for every parameter")
        for parameter, view in views.items():
            view[...] = given[name][parameter]
    return UpdaterProgress(optimizer, steps, schedule, states)


def _predicts_probabilities(estimator: NNClassifier) -> bool:
    loss = estimator._make_loss()
    if type(loss).probabilities is Loss.probabilities:
        raise AttributeError(f"{loss!r} gives no probabilities; use decision_function, or a loss such as 'cross_entropy'")
    return True


class NNClassifier(ClassifierMixin, _Estimator):
    """A neural network that classifies, as a scikit-learn estimator.

    Parameters
    ----------
    layers : list of hidden sizes, layers and names (or one alone): ``[64, nn.Dropout(0.2), 32]``, ``[nn.Linear(64), "tanh"]``.
        A size stands for a `Linear` layer and ``activation``; the output layer is added, a `Linear` one that follows from y.
    loss : Loss or its name; "auto" is cross-entropy, for several labels a row binary cross-entropy of each. It sees the raw
        outputs of the last `Linear` layer: losses of probabilities ("bce", "nll", "kl_div") do not fit, take "bce_with_logits"
        or "cross_entropy".
    optimizer : Optimizer or its name
    activation : activation or its name, after each size in ``layers``
    epochs : int >= 1
    batch_size : int >= 1, or "auto": 200, or all rows where there are fewer
    early_stopping : stop when the validation loss has not improved for ``patience`` epochs, and go back to the best
    validation_fraction : float in (0, 1), held out for early stopping where `fit` is given no validation set
    patience : int >= 0, epochs
    metrics, callbacks : lists of parts or names (or one alone); see `Sequential.fit`
    class_weight : None, "balanced", or a dict from labels to weights
    shuffle : draw the rows in a new order each epoch
    warm_start : go on from the present net, with the optimizer's state
    random_state : None, int or RandomState; `partial_fit` and warm starts go on drawing where the last call has ended
    dtype : "float32", "float64", or "auto", that of X. Float32 (of X, or asked for here) trains about twice as fast.
    n_threads : int, optional; all cores by default, within joblib's workers their share. The result does not depend on it.
    transform_layer : which layer's output `transform` gives; -2 is the last hidden one, or X where there is none
    verbose : show a line of progress

    Attributes
    ----------
    model_ : Sequential
    classes_ : labels
    loss_curve_, loss_ : training loss of each epoch, and of the last
    n_iter_ : epochs done
    history_ : History of the last fit
    n_features_in_, feature_names_in_, n_outputs_, n_layers_
    target_name_ : name of y, where it had one (a pandas Series)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import nnkit as nn
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = nn.NNClassifier(layers=[16, nn.Dropout(0.1)], optimizer=nn.Adam(lr=0.01), random_state=0).fit(X, y)
    >>> bool(clf.score(X, y) > 0.9)
    True
    >>> clf.set_params(optimizer__lr=0.02).optimizer
    Adam(lr=0.02)
    """

    _default_loss = "cross_entropy"
    _kinds = _Estimator._kinds | {"classes_": np.ndarray, "_multilabel": bool}
    classes_: NDArray[Any]
    _multilabel: bool

    def __init__(
        self,
        layers: Any = (100,),
        loss: Any = "auto",
        optimizer: Any = "adam",
        *,
        activation: Any = "relu",
        epochs: int = 200,
        batch_size: int | str = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        metrics: Any = (),
        callbacks: Any = (),
        class_weight: Any = None,
        shuffle: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
        dtype: str = "auto",
        n_threads: int | None = None,
        transform_layer: int = -2,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            layers, loss, optimizer, activation=activation, epochs=epochs, batch_size=batch_size,
            early_stopping=early_stopping, validation_fraction=validation_fraction, patience=patience, metrics=metrics,
            callbacks=callbacks, shuffle=shuffle, warm_start=warm_start, random_state=random_state, dtype=dtype,
            n_threads=n_threads, transform_layer=transform_layer, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    @classmethod
    def check_learned(cls, learned: dict[str, Any], model: Sequential) -> None:
        super().check_learned(learned, model)
        shape, outputs = learned["classes_"].shape, learned["n_outputs_"]
        if shape != (outputs,) and not (shape == (2,) and outputs == 1 and not learned["_multilabel"]):
            raise PersistenceError(f"expected labels for {outputs} outputs, got {shape}")

    def _make_loss(self) -> Loss:
        several = getattr(self, "_multilabel", False) and isinstance(self.loss, str) and self.loss == "auto"
        return Loss.make("bce_with_logits") if several else super()._make_loss()

    def _check_pairs(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = super()._check_pairs(X, y, reset)
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("NNClassifier: expected one label a row, or 0 and 1 for each of several, got several labels a row")
        if reset:
            self._multilabel = kind == "multilabel-indicator"
        if not self._multilabel:
            y = column_or_1d(y, warn=reset)
        elif hasattr(y, "toarray"):
            y = y.toarray()
        return X, y

    def _learn_targets(self, y: Any, loss: Loss, labels: Any) -> None:
        self.classes_ = np.arange(y.shape[1]) if self._multilabel else np.unique(y if labels is None else labels)
        if self._multilabel and loss.classes:
            raise ParameterError(f"{loss!r}: expected a loss of numbers for several labels a row, such as 'bce_with_logits'")
        if self._multilabel and labels is not None and not np.array_equal(unique_labels(labels), self.classes_):
            raise ValueError(f"classes: expected {self.classes_}, one for each column of y, got {labels!r}")
        binary = len(self.classes_) == 2 and not (loss.classes or self._multilabel)
        self.n_outputs_ = 1 if binary else len(self.classes_)

    def _encode(self, y: Any, loss: Loss) -> NDArray[Any]:
        y = np.asarray(y)
        if self._multilabel:
            member = y.astype(bool)
        else:
            codes = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
            unknown = self.classes_[codes] != y
            if unknown.any():
                raise ValueError(f"NNClassifier: expected labels of {self.classes_}, got {y[unknown][0]!r}, none of them")
            if loss.classes:
                return np.asarray(codes, np.int64)
            member = codes[:, None] == (np.arange(len(self.classes_)) if self.n_outputs_ > 1 else [1])
        low, high = self._levels(loss)
        return np.where(member, high, low)

    @staticmethod
    def _levels(loss: Loss) -> tuple[float, float]:
        """What stands for no and yes among the targets of a loss of numbers."""
        if loss.target_values is not None:
            return min(loss.target_values), max(loss.target_values)
        bounded = np.isfinite([loss.target_low, loss.target_high]).all()
        return (loss.target_low, loss.target_high) if bounded else (-1.0, 1.0)

    @staticmethod
    def _yes(raw: NDArray[Any], loss: Loss) -> NDArray[np.bool_]:
        """Where outputs that each stand for a label say yes."""
        given = loss.probabilities(raw.astype(np.float64))
        return raw > 0 if given is None else given > 0.5

    def _weights(self, y: Any, sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return sample_weight
        weights = np.ones(len(y)) if sample_weight is None else sample_weight
        if not isinstance(self.class_weight, str):
            with np.errstate(over="ignore"):  # infinite ones are refused
                return np.asarray(weights * compute_sample_weight(self.class_weight, y))
        if self.class_weight != "balanced":
            raise ParameterError(f"class_weight: expected None, 'balanced' or a dict, got {self.class_weight!r}")
        balanced = weights.copy()
        for column in y.reshape(len(y), -1).T:
            _, codes = np.unique(column, return_inverse=True)
            mass = np.bincount(codes, weights)  # of each class; scikit-learn before 1.9 would count rows
            balanced *= weights.sum() / (np.count_nonzero(mass) * np.where(mass > 0, mass, 1.0))[codes]
        return balanced

    def _strata(self, y: Any) -> Any:
        return None if self._multilabel else y

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more epoch on these rows, with the optimizer's state of the last one.

        Parameters
        ----------
        X, y : rows and labels
        classes : all labels that will ever come; needed at the first call
        sample_weight : (n_samples,), optional
        """
        first = not hasattr(self, "model_")
        if first and classes is None and type_of_target(y) != "multilabel-indicator":
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if not first and classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}")
        return self._train(X, y, sample_weight, 1, reset=first, labels=classes)

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels; for several labels a row, 0 and 1 for each."""
        raw, loss = self._raw(X), self._make_loss()
        if self._multilabel:
            return self._yes(raw, loss).astype(np.int64)
        if self.n_outputs_ == 1 and len(self.classes_) == 2:
            return np.asarray(self.classes_[self._yes(raw, loss).ravel().astype(int)])
        return np.asarray(self.classes_[raw.argmax(axis=1)])

    @available_if(_predicts_probabilities)
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class; for several labels a row, of each label."""
        given = self._make_loss().probabilities(self._raw(X).astype(np.float64))
        assert given is not None
        if self._multilabel:
            return given
        if self.n_outputs_ == 1 and len(self.classes_) == 2:
            return np.hstack([1 - given, given])
        return np.asarray(given / given.sum(axis=1, keepdims=True))

    @available_if(_predicts_probabilities)
    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Raw outputs of the net; for two classes how far the second is ahead."""
        raw = self._raw(X)
        if self._multilabel or raw.shape[1] > 2 or len(self.classes_) == 1:
            return raw if raw.shape[1] > 1 or self._multilabel else raw[:, 0]
        return np.asarray(raw[:, 1] - raw[:, 0] if raw.shape[1] == 2 else raw[:, 0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class NNRegressor(RegressorMixin, _Estimator):
    """A neural network that predicts numbers, as a scikit-learn estimator.

    Parameters
    ----------
    layers, optimizer, activation, epochs, batch_size : as those of `NNClassifier`
    early_stopping, validation_fraction, patience, metrics, callbacks : as those of `NNClassifier`
    loss : Loss or its name: "mse" (which "auto" is), "mae", "huber", "quantile", "poisson_nll", "gaussian_nll", yours;
        like those of `NNClassifier` it sees the raw outputs of the last `Linear` layer
    shuffle, warm_start, random_state, dtype, n_threads, transform_layer, verbose : as those of `NNClassifier`

    Attributes
    ----------
    model_ : Sequential
    loss_curve_, loss_ : training loss of each epoch, and of the last
    n_iter_ : epochs done
    history_ : History of the last fit
    n_features_in_, feature_names_in_, n_outputs_, n_layers_
    target_name_ : name of y, where it had one (a pandas Series)

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> import nnkit as nn
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = nn.NNRegressor(layers=[32], loss="huber", epochs=300, random_state=0).fit(scale(X), scale(y))
    >>> bool(net.score(scale(X), scale(y)) > 0.4)
    True
    """

    _default_loss = "mse"
    _kinds = _Estimator._kinds | {"_columns": int | None}
    _columns: int | None  # of y; None where it was (n_samples,)

    def _check_pairs(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = super()._check_pairs(X, y, reset)
        return X, np.asarray(y, np.float64)

    def _learn_targets(self, y: Any, loss: Loss, labels: Any) -> None:
        self._columns = y.shape[1] if y.ndim == 2 else None
        self.n_outputs_ = self._outputs(loss, self._columns or 1)

    def _encode(self, y: Any, loss: Loss) -> NDArray[Any]:
        y = np.asarray(y, np.float64)
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One more epoch on these rows, with the optimizer's state of the last one."""
        return self._train(X, y, sample_weight, 1, reset=not hasattr(self, "model_"))

    def rescale(self, center: float, scale: float) -> Self:
        """Predict ``scale * p + center`` from now on, where the prediction was p.

        For a net that was trained on (y - center) / scale: its last layer is linear, so that weight becomes scale * weight, and
        bias scale * bias + center. What the optimizer has noted does not fit any longer, and is forgotten.

        Examples
        --------
        >>> import nnkit as nn, numpy as np
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1000.0, 1100.0, 1200.0])
        >>> net = nn.NNRegressor(layers=[], optimizer=nn.SGD(lr=0.1), epochs=200, random_state=0)
        >>> net.fit(X, (y - y.mean()) / y.std()).rescale(y.mean(), y.std()).predict(X).round()
        array([1000., 1100., 1200.])
        """
        check_is_fitted(self, "model_")
        parameters, last = self.model_.parameters(), len(self.model_) - 1
        weight, bias = parameters[f"{last}.weight"], parameters[f"{last}.bias"]
        weight *= scale
        bias[:] = bias.astype(np.float64) * scale + center
        self._before = None
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predicted values, (n_samples,) or (n_samples, n_outputs), as y was."""
        decided = self._make_loss().decide(self._raw(X))
        return decided.ravel() if self._columns is None else decided

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


ESTIMATORS: dict[str, type[_Estimator]] = {kind.__name__: kind for kind in (NNClassifier, NNRegressor)}


def restored(described: Any, restorer: Restorer, model: Sequential) -> _Estimator:
    """The estimator that `save` has described, around its net.

    Raises
    ------
    PersistenceError
        It was not described so.
    """
    names = {"class", "parameters", "learned", "history", "optimizer"}
    if not isinstance(described, dict) or set(described) != names or described["class"] not in [*ESTIMATORS]:
        raise PersistenceError(f"expected one of {', '.join(ESTIMATORS)}")
    if not isinstance(described["parameters"], dict) or not isinstance(described["learned"], dict):
        raise PersistenceError("expected parameters and attributes by name")
    kind = ESTIMATORS[described["class"]]
    parameters, learned = ({name: restorer.restore(value) for name, value in described[group].items()}
                           for group in ("parameters", "learned"))  # fmt: skip
    kind.check_learned(learned, model)
    who = described["class"]
    parameters["callbacks"] = restorer.quiet(parameters.get("callbacks", ()), f"callbacks of {who}")
    for name, value in parameters.items():
        of = None if isinstance(value, str) and value == "auto" else KINDS.get(name)
        restorer.accepted(value, f"{who}'s {name[:40]}", of)
    history = restorer.make("the history", History.of, restorer.restore(described["history"]))
    progress = restorer.accepted(restorer.restore(described["optimizer"]), "the optimizer's state")
    before = restorer.make("the optimizer's state", _progress, model, progress)
    estimator: _Estimator = restorer.make(described["class"], lambda: kind(**parameters))
    for name, value in {**learned, "model_": model, "history_": history, "_before": before}.items():
        setattr(estimator, name, value)
    return estimator
