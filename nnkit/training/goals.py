"""What the outputs of a net should be: for each a loss, its targets, and what the rows weigh in it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.arrays import to_array
from nnkit.core.criterion import Criterion
from nnkit.core.fields import by_name, fields
from nnkit.core.loss import Loss, LossArrays
from nnkit.engine.instruction import Instruction
from nnkit.engine.operands import Array, Constant, Control, ControlWord, Order
from nnkit.engine.template import Likeness
from nnkit.kernels.control import Word
from nnkit.kernels.data import accumulate_loss, add_loss, gather_weights, silence, uniform_weights
from nnkit.network import Network
from nnkit.planner import Plan
from nnkit.training.data import Source, check_finite, check_weights, gather_targets, gathered, targets_likeness

__all__ = ["Goal", "goals_of", "grade", "planned", "targets_of", "weights_of"]


def targets_of(
    criterion: Criterion, y: Any, out_shape: Any, rows: int, who: str, name: str = "y", finite: bool = False
) -> dict[str, NDArray[Any]]:
    """Targets as arrays that fit the losses, by the names of the outputs.

    Raises
    ------
    ShapeError, DataError
        They are for other outputs, of other shapes, or out of range.
    """
    given = fields(by_name(y, tuple(out_shape) if isinstance(out_shape, dict) else (), who, name))
    targets = {}
    for output, loss in criterion.losses.items():
        label = f"{name}[{output!r}]" if output else name
        targets[output] = to_array(given[output], label)
        if finite:
            check_finite(targets[output], label)
        loss.check_target(targets[output], fields(out_shape)[output], rows, label)
    return targets


def weights_of(
    criterion: Criterion, sample_weight: Any, out_shape: Any, rows: int, name: str = "sample_weight"
) -> dict[str, NDArray[np.float64] | None]:
    """What rows weigh, by the names of the outputs; given as one array for all of them, or as a dict of arrays.

    Raises
    ------
    ShapeError, DataError
        As `check_weights` says.
    """
    weights: dict[str, NDArray[np.float64] | None] = {}
    for output, loss in criterion.losses.items():
        loss.require_one_number(f"loss[{output!r}]" if output else "fit")
        given = sample_weight.get(output) if isinstance(sample_weight, dict) else sample_weight
        label = f"{name}[{output!r}]" if isinstance(sample_weight, dict) else name
        checked = check_weights(given, rows, label, loss.places(fields(out_shape)[output]))
        weights[output] = None if checked is None else loss.usable_weights(checked, label)
    return weights


def grade(plan: Plan, loss: Loss, arrays: LossArrays) -> tuple[Array, Array | None]:
    """Compute the losses of a batch, row by row; return them, and what to go back from: the gradient, if there is one."""
    real, out = plan.real, arrays.prediction
    maker = plan.maker(out)
    sparse = maker is not None and maker.x.dtype != real  # of which the rows are looked up
    layer = None if sparse else loss.joined(None if maker is None else maker.built.layer)
    if layer is None:
        plan.instructions += loss.row_instructions(arrays, real)
        return arrays.row_loss, arrays.grad
    before, memory = loss.joined_memory(arrays, real)
    plan.instructions += before
    row_loss, places = plan.exchange(out, layer, memory).flat(), loss.places(out.shape)
    if arrays.grad is not None and (arrays.gaps or arrays.ignored is not None):
        operands = arrays.weight, row_loss, arrays.weight.unfolded(places).matrix(prod(places), 1)
        plan.instructions.append(Instruction(silence, operands, type(loss).__name__, "loss"))
    return row_loss, arrays.weight.unfolded((*places, 1))


class Goal:
    """One output in a fit: its loss, its targets, and what the rows weigh in it.

    Parameters
    ----------
    factor : what the loss weighs beside those of other outputs
    y, weights : of all rows
    out_shape : of a row of the output
    rows : those that are trained on
    """

    def __init__(
        self, loss: Loss, factor: float, y: NDArray[Any], weights: NDArray[np.float64] | None, out_shape: Any,
        rows: NDArray[np.int64],
    ) -> None:  # fmt: skip
        self._loss, self._source, self._out_shape = loss, Source(y), out_shape
        self._relative: NDArray[np.float64] | None = None  # (N, 1), or one for each place of a row
        given = None if weights is None else weights.reshape(len(y), -1)[rows]
        counts = loss.counts(y, out_shape)
        relative = loss.relative_weights(given, None if counts is None else counts[rows])
        if relative is None and factor != 1.0:
            relative = np.ones((len(rows), 1))
        if relative is not None:
            self._relative = np.zeros((len(y), relative.shape[1]))
            self._relative[rows] = factor * relative
        self._gaps = relative is not None and not relative.all()

    @property
    def likeness(self) -> Likeness:
        """What its instructions follow from."""
        targets = targets_likeness(self._loss, self._source, self._out_shape)
        return Likeness.of(self._gaps, targets, arrays=[] if self._relative is None else [self._relative])

    def gather(self, real: str) -> list[Instruction]:
        """What brings the targets and the weights of a batch."""
        places = self._loss.places(self._out_shape)
        self.weight, self.row_loss = (Array.rows(places, real).flat() for _ in range(2))
        self.grad: Array | None = Array.rows(self._out_shape, real)
        gather, self._targets = gather_targets(self._loss, self._source, self._out_shape, real)
        return [gather, self._weighing()]

    def grade(self, plan: Plan, out: Array, *, more: bool) -> None:
        """Compute the loss of a batch and its gradient; ``more``: others have been computed before, and are added to."""
        arrays = LossArrays(out, self.weight, self.row_loss, self.grad, gaps=self._gaps, **self._targets)
        row_loss, self.grad = grade(plan, self._loss, arrays)
        total = (self.weight, row_loss, Control("float64"))
        plan.instructions.append(Instruction(add_loss if more else accumulate_loss, total, type(self._loss).__name__, "loss"))

    def _weighing(self) -> Instruction:
        """How a shard's rows are weighed."""
        terms = Constant(self._loss.terms(self._out_shape), "int64")
        mean = Constant(self._loss.reduction == "mean", "bool")
        rows = ControlWord(Word.BATCH_ROWS)
        if self._relative is None:
            return Instruction(uniform_weights, (rows, terms, mean, self.weight), "data", "data")
        place = Order(), ControlWord(Word.OFFSET), ControlWord(Word.FIRST_ROW), rows
        per_row = Constant(prod(self._loss.places(self._out_shape)), "int64")
        operands = (Array.view(self._relative, written=False), *place, per_row, terms, mean, self.weight)
        return Instruction(gather_weights, operands, "data", "data")


