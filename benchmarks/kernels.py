"""Single kernels of the registered parts, compiled, beside the same arithmetic in NumPy and in PyTorch; one thread, float32."""
from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import Any

import numpy as np

from nnkit.network import network_of

from .peers import Peak
from .registry import Options, suite
from .report import Column, Section, number, ratio
from .timing import Figures, Rounds, Stopwatch, interleave
from .vectorise import Unvectorised, vectorised
from .worker import Worker

__all__ = ["KernelBench", "examples", "kernels"]

ROWS, FEATURES = 64, 1024  # elementwise parts; 256 KB an array, so that x, out and their gradients stay in second-level cache
ELEMENTS = ROWS * FEATURES
LINEAR = ((64, 64, 128), (64, 128, 64), (128, 784, 512), (64, 4, 32))  # rows, inputs, outputs
OWN, EMPTY = "nnkit", "empty"

Call = Callable[[], object]


@suite("kernels", "ns per element of each part's kernels beside NumPy and PyTorch; matrix products beside the machine's peak")
def kernels(options: Options) -> list[Section]:
    with Worker(KernelBench, options.choose(9, 3), options.choose(5, 2) * 1e-3, threads=1) as worker:
        linear = worker.call("linear")
        elementwise = [row for kind in ("activations", "layers", "losses", "optimizers") for row in worker.call("parts", kind)]
        has_torch = worker.call("has_torch")
    return [_linear_section(linear), _parts_section(elementwise, has_torch)]


def examples(kind: str) -> list[Any]:
    """What is measured of a registry (``activations``, ``layers``, ...): the examples of all its parts, each part once."""
    import nnkit as nn

    found: dict[Any, Any] = {}
    for part in getattr(nn.registry, kind).values():
        for example in part.examples():
            found.setdefault((part, repr(example.part)), example)
    return list(found.values())


def _linear_section(rows: list[dict[str, Any]]) -> Section:
    columns = [
        Column("rows x in x out", "size", left=True),
        Column("kernel", "kernel", left=True),
        Column("us", "us"),
        Column("GFLOP/s", "gflops"),
        Column("% of peak", "percent_of_peak", lambda value: f"{value:.0f}"),
        Column("NumPy us", "numpy_us"),
        Column("NumPy/nnkit", "numpy_ratio", ratio),
        Column("torch us", "torch_us"),
        Column("torch/nnkit", "torch_ratio", ratio),
    ]
    notes = [
        "forward: out = x @ weight + bias; backward: gradients of weight and bias; backward x: gradient of the input.",
        "NumPy: np.dot into a given array and a sum; torch: addmm, and matmul with a sum, in the kernels' place.",
        f"Peak: np.dot of two {Peak.SIZE} x {Peak.SIZE} matrices in the same rounds, the best of all: "
        f"{number(rows[0]['gflops_peak'])} GFLOP/s.",
    ]
    return Section("Linear, one thread, float32", columns, rows, notes)


def _parts_section(rows: list[dict[str, Any]], has_torch: bool) -> Section:
    columns = [
        Column("part", "part", left=True),
        Column("kernel", "kernel", left=True),
        Column("elements", "elements", str),
        Column("ns/element", "ns"),
        Column("GB/s", "gbs"),
        Column("NumPy ns", "numpy_ns"),
        Column("NumPy/nnkit", "numpy_ratio", ratio),
        Column("torch ns", "torch_ns"),
        Column("torch/nnkit", "torch_ratio", ratio),
    ]
    notes = [
        "An element is a number of the output (of the parameters, for an optimizer). GB/s: every array named, counted once.",
        "NumPy: the kernel's own expressions on whole arrays (vectorise.py says how). torch: the class of the same "
        "name, its Python call included (backward: autograd; optimizers: step).",
        "-: not elementwise, nothing of that name, no copy made, or something else computed (results are compared).",
    ]
    if not has_torch:
        notes.append("torch: not installed.")
    return Section("Kernels of the parts, one thread, float32", columns, rows, notes)


