"""Whether the nodes of a file are what a layer would be written as, with arrays and numbers that are read from them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.exchange import Node, Value, Write
from nnkit.core.layer import Built
from nnkit.core.part import Shape
from nnkit.persistence.onnx.graph import Graph
from nnkit.persistence.onnx.nodes import defaults
from nnkit.persistence.onnx.region import Region

__all__ = ["COMMUTATIVE", "Match", "Pattern", "declared"]

COMMUTATIVE = {"Add", "And", "Equal", "Max", "Mean", "Min", "Mul", "Or", "Sum"}  # operators of ONNX

Array = NDArray[Any]


def declared(built: Built) -> dict[str, Shape]:
    """The parameters and states that a layer has."""
    return {name: item.shape for name, item in {**built.parameters, **built.states}.items() if prod(item.shape)}


class Pattern(Graph):
    """How a layer would be written, with arrays and numbers that are yet to be read."""

    def __init__(self, built: Built, arrays: dict[str, Array], real: str) -> None:
        super().__init__(real)
        self.built = built
        self.unknowns: dict[int, str] = {}  # what each value that is to be read is
        self.declared = declared(built)
        self._arrays = arrays

    def unknown(self, name: str) -> Value:
        """A value that is to be read."""
        value = Value(self, name=name)
        self.unknowns[id(value)] = name
        return value

    def array(self, name: str, shape: Shape | None = None) -> Value | None:
        if name not in self.declared:
            return None
        if name in self._arrays:
            array = self._arrays[name].astype(self.real)
            return self.constant(array if shape is None else array.reshape(shape), name)
        return self.unknown(name)


class Match:
    """The nodes behind a value, held against a pattern.

    Parameters
    ----------
    pattern : what they may be
    write : how its layer is written
    region : where the nodes are looked for
    value : what the layer is of
    mask : where its padding is, if any

    Attributes
    ----------
    fits : whether they are that; if so:
    nodes : which they are
    value, mask : what they end with
    read : the arrays and numbers that the pattern leaves open, by their names
    """

    def __init__(self, pattern: Pattern, write: Write, region: Region, value: Value, mask: Value | None) -> None:
        self.pattern = pattern
        self.nodes: list[Node] = []
        self.read: dict[str, Array] = {}
        self._region = region
        x, own_mask = Value(pattern), Value(pattern)
        self._same = {id(x): value}  # what the pattern's values are in the file
        if mask is not None:
            pattern.mask, self._same[id(own_mask)] = own_mask, mask
        out = write(pattern.built.layer, pattern, x)
        told = pattern.mask if pattern.built.keeps_mask else None
        self.fits = all(map(self._find, self._needed(out, told)))
        if self.fits:
            self.value = self._same[id(out)]
            self.mask = None if told is None else self._same[id(told)]

    def _needed(self, out: Value, mask: Value | None) -> list[Node]:
        """The nodes of the pattern that its output needs."""
        wanted = {id(out), id(mask)}
        nodes = []
        for node in reversed(self.pattern.written):
            if not wanted.isdisjoint(map(id, node.outputs)):
                nodes.append(node)
                wanted |= {id(value) for value in node.inputs}
        return nodes[::-1]

    def _find(self, node: Node) -> bool:
        """Whether there is such a node in the file."""
        known = next((self._same[id(value)] for value in node.inputs if id(value) in self._same), None)
        for candidate in self._region.candidates(known) if known is not None else []:
            if candidate.op == node.op and len(candidate.outputs) >= len(node.outputs):
                orders = [candidate.inputs]
                if node.op in COMMUTATIVE and len(candidate.inputs) == 2:
                    orders.append(candidate.inputs[::-1])
                for inputs in orders:
                    if self._agree(node, candidate, inputs):
                        self._same |= {id(own): other for own, other in zip(node.outputs, candidate.outputs, strict=False)}
                        self.nodes.append(candidate)
                        return True
        return False

    def _agree(self, node: Node, candidate: Node, inputs: Sequence[Value | None]) -> bool:
        read: dict[str, Array] = {}
        pairs = list(zip(node.inputs, inputs, strict=False))
        rest = [*node.inputs[len(inputs) :], *inputs[len(node.inputs) :]]
        agree = all(value is None for value in rest) and all(self._equal(own, other, read) for own, other in pairs)
        own = {**defaults(node.op), **node.attributes}
        for name in {*own, *candidate.attributes} if agree else ():
            mine, other = own.get(name), candidate.attributes.get(name)
            if isinstance(mine, Value):
                agree = agree and other is not None and self._take(mine, np.asarray(other), read)
            elif isinstance(mine, float) and isinstance(other, float):
                agree = agree and bool(np.isclose(mine, other, rtol=1e-5, atol=1e-12))
            else:
                agree = agree and mine == other
        if agree:
            self.read |= read
        return agree

    def _equal(self, own: Value | None, other: Value | None, read: dict[str, Array]) -> bool:
        if own is None or other is None:
            return own is other
        if id(own) in self._same:
            return self._same[id(own)] is other
        if other.array is None:
            return False
        if id(own) in self.pattern.unknowns:
            return self._take(own, other.array, read)
        return own.array is not None and _are_equal(own.array, other.array)

    def _take(self, own: Value, array: Array, read: dict[str, Array]) -> bool:
        """Read an unknown, unless it was something else before."""
        name = self.pattern.unknowns[id(own)]
        if array.size != prod(self.pattern.declared.get(name, ())):
            return False
        before = self.read.get(name, read.get(name))
        read[name] = array
        return before is None or bool(np.array_equal(before, array))


def _are_equal(own: Array, other: Array) -> bool:
    """Whether two constants have the same numbers, up to what rounding does to them."""
    if own.dtype.kind != other.dtype.kind or own.size != other.size or (own.shape != other.shape and own.size > 1):
        return False
    if own.dtype.kind != "f":
        return bool((own.reshape(-1) == other.reshape(-1)).all())
    return bool(np.allclose(own.reshape(-1), other.reshape(-1), rtol=1e-5, atol=1e-12))
