"""Parts in plain NumPy: every shard has a copy of its own, and what a method returns has to have the right shape."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Part, Shape
from nnkit.errors import ShapeError

__all__ = ["call_copy", "fill_by_copy", "read_only"]


def call_copy(
    part: Part, copies: dict[int, Any], shard: int, method: str, given: Iterable[Any], shape: Shape, what: str
) -> NDArray[Any]:
    """What a method returns, called on the shard's own copy of the part, which may keep things on itself.

    Raises
    ------
    ShapeError
        It has another shape than ``shape``; ``what`` says to the user what is wanted.
    """
    return _required(part, method, _called(part, copies, shard, method, given), shape, what)


def fill_by_copy(
    part: Part, copies: dict[int, Any], shard: int, method: str, given: Iterable[Any], targets: Sequence[NDArray[Any]],
    what: Sequence[str],
) -> None:  # fmt: skip
    """Store what a method returns, as `call_copy` says; of several ``targets``, it returns a tuple.

    Raises
    ------
    ShapeError
    """
    results = _called(part, copies, shard, method, given)
    if len(targets) == 1:
        results = (results,)
    elif not isinstance(results, tuple) or len(results) != len(targets):
        came = f"{len(results)} of them" if isinstance(results, tuple) else type(results).__name__
        raise ShapeError(f"{part!r}: expected {method} to return a tuple of {', '.join(what)}, got {came}")
    for target, result, name in zip(targets, results, what, strict=True):
        target[...] = _required(part, method, result, target.shape, name)


def _called(part: Part, copies: dict[int, Any], shard: int, method: str, given: Iterable[Any]) -> Any:
    if shard not in copies:
        copies[shard] = copy.copy(part)
    return getattr(copies[shard], method)(*given)


def _required(part: Part, method: str, result: Any, shape: Shape, what: str) -> NDArray[Any]:
    if result is None or np.shape(result) != shape:
        came = "None" if result is None else f"shape {np.shape(result)}"
        raise ShapeError(f"{part!r}: expected {method} to return the {what}, shape {shape}, got {came}")
    return np.asarray(result)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, not to be written."""
    view = array.view()
    view.flags.writeable = False
    return view
