"""Single passes over a model: predictions, validation, and forward and backward by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.criterion import Criterion
from nnkit.core.fields import each, fields
from nnkit.core.loss import Loss, LossArrays, RowWeights
from nnkit.core.metric import Metric
from nnkit.core.part import Shape
from nnkit.engine.critical import check
from nnkit.engine.instruction import Instruction
from nnkit.engine.lazy import weakly
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, Constant, ControlWord
from nnkit.engine.program import Program
from nnkit.engine.runner import Runner
from nnkit.engine.template import Likeness
from nnkit.engine.workers import Team, available_threads
from nnkit.kernels.control import Word
from nnkit.kernels.data import scatter
from nnkit.network import Network
from nnkit.planner import Node, Plan
from nnkit.training.data import Source, count_of, gather_targets, gathered, sources_of, targets_likeness
from nnkit.training.goals import grade

__all__ = ["BulkPredictor", "Evaluator", "Pass", "Predictor", "Sweep", "prediction_shards", "predictor_of", "rows_of"]

BLOCK = 256  # rows that one shard predicts at a time: small enough for the second-level cache
SLICE = 256  # blocks between two looks at Ctrl-C


class Predictor:
    """Forward passes over a few rows at a time, with as little Python around each as can be."""

    def __init__(self, network: Network, rows: int) -> None:
        self.rows = rows
        self.stage = each(lambda shape, dtype: _buffer(rows, shape, dtype), network.in_shape, network.input_dtype)
        self.result = each(lambda shape: _buffer(rows, shape, network.dtype), network.out_shape)
        stage, result = self.stage, self.result

        def write() -> list[Instruction]:
            plan = Plan(network.dtype, training=False, differentiate=False)
            each(plan.copy, plan.run(network.placed(), each(Array.batch, stage)), each(Array.batch, result))
            return plan.instructions

        like = Likeness.of("predict", network.likeness, arrays=[*fields(stage).values(), *fields(result).values()])
        self._runner = Runner(Program(write, network.dtype, rows=rows, like=like), rows)
        self._runner.run(0, 1)  # on no rows: leaves the runner ready for `again`
        self._again = self._runner.again
        self._count = self._runner.steps[0, 1:2]
        # Rows that have to be looked at first never fit, nor do those with fields.
        unseen = not network.looks_at_input and isinstance(self.stage, np.ndarray)
        self._dtype, self._row_shape = self.stage.dtype if unseen else None, network.in_shape
        self._set_for, self._in, self._out = 0, self.stage, self.result

    def fits(self, X: NDArray[Any]) -> bool:
        """Whether these are rows of the model's own dtype, not too many and not none."""
        return X.dtype is self._dtype and X.shape[1:] == self._row_shape and 0 < len(X) <= self.rows

    def __call__(self, X: NDArray[Any]) -> NDArray[Any]:
        """Outputs of a few rows."""
        rows = len(X)
        if rows != self._set_for:
            self._set_for = self._count[0] = rows
            self._in, self._out = self.stage[:rows], self.result[:rows]
        self._in[...] = X
        self._again()
        return self._out.copy()  # type: ignore[no-any-return]


class FieldsPredictor(Predictor):
    """The same where there are several inputs or outputs: dicts of arrays."""

    def __call__(self, X: Any) -> Any:
        rows = self._count[0] = count_of(X)
        each(lambda stage, array: np.copyto(stage[:rows], array, casting="unsafe"), self.stage, X)
        self._again()
        return each(lambda result: result[:rows].copy(), self.result)


def predictor_of(network: Network, rows: int) -> Predictor:
    """What predicts up to so many rows at a time."""
    several = isinstance(network.in_shape, dict) or isinstance(network.out_shape, dict)
    return FieldsPredictor(network, rows) if several else Predictor(network, rows)


