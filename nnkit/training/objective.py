"""The loss of a net on all rows of some data as a function of its numbers, with the gradient."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import numbers
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, ControlWord, Storage, constant
from nnkit.engine.program import Instruction, Program
from nnkit.engine.runner import Runner
from nnkit.engine.workers import Team
from nnkit.kernels.control import CONTROL_WORDS, Word
from nnkit.kernels.data import add_slabs, add_wave
from nnkit.network import Network
from nnkit.training.data import sources_of
from nnkit.training.goals import Goal, planned
from nnkit.training.shards import shard_rows

__all__ = ["Objective", "trained_places"]

WAVE_BYTES = 1 << 26  # of what layers give for the rows that run at a time, roughly
LEAST_WAVE = 256  # rows


def trained_places(network: Network) -> NDArray[np.int64]:
    """Where in the vector of a net the numbers are that are trained: without frozen parameters and what fills up lines."""
    found = [np.arange(segment.begin, segment.begin + prod(segment.shape)) for segment in network.segments() if segment.trained]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


class Objective:
    """The loss on all rows, and its gradient, by the numbers that a net has now.

    Rows run in waves, so that memory is bounded, and these in shards, as in a step of a fit: how they are cut is a rule over
    the net, so the bits do not depend on the number of threads.

    Parameters
    ----------
    network : whose loss it is
    goals : what its outputs should be
    X, rows : the data, and which rows of them count
    training : whether layers work as in training
    workers : how many threads it can use, of the team that a call is given

    Attributes
    ----------
    size : of the vector of all trained numbers
    workers : how many threads it can use
    gradient : of the last call, laid out as the net's vector
    """

    def __init__(
        self, network: Network, goals: dict[str, Goal], X: Any, rows: NDArray[np.int64], *, training: bool,
        workers: int = 1, python: bool = False,
    ) -> None:  # fmt: skip
        real, length = network.dtype, network.vector.size
        self._network, self._order = network, np.ascontiguousarray(rows, np.int64)
        self._places = trained_places(network)
        self.size = len(self._places)
        row_bytes = network.vector.itemsize * sum(numbers(built.out_shape) for built in network.leaves)
        wave = min(len(rows), max(LEAST_WAVE, WAVE_BYTES // max(row_bytes, 1)))
        per_shard = shard_rows(network, wave)
        shards = -(-wave // per_shard)
        self.workers = 1 if python else min(workers, shards)
        self._slabs = aligned_zeros(shards * length, real).reshape(shards, -1)
        waves = wave < len(rows)
        self.gradient = aligned_zeros(length, real) if waves else self._slabs[0]
        self._taken = np.empty(self.size, real)
        self._sources = sources_of(X, real)
        plan, graded = planned(network, goals, self._sources, self._slabs, training=training)
        program = Program(plan.instructions, real, shards=shards, rows=per_shard, python=python)
        control = aligned_zeros(CONTROL_WORDS, "int64").reshape(1, CONTROL_WORDS)
        chunks = length // network.chunk
        nothing = Program([], real, shards=chunks, python=python, control=control)
        sums = Program(self._sums(network.chunk, waves), real, shards=chunks, python=python, control=control)
        collect, reduce = (sums, None) if waves else (None, sums)
        self._both = Runner(program, per_shard, wave_rows=wave, collect=collect, reduce=reduce, update=nothing,
                            norms=np.zeros(chunks + 1), workers=self.workers)  # fmt: skip
        self._forward = Runner(program, per_shard, wave_rows=wave, part=slice(0, graded), workers=self.workers)
        for runner in (self._both, self._forward):
            runner.order(0, len(rows), self._order.ctypes.data, 0, 0)

    def _sums(self, chunk: int, waves: bool) -> list[Instruction]:
        """The gradients of the shards, and then of the waves, added up; of one chunk of the vector."""
        (shards, length), real = self._slabs.shape, self._slabs.dtype.name
        step = chunk * self._slabs.itemsize
        slabs, total = Storage(shared=self._slabs), Storage(shared=self.gradient)
        every = Array(slabs, ((shards - 1) * length + chunk,), real, stride=step)
        wave, whole = (Array(storage, (chunk,), real, stride=step) for storage in (slabs, total))
        sizes = constant(length, real), ControlWord(Word.SHARDS), constant(chunk, real)
        calls = [Instruction(add_slabs, (every, *sizes), "gradient", "update")] if shards > 1 else []
        if waves:
            calls.append(Instruction(add_wave, (wave, ControlWord(Word.FIRST_ROW), whole), "gradient", "update"))
        return calls

    def value(self, team: Team | None = None) -> float:
        """The loss; infinite where it is not finite."""
        return self._run(self._forward, team)

    def value_and_grad(self, out: NDArray[np.float64], team: Team | None = None) -> float:
        """The loss, and its gradient by the trained numbers, written to ``out``; infinite where one of them is not finite."""
        value = self._run(self._both, team)
        out[...] = np.take(self.gradient, self._places, out=self._taken, mode="clip")  # which makes no array
        return value

    @staticmethod
    def _run(runner: Runner, team: Team | None) -> float:
        runner.run(0, 1, team)
        return float(runner.losses[0]) if runner.status == 0 else np.inf

    # ----------------------------------------------------------------------------------------------- where the net is

    def position(self) -> NDArray[np.float64]:
        """The trained numbers as one vector."""
        return np.take(self._network.vector, self._places).astype(np.float64, copy=False)

    def move(self, theta: NDArray[np.float64]) -> None:
        """Let the net have these numbers."""
        self._network.vector[self._places] = theta
