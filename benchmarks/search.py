"""Searches with their fits side by side, beside scikit-learn's: of all candidates, and by successive halving."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from .learners import FOLDS, RATES, SIZES, NnkitLearner, SklearnLearner
from .registry import Options, suite
from .report import Column, Section, duration, versus
from .timing import Figures, interleave
from .training import OWN, REST, start
from .worker import usable_cores
from .workloads import TABLES

__all__ = ["search"]

PEER = "scikit-learn"
EPOCHS, LAST_EPOCHS = 10, 90  # of each fit of the grid, and of the last rung
DIGITS = TABLES[0]


def _seconds(make: Callable[[], Any], X: Any, y: Any, jobs: int | None = None) -> Figures:
    """Seconds of a search, without the fit of the best to all rows; with ``jobs``, in so many of loky's processes."""
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    searcher = make()
    with ExitStack() as stack:
        if jobs is not None:
            stack.enter_context(threadpool_limits(1))
            stack.enter_context(parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1))
        begin = time.perf_counter()
        searcher.fit(X, y)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "score": float(searcher.best_score_)}


class Ours(NnkitLearner):
    """nnkit's estimators in its own searches, and in scikit-learn's."""

    def ours(self, epochs: int, halving: bool) -> Figures:
        """nnkit's search, in as many threads as there are."""
        import nnkit as nn

        kind = nn.HalvingSearchCV if halving else nn.SearchCV
        return _seconds(partial(kind, self.make(epochs, 0), _grid(self), cv=FOLDS, refit=False, progress=False), self.X, self.y)

    def theirs(self, epochs: int, halving: bool) -> Figures:
        """scikit-learn's search, one fit after the other."""
        return _seconds(partial(_sklearn_search, self, epochs, "epochs" if halving else None), self.X, self.y, 1)


class Sklearn(SklearnLearner):
    """scikit-learn's estimators in its searches."""

    def theirs(self, epochs: int, halving: bool) -> Figures:
        return _seconds(partial(_sklearn_search, self, epochs, "max_iter" if halving else None), self.X, self.y, self.threads)


def _grid(learner: NnkitLearner | SklearnLearner) -> dict[str, Any]:
    assert learner.grid is not None
    return dict(zip(learner.grid, (RATES, SIZES), strict=True))


def _sklearn_search(learner: NnkitLearner | SklearnLearner, epochs: int, resource: str | None) -> Any:
    """scikit-learn's search; ``resource`` counts epochs, where it is one by halves."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV

    net, grid = learner.make(epochs, 0), _grid(learner)
    if resource is None:
        return GridSearchCV(net, grid, cv=FOLDS, refit=False)
    return HalvingGridSearchCV(net, grid, cv=FOLDS, resource=resource, max_resources=epochs, return_train_score=False)


@suite("search", "a grid search and successive halving over nets of digits, side by side, beside scikit-learn's")
def search(options: Options) -> list[Section]:
    threads = [count for count in options.threads if count <= len(usable_cores())]
    warned = [f"{count} threads were asked for, {len(usable_cores())} cores are usable: not measured"
              for count in options.threads if count not in threads]  # fmt: skip
    with ExitStack() as stack:
        workers = {(name, count): worker for count in threads
                   for name, worker in start(stack, count, {OWN: Ours, PEER: Sklearn}).items()}  # fmt: skip
        for worker in workers.values():
            worker.call("prepare", DIGITS, 1)
        sections = [_section(workers, threads, options, halving) for halving in (False, True)]
        for worker in workers.values():
            worker.call("end_search")
    sections[0].warnings.extend(warned)
    return sections


def _section(workers: dict[tuple[str, int], Any], threads: list[int], options: Options, halving: bool) -> Section:
    epochs = options.choose(LAST_EPOCHS if halving else EPOCHS, 9 if halving else 1)
    ours, theirs = ("HalvingSearchCV", "HalvingGridSearchCV") if halving else ("SearchCV", "GridSearchCV")
    ways: dict[tuple[str, int], Any] = {(f"nn.{ours}, NNClassifier", count): ((OWN, count), "ours") for count in threads}
    ways |= {(f"{theirs}, NNClassifier", 1): ((OWN, count), "theirs") for count in threads if count == 1}
    ways |= {(f"{theirs}, MLPClassifier", count): ((PEER, count), "theirs") for count in threads}
    tasks = {way: partial(workers[key].call, method, epochs, halving) for way, (key, method) in ways.items()}
    rounds, first = interleave(tasks, options.choose(5, 1), rest=REST), next(iter(ways))
    rows = [
        {"search": name, "jobs": count, "seconds": rounds.median(way), "seconds_best": rounds.best(way),
         "score": rounds.median(way, "score"), "ratio": rounds.ratio(way, first)}
        for way in ways for name, count in [way]
    ]  # fmt: skip
    columns = [Column("search", "search", left=True), Column("n_jobs", "jobs", str),
               Column("time", ("seconds", "ratio"), (duration, versus)), Column("best score", "score")]  # fmt: skip
    fits = f"{len(RATES) * len(SIZES) * FOLDS} fits of {epochs} epochs"
    notes = [
        f"Learning rates {RATES} and hidden sizes {SIZES} on digits, {FOLDS} folds, "
        f"{f'{epochs} epochs on the last of three rungs' if halving else fits}, batches of 200, without a fit of the best to "
        "all rows.",
        f"x: time divided by that of {first[0]} with n_jobs={first[1]}. nnkit: threads; MLPClassifier with 2: loky's "
        "processes, started before.",
    ]  # fmt: skip
    return Section("Searches, successive halving" if halving else "Searches, grid", columns, rows, notes)
