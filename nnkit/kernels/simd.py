"""Vector instructions that loops cannot express. Imported by compiled stubs only; LLVM splits wide vectors where need be."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nnkit.kernels.jit import ANY_ORDER, helper

__all__ = ["contract32", "contract64", "correlate32", "correlate64", "transpose32", "transpose64"]

_INT64 = ir.IntType(64)


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


def _transposer(real: Any, size: int) -> Any:
    """Target = source.T, both C-contiguous matrices of numbers of ``size`` bytes."""
    transpose_block = _block_transposer(real, size)
    lanes = 64 // size

    @helper
    def transpose(source, target):
        rows, columns = source.shape
        whole_rows, whole_columns = rows - rows % lanes, columns - columns % lanes
        for i in range(0, whole_rows, lanes):
            for j in range(0, whole_columns, lanes):
                start = source.ctypes.data + size * (i * columns + j)
                end = target.ctypes.data + size * (j * rows + i)
                transpose_block(start, size * columns, end, size * rows)
        for i in range(rows):
            for j in range(whole_columns if i < whole_rows else 0, columns):
                target[j, i] = source[i, j]

    return transpose


transpose32 = _transposer(ir.FloatType(), 4)
transpose64 = _transposer(ir.DoubleType(), 8)


# ----------------------------------------------------------------------------------------------- sums over many taps

TILE = 6  # outputs at a time: with two registers of 8 float32 each, 12 of AVX2's 16 hold sums


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

    def load(self, builder: Any, address: Any) -> Any:
        value = builder.load(builder.inttoptr(address, self.kind.as_pointer()))
        value.align = self.size
        return value

    def store(self, builder: Any, value: Any, address: Any) -> None:
        builder.store(value, builder.inttoptr(address, self.kind.as_pointer())).align = self.size

    def everywhere(self, builder: Any, address: Any) -> Any:
        """The number at an address, in all lanes."""
        number = builder.load(builder.inttoptr(address, self.real.as_pointer()))
        nothing = ir.Constant(self.kind, ir.Undefined)
        first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes))


def _contraction_tile(vectors: _Vectors, width: int) -> Any:
    """``width`` outputs of `contract`, held in registers; all arguments but ``counts`` are in bytes."""

    @intrinsic
    def tile(typing, x, x_a, x_b, x_c, weight, w_a, w_b, w_c, count_a, count_b, count_c, out, step):
        def generate(context, b, signature, args):
            x, x_a, x_b, x_c, weight, w_a, w_b, w_c, count_a, count_b, count_c, out, step = args
            places = [vectors.at(b, out, (ir.Constant(_INT64, k), step)) for k in range(width)]
            sums = [cgutils.alloca_once_value(b, vectors.load(b, place)) for place in places]
            with cgutils.for_range(b, count_a) as one:
                x_one, w_one = vectors.at(b, x, (one.index, x_a)), vectors.at(b, weight, (one.index, w_a))
                with cgutils.for_range(b, count_b) as two:
                    x_two, w_two = vectors.at(b, x_one, (two.index, x_b)), vectors.at(b, w_one, (two.index, w_b))
                    with cgutils.for_range(b, count_c) as three:
                        values = vectors.load(b, vectors.at(b, x_two, (three.index, x_c)))
                        w_three = vectors.at(b, w_two, (three.index, w_c))
                        for k in range(width):
                            factor = vectors.everywhere(b, b.add(w_three, ir.Constant(_INT64, k * vectors.size)))
                            b.store(_multiply_add(b, values, factor, b.load(sums[k])), sums[k])
            for k in range(width):
                vectors.store(b, b.load(sums[k]), places[k])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 13), generate

    return tile


def _contract(real: Any, size: int) -> Any:
    """`nnkit.kernels.taps.contract` for reals of ``size`` bytes."""
    vectors = _Vectors(real, size)
    one, two, three, four, five, six = (_contraction_tile(vectors, width) for width in range(1, TILE + 1))

    @helper
    def contract(x, start, x_steps, weight, begin, w_steps, counts, out, place, step, width):
        x_at = x.ctypes.data + size * start
        a, b, c = size * x_steps[0], size * x_steps[1], size * x_steps[2]
        d, e, f = size * w_steps[0], size * w_steps[1], size * w_steps[2]
        n, m, o = counts
        done = 0
        while done < width:
            w_at, out_at = weight.ctypes.data + size * (begin + done), out.ctypes.data + size * (place + done * step)
            left = width - done
            # Fewer than four sums at a time wait for each other: 7 are 4 and 3, not 6 and 1.
            take = min(left, 6) if left < 7 or left > 9 else (left + 1) // 2
            if take == 6:
                six(x_at, a, b, c, w_at, d, e, f, n, m, o, out_at, size * step)
            elif take == 5:
                five(x_at, a, b, c, w_at, d, e, f, n, m, o, out_at, size * step)
            elif take == 4:
                four(x_at, a, b, c, w_at, d, e, f, n, m, o, out_at, size * step)
            elif take == 3:
                three(x_at, a, b, c, w_at, d, e, f, n, m, o, out_at, size * step)
            elif take == 2:
                two(x_at, a, b, c, w_at, d, e, f, n, m, o, out_at, size * step)
            else:
                one(x_at, a, b, c, w_at, d, e, f, n, m, o, out_at, size * step)
            done += take

    return contract


def _correlation_tile(vectors: _Vectors, width: int, depth: int) -> Any:
    """``width`` x ``depth`` outputs of `correlate`, held in registers; all arguments but the counts are in bytes."""

    @intrinsic
    def tile(typing, d, d_k, d_a, d_b, x, x_t, x_a, x_b, count_a, count_b, out, out_k, out_t):
        def generate(context, b, signature, args):
            d, d_k, d_a, d_b, x, x_t, x_a, x_b, count_a, count_b, out, out_k, out_t = args
            zero = ir.Constant(vectors.kind, [0.0] * vectors.lanes)
            sums = [[cgutils.alloca_once_value(b, zero) for _ in range(depth)] for _ in range(width)]
            with cgutils.for_range(b, count_a) as one:
                d_one, x_one = vectors.at(b, d, (one.index, d_a)), vectors.at(b, x, (one.index, x_a))
                with cgutils.for_range(b, count_b) as two:
                    d_two, x_two = vectors.at(b, d_one, (two.index, d_b)), vectors.at(b, x_one, (two.index, x_b))
                    values = [vectors.load(b, vectors.at(b, x_two, (ir.Constant(_INT64, t), x_t))) for t in range(depth)]
                    for k in range(width):
                        factor = vectors.load(b, vectors.at(b, d_two, (ir.Constant(_INT64, k), d_k)))
                        for t in range(depth):
                            b.store(_multiply_add(b, factor, values[t], b.load(sums[k][t])), sums[k][t])
            kind = ir.FunctionType(vectors.real, [vectors.real, vectors.kind])
            name = f"llvm.vector.reduce.fadd.v{vectors.lanes}f{8 * vectors.size}"
            add_lanes = cgutils.get_or_insert_function(b.module, kind, name)
            for k in range(width):
                for t in range(depth):
                    address = vectors.at(b, out, (ir.Constant(_INT64, k), out_k), (ir.Constant(_INT64, t), out_t))
                    place = b.inttoptr(address, vectors.real.as_pointer())
                    b.store(b.call(add_lanes, [b.load(place), b.load(sums[k][t])], **ANY_ORDER), place)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 13), generate

    return tile


def _correlate(real: Any, size: int) -> Any:
    """`nnkit.kernels.taps.correlate` for reals of ``size`` bytes."""
    vectors = _Vectors(real, size)
    one_two, two_two, three_two = (_correlation_tile(vectors, width, 2) for width in (1, 2, 3))
    one, two, three, six = (_correlation_tile(vectors, width, 1) for width in (1, 2, 3, 6))

    @helper
    def correlate(d, start, d_steps, x, begin, x_steps, counts, out, place, out_steps, sizes):
        k_step, a, b = size * d_steps[0], size * d_steps[1], size * d_steps[2]
        t_step, e, f = size * x_steps[0], size * x_steps[1], size * x_steps[2]
        out_k, out_t = size * out_steps[0], size * out_steps[1]
        n, m = counts
        width, depth = sizes
        t = 0
        while t < depth:
            deep = 2 if depth - t > 1 else 1
            x_at = x.ctypes.data + size * begin + t * t_step
            k = 0
            while k < width:
                d_at = d.ctypes.data + size * start + k * k_step
                out_at = out.ctypes.data + size * place + k * out_k + t * out_t
                left = width - k
                if deep == 2:
                    wide = min(left, 3)
                    if wide == 3:
                        three_two(d_at, k_step, a, b, x_at, t_step, e, f, n, m, out_at, out_k, out_t)
                    elif wide == 2:
                        two_two(d_at, k_step, a, b, x_at, t_step, e, f, n, m, out_at, out_k, out_t)
                    else:
                        one_two(d_at, k_step, a, b, x_at, t_step, e, f, n, m, out_at, out_k, out_t)
                else:
                    wide = 6 if left >= 6 else min(left, 3)
                    if wide == 6:
                        six(d_at, k_step, a, b, x_at, t_step, e, f, n, m, out_at, out_k, out_t)
                    elif wide == 3:
                        three(d_at, k_step, a, b, x_at, t_step, e, f, n, m, out_at, out_k, out_t)
                    elif wide == 2:
                        two(d_at, k_step, a, b, x_at, t_step, e, f, n, m, out_at, out_k, out_t)
                    else:
                        one(d_at, k_step, a, b, x_at, t_step, e, f, n, m, out_at, out_k, out_t)
                k += wide
            t += deep

    return correlate


contract32, contract64 = _contract(ir.FloatType(), 4), _contract(ir.DoubleType(), 8)
correlate32, correlate64 = _correlate(ir.FloatType(), 4), _correlate(ir.DoubleType(), 8)
