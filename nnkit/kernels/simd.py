"""Vector instructions that loops cannot express. Imported by compiled stubs only; LLVM splits wide vectors where need be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from nnkit.kernels.jit import ANY_ORDER, helper, lines_in_registers

__all__ = ["contract32", "contract64", "correlate32", "correlate64", "multiply32", "multiply64", "transpose32", "transpose64"]

_INT64, _ADDRESS = ir.IntType(64), types.int64


def _block_transposer(real: Any, size: int) -> Any:
    """An intrinsic that transposes a block of 64 bytes x as many rows; addresses, strides and ``size`` are in bytes."""
    lanes = 64 // size
    vector = ir.VectorType(real, lanes)
    indices = ir.VectorType(ir.IntType(32), lanes)

    def mask(chosen: list[int]) -> Any:
        return ir.Constant(indices, [ir.Constant(ir.IntType(32), index) for index in chosen])

    def place(builder: Any, start: Any, stride: Any, row: int) -> Any:
        address = builder.add(start, builder.mul(stride, ir.Constant(_INT64, row)))
        return builder.inttoptr(address, vector.as_pointer())

    @intrinsic
    def transpose_block(typing, source, source_stride, target, target_stride):
        def generate(context, builder, signature, args):
            rows = [builder.load(place(builder, args[0], args[1], row)) for row in range(lanes)]
            for row in rows:
                row.align = size
            step = 1
            while step < lanes:  # swap the off-diagonal quarters of all 2 step x 2 step blocks (Eklundh 1972)
                low = mask([i if not i & step else lanes + i - step for i in range(lanes)])
                high = mask([i + step if not i & step else lanes + i for i in range(lanes)])
                for row in range(lanes):
                    if not row & step:
                        pair = rows[row], rows[row + step]
                        rows[row] = builder.shuffle_vector(*pair, low)
                        rows[row + step] = builder.shuffle_vector(*pair, high)
                step *= 2
            for row in range(lanes):
                builder.store(rows[row], place(builder, args[2], args[3], row)).align = size
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return transpose_block


def _of_reals(size: int) -> Any:
    """An intrinsic that refuses, as a kernel is compiled, what are no matrices of reals of ``size`` bytes."""
    number = types.Float(f"float{8 * size}")

    @intrinsic
    def require_real(typing, a, b, c):
        for kind in (a, b, c):
            if not isinstance(kind, types.Array) or kind.ndim != 2 or kind.dtype != number:
                raise TypingError(f"expected matrices of {number}, the kernel's dtype, got {kind}")
        return types.void(a, b, c), lambda context, builder, signature, args: context.get_dummy_value()

    return require_real


def _product(size: int) -> Any:
    """`nnkit.kernels.gemm._require_product`; what came, an uncompiled run tells."""
    require_real = _of_reals(size)

    @helper
    def require_product(a, b, turned, out):
        require_real(a, b, out)
        inner, columns = (b.shape[1], b.shape[0]) if turned else (b.shape[0], b.shape[1])
        if a.shape[1] != inner or out.shape[0] != a.shape[0] or out.shape[1] != columns:
            raise ValueError("a matrix product: expected shapes that fit")

    return require_product


require_product32, require_product64 = _product(4), _product(8)


def _transposer(real: Any, size: int) -> Any:
    """Target = source.T, matrices of numbers of ``size`` bytes; in blocks where rows of both are contiguous."""
    transpose_block, require_real = _block_transposer(real, size), _of_reals(size)
    lanes = 64 // size

    @helper
    def transpose(source, target):
        require_real(source, target, target)
        rows, columns = source.shape
        if target.shape[0] != columns or target.shape[1] != rows:
            raise ValueError("transpose: expected a target whose shape is that of the source, turned")
        if source.strides[1] != size or target.strides[1] != size:
            for i in range(rows):
                for j in range(columns):
                    target[j, i] = source[i, j]
            return
        whole_rows, whole_columns = rows - rows % lanes, columns - columns % lanes
        stride, target_stride = source.strides[0], target.strides[0]
        for i in range(0, whole_rows, lanes):
            for j in range(0, whole_columns, lanes):
                start = source.ctypes.data + i * stride + size * j
                transpose_block(start, stride, target.ctypes.data + j * target_stride + size * i, target_stride)
        for i in range(rows):
            for j in range(whole_columns if i < whole_rows else 0, columns):
                target[j, i] = source[i, j]

    return transpose


transpose32 = _transposer(ir.FloatType(), 4)
transpose64 = _transposer(ir.DoubleType(), 8)


# ----------------------------------------------------------------------------------------------- sums over many taps

# How many outputs are summed at a time: so many that none waits for the one before (4 cycles, two a cycle), and no more than
# there are registers. AVX-512 has 32 for a cache line each; AVX2 and NEON hold 6 such sums beside what goes into them, SSE two.
# For `contract`, and by the depth of a tile for `correlate` and `multiply`.
Widths = tuple[int, ...]
_WIDTHS: dict[int, tuple[Widths, dict[int, Widths], dict[int, Widths]]] = {
    32: (
        (16, 8, 6, 4, 2, 1), {4: (4, 2, 1), 2: (8, 4, 2, 1), 1: (8, 6, 3, 1)}, {4: (6, 4, 2, 1), 2: (12, 3, 1), 1: (16, 4, 1)},
    ),
    8: ((6, 5, 4, 3, 2, 1), {2: (3, 2, 1), 1: (6, 3, 2, 1)}, {1: (6, 4, 2, 1)}),
    4: ((2, 1), {1: (2, 1)}, {1: (2, 1)}),
}  # fmt: skip
LINES = lines_in_registers()
CONTRACTED, CORRELATED, MULTIPLIED = _WIDTHS[LINES]

CHUNK = 128  # rows of a matrix that are multiplied in one go: 256 bytes of each fill two thirds of a first-level cache


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """A * b + c, as one instruction where there is one."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


