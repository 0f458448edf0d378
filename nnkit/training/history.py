"""What a fit has measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.calls import nearest, no_attribute
from nnkit.core.terminal import folded, width_of
from nnkit.errors import DataError, printable

__all__ = ["History"]


class History(Mapping[str, list[float]]):
    """Figures by name, one for every finished epoch: ``history["loss"]`` (or ``history.loss``), "val_loss", "lr", metrics.

    Attributes
    ----------
    epochs : int, finished epochs
    steps : int, steps done, those of an unfinished epoch included
    seconds : float, wall-clock time of the fit without compiling
    compile_seconds : float, time spent compiling kernels or loading them from the cache
    stopped : str, why training ended: "finished", "interrupted", or what a callback said
    best_epoch : int or None, the epoch (from 0) that `EarlyStopping` has restored
    confusion : (K, K) lists or None: how many rows of each class (down) the net takes for each (across) at the end of the fit,
        or what they weigh. It is there where the fit was given metrics and rows have one class each; of the validation data
        where there are any.
    per_class : what follows from it, by name, with a number for each class

    Examples
    --------
    >>> import nnkit as nn
    >>> history = nn.Sequential(["linear"]).fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=3)
    >>> len(history["loss"]), history.epochs, history.stopped
    (3, 3, 'finished')
    """

    def __init__(self) -> None:
        self._figures: dict[str, list[float]] = {}
        self.epochs = 0
        self.steps = 0
        self.seconds = 0.0
        self.compile_seconds = 0.0
        self.stopped = "running"
        self.best_epoch: int | None = None
        self.confusion: list[list[float]] | None = None

    @property
    def per_class(self) -> dict[str, list[float]]:
        """Precision, recall, their harmonic mean and the number of rows of each class; 0 where a class never comes up.

        Raises
        ------
        DataError
            There is no confusion matrix.
        """
        if self.confusion is None:
            raise DataError("History.per_class: expected a fit of classes that was given metrics, got no confusion matrix; "
                            "write metrics=['accuracy']")  # fmt: skip
        table = np.array(self.confusion)
        right, support, taken = table.diagonal(), table.sum(axis=1), table.sum(axis=0)

        def share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> list[float]:
            return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0).tolist()  # type: ignore[no-any-return]

        return {"precision": share(right, taken), "recall": share(right, support), "f1": share(2 * right, support + taken),
                "support": support.tolist()}  # fmt: skip

    def add(self, **figures: float) -> None:
        """Append the figures of an epoch."""
        for name, value in figures.items():
            self._figures.setdefault(name, []).append(float(value))
        self.epochs += 1

    def record(self) -> dict[str, Any]:
        """All of it as plain lists and numbers, for a file; `of` reads it."""
        return {name.lstrip("_"): value for name, value in vars(self).items()}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> History:
        """The history whose `record` this is.

        Raises
        ------
        DataError
            It is that of no history.
        """
        match record:
            case {"figures": dict(figures), "epochs": int(epochs), "steps": int(steps), "seconds": float(),
                  "compile_seconds": float(), "stopped": str(), "best_epoch": int() | None as best}:  # fmt: skip
                table = record.get("confusion")  # which earlier versions have not
                whole = len(record) == 7 + ("confusion" in record) and _is_table(table) and min(epochs, steps, best or 0) >= 0
                whole = whole and (best is None or best < epochs)
                whole = whole and all(isinstance(name, str) and _is_series(values, epochs) for name, values in figures.items())
            case _:
                whole = False
        if not whole:
            raise DataError("History: expected figures of the finished epochs, and what they took, got something else")
        history = cls()
        vars(history).update({name: value for name, value in record.items() if name != "figures"}, _figures=figures)
        return history

    def __getitem__(self, name: str) -> list[float]:
        if name in self._figures:
            return self._figures[name]
        near = nearest(name, self._figures)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(self)}"
        raise KeyError(f"no figure is named {name!r}; {hint}")

    def __getattr__(self, name: str) -> list[float]:
        figures = vars(self).get("_figures", {})
        if name in figures:
            return figures[name]  # type: ignore[no-any-return]
        raise no_attribute(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._figures)

    def last(self) -> dict[str, float]:
        """The figures of the last epoch."""
        return {name: values[-1] for name, values in self._figures.items()}

    def plot(self, ax: Any = None) -> Any:
        """Draw the figures over the epochs: the losses, each metric, and the learning rate where it changes.

        Training is a solid line, validation a dashed one; a dotted line marks the epoch that `EarlyStopping` has gone back to.
        A loss that falls by a factor of more than 20 is drawn with a logarithmic axis.

        Parameters
        ----------
        ax : matplotlib's Axes to draw into, optional; several for as many panels, one for the first

        Returns
        -------
        array of Axes

        Raises
        ------
        DataError
            No epoch is finished.
        MissingLibraryError
            Matplotlib is not installed.

        Examples
        --------
        An estimator has its history, too: ``classifier.history_.plot()``.

        >>> import nnkit as nn
        >>> history = nn.Sequential(["linear"]).fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=3)
        >>> axes = history.plot()  # doctest: +SKIP
        """
        from nnkit.inspect.pictures.learning import plot_figures

        if not self.epochs:
            raise DataError("History.plot: expected at least one finished epoch, got none")
        return plot_figures(self, self.best_epoch, ax)

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        line = printable(f"History(epochs={self.epochs}, {figures}{', ' if figures else ''}stopped={self.stopped!r})")
        return folded(line, width_of(sys.stdout, len(line)), indent="        ")

    def _repr_html_(self) -> str:
        from nnkit.inspect.pictures.sparkline import figures_html

        best = "" if self.best_epoch is None else f"; epoch {self.best_epoch + 1} was the best"
        title = f"{self.epochs} epochs, {self.steps} steps in {self.seconds:.2f} s, {self.stopped}{best}"
        return figures_html(title, self, self.best_epoch)


def _is_series(values: Any, epochs: int) -> bool:
    """Whether these are figures of so many epochs, at most."""
    return isinstance(values, list) and 0 < len(values) <= epochs and all(isinstance(value, float) for value in values)


def _is_table(table: Any) -> bool:
    """Whether this is a confusion matrix, or None."""
    if table is None:
        return True
    square = isinstance(table, list) and all(isinstance(row, list) and len(row) == len(table) for row in table)
    return square and all(isinstance(number, float) for row in table for number in row)
