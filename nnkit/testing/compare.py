"""Comparing arrays, with messages that say which kernel wrote what wrong, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nnkit.errors import NnkitError

__all__ = ["CheckError", "require", "require_close", "require_equal", "require_finite"]


class CheckError(NnkitError, AssertionError):
    """A part does not keep its contract."""


def require(condition: bool, part: Any, message: str) -> None:
    """Raise `CheckError` about ``part`` unless ``condition`` holds."""
    if not condition:
        raise CheckError(f"{part!r}: {message}")


def require_close(
    part: Any, kernel: str, array: str, got: ArrayLike, expected: ArrayLike, rtol: float, atol: float | None = None
) -> None:
    """Raise `CheckError` unless ``got`` is ``expected``, to within rtol times its size plus ``atol``.

    Parameters
    ----------
    part : whose kernel is checked
    kernel : name of the kernel, such as "backward"
    array : name of the array that it wrote, such as "grad_weight"
    rtol : relative tolerance
    atol : absolute tolerance; by default rtol times the largest expected number, but at least rtol
    """
    actual, wanted = np.asarray(got), np.asarray(expected)
    if actual.shape != wanted.shape:
        raise CheckError(f"{part!r}: {kernel} gives {array} of shape {actual.shape}, expected {wanted.shape}")
    if actual.size == 0:
        return
    finite = np.abs(wanted[np.isfinite(wanted)])
    floor = rtol * max(1.0, float(finite.max(initial=0.0))) if atol is None else atol
    with np.errstate(invalid="ignore"):
        error = np.abs(actual.astype(np.float64) - wanted) - rtol * np.abs(wanted) - floor
    same = (actual == wanted) | (np.isnan(actual) & np.isnan(wanted))
    error = np.where(same, -np.inf, np.where(np.isnan(error), np.inf, error))
    if float(error.max()) <= 0.0:
        return
    worst = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    raise CheckError(
        f"{part!r}: {kernel} gives a wrong {array}: at {list(worst)} expected {wanted[worst]!s}, got {actual[worst]!s} "
        f"({int((error > 0).sum())} of {error.size} numbers differ)"
    )


def require_equal(part: Any, kernel: str, array: str, got: ArrayLike, expected: ArrayLike) -> None:
    """Raise `CheckError` unless the arrays are the same to the bit (NaN equals NaN)."""
    require_close(part, kernel, array, got, expected, 0.0, 0.0)


def require_finite(part: Any, kernel: str, array: str, got: ArrayLike) -> None:
    """Raise `CheckError` where a number is NaN or infinite."""
    actual = np.asarray(got)
    wrong = np.argwhere(~np.isfinite(actual))
    if len(wrong):
        place = tuple(int(i) for i in wrong[0])
        raise CheckError(
            f"{part!r}: {kernel} gives a wrong {array}: at {list(place)} expected a finite number, got {actual[place]!s} "
            f"({len(wrong)} of {actual.size} numbers are not finite)"
        )
