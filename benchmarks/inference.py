"""Predictions from Python: one row, where the call is everything, and ten thousand, where the arithmetic is."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from .predictors import PREDICTORS
from .registry import Options, suite
from .report import Column, Section, ratio
from .timing import interleave
from .worker import Unavailable, Worker, usable_cores
from .workloads import DIGITS, make_problem

__all__ = ["inference"]

ROWS = 10_000
OWN = "nnkit"
TOLERANCE = 1e-4  # of outputs of the order of 0.1: rounding, in whatever order sums are taken


@suite("inference", "one-row and 10 000-row predictions of 64-128-64-10 from Python")
def inference(options: Options) -> list[Section]:
    threads = [count for count in options.threads if count <= len(usable_cores())]
    problem = make_problem(DIGITS)
    X = np.random.default_rng(0).random((ROWS, DIGITS.sizes[0]), dtype=np.float32)
    columns = [
        Column("library", "name", left=True),
        *(Column(f"{rows} row{'s' * (rows > 1)}\n{count} thread{'s' * (count > 1)}, us", f"us_{rows}_{count}")
          if key == "us" else Column("by\nnnkit's", f"ratio_{rows}_{count}", ratio)
          for rows, count in _cases(threads) for key in ("us", "ratio")),
        Column("largest\ndifference", "difference", lambda value: f"{value:.1e}"),
    ]  # fmt: skip
    least = options.choose(20, 5) * 1e-3
    rows: dict[str, dict[str, Any]] = {name: {"name": name} for name in PREDICTORS}
    with ExitStack() as stack:
        workers = {}
        for name, make in PREDICTORS.items():
            for count in threads:
                try:
                    workers[name, count] = stack.enter_context(Worker(make, count, problem, least, threads=count))
                except Unavailable:
                    rows[name] |= {f"us_{size}_{n}": "not installed" for size, n in _cases(threads)[:1]}
        _compare(workers, rows, X[:1000], threads[0])
        for size, count in _cases(threads):
            own = [(name, worker) for (name, n), worker in workers.items() if n == count]
            for _, worker in own:
                worker.call("measure", X[:size])
            tasks = {name: partial(worker.call, "measure", size) for name, worker in own}
            rounds = interleave(tasks, options.choose(15, 3), warm_up=0, rest=0.01)
            for name in tasks:
                rows[name][f"us_{size}_{count}"] = 1e6 * rounds.median(name)
                rows[name][f"us_best_{size}_{count}"] = 1e6 * rounds.best(name)
                rows[name][f"ratio_{size}_{count}"] = rounds.ratio(name, OWN)
    return [_section(columns, list(rows.values()))]


def _cases(threads: list[int]) -> list[tuple[int, int]]:
    """(rows, threads): one row is nothing to share out."""
    return [(1, threads[0]), *((ROWS, count) for count in threads)]


def _compare(workers: dict[Any, Worker], rows: dict[str, dict[str, Any]], X: Any, threads: int) -> None:
    """Put down how far everybody's outputs are from nnkit's."""
    raw = workers[OWN, threads].call("outputs", X)
    odds = np.exp(raw - raw.max(axis=1, keepdims=True))
    shares = odds / odds.sum(axis=1, keepdims=True)
    for (name, count), worker in workers.items():
        if count == threads:
            expected = shares if PREDICTORS[name].probabilities else raw
            rows[name]["difference"] = float(np.abs(worker.call("outputs", X) - expected).max())


def _section(columns: list[Column], rows: list[dict[str, Any]]) -> Section:
    notes = [
        "Microseconds per call from Python, float32, medians of the rounds. Rows come in the library's own kind of array, and "
        "the outputs are ready when the call returns.",
        "In a user's @njit loop (prange, with two threads) and through the C function rows go one by one, also when there are "
        "many; one row in the loop is a thousandth of a loop over 1000.",
        "torch in inference_mode; TorchScript traced, frozen; JAX jitted with constant weights; scikit-learn by predict_proba.",
    ]
    warnings = [f"{row['name']}: its outputs differ from nnkit's by {row['difference']:.1e}"
                for row in rows if not row.get("difference", 0.0) <= TOLERANCE]  # fmt: skip
    return Section("Inference, 64-128-64-10 relu", columns, rows, notes, warnings)
