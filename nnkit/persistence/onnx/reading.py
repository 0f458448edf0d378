"""From the content of a file to a net."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Chain
from nnkit.core.exchange import Value
from nnkit.core.fields import SELF, by_name, fields
from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.errors import OnnxError, ShapeError
from nnkit.layers.graph import Graph
from nnkit.layers.merge import Merge
from nnkit.network import Network
from nnkit.persistence.onnx.knots import Knot, knots, operands
from nnkit.persistence.onnx.parsing import Given, Parsed, parse, require_sane
from nnkit.persistence.onnx.pattern import declared
from nnkit.persistence.onnx.reader import Reader, Unreadable
from nnkit.persistence.onnx.view import Ledger, described

__all__ = ["from_proto"]

Array = NDArray[Any]
TRIES = 50  # times that a graph is read, with more values where ways meet each time


def from_proto(content: bytes, folder: Path, in_shape: Any) -> Network:
    """A built net from the content of a file."""
    parsed = parse(content, folder)
    shapes = _row_shapes(parsed, in_shape)
    try:
        chain, arrays = _read(parsed, shapes)
    except RecursionError:
        raise OnnxError("onnx.load: expected branches within branches to some depth, got more of them") from None
    except Unreadable as error:
        raise OnnxError(str(error)) from None
    network = Network.of(chain, chain.place(_plain(shapes)), parsed.real)  # which draws no numbers that go at once
    dtypes = fields(network.input_dtype)
    for name, given in parsed.inputs.items():
        if given.integers and dtypes.get(name, dtypes.get("")) != "int64":
            raise OnnxError(f"onnx.load: expected an input of real numbers for {chain.layers[0]!r}, got one of integers")
    network.fill(_named(network, arrays), (int(np.random.default_rng().integers(2**62)), 0))
    return network


def _plain(items: Mapping[str, Any]) -> Any:
    """What is known of inputs or outputs by their names; of the only one, that."""
    return dict(items) if len(items) > 1 else next(iter(items.values()))


# ------------------------------------------------------------------------------------------------------------- layers


def _read(parsed: Parsed, shapes: dict[str, Shape]) -> tuple[Chain, list[dict[str, Array]]]:
    """The layers: one after the other as far as that goes, else by the values where ways meet."""
    met: dict[int, Value] = {}
    first: Unreadable | None = None
    for _ in range(TRIES):
        graph = _GraphOf(Reader(parsed), shapes, met)
        try:
            return graph.read()
        except Unreadable as error:
            first = first or error
            if not graph.others:
                raise first from None
            met |= {id(value): value for value in graph.others}
    assert first is not None
    raise first


class _GraphOf:
    """A net as named values, read knot by knot.

    Attributes
    ----------
    others : values on the way to the knot that cannot be read, whose operators read several values
    """

    def __init__(self, reader: Reader, shapes: dict[str, Shape], met: Mapping[int, Value]) -> None:
        parsed = reader.parsed
        self.reader, self.shapes = reader, {id(given.value): shapes[name] for name, given in parsed.inputs.items()}
        inputs, outputs = [given.value for given in parsed.inputs.values()], list(parsed.outputs.values())
        self.knots, self._meetings = knots(reader.flow, inputs, outputs, met)
        self.others: list[Value] = []
        self._names = {id(given.value): name if len(inputs) > 1 else SELF for name, given in parsed.inputs.items()}
        self._names |= {id(value): name for name, value in parsed.outputs.items()}
        self.arrays: list[dict[str, Array]] = []

    def read(self) -> tuple[Chain, list[dict[str, Array]]]:
        """The net, and the arrays of its layers."""
        parsed = self.reader.parsed
        ends = {id(value) for knot in self.knots for value in (knot.value, *knot.reads)}
        unread = [name for name, given in parsed.inputs.items() if id(given.value) not in ends]
        if unread or not ends.issuperset(map(id, parsed.outputs.values())):
            raise Unreadable(f"onnx.load: expected outputs that are computed from all inputs, got none from {unread}")
        steps = {self._name(knot.value): (self._said(knot.reads), self._layers(knot)) for knot in self.knots}
        if len(steps) == 1 and not self.knots[0].meets and len(parsed.inputs) == 1:
            ((_, layers),) = steps.values()
            return Chain(layers), self.arrays
        outputs = tuple(parsed.outputs)
        return Chain([Graph(outputs=outputs if len(outputs) > 1 else outputs[0], **steps)]), self.arrays

    def _name(self, value: Value) -> str:
        """Of an input or output that of the file, else another."""
        if id(value) not in self._names:
            taken = {*self._names.values(), *self.reader.parsed.inputs}
            self._names[id(value)] = next(name for place in itertools.count(1) if (name := f"h{place}") not in taken)
        return self._names[id(value)]

    def _said(self, values: Sequence[Value]) -> Any:
        names = tuple(map(self._name, values))
        return names if len(names) > 1 else names[0]

    def _layers(self, knot: Knot) -> Any:
        """The layers that compute a knot, and the shape of it."""
        shapes = [self.shapes[id(value)] for value in knot.reads]
        if knot.meets:
            layer = _merge(knot.value)
            try:
                self.shapes[id(knot.value)] = layer.merged(shapes, f"onnx.load: {layer!r}: expected values that give")
            except ShapeError as error:
                raise Unreadable(str(error)) from None
            return layer
        self.others = self._meetings[id(knot.value)]
        inner = self.reader.between(knot.reads[0], shapes[0], knot.value)
        if inner.mask is not None and len(self.knots) > 1:
            raise Unreadable("onnx.load: expected masks in nets of one input and one output alone, got one in another")
        self.others = []
        self.arrays += inner.arrays
        self.shapes[id(knot.value)] = Chain(inner.layers).place(shapes[0]).out_shape
        return inner.layers


def _merge(value: Value) -> Merge:
    """The layer that an operator of several values is."""
    node = value.node
    assert node is not None
    ledger = Ledger()
    view = ledger.view(node)
    for part in Layer.registry.values():
        layer = part.of_operator(view.op, view.attributes) if issubclass(part, Merge) else None
        if layer is not None and len(operands(node)) == len(node.inputs):
            return layer
    raise Unreadable(f"onnx.load: expected values that meet in an Add, a Sum, a Mean or a Concat, got node {described(node)}")


# ------------------------------------------------------------------------------------------------------------- shapes


def _row_shapes(parsed: Parsed, in_shape: Any) -> dict[str, Shape]:
    """The shapes of the input rows, as the file and the user say."""
    names = tuple(parsed.inputs) if len(parsed.inputs) > 1 else ()
    said = dict.fromkeys(parsed.inputs) if in_shape is None else fields(by_name(in_shape, names, "onnx.load", "in_shape"))
    return {name: _row_shape(given, said[name if names or in_shape is None else ""]) for name, given in parsed.inputs.items()}


def _row_shape(given: Given, in_shape: Sequence[int] | None) -> Shape:
    """The shape of an input row."""
    shape = given.in_shape if in_shape is None else [int(size) for size in in_shape]
    fits = len(shape) == len(given.in_shape)
    fits = fits and all(size == own for size, own in zip(shape, given.in_shape, strict=True) if isinstance(own, int))
    if not fits or not all(isinstance(size, int) and size > 0 for size in shape):
        expected = ", ".join(str(size or "?") for size in given.in_shape)
        came = "nothing for what the file leaves open; pass in_shape" if in_shape is None else str(tuple(shape))
        raise OnnxError(f"onnx.load: expected in_shape ({expected}) with numbers for all sizes, got {came}")
    sizes = tuple(size for size in shape if isinstance(size, int))
    require_sane(sizes, "an input row")
    return sizes


def _named(network: Network, arrays: list[dict[str, Array]]) -> dict[str, Array]:
    """The arrays of the layers that have some, in order, by their names in a network."""
    homes = [(path, built) for path, built in network.homes() if declared(built)]
    if [declared(built).keys() for _, built in homes] != [record.keys() for record in arrays]:
        raise OnnxError(f"onnx.load: expected arrays for each layer of {network!r}, got others")
    return {f"{path}.{name}": array for (path, _), record in zip(homes, arrays, strict=True) for name, array in record.items()}
