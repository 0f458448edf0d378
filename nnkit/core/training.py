"""What a callback sees of the fit that it watches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Model

__all__ = ["Measured", "RunningFit"]


class Measured(Protocol):
    """The figures of the finished epochs by name, such as ``history["loss"]``, as far as training has come."""

    epochs: int
    steps: int
    stopped: str
    best_epoch: int | None

    def __getitem__(self, name: str, /) -> list[float]: ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def last(self) -> dict[str, float]:
        """The figures of the last epoch."""

    def record(self) -> dict[str, Any]:
        """All of it as plain lists and numbers, for a file."""


class RunningFit(Protocol):
    """A fit that runs, as its callbacks see it.

    Attributes
    ----------
    model, history : what is trained, and what was measured
    network : the net within the model, a `nnkit.network.Network`
    epoch, step : the present ones, from 0; ``step`` counts through all epochs
    epochs, steps_per_epoch, batch_size : what the fit was asked for
    loss : of the last step
    figures : the figures of an epoch by name, and whether the greater is the better; None where nobody says
    engine : "compiled" or "python"
    failure : the exception that has ended the fit, once there is one, Ctrl-C included; a callback may set it back to None
    """

    epoch: int
    step: int
    loss: float
    epochs: int
    engine: str
    failure: BaseException | None

    @property
    def model(self) -> Model: ...

    @property
    def network(self) -> Any: ...

    @property
    def history(self) -> Measured: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def figures(self) -> dict[str, bool | None]: ...

    @property
    def updater_progress(self) -> Any:
        """How far the optimizer has come, a `nnkit.core.optimizer.UpdaterProgress`."""

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked to stop."""

    def stop(self, reason: str) -> None:
        """End training after this epoch; after this step, where a callback says so after a step."""

    def sample(self, rows: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64] | None]:
        """X, y and sample_weight of some rows that are trained on, drawn at random but the same ones each time."""

    def snapshot(self) -> Any:
        """All that another fit needs to go on from here, a `nnkit.training.snapshot.Snapshot`."""
