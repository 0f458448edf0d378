"""Nodes as who reads them sees them: whatever a file says and nobody asks for is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from nnkit.core.exchange import Node, Value
from nnkit.errors import OnnxError

__all__ = ["Ledger", "Unasked", "described"]


class Unasked(OnnxError):
    """A node says something that its reader does not know of."""


@dataclass
class _Asked:
    """What was asked of a node: names of attributes, and places of inputs in the file."""

    node: Node
    attributes: set[str] = field(default_factory=set)
    inputs: set[int] = field(default_factory=set)


class _Attributes(Mapping[str, Any]):
    """The attributes of a node; looking one up is to ask for it."""

    def __init__(self, asked: _Asked) -> None:
        self._asked = asked

    def __getitem__(self, name: str) -> Any:
        self._asked.attributes.add(name)
        return self._asked.node.attributes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._asked.node.attributes

    def __iter__(self) -> Iterator[str]:
        return iter(self._asked.node.attributes)

    def __len__(self) -> int:
        return len(self._asked.node.attributes)


class _Inputs(Sequence[Value | None]):
    """The inputs of a node in some order; looking at one is to ask for it."""

    def __init__(self, asked: _Asked, places: list[int]) -> None:
        self._asked, self._places = asked, places

    @overload
    def __getitem__(self, index: int) -> Value | None: ...

    @overload
    def __getitem__(self, index: slice) -> list[Value | None]: ...

    def __getitem__(self, index: int | slice) -> Value | list[Value | None] | None:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = self._places[index]
        self._asked.inputs.add(place)
        return self._asked.node.inputs[place]

    def __len__(self) -> int:
        return len(self._places)


class Ledger:
    """The nodes that a reader looks at, and what it asks of each."""

    def __init__(self) -> None:
        self._asked: dict[int, _Asked] = {}

    def _of(self, node: Node) -> _Asked:
        return self._asked.setdefault(id(node), _Asked(node))

    def view(self, node: Node, first: int | None = None) -> Node:
        """The node as a reader is to see it; with input number ``first`` before the others."""
        asked = self._of(node)
        places = sorted(range(len(node.inputs)), key=lambda place: place != first)
        return Node(node.op, _Inputs(asked, places), _Attributes(asked), node.outputs, node.name, node.stated)

    def ask(self, node: Node, place: int) -> None:
        """Take note that an input is what the reader comes from."""
        self._of(node).inputs.add(place)

    def ask_all(self, node: Node) -> None:
        """Take note that all that the node says has been looked at."""
        asked = self._of(node)
        asked.attributes |= node.stated
        asked.inputs |= set(range(len(node.inputs)))

    def require_all(self, node: Node) -> None:
        """Refuse a node that has an attribute not at its default, or an input, that no one asked for."""
        asked = self._of(node)
        if names := sorted(node.stated - asked.attributes):
            raise Unasked(f"node {node.name!r} ({node.op}): expected its attribute {names[0]!r} at its default, got "
                          f"{node.attributes[names[0]]!r}"[:200])  # fmt: skip
        rest = {place for place, value in enumerate(node.inputs) if value is not None} - asked.inputs
        if rest:
            raise Unasked(f"node {node.name!r} ({node.op}): expected nothing as its input {min(rest)}, got "
                          f"{node.inputs[min(rest)]!r}")  # fmt: skip


def described(node: Node) -> str:
    """A node in words, with what it says beside its operator."""
    stated = [f"{name}={node.attributes[name]!r}" for name in sorted(node.stated)]
    words = ", ".join(item if len(item) < 80 else f"{item[:76]} ..." for item in stated[:12])
    return f"{node.name!r} ({node.op}){' with ' if words else ''}{words}"
