"""Measure nnkit beside its peers: ``python -m benchmarks [suite ...] [--json PATH] [--chart PATH] [--quick]``."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    # Workers import this module again: what follows is not for them.
    from rich.console import Console

    from benchmarks.chart import draw
    from benchmarks.registry import Options, suites
    from benchmarks.report import WIDTH, as_json, environment, print_section

    known = suites()
    listed = "\n".join(f"  {item.name:10} {item.about}" for item in known.values())
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, epilog=f"suites:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"{', '.join(known)}; all by default")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to a file, too")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="draw how many times longer peers take, too")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that everything runs, figures are rough")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    given = parser.parse_args()
    for name in given.suites:
        if name not in known:
            parser.error(f"unknown suite {name!r}; expected some of {', '.join(known)}")
    for option, path in (("--json", given.json), ("--chart", given.chart)):
        if path and not path.parent.is_dir():
            parser.error(f"{option}: the folder {path.parent} does not exist")

    console = Console(width=WIDTH, highlight=False)
    about = environment()
    machine, versions = about["machine"], about["versions"]
    cores = f"{machine['usable_cores']} of {machine['cores']} cores"
    console.print(f"{machine['processor']}, {cores}, {machine['system']}; {about['date']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    options = Options(given.quick, tuple(given.threads))
    sections = {}
    for name in dict.fromkeys(given.suites or known):
        begin = time.perf_counter()
        sections[name] = known[name].run(options)
        for section in sections[name]:
            print_section(section, console)
        console.print(f"({name}: {time.perf_counter() - begin:.0f} s)", style="dim")
    figures = as_json(asdict(options), sections)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    if given.chart:
        try:
            draw(figures, given.chart, list(sections))
        except ValueError as error:
            parser.error(f"--chart: {error}")


if __name__ == "__main__":
    main()
