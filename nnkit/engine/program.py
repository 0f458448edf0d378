"""A program: a table of kernel addresses beside the frames of their arguments, and the memory they work in.

Every shard of a batch runs the same table on memory of its own. The memories have one layout, so the frames of shard s
are those of shard 0 with the addresses moved on by s times the size of a shard's memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.critical import imported, interruptible, uninterrupted
from nnkit.engine.memory import ALIGNMENT, aligned_zeros, allocator
from nnkit.engine.operands import NATIVE, Array, Control, Operand, Order, Storage, aliases
from nnkit.engine.source import raised_at
from nnkit.engine.stub import Kernel, described, kernel
from nnkit.errors import DataError, KernelError
from nnkit.kernels.control import CONTROL_WORDS, FAILED, RAISED, REFUSED, Word

__all__ = ["Instruction", "Numbers", "Program", "as_python", "uncompiled"]

_all_python = False


@contextmanager
def uncompiled() -> Iterator[None]:
    """Let every program that is made meanwhile, by any thread, run its kernels as Python."""
    global _all_python
    before, _all_python = _all_python, True
    try:
        yield
    finally:
        _all_python = before


def as_python(wanted: bool = False) -> bool:
    """Whether a program runs its kernels as Python: because that is wanted, or while all do (see `uncompiled`)."""
    return wanted or _all_python


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


class Program:
    """Instructions with memory for ``shards`` shards of up to ``rows`` rows each.

    Parameters
    ----------
    instructions : the table, in order.
    real : "float32" or "float64".
    shards, rows : how many shards, and for how many rows each has memory.
    python : run every kernel uncompiled.
    poison : byte that fresh memory is filled with; 255 makes every float a NaN.
    keep : never let two buffers share memory, so that all of them can be read afterwards.
    control : (1, words), the one control block that all shards read, and other programs with it; by default each has its own.
    outside : arrays that are also read or written from outside, at any time.
    """

    def __init__(
        self,
        instructions: Sequence[Instruction],
        real: str,
        *,
        shards: int = 1,
        rows: int = 1,
        python: bool = False,
        poison: int = 0,
        keep: bool = False,
        control: NDArray[np.int64] | None = None,
        outside: Sequence[Array] = (),
    ) -> None:
        self.instructions = list(instructions)
        self.real = real
        self.shards = shards
        self.rows = rows
        self.python = as_python(python)
        self.failure: BaseException | None = None
        self._callbacks: list[Any] = []  # ctypes callbacks live only as long as somebody holds them
        rooms = self._lay_out(keep, outside)
        # The odd cache line keeps the same buffer of two shards off the same cache sets.
        size = max((end for _, end in rooms), default=0) + ALIGNMENT
        self.memory = allocator().arena(shards, size, poison, rooms)
        if control is None:
            control = aligned_zeros(shards * CONTROL_WORDS, "int64").reshape(shards, CONTROL_WORDS)
        self.controls = control
        self.places: dict[int, int] = {}  # address of a frame -> its shard, where the program is all Python
        self._given: dict[tuple[int, int], tuple[int, list[Any]]] = {}  # arguments of what runs as Python
        self._make_frames()

    def _lay_out(self, keep: bool, outside: Sequence[Array]) -> list[tuple[int, int]]:
        """Give every storage an offset; storages that are never alive together share memory (unless ``keep``).

        Returns where the room of each begins and ends.
        """
        source = allocator()
        storages: dict[Storage, None] = {array.storage: None for array in outside}
        for storage in storages:
            storage.use(0)
            storage.use(len(self.instructions))
        for position, instruction in enumerate(self.instructions):
            for operand in (*instruction.operands, *instruction.kept):
                if isinstance(operand, Array) and operand.storage.shared is None:
                    operand.storage.use(position)
                    storages[operand.storage] = None
        placed: list[tuple[int, int, Storage]] = []  # offset, end
        for storage in sorted(storages, key=lambda item: -item.size(self.rows)):
            size = source.extent(storage.size(self.rows))
            alive = sorted(
                (start, end) for start, end, other in placed
                if keep or source.apart or (other.first <= storage.last and storage.first <= other.last)
            )
            offset = 0
            for start, end in alive:
                if offset + size <= start:
                    break
                offset = max(offset, end)
            storage.offset = offset + source.begin(storage.size(self.rows))
            placed.append((offset, offset + size, storage))
        return [(start, end) for start, end, _ in placed]

    def _make_frames(self) -> None:
        """Fill in the table and every shard's frames."""
        base, control = self.memory.ctypes.data, self.controls.ctypes.data
        moves: list[int] = []  # by how much each word grows from shard to shard
        words: list[int] = []
        starts: list[int] = []
        for instruction in self.instructions:
            starts.append(len(words))
            words.append(control)
            moves.append(CONTROL_WORDS * 8 if len(self.controls) > 1 else 0)
            repeated = aliases(instruction.operands)
            for place, operand in enumerate(instruction.operands):
                if place in repeated:
                    continue
                own = operand.words()
                address = operand.address(base)
                if address is not None:
                    own[0] = address
                words.extend(own)
                moves.extend([0] * len(own))
                if isinstance(operand, Array):
                    moves[-len(own)] = operand.stride if operand.storage.shared is not None else self.memory.shape[1]
        shard = np.arange(self.shards)[:, None]
        self.frames = np.array(words, np.int64) + shard * np.array(moves, np.int64)
        self.table = np.empty((self.shards, len(starts), 2), np.int64)
        self.table[:, :, 1] = self.frames.ctypes.data + 8 * (np.array(starts, np.int64) + len(words) * shard)
        if self.python:
            self.table[:, :, 0] = np.arange(len(starts))
            self.places = {int(frame): number for number in range(self.shards) for frame in self.table[number, :, 1]}
            return
        interpreted = [index for index, instruction in enumerate(self.instructions) if instruction.interpreted]
        self.table[:, :, 0] = [0 if index in interpreted else self._address(index) for index in range(len(starts))]
        for index in interpreted:
            self.table[:, index, 0] = [self._callback(index, number) for number in range(self.shards)]

    def segments(self, part: slice = slice(None)) -> NDArray[np.int64]:
        """Where among these instructions the shards meet, with the beginning and the end."""
        chosen = self.instructions[part]
        return np.array([0, *(i for i, item in enumerate(chosen) if item.meets and i), len(chosen)], np.int64)

    def call(self, index: int, frame: int) -> None:
        """What calling a table's entry means when the whole program is Python."""
        self.interpret(int(index), self.places[int(frame)])

    def kernel(self, index: int) -> Kernel:
        """The kernel of an instruction."""
        instruction = self.instructions[index]
        return kernel(instruction.function, instruction.operands, self.real)

    def _address(self, index: int) -> int:
        """Native address of an instruction's kernel."""
        return allocator().watched(self.kernel(index).address, self.instructions[index], self._callbacks)

    def interpret(self, index: int, shard: int) -> None:
        """Run one instruction of one shard uncompiled."""
        instruction = self.instructions[index]
        with np.errstate(all="ignore"), interruptible():
            instruction.function(*self._arguments(instruction, index, shard))

    def _arguments(self, instruction: Instruction, index: int, shard: int) -> list[Any]:
        """What an instruction's function gets; made once for each number of rows, where nothing else changes."""
        control, memory = self.controls[shard % len(self.controls)], self.memory[shard]
        rows = control[Word.ROWS]
        made_for, arguments = self._given.get((index, shard), (-1, []))
        if made_for != rows:
            arguments = [operand.value(control, memory, shard) for operand in instruction.operands]
            if instruction.interpreted:
                arguments.insert(0, shard)
            if all(operand.steady for operand in instruction.operands):
                self._given[index, shard] = rows, arguments
        return arguments

    @property
    def calls_python(self) -> bool:
        """Whether native code calls Python: an exception that comes as it begins or ends there would be printed and dropped."""
        return bool(self._callbacks)

    def run(self) -> None:
        """Run the first shard's instructions, once, without the loop."""
        if self.calls_python:
            with uninterrupted:
                self._run()
        else:
            self._run()

    def _run(self) -> None:
        for index in range(len(self.instructions)):
            if self.python:
                self.interpret(index, 0)
            else:
                address, frame = self.table[0, index]
                NATIVE(int(address))(int(frame))
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.require_no_error()

    def _callback(self, index: int, shard: int) -> int:
        """Native address of an instruction that is Python; what it raises stops the shard and is kept."""
        arithmetic = imported("nnkit.engine.arithmetic")
        control = self.controls[shard % len(self.controls)]
        words = np.array([control.ctypes.data])  # a frame without operands
        functions = arithmetic.as_python, arithmetic.as_before
        begin, end = (NATIVE(kernel(function, (Control(),), self.real).address) for function in functions)

        def run(frame: int) -> None:
            begin(words.ctypes.data)
            try:
                self.interpret(index, shard)
            except BaseException as error:  # also KeyboardInterrupt: nothing may pass through native code
                self.failure = self.failure or error
                control[Word.STATUS] = FAILED
            finally:
                end(words.ctypes.data)

        callback = NATIVE(run)
        self._callbacks.append(callback)
        return ctypes.cast(callback, ctypes.c_void_p).value or 0

    def forget_errors(self) -> None:
        """Be ready for another run, whatever the last one has left behind."""
        self.failure = None
        self.controls[:, Word.STATUS] = 0

    def require_no_error(self) -> None:
        """Raise what compiled code has found wrong, and be ready for another run."""
        if not self.controls[:, Word.STATUS].any():
            return
        error = self.error()
        if error is not None:
            self.controls[:, Word.STATUS] = 0
            raise error

    def error(self) -> DataError | KernelError | None:
        """What compiled code has found wrong in the last run: a number that it refused, or an error that it raised."""
        worst = max(self.controls, key=lambda control: int(control[Word.STATUS]))
        if worst[Word.STATUS] == REFUSED:
            return self._refusal(worst)
        if worst[Word.STATUS] == RAISED:
            for shard, index in np.argwhere(self.table[:, :, 1] == worst[Word.ENTRY]):
                return self._raised(int(shard), int(index))
        return None  # or it was another program, with the same control block

    def _raised(self, shard: int, index: int) -> KernelError:
        """Run the kernel once more, uncompiled: there the error has a text, and the line of code that raised it."""
        instruction = self.instructions[index]
        what, found, ends = "an error", None, None
        try:
            self.interpret(index, shard)
        except Exception as error:
            what, (found, ends) = f"{type(error).__name__}: {error}", raised_at(error)
        message = (f"{instruction.part}: {described(instruction.function)} raised {what}, in compiled code; "
                   "engine='python' of fit runs it uncompiled, for a debugger")  # fmt: skip
        made = KernelError(message if found is None else found.around(message)).with_traceback(ends)
        made.__suppress_context__ = True
        return made

    def _refusal(self, control: NDArray[np.int64]) -> DataError:
        found = next(item for item in self.instructions if item.numbers and item.numbers.check == control[Word.CHECK])
        assert found.numbers is not None
        per_row = prod(found.numbers.shape)
        row, entry = divmod(int(control[Word.ENTRY]), per_row)
        row += int(control[Word.FIRST_ROW])
        if control[Word.ORDER]:
            order = Order().value(control, self.memory[0])
            row = int(order[row] + control[Word.OFFSET])
        place = [int(index) for index in np.unravel_index(entry, found.numbers.shape)] if found.numbers.shape else []
        return found.numbers.error(found.part, int(control[Word.NUMBER]), row, place)

    def array(self, operand: Array, shard: int = 0) -> NDArray[Any]:
        """An operand's memory as an array, for as many rows as the shard has now."""
        return operand.value(self.controls[shard], self.memory[shard], shard)
