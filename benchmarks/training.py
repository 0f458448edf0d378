"""Training steps beside PyTorch, JAX with optax, and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from .peers import TRAINERS, Peak
from .registry import Options, suite
from .report import Column, Section, number, ratio, versus
from .timing import Rounds, interleave
from .worker import Unavailable, Worker, usable_cores
from .workloads import WORKLOADS, Problem, make_problem

__all__ = ["OWN", "REST", "Workers", "attempt", "losses", "side_by_side", "start", "training"]

OWN = "nnkit"
REST = 0.03  # seconds: the thread pools of OpenMP and OpenBLAS spin for less

Workers = dict[tuple[str, int], Any]  # by library and threads; a string says why there is none


def start(stack: ExitStack, threads: int, makes: dict[str, Any]) -> dict[str, Worker | str]:
    """A worker for each; where its library is missing or fails, what to print in its place."""
    workers: dict[str, Worker | str] = {}
    for name, make in makes.items():
        try:
            workers[name] = stack.enter_context(Worker(make, threads, threads=threads))
        except Unavailable:
            workers[name] = "not installed"
    return workers


def attempt(workers: Workers, key: tuple[str, int], warnings: list[str], what: str, *request: Any) -> Any:
    """Ask a worker for something; put down where it fails: a peer's trouble must not end the run."""
    try:
        return workers[key].call(*request)
    except RuntimeError as error:
        if key[0] == OWN:
            raise
        workers[key] = "failed"
        warnings.append(f"{key[0]}, {what}, n_threads={key[1]}: {str(error).strip().splitlines()[-1]}")
        return None


@suite("training", "us per training step, the ratio to each peer, share of the machine's peak; final losses compared")
def training(options: Options) -> list[Section]:
    notes = ["Nets are sizes, activation, loss, batch. SimpleChains has one step per epoch."]
    return side_by_side("Training", WORKLOADS, TRAINERS, lambda workload, workers: make_problem(workload), options, notes)


def side_by_side(
    title: str, workloads: Sequence[Any], trainers: dict[str, Any], problem_of: Callable[[Any, Workers], Problem],
    options: Options, more: Sequence[str],
) -> list[Section]:  # fmt: skip
    """Let all trainers have all workloads; tables of times and of final losses."""
    peers = [name for name in trainers if name != OWN]
    threads = [count for count in options.threads if count <= len(usable_cores())]
    with ExitStack() as stack:
        workers: Workers = {(name, count): worker for count in threads
                            for name, worker in start(stack, count, {**trainers, "peak": Peak}).items()}  # fmt: skip
        rows: list[dict[str, Any]] = []
        notes: dict[str, list[str]] = {}
        warnings = [f"{count} threads were asked for, {len(usable_cores())} cores are usable: not measured"
                    for count in options.threads if count not in threads]  # fmt: skip
        for workload in workloads:
            problem = problem_of(workload, workers)
            measured = _measure(problem, workers, options, notes, warnings)
            rows += [_row(problem, measured, workers, count, peers) for count in threads]
    told = [*more, *(f"{note}: {', '.join(where)} thread(s)." for note, where in notes.items())]
    return [_times(title, rows, peers, told, warnings), losses(f"{title}, loss of the last epoch", rows, peers)]


def _measure(
    problem: Problem, workers: Workers, options: Options, notes: dict[str, list[str]], warnings: list[str]
) -> Rounds:
    workload = problem.workload
    epochs = options.choose(workload.epochs, workload.quick)
    tasks: dict[Any, Any] = {}
    for (name, count), worker in list(workers.items()):
        if isinstance(worker, str):
            continue
        if name == "peak":
            tasks[name, count] = partial(worker.call, "measure")
            continue
        note = attempt(workers, (name, count), warnings, workload.name, "prepare", problem)
        if note:
            notes.setdefault(note, []).append(f"{workload.name} with {count}")
        if workers[name, count] is worker:
            tasks[name, count] = partial(worker.call, "measure", epochs)
    return interleave(tasks, options.choose(15, 3), rest=REST)


