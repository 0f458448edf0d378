"""Metrics: figures for people, once an epoch. Any scorer of scikit-learn goes by its own name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.metric import Metric
from nnkit.core.part import listed
from nnkit.core.registry import register
from nnkit.errors import RegistryError

__all__ = ["R2", "Accuracy", "Scorer", "metric", "named"]


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


def metric(what: Metric | str) -> Metric:
    """A metric from a metric, its name, or the name of one of scikit-learn's scorers."""
    if not isinstance(what, str) or what in Metric.registry:
        return Metric.make(what)
    from sklearn.metrics import get_scorer_names

    names = get_scorer_names()
    if what not in names:
        raise RegistryError(str(Metric.registry.unknown(what, {**Metric.registry, **dict.fromkeys(names)})))
    return Scorer(what)


def named(metrics: Any) -> dict[str, Metric]:
    """Metrics, or one alone, by the names under which their figures are told."""
    made = map(metric, listed(metrics))
    return {getattr(item, "name", item.key or type(item).__name__): item for item in made}
