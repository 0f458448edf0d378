"""Some suites, one after the other: tables on the terminal, and figures in a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nnkit.errors import ParameterError

from .registry import Options, suites
from .report import WIDTH, environment, print_section, write_json

__all__ = ["run"]


def run(names: Sequence[str], *, json: str | Path | None = None, quick: bool = False, threads: Sequence[int] = (1, 2)) -> int:
    """Run suites by their names, all of them where there is none; returns the exit status."""
    from rich.console import Console

    known = suites()
    for name in names:
        if name not in known:
            raise ParameterError(f"unknown suite {name!r}; expected some of {', '.join(known)}")
    if min(threads) < 1:
        raise ParameterError(f"threads: expected numbers of at least 1, got {min(threads)}")
    if json is not None and not Path(json).parent.is_dir():
        raise ParameterError(f"json: the folder {Path(json).parent} does not exist")

    console = Console(width=WIDTH, highlight=False)
    about = environment()
    machine, versions = about["machine"], about["versions"]
    cores = f"{machine['usable_cores']} of {machine['cores']} cores"
    console.print(f"{machine['processor']}, {cores}, {machine['system']}; {about['date']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    options = Options(quick, tuple(threads))
    sections = {}
    for name in dict.fromkeys(names or known):
        begin = time.perf_counter()
        sections[name] = known[name].run(options)
        for section in sections[name]:
            print_section(section, console)
        console.print(f"({name}: {time.perf_counter() - begin:.0f} s)", style="dim")
    if json is not None:
        write_json(Path(json), asdict(options), sections)
    return 0
