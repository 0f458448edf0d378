"""The picture of a trace: the net twice, with what flows forward and what flows back as colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.inspect.pictures.figure import SIGNED, drawing, panel_axes, text_on
from nnkit.inspect.trace.flow import Input
from nnkit.inspect.trace.record import Record, TracedInput, TracedLayer

__all__ = ["plot_trace"]

UNITS = 12  # of a layer that are drawn one by one; more are cells of a picture
NUMBERED = 6  # units of a layer that have room for their numbers
MAPS = 16  # of an image's channels that are drawn
COLUMNS = 16  # layers that are drawn; of more the first and the last ones
SPAN = 20.0  # between columns, above which colours stand for powers of ten
DEEPEST = 1e6  # what is so many times smaller is white
# Inches.
COLUMN, UNIT, TALL, PICTURE, BELOW = 1.9, 0.66, 4.2, 1.3, 0.75


@dataclass
class _Column:
    """A layer's numbers in a panel, and its labels."""

    symbol: str
    names: list[str]
    values: NDArray[Any]
    edges: NDArray[Any] | None  # (inputs, outputs), from the column before

    @property
    def single(self) -> bool:
        """Whether its units are drawn one by one."""
        return self.values.ndim == 1 and len(self.values) <= UNITS

    @property
    def unit(self) -> float:
        """Distance of two units."""
        return min(UNIT, TALL / max(len(self.values), 1))

    @property
    def height(self) -> float:
        """From its top to its bottom."""
        return self.unit * len(self.values) if self.single else PICTURE

    @property
    def centres(self) -> NDArray[Any]:
        """Where its units are, the first on top."""
        count = len(self.values)
        return self.unit * ((count - 1) / 2 - np.arange(count))

    @property
    def radius(self) -> float:
        """Of its units."""
        return 0.41 * self.unit

    @property
    def picture(self) -> NDArray[Any]:
        """Its numbers as a picture: a row of units folded to a square, a sequence as it is, channels side by side."""
        values = self.values if self.values.ndim else self.values[None]
        if values.ndim == 1:
            return _folded(values, int(np.ceil(np.sqrt(len(values)))))
        if values.ndim == 2:
            return values
        maps = values.reshape(-1, *values.shape[-2:])[:MAPS]
        across = int(np.ceil(np.sqrt(len(maps))))
        framed = np.pad(maps, ((0, -len(maps) % across), (0, 1), (0, 1)), constant_values=np.nan)
        rows = [np.hstack(list(framed[begin : begin + across])) for begin in range(0, len(framed), across)]
        return np.vstack(rows)[:-1, :-1]


def _folded(values: NDArray[Any], width: int) -> NDArray[Any]:
    padded = np.pad(values.astype(float), (0, -len(values) % width), constant_values=np.nan)
    return padded.reshape(-1, width)


def plot_trace(record: Record, row: int, ax: Any) -> Any:
    """Draw activations forward and delta backward."""
    rows, row = record.rows, record.place_of(row)
    panels = [_abridged(_forward(record, row)), _abridged(_backward(record, row))]
    tall = max(column.height for columns in panels for column in columns)
    width, height = COLUMN * len(panels[0]) + 1.6, tall + BELOW + 0.7
    with drawing("Trace.plot") as plt:
        axes = panel_axes(plt, ax, len(panels), (max(width, 6.4), height), columns=1)
        titles = (f"Forward: activations a and weights w.  L = {record.value:.4g}", "Backward: delta = dL/dz and dL/dw")
        for panel, columns, title, label in zip(axes, panels, titles, ("a", "delta"), strict=False):
            _draw(plt, panel, columns, tall)
            panel.set_title(title if rows == 1 else f"{title}; row {row} of {rows}")
            panel.figure.axes[-1].set_ylabel(label)
    return axes


def _forward(record: Record, row: int) -> list[_Column]:
    def before(given: TracedInput) -> _Column:
        return _Column(_by(given, "x"), [], given.x[row], None)

    def of(layer: TracedLayer, leads: bool) -> _Column:
        return _Column(f"a({layer.number})", _names(layer), layer.a[row], _edges(layer, layer.parameters, leads))

    return _columns(record, before, of)


def _backward(record: Record, row: int) -> list[_Column]:
    def known(values: NDArray[Any] | None, like: NDArray[Any]) -> NDArray[Any]:
        return np.full(like[row].shape, np.nan) if values is None else values[row]

    def before(given: TracedInput) -> _Column:
        return _Column(_by(given, "dL/dx"), [], known(given.grad_x, given.x), None)

    def of(layer: TracedLayer, leads: bool) -> _Column:
        delta = known(layer.delta, layer.z)
        return _Column(f"delta({layer.number})", _names(layer), delta, _edges(layer, layer.gradients, leads))

    return _columns(record, before, of)


def _columns(
    record: Record, before: Callable[[TracedInput], _Column], of: Callable[[TracedLayer, bool], _Column]
) -> list[_Column]:
    """The layers one after the other, each input before the first layer that reads it."""
    columns: list[_Column] = []
    waiting = list(record.inputs)
    for layer in record.layers:
        read = [given for given in waiting if any(piece.of == layer.number for piece in given.readers)]
        read = read if columns or read else waiting[:1]  # what it is read by is not known
        columns += map(before, read)
        waiting = [given for given in waiting if given not in read]
        alone = len(layer.sources) == 1 and isinstance(layer.sources[0].of, Input)
        columns.append(of(layer, layer.follows or (alone and bool(read))))
    return [*columns, *map(before, waiting)]


def _by(given: TracedInput, symbol: str) -> str:
    """What is said below an input."""
    return f"{symbol}_{given.name}" if given.name else symbol


