"""The progress line: epoch, losses, speed and time left, on a terminal or in a notebook."""

from __future__ import annotations

import html
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from nnkit.core.terminal import is_terminal
from nnkit.errors import ParameterError, printable

if TYPE_CHECKING:
    from nnkit.training.history import History

__all__ = ["Progress"]

REFRESH = 0.1  # seconds between two updates of the line, at least
MONTHS = 1e7  # seconds: nobody waits longer
SHARE = 0.005  # of the time that updates may take: after a slow one, the next one comes later


class Display(Protocol):
    """Where the line is shown."""

    def show(self, line: str, part: float) -> None:
        """Show the line, with a bar of which this part is done."""

    def close(self) -> None:
        """Leave it as it is."""


class Progress:
    """One line, redrawn at most ten times a second and in at most 0.5 % of the time; silent where nobody watches.

    It never ends what it tells about: where it cannot be shown (standard error is missing, closed, or breaks), there is none.

    Parameters
    ----------
    show : "auto" (in a notebook, and where standard error is a terminal), True or False
    epochs, steps : how many there are, steps within one epoch
    """

    def __init__(self, show: bool | str, epochs: int, steps: int) -> None:
        if show not in ("auto", True, False):
            raise ParameterError(f"progress: expected 'auto', True or False, got {show!r}")
        self._notebook = show is not False and _in_notebook()
        self.shown = self._notebook or is_terminal(sys.stderr) if show == "auto" else bool(show)
        self._epochs, self._steps = epochs, steps
        self._display: Display | None = None
        self.begin(0)

    def begin(self, step: int) -> Progress:
        """Start the clock, after so many steps of an earlier fit."""
        self._first, self._begin = step, time.perf_counter()
        self._due = self._begin + REFRESH
        return self

    def __enter__(self) -> Progress:
        return self

    def update(self, step: int, history: History, last: bool = False) -> None:
        """Show that ``step`` steps are done."""
        now = time.perf_counter()
        if not self.shown or (now < self._due and not last):
            return
        line, part = self._line(step, history, now - self._begin, last), step / (self._epochs * self._steps)
        try:
            if self._display is None:
                self._display = _Notebook() if self._notebook else _Terminal()
                now = time.perf_counter()  # without what a library takes to be imported, once
            self._display.show(line, part)
        except Exception:  # whatever is wrong with somebody's terminal
            self.shown = False
        after = time.perf_counter()
        self._due = after + max(REFRESH, (after - now) / SHARE)

    def _line(self, step: int, history: History, seconds: float, last: bool) -> str:
        """What is shown; the speed is last, where narrow terminals cut the line off."""
        speed = (step - self._first) / max(seconds, 1e-9)
        left = round(min((self._epochs * self._steps - step) / speed, MONTHS)) if speed else 0
        return printable("  ".join([
            f"epoch {min(step // self._steps + (not last), self._epochs)}/{self._epochs}",
            f"{timedelta(seconds=left)} left" if not last else f"{seconds:.1f} s",
            *(f"{name} {value:.4g}" for name, value in history.last().items() if name != "lr"),
            f"{speed:,.0f} steps/s",
        ]))  # fmt: skip

    def __exit__(self, *error: object) -> None:
        if self._display is not None:
            with suppress(Exception):  # as above
                self._display.close()


class _Terminal:
    """A line of standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=None)  # the bar takes what is left
        self._bar = Bar(*columns, console=Console(file=sys.stderr), auto_refresh=False, expand=True)
        self._task = self._bar.add_task("", total=1.0)

    def show(self, line: str, part: float) -> None:
        self._bar.update(self._task, description=line, completed=part)
        self._bar.start()
        self._bar.refresh()

    def close(self) -> None:
        self._bar.stop()


class _Notebook:
    """One output of a cell, replaced whenever there is news; as text where HTML is not shown."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, line: str, part: float) -> None:
        from IPython.display import display

        bar = f'<progress max="1" value="{part:.4f}" style="width: 12em; vertical-align: middle"></progress>'
        data = {"text/plain": line, "text/html": f"<div>{bar} <code>{html.escape(line)}</code></div>"}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def close(self) -> None:
        """Nothing is left open."""


def _in_notebook() -> bool:
    """Whether this process is a kernel, as those of Jupyter are."""
    ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return ipython is not None and hasattr(ipython(), "kernel")
