"""A place in a graph that is being read, from which classes of layers look ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from nnkit.core.container import Container
from nnkit.core.exchange import Found, Inner, Node, Value, Write
from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.errors import NnkitError
from nnkit.persistence.onnx.parsing import Parsed
from nnkit.persistence.onnx.pattern import COMMUTATIVE, Match, Pattern
from nnkit.persistence.onnx.region import Region
from nnkit.persistence.onnx.tensors import shortest
from nnkit.persistence.onnx.view import Ledger
from nnkit.persistence.onnx.windows import padding, window

__all__ = ["Cursor"]

Array = NDArray[Any]


@dataclass
class Cursor:
    """What a layer is read from: the `nnkit.core.exchange.Cursor` that ``from_onnx`` gets, where its methods are described.

    Attributes
    ----------
    parsed : the whole graph
    read : reads the layers from a place to a value
    region : where nodes are looked for
    ledger : what has been asked of the nodes
    """

    parsed: Parsed
    read: Callable[[Cursor, Value], Inner]
    region: Region
    value: Value
    shape: Shape
    mask: Value | None = None
    taken: list[Node] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def rows(self) -> int | None:
        return self.parsed.rows

    @property
    def largest(self) -> int:
        return self.parsed.largest

    def belongs(self, constant: Value | None) -> bool:
        return constant is not None and self.parsed.belongs(constant)

    def copy(self) -> Cursor:
        return replace(self, taken=list(self.taken))

    def ahead(self, op: str, place: int = 0) -> Node | None:
        for node in self.region.consumers(self.value):
            if node.op == op:
                places = [index for index, value in enumerate(node.inputs) if value is self.value]
                if place in places or (op in COMMUTATIVE and place == 0):
                    own = place if place in places else places[0]
                    self.ledger.ask(node, own)
                    return self.ledger.view(node, None if place in places else own)
        return None

    def take(self, op: str, place: int = 0) -> Node | None:
        node = self.ahead(op, place)
        if node is not None:
            self.after(node)
        return node

    def after(self, node: Node, output: int = 0) -> Cursor:
        self.value = node.outputs[output]
        if self.value.node is not None:
            self.taken.append(self.value.node)
        return self

    # -------------------------------------------------------------------------------------------------- what it is

    def found(self, layer: Layer, *records: dict[str, Array], **arrays: Array) -> Found:
        return Found(layer, list(records) or ([arrays] if arrays else []), self)

    def like(self, parts: Iterable[Layer], write: Write | None = None, **arrays: Array) -> Found | None:
        for part in parts:
            numbers = [name for name, value in part.hyperparameters().items() if type(value) is float]
            for free in ([], numbers) if numbers else ([],):
                try:
                    found = self._like(part, free, write or type(part).onnx, arrays)
                except NnkitError:
                    continue  # it cannot take rows of this shape, or would not be written at all
                if found is not None:
                    return found
        return None

    def _like(self, part: Layer, free: list[str], write: Write, arrays: dict[str, Array]) -> Found | None:
        """The layer, if it would be written so with some numbers for those that are free."""
        built = part.place(self.shape)
        pattern = Pattern(built, arrays, self.parsed.real)
        for name in free:
            setattr(built.layer, name, pattern.unknown(name))
        match = Match(pattern, write, self.region, self.value, self.mask)
        if not match.fits:
            return None
        for node in match.nodes:
            self.ledger.ask_all(node)
        numbers = {name: self.number(array) for name, array in match.read.items() if name not in pattern.declared}
        known = {**arrays, **match.read}
        weights = {name: known[name].reshape(shape) for name, shape in pattern.declared.items() if name in known}
        end = replace(self, value=match.value, mask=match.mask, taken=self.taken + match.nodes)
        return end.found(part.replace(**numbers), **weights)

    # -------------------------------------------------------------------------------------------------- containers

    def join(self, op: str) -> Node | None:
        if self.region.uses(self.value) < 2:
            return None
        node = next(self.waists(), None)
        return node if node is not None and node.op == op else None

    def waists(self) -> Iterator[Node]:
        return map(self.ledger.view, self.region.waists(self.value))

    def chain(self, value: Value | None, shape: Shape | None = None) -> Inner:
        assert value is not None
        if shape is None:
            return self.read(self, value)
        return replace(self.read(replace(self, shape=shape, mask=None), value), mask=None)

    def around(self, layer: Container, *inner: Inner) -> Found:
        if not layer.side_by_side:
            self.mask = inner[-1].mask
        elif any(part.mask is not self.mask for part in inner):
            self.mask = None
        return Found(layer, [record for part in inner for record in part.arrays], self)

    # ---------------------------------------------------------------------------------------------- reading numbers

    def dim(self, axis: int) -> int:
        return -1 if axis == self.rank else axis

    @staticmethod
    def number(array: Array) -> float:
        return shortest(float(array.reshape(()) if array.size == 1 else array))

    def pads(self, node: Node, dims: int, kernel: Sequence[int]) -> list[int]:
        return padding(node, self.shape, dims, kernel)

    def window(self, node: Node, dims: int, kernel: Sequence[int] | None = None) -> dict[str, Any]:
        return window(node, self.shape, dims, kernel)
