"""The few instructions that Numba has no word for: call an address, see an address as memory, meet other threads, read the
clock.

Every kernel has the same native signature, ``void(int64 frame)``. Imported by compiled stubs only.
"""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Any, ClassVar

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "atomic_add", "atomic_exchange", "atomic_load", "atomic_store", "call", "clock", "flush_to_zero", "keep_denormals",
    "pause", "pointer", "pointer_at", "restore_arithmetic", "yield_core",
]  # fmt: skip

_INT64 = ir.IntType(64)


@intrinsic
def call(typing, address, frame):
    """Call the kernel at ``address`` with ``frame``, the address of its arguments."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_INT64])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def pointer(typing, address):
    """``address`` as the untyped pointer that ``numba.carray`` takes."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic
def pointer_at(typing, row, word):
    """The address that word ``word`` of a row of int64 at address ``row`` holds, as ``numba.carray`` takes it.

    It is loaded as a pointer: made from an integer, LLVM would not see that two uses of it are one array, and would not
    vectorise a loop that works in place.
    """

    def generate(context, builder, signature, args):
        pointers = builder.inttoptr(args[0], ir.IntType(8).as_pointer().as_pointer())
        return builder.load(builder.gep(pointers, [args[1]]))

    return types.voidptr(types.int64, types.int64), generate


