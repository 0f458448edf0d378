"""NNClassifier and NNRegressor beside scikit-learn's MLPs and skorch: fits, predictions, grid searches, accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import ExitStack
from functools import partial
from statistics import mean, stdev
from typing import Any

from .learners import FOLDS, LEARNERS, RATES, SIZES
from .registry import Options, suite
from .report import Column, Section, duration, number, versus
from .timing import Rounds, interleave
from .training import OWN, REST, Workers, attempt, losses, start
from .worker import usable_cores
from .workloads import TABLES, Workload

__all__ = ["estimators"]

PEERS = tuple(name for name in LEARNERS if name != OWN)
SEARCHED = tuple(name for name, kind in LEARNERS.items() if kind.grid)
DIGITS, DIABETES, *_ = TABLES
THREADING, LOKY = "threading", "loky"  # joblib's backends
SEARCH_EPOCHS = 10
MEMBERS = 8


@suite("estimators", "fit, predict, grid search and accuracy of NNClassifier and NNRegressor, scikit-learn's MLPs, skorch")
def estimators(options: Options) -> list[Section]:
    threads = [count for count in options.threads if count <= len(usable_cores())]
    with ExitStack() as stack:
        workers: Workers = {(name, count): worker for count in threads
                            for name, worker in start(stack, count, LEARNERS).items()}  # fmt: skip
        return [
            *_fits(workers, threads, options),
            _predictions(workers, threads, options),
            _searches(workers, threads, options),
            _ensembles(workers, threads, options),
            _scores(workers, threads, options),
        ]


def _prepare(workers: Workers, workload: Workload, epochs: int, warnings: list[str]) -> Workers:
    """Give everybody the workload; return those who have taken it."""
    for key, worker in list(workers.items()):
        if not isinstance(worker, str):
            attempt(workers, key, warnings, workload.name, "prepare", workload, epochs)
    return {key: worker for key, worker in workers.items() if not isinstance(worker, str)}


def _row(about: dict[str, Any], rounds: Rounds, own: Hashable, peers: Mapping[str, Any], workers: Workers) -> dict[str, Any]:
    """Seconds of nnkit and of others by their name, and the ratios."""
    row = {**about, "seconds": rounds.median(own), "seconds_best": rounds.best(own)}
    for peer, key in peers.items():
        if key in rounds:
            row[f"{peer}_seconds"] = rounds.median(key)
            row[f"{peer}_seconds_best"] = rounds.best(key)
            row[f"{peer}_ratio"] = rounds.ratio(key, own)
        else:
            row[f"{peer}_seconds"] = workers.get(key)
    return row


def _columns(what: str, count: str, own: str, peers: Mapping[str, str]) -> list[Column]:
    """Columns for such rows; ``peers`` has the headers."""
    return [
        Column(what, "workload", left=True),
        Column(count, "threads", str),
        Column(own, "seconds", duration),
        *(Column(header, (f"{peer}_seconds", f"{peer}_ratio"), (duration, versus)) for peer, header in peers.items()),
    ]


def _fits(workers: Workers, threads: list[int], options: Options) -> list[Section]:
    rows: list[dict[str, Any]] = []
    warnings = [f"{count} threads were asked for, {len(usable_cores())} cores are usable: not measured"
                for count in options.threads if count not in threads]  # fmt: skip
    for workload in TABLES:
        ready = _prepare(workers, workload, options.choose(workload.epochs, workload.quick), warnings)
        tasks = {key: partial(worker.call, "fit") for key, worker in ready.items()}
        rounds = interleave(tasks, options.choose(5, 1), warm_up=0, rest=REST)
        for count in threads:
            peers = {peer: (peer, count) for peer in PEERS}
            about = {"workload": workload.name, "threads": count, "tolerance": workload.tolerance}
            row = _row(about, rounds, (OWN, count), peers, workers)
            row["loss"] = rounds.median((OWN, count), "loss")
            for peer, key in peers.items():
                row[f"{peer}_loss"] = rounds.median(key, "loss") if key in rounds else workers[key]
            rows.append(row)
    epochs = ", ".join(f"{workload.name} {options.choose(workload.epochs, workload.quick)}" for workload in TABLES)
    notes = [
        "Wall time of fit from scratch, kernels in the cache; medians of the rounds. x: the peer's time divided by nnkit's.",
        "Everybody: float32, 100 hidden relu units, Adam with lr 1e-3, batches of 200, no penalty, all epochs, all rows.",
        f"Epochs: {epochs}. skorch: OMP_WAIT_POLICY=passive, which says little about two "
        "threads; with spinning ones it is as fast as with one on quiet cores, and many times slower on busy ones.",
    ]
    times = Section("Estimators, fit", _columns("data", "thr", OWN, {peer: peer for peer in PEERS}), rows, notes, warnings)
    compared = losses("Estimators, last training loss", rows, PEERS)
    compared.notes.append("Each library draws initial weights of its own kind; MLPRegressor's half is taken back.")
    return [times, compared]


def _predictions(workers: Workers, threads: list[int], options: Options) -> Section:
    rows: list[dict[str, Any]] = []
    warnings: list[str] = []
    ready = _prepare(workers, DIGITS, 1, warnings)
    for size, counts in ((1, threads[:1]), (options.choose(100_000, 20_000), threads)):  # one row is nothing to share out
        asked = {key: worker for key, worker in ready.items() if key[1] in counts}
        for worker in asked.values():
            worker.call("watch", size, options.choose(20, 5) * 1e-3)
        tasks = {key: partial(worker.call, "predict", size) for key, worker in asked.items()}
        rounds = interleave(tasks, options.choose(7, 1), warm_up=0, rest=REST)
        name = f"{size:,} row{'s' * (size > 1)}".replace(",", " ")
        rows += [
            _row({"workload": name, "threads": count}, rounds, (OWN, count), {peer: (peer, count) for peer in PEERS}, workers)
            for count in counts
        ]
    notes = ["predict of the digits' classifiers, from array to labels; skorch goes through batches of 200 rows."]
    columns = _columns("predict", "thr", OWN, {peer: peer for peer in PEERS})
    return Section("Estimators, predict", columns, rows, notes, warnings)


def _searches(workers: Workers, threads: list[int], options: Options) -> Section:
    warnings: list[str] = []
    epochs = options.choose(SEARCH_EPOCHS, 1)
    ready = _prepare({key: worker for key, worker in workers.items() if key[0] in SEARCHED}, DIGITS, epochs, warnings)
    tasks: dict[Hashable, Any] = {
        (name, count, backend): partial(worker.call, "search", count, backend)
        for (name, count), worker in ready.items() for backend in (THREADING, LOKY)[: 1 + (count > 1)]
    }  # fmt: skip
    rounds = interleave(tasks, options.choose(3, 1), rest=REST)
    for (_, count), worker in ready.items():
        if count > 1:
            worker.call("end_search")
    others = {f"{name} {backend}": (name, backend) for name in SEARCHED for backend in (THREADING, LOKY)
              if (name, backend) != (OWN, THREADING)}  # fmt: skip
    rows = [
        _row({"workload": f"{len(RATES)} x {len(SIZES)} grid, {FOLDS} folds", "threads": count}, rounds,
             (OWN, count, THREADING), {title: (name, count, backend) for title, (name, backend) in others.items()}, workers)
        for count in threads
    ]  # fmt: skip
    best = ", ".join(f"{name} {rounds.median((name, threads[0], THREADING), 'score'):.3f}" for name in SEARCHED)
    notes = [
        f"GridSearchCV over learning rates {RATES} and hidden sizes {SIZES} on digits, {epochs} epochs a fit, with the fit of "
        "the best to all rows.",
        "threading, loky: joblib's backend (n_jobs=1 needs none); one thread a job; loky's processes have been started before.",
        f"x: time divided by that of nnkit with threading and as many jobs. Best accuracy: {best}.",
    ]
    columns = _columns("search", "n_jobs", f"{OWN}\n{THREADING}", {title: title.replace(" ", "\n") for title in others})
    return Section("Estimators, grid search", columns, rows, notes, warnings)


def _ensembles(workers: Workers, threads: list[int], options: Options) -> Section:
    warnings: list[str] = []
    epochs = options.choose(DIGITS.epochs, 1)
    ready = _prepare({key: worker for key, worker in workers.items() if key[0] in SEARCHED}, DIGITS, epochs, warnings)
    tasks = {key: partial(worker.call, "fit_bag", MEMBERS) for key, worker in ready.items()}
    rounds = interleave(tasks, options.choose(3, 1), rest=REST)
    for (_, count), worker in ready.items():
        if count > 1:
            worker.call("end_search")
    peers = [name for name in SEARCHED if name != OWN]
    rows = [_row({"workload": f"digits, {MEMBERS} nets", "threads": count}, rounds, (OWN, count),
                 {peer: (peer, count) for peer in peers}, workers) for count in threads]  # fmt: skip
    scores = ", ".join(f"{name} {rounds.median((name, threads[0]), 'score'):.3f}" for name in SEARCHED)
    notes = [
        f"NNClassifier(n_members={MEMBERS}, resample='bootstrap') beside BaggingClassifier(MLPClassifier(...), {MEMBERS}, "
        f"n_jobs=...): a fit of {epochs} epochs a net to three quarters of the rows. x: the peer's time divided by nnkit's.",
        f"Accuracy of the mean on the other rows: {scores}.",
    ]
    columns = _columns("ensemble", "thr", OWN, {peer: f"{peer}\nbagging" for peer in peers})
    return Section("Estimators, several nets", columns, rows, notes, warnings)


def _scores(workers: Workers, threads: list[int], options: Options) -> Section:
    seeds = options.choose(5, 2)
    rows = []
    for workload, score in ((DIGITS, "accuracy"), (DIABETES, "R2")):
        row: dict[str, Any] = {"workload": f"{workload.name}, {score}", "epochs": workload.epochs}
        for name in SEARCHED:
            worker = workers[name, threads[0]]
            worker.call("prepare", workload, workload.epochs)
            scores = worker.call("scores", seeds)
            row |= {f"{name}_scores": scores, f"{name}_mean": mean(scores), f"{name}_sd": stdev(scores)}
        rows.append(row)
    columns = [
        Column("data, score", "workload", left=True),
        Column("epochs", "epochs", str),
        *(Column(name, (f"{name}_mean", f"{name}_sd"), (number, lambda value: f"+- {value:.3f}")) for name in SEARCHED),
    ]
    notes = [f"Mean and standard deviation of {seeds} seeds, each with its own split (a quarter held out) and weights."]
    return Section("Estimators, held-out score", columns, rows, notes)
