"""What a kernel's argument can be, and how it travels: as words of the frame, as source in the stub, as a Python value.

A frame is a row of int64. Word 0 is the address of the shard's *control block*, which holds what changes from step to
step; the other words are addresses, sizes and constants that never change while a program lives.
"""

from __future__ import annotations

import ctypes
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import KernelError
from nnkit.kernels.control import CONTROL_WORDS, Word
from nnkit.kernels.random import stream

__all__ = [
    "NATIVE",
    "Address",
    "Argument",
    "Array",
    "Caller",
    "Coefficient",
    "Constant",
    "Control",
    "ControlWord",
    "Held",
    "Live",
    "Operand",
    "Order",
    "Seed",
    "Storage",
    "aliases",
    "constant",
    "lanes_of",
]

BLOCK_BYTES = 64  # of one number for all rows of a block: a cache line, and the widest vector in use

NATIVE = ctypes.CFUNCTYPE(None, ctypes.c_int64)  # what every kernel is: void(int64 frame); called, it releases the GIL

class Storage:
    """A piece of memory: a shard's own (placed when the program is laid out), or an array that outlives it."""

    def __init__(
        self, row_bytes: int = 0, fixed_bytes: int = 0, shared: NDArray[Any] | None = None, block_bytes: int = 1,
        written: bool = True,
    ) -> None:  # fmt: skip
        if shared is not None and written and not shared.flags.writeable:
            raise ValueError("expected memory that can be written, or that no kernel writes")
        self.row_bytes = row_bytes
        self.fixed_bytes = fixed_bytes
        self.block_bytes = max(1, block_bytes)  # rows are filled up to whole blocks
        self.shared = shared
        self.address = 0 if shared is None else int(shared.ctypes.data)
        self.first = 2**60  # instructions that use it, first and last: outside of them the memory is free
        self.last = -1
        self.offset = 0  # from the start of the shard's memory

    def use(self, position: int) -> None:
        """Note that the instruction at ``position`` reads or writes it."""
        self.first = min(self.first, position)
        self.last = max(self.last, position)

    def size(self, rows: int) -> int:
        """Bytes it needs for ``rows`` rows."""
        return self.fixed_bytes + -(-self.row_bytes * rows // self.block_bytes) * self.block_bytes


@dataclass(frozen=True)
class Operand:
    """One argument of a kernel."""

    steady: ClassVar[bool] = False  # `value` is the same from step to step, for the same number of rows

    def kind(self) -> Hashable:
        """What the compiled code depends on."""
        raise NotImplementedError

    def source(self, word: int, real: str) -> str:
        """Expression in the stub, where ``_words`` is the frame at address ``_frame`` and ``_control`` the control block."""
        raise NotImplementedError

    def words(self) -> list[int]:
        """Words of the frame for shard 0 (addresses are filled in by ``address``)."""
        return []

    def address(self, base: int) -> int | None:
        """The address that word 0 of this operand holds, for a shard whose memory is at ``base``."""
        return None

    @property
    def outside(self) -> NDArray[Any] | None:
        """The array of others that word 0 leads into, if it does."""
        return None

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> Any:
        """What the uncompiled kernel gets."""
        raise NotImplementedError


def lanes_of(dtype: str) -> int:
    """How many rows make a block: as many as numbers of this dtype fill a cache line."""
    return BLOCK_BYTES // np.dtype(dtype).itemsize


@dataclass(frozen=True)
class Array(Operand):
    """A C-contiguous array; with ``batched``, its first axis counts the entries of a shard's rows.

    Every row of the shard has ``multiple`` entries. With ``lanes`` above 1 so many of them lie interleaved in a block, number
    by number: the array is (blocks, *shape, lanes), and the last block is filled up. There are ``spread`` items of the first
    axis for each block, or each entry.
    """

    steady = True

    storage: Storage
    shape: tuple[int, ...]  # without the batch axis where batched, without the lanes where blocked
    dtype: str
    batched: bool = False
    multiple: int = 1
    lanes: int = 1
    spread: int = 1
    merged: bool = False  # blocks are seen as plain numbers, without an axis of lanes
    offset: int = 0  # bytes from the start of the storage
    stride: int = 0  # bytes from one shard's array to the next one's, where the storage is shared

    @classmethod
    def rows(cls, shape: tuple[int, ...], dtype: str, multiple: int = 1, lanes: int = 1) -> Array:
        """New memory for a batch of rows with ``multiple`` entries of ``shape`` each."""
        size = prod(shape) * np.dtype(dtype).itemsize
        storage = Storage(row_bytes=size * multiple, block_bytes=size * lanes)
        return cls(storage, shape, dtype, batched=True, multiple=multiple, lanes=lanes)

    @classmethod
    def fixed(cls, shape: tuple[int, ...], dtype: str) -> Array:
        """New memory of a size that does not depend on the rows."""
        return cls(Storage(fixed_bytes=prod(shape) * np.dtype(dtype).itemsize), shape, dtype)

    @classmethod
    def view(cls, array: NDArray[Any], written: bool = True) -> Array:
        """An array that lives outside of the program; what is not ``written`` may be read-only memory."""
        return cls(Storage(shared=array, written=written), array.shape, array.dtype.name)

    @classmethod
    def batch(cls, array: NDArray[Any], written: bool = True) -> Array:
        """A batch of rows that live outside of the program, as many as it runs with."""
        return cls(Storage(shared=array, written=written), array.shape[1:], array.dtype.name, batched=True)

    @property
    def is_absent(self) -> bool:
        """Whether it holds no numbers: an optional parameter that is not there."""
        return 0 in self.shape

    @property
    def is_blocked(self) -> bool:
        """Whether rows lie interleaved in blocks."""
        return self.lanes > 1

    def folded(self) -> Array:
        """Seen as (rows, last axis): the axes between are folded into the rows."""
        if not self.batched:
            return self
        *leading, last = self.shape or (1,)
        return self.matrix(prod(leading), last)

    def folded_after(self, axes: int) -> Array:
        """Seen as rows of the axes behind the first ``axes``, which are folded into the rows; a number is a row of one."""
        return self._seen(self.shape[axes:] or (1,), prod(self.shape[:axes]))

    def flat(self) -> Array:
        """Seen as one long row of numbers."""
        if self.batched:
            return self._seen((), prod(self.shape) * self.lanes)
        return replace(self, shape=(prod(self.shape),))

    def matrix(self, spread: int, width: int) -> Array:
        """Seen as (entries * spread, width) numbers, or for blocks as (blocks * spread, width * lanes)."""
        return self._seen((width * self.lanes,), spread)

    def reshaped(self, shape: tuple[int, ...]) -> Array:
        """The same numbers in rows of another shape."""
        if prod(shape) != prod(self.shape):
            raise KernelError(f"expected a view of {self.shape} with as many numbers, got {shape}")
        return replace(self, shape=shape)

    def _seen(self, shape: tuple[int, ...], spread: int) -> Array:
        return replace(self, shape=shape, spread=spread, merged=self.is_blocked)

    def unfolded(self, shape: tuple[int, ...]) -> Array:
        """Seen as rows again, of this shape, after they were folded, or flat."""
        return replace(self, shape=shape, spread=1)

    def split(self) -> Array:
        """Every step of a sequence as an entry of its own: rows of (steps, *shape) as ``steps`` times as many of ``shape``."""
        return replace(self, shape=self.shape[1:], multiple=self.multiple * self.shape[0])

    def joined(self, steps: int) -> Array:
        """What `split` has taken apart."""
        return replace(self, shape=(steps, *self.shape), multiple=self.multiple // steps)

    @property
    def _tail(self) -> tuple[int, ...]:
        return (self.lanes,) if self.is_blocked and not self.merged else ()

    def kind(self) -> Hashable:
        return ("array", self.dtype, len(self.shape) + self.batched, self.batched, self._tail)

    def source(self, word: int, real: str) -> str:
        # Entries are rounded up to whole blocks by a shift, so that flat kernels are the same for both.
        entries = f"_control[{Word.ROWS}] * _words[{word + 1}] + (1 << _words[{word + 2}]) - 1"
        first = [f"(({entries}) >> _words[{word + 2}]) * _words[{word + 3}]"] if self.batched else []
        rest = [f"_words[{word + 1 + 3 * len(first) + axis}]" for axis in range(len(self.shape))]
        sizes = ", ".join([*first, *rest, *map(str, self._tail)])
        return f"_carray(_pointer_at(_frame, {word}), ({sizes},), np.{self.dtype})"

    def words(self) -> list[int]:
        return [0, *([self.multiple, self.lanes.bit_length() - 1, self.spread] if self.batched else []), *self.shape]

    def address(self, base: int) -> int:
        if self.storage.shared is not None:
            return self.storage.address + self.offset
        return base + self.storage.offset + self.offset

    @property
    def outside(self) -> NDArray[Any] | None:
        return self.storage.shared

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> NDArray[Any]:
        first = (-(-int(control[Word.ROWS]) * self.multiple // self.lanes) * self.spread,) if self.batched else ()
        if self.storage.shared is None:
            data: NDArray[Any] = memory[self.storage.offset + self.offset :]
        else:
            data = self.storage.shared.reshape(-1).view(np.uint8)[self.offset + shard * self.stride :]
        shape = first + self.shape + self._tail
        return data[: prod(shape) * np.dtype(self.dtype).itemsize].view(self.dtype).reshape(shape)


@dataclass(frozen=True)
class Constant(Operand):
    """A number or truth value that is part of the program: a hyper-parameter, ``training``."""

    steady = True

    number: float | int | bool
    dtype: str  # "int64", "bool" or the program's real dtype

    def kind(self) -> Hashable:
        return ("constant", self.dtype)

    def source(self, word: int, real: str) -> str:
        return {
            "int64": f"_words[{word}]",
            "bool": f"_words[{word}] != 0",
            "float32": f"np.int32(_words[{word}]).view(np.float32)",
            "float64": f"np.int64(_words[{word}]).view(np.float64)",
        }[self.dtype]

    def words(self) -> list[int]:
        if self.dtype in ("int64", "bool"):
            return [int(self.number)]
        bits = "int32" if self.dtype == "float32" else "int64"
        return [int(np.array(self.number, self.dtype).view(bits))]

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> Any:
        plain = {"int64": int, "bool": bool}.get(self.dtype)
        return plain(self.number) if plain else np.dtype(self.dtype).type(self.number)


def constant(number: Any, real: str) -> Constant:
    """A hyper-parameter as an operand: truth values and integers as they are, other numbers in the program's dtype."""
    if isinstance(number, bool | np.bool_):
        return Constant(bool(number), "bool")
    if isinstance(number, int | np.integer):
        return Constant(int(number), "int64")
    return Constant(float(number), real)


@dataclass(frozen=True)
class ControlWord(Operand):
    """An integer of the control block, ``multiple`` times."""

    word: Word
    multiple: int = 1

    def kind(self) -> Hashable:
        return ("control", int(self.word))

    def source(self, word: int, real: str) -> str:
        return f"_control[{self.word}] * _words[{word}]"

    def words(self) -> list[int]:
        return [self.multiple]

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> int:
        return int(control[self.word]) * self.multiple


@dataclass(frozen=True)
class Control(Operand):
    """The whole control block, as int64 or (for ``Word.LOSS``) as float64."""

    dtype: str = "int64"

    def kind(self) -> Hashable:
        return ("control block", self.dtype)

    def source(self, word: int, real: str) -> str:
        return f"_carray(_pointer_at(_frame, 0), ({CONTROL_WORDS},), np.{self.dtype})"

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> NDArray[Any]:
        return control.view(self.dtype)


@dataclass(frozen=True)
class Order(Operand):
    """The row numbers of the whole batch: int64, one for each of its rows."""

    def kind(self) -> Hashable:
        return "order"

    def source(self, word: int, real: str) -> str:
        return f"_carray(_pointer_at(_words[0], {Word.ORDER:d}), (_control[{Word.BATCH_ROWS}],), np.int64)"

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> NDArray[np.int64]:
        return _borrow(int(control[Word.ORDER]), int(control[Word.BATCH_ROWS]), "int64")


@dataclass(frozen=True)
class Seed(Operand):
    """Seed of a part's random numbers in this step; the same in its forward and its backward."""

    salt: int

    def kind(self) -> Hashable:
        return "seed"

    def source(self, word: int, real: str) -> str:
        return f"_stream(_control[{Word.SEED}], _control[{Word.STEP}], _words[{word}])"

    def words(self) -> list[int]:
        return [self.salt]

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> int:
        with np.errstate(over="ignore"):
            return int(stream(control[Word.SEED], control[Word.STEP], self.salt))


@dataclass(frozen=True)
class Coefficient(Operand):
    """A number that the optimizer computed for this step."""

    index: int
    dtype: str

    def kind(self) -> Hashable:
        return ("coefficient", self.dtype)

    def source(self, word: int, real: str) -> str:
        index = f"_words[{word}]"
        return f"_carray(_pointer_at(_words[0], {Word.COEFFICIENTS:d}), ({index} + 1,), np.{self.dtype})[{index}]"

    def words(self) -> list[int]:
        return [self.index]

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> Any:
        return _borrow(int(control[Word.COEFFICIENTS]), self.index + 1, self.dtype)[self.index]


@dataclass(frozen=True, eq=False)
class Live(Operand):
    """A number that lies in memory of its own, and may be another one in each step."""

    memory: NDArray[Any]  # (1,)

    def kind(self) -> Hashable:
        return ("live", self.memory.dtype.name)

    def source(self, word: int, real: str) -> str:
        return f"_carray(_pointer_at(_frame, {word}), (1,), np.{self.memory.dtype.name})[0]"

    def words(self) -> list[int]:
        return [0]

    def address(self, base: int) -> int:
        return int(self.memory.ctypes.data)

    @property
    def outside(self) -> NDArray[Any]:
        return self.memory

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> Any:
        return self.memory[0]


@dataclass(frozen=True, eq=False)
class Address(Operand):
    """The address of an array, as a number."""

    array: NDArray[Any]

    def kind(self) -> Hashable:
        return ("constant", "int64")

    def source(self, word: int, real: str) -> str:
        return f"_words[{word}]"

    def words(self) -> list[int]:
        return [0]

    def address(self, base: int) -> int:
        return int(self.array.ctypes.data)

    @property
    def outside(self) -> NDArray[Any]:
        return self.array

    def value(self, control: NDArray[np.int64], memory: NDArray[np.uint8], shard: int = 0) -> int:
        return self.address(0)


@dataclass(frozen=True)
class Argument(Operand):
    """An array of ``size`` numbers that a caller from outside brings; the caller's frame holds its address at ``place``."""

    place: int
    size: int
    dtype: str

    def kind(self) -> Hashable:
        return ("argument", self.dtype)

    def source(self, word: int, real: str) -> str:
        address = f"_pointer_at(_control[{Word.ARGUMENTS}], _words[{word}])"
        return f"_carray({address}, (_words[{word + 1}],), np.{self.dtype})"

    def words(self) -> list[int]:
        return [self.place, self.size]


@dataclass(frozen=True)
class Caller(Operand):
    """The address of the frame itself, where it is a caller's from outside."""

    def kind(self) -> Hashable:
        return "caller"

    def source(self, word: int, real: str) -> str:
        return "_frame"


@dataclass(frozen=True)
class Held(Operand):
    """What a caller's frame has no room for: word 0 leads to a block that holds the operand's words from ``place`` on."""

    operand: Operand
    place: int

    def kind(self) -> Hashable:
        return ("held", self.place, self.operand.kind())

    def source(self, word: int, real: str) -> str:
        return self.operand.source(self.place, real).replace("_words[", "_control[").replace("_frame", "_words[0]")


def aliases(operands: Sequence[Operand]) -> dict[int, int]:
    """Places of arrays that a kernel is given again -> their first places; the frame holds such an array once."""
    first: dict[Operand, int] = {}
    return {
        index: first[operand]
        for index, operand in enumerate(operands)
        if isinstance(operand, Array) and not operand.is_absent and first.setdefault(operand, index) != index
    }


def _borrow(address: int, count: int, dtype: str) -> NDArray[Any]:
    """The numbers at an address, as an array that does not own them."""
    kinds: dict[str, Any] = {"int64": ctypes.c_int64, "float32": ctypes.c_float, "float64": ctypes.c_double}
    return np.ctypeslib.as_array((kinds[dtype] * count).from_address(address))
