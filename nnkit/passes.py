"""Single passes over a model: predictions, validation, and forward and backward by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import BoundLoss, Loss
from nnkit.engine.operands import Array, Storage, Word
from nnkit.engine.program import Program, aligned_zeros
from nnkit.engine.runner import Runner
from nnkit.engine.workers import Team
from nnkit.planner import Node, Plan

if TYPE_CHECKING:
    from nnkit.model import Sequential

__all__ = ["Evaluator", "Pass", "Predictor"]

BLOCK = 256  # rows that one shard predicts at a time: small enough for the second-level cache


class Predictor:
    """Forward passes over blocks of rows: reads `stage`, writes `result`.

    A block's output does not depend on the number of shards: block b is rows b * BLOCK and on, whoever computes it.
    """

    def __init__(self, model: Sequential, rows: int, shards: int = 1, python: bool = False) -> None:
        real = model.dtype
        per_shard = min(rows, BLOCK)
        self.rows = per_shard * shards
        self.shards = shards
        self.stage = self._buffer(model.in_shape, model.input_dtype)
        self.result = self._buffer(model.out_shape, real)
        plan = Plan(real, training=False, differentiate=False)
        out = plan.forward(model.placed(), self._shard(self.stage, per_shard))
        plan.copy(out, self._shard(self.result, per_shard))
        self.program = Program(plan.instructions, real, shards=shards, rows=per_shard, python=python)
        self.runner = Runner(self.program, per_shard, workers=shards)
        self._steps = self.runner.steps

    def _buffer(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        return aligned_zeros(self.rows * int(np.prod(shape)), dtype).reshape(self.rows, *shape)

    @staticmethod
    def _shard(buffer: NDArray[Any], rows: int) -> Array:
        stride = rows * buffer.itemsize * int(np.prod(buffer.shape[1:]))
        return Array(Storage(shared=buffer), buffer.shape[1:], buffer.dtype.name, batched=True, stride=stride)

    def run(self, rows: int, team: Team | None = None) -> None:
        """Compute the first ``rows`` rows of `result` from those of `stage`."""
        self._steps[0, 1] = rows
        self.runner.run(0, 1, team)

    def all(
        self, X: NDArray[Any], out: NDArray[Any], team: Team | None = None, chosen: NDArray[np.int64] | None = None
    ) -> None:
        """Predict every row of ``X`` (or those ``chosen``), in whatever dtype and memory order."""
        for start in range(0, len(out), self.rows):
            count = min(self.rows, len(out) - start)
            self.stage[:count] = X[start : start + count] if chosen is None else X[chosen[start : start + count]]
            self.run(count, team)
            out[start : start + count] = self.result[:count]


class Evaluator:
    """The loss and the predictions of a model on data that stay the same, again and again."""

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        X: NDArray[Any],
        y: NDArray[Any],
        sample_weight: NDArray[Any] | None,
        *,
        chosen: NDArray[np.int64] | None = None,
        shards: int = 1,
        python: bool = False,
    ) -> None:
        self.X, self.y, self.sample_weight, self.chosen = X, y, sample_weight, chosen
        self.predictor = Predictor(model, len(y), shards, python)
        self.prediction = np.empty((len(y), *model.out_shape), model.dtype)
        self._loss = BoundLoss(loss, self.prediction, y, sample_weight, python=python)

    def run(self, team: Team | None = None) -> float:
        """Predict all rows and return the loss."""
        self.predictor.all(self.X, self.prediction, team, self.chosen)
        return self._loss.value()


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
        model: Sequential,
        rows: int,
        *,
        training: bool,
        gradient: NDArray[Any],
        keep: bool = False,
        python: bool = False,
        poison: int = 0,
    ) -> None:
        real = model.dtype
        self.rows = rows
        self.current_rows = 0
        self.plan = plan = Plan(real, training=training, differentiate=True, keep=keep)
        x = Array.rows(model.in_shape, model.input_dtype)
        self._grad_out = Array.rows(model.out_shape, real)
        self._x = x
        self._out = plan.forward(model.placed(gradient), x)
        forward = len(plan.instructions)
        self._grad_x = plan.backward(self._grad_out, to_input=True) if model.input_dtype == real else None
        if self._grad_x is None:
            plan.backward(self._grad_out)
        outside = [array for array in (x, self._out, self._grad_out, self._grad_x) if array is not None]
        self.program = Program(plan.instructions, real, rows=rows, python=python, poison=poison, keep=keep, outside=outside)
        self._forward = Runner(self.program, rows, part=slice(0, forward))
        self._backward = Runner(self.program, rows, part=slice(forward, None))

    def nodes(self) -> list[Node]:
        """The layers with their arrays; see `array`."""
        return self.plan.nodes

    def array(self, array: Array) -> NDArray[Any]:
        """What an array of the plan holds now."""
        return self.program.array(array)

    def forward(self, x: NDArray[Any], step: int = 0, seed: int = 0) -> NDArray[Any]:
        """Output of a batch."""
        control = self.program.controls[0]
        control[Word.ROWS], control[Word.SEED] = len(x), seed
        self.current_rows = len(x)
        self.program.array(self._x)[...] = x
        self._forward.order(0, len(x), 0, 0, step)
        self._forward.run(0, 1)
        return self.program.array(self._out).copy()

    def backward(self, grad_out: NDArray[Any]) -> NDArray[Any] | None:
        """Gradient of the input (None where it holds integers); the parameters' gradients are written."""
        self.program.array(self._grad_out)[...] = grad_out
        self._backward.order(0, len(grad_out), 0, 0, int(self.program.controls[0, Word.STEP]))
        self._backward.run(0, 1)
        return None if self._grad_x is None else self.program.array(self._grad_x).copy()