def _read_and_write(operation: str) -> Any:
    """Type and code of an instruction that changes an int64 by a number and returns what was there."""

    def generate(context, builder, signature, args):
        place = builder.inttoptr(args[0], _INT64.as_pointer())
        return builder.atomic_rmw(operation, place, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def atomic_add(typing, address, amount):
    """Add to the int64 at ``address`` and return what was there, sequentially consistent."""
    return _read_and_write("add")


@intrinsic
def atomic_load(typing, address):
    """Read the int64 at ``address``; what its writer wrote before is visible after."""

    def generate(context, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], _INT64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def atomic_exchange(typing, address, number):
    """Put ``number`` into the int64 at ``address`` and return what was there, sequentially consistent."""
    return _read_and_write("xchg")


@intrinsic
def atomic_store(typing, address, number):
    """Put ``number`` into the int64 at ``address``; who reads it there sees what was written before."""

    def generate(context, builder, signature, args):
        builder.store_atomic(args[1], builder.inttoptr(args[0], _INT64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _machine() -> str:
    name = str(llvm.get_process_triple()).split("-")[0].lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


class _Control:
    """A thread's control word of floating-point arithmetic: how to read and to write it, and its bits for flushing to zero."""

    # Results below the smallest normal number become 0 (bit 15 of MXCSR), and so do operands (bit 6); FZ, bit 24 of FPCR, is
    # both.
    FLUSH: ClassVar[dict[str, int]] = {"x86_64": 1 << 15 | 1 << 6, "aarch64": 1 << 24}

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder, self.machine = builder, _machine()
        self.flush = ir.Constant(_INT64, self.FLUSH.get(self.machine, 0))

    def _instruction(self, name: str, result: ir.Type, argument: ir.Type | None = None) -> Any:
        kind = ir.FunctionType(result, [] if argument is None else [argument])
        return self.builder.module.declare_intrinsic(name, (), kind)

    def read(self) -> ir.Value:
        if self.machine == "x86_64":
            word = cgutils.alloca_once(self.builder, ir.IntType(32))
            pointer = ir.IntType(8).as_pointer()
            store = self._instruction("llvm.x86.sse.stmxcsr", ir.VoidType(), pointer)
            self.builder.call(store, [self.builder.bitcast(word, pointer)])
            return self.builder.zext(self.builder.load(word), _INT64)
        if self.machine == "aarch64":
            return self.builder.call(self._instruction("llvm.aarch64.get.fpcr", _INT64), [])
        return ir.Constant(_INT64, 0)

    def write(self, value: ir.Value) -> None:
        if self.machine == "x86_64":
            word = cgutils.alloca_once(self.builder, ir.IntType(32))
            self.builder.store(self.builder.trunc(value, ir.IntType(32)), word)
            pointer = ir.IntType(8).as_pointer()
            load = self._instruction("llvm.x86.sse.ldmxcsr", ir.VoidType(), pointer)
            self.builder.call(load, [self.builder.bitcast(word, pointer)])
        elif self.machine == "aarch64":
            self.builder.call(self._instruction("llvm.aarch64.set.fpcr", ir.VoidType(), _INT64), [value])


@intrinsic
def flush_to_zero(typing):
    """Let this thread compute with 0 in the place of denormal numbers; return what `restore_arithmetic` takes.

    Arithmetic with numbers below the smallest normal one (1.2e-38 in float32) is some ten times slower.
    """

    def generate(context, builder, signature, args):
        control = _Control(builder)
        before = control.read()
        control.write(builder.or_(before, control.flush))
        return before

    return types.int64(), generate


@intrinsic
def keep_denormals(typing):
    """Let this thread compute with denormal numbers, as every thread does at first; return what `restore_arithmetic` takes."""

    def generate(context, builder, signature, args):
        control = _Control(builder)
        before = control.read()
        control.write(builder.and_(before, builder.not_(control.flush)))
        return before

    return types.int64(), generate


@intrinsic
def restore_arithmetic(typing, before):
    """Let this thread compute as it did."""

    def generate(context, builder, signature, args):
        _Control(builder).write(args[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def pause(typing):
    """Tell the core that this is a spin loop; nothing where the instruction is unknown."""

    def generate(context, builder, signature, args):
        machine = _machine()
        if machine == "x86_64":
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        elif machine == "aarch64":
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            yield_hint = ir.Constant(ir.IntType(32), 1)
            builder.call(builder.module.declare_intrinsic("llvm.aarch64.hint", (), kind), [yield_hint])
        return context.get_dummy_value()

    return types.void(), generate


def _system_yield() -> int:
    """Address of the system's own ``give my core to somebody else``; 0 where there is none."""
    try:
        if sys.platform == "win32":
            function = ctypes.windll.kernel32.SwitchToThread
        else:
            function = ctypes.CDLL(None).sched_yield
    except (AttributeError, OSError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


_no_yield = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)


# A cached kernel that names an unresolved symbol aborts the process as it loads: so it is registered at import.
llvm.add_symbol("nnkit_yield_v1", _system_yield() or ctypes.cast(_no_yield, ctypes.c_void_p).value)
yield_core = types.ExternalFunction("nnkit_yield_v1", types.int32())


# macOS rounds CLOCK_MONOTONIC to microseconds.
_CLOCK = getattr(time, "CLOCK_UPTIME_RAW", getattr(time, "CLOCK_MONOTONIC", 1))


@intrinsic
def clock(typing):
    """The system's monotonic clock: nanoseconds, or on Windows ticks of its performance counter; see `nnkit.engine.clock`."""

    def generate(context, builder, signature, args):
        words = cgutils.alloca_once(builder, ir.ArrayType(_INT64, 2), zfill=True)
        first, second = (builder.gep(words, [ir.Constant(ir.IntType(32), 0), ir.Constant(ir.IntType(32), word)])
                         for word in (0, 1))  # fmt: skip
        # BOOL f(int64 *count) on Windows, int f(clockid_t, {int64 seconds, int64 nanoseconds} *) elsewhere.
        counts = sys.platform == "win32"
        kinds, given = [_INT64.as_pointer()], [first]
        if not counts:
            kinds, given = [ir.IntType(32), *kinds], [ir.Constant(ir.IntType(32), _CLOCK), first]
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), kinds), "nnkit_clock_v1")
        builder.call(function, given)
        if counts:
            return builder.load(first)
        return builder.add(builder.mul(builder.load(first), ir.Constant(_INT64, 10**9)), builder.load(second))

    return types.int64(), generate


def _system_clock() -> int:
    """Address of the system's function that reads the clock; 0 where there is none."""
    try:
        if sys.platform == "win32":
            function = ctypes.windll.kernel32.QueryPerformanceCounter
        else:
            function = ctypes.CDLL(None).clock_gettime
    except (AttributeError, OSError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int64))
def _pythons_clock(_kind, words):
    """What stands in for it, slower."""
    words[0], words[1] = divmod(time.perf_counter_ns(), 10**9)
    return 0


llvm.add_symbol("nnkit_clock_v1", _system_clock() or ctypes.cast(_pythons_clock, ctypes.c_void_p).value)
