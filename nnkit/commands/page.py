"""The report of `nnkit train` as a page: one file, with the tables and pictures of all that was told."""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Sequence
from typing import Any

from nnkit.commands.findings import Finding
from nnkit.commands.report import Block
from nnkit.errors import printable
from nnkit.inspect.pictures.figure import drawing
from nnkit.inspect.pictures.table import Table

__all__ = ["page", "require_pictures"]

STYLE = """
:root { color-scheme: light }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } p { margin: .3rem 0; overflow-wrap: anywhere }
section { border-top: 1px solid #ddd; margin-top: 1.2rem; padding-top: 1rem; display: flex; flex-wrap: wrap; gap: 1rem 2rem }
section > div { flex: 1 1 22rem; min-width: 0; overflow-x: auto } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; margin: .5rem 0 } th, td { padding: .15rem .8rem .15rem 0; vertical-align: top }
thead th { border-bottom: 1px solid #999 } td { font-variant-numeric: tabular-nums }
"""
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "nnkit"}  # letters are those of the page's own font


def require_pictures() -> None:
    """Notice before training that there is nothing to draw with.

    Raises
    ------
    MissingLibraryError
        matplotlib is not installed.
    """
    with drawing("--report"):
        pass


def page(title: str, blocks: Sequence[Block]) -> str:
    """All that was told, as HTML."""
    body = "\n".join(map(_block, blocks))
    name = html.escape(printable(title))
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}</title>'
            f"<style>{STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n")  # fmt: skip


def _block(block: Block) -> str:
    if isinstance(block, Finding):
        return f"<section><div>{_picture(block)}</div>{block.table()._repr_html_()}</section>"
    if isinstance(block, Table):
        return f"<section>{block._repr_html_()}</section>"
    return f"<p>{html.escape(printable(block))}</p>"


def _picture(finding: Finding) -> str:
    """The picture as SVG."""
    file = io.StringIO()
    with drawing("--report") as plt, plt.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's fonts have it
        plt.switch_backend("agg")
        figure: Any = finding.draw(plt)
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)
    svg = file.getvalue()
    return svg[svg.index("<svg") :]
