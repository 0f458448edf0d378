"""What `nnkit train` tells of a net, its training and its worth: paragraphs and tables, on the screen and in the report."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.commands.tasks import Task
from nnkit.errors import printable
from nnkit.inspect.pictures.table import Table, count, number
from nnkit.network import network_of

__all__ = ["Told", "about_net", "about_scores", "about_training", "how_it_ended"]

WIDTH = 78


class Told:
    """What is printed, kept for the report."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, text: str, wrap: bool = True) -> None:
        """A paragraph, its later lines indented."""
        self._print("\n".join(textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)) if wrap else text)

    def show(self, *tables: Table) -> None:
        """Tables, with empty lines between."""
        self._print("\n" + "\n\n".join(map(str, tables)) + "\n")

    def _print(self, text: str) -> None:
        text = printable(text)  # names of columns and files are anybody's
        print(text, flush=True)
        self.text += f"{text}\n"


def about_net(net: Any) -> Table:
    """The layers, one below the other."""
    rows = [[name_of(built.layer), " x ".join(map(str, built.out_shape)),
             count(sum(int(np.prod(item.shape)) for item in built.parameters.values()))]
            for _, built in network_of(net, "train").root.walk()]  # fmt: skip
    return Table(f"Net ({net.dtype})", ["layer", "outputs", "parameters"], rows)


def name_of(layer: Any) -> str:
    """A layer as it can be typed, or only its class where that is long."""
    text = repr(layer)
    return text if len(text) <= WIDTH // 2 else type(layer).__name__


def about_training(history: Any) -> Table:
    """The losses of some epochs: the first, the last, the one that is kept."""
    places = {*(np.round(np.geomspace(1, history.epochs, 8)).astype(int) - 1).tolist(), kept(history)}
    figures = {"loss": "loss", "val_loss": "held-out loss"}
    known = [name for name in figures if name in history]
    rows = [[str(place + 1), *(number(history[name][place]) for name in known),
             "kept" if place == history.best_epoch else ""] for place in sorted(places)]  # fmt: skip
    return Table("Training", ["epoch", *(figures[name] for name in known), ""], rows)


def kept(history: Any) -> int:
    """The epoch, from 0, whose net is saved."""
    return history.epochs - 1 if history.best_epoch is None else int(history.best_epoch)


def how_it_ended(history: Any) -> str:
    """How long training took, and why it is over."""
    reasons = {"finished": "all epochs done", "interrupted": "interrupted: the net is saved as it was then"}
    reason = reasons.get(history.stopped, history.stopped.replace("val_loss", "the held-out loss"))
    if history.best_epoch is not None:
        reason += f"; the net of epoch {history.best_epoch + 1} is kept"
    return (f"{history.epochs} epochs, {count(history.steps)} steps in {history.seconds:.2f} s, "
            f"{history.compile_seconds:.2f} s more to compile or load kernels; {reason}")  # fmt: skip


def about_scores(estimator: Any, task: Task, X: NDArray[Any], train: NDArray[Any], held: NDArray[Any]) -> list[Table]:
    """What the predictions are worth, beside the best guess without a net."""
    history, parts = estimator.history_, {"trained on": train, "held out": held} if len(held) else {"trained on": train}
    said = {name: estimator.predict(X[rows]) for name, rows in parts.items()}
    judged = parts["held out"] if len(held) else train
    words, value = task.guess(task.y[train])
    columns = [task.scores(task.y[rows], said[name]) for name, rows in parts.items()]
    columns.append(task.scores(task.y[judged], np.full(len(judged), value)))
    losses = [number(history[name][kept(history)]) for name in ("loss", "val_loss") if name in history]
    rows = [[f"{estimator.loss.key} loss", *losses, ""],
            *([name, *(number(column[name]) for column in columns)] for name in columns[0])]  # fmt: skip
    notes = [task.note] if task.note else []
    if history.best_epoch is not None:
        notes.append("The held-out rows have chosen the epoch: their score is a little flattering.")
    result = Table("Result", ["", *parts, words], rows, notes=notes)
    return [result, *(task.details(task.y[held], said["held out"]) if len(held) else [])]