class _Vectors:
    """A cache line of reals, and how to read and write it at an address."""

    def __init__(self, real: Any, size: int) -> None:
        self.real, self.size, self.lanes = real, size, 64 // size
        self.kind = ir.VectorType(real, self.lanes)

    def at(self, builder: Any, start: Any, *steps: tuple[Any, Any]) -> Any:
        """``start`` moved on by products of indices and strides in bytes."""
        for index, stride in steps:
            start = builder.add(start, builder.mul(index, stride))
        return start

    def load(self, builder: Any, address: Any, mask: Any = None) -> Any:
        pointer = builder.inttoptr(address, self.kind.as_pointer())
        if mask is None:
            value = builder.load(pointer)
            value.align = self.size
            return value
        function = self._masked(builder, "load", self.kind, pointer.type, mask.type)
        return builder.call(function, [pointer, *self._some(mask), ir.Constant(self.kind, [0.0] * self.lanes)])

    def store(self, builder: Any, value: Any, address: Any, mask: Any = None) -> None:
        pointer = builder.inttoptr(address, self.kind.as_pointer())
        if mask is None:
            builder.store(value, pointer).align = self.size
        else:
            function = self._masked(builder, "store", ir.VoidType(), pointer.type, mask.type)
            builder.call(function, [value, pointer, *self._some(mask)])

    def first(self, builder: Any, count: Any) -> Any:
        """The mask of the first lanes."""
        places = ir.Constant(ir.VectorType(_INT64, self.lanes), list(range(self.lanes)))
        one = builder.insert_element(ir.Constant(places.type, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
        nowhere = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return builder.icmp_unsigned("<", places, builder.shuffle_vector(one, one, nowhere))

    def _some(self, mask: Any) -> list[Any]:
        return [ir.Constant(ir.IntType(32), self.size), mask]

    def _masked(self, builder: Any, what: str, result: Any, pointer: Any, mask: Any) -> Any:
        """LLVM's access to some lanes of a vector, which leaves the memory of the others alone."""
        some = [ir.IntType(32), mask]
        arguments = [pointer, *some, self.kind] if what == "load" else [self.kind, pointer, *some]
        name = f"llvm.masked.{what}.v{self.lanes}f{8 * self.size}.p0"
        return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)

    def everywhere(self, builder: Any, address: Any) -> Any:
        """The number at an address, in all lanes."""
        number = builder.load(builder.inttoptr(address, self.real.as_pointer()))
        nothing = ir.Constant(self.kind, ir.Undefined)
        first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes))


