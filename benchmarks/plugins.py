"""What a plugin costs: copies of built-in parts from a module of their own, and layers that stay Python."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .peers import NnkitTrainer, TorchTrainer, Trainer
from .registry import Options, suite
from .report import Column, Section, ratio
from .timing import Figures, Stopwatch, interleave
from .training import REST, start
from .worker import Worker
from .workloads import DIGITS, TINY, Data, Problem, Workload, digits, make_problem

__all__ = ["plugins"]


@suite("plugins", "training with a plugin's copies of built-in parts; a layer in Python beside torch's autograd.Function")
def plugins(options: Options) -> list[Section]:
    return [_copies(options), _layers(options)]


# ---------------------------------------------------------------------------------------------------------- copies

OWN, COPY = "built-in", "copy"
LIMIT = 1.05  # by how much the copies may be slower


def digits_one_hot() -> Data:
    X, y = digits()
    return X, np.eye(10, dtype=np.float32)[y]


COPIED = (
    replace(DIGITS, loss="mse", data=digits_one_hot),
    replace(TINY, activation="relu"),
)


def _copies(options: Options) -> Section:
    with tempfile.TemporaryDirectory() as folder, Worker(CopyBench, folder, options.choose(51, 3), threads=1) as worker:
        rows = [row for workload in COPIED for row in
                worker.call("compare", make_problem(workload), options.choose(workload.epochs, workload.quick))]  # fmt: skip
    columns = [
        Column("net", "workload", left=True),
        Column("what is copied", "copied", left=True),
        Column("built-in us/step", "us"),
        Column("copy us/step", "copy_us"),
        Column("copy/built-in", "ratio", lambda value: f"{value:.3f}x"),
        Column("losses equal to the bit", "equal", lambda value: "yes" if value else "no"),
    ]
    notes = [
        "Wall time of Sequential.fit, one thread, float32, same data, weights and batches; medians of the rounds.",
        "The copies are the built-in classes' source in a module of its own, under other names; their kernels are compiled as "
        "any plugin's.",
        "nothing: built-in parts against built-in parts, which shows how far noise reaches.",
        f"Nets (sizes, activation, loss, batch): {'; '.join(f'{item.name}: {item.net}' for item in COPIED)}.",
    ]
    warnings = []
    for row in rows:
        where = f"{row['workload']}, {row['copied']} copied"
        if not row["equal"]:
            warnings.append(f"{where}: the losses differ from the built-in parts'")
        if row["ratio"] > LIMIT:
            warnings.append(f"{where}: {row['ratio']:.3f} times the built-in parts' time, more than {LIMIT}")
    return Section("Training with a plugin's copies of built-in parts", columns, rows, notes, warnings)


class CopyBench:
    """Trains with built-in parts and with copies of them from a module in ``folder``; lives in a worker with one thread."""

    MODULE = "benchmarked_plugin"

    def __init__(self, folder: str, rounds: int) -> None:
        import nnkit as nn

        self.rounds = rounds
        self.parts = (nn.ReLU, nn.Linear, nn.MSELoss, nn.Adam)
        Path(folder, f"{self.MODULE}.py").write_text(_plugin(self.parts), encoding="utf-8")
        sys.path.insert(0, folder)
        importlib.import_module(self.MODULE)

    def compare(self, problem: Problem, epochs: int) -> list[dict[str, Any]]:
        """Rows for nothing, each part and all parts replaced by copies."""
        choices = {"nothing": (), **{part.__name__: (part,) for part in self.parts}, "all four": self.parts}
        return [{"workload": problem.workload.name, "copied": name, **self._compare(problem, epochs, parts)}
                for name, parts in choices.items()]  # fmt: skip

    def _compare(self, problem: Problem, epochs: int, parts: Sequence[type[Any]]) -> dict[str, Any]:
        trainers = {OWN: NnkitTrainer(1), COPY: NnkitTrainer(1, {part.key: _copied_key(part) for part in parts})}
        for trainer in trainers.values():
            trainer.prepare(problem)
        rounds = interleave({name: partial(trainer.measure, epochs) for name, trainer in trainers.items()}, self.rounds)
        return {
            "us": 1e6 * rounds.median(OWN), "copy_us": 1e6 * rounds.median(COPY), "ratio": rounds.ratio(COPY, OWN),
            "equal": rounds.values(OWN, "loss") == rounds.values(COPY, "loss"),
        }  # fmt: skip


def _copied_key(part: type[Any]) -> str:
    return f"copy_{part.key}"


def _plugin(parts: Sequence[type[Any]]) -> str:
    """The text of a module that defines and registers the same classes under other names."""
    imports: dict[str, None] = {}
    classes = []
    for part in parts:
        home = sys.modules[part.__module__]
        text = inspect.getsource(part)
        lines = [node for node in ast.parse(inspect.getsource(home)).body if isinstance(node, ast.Import | ast.ImportFrom)]
        imports |= dict.fromkeys(map(ast.unparse, lines))
        imported = {alias.asname or alias.name for node in lines for alias in node.names}
        named = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        private = sorted(named & vars(home).keys() - imported)  # a base class, an alias
        imports |= {f"from {part.__module__} import {name}": None for name in private}
        text = text.replace(f'@register("{part.key}")', f'@register("{_copied_key(part)}")')
        classes.append(text.replace(f"class {part.__name__}(", f"class Copied{part.__name__}("))
    return "\n\n".join(["\n".join(imports), *classes])


# ---------------------------------------------------------------------------------------------------------- layers

LAYERS = 16  # of one kind, one after the other
ROWS, FEATURES = 64, 32
PYTHON, OPERATIONS, BUILT_IN = "Python", "torch's operations", "built-in"

# Library, kind of layer, how it is printed, the kind of nnkit's that it is compared with.
MEASURED = (
    ("nnkit", PYTHON, "PythonLayer with NumPy in it", PYTHON),
    ("torch", PYTHON, "autograd.Function with NumPy in it", PYTHON),
    ("torch", OPERATIONS, "autograd.Function with torch's operations in it", PYTHON),
    ("NumPy", PYTHON, "np.maximum and np.where alone", PYTHON),
    ("nnkit", BUILT_IN, "ReLU, compiled", BUILT_IN),
    ("torch", BUILT_IN, "nn.ReLU", BUILT_IN),
)


def noise() -> Data:
    X, y = np.random.default_rng(0).standard_normal((2, 32 * ROWS, FEATURES), dtype=np.float32)
    return X, y


STACK = Workload("stack", (FEATURES, FEATURES), "relu", "mse", noise, ROWS, 20, 5, shuffle=False)


def relu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(x, np.float32(0))


def relu_gradient(x: NDArray[np.float32], grad_out: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(x > 0, grad_out, np.float32(0))


def _layers(options: Options) -> Section:
    epochs = options.choose(STACK.epochs, STACK.quick)
    with ExitStack() as stack:
        workers = start(stack, 1, {"nnkit": NnkitStack, "torch": TorchStack, "NumPy": NumpyAlone})
        tasks: dict[Any, Any] = {(library, kind): partial(worker.call, "layer", kind, epochs)
                                 for library, kind, *_ in MEASURED
                                 if not isinstance(worker := workers[library], str)}  # fmt: skip
        rounds = interleave(tasks, options.choose(15, 3), rest=REST)
    rows: list[dict[str, Any]] = []
    for library, kind, layer, own in MEASURED:
        row: dict[str, Any] = {"library": library, "layer": layer, "us": workers[library]}
        if (library, kind) in rounds:
            row["us"] = 1e6 * rounds.median((library, kind))
            row["ratio"] = rounds.ratio((library, kind), ("nnkit", own))
            if kind == PYTHON and library != "NumPy":
                row["overhead_us"] = row["us"] - 1e6 * rounds.median(("NumPy", PYTHON))
        rows.append(row)
    columns = [
        Column("library", "library", left=True),
        Column("layer", "layer", left=True),
        Column("us per layer", "us"),
        Column("without NumPy's", "overhead_us"),
        Column("by nnkit's", "ratio", ratio),
    ]
    notes = [
        f"Microseconds of forward and backward of one ReLU on {ROWS} x {FEATURES} numbers, float32, one thread; medians.",
        f"A layer's time: a training step of Linear({FEATURES}) and {LAYERS} such layers, less a step of the Linear alone, by "
        f"{LAYERS}; nnkit in the compiled fit, torch in an eager loop.",
        "without NumPy's: what the call itself costs, beyond the two NumPy functions. by nnkit's: the time divided by that of "
        "nnkit's layer in Python, or of its built-in one.",
    ]
    return Section("One layer: in Python, and built-in", columns, rows, notes)


class Stack(Trainer):
    """Trains a Linear alone and with `LAYERS` layers after it: the difference is theirs. Lives in a worker."""

    figure = "seconds"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.kinds = self.make_kinds()
        self.layers: list[Any] = []
        self.prepare(make_problem(STACK))

    @abstractmethod
    def make_kinds(self) -> dict[str, Callable[[], Any]]:
        """Layers by kind."""

    def layer(self, kind: str, epochs: int) -> Figures:
        """Seconds of one layer's forward and backward."""
        seconds = []
        for count in (0, LAYERS):
            self.layers = [self.kinds[kind]() for _ in range(count)]
            seconds.append(self.measure(epochs)[self.figure])
        return {"seconds": (seconds[1] - seconds[0]) / LAYERS}


