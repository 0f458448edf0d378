"""The clock as an instruction: between the kernels of a program it says when each of them began and ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.abi import clock
from nnkit.engine.operands import Array, Constant, ControlWord, Storage
from nnkit.engine.program import Instruction
from nnkit.kernels.control import Word

__all__ = ["Clocks"]


def note_time(step, place, times):  # type: ignore[no-untyped-def]  # a kernel
    """Write the time down, for one of the last steps."""
    times[step % times.shape[0], place] = clock()


class Clocks:
    """Instructions with the clock read between them, and what it has said.

    The clock is read before the first instruction, where shards have met, and after every instruction: a kernel's time is
    between two readings, one after the other in the same shard. After the last there is one reading more: from
    reading to reading, where nothing is between, is what a reading takes.

    Parameters
    ----------
    instructions : of a program
    shards : of that program
    steps : how many of the last steps are remembered
    within : False reads the clock only before the first instruction
    """

    def __init__(self, instructions: Sequence[Instruction], shards: int, steps: int, within: bool = True) -> None:
        self.after: list[int] = []  # of each instruction, the reading after it; the one before it is before
        self.instructions: list[Instruction] = []
        readings = 1 + (1 + len(instructions) + sum(item.meets for item in instructions[1:]) if within else 0)
        self._times = np.zeros((shards, steps, readings), np.int64)
        self._count = 0
        for place, instruction in enumerate(instructions):
            begins = place == 0 or (within and instruction.meets)
            if begins:
                self._read(instruction.meets)
            self.instructions.append(replace(instruction, meets=False) if begins else instruction)
            if within:
                self.after.append(self._count)
                self._read()
        if within:
            self._read()
        assert self._count == readings

    def _read(self, meets: bool = False) -> None:
        storage = Storage(shared=self._times)
        times = Array(storage, self._times.shape[1:], "int64", stride=self._times.strides[0])
        operands = ControlWord(Word.STEP), Constant(self._count, "int64"), times
        self.instructions.append(Instruction(note_time, operands, "clock", "clock", meets=meets))
        self._count += 1

    def times(self, steps: Sequence[int]) -> NDArray[np.float64]:
        """(shards, steps, readings): what the clock said in the steps with these numbers, in microseconds from the first."""
        chosen = self._times[:, np.asarray(steps) % self._times.shape[1]]
        microseconds: NDArray[np.float64] = (chosen - chosen.min()) * (1e6 * tick())
        return microseconds


@cache
def tick() -> float:
    """Seconds of what the clock counts."""
    if sys.platform != "win32":
        return 1e-9
    import ctypes

    frequency = ctypes.c_int64()
    ctypes.windll.kernel32.QueryPerformanceFrequency(ctypes.byref(frequency))
    return 1.0 / frequency.value
