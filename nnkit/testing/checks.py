"""The contract of every kind of part, one property to a function; each raises `CheckError` where it is broken.

A property takes an `Example`: a part, and inputs that are legal for it. ``LAYER_CHECKS``, ``ACTIVATION_CHECKS``,
``LOSS_CHECKS`` and ``OPTIMIZER_CHECKS`` list the properties of a kind.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.layer import Layer
from nnkit.core.loss import BoundLoss, Loss
from nnkit.core.optimizer import Optimizer, Updater
from nnkit.core.part import Example, Shape
from nnkit.engine.operands import Array
from nnkit.engine.program import Program, aligned_zeros
from nnkit.engine.stub import described
from nnkit.model import Sequential
from nnkit.passes import Pass
from nnkit.testing.compare import require, require_close, require_equal, require_finite
from nnkit.testing.gradcheck import central_differences, draw, keep_away

__all__ = [
    "ACTIVATION_CHECKS",
    "LAYER_CHECKS",
    "LOSS_CHECKS",
    "OPTIMIZER_CHECKS",
    "check_activation",
    "check_layer",
    "check_loss",
    "check_optimizer",
]

Check = Callable[[Example], None]
Arrays = dict[str, NDArray[Any]]

ROWS = 4
SEED = 1847
# Compiled against uncompiled: the float32 functions of nnkit.kernels.math are within 6e-7 of the exact ones.
AGREEMENT = {"float32": 1e-5, "float64": 1e-12}
DIFFERENCES = 1e-6  # derivative against central differences, whose own error is about 1e-10 times the curvature
ROUNDING = 1e-12  # float64 sums in another order


def _repr_can_be_typed_back_in(part: Any) -> None:
    import nnkit

    names = {**vars(np), **vars(nnkit), type(part).__name__: type(part)}
    again = eval(repr(part), names)
    require(repr(again) == repr(part), part, f"the repr makes another part, {again!r}")
    rebuilt = type(part)(**part.hyperparameters())
    require(repr(rebuilt) == repr(part), part, f"the hyper-parameters make another part, {rebuilt!r}")


def _machine_code_stays_in_float32(part: Any, program: Program, stages: Sequence[str]) -> None:
    for index, instruction in enumerate(program.instructions):
        framework = described(instruction.function).startswith("nnkit.kernels.")  # adds losses up in float64, on purpose
        if instruction.stage not in stages or instruction.interpreted or framework:
            continue
        code = program.kernel(index).inspect()
        name = instruction.function.__name__
        allocates = re.search(r"@NRT_(Allocate|MemInfo_alloc)\w*", code)
        require(allocates is None, part, f"{name} allocates memory; write into out and declared scratch arrays instead")
        wide = re.search(r"\bdouble\b|\bfpext\b", code)
        require(wide is None, part, f"{name} for float32 computes in float64; a constant or a NumPy call widens it")


# ---------------------------------------------------------------------------------------------------------- layers


class _Bench:
    """A layer alone in a model, with a batch of inputs and a gradient of the output."""

    def __init__(self, example: Example, dtype: str = "float64", rows: int = ROWS) -> None:
        self.part = example.part
        random = np.random.default_rng(SEED)
        self.model = Sequential([self.part]).build(example.in_shape, SEED, dtype)
        for array in self.model.parameters().values():  # also those that begin as zeros
            array[...] += random.uniform(-0.5, 0.5, array.shape)
        shape = (rows, *example.in_shape)
        if self.model.input_dtype == "int64":
            self.x: NDArray[Any] = random.integers(int(example.low), int(example.high), shape)
        else:
            self.x = draw(random, shape, example.low, example.high, example.kinks).astype(dtype)
        self.grad_out = random.uniform(-1.0, 1.0, (rows, *self.model.out_shape)).astype(dtype)

    def run(self, rows: slice = slice(None), **options: Any) -> Arrays:
        """Everything that a forward and a backward pass of these rows give."""
        batch = _Batch(self, rows=len(self.x[rows]), **options)
        return {"out": batch.forward(self.x[rows]), **batch.backward(self.grad_out[rows])}


class _Batch:
    """A pass on memory of its own, which writes its parameter gradients over NaN."""

    def __init__(self, bench: _Bench, rows: int = ROWS, training: bool = True, **options: Any) -> None:
        self.model = bench.model
        self.vector = aligned_zeros(self.model.gradient.size, self.model.dtype)
        self.vector[:] = np.nan
        self.work = Pass(self.model, rows, training=training, gradient=self.vector, **options)
        self.parameters: dict[str, Array] = {}
        for _, built, arrays in self.model.placed(self.vector):
            for name, declared in built.parameters.items():
                operand = arrays[f"grad_{name}"]
                if prod(declared.shape) and isinstance(operand, Array):
                    self.parameters[f"grad_{name}"] = operand

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        return self.work.forward(x, seed=SEED)

    def backward(self, grad_out: NDArray[Any]) -> Arrays:
        grad_x = self.work.backward(grad_out)
        given = {name: self.work.array(operand).copy() for name, operand in self.parameters.items()}
        return given if grad_x is None else {"grad_x": grad_x, **given}


def _kernel_of(array: str) -> str:
    return "forward" if array == "out" else "backward"


def _require_same(part: Any, got: Arrays, expected: Arrays, rtol: float) -> None:
    for name, array in expected.items():
        require_close(part, _kernel_of(name), name, got[name], array, rtol, 0.0 if rtol == 0.0 else None)


def gradients_are_the_derivatives(example: Example) -> None:
    """Of the input and of every parameter, in float64, against central differences of sum(out * grad_out)."""
    bench = _Bench(example)
    batch = _Batch(bench)

    def value() -> float:
        return float((batch.forward(bench.x) * bench.grad_out).sum())

    value()
    given = batch.backward(bench.grad_out)
    inputs = {"grad_x": bench.x} if "grad_x" in given else {}
    parameters = {f"grad_{name.partition('.')[2]}": array for name, array in bench.model.parameters().items()}
    for name, array in {**inputs, **parameters}.items():
        require_close(bench.part, "backward", name, given[name], central_differences(value, array), DIFFERENCES)


def compiled_equals_uncompiled(example: Example) -> None:
    """In both dtypes, in training and out of it."""
    for dtype, rtol in AGREEMENT.items():
        bench = _Bench(example, dtype)
        for training in (True, False):
            _require_same(bench.part, bench.run(training=training), bench.run(training=training, python=True), rtol)


def float32_stays_float32(example: Example) -> None:
    """No float64 arithmetic and no allocation in the machine code of float32 kernels."""
    bench = _Bench(example, "float32")
    for name, array in bench.run().items():
        require(array.dtype == np.float32, bench.part, f"{name} is {array.dtype}, expected float32")
    program = _Batch(bench).work.program
    _machine_code_stays_in_float32(bench.part, program, ("forward", "backward"))


def inputs_stay_as_they_are(example: Example) -> None:
    """Neither pass writes to x, to the parameters, or backward to out and grad_out."""
    bench = _Bench(example)
    batch = _Batch(bench, keep=True)
    parameters = bench.model.vector.copy()
    out = batch.forward(bench.x)
    (node,) = batch.work.nodes()
    require_equal(bench.part, "forward", "x", batch.work.array(node.x), bench.x)
    batch.backward(bench.grad_out)
    if node.built.layer.kernels():
        assert node.grad_out is not None
        kept = (("x", node.x, bench.x), ("out", node.out, out), ("grad_out", node.grad_out, bench.grad_out))
        for name, array, before in kept:
            require_equal(bench.part, "backward", name, batch.work.array(array), before)
    require_equal(bench.part, "backward", "parameter vector", bench.model.vector, parameters)


def nothing_unwritten_is_read(example: Example) -> None:
    """Memory that holds NaN before gives the same finite numbers as memory of zeros, working in place or not."""
    bench = _Bench(example)
    clean = bench.run(keep=True)
    for name, array in clean.items():
        require_finite(bench.part, _kernel_of(name), name, array)
    for keep in (False, True):
        _require_same(bench.part, bench.run(keep=keep, poison=255), clean, 0.0)


def only_these_rows_are_written(example: Example) -> None:
    """A ragged batch gives what a full batch of its size gives, and leaves the rows beyond and other gradients alone."""
    bench = _Bench(example, rows=3)
    batch = _Batch(bench, rows=8, keep=True, poison=255)
    got = {"out": batch.forward(bench.x), **batch.backward(bench.grad_out)}
    _require_same(bench.part, got, bench.run(keep=True), ROUNDING)
    (node,) = batch.work.nodes()
    scratch = {name: operand for name, operand in node.named.items() if isinstance(operand, Array)}
    for name, array in {"out": node.out, "grad_x": node.grad_x, **scratch}.items():
        if array is None or not array.batched or array.storage.shared is not None:
            continue
        start, row = array.storage.offset, array.storage.row_bytes
        beyond = batch.work.program.memory[0, start + 3 * row : start + 8 * row]
        require(bool((beyond == 255).all()), bench.part, f"{_kernel_of(name)} writes to {name} beyond the rows of the batch")
    for operand in batch.parameters.values():
        batch.work.array(operand)[...] = np.nan
    require(bool(np.isnan(batch.vector).all()), bench.part, "backward writes beyond its parameters' gradients")


def batch_equals_rows(example: Example) -> None:
    """A row's results do not depend on the others (unless ``mixes_rows``); parameter gradients are their sum."""
    bench = _Bench(example)
    if bench.part.mixes_rows:
        return
    whole = bench.run(training=False)
    rows = [bench.run(slice(n, n + 1), training=False) for n in range(ROWS)]
    joined = {}
    for name in whole:
        parts = [row[name] for row in rows]
        joined[name] = np.concatenate(parts) if name in ("out", "grad_x") else np.sum(parts, axis=0)
    _require_same(bench.part, whole, joined, ROUNDING)


