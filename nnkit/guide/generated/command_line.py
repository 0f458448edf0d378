"""The page of the command line, of what its parser knows."""

from __future__ import annotations

import argparse
import os
from unittest.mock import patch

from nnkit.__main__ import parser

__all__ = ["page"]

WIDTH = 96


def page() -> str:
    """The page, in Markdown: what ``--help`` prints of every command."""
    with patch.dict(os.environ, {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}), patch("sys.argv", ["nnkit"]):
        whole = parser()
        subparsers = next(item for item in whole._actions if isinstance(item, argparse._SubParsersAction))
        lines = ["# Command line", "", "`nnkit`, or `python -m nnkit`. `nnkit COMMAND --help` prints what is below.", ""]
        lines += ["```text", whole.format_help().rstrip(), "```", ""]
        for name, command in subparsers.choices.items():
            lines += [f"## nnkit {name}", "", "```text", command.format_help().rstrip(), "```", ""]
    return "\n".join(lines)
