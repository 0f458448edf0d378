"""Environment variables: what they say, or once that it cannot be understood."""

from __future__ import annotations

import os
from functools import cache

from nnkit.errors import EnvironmentWarning, warn

__all__ = ["count", "word"]


def count(name: str) -> int | None:
    """The variable as an integer of at least 1; None where it is not set, or no such number."""
    text = os.environ.get(name, "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0:
        return int(text)
    if text:
        _refuse(name, text, "an integer of at least 1")
    return None


def word(name: str, *known: str) -> str:
    """The variable, which is one of the ``known`` words in small letters; an empty string where it is not set, or another."""
    text = os.environ.get(name, "").strip()
    if text.lower() in known:
        return text.lower()
    if text:
        _refuse(name, text, " or ".join(map(repr, known)))
    return ""


@cache
def _refuse(name: str, text: str, expected: str) -> None:
    """Say so, once in a process for each text."""
    message = f"{name}: expected {expected}, got {text!r}; nnkit goes on as if it were not set"
    warn(message, EnvironmentWarning)
