"""What the kernels of a loss work on: a batch of predictions and targets, seen as rows of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from nnkit.core.part import Shape
from nnkit.engine.operands import Array, Constant
from nnkit.engine.program import Instruction
from nnkit.kernels.data import drop_ignored, silence, swap_axes

__all__ = ["LossArrays"]


@dataclass(frozen=True)
class LossArrays:
    """A batch as a model and a user have it; targets are numbers, or class labels.

    Of weights, losses and labels there is one for each place of a row: what is left of its axes without those of what one
    loss is of.
    """

    prediction: Array
    weight: Array  # flat
    row_loss: Array  # flat
    grad: Array | None = None  # None where only the loss is wanted
    target: Array | None = None  # numbers,
    label: Array | None = None  # or class labels, flat int64
    ignored: int | None = None  # a label that does not count, where there is one among them
    gaps: bool = False  # whether other places weigh nothing, too

    def rows(self, places: Shape, axis: int, part: str) -> tuple[list[Instruction], LossArrays, list[Instruction]]:
        """Seen as one row for each place, in which the numbers along ``axis`` come one after the other.

        Returns
        -------
        before : what has to be done before the kernel of the loss
        rows : what that works on
        after : what has to be done after it
        """
        before: list[Instruction] = []
        after: list[Instruction] = []
        seen = {"prediction": self.prediction, "target": self.target, "grad": self.grad}
        if axis < len(self.prediction.shape) - 1:
            for name, array in seen.items():
                if array is not None and array.shape == self.prediction.shape:
                    seen[name], views = _turned(array, axis)
                    turns, views = (after, views[::-1]) if name == "grad" else (before, views)
                    turns.append(Instruction(swap_axes, views, part, "loss"))
        rows: dict[str, Any] = {name: array and array.folded_after(len(places)) for name, array in seen.items()}
        if self.ignored is not None and self.label is not None:
            operands = Constant(self.ignored, "int64"), self.label, self.weight
            before.append(Instruction(drop_ignored, operands, part, "loss"))
        grad = seen["grad"]
        if grad is not None and (self.gaps or self.ignored is not None):
            flat = grad.matrix(prod(places), prod(grad.shape[len(places) :]))
            after.insert(0, Instruction(silence, (self.weight, self.row_loss, flat), part, "loss"))
        return before, replace(self, **rows), after


def _turned(array: Array, axis: int) -> tuple[Array, tuple[Array, Array]]:
    """New memory for the same numbers with ``axis`` last; and both arrays as `swap_axes` takes them."""
    shape = array.shape
    outer, width, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    turned = Array.rows((*shape[:axis], *shape[axis + 1 :], width), array.dtype)
    return turned, (
        array.reshaped((outer, width, inner)).folded_after(1),
        turned.reshaped((outer, inner, width)).folded_after(1),
    )
