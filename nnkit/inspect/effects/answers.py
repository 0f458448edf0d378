"""What a model says of rows, in words and numbers that people look at: probabilities of classes, or values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Model
from nnkit.core.loss import Loss
from nnkit.errors import ParameterError
from nnkit.network import network_of

__all__ = ["Answers"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Numbers for each row.

    Attributes
    ----------
    predict : of rows, (N, outputs)
    names : of the outputs
    unit : what they are
    """

    predict: Callable[[Any], Numbers]
    names: list[str]
    unit: str

    @classmethod
    def of(cls, model: Any, some: Any, loss: Loss | str | None, names: Sequence[str] | None, who: str) -> Self:
        """Those of a model; ``some`` rows say how many. Of two classes, only the second.

        Raises
        ------
        ParameterError
            It predicts nothing that can be drawn, or ``names`` are not those of its outputs.
        """
        raw, labels, unit = _of_net(model, loss, who) if isinstance(model, Model) else _of_estimator(model, who)

        def predict(rows: Any) -> Numbers:
            given = np.asarray(raw(rows), np.float64)
            return given.reshape(len(given), -1)

        look = predict(some)
        width = look.shape[1]
        one_says_all = width == 1 or (width == 2 and np.allclose(look.sum(axis=1), 1))
        of_second = unit == "probability" and len(labels) == 2 and one_says_all
        known = labels or [f"output {k}" for k in range(width)]
        known = [str(name) for name in (known if names is None else names)]
        if len(known) != (2 if of_second else width):
            raise ParameterError(f"{who}: expected names of {2 if of_second else width} outputs, got {len(known)}")
        if of_second:
            return cls(lambda rows: predict(rows)[:, -1:], known[1:], f"probability of {known[1]}")
        return cls(predict, known, unit)


def _of_net(model: Model, loss: Loss | str | None, who: str) -> tuple[Callable[[Any], Any], list[str], str]:
    """What a net's outputs mean, by its loss; themselves where that is not known."""
    shape, given = network_of(model, who).out_shape, model.last_fit.get("loss") if loss is None else loss
    if isinstance(shape, dict) or len(shape) != 1:
        raise ParameterError(f"{who}: expected a model of one output of numbers, (N, outputs), got rows of shape {shape}")
    if given is None:
        return model.predict, [], "output"
    meaning: Loss = Loss.make(given, "loss")
    if meaning.probabilities(np.zeros((1, *shape))) is not None:
        labels = list(map(str, range(max(2, shape[0]))))
        return lambda rows: meaning.probabilities(model.predict(rows).astype(np.float64)), labels, "probability"
    if meaning.classes or meaning.target_values is not None:
        return model.predict, [], "output"
    return lambda rows: meaning.decide(model.predict(rows)), [], "prediction"


def _of_estimator(model: Any, who: str) -> tuple[Callable[[Any], Any], list[str], str]:
    """What a fitted estimator says, by scikit-learn's words."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        return model.predict, [], getattr(model, "target_name_", "prediction")
    if isinstance(classes, list):
        raise ParameterError(f"{who}: expected a classifier of one label a row, got one of {len(classes)}")
    labels = list(map(str, classes))
    if hasattr(model, "predict_proba"):
        return model.predict_proba, labels, "probability"
    if not hasattr(model, "decision_function"):
        raise ParameterError(f"{who}: expected a classifier with predict_proba or decision_function, got {model!r}")
    return model.decision_function, labels if len(labels) > 2 else labels[1:], "decision function"