def _abridged(columns: list[_Column]) -> list[_Column]:
    if len(columns) <= COLUMNS:
        return columns
    left_out = len(columns) - COLUMNS + 1
    gap = _Column(f"... {left_out} more ...", [], np.empty(0), None)
    after = columns[-(COLUMNS // 2) :]
    return [*columns[: COLUMNS // 2 - 1], gap, replace(after[0], edges=None), *after[1:]]


def _names(layer: TracedLayer) -> list[str]:
    return [type(item).__name__ for item in layer.layers]


def _edges(layer: TracedLayer, arrays: dict[str, NDArray[Any]], leads: bool) -> NDArray[Any] | None:
    """What the lines into a dense layer stand for, where they come from the column before."""
    names = layer.layers[0].dense
    return arrays.get(names[0]) if names is not None and leads and layer.is_dense else None


def _draw(plt: Any, ax: Any, columns: Sequence[_Column], tall: float) -> None:
    """One panel; its colour bar is the figure's last axes."""
    from matplotlib.cm import ScalarMappable

    colours = ScalarMappable(_scale(columns), plt.get_cmap(SIGNED).with_extremes(bad="0.75"))
    for place, column in enumerate(columns):
        if place and column.edges is not None and column.single and columns[place - 1].single:
            _lines(plt, ax, place, columns[place - 1], column)
        if column.single:
            _circles(ax, place, column, colours)
        else:
            _image(ax, place, column, colours)
        _labels(ax, place, column, tall)
    ax.set(xlim=(-COLUMN / 2, COLUMN * (len(columns) - 0.5)), ylim=(-tall / 2 - BELOW, tall / 2 + 0.3), aspect="equal")
    ax.axis("off")
    ax.figure.colorbar(colours, ax=ax, shrink=0.7, aspect=14, pad=0.02, ticks=_ticks(colours.norm))


def _scale(columns: Sequence[_Column]) -> Any:
    """Colours for all columns; by powers of ten where the largest numbers of one would be next to white beside another's."""
    from matplotlib.colors import Normalize, SymLogNorm

    largest = [float(np.max(np.abs(column.values), where=np.isfinite(column.values), initial=0.0)) for column in columns]
    high = max(largest) or 1.0
    low = max(min((size for size in largest if size), default=high), high / DEEPEST)
    return Normalize(-high, high) if high < SPAN * low else SymLogNorm(low / 10, linscale=0.5, vmin=-high, vmax=high)


def _ticks(scale: Any) -> list[float] | None:
    """Some powers of ten, and 0; of an even scale what matplotlib finds."""
    if not hasattr(scale, "linthresh"):
        return None
    last, first = np.floor(np.log10(scale.vmax)), np.ceil(np.log10(scale.linthresh) + 0.5)
    powers = 10.0 ** np.arange(last, first - 0.5, -max(1, np.ceil((last - first) / 4)))
    return [*-powers, 0.0, *powers[::-1]]


def _lines(plt: Any, ax: Any, place: int, before: _Column, column: _Column) -> None:
    """Weights, or gradients by them: the wider and the deeper in colour, the larger."""
    from matplotlib.collections import LineCollection

    edges = np.asarray(column.edges)
    bound = float(np.max(np.abs(edges), initial=0.0)) or 1.0
    left, right = COLUMN * (place - 1) + before.radius, COLUMN * place - column.radius
    ends = [((left, y), (right, to)) for y in before.centres for to in column.centres]
    sizes = edges.ravel() / bound
    colours = plt.get_cmap(SIGNED)(0.5 + 0.5 * np.sign(sizes) * (0.25 + 0.75 * np.abs(sizes)))
    ax.add_collection(LineCollection(ends, colors=colours, linewidths=0.6 + 2.4 * np.abs(sizes), zorder=1))


def _circles(ax: Any, place: int, column: _Column, colours: Any) -> None:
    from matplotlib.patches import Circle

    for value, y in zip(column.values, column.centres, strict=True):
        face = colours.to_rgba(value) if np.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
        ax.add_patch(Circle((COLUMN * place, y), column.radius, facecolor=face, edgecolor="black", linewidth=0.8, zorder=2))
        if len(column.values) <= NUMBERED:
            ax.text(COLUMN * place, y, _told(value), ha="center", va="center", fontsize=9, color=text_on(face), zorder=3)


def _told(value: float) -> str:
    """A number that fits into a circle."""
    text = f"{value:.2g}"
    return text if len(text) < 8 else f"{value:.1g}"


def _image(ax: Any, place: int, column: _Column, colours: Any) -> None:
    picture = np.asarray(column.picture, float)
    scale = PICTURE / max(picture.shape)
    half_width, half_height = picture.shape[1] * scale / 2, picture.shape[0] * scale / 2
    extent = (COLUMN * place - half_width, COLUMN * place + half_width, -half_height, half_height)
    ax.imshow(picture, cmap=colours.cmap, norm=colours.norm, extent=extent, interpolation="nearest", zorder=2)
    ax.add_patch(_frame(extent))


def _frame(extent: tuple[float, float, float, float]) -> Any:
    from matplotlib.patches import Rectangle

    left, right, low, high = extent
    return Rectangle((left, low), right - left, high - low, fill=False, edgecolor="black", linewidth=0.8, zorder=3)


def _labels(ax: Any, place: int, column: _Column, tall: float) -> None:
    shape = "x".join(map(str, column.values.shape)) if not column.single or len(column.values) > NUMBERED else ""
    lines = [column.symbol + (f", {shape}" if shape else ""), *column.names]
    ax.text(COLUMN * place, -tall / 2 - 0.12, "\n".join(lines), ha="center", va="top", fontsize=9)
