"""What all pictures share: the library that draws them, colours that everybody can tell apart, letters that can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.about import install
from nnkit.errors import MissingLibraryError, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "SEQUENTIAL", "SIGNED", "colours_of", "drawing", "given_axes", "new_axes", "panel_axes", "text_on"]

# Okabe and Ito 2008, "Color universal design": black, blue, orange, green, purple, sky, vermilion, yellow.
COLOURS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
SIGNED = "PuOr_r"  # negative purple, zero white, positive orange; names are matplotlib's
SEQUENTIAL = "cividis"
DARKER = 0.55  # the colours come again so, after the seventh

_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
    "lines.linewidth": 1.8,
}


@contextmanager
def drawing(what: str) -> Iterator[Any]:
    """Matplotlib's pyplot, in the style of all pictures; ``what`` is drawn, for the message where there is none."""
    try:
        import matplotlib.pyplot as plt
        from cycler import cycler
        from matplotlib import interactive as interactive_mode
    except ImportError:
        message = f"{what}: expected the library matplotlib, which is not installed; {install('plot')}"
        raise MissingLibraryError(message) from None
    with plt.rc_context({**_STYLE, "axes.prop_cycle": cycler(color=COLOURS[1:])}):
        yield plt
        interactive = plt.isinteractive()
    interactive_mode(interactive)  # the first picture of a notebook switches it on, which stays, whatever the style was before


def new_axes(plt: Any, ax: Any, size: Sequence[float] = (6.0, 4.0)) -> Axes:
    """The axes to draw into: those given, or new ones of a size in inches."""
    chosen: Axes = plt.subplots(figsize=size)[1] if ax is None else given_axes(ax)[0]
    return chosen


def panel_axes(plt: Any, ax: Any, count: int, size: tuple[float, float], columns: int) -> NDArray[Any]:
    """Axes for so many panels of a size in inches, in so many columns; or those given, which may be fewer."""
    if ax is not None:
        return given_axes(ax)
    across = min(count, columns)
    down = -(-count // across)
    _, grid = plt.subplots(down, across, figsize=(size[0] * across, size[1] * down), squeeze=False)
    for empty in grid.ravel()[count:]:
        empty.remove()
    return np.asarray(grid.ravel()[:count])


def given_axes(ax: Any) -> NDArray[Any]:
    """The axes that the user wants a picture in, one or several, as a flat array."""
    axes = np.atleast_1d(np.asarray(ax, object)).ravel()
    if not len(axes) or not all(hasattr(item, "plot") and hasattr(item, "figure") for item in axes):
        raise ParameterError(f"plot: expected ax to be matplotlib's Axes, or several, got {ax!r}")
    return axes


def colours_of(count: int) -> NDArray[np.float64]:
    """So many colours that can be told apart, (count, 3) red, green and blue from 0 to 1; black is for lines.

    Examples
    --------
    >>> colours_of(8)[[0, 7]].round(2).tolist()
    [[0.0, 0.45, 0.7], [0.0, 0.25, 0.38]]
    """
    hues = np.array([[int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] for colour in COLOURS[1:]])
    places = np.arange(count)
    found: NDArray[np.float64] = hues[places % len(hues)] * DARKER ** (places // len(hues))[:, None]
    return found


def text_on(colour: Sequence[float]) -> str:
    """Black or white, whichever can be read on a colour (red, green, blue from 0 to 1): ITU-R BT.601's luma."""
    red, green, blue = colour[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
