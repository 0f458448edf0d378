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
from nnkit.commands.findings import Agreement, Calibration, Confusion, Finding, Residuals
from nnkit.core.loss import Loss
from nnkit.errors import ShapeError
from nnkit.inspect.pictures.table import count
from nnkit.tables.text import MISSING, is_code

__all__ = ["TASKS", "Classification", "Regression", "Task", "task_of"]

FEW = 20  # distinct whole numbers that are taken for classes
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
    classes: ClassVar[bool]
    column: str
    y: NDArray[Any]
    note: str = ""

    @classmethod
    @abstractmethod
    def of(cls, data: DataFile, column: str, rows: Rows) -> Self:
        """Read and check the target's cells."""

    @abstractmethod
    def net(self, **settings: Any) -> Any:
        """An estimator for it whose layers the user has named, not fitted."""

    @abstractmethod
    def table_net(self, *, validated: bool, **settings: Any) -> Any:
        """An estimator for it that takes columns of any kind, and has its layers by a recipe; not fitted.

        ``validated``: it will be given validation rows.
        """

    @abstractmethod
    def about(self) -> str:
        """What the target is."""

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
        """What a prediction is worth; the first figure is the one to go by, and is 1 at best."""

    @abstractmethod
    def findings(self, rows: NDArray[Any], said: NDArray[Any], probabilities: NDArray[Any] | None) -> list[Finding]:
        """More than that, of predictions of some rows, and of their probabilities, where there are any."""

    def scaled(self, loss: Loss, train: NDArray[Any]) -> NDArray[Any]:
        """What the net learns in place of y, by what is known of the rows ``train``."""
        return self.y

    @property
    def scaled_note(self) -> str:
        """The note where that is scaled."""
        return ""

    def restore(self, estimator: Any) -> None:  # noqa: B027 - most need not do anything
        """Let an estimator that has learned that predict y."""


@dataclass
class Classification(Task):
    """Each row belongs to one of several classes."""

    loss = "cross_entropy"
    classes = True

    @classmethod
    def of(cls, data: DataFile, column: str, rows: Rows) -> Self:
        labels = to_labels(rows.labels[column])
        classes = np.unique(labels)
        if len(classes) < 2:
            raise data.error(f"expected at least two classes in column {column!r}, got {str(classes[0])!r} in all "
                              f"{len(labels)} rows; there is nothing to tell apart")  # fmt: skip
        if len(classes) > FEW and 2 * len(classes) > len(labels):
            raise data.error(f"expected rows of the same class in column {column!r}, got {len(classes)} classes in "
                              f"{len(labels)} rows; is it an id, a text, or a number (--task regression)?")  # fmt: skip
        return cls(column, labels)

    def net(self, **settings: Any) -> Any:
        from nnkit.estimators import NNClassifier

        return NNClassifier(**settings)

    def table_net(self, *, validated: bool, **settings: Any) -> Any:
        from nnkit.estimators.table import TableClassifier

        return TableClassifier(calibrate=validated, **settings)

    def about(self) -> str:
        classes, counts = np.unique(self.y, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return f"{len(classes)} classes: {listing([f'{classes[i]} {count(int(counts[i]))}' for i in order])}"

    def guess(self, train: NDArray[Any]) -> tuple[str, Any]:
        classes, counts = np.unique(train, return_counts=True)
        return f"always {classes[counts.argmax()]}", classes[counts.argmax()]

    @staticmethod
    def truth(data: DataFile, column: str, rows: Rows, chosen: NDArray[Any], dtype: Any) -> NDArray[Any]:
        texts = [rows.labels[column][place] for place in np.flatnonzero(chosen)]
        labels = to_labels(texts)
        if dtype.kind in "OU":
            return np.array(texts, object)
        return labels if labels.dtype.kind == dtype.kind else _required(data, column, rows, chosen)

    @staticmethod
    def scores(y: NDArray[Any], prediction: NDArray[Any]) -> dict[str, float]:
        return {"accuracy": float(np.mean(y == prediction))}

    def findings(self, rows: NDArray[Any], said: NDArray[Any], probabilities: NDArray[Any] | None) -> list[Finding]:
        truth = self.y[rows]
        found: list[Finding] = [Confusion.of(self.column, np.unique(self.y), truth, said)]
        return found if probabilities is None else [*found, Calibration.of(probabilities.max(axis=1), truth == said)]


@dataclass
class Regression(Task):
    """Each row has a number; the net learns (y - center) / scale."""

    loss = "mse"
    classes = False
    center: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, data: DataFile, column: str, rows: Rows) -> Self:
        numbers = _required(data, column, rows, np.ones(len(rows.lines), bool), ", or --task classification")
        if len(numbers) > 1 and numbers.min() == numbers.max():
            raise data.error(f"expected different numbers in column {column!r}, got {numbers[0]:.7g} in all "
                              f"{len(numbers)} rows; there is nothing to learn")  # fmt: skip
        largest = numbers[np.abs(numbers).argmax()]
        if abs(largest) >= LARGE:
            raise data.error(f"expected numbers of less than {LARGE:g} in column {column!r}, got {largest:g}")
        return cls(column, numbers)

    def net(self, **settings: Any) -> Any:
        from nnkit.estimators import NNRegressor

        return NNRegressor(**settings)

    def table_net(self, *, validated: bool, **settings: Any) -> Any:
        from nnkit.estimators.table import TableRegressor

        return TableRegressor(**settings)

    def about(self) -> str:
        y = self.y
        return f"numbers from {y.min():.7g} to {y.max():.7g}, mean {y.mean():.7g}, standard deviation {y.std():.7g}"

    def scaled(self, loss: Loss, train: NDArray[Any]) -> NDArray[Any]:
        """With mean 0 and standard deviation 1, where the loss takes any number, and predictions are what the net gives."""
        probe, known = np.array([[-1.5], [0.0], [2.0]]), self.y[train]
        try:
            free = loss.target_shape((1,)) == (1,) and np.array_equal(loss.decide(probe), probe)
        except ShapeError:
            free = False
        if free and not np.isfinite([loss.target_low, loss.target_high]).any() and known.min() < known.max():
            self.center, self.scale = float(known.mean()), float(known.std())
            self.note = self.scaled_note
        return (self.y - self.center) / self.scale

    @property
    def scaled_note(self) -> str:
        return f"The loss is that of {self.column} with mean 0 and standard deviation 1."

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

    def findings(self, rows: NDArray[Any], said: NDArray[Any], probabilities: NDArray[Any] | None) -> list[Finding]:
        return [kind(self.column, self.y[rows], said) for kind in (Residuals, Agreement)]


