"""The rows of a block side by side: one number of each as one vector, with + - * / and comparisons lane by lane.

``load(x[b, c, h, w])`` is the vector of the numbers at (c, h, w) in the rows of block b; in compiled kernels it lives in
registers. (A loop over 16 lanes would not be vectorised: LLVM finds its checks for arrays that overlap dearer than what they
gain. With vectors a 2 x 2 maximum is 7 times as fast.) Numbers combine with vectors; these Python functions say what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from nnkit.kernels.math import Compiled, variant

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["everywhere", "lane_numbers", "load", "root", "store", "total", "where"]


def _compiled(name: str) -> Callable[[F], F]:
    place = Compiled("nnkit.kernels.vectors", name)
    return variant(float32=place, float64=place)


@_compiled("load")
def load(row: Any) -> Any:
    """The numbers of a row of lanes."""
    return np.array(row)


@_compiled("store")
def store(vector: Any, row: Any) -> None:
    """Row = vector."""
    row[...] = vector


@_compiled("everywhere")
def everywhere(number: Any, row: Any) -> Any:
    """A number in as many lanes as ``row`` has."""
    return np.full_like(row, number, subok=False)


@_compiled("lane_numbers")
def lane_numbers(row: Any) -> Any:
    """0, 1, 2 and so on, in as many lanes as ``row`` has."""
    return np.arange(row.shape[0]).astype(row.dtype)


@_compiled("where")
def where(condition: Any, a: Any, b: Any) -> Any:
    """The lanes of a where the condition holds, else those of b."""
    return np.where(condition, a, b)


@_compiled("root")
def root(vector: Any) -> Any:
    """Square roots."""
    return np.sqrt(vector)


@_compiled("total")
def total(vector: Any) -> Any:
    """The sum of all lanes."""
    return vector.sum()
