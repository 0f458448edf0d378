"""What a hyper-parameter is to a kernel: a number, a tuple of numbers, an array of them, or nothing."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.operands import Array, Constant, Operand, constant
from nnkit.errors import KernelError

__all__ = ["Tuple", "hyperparameter"]

FEW = 8  # numbers of a tuple that is one in compiled code, too: for each length, the kernel is compiled once


@dataclass(frozen=True)
class Nothing(Operand):
    """``None``. Kernels are compiled without what they do only where there is something."""

    steady = True

    def kind(self) -> Hashable:
        return "nothing"

    def source(self, word: int, real: str) -> str:
        return "None"

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Tuple(Operand):
    """A tuple or list of numbers, all of one dtype; kernels get a tuple.

    Its whole numbers are Python's, not those of an array. In compiled code, one of more than a few is read in place: then
    there is one kernel for all lengths.
    """

    steady = True

    numbers: NDArray[Any]

    @property
    def _is_short(self) -> bool:
        return len(self.numbers) <= FEW

    def _constants(self) -> list[Constant]:
        return [Constant(number, self.numbers.dtype.name) for number in self.numbers.tolist()]

    def kind(self) -> Hashable:
        return "numbers", self.numbers.dtype.name, len(self.numbers) if self._is_short else None

    def source(self, word: int, real: str) -> str:
        if self._is_short:
            return f"({''.join(item.source(word + place, real) + ', ' for place, item in enumerate(self._constants()))})"
        return Array.view(self.numbers, written=False).source(word, real)

    def words(self) -> list[int]:
        if self._is_short:
            return [word for item in self._constants() for word in item.words()]
        return [0, len(self.numbers)]

    def address(self, base: int) -> int | None:
        return None if self._is_short else int(self.numbers.ctypes.data)

    @property
    def outside(self) -> NDArray[Any] | None:
        return None if self._is_short else self.numbers

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> tuple[Any, ...]:
        return tuple(item.value(control, memory) for item in self._constants())


def hyperparameter(value: Any, real: str, is_real: bool = False) -> Operand:
    """An attribute of a part as its kernels get it; what is not whole, or with ``is_real`` everything, in the dtype ``real``.

    Raises
    ------
    KernelError
        Compiled code has no such values.
    """
    if value is None:
        return Nothing()
    if isinstance(value, bool | np.bool_ | int | float | np.number) and not isinstance(value, np.complexfloating):
        return constant(float(value) if is_real else value, real)
    if isinstance(value, tuple | list | np.ndarray):
        numbers = _numbers(value, real, is_real)
        if numbers is not None and numbers.ndim == 1 and not isinstance(value, np.ndarray):
            return Tuple(numbers)
        if numbers is not None and numbers.ndim:
            return Array.view(numbers, written=False)
    raise KernelError(f"expected a number, numbers in a tuple, a list or an array, or None, got {_shown(value)}")


def _numbers(values: Any, real: str, is_real: bool) -> NDArray[Any] | None:
    """A copy that nobody can write; None where something in it is no number."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        return None
    if array.dtype.kind not in "biuf":
        return None
    whole = {"b": "bool", "i": "int64", "u": "int64"}.get(array.dtype.kind, real)
    numbers = np.array(array, real if is_real or not array.size else whole, order="C")
    numbers.flags.writeable = False
    return numbers


def _shown(value: Any) -> str:
    """What kernels cannot have, and what to write instead."""
    what = f"{value!r:.60} of type {type(value).__name__}"
    if isinstance(value, Enum):
        return f"{what}; derive {type(value).__name__} from enum.IntEnum, or pass the number, {value!s}.value"
    if isinstance(value, str):
        return f"{what}; pass a number or a truth value that says which, or write a class for each"
    if isinstance(value, tuple | list | dict):
        return f"{what}; make it an array, or several hyper-parameters"
    return what
