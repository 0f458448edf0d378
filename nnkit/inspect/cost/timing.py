"""Where the time of a training step goes: the clock is read between the kernels of a real fit."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.csr import CSRLayer
from nnkit.core.fields import fields
from nnkit.core.optimizer import Optimizer
from nnkit.core.part import kernel_names
from nnkit.core.trainer import Trainer
from nnkit.engine.clock import Clocks
from nnkit.engine.instruction import Instruction
from nnkit.engine.operands import Array
from nnkit.engine.program import Program
from nnkit.engine.source import described
from nnkit.engine.stub import kernel, statistics
from nnkit.errors import ParameterError
from nnkit.inspect.cost.machine import peak
from nnkit.inspect.cost.profile import REST, STAGES, KernelTime, Portion, Profile
from nnkit.inspect.pictures.table import several
from nnkit.training.data import count_of
from nnkit.training.goals import planned
from nnkit.training.steps import Steps

if TYPE_CHECKING:
    from nnkit.core.container import Model
    from nnkit.planner import Node

__all__ = ["Intervals", "profile"]

LEAST = 20  # steps that medians are taken of
MOST = 500  # of a fit: much later in training, numbers may be others (zeros, denormals), and so may times
ROUNDS = 10  # of which the fastest counts
READINGS = 1 << 22  # of the clock that are remembered: 32 MB


@dataclass(frozen=True)
class Intervals:
    """Microseconds of a step, from the readings of the clock: medians over the steps.

    Attributes
    ----------
    kernels : of every instruction, in all shards together, without the reading between
    update : from the last reading of a step to the first of the next one
    rest : what is left of a step, divided among the threads: the loop itself, meetings, waiting for others
    reading : what reading the clock takes
    steps : how many there were
    """

    kernels: NDArray[np.float64]
    update: float
    rest: float
    reading: float
    steps: int

    @classmethod
    def of(cls, times: NDArray[np.float64], after: Sequence[int], threads: int) -> Intervals:
        """From the times (shards, steps, readings), and which reading comes after each instruction; see `Clocks`."""
        shards, steps, readings = times.shape
        between = np.diff(times, axis=2)  # the last is that of two readings one after the other
        reading = float(np.median(between[:, :, -1]))
        spent = between[:, :, np.array(after) - 1].sum(axis=0) - shards * reading
        kernels = np.maximum(np.median(spent, axis=0), 0.0)
        begins, ends = times[:, :, 0].min(axis=0), times[:, :, -1].max(axis=0)
        update = max(float(np.median(begins[1:] - ends[:-1])) - reading, 0.0)
        whole = float(np.median(np.diff(begins))) - reading * readings * shards / threads
        return cls(kernels, update, max(whole - update - float(kernels.sum()) / threads, 0.0), reading, steps)


class _Run(Steps):
    """A fit of so many steps (or some more), all of whole batches, that reads the clock."""

    def __init__(self, model: Model, X: Any, y: Any, steps: int, within: bool, **options: Any) -> None:
        self._wanted, self._within, self._rows_of_batch = steps, within, options["batch_size"]
        super().__init__(
            model, X, y, epochs=1, validation_data=None, validation_split=0.0, sample_weight=None, metrics=(), callbacks=(),
            shuffle=True, progress=False, engine="compiled", **options,
        )  # fmt: skip
        self.plan_seconds = time.perf_counter() - self._begin - (statistics.seconds - self._compiling)
        if self.run().stopped == "interrupted":  # `fit` would return what there is
            raise KeyboardInterrupt
        self.python_seconds = self.history.seconds - self.plan_seconds - self.loop_seconds

    def _split(self, validation_data: tuple[Any, ...] | None, validation_split: float) -> None:
        """Take as many of the rows, from all over the data, as the steps need."""
        super()._split(validation_data, validation_split)
        rows = len(self._rows)
        batch = min(int(self._rows_of_batch), rows)
        together = min(rows // batch, self._wanted)
        self._rows = self._rows[np.arange(together * batch) * rows // (together * batch)]
        self.epochs = -(-self._wanted // together)

    def _step_program(self, shards: int, rows: int) -> Program:
        steps, network = self.epochs * self.steps_per_epoch, self.network
        self.plan, _ = plan, _ = planned(network, self._goals, self._sources, self._slabs)
        self.shards = shards
        self._remembered = max(LEAST, min(steps - steps // 10, READINGS // (2 * shards * len(plan.instructions))))
        self.clocks = Clocks(plan.instructions, shards, self._remembered, self._within)
        return Program(self.clocks.instructions, network.dtype, shards=shards, rows=rows)

    @property
    def times(self) -> NDArray[np.float64]:
        """(shards, steps, readings) in microseconds; the first steps, in which caches are filled, are forgotten."""
        return self.clocks.times(range(max(1, self.step - self._remembered), self.step))

    @property
    def step_us(self) -> float:
        """From the beginning of a step to that of the next one: the median."""
        return float(np.median(np.diff(self.times[:, :, 0].min(axis=0))))

    @property
    def threads(self) -> int:
        """How many have worked."""
        return self._workers

    def kernels(self, us: NDArray[np.float64], update_us: float) -> Iterator[KernelTime]:
        """Say of every instruction whose it is, and what its time means; the last is the optimizer's."""
        nodes = {node.name: node for node in self.plan.nodes}
        network = self.network
        layers = {network.name_of(path): f"{path} {type(built.layer).__name__}" for path, built in network.root.walk()}
        total = float(us.sum()) + update_us
        passing = "forward"
        for instruction, time_of in zip(self.plan.instructions, map(float, us), strict=True):
            stage, node = instruction.stage, nodes.get(instruction.part)
            if stage == "data":  # it gathers, or copies between the layers' kernels
                stage = "gather" if instruction.part == "data" else passing
            elif stage == "loss":
                passing = "backward"
            own = not described(instruction.function).startswith("nnkit.kernels.")  # the framework's are nobody's
            flops = self.batch_size * _flops(instruction, node)
            gflops = 1e-3 * flops / time_of if flops and time_of > 0 else None
            yield KernelTime(
                layer=layers.get(instruction.part, instruction.part if stage == "loss" and own else ""),
                kernel=stage if instruction.interpreted else instruction.function.__name__,
                stage=stage, us=time_of, share=time_of / total, gflops=gflops,
                peak=None if gflops is None else gflops / peak(self.network.dtype),
                bytes=self._bytes(instruction, stage),
                in_place=_is_in_place(instruction), code=self._code(instruction),
            )  # fmt: skip
        updater = self._updater
        arrays = [network.vector, self._slabs, *updater.states.values()]
        yield KernelTime(
            layer=type(updater.optimizer).__name__, kernel="update", stage="update", us=update_us, share=update_us / total,
            gflops=None, peak=None, bytes=sum(array.nbytes for array in arrays), in_place=True,
            code=self._code(updater.update.instructions[-1]),
        )  # fmt: skip

    def _bytes(self, instruction: Instruction, stage: str) -> int:
        """Sizes of the arrays that a kernel works on in a step, of memory that they share once; of the data only the batch."""
        program, rows = self._runner.program, count_of(self._X)
        sparse = {id(array.storage) for source in fields(self._sources).values() for array in source.arrays.values()}
        sizes: dict[tuple[int, int], float] = {}  # by where they begin
        for array in (operand for operand in instruction.operands if isinstance(operand, Array)):
            size = float(sum(program.array(array, shard).nbytes for shard in range(self.shards)))
            if (stage == "gather" and not array.batched) or id(array.storage) in sparse:  # every shard is given the whole data
                size *= self.batch_size / rows / self.shards
            place = id(array.storage), array.offset
            sizes[place] = max(size, sizes.get(place, 0.0))
        return round(sum(sizes.values()))

    def _code(self, instruction: Instruction) -> str:
        if instruction.interpreted:
            return "Python"
        made = kernel(instruction.function, instruction.operands, self.network.dtype).machine_code
        products = ["BLAS"] * made.blas + ["tiles"] * made.tiles
        loops = [f"x{made.lanes}"] if made.lanes >= 4 else [] if products else ["scalar"]
        return " ".join([*products, *loops])


