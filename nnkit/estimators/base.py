"""What the classifier and the regressor share: a net of hyper-parameters, rows that are checked, training, what layers give."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from math import prod
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._repr_html.estimator import _VisualBlock
from sklearn.utils.validation import (
    check_array,
    check_is_fitted,
    check_non_negative,
    check_X_y,
    validate_data,
)

from nnkit.core.arrays import in_native_order, refuse_masked
from nnkit.core.callback import Callback
from nnkit.core.calls import Absent, explained
from nnkit.core.frames import Frame, column_names
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer
from nnkit.core.part import listed
from nnkit.core.span import Span
from nnkit.core.trainer import Trainer
from nnkit.core.travel import bring_all, taken_along
from nnkit.engine.critical import interruptible
from nnkit.errors import NnkitError, ParameterError, ShapeError
from nnkit.estimators.callbacks import CallbackSupportMixin, Report, reporting, with_callbacks
from nnkit.estimators.choice import suited
from nnkit.estimators.ensemble import Ensemble
from nnkit.estimators.learned import NetRows
from nnkit.estimators.legs import on_leg
from nnkit.estimators.parameters import is_auto, random_of
from nnkit.estimators.saving import described
from nnkit.estimators.splitting import TrainingSet, split
from nnkit.estimators.tags import takes_axes, takes_sparse
from nnkit.layers import Linear
from nnkit.model import Sequential
from nnkit.network import network_of
from nnkit.optimizers import Adam
from nnkit.persistence.file import write
from nnkit.training.callbacks import EarlyStopping
from nnkit.training.data import check_finite, is_sparse
from nnkit.training.together import fit_together

__all__ = ["Estimator"]

BATCH = 200  # rows, where batch_size is "auto"
ROWS: dict[str, Any] = {"accept_sparse": "csr", "dtype": [np.float64, np.float32]}  # what scikit-learn is to make of X


class Estimator(CallbackSupportMixin, TransformerMixin, ClassNamePrefixFeaturesOutMixin, Ensemble):
    """What the classifier and the regressor share: hyper-parameters, the net, training, hidden activations."""

    _default_loss: str
    n_outputs_: int
    n_features_in_: int
    optimizer_: Optimizer | Trainer
    target_name_: str

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
        n_members: int = 1,
        resample: str = "seeds",
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
        self.n_members = n_members
        self.resample = resample

    # ------------------------------------------------------------------------------------------------------- the net

    def _hidden(self) -> list[Layer]:
        """All layers but the last; a number stands for so many units and the activation."""
        layers: list[Layer] = []
        for item in listed(self.layers):
            size = isinstance(item, Integral) and not isinstance(item, bool)
            with self._naming("layers"):
                # sizes stand for layers with the initial weights that scikit-learn's nets have
                layers.append(Linear(int(item), weight_init="glorot_uniform") if size else Layer.make(item, "layers"))
            if size:
                layers.append(self._made(Layer, "activation"))
        return layers

    def _sk_visual_block_(self) -> Any:
        """The layers, one below the other, for the HTML that notebooks show."""
        model = getattr(self, "model_", None)
        layers = list(self._nets[0].model_) if model is not None else self._hidden()
        return _VisualBlock(
            "serial", layers, names=[type(layer).__name__ for layer in layers], name_details=list(map(repr, layers)),
            dash_wrapped=False,
        )  # fmt: skip

    def _part(self, name: str) -> Any:
        return self._make_loss() if name == "loss" else super()._part(name)

    def _first(self) -> Layer:
        """The layer that sees X."""
        return [*self._hidden(), Linear()][0]

    def _make_loss(self) -> Loss:
        return Loss.make(self._default_loss) if is_auto(self.loss) else self._made(Loss, "loss")

    @property
    def _fitted_loss(self) -> Loss:
        """That of the last fit, which says what the outputs mean, whatever ``loss`` is by now."""
        return vars(self).get("_loss") or self._make_loss()

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
        plain = type(X) is np.ndarray and X.dtype in (np.float32, np.float64) and X.ndim > 1 and len(X) > 0
        named = hasattr(self, "feature_names_in_")
        with np.errstate(over="ignore", invalid="ignore"):  # of sums, which only say whether to look closer
            if plain and not named and X.shape[1:] == self.model_.in_shape and np.isfinite(X.sum()):
                return X  # all that validate_data would look at, and five times as fast for one row
            self._refuse_masked(X=X)
            frame = Frame.of(X)
            if frame is None:
                with self._refusing_text("X"):
                    axes = {"allow_nd": len(self.model_.in_shape) > 1}
                    return validate_data(self, in_native_order(X), **ROWS, **axes, reset=False)
            validate_data(self, frame.native, skip_check_array=True, reset=False)
            return check_array(_numbers_of(frame), **ROWS, input_name="X", estimator=self)

    def _refuse_masked(self, **arguments: Any) -> None:
        for name, given in arguments.items():
            with self._naming(name):
                refuse_masked(given, name)

    def _check_pairs(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Rows and their targets; with ``reset``, note how many features there are and their names."""
        self._refuse_masked(X=X, y=y)
        frame, targets = Frame.of(X), Frame.of(y)
        y = in_native_order(y) if targets is None else targets.labels("y")
        if frame is None:
            with self._refusing_text("X"):
                X, y = validate_data(self, in_native_order(X), y, **ROWS, allow_nd=True, multi_output=True, reset=reset)
        else:
            validate_data(self, frame.native, y, skip_check_array=True, reset=reset)  # which looks at names and their order
            X, y = check_X_y(_numbers_of(frame), y, **ROWS, multi_output=True, estimator=self)
        if _looks_up(self._first()):
            check_non_negative(X, type(self).__name__)
        return X, y

    @explained
    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train the net; from scratch, unless ``warm_start``.

        Parameters
        ----------
        X : array, sparse matrix or frame (pandas, Polars, PyArrow ...) of shape (n_samples, n_features); every column of a
            frame has to be of numbers or truth values, and its names are those that `predict` expects. Or an array of
            (n_samples, ...), as the first layer takes it.
        y : targets: arrays, lists, or columns of any such library; labels of any type, categories too
        sample_weight : (n_samples,), optional: a row of weight 2 counts as much as two, whatever batch it is in, and one of
            weight 0 is absent; of a mean loss, only the ratios of the weights count
        X_val, y_val : a validation set of one's own, evaluated after every epoch

        Returns
        -------
        self

        Raises
        ------
        ParameterError, RegistryError
            A hyper-parameter is not what it can be; the message names it.
        DataError, ShapeError, ValueError
            The data cannot be learned from.
        KeyboardInterrupt
            Ctrl-C: a search ends with it. What was learned before this call is as it was, as after every error.
        """
        again = self.warm_start and hasattr(self, "model_")
        if (X_val is None) != (y_val is None):
            raise ValueError("fit: expected both X_val and y_val, or none, got one of them")
        watched = bool(getattr(self, "_skl_callbacks", None)) or hasattr(self, "_parent_callback_ctx")
        validation = None if X_val is None else (X_val, y_val)
        return self._learn(X, y, sample_weight, self.epochs, reset=not again, validation=validation, watched=watched)

    def _check_partial(self) -> None:
        """Refuse what `partial_fit` cannot do.

        To stop early would hold out rows of every call, which nothing is learned from; a trainer begins anew in each.
        """
        if not is_auto(self.optimizer) and isinstance(trainer := self._made(Optimizer, "optimizer"), Trainer):
            raise ParameterError(f"{type(self).__name__}: partial_fit: expected an optimizer that goes by steps, such as "
                                 f"'adam', got {trainer!r}, which takes all rows at once; call fit")  # fmt: skip
        if self.n_members != 1 and self.resample == "folds":
            raise ParameterError(f"{type(self).__name__}: partial_fit: expected resample='seeds' or 'bootstrap', got 'folds': "
                                 "folds are of all rows, and these are a part of them")  # fmt: skip
        if self.early_stopping:
            raise ParameterError(
                f"{type(self).__name__}: partial_fit does not support early_stopping=True; set it to False, and look at the "
                "score of rows that you keep yourself, or call fit (with X_val and y_val, if you like)"
            )

    def _learn(
        self, X: Any, y: Any, sample_weight: Any, epochs: int, *, reset: bool, labels: Any = None,
        validation: tuple[Any, Any] | None = None, watched: bool = False, streamed: bool = False,
    ) -> Self:  # fmt: skip
        """Check everything, and train the net, or each of several; a new one after a ``reset``.

        ``labels``: all that will ever come; ``watched``: scikit-learn's callbacks are told; ``streamed``: data come in parts.
        """
        with self._all_or_nothing():
            with interruptible():
                data, own = self._read(X, y, sample_weight, reset, labels, validation)
                learners = self._learners(reset)
                shares = self._shares(data, self._strata(data.y), streamed=streamed)
            with reporting(self, learners, data, watched) as reports:
                tasks = [partial(learner._task, *share, own, report, epochs, reset, streamed)
                         for learner, share, report in zip(learners, shares, reports, strict=True)]  # fmt: skip
                fits = fit_together(tasks, n_threads=self.n_threads, progress=bool(self.verbose))
                with interruptible():
                    for learner, fit in zip(learners, fits, strict=True):
                        learner._note(fit)
                    self._join(learners)
        return self

    def _read(
        self, X: Any, y: Any, sample_weight: Any, reset: bool, labels: Any, validation: tuple[Any, Any] | None
    ) -> tuple[TrainingSet, tuple[Any, ...] | None]:
        """Rows and targets, checked; those of the user's own to validate on, if there are any."""
        if reset:
            self._note_target_name(y)
        self._require_switches("early_stopping", "shuffle", "warm_start")
        self._require_members()
        X, y = self._check_pairs(X, y, reset)
        loss = self._loss = self._suitable_loss()
        sample_weight = self._usable_weights(sample_weight, X, loss)
        if reset:
            self._learn_targets(y, loss, labels)
        data = TrainingSet(X, y, sample_weight, self._encode(y, loss), self._weights(y, sample_weight))
        if validation is None:
            return data, None
        X, y = self._check_pairs(*validation, reset=False)
        return data, (X, self._encode(y, loss))

    def _task(
        self, data: TrainingSet, held: TrainingSet | None, own: tuple[Any, ...] | None, report: Report | None, epochs: int,
        reset: bool, streamed: bool,
    ) -> tuple[Sequential, dict[str, Any]]:  # fmt: skip
        """A net, which is made where there is none yet, and what `Fit` is to be given."""
        if reset:
            self._make_net(data.X)
        if own is None and self.early_stopping:
            data, held = (data, held) if held is not None else self._split(data)
            own = held.X, held.target, held.weights
        callbacks = self._make_callbacks()
        self.optimizer_ = self._choose(self._loss, data.X.shape[0], callbacks, streamed)
        if report is not None:
            callbacks.append(report(data))
        return self.model_, on_leg(dict(
            X=data.X, y=data.target, loss=self._loss, optimizer=self.optimizer_, epochs=epochs,
            batch_size=self._batch(data.X.shape[0], self.optimizer_), validation_data=own, validation_split=0.0,
            sample_weight=data.weights, metrics=self.metrics, callbacks=callbacks, shuffle=self.shuffle,
            random_state=self._random, engine="compiled", before=self._before,
        ))  # fmt: skip

    def _choose(self, loss: Loss, rows: int, callbacks: list[Callback], streamed: bool) -> Optimizer | Trainer:
        """The optimizer; one that is left to the estimator goes by steps where more rows will come or batches are asked for."""
        if not is_auto(self.optimizer):
            return self._made(Optimizer, "optimizer")
        return Adam() if streamed or not is_auto(self.batch_size) else suited(network_of(self.model_), loss, rows, callbacks)

    def _note_target_name(self, y: Any) -> None:
        self.__dict__.pop("target_name_", None)
        if isinstance(name := getattr(y, "name", None), str) and name:  # a series of Polars without a name has an empty one
            self.target_name_ = name

    def _suitable_loss(self) -> Loss:
        """The loss, which has to take what a linear layer gives."""
        loss = self._make_loss()
        if not loss.suits(Span()):
            raise ParameterError(
                f"loss: expected a loss of raw outputs, such as 'bce_with_logits' or 'cross_entropy', got {loss!r}: "
                f"the output layer is linear, and gives {Span()}, not {' or '.join(map(str, loss.expects))}"
            )
        return loss

    def _make_net(self, X: Any) -> None:
        """A net for these rows, with parameters that are drawn; nothing is learned yet."""
        with self._naming("random_state"):
            self._random = random_of(self.random_state)
        self.model_ = Sequential([*self._hidden(), Linear(self.n_outputs_)])
        self.model_.build(X.shape[1:], self._random, self._dtype(X))
        if self.model_.out_shape != (self.n_outputs_,):
            raise ParameterError(f"{type(self).__name__}: expected layers that give one row of numbers for each row of X, "
                                 f"got {prod(self.model_.out_shape[:-1])} for rows of shape {X.shape[1:]}; put Flatten() "
                                 "before the end")  # fmt: skip
        self.n_layers_ = len(self.model_)
        self._before, self.loss_curve_, self.n_iter_ = None, [], 0

    def _split(self, data: TrainingSet) -> tuple[TrainingSet, TrainingSet]:
        """What is trained on, and what is held out for early stopping."""
        with self._naming():
            left, out = split(data.X.shape[0], self._strata(data.y), self.validation_fraction, self._random)
        return data.take(left), data.take(out)

    def _make_callbacks(self) -> list[Callback]:
        (callbacks,) = self._callbacks_of(1)
        if self.early_stopping:
            with self._naming("patience"):
                callbacks.append(EarlyStopping(patience=self.patience))
        return callbacks

    def _batch(self, rows: int, optimizer: Any) -> Any:
        if self.batch_size is None:  # which `Sequential.fit` takes, but "auto" says it here
            raise ParameterError(f"{type(self).__name__}: batch_size: expected an integer of at least 1, or 'auto', got None")
        if not is_auto(self.batch_size):
            return self.batch_size
        return None if isinstance(optimizer, Trainer) else min(BATCH, rows)

    def _strata(self, y: Any) -> Any:
        return None

    def _learn_targets(self, y: Any, loss: Loss, labels: Any) -> None:
        raise NotImplementedError

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
        write(path, *described(self))

    # --------------------------------------------------------------------------------------------------- using the net

    def net_rows(self, X: Any) -> NetRows:
        check_is_fitted(self, "model_")
        names, rows = column_names(X), self._check_rows(X)
        rows = rows.toarray() if is_sparse(rows) else rows
        places = np.arange(prod(rows.shape[1:]))
        unnamed = [f"x{place}" for place in places] if rows.ndim == 2 else []
        return NetRows(rows, places, unnamed if names is None else list(map(str, names)))

    def _rows(self, X: Any) -> Any:
        if not hasattr(self, "model_"):
            check_is_fitted(self, "model_")  # takes its time
        X = self._check_rows(X)
        return X if is_sparse(X) else np.asarray(X, self.model_.dtype)

    def _raw(self, X: Any) -> NDArray[Any]:
        rows = self._rows(X)
        return self.model_.predict(rows, n_threads=self.n_threads)

    def transform(self, X: Any) -> NDArray[Any]:
        """Activations of a hidden layer, that of ``transform_layer``: features that the net has learnt.

        Returns
        -------
        (n_samples, n_units) array; X itself where there is no hidden layer
        """
        check_is_fitted(self, "model_")
        nets, rows = self._hidden_nets(), self._rows(X)
        if not nets:
            return rows.astype(self.model_.dtype).reshape(rows.shape[0], -1)
        hidden = [net.predict(rows, n_threads=self.n_threads).reshape(rows.shape[0], -1) for net in nets]
        return hidden[0] if len(hidden) == 1 else np.hstack(hidden)

    def _hidden_nets(self) -> list[Sequential]:
        """Layers up to the one whose output `transform` gives; none where the last hidden one is asked for, and absent."""
        places = range(self.n_layers_)
        if not isinstance(self.transform_layer, Integral):
            raise ParameterError(f"{type(self).__name__}: transform_layer: expected an integer, got {self.transform_layer!r}")
        if len(places) == 1 and self.transform_layer == -2:
            return []
        if not -len(places) <= self.transform_layer < len(places):
            raise ParameterError(
                f"{type(self).__name__}: transform_layer: expected a place among {len(places)} layers, "
                f"from {-len(places)} to {len(places) - 1} "
                f"(the last one is the output), got {self.transform_layer!r}"
            )
        return [net.model_[: places[self.transform_layer] + 1] for net in self._nets]

    @property
    def _n_features_out(self) -> int:
        return sum(prod(net.out_shape) for net in self._hidden_nets()) or prod(self.model_.in_shape)

    def _takes_axes(self, first: Layer, axes: int) -> bool:
        """Whether the rows have so many axes, or may have."""
        model = getattr(self, "model_", None)
        return takes_axes(first, axes) if model is None else len(model.in_shape) == axes

    def __getstate__(self) -> dict[str, Any]:
        """With the parts that have been registered in this process, which the other one may know by name only."""
        parts = taken_along()
        return {**super().__getstate__(), **({"_parts": parts} if parts else {})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        bring_all(state.get("_parts", []))
        super().__setstate__({name: value for name, value in state.items() if name != "_parts"})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        with suppress(NnkitError):  # of hyper-parameters that `fit` refuses
            first = self._first()
            axes = [number for number in (1, 2) if self._takes_axes(first, number)]
            inputs = tags.input_tags
            inputs.two_d_array, inputs.three_d_array = 1 in axes, axes == [2]
            inputs.sparse = takes_sparse(first)
            inputs.categorical = inputs.positive_only = _looks_up(first)
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"] if self.dtype == "auto" else [self.dtype]
        return tags


def _looks_up(layer: Layer) -> bool:
    """Whether a layer takes whole numbers, which stand for something else."""
    return layer.input_dtype != "real"


def _numbers_of(frame: Frame) -> NDArray[Any]:
    """The rows of a frame, whose columns are named where they cannot be used."""
    rows = frame.numbers("X")
    check_finite(rows, "X", frame.names)
    return rows


for _name in dir(Sequential):  # who asks an estimator for what its net has is told where that is
    if not _name.startswith("_") and not hasattr(Estimator, _name):
        setattr(Estimator, _name, Absent(_name, f"its net, model_ once it is fitted, has it: write model_.{_name}"))