def passes_do_not_disturb_each_other(example: Example) -> None:
    """Two forward passes, then their two backward passes: nothing is kept outside of a pass."""
    bench = _Bench(example)
    forwards, backwards = slice(None), slice(None, None, -1)
    first, second = _Batch(bench), _Batch(bench)
    outs = [first.forward(bench.x[forwards]), second.forward(bench.x[backwards])]
    grads = [first.backward(bench.grad_out[forwards]), second.backward(bench.grad_out[backwards])]
    for out, grad, rows in zip(outs, grads, (forwards, backwards), strict=True):
        _require_same(bench.part, {"out": out, **grad}, bench.run(rows), 0.0)


def repr_can_be_typed_back_in(example: Example) -> None:
    """``eval(repr(part))`` and ``type(part)(**part.hyperparameters())`` are the part again."""
    _repr_can_be_typed_back_in(example.part)


LAYER_CHECKS: tuple[Check, ...] = (
    gradients_are_the_derivatives,
    compiled_equals_uncompiled,
    float32_stays_float32,
    inputs_stay_as_they_are,
    nothing_unwritten_is_read,
    only_these_rows_are_written,
    batch_equals_rows,
    passes_do_not_disturb_each_other,
    repr_can_be_typed_back_in,
)


def check_layer(
    layer: Layer, in_shape: Shape = (5,), low: float = -3.0, high: float = 3.0, kinks: Sequence[float] = ()
) -> None:
    """Check everything that a layer promises: its gradients, its dtype, what it reads and writes.

    Parameters
    ----------
    layer : the layer, ready to use
    in_shape : shape of one input row
    low, high : range that inputs are drawn from
    kinks : inputs where there is no derivative

    Raises
    ------
    CheckError
        Says which kernel wrote which array wrong, where, and what was expected.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_layer
    >>> check_layer(nn.Linear(3), in_shape=(4,))
    """
    _check_all(LAYER_CHECKS, Example(layer, tuple(in_shape), low, high, tuple(kinks)))


