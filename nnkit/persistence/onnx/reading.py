"""From nodes and values to layers: each class says what it is read from, and what fits the most nodes is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.container import Chain, Container
from nnkit.core.layer import Built, Layer
from nnkit.core.part import Shape
from nnkit.errors import NnkitError, OnnxError
from nnkit.network import Network
from nnkit.persistence.onnx.graph import Graph, Node, Value
from nnkit.persistence.onnx.masks import Begin, goes_by_mask, masks_begun
from nnkit.persistence.onnx.parsing import NUMBERS, Parsed, defaults, parse, shortest
from nnkit.persistence.onnx.region import Region, idle
from nnkit.persistence.onnx.view import Ledger, Unasked, described

if TYPE_CHECKING:
    Write = Callable[[Any, Graph, Value], Value]

__all__ = ["Cursor", "Found", "from_proto"]

Array = NDArray[Any]

STEPS = 20  # layers that are looked for, a node: where masks begin may take several tries
COMMUTATIVE = {"Add", "And", "Equal", "Max", "Mean", "Min", "Mul", "Or", "Sum"}  # operators of ONNX


def from_proto(content: bytes, folder: Path, in_shape: Sequence[int] | None) -> Network:
    """A built net from the content of a file."""
    parsed = parse(content, folder)
    shape = _row_shape(parsed, in_shape)
    reader = Reader(parsed)
    try:
        inner = reader.chain(Cursor(reader, parsed.x, shape), parsed.out)
    except RecursionError:
        raise OnnxError("onnx.load: expected branches within branches to some depth, got more of them") from None
    except _Unreadable as error:
        raise OnnxError(str(error)) from None
    chain = Chain(inner.layers)
    if chain.input_dtype == "real" and parsed.integers:
        raise OnnxError(f"onnx.load: expected an input of real numbers for {chain.layers[0]!r}, got one of integers")
    network = Network.of(chain, chain.place(shape), parsed.real)  # which draws no numbers that go at once
    network.fill(_named(network, inner.arrays), (int(np.random.default_rng().integers(2**62)), 0))
    return network


def _row_shape(parsed: Parsed, in_shape: Sequence[int] | None) -> Shape:
    """The shape of an input row, as the file and the user say."""
    shape = parsed.in_shape if in_shape is None else [int(size) for size in in_shape]
    fits = len(shape) == len(parsed.in_shape)
    fits = fits and all(size == own for size, own in zip(shape, parsed.in_shape, strict=True) if isinstance(own, int))
    if not fits or not all(isinstance(size, int) and size > 0 for size in shape):
        expected = ", ".join(str(size or "?") for size in parsed.in_shape)
        came = "nothing for what the file leaves open; pass in_shape" if in_shape is None else str(tuple(shape))
        raise OnnxError(f"onnx.load: expected in_shape ({expected}) with numbers for all sizes, got {came}")
    sizes = tuple(size for size in shape if isinstance(size, int))
    _require_sane(sizes, "an input row")
    return sizes


def _require_sane(shape: Shape, what: str) -> None:
    if prod(shape) > NUMBERS:
        raise OnnxError(f"expected at most {NUMBERS} numbers in {what}, got shape {shape}")


def _named(network: Network, arrays: list[dict[str, Array]]) -> dict[str, Array]:
    """The arrays of the layers that have some, in order, by their names in a network."""
    homes = [(path, built) for path, built in network.homes() if _declared(built)]
    if [_declared(built).keys() for _, built in homes] != [record.keys() for record in arrays]:
        raise OnnxError(f"onnx.load: expected arrays for each layer of {network!r}, got others")
    return {f"{path}.{name}": array for (path, _), record in zip(homes, arrays, strict=True) for name, array in record.items()}


def _declared(built: Built) -> dict[str, Shape]:
    """The parameters and states that a layer has."""
    return {name: item.shape for name, item in {**built.parameters, **built.states}.items() if prod(item.shape)}


@dataclass
class Inner:
    """Layers one after the other, and the arrays of those that have some, in order."""

    layers: list[Layer]
    arrays: list[dict[str, Array]]
    mask: Value | None


@dataclass
class Found:
    """A layer, the arrays of the layers in it that have some, and how far it reaches."""

    layer: Layer
    arrays: list[dict[str, Array]]
    end: Cursor


@dataclass
class Cursor:
    """A place in a graph that is being read: a value, and what is known of it. It moves on by what is taken.

    Attributes
    ----------
    value : where it is
    shape, rank : of a row of the value where it began
    mask : the value that says where padding is, if any
    taken : the nodes that it has come by
    ledger : what has been asked of the nodes
    """

    reader: Reader
    value: Value
    shape: Shape
    mask: Value | None = None
    taken: list[Node] = field(default_factory=list)
    region: Region | None = None
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def rows(self) -> int | None:
        """How many rows the file is for, if not for any number of them."""
        return self.reader.parsed.rows

    @property
    def largest(self) -> int:
        """Numbers of the largest constant of the file."""
        return self.reader.parsed.largest

    def belongs(self, constant: Value | None) -> bool:
        """Whether a constant is an array of a layer, as far as is known, and not just what an operator has to have."""
        return constant is not None and self.reader.belongs(constant)

    def copy(self) -> Cursor:
        """Another one at the same place."""
        return replace(self, taken=list(self.taken))

    def ahead(self, op: str, place: int = 0) -> Node | None:
        """The next node, if it is this operator and the value is its input number ``place``.

        Inputs of operators for which their order does not matter come with the value first. What the node says and is not
        asked for has to be at its default.
        """
        assert self.region is not None
        for node in self.region.consumers(self.value):
            if node.op == op:
                places = [index for index, value in enumerate(node.inputs) if value is self.value]
                if place in places or (op in COMMUTATIVE and place == 0):
                    own = place if place in places else places[0]
                    self.ledger.ask(node, own)
                    return self.ledger.view(node, None if place in places else own)
        return None

    def take(self, op: str, place: int = 0) -> Node | None:
        """The same, and move on to its output."""
        node = self.ahead(op, place)
        if node is not None:
            self.after(node)
        return node

    def after(self, node: Node, output: int = 0) -> Cursor:
        """Move on to an output of a node."""
        self.value = node.outputs[output]
        if self.value.node is not None:
            self.taken.append(self.value.node)
        return self

    # -------------------------------------------------------------------------------------------------- what it is

    def found(self, layer: Layer, *records: dict[str, Array], **arrays: Array) -> Found:
        """A layer that reaches to here, with its arrays; of several layers in it, those of each."""
        return Found(layer, list(records) or ([arrays] if arrays else []), self)

    def like(self, parts: Iterable[Layer], write: Write | None = None, **arrays: Array) -> Found | None:
        """The first of the layers that would be written as the nodes from here on.

        Arrays that are not given, and the real numbers of a layer's constructor, may be others: they are read.

        Parameters
        ----------
        parts : the layers
        write : how they would be written, of (layer, graph, x); by default by their method ``onnx``
        """
        for part in parts:
            numbers = [name for name, value in part.hyperparameters().items() if type(value) is float]
            for free in ([], numbers) if numbers else ([],):
                found = self._like(part, free, write, arrays)
                if found is not None:
                    return found
        return None

    def _like(self, part: Layer, free: list[str], write: Write | None, arrays: dict[str, Array]) -> Found | None:
        try:
            built = part.place(self.shape)
            pattern = _Pattern(built, arrays, self.reader.parsed.real)
            for name in free:
                setattr(built.layer, name, pattern.unknown(name))
            match = _Match(self, pattern, write or type(part).onnx)
            return match.found(part, arrays) if match.fits else None
        except NnkitError:
            return None  # it cannot take rows of this shape, or would not be written at all

    # -------------------------------------------------------------------------------------------------- containers

    def join(self, op: str) -> Node | None:
        """Where several branches that begin here meet for the first time, if it is this operator."""
        assert self.region is not None
        if self.region.uses(self.value) < 2:
            return None
        node = next(self.waists(), None)
        return node if node is not None and node.op == op else None

    def waists(self) -> Iterator[Node]:
        """The nodes behind this place that all ways to the end lead through."""
        assert self.region is not None
        return map(self.ledger.view, self.region.waists(self.value))

    def chain(self, value: Value | None, shape: Shape | None = None) -> Inner:
        """The layers from here to a value; ``shape`` is that of a row here, if it is another than where this one began."""
        assert value is not None
        mask = self.mask if shape is None else None
        inner = self.reader.chain(Cursor(self.reader, self.value, shape or self.shape, mask), value)
        return inner if shape is None else replace(inner, mask=None)

    def around(self, layer: Container, *inner: Inner) -> Found:
        """A container of layers that have been read, which reaches to here."""
        if not layer.side_by_side:
            self.mask = inner[-1].mask
        elif any(part.mask is not self.mask for part in inner):
            self.mask = None
        return Found(layer, [record for part in inner for record in part.arrays], self)

    # ---------------------------------------------------------------------------------------------- reading numbers

    def dim(self, axis: int) -> int:
        """An axis as layers count it; the last one is -1."""
        return -1 if axis == self.rank else axis

    @staticmethod
    def number(array: Array) -> float:
        """A constant that is one number, as one would write it."""
        return shortest(float(array.reshape(()) if array.size == 1 else array))

    def pads(self, node: Node, dims: int, kernel: Sequence[int]) -> list[int]:
        """The padding of a node's windows: before each axis, and behind each."""
        given = node.attributes
        strides, dilations = (list(given.get(name) or [1] * dims) for name in ("strides", "dilations"))
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        auto, pads = given.get("auto_pad", "NOTSET"), list(given.get("pads") or [0] * 2 * dims)
        if auto == "VALID":
            pads = [0] * 2 * dims
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            whole = [max(0, -(-size // step) * step - step + far + 1 - size)
                     for size, step, far in zip(self.shape[1:], strides, reach, strict=True)]  # fmt: skip
            less, more = [size // 2 for size in whole], [size - size // 2 for size in whole]
            pads = less + more if auto == "SAME_UPPER" else more + less
        return pads

    def window(self, node: Node, dims: int, kernel: Sequence[int] | None = None) -> dict[str, Any]:
        """What a node says of its windows, as layers with windows call it."""
        given = node.attributes
        kernel = list(given.get("kernel_shape") or kernel or [])
        strides, dilations = (list(given.get(name) or [1] * dims) for name in ("strides", "dilations"))
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        same = [reach_ // 2 for reach_ in reach] + [reach_ - reach_ // 2 for reach_ in reach]
        auto, pads = given.get("auto_pad", "NOTSET"), self.pads(node, dims, kernel)
        if given.get("output_shape") or (auto.startswith("SAME") and "Transpose" in node.op):
            raise OnnxError(f"expected pads in numbers, got auto_pad={auto!r}, output_shape={given.get('output_shape')}")
        sizes: dict[str, Any] = {"kernel_size": kernel, "stride": strides}
        if pads[:dims] == pads[dims:]:
            sizes["padding"] = pads[:dims]
        elif pads == same:
            sizes["padding"] = "same"
        else:
            raise OnnxError(f"expected the same padding on both sides, got pads={pads}")
        neutral = {"padding": 0, "dilation": 1, "output_padding": 0}
        sizes["dilation"] = dilations
        sizes["output_padding"] = list(given.get("output_padding") or [0] * dims)
        single = {name: value if isinstance(value, str) else value[0] if len(set(value)) == 1 else tuple(value)
                  for name, value in sizes.items()}  # fmt: skip
        return {name: value for name, value in single.items() if name not in neutral or value != neutral[name]}


class Reader:
    """Reads a graph, from its input to its output."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.index = {id(node): index for index, node in enumerate(parsed.nodes)}
        self.used: set[int] = set()  # nodes and masks (by id) that are part of some layer
        self.idle = idle(parsed) if parsed.named else set()
        self._consumers: dict[int, list[Node]] = {}
        for node in parsed.nodes:
            for value in node.inputs:
                if value is not None and value.array is None:
                    self._consumers.setdefault(id(value), []).append(node)
        registered = {id(part): part for part in (*Layer.registry.values(), *Activation.registry.values())}
        self._parts = sorted(registered.values(), key=lambda part: issubclass(part, Container))  # containers last
        self._shared: dict[Any, list[tuple[Layer, list[dict[str, Array]]]]] = {}  # by what they are made of
        self._left = STEPS * (1 + len(parsed.nodes))
        region = Region(self, parsed.x, parsed.out)
        self._begins = masks_begun(self._parts, parsed.nodes, self.used,
                                   lambda value, shape: Cursor(self, value, shape, region=region))  # fmt: skip

    def consumers(self, value: Value) -> list[Node]:
        """The nodes that read a value, in order."""
        return self._consumers.get(id(value), [])

    def chain(self, at: Cursor, end: Value) -> Inner:
        """The layers from a place to a value."""
        return self._chain(at, end, Region(self, at.value, end), [], [])

    def _chain(self, at: Cursor, end: Value, region: Region, layers: list[Layer], arrays: list[dict[str, Array]]) -> Inner:
        """The same, after the layers that have been read."""
        while True:
            for begin in self._begins.get(id(at.value), ()):
                if self._may_begin(begin.mask, region, at.value is not end or bool(layers)):
                    masked = self._tried(begin, at, end, region, layers, arrays)
                    if masked is not None:
                        return masked
            if at.value is end:
                return Inner(layers, arrays, at.mask)
            at.region, at.taken = region, []
            found, out_shape = self._next(at, end)
            layers.append(self._known(found, arrays))
            self._require_room(arrays)
            self.used |= {id(node) for node in found.end.taken}
            at = Cursor(self, found.end.value, out_shape, found.end.mask)

    def _may_begin(self, mask: Value, region: Region, goes_on: bool) -> bool:
        """Whether a mask begins before the next layer; one that nobody goes by still ends the one before it."""
        unread = (index for index in region.indices if id(self.parsed.nodes[index]) not in self.used)
        in_order = not self.parsed.named or mask.node is None or self.index[id(mask.node)] < next(unread, len(self.index))
        return id(mask) not in self.used and in_order and (goes_on or not self.consumers(mask))

    def _tried(
        self, begin: Begin, at: Cursor, end: Value, region: Region, layers: list[Layer], arrays: list[dict[str, Array]]
    ) -> Inner | None:
        """A chain with a mask that begins here; None where one of its layers does not go by that, and nothing has been read."""
        used, shared = set(self.used), {key: list(known) for key, known in self._shared.items()}
        self.used.add(id(begin.mask))
        try:
            return self._chain(replace(at, mask=begin.mask), end, region, [*layers, begin.layer], list(arrays))
        except _Unreadable:
            if self._left < 0:
                raise
            self.used, self._shared = used, shared
            return None

    def _next(self, at: Cursor, end: Value) -> tuple[Found, Shape]:
        """The layer that the most nodes from here on are."""
        self._left -= 1
        if self._left < 0:
            raise _Unreadable("onnx.load: expected masks that tell which layers go by them, got too many that may be meant")
        best: tuple[int, Found, Shape] | None = None
        reasons: list[tuple[bool, str]] = []
        for part in self._parts:
            if issubclass(part, Container) and best is not None:
                break
            try:
                found = part.from_onnx(replace(at, taken=list(at.taken), ledger=Ledger()))
                if found is None or not (size := len({id(node) for node in found.end.taken} - self.used)):
                    continue
                out_shape = self._check(found, at, end)
            except _Unreadable:
                raise
            except Exception as error:  # whatever a node that means something else makes a class stumble over
                reasons.append((isinstance(error, Unasked), f"{part.__name__}: {error}"))
                continue
            if best is None or size > best[0]:
                best = size, found, out_shape
        if best is None:
            self._refuse(at, reasons)
        assert best is not None
        return best[1:]

    def _check(self, found: Found, at: Cursor, end: Value) -> Shape:
        """Refuse a layer that leaves something undone, or does not fit; the shape of its output rows."""
        assert at.region is not None
        last, taken = found.end.value, {id(node) for node in found.end.taken}
        within = {id(value): value for value in (at.value, *(value for node in found.end.taken for value in node.outputs))
                  if value is not last and value is not found.end.mask}  # fmt: skip
        readers = [node for value in within.values() for node in at.region.consumers(value)]
        if id(end) in within or any(id(node) not in taken for node in readers):
            raise OnnxError("expected nobody else to read what is computed within")
        for node in found.end.taken:
            found.end.ledger.require_all(node)
        built = found.layer.place(at.shape)
        declared = [item for _, home in built.walk() if home.home is home and (item := _declared(home))]
        if not isinstance(found.layer, Container):
            came = [{name: array.shape for name, array in record.items()} for record in found.arrays]
            if came != declared:
                raise OnnxError(f"expected arrays {declared}, got {came}")
            by_mask = any(at.mask is value for node in found.end.taken for value in node.inputs)
            if at.mask is not None and goes_by_mask(built) and not by_mask:
                raise OnnxError("expected it to go by the mask, which says where padding is")
            if not built.children and not found.layer.passes_mask and not (built.layer.passes_mask or "mask" in built.scratch):
                found.end.mask = None
        for array in (array for record in found.arrays for array in record.values()):
            if array.dtype.kind != "f":
                raise OnnxError(f"expected real numbers as weights, got {array.dtype}")
        _require_sane(built.out_shape, "an output row")
        return built.out_shape

    def _known(self, found: Found, arrays: list[dict[str, Array]]) -> Layer:
        """The layer; where one like it with the same arrays was found before, that one.

        Other programs may write arrays once that are equal by chance, as all ones are: these tell nothing.
        """
        constants = {id(value.array): value for node in found.end.taken for value in node.inputs
                     if value is not None and value.array is not None and value.array.dtype.kind == "f"}  # fmt: skip
        if self.parsed.named:
            weights = {key for key, value in constants.items() if self.belongs(value)}
            telling = bool(weights)
        else:
            weights = {key for key, value in constants.items() if value.array is not None and value.array.size > 1}
            telling = any(array.min() != array.max() for record in found.arrays for array in record.values() if array.size)
        if isinstance(found.layer, Container) or not telling:
            arrays += found.arrays
            return found.layer
        known = self._shared.setdefault((type(found.layer), repr(found.layer), frozenset(weights)), [])
        for layer, records in known:
            if all(np.array_equal(array, records[place][name], equal_nan=True)
                   for place, record in enumerate(found.arrays) for name, array in record.items()):  # fmt: skip
                return layer
        known.append((found.layer, found.arrays))
        arrays += found.arrays
        return found.layer

    def belongs(self, constant: Value) -> bool:
        """Whether a constant is an array of a layer; not always known of what others have written."""
        return not self.parsed.named or "." in constant.name

    def _require_room(self, arrays: list[dict[str, Array]]) -> None:
        """Refuse weights that are used by so many layers, each of which would have its own, that they outgrow the file."""
        numbers = sum(array.size for record in arrays for array in record.values())
        if numbers > 8 * self.parsed.numbers + (1 << 20):
            raise _Unreadable(f"onnx.load: expected weights in all of about the file's {self.parsed.numbers} numbers, got "
                              f"{numbers}")  # fmt: skip

    def _refuse(self, at: Cursor, reasons: list[tuple[bool, str]]) -> None:
        assert at.region is not None
        nodes = list({id(node): node for node in at.region.consumers(at.value)}.values())
        named = ", ".join(map(described, nodes[:4])) or "none"
        why = f"; {sorted(reasons, key=lambda reason: reason[0])[-1][1]}" if reasons else ""
        raise _Unreadable(f"onnx.load: expected operators that some layer is read from, for rows of shape {at.shape}, got node "
                          f"{named}{why}; give the class of such a layer a method from_onnx")  # fmt: skip


class _Unreadable(OnnxError):
    """A part of the graph is no layer at all; so what it is within is none, either."""


# ---------------------------------------------------------------------------------------------------------- patterns


class _Pattern(Graph):
    """How a layer would be written, with arrays and numbers that are yet to be read."""

    def __init__(self, built: Built, arrays: dict[str, Array], real: str) -> None:
        super().__init__(real)
        self.built = built
        self.unknowns: dict[int, str] = {}  # what each value that is to be read is
        self._arrays = arrays
        self._declared = _declared(built)

    def unknown(self, name: str) -> Value:
        """A value that is to be read."""
        value = Value(self, name=name)
        self.unknowns[id(value)] = name
        return value

    def array(self, name: str, shape: Shape | None = None) -> Value | None:
        if name not in self._declared:
            return None
        if name in self._arrays:
            array = self._arrays[name].astype(self.real)
            return self.constant(array if shape is None else array.reshape(shape), name)
        return self.unknown(name)


class _Match:
    """The nodes from a place on, held against a pattern."""

    def __init__(self, at: Cursor, pattern: _Pattern, write: Write) -> None:
        self.at = at.copy()
        self.pattern = pattern
        self.read: dict[str, Array] = {}
        self._matched: list[Node] = []
        x, mask = Value(pattern), Value(pattern)
        self._same = {id(x): at.value}  # what the pattern's values are in the file
        if at.mask is not None:
            pattern.mask, self._same[id(mask)] = mask, at.mask
        self.built = pattern.built
        self.out = write(pattern.built.layer, pattern, x)
        told = pattern.mask if self.built.layer.passes_mask or "mask" in self.built.scratch else None
        self.fits = all(map(self._find, self._needed(told)))
        if self.fits:
            self.at.value = self._same[id(self.out)]
            self.at.mask = None if told is None else self._same[id(told)]

    def found(self, part: Layer, arrays: dict[str, Array] | None = None) -> Found:
        """The layer with what was read."""
        declared = _declared(self.built)
        weights = {name: self.read.get(name, (arrays or {}).get(name)) for name in declared}
        numbers = {name: self.at.number(array) for name, array in self.read.items() if name not in declared}
        fitting = {name: array.reshape(declared[name]) for name, array in weights.items() if array is not None}
        for node in self._matched:
            self.at.ledger.ask_all(node)
        return self.at.found(part.replace(**numbers), **fitting)

    def _needed(self, mask: Value | None) -> list[Node]:
        """The nodes of the pattern that its output needs."""
        wanted = {id(self.out), id(mask)}
        nodes = []
        for node in reversed(self.pattern.written):
            if not wanted.isdisjoint(map(id, node.outputs)):
                nodes.append(node)
                wanted |= {id(value) for value in node.inputs}
        return nodes[::-1]

    def _find(self, node: Node) -> bool:
        """Whether there is such a node in the file."""
        known = next((self._same[id(value)] for value in node.inputs if id(value) in self._same), None)
        for candidate in self.at.region.candidates(known) if known is not None and self.at.region is not None else []:
            if candidate.op == node.op and len(candidate.outputs) >= len(node.outputs):
                orders = [candidate.inputs]
                if node.op in COMMUTATIVE and len(candidate.inputs) == 2:
                    orders.append(candidate.inputs[::-1])
                for inputs in orders:
                    if self._agree(node, candidate, inputs):
                        self._same |= {id(own): other for own, other in zip(node.outputs, candidate.outputs, strict=False)}
                        self.at.taken.append(candidate)
                        self._matched.append(candidate)
                        return True
        return False

    def _agree(self, node: Node, candidate: Node, inputs: list[Value | None]) -> bool:
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
        if own.array is None:
            return False
        mine, theirs = own.array, other.array
        if mine.dtype.kind != theirs.dtype.kind or mine.size != theirs.size or (mine.shape != theirs.shape and mine.size > 1):
            return False
        if mine.dtype.kind != "f":
            return bool((mine.reshape(-1) == theirs.reshape(-1)).all())
        return bool(np.allclose(mine.reshape(-1), theirs.reshape(-1), rtol=1e-5, atol=1e-12))

    def _take(self, own: Value, array: Array, read: dict[str, Array]) -> bool:
        """Read an unknown, unless it was something else before."""
        name = self.pattern.unknowns[id(own)]
        declared = _declared(self.built).get(name, ())
        if array.size != prod(declared):
            return False
        before = self.read.get(name, read.get(name))
        read[name] = array
        return before is None or bool(np.array_equal(before, array))

