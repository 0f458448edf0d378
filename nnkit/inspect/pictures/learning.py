"""Pictures of how training went: the figures of the epochs, and how each layer has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.inspect.pictures.figure import COLOURS, SEQUENTIAL, drawing, panel_axes
from nnkit.inspect.pictures.table import shortened

__all__ = ["plot_figures", "plot_layers"]

SPAN = 20.0  # what a loss falls by more than is drawn with a logarithmic axis
FEW = 40  # epochs, that are marked one by one
TRAINING = ("training", COLOURS[1], "-", "o")
VALIDATION = ("validation", COLOURS[2], "--", "s")
LETTERS = 34  # of a layer's name
ROWS = 60  # layers that are named one by one


def plot_figures(figures: Mapping[str, Sequence[float]], best_epoch: int | None, ax: Any = None) -> Any:
    """Curves over the epochs, a panel for each figure: what `History.plot` draws.

    Parameters
    ----------
    figures : by name, such as "loss" and "val_loss", which share a panel; "lr" is left out where it does not change
    best_epoch : from 0, to be marked; None for none
    ax : as for `History.plot`
    """
    panels = {"loss": ["loss", "val_loss"]}
    for name in figures:
        panels.setdefault(name.removeprefix("val_"), [name.removeprefix("val_"), f"val_{name.removeprefix('val_')}"])
    rates = panels.pop("lr", ["lr"])
    if len(set(figures.get("lr", []))) > 1:
        panels["learning rate"] = rates
    with drawing("History.plot") as plt:
        axes = panel_axes(plt, ax, len(panels), (4.4, 3.3), columns=3)
        for place, (panel, (title, names)) in enumerate(zip(axes, panels.items(), strict=False)):
            _draw_curves(plt, panel, title, {name: figures[name] for name in names if name in figures})
            if best_epoch is not None:
                best = best_epoch + 1
                panel.axvline(best, color=COLOURS[0], linestyle=":", linewidth=1.2, label=f"best epoch, {best}")
            if place == 0 or len(panel.lines) > 2:
                panel.legend(frameon=True, edgecolor="none", framealpha=0.8)
    return axes


def _draw_curves(plt: Any, panel: Any, title: str, figures: Mapping[str, Sequence[float]]) -> None:
    """Curves of a figure over the epochs."""
    epochs = max(map(len, figures.values()))
    for name, values in figures.items():
        label, colour, line, marker = VALIDATION if name.startswith("val_") else TRAINING
        panel.plot(range(1, len(values) + 1), values, label=label, color=colour, linestyle=line,
                   marker=marker if epochs <= FEW else "", markersize=4)  # fmt: skip
    known = np.concatenate([values for values in figures.values()])
    known = known[np.isfinite(known)]
    if known.size and known.min() > 0 and known.max() > SPAN * known.min():
        panel.set_yscale("log")
    panel.set(title=title, xlabel="epoch")
    panel.set_xlim(0.5, epochs + 0.5)
    panel.xaxis.set_major_locator(plt.MaxNLocator(6, integer=True, min_n_ticks=1))


def plot_layers(panels: Mapping[str, Mapping[str, NDArray[np.float64]]], epochs: Sequence[int], ax: Any = None) -> Any:
    """Colours over the looks at a net, a row for each of its layers or parameters: what `Monitor.plot` draws.

    Parameters
    ----------
    panels : by title, what is shown: a number for each look, by the name of the layer or parameter
    epochs : finished at each look
    ax : as for `Monitor.plot`
    """
    deepest = min(ROWS, max(map(len, panels.values())))
    ticks = range(0, len(epochs), -(-len(epochs) // 8))
    with drawing("Monitor.plot") as plt:
        axes = panel_axes(plt, ax, len(panels), (5.6, 1.5 + 0.22 * deepest), columns=2)
        for panel, (title, series) in zip(axes, panels.items(), strict=False):
            values = np.array([*series.values()], float).reshape(-1, len(epochs))
            _draw_heat(panel, values, [shortened(name, LETTERS) for name in series])
            panel.set_xticks(ticks, [str(epochs[place]) for place in ticks])
            panel.set(title=title, xlabel="epochs finished")
    return axes


def _draw_heat(panel: Any, values: NDArray[np.float64], names: Sequence[str]) -> None:
    """Positive numbers as colours of their logarithms, a row for each name."""
    from matplotlib.colors import LogNorm

    shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    known = shown[np.isfinite(shown)]
    low, high = (known.min(), known.max()) if known.size else (1.0, 1.0)
    if high < 10 * low:  # at least a power of ten, or differences that mean nothing would look large
        low, high = low / 3, high * 3
    panel.set_facecolor("white")
    image = panel.imshow(shown, norm=LogNorm(low, high), cmap=SEQUENTIAL, aspect="auto", interpolation="nearest")
    panel.figure.colorbar(image, ax=panel, pad=0.02)
    step = -(-len(names) // ROWS)
    panel.set_yticks(range(0, len(names), step), names[::step], fontsize=9)
