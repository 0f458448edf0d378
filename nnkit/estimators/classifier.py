"""How labels become targets of a loss, and outputs become labels and probabilities again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from nnkit.core.calls import explained
from nnkit.core.loss import Loss
from nnkit.errors import NnkitError, ParameterError, PersistenceError
from nnkit.estimators.base import Estimator
from nnkit.estimators.parameters import is_auto
from nnkit.estimators.saving import saved
from nnkit.estimators.weights import class_weighted
from nnkit.model import Sequential

__all__ = ["NNClassifier"]


def _has_probabilities(loss: Loss) -> bool:
    return type(loss).probabilities is not Loss.probabilities


def _predicts_probabilities(estimator: NNClassifier) -> bool:
    loss = estimator._fitted_loss
    if not _has_probabilities(loss):
        raise AttributeError(f"{loss!r} gives no probabilities; use decision_function, or a loss such as 'cross_entropy'")
    return True


@saved
class NNClassifier(ClassifierMixin, Estimator):
    """A neural network that classifies, as a scikit-learn estimator.

    Parameters
    ----------
    layers : list of hidden sizes, layers and names (or one alone): ``[64, nn.Dropout(0.2), 32]``, ``[nn.Linear(64), "tanh"]``.
        A size stands for a `Linear` layer and ``activation``; the output layer is added, a `Linear` one that follows from y.
    loss : Loss or its name; "auto" is cross-entropy, for several labels a row binary cross-entropy of each. It sees the raw
        outputs of the last `Linear` layer: losses of probabilities ("bce", "nll", "kl_div") do not fit, take "bce_with_logits"
        or "cross_entropy".
    optimizer : Optimizer or its name; or a `Trainer` of all rows, such as "lbfgs", for which an epoch is an iteration. "auto"
        takes "lm" where the loss is made of squares, for nets of at most 1500 weights that have ten numbers to fit each;
        else "lbfgs" on at most 20 000 rows; and "adam" on more, with dropout and the like, or with a ``batch_size``.
    activation : activation or its name, after each size in ``layers``
    epochs : int >= 1
    batch_size : int >= 1, or "auto": 200, or all rows where there are fewer, or where a trainer takes them at once
    early_stopping : stop when the validation loss has not improved for ``patience`` epochs, and go back to the best; of a
        whole `fit` only, `partial_fit` refuses it
    validation_fraction : float in (0, 1), held out for early stopping where `fit` is given no validation set; at least one row
        of each class
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
    n_members : int >= 1, nets that are trained side by side on the cores, each with a seed of its own, and perhaps rows; of M
        nets p_m, the probabilities are p(x) = 1/M sum_m p_m(x), and `predict_proba` gives their spread with ``return_std``
    resample : what each of several nets learns from: "seeds", all rows; "bootstrap", as many, drawn with replacement; "folds",
        all but a fold of its own, of at least five, with the same share of each class. With ``early_stopping`` a net is
        validated on the rows that were left out, by "seeds" on a part that each draws by its own seed. Labels, and weights by
        ``class_weight``, are those of all rows. A single net learns from all of them, whatever this says.

    Attributes
    ----------
    model_ : Sequential; of several nets one net with the same mean, for `Sequential.as_function`, ONNX and C. Its outputs are
        the mean of what the loss makes of theirs: probabilities, or raw outputs where it has none; where no layer is that
        function (``Loss.link``), the raw outputs of all, (n_members, n_outputs).
    estimators_ : of several nets, an estimator for each, with its net, history and ``random_state``: alone, with its rows, it
        would be the same to the bit
    classes_ : labels
    loss_curve_, loss_ : training loss of each epoch, and of the last
    n_iter_ : epochs done
    optimizer_ : Optimizer of the last fit
    history_ : History of the last fit; of several nets these are all of the first
    n_features_in_, feature_names_in_, n_outputs_, n_layers_
    target_name_ : name of y, where it had one (a pandas Series)

    Notes
    -----
    Of several nets, callbacks run in the threads of their fits; each net but the first has copies. `transform` gives what all
    have learnt, one after the other. `partial_fit` goes on with each; by "bootstrap" it draws rows of each call anew.

    References
    ----------
    Lakshminarayanan, Pritzel and Blundell 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles"
    (seeds); Breiman 1996, "Bagging predictors" (bootstrap).

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

    Five nets, and how far they differ:

    >>> clf = nn.NNClassifier([16], optimizer=nn.Adam(lr=0.01), n_members=5, resample="folds", random_state=0).fit(X, y)
    >>> mean, std = clf.predict_proba(X[:2], return_std=True)
    >>> mean.argmax(axis=1), bool(std.max() < 0.1), len(clf.estimators_)
    (array([0, 0]), True, 5)
    """

    _default_loss = "cross_entropy"
    _kinds = Estimator._kinds | {"classes_": np.ndarray, "_multilabel": bool}
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
        n_members: int = 1,
        resample: str = "seeds",
    ) -> None:
        super().__init__(
            layers, loss, optimizer, activation=activation, epochs=epochs, batch_size=batch_size,
            early_stopping=early_stopping, validation_fraction=validation_fraction, patience=patience, metrics=metrics,
            callbacks=callbacks, shuffle=shuffle, warm_start=warm_start, random_state=random_state, dtype=dtype,
            n_threads=n_threads, transform_layer=transform_layer, verbose=verbose, n_members=n_members, resample=resample,
        )  # fmt: skip
        self.class_weight = class_weight

    @classmethod
    def check_learned(cls, learned: dict[str, Any], model: Sequential) -> None:
        super().check_learned(learned, model)
        shape, outputs = learned["classes_"].shape, learned["n_outputs_"]
        if shape != (outputs,) and not (shape == (2,) and outputs == 1 and not learned["_multilabel"]):
            raise PersistenceError(f"expected labels for {outputs} outputs, got {shape}")

    def _make_loss(self) -> Loss:
        several = getattr(self, "_multilabel", False) and is_auto(self.loss)
        return Loss.make("bce_with_logits") if several else super()._make_loss()

    def _check_pairs(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = super()._check_pairs(X, y, reset)
        check_classification_targets(y)
        kind = type_of_target(y) if y.ndim > 1 else "one label a row"
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
                raise ValueError(
                    f"NNClassifier: expected labels of {self.classes_}, got {y[unknown][:1].tolist()[0]!r}, none of them"
                )
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

    def _yes(self, scores: NDArray[Any]) -> NDArray[np.bool_]:
        """Where scores that each stand for a label say yes."""
        given = None if self._several else self._fitted_loss.probabilities(scores.astype(np.float64))
        return scores > 0 if given is None else given > 0.5

    def _weights(self, y: Any, sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        with self._naming("class_weight"):
            return class_weighted(self.class_weight, y, sample_weight)

    def _link(self) -> list[str] | None:
        loss = self._fitted_loss
        if not _has_probabilities(loss):
            return []
        return [loss.link] if loss.link else None

    def _strata(self, y: Any) -> Any:
        return None if self._multilabel else y

    @explained
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more epoch on these rows, with the optimizer's state of the last one.

        Parameters
        ----------
        X, y : rows and labels
        classes : all labels that will ever come; needed at the first call
        sample_weight : (n_samples,), optional: weights among the rows of this call, of which a mean loss counts only the ratios

        Raises
        ------
        ParameterError
            ``early_stopping`` is True: rows of every call would be held out; the optimizer takes all rows at once; or
            several nets are to learn from folds, which are of all rows.
        """
        self._check_partial()
        first = not hasattr(self, "model_")
        if first and classes is None and type_of_target(y) != "multilabel-indicator":
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if not first and classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}")
        return self._learn(X, y, sample_weight, 1, reset=first, labels=classes, streamed=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels; for several labels a row, 0 and 1 for each."""
        scores = self._scores(X)
        if self._multilabel:
            return self._yes(scores).astype(np.int64)
        if self._one_says_all:
            return np.asarray(self.classes_[self._yes(scores).ravel().astype(int)])
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    @available_if(_predicts_probabilities)
    def predict_proba(self, X: Any, return_std: bool = False) -> Any:
        """Probability of each class; for several labels a row, of each label. Of several nets it is their mean.

        With ``return_std``, a pair: the same, and its standard deviation over the nets.

        Raises
        ------
        ParameterError
            There is one net, and ``return_std``.
        """
        return self._average(X, self._probabilities, return_std)

    def _probabilities(self, raw: NDArray[Any]) -> NDArray[Any]:
        """What `predict_proba` says of the outputs of a net."""
        given = self._fitted_loss.probabilities(raw.astype(np.float64))
        assert given is not None
        if self._multilabel:
            return given
        if self._one_says_all:
            return np.hstack([1 - given, given])
        return np.asarray(given / given.sum(axis=1, keepdims=True))

    @property
    def _one_says_all(self) -> bool:
        """Whether the net has one output, for the second of two classes."""
        return not self._multilabel and self.n_outputs_ == 1 and len(self.classes_) == 2

    def _scores(self, X: Any) -> NDArray[Any]:
        """By which labels are decided: the outputs of one net, the logarithms of the odds that several give in the mean.

        Where the loss has no probabilities, it is their mean output.
        """
        if not self._several:
            return self._raw(X)
        if not _has_probabilities(self._fitted_loss):
            return np.asarray(self._average(X, np.asarray))
        given = self._average(X, self._probabilities)
        yes, no = (np.log(np.maximum(share, np.finfo(np.float64).tiny)) for share in (given, 1 - given))
        if self._multilabel:
            return np.asarray(yes - no)
        return np.asarray(yes[:, 1:] - yes[:, :1] if self._one_says_all else yes)

    @available_if(_predicts_probabilities)
    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Raw outputs of the net; for two classes how far the second is ahead.

        Of several nets, logarithms of the mean probability, or of its odds; where there are none, the mean of the outputs.
        """
        raw = self._scores(X)
        if self._multilabel or raw.shape[1] > 2 or len(self.classes_) == 1:
            return raw if raw.shape[1] > 1 or self._multilabel else raw[:, 0]
        return np.asarray(raw[:, 1] - raw[:, 0] if raw.shape[1] == 2 else raw[:, 0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        with suppress(NnkitError):  # of hyper-parameters that `fit` refuses
            tags.classifier_tags.multi_label = is_auto(self.loss) or not self._make_loss().classes
        return tags