def _repeat(b: Any, widths: Sequence[int], width: Any, emit: Callable[[int, Any], None]) -> None:
    """Emit loops over ``width`` outputs in tiles of these widths, the widest first and as often as they fit.

    One to three sums at the end would wait for each other: wide tiles leave none such.
    """
    done = ir.Constant(_INT64, 0)
    for wide in widths:
        size = ir.Constant(_INT64, wide)
        left = b.sub(width, done)
        count = b.udiv(left, size)
        if wide > 4:
            rest = b.urem(left, size)
            few = b.icmp_unsigned("<", b.sub(rest, ir.Constant(_INT64, 1)), ir.Constant(_INT64, 3))
            spared = b.and_(few, b.icmp_unsigned(">", count, ir.Constant(_INT64, 0)))
            count = b.sub(count, b.zext(spared, _INT64))
        with cgutils.for_range(b, count) as loop:
            emit(wide, b.add(done, b.mul(loop.index, size)))
        done = b.add(done, b.mul(count, size))


def _contract(real: Any, size: int) -> Any:
    """An intrinsic: `nnkit.kernels.taps.contract` for reals of ``size`` bytes, at addresses."""
    vectors = _Vectors(real, size)

    def tile(b: Any, width: int, x: Any, x_steps: Any, weight: Any, w_steps: Any, counts: Any, out: Any, step: Any) -> None:
        """``width`` outputs, held in registers."""
        places = [vectors.at(b, out, (ir.Constant(_INT64, k), step)) for k in range(width)]
        sums = [cgutils.alloca_once_value(b, vectors.load(b, place)) for place in places]
        with cgutils.for_range(b, counts[0]) as one:
            x_one, w_one = vectors.at(b, x, (one.index, x_steps[0])), vectors.at(b, weight, (one.index, w_steps[0]))
            with cgutils.for_range(b, counts[1]) as two:
                x_two, w_two = vectors.at(b, x_one, (two.index, x_steps[1])), vectors.at(b, w_one, (two.index, w_steps[1]))
                with cgutils.for_range(b, counts[2]) as three:
                    values = vectors.load(b, vectors.at(b, x_two, (three.index, x_steps[2])))
                    w_three = vectors.at(b, w_two, (three.index, w_steps[2]))
                    for k in range(width):
                        factor = vectors.everywhere(b, vectors.at(b, w_three, (ir.Constant(_INT64, k), w_steps[3])))
                        b.store(_multiply_add(b, values, factor, b.load(sums[k])), sums[k])
        for k in range(width):
            vectors.store(b, b.load(sums[k]), places[k])

    @intrinsic
    def in_tiles(typing, x, x_steps, weight, w_steps, counts, out, step, width):
        def generate(context, b, signature, args):
            x, x_steps, weight, w_steps, counts, out, step, width = args
            x_steps, w_steps, counts = (cgutils.unpack_tuple(b, item) for item in (x_steps, w_steps, counts))

            def emit(wide: int, done: Any) -> None:
                begin, place = vectors.at(b, weight, (done, w_steps[3])), vectors.at(b, out, (done, step))
                tile(b, wide, x, x_steps, begin, w_steps, counts, place, step)

            _repeat(b, CONTRACTED, width, emit)
            return context.get_dummy_value()

        three, four = types.UniTuple(types.int64, 3), types.UniTuple(types.int64, 4)
        return types.void(_ADDRESS, three, _ADDRESS, four, three, _ADDRESS, types.int64, types.int64), generate

    return in_tiles