def _flops(instruction: Instruction, node: Node | None) -> int:
    """Arithmetic of a kernel for a row: the layer's work once forward, and once for each kind of gradient backward.

    A kernel of its own for the gradient of the input multiplies by the parameters that it names.
    """
    if node is None or isinstance(node.built.layer, CSRLayer):  # how many numbers a sparse row has is not known
        return 0
    built, kernels = node.built, node.built.layer.kernels()
    stage = next((name for name, function in kernels.items() if function is instruction.function), "")
    sizes = {name: prod(item.shape) for name, item in built.parameters.items()}
    to_input = kernels.get("backward_x")
    named = sum(size for name, size in sizes.items() if to_input is not None and name in kernel_names(to_input))
    for_input = built.layer.work(built.in_shape, built.out_shape, named) - built.layer.work(built.in_shape, built.out_shape, 0)
    names = {name for function in kernels.values() for name in kernel_names(function)}
    gradients = (built.layer.interpreted or "grad_x" in names) + any(sizes.values())
    work = {"forward": built.work(), "backward": gradients * built.work() - for_input, "backward_x": for_input}
    return 2 * node.x.multiple * work.get(instruction.stage if instruction.interpreted else stage, 0)


def _is_in_place(instruction: Instruction) -> bool:
    """Whether two of the arrays of a batch are the same memory."""
    arrays = [operand for operand in instruction.operands if isinstance(operand, Array) and operand.batched]
    return len({id(array.storage) for array in arrays}) < len(arrays)