class KernelBench:
    """Measures kernels; lives in a worker with one thread."""

    def __init__(self, rounds: int, least: float) -> None:
        from threadpoolctl import threadpool_limits

        import nnkit as nn

        self.nn = nn
        self.rounds = rounds
        self.least = least
        try:
            import torch

            torch.set_num_threads(1)
        except ImportError:
            torch = None
        self.torch = torch
        warnings.simplefilter("ignore")  # torch announces changes of meaning; results are compared
        self._limit = threadpool_limits(1)
        self.random = np.random.default_rng(0)

    def has_torch(self) -> bool:
        return self.torch is not None

    def _compare(self, own: Callable[[], Figures], empty: Callable[[], Figures], others: Mapping[str, Call | None]) -> Rounds:
        """Time a kernel beside the empty table and the peers that there are."""
        tasks: dict[Any, Callable[[], Figures]] = {OWN: lambda: _without(own(), empty())}
        tasks |= {name: Stopwatch(call, self.least) for name, call in others.items() if call is not None}
        return interleave(tasks, self.rounds, warm_up=0)

    # ---------------------------------------------------------------------------------------------------- linear

    def linear(self) -> list[dict[str, Any]]:
        peak = Peak(1)
        rows = [row for size in LINEAR for row in self._linear(size, peak)]
        # A product of the peak's size takes longer than a slice of a shared core, a small one fits in: so the best of all.
        best = max(row["gflops_peak"] for row in rows)
        return [{**row, "gflops_peak": best, "percent_of_peak": 100 * row["gflops"] / best} for row in rows]

    def _linear(self, size: tuple[int, int, int], peak: Peak) -> Iterator[dict[str, Any]]:
        rows, inputs, outputs = size
        x = self.random.standard_normal((rows, inputs), dtype=np.float32)
        grad = self.random.standard_normal((rows, outputs), dtype=np.float32)
        table = _Table(self.nn, [self.nn.Linear(outputs)], x, grad, self.least)
        weight, bias = table.model.parameters().values()
        out, grad_weight, grad_x = np.empty_like(grad), np.empty_like(weight), np.empty_like(x)
        numpy_calls: dict[str, Call] = {
            "forward": lambda: np.add(np.dot(x, weight, out), bias, out),
            "backward": lambda: (np.dot(x.T, grad, grad_weight), grad.sum(axis=0)),
            "backward_x": lambda: np.dot(grad, weight.T, grad_x),
        }
        torch_calls = self._torch_linear(x, weight, bias, grad)
        for name, part in table.kernels():
            calls = {"numpy": numpy_calls.get(name), "torch": torch_calls.get(name)}
            own = {OWN: lambda part=part: _without(part(), table.empty())}
            others = {key: Stopwatch(call, self.least) for key, call in calls.items() if call is not None}
            rounds = interleave({**own, **others, "peak": partial(peak.measure, 2)}, self.rounds, warm_up=0)
            flops = 2 * rows * inputs * outputs
            row = {
                "size": " x ".join(map(str, size)), "kernel": name.replace("_", " "), "flops": flops,
                "us": 1e6 * rounds.median(OWN), "gflops": 1e-9 * flops / rounds.median(OWN),
                "gflops_peak": 1e-9 * Peak.FLOPS / rounds.best("peak"),
            }  # fmt: skip
            for key in others:
                row |= {f"{key}_us": 1e6 * rounds.median(key), f"{key}_ratio": rounds.ratio(key, OWN)}
            yield row

    def _torch_linear(self, *arrays: Any) -> dict[str, Call]:
        torch = self.torch
        if torch is None:
            return {}
        x, weight, bias, grad = map(torch.from_numpy, arrays)
        return {
            "forward": lambda: torch.addmm(bias, x, weight),
            "backward": lambda: (x.t() @ grad, grad.sum(0)),
            "backward_x": lambda: grad @ weight.t(),
        }

    # ----------------------------------------------------------------------------------------------------- parts

    def parts(self, kind: str) -> list[dict[str, Any]]:
        """Rows for every part of one registry."""
        measure = {"activations": self._layer, "layers": self._layer, "losses": self._loss, "optimizers": self._optimizer}[kind]
        return [row for example in examples(kind) for row in measure(example)]

    def _rows(self, part: Any, elements: int, kernels: list[tuple[str, Any, int]], empty: Any,
              others: Mapping[str, Mapping[str, Call | None]]) -> Iterator[dict[str, Any]]:  # fmt: skip
        """One row for each kernel, (name, its clock, bytes that it touches)."""
        for name, clock, size in kernels:
            calls = {peer: of.get(name) for peer, of in others.items()}
            rounds = self._compare(clock, empty, calls)
            row = {
                "part": repr(part), "kernel": name, "elements": elements,
                "ns": 1e9 * rounds.median(OWN) / elements, "gbs": 1e-9 * size / rounds.median(OWN),
            }  # fmt: skip
            for peer in calls:
                if peer in rounds:
                    row |= {f"{peer}_ns": 1e9 * rounds.median(peer) / elements, f"{peer}_ratio": rounds.ratio(peer, OWN)}
            yield row

    def _layer(self, example: Any) -> Iterator[dict[str, Any]]:
        """Forward and backward of a layer on its example's rows; elementwise activations on long rows."""
        part, nn = example.part, self.nn
        if not part.kernels():  # nothing to run: another view of the same numbers
            return
        elementwise = isinstance(part, nn.Activation) and part.elementwise
        shape = (FEATURES,) if elementwise else example.in_shape
        rows = max(1, ELEMENTS // prod(shape))
        x = self.random.uniform(example.low, example.high, (rows, *shape)).astype(np.float32)
        if part.input_dtype != "real":
            x = x.astype(part.input_dtype)
        grad = self.random.standard_normal((rows, *part.place(shape).out_shape), dtype=np.float32)
        table = _Table(nn, [part], x, grad, self.least)
        kernels = [(stage, table.clock(stage), table.bytes(stage)) for stage in ("forward", "backward")]
        others = {"numpy": self._numpy_layer(part, x, grad, table) if elementwise else {},
                  "torch": self._torch_layer(part, x, grad, table.out)}  # fmt: skip
        yield from self._rows(part, grad.size, kernels, table.empty, others)

    def _numpy_layer(self, part: Any, x: Any, grad: Any, table: _Table) -> dict[str, Call | None]:
        given = {"x": x, "grad_out": grad, "out": table.out}
        expected = {"forward": table.out, "backward": table.grad_x}
        return {name: self._numpy(part, getattr(type(part), name), given, expected[name]) for name in expected}

    def _numpy(self, part: Any, function: Any, given: dict[str, Any], expected: Any) -> Call | None:
        """A scalar kernel on whole arrays, if that gives what the kernel gave."""
        from nnkit.core.part import kernel_names

        try:
            whole = vectorised(function)
            arguments = [given[name] if name in given else getattr(part, name) for name in kernel_names(function)]
            with np.errstate(all="ignore"):
                result = whole(*arguments)
        except (Unvectorised, ValueError, TypeError, NameError, AttributeError):
            return None
        untouched = any(result is item for item in arguments)  # no copy: not the same work
        if untouched or not np.allclose(result, expected, rtol=1e-3, atol=1e-4):
            return None

        def call() -> None:
            whole(*arguments)

        return call

    def _torch_layer(self, part: Any, x: Any, grad: Any, out: Any) -> dict[str, Call | None]:
        torch = self.torch
        module = self._torch_make(getattr(torch, "nn", None), part)
        if module is None or not np.issubdtype(x.dtype, np.floating):
            return {}
        data, grad_out = torch.from_numpy(x), torch.from_numpy(grad)
        try:
            result = module(data.requires_grad_())
            if result is data or tuple(result.shape) != out.shape:
                return {}
            if not np.allclose(result.detach().numpy(), out, rtol=1e-3, atol=1e-4):
                return {}
            inputs = [data, *module.parameters()]
            torch.autograd.grad(result, inputs, grad_out, retain_graph=True)
        except (TypeError, ValueError, RuntimeError, IndexError):
            return {}
        return {"forward": partial(self._without_graph, module, data.detach()),
                "backward": lambda: torch.autograd.grad(result, inputs, grad_out, retain_graph=True)}  # fmt: skip

    def _without_graph(self, function: Any, *arguments: Any) -> None:
        with self.torch.no_grad():
            function(*arguments)

    @staticmethod
    def _torch_make(module: Any, part: Any, *first: Any) -> Any:
        """torch's class of the same name, with the hyper-parameters that both know under one name."""
        made = getattr(module, type(part).__name__, None)
        if made is None:
            return None
        known = inspect.signature(made).parameters
        named = {name: value for name, value in part.hyperparameters().items() if name in known}
        named |= {"dim": -1} if "dim" in known else {}
        try:
            return made(*first, **named)
        except (TypeError, ValueError):
            return None

    def _loss(self, example: Any) -> Iterator[dict[str, Any]]:
        from nnkit.core.loss import BoundLoss

        loss, shape = example.part, example.in_shape
        rows = ELEMENTS // prod(shape)
        p = self.random.uniform(example.low, example.high, (rows, *shape)).astype(np.float32)
        y = loss.example_target(self.random, rows, shape)
        bound = BoundLoss(loss, p, y, None, np.empty_like(p))
        table = _Clocks(bound.program, rows, self.least)
        kernels = slice(1, -1)  # the loop sets the arithmetic itself
        size = table.bytes(kernels)
        value = loss(p, y)
        name = "loss + grad"
        others = {"torch": {name: self._torch_loss(loss, p, y, value)}}
        yield from self._rows(loss, p.size, [(name, table.clock(kernels), size)], table.empty, others)

    def _torch_loss(self, loss: Any, p: Any, y: Any, value: Any) -> Call | None:
        torch = self.torch
        module = self._torch_make(getattr(torch, "nn", None), loss)
        if module is None:
            return None
        prediction = torch.from_numpy(p).requires_grad_()
        target = torch.from_numpy(np.asarray(y, np.int64 if np.issubdtype(np.asarray(y).dtype, np.integer) else np.float32))

        def call() -> Any:
            result = module(prediction, target)
            return result, torch.autograd.grad(result, prediction)[0]

        try:
            result, grad = call()
        except (TypeError, ValueError, RuntimeError, IndexError):
            return None
        same = np.allclose(float(result.detach()), value[0], rtol=1e-3) and np.allclose(grad, value[1], rtol=1e-2, atol=1e-6)
        return call if same else None

    def _optimizer(self, example: Any) -> Iterator[dict[str, Any]]:
        """One step by hand on a net's parameters: about ten microseconds of Python included, as with torch."""
        nn, optimizer = self.nn, example.part
        model = nn.Sequential([nn.Linear(255)]).build((256,), random_state=0)
        vector, gradient = network_of(model).vector, network_of(model).gradient
        gradient[:] = self.random.standard_normal(gradient.size)
        torch_step = self._torch_optimizer(optimizer, vector, gradient)
        size = vector.nbytes * (3 + 2 * len(optimizer.states))  # value and states read and written, the gradient read
        clock = Stopwatch(lambda: optimizer.step(model), self.least)
        nothing: Figures = {"seconds": 0.0}
        others = {"torch": {"update": torch_step}}
        yield from self._rows(optimizer, vector.size, [("update", clock, size)], lambda: nothing, others)

    def _torch_optimizer(self, optimizer: Any, value: Any, grad: Any) -> Call | None:
        torch = self.torch
        if torch is None:
            return None
        parameter = torch.nn.Parameter(torch.from_numpy(value.copy()))
        parameter.grad = torch.from_numpy(grad.copy())
        made = self._torch_make(torch.optim, optimizer, [parameter])
        return None if made is None else made.step


def _without(figures: Figures, empty: Figures) -> Figures:
    """A kernel's time without that of the loop around it."""
    return {"seconds": max(figures["seconds"] - empty["seconds"], 1e-10)}


class _Clocks:
    """Clocks for parts of a program: the compiled loop walks that part of the table many times."""

    CAPACITY = 1 << 14  # steps of one run of the loop

    def __init__(self, program: Any, rows: int, least: float) -> None:
        self.program, self.rows, self.least = program, rows, least
        self.empty = self.clock(slice(0, 0))

    def clock(self, part: slice) -> Callable[[], Figures]:
        """A function that times one walk over a part of the table."""
        from nnkit.engine.runner import Runner

        runner = Runner(self.program, self.rows, capacity=self.CAPACITY, part=part)
        runner.steps[:] = 0, self.rows, 0, 0

        def run(steps: int) -> float:
            begin = time.perf_counter()
            runner.run(0, steps)
            return time.perf_counter() - begin

        run(1)
        steps = 1
        while steps < self.CAPACITY and run(steps) < self.least:
            steps *= 2
        return lambda: {"seconds": run(steps) / steps}

    def bytes(self, part: slice) -> int:
        """Size of all arrays that a part of the table names."""
        from nnkit.engine.operands import Array

        operands = {operand for item in self.program.instructions[part] for operand in item.operands}
        return sum(self.program.array(operand).nbytes for operand in operands if isinstance(operand, Array))


class _Table(_Clocks):
    """The table of a model's forward and backward pass, every array filled by one run, no two in the same memory."""

    def __init__(self, nn: Any, layers: list[Any], x: Any, grad: Any, least: float) -> None:
        from nnkit.passes import Pass

        self.model = nn.Sequential(layers).build(x.shape[1:], random_state=0)
        run = Pass(self.model, len(x), training=True, gradient=network_of(self.model).gradient, keep=True)
        self.out = run.forward(x)
        self.grad_x = run.backward(grad)
        self._run = run  # owns the memory
        super().__init__(run.program, len(x), least)

    def stage(self, name: str) -> slice:
        """Where the instructions of forward or backward are."""
        places = [index for index, item in enumerate(self.program.instructions) if item.stage == name]
        return slice(places[0], places[-1] + 1)

    def clock(self, part: slice | str) -> Callable[[], Figures]:
        return super().clock(self.stage(part) if isinstance(part, str) else part)

    def bytes(self, part: slice | str) -> int:
        return super().bytes(self.stage(part) if isinstance(part, str) else part)

    def kernels(self) -> Iterator[tuple[str, Any]]:
        """Every instruction alone: the name of its function and its clock."""
        for index, item in enumerate(self.program.instructions):
            yield item.function.__name__, self.clock(slice(index, index + 1))