class Sweep:
    """A forward pass over all rows of an array (or the ``chosen`` ones), read in place.

    Blocks of rows are handed to the shards in turn. Which rows make a block does not depend on the number of shards, so the
    result does not either.
    """

    def __init__(
        self, network: Network, X: Any, rows: int, shards: int, chosen: NDArray[np.int64] | None, python: bool
    ) -> None:
        self._rows, self._shards, self._chosen, self._python = rows, shards, chosen, python
        self._network, self._sources = network, sources_of(X, network.dtype)

    def _planned(self) -> tuple[Plan, Any]:
        """The pass over a block, and its outputs."""
        network = self._network
        plan = Plan(network.dtype, training=False, differentiate=False)
        x, gathering = gathered(self._sources, network.in_shape, network.input_dtype)
        plan.instructions += gathering
        return plan, plan.run(network.placed(sources=self._sources), x)

    def _keep(self, plan: Plan, array: Array, flat: NDArray[Any]) -> None:
        """Write what a block's array holds to where its rows belong, (rows, numbers)."""
        place = ControlWord(Word.STEP), ControlWord(Word.FIRST_ROW), Constant(BLOCK * self._shards, "int64")
        operands = (array.reshaped(flat.shape[1:]), *place, Array.view(flat))
        plan.instructions.append(Instruction(scatter, operands, "result", "data"))

    def _write(self) -> list[Instruction]:
        """What is done with a block."""
        raise NotImplementedError

    def _like(self, *likes: Likeness) -> Likeness:
        """What it has in common with other passes: that, and these."""
        sources = (source.likeness for source in fields(self._sources).values())
        return Likeness.of((type(self), *fields(self._sources)), self._network.likeness, *sources, *likes)

    def _prepare(self, like: Likeness | None = None) -> None:
        """Make the program."""
        rows, chosen = BLOCK * self._shards, self._chosen
        program = Program(weakly(self._write), self._network.dtype, shards=self._shards, rows=BLOCK, python=self._python,
                          like=like)  # fmt: skip
        begins = np.arange(0, self._rows, rows)
        self._runner = Runner(program, BLOCK, capacity=len(begins), workers=self._shards)
        self._order = np.arange(rows) if chosen is None else chosen
        steps = self._runner.steps
        steps[:, 0] = self._order.ctypes.data + (0 if chosen is None else 8 * begins)
        steps[:, 1] = np.minimum(rows, self._rows - begins)
        steps[:, 2] = begins if chosen is None else 0
        steps[:, 3] = np.arange(len(begins))

    def _run(self, team: Team | None) -> None:
        for first in range(0, self._runner.capacity, SLICE):
            check()
            self._runner.run(first, min(first + SLICE, self._runner.capacity), team)


class BulkPredictor(Sweep):
    """The outputs of a network for all rows of an array, written to ``out``; rows with fields are dicts of arrays."""

    def __init__(self, network: Network, X: Any, out: Any, shards: int = 1) -> None:
        super().__init__(network, X, count_of(out), shards, None, python=False)
        self._out = each(_flat, out)
        self._prepare(self._like(Likeness(tuple(fields(out)), list(fields(self._out).values()))))

    def _write(self) -> list[Instruction]:
        plan, result = self._planned()
        each(partial(self._keep, plan), result, self._out)
        return plan.instructions

    def run(self, team: Team | None = None) -> None:
        """Predict all rows."""
        self._run(team)


