"""The one place that names Numba's flags. Imported where kernels are compiled and loaded only, so numba loads lazily."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import config, types
from numba.core.ccallback import CFunc
from numba.core.compiler import CompilerBase, CompileResult, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.core.serialize import dumps, loads
from numba.core.sigutils import normalize_signature
from numba.core.typed_passes import NativeLowering
from numba.core.typing import Context

from nnkit.kernels.control import RAISED, Word

# Reassociation and contraction let loops vectorise and use FMA. Never nnan or ninf: they license the compiler to
# delete the very checks that find NaN and infinity.
FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}

# error_model="numpy": a division by zero gives inf or NaN, not a branch that raises; the branch would also keep
# every loop that divides from vectorising.
FLAGS: dict[str, Any] = {"fastmath": FASTMATH, "error_model": "numpy"}


# Numba's settings (the environment variables NUMBA_...) that shape no machine code. All others, those of future versions too,
# are in the key of a cached kernel.
_HARMLESS = {
    "ALWAYS_WARN_UNINIT_VAR", "CHROME_TRACE", "COLOR_SCHEME", "DEVELOPER_MODE", "DISABLE_CUDA", "DISABLE_JIT",
    "DISABLE_PERFORMANCE_WARNINGS", "ENABLE_CUDASIM", "FULL_TRACEBACKS", "FUNCTION_CACHE_SIZE", "GDB_BINARY", "HTML",
    "LLVM_PASS_TIMINGS", "NUMBA_DEFAULT_NUM_THREADS", "NUMBA_NUM_THREADS", "PARALLEL_DIAGNOSTICS", "SHOW_HELP", "TRACE",
}  # fmt: skip
_HARMLESS_FAMILIES = ("CACHE_", "CUDA_", "DUMP_", "HIGHLIGHT_", "THREADING_")

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


def _noting_wrapper(context: Any, library: Any, described: Any, *others: Any) -> None:
    """Write the native function ``void(int64 frame)`` around a kernel: what it raises is noted in the control block.

    (Numba's own prints it and goes on, as if nothing had happened.)
    """
    module = context.create_module("nnkit_entry")
    kind = context.call_conv.get_function_type(described.restype, described.argtypes)
    kernel = ir.Function(module, kind, described.llvm_func_name)
    result, arguments = context.get_value_type(described.restype), [context.get_value_type(item) for item in described.argtypes]
    entry = ir.Function(module, ir.FunctionType(result, arguments), described.llvm_cfunc_wrapper_name)
    builder = ir.IRBuilder(entry.append_basic_block())
    status, out = context.call_conv.call_function(
        builder, kernel, described.restype, described.argtypes, entry.args, attrs=("noinline",)
    )
    with builder.if_then(status.is_error, likely=False):
        word = ir.IntType(64)
        frame = builder.inttoptr(entry.args[0], word.as_pointer())
        control = builder.inttoptr(builder.load(frame), word.as_pointer())
        for place, value in ((Word.STATUS, word(RAISED)), (Word.ENTRY, entry.args[0])):
            builder.store(value, builder.gep(control, [word(int(place))]))
    builder.ret(out)
    library.add_ir_module(module)


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerEntry(NativeLowering):  # type: ignore[misc]
    """Lowering of a kernel's entry, with a wrapper of our own."""

    _name = "nnkit_lower_entry"

    def run_pass(self, state: Any) -> bool:
        whole = state.targetctx
        state.targetctx = whole.subtarget(create_cfunc_wrapper=partial(_noting_wrapper, whole))
        try:
            return bool(super().run_pass(state))
        finally:
            state.targetctx = whole


_REAL = {operator.truediv, operator.itruediv, float}  # what gives real numbers for whole ones, too
_ARITHMETIC = _REAL | {
    operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.pow,
    operator.iadd, operator.isub, operator.imul, operator.ifloordiv, operator.imod, operator.ipow,
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, min, max, divmod,
    math.atan2, math.copysign, math.fmod, math.hypot, math.pow,
}  # fmt: skip


def _is_weak(kind: Any) -> bool:
    """Whether values of a type are Python's whole numbers or truth values: those of arrays are of other types."""
    return isinstance(kind, types.IntegerLiteral | types.BooleanLiteral) or kind in (types.int64, types.boolean)


class _WeakTyping(Context):  # type: ignore[misc]
    """Numba's typing of one float32 kernel, in which Python's whole numbers take part as NumPy 2 has it (NEP 50).

    Elsewhere in Numba, an int64 beside a float32 makes a float64.
    """

    @classmethod
    def of(cls, context: Context) -> Context:
        """The same types, functions and conversions."""
        weak = object.__new__(cls)
        weak.__dict__.update(vars(context))
        return weak

    def resolve_function_type(self, func: Any, args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        key = getattr(func, "typing_key", func)
        if isinstance(key, Hashable) and key in _ARITHMETIC:
            whole = [_is_weak(kind) for kind in args]
            if any(whole) and (types.float32 in args or (key in _REAL and all(whole))):
                args = tuple(types.float32 if weak else kind for weak, kind in zip(whole, args, strict=True))
        return super().resolve_function_type(func, args, kws)

    def unify_pairs(self, first: Any, second: Any) -> Any:
        if types.float32 in (first, second) and (_is_weak(first) or _is_weak(second)):
            return types.float32
        return super().unify_pairs(first, second)


def _pipeline(state: Any, lowering: type[NativeLowering]) -> list[Any]:
    """Numba's passes, with another one for the lowering."""
    manager = DefaultPassBuilder.define_nopython_pipeline(state)
    manager.passes = [(lowering if kind is NativeLowering else kind, text) for kind, text in manager.passes]
    manager.finalize()
    return [manager]


class _EntryCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        return _pipeline(self.state, _LowerEntry)


class _HelperCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[Any]:
        return _pipeline(self.state, _LowerOnly)


class _Weak(CompilerBase):  # type: ignore[misc]
    """What a compiler of float32 kernels has beside."""

    def define_pipelines(self) -> list[Any]:
        self.state.typingctx = _WeakTyping.of(self.state.typingctx)
        pipelines: list[Any] = super().define_pipelines()
        return pipelines


class _WeakEntryCompiler(_Weak, _EntryCompiler):
    pass


class _WeakHelperCompiler(_Weak, _HelperCompiler):
    pass


@contextmanager
def _jit_enabled() -> Iterator[None]:
    """NUMBA_DISABLE_JIT lets the user's functions run as Python; kernels have no other form that the loop could call."""
    with global_compiler_lock:
        before, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            yield
        finally:
            config.DISABLE_JIT = before


def helper(function: Callable[..., Any], compiler: type[CompilerBase] = _HelperCompiler) -> Any:
    """Compile a function that other kernels call; always inlined, never seen from Python."""
    with _jit_enabled():
        compiled = numba.njit(
            **FLAGS, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=compiler
        )
        return compiled(function)


def weak_helper(function: Callable[..., Any]) -> Any:
    """`helper` for a float32 kernel."""
    return helper(function, _WeakHelperCompiler)


def settings() -> str:
    """Everything outside of a kernel that shapes its machine code as Numba is set up now: processor and options."""
    options = {
        name: str(value) for name, value in vars(config).items()
        if name.isupper() and name not in _HARMLESS and not name.startswith(_HARMLESS_FAMILIES)
    }  # fmt: skip
    return f"{cpu_target.target_context.codegen().magic_tuple()} {sorted(options.items())}"


_LINE = "define <16 x float> @f(<16 x float> %x) {\n  %y = fmul <16 x float> %x, %x\n  ret <16 x float> %y\n}"


def lines_in_registers() -> int:
    """How many cache lines the vector registers hold, of the processor that Numba writes for.

    That need not be this one: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say which. A name brings features that only LLVM knows, so
    the registers are read from the code that it writes: AVX-512 has 32 of 64 bytes, AVX 16 of 32, SSE 16 of 16, NEON 32 of 16.
    """
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features)
    code = machine.emit_assembly(llvm.parse_assembly(_LINE, llvm.create_context()))
    return next((lines for register, lines in (("zmm", 32), ("ymm", 8), ("xmm", 4)) if register in code), 8)


class Native:
    """A kernel ``void(int64 frame)`` as machine code, which lives as long as this object.

    Attributes
    ----------
    address : where it begins
    """

    def __init__(self, result: Any) -> None:
        self._result = result
        self.address = int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))

    @classmethod
    def compile(cls, function: Callable[[int], None], real: str) -> Native:
        """Compile a kernel's entry."""
        with _jit_enabled():
            compiler = _WeakEntryCompiler if real == "float32" else _EntryCompiler
            kernel: Any = CFunc(function, normalize_signature("void(int64)"), {}, FLAGS, compiler)
            return cls(kernel._compile_uncached())

    @classmethod
    def thaw(cls, data: bytes) -> Native:
        """Make what `frozen` gave run in this process.

        Raises
        ------
        LookupError : it names a symbol that nobody here has registered; the linker would end the process
        """
        symbols, result = loads(data)
        with global_compiler_lock:
            context = cpu_target.target_context
            rtsys.initialize(context)
            if not all(map(llvm.address_of_symbol, symbols)):
                context.refresh()  # imports all of Numba, in 0.1 s, which registers more
                for symbol in symbols:
                    if not llvm.address_of_symbol(symbol):
                        raise LookupError(symbol)
            return cls(CompileResult._rebuild(context, *result))

    def frozen(self) -> bytes | None:
        """Bytes for other processes; None where an address of this one is in the code."""
        if self._result.library.has_dynamic_globals or any(not lifted.can_cache for lifted in self._result.lifted):
            return None
        functions = self._result.library._final_module.functions
        symbols = [item.name for item in functions if item.is_declaration and not item.name.startswith("llvm.")]
        frozen: bytes = dumps((symbols, self._result._reduce()))
        return frozen

    @property
    def llvm(self) -> str:
        """LLVM code, optimised; only of what was compiled in this process."""
        return str(self._result.library.get_llvm_str())
