"""A layer at work for its checks: alone, between neighbours, a pass at a time or trained in shards.

A state that forward changes is put back before each forward pass: what a pass gives depends on no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape, kernel_names
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, Storage
from nnkit.engine.program import Program
from nnkit.engine.runner import Runner
from nnkit.engine.workers import Team
from nnkit.model import Sequential
from nnkit.network import network_of
from nnkit.passes import Pass
from nnkit.planner import Plan
from nnkit.testing.inputs import draw
from nnkit.testing.part import ROWS, SEED, Arrays

__all__ = ["Batch", "Bench", "Training", "gradient_of", "is_padded", "kernel_of", "parameter_gradients"]

SETTLING = 3  # passes in training before the checks: states as they begin, often zeros, hide what is wrong


class _Neighbour(Activation):
    """Gives x on, in place; its backward reads out, which must still be there by then."""

    @staticmethod
    def forward(x):
        return x

    @staticmethod
    def backward(grad_out, out):
        return grad_out * out


def is_padded(row, step):
    """Which steps are padding behind `_Padding`: others in each row, and all of the third one."""
    return (row == 2) | ((row + step) % 3 == 1)


class _Padding(Layer):
    """Gives x on, and says which of its steps are padding."""

    inplace = passes_mask = True

    def build(self, in_shape: Shape) -> Shape:
        self.scratch("mask", in_shape[:1], dtype="uint8")
        return in_shape

    @staticmethod
    def forward(x, mask, out):
        for n in range(x.shape[0]):
            for t in range(x.shape[1]):
                mask[n, t] = 0 if is_padded(n, t) else 1
        out[:] = x

    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = grad_out


class Bench:
    """A layer in a model, alone, behind padding or between neighbours, with a batch of inputs and a gradient of the output.

    Attributes
    ----------
    states : the arrays that training may change, by name: live
    before : what they hold before each pass
    still : names of those that training has left as they were
    """

    def __init__(
        self, example: Example, dtype: str = "float64", rows: int = ROWS, *, neighbours: bool = False, padded: bool = False
    ) -> None:
        self.part = example.part
        self._example = example
        random = np.random.default_rng(SEED)
        before = [_Padding()] if padded else [_Neighbour()] if neighbours and self.part.input_dtype == "real" else []
        after = [_Neighbour()] if neighbours else []
        self.model = Sequential([*before, self.part, *after]).build(example.in_shape, SEED, dtype)
        self.network = network_of(self.model, "check_layer")
        for array in self.model.parameters().values():  # also those that begin as zeros
            array[...] += random.uniform(-0.5, 0.5, array.shape)
        self.x = self._draw(random, rows)
        self.grad_out = random.uniform(-1.0, 1.0, (rows, *self.model.out_shape)).astype(dtype)
        live = self.network.states()
        self.states = {own_name(f"{path}.{name}"): live[f"{path}.{name}"] for path, home in self.network.homes()
                       for name, state in home.states.items() if not state.fixed}  # fmt: skip
        begin = self.held()
        self._settle(random, rows)
        self.before = self.held()
        self.still = [name for name, state in self.before.items() if np.array_equal(state, begin[name])]

    def _draw(self, random: np.random.Generator, rows: int) -> NDArray[Any]:
        example, shape = self._example, (rows, *self._example.in_shape)
        if self.network.input_dtype == "int64":
            return random.integers(int(example.low), int(example.high), shape)
        return draw(random, shape, example.low, example.high, example.kinks).astype(self.network.dtype)

    def _settle(self, random: np.random.Generator, rows: int) -> None:
        """Leave the states as some batches make them."""
        if self.states:
            work = Pass(self.network, rows, training=True, gradient=self.network.gradient, python=True)
            for _ in range(SETTLING):
                work.forward(self._draw(random, rows), seed=SEED)

    def held(self) -> Arrays:
        """What the states hold now."""
        return {name: state.copy() for name, state in self.states.items()}

    def put_back(self, held: Arrays) -> None:
        """Let the states hold this again."""
        for name, state in self.states.items():
            state[...] = held[name]

    def constants(self) -> Arrays:
        """The parameters, and the states of fixed numbers: what no kernel may write to."""
        states = {name: state for name, state in map(_named, self.network.states().items()) if name not in self.states}
        return {**dict(map(_named, self.model.parameters().items())), **states}

    def names(self, name: str) -> bool:
        """Whether a kernel of the layer names this."""
        return any(name in kernel_names(kernel) for kernel in self.part.kernels().values())

    @property
    def asks_for_padding(self) -> bool:
        """Whether a kernel reads which steps are padding, and does not say so itself."""
        return self.network.input_dtype == self.network.dtype and any(
            "mask" in kernel_names(kernel) and "mask" not in built.scratch
            for built in self.network.leaves for kernel in built.layer.kernels().values()
        )  # fmt: skip

    def run(self, rows: slice = slice(None), seed: int = SEED, **options: Any) -> Arrays:
        """Everything that a forward and a backward pass of these rows give."""
        batch = Batch(self, rows=len(self.x[rows]), **options)
        out = batch.forward(self.x[rows], seed)
        return batch.given(out, batch.backward(self.grad_out[rows]))


class Batch:
    """A pass on memory of its own, which writes its parameter gradients over NaN."""

    def __init__(self, bench: Bench, rows: int = ROWS, training: bool = True, python: bool = True, **options: Any) -> None:
        network = bench.network
        self._bench, self._training = bench, training
        self._after = bench.before  # the states as forward has left them
        self.vector = aligned_zeros(network.gradient.size, network.dtype)
        self.vector[:] = np.nan
        self.work = Pass(network, rows, training=training, gradient=self.vector, python=python, **options)
        self.parameters = parameter_gradients(self.work.plan)

    def forward(self, x: NDArray[Any], seed: int = SEED, states: Arrays | None = None) -> NDArray[Any]:
        """The output; the states hold what they do before each pass, or these ``states``."""
        self._bench.put_back(self._bench.before if states is None else states)
        out: NDArray[Any] = self.work.forward(x, seed=seed)
        self._after = self._bench.held()
        return out

    def backward(self, grad_out: NDArray[Any]) -> Arrays:
        """The gradients; other passes may have changed the states meanwhile."""
        self._bench.put_back(self._after)
        grad_x = self.work.backward(grad_out)
        given = {name: self.work.array(operand).copy() for name, operand in self.parameters.items()}
        return given if grad_x is None else {"grad_x": grad_x, **given}

    def given(self, out: NDArray[Any], gradients: Arrays) -> Arrays:
        """All that it has given, with the states that it has changed, if it trains."""
        return {"out": out, **gradients, **(self._after if self._training else {})}


class Training:
    """Forward and backward in one go as in `fit`: memory is used again as soon as it is free, the batch is cut in shards."""

    def __init__(self, bench: Bench, shards: int = 1, workers: int = 1) -> None:
        network, rows = bench.network, len(bench.x) // shards
        real = network.dtype
        self._bench = bench
        self.slabs = aligned_zeros(shards * network.vector.size, real).reshape(shards, -1)
        self.slabs[:] = np.nan
        self.result = {"out": np.empty_like(bench.grad_out)}

        def cut(array: NDArray[Any]) -> Array:
            return Array(Storage(shared=array), array.shape[1:], array.dtype.name, batched=True, stride=rows * array[0].nbytes)

        self.plan = Plan(real, training=True, differentiate=True, shards=shards)
        x, grad_out = Array.rows(network.in_shape, network.input_dtype), Array.rows(network.out_shape, real)
        self.plan.copy(cut(bench.x), x)
        self.plan.copy(self.plan.run(network.placed(self.slabs), x), cut(self.result["out"]))
        self.plan.copy(cut(bench.grad_out), grad_out)
        grad_x = self.plan.backward(grad_out, to_input=network.input_dtype == real)
        if grad_x is not None:
            self.result["grad_x"] = np.empty_like(bench.x)
            self.plan.copy(grad_x, cut(self.result["grad_x"]))
        self.program = Program(self.plan.instructions, real, shards=shards, rows=rows, poison=255)
        self.runner = Runner(self.program, rows, seed=SEED, workers=workers)
        self.runner.order(0, len(bench.x), 0, 0, 0)

    def run(self, team: Team | None = None) -> Arrays:
        """One step: output, gradients (those of the parameters summed over the shards), and the states after it."""
        self._bench.put_back(self._bench.before)
        self.runner.run(0, 1, team)
        gradients = {
            name: np.sum([self.program.array(operand, shard) for shard in range(self.program.shards)], axis=0)
            for name, operand in parameter_gradients(self.plan).items()
        }
        return {**{name: array.copy() for name, array in self.result.items()}, **gradients, **self._bench.held()}


def parameter_gradients(plan: Plan) -> dict[str, Array]:
    """Where backward writes the gradient of each parameter."""
    operands = {gradient_of(f"{node.home}.{name}"): node.named[f"grad_{name}"]
                for node in plan.nodes for name in node.built.parameters}  # fmt: skip
    return {name: operand for name, operand in operands.items() if isinstance(operand, Array) and 0 not in operand.shape}


def own_name(name: str) -> str:
    """What the checks call an array: without the place of the checked layer."""
    return name.partition(".")[2]


def _named(item: tuple[str, NDArray[Any]]) -> tuple[str, NDArray[Any]]:
    return own_name(item[0]), item[1]


def gradient_of(parameter: str) -> str:
    """What the checks call the gradient of a parameter."""
    return f"grad_{own_name(parameter)}"


def kernel_of(array: str) -> str:
    """Which kernel writes an array."""
    return "backward" if array.startswith("grad_") else "forward"
