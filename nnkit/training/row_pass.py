"""Every row by itself: gradients that nobody adds up, and from them derivatives of outputs and of losses, row by row."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import each, fields
from nnkit.core.loss import Loss, LossArrays
from nnkit.core.part import Shape
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, constant
from nnkit.engine.program import Instruction, Program
from nnkit.engine.runner import Runner
from nnkit.engine.workers import Team
from nnkit.kernels.data import fill
from nnkit.network import Network
from nnkit.planner import Plan
from nnkit.training.data import gather_targets, gathered, sources_of
from nnkit.training.objective import trained_places

__all__ = ["RowPass"]

ROWS, BYTES = 1024, 1 << 25  # of a block: there is memory of the layers and a gradient for each of its rows


class RowPass:
    """Forward and backward passes in which every row is a shard: the kernels' sums over a batch are of one row each.

    So each row has a gradient of its own, from the same kernels as in training, whatever the layers are.

    Parameters
    ----------
    X, rows : the data, and which rows of them are looked at
    losses, y : of the outputs by their names, where losses are asked for; of all rows
    training : whether layers work as in training
    """

    def __init__(
        self, network: Network, X: Any, rows: NDArray[np.int64], *, losses: Mapping[str, Loss] | None = None,
        y: Mapping[str, NDArray[Any]] | None = None, training: bool = False, workers: int = 1, python: bool = False,
    ) -> None:  # fmt: skip
        real, length = network.dtype, network.vector.size
        self._order = np.ascontiguousarray(rows, np.int64)
        self.places = trained_places(network)
        self.out_shapes: dict[str, Shape] = fields(network.out_shape)
        self.block = max(1, min(len(rows), ROWS, BYTES // network.vector.nbytes))
        self.workers = 1 if python else min(workers, self.block)
        self._slabs = aligned_zeros(self.block * length, real).reshape(self.block, -1)
        self._plan = plan = Plan(real, training=training, differentiate=True, shards=self.block)
        self._sources = sources_of(X, real)
        x, gathering = gathered(self._sources, network.in_shape, network.input_dtype)
        plan.instructions += gathering
        out = plan.run(network.placed(self._slabs, self._sources), x)
        graded = {name: self._grade(loss, fields(out)[name], self.out_shapes[name], (y or {})[name])
                  for name, loss in (losses or {}).items()}  # fmt: skip
        forward = len(plan.instructions)
        seeds = each(lambda shape: Array.rows(shape, real), network.out_shape)
        plan.backward(seeds)
        # One forward pass, then backward from this and that: all that backward reads stays where it is.
        inner = [item for node in plan.nodes for item in (*node.inputs.values(), node.out, *node.named.values())]
        ends = [item for value in (x, out, seeds) for item in fields(value).values()]
        given = [item for pair in graded.values() for item in pair]
        outside = [item for item in (*ends, *inner, *given) if isinstance(item, Array) and item.storage.shared is None]
        self._program = program = Program(plan.instructions, real, shards=self.block, rows=1, python=python, outside=outside)
        self._forward, self._backward = (Runner(program, 1, part=part, workers=self.workers)
                                         for part in (slice(0, forward), slice(forward, None)))  # fmt: skip
        self.seeds = {name: self._across(seed) for name, seed in fields(seeds).items()}
        self.outputs = {name: self._across(array) for name, array in fields(out).items()}
        self.losses = {name: self._across(loss) for name, (loss, _) in graded.items()}
        self.slopes = {name: self._across(slope) for name, (_, slope) in graded.items()}

    def _grade(self, loss: Loss, out: Array, out_shape: Shape, y: NDArray[Any]) -> tuple[Array, Array]:
        """The loss of each term, and its derivative by the prediction, without weights."""
        real, plan = self._plan.real, self._plan
        loss = copy.copy(loss)
        loss.reduction = "none"
        gather, targets = gather_targets(loss, y, out_shape, real)
        weight, row_loss, slope = (Array.rows(shape, real) for shape in (*[loss.places(out_shape)] * 2, out_shape))
        arrays = LossArrays(out, weight.flat(), row_loss.flat(), slope, **targets)
        one = Instruction(fill, (constant(1.0, real), weight.flat()), type(loss).__name__, "loss")
        plan.instructions += [gather, one, *loss.row_instructions(arrays, real)]
        return row_loss, slope

    def _across(self, array: Array) -> NDArray[Any]:
        """What an array of one row holds in every shard: (block, numbers), live."""
        item = self._slabs.itemsize
        begin = array.storage.offset + array.offset
        return self._program.memory[:, begin : begin + prod(array.shape) * item].view(self._slabs.dtype)

    def blocks(self, team: Team | None = None) -> Iterator[slice]:
        """Forward passes over blocks of the rows, one after the other; what they give is in `outputs`, `losses`, `slopes`."""
        for begin in range(0, len(self._order), self.block):
            rows = self._order[begin : begin + self.block]
            for runner in (self._forward, self._backward):
                runner.order(0, len(rows), rows.ctypes.data, 0, 0)
            self._forward.run(0, 1, team)
            yield slice(begin, begin + len(rows))

    def pull(self, count: int, seeds: Mapping[str, Any], team: Team | None = None) -> NDArray[Any]:
        """Backward from ``seeds``, what each row's outputs weigh, for the ``count`` rows of the block.

        Returns
        -------
        (count, size) the gradient of each row by the trained numbers
        """
        for name, seed in self.seeds.items():
            seed[:count] = seeds.get(name, 0.0)
        self._backward.run(0, 1, team)
        return self._slabs[:count, self.places]

    def each_output(self, weights: Mapping[str, NDArray[Any]] | None, count: int) -> Iterator[dict[str, NDArray[Any]]]:
        """The seeds of the derivatives of the outputs, one after the other, times ``weights`` (count, numbers) of each."""
        for name, shape in self.out_shapes.items():
            for place in range(prod(shape)):
                seed = np.zeros((count, prod(shape)), self._slabs.dtype)
                seed[:, place] = 1.0 if weights is None else weights[name][:, place]
                yield {name: seed}
