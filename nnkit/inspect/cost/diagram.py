"""A model as a diagram: boxes for layers, frames for containers, the shapes on the arrows. All lengths are inches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from nnkit.core.container import Container
from nnkit.core.fields import SELF, fields
from nnkit.core.layer import Built
from nnkit.inspect.cost.summary import LayerSummary, summary
from nnkit.inspect.pictures.figure import COLOURS, drawing, new_axes
from nnkit.inspect.pictures.table import count, shortened, spelt
from nnkit.layers.steps import Steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Diagram", "plot"]

FONT = 9  # points
LINE = 0.17  # of text
PAD = 0.12  # between a frame and what it holds
ARROW = 0.34
SPACE = 0.3  # between columns, and between layers side by side
LETTERS = 38  # of a layer's name
TALLEST = 9.0  # of a single column
ASPECT = 1.5  # width by height of several
WIRE = "#444444"
FRAMES = ("#F4F6F9", "#E6EBF2")  # light, so that frames within frames are told apart


@cache
def _width(text: str, weight: str = "normal") -> float:
    """Of a text as it is drawn, which in few dots is somewhat wider than its letters are."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=FONT, weight=weight)
    widths = [text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n") if line]
    return 1.1 * float(max(widths, default=0.0)) / 72 + 0.04


class _Pen:
    """Draws on axes whose unit is an inch, downwards."""

    def __init__(self, ax: Axes) -> None:
        self.ax = ax

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.ax.text(x, y, text, **{"fontsize": FONT, "ha": "center", "va": "center", **style})

    def box(self, x: float, y: float, width: float, height: float, face: str, edge: str, rounding: float = 0.05) -> None:
        """A box whose middle at the top is (x, y)."""
        from matplotlib.patches import FancyBboxPatch

        style = f"round,pad=0,rounding_size={rounding}"
        self.ax.add_patch(FancyBboxPatch((x - width / 2, y), width, height, boxstyle=style, facecolor=face, edgecolor=edge))

    def wire(self, *points: tuple[float, float], arrow: bool = True) -> None:
        """A line through points, with a head at its end."""
        begin = points[:-1] if arrow else points
        if len(begin) > 1:
            self.ax.plot(*zip(*begin, strict=True), color=WIRE, linewidth=1.2, solid_capstyle="butt")
        if arrow:
            style = {"arrowstyle": "-|>", "color": WIRE, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
            self.ax.annotate("", xy=points[-1], xytext=points[-2], arrowprops=style)

    def arrow(self, x: float, y: float, length: float, label: str) -> None:
        """Downwards, with a shape beside it."""
        self.wire((x, y), (x, y + length))
        self.text(x + 0.07, y + length / 2 - 0.02, label, ha="left", color=COLOURS[1])


class _Block(Protocol):
    """Something with a size; its input comes in the middle of its top, its output leaves in the middle of its bottom."""

    width: float
    height: float
    splits: ClassVar[bool]  # whether its input goes several ways

    def draw(self, pen: _Pen, x: float, y: float) -> None:
        """With the middle of its top at (x, y)."""


class _Box:
    """A layer alone."""

    splits: ClassVar[bool] = False

    def __init__(self, row: LayerSummary) -> None:
        notes = [f"parameters of layer {row.shares}"] if row.shares else []
        notes += [f"{count(row.parameters)} parameters"] if row.parameters else []
        self.text = "\n".join([shortened(row.name, LETTERS + len(row.path)), *notes])
        self.width = _width(self.text) + 0.2
        self.height = LINE * (1 + len(notes)) + 0.14
        self.learns = bool(notes)

    def draw(self, pen: _Pen, x: float, y: float) -> None:
        pen.box(x, y, self.width, self.height, "#FFFFFF", COLOURS[1] if self.learns else WIRE)
        pen.text(x, y + self.height / 2, self.text, linespacing=1.3)


class _Stack:
    """Blocks one after the other, with an arrow before each but the first; ``labels`` are the shapes of their outputs."""

    splits: ClassVar[bool] = False

    def __init__(self, blocks: Sequence[_Block], labels: Sequence[str]) -> None:
        self.blocks, self.labels = blocks, labels
        self.width = max(*(block.width for block in blocks), *(2 * (_width(label) + 0.1) for label in labels))
        self.height = sum(block.height for block in blocks) + ARROW * (len(blocks) - 1)

    def draw(self, pen: _Pen, x: float, y: float) -> None:
        for index, block in enumerate(self.blocks):
            if index:
                pen.arrow(x, y, ARROW, self.labels[index - 1])
                y += ARROW
            block.draw(pen, x, y)
            y += block.height


class _Fan:
    """Blocks side by side on one input; their outputs come together below."""

    splits: ClassVar[bool] = True

    def __init__(self, blocks: Sequence[_Block], labels: Sequence[str]) -> None:
        self.blocks, self.labels = blocks, labels
        self.widths = [max(block.width, 2 * (_width(label) + 0.1)) for block, label in zip(blocks, labels, strict=True)]
        self.width = sum(self.widths) + SPACE * (len(blocks) - 1)
        self.height = max(block.height for block in blocks) + 2 * ARROW

    def draw(self, pen: _Pen, x: float, y: float) -> None:
        left, bottom = x - self.width / 2, y + self.height
        middles = [left + sum(self.widths[:index]) + SPACE * index + width / 2 for index, width in enumerate(self.widths)]
        for middle, block, label in zip(middles, self.blocks, self.labels, strict=True):
            pen.wire((middle, y), (middle, y + ARROW))
            block.draw(pen, middle, y + ARROW)
            end = y + ARROW + block.height
            pen.wire((middle, end), (middle, bottom), arrow=False)
            pen.text(middle + 0.07, end + ARROW / 2, label, ha="left", color=COLOURS[1])
        for level in (y, bottom):
            pen.wire((min(*middles, x), level), (max(*middles, x), level), arrow=False)


@dataclass
class _Value:
    """A named value: the block that gives it (none for an input), and where it goes."""

    label: str
    reads: Sequence[int] = ()  # places of the values that the block reads
    block: _Block | None = None
    row: int = 0  # below all that it reads
    last: int = 0  # the lowest row in which it is read
    x: dict[int, float] = field(default_factory=dict)  # by rows: of its block, and then of its line

    def width(self, row: int) -> float:
        """Of what stands in a row for it, the label beside its line among that."""
        if row > self.row:
            return 0.1
        return max(self.block.width if self.block else 0.1, 2 * (_width(self.label) + 0.1))


class _Net:
    """Blocks by what they read: each below all of that, with lines to it from the values that it reads."""

    splits: ClassVar[bool] = True
    named, gap = LINE + 0.08, 0.36  # below a row: where its values are named, and where their lines go elsewhere

    def __init__(self, blocks: Sequence[_Block], labels: Sequence[str], layer: Steps, in_shape: Any) -> None:
        steps, outs = layer.wires
        self.values = [_Value(f"{name} {spelt(shape)}" if name else "") for name, shape in fields(in_shape).items()]
        known = {name or SELF: place for place, name in enumerate(fields(in_shape))}
        for step, block, label in zip(steps, blocks, labels, strict=True):
            reads = [known[name] for name in step.read]
            row = 1 + max(self.values[place].row for place in reads)
            known[step.name] = len(self.values)
            self.values.append(_Value(f"{step.name} {label}", reads, block, row))
            for place in reads:
                self.values[place].last = max(self.values[place].last, row)
        self.bottom = 1 + max(value.row for value in self.values)
        for name in outs:
            self.values[known[name]].last = self.bottom
        self.rows = [self._placed(row) for row in range(self.bottom + 1)]
        ends = [abs(value.x[row]) + value.width(row) / 2 for row, values in enumerate(self.rows) for value in values]
        self.width = 2 * max(ends)
        self.heights = [max((value.block.height for value in values if value.block and value.row == row), default=0.0)
                        for row, values in enumerate(self.rows)]  # fmt: skip
        self.height = sum(self.heights) + self.bottom * (self.named + self.gap)

    def _placed(self, row: int) -> list[_Value]:
        """What stands in a row, left to right: blocks, and lines that go on; each below what it reads, if there is room."""
        values = [value for value in self.values if value.row == row or value.row < row < value.last or
                  row == value.last == self.bottom]  # fmt: skip
        wish = {id(value): self._above(value, row) for value in values}
        values.sort(key=lambda value: wish[id(value)])
        end = float("-inf")
        for value in values:
            half = value.width(row) / 2
            value.x[row] = max(wish[id(value)], end + SPACE + half)
            end = value.x[row] + half
        shift = sum(wish[id(value)] - value.x[row] for value in values) / max(len(values), 1)
        for value in values:
            value.x[row] += shift
        return values

    def _sources(self, value: _Value, row: int) -> list[_Value]:
        """The values whose lines come to it in a row, from left to right."""
        read = [value] if value.row < row else [self.values[place] for place in value.reads]
        return sorted(read, key=lambda source: source.x[row - 1])

    def _above(self, value: _Value, row: int) -> float:
        sources = self._sources(value, row) if row else []
        return sum(source.x[row - 1] for source in sources) / max(len(sources), 1)

    def draw(self, pen: _Pen, x: float, y: float) -> None:
        self._join(pen, x, y, 0)
        for row, (values, height) in enumerate(zip(self.rows, self.heights, strict=True)):
            bottom = y + height + self.named
            for value in values:
                middle, end = x + value.x[row], y
                if row:
                    self._lines(pen, x, y, value, row)
                if value.row == row:
                    if value.block is not None:
                        value.block.draw(pen, middle, y)
                        end += value.block.height
                    pen.text(middle + 0.07, bottom - self.named / 2, value.label, ha="left", color=COLOURS[1])
                if row < value.last:
                    pen.wire((middle, end), (middle, bottom), arrow=False)
            y = bottom + self.gap
        self._join(pen, x, y - self.named - self.gap, self.bottom)

    def _lines(self, pen: _Pen, x: float, y: float, value: _Value, row: int) -> None:
        """The lines to a value's place in a row from the row above."""
        sources = self._sources(value, row)
        ends = value.block is not None and value.row == row
        apart = min(0.3, value.block.width / (len(sources) + 1)) if value.block else 0.0
        for place, source in enumerate(sources):
            port = x + value.x[row] + (place - (len(sources) - 1) / 2) * apart
            pen.wire((x + source.x[row - 1], y - self.gap), (port, y), arrow=ends)

    def _join(self, pen: _Pen, x: float, y: float, row: int) -> None:
        """A line along all inputs, or outputs."""
        middles = [x, *(x + value.x[row] for value in self.rows[row])]
        pen.wire((min(middles), y), (max(middles), y), arrow=False)


class _Frame:
    """A container: its name, its layers, and how their outputs come together."""

    splits: ClassVar[bool] = False

    def __init__(self, title: str, inner: _Block, layer: Container, label: str, depth: int) -> None:
        self.title, self.inner, self.layer, self.label, self.depth = title, inner, layer, label, depth
        self.around = 0.22 if layer.goes_around else 0.0
        self.head = LINE + 0.1
        self.split = ARROW if layer.goes_around else 0.12  # above the layers
        self.circle = max(_width(layer.joins), 0.14) + 0.08 if layer.joins else 0.0
        self.tail = ARROW + 0.24 if layer.joins else 0.0
        self.width = max(inner.width + 2 * (PAD + self.around), _width(title, "bold") + 2 * PAD, 2 * (_width(label) + 0.2))
        self.height = self.head + self.split + inner.height + self.tail + 0.12

    def draw(self, pen: _Pen, x: float, y: float) -> None:
        pen.box(x, y, self.width, self.height, FRAMES[self.depth % 2], "#9AA5B1")
        pen.text(x - self.width / 2 + PAD / 2, y + 0.05 + LINE / 2, self.title, ha="left", fontweight="bold")
        begin = y + self.head
        top = begin + self.split
        end = top + self.inner.height
        self.inner.draw(pen, x, top)
        pen.wire((x, begin), (x, top), arrow=not self.inner.splits)
        if not self.layer.joins:
            pen.wire((x, end), (x, y + self.height), arrow=False)
            return
        middle = end + ARROW + 0.12
        pen.arrow(x, end, ARROW, "" if self.inner.splits else self.label)
        pen.box(x, middle - 0.12, self.circle, 0.24, "#FFFFFF", WIRE, rounding=0.12)
        pen.text(x, middle - 0.01, self.layer.joins)
        if self.layer.goes_around:
            side = x + self.inner.width / 2 + self.around / 2 + PAD / 2
            pen.wire((x, begin + 0.06), (side, begin + 0.06), (side, middle), (x + self.circle / 2, middle))
        pen.wire((x, middle + 0.12), (x, y + self.height), arrow=False)


class Diagram:
    """A model drawn from its built layers; see `Sequential.plot`.

    Parameters
    ----------
    root : the chain of all layers in its place
    rows : what the layers are, each container before the layers within
    """

    def __init__(self, root: Built, rows: Sequence[LayerSummary]) -> None:
        self._rows = {row.path: row for row in rows}
        self._blocks = [self._block(child, str(index)) for index, child in enumerate(root.children)]
        self._labels = [spelt(child.out_shape) for child in root.children]
        self._input = spelt(root.in_shape)
        self._columns = self._in_columns()
        self._widths = [_Stack([self._blocks[index] for index in column], [self._labels[index] for index in column]).width
                        for column in self._columns]  # fmt: skip
        self.width = sum(self._widths) + 2 * SPACE * len(self._columns)
        ends = [self._height(column) + 0.15 for column in self._columns]
        ends[-1] += ARROW + LINE
        self.height = SPACE + LINE + max(ends) + SPACE

    def _block(self, built: Built, path: str, depth: int = 0) -> _Block:
        layer, row = built.layer, self._rows[path]
        if not isinstance(layer, Container) or not built.children:
            return _Box(row)
        inner_depth = depth + layer.framed
        blocks = [self._block(child, f"{path}.{index}", inner_depth) for index, child in enumerate(built.children)]
        labels = [spelt(child.out_shape) for child in built.children]
        inner: _Block = (_Fan if layer.side_by_side else _Stack)(blocks, labels)
        if isinstance(layer, Steps) and not layer.side_by_side:
            inner = _Net(blocks, labels, layer, built.in_shape)
        if not layer.framed:
            return inner
        entries = layer.entries(built.in_shape)
        title = f"{row.name}, for each of {entries}" if entries > 1 else row.name
        return _Frame(title, inner, layer, labels[-1], depth)

    def _height(self, column: Sequence[int]) -> float:
        return sum(self._blocks[index].height + ARROW for index in column)

    def _in_columns(self) -> list[list[int]]:
        """Which blocks stand in which column: one, or where that is too tall, several in the shape of a page."""
        every = list(range(len(self._blocks)))
        tallest = total = self._height(every)
        if total > TALLEST:
            width = max(block.width for block in self._blocks) + 2 * SPACE
            tallest = max(sqrt(total * width / ASPECT), TALLEST / 2)
            tallest = total / ceil(total / tallest) + ARROW  # of even height
        columns: list[list[int]] = [[]]
        for index in every:
            if columns[-1] and self._height([*columns[-1], index]) > max(tallest, TALLEST / 2):
                columns.append([])
            columns[-1].append(index)
        return columns

    def draw(self, ax: Axes) -> Axes:
        """Draw it on axes, which are best as large as it is."""
        ax.set_xlim(0, self.width)
        ax.set_ylim(self.height, 0)
        ax.set_axis_off()
        pen = _Pen(ax)
        left, label, last = 0.0, self._input, len(self._columns) - 1
        for place, (column, width) in enumerate(zip(self._columns, self._widths, strict=True)):
            x, y = left + SPACE + width / 2, SPACE + LINE
            if place == 0:
                pen.text(x, SPACE + LINE / 2, "input", color=WIRE)
            for index in column:
                pen.arrow(x, y, ARROW, label)
                self._blocks[index].draw(pen, x, y + ARROW)
                y += ARROW + self._blocks[index].height
                label = self._labels[index]
            if place == last:
                pen.arrow(x, y, ARROW, label)
                pen.text(x, y + ARROW + LINE / 2 + 0.02, "output", color=WIRE)
                break
            left += width + 2 * SPACE
            above, beside = SPACE + LINE, left + SPACE + self._widths[place + 1] / 2
            pen.wire((x, y), (x, y + 0.15), (left, y + 0.15), (left, above), (beside, above), arrow=False)
        return ax


def plot(root: Built, ax: Axes | None = None) -> Axes:
    """Draw a net from the chain of all its layers in their places; see `Sequential.plot`.

    Examples
    --------
    >>> import nnkit as nn
    >>> ax = nn.Sequential([nn.Residual(nn.Linear(8), nn.ReLU())]).plot(in_shape=8)
    >>> ax.figure.clear()
    """
    with drawing("Sequential.plot") as plt:
        diagram = Diagram(root, summary(root).layers)
        return diagram.draw(new_axes(plt, ax, (diagram.width, diagram.height)))
