"""The pages that are there without Sphinx: texts that ship with nnkit, and those made of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from nnkit.guide.generated import environment, errors

__all__ = ["Page", "pages"]

FOLDER = Path(__file__).parent
SECTIONS = ("tutorials", "howto", "migration", "explanation", "reference", "gallery")
MADE: dict[str, tuple[str, Callable[[], str]]] = {
    "environment": ("Environment variables", environment.page),
    "errors": ("Errors and warnings", errors.index),
    "messages": ("Messages", cache(errors.messages)),  # it takes a second or two
}


@dataclass(frozen=True)
class Page:
    """A page of the guide.

    Attributes
    ----------
    section : the folder that it is in
    name : what it is called on the command line
    title : its first line
    read : gives its text, Markdown as Sphinx's MyST reads it
    """

    section: str
    name: str
    title: str
    read: Callable[[], str]


def pages() -> list[Page]:
    """All pages, section by section; a name that is taken has its section before it."""
    found: dict[str, Page] = {}
    for section in SECTIONS:
        for page in ordered(section):
            name = f"{section}-{page.name}" if page.name in found else page.name
            found[name] = replace(page, name=name)
    return [*found.values()]


def ordered(section: str) -> list[Page]:
    """Pages in the order in which the index of their section lists them; the others after these."""
    index = FOLDER / section / "index.md"
    first = index.read_text(encoding="utf-8").replace("_", "-").splitlines() if index.exists() else []
    return sorted(pages_of(section), key=lambda page: (first.index(page.name) if page.name in first else len(first), page.name))


def pages_of(section: str) -> Iterator[Page]:
    """Pages that are files, scripts, and those that are made."""
    for path in (FOLDER / section).glob("*.md"):
        if path.stem != "index":
            text = path.read_text(encoding="utf-8")
            heading = re.search(r"^# (.*)", text, re.MULTILINE)
            yield Page(section, path.stem.replace("_", "-"), heading[1] if heading else path.stem, partial(str, text))
    for path in (FOLDER / section).glob("plot_*.py"):
        title, text = script(path.read_text(encoding="utf-8"))
        yield Page(section, path.stem.removeprefix("plot_").replace("_", "-"), title, partial(str, text))
    if section == "reference":
        for name, (title, read) in MADE.items():
            yield Page(section, name, title, read)


def script(source: str) -> tuple[str, str]:
    """The title of a script of the gallery, and a page of what it is about, and its code."""
    title, _, about = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
    code = source.partition('"""')[2].partition('"""')[2].strip()
    return title, f"# {title}\n{about.lstrip('=-')}\n\n```python\n{code}\n```\n"
