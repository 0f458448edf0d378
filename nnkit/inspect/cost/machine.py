"""What this machine and its libraries are, and how fast it multiplies."""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nnkit.engine.operands import Array, Constant
from nnkit.engine.program import Instruction, Program
from nnkit.engine.workers import single_threaded_blas

__all__ = ["blas", "peak", "processor"]

# Of products: OpenBLAS is fastest where it need not pack its matrices, other libraries are where these are large.
SHAPES = (64, 128, 64), (512, 512, 512), (1024, 1024, 1024)
SECONDS = 0.1
WORK = 1 << 25  # multiplications between two readings of the clock, at least those of one product


@cache
def peak(dtype: str = "float32") -> float:
    """Arithmetic of one core, in GFLOP/s: the best product of two matrices, of several sizes, within 0.3 seconds.

    Measured once in a process, with the BLAS that kernels call. An addition and a multiplication count as two.
    """
    with single_threaded_blas():
        return max(_speed(shape, dtype) for shape in SHAPES)


def _multiply(a, b, out, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        np.dot(a, b, out)


def _speed(shape: tuple[int, int, int], dtype: str) -> float:
    """The best of the products of this shape."""
    rows, inner, columns = shape
    times = max(1, WORK // prod(shape))
    arrays = np.full((rows, inner), 0.5, dtype), np.full((inner, columns), 0.25, dtype), np.zeros((rows, columns), dtype)
    program = Program([Instruction(_multiply, (*map(Array.view, arrays), Constant(times, "int64")), "peak", "data")], dtype)
    best, end = np.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        program.run()
        best = min(best, time.perf_counter() - begin)
    return float(2e-9 * prod(shape) * times / best)


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
