"""What is shown while kernels are compiled for checks, on a terminal: the uncompiled checks are over before one could read."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from nnkit.core.terminal import is_terminal
from nnkit.engine.stub import statistics
from nnkit.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

__all__ = ["Watching"]


class Watching:
    """A line that says which kernel is compiled, until the end of a ``with`` block; it leaves nothing behind.

    Parameters
    ----------
    what : is checked
    console : where it is shown, with what else is printed there; by default on standard error
    """

    def __init__(self, what: str, console: Console | None = None) -> None:
        self._what, self._console = what, console
        self._shown = is_terminal(sys.stderr) if console is None else console.is_terminal
        self._status: Status | None = None
        self._compiled = 0
        self._end = ExitStack()

    def __enter__(self) -> Watching:
        if self._shown:
            self._end.enter_context(statistics.watched(self._compiling))
        return self

    def __exit__(self, *error: object) -> None:
        self._end.close()

    def _compiling(self, kernel: str) -> None:
        from rich.console import Console
        from rich.markup import escape

        self._compiled += 1
        line = escape(printable(f"checking {self._what}: compiling kernel {self._compiled}, {kernel}"))
        if self._status is None:
            console = self._console or Console(file=sys.stderr)
            self._status = self._end.enter_context(console.status(line))
        self._status.update(line)
