"""The gradients of a trace beside finite differences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import fields
from nnkit.errors import ParameterError
from nnkit.inspect.pictures.table import Table
from nnkit.inspect.trace.differences import STEP, sides
from nnkit.inspect.trace.replay import Replay
from nnkit.planner import Node

__all__ = ["Compared", "GradientCheck", "check_gradients"]

# Of the largest number of an array, and of the loss: central differences in float64 are exact to about 1e-10 of either.
TOLERANCE, OF_LOSS = 1e-6, 1e-9
CLOSER = STEP, STEP / 10, STEP / 100  # a kink beside a number stays behind, a wrong gradient stays wrong; below, rounding wins
SECONDS, FEW, MANY = 20.0, 3, 100  # for all of a check; numbers of each array, at least and at most
SIDE_BY_SIDE = 40  # numbers that are all printed


@dataclass(frozen=True)
class Compared:
    """An array of gradients beside finite differences.

    Attributes
    ----------
    layer : number of the textbook's layer; 0 for the input of the net
    name : such as "dL/dweight"
    places : indices of the numbers that were looked at
    gradient, difference : those numbers, by backward and by central differences
    wrong : which of them do not agree
    kinks : which of them are at, or within a step of, a place where the loss has no derivative (a ReLU at 0), but one to the
        left and one to the right; the gradient is one of them or lies between, if need be of a shorter step
    size : of the whole array
    """

    layer: int
    name: str
    places: list[tuple[int, ...]]
    gradient: NDArray[np.float64]
    difference: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    kinks: NDArray[np.bool_]
    size: int

    @property
    def error(self) -> float:
        """The largest distance, kinks left out."""
        return float(np.abs(self.gradient - self.difference)[~self.kinks].max(initial=0.0))


class GradientCheck:
    """All gradients of a trace beside central differences; made by ``trace.check()``.

    Attributes
    ----------
    arrays : of `Compared`, from the last layer to the first
    ok : whether all agree
    """

    def __init__(self, arrays: list[Compared]) -> None:
        self.arrays = arrays
        self.ok = not any(item.wrong.any() for item in arrays)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def table(self) -> Table:
        """Number by number where they are few, else array by array."""
        looked_at = sum(len(item.places) for item in self.arrays)
        wrong = sum(int(item.wrong.sum()) for item in self.arrays)
        kinks = sum(int(item.kinks.sum()) for item in self.arrays)
        found = f"{wrong} of {looked_at} gradients are wrong" if wrong else f"all {looked_at} gradients agree"
        worst = max((item.error for item in self.arrays), default=0.0)
        title = f"{found} with central differences in float64; largest difference {worst:.1e}"
        notes = [f"{kinks} lie at a kink, or close beside one, where there is no derivative"] if kinks else []
        if looked_at <= SIDE_BY_SIDE:
            headers = ["layer", "gradient of", "at", "backward", "difference", ""]
            return Table(title, headers, [row for item in self.arrays for row in _numbers(item)], 3, notes)
        headers = ["layer", "gradient of", "numbers", "looked at", "largest", "largest difference", ""]
        return Table(title, headers, [_summary(item) for item in self.arrays], 2, notes)

    def __str__(self) -> str:
        return str(self.table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def _numbers(item: Compared) -> Iterator[list[str]]:
    for place, gradient, difference, wrong, kink in zip(
        item.places, item.gradient, item.difference, item.wrong, item.kinks, strict=True
    ):
        verdict = "WRONG" if wrong else "kink" if kink else ""
        yield [str(item.layer or "input"), item.name, str(list(place)), f"{gradient:.10g}", f"{difference:.10g}", verdict]


def _summary(item: Compared) -> list[str]:
    largest = np.abs(item.gradient).max(initial=0.0)
    wrong = f"{item.wrong.sum()} WRONG" if item.wrong.any() else ""
    return [str(item.layer or "input"), item.name, str(item.size), str(len(item.places)), f"{largest:.3g}",
            f"{item.error:.1e}", wrong]  # fmt: skip


def check_gradients(replay: Replay, most: int | None, random_state: int) -> GradientCheck:
    """Compare every gradient of a pass, which is in float64, with central differences."""
    if most is not None and (isinstance(most, bool) or not isinstance(most, int | np.integer) or most < 1):
        raise ParameterError(f"Trace.check: expected most to be an integer of at least 1, got {most!r}")
    checker = _Checker(replay, _affordable(replay) if most is None else int(most), random_state)
    arrays: list[Compared] = []
    known: set[str] = set()  # parameters of layers that are used twice
    parameters, gradients, flow = replay.network.parameters(), replay.gradients(), replay.flow()
    for number, group in reversed(list(enumerate(replay.groups(), 1))):
        names = ["delta"] if len(group) == 1 else ["delta", "dL/da"]
        for name, node in reversed(list(zip(names, group, strict=True))):
            if node.grad_out is not None and flow.is_apart(node):
                arrays.append(checker.value(number, name, node))
        for name in group[0].built.parameters:
            full = f"{group[0].home}.{name}"
            if full in parameters and full not in known:
                known.add(full)
                arrays.append(checker.array(number, f"dL/d{name}", parameters[full], gradients[full]))
    for name, grad_x in fields(checker.grad_x).items():
        if grad_x is not None:
            arrays.append(checker.array(0, "dL/dx" + (f"_{name}" if name else ""), fields(replay.x)[name], grad_x))
    return GradientCheck(arrays)


def _affordable(replay: Replay) -> int:
    """How many numbers of each array there is time for."""
    replay.forward()  # compiles
    begin = time.perf_counter()
    replay.forward()
    seconds = time.perf_counter() - begin
    arrays = sum(len(group) + len(group[0].built.parameters) for group in replay.groups()) + 1
    return int(np.clip(SECONDS / (2 * seconds * arrays), FEW, MANY))


Sides = Callable[[Sequence[tuple[int, ...]], float], NDArray[np.float64]]  # by places and the length of the step


class _Checker:
    """Compares the gradients of one pass."""

    def __init__(self, replay: Replay, most: int, random_state: int) -> None:
        self.replay, self.most = replay, most
        self.random = np.random.default_rng(random_state)
        self.loss = replay.forward()
        self.grad_x = replay.backward()

    def _places(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """All indices, or some drawn at random."""
        size = prod(shape)
        chosen = np.arange(size) if size <= self.most else np.sort(self.random.choice(size, self.most, replace=False))
        return [tuple(map(int, place)) for place in zip(*np.unravel_index(chosen, shape), strict=True)]

    def array(self, layer: int, name: str, array: NDArray[Any], gradient: NDArray[Any]) -> Compared:
        """An array that the whole pass reads: a parameter, or the input."""
        places = self._places(array.shape)
        return self._compared(layer, name, places, gradient, partial(sides, self.replay.forward, array))

    def value(self, layer: int, name: str, node: Node) -> Compared:
        """The output of a node: what comes after it is computed again."""
        assert node.grad_out is not None
        gradient = self.replay.array(node.grad_out)
        places = self._places(gradient.shape)
        self.replay.forward()

        def slopes(places: Sequence[tuple[int, ...]], step: float) -> NDArray[np.float64]:
            return sides(lambda: self.replay.forward(node), *self.replay.memory(node.out, places), step)

        return self._compared(layer, name, places, gradient, slopes)

    def _compared(
        self, layer: int, name: str, places: list[tuple[int, ...]], gradient: NDArray[Any], slopes: Sides
    ) -> Compared:  # fmt: skip
        size, gradient = gradient.size, np.array([gradient[place] for place in places])
        difference = slopes(places, STEP).mean(axis=1)
        near = TOLERANCE * np.abs(gradient).max(initial=0.0) + OF_LOSS * max(1.0, abs(self.loss))
        apart = ~(np.abs(gradient - difference) <= near)  # also where one is not finite
        wrong = apart.copy()
        for step in CLOSER:
            left = np.flatnonzero(wrong)
            if left.size:
                beside = slopes([places[place] for place in left], step)
                low, high = beside.min(axis=1) - near, beside.max(axis=1) + near
                wrong[left] = ~((low <= gradient[left]) & (gradient[left] <= high))
        return Compared(layer, name, places, gradient, difference, wrong, apart & ~wrong, size)
