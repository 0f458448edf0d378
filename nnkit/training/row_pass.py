"""Every row by itself: the gradient of each, of outputs or of losses, by all parameters."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import groupby
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import each, fields
from nnkit.core.layer import Built
from nnkit.core.loss import Loss, LossArrays
from nnkit.core.part import Shape
from nnkit.engine.lazy import lazy
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, constant
from nnkit.engine.program import Instruction, Program
from nnkit.engine.runner import Runner
from nnkit.engine.workers import Team
from nnkit.kernels.data import fill
from nnkit.network import Network
from nnkit.planner import Plan
from nnkit.training.data import Source, gather_targets, gathered, is_sparse, sources_of
from nnkit.training.objective import trained_places

__all__ = ["RowPass"]

ROWS, BYTES = 1024, 1 << 25  # of a block, and of what its rows' gradients take for each output


class RowPass(ABC):
    """Forward passes over blocks of rows, and backward ones that give a gradient for each row.

    `of` makes the kind that a net allows.

    Parameters
    ----------
    X, rows : the data, and which rows of them are looked at
    losses, y : of the outputs by their names, where losses are asked for; of all rows
    training : whether layers work as in training

    Attributes
    ----------
    size : of the vector of all trained numbers
    out_shapes : of the outputs, by their names
    outputs, losses, slopes : (block, numbers) of a block by outputs: these themselves, each term's loss, and its derivative
    """

    def __init__(
        self, network: Network, X: Any, rows: NDArray[np.int64], *, losses: Mapping[str, Loss] | None = None,
        y: Mapping[str, NDArray[Any]] | None = None, training: bool = False, workers: int = 1, python: bool = False,
    ) -> None:  # fmt: skip
        self._network, self._real = network, network.dtype
        self._order = np.ascontiguousarray(rows, np.int64)
        self.out_shapes: dict[str, Shape] = fields(network.out_shape)
        numbers = sum(map(prod, self.out_shapes.values()))
        self.block = max(1, min(len(rows), ROWS, BYTES // max(1, network.vector.nbytes * numbers)))
        shards, per_shard = self._cut()
        self.workers = 1 if python else min(workers, shards)
        self._slabs = aligned_zeros(shards * network.vector.size, self._real).reshape(shards, -1)
        self._plan = plan = Plan(self._real, training=training, differentiate=True, keep=True, shards=shards)
        self._sources = sources_of(X, self._real)
        x, gathering = gathered(self._sources, network.in_shape, network.input_dtype)
        plan.instructions += gathering
        out = plan.run(network.placed(self._slabs, self._sources), x)
        graded = {name: self._grade(loss, fields(out)[name], self.out_shapes[name], (y or {})[name])
                  for name, loss in (losses or {}).items()}  # fmt: skip
        forward = len(plan.instructions)
        seeds = each(lambda shape: Array.rows(shape, self._real), network.out_shape)
        plan.backward(seeds)
        # One forward pass, then backward from this and that: all that backward reads stays where it is.
        self._program = Program(plan.instructions, self._real, shards=shards, rows=per_shard, python=python, keep=True)
        self._forward, self._backward = (Runner(self._program, per_shard, part=part, workers=self.workers)
                                         for part in (slice(0, forward), slice(forward, None)))  # fmt: skip
        self.size = len(trained_places(network))
        self._seeds = {name: self._across(seed) for name, seed in fields(seeds).items()}
        self.outputs = {name: self._across(array) for name, array in fields(out).items()}
        self.losses = {name: self._across(loss) for name, (loss, _) in graded.items()}
        self.slopes = {name: self._across(slope) for name, (_, slope) in graded.items()}

    @staticmethod
    def of(network: Network, X: Any, rows: NDArray[np.int64], **options: Any) -> RowPass:
        """The fastest kind that this net allows."""
        dense = all(_is_dense(built) for built in network.leaves if built.parameters)
        shared = len(list(network.homes())) < len(network.leaves)
        if dense and not shared and not any(map(is_sparse, fields(X).values())):
            together = Together(network, X, rows, **options)
            if together.takes_whole_rows:
                return together
        return Apart(network, X, rows, **options)

    def _grade(self, loss: Loss, out: Array, out_shape: Shape, y: NDArray[Any]) -> tuple[Array, Array]:
        """The loss of each term, and its derivative by the prediction, without weights."""
        real, plan = self._real, self._plan
        loss = copy.copy(loss)
        loss.reduction = "none"
        gather, targets = gather_targets(loss, Source(y), out_shape, real)
        weight, row_loss, slope = (Array.rows(shape, real) for shape in (*[loss.places(out_shape)] * 2, out_shape))
        arrays = LossArrays(out, weight.flat(), row_loss.flat(), slope, **targets)
        one = Instruction(fill, (constant(1.0, real), weight.flat()), type(loss).__name__, "loss")
        plan.instructions += [gather, one, *loss.row_instructions(arrays, real)]
        return row_loss, slope

    @abstractmethod
    def _cut(self) -> tuple[int, int]:
        """Shards of a block, and rows of each."""

    @abstractmethod
    def _across(self, array: Array) -> NDArray[Any]:
        """What an array holds for all rows of a block, (block, numbers), live."""

    @abstractmethod
    def _pulled(self, out: NDArray[Any]) -> None:
        """Write the rows' gradients, after a backward pass."""

    @abstractmethod
    def _squares(self, count: int) -> NDArray[Any]:
        """The sum of squares of each row's gradient, after a backward pass."""

    def blocks(self, team: Team | None = None) -> Iterator[slice]:
        """Forward passes over blocks of the rows, one after the other."""
        for begin in range(0, len(self._order), self.block):
            rows = self._order[begin : begin + self.block]
            for runner in (self._forward, self._backward):
                runner.order(0, len(rows), rows.ctypes.data, 0, 0)
            self._forward.run(0, 1, team)
            yield slice(begin, begin + len(rows))

    def backward(self, seeds: Mapping[str, Any], count: int, team: Team | None = None) -> None:
        """Backward from ``seeds``, what each output of the block's ``count`` rows weighs; nothing where they say nothing."""
        for name, seed in self._seeds.items():
            seed[:count] = seeds.get(name, 0.0)
        self._backward.run(0, 1, team)

    def pull(self, seeds: Mapping[str, Any], out: NDArray[Any], team: Team | None = None) -> None:
        """Backward from ``seeds``; the gradient of each row of the block goes to (count, size) ``out``."""
        self.backward(seeds, len(out), team)
        self._pulled(out)

    def norms(self, seeds: Mapping[str, Any], count: int, team: Team | None = None) -> NDArray[Any]:
        """Backward from ``seeds``; the Euclidean norm of the gradient of each row of the block."""
        self.backward(seeds, count, team)
        found: NDArray[Any] = np.sqrt(self._squares(count))
        return found

    def each_output(self, weights: Mapping[str, NDArray[Any]] | None, count: int) -> Iterator[dict[str, NDArray[Any]]]:
        """The seeds of the derivatives of the outputs, one after the other, times ``weights`` (count, numbers) of each."""
        for name, shape in self.out_shapes.items():
            for place in range(prod(shape)):
                seed = np.zeros((count, prod(shape)), self._real)
                seed[:, place] = 1.0 if weights is None else weights[name][:, place]
                yield {name: seed}


