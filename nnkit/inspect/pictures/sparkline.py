"""The figures of a fit for a notebook: a row for each, with a line as small as a word."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from math import isfinite

from nnkit.errors import printable

__all__ = ["figures_html", "sparkline"]

WIDTH, HEIGHT, EDGE = 160, 28, 2  # of the line, in pixels
MOST = 200  # points of it


def sparkline(values: Sequence[float], marked: int | None = None) -> str:
    """A line through the values as SVG, in the colour of the text around it, with a dot at one of them.

    Examples
    --------
    >>> sparkline([2.0, 1.0, 0.5]).count("<polyline"), sparkline([]).count("<polyline")
    (1, 0)
    """
    step = max(1, -(-len(values) // MOST))
    places = [place for place in {*range(0, len(values), step), len(values) - 1} if place >= 0 and isfinite(values[place])]
    places.sort()
    low, high = min((values[place] for place in places), default=0.0), max((values[place] for place in places), default=0.0)

    def point(place: int) -> tuple[float, float]:
        along, up = place / max(len(values) - 1, 1), (values[place] - low) / (high - low or 1.0)
        return EDGE + along * (WIDTH - 2 * EDGE), HEIGHT - EDGE - up * (HEIGHT - 2 * EDGE)

    line = " ".join("{:.1f},{:.1f}".format(*point(place)) for place in places)
    drawn = f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/>' if places else ""
    if marked is not None and isfinite(values[marked]):
        drawn += '<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="currentColor"/>'.format(*point(marked))
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="over the epochs">{drawn}</svg>'


def figures_html(title: str, figures: Mapping[str, Sequence[float]], best: int | None) -> str:
    """A table: each figure's course over the epochs, its first, smallest, largest and last value; the best epoch has a dot."""
    headers = ("", "over the epochs", "first", "smallest", "largest", "last")
    sides = ["left"] * 2 + ["right"] * 4
    head = "".join(f'<th style="text-align: {side}">{name}</th>' for side, name in zip(sides, headers, strict=True))
    rows = []
    for name, values in figures.items():
        told = values[0], min(values), max(values), values[-1]
        marked = best if best is not None and best < len(values) and name != "lr" else None
        cells = "".join(f'<td style="text-align: right">{value:.4g}</td>' for value in told)
        rows.append(f'<tr><th style="text-align: left">{html.escape(printable(name))}</th><td>{sparkline(values, marked)}</td>'
                    f"{cells}</tr>")  # fmt: skip
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div><b>{html.escape(printable(title))}</b>{table}</div>"
