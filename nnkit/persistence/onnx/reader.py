"""From nodes and values to layers: each class says what it is read from, and what fits the most nodes is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.container import Container
from nnkit.core.exchange import Found, Inner, Value
from nnkit.core.layer import Built, Layer
from nnkit.core.part import Shape
from nnkit.errors import OnnxError
from nnkit.persistence.onnx.cursor import Cursor
from nnkit.persistence.onnx.dataflow import Dataflow
from nnkit.persistence.onnx.masks import Begin, goes_by_mask, masks_begun
from nnkit.persistence.onnx.parsing import Parsed, require_sane
from nnkit.persistence.onnx.pattern import declared
from nnkit.persistence.onnx.region import Region
from nnkit.persistence.onnx.view import Ledger, Unasked, described

__all__ = ["Reader", "Unreadable"]

STEPS = 20  # layers that are looked for, a node: where masks begin may take several tries

Array = NDArray[Any]


class Unreadable(OnnxError):
    """A part of the graph is no layer at all; so what it is within is none, either."""


class Reader:
    """Reads a graph, from its inputs to its outputs."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed
        self.flow = Dataflow(parsed)
        registered = {id(part): part for part in (*Layer.registry.values(), *Activation.registry.values())}
        self._parts = sorted(registered.values(), key=lambda part: issubclass(part, Container))  # containers last
        self._shared: dict[Any, list[tuple[Layer, list[dict[str, Array]]]]] = {}  # by what they are made of
        self._left = STEPS * (1 + len(parsed.nodes))
        self._begins: dict[int, list[Begin]] = {}
        if len(parsed.inputs) == len(parsed.outputs) == 1:  # a mask is of what follows one value
            self._begins = masks_begun(self._parts, self.flow, self._in_whole)

    def _in_whole(self, value: Value, shape: Shape) -> Cursor:
        (given,), (out,) = self.parsed.inputs.values(), self.parsed.outputs.values()
        return Cursor(self.parsed, self.chain, Region(self.flow, given.value, out), value, shape)

    def between(self, start: Value, shape: Shape, end: Value) -> Inner:
        """The layers from one value, whose rows are of some shape, to another."""
        return self.chain(Cursor(self.parsed, self.chain, Region(self.flow, start, end), start, shape), end)

    def chain(self, at: Cursor, end: Value) -> Inner:
        """The layers from a place to a value."""
        return self._chain(replace(at, region=Region(self.flow, at.value, end)), end, [], [])

    def _chain(self, at: Cursor, end: Value, layers: list[Layer], arrays: list[dict[str, Array]]) -> Inner:
        """The same, after the layers that have been read."""
        while True:
            for begin in self._begins.get(id(at.value), ()):
                if self._may_begin(begin.mask, at.region, at.value is not end or bool(layers)):
                    masked = self._tried(begin, at, end, layers, arrays)
                    if masked is not None:
                        return masked
            if at.value is end:
                return Inner(layers, arrays, at.mask)
            found, out_shape = self._next(at, end)
            layers.append(self._known(found, arrays))
            self._require_room(arrays)
            self.flow.used |= {id(node) for node in found.end.taken}
            at = replace(at, value=found.end.value, shape=out_shape, mask=found.end.mask)

    # ------------------------------------------------------------------------------------------------------- masks

    def _may_begin(self, mask: Value, region: Region, goes_on: bool) -> bool:
        """Whether a mask begins before the next layer; one that nobody goes by still ends the one before it."""
        index, used = self.flow.index, self.flow.used
        unread = (place for place in region.indices if id(self.flow.nodes[place]) not in used)
        in_order = not self.parsed.named or mask.node is None or index[id(mask.node)] < next(unread, len(index))
        return id(mask) not in used and in_order and (goes_on or not self.flow.consumers(mask))

    def _tried(
        self, begin: Begin, at: Cursor, end: Value, layers: list[Layer], arrays: list[dict[str, Array]]
    ) -> Inner | None:
        """A chain with a mask that begins here; None where one of its layers does not go by that, and nothing has been read."""
        used, shared = set(self.flow.used), {key: list(known) for key, known in self._shared.items()}
        self.flow.used.add(id(begin.mask))
        try:
            return self._chain(replace(at, mask=begin.mask), end, [*layers, begin.layer], list(arrays))
        except Unreadable:
            if self._left < 0:
                raise
            self.flow.used, self._shared = used, shared
            return None

    # ---------------------------------------------------------------------------------------------- the next layer

    def _next(self, at: Cursor, end: Value) -> tuple[Found, Shape]:
        """The layer that the most nodes from here on are, and the shape of its output rows."""
        self._left -= 1
        if self._left < 0:
            raise Unreadable("onnx.load: expected masks that tell which layers go by them, got too many that may be meant")
        best: tuple[int, Found, Shape] | None = None
        reasons: list[tuple[bool, str]] = []
        for part in self._parts:  # containers as they are registered: what goes around layers, what is side by side, and others
            if issubclass(part, Container) and best is not None:
                break
            ledger = Ledger()
            try:
                found = part.from_onnx(replace(at, taken=[], ledger=ledger))
                if found is None or not (size := len({id(node) for node in found.end.taken} - self.flow.used)):
                    continue
                out_shape = self._check(found, ledger, at, end)
            except Unreadable:
                raise
            except Exception as error:  # whatever a node that means something else makes a class stumble over
                reasons.append((isinstance(error, Unasked), f"{part.__name__}: {error}"))
                continue
            if best is None or size > best[0]:
                best = size, found, out_shape
        if best is None:
            self._refuse(at, reasons)
        return best[1:]

    def _check(self, found: Found, ledger: Ledger, at: Cursor, end: Value) -> Shape:
        """Refuse a layer that leaves something undone, or does not fit; the shape of its output rows."""
        _require_closed(found, at, end)
        for node in found.end.taken:
            ledger.require_all(node)
        built: Built = found.layer.place(at.shape)
        if not isinstance(found.layer, Container):
            came = [{name: array.shape for name, array in record.items()} for record in found.arrays]
            expected = [own for _, home in built.walk() if home.home is home and (own := declared(home))]
            if came != expected:
                raise OnnxError(f"expected arrays {expected}, got {came}")
            _follow_mask(found, built, at)
        for array in (array for record in found.arrays for array in record.values()):
            if array.dtype.kind != "f":
                raise OnnxError(f"expected real numbers as weights, got {array.dtype}")
        out_shape: Shape = built.out_shape
        require_sane(out_shape, "an output row")
        return out_shape

    def _refuse(self, at: Cursor, reasons: list[tuple[bool, str]]) -> NoReturn:
        nodes = list({id(node): node for node in at.region.consumers(at.value)}.values())
        named = ", ".join(map(described, nodes[:4])) or "none"
        why = f"; {sorted(reasons, key=lambda reason: reason[0])[-1][1]}" if reasons else ""
        raise Unreadable(f"onnx.load: expected operators that some layer is read from, for rows of shape {at.shape}, got node "
                         f"{named}{why}; give the class of such a layer a method from_onnx")  # fmt: skip

    # ------------------------------------------------------------------------------------------------------ arrays

    def _known(self, found: Found, arrays: list[dict[str, Array]]) -> Layer:
        """The layer; where one like it with the same arrays was found before, that one.

        Other programs may write arrays once that are equal by chance, as all ones are: these tell nothing.
        """
        constants = {id(value.array): value for node in found.end.taken for value in node.inputs
                     if value is not None and value.array is not None and value.array.dtype.kind == "f"}  # fmt: skip
        if self.parsed.named:
            weights = {key for key, value in constants.items() if self.parsed.belongs(value)}
            telling = bool(weights)
        else:
            weights = {key for key, value in constants.items() if value.array is not None and value.array.size > 1}
            telling = any(array.min() != array.max() for record in found.arrays for array in record.values() if array.size)
        layer: Layer = found.layer
        if telling and not isinstance(layer, Container):
            known = self._shared.setdefault((type(layer), repr(layer), frozenset(weights)), [])
            for before, records in known:
                if _are_equal(records, found.arrays):
                    return before
            known.append((layer, found.arrays))
        arrays += found.arrays
        return layer

    def _require_room(self, arrays: list[dict[str, Array]]) -> None:
        """Refuse weights that are used by so many layers, each of which would have its own, that they outgrow the file."""
        numbers = sum(array.size for record in arrays for array in record.values())
        if numbers > 8 * self.parsed.numbers + (1 << 20):
            raise Unreadable(f"onnx.load: expected weights in all of about the file's {self.parsed.numbers} numbers, got "
                             f"{numbers}")  # fmt: skip


def _require_closed(found: Found, at: Cursor, end: Value) -> None:
    """Refuse a layer that computes what somebody else reads, but for its output and a mask."""
    taken = {id(node) for node in found.end.taken}
    within = {id(value): value for value in (at.value, *(value for node in found.end.taken for value in node.outputs))
              if value is not found.end.value and value is not found.end.mask}  # fmt: skip
    readers = [node for value in within.values() for node in at.region.consumers(value)]
    if id(end) in within or any(id(node) not in taken for node in readers):
        raise OnnxError("expected nobody else to read what is computed within")


def _follow_mask(found: Found, built: Built, at: Cursor) -> None:
    """Refuse a layer that goes by no mask where there is one; behind one that does not pass it on, there is none."""
    by_mask = any(at.mask is value for node in found.end.taken for value in node.inputs)
    if at.mask is not None and goes_by_mask(built) and not by_mask:
        raise OnnxError("expected it to go by the mask, which says where padding is")
    if not built.children and not found.layer.passes_mask and not built.keeps_mask:
        found.end.mask = None


def _are_equal(records: list[dict[str, Array]], others: list[dict[str, Array]]) -> bool:
    return all(np.array_equal(array, records[place][name], equal_nan=True)
               for place, record in enumerate(others) for name, array in record.items())  # fmt: skip
