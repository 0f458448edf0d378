"""Native functions for code that is not ours: called from the user's own Numba functions, and through a C pointer.

A call lays a frame on its stack, the address of the function's block and those of the arguments, and calls the block's kernel.
The block, a row of int64, holds the words of what the kernel wants (see `nnkit.engine.operands.Held`), the kernel's address
and the sizes of all arguments. What Numba compiles around a call only reads the block: it is the same for all functions
whose arguments are of the same kinds, and may be cached on disk.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    intrinsic,
    lower_builtin,
    models,
    overload,
    overload_method,
    register_jitable,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np import arrayobj

from nnkit.engine.abi import pointer
from nnkit.engine.critical import Lock
from nnkit.engine.fingerprint import of_module
from nnkit.engine.lazy import lazy
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, Caller, Constant, Held, Operand
from nnkit.engine.program import Program
from nnkit.engine.slots import serve
from nnkit.engine.stub import kernel
from nnkit.errors import NativeError
from nnkit.kernels.control import CONTROL_WORDS, Word

__all__ = ["Brought", "NativeFunction"]

_INT64 = ir.IntType(64)
ENTRY, SIZES = 8, 9  # the block's words that hold the kernel's address, and from where on the sizes of the arguments

Kind = tuple[str, str, int, str, bool]  # of an array: its argument, its name in a tuple, dimensions, dtype, whether written

_lock = Lock()
_alive: weakref.WeakSet[NativeFunction] = weakref.WeakSet()
_frozen: list[NativeFunction] = []  # machine code that names them is never freed


@dataclass(frozen=True)
class Brought:
    """An array that the caller brings: an argument of the function, or one (by the name ``field``) of a tuple that is."""

    argument: str
    field: str
    shape: tuple[int, ...]
    dtype: str
    written: bool

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.argument}[{self.field!r}]" if self.field else self.argument

    @property
    def kind(self) -> Kind:
        """All of it that compiled code depends on."""
        return self.argument, self.field, len(self.shape), self.dtype, self.written


class NativeFunction:
    """A program as a function of arrays that any number of threads may call at once; each shard serves one at a time.

    Parameters
    ----------
    program : its `Argument` operands are the arrays that a call brings
    brought : these arrays, in order
    """

    def __init__(self, program: Program, brought: Sequence[Brought]) -> None:
        self.program = program
        self.brought = tuple(brought)
        controls = program.controls
        controls[:, [Word.ROWS, Word.BATCH_ROWS, Word.SHARDS]] = 1
        taken = Constant(controls.ctypes.data + 8 * Word.TAKEN, "int64")
        operands: list[Operand] = []
        words: list[int] = []
        for operand in (Array.view(program.table), Array.view(controls), taken):
            operands.append(Held(operand, len(words)))
            words += operand.words()
            if isinstance(operand, Array):
                words[-len(operand.words())] = operand.address(0)
        assert len(words) == ENTRY
        words += [kernel(serve, (*operands, Caller()), "float64").address, *(n for item in brought for n in item.shape)]
        self.block = aligned_zeros(max(len(words), CONTROL_WORDS), "int64")
        self.block[: len(words)] = words
        self.block_address = int(self.block.ctypes.data)
        _alive.add(self)

    @lazy
    def kind(self) -> FunctionType:
        """Its type in the user's compiled code."""
        return FunctionType(tuple(item.kind for item in self.brought))

    @lazy
    def _entry(self) -> tuple[Any, int]:
        return _entry_point(int(self.block[ENTRY]), self.block_address, len(self.brought))

    @property
    def address(self) -> int:
        """A C function pointer: takes the arrays' pointers in order, returns nothing; valid as long as this object lives."""
        with _lock:
            return self._entry[1]

    @lazy
    def c_function(self) -> Any:
        """The same as ctypes sees it; it releases the GIL."""
        return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(self.brought))(self.address)

    def __reduce__(self) -> NoReturn:
        raise NativeError(f"{self!r}: expected what can be pickled or copied, got an address in this process; pickle the model "
                          "and ask the copy")  # fmt: skip


def _free_slots() -> None:
    """In a forked child the calls of the parent's other threads never end."""
    for function in _alive:
        function.program.controls[:, Word.TAKEN] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_slots)


def _call_with(builder: Any, kernel: Any, words: Sequence[Any]) -> None:
    """Call a kernel with a frame of these words, which lies on the stack."""
    with builder.goto_entry_block():
        frame = builder.alloca(_INT64, size=len(words))
    for place, word in enumerate(words):
        builder.store(word, builder.gep(frame, [_INT64(place)]))
    kind = ir.FunctionType(ir.VoidType(), [_INT64])
    builder.call(builder.inttoptr(kernel, kind.as_pointer()), [builder.ptrtoint(frame, _INT64)])


def _entry_point(kernel: int, block: int, arguments: int) -> tuple[Any, int]:
    """A C function of so many pointers: its machine code, to be kept, and its address.

    LLVM makes these few instructions in 3 ms, and they go with the object that holds them; Numba would never free them.
    """
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_INT64] * arguments), "nnkit_entry_point")
    builder = ir.IRBuilder(function.append_basic_block())
    _call_with(builder, _INT64(kernel), [_INT64(block), *function.args])
    builder.ret_void()
    machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    return engine, int(engine.get_function_address(function.name))


# --------------------------------------------------------------------------------------- inside the user's own functions


class FunctionType(types.Type):
    """The Numba type of `NativeFunction` objects: what their arguments are, but not their sizes."""

    def __init__(self, arrays: tuple[Kind, ...]) -> None:
        self.arrays = arrays
        listed = ", ".join(f"{dtype}({dims}d) {argument} {field}".rstrip() for argument, field, dims, dtype, _ in arrays)
        # With the source: Numba keeps what it compiled for this type on disk.
        super().__init__(f"nnkit function({listed}) {of_module(__name__).digest}")


