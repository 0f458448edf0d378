"""Pictures of activations: the function and its derivative, as nnkit computes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

import nnkit as nn
from nnkit.inspect.pictures.figure import COLOURS, drawing

__all__ = ["cards", "draw"]

GREY = "#888888"  # it is read on white and on black
RANGE = 5.0


def draw(part: type[nn.Activation], path: Path) -> None:
    """A picture of an activation's first example, the first number of a row being varied, the others 0."""
    example = part.examples()[0]
    net = nn.Sequential([example.part]).build(example.in_shape, random_state=0)
    low, high = np.clip(example.part.domain, -RANGE, RANGE)
    x = np.linspace(low, high, 401)
    rows = np.zeros((len(x), *example.in_shape))
    rows.reshape(len(x), -1)[:, 0] = x
    first = np.zeros_like(rows)
    first.reshape(len(x), -1)[:, 0] = 1.0
    out = net.forward(rows, training=False).reshape(len(x), -1)[:, 0]
    net.forward(rows, training=True)
    slope = net.backward(first).reshape(len(x), -1)[:, 0]
    with drawing("guide") as plt:
        figure, ax = plt.subplots(figsize=(3.2, 2.2))
        ax.axhline(0.0, color=GREY, linewidth=0.5)
        ax.axvline(0.0, color=GREY, linewidth=0.5)
        ax.plot(x, out, color=COLOURS[5], label="s(x)")
        ax.plot(x, slope, color=COLOURS[2], label="s'(x)")
        ax.set_xlabel("x", color=GREY)
        ax.tick_params(colors=GREY, labelsize=8)
        for spine in ax.spines.values():
            spine.set_color(GREY)
        ax.legend(labelcolor=GREY, fontsize=8)
        figure.savefig(path, transparent=True)
        plt.close(figure)


def cards(names: Iterable[str]) -> list[str]:
    """Lines in Markdown: all pictures side by side, each with its page."""
    lines = ["::::{grid} 2 2 3 3", ":gutter: 2", ""]
    for name in names:
        lines += [f":::{{grid-item-card}} {name}", f":link: {name}", ":link-type: doc", f":img-top: {name}.svg",
                  f":img-alt: {name} and its derivative", ":::", ""]  # fmt: skip
    return [*lines, "::::", ""]
