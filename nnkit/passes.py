"""Single passes over a model: predictions, validation, and forward and backward by hand."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import BoundLoss, Loss
from nnkit.engine.critical import check
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, Constant, ControlWord
from nnkit.engine.program import Instruction, Program
from nnkit.engine.runner import Runner
from nnkit.engine.workers import Team, available_threads
from nnkit.kernels.control import Word
from nnkit.kernels.data import scatter
from nnkit.network import Network
from nnkit.planner import Node, Plan
from nnkit.training.data import source_of

__all__ = ["BulkPredictor", "Evaluator", "Pass", "Predictor", "prediction_shards"]

BLOCK = 256  # rows that one shard predicts at a time: small enough for the second-level cache
SLICE = 256  # blocks between two looks at Ctrl-C


class Predictor:
    """Forward passes over a few rows at a time, with as little Python around each as can be."""

    def __init__(self, network: Network, rows: int) -> None:
        self.rows = rows
        self.stage = _buffer(rows, network.in_shape, network.input_dtype)
        self.result = _buffer(rows, network.out_shape, network.dtype)
        plan = Plan(network.dtype, training=False, differentiate=False)
        stage, result = (
            replace(Array.view(buffer), shape=buffer.shape[1:], batched=True) for buffer in (self.stage, self.result)
        )
        plan.copy(plan.run(network.placed(), stage), result)
        self._runner = Runner(Program(plan.instructions, network.dtype, rows=rows), rows)
        self._runner.run(0, 1)  # on no rows: leaves the runner ready for `again`
        self._again = self._runner.again
        self._count = self._runner.steps[0, 1:2]
        # Rows that have to be looked at first never fit.
        self._dtype, self._row_shape = None if network.looks_at_input else self.stage.dtype, network.in_shape
        self._set_for, self._in, self._out = 0, self.stage[:0], self.result[:0]

    def fits(self, X: NDArray[Any]) -> bool:
        """Whether these are rows of the model's own dtype, not too many and not none."""
        return X.dtype is self._dtype and X.shape[1:] == self._row_shape and 0 < len(X) <= self.rows

    def __call__(self, X: NDArray[Any]) -> NDArray[Any]:
        """Outputs of a few rows."""
        rows = len(X)
        if rows != self._set_for:
            self._set_for = self._count[0] = rows
            self._in, self._out = self.stage[:rows], self.result[:rows]
        self._in[...] = X
        self._again()
        return self._out.copy()


class BulkPredictor:
    """Forward passes over all rows of an array (or the ``chosen`` ones), read in place and written to ``out``.

    Blocks of rows are handed to the shards in turn. Which rows make a block does not depend on the number of shards, so the
    result does not either.
    """

    def __init__(
        self,
        network: Network,
        X: Any,
        out: NDArray[Any],
        shards: int = 1,
        chosen: NDArray[np.int64] | None = None,
        python: bool = False,
    ) -> None:
        real, rows = network.dtype, BLOCK * shards
        plan = Plan(real, training=False, differentiate=False)
        self._source = source_of(X, real)
        x = self._source.input(network.in_shape, network.input_dtype)
        plan.instructions.append(self._source.gather(x))
        result = plan.run(network.placed(sparse=self._source.arrays), x)
        flat = out.reshape(len(out), -1)
        place = ControlWord(Word.STEP), ControlWord(Word.FIRST_ROW), Constant(rows, "int64")
        operands = (result.reshaped(flat.shape[1:]), *place, Array.view(flat))
        plan.instructions.append(Instruction(scatter, operands, "result", "data"))
        program = Program(plan.instructions, real, shards=shards, rows=BLOCK, python=python)
        begins = np.arange(0, len(out), rows)
        self._runner = Runner(program, BLOCK, capacity=len(begins), workers=shards)
        self._order = np.arange(rows) if chosen is None else chosen
        steps = self._runner.steps
        steps[:, 0] = self._order.ctypes.data + (0 if chosen is None else 8 * begins)
        steps[:, 1] = np.minimum(rows, len(out) - begins)
        steps[:, 2] = begins if chosen is None else 0
        steps[:, 3] = np.arange(len(begins))

    def run(self, team: Team | None = None) -> None:
        """Predict all rows."""
        for first in range(0, self._runner.capacity, SLICE):
            check()
            self._runner.run(first, min(first + SLICE, self._runner.capacity), team)


