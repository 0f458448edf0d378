"""The progress line: epoch, losses, speed and time left, on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from nnkit.errors import ParameterError

if TYPE_CHECKING:
    from nnkit.training.history import History

__all__ = ["Progress"]

REFRESH = 0.1  # seconds between two updates of the line


class Progress:
    """One line on standard error, redrawn at most ten times a second; silent where nobody watches.

    Parameters
    ----------
    show : "auto" (where standard error is a terminal), True or False
    epochs, steps : how many there are, steps within one epoch
    """

    def __init__(self, show: bool | str, epochs: int, steps: int) -> None:
        if show not in ("auto", True, False):
            raise ParameterError(f"progress: expected 'auto', True or False, got {show!r}")
        self.shown = sys.stderr.isatty() if show == "auto" else bool(show)
        self._epochs, self._steps = epochs, steps
        self._bar: Any = None
        self._begin = self._last = time.perf_counter()

    def __enter__(self) -> Progress:
        return self

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=None)  # the bar takes what is left
        self._bar = Bar(*columns, console=Console(file=sys.stderr), auto_refresh=False, expand=True)
        self._task = self._bar.add_task("", total=self._epochs * self._steps)

    def update(self, step: int, history: History, last: bool = False) -> None:
        """Show that ``step`` steps are done."""
        now = time.perf_counter()
        if not self.shown or (now - self._last < REFRESH and not last):
            return
        self._last = now
        if self._bar is None:
            self._open()
        seconds, total = max(now - self._begin, 1e-9), self._epochs * self._steps
        left = round(seconds * (total - step) / step) if step else 0
        line = [
            f"epoch {min(step // self._steps + (not last), self._epochs)}/{self._epochs}",
            f"{left // 60}:{left % 60:02d} left" if not last else f"{seconds:.1f} s",
            *(f"{name} {value:.4g}" for name, value in history.last().items() if name != "lr"),
            f"{step / seconds:,.0f} steps/s",  # last: on a narrow terminal the line is cut off here
        ]
        self._bar.update(self._task, description="  ".join(line), completed=step)
        self._bar.start()
        self._bar.refresh()

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