def _correlate(real: Any, size: int) -> Any:
    """An intrinsic: `nnkit.kernels.taps.correlate` for reals of ``size`` bytes, at addresses."""
    vectors = _Vectors(real, size)

    def tile(b: Any, width: int, depth: int, d: Any, d_steps: Any, x: Any, x_steps: Any, counts: Any, out: Any,
             out_steps: Any) -> None:  # fmt: skip
        """``width`` x ``depth`` outputs, held in registers."""
        zero = ir.Constant(vectors.kind, [0.0] * vectors.lanes)
        sums = [[cgutils.alloca_once_value(b, zero) for _ in range(depth)] for _ in range(width)]
        with cgutils.for_range(b, counts[0]) as one:
            d_one, x_one = vectors.at(b, d, (one.index, d_steps[1])), vectors.at(b, x, (one.index, x_steps[1]))
            with cgutils.for_range(b, counts[1]) as two:
                d_two, x_two = vectors.at(b, d_one, (two.index, d_steps[2])), vectors.at(b, x_one, (two.index, x_steps[2]))
                values = [vectors.load(b, vectors.at(b, x_two, (ir.Constant(_INT64, t), x_steps[0]))) for t in range(depth)]
                for k in range(width):
                    factor = vectors.load(b, vectors.at(b, d_two, (ir.Constant(_INT64, k), d_steps[0])))
                    for t in range(depth):
                        b.store(_multiply_add(b, factor, values[t], b.load(sums[k][t])), sums[k][t])
        kind = ir.FunctionType(vectors.real, [vectors.real, vectors.kind])
        name = f"llvm.vector.reduce.fadd.v{vectors.lanes}f{8 * vectors.size}"
        add_lanes = cgutils.get_or_insert_function(b.module, kind, name)
        for k in range(width):
            for t in range(depth):
                address = vectors.at(b, out, (ir.Constant(_INT64, k), out_steps[0]), (ir.Constant(_INT64, t), out_steps[1]))
                place = b.inttoptr(address, vectors.real.as_pointer())
                b.store(b.call(add_lanes, [b.load(place), b.load(sums[k][t])], **ANY_ORDER), place)

    @intrinsic
    def in_tiles(typing, d, d_steps, x, x_steps, counts, out, out_steps, sizes):
        def generate(context, b, signature, args):
            d, d_steps, x, x_steps, counts, out, out_steps, sizes = args
            d_steps, x_steps, counts, out_steps, sizes = (
                cgutils.unpack_tuple(b, item) for item in (d_steps, x_steps, counts, out_steps, sizes)
            )

            def deep(depth: int, t: Any) -> None:
                def wide(width: int, k: Any) -> None:
                    place = vectors.at(b, out, (k, out_steps[0]), (t, out_steps[1]))
                    d_at, x_at = vectors.at(b, d, (k, d_steps[0])), vectors.at(b, x, (t, x_steps[0]))
                    tile(b, width, depth, d_at, d_steps, x_at, x_steps, counts, place, out_steps)

                _repeat(b, CORRELATED[depth], sizes[0], wide)

            _repeat(b, list(CORRELATED), sizes[1], deep)
            return context.get_dummy_value()

        two, three = types.UniTuple(types.int64, 2), types.UniTuple(types.int64, 3)
        return types.void(_ADDRESS, three, _ADDRESS, three, two, _ADDRESS, two, two), generate

    return in_tiles


def _multiply(real: Any, size: int) -> Any:
    """An intrinsic: `nnkit.kernels.gemm.multiply` for reals of ``size`` bytes, at addresses."""
    vectors = _Vectors(real, size)
    line = ir.Constant(_INT64, 64)

    def tile(b: Any, width: int, depth: int, mask: Any, a: Any, a_steps: Any, w: Any, w_step: Any, inner: Any, out: Any,
             step: Any, fresh: Any) -> None:  # fmt: skip
        """``width`` rows x ``depth`` cache lines of outputs (of one, some lanes), held in registers."""

        def across(start: Any) -> list[Any]:
            return [vectors.at(b, start, (ir.Constant(_INT64, t), line)) for t in range(depth)]

        zero = ir.Constant(vectors.kind, [0.0] * vectors.lanes)
        places = [place for r in range(width) for place in across(vectors.at(b, out, (ir.Constant(_INT64, r), step)))]
        sums = [cgutils.alloca_once(b, vectors.kind) for _ in places]
        for total in sums:
            b.store(zero, total)
        with b.if_then(b.not_(fresh)):
            for place, total in zip(places, sums, strict=True):
                b.store(vectors.load(b, place, mask), total)
        with cgutils.for_range(b, inner) as one:
            values = [vectors.load(b, place, mask) for place in across(vectors.at(b, w, (one.index, w_step)))]
            column = vectors.at(b, a, (one.index, a_steps[1]))
            for r in range(width):
                factor = vectors.everywhere(b, vectors.at(b, column, (ir.Constant(_INT64, r), a_steps[0])))
                for value, total in zip(values, sums[r * depth : (r + 1) * depth], strict=True):
                    b.store(_multiply_add(b, value, factor, b.load(total)), total)
        for place, total in zip(places, sums, strict=True):
            vectors.store(b, b.load(total), place, mask)

    @intrinsic
    def in_tiles(typing, a, a_steps, w, w_step, inner, out, step, rows, columns, fresh):
        def generate(context, b, signature, args):
            a, a_steps, w, w_step, inner, out, step, rows, columns, fresh = args
            a_steps = cgutils.unpack_tuple(b, a_steps)
            in_line = ir.Constant(_INT64, vectors.lanes)
            lines, rest = b.udiv(columns, in_line), b.urem(columns, in_line)

            def deep(depth: int, t: Any, mask: Any = None) -> None:
                def wide(width: int, r: Any) -> None:
                    place = vectors.at(b, out, (r, step), (t, line))
                    begin, strip = vectors.at(b, a, (r, a_steps[0])), vectors.at(b, w, (t, line))
                    tile(b, width, depth, mask, begin, a_steps, strip, w_step, inner, place, step, fresh)

                _repeat(b, MULTIPLIED[depth], rows, wide)

            _repeat(b, list(MULTIPLIED), lines, deep)
            with b.if_then(b.icmp_unsigned(">", rest, ir.Constant(_INT64, 0))):
                deep(1, lines, vectors.first(b, rest))
            return context.get_dummy_value()

        number, steps = types.int64, types.UniTuple(types.int64, 2)
        kinds = [_ADDRESS, steps, _ADDRESS, number, number, _ADDRESS, number, number, number, types.boolean]
        return types.void(*kinds), generate

    return in_tiles