def _check_all(checks: Sequence[Check], example: Example) -> None:
    for check in checks:
        check(example)


# ----------------------------------------------------------------------------------------------------- activations


def nan_stays_nan(example: Example) -> None:
    """Otherwise a broken net would look well."""
    for dtype in AGREEMENT:
        bench = _Bench(example, dtype)
        bench.x[...] = np.nan
        out = _Batch(bench).forward(bench.x)
        require(bool(np.isnan(out).all()), bench.part, f"forward makes numbers of NaN in {dtype}")


def large_inputs_stay_finite(example: Example) -> None:
    """At -10000 and 10000 neither the output nor the gradient of the input overflows."""
    for dtype in AGREEMENT:
        bench = _Bench(example, dtype)
        bench.x[...] = np.where(np.arange(bench.x.size).reshape(bench.x.shape) % 2, 1e4, -1e4)
        for name, array in bench.run().items():
            require_finite(bench.part, _kernel_of(name), name, array)


ACTIVATION_CHECKS: tuple[Check, ...] = (*LAYER_CHECKS, nan_stays_nan, large_inputs_stay_finite)


def check_activation(activation: Activation, in_shape: Shape = (3, 4)) -> None:
    """Check everything that an activation promises: what `check_layer` checks, and NaN and large inputs.

    The range of inputs and the kinks are the activation's own ``low``, ``high`` and ``kinks``.

    Raises
    ------
    CheckError
        Says which kernel wrote which array wrong, where, and what was expected.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_activation
    >>> check_activation(nn.Tanh())
    """
    kind = type(activation)
    _check_all(ACTIVATION_CHECKS, Example(activation, tuple(in_shape), kind.low, kind.high, kind.kinks))