def prediction_shards(network: Network, rows: int, n_threads: int | None) -> int:
    """How many threads are worth their start (~0.1 ms): one for every 10 million multiplications or so."""
    work = rows * network.work()
    return max(1, min(available_threads(n_threads), -(-rows // BLOCK), work // 10_000_000))


class Evaluator:
    """The loss and the predictions of a model on data that stay the same, again and again."""

    def __init__(
        self,
        network: Network,
        loss: Loss,
        X: Any,
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None,
        *,
        chosen: NDArray[np.int64] | None = None,
        shards: int = 1,
        python: bool = False,
    ) -> None:
        self.y, self.sample_weight = y, sample_weight
        self.prediction = np.empty((len(y), *network.out_shape), network.dtype)
        self._predictor = BulkPredictor(network, X, self.prediction, shards, chosen, python)
        self._loss = BoundLoss(loss, self.prediction, y, sample_weight, python=python)

    def run(self, team: Team | None = None) -> float:
        """Predict all rows and return the loss."""
        self._predictor.run(team)
        return self._loss.value()


def _buffer(rows: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    return aligned_zeros(rows * prod(shape), dtype).reshape(rows, *shape)


class Pass:
    """One forward and one backward pass of a batch, on memory of its own, one call at a time.

    Parameters
    ----------
    rows : the most rows that it has memory for
    gradient : flat vector that backward writes parameter gradients into
    keep : leave every intermediate result where it can be looked at
    """

    def __init__(
        self,
        network: Network,
        rows: int,
        *,
        training: bool,
        gradient: NDArray[Any],
        keep: bool = False,
        python: bool = False,
        poison: int = 0,
    ) -> None:
        real = network.dtype
        self.rows = rows
        self.current_rows = 0
        self.plan = plan = Plan(real, training=training, differentiate=True, keep=keep)
        x = Array.rows(network.in_shape, network.input_dtype)
        self._grad_out = Array.rows(network.out_shape, real)
        self._x = x
        self._out = plan.run(network.placed(gradient), x)
        forward = len(plan.instructions)
        self._grad_x = plan.backward(self._grad_out, to_input=True) if network.input_dtype == real else None
        if self._grad_x is None:
            plan.backward(self._grad_out)
        # Backward may be called again and again after one forward: all that it reads stays where it is.
        inner = [item for node in plan.nodes for item in (node.x, node.out, *node.named.values())]
        outside = [array for array in (x, self._out, self._grad_out, self._grad_x, *inner)
                   if isinstance(array, Array) and array.storage.shared is None]  # fmt: skip
        self.program = Program(plan.instructions, real, rows=rows, python=python, poison=poison, keep=keep, outside=outside)
        self._end = forward
        self._after: dict[int, Runner] = {}  # what is left to do from an instruction on
        self._forward = Runner(self.program, rows, part=slice(0, forward))
        self._backward = Runner(self.program, rows, part=slice(forward, None))

    def nodes(self) -> list[Node]:
        """The layers with their arrays; see `array`."""
        return self.plan.nodes

    def array(self, array: Array) -> NDArray[Any]:
        """What an array of the plan holds now; a copy where rows lie in blocks."""
        held = self.program.array(array)
        if not array.is_blocked:
            return held
        rows = np.moveaxis(held, -1, 1).reshape(-1, *array.shape)
        return rows[: self.current_rows * array.multiple]

    def forward(self, x: NDArray[Any], step: int = 0, seed: int = 0) -> NDArray[Any]:
        """Output of a batch."""
        control = self.program.controls[0]
        control[Word.ROWS], control[Word.SEED] = len(x), seed
        self.current_rows = len(x)
        self.program.array(self._x)[...] = x
        self._forward.order(0, len(x), 0, 0, step)
        self._forward.run(0, 1)
        return self.program.array(self._out).copy()

    def forward_after(self, node: Node) -> NDArray[Any]:
        """Output of the batch, computed on from what the output of a node holds now (needs ``keep``)."""
        seed, step = (int(self.program.controls[0, word]) for word in (Word.SEED, Word.STEP))
        runner = self._after.get(node.end)
        if runner is None:
            part = slice(node.end, self._end)
            runner = self._after[node.end] = Runner(self.program, self.rows, seed=seed, part=part)
        runner.order(0, self.current_rows, 0, 0, step)
        runner.run(0, 1)
        return self.program.array(self._out).copy()

    def backward(self, grad_out: NDArray[Any]) -> NDArray[Any] | None:
        """Gradient of the input (None where it holds integers); the parameters' gradients are written."""
        self.program.array(self._grad_out)[...] = grad_out
        self._backward.order(0, len(grad_out), 0, 0, int(self.program.controls[0, Word.STEP]))
        self._backward.run(0, 1)
        return None if self._grad_x is None else self.program.array(self._grad_x).copy()
