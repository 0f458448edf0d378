"""Measure nnkit beside its peers: ``python -m benchmarks [suite ...] [--json PATH] [--chart PATH] [--quick]``."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    # Workers import this module again: what follows is not for them.
    from nnkit.errors import ParameterError

    from .registry import suites
    from .run import run

    known = suites()
    listed = "\n".join(f"  {item.name:10} {item.about}" for item in known.values())
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, epilog=f"suites:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"{', '.join(known)}; all by default")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to a file, too")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="draw them, too (PNG, SVG or PDF)")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that everything runs, figures are rough")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument("--keep", type=Path, metavar="PATH", help="tables: write figures down one by one, and go on from there")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="tables: the libraries to measure now")
    given = parser.parse_args()
    try:
        run(given.suites, json=given.json, chart=given.chart, quick=given.quick, threads=given.threads,
            keep=given.keep, only=given.only)
    except ParameterError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
