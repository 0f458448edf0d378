"""``nnkit info``."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator

import nnkit
from nnkit.about import DISTRIBUTION, install
from nnkit.commands.data_file import listing
from nnkit.core.terminal import folded, width_of

__all__ = ["info"]

NAME = 12  # letters before what is said of it
LIBRARIES = ("numpy", "numba", "llvmlite", "scipy", "scikit-learn", "safetensors", "rich", "threadpoolctl")


def info() -> int:
    """Say what nnkit runs on: versions, processor, threads, BLAS, kernel cache, speed, extras.

    What a report of a bug should have with it. The peak is measured, which takes a second; behind an extra that is missing
    stands what installs it.
    """
    from nnkit.engine.cache import kernel_cache
    from nnkit.engine.workers import available_threads
    from nnkit.inspect.cost.machine import blas, peak, processor
    from nnkit.inspect.pictures.table import count

    def show(name: str, *values: str) -> None:
        width = width_of(sys.stdout, sys.maxsize) - NAME
        lines = [line for value in values for line in folded(value, width).splitlines()]
        for place, line in enumerate(lines):
            print(f"{name if place == 0 else '':<{NAME}}{line}")

    show("nnkit", f"{nnkit.__version__}, {os.path.dirname(nnkit.__file__)}")
    show("python", f"{platform.python_version()}, {sys.executable}")
    show("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    show("libraries", *(f"{name} {version_of(name) or 'is missing'}" for name in LIBRARIES))
    show("processor", processor())
    show("threads", f"{available_threads(None)} (NNKIT_NUM_THREADS sets another number), on {os.cpu_count()} cores")
    show("BLAS", *(f"{item['internal_api']} {item['version'] or ''} {item['filepath']}".replace("  ", " ") for item in blas()))
    kept = kernel_cache.count()
    show("cache", str(kernel_cache), f"{count(kept.kernels)} kernels, {kept.size / 1e6:.1f} MB")
    show("peak", *(f"{peak(dtype):.0f} GFLOP/s of one core, {dtype}" for dtype in ("float32", "float64")))
    show("extras", *extras())
    return 0


def version_of(distribution: str) -> str | None:
    """The installed version, if there is one."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def extras() -> Iterator[str]:
    """Each extra of nnkit, and what of it is missing."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        required = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        yield "unknown: nnkit runs from a folder, and is not installed"
        return
    libraries: dict[str, list[str]] = {}
    for line in required:
        extra, name = re.search(r"extra == ['\"]([^'\"]+)", line), re.match(r"[\w.-]+", line)
        if extra is not None and name is not None:
            libraries.setdefault(extra[1], []).append(name[0])
    for extra_name, names in sorted(libraries.items()):
        missing = [name for name in names if version_of(name) is None]
        yield f"{extra_name}: {listing(missing, 4)} missing, {install(extra_name)}" if missing else f"{extra_name}: installed"
