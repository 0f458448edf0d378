"""How the command line is called, which files it writes, and what it says to the shell as it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from nnkit.errors import ParameterError
from nnkit.persistence.disk import check_writable, to_path

__all__ = ["INTERRUPTED", "program", "require_apart"]

INTERRUPTED = 130  # exit status after Ctrl-C: 128 + SIGINT, as shells have it


def program() -> str:
    """What the user has typed to call it: the installed script, or the module."""
    return "nnkit" if Path(sys.argv[0]).stem == "nnkit" else "python -m nnkit"


def require_apart(inputs: dict[str, str], outputs: dict[str, str | None]) -> None:
    """Refuse output files that cannot be written, or would take the place of an input or of each other."""
    taken = {to_path(path): what for what, path in inputs.items()}
    for option, path in outputs.items():
        if path is None:
            continue
        place = to_path(path)
        if place in taken:
            raise ParameterError(f"{option}: expected a file of its own, got {path!r}, which is {taken[place]}")
        check_writable(path)
        taken[place] = option
