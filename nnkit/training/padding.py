"""What padding weighs: nothing, in losses and metrics of outputs that a mask reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.criterion import Criterion
from nnkit.core.fields import fields
from nnkit.core.loss import Loss
from nnkit.core.part import Shape
from nnkit.engine.instruction import Instruction
from nnkit.errors import DataError
from nnkit.network import Network
from nnkit.passes import Sweep
from nnkit.training.data import count_of

__all__ = ["without_padding"]

Weights = dict[str, NDArray[np.float64] | None]


def without_padding(
    network: Network, criterion: Criterion, X: Any, weights: Weights, *, python: bool = False, name: str = "X"
) -> Weights:
    """Weights of rows as they are, and where a mask reaches an output of which every step has a loss, 0 for padded steps.

    Raises
    ------
    DataError
        Nothing is left that counts.
    """
    if not any("mask" in built.scratch for built in network.leaves):
        return weights
    present = _Present(network, X, python).run()
    left = dict(weights)
    for output, loss in criterion.losses.items():
        there, out_shape = present.get(output), fields(network.out_shape)[output]
        if there is None or there.all() or not _by_step(loss, out_shape):
            continue
        places, given = loss.places(out_shape), weights[output]
        there = there.reshape(*there.shape, *[1] * (len(places) - 1))
        given = np.ones(1) if given is None else given.reshape(*given.shape, *[1] * (len(places) + 1 - given.ndim))
        counted = np.array(np.broadcast_to(given * there, (len(there), *places)))
        if not counted.any():
            raise DataError(f"{name}: expected steps that count, got none: all are padding, or weigh 0")
        left[output] = counted
    return left


def _by_step(loss: Loss, out_shape: Shape) -> bool:
    """Whether there is a loss for each step of a sequence, the first axis of rows."""
    return loss.places(out_shape)[:1] == out_shape[:1] and not (loss.rowwise and loss.axis(out_shape) == 0)


class _Present(Sweep):
    """Which steps of the outputs are no padding, of all rows: the masks that reach them."""

    def __init__(self, network: Network, X: Any, python: bool) -> None:
        super().__init__(network, X, count_of(X), 1, None, python)
        plan, result = self._planned()
        found = {name: plan.padding(out) for name, out in fields(result).items()}
        masks = {name: item for name, item in found.items() if item is not None}
        self._there = {name: np.empty((self._rows, *mask.shape), np.uint8) for name, (mask, _) in masks.items()}
        plan.instructions = plan.instructions[: max((end for _, end in masks.values()), default=0)]
        for name, (mask, _) in masks.items():
            numbers = self._there[name].reshape(self._rows, -1)
            self._keep(plan, mask, numbers)
        self._instructions = plan.instructions
        if masks:
            self._prepare()

    def _write(self) -> list[Instruction]:
        return self._instructions

    def run(self) -> dict[str, NDArray[np.uint8]]:
        """The masks by the names of the outputs, 0 where a step is padding."""
        if self._there:
            self._run(None)
        return self._there