class Apart(RowPass):
    """Every row is a shard: the kernels' sums over a batch are of one row each, whatever the layers are."""

    def _cut(self) -> tuple[int, int]:
        return self.block, 1

    def _across(self, array: Array) -> NDArray[Any]:
        begin = array.storage.offset + array.offset
        return self._program.memory[:, begin : begin + prod(array.shape) * self._slabs.itemsize].view(self._real)

    def _pulled(self, out: NDArray[Any]) -> None:
        out[...] = self._slabs[: len(out), trained_places(self._network)]

    def _squares(self, count: int) -> NDArray[Any]:
        gradients = self._slabs[:count, trained_places(self._network)]
        found: NDArray[Any] = np.einsum("np,np->n", gradients, gradients)
        return found


class Together(RowPass):
    """Where all parameters are of dense layers, a block is one batch: a row's gradient of a weight is x_i delta_j."""

    def _cut(self) -> tuple[int, int]:
        return 1, self.block

    def _across(self, array: Array) -> NDArray[Any]:
        begin, size = array.storage.offset + array.offset, prod(array.shape)
        memory = self._program.memory[0, begin : begin + self.block * size * self._slabs.itemsize]
        return memory.view(self._real).reshape(self.block, size)

    def _pulled(self, out: NDArray[Any]) -> None:
        count, begin = len(out), 0
        for x, delta, shapes in self.layers:
            for shape in shapes:
                end = begin + prod(shape)
                if len(shape) > 1:
                    np.multiply(x[:count, :, None], delta[:count, None, :], out=out[:, begin:end].reshape(count, *shape))
                else:
                    out[:, begin:end] = delta[:count]
                begin = end

    def _squares(self, count: int) -> NDArray[Any]:
        """|x delta'|**2 = |x|**2 |delta|**2: no gradient is written out (Goodfellow 2015)."""
        total = np.zeros(count, self._real)
        for x, delta, shapes in self.layers:
            for shape in shapes:
                read = np.einsum("ni,ni->n", x[:count], x[:count]) if len(shape) > 1 else 1.0
                total += read * np.einsum("nj,nj->n", delta[:count], delta[:count])
        return total

    @property
    def takes_whole_rows(self) -> bool:
        """Whether each layer sees every row once: not each of its steps."""
        return all(node.x.multiple == 1 for node in self._plan.nodes)

    @lazy
    def layers(self) -> list[tuple[NDArray[Any], NDArray[Any], list[Shape]]]:
        """Of each layer that is trained what it reads, (block, I), and the gradient of what it gives, (block, J), live.

        With them come the shapes of its trained parameters, in their order: weights (I, J) and biases (J,).
        """
        nodes = {node.home: node for node in self._plan.nodes}
        trained = [segment for segment in self._network.segments() if segment.trained]
        found = []
        for home, segments in groupby(trained, lambda segment: segment.name.rpartition(".")[0]):
            node = nodes[home]
            assert node.grad_out is not None
            found.append((self._across(node.x), self._across(node.grad_out), [segment.shape for segment in segments]))
        return found


def _is_dense(built: Built) -> bool:
    """Whether each row of a layer is x W + b."""
    return built.layer.dense is not None and isinstance(built.in_shape, tuple) and len(built.in_shape) == 1