def _required(data: DataFile, column: str, rows: Rows, chosen: NDArray[Any], hint: str = "") -> NDArray[np.float64]:
    """The labels of some rows, which have to be numbers."""
    places, labels = np.flatnonzero(chosen), rows.labels[column]
    numbers = data.notation.numbers([labels[place] for place in places])
    if numbers is None or not np.isfinite(numbers).all():
        told = (data.notation.number(labels[place]) for place in places)
        wrong = next(place for place, number in zip(places, told, strict=True) if number is None or not np.isfinite(number))
        cell = labels[wrong]
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
    labels = rows.labels[column]
    holes = [place for place, label in enumerate(labels) if label.lower() in MISSING]
    if holes:
        raise data.error(f"expected a value in every row of the target {column!r}, got missing values in {len(holes)} of "
                         f"{len(labels)} rows (first in {data.unit} {rows.lines[holes[0]]}); fill them in, or remove "
                         "the rows")  # fmt: skip
    numbers = data.notation.numbers(labels)
    if numbers is None:
        classes, meant = True, likely(labels, data.notation)
        if name == "auto" and meant is not None and not _are_classes(meant):
            place = next(place for place, label in enumerate(labels) if data.notation.number(label) is None)
            cell = labels[place]
            way = remedy(cell, data.notation) or "mend it"
            raise data.error(f"expected classes or numbers in column {column!r}, got {cell[:40]!r} in {data.unit} "
                             f"{rows.lines[place]}, where most cells look like numbers; {way}; or --task classification, if "
                             "these are classes")  # fmt: skip
    else:
        classes = _are_classes(numbers) or any(map(is_code, labels))
    kinds: dict[str, Callable[..., Task]] = {
        "auto": Classification.of if classes else Regression.of,
        "classification": Classification.of, "regression": Regression.of,
    }  # fmt: skip
    return kinds[name](data, column, rows)


TASKS: dict[str, type[Task]] = {  # of the estimators
    "NNClassifier": Classification, "TableClassifier": Classification, "NNRegressor": Regression, "TableRegressor": Regression,
}  # fmt: skip