# ---------------------------------------------------------------------------------------------------------- losses


class _Case:
    """A loss with predictions, targets and weights for some rows."""

    def __init__(self, example: Example, dtype: str = "float64", rows: int = ROWS, reduction: str = "mean") -> None:
        self.loss: Loss = copy.copy(example.part)
        self.loss.reduction = reduction
        random = np.random.default_rng(SEED)
        shape = (rows, *example.in_shape)
        self.target = self.loss.example_target(random, rows, example.in_shape)
        self.prediction = random.uniform(example.low, example.high, shape)
        if self.target.shape == shape:  # the kinks are of their difference
            self.prediction = keep_away(self.prediction - self.target, example.kinks) + self.target
        self.prediction = self.prediction.astype(dtype)
        self.weight = random.integers(1, 4, rows).astype(np.float64)

    def run(self, python: bool = False) -> Arrays:
        """The weighted loss and its gradient."""
        grad = np.full_like(self.prediction, np.nan)
        bound = BoundLoss(self.loss, self.prediction, self.target, self.weight, grad, python)
        return {"loss": np.array(bound.value()), "grad_prediction": grad}

    def without_gradient(self, python: bool = False) -> Arrays:
        """The weighted loss by the kernel that computes nothing else."""
        return {"loss": np.array(BoundLoss(self.loss, self.prediction, self.target, self.weight, None, python).value())}


def _cases(example: Example, dtype: str = "float64", rows: int = ROWS) -> list[_Case]:
    return [_Case(example, dtype, rows, reduction) for reduction in ("mean", "sum")]


def _require_same_loss(case: _Case, got: Arrays, expected: Arrays, rtol: float) -> None:
    for name, array in expected.items():
        kernel = "forward" if name == "loss" else "backward"
        require_close(case.loss, kernel, name, got[name], array, rtol, 0.0 if rtol == 0.0 else None)


def loss_gradient_is_the_derivative(example: Example) -> None:
    """Of the loss that is reported, weights and reduction included, in float64 against central differences."""
    for case in _cases(example):
        given = case.run()["grad_prediction"]
        value = BoundLoss(case.loss, case.prediction, case.target, case.weight).value
        expected = central_differences(value, case.prediction)
        require_close(case.loss, "backward", "grad_prediction", given, expected, DIFFERENCES)


def weights_equal_repetition(example: Example) -> None:
    """A row of weight 3 counts as much as the same row three times."""
    for case in _cases(example):
        times = case.weight.astype(int)
        given = case.run()
        repeated = copy.copy(case)
        repeated.prediction, repeated.target = case.prediction.repeat(times, axis=0), case.target.repeat(times, axis=0)
        repeated.weight = np.ones(times.sum())
        expected = repeated.run()
        expected["grad_prediction"] = np.add.reduceat(expected["grad_prediction"], np.cumsum(times) - times)
        _require_same_loss(case, given, expected, ROUNDING)


