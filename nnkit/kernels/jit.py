"""The one place that names Numba's flags. Imported by the compiled stubs only, so numba loads lazily."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

# Reassociation and contraction let loops vectorise and use FMA. Never nnan or ninf: they license the compiler to
# delete the very checks that find NaN and infinity.
FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}

# error_model="numpy": a division by zero gives inf or NaN, not a branch that raises; the branch would also keep
# every loop that divides from vectorising.
FLAGS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy"}


# Of one instruction: the lanes of a vector are added pairwise instead of one after the other.
ANY_ORDER: dict[str, Any] = {"fastmath": ("reassoc",)}


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerOnly(NativeLowering):  # type: ignore[misc]
    """Lowering to LLVM's language alone: what is always inlined needs no machine code of its own.

    (It is optimised nevertheless. Left to the callers, that saves another seventh of the compile time, and loops over many
    arrays are no longer vectorised: GRU 2040 -> 2620 us a step.)
    """

    _name = "nnkit_lower_only"

    def run_pass(self, state: Any) -> bool:
        whole = state.targetctx
        # Numba wants a builtin function, for each compilation another, to know the compiled function by.
        state.targetctx = whole.subtarget(get_executable=lambda library, description, environment: [].append)
        try:
            return bool(super().run_pass(state))
        finally:
            state.targetctx = whole


class _HelperCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [(_LowerOnly if kind is NativeLowering else kind, text) for kind, text in manager.passes]
        manager.finalize()
        return [manager]


def helper(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call; always inlined, never seen from Python."""
    compiler = numba.njit(
        **FLAGS, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=_HelperCompiler
    )
    return compiler(function)


def entry(cache: bool) -> Any:
    """Compile a kernel's entry ``void(int64 frame)`` to a native address."""
    return numba.cfunc("void(int64)", cache=cache, **FLAGS)
