"""What a fit has measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["History"]


class History(Mapping[str, list[float]]):
    """Figures by name, one for every finished epoch: ``history["loss"]``, ``["val_loss"]``, ``["lr"]``, metrics.

    Attributes
    ----------
    epochs : int, finished epochs
    steps : int, steps done, those of an unfinished epoch included
    seconds : float, wall-clock time of the fit without compiling
    compile_seconds : float, time spent compiling kernels or loading them from the cache
    stopped : str, why training ended: "finished", "interrupted", or what a callback said
    best_epoch : int or None, the epoch (from 0) that `EarlyStopping` has restored

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

    def add(self, **figures: float) -> None:
        """Append the figures of an epoch."""
        for name, value in figures.items():
            self._figures.setdefault(name, []).append(float(value))
        self.epochs += 1

    def __getitem__(self, name: str) -> list[float]:
        return self._figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    def __len__(self) -> int:
        return len(self._figures)

    def last(self) -> dict[str, float]:
        """The figures of the last epoch."""
        return {name: values[-1] for name, values in self._figures.items()}

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        return f"History(epochs={self.epochs}, {figures}{', ' if figures else ''}stopped={self.stopped!r})"
