"""The part of a graph between two values, in which layers are looked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from nnkit.core.exchange import Node, Value
from nnkit.persistence.onnx.dataflow import Dataflow

__all__ = ["Region"]


class Region:
    """The nodes between two values."""

    def __init__(self, flow: Dataflow, start: Value, end: Value) -> None:
        self.flow = flow
        first = 0 if start.node is None else flow.index[id(start.node)] + 1
        behind: set[int] = set(flow.idle)  # nodes that the end needs, or nothing does
        open_ = [end]
        while open_:
            node = open_.pop().node
            if node is not None and flow.index[id(node)] >= first and flow.index[id(node)] not in behind:
                behind.add(flow.index[id(node)])
                open_ += [value for value in node.inputs if value is not None and value is not start]
        self.indices: list[int] = []
        reached = {id(start)}
        for index in sorted(behind):
            node = flow.nodes[index]
            if any(id(value) in reached for value in node.inputs):
                self.indices.append(index)
                reached |= {id(value) for value in node.outputs}
        self._within = set(self.indices)
        self._reached = reached

    def consumers(self, value: Value) -> list[Node]:
        """The nodes here that read a value and have not been read yet, once for each time that they do."""
        return [node for node in self.flow.consumers(value)
                if self.flow.index[id(node)] in self._within and id(node) not in self.flow.used]  # fmt: skip

    def candidates(self, value: Value) -> list[Node]:
        """The nodes that may read a value for a layer here: those that no layer has first; but a mask is made once for many."""
        known = self.consumers(value)
        first = set(map(id, known))
        others = [node for node in self.flow.consumers(value) if id(node) not in first]
        others.sort(key=lambda node: id(node) in self.flow.used)
        elsewhere = id(value) not in self._reached
        return known + [node for node in others if elsewhere or self.flow.index[id(node)] in self._within]

    def uses(self, value: Value) -> int:
        """How often a value is read."""
        return len(self.consumers(value))

    def waists(self, start: Value) -> Iterator[Node]:
        """The nodes that all ways from ``start`` lead through: there, no other way is open."""
        reached, ways = {id(start)}, self.uses(start)
        first = 0 if start.node is None else self.flow.index[id(start.node)]
        for index in self.indices[bisect_left(self.indices, first) :]:
            node = self.flow.nodes[index]
            closed = sum(id(value) in reached for value in node.inputs)
            if closed and id(node) not in self.flow.used:
                ways -= closed
                if ways == 0:
                    yield node
                reached |= {id(value) for value in node.outputs}
                ways += sum(map(self.uses, node.outputs))
