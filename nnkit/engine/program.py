"""A program: a table of kernel addresses beside the frames of their arguments, and the memory they work in.

Every shard of a batch runs the same table on memory of its own. The memories have one layout, so the frames of shard s
are those of shard 0 with the addresses moved on by s times the size of a shard's memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.critical import imported, interruptible, uninterrupted
from nnkit.engine.instruction import Instruction, Numbers
from nnkit.engine.lazy import lazy
from nnkit.engine.memory import aligned_zeros, allocator, own
from nnkit.engine.operands import NATIVE, Array, Control, Order
from nnkit.engine.source import raised_at
from nnkit.engine.stub import Kernel, announce, described, kernel
from nnkit.engine.template import Likeness, Template, lay_out, recalled, remember
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


class Program:
    """Instructions with memory for ``shards`` shards of up to ``rows`` rows each.

    Parameters
    ----------
    instructions : the table, in order; or a function that gives it, which is called when somebody needs it.
    real : "float32" or "float64".
    shards, rows : how many shards, and for how many rows each has memory.
    python : run every kernel uncompiled.
    poison : byte that fresh memory is filled with; 255 makes every float a NaN.
    keep : never let two buffers share memory, so that all of them can be read afterwards.
    control : (1, words), the one control block that all shards read, and other programs with it; by default each has its own.
    outside : arrays that are also read or written from outside, at any time.
    like : what it has in common with programs whose template serves for this one, too.
    """

    def __init__(
        self,
        instructions: Sequence[Instruction] | Callable[[], Sequence[Instruction]],
        real: str,
        *,
        shards: int = 1,
        rows: int = 1,
        python: bool = False,
        poison: int = 0,
        keep: bool = False,
        control: NDArray[np.int64] | None = None,
        outside: Sequence[Array] = (),
        like: Likeness | None = None,
    ) -> None:
        self._given_instructions = instructions
        self.real = real
        self.shards = shards
        self.rows = rows
        self.python = as_python(python)
        self._keep, self._outside = keep, outside
        self.failure: BaseException | None = None
        self._callbacks: list[Any] = []  # ctypes callbacks live only as long as somebody holds them
        if control is None:
            control = aligned_zeros(shards * CONTROL_WORDS, "int64").reshape(shards, CONTROL_WORDS)
        self.controls = control
        self.places: dict[int, int] = {}  # address of a frame -> its shard, where the program is all Python
        self._given: dict[tuple[int, int], tuple[int, list[Any]]] = {}  # arguments of what runs as Python
        usual = not (self.python or poison or keep or outside) and allocator().usual
        others = () if like is None else tuple(like.arrays)
        key = like.including(real, shards, rows, len(control)) if like is not None and usual else None
        template = None if key is None else recalled(key)
        if template is not None:
            self._held = (*others, *map(own, template.own))
        else:
            template = Template(self.instructions, self._laid_out[1], len(control), others)
            self._held = (*others, *template.own)
        self.memory = allocator().arena(shards, template.size, poison, template.rooms)
        self.frames, self.table = template.frames(shards, self.memory, control, self._held)
        self._meets = template.meets
        if template.kernels is not None:
            self.table[:, :, 0] = template.addresses
        elif self._fill() and key is not None:
            remember(key, template, [self.kernel(index) for index in range(len(self.instructions))], others)

    @lazy
    def _laid_out(self) -> tuple[list[Instruction], list[tuple[int, int]]]:
        given = self._given_instructions
        instructions = list(given() if callable(given) else given)
        return instructions, lay_out(instructions, self.rows, self._keep, self._outside)

    @property
    def instructions(self) -> list[Instruction]:
        """The table, in order. Where a template was at hand, it is written when somebody looks at it."""
        return self._laid_out[0]

    def _fill(self) -> bool:
        """Have the table lead to the kernels; return whether all of them are compiled."""
        indices = range(len(self.instructions))
        if self.python:
            self.table[:, :, 0] = indices
            self.places = {int(frame): number for number in range(self.shards) for frame in self.table[number, :, 1]}
            return False
        interpreted = [index for index in indices if self.instructions[index].interpreted]
        announce(self.kernel(index) for index in indices if index not in interpreted)
        self.table[:, :, 0] = [0 if index in interpreted else self._address(index) for index in indices]
        for index in interpreted:
            self.table[:, index, 0] = [self._callback(index, number) for number in range(self.shards)]
        return not interpreted

    def segments(self, part: slice = slice(None)) -> NDArray[np.int64]:
        """Where among these instructions the shards meet, with the beginning and the end."""
        begin, end, _ = part.indices(self.table.shape[1])
        inner = [index - begin for index in self._meets if begin < index < end]
        return np.array([0, *inner, end - begin], np.int64)

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
        for index in range(self.table.shape[1]):
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
