"""Who reads the values of a graph, and which nodes have been read as layers."""

from __future__ import annotations

from collections.abc import Iterable

from nnkit.core.exchange import Node, Value
from nnkit.persistence.onnx.parsing import Parsed

__all__ = ["Dataflow"]


class Dataflow:
    """The nodes of a graph in the order of computation, and what becomes of their values.

    Attributes
    ----------
    nodes : all of them
    index : their places, by their ids
    idle : the places of those that the output does not need, as those of a mask that no layer goes by
    used : nodes and masks (their ids) that are part of some layer
    """

    def __init__(self, parsed: Parsed) -> None:
        self.nodes = parsed.nodes
        self.index = {id(node): index for index, node in enumerate(self.nodes)}
        self.idle = _idle(self.nodes, parsed.outputs.values()) if parsed.named else set()
        self.used: set[int] = set()
        self._consumers: dict[int, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                if value is not None and value.array is None:
                    self._consumers.setdefault(id(value), []).append(node)

    def consumers(self, value: Value) -> list[Node]:
        """The nodes that read a value, in order."""
        return self._consumers.get(id(value), [])


def _idle(nodes: list[Node], outputs: Iterable[Value]) -> set[int]:
    wanted, idle = set(map(id, outputs)), set()
    for index, node in reversed([*enumerate(nodes)]):
        if wanted.isdisjoint(map(id, node.outputs)):
            idle.add(index)
        else:
            wanted |= set(map(id, node.inputs))
    return idle
