"""``nnkit list``."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

from nnkit.core.terminal import is_terminal

__all__ = ["list_parts"]

KIND, ORIGIN = 14, 20  # letters of the first two columns
LEAST = 30  # letters of the third, or it goes below them


def list_parts() -> int:
    """List the names of all parts, by kind and by the distribution that they come from.

    What is listed under layers and activations goes into `nnkit train --layers`, and all names go wherever nnkit asks for a
    part: loss="huber", nnkit.Sequential(["linear", "relu"]).
    """
    from rich.console import Console

    from nnkit import registry
    from nnkit.about import DISTRIBUTION
    from nnkit.core import plugins

    console = Console(highlight=False, soft_wrap=True)
    watched = is_terminal(sys.stdout) or "COLUMNS" in os.environ
    width = console.width if watched else sys.maxsize  # what goes on to another program stays in one line
    for kind in registry.__all__:
        names: dict[str, list[str]] = {}
        for key, part in sorted(getattr(registry, kind).items()):
            names.setdefault(" ".join(plugins.provider(part)).strip(), []).append(key)
        for origin, keys in sorted(names.items(), key=lambda item: (not item[0].startswith(f"{DISTRIBUTION} "), item[0])):
            console.print("\n".join(_lines(kind, origin, keys, width)), markup=False)
            kind = ""
    for plugin, error in plugins.failures.items():
        console.print(f"left out: {plugin}, which cannot be loaded ({type(error).__name__}: {error})", markup=False)
    if plugins.left_out():
        console.print(f"left out: {plugins.left_out()}, by NNKIT_PLUGINS or NNKIT_PLUGINS_BLOCK", markup=False)
    return 0


def _lines(kind: str, origin: str, names: Sequence[str], width: int) -> list[str]:
    """A kind's names, whole ones in each line."""
    head = f"{kind:{KIND}}{f'{origin}  ':{ORIGIN}}"
    beside = width >= len(head) + LEAST
    indent = " " * len(head) if beside else "  "
    wrapped = textwrap.wrap(
        ", ".join(names), width, initial_indent=head if beside else indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return wrapped if beside else [f"{kind} {origin}".strip(), *wrapped]
