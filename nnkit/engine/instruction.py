"""One call of a kernel in a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nnkit.engine.operands import Operand
from nnkit.errors import DataError

__all__ = ["Instruction", "Numbers"]


@dataclass(frozen=True)
class Numbers:
    """Whole numbers that a kernel uses as indices: from 0 to below ``limit``.

    Attributes
    ----------
    name : what messages call the array
    limit : what they are below of
    shape : of the numbers of one row
    check : what the kernel that looks at them notes as `Word.CHECK`
    """

    name: str
    limit: int
    shape: tuple[int, ...] = ()
    check: int = 0

    def error(self, who: str, number: object, row: int, place: Sequence[int]) -> DataError:
        """What is raised for a number that is out of range."""
        where = f"row {row}" + (f", place {', '.join(map(str, place))}" if place else "")
        return DataError(f"{who}: expected {self.name} to hold whole numbers from 0 to {self.limit - 1}, got {number} in "
                         f"{where}; spell the data in these numbers, or make the layer for more of them")  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One call of a kernel. With ``interpreted`` it stays Python, and gets the shard's number before its operands."""

    function: Callable[..., Any]
    operands: tuple[Operand, ...]
    part: str  # whose kernel it is, for messages
    stage: str  # "data", "forward", "loss", "backward", "update"
    interpreted: bool = False
    kept: tuple[Operand, ...] = ()  # memory that must be intact until then, though the kernel does not name it
    meets: bool = False  # all shards wait for each other before it runs
    numbers: Numbers | None = None  # that it looks at, and refuses where they are out of range
