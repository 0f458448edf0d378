"""The one place that names Numba's flags. Imported by the compiled stubs only, so numba loads lazily."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Reassociation and contraction let loops vectorise and use FMA. Never nnan or ninf: they license the compiler to
# delete the very checks that find NaN and infinity.
FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}

# error_model="numpy": a division by zero gives inf or NaN, not a branch that raises; the branch would also keep
# every loop that divides from vectorising.
FLAGS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy"}


# Of one instruction: the lanes of a vector are added pairwise instead of one after the other.
ANY_ORDER: dict[str, Any] = {"fastmath": ("reassoc",)}


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call; always inlined, never seen from Python."""
    return numba.njit(**FLAGS, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def entry(cache: bool) -> Any:
    """Compile a kernel's entry ``void(int64 frame)`` to a native address."""
    return numba.cfunc("void(int64)", cache=cache, **FLAGS)
