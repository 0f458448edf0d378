"""Memory for tests in which no kernel reads or writes a byte outside of its arrays unnoticed.

Every array lies between two pages that nobody may touch: who does ends the process, at the very instruction. Before each
kernel its name is written to a file, which is there afterwards.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.memory import Allocator
from nnkit.engine.operands import NATIVE
from nnkit.engine.program import Instruction
from nnkit.engine.source import described

__all__ = ["GuardPages"]

PAGE = mmap.PAGESIZE
RECORD = 256  # bytes of the name of a kernel
NO_ACCESS = 0  # PROT_NONE, which Python does not name


class GuardPages(Allocator):
    """Every array ends, or begins, exactly where a page begins, or ends, that cannot be touched. For Linux and macOS.

    Arrays that end at a page do not begin on cache lines: kernels must not rely on that.

    Parameters
    ----------
    before : whether arrays begin behind such a page; else they end before one
    journal : path of the file that names the last kernel
    """

    usual = False
    apart = True

    def __init__(self, before: bool, journal: str) -> None:
        self.before = before
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._protect = ctypes.CDLL(None, use_errno=True).mprotect

    def extent(self, size: int) -> int:
        """Whole pages, and one more that cannot be touched at each end."""
        return (-(-max(size, 1) // PAGE) + 2) * PAGE

    def begin(self, size: int) -> int:
        return PAGE if self.before else self.extent(size) - PAGE - size

    def zeros(self, size: int) -> NDArray[np.uint8]:
        extent = self.extent(size)
        begin = self.begin(size)
        return self.arena(1, extent, 0, [(0, extent)])[0, begin : begin + size]

    def arena(self, shards: int, size: int, poison: int, rooms: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
        size = -(-size // PAGE) * PAGE
        memory = np.frombuffer(mmap.mmap(-1, shards * size), np.uint8).reshape(shards, size)
        if poison:
            memory.fill(poison)
        for shard in memory:
            for begin, end in rooms:
                for page in (begin, end - PAGE):
                    if self._protect(ctypes.c_void_p(shard.ctypes.data + page), ctypes.c_size_t(PAGE), NO_ACCESS):
                        raise OSError(ctypes.get_errno(), "mprotect")
        return memory

    def watched(self, address: int, instruction: Instruction, hold: list[Any]) -> int:
        name = f"{instruction.part}: {described(instruction.function)}"
        function, text = NATIVE(address), name.encode()[:RECORD].ljust(RECORD)

        def noted(frame: int) -> None:
            os.pwrite(self._journal, text, 0)
            function(frame)

        callback = NATIVE(noted)
        hold.append(callback)
        return ctypes.cast(callback, ctypes.c_void_p).value or 0
