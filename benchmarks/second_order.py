"""Trainers of all rows beside Adam, scikit-learn's L-BFGS and torch-levenberg-marquardt.

Every library lives in a worker process and is imported there; ImportError means that it is not installed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .registry import Options, suite
from .report import Column, Section, duration, number, versus
from .timing import Figures, interleave
from .worker import Unavailable, Worker

__all__ = ["second_order"]

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # of Adam, which may choose
ADAM_EPOCHS, LM_EPOCHS, LBFGS_ITERATIONS, STEPS = 10_000, 1000, 200, 20
LM_WORK = 2_000_000  # weights times rows
Data = tuple[NDArray[np.float64], NDArray[np.float64]]


def sinc() -> Data:
    """sin(10 x) / 10 x for -1 <= x <= 1."""
    x = np.linspace(-1.0, 1.0, 1000).reshape(-1, 1)
    return x, np.sinc(10.0 * x / np.pi)


def expm() -> Data:
    """The exponential of 2 x 2 matrices."""
    from scipy.linalg import expm as exponential

    matrices = np.random.default_rng(0).uniform(-1.0, 1.0, (1000, 2, 2))
    return matrices.reshape(-1, 4), exponential(matrices).reshape(-1, 4)


@dataclass(frozen=True)
class Curve:
    """A function to be learned by a net of tanh, and the losses that count: Adam's, and that of Levenberg-Marquardt.

    ``adam_target`` and ``lm_target`` are None where what Adam ends at is the target of the other.
    """

    name: str
    data: Callable[[], Data]
    sizes: tuple[int, ...]
    spread: float | None  # first weights and biases are uniform in [-spread, spread]; None: as Nguyen and Widrow have them
    adam_target: float | None
    lm_target: float | None


CURVES = (
    Curve("sinc, 1-20-1", sinc, (1, 20, 1), 6.0, 1e-5, 1e-8),
    Curve("sinc, 1-20-1, Nguyen and Widrow", sinc, (1, 20, 1), None, 1e-5, 1e-8),
    Curve("expm of 2x2, 4-32-16-4", expm, (4, 32, 16, 4), 0.5, None, None),
)


@dataclass(frozen=True)
class Case:
    """A net and rows to choose an optimizer for."""

    hidden: tuple[int, ...]
    rows: int
    noise: float  # of a target with a spread of 5

    @property
    def weights(self) -> int:
        sizes = 5, *self.hidden, 1
        return sum((before + 1) * after for before, after in pairwise(sizes))


CASES = [Case(hidden, rows, noise) for noise in (0.0, 1.0) for rows in (200, 1000, 5000)
         for hidden in ((10,), (40,), (30, 30), (100, 100))]  # fmt: skip


class Ours:
    """nnkit."""

    def __init__(self, threads: int) -> None:
        import nnkit as nn

        self.nn, self.threads = nn, threads

    def net(self, curve: Curve, dtype: str) -> Any:
        nn, (first, *hidden, last) = self.nn, curve.sizes
        begin = nn.Uniform(low=-curve.spread, high=curve.spread) if curve.spread else nn.NguyenWidrow(inputs=first)
        layers: list[Any] = [nn.Linear(hidden[0], weight_init=begin, bias_init=begin), nn.Tanh()]
        for size in hidden[1:]:
            layers += [nn.Linear(size), nn.Tanh()]
        return nn.Sequential([*layers, nn.Linear(last)]).build((first,), random_state=0, dtype=dtype)

    def weights(self, curve: Curve) -> list[NDArray[np.float64]]:
        """What all begin with."""
        return [array.copy() for array in self.net(curve, "float64").parameters().values()]

    def reach(self, curve: Curve, optimizer: str, rate: float | None, target: float, epochs: int, dtype: str) -> Figures:
        """Seconds of a fit until its loss is below the target, or it ends."""
        nn, (X, y) = self.nn, curve.data()
        chosen = nn.Optimizer.make(optimizer)
        stop = nn.LambdaCallback(lambda fit: fit.history["loss"][-1] <= target and fit.stop("there"))
        model = self.net(curve, dtype)
        history = model.fit(X, y, optimizer=chosen if rate is None else chosen.replace(lr=rate), epochs=epochs,
                            callbacks=[stop], n_threads=self.threads, progress=False)  # fmt: skip
        return {"seconds": history.seconds, "epochs": history.epochs, "loss": history["loss"][-1]}

    def step(self, curve: Curve, epochs: int) -> Figures:
        """Seconds of an iteration of Levenberg-Marquardt."""
        X, y = curve.data()
        trainer = self.nn.LevenbergMarquardt(min_grad=0.0)
        history = self.net(curve, "float64").fit(X, y, optimizer=trainer, epochs=epochs, n_threads=self.threads, progress=False)
        return {"seconds": history.seconds / history.epochs, "loss": history["loss"][-1]}

    def digits(self, iterations: int, dtype: str = "float64") -> Figures:
        """Seconds and loss of L-BFGS on digits."""
        X, y = digits()
        net = self.nn.NNClassifier([100, 50], optimizer=self.nn.LBFGS(tol=1e-4), epochs=iterations, random_state=0, dtype=dtype,
                                   n_threads=self.threads)  # fmt: skip
        begin = time.perf_counter()
        net.fit(X, y)
        return {"seconds": time.perf_counter() - begin, "loss": net.loss_, "iterations": net.n_iter_}

    def error(self, table: str, seed: int, optimizer: str, epochs: int) -> float:
        """Root of the mean squared error on held-out rows, in units of the target's standard deviation."""
        (X, y), (X_test, y_test) = tables(table, seed)
        early = optimizer == "adam"
        net = self.nn.NNRegressor([20], optimizer=optimizer, activation="tanh", epochs=epochs, early_stopping=early,
                                  batch_size=32 if early else "auto", random_state=seed, n_threads=self.threads)  # fmt: skip
        return float(np.sqrt(np.mean((net.fit(X, y).predict(X_test) - y_test) ** 2)))


    def choice(self, case: Case, seed: int) -> str:
        """What ``optimizer="auto"`` takes."""
        (X, y), _ = friedman(case, seed)
        net = self.nn.NNRegressor([*case.hidden], optimizer="auto", activation="tanh", epochs=1, n_threads=self.threads)
        return type(net.fit(X, y).optimizer_).__name__

    def held_out(self, case: Case, seed: int, optimizer: str, epochs: int) -> Figures:
        """Seconds of a fit of the estimators' own length, and the error on held-out rows, in units of the target's spread."""
        (X, y), (X_test, y_test) = friedman(case, seed)
        net = self.nn.NNRegressor([*case.hidden], optimizer=optimizer, activation="tanh", epochs=epochs, random_state=seed,
                                  n_threads=self.threads)  # fmt: skip
        begin = time.perf_counter()
        net.fit(X, y)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "error": float(np.sqrt(np.mean((net.predict(X_test) - y_test) ** 2)))}


