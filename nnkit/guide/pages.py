"""The pages that are there without Sphinx: texts that ship with nnkit, and those made of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nnkit.guide.generated import environment, errors

__all__ = ["Page", "pages"]

FOLDER = Path(__file__).parent
SECTIONS = ("tutorials", "howto", "migration", "explanation", "reference", "gallery")


class Page(NamedTuple):
    """A page of the guide.

    Attributes
    ----------
    section : the folder that it is in
    name : what it is called on the command line
    title : its first line
    text : Markdown, as Sphinx's MyST reads it
    """

    section: str
    name: str
    title: str
    text: str


def pages() -> list[Page]:
    """All pages, section by section."""
    return [page(section, stem, text) for section in SECTIONS for stem, text in ordered(dict(texts(section)))]


def ordered(found: dict[str, str]) -> list[tuple[str, str]]:
    """Pages in the order in which the index of their section lists them; the others after these."""
    first = found.pop("index", "").splitlines()
    return sorted(found.items(), key=lambda item: (first.index(item[0]) if item[0] in first else len(first), item[0]))


def page(section: str, stem: str, text: str) -> Page:
    """A page of a file's name and text."""
    title = re.search(r"^# (.*)", text, re.MULTILINE)
    return Page(section, stem.removeprefix("plot_").replace("_", "-"), title[1] if title else stem, text)


def texts(section: str) -> Iterator[tuple[str, str]]:
    """Stems of files, and Markdown."""
    for path in (FOLDER / section).glob("*.md"):
        yield path.stem, path.read_text(encoding="utf-8")
    for path in (FOLDER / section).glob("plot_*.py"):
        yield path.stem, script(path.read_text(encoding="utf-8"))
    if section == "reference":
        yield from {"errors": errors.index(), "messages": errors.messages(), "environment": environment.page()}.items()


def script(source: str) -> str:
    """A script of the gallery as a page: its title, what it is about, and the code."""
    title, _, about = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
    code = source.partition('"""')[2].partition('"""')[2].strip()
    return f"# {title}\n{about.lstrip('=-')}\n\n```python\n{code}\n```\n"
