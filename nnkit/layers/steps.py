"""Named values of a row, each computed by a layer from others: what `nnkit.Graph` and its usual forms are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from nnkit.core.container import Container, Placed, Reader, V, Wiring, as_layer, readers
from nnkit.core.fields import SELF, fields, picked, spelt
from nnkit.core.layer import Built, Layer
from nnkit.errors import ParameterError, ShapeError

__all__ = ["Step", "Steps", "named", "names_of", "part_of"]


class Step(NamedTuple):
    """How a named value is computed: by a layer, from one or several others."""

    name: str
    reads: str | tuple[str, ...]
    layer: Layer

    @property
    def read(self) -> tuple[str, ...]:
        """The names of what it reads."""
        return (self.reads,) if isinstance(self.reads, str) else self.reads

    def known(self) -> dict[str, str]:
        """The names of what it reads, by those that the layer has for them."""
        return fields(picked({name: name for name in self.read}, self.reads, self.layer.inputs))

    def looked_up(self) -> list[str]:
        """The names of what it reads, but for real numbers beside whole ones."""
        dtypes = self.layer.input_dtype
        return [name for own, name in self.known().items() if not (type(dtypes) is dict and dtypes[own] == "real")]


class Steps(Container):
    """Named values of a row, each computed from others by a layer; what a row is given and what it gives are some of them."""

    _steps: Sequence[Step]
    _outs: str | Sequence[str]  # the value that it gives, or several by name

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        written: set[str] = set()
        given: dict[str, None] = {}
        for step in self._steps:
            given.update({name: None for name in step.read if name not in written})
            written.add(step.name)
        given.update({name: None for name in names_of(self._outs) if name not in written})
        return () if list(given) == [SELF] else tuple(given)

    @property
    def wires(self) -> tuple[Sequence[Step], Sequence[str]]:
        """The steps, and the names of the values that it gives."""
        return self._steps, names_of(self._outs)

    @property
    def input_dtype(self) -> str | dict[str, str]:  # type: ignore[override]
        """Of plain rows; each field has that of the layers that read it (see `reading`)."""
        return next((step.layer.input_dtype for step in self._steps if SELF in step.read), "real")

    def _require_fields(self, in_shape: Any) -> None:
        if isinstance(in_shape, dict) and set(in_shape) != set(self.inputs or (SELF,)):
            raise ShapeError(f"{self!r}: expected rows with the fields {', '.join(self.inputs) or SELF}, got {spelt(in_shape)}")
        if not isinstance(in_shape, dict) and self.inputs:
            raise ShapeError(f"{self!r}: expected rows with the fields {', '.join(self.inputs)}, got one array of {in_shape}; "
                             "give a dict of arrays, or a tuple of them in this order")  # fmt: skip

    @classmethod
    def from_onnx(cls, at):
        """Nothing: what begins and ends with one value is read as other containers."""
        return

    def build(self, in_shape: Any) -> Any:
        shapes = named(in_shape)
        whole = dict.fromkeys(shapes, True)  # whether a value is the input as it is given
        for step in self._steps:
            try:
                given = picked(shapes, step.reads, step.layer.inputs)
            except ShapeError as error:
                raise ShapeError(f"{self!r}: {step.name}: {error}") from None
            behind = not all(whole.get(name) for name in step.looked_up())
            shapes[step.name] = self.within(step.layer, given, int(behind)).out_shape
            whole[step.name] = False
        return picked(shapes, self._outs)

    def readers(self, children: Sequence[Built]) -> Iterator[Reader]:
        written: set[str] = set()
        for step, child in zip(self._steps, children, strict=True):
            mine = step.known()
            for reader in readers(child):
                if (name := mine[reader.name]) not in written:
                    yield replace(reader, name=name if self.inputs else "")
            written.add(step.name)

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        values = named(x)
        for step, child, later in zip(self._steps, children, self._read_later(), strict=True):
            with plan.holding(*(item for name in later if name in values for item in fields(values[name]).values())):
                values[step.name] = plan.forward(child, picked(values, step.reads, step.layer.inputs))
        return picked(values, self._outs)

    def _read_later(self) -> list[set[str]]:
        """Of every step, the values that are there already and are read behind it."""
        needed, later = set(names_of(self._outs)), []
        for step in reversed(self._steps):
            later.append(needed - {step.name})
            needed = later[-1] | set(step.read)
        return later[::-1]

    def _needed(self, output: str) -> list[int]:
        """The places of the steps that a value needs."""
        needed: set[str] = {output}
        places: list[int] = []
        for place in reversed(range(len(self._steps))):
            if self._steps[place].name in needed:
                needed = (needed - {self._steps[place].name}) | set(self._steps[place].read)
                places.insert(0, place)
        return places

    def onnx(self, graph, x):
        values, before = named(x), graph.mask
        masks = {name: graph.masks.get(name, before) if isinstance(x, dict) else before for name in values}
        for step, child in zip(self._steps, self._built.children, strict=True):
            given = fields(picked(masks, step.reads, step.layer.inputs))
            graph.mask, graph.masks = next(iter(given.values())), given
            values[step.name] = graph.layer(child, picked(values, step.reads, step.layer.inputs))
            masks[step.name] = graph.mask
        if before is not None:  # which ends where a step has a mask of its own
            graph.kept += [masks[name] for name in masks if masks[name] is not None and masks[name] is not before]
        known = {id(masks[name]): masks[name] for name in names_of(self._outs)}
        graph.mask = next(iter(known.values())) if len(known) == 1 else None
        return picked(values, self._outs)


def part_of(who: str, name: str, given: Any) -> Layer:
    """A layer, or a chain of layers, that a container is given under a name."""
    try:
        return as_layer(given)
    except ParameterError as error:
        raise ParameterError(f"{who}: {name}: {error}") from None


def names_of(outs: str | Sequence[str]) -> Sequence[str]:
    """One name or several, as several."""
    return (outs,) if isinstance(outs, str) else outs


def named(value: Any) -> dict[str, Any]:
    """The fields of a value by name; a plain one is called x."""
    return {name or SELF: item for name, item in fields(value).items()}
