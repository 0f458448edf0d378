"""Slopes of a net's outputs by its input, at many points at a time; and by the vectors that it looks up."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Model, readers
from nnkit.engine.operands import Array
from nnkit.errors import ParameterError
from nnkit.network import network_of
from nnkit.passes import Pass
from nnkit.planner import Node

__all__ = ["Points", "Slopes"]

MOST = 512  # points of a pass
NUMBERS = 2**23  # that all layers give in a pass, about

Floats = NDArray[np.float64]


class Points(NamedTuple):
    """Points of a net's input.

    Attributes
    ----------
    rows : (points, columns)
    vectors : for each layer that looks numbers up, (points, numbers, width): what it gives for them, or something between
    """

    rows: Floats
    vectors: list[Floats]

    def taken(self, places: NDArray[np.int64]) -> Points:
        """Those at some places."""
        return Points(self.rows[places], [vectors[places] for vectors in self.vectors])


class _Lookup(NamedTuple):
    """A layer that looks numbers up: the ``columns`` of a row, counted through it."""

    node: Node
    columns: NDArray[np.int64]

    def vectors(self, held: NDArray[Any]) -> Floats:
        """What an array like its output holds, (points, numbers, width)."""
        return held.reshape(-1, len(self.columns), held.shape[-1]).astype(np.float64)


class Slopes:
    """Passes of a copy of a net, in evaluation mode.

    There are no slopes by numbers that the net looks up (codes of categories, tokens). In their place are the vectors that it
    finds, which are points like others.

    Parameters
    ----------
    model : a built model of one input
    who : asks, for messages

    Attributes
    ----------
    in_shape, out_shape : of a row
    most : points that it takes at a time
    """

    def __init__(self, model: Model, who: str) -> None:
        network = network_of(model.copy(), who)  # in Python, layers may keep things on themselves
        network.frozen = frozenset()  # or nothing would lead back to the vectors
        shape, out_shape = network.in_shape, network.out_shape
        if isinstance(shape, dict) or isinstance(out_shape, dict):
            raise ParameterError(f"{who}: expected a model of one input and one output, got in_shape {shape} and out_shape "
                                 f"{out_shape}")  # fmt: skip
        self.in_shape, self.out_shape = shape, out_shape
        looking = [reader for reader in readers(network.root) if reader.dtype != "real"]
        looks = bool(looking)
        self.most = max(1, min(MOST, NUMBERS // sum(prod(built.out_shape) for built in network.leaves)))
        self._pass = Pass(network, self.most, training=False, gradient=network.gradient, learn=looks, keep=looks)
        self._dtype, every = network.input_dtype, np.arange(prod(shape))
        nodes = [node for node in self._pass.nodes() if node.built.layer.input_dtype != "real"]
        self._lookups = [_Lookup(node, every if reader.columns is None else reader.columns)
                         for node, reader in zip(nodes, looking, strict=True)]  # fmt: skip
        self._coded = np.concatenate([np.empty(0, np.int64), *(lookup.columns for lookup in self._lookups)])
        for node in nodes:
            if node.out.shape[:-1] != node.x.shape or node.built.keeps_mask:
                why = "leaves padding out" if node.built.keeps_mask else "gives no vector for each of its numbers"
                raise ParameterError(f"{who}: expected a model that looks up a vector for every number, {node.built.layer!r} "
                                     f"{why}")  # fmt: skip

    def look(self, rows: NDArray[Any]) -> tuple[Points, Floats]:
        """Rows as points, and the outputs there, (points, outputs), flat."""
        said: list[Floats] = []
        found: list[list[Floats]] = [[] for _ in self._lookups]
        for first in range(0, len(rows), self.most):
            some = rows[first : first + self.most]
            said.append(self._pass.forward(some).reshape(len(some), -1).astype(np.float64))
            for vectors, lookup in zip(found, self._lookups, strict=True):
                vectors.append(lookup.vectors(self._pass.array(lookup.node.out)))
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        return Points(flat, list(map(np.concatenate, found))), np.concatenate(said)

    def along(self, begin: Points, end: Points, share: Floats, directions: Floats) -> Floats:
        """(points, columns, directions): (end - begin) * slope at begin + share * (end - begin), by columns of the rows.

        Parameters
        ----------
        begin, end : as many points, no more than ``most``
        share : (points,)
        directions : (directions, outputs), of the sums of outputs whose slopes they are
        """
        step = end.rows - begin.rows
        jumps = [last - first for first, last in zip(begin.vectors, end.vectors, strict=True)]
        rows = begin.rows + share[:, None] * step
        rows[:, self._coded] = end.rows[:, self._coded]  # whatever they are: they are not looked at
        self._go(rows, [first + share[:, None, None] * jump for first, jump in zip(begin.vectors, jumps, strict=True)])
        found = np.zeros((*step.shape, len(directions)))
        for k, direction in enumerate(directions):
            by_rows = self._pass.backward(np.broadcast_to(direction.reshape(self.out_shape), (len(share), *self.out_shape)))
            if by_rows is not None:  # there are other numbers than those that are looked up
                found[:, :, k] = step * by_rows.reshape(step.shape)
            for jump, lookup in zip(jumps, self._lookups, strict=True):
                assert isinstance(lookup.node.grad_out, Array)
                by_vectors = lookup.vectors(self._pass.array(lookup.node.grad_out))
                found[:, lookup.columns, k] += (jump * by_vectors).sum(axis=-1)
        return found

    def _go(self, rows: Floats, vectors: list[Floats]) -> None:
        """Forward, with vectors in the place of those that are looked up."""
        self._pass.forward(rows.reshape(-1, *self.in_shape).astype(self._dtype))
        following = [*(lookup.node for lookup in self._lookups[1:]), None]
        for (node, _), given, until in zip(self._lookups, vectors, following, strict=False):
            held = self._pass.program.array(node.out)
            held[: len(rows) * node.out.multiple] = given.reshape(-1, *node.out.shape)
            self._pass.forward_after(node, until)