def profile(
    model: Model, X: Any, y: Any, *, loss: Any = None, optimizer: Any = None, batch_size: int = 64,
    n_threads: int | None = None, random_state: Any = None, seconds: float = 1.0,
) -> Profile:  # fmt: skip
    """Measure where the time of a training step goes; see `Sequential.profile`."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < np.inf:
        raise ParameterError(f"profile: expected seconds to be a positive number, got {seconds!r}")
    compiled, compiling = statistics.compiled, statistics.seconds
    last = model.last_fit
    loss, loss_weights = (last.get("loss", "mse"), last.get("loss_weights")) if loss is None else (loss, None)
    optimizer = Optimizer.make(model.last_fit.get("optimizer", "adam") if optimizer is None else optimizer, "optimizer")
    if isinstance(optimizer, Trainer):
        raise ParameterError(f"profile: expected an optimizer that goes by steps, got {optimizer!r}; pass optimizer='adam' to "
                             "see what its passes over the net are made of")  # fmt: skip

    def run(steps: float, within: bool) -> _Run:
        twin, *chosen = copy.deepcopy((model, loss, optimizer, random_state))  # every fit begins where the user's would
        given = dict(zip(("loss", "optimizer", "random_state"), chosen, strict=True))
        most = min(max(int(steps), 5), MOST)
        return _Run(twin, X, y, most, within, batch_size=batch_size, n_threads=n_threads, loss_weights=loss_weights, **given)

    run(5, True)  # compiles
    start = run(5, False)
    step = start.step_us
    rounds = max(1, min(ROUNDS, int(0.5e6 * seconds / (LEAST * step))))  # in turn: other work on the machine comes and goes
    share = 1e6 * seconds / rounds / step
    runs = [(run(0.4 * share, False), run(max(0.6 * share, 1.2 * LEAST), True)) for _ in range(rounds)]
    plain, clocked = (min(same, key=lambda item: item.step_us) for same in zip(*runs, strict=True))
    network, python = plain.network, min(item.python_seconds for item, _ in runs)

    threads = clocked.threads
    measured = Intervals.of(clocked.times, clocked.clocks.after, threads)
    kernels = list(clocked.kernels(measured.kernels, measured.update))
    on_wall = {stage: sum(item.us for item in kernels if item.stage == stage) / threads for stage in STAGES}
    on_wall |= {"update": measured.update, REST: measured.rest}
    on_wall["Python"] = 1e6 * max(python - start.python_seconds, 0.0) / plain.step
    total = sum(on_wall.values())
    parameters = sum(array.size for array in network.parameters().values())
    return Profile(
        kernels=kernels, split=[Portion(name, us_of, us_of / total) for name, us_of in on_wall.items()],
        step_us=plain.step_us, clocked_us=clocked.step_us, fit_us=plain.step_us + on_wall["Python"],
        once_ms=1e3 * (start.plan_seconds + start.python_seconds),
        reading_us=measured.reading, steps=measured.steps, batch_size=clocked.batch_size,
        shards=clocked.shards, threads=threads, dtype=network.dtype, peak_gflops=peak(network.dtype),
        compiled=statistics.compiled - compiled, compile_seconds=statistics.seconds - compiling,
        title=f"{several(len(network.leaves), 'layer')}, {several(parameters, 'parameter')}",
    )  # fmt: skip
