"""How the command line is called, and what it says to the shell as it ends."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["INTERRUPTED", "program"]

INTERRUPTED = 130  # exit status after Ctrl-C: 128 + SIGINT, as shells have it


def program() -> str:
    """What the user has typed to call it: the installed script, or the module."""
    return "nnkit" if Path(sys.argv[0]).stem == "nnkit" else "python -m nnkit"
