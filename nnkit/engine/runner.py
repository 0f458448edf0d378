"""Runs programs: binds tables, steps and coefficients to the loop, compiled or not."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.critical import imported, uninterrupted
from nnkit.engine.instruction import Instruction
from nnkit.engine.lazy import weakly
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import NATIVE, Address, Array, Constant, Operand
from nnkit.engine.program import Program
from nnkit.engine.template import Likeness
from nnkit.engine.workers import Team
from nnkit.kernels.control import CONTROL_WORDS, FAILED, Word

__all__ = ["Runner"]


class _Sheltered:
    """A native function that calls Python, as a section: signals come in where that Python lets them, or after it."""

    def __init__(self, function: Callable[[Any], None], programs: Sequence[Program]) -> None:
        self.function, self.programs = function, programs

    def __call__(self, frame: Any) -> None:
        try:
            with uninterrupted:
                self.function(frame)
        except BaseException:  # of a signal: nobody asks any more what the run has left behind
            for program in self.programs:
                program.forget_errors()
            raise


class Runner:
    """A program for the batch and, for training, two for each chunk of the parameters.

    Parameters
    ----------
    program : data, forward, loss and backward, for every shard.
    shard_rows : how many rows of a batch go to one shard.
    capacity : how many steps one call of `run` can do.
    wave_rows : how many rows of a batch run at a time; by default all that there is memory for.
    collect : run for every chunk of the parameters after every wave of a step.
    reduce, update : run for every chunk of the parameters after every step.
    norms : (chunks + 1,) float64, shared with ``reduce``: what chunks there are.
    clip_norm : the largest norm of the whole gradient; 0 for no limit.
    coefficients : how many numbers ``update`` reads for each step.
    seed : of all random streams.
    workers : how many threads run it at most, of the team that `run` is given.
    part : which of the program's instructions run.
    """

    def __init__(
        self,
        program: Program,
        shard_rows: int,
        *,
        capacity: int = 1,
        wave_rows: int = 0,
        collect: Program | None = None,
        reduce: Program | None = None,
        update: Program | None = None,
        norms: Any = None,
        clip_norm: float = 0.0,
        coefficients: int = 0,
        seed: int = 0,
        workers: int = 1,
        part: slice = slice(None),
    ) -> None:
        self.program = program
        self.shard_rows = shard_rows
        self.capacity = capacity
        self.workers = workers
        self.steps = np.zeros((capacity, 4), np.int64)
        self.losses = np.zeros(capacity)
        self.coefficients = aligned_zeros(capacity * max(coefficients, 1), program.real).reshape(capacity, -1)
        self.programs = [program, *(item for item in (collect, reduce, update) if item is not None)]
        self._span = np.zeros(4, np.int64)
        self._counter = aligned_zeros(8, "int64")
        program.controls[:, Word.SEED] = seed
        control = np.zeros((1, CONTROL_WORDS), np.int64) if update is None else update.controls
        self._given: tuple[NDArray[Any] | Constant | Address, ...] = (
            np.ascontiguousarray(program.table[:, part]),
            program.segments(part),
            program.controls,
            program.controls.view(np.float64),
            _of_chunks(collect, norms),
            _of_chunks(reduce, norms),
            np.zeros(1) if norms is None else norms,
            _of_chunks(update, norms),
            control,
            self.steps,
            Address(self.coefficients),
            Constant(self.coefficients.strides[0], "int64"),
            self.losses,
            self._span,
            Address(self._counter),
            Constant(shard_rows, "int64"),
            Constant(wave_rows or max(1, shard_rows * program.shards), "int64"),
            Constant(clip_norm, "float64"),
        )
        if program.python:
            self._uncompiled = self._make_uncompiled()
            self._native: Callable[[Any], None] = self._run_uncompiled
            self._alone = ctypes.c_int64()
        else:
            self._compile()

    def _compile(self) -> None:
        run = imported("nnkit.engine.loop").run
        self._function = run
        self._loops: dict[int, Program] = {}  # by the size of the team; they hold the frames
        self._address, (alone,) = self._team_of(1)
        self._alone = ctypes.c_int64(alone)  # as an object it is passed 0.1 us faster
        self._native = NATIVE(self._address)
        if any(program.calls_python for program in self.programs):
            self._native = _Sheltered(self._native, self.programs)

    def _operands(self) -> tuple[Operand, ...]:
        """What the loop is given, but for the worker and the size of the team."""
        return tuple(Array.view(item) if isinstance(item, np.ndarray) else item for item in self._given)

    def _write(self, size: int) -> list[Instruction]:
        """The loop, for each member of a team."""
        roles = [(Constant(worker, "int64"), Constant(size, "int64")) for worker in range(size)]
        return [Instruction(self._function, (*self._operands(), *role), "loop", "loop") for role in roles]

    def _team_of(self, size: int) -> tuple[int, list[int]]:
        """The loop's address, and a frame for each member of a team."""
        if size not in self._loops:
            numbers = [item for item in self._given if not isinstance(item, np.ndarray | Address)]
            places = [item for item in self._given if isinstance(item, np.ndarray | Address)]
            arrays = [item.array if isinstance(item, Address) else item for item in places]
            like = Likeness((self._function, size, *numbers), arrays)
            self._loops[size] = Program(partial(weakly(self._write), size), "float64", like=like)
        table = self._loops[size].table[0]
        return int(table[0, 0]), [int(frame) for frame in table[:, 1]]

    def _make_uncompiled(self) -> Any:
        """The very same loop, as Python, with ``call`` going to the uncompiled kernels."""
        from nnkit.engine import loop

        owners = {frame: program for program in self.programs for frame in program.places}

        def call(index: int, frame: int) -> None:
            owners[int(frame)].call(index, frame)

        def nothing(*arguments: int) -> int:
            return 0

        replaced = {"call": call, "meet": nothing, "flush_to_zero": nothing, "restore_arithmetic": nothing}
        return types.FunctionType(loop.run.__code__, {**vars(loop), **replaced})

    def _run_uncompiled(self, frame: object) -> None:
        """What calling the loop means when it is Python."""
        arguments = [item.value(self.program.controls[0], self.program.memory[0]) for item in self._operands()]
        self.program.controls[:, Word.STATUS] = 0
        self._uncompiled(*arguments, 0, 1)

    def order(self, step: int, rows: int, address: int, offset: int, number: int) -> None:
        """Say what one of the steps works on."""
        self.steps[step] = address, rows, offset, number

    def run(self, first: int, last: int, team: Team | None = None) -> int:
        """Do the steps ``first`` to ``last``; return how many were done before it stopped, see `status`.

        Raises
        ------
        DataError
            A number that would have been used as an index is out of range.
        KernelError
            A compiled kernel raised an error.
        BaseException
            What a kernel in Python has raised.
        """
        span = self._span
        span[0], span[1], span[2], span[3] = first, last, 0, first
        if self.program.python or team is None or min(team.size, self.workers) == 1:
            self._native(self._alone)
        else:
            self._counter[0] = 0
            team.run(*self._team_of(min(team.size, self.workers)))
        if span[2]:
            self._stopped()
        for program in self.programs[1:]:
            program.require_no_error()
        return int(span[3]) - first

    def again(self) -> None:
        """Do the compiled first step again, as `run` has done it before, without a team."""
        self._native(self._alone)
        if self._span[2]:
            self._stopped()

    @property
    def status(self) -> int:
        """0, or why the last `run` stopped."""
        return int(self._span[2])

    def _stopped(self) -> None:
        """Make ready for another run; raise what a kernel has raised, or refused."""
        error = self.program.error()
        self.program.controls[:, Word.STATUS] = 0
        if error is not None:
            raise error
        if self._span[2] == FAILED:
            failure, self.program.failure = self.program.failure, None
            assert failure is not None
            raise failure


def _of_chunks(program: Program | None, norms: Any) -> NDArray[np.int64]:
    """A program's table with a row for each chunk, whose instructions are those of a shard or come one after the other."""
    chunks = 0 if norms is None else len(norms) - 1
    if program is None or not chunks:
        return np.empty((chunks, 0, 2), np.int64)
    return program.table.reshape(chunks, program.table.size // (2 * chunks), 2)
