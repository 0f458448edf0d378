"""How much the rows of each class weigh, as scikit-learn's ``class_weight`` says it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import compute_sample_weight

from nnkit.errors import ParameterError

__all__ = ["class_weighted"]


def class_weighted(class_weight: Any, y: NDArray[Any], weights: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Weights of rows, times those of their classes; of all classes, where ``y`` has several columns.

    ``"balanced"``: every class weighs as much as every other, with the rows' own weights counted in.

    Raises
    ------
    ParameterError, ValueError
        ``class_weight`` is not what it can be.
    """
    if class_weight is None:
        return weights
    weights = np.ones(len(y)) if weights is None else weights
    if not isinstance(class_weight, str):
        with np.errstate(over="ignore"):  # infinite ones are refused
            return np.asarray(weights * compute_sample_weight(class_weight, y))
    if class_weight != "balanced":
        raise ParameterError(f"class_weight: expected None, 'balanced' or a dict, got {class_weight!r}")
    balanced = weights.copy()
    for column in y.reshape(len(y), -1).T:
        _, codes = np.unique(column, return_inverse=True)
        mass = np.bincount(codes, weights)  # of each class; scikit-learn before 1.9 would count rows
        balanced *= weights.sum() / (np.count_nonzero(mass) * np.where(mass > 0, mass, 1.0))[codes]
    return balanced