class Sklearn:
    """scikit-learn."""

    def __init__(self, threads: int) -> None:
        from sklearn.neural_network import MLPClassifier

        self.kind = MLPClassifier

    def digits(self, iterations: int) -> Figures:
        X, y = digits()
        net = self.kind((100, 50), solver="lbfgs", alpha=0.0, max_iter=iterations, tol=1e-4, random_state=0)
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            net.fit(X, y)
        return {"seconds": time.perf_counter() - begin, "loss": net.loss_, "iterations": net.n_iter_}


class TorchLM:
    """torch-levenberg-marquardt, in float64, with Cholesky."""

    def __init__(self, threads: int) -> None:
        import torch
        import torch_levenberg_marquardt as tlm

        torch.set_num_threads(threads)
        self.torch, self.tlm = torch, tlm

    def step(self, curve: Curve, epochs: int, weights: list[NDArray[np.float64]]) -> Figures:
        torch = self.torch
        layers: list[Any] = []
        for before, after in zip(curve.sizes, curve.sizes[1:], strict=False):
            layers += [torch.nn.Linear(before, after), torch.nn.Tanh()]
        model = torch.nn.Sequential(*layers[:-1]).double()
        with torch.no_grad():
            for parameter, array in zip(model.parameters(), weights, strict=True):
                parameter.copy_(torch.tensor(array.T))
        X, y = map(torch.tensor, curve.data())
        module = self.tlm.training.LevenbergMarquardtModule(
            model=model, loss_fn=self.tlm.loss.MSELoss(), learning_rate=1.0, attempts_per_step=10, solve_method="cholesky"
        )
        begin = time.perf_counter()
        for _ in range(epochs):
            module.training_step(X, y)
        seconds = (time.perf_counter() - begin) / epochs
        return {"seconds": seconds, "loss": float(((model(X) - y) ** 2).mean().detach())}


def digits() -> Data:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