class NnkitStack(Stack, NnkitTrainer):
    figure = "loop"  # planning takes longer with more layers, but is done once

    def make_kinds(self) -> dict[str, Callable[[], Any]]:
        import nnkit as nn

        class PythonReLU(nn.PythonLayer):
            def forward(self, x: Any) -> Any:
                return relu(x)

            def backward(self, x: Any, grad_out: Any) -> Any:
                return relu_gradient(x, grad_out)

        return {PYTHON: PythonReLU, BUILT_IN: nn.ReLU}

    def reset(self) -> None:
        import nnkit as nn

        self.model = nn.Sequential([nn.Linear(FEATURES), *self.layers]).build((FEATURES,))
        super().reset()


class TorchStack(Stack, TorchTrainer):
    ADAMS = ({},)  # the same with layers and without

    def make_kinds(self) -> dict[str, Callable[[], Any]]:
        import torch

        class WithNumpy(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, x: Any) -> Any:
                context.save_for_backward(x)
                return torch.from_numpy(relu(x.detach().numpy()))

            @staticmethod
            def backward(context: Any, grad_out: Any) -> Any:
                (x,) = context.saved_tensors
                return torch.from_numpy(relu_gradient(x.detach().numpy(), grad_out.numpy()))

        class WithTorch(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, x: Any) -> Any:
                context.save_for_backward(x)
                return x.clamp(min=0)

            @staticmethod
            def backward(context: Any, grad_out: Any) -> Any:
                (x,) = context.saved_tensors
                return torch.where(x > 0, grad_out, 0)

        class Applied(torch.nn.Module):
            def __init__(self, function: Any) -> None:
                super().__init__()
                self.forward = function.apply

        return {PYTHON: partial(Applied, WithNumpy), OPERATIONS: partial(Applied, WithTorch), BUILT_IN: torch.nn.ReLU}

    def reset(self) -> None:
        super().reset()
        self.model.extend(self.layers)


class NumpyAlone:
    """The arithmetic of a layer in Python, without the layer."""

    def __init__(self, threads: int) -> None:
        x, grad_out = np.random.default_rng(0).standard_normal((2, ROWS, FEATURES), dtype=np.float32)
        self.watch = Stopwatch(lambda: (relu(x), relu_gradient(x, grad_out)))

    def layer(self, kind: str, epochs: int) -> Figures:
        return self.watch()
