"""``nnkit docs``."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnkit.commands.shell import program
from nnkit.core.calls import nearest
from nnkit.core.terminal import is_terminal
from nnkit.errors import ParameterError

if TYPE_CHECKING:
    from nnkit.guide.pages import Page

__all__ = ["docs"]

MOST = 4  # lines of a page that a search shows
NAME = 26  # letters of the column of names


def docs(page: str = "", *, search: str = "") -> int:
    """Show the guide: tutorials, how-to, explanations, errors, the gallery's scripts. It needs no network.

    Without a page, all pages are listed. What goes on to another program is Markdown.

    Parameters
    ----------
    page : its name, as in the list
    search : a word, or several, that a line of a page has

    Examples
    --------
    nnkit docs first-net
    nnkit docs --search nan
    """
    from nnkit.guide.pages import pages

    found = pages()
    if page:
        show(named(page, found), found)
    elif search:
        hits = [line for item in found for line in matches(item, search.lower().split())]
        say(hits or [f"no page has {search!r} in a line; {program()} docs lists all pages"])
    else:
        say(listed(found))
    return 0


def named(name: str, found: Sequence[Page]) -> Page:
    """The page of a name, however it is spelt."""
    wanted = name.lower().replace("_", "-").removesuffix(".md")
    pages = {f"{item.section}/{item.name}": item for item in found} | {item.name: item for item in found}
    if wanted not in pages:
        near = nearest(wanted, [item.name for item in found])
        hint = f"did you mean {near}?" if near else f"{program()} docs lists all pages"
        raise ParameterError(f"docs: there is no page {name!r}; {hint}")
    return pages[wanted]


def show(item: Page, found: Sequence[Page]) -> None:
    """A page, as a terminal can show it, or as it is."""
    from nnkit.guide.markdown import readable

    text = readable(item.read())
    if not is_terminal(sys.stdout):
        say([text])
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(text, hyperlinks=False))


def listed(found: Sequence[Page]) -> list[str]:
    """Names and titles, by section."""
    lines = []
    for section in dict.fromkeys(item.section for item in found):
        lines += ["", section, *(row(item.name, item.title) for item in found if item.section == section)]
    hint = f"{program()} docs NAME shows one, {program()} docs --search WORD looks for a word."
    return [*lines[1:], "", *textwrap.wrap(hint, width())]


def row(name: str, title: str) -> str:
    """A name, and what it is about beside it, or below where there is no room."""
    beside = width() >= NAME + 30
    indent = " " * (NAME if beside else 4)
    first = f"  {name:{NAME - 2}}" if beside and len(name) < NAME - 2 else f"  {name}\n{indent}"
    lines = textwrap.wrap(title.replace("`", ""), max(width() - len(indent), 20), break_long_words=False)
    return f"{first}{f'{chr(10)}{indent}'.join(lines)}"


def matches(item: Page, words: Sequence[str]) -> list[str]:
    """A page's name, and its lines that have all the words; nothing where none has."""
    lines = [" ".join(line.split()) for line in item.read().splitlines()]
    hits = [line for line in lines if all(word in line.lower() for word in words)]
    shown = [textwrap.fill(line, width(), initial_indent="    ", subsequent_indent="      ") for line in hits[:MOST]]
    more = [f"    and {len(hits) - MOST} more"] if len(hits) > MOST else []
    return [row(item.name, item.title), *shown, *more] if hits else []


def width() -> int:
    """Letters of a line."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 120


def say(lines: Sequence[str]) -> None:
    """Print, whatever letters the output can take."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print("\n".join(lines).encode(encoding, "replace").decode(encoding))