def tables(name: str, seed: int) -> tuple[Data, Data]:
    """A table with a third of it held out; columns and target have mean 0 and variance 1 in training."""
    from sklearn.datasets import load_diabetes, make_friedman1
    from sklearn.model_selection import train_test_split

    X, y = load_diabetes(return_X_y=True) if name == "diabetes" else make_friedman1(300, noise=1.0, random_state=1)
    X, X_test, y, y_test = train_test_split(X, y, test_size=1 / 3, random_state=seed)
    center, scale = X.mean(axis=0), X.std(axis=0)
    return ((X - center) / scale, (y - y.mean()) / y.std()), ((X_test - center) / scale, (y_test - y.mean()) / y.std())


def friedman(case: Case, seed: int) -> tuple[Data, Data]:
    """Friedman's first function of 5 numbers between -1 and 1, in units of its spread, and 2000 rows of it without noise."""
    from sklearn.datasets import make_friedman1

    found = []
    for rows, noise, state in ((case.rows, case.noise, seed), (2000, 0.0, seed + 1000)):
        X, y = make_friedman1(rows, n_features=5, noise=noise, random_state=state)
        found.append((2.0 * X - 1.0, (y - 14.4) / 5.0))
    return found[0], found[1]


@suite("second_order", "Levenberg-Marquardt, with and without evidence, and L-BFGS beside Adam, scikit-learn and PyTorch's")
def second_order(options: Options) -> list[Section]:
    threads = min(options.threads)
    with ExitStack() as stack:
        ours = stack.enter_context(Worker(Ours, threads, threads=threads))
        return [
            _targets(ours, options), _steps(ours, stack, threads, options), _digits(ours, stack, threads, options),
            _errors(ours, options), _choice(ours, options),
        ]  # fmt: skip


def _peer(stack: ExitStack, kind: type, threads: int, warned: list[str]) -> Worker | None:
    """A worker, where its library is installed."""
    try:
        return stack.enter_context(Worker(kind, threads, threads=threads))
    except Unavailable as error:
        warned.append(f"{kind.__doc__}: not installed ({error})")
        return None


def _targets(ours: Worker, options: Options) -> Section:
    rows = []
    for curve in CURVES:
        epochs = options.choose(ADAM_EPOCHS, 20)
        goal = curve.adam_target or 0.0
        for optimizer, rate in (("adam", RATES[0]), ("lm", None)):  # compiles
            ours.call("reach", curve, optimizer, rate, 0.0, 1, "float32" if rate else "float64")
        tried = {rate: ours.call("reach", curve, "adam", rate, goal, epochs, "float32") for rate in RATES}
        there = {rate: item for rate, item in tried.items() if item["loss"] <= goal}
        figure = "seconds" if there else "loss"
        rate = min(there or tried, key=lambda rate: tried[rate][figure])
        adam = tried[rate]
        target = curve.lm_target or adam["loss"]
        lm = ours.call("reach", curve, "lm", None, target, options.choose(LM_EPOCHS, 20), "float64")
        rows.append({"curve": curve.name, "adam_loss": adam["loss"], "adam_seconds": adam["seconds"], "rate": rate,
                     "target": target, "loss": lm["loss"], "iterations": lm["epochs"], "seconds": lm["seconds"],
                     "ratio": adam["seconds"] / lm["seconds"]})  # fmt: skip
    columns = [
        Column("net", "curve", left=True), Column("Adam, loss", "adam_loss"), Column("in", "adam_seconds", duration),
        Column("lr", "rate"), Column("target", "target"), Column("lm, loss", "loss"),
        Column("iterations", "iterations", str), Column("in", ("seconds", "ratio"), (duration, versus)),
    ]  # fmt: skip
    notes = [
        f"Adam: float32, batches of 64, at most {options.choose(ADAM_EPOCHS, 20)} epochs, the best of the rates {RATES}; to "
        "1e-5 on sinc, and on expm all epochs. lm: float64, from the same weights, to 1e-8 on sinc, and on expm to Adam's loss."
    ]
    return Section("Time to a loss", columns, rows, notes)


def _steps(ours: Worker, stack: ExitStack, threads: int, options: Options) -> Section:
    warned: list[str] = []
    rows, peer, epochs = [], _peer(stack, TorchLM, threads, warned), options.choose(STEPS, 2)
    for curve in (CURVES[0], CURVES[-1]):
        tasks: dict[Any, Callable[[], Figures]] = {"nnkit": partial(ours.call, "step", curve, epochs)}
        if peer is not None:
            tasks["torch"] = partial(peer.call, "step", curve, epochs, ours.call("weights", curve))
        rounds = interleave(tasks, options.choose(5, 1))
        row = {"curve": curve.name, "seconds": rounds.median("nnkit"), "loss": rounds.median("nnkit", "loss")}
        if peer is not None:
            row |= {"torch_seconds": rounds.median("torch"), "torch_loss": rounds.median("torch", "loss"),
                    "ratio": rounds.ratio("torch", "nnkit")}  # fmt: skip
        rows.append(row)
    columns = [
        Column("net", "curve", left=True), Column("nnkit", "seconds", duration), Column("loss", "loss"),
        Column("torch-levenberg-marquardt", ("torch_seconds", "ratio"), (duration, versus)), Column("loss", "torch_loss"),
    ]  # fmt: skip
    notes = [f"Means over {epochs} iterations, all 1000 rows, float64."]
    return Section("An iteration of Levenberg-Marquardt", columns, rows, notes, warned)


