"""The page as one file of HTML."""

from __future__ import annotations

import html
import json
from importlib import resources

from nnkit.inspect.page.content import Sheet, sheet_of
from nnkit.inspect.page.javascript import JavaScript
from nnkit.inspect.page.lessons import lessons
from nnkit.inspect.trace.record import Record

__all__ = ["Page", "page_of"]

SCRIPTS = ("arithmetic.js", "formulas.js", "lecture.js", "drawing.js", "page.js")
HEIGHT = "min(940px, 90vh)"  # of the page in a notebook


class Page(str):
    """A page of HTML, with everything in it; a notebook shows it in a frame."""

    def __repr__(self) -> str:
        return f"Page({len(self)} characters)"

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {HEIGHT}; border: 0; border-radius: 8px"
        return (f'<iframe title="Backpropagation, step by step" sandbox="allow-scripts" style="{style}" '
                f'srcdoc="{html.escape(self)}"></iframe>')  # fmt: skip


def page_of(record: Record, row: int, lr: float) -> Page:
    """The page of a trace, and the lessons."""
    return written([sheet_of(record, row, lr), *lessons()])


def written(sheets: list[Sheet]) -> Page:
    """A page with these nets to choose from."""
    file = JavaScript()
    data = json.dumps([sheet.data(file) for sheet in sheets], ensure_ascii=False)
    parts = {
        "style": _file("page.css"), "script": "\n".join(map(_file, SCRIPTS)), "functions": file.text,
        "names": ", ".join(file.names), "data": data.replace("<", "\\u003c"),
    }  # fmt: skip
    pieces = _file("page.html").split("@@")  # text and names in turn
    return Page("".join(piece if place % 2 == 0 else parts[piece] for place, piece in enumerate(pieces)))


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")
