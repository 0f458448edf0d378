"""Where a table is read from: a file, which may be read several times, or standard input, which is kept."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from nnkit.errors import DataError
from nnkit.persistence.disk import open_regular

__all__ = ["STANDARD_INPUT", "Source"]

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Source:
    """Bytes that can be read from their beginning, again and again.

    Attributes
    ----------
    name : for messages
    open : gives a file to read
    """

    name: str
    open: Callable[[], Any]

    @classmethod
    def of(cls, path: str) -> Self:
        """The file of this name; ``-`` is standard input, to its end."""
        if path != STANDARD_INPUT:
            return cls(path, partial(open_regular, path))
        if sys.stdin is None or sys.stdin.closed:
            raise DataError("expected a table on standard input, got no standard input; name a file")
        return cls("standard input", partial(io.BytesIO, sys.stdin.buffer.read()))