def _digits(ours: Worker, stack: ExitStack, threads: int, options: Options) -> Section:
    warned: list[str] = []
    iterations, peer = options.choose(LBFGS_ITERATIONS, 3), _peer(stack, Sklearn, threads, warned)
    tasks: dict[Any, Callable[[], Figures]] = {
        dtype: partial(ours.call, "digits", iterations, dtype) for dtype in ("float64", "float32")
    }
    if peer is not None:
        tasks["sklearn"] = partial(peer.call, "digits", iterations)
    rounds, rows = interleave(tasks, options.choose(5, 1)), []
    for dtype in ("float64", "float32"):
        row: dict[str, Any] = {"data": f"digits, 64-100-50-10, {dtype}"}
        row |= {name: rounds.median(dtype, name) for name in ("seconds", "loss", "iterations")}
        if peer is not None:
            row |= {f"sklearn_{name}": rounds.median("sklearn", name) for name in ("seconds", "loss", "iterations")}
            row["ratio"] = rounds.ratio("sklearn", dtype)
        rows.append(row)
    columns = [Column("data", "data", left=True), Column("nnkit", "seconds", duration), Column("loss", "loss"),
               Column("iterations", "iterations"), Column("scikit-learn", ("sklearn_seconds", "ratio"), (duration, versus)),
               Column("loss", "sklearn_loss"), Column("iterations", "sklearn_iterations")]  # fmt: skip
    notes = [f"Wall time of fit, tol 1e-4, no penalty, at most {iterations} iterations, own initial weights. scikit-learn "
             "computes in float64."]  # fmt: skip
    return Section("L-BFGS", columns, rows, notes, warned)


def _errors(ours: Worker, options: Options) -> Section:
    rows = []
    seeds, epochs = range(options.choose(10, 1)), options.choose(200, 5)
    for table in ("diabetes", "friedman, 200 rows"):
        errors = {name: [ours.call("error", table, seed, name, epochs) for seed in seeds] for name in ("lm_bayes", "adam")}
        rows.append({"table": table, **{name: mean(found) for name, found in errors.items()}})
    columns = [Column("table", "table", left=True), Column("lm_bayes", "lm_bayes", number),
               Column("Adam, early stopping", "adam")]  # fmt: skip
    notes = [f"Root mean squared error on a third that is held out, in units of the target's spread, means of {len(seeds)} "
             "splits; 20 units of tanh. Adam: batches of 32, a tenth of the rows to stop by."]  # fmt: skip
    return Section("Errors of small tables", columns, rows, notes)


def _choice(ours: Worker, options: Options) -> Section:
    rows = []
    seeds, epochs = range(options.choose(3, 1)), options.choose(200, 2)
    for case in CASES if epochs > 2 else CASES[:1]:
        row: dict[str, Any] = {"weights": case.weights, "rows": case.rows, "noise": case.noise}
        row["auto"] = ours.call("choice", case, 0)
        for name in ("lm", "lbfgs", "adam"):
            if name != "lm" or case.weights * case.rows <= LM_WORK:
                runs = [ours.call("held_out", case, seed, name, epochs) for seed in seeds]
                row |= {name: mean(run["error"] for run in runs), f"{name}_seconds": mean(run["seconds"] for run in runs)}
        rows.append(row)
    columns = [
        Column("weights", "weights", str), Column("rows", "rows", str), Column("noise", "noise", number),
        *(column for name in ("lm", "lbfgs", "adam")
          for column in (Column(name, name, number), Column("in", f"{name}_seconds", duration))),
        Column('"auto"', "auto", left=True),
    ]  # fmt: skip
    notes = [f"Friedman's first function of 5 numbers with a spread of 5, and noise: error on 2000 rows without noise, in "
             f"units of the spread, and wall time of {epochs} epochs or iterations of NNRegressor, means of {len(seeds)} "
             "seeds; tanh, Adam with its defaults. lm where it takes seconds, not minutes."]  # fmt: skip
    return Section("Which optimizer", columns, rows, notes)
