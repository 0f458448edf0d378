"""Columns in the order of how much they do: as a table, and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.inspect.pictures.figure import COLOURS, colours_of, drawing, new_axes
from nnkit.inspect.pictures.table import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_bars"]

MANY = 30  # columns, of which no more are drawn
LETTERS = 28  # of a column's name


def draw_bars(
    what: str, names: Sequence[str], parts: NDArray[np.float64], labels: Sequence[str], xlabel: str, ax: Any,
    spread: NDArray[np.float64] | None = None,
) -> Axes:  # fmt: skip
    """Bars of columns, the longest on top; ``parts`` (columns, parts) are put side by side, with ``labels`` of several."""
    order = np.argsort(-parts.sum(axis=1), kind="stable")[:MANY]
    with drawing(what) as plt:
        axes = new_axes(plt, ax, (6.0, 1.0 + 0.3 * len(order)))
        begin, places = np.zeros(len(order)), np.arange(len(order))
        for part, colour, label in zip(parts[order].T, colours_of(len(labels)), labels, strict=True):
            axes.barh(places, part, left=begin, height=0.7, color=[colour], label=label)
            begin = begin + part
        if spread is not None:
            axes.errorbar(begin, places, xerr=spread[order], fmt="none", ecolor=COLOURS[0], elinewidth=1.2, capsize=2)
        axes.axvline(0, color=COLOURS[0], linewidth=0.8)
        axes.set_yticks(places, [shortened(names[place], LETTERS) for place in order])
        left = len(names) - len(order)
        axes.set(xlabel=xlabel, ylim=(len(order) - 0.4, -0.6), title=f"the first {MANY}, {left} left out" if left else "")
        if len(labels) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes
