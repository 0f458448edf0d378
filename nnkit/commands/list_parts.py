"""``nnkit list``."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nnkit.commands.docstring import about, paragraphs
from nnkit.commands.shell import program
from nnkit.core.terminal import folded, is_terminal
from nnkit.errors import RegistryError, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["list_parts"]

KIND, ORIGIN, NAME = 14, 20, 24  # letters of the columns before the last
LEAST = 30  # letters of the last one, or it goes below them


def list_parts(name: str = "") -> int:
    """List the parts: all names, what each part of a kind is for, or everything about one part.

    What is listed under layers and activations goes into `nnkit train --layers`, and all names go wherever nnkit asks for a
    part: loss="huber", nnkit.Sequential(["linear", "relu"]).

    Parameters
    ----------
    name : a kind, such as losses; a part, such as conv2d; or some letters of names, such as pool

    Examples
    --------
    nnkit list losses
    nnkit list conv2d
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    watched = is_terminal(sys.stdout) or "COLUMNS" in os.environ
    width = console.width if watched else sys.maxsize  # what goes on to another program stays in one line
    for line in _all(width) if not name else _asked(name.strip(), width, console):
        console.print(printable(line), markup=False)
    if watched and not name:
        hint = f"{program()} list losses says what each of a kind is for, {program()} list conv2d all about one."
        console.print("\n" + folded(hint, width), markup=False)
    return 0


def _all(width: int) -> Iterator[str]:
    """All names, by kind and by the distribution that they come from."""
    from nnkit.about import DISTRIBUTION
    from nnkit.core import plugins

    for kind, registry in _registries().items():
        names: dict[str, list[str]] = {}
        for key, part in sorted(registry.items()):
            names.setdefault(" ".join(plugins.provider(part)).strip(), []).append(key)
        for origin, keys in sorted(names.items(), key=lambda item: (not item[0].startswith(f"{DISTRIBUTION} "), item[0])):
            yield from _names(kind, origin, keys, width)
            kind = ""
    for plugin, error in plugins.failures.items():
        yield f"left out: {plugin}, which cannot be loaded ({type(error).__name__}: {error})"
    if plugins.left_out():
        yield f"left out: {plugins.left_out()}, by NNKIT_PLUGINS or NNKIT_PLUGINS_BLOCK"


def _registries() -> dict[str, Any]:
    from nnkit import registry

    return {kind: getattr(registry, kind) for kind in registry.__all__}


def _names(kind: str, origin: str, names: Sequence[str], width: int) -> list[str]:
    """A kind's names, whole ones in each line."""
    head = f"{kind:{KIND}}{f'{origin}  ':{ORIGIN}}"
    beside = width >= len(head) + LEAST
    indent = " " * len(head) if beside else "  "
    wrapped = textwrap.wrap(
        ", ".join(names), width, initial_indent=head if beside else indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return wrapped if beside else [f"{kind} {origin}".strip(), *wrapped]


def _asked(word: str, width: int, console: Console) -> Iterator[str]:
    """What is known under a word: a kind's parts, one part, or those whose names have it in them."""
    registries, low = _registries(), word.lower()
    kind = next((kind for kind, registry in registries.items() if low in (kind, registry.kind)), None)
    if kind is not None:
        yield from _meanings(registries[kind], width)
        return
    parts = [(of, part) for of in registries.values() for key, part in of.items() if low in (key, part.__name__.lower())]
    for place, (of, part) in enumerate(parts):
        yield from ["", ""] if place else []
        for title, lines in paragraphs(part, of.kind, min(width, 100)):
            if title:
                console.print(f"\n[bold]{title}[/]")
            yield from lines
    if parts:
        return
    found = {kind: {key: part for key, part in registry.items() if low in key} for kind, registry in registries.items()}
    if not any(found.values()):
        raise _unknown(word)
    for kind, alike in found.items():
        yield from [kind, *_meanings(alike, width, "  ")] if alike else []


def _meanings(parts: Any, width: int, indent: str = "") -> Iterator[str]:
    """A line of meaning for each part; below its name, where there is no room beside it."""
    column = min(NAME, max(map(len, parts), default=0)) + 2
    beside = width >= len(indent) + column + LEAST
    for key, part in sorted(parts.items()):
        head = f"{indent}{key:{column}}" if beside else indent + "    "
        below = " " * len(head)
        lines = folded(below + about(part), width).splitlines()
        if beside and len(key) <= column - 2 and lines:
            lines[0] = head + lines[0][len(head) :]
        else:
            yield indent + key
        yield from lines


def _unknown(word: str) -> RegistryError:
    from nnkit.core.calls import nearest
    from nnkit.core.words import NAMES

    registries = _registries()
    words = [*registries, *(key for registry in registries.values() for key in registry)]
    near = NAMES.get(word.lower()) or nearest(word, words)
    hint = f"did you mean {near!r}?" if near else f"{program()} list names all"
    return RegistryError(f"expected a kind of part ({', '.join(registries)}), or a part's name, got {word!r}; {hint}")
