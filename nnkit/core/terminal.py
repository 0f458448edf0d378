"""Standard output and standard error, which not every process has."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

__all__ = ["folded", "is_terminal", "width_of"]


def is_terminal(stream: Any) -> bool:
    """Whether somebody watches this stream; services and windowed programs have None, or one that is closed."""
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def width_of(stream: Any, other: int) -> int:
    """How many letters a line of the stream takes; another number where nobody watches it."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else other


def folded(text: str, width: int, indent: str = "") -> str:
    r"""A text whose lines are broken between words where they are too long; what follows is as far to the right, and more.

    Examples
    --------
    >>> print(folded("one two three\n  four five", 9, indent=".."))
    one two
    ..three
      four
      ..five
    """
    lines = []
    for line in text.split("\n"):
        further = line[: len(line) - len(line.lstrip())] + indent
        lines += [line] if len(line) <= width else textwrap.wrap(
            line, max(width, len(further) + 1), subsequent_indent=further, break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(lines)
