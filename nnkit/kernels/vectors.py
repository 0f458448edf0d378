"""`nnkit.kernels.lanes` for Numba: a type for a cache line of reals. Imported by compiled stubs only."""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from nnkit.kernels.jit import ANY_ORDER

__all__ = ["everywhere", "lane_numbers", "load", "root", "store", "total", "where"]

_INT32 = ir.IntType(32)


class Vector(types.Type):
    """A cache line of reals, or (``of`` boolean) what a comparison of two gives."""

    def __init__(self, real: Any, of: Any) -> None:
        self.real, self.of = real, of
        self.lanes = 512 // real.bitwidth
        super().__init__(f"Vector({of} x {self.lanes})")

    @property
    def llvm(self) -> Any:
        """The type of LLVM."""
        element = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}.get(self.of, ir.IntType(1))
        return ir.VectorType(element, self.lanes)


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


VECTORS = {real: Vector(real, real) for real in (types.float32, types.float64)}
MASKS = {real: Vector(real, types.boolean) for real in VECTORS}
ARITHMETIC = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"}
COMPARISONS = {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "==", operator.ne: "!="}
LOGIC = {operator.or_: "or_", operator.and_: "and_"}


def _operator(function: Any, arguments: Any, results: Any, build: Any) -> None:
    """Teach Numba an operator on vectors, and on a vector and a number."""

    @infer_global(function)
    class _Template(ConcreteTemplate):
        cases = [signature(results[real], *pair) for real, vector in arguments.items()  # noqa: RUF012 - Numba reads it so
                 for pair in ([(vector, vector), (vector, real), (real, vector)] if vector.of is real else [(vector, vector)])]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = next(argument for argument in sig.args if isinstance(argument, Vector))
        return build(builder, *(_as_vector(context, builder, kind, *pair) for pair in zip(args, sig.args, strict=True)))

    for case in _Template.cases:
        lower_builtin(function, *case.args)(generate)


def _as_vector(context: Any, builder: Any, kind: Vector, value: Any, argument: Any) -> Any:
    """A vector as it is, a number in all lanes."""
    if isinstance(argument, Vector):
        return value
    return _splat(builder, kind, context.cast(builder, value, argument, kind.real))


def _splat(builder: Any, kind: Vector, number: Any) -> Any:
    """A number in all lanes."""
    nothing = ir.Constant(kind.llvm, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT32, kind.lanes), [0] * kind.lanes))


for _function, _name in ARITHMETIC.items():
    _operator(_function, VECTORS, VECTORS, lambda builder, a, b, name=_name: getattr(builder, name)(a, b, flags=("contract",)))
for _function, _name in COMPARISONS.items():
    _compare = "fcmp_unordered" if _name == "!=" else "fcmp_ordered"
    _operator(_function, VECTORS, MASKS, lambda builder, a, b, name=_name, kind=_compare: getattr(builder, kind)(name, a, b))
for _function, _name in LOGIC.items():
    _operator(_function, MASKS, MASKS, lambda builder, a, b, name=_name: getattr(builder, name)(a, b))


def _place(context: Any, builder: Any, kind: Any, row: Any) -> Any:
    """Where the numbers of a row of lanes lie, as a pointer to a vector."""
    data = context.make_array(kind)(context, builder, row).data
    return builder.bitcast(data, VECTORS[kind.dtype].llvm.as_pointer())


@intrinsic
def load(typing, row):
    """The numbers of a row of lanes, read as one vector."""
    def generate(context, builder, sig, args):
        value = builder.load(_place(context, builder, sig.args[0], args[0]))
        value.align = sig.args[0].dtype.bitwidth // 8
        return value

    return VECTORS[row.dtype](row), generate


@intrinsic
def store(typing, vector, row):
    """Row = vector."""
    def generate(context, builder, sig, args):
        builder.store(args[0], _place(context, builder, sig.args[1], args[1])).align = sig.args[1].dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(vector, row), generate


@intrinsic
def everywhere(typing, number, row):
    """A number in all lanes."""
    def generate(context, builder, sig, args):
        kind = sig.return_type
        return _splat(builder, kind, context.cast(builder, args[0], sig.args[0], kind.real))

    return VECTORS[row.dtype](number, row), generate


@intrinsic
def lane_numbers(typing, row):
    """0, 1, 2 and so on."""
    def generate(context, builder, sig, args):
        kind = sig.return_type
        return ir.Constant(kind.llvm, [float(lane) for lane in range(kind.lanes)])

    return VECTORS[row.dtype](row), generate


@intrinsic
def where(typing, condition, a, b):
    """Lanes of a where the condition holds, else of b."""
    kind = a if isinstance(a, Vector) else b

    def generate(context, builder, sig, args):
        chosen = [_as_vector(context, builder, kind, *pair) for pair in zip(args[1:], sig.args[1:], strict=True)]
        return builder.select(args[0], *chosen)

    return kind(condition, a, b), generate


@intrinsic
def root(typing, vector):
    """Square roots."""
    def generate(context, builder, sig, args):
        kind = ir.FunctionType(vector.llvm, [vector.llvm])
        name = f"llvm.sqrt.v{vector.lanes}f{vector.real.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return vector(vector), generate


@intrinsic
def total(typing, vector):
    """The sum of all lanes."""
    def generate(context, builder, sig, args):
        real = vector.llvm.element
        name = f"llvm.vector.reduce.fadd.v{vector.lanes}f{vector.real.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real, vector.llvm]), name)
        return builder.call(function, [ir.Constant(real, 0.0), args[0]], **ANY_ORDER)

    return vector.real(vector), generate
