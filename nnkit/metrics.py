"""Metrics: figures for people, once an epoch. Any scorer of scikit-learn goes by its own name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.metric import Metric, MetricLike
from nnkit.core.part import listed
from nnkit.core.registry import register
from nnkit.errors import ParameterError, RegistryError

__all__ = ["R2", "Accuracy", "FunctionMetric", "Scorer", "confusion", "metric", "metrics_of", "named"]


@register("accuracy")
class Accuracy(Metric):
    """Share of rows whose predicted label is right: in [0, 1].

    Where each row of targets has a single yes, it names one class, and the largest output is the prediction; otherwise each
    output is a label of its own, and a row is right when all of them are: all that count, where the loss ignores some, or some
    have the weight 0.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.Accuracy()(np.array([0, 1]), np.array([[2.0, 1.0], [2.0, 1.0]]), nn.CrossEntropyLoss())
    0.5
    """

    greater_is_better = True

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        decided = loss.decide(prediction)
        if not loss.classes and y.ndim > 1 and y.shape[-1] > 1 and ((y != y.min()).sum(axis=-1) == 1).all():
            decided = prediction.argmax(axis=-1)
        truth = y if y.shape == decided.shape else y.argmax(axis=-1)
        right = (decided == truth).reshape(len(y), -1)
        there = loss.there(y, prediction.shape[1:])
        counted = np.ones_like(right) if there is None else there
        weights = np.ones((len(y), 1)) if sample_weight is None else sample_weight.reshape(len(y), -1)
        counted = counted & np.repeat(weights > 0, right.shape[1] // weights.shape[1], axis=1)
        weights = weights.mean(axis=1) * counted.any(axis=1)
        return float(np.average((right | ~counted).all(axis=1), weights=weights))


@register("r2")
class R2(Metric):
    """Share of the variance that is explained: 1 - sum (y - p)**2 / sum (y - mean(y))**2, averaged over outputs; at most 1.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.R2()(np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]), nn.MSELoss())
    0.5
    """

    greater_is_better = True

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        decided = loss.decide(prediction).astype(float)
        weights = np.ones(len(y)) if sample_weight is None else sample_weight  # of rows, or of their places
        weights = weights.reshape(*weights.shape, *[1] * (y.ndim - weights.ndim))
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (weights * y).sum(axis=0) / weights.sum(axis=0)
            left = (weights * (y - decided) ** 2).sum(axis=0)
            total = (weights * (y - mean) ** 2).sum(axis=0)
            score = np.where(total > 0, 1 - left / total, np.where(left > 0, 0.0, 1.0))
        return float(np.mean(score))


class Scorer(Metric):
    """A scorer of scikit-learn, by its name: "f1_macro", "roc_auc_ovr", "neg_log_loss", ...

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.metric("f1_macro")(np.array([0, 1]), np.array([[2.0, 1.0], [1.0, 2.0]]), nn.CrossEntropyLoss())
    1.0
    """

    greater_is_better = True  # of scikit-learn's scorers: errors are negative ones

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        from sklearn.metrics import get_scorer

        if y.ndim == 2 and y.shape[1] == 1:
            y, prediction = y.ravel(), prediction
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(get_scorer(self.name)(_Predicted(prediction, loss), None, y, **weights))


class FunctionMetric(Metric):
    """A plain function ``f(y, prediction)`` as a metric, such as those of sklearn.metrics; its name is that of the figure.

    ``prediction`` is what the loss takes outputs for: labels, where it is about classes, else values. A function that has an
    argument ``sample_weight`` is given the weights of the rows, where there are some.

    Parameters
    ----------
    function : callable

    Raises
    ------
    ParameterError
        What it returns is no number.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> def largest_error(y, prediction):
    ...     return np.abs(y - prediction).max()
    >>> history = nn.Sequential(["linear"]).fit([[1.0], [2.0]], [[2.0], [4.0]], metrics=[largest_error], epochs=2)
    >>> list(history)
    ['loss', 'lr', 'largest_error']
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        try:
            self._weighted = "sample_weight" in inspect.signature(function).parameters
        except ValueError:  # of some functions in C
            self._weighted = False

    @property
    def name(self) -> str:
        """What the figure is called."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def __call__(
        self, y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
    ) -> float:
        truth, decided = (array.ravel() if array.ndim == 2 and array.shape[1] == 1 else array
                          for array in (y, loss.decide(prediction)))  # fmt: skip
        weights = {"sample_weight": sample_weight} if self._weighted and sample_weight is not None else {}
        value = self.function(truth, decided, **weights)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ParameterError(f"metrics: expected {self.name} to return a number, got {type(value).__name__}") from None


class _Predicted:
    """Looks like a fitted scikit-learn estimator whose predictions are known already."""

    def __init__(self, prediction: NDArray[Any], loss: Loss) -> None:
        self._prediction = prediction
        self._loss = loss
        self._classifies = loss.probabilities(prediction[:1]) is not None  # all of them are for who asks
        if self._classifies:
            width = prediction.shape[-1] if loss.classes else 2
            self.classes_ = np.arange(width)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        classifies = self._classifies
        return Tags(
            estimator_type="classifier" if classifies else "regressor",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if classifies else None,
            regressor_tags=None if classifies else RegressorTags(),
        )

    def predict(self, X: Any) -> NDArray[Any]:
        decided = self._loss.decide(self._prediction)
        return decided.ravel() if decided.ndim == 2 and decided.shape[1] == 1 else decided

    def predict_proba(self, X: Any) -> NDArray[Any]:
        probabilities = self._loss.probabilities(self._prediction)
        if probabilities is None:
            raise AttributeError("predict_proba")
        if not self._loss.classes and probabilities.ndim == 2 and probabilities.shape[1] == 1:
            return np.hstack([1 - probabilities, probabilities])
        return probabilities


def metric(what: MetricLike) -> Metric:
    """A metric from a metric, its name, the name of one of scikit-learn's scorers, or a function of y and predictions."""
    if callable(what) and not isinstance(what, Metric | type):
        return FunctionMetric(what)
    if not isinstance(what, str) or what in Metric.registry:
        return Metric.make(what)
    from sklearn.metrics import get_scorer_names

    names = get_scorer_names()
    if what not in names:
        raise RegistryError(str(Metric.registry.unknown(what, {**Metric.registry, **dict.fromkeys(names)})))
    return Scorer(what)