def _row(problem: Problem, rounds: Rounds, workers: Workers, threads: int, peers: Sequence[str]) -> dict[str, Any]:
    workload, own, peak = problem.workload, (OWN, threads), ("peak", threads)
    row: dict[str, Any] = {
        "workload": workload.name, "net": workload.net, "threads": threads,
        "steps_per_epoch": problem.steps_per_epoch, "flops_per_step": workload.flops,
        "us": 1e6 * rounds.median(own), "us_best": 1e6 * rounds.best(own), "us_loop": 1e6 * rounds.median(own, "loop"),
        "fit_by_loop": rounds.ratio(own, own, "seconds", "loop"),
        "gflops": 1e-9 * workload.flops / rounds.median(own),
        "gflops_peak": rounds.median(peak, "gflops"),
        "percent_of_peak": 100 * workload.flops / Peak.FLOPS * rounds.ratio(peak, own),
        "percent_of_peak_loop": 100 * workload.flops / Peak.FLOPS * rounds.ratio(peak, own, by_name="loop"),
        "percent_of_peak_best": 100 * workload.flops / Peak.FLOPS * rounds.best(peak) / rounds.best(own),
        "loss": rounds.median(own, "loss"), "tolerance": workload.tolerance,
    }  # fmt: skip
    if threads > 1 and (OWN, 1) in rounds:
        row["own_single"] = rounds.ratio((OWN, 1), own)
    for peer in peers:
        key = (peer, threads)
        if key in rounds:
            row[f"{peer}_us"] = 1e6 * rounds.median(key)
            row[f"{peer}_us_best"] = 1e6 * rounds.best(key)
            row[f"{peer}_ratio"] = rounds.ratio(key, own)
            row[f"{peer}_loss"] = rounds.median(key, "loss")
        else:
            row[f"{peer}_us"] = row[f"{peer}_loss"] = workers[key]
    return row


def _percent(value: float) -> str:
    return f"{value:.0f}"


def _times(
    title: str, rows: list[dict[str, Any]], peers: Sequence[str], notes: Sequence[str], warnings: list[str]
) -> Section:
    columns = [
        Column("workload", "workload", left=True),
        Column("thr", "threads", str),
        Column("fit", "us"),
        Column("best", "us_best"),
        Column("loop", "us_loop"),
        Column("fit/\nloop", "fit_by_loop", lambda value: f"{value:.2f}"),
        Column("GFLOP\n/s", "gflops"),
        Column("%\npeak", "percent_of_peak", _percent),
        Column("loop\n%", "percent_of_peak_loop", _percent),
        Column("own 1\nthread", "own_single", ratio),
        *(Column(peer, (f"{peer}_us", f"{peer}_ratio"), (number, versus)) for peer in peers),
    ]
    nets = {row["workload"]: f"{row['workload']}: {row['net']}" for row in rows}
    notes = [
        "Microseconds per step (gather, forward, loss, backward, Adam), float32, same initial weights; medians of the rounds.",
        "fit: wall time of Sequential.fit, planning included; best: its best round; loop: the part spent in the compiled loop.",
        "own 1 thread: nnkit's time with 1 thread divided by this one. x: the peer's time divided by nnkit's.",
        f"% peak: share of the speed of np.dot of two {Peak.SIZE} x {Peak.SIZE} matrices with as many threads, in "
        "the same rounds; loop %: of the loop alone.",
        f"{'; '.join(nets.values())}.",
        *notes,
    ]
    return Section(f"{title}, us per step", columns, rows, notes, warnings)


def losses(title: str, rows: list[dict[str, Any]], peers: Sequence[str]) -> Section:
    """What everybody ends at, with a warning where a peer is far from nnkit."""
    columns = [
        Column("workload", "workload", left=True),
        Column("thr", "threads", str),
        Column("nnkit", "loss"),
        *(Column(peer, f"{peer}_loss") for peer in peers),
    ]
    warnings = []
    for row in rows:
        for peer in peers:
            loss = row[f"{peer}_loss"]
            if not isinstance(loss, str) and not abs(loss - row["loss"]) <= row["tolerance"] * row["loss"]:
                warnings.append(f"{row['workload']}, n_threads={row['threads']}: {peer} ends at {number(loss)}, nnkit at "
                                f"{number(row['loss'])}: more than {row['tolerance']:.0%} apart")  # fmt: skip
    notes = ["Medians of the rounds, after the same epochs."]
    return Section(title, columns, rows, notes, warnings)
