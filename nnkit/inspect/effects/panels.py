"""Pictures of effects: a panel for each column, all with one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.inspect.effects.effect import Effect
from nnkit.inspect.pictures.figure import COLOURS, colours_of, drawing, panel_axes
from nnkit.inspect.pictures.table import shortened

__all__ = ["draw_effects"]

CURVES = 50  # rows, of which no more are drawn
ACROSS = 3  # panels
LETTERS, LABEL = 34, 16  # of the name of a column, and of a category
LONG = 24  # letters of all labels of a panel that are written side by side
BESIDE, WIDE = 0.26, 0.12  # of the bar of missing cells: how far from the curve, and its width, of the curve's
LINES = ("-",) * 7 + ("--",) * 7 + (":",) * 7 + ("-.",) * 7  # the colours come again, darker


def draw_effects(
    effects: Sequence[Effect], names: Sequence[str], unit: str, mean: NDArray[np.float64], kind: str, ax: Any
) -> NDArray[Any]:
    """A panel for each effect; what is predicted is called ``unit``, its outputs ``names``, and is ``mean`` by itself."""
    begin = mean if len(mean) == 1 else np.zeros(len(mean))
    brush = _Brush(begin, colours_of(len(mean)), kind != "individual", kind != "average")
    with drawing("plot_effects") as plt:
        axes = panel_axes(plt, ax, len(effects), (3.7, 3.0), ACROSS)
        for panel, effect in zip(axes, effects, strict=False):
            brush.draw(plt, panel, effect)
            panel.set_title(shortened(effect.name, LETTERS))
            panel.set_ylim(*brush.limits(effects))
        for panel in axes[::ACROSS]:
            panel.set_ylabel(unit)
        if len(names) > 1:
            corner = axes[min(ACROSS, len(axes)) - 1]
            handles = [plt.Line2D([], [], **brush.look(k)) for k in range(len(names))]
            shown = [shortened(name, LABEL) for name in names]
            corner.legend(handles, shown, loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=-(-len(names) // 14))
    return axes


@dataclass(frozen=True)
class _Brush:
    """How effects are drawn.

    Attributes
    ----------
    begin : (outputs,) where bars begin
    colours : of the outputs
    average, curves : whether averages are drawn, and single rows
    """

    begin: NDArray[np.float64]
    colours: NDArray[np.float64]
    average: bool
    curves: bool

    def look(self, k: int) -> dict[str, Any]:
        """Of the line of an output."""
        return {"color": self.colours[k], "linestyle": LINES[k % len(LINES)]}

    def limits(self, effects: Sequence[Effect]) -> tuple[float, float]:
        """From where to where all panels go."""
        drawn = [self.begin, *(effect.average.ravel() for effect in effects if self.average),
                 *(_some(effect.said).ravel() for effect in effects if self.curves)]  # fmt: skip
        low, high = (float(pick(np.concatenate(drawn))) for pick in (np.min, np.max))
        margin = 0.06 * (high - low) or 0.5
        return low - margin * (low != 0), high + margin

    def draw(self, plt: Any, panel: Any, effect: Effect) -> None:
        """An effect in its panel."""
        if len(self.begin) == 1:
            panel.axhline(self.begin[0], color=COLOURS[0], linestyle=":", linewidth=0.9, zorder=0)
        if effect.labels is None:
            self._draw_numbers(plt, panel, effect)
        else:
            self._draw_labels(panel, effect, effect.labels)

    def _draw_labels(self, panel: Any, effect: Effect, known: Sequence[str]) -> None:
        labels = [*(shortened(label, LABEL) for label in known), *["missing"] * effect.misses]
        self._draw_bars(panel, np.arange(float(len(labels))), effect.said, 0.8)
        steep = sum(map(len, labels)) > LONG
        panel.set_xticks(range(len(labels)), labels, rotation=90 if steep else 0)
        panel.set_xlim(-0.6, len(labels) - 0.4)
        if effect.misses:
            panel.get_xticklabels()[-1].set_style("italic")
        if effect.left:
            panel.set_xlabel(f"and {effect.left} more")

    def _draw_numbers(self, plt: Any, panel: Any, effect: Effect) -> None:
        values, deciles = (_positions(item) for item in (effect.values, effect.deciles))
        count, span = len(values), float(np.ptp(values)) or 1.0
        for k in range(len(self.begin)):
            if self.curves:
                panel.plot(values, _some(effect.said)[:, :count, k].T, alpha=0.3, linewidth=0.7, **self.look(k))
            if self.average:
                panel.plot(values, effect.average[:count, k], marker="o" if count < 8 else "", markersize=4, **self.look(k))
        panel.plot(deciles, np.zeros(len(deciles)), "|", color=COLOURS[0], markersize=9, markeredgewidth=0.8,
                   transform=panel.get_xaxis_transform())  # fmt: skip
        panel.set_xlim(values[0] - 0.04 * span, values[-1] + (0.04 + (BESIDE + WIDE) * effect.misses) * span)
        _set_ticks(plt, panel, effect.values)
        if effect.misses:
            at = values[-1] + BESIDE * span
            self._draw_bars(panel, np.array([at]), effect.said[:, count:], WIDE * span)
            panel.text(at, -0.03, "missing", style="italic", ha="center", va="top", transform=panel.get_xaxis_transform())

    def _draw_bars(self, panel: Any, at: NDArray[np.float64], said: NDArray[np.float64], width: float) -> None:
        """Bars of each output side by side, and dots of rows."""
        wide = width / len(self.begin)
        for k, begin in enumerate(self.begin):
            middle, colour = at + (k + 0.5) * wide - width / 2, self.colours[k : k + 1]
            if self.average:
                panel.bar(middle, said[:, :, k].mean(axis=0) - begin, 0.92 * wide, begin, color=colour, linewidth=0)
            if self.curves:
                some = _some(said)[:, :, k]
                aside = np.linspace(-0.3, 0.3, len(some))[:, None] * wide
                panel.scatter(middle + aside, some, s=7, color=COLOURS[0] if self.average else colour, alpha=0.35, linewidth=0)


def _some(said: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows that are drawn one by one."""
    return said[np.linspace(0, len(said) - 1, min(len(said), CURVES)).astype(np.int64)]


def _positions(values: NDArray[Any]) -> NDArray[np.float64]:
    """Where values are on an axis: dates in days."""
    if values.dtype.kind != "M":
        return values
    from matplotlib.dates import date2num

    return np.asarray(date2num(values), np.float64)


def _set_ticks(plt: Any, panel: Any, values: NDArray[Any]) -> None:
    """Ticks where values are, and not beside, where missing cells have their place."""
    low, high = _positions(values[[0, -1]])
    if values.dtype.kind == "M":
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, num2date

        locator = AutoDateLocator(minticks=2, maxticks=5)
        ticks = locator.tick_values(*num2date([low, high])) if high > low else [low]
        panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    else:
        ticks = plt.MaxNLocator(4).tick_values(low, high)
    panel.set_xticks([tick for tick in ticks if low <= tick <= high] or [low])
