"""The figures of a run as a picture: ``python -m benchmarks.chart FIGURES.json PICTURE.png``.

Every row of a suite that says what was done (``workload``, and mostly ``threads``) and how many times longer peers take
(``<peer>_ratio``) is drawn, whatever the suite.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

__all__ = ["Group", "draw", "groups_of", "main"]

RATIO = "_ratio"
MARKERS = "osD^vPX"
SUITES = ("training", "layers")  # that are drawn where nobody says which


@dataclass(frozen=True)
class Group:
    """What was done, and by how much longer each peer takes than nnkit."""

    name: str
    ratios: dict[str, float]


def groups_of(section: dict[str, Any]) -> list[Group]:
    """The rows of a table that compare with peers."""
    groups = []
    for row in section["rows"]:
        ratios = {key.removesuffix(RATIO): float(value) for key, value in row.items()
                  if key.endswith(RATIO) and isinstance(value, int | float) and value > 0}  # fmt: skip
        if "workload" in row and ratios:
            threads = row.get("threads")
            told = "" if threads is None else f", {threads} thread{'s' * (threads > 1)}"
            groups.append(Group(f"{row['workload']}{told}", ratios))
    return groups


def _sections(figures: dict[str, Any], suites: list[str] | tuple[str, ...]) -> Iterator[tuple[str, list[Group]]]:
    for name in suites:
        drawn: list[list[Group]] = []  # a suite may show the same rows in several tables
        for section in figures["suites"].get(name, []):
            groups = groups_of(section)
            if groups and groups not in drawn:
                drawn.append(groups)
                yield section["title"].partition(",")[0], groups


def draw(figures: dict[str, Any], path: Path, suites: list[str] | tuple[str, ...] = SUITES) -> None:
    """Draw the figures that `as_json` gives, one panel for each table.

    Raises
    ------
    ValueError
        There is nothing in them to compare.
    """
    from nnkit.inspect.pictures.figure import COLOURS, drawing

    panels = list(_sections(figures, suites))
    if not panels:
        had = ", ".join(figures["suites"]) or "none"
        raise ValueError(f"expected figures of the suites {', '.join(suites)} that compare with peers, got suites {had}")
    peers = list(dict.fromkeys(peer for _, groups in panels for group in groups for peer in group.ratios))
    styles = dict(zip(peers, zip(cycle(COLOURS[1:]), cycle(MARKERS), strict=False), strict=False))
    heights = [sum(len(group.ratios) + 0.8 for group in groups) for _, groups in panels]
    with drawing("the chart") as plt:
        figure, axes = plt.subplots(
            len(panels), figsize=(8.5, 0.2 * sum(heights) + 0.8 * len(panels) + 0.7), squeeze=False,
            gridspec_kw={"height_ratios": heights},
        )  # fmt: skip
        for (title, groups), ax in zip(panels, axes[:, 0], strict=True):
            _draw_panel(ax, groups, styles)
            ax.set_title(title)
        axes[-1, 0].set_xlabel("times as long as nnkit takes for the same work (left of the line: the peer is faster)")
        handles = [plt.Line2D([], [], color=colour, marker=marker, linewidth=1.5, label=peer)
                   for peer, (colour, marker) in styles.items()]  # fmt: skip
        machine = figures.get("machine", {}).get("processor", "")
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), title=machine, alignment="left")
        figure.savefig(path)
        plt.close(figure)


def _draw_panel(ax: Any, groups: list[Group], styles: dict[str, tuple[str, str]]) -> None:
    place, ticks = 0.0, []
    for group in groups:
        ticks.append(place + (len(group.ratios) - 1) / 2)
        for peer, ratio in group.ratios.items():
            colour, marker = styles[peer]
            ax.plot([1, ratio], [place, place], color=colour, linewidth=1.5, zorder=2)
            ax.plot(ratio, place, marker, color=colour, markersize=5, zorder=3)
            side = {"xytext": (6, 0), "ha": "left"} if ratio >= 1 else {"xytext": (-6, 0), "ha": "right"}
            ax.annotate(f"{ratio:.3g}x" if ratio < 10 else f"{ratio:.0f}x", (ratio, place), textcoords="offset points",
                        va="center", fontsize=9, **side)  # fmt: skip
            place += 1
        place += 0.8
    ax.set_xscale("log")
    every = [ratio for group in groups for ratio in group.ratios.values()]
    ax.set_xlim(min(0.5, 0.6 * min(every)), 1.6 * max(every, default=1.0))
    low, high = ax.get_xlim()
    steps = [step for power in range(-3, 5) for step in (10.0**power, 2 * 10.0**power, 5 * 10.0**power) if low <= step <= high]
    ax.set_xticks(steps, [f"{step:g}x" for step in steps])
    ax.minorticks_off()
    ax.axvline(1, color="#444444", linewidth=1.2, zorder=1)
    ax.set_ylim(place - 0.9, -0.7)
    ax.set_yticks(ticks, [group.name for group in groups])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#DDDDDD", zorder=0)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.chart", description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, help="what --json has written")
    parser.add_argument("picture", type=Path, help="the file to write: .png, .svg, .pdf")
    parser.add_argument("--suites", nargs="+", default=SUITES, metavar="suite", help=f"default: {' '.join(SUITES)}")
    given = parser.parse_args()
    try:
        draw(json.loads(given.figures.read_text()), given.picture, given.suites)
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{given.figures}: {error}")


if __name__ == "__main__":
    main()