@typeof_impl.register(NativeFunction)
def _typeof(function: NativeFunction, context: Any) -> FunctionType:
    return function.kind


@register_model(FunctionType)
class _FunctionModel(models.PrimitiveModel):
    """In machine code it is the address of its block."""

    def __init__(self, manager: Any, kind: FunctionType) -> None:
        super().__init__(manager, kind, _INT64)


@unbox(FunctionType)
def _unbox(kind: FunctionType, function: Any, c: Any) -> Any:
    address = c.pyapi.object_getattr_string(function, "block_address")
    native = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(native, is_error=c.pyapi.c_api_error())


@lower_constant(FunctionType)
def _constant(context: Any, builder: Any, kind: FunctionType, function: NativeFunction) -> Any:
    """As a global of the user's function; such code Numba does not keep on disk."""
    _frozen.append(function)
    return builder.ptrtoint(context.add_dynamic_addr(builder, function.block_address, info="nnkit function"), _INT64)


@intrinsic
def _address_of(typing, function):
    """The address of a function's block."""

    def generate(context, builder, signature, args):
        return args[0]

    return types.int64(function), generate


@intrinsic
def _call_kernel(typing, kernel, words):
    """Call a kernel with a frame of these words."""

    def generate(context, builder, signature, args):
        _call_with(builder, args[0], [builder.extract_value(args[1], place) for place in range(len(signature.args[1]))])
        return context.get_dummy_value()

    return types.void(types.int64, words), generate


@intrinsic
def _pointers(typing, arrays):
    """Where the arrays of a tuple begin, as a tuple."""

    def generate(context, builder, signature, args):
        words = []
        for place, kind in enumerate(signature.args[0]):
            array = arrayobj.make_array(kind)(context, builder, builder.extract_value(args[0], place))
            words.append(builder.ptrtoint(array.data, _INT64))
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(types.int64, len(arrays))(arrays), generate


@intrinsic
def _sizes(typing, arrays):
    """The shapes of the arrays of a tuple, one after the other."""

    def generate(context, builder, signature, args):
        words = []
        for place, kind in enumerate(signature.args[0]):
            array = arrayobj.make_array(kind)(context, builder, builder.extract_value(args[0], place))
            words += cgutils.unpack_tuple(builder, array.shape, kind.ndim)
        return context.make_tuple(builder, signature.return_type, words)

    return types.UniTuple(types.int64, sum(array.ndim for array in arrays))(arrays), generate


def _flat(kind: FunctionType, given: Sequence[Any]) -> list[Any]:
    """The types of all arrays; others than the function takes are refused, while the user's function is compiled."""
    arguments = {argument: [array for array in kind.arrays if array[0] == argument] for argument, *_ in kind.arrays}
    if len(given) != len(arguments):
        raise TypingError(f"nnkit function: expected the arguments {', '.join(arguments)}, got {len(given)} of them")
    found: list[Any] = []
    for item, (argument, wanted) in zip(given, arguments.items(), strict=True):
        names = [field for _, field, *_ in wanted if field]
        if names and not (isinstance(item, types.BaseTuple) and len(item) == len(names)):
            raise TypingError(f"nnkit function: expected {argument} to be a tuple of arrays for {', '.join(names)}, got {item}")
        arrays = list(item) if names else [item]
        for array, (_, field, dims, dtype, written) in zip(arrays, wanted, strict=True):
            right = isinstance(array, types.Array) and (array.ndim, str(array.dtype), array.layout) == (dims, dtype, "C")
            if not right or not array.aligned or (written and not array.mutable):
                name = f"{argument}[{field!r}]" if field else argument
                raise TypingError(f"nnkit function: expected {name} to be a {'writable ' * written}C-contiguous array of "
                                  f"{dtype} with {dims} dimensions, got {array}")  # fmt: skip
        found += arrays
    return found


def _tuple(value):
    """A tuple as it is, and an array as a tuple of one."""


@overload(_tuple)
def _overload_tuple(value):
    return (lambda value: tuple(value)) if isinstance(value, types.BaseTuple) else (lambda value: (value,))


@register_jitable
def _call_with_arrays(function, arrays, words):
    block = carray(pointer(_address_of(function)), (words,), np.int64)
    place = SIZES
    for size in _sizes(arrays):
        if size != block[place]:
            raise ValueError("nnkit function: expected arrays of the shapes of one row, got another shape")
        place += 1
    _call_kernel(block[ENTRY], (_address_of(function), *_pointers(arrays)))


@overload_method(FunctionType, "__call__")
def _overload(function, x, out, grad_out=None, grad_x=None):
    given = [array for array in (x, out, grad_out, grad_x)
             if not (array is None or isinstance(array, types.Omitted | types.NoneType))]  # fmt: skip
    words = SIZES + sum(array.ndim for array in _flat(function, given))

    def value(function, x, out, grad_out=None, grad_x=None):
        _call_with_arrays(function, _tuple(x) + _tuple(out), words)

    def value_and_gradient(function, x, out, grad_out=None, grad_x=None):
        _call_with_arrays(function, _tuple(x) + _tuple(out) + _tuple(grad_out) + _tuple(grad_x), words)

    return value if len(given) == 2 else value_and_gradient


@lower_builtin(FunctionType, FunctionType, types.VarArg(types.Any))
def _lower(context, builder, signature, args):
    """What is called by its name alone is the method."""
    method = context.get_function((FunctionType, "__call__"), signature)
    context.add_linking_libs(getattr(method, "libs", ()))
    return method(builder, args)
