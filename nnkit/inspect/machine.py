"""What this machine and its libraries are, and how fast it multiplies."""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nnkit.engine.workers import single_threaded_blas

__all__ = ["blas", "peak", "processor"]

SIZE = 1024  # of the matrices: three of them in float32 are 12 MB
SECONDS = 0.25


@cache
def peak(dtype: str = "float32") -> float:
    """Arithmetic of one core, in GFLOP/s: the best product of two square matrices within a quarter of a second.

    Measured once in a process, with one thread of NumPy's BLAS. An addition and a multiplication count as two.
    """
    a, b, out = (np.full((SIZE, SIZE), value, dtype) for value in (0.5, 0.25, 0.0))
    best, end = np.inf, time.perf_counter() + SECONDS
    with single_threaded_blas():
        while time.perf_counter() < end:
            begin = time.perf_counter()
            np.dot(a, b, out)
            best = min(best, time.perf_counter() - begin)
    return float(2e-9 * SIZE**3 / best)


def processor() -> str:
    """The processor's name, as its maker or the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def blas() -> list[dict[str, Any]]:
    """The BLAS libraries in this process, as threadpoolctl describes them, without where they lie."""
    import scipy.linalg.cython_blas  # noqa: F401 - the one that kernels call
    from threadpoolctl import threadpool_info

    known = [item for item in threadpool_info() if item["user_api"] == "blas"]
    return [{**item, "filepath": os.path.basename(item["filepath"])} for item in known]
