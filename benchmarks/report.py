"""Tables on the terminal, and the same figures as JSON."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from nnkit.about import DISTRIBUTION

__all__ = ["Column", "Section", "as_json", "duration", "environment", "number", "print_section", "ratio", "versus"]

WIDTH = 120
PACKAGES = (DISTRIBUTION, "numpy", "numba", "llvmlite", "scipy", "scikit-learn", "torch", "skorch", "jax", "jaxlib", "optax",
            "onnxruntime")  # fmt: skip


def number(value: float) -> str:
    """Three digits that matter."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}" if abs(value) >= 1e-3 else f"{value:.1e}"


def ratio(value: float) -> str:
    return f"{number(value)}x"


def versus(value: float) -> str:
    """A ratio beside its figure, in one cell."""
    return ratio(value).rjust(6)


def duration(seconds: float) -> str:
    """Three digits and the unit that suits them."""
    factor, unit = next((pair for pair in ((1, "s"), (1e3, "ms")) if seconds * pair[0] >= 0.9995), (1e6, "us"))
    return f"{number(seconds * factor)} {unit:2}"


@dataclass(frozen=True)
class Column:
    """A column of one figure of each row, or of several with a space between."""

    header: str
    keys: str | Sequence[str]
    formats: Callable[[Any], str] | Sequence[Callable[[Any], str]] = number
    left: bool = False

    def cell(self, row: dict[str, Any]) -> str:
        keys = [self.keys] if isinstance(self.keys, str) else self.keys
        formats = [self.formats] * len(keys) if callable(self.formats) else self.formats
        shown = [item if isinstance(item, str) else form(item)
                 for item, form in zip(map(row.get, keys), formats, strict=True) if item is not None]  # fmt: skip
        return " ".join(shown) or "-"


@dataclass
class Section:
    """A table: rows of raw figures (SI units unless the key says otherwise), and how to show them."""

    title: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def print_section(section: Section, console: Console | None = None) -> None:
    console = console or Console(width=WIDTH, highlight=False)
    table = Table(title=section.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  show_edge=False, pad_edge=False)  # fmt: skip
    for column in section.columns:
        justify: Any = "left" if column.left else "right"
        table.add_column(column.header, justify=justify, no_wrap=not column.left, min_width=12 if column.left else None)
    for row in section.rows:
        table.add_row(*(column.cell(row) for column in section.columns))
    console.print()
    console.print(table)
    for note in section.notes:
        console.print(note, style="dim", markup=False)
    for warning in section.warnings:
        console.print(f"warning: {warning}", style="bold yellow", markup=False)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """What the figures were measured with and on."""
    from nnkit.inspect.cost.machine import processor

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        },
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}},
    }


def as_json(options: dict[str, Any], sections: dict[str, list[Section]]) -> dict[str, Any]:
    """All figures, and what they were measured with and on, as JSON holds them."""
    suites = {
        name: [{"title": item.title, "rows": item.rows, "notes": item.notes, "warnings": item.warnings} for item in items]
        for name, items in sections.items()
    }
    return {**environment(), "options": options, "suites": suites}
