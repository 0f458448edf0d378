"""Comparing arrays, with messages that say which kernel wrote what wrong, where, and what is likely the cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.errors import NnkitError

__all__ = [
    "CheckError",
    "Suspects",
    "agree",
    "because",
    "require",
    "require_close",
    "require_equal",
    "require_finite",
    "usual_suspects",
    "wrong_slope",
]

# What may have gone wrong: whether it would explain the numbers, and how to say it; the first that does is told. Suspects are
# looked at only where numbers are wrong, so they may take their time.
Suspects = Iterable[tuple[bool, str]]


class CheckError(NnkitError, AssertionError):
    """A part does not keep its contract."""


def require(condition: bool, part: Any, message: str) -> None:
    """Raise `CheckError` about ``part`` unless ``condition`` holds."""
    if not condition:
        raise CheckError(f"{part!r}: {message}")


def because(reason: str) -> Suspects:
    """The one reason that there can be."""
    return [(True, reason)]


def agree(got: ArrayLike, expected: ArrayLike, rtol: float = 1e-5) -> bool:
    """Whether two arrays hold the same numbers, by and large."""
    one, other = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    return one.shape == other.shape and bool(np.allclose(one, other, rtol, rtol * np.abs(other).max(initial=0.0)))


def usual_suspects(got: NDArray[Any], expected: NDArray[Any]) -> Iterator[tuple[bool, str]]:
    """What goes wrong most often with a derivative."""
    yield not np.isfinite(got).all(), "a number is left unwritten, or added to (+=) before it was set to 0"
    yield not got.any(), "it is 0 everywhere: is it ever computed?"
    yield agree(got, -expected), "the sign is wrong"
    yield got.ndim == 2 and agree(got, expected.T), "it is transposed"
    right = np.isclose(got, expected, 1e-5, 1e-9)
    ends = [name for name, place in (("first", 0), ("last", -1)) if got.ndim and not right[..., place].any()]
    yield (
        bool(ends) and got.shape[-1] > 2 and bool(right[..., 1:-1].all()),
        f"all numbers but the {' and the '.join(ends)} of each row are right: does the loop begin and end where it should?",
    )
    factor = float((got * expected).sum() / max(float((expected * expected).sum()), 1e-300))
    yield bool(factor) and agree(got / (factor or 1.0), expected), f"it is {factor:.4g} times what it should be"


def wrong_slope(at: Mapping[str, NDArray[Any]], got: NDArray[Any], expected: NDArray[Any]) -> str:
    """Where the derivative of a function of single numbers is wrong, and how.

    Parameters
    ----------
    at : the numbers that it is computed at, by name
    got, expected : the derivatives
    """
    right = np.isclose(got, expected, 1e-5, 1e-8)
    error = np.where(right, -1.0, np.nan_to_num(np.abs(got - expected), nan=np.inf))
    worst = np.unravel_index(int(error.argmax()), error.shape)
    numbers = " and ".join(f"{name} = {values[worst]:.4g}" for name, values in at.items())
    words = f"the derivative at {numbers} is {expected[worst] + 0.0:.4g}, got {got[worst] + 0.0:.4g}"  # no -0
    along, (first, *others) = " - ".join(at), at.values()
    place = first - sum(others)  # of a loss, where the prediction lies beside its target
    if right.any() and place[~right].min() > place[right].max():
        words += f"; it is right up to {along} = {place[right].max():.3g}, and wrong above"
    elif right.any() and place[~right].max() < place[right].min():
        words += f"; it is right down to {along} = {place[right].min():.3g}, and wrong below"
    return words


def _likely(suspects: Suspects) -> str:
    with np.errstate(all="ignore"):
        return next((f"; likely cause: {words}" for explains, words in suspects if explains), "")


def require_close(
    part: Any,
    kernel: str,
    array: str,
    got: ArrayLike,
    expected: ArrayLike,
    rtol: float,
    atol: float | None = None,
    suspects: Suspects = (),
) -> None:
    """Raise `CheckError` unless ``got`` is ``expected``, to within rtol times its size plus ``atol``.

    Parameters
    ----------
    part : whose kernel is checked
    kernel : name of the kernel, such as "backward"
    array : name of the array that it wrote, such as "grad_weight"
    rtol : relative tolerance
    atol : absolute tolerance; by default rtol times the largest expected number, but at least rtol
    suspects : what to tell as the likely cause
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
        f"({int((error > 0).sum())} of {error.size} numbers differ){_likely(suspects)}"
    )


def require_equal(
    part: Any, kernel: str, array: str, got: ArrayLike, expected: ArrayLike, suspects: Suspects = ()
) -> None:
    """Raise `CheckError` unless the arrays are the same to the bit (NaN equals NaN)."""
    require_close(part, kernel, array, got, expected, 0.0, 0.0, suspects)


def require_finite(part: Any, kernel: str, array: str, got: ArrayLike, suspects: Suspects = ()) -> None:
    """Raise `CheckError` where a number is NaN or infinite."""
    actual = np.asarray(got)
    wrong = np.argwhere(~np.isfinite(actual))
    if len(wrong):
        place = tuple(int(i) for i in wrong[0])
        raise CheckError(
            f"{part!r}: {kernel} gives a wrong {array}: at {list(place)} expected a finite number, got {actual[place]!s} "
            f"({len(wrong)} of {actual.size} numbers are not finite){_likely(suspects)}"
        )