def goals_of(
    network: Network, criterion: Criterion, y: dict[str, NDArray[Any]], weights: dict[str, NDArray[np.float64] | None],
    rows: NDArray[np.int64],
) -> dict[str, Goal]:  # fmt: skip
    """What the outputs of a net should be, by their names; ``rows``: those that are trained on."""
    return {name: Goal(loss, criterion.factors[name], y[name], weights[name], fields(network.out_shape)[name], rows)
            for name, loss in criterion.losses.items()}  # fmt: skip


def planned(
    network: Network, goals: dict[str, Goal], sources: Any, slabs: NDArray[Any], *, training: bool = True
) -> tuple[Plan, int]:
    """A pass over a batch: data, forward, losses, and backward into ``slabs``, a row for each shard.

    Returns
    -------
    The plan, and where backward begins among its instructions.
    """
    real = network.dtype
    plan = Plan(real, training=training, differentiate=True, shards=len(slabs))
    x, gathering = gathered(sources, network.in_shape, network.input_dtype)
    plan.instructions += [*gathering, *(item for goal in goals.values() for item in goal.gather(real))]
    outs = fields(plan.run(network.placed(slabs, sources), x))
    for place, (name, goal) in enumerate(goals.items()):
        goal.grade(plan, outs[name], more=place > 0)
    graded = len(plan.instructions)
    plan.backward({name: goal.grad for name, goal in goals.items()}, guard=True)
    return plan, graded
