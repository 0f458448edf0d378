"""The progress line: epoch, losses, speed and time left, on a terminal or in a notebook; before that, what is compiled."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self

from nnkit.core.terminal import is_terminal
from nnkit.engine.stub import statistics
from nnkit.errors import ParameterError, printable

if TYPE_CHECKING:
    from nnkit.training.history import History

__all__ = ["Progress", "SeveralProgress"]

REFRESH = 0.1  # seconds between two updates of the line, at least
MONTHS = 1e7  # seconds: nobody waits longer
SHARE = 0.005  # of the time that updates may take: after a slow one, the next one comes later


class Display(Protocol):
    """Where the line is shown."""

    def show(self, line: str, part: float | None) -> None:
        """Show the line, with a bar of which this part is done; None where nobody knows how much there is."""

    def close(self) -> None:
        """Leave it as it is."""


class Progress:
    """One line, redrawn at most ten times a second and in at most 0.5 % of the time; silent where nobody watches.

    It never ends what it tells about: where it cannot be shown (standard error is missing, closed, or breaks), there is none.

    Parameters
    ----------
    show : "auto" (in a notebook, and where standard error is a terminal), True or False
    epochs, steps : how many there are, steps within one epoch

    Attributes
    ----------
    steps : as given, or as it is known later
    counted : what an epoch is called
    """

    counted = "epoch"

    def __init__(self, show: bool | str, epochs: int, steps: int = 1) -> None:
        if show not in ("auto", True, False):
            raise ParameterError(f"progress: expected 'auto', True or False, got {show!r}")
        self._notebook = show is not False and _in_notebook()
        self.shown = self._notebook or is_terminal(sys.stderr) if show == "auto" else bool(show)
        self._epochs, self.steps = epochs, steps
        self._display: Display | None = None
        self._compiled = 0
        self._watch = ExitStack()
        self._ended: tuple[int, History] | None = None  # where the line is if nothing more is heard
        self.begin(0)

    def begin(self, step: int) -> Progress:
        """Start the clock, after so many steps of an earlier fit."""
        self._first, self._begin = step, time.perf_counter()
        self._due = self._begin + REFRESH
        return self

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Show what is compiled within a ``with`` block; the line ends with it only where it fails."""
        with ExitStack() as failing:
            failing.enter_context(self)
            yield
            self._watch.close()
            failing.pop_all()

    def __enter__(self) -> Self:
        self._watch.enter_context(statistics.watched(self.compiling))
        return self

    def update(self, step: int, history: History, last: bool = False) -> None:
        """Show that ``step`` steps are done."""
        now = time.perf_counter()
        if not self.shown or (now < self._due and not last):
            return
        self._ended = None if last else (step, history)
        self._show(self._line(step, history, now - self._begin, last), step / (self._epochs * self.steps), now)

    def compiling(self, kernel: str) -> None:
        """Show that a kernel is compiled now, the first one at once; each takes some tenths of a second."""
        now = time.perf_counter()
        if self.shown and (now >= self._due or not self._compiled):
            kernels = "1 kernel" if self._compiled == 1 else f"{self._compiled} kernels"
            done = f"{kernels} in {now - self._begin:.1f} s, now " if self._compiled else ""
            self._show(printable(f"compiling, once a machine: {done}{kernel}"), None, now)
        self._compiled += 1

    def _show(self, line: str, part: float | None, now: float) -> None:
        try:
            if self._display is None:
                self._display = _Notebook() if self._notebook else _Terminal()
                now = time.perf_counter()  # without what a library takes to be imported, once
            self._display.show(line, part)
        except Exception:  # whatever is wrong with somebody's terminal
            self.shown = False
        after = time.perf_counter()
        self._due = after + (REFRESH if part is None else max(REFRESH, (after - now) / SHARE))

    def _line(self, step: int, history: History, seconds: float, last: bool) -> str:
        """What is shown; the speed is last, where narrow terminals cut the line off."""
        speed = (step - self._first) / max(seconds, 1e-9)
        left = round(min((self._epochs * self.steps - step) / speed, MONTHS)) if speed else 0
        return printable("  ".join([
            f"{self.counted} {min(step // self.steps + (not last), self._epochs)}/{self._epochs}",
            f"{timedelta(seconds=left)} left" if not last else f"{seconds:.1f} s",
            *(f"{name} {value:.4g}" for name, value in history.last().items() if name != "lr"),
            f"{speed:,.0f} steps/s",
        ]))  # fmt: skip

    def __exit__(self, *error: object) -> None:
        self._watch.close()
        if self._display is None:
            return
        with suppress(Exception):  # as above
            if self._ended is not None:  # training was stopped: nothing is left to wait for
                step, history = self._ended
                line = self._line(step, history, time.perf_counter() - self._begin, last=True)
                self._display.show(line, step / (self._epochs * self.steps))
        with suppress(Exception):
            self._display.close()


class SeveralProgress(Progress):
    """The line of several fits that run side by side: how many are done, and the time left.

    Attributes
    ----------
    fits : how many there are, as far as that is known
    """

    def __init__(self, show: bool | str, fits: int) -> None:
        super().__init__(show, fits)
        self.fits = fits

    def look(self, parts: Sequence[float], done: int, last: bool = False) -> None:
        """Show that ``done`` fits have ended, and which parts (from 0 to 1) of those that have begun."""
        now = time.perf_counter()
        if not self.shown or (now < self._due and not last):
            return
        part, seconds = min(1.0, sum(parts) / self.fits), now - self._begin
        left = f"{timedelta(seconds=round(min(seconds * (1 / part - 1), MONTHS)))} left" if 0 < part < 1 else f"{seconds:.1f} s"
        self._show(printable(f"{done} of {self.fits} nets  {left}"), part, now)


class _Terminal:
    """A line of standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=None)  # the bar takes what is left
        self._bar = Bar(*columns, console=Console(file=sys.stderr), auto_refresh=False, expand=True)
        self._task = self._bar.add_task("", total=1.0, start=False)  # until then the bar moves to and fro

    def show(self, line: str, part: float | None) -> None:
        self._bar.update(self._task, description=line, completed=part)
        if part is not None:
            self._bar.start_task(self._task)
        self._bar.start()
        self._bar.refresh()

    def close(self) -> None:
        self._bar.stop()


class _Notebook:
    """One output of a cell, replaced whenever there is news; as text where HTML is not shown."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, line: str, part: float | None) -> None:
        from IPython.display import display

        done = "" if part is None else f'max="1" value="{part:.4f}" '
        bar = f'<progress {done}style="width: 12em; vertical-align: middle"></progress>'
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
