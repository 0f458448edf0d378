"""Where the numbers of a layer's input come from, and where those of its output go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from nnkit.core.fields import fields
from nnkit.engine.operands import Array
from nnkit.planner import Node, Plan, Step

__all__ = ["Flow", "Input", "Output", "Piece"]


class Input(str):
    """The name of an input; "" where there is one."""


class Output(str):
    """The name of an output; "" where there is one."""


@dataclass(frozen=True)
class Piece:
    """Some numbers of a value, in their order.

    Attributes
    ----------
    of : the layer (by its number) or the input that they come from, or the layer or the output that they go to; None where
        more happens to them on the way than that they are put beside others
    first : in what they go to, where they begin
    size : how many they are
    """

    of: int | Input | Output | None
    first: int
    size: int


class Flow:
    """What the steps of a plan hand on.

    Parameters
    ----------
    plan : of one forward pass
    groups : its nodes as layers of the textbook
    """

    def __init__(self, plan: Plan, groups: Sequence[Sequence[Node]]) -> None:
        self._plan = plan
        self._made: dict[int, Step] = {id(step.out): step for step in plan.steps}
        self._reads: dict[int, list[Step]] = {}
        for step in plan.steps:
            for value in {id(item): item for item in step.inputs}.values():
                self._reads.setdefault(id(value), []).append(step)
        self._origins: dict[int, int | Input] = {id(x): Input(name) for name, x in fields(plan.inputs).items()}
        self._readers: dict[int, int] = {}  # of a step that is the first of a layer, by its output
        for number, group in enumerate(groups, 1):
            self._origins[id(group[-1].out)] = number
            self._readers[id(group[0].out)] = number

    @property
    def inputs(self) -> Any:
        """The values that the net is given."""
        return self._plan.inputs

    @property
    def outputs(self) -> Any:
        """The values that it gives."""
        return self._plan.outputs

    def sources(self, value: Array) -> tuple[Piece, ...]:
        """What the numbers of a value are, in their order."""
        return tuple(self._sources(value))

    def _sources(self, value: Array) -> Iterator[Piece]:
        size, step = prod(value.shape), self._made.get(id(value))
        if id(value) in self._origins:
            yield Piece(self._origins[id(value)], 0, size)
        elif step is not None and step.strung:
            for item in step.inputs:
                yield from self._sources(item)
        else:
            yield Piece(None, 0, size)

    def readers(self, value: Array) -> tuple[Piece, ...]:
        """Where the numbers of a value go: to layers, and out of the net."""
        return tuple(self._goes(value, 0, prod(value.shape)))

    def _goes(self, value: Array, first: int, size: int) -> Iterator[Piece]:
        yield from (Piece(Output(name), first, size) for name, out in fields(self._plan.outputs).items() if out is value)
        for step in self._reads.get(id(value), []):
            if not step.strung:
                yield Piece(self._readers.get(id(step.out)), first, size)
                continue
            begin = first
            for item in step.inputs:
                if item is value:
                    yield from self._goes(step.out, begin, size)
                begin += prod(item.shape)

    def is_apart(self, node: Node) -> bool:
        """Whether no other layer sees it if the output of a node is changed in memory, but by way of that output."""
        value, before = node.out, self._made[id(node.out)]
        while before.inputs and before.inputs[0].storage is value.storage:
            value = before.inputs[0]
            if len(self._reads[id(value)]) > 1 or any(out is value for out in fields(self._plan.outputs).values()):
                return False
            if id(value) not in self._made:
                break
            before = self._made[id(value)]
        return True
