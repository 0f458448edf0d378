"""Which rows an estimator trains on, and which it holds out, for early stopping."""

from __future__ import annotations

from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from nnkit.errors import DataError, ParameterError

__all__ = ["TrainingSet", "held_out", "split"]

OWN = "give rows of your own to fit: X_val, y_val"


class TrainingSet(NamedTuple):
    """Rows to train on, their targets and weights: as they came, and as the net learns them."""

    X: Any
    y: Any
    sample_weight: NDArray[np.float64] | None
    target: NDArray[Any]
    weights: NDArray[np.float64] | None

    def take(self, rows: NDArray[np.int64]) -> TrainingSet:
        """These rows alone."""
        taken: list[Any] = [None if array is None else array[rows] for array in self]
        return TrainingSet(*taken)


def split(rows: int, labels: NDArray[Any] | None, fraction: Any, random: np.random.RandomState) -> tuple[Any, Any]:
    """Numbers of the rows to train on, and of those to hold out; with ``labels`` as large a share of each class.

    Raises
    ------
    ParameterError
        ``fraction``, which the user knows as ``validation_fraction``, is no share.
    DataError
        There are too few rows, or too few of a class, for both sides.
    """
    if not isinstance(fraction, float | np.floating) or not 0 < fraction < 1:
        raise ParameterError(f"validation_fraction: expected a share of the rows between 0 and 1, got {fraction!r}")
    held, least, what = ceil(fraction * rows), 1, "a row"
    if labels is not None:
        classes, first, counts = np.unique(labels, return_index=True, return_counts=True)
        least, what = len(classes), f"a row of each of {len(classes)} classes"
        alone = np.flatnonzero(counts == 1)
        if len(alone):
            others = f", and of {len(alone) - 1} more classes" if len(alone) > 1 else ""
            raise DataError("early_stopping: expected at least two rows of each class, one to train on and one to hold out "
                            f"(validation_fraction), got one of the class {str(classes[alone[0]])!r} (row {first[alone[0]]})"
                            f"{others}; join classes, drop the row, or {OWN} (n_samples={rows})")  # fmt: skip
    if not least <= held <= rows - least:
        ways = [OWN]
        if rows >= 2 * least:
            ways.insert(0, f"take {least / rows:.2g} or a little more" if held < least else "take less")
        raise DataError(f"early_stopping: expected {what} to hold out and as many to train on, got validation_fraction="
                        f"{fraction!r} of {rows} rows, which holds out {held}; {', or '.join(ways)} "
                        f"(n_samples={rows})")  # fmt: skip
    left, out = train_test_split(np.arange(rows), test_size=fraction, random_state=random, stratify=labels)
    return left, out


def held_out(labels: NDArray[Any] | None, rows: int, fraction: Any, random: np.random.RandomState) -> NDArray[np.int64]:
    """Numbers of rows to hold out, in order: the same share of each class, but never a class's only row.

    Few rows are no error, as they are of `split`: then there may be none to hold out. 0 holds none out.

    Raises
    ------
    ParameterError
        ``fraction`` is no share.
    """
    number = isinstance(fraction, float | int | np.floating) and not isinstance(fraction, bool)
    if not number or not 0 <= fraction < 1:
        raise ParameterError(f"validation_fraction: expected a share of the rows from 0 to below 1, got {fraction!r}")
    order = random.permutation(rows)
    first = [0]
    if labels is not None:  # one class after the other
        order = order[np.argsort(labels[order], kind="stable")]
        _, first = np.unique(labels[order], return_index=True)  # type: ignore[assignment]
    free = np.delete(order, first)
    counted = np.floor(np.arange(len(free) + 1) * fraction + 0.5)
    return np.sort(free[np.diff(counted) > 0])
