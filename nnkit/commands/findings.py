"""What there is to know of a net that has learned: figures, as a table for a terminal and as a picture for a page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import printable
from nnkit.inspect.effects.ranking import draw_bars
from nnkit.inspect.pictures.figure import COLOURS, SEQUENTIAL, text_on
from nnkit.inspect.pictures.learning import plot_figures
from nnkit.inspect.pictures.table import Table, count, number
from nnkit.tables.reading import Table as Data

__all__ = ["Agreement", "Calibration", "Confusion", "Finding", "Importance", "Learning", "Residuals"]

SHOWN = 10  # classes and columns in tables
DRAWN = 30  # the same in pictures
NUMBERED = 12  # classes of a picture that has room for numbers
LETTERS = 24  # of a name in a picture
LETTER = 0.1  # inches that one takes
POINTS, TICKS = 2000, 5  # of a picture
GROUP, GROUPS = 10, 10  # rows of a group of like predictions, at least, and groups, at most
REPEATS = 5  # shuffles of a column
ROWS = 50, 1000  # of the rows that importances are of, at least and at most
PREDICTED, CELLS = 400_000, 1 << 27  # rows and cells that are predicted for them: some seconds
BLOCK = 1 << 22  # cells at once


def _name(text: object) -> str:
    """A name for a picture, where dollars begin no formula."""
    whole = printable(str(text)).replace("\n", "\\n")
    return (whole if len(whole) <= LETTERS else whole[: LETTERS - 3] + "...").replace("$", r"\$")


def _groups(values: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Rows whose values are alike, in groups of about the same size, from the smallest to the greatest."""
    return np.array_split(np.argsort(values, kind="stable"), int(np.clip(len(values) // GROUP, 1, GROUPS)))


class Finding(ABC):
    """Something to know of a net, told twice."""

    @abstractmethod
    def table(self) -> Table:
        """As figures."""

    @abstractmethod
    def draw(self, plt: Any) -> Any:
        """As a picture: matplotlib's figure."""


@dataclass
class Learning(Finding):
    """The losses of the epochs; ``history`` is the estimator's."""

    history: Any

    def table(self) -> Table:
        history = self.history
        names = {"loss": "loss", "val_loss": "validation loss", "val_accuracy": "validation accuracy"}
        known = [name for name in names if name in history]
        places = {*(np.round(np.geomspace(1, history.epochs, 8)).astype(int) - 1).tolist(), self.kept}
        rows = [[str(place + 1), *(number(history[name][place]) for name in known),
                 "kept" if place == history.best_epoch else ""] for place in sorted(places)]  # fmt: skip
        return Table("Training", ["epoch", *(names[name] for name in known), ""], rows)

    @property
    def kept(self) -> int:
        """The epoch, from 0, whose net is saved."""
        history = self.history
        return int(history.epochs - 1 if history.best_epoch is None else history.best_epoch)

    def draw(self, plt: Any) -> Any:
        figures = {name: values for name, values in self.history.items() if name != "lr"}
        panels = len({name.removeprefix("val_") for name in figures})
        figure, axes = plt.subplots(panels, 1, figsize=(5, 3 * panels), squeeze=False)
        plot_figures(figures, self.history.best_epoch, axes)
        return figure


@dataclass
class Confusion(Finding):
    """Which classes rows belong to, and which they are taken for.

    Attributes
    ----------
    column, classes : names
    matrix : (classes, classes) rows of each class (down), and what they are taken for (across)
    """

    column: str
    classes: NDArray[Any]
    matrix: NDArray[np.int64]

    @classmethod
    def of(cls, column: str, classes: NDArray[Any], truth: NDArray[Any], said: NDArray[Any]) -> Confusion:
        """That of labels, true ones and predicted ones; ``classes`` are sorted."""
        matrix = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(matrix, (np.searchsorted(classes, truth), np.searchsorted(classes, said)), 1)
        return cls(column, classes, matrix)

    def table(self) -> Table:
        matrix, classes = self.matrix, self.classes
        rows, right = matrix.sum(axis=1), matrix.diagonal()
        recall = [number(right[i] / rows[i]) if rows[i] else "-" for i in range(len(classes))]
        if len(classes) <= SHOWN:
            headers = [self.column, *(f"as {label}" for label in classes), "recall"]
            cells = [[str(label), *map(str, matrix[i]), recall[i]] for i, label in enumerate(classes)]
            return Table("Rows of each class (lines), and what they were taken for", headers, cells)
        worst = np.argsort(right / np.maximum(rows, 1), kind="stable")[:SHOWN]
        wrong = matrix - np.diag(right)
        cells = [[str(classes[i]), str(rows[i]), recall[i],
                  f"{classes[wrong[i].argmax()]} ({wrong[i].max()})" if wrong[i].any() else "-"] for i in worst]  # fmt: skip
        return Table(f"The {SHOWN} classes of the lowest recall", [self.column, "rows", "recall", "mostly taken for"], cells)

    def draw(self, plt: Any) -> Any:
        size = len(self.classes)
        shares = self.matrix / np.maximum(self.matrix.sum(axis=1, keepdims=True), 1)
        side = float(np.clip(1.5 + 0.55 * size, 4, 9))
        figure, ax = plt.subplots(figsize=(side + 1, side))
        image = ax.imshow(shares, cmap=SEQUENTIAL, vmin=0, vmax=1)
        figure.colorbar(image, ax=ax, label="share of the class", shrink=0.8)
        step = -(-size // DRAWN)
        names = [_name(label) for label in self.classes[::step]]
        crowded = max(map(len, names)) * len(names) * LETTER > side - 1.5
        for axis, turn in ((ax.xaxis, 90 if crowded else 0), (ax.yaxis, 0)):
            axis.set_ticks(range(0, size, step), names, rotation=turn)
        if size <= NUMBERED:
            for (down, across), rows in np.ndenumerate(self.matrix):
                colour = text_on(image.to_rgba(shares[down, across]))
                ax.text(across, down, count(int(rows)), ha="center", va="center", color=colour)
        ax.set(title="Confusion matrix", xlabel="taken for", ylabel=_name(self.column))
        return figure


@dataclass
class Calibration(Finding):
    """Whether probabilities can be believed: of the rows of which the net is 80 % sure, 80 % should be right.

    Attributes
    ----------
    rows : (groups,) of rows of which the net is about as sure
    said : (groups,) the mean probability of the class that they are taken for
    right : (groups,) the share of them that are of this class
    """

    rows: NDArray[np.int64]
    said: NDArray[np.float64]
    right: NDArray[np.float64]

    @classmethod
    def of(cls, sure: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration:
        """That of rows: how sure the net is of what it takes each for, and whether it is right."""
        groups = _groups(sure)
        said, true = (np.array([values[group].mean() for group in groups]) for values in (sure, right))
        return cls(np.array(list(map(len, groups))), said, true)

    def table(self) -> Table:
        off = float(self.rows @ np.abs(self.said - self.right) / self.rows.sum())  # the expected calibration error
        cells = [[f"{said:.1%}", f"{right:.1%}", count(int(rows))]
                 for rows, said, right in zip(self.rows, self.said, self.right, strict=True)]  # fmt: skip
        note = f"Groups of rows, the least sure first; mean difference: {off:.1%}."
        return Table("Calibration: how sure the net is, and how often it is right", ["sure", "right", "rows"], cells, 0, [note])

    def draw(self, plt: Any) -> Any:
        figure, ax = plt.subplots(figsize=(5, 4))
        spread = np.sqrt(self.right * (1 - self.right) / self.rows)
        low = min(self.said.min(), (self.right - spread).min(), 0.95)
        ax.plot([low, 1], [low, 1], color="#888888", linestyle="--", linewidth=1, label="as it should be")
        ax.errorbar(self.said, self.right, spread, color=COLOURS[1], marker="o", markersize=5, capsize=3, label="the net")
        ax.set(title="Calibration", xlabel="how sure the net is", ylabel="how often it is right")
        ax.legend(loc="upper left")
        return figure


@dataclass
class Residuals(Finding):
    """What is wrong with predictions of numbers: ``truth`` and ``said`` are (rows,) of the column."""

    column: str
    truth: NDArray[np.float64]
    said: NDArray[np.float64]

    def table(self) -> Table:
        shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
        found = np.quantile(self.truth - self.said, shares)
        names = ["least", *(f"{share:.0%} are below" for share in shares[1:-1]), "greatest"]
        cells = [[name, number(value)] for name, value in zip(names, found, strict=True)]
        return Table("Residuals", ["", f"{self.column}, true minus predicted"], cells)

    def draw(self, plt: Any) -> Any:
        figure, ax = plt.subplots(figsize=(5, 4))
        some = slice(POINTS)
        ax.plot(self.said[some], (self.truth - self.said)[some], ".", color=COLOURS[1], alpha=0.5, markersize=4)
        ax.axhline(0, color="#888888", linestyle="--", linewidth=1)
        ax.xaxis.set_major_locator(plt.MaxNLocator(TICKS))
        ax.set(title="Residuals", xlabel=f"{_name(self.column)}, predicted", ylabel="true minus predicted")
        return figure


@dataclass
class Agreement(Finding):
    """Whether predictions of numbers are right in the mean, low ones and high ones; as `Residuals` has them."""

    column: str
    truth: NDArray[np.float64]
    said: NDArray[np.float64]

    def table(self) -> Table:
        cells = [[number(self.said[group].mean()), number(self.truth[group].mean()), count(len(group))]
                 for group in _groups(self.said)]  # fmt: skip
        title, note = f"{self.column}: means of groups of rows", "The group of the lowest predictions is the first."
        return Table(title, ["predicted", "true", "rows"], cells, 0, [note])

    def draw(self, plt: Any) -> Any:
        figure, ax = plt.subplots(figsize=(5, 4))
        both = np.concatenate([self.truth, self.said])
        ax.plot([both.min(), both.max()], [both.min(), both.max()], color="#888888", linestyle="--", linewidth=1)
        some = slice(POINTS)
        ax.plot(self.said[some], self.truth[some], ".", color=COLOURS[1], alpha=0.5, markersize=4)
        ax.xaxis.set_major_locator(plt.MaxNLocator(TICKS))
        ax.set(title="Predicted and true", xlabel=f"{_name(self.column)}, predicted", ylabel="true")
        return figure


@dataclass
class Importance(Finding):
    """How much worse predictions are where a column's cells are those of other rows.

    Attributes
    ----------
    measure : what falls, such as "accuracy"
    names : of the columns, the most important one first
    mean, spread : (columns,) how much it falls, and the standard deviation over the shuffles
    rows : of which predictions were looked at
    columns : of the table; a very wide one has more than ``names``
    """

    measure: str
    names: list[str]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    rows: int
    columns: int

    @classmethod
    def of(cls, net: Any, X: Data, score: Callable[[NDArray[Any], NDArray[Any]], float], measure: str, seed: int) -> Importance:
        """That of the columns of a table, where ``score`` says what predictions of some of its rows are worth.

        Many shuffled copies are predicted at once: of a wide table, each call takes its time for every column.

        References
        ----------
        Breiman 2001, "Random forests", section 10.
        """
        random, wide = np.random.RandomState(seed), len(X.names)
        affordable = min(PREDICTED, CELLS // wide) // REPEATS  # rows, times columns that are shuffled
        rows = random.permutation(X.rows)[: int(np.clip(affordable // wide, *ROWS))]
        looked = min(wide, max(1, affordable // len(rows)))
        shuffles = [(place, random.permutation(rows)) for place in range(looked) for _ in range(REPEATS)]
        plain, at_once, falls = score(rows, net.predict(X.take(rows))), max(1, BLOCK // (len(rows) * wide)), []
        for first in range(0, len(shuffles), at_once):
            some = shuffles[first : first + at_once]
            sources = np.tile(rows[:, None], (len(some), 1, wide))  # (copies, rows, columns): from which row a cell comes
            for copy, (place, others) in zip(sources, some, strict=True):
                copy[:, place] = others
            said = np.split(net.predict(X.take(sources.reshape(-1, wide))), len(some))
            falls += [plain - score(rows, given) for given in said]
        found = np.array(falls).reshape(looked, REPEATS).round(12)  # two falls and two rises may leave their rounding
        order = np.argsort(-found.mean(axis=1), kind="stable")
        names = [X.names[place] for place in order]
        return cls(measure, names, found.mean(axis=1)[order], found.std(axis=1)[order], len(rows), wide)

    def table(self) -> Table:
        cells = [[name, number(mean), number(spread)]
                 for name, mean, spread in zip(self.names[:SHOWN], self.mean, self.spread, strict=False)]  # fmt: skip
        notes = [f"Shuffled {REPEATS} times in {count(self.rows)} rows; +- is the standard deviation."]
        if len(self.names) > SHOWN:
            notes.append(f"{SHOWN} of {count(len(self.names))} columns.")
        if len(self.names) < self.columns:
            notes.append(f"Only the first {count(len(self.names))} of {count(self.columns)} columns were shuffled.")
        title = f"The most important columns: how much {self.measure} falls where one is shuffled"
        return Table(title, ["column", "falls by", "+-"], cells, notes=notes)

    def draw(self, plt: Any) -> Any:
        xlabel, names = f"how much {self.measure} falls where it is shuffled", list(map(_name, self.names))
        axes = draw_bars("--report", names, self.mean[:, None], [""], xlabel, None, self.spread)
        axes.set_title("The most important columns")
        return axes.figure
