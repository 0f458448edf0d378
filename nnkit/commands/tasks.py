"""What there is to predict: classes or numbers. How a target column is read, what a prediction is worth, how it is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.commands.cells import likely, remedy, to_labels
from nnkit.commands.data_file import DataFile, Rows, listing
from nnkit.core.loss import Loss
from nnkit.errors import ShapeError
from nnkit.inspect.pictures.table import Table, count, number
from nnkit.tables.text import MISSING, is_code

__all__ = ["TASKS", "Classification", "Regression", "Task", "task_of"]

FEW = 20  # distinct whole numbers that are taken for classes
SHOWN = 10  # classes of a confusion matrix
LARGE = 1e100  # squares of larger numbers may be infinite

Name = Literal["auto", "classification", "regression"]


@dataclass
class Task(ABC):
    """A target column, read.

    Attributes
    ----------
    column : its name
    y : (rows,) labels or numbers
    note : what one has to know of the loss; maybe nothing
    """

    loss: ClassVar[str]  # where the user names none
    column: str
    y: NDArray[Any]
    note: str = ""

    @classmethod
    @abstractmethod
    def of(cls, data: DataFile, column: str, rows: Rows) -> Self:
        """Read and check the target's cells."""

    @abstractmethod
    def estimator(self, **settings: Any) -> Any:
        """An estimator for it, not fitted."""

    @abstractmethod
    def about(self) -> str:
        """What the target is."""

    @abstractmethod
    def split(self, data: DataFile, rows: Rows, share: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Which rows to train on, and which to hold out."""

    @abstractmethod
    def guess(self, train: NDArray[Any]) -> tuple[str, Any]:
        """What one can say without looking at features, knowing the rows ``train``: in words, and as a prediction."""

    @staticmethod
    @abstractmethod
    def truth(data: DataFile, column: str, rows: Rows, chosen: NDArray[Any], dtype: Any) -> NDArray[Any]:
        """The targets of some rows, to compare with predictions of a dtype."""

    @staticmethod
    @abstractmethod
    def scores(y: NDArray[Any], prediction: NDArray[Any]) -> dict[str, float]:
        """What a prediction is worth."""

    def details(self, y: NDArray[Any], prediction: NDArray[Any]) -> list[Table]:
        """More than that."""
        return []

    def scaled(self, loss: Loss, train: NDArray[Any]) -> NDArray[Any]:
        """What the net learns in place of y, by what is known of the rows ``train``."""
        return self.y

    def restore(self, estimator: Any) -> None:  # noqa: B027 - most need not do anything
        """Let an estimator that has learned that predict y."""


def halved(data: DataFile, rows: int, share: float, seed: int, strata: Any = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Numbers of the rows to train on and of those to hold out; with ``strata`` as large a share of each."""
    from sklearn.model_selection import train_test_split

    if share == 0:
        return np.arange(rows), np.arange(0)
    held = round(rows * share)
    least = 1 if strata is None else len(np.unique(strata))
    if not least <= held <= rows - least:
        raise data.error(f"expected at least {least} of {rows} rows to hold out and as many to train on, got --validation "
                          f"{share}, which is {held}; choose another share, or --validation 0")  # fmt: skip
    train, test = train_test_split(np.arange(rows), test_size=held, stratify=strata, random_state=seed)
    return np.sort(train), np.sort(test)


@dataclass
class Classification(Task):
    """Each row belongs to one of several classes."""

    loss = "cross_entropy"

    @classmethod
    def of(cls, data: DataFile, column: str, rows: Rows) -> Self:
        labels = to_labels(rows.labels)
        classes = np.unique(labels)
        if len(classes) < 2:
            raise data.error(f"expected at least two classes in column {column!r}, got {str(classes[0])!r} in all "
                              f"{len(labels)} rows; there is nothing to tell apart")  # fmt: skip
        if len(classes) > FEW and 2 * len(classes) > len(labels):
            raise data.error(f"expected rows of the same class in column {column!r}, got {len(classes)} classes in "
                              f"{len(labels)} rows; is it an id, a text, or a number (--task regression)?")  # fmt: skip
        return cls(column, labels)

    def estimator(self, **settings: Any) -> Any:
        from nnkit.estimators import NNClassifier

        return NNClassifier(**settings)

    def about(self) -> str:
        classes, counts = np.unique(self.y, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return f"{len(classes)} classes: {listing([f'{classes[i]} {count(int(counts[i]))}' for i in order])}"

    def split(self, data: DataFile, rows: Rows, share: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        classes, first, counts = np.unique(self.y, return_index=True, return_counts=True)
        if share and counts.min() == 1:
            alone = np.flatnonzero(counts == 1)
            where = f"{data.unit} {rows.lines[first[alone[0]]]}"
            others = f", and of {len(alone) - 1} more classes" if len(alone) > 1 else ""
            raise data.error(f"expected at least two rows of each class, one to train on and one to hold out, got one of "
                             f"{str(classes[alone[0]])!r} in column {self.column!r} ({where}){others}; remove it, join "
                             "classes, or --validation 0")  # fmt: skip
        return halved(data, len(self.y), share, seed, self.y)

    def guess(self, train: NDArray[Any]) -> tuple[str, Any]:
        classes, counts = np.unique(train, return_counts=True)
        return f"always {classes[counts.argmax()]}", classes[counts.argmax()]

    @staticmethod
    def truth(data: DataFile, column: str, rows: Rows, chosen: NDArray[Any], dtype: Any) -> NDArray[Any]:
        texts = [rows.labels[place] for place in np.flatnonzero(chosen)]
        labels = to_labels(texts)
        if dtype.kind in "OU":
            return np.array(texts, object)
        return labels if labels.dtype.kind == dtype.kind else _required(data, column, rows, chosen)

    @staticmethod
    def scores(y: NDArray[Any], prediction: NDArray[Any]) -> dict[str, float]:
        return {"accuracy": float(np.mean(y == prediction))}

    def details(self, y: NDArray[Any], prediction: NDArray[Any]) -> list[Table]:
        classes, truth = np.unique(self.y, return_inverse=True)
        truth, said = np.searchsorted(classes, y), np.searchsorted(classes, prediction)
        matrix = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(matrix, (truth, said), 1)
        rows, right = matrix.sum(axis=1), matrix.diagonal()
        recall = [number(right[i] / rows[i]) if rows[i] else "-" for i in range(len(classes))]
        if len(classes) <= SHOWN:
            headers = [self.column, *(f"as {label}" for label in classes), "recall"]
            cells = [[str(label), *map(str, matrix[i]), recall[i]] for i, label in enumerate(classes)]
            return [Table("Held-out rows of each class (lines), and what they were taken for", headers, cells)]
        worst = np.argsort(right / np.maximum(rows, 1), kind="stable")[:SHOWN]
        wrong = matrix - np.diag(right)
        cells = [[str(classes[i]), str(rows[i]), recall[i],
                  f"{classes[wrong[i].argmax()]} ({wrong[i].max()})" if wrong[i].any() else "-"] for i in worst]  # fmt: skip
        headers = [self.column, "rows", "recall", "mostly taken for"]
        return [Table(f"The {SHOWN} classes of the lowest recall, held out", headers, cells)]


@dataclass
class Regression(Task):
    """Each row has a number; the net learns (y - center) / scale."""

    loss = "mse"
    center: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, data: DataFile, column: str, rows: Rows) -> Self:
        numbers = _required(data, column, rows, np.ones(len(rows.labels), bool), ", or --task classification")
        if len(numbers) > 1 and numbers.min() == numbers.max():
            raise data.error(f"expected different numbers in column {column!r}, got {numbers[0]:.7g} in all "
                              f"{len(numbers)} rows; there is nothing to learn")  # fmt: skip
        largest = numbers[np.abs(numbers).argmax()]
        if abs(largest) >= LARGE:
            raise data.error(f"expected numbers of less than {LARGE:g} in column {column!r}, got {largest:g}")
        return cls(column, numbers)

    def estimator(self, **settings: Any) -> Any:
        from nnkit.estimators import NNRegressor

        return NNRegressor(**settings)

    def about(self) -> str:
        y = self.y
        return f"numbers from {y.min():.7g} to {y.max():.7g}, mean {y.mean():.7g}, standard deviation {y.std():.7g}"

    def split(self, data: DataFile, rows: Rows, share: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return halved(data, len(self.y), share, seed)

    def scaled(self, loss: Loss, train: NDArray[Any]) -> NDArray[Any]:
        """With mean 0 and standard deviation 1, where the loss takes any number, and predictions are what the net gives."""
        probe, known = np.array([[-1.5], [0.0], [2.0]]), self.y[train]
        try:
            free = loss.target_shape((1,)) == (1,) and np.array_equal(loss.decide(probe), probe)
        except ShapeError:
            free = False
        if free and not np.isfinite([loss.target_low, loss.target_high]).any() and known.min() < known.max():
            self.center, self.scale = float(known.mean()), float(known.std())
            self.note = f"The loss is that of {self.column} with mean 0 and standard deviation 1."
        return (self.y - self.center) / self.scale

    def restore(self, estimator: Any) -> None:
        estimator.rescale(self.center, self.scale)

    def guess(self, train: NDArray[Any]) -> tuple[str, Any]:
        return f"always {train.mean():.7g}", train.mean()

    @staticmethod
    def truth(data: DataFile, column: str, rows: Rows, chosen: NDArray[Any], dtype: Any) -> NDArray[Any]:
        return _required(data, column, rows, chosen)

    @staticmethod
    def scores(y: NDArray[Any], prediction: NDArray[Any]) -> dict[str, float]:
        wrong, spread = y - prediction, y - y.mean()
        r2 = 1 - float(wrong @ wrong) / float(spread @ spread) if spread.any() else float("nan")
        return {"R2": r2, "mean absolute error": float(np.abs(wrong).mean())}


def _required(data: DataFile, column: str, rows: Rows, chosen: NDArray[Any], hint: str = "") -> NDArray[np.float64]:
    """The labels of some rows, which have to be numbers."""
    places = np.flatnonzero(chosen)
    numbers = data.notation.numbers([rows.labels[place] for place in places])
    if numbers is None or not np.isfinite(numbers).all():
        told = (data.notation.number(rows.labels[place]) for place in places)
        wrong = next(place for place, number in zip(places, told, strict=True) if number is None or not np.isfinite(number))
        cell = rows.labels[wrong]
        raise data.error(f"expected finite numbers in column {column!r}, got {cell[:40]!r} in {data.unit} {rows.lines[wrong]}; "
                         f"{remedy(cell, data.notation) or 'encode it as numbers'}{hint}")  # fmt: skip
    return numbers


def _are_classes(numbers: NDArray[np.float64]) -> bool:
    """Whether numbers may be names of classes: few different whole ones."""
    return bool((numbers == np.round(numbers)).all()) and len(np.unique(numbers)) <= max(2, min(FEW, len(numbers) // 5))


def task_of(data: DataFile, column: str, rows: Rows, name: Name) -> Task:
    """What a target is, if the user says nothing: text, codes with zeros before them, few different whole numbers are classes.

    Raises
    ------
    DataError
        The target misses cells, or is not what the user says, or says nothing of numbers that are written in an unusual way.
    """
    holes = [place for place, label in enumerate(rows.labels) if label.lower() in MISSING]
    if holes:
        raise data.error(f"expected a value in every row of the target {column!r}, got missing values in {len(holes)} of "
                         f"{len(rows.labels)} rows (first in {data.unit} {rows.lines[holes[0]]}); fill them in, or remove "
                         "the rows")  # fmt: skip
    numbers = data.notation.numbers(rows.labels)
    if numbers is None:
        classes, meant = True, likely(rows.labels, data.notation)
        if name == "auto" and meant is not None and not _are_classes(meant):
            place = next(place for place, label in enumerate(rows.labels) if data.notation.number(label) is None)
            cell = rows.labels[place]
            way = remedy(cell, data.notation) or "mend it"
            raise data.error(f"expected classes or numbers in column {column!r}, got {cell[:40]!r} in {data.unit} "
                             f"{rows.lines[place]}, where most cells look like numbers; {way}; or --task classification, if "
                             "these are classes")  # fmt: skip
    else:
        classes = _are_classes(numbers) or any(map(is_code, rows.labels))
    kinds: dict[str, Callable[..., Task]] = {
        "auto": Classification.of if classes else Regression.of,
        "classification": Classification.of, "regression": Regression.of,
    }  # fmt: skip
    return kinds[name](data, column, rows)


TASKS: dict[str, type[Task]] = {"NNClassifier": Classification, "NNRegressor": Regression}  # of the estimators
