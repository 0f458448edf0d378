"""What `nnkit train` tells of a net, its training and its worth: paragraphs and tables, on the screen and in the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.commands.findings import Finding, Importance, Learning
from nnkit.commands.tasks import Task
from nnkit.commands.ways import Parts
from nnkit.core.terminal import folded, width_of
from nnkit.errors import printable
from nnkit.inspect.pictures.table import Table, number, several
from nnkit.tables.reading import Table as Data

__all__ = ["Told", "about_scores", "findings_of", "how_it_ended", "judging"]

WIDTH = 78

Block = str | Table | Finding


class Told:
    """What is printed, kept for the report: ``blocks`` one after the other, ``text`` as it stands on the screen."""

    def __init__(self) -> None:
        self.text = ""
        self.blocks: list[Block] = []

    def say(self, text: str, wrap: bool = True) -> None:
        """A paragraph, its later lines indented."""
        self.blocks.append(text)
        self._print(_paragraph(text) if wrap else text)

    def show(self, *blocks: Block) -> None:
        """Tables and paragraphs, with empty lines between."""
        self.blocks += blocks
        shown = [_paragraph(block) if isinstance(block, str) else block.table() if isinstance(block, Finding) else block
                 for block in blocks]  # fmt: skip
        self._print("\n" + "\n\n".join(map(str, shown)) + "\n")

    def _print(self, text: str) -> None:
        text = printable(text)  # names of columns and files are anybody's
        print(text, flush=True)
        self.text += f"{text}\n"


def _paragraph(text: str) -> str:
    """Text in lines that fit, the later ones indented."""
    return folded(text, min(WIDTH, width_of(sys.stdout, WIDTH)), indent="  ")


def how_it_ended(history: Any) -> str:
    """How long training took, and why it is over."""
    reason = "all epochs done" if history.stopped == "finished" else history.stopped.replace("val_loss", "the validation loss")
    if history.best_epoch is not None:
        reason += f"; the net of epoch {history.best_epoch + 1} is kept"
    elif history.stopped == "interrupted":
        reason += ": the net is saved as it was then"
    return (f"{several(history.epochs, 'epoch')}, {several(history.steps, 'step')} in {history.seconds:.2f} s, "
            f"{history.compile_seconds:.2f} s more to compile or load kernels; {reason}")  # fmt: skip


def predictions(net: Any, X: Data) -> NDArray[Any]:
    """What a net says of rows, (rows, targets)."""
    return np.asarray(net.predict(X)).reshape(X.rows, -1)


def judging(parts: Parts) -> str:
    """Which rows say best how good a net is: those that it was not made with."""
    return next(name for name in ("test", "validation", "training") if name in parts)


def about_scores(net: Any, tasks: Sequence[Task], X: Data, parts: Parts) -> Table:
    """What the predictions are worth, beside the best guess without a net."""
    history, best = net.history_, parts[judging(parts)]
    losses = [number(history[name][Learning(history).kept]) for name in ("loss", "val_loss") if name in history]
    rows = [["loss", *losses, *[""] * (len(parts) + 1 - len(losses))]]
    said, words = {name: predictions(net, X.take(of)) for name, of in parts.items()}, ""
    for place, task in enumerate(tasks):
        words, value = task.guess(task.y[parts["training"]])
        columns = [task.scores(task.y[of], said[name][:, place]) for name, of in parts.items()]
        columns.append(task.scores(task.y[best], np.full(len(best), value)))
        what = "" if len(tasks) == 1 else f" of {task.column}"
        rows += [[f"{name}{what}", *(number(column[name]) for column in columns)] for name in columns[0]]
    notes = [task.note for task in tasks if task.note]
    if history.best_epoch is not None:
        notes.append("The validation rows have chosen the epoch: their score is a little flattering.")
    return Table("Result", ["", *parts, words if len(tasks) == 1 else "always the mean"], rows, notes=notes)


def findings_of(net: Any, tasks: Sequence[Task], X: Data, parts: Parts, seed: int) -> list[Finding]:
    """What there is to know of a net, from the rows that say it best."""
    best = parts[judging(parts)]
    table, probable = X.take(best), getattr(net, "predict_proba", None)
    said, probabilities = predictions(net, table), None if probable is None else probable(table)
    told = [item for place, task in enumerate(tasks) for item in task.findings(best, said[:, place], probabilities)]

    def score(rows: NDArray[np.int64], given: NDArray[Any]) -> float:
        each = [next(iter(task.scores(task.y[best[rows]], column).values()))
                for task, column in zip(tasks, given.reshape(len(rows), -1).T, strict=True)]  # fmt: skip
        return float(np.mean(each))

    measure = next(iter(tasks[0].scores(tasks[0].y[best], said[:, 0])))
    return [*told, Importance.of(net, table, score, measure, seed)]