def weightless_rows_do_not_matter(example: Example) -> None:
    """The loss is that of the other rows, and their own gradient is 0."""
    for case in _cases(example):
        case.weight[0] = 0.0
        given = case.run()
        require_equal(case.loss, "backward", "grad_prediction", given["grad_prediction"][0], np.zeros_like(case.prediction[0]))
        rest = copy.copy(case)
        rest.prediction, rest.target, rest.weight = case.prediction[1:], case.target[1:], case.weight[1:]
        expected = rest.run()
        given["grad_prediction"] = given["grad_prediction"][1:]
        _require_same_loss(case, given, expected, ROUNDING)


def labels_equal_probabilities(example: Example) -> None:
    """Where targets are classes: an integer label is the same as a probability of 1 for it."""
    for case in _cases(example):
        if not case.loss.classes:
            continue
        given = case.run()
        spelt = copy.copy(case)
        spelt.target = np.eye(example.in_shape[-1])[case.target]
        _require_same_loss(case, given, spelt.run(), 0.0)


def loss_compiled_equals_uncompiled(example: Example) -> None:
    """In both dtypes, with the gradient and without."""
    for dtype, rtol in AGREEMENT.items():
        for case in _cases(example, dtype):
            uncompiled = case.run(python=True)
            _require_same_loss(case, case.run(), uncompiled, rtol)
            _require_same_loss(case, case.without_gradient(), {"loss": uncompiled["loss"]}, rtol)


def loss_float32_stays_float32(example: Example) -> None:
    """No float64 arithmetic and no allocation in the machine code of the float32 kernel."""
    case = _Case(example, "float32")
    grad = np.empty_like(case.prediction)
    program = BoundLoss(case.loss, case.prediction, case.target, case.weight, grad).program
    _machine_code_stays_in_float32(case.loss, program, ("loss",))


def batch_of_one_is_a_row(example: Example) -> None:
    """The loss of one row alone, with whatever weight, is that row's in a batch: nothing divides by rows - 1."""
    for case in _cases(example):
        total, gradients = 0.0, []
        share = case.weight / case.weight.sum() if case.loss.reduction == "mean" else np.ones(ROWS)
        for n in range(ROWS):
            row = copy.copy(case)
            row.prediction, row.target, row.weight = case.prediction[n : n + 1], case.target[n : n + 1], case.weight[n : n + 1]
            given = row.run()
            total += share[n] * float(given["loss"])
            gradients.append(share[n] * given["grad_prediction"])
        joined = {"loss": np.array(total), "grad_prediction": np.concatenate(gradients)}
        _require_same_loss(case, case.run(), joined, ROUNDING)


LOSS_CHECKS: tuple[Check, ...] = (
    loss_gradient_is_the_derivative,
    weights_equal_repetition,
    weightless_rows_do_not_matter,
    labels_equal_probabilities,
    loss_compiled_equals_uncompiled,
    loss_float32_stays_float32,
    batch_of_one_is_a_row,
    repr_can_be_typed_back_in,
)


def check_loss(loss: Loss, in_shape: Shape = (4,)) -> None:
    """Check everything that a loss promises: its gradient, its reductions and weights, its dtype.

    Parameters
    ----------
    loss : the loss, ready to use
    in_shape : shape of one row of predictions

    Raises
    ------
    CheckError
        Says which kernel gave what wrong, where, and what was expected.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_loss
    >>> check_loss(nn.MSELoss())
    """
    kind = type(loss)
    _check_all(LOSS_CHECKS, Example(loss, tuple(in_shape), kind.prediction_low, kind.prediction_high, kind.kinks))


# ------------------------------------------------------------------------------------------------------ optimizers


