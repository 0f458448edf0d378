"""``nnkit bench``."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nnkit.about import install
from nnkit.errors import MissingLibraryError

__all__ = ["bench"]


def bench(
    *suites: str,
    json: str | None = None,
    chart: str | None = None,
    quick: bool = False,
    threads: tuple[int, ...] = (1, 2),
) -> int:
    """Measure nnkit beside PyTorch, JAX and scikit-learn, where they are installed.

    Without a suite, all of them: about a quarter of an hour on two quiet cores. The extra "bench" brings the peers.

    Parameters
    ----------
    suites : which ones, such as training or inference; all by default
    json : write all figures to this file, too
    chart : draw them in this file, too: PNG, SVG or PDF (extra "plot")
    quick : few rounds: shows that everything runs; the figures are rough
    threads : numbers of threads to measure with

    Examples
    --------
    nnkit bench training inference --threads 1
    """
    return int(benchmarks().run(suites, json=json, chart=chart, quick=quick, threads=threads))


def benchmarks() -> Any:
    """The benchmarks: within an installed nnkit, or beside the package in a checkout."""
    if find_spec("nnkit.benchmarks") is not None:
        return importlib.import_module("nnkit.benchmarks.run")
    beside = Path(__file__).parents[2] / "benchmarks" / "__init__.py"
    found = find_spec("benchmarks")
    if found is None or found.origin is None or Path(found.origin) != beside:
        raise MissingLibraryError(f"bench: expected the benchmarks of nnkit in {beside.parent}, got none; install nnkit as a "
                                  f"wheel, which has them ({install()}), or run it from a whole checkout")  # fmt: skip
    return importlib.import_module("benchmarks.run")
