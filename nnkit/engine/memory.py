"""Where the engine's memory comes from.

Everything that kernels write is allocated here: it begins on a cache line, it is ours alone, and it can be written. (Memory of
others can be read-only, a file that is mapped for one: writing there ends the process.) A test may put another allocator in,
see `nnkit.testing.guard`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIGNMENT", "Allocator", "aligned_zeros", "allocator", "own", "using"]

ALIGNMENT = 64  # bytes: a cache line, and the widest vector in use


class Allocator:
    """Memory as NumPy gives it."""

    usual = True  # whether programs need not know of it
    apart = False  # whether no two pieces of an arena may share memory, even if they are never alive together

    def zeros(self, size: int) -> NDArray[np.uint8]:
        """So many bytes of zeros that begin on a cache line."""
        raw = np.zeros(size + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + size]

    def extent(self, size: int) -> int:
        """How much room a piece of so many bytes takes in an arena; see `begin`."""
        return -(-size // ALIGNMENT) * ALIGNMENT

    def begin(self, size: int) -> int:
        """Where in its room a piece of so many bytes begins."""
        return 0

    def arena(self, shards: int, size: int, poison: int, rooms: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
        """Memory for so many shards of ``size`` bytes; ``rooms`` are the beginnings and ends of the pieces in each."""
        memory = self.zeros(shards * size).reshape(shards, size)
        if poison:
            memory.fill(poison)
        return memory

    def watched(self, address: int, instruction: Any, hold: list[Any]) -> int:
        """The address to call in the place of an instruction's kernel; what it needs alive goes to ``hold``."""
        return address


_current = Allocator()


def allocator() -> Allocator:
    """The one in use."""
    return _current


@contextmanager
def using(other: Allocator) -> Iterator[None]:
    """Let all memory come from another allocator."""
    global _current
    before, _current = _current, other
    try:
        yield
    finally:
        _current = before


def aligned_zeros(count: int, dtype: str) -> NDArray[Any]:
    """Zeros that begin on a cache line."""
    return _current.zeros(count * np.dtype(dtype).itemsize).view(dtype)


def own(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that is on a cache line, ours alone, and can be written."""
    mine = aligned_zeros(array.size, array.dtype.name).reshape(array.shape)
    mine[...] = array
    return mine
