"""Pictures of how training went: the figures of the epochs, and how each layer has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import DataError
from nnkit.inspect.figure import COLOURS, SEQUENTIAL, drawing, given_axes
from nnkit.inspect.observer import plain
from nnkit.inspect.summary import shortened

if TYPE_CHECKING:
    from nnkit.inspect.monitor import Monitor
    from nnkit.training.history import History

__all__ = ["plot_history", "plot_looks"]

SPAN = 20.0  # what a loss falls by more than is drawn with a logarithmic axis
FEW = 40  # epochs, that are marked one by one
TRAINING = ("training", COLOURS[1], "-", "o")
VALIDATION = ("validation", COLOURS[2], "--", "s")
COLUMNS = 3  # panels in a row
LETTERS = 34  # of a layer's name
ROWS = 60  # layers that are named one by one


def plot_history(history: History, ax: Any = None) -> Any:
    """What `History.plot` draws."""
    if not history.epochs:
        raise DataError("History.plot: expected at least one finished epoch, got none")
    panels = {"loss": ["loss", "val_loss"]}
    for name in history:
        panels.setdefault(name.removeprefix("val_"), [name.removeprefix("val_"), f"val_{name.removeprefix('val_')}"])
    rates = panels.pop("lr", ["lr"])
    if len(set(history.get("lr", []))) > 1:
        panels["learning rate"] = rates
    with drawing("History.plot") as plt:
        axes = _axes(plt, ax, len(panels), (4.4, 3.3))
        for place, (panel, (title, names)) in enumerate(zip(axes, panels.items(), strict=False)):
            _draw_figures(plt, panel, title, {name: history[name] for name in names if name in history})
            if history.best_epoch is not None:
                best = history.best_epoch + 1
                panel.axvline(best, color=COLOURS[0], linestyle=":", linewidth=1.2, label=f"best epoch, {best}")
            if place == 0 or len(panel.lines) > 2:
                panel.legend(frameon=True, edgecolor="none", framealpha=0.8)
    return axes


def _draw_figures(plt: Any, panel: Any, title: str, figures: Mapping[str, Sequence[float]]) -> None:
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


def plot_looks(monitor: Monitor, ax: Any = None) -> Any:
    """What `Monitor.plot` draws."""
    panels = {"std": "spread of the outputs", "delta": "delta (RMS)",
              "gradient": "|gradient| / |w|", "update": "|update| / |w|"}  # fmt: skip
    columns = {figure: monitor.series(figure) for figure in panels}
    layers, parameters = ([shortened(plain(name), LETTERS) for name in columns[figure]] for figure in ("std", "gradient"))
    deepest = min(ROWS, max(len(layers), len(parameters)))
    with drawing("Monitor.plot") as plt:
        axes = _axes(plt, ax, len(panels), (5.6, 1.5 + 0.22 * deepest), columns=2)
        for panel, (figure, title) in zip(axes, panels.items(), strict=False):
            values = np.array([*columns[figure].values()], float).reshape(-1, len(monitor.looks))
            _draw_heat(plt, panel, title, values, layers if figure in ("std", "delta") else parameters)
            ticks = range(0, len(monitor.looks), -(-len(monitor.looks) // 8))
            panel.set_xticks(ticks, [str(monitor.looks[place].epoch) for place in ticks])
            panel.set_xlabel("epochs finished")
    return axes


def _draw_heat(plt: Any, panel: Any, title: str, values: NDArray[np.float64], names: list[str]) -> None:
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
    panel.set_title(title)


def _axes(plt: Any, ax: Any, count: int, size: tuple[float, float], columns: int = COLUMNS) -> NDArray[Any]:
    """Axes for so many panels of a size in inches, or those given, which may be fewer."""
    if ax is not None:
        return given_axes(ax)
    across = min(count, columns)
    down = -(-count // across)
    _, grid = plt.subplots(down, across, figsize=(size[0] * across, size[1] * down), squeeze=False)
    for empty in grid.ravel()[count:]:
        empty.remove()
    return np.asarray(grid.ravel()[:count])