def prediction_shards(network: Network, rows: int, n_threads: int | None) -> int:
    """How many threads are worth their start (~0.1 ms): one for every 10 million multiplications or so."""
    work = rows * network.work()
    return max(1, min(available_threads(n_threads), -(-rows // BLOCK), work // 10_000_000))


class Evaluator(Sweep):
    """The loss of a model on data that stay the same (or the ``chosen`` rows of them), again and again.

    Parameters
    ----------
    y, sample_weight : of all rows of X
    predictions : whether outputs are kept as ``prediction``, too; else there are never more of them than those of a few blocks

    Attributes
    ----------
    y, sample_weight : of the chosen rows, by the names of the outputs
    losses : of the last run, by the names of the outputs
    prediction : the outputs of the last run
    """

    def __init__(
        self,
        network: Network,
        criterion: Criterion,
        X: Any,
        y: dict[str, NDArray[Any]],
        sample_weight: dict[str, NDArray[Any] | None],
        *,
        chosen: NDArray[np.int64] | None = None,
        shards: int = 1,
        python: bool = False,
        predictions: bool = False,
    ) -> None:
        self._criterion, live = criterion.live(network.dtype)
        criterion = self._criterion
        self.y = {name: array if chosen is None else array[chosen] for name, array in y.items()}
        self.sample_weight = {name: array if chosen is None or array is None else array[chosen]
                              for name, array in sample_weight.items()}  # fmt: skip
        self.losses: dict[str, float] = {}
        real, rows = network.dtype, count_of(self.y)
        super().__init__(network, X, rows, shards, chosen, python)
        self._kept: Any = None
        if predictions:
            self.prediction = each(lambda shape: np.empty((rows, *shape), real), network.out_shape)
            self._kept = each(_flat, self.prediction)
        out_shapes = fields(network.out_shape)
        self._targets = {name: Source(y[name]) for name in criterion.losses}
        self._weights = {name: RowWeights(loss, self.y[name], out_shapes[name], self.sample_weight[name])
                         for name, loss in criterion.losses.items()}  # fmt: skip
        self._row_losses = {name: np.empty((rows, prod(loss.places(out_shapes[name]))), real)
                            for name, loss in criterion.losses.items()}  # fmt: skip
        graded = [targets_likeness(loss, self._targets[name], out_shapes[name]) for name, loss in criterion.losses.items()]
        kept = list(fields(self._kept).values()) if predictions else []
        numbers = [number for _, number in live]
        own = Likeness((predictions, *self._targets), [*kept, *self._row_losses.values(), *numbers])
        self._prepare(self._like(own, *graded))

    def _write(self) -> list[Instruction]:
        plan, result = self._planned()
        if self._kept is not None:
            each(partial(self._keep, plan), result, self._kept)
        for name, loss in self._criterion.losses.items():
            self._grade(plan, name, loss, fields(result)[name], fields(self._network.out_shape)[name])
        return plan.instructions

    def _grade(self, plan: Plan, name: str, loss: Loss, out: Array, out_shape: Shape) -> None:
        """Compute the losses of an output, row by row; one that is kept stays as it is."""
        places = loss.places(out_shape)
        weight, row_loss = (Array.rows(places, plan.real) for _ in range(2))
        gather, targets = gather_targets(loss, self._targets[name], out_shape, plan.real)
        arrays = LossArrays(out, weight.flat(), row_loss.flat(), **targets)
        plan.instructions.append(gather)
        if self._kept is not None:
            plan.instructions += loss.row_instructions(arrays, plan.real)
        else:
            row_loss = grade(plan, loss, arrays)[0].unfolded(places)
        self._keep(plan, row_loss, self._row_losses[name])

    def run(self, team: Team | None = None) -> float:
        """Predict all rows and return the loss; of several outputs, the sum of theirs."""
        self._run(team)
        self.losses = {name: weights.total(self._row_losses[name]) for name, weights in self._weights.items()}
        return sum(self._criterion.factors[name] * loss for name, loss in self.losses.items())

    def figures(self, metrics: Mapping[str, Mapping[str, Metric]]) -> dict[str, float]:
        """What metrics of each output say of the predictions of the last run, which have to be kept."""
        found: dict[str, float] = {}
        for output, several in metrics.items():
            if not several:
                continue
            given = self.y[output], fields(self.prediction)[output], self._criterion.losses[output], self.sample_weight[output]
            found |= {f"{output}{'_' * bool(output)}{name}": float(item(*given)) for name, item in several.items()}
        return found


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(len(array), -1)


def _buffer(rows: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    return aligned_zeros(rows * prod(shape), dtype).reshape(rows, *shape)


def rows_of(program: Program, array: Array, rows: int) -> NDArray[Any]:
    """What an array of a program holds now, for so many rows of the batch; a copy where they lie in blocks."""
    held = program.array(array)
    if not array.is_blocked:
        return held
    apart: NDArray[Any] = np.moveaxis(held, -1, 1).reshape(held.shape[0] * array.lanes, *array.shape)
    return apart[: rows * array.multiple]


class Pass:
    """One forward and one backward pass of a batch, on memory of its own, one call at a time.

    Parameters
    ----------
    rows : the most rows that it has memory for
    gradient : flat vector that backward writes parameter gradients into
    learn : whether backward has to write those, or gives the gradient of the input alone
    keep : leave every intermediate result where it can be looked at
    """

    def __init__(
        self,
        network: Network,
        rows: int,
        *,
        training: bool,
        gradient: NDArray[Any],
        learn: bool = True,
        keep: bool = False,
        python: bool = False,
        poison: int = 0,
    ) -> None:
        real = network.dtype
        self.rows = rows
        self.current_rows = 0
        self.plan = plan = Plan(real, training=training, differentiate=True, learn=learn, keep=keep)
        self._x = x = each(Array.rows, network.in_shape, network.input_dtype)
        self._grad_out = each(lambda shape: Array.rows(shape, real), network.out_shape)
        self._out = plan.run(network.placed(gradient), x)
        forward = len(plan.instructions)
        self._grad_x = plan.backward(self._grad_out, to_input=real in fields(network.input_dtype).values())
        # Backward may be called again and again after one forward: all that it reads stays where it is.
        inner = [item for node in plan.nodes for item in (*node.inputs.values(), node.out, *node.named.values())]
        ends = [item for value in (x, self._out, self._grad_out, self._grad_x) for item in fields(value).values()]
        outside = [array for array in (*ends, *inner) if isinstance(array, Array) and array.storage.shared is None]
        self.program = Program(plan.instructions, real, rows=rows, python=python, poison=poison, keep=keep, outside=outside)
        self._end = forward
        self._after: dict[tuple[int, int], Runner] = {}  # some of the instructions of forward
        self._forward = Runner(self.program, rows, part=slice(0, forward))
        self._backward = Runner(self.program, rows, part=slice(forward, None))

    def nodes(self) -> list[Node]:
        """The layers with their arrays; see `array`."""
        return self.plan.nodes

    def array(self, array: Array) -> NDArray[Any]:
        """What an array of the plan holds now; a copy where rows lie in blocks."""
        return rows_of(self.program, array, self.current_rows)

    def forward(self, x: Any, step: int = 0, seed: int = 0) -> Any:
        """Output of a batch; rows with fields are dicts of arrays."""
        control, rows = self.program.controls[0], count_of(x)
        control[Word.ROWS], control[Word.SEED] = rows, seed
        self.current_rows = rows
        self._set(self._x, x)
        self._forward.order(0, rows, 0, 0, step)
        self._forward.run(0, 1)
        return self._held(self._out)

    def _set(self, arrays: Any, values: Any) -> None:
        each(lambda array, value: np.copyto(self.program.array(array), value, casting="unsafe"), arrays, values)

    def _held(self, arrays: Any) -> Any:
        """What arrays hold now; None where there is none."""
        return each(lambda array: None if array is None else self.program.array(array).copy(), arrays)

    def forward_after(self, node: Node, until: Node | None = None) -> Any:
        """Output of the batch, computed on from what the output of a node holds now (needs ``keep``); ``until`` another one."""
        seed, step = (int(self.program.controls[0, word]) for word in (Word.SEED, Word.STEP))
        part = (node.end, self._end if until is None else until.end)
        runner = self._after.get(part)
        if runner is None:
            runner = self._after[part] = Runner(self.program, self.rows, seed=seed, part=slice(*part))
        runner.order(0, self.current_rows, 0, 0, step)
        runner.run(0, 1)
        return self._held(self._out)

    def backward(self, grad_out: Any) -> Any:
        """Gradient of the input (None where it holds integers); the parameters' gradients are written."""
        self._set(self._grad_out, grad_out)
        self._backward.order(0, self.current_rows, 0, 0, int(self.program.controls[0, Word.STEP]))
        self._backward.run(0, 1)
        return self._held(self._grad_x)
