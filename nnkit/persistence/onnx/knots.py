"""Where the ways of a graph part and meet: what is read there are named values, and layers one after the other in between."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from nnkit.core.exchange import Node, Value
from nnkit.persistence.onnx.dataflow import Dataflow

__all__ = ["Knot", "knots"]


class Knot(NamedTuple):
    """A value that is computed from others: by layers from one of them, or from several by the operator that they meet in."""

    value: Value
    reads: tuple[Value, ...]
    meets: bool


class _Ways:
    """For every value the last one before it that all ways to it lead through (Cooper, Harvey and Kennedy 2001, for graphs
    without cycles); None where there is no such value.
    """

    def __init__(self, flow: Dataflow, inputs: Sequence[Value]) -> None:
        self.index = flow.index
        self.before: dict[int, Value | None] = {id(x): None for x in inputs}
        self._depth = {id(x): 0 for x in inputs}
        for node in flow.nodes:
            read = [value for value in operands(node) if id(value) in self.before]
            common: Value | None = read[0] if read else None
            for value in read[1:]:
                common = self.common(common, value)
            for value in node.outputs:
                self.before[id(value)] = common
                self._depth[id(value)] = 0 if common is None else 1 + self._depth[id(common)]

    def common(self, a: Value | None, b: Value | None) -> Value | None:
        """The last value that all ways to both lead through."""
        while a is not b and a is not None and b is not None:
            deeper = self._depth[id(a)] - self._depth[id(b)]
            a, b = (self.before[id(a)] if deeper >= 0 else a), (self.before[id(b)] if deeper <= 0 else b)
        return a if a is b else None

    def through(self, value: Value) -> Iterator[Value]:
        """The values that all ways to a value lead through, from it back."""
        here: Value | None = value
        while here is not None:
            yield here
            here = self.before[id(here)]


def operands(node: Node) -> list[Value]:
    """What an operator reads beside constants."""
    return [value for value in node.inputs if value is not None and value.array is None]


def _is_meeting(value: Value) -> bool:
    """Whether its operator reads several values."""
    return value.node is not None and len({id(item) for item in operands(value.node)}) > 1


def knots(
    flow: Dataflow, inputs: Sequence[Value], outputs: Sequence[Value], met: Mapping[int, Value]
) -> tuple[list[Knot], dict[int, list[Value]]]:
    """The knots of a graph in the order of computation; and for each the values on the way to it where others meet.

    Parameters
    ----------
    met : values (by their ids) that are read as those of operators that others meet in, beside those that have to be
    """
    ways, met = _Ways(flow, inputs), dict(met)
    ends: dict[int, Value] = {}
    open_ = list(outputs)
    while open_:
        value = open_.pop()
        if id(value) in ends or id(value) not in ways.before:
            continue
        ends[id(value)] = value
        *_, first = ways.through(value)
        found = [item for item in ways.through(value) if id(item) in met] + ([first] if first.node is not None else [])
        for item in found:
            met[id(item)] = item
            open_ += [item, *(operands(item.node) if item.node is not None else [])]
    cuts = {id(value): value for value in (*inputs, *ends.values())}
    every = list(ends.values())
    for place, value in enumerate(every):
        for other in every[:place]:
            if (common := ways.common(value, other)) is not None:
                cuts[id(common)] = common
    listed: list[Knot] = []
    meetings: dict[int, list[Value]] = {}
    given = {id(x) for x in inputs}
    computed = (value for value in cuts.values() if id(value) not in given and value.node is not None)
    for value in sorted(computed, key=lambda value: flow.index[id(value.node)]):
        if id(value) in met and value.node is not None:
            listed.append(Knot(value, tuple(operands(value.node)), True))
            continue
        _, *back = ways.through(value)
        between = list(itertools.takewhile(lambda item: id(item) not in cuts, back))
        listed.append(Knot(value, (back[len(between)],), False))
        meetings[id(value)] = [item for item in (value, *between) if _is_meeting(item) and id(item) not in met]
    return listed, meetings
