"""Targets that a loss cannot take: how they are found, and in which words they are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Shape
from nnkit.errors import DataError, ShapeError

__all__ = ["require_distribution", "require_labels", "require_range", "wrong_shape"]


def require_range(who: str, y: NDArray[Any], name: str, low: float, high: float, values: Sequence[float] | None = None) -> None:
    """Refuse numbers outside of [low, high], or, where there are only some ``values``, other ones."""
    if values is not None:
        wrong = ~np.isin(y, values)
        expected = " or ".join(f"{value:g}" for value in values)
    elif np.isfinite(low) or np.isfinite(high):
        wrong = ~((y >= low) & (y <= high))  # NaN is wrong, too
        expected = f"in [{low:g}, {high:g}]"
    else:
        return
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"{who}: expected {name} to be {expected}, got {y[place]!s} at {list(place)}")


def require_distribution(who: str, y: NDArray[Any], name: str, axis: int = -1) -> None:
    """Refuse rows, along the axis of the classes, that are no probabilities of all of them."""
    y = np.moveaxis(y, axis, -1)
    total = y.sum(axis=-1)
    wrong = (y < 0).any(axis=-1) | (np.abs(total - 1) > 1e-3)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{who}: expected rows of {name} to be probabilities that add up to 1, "
            f"got {y[place]} (sum {total[place]:g}) at {list(place)}"
        )


def require_labels(who: str, y: NDArray[Any], name: str) -> None:
    """Refuse numbers that are not whole by their dtype."""
    if not np.issubdtype(y.dtype, np.integer) and y.dtype != bool:
        whole = bool((y == np.floor(y)).all())
        hint = f"pass {name}.astype(int)" if whole else "numbers that are no labels take another loss, such as 'mse'"
        raise DataError(f"{who}: expected {name} to hold integer class labels, got dtype {y.dtype}; {hint}")


def wrong_shape(
    who: str, y: NDArray[Any], name: str, expected: Shape, outputs: Shape, takes_classes: bool, takes_probabilities: bool
) -> ShapeError:
    """The error for targets of another shape than the expected one, which says how to come to that, where it can be guessed."""
    message = f"{who}: expected {name} of shape {expected}"
    if takes_probabilities:
        message += f" (integer labels) or {outputs} (probabilities)"
    message += f" for model outputs of shape {outputs}, got {y.shape}"
    if y.shape + (1,) == expected:
        message += f"; nothing is broadcast silently: pass {name}.reshape(-1, 1)"
    elif takes_classes and len(outputs) > 2 and y.shape == (outputs[0], *outputs[2:]):
        message += "; where the classes are on axis 1, as PyTorch has them, pass dim=1 to the loss"
    elif y.shape == expected + (1,):
        message += f"; pass {name}.ravel()"
    elif y.dtype.kind in "iu" and y.shape == expected[:-1]:
        message += "; labels of classes take loss='cross_entropy'"
    return ShapeError(message)