def _apart(name: str, count: int) -> Any:
    """An intrinsic that calls a kernel by its symbol, with ``count`` whole numbers in a frame on the stack."""

    @intrinsic
    def call(typing, numbers):
        def generate(context, b, signature, args):
            frame = cgutils.alloca_once(b, ir.ArrayType(_INT64, count + 1), zfill=True)  # the first is for a control block
            for place, number in enumerate(cgutils.unpack_tuple(b, args[0]), 1):
                zero, index = (ir.Constant(ir.IntType(32), value) for value in (0, place))
                b.store(number, b.gep(frame, [zero, index]))
            kind = ir.FunctionType(ir.VoidType(), [_INT64])
            b.call(cgutils.get_or_insert_function(b.module, kind, f"nnkit_{name}"), [b.ptrtoint(frame, _INT64)])
            return context.get_dummy_value()

        return types.void(types.UniTuple(types.int64, count)), generate

    return call


def _numbers(real: Any, number: Any) -> tuple[Any, Any]:
    """Intrinsics that read and write the number at an address."""

    @intrinsic
    def get(typing, address):
        def generate(context, b, signature, args):
            return b.load(b.inttoptr(args[0], real.as_pointer()))

        return number(_ADDRESS), generate

    @intrinsic
    def put(typing, address, value):
        def generate(context, b, signature, args):
            b.store(args[1], b.inttoptr(args[0], real.as_pointer()))
            return context.get_dummy_value()

        return types.void(_ADDRESS, number), generate

    return get, put


# ------------------------------------------------------------------------------------------------ each compiled apart

multiply_in_tiles32, multiply_in_tiles64 = _multiply(ir.FloatType(), 4), _multiply(ir.DoubleType(), 8)
contract_in_tiles32, contract_in_tiles64 = _contract(ir.FloatType(), 4), _contract(ir.DoubleType(), 8)
correlate_in_tiles32, correlate_in_tiles64 = _correlate(ir.FloatType(), 4), _correlate(ir.DoubleType(), 8)


get32, put32 = _numbers(ir.FloatType(), types.float32)
get64, put64 = _numbers(ir.DoubleType(), types.float64)


def multiply_apart32(a, a_row, a_inner, w, w_step, w_across, inner, out, step, across, rows, columns, fresh):
    if w_across != 4 or across != 4:
        for n in range(rows):
            for j in range(columns):
                total = np.float32(0.0) if fresh != 0 else get32(out + n * step + j * across)
                for k in range(inner):
                    total += get32(a + n * a_row + k * a_inner) * get32(w + k * w_step + j * w_across)
                put32(out + n * step + j * across, total)
        return
    for k in range(0, inner, CHUNK):
        some, begins = min(CHUNK, inner - k), fresh != 0 and k == 0
        multiply_in_tiles32(a + k * a_inner, (a_row, a_inner), w + k * w_step, w_step, some, out, step, rows, columns, begins)