def metrics_of(metrics: Any, out_shape: Any, who: str) -> dict[str, dict[str, Metric]]:
    """Metrics by name, for each output of these shapes; the name of the only one is "".

    Raises
    ------
    ParameterError
        They are for other outputs, or nobody says for which.
    """
    if not isinstance(out_shape, dict):
        if isinstance(metrics, Mapping):
            raise ParameterError(f"{who}: expected a list of metrics, as the model has one output, got a dict")
        return {"": named(metrics)}
    given = metrics if isinstance(metrics, Mapping) else {}
    unknown = sorted(set(given) - set(out_shape))
    if unknown or (given is not metrics and listed(metrics)):
        came = f"one for {unknown[0]!r}" if unknown else f"{metrics!r}"
        raise ParameterError(f"{who}: expected metrics to be a dict for the outputs {', '.join(out_shape)}, got {came}")
    return {name: named(given.get(name, ())) for name in out_shape}


def named(metrics: Any) -> dict[str, Metric]:
    """Metrics, or one alone, by the names under which their figures are told."""
    found: dict[str, Metric] = {}
    for item in map(metric, listed(metrics)):
        name = getattr(item, "name", item.key or type(item).__name__)
        if repr(found.setdefault(name, item)) != repr(item):
            raise ParameterError(f"metrics: expected each under a name of its own, got two of the name {name!r}")
    return found


def confusion(
    y: NDArray[Any], prediction: NDArray[Any], loss: Loss, sample_weight: NDArray[Any] | None = None
) -> NDArray[np.float64] | None:
    """How many rows of each class (down) were taken for each (across), or what they weigh; None where they have not one."""
    if not isinstance(prediction, np.ndarray) or loss.probabilities(prediction[:1]) is None:
        return None  # of several outputs, each would have a table of its own
    decided = np.asarray(loss.decide(prediction))
    truth = y.argmax(axis=-1) if loss.classes and y.ndim == decided.ndim + 1 else y
    if not loss.classes and prediction.size != len(prediction):
        return None  # several labels a row
    count = prediction.size // decided.size if loss.classes else 2
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    weights = np.broadcast_to(weights.reshape(len(y), -1), (len(y), truth.size // len(y))).ravel()
    rows, columns = truth.ravel().astype(np.int64), decided.ravel().astype(np.int64)
    counts = (rows >= 0) & (rows < count)  # other labels are those that a loss leaves out
    table = np.bincount(rows[counts] * count + columns[counts], weights[counts], count * count)
    return np.asarray(table.reshape(count, count))