class _Descent:
    """An optimizer at work on a vector, of which the last quarter is padding: zeros that never have a gradient."""

    def __init__(self, optimizer: Optimizer, dtype: str, chunk: int = 64, size: int = 128, python: bool = False) -> None:
        self.used = size * 3 // 4
        self.value, self.grad = aligned_zeros(size, dtype), aligned_zeros(size, dtype)
        self.value[: self.used] = np.random.default_rng(SEED).uniform(-1.0, 1.0, self.used)
        self.updater = Updater(optimizer, self.value, self.grad[None], chunk=chunk, python=python)

    def step(self, grad: NDArray[Any]) -> None:
        """Update the parameters by this gradient."""
        self.grad[: self.used] = grad
        self.updater.step()

    def walk(self, steps: int = 5) -> NDArray[Any]:
        """Parameters after some steps by random gradients."""
        random = np.random.default_rng(SEED + 1)
        for _ in range(steps):
            self.step(random.uniform(-1.0, 1.0, self.used))
        return self.value.copy()


def update_compiled_equals_uncompiled(example: Example) -> None:
    """In both dtypes, after several steps."""
    for dtype, rtol in AGREEMENT.items():
        expected = _Descent(example.part, dtype, python=True).walk()
        require_close(example.part, "update", "value", _Descent(example.part, dtype).walk(), expected, rtol)


def update_descends(example: Example) -> None:
    """300 steps with a rate of 0.1 bring sum(curvature * (value - goal)**2) below a fiftieth of what it was."""
    optimizer = copy.copy(example.part)
    optimizer.lr, optimizer.weight_decay, optimizer.clip_norm = 0.1, 0.0, None
    descent = _Descent(optimizer, "float64")
    random = np.random.default_rng(SEED + 2)
    curvature, goal = random.uniform(0.5, 2.0, descent.used), random.uniform(-1.0, 1.0, descent.used)

    def loss() -> float:
        return float((curvature * (descent.value[: descent.used] - goal) ** 2).sum())

    begin = loss()
    for _ in range(300):
        descent.step(2 * curvature * (descent.value[: descent.used] - goal))
    require(loss() < begin / 50, example.part, f"300 steps bring a quadratic from {begin:.3g} to {loss():.3g} only")


def update_float32_stays_float32(example: Example) -> None:
    """No float64 arithmetic and no allocation in the machine code of the float32 update."""
    descent = _Descent(example.part, "float32")
    require(descent.walk().dtype == np.float32, example.part, "update changes the dtype of value")
    _machine_code_stays_in_float32(example.part, descent.updater.update, ("update",))


def padding_stays_zero(example: Example) -> None:
    """A parameter that is 0 and never has a gradient stays 0."""
    descent = _Descent(example.part, "float64")
    descent.walk()
    require_equal(example.part, "update", "value (padding)", descent.value[descent.used :], np.zeros(128 - descent.used))


def chunks_do_not_matter(example: Example) -> None:
    """One chunk of 128 numbers, or eight of 16."""
    expected = _Descent(example.part, "float64", chunk=128).walk()
    require_close(example.part, "update", "value", _Descent(example.part, "float64", chunk=16).walk(), expected, ROUNDING)


def gradient_is_only_read(example: Example) -> None:
    """``update`` leaves the gradient as the framework made it."""
    plain = copy.copy(example.part)
    plain.weight_decay, plain.clip_norm, plain.clip_value = 0.0, None, None
    descent = _Descent(plain, "float64")
    grad = np.random.default_rng(SEED).uniform(-1.0, 1.0, descent.used)
    descent.step(grad)
    require_equal(plain, "update", "grad", descent.grad[: descent.used], grad)


OPTIMIZER_CHECKS: tuple[Check, ...] = (
    update_compiled_equals_uncompiled,
    update_descends,
    update_float32_stays_float32,
    padding_stays_zero,
    chunks_do_not_matter,
    gradient_is_only_read,
    repr_can_be_typed_back_in,
)


def check_optimizer(optimizer: Optimizer) -> None:
    """Check everything that an optimizer promises: that it descends, in any dtype and however the vector is cut.

    Raises
    ------
    CheckError
        Says what was expected and what came.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_optimizer
    >>> check_optimizer(nn.SGD(momentum=0.9))
    """
    _check_all(OPTIMIZER_CHECKS, Example(optimizer))
