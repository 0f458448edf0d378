"""Some suites, one after the other: tables on the terminal, and figures in a file."""

from __future__ import annotations

import json as text
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nnkit.errors import ParameterError

from .chart import draw
from .registry import Options, suites
from .report import WIDTH, as_json, environment, print_section

__all__ = ["run"]


def run(
    names: Sequence[str],
    *,
    json: str | Path | None = None,
    chart: str | Path | None = None,
    quick: bool = False,
    threads: Sequence[int] = (1, 2),
    keep: Path | None = None,
    only: Sequence[str] = (),
) -> int:
    """Run suites by their names, all of them where there is none; returns the exit status."""
    from rich.console import Console

    known = suites()
    for name in names:
        if name not in known:
            raise ParameterError(f"unknown suite {name!r}; expected some of {', '.join(known)}")
    if min(threads) < 1:
        raise ParameterError(f"threads: expected numbers of at least 1, got {min(threads)}")
    for option, path in (("json", json), ("chart", chart)):
        if path is not None and not Path(path).parent.is_dir():
            raise ParameterError(f"{option}: the folder {Path(path).parent} does not exist")

    console = Console(width=WIDTH, highlight=False)
    about = environment()
    machine, versions = about["machine"], about["versions"]
    cores = f"{machine['usable_cores']} of {machine['cores']} cores"
    console.print(f"{machine['processor']}, {cores}, {machine['system']}; {about['date']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    options = Options(quick, tuple(threads), keep, tuple(only))
    sections = {}
    for name in dict.fromkeys(names or known):
        begin = time.perf_counter()
        sections[name] = known[name].run(options)
        for section in sections[name]:
            print_section(section, console)
        console.print(f"({name}: {time.perf_counter() - begin:.0f} s)", style="dim")
    figures = as_json(asdict(options), sections)
    if json is not None:
        Path(json).write_text(text.dumps(figures, indent=1) + "\n")
    if chart is not None:
        try:
            draw(figures, Path(chart), list(sections))
        except ValueError as error:
            raise ParameterError(f"chart: {error}") from error
    return 0