def multiply_apart64(a, a_row, a_inner, w, w_step, w_across, inner, out, step, across, rows, columns, fresh):
    if w_across != 8 or across != 8:
        for n in range(rows):
            for j in range(columns):
                total = 0.0 if fresh != 0 else get64(out + n * step + j * across)
                for k in range(inner):
                    total += get64(a + n * a_row + k * a_inner) * get64(w + k * w_step + j * w_across)
                put64(out + n * step + j * across, total)
        return
    for k in range(0, inner, CHUNK):
        some, begins = min(CHUNK, inner - k), fresh != 0 and k == 0
        multiply_in_tiles64(a + k * a_inner, (a_row, a_inner), w + k * w_step, w_step, some, out, step, rows, columns, begins)


def contract_apart32(x, x0, x1, x2, weight, w0, w1, w2, w3, count0, count1, count2, out, step, width):
    contract_in_tiles32(x, (x0, x1, x2), weight, (w0, w1, w2, w3), (count0, count1, count2), out, step, width)


def contract_apart64(x, x0, x1, x2, weight, w0, w1, w2, w3, count0, count1, count2, out, step, width):
    contract_in_tiles64(x, (x0, x1, x2), weight, (w0, w1, w2, w3), (count0, count1, count2), out, step, width)


def correlate_apart32(d, d0, d1, d2, x, x0, x1, x2, count0, count1, out, out0, out1, size0, size1):
    correlate_in_tiles32(d, (d0, d1, d2), x, (x0, x1, x2), (count0, count1), out, (out0, out1), (size0, size1))


def correlate_apart64(d, d0, d1, d2, x, x0, x1, x2, count0, count1, out, out0, out1, size0, size1):
    correlate_in_tiles64(d, (d0, d1, d2), x, (x0, x1, x2), (count0, count1), out, (out0, out1), (size0, size1))


def _multiplier(name: str, require_product: Any) -> Any:
    call = _apart(name, 13)

    @helper
    def multiply(a, b, out, fresh):
        require_product(a, b, False, out)
        rows, columns = out.shape
        call((a.ctypes.data, a.strides[0], a.strides[1], b.ctypes.data, b.strides[0], b.strides[1], b.shape[0], out.ctypes.data,
              out.strides[0], out.strides[1], rows, columns, int(fresh)))  # fmt: skip

    return multiply


def _narrow(multiply: Any) -> Any:
    """BLAS for few columns, where it takes such arrays."""

    def product(a, b, out):
        """One of the two below."""

    @overload(product, inline="always")
    def chosen(a, b, out):
        if out.layout == "C" and {a.layout, b.layout} <= {"C", "F"}:
            return lambda a, b, out: np.dot(a, b, out)
        return lambda a, b, out: multiply(a, b, out, True)

    @helper
    def narrow(a, b, out):
        product(a, b, out)

    return narrow


def _contractor(name: str, size: int) -> Any:
    call = _apart(name, 15)

    @helper
    def contract(x, start, x_steps, weight, begin, w_steps, counts, out, place, step, width):
        call((x.ctypes.data + size * start, size * x_steps[0], size * x_steps[1], size * x_steps[2],
              weight.ctypes.data + size * begin, size * w_steps[0], size * w_steps[1], size * w_steps[2], size * w_steps[3],
              counts[0], counts[1], counts[2], out.ctypes.data + size * place, size * step, width))  # fmt: skip

    return contract


def _correlator(name: str, size: int) -> Any:
    call = _apart(name, 15)

    @helper
    def correlate(d, start, d_steps, x, begin, x_steps, counts, out, place, out_steps, sizes):
        call((d.ctypes.data + size * start, size * d_steps[0], size * d_steps[1], size * d_steps[2],
              x.ctypes.data + size * begin, size * x_steps[0], size * x_steps[1], size * x_steps[2], counts[0], counts[1],
              out.ctypes.data + size * place, size * out_steps[0], size * out_steps[1], sizes[0], sizes[1]))  # fmt: skip

    return correlate


multiply32 = _multiplier(multiply_apart32.__name__, require_product32)
multiply64 = _multiplier(multiply_apart64.__name__, require_product64)
narrow32, narrow64 = _narrow(multiply32), _narrow(multiply64)
contract32, contract64 = _contractor(contract_apart32.__name__, 4), _contractor(contract_apart64.__name__, 8)
correlate32, correlate64 = _correlator(correlate_apart32.__name__, 4), _correlator(correlate_apart64.__name__, 8)
