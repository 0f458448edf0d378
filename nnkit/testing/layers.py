"""The contract of layers and activations, one property to a function; each raises `CheckError` where it is broken.

A property takes an `Example`: a part, and inputs that are legal for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Example, kernel_names
from nnkit.engine.operands import Array
from nnkit.engine.program import Program
from nnkit.engine.workers import Team
from nnkit.testing.arrays import looked_at
from nnkit.testing.beginning import begins_as_rows_say
from nnkit.testing.bench import Batch, Bench, Training, is_padded, kernel_of
from nnkit.testing.compare import (
    Suspects,
    agree,
    because,
    require,
    require_close,
    require_equal,
    require_finite,
)
from nnkit.testing.derivatives import READS_A_STATE, Derivatives
from nnkit.testing.directions import has_slopes, require_slopes
from nnkit.testing.part import (
    AGREEMENT,
    PART_CHECKS,
    ROUNDING,
    ROWS,
    SEED,
    Arrays,
    Check,
    machine_code_stays_in_float32,
)
from nnkit.testing.sparse import SparseBatch, sparse_benches

__all__ = [
    "ACTIVATION_CHECKS", "COMPILED_ACTIVATION_CHECKS", "COMPILED_LAYER_CHECKS", "LAYER_CHECKS", "layer_program",
    "layer_results",
]  # fmt: skip


DIGITS = 1e-3  # of float32 beside float64
WIDE = (37, 38, 36)  # numbers in a line: two vectors of any processor and some more; the first that a layer takes
MANY = 23  # rows: more than any block that a kernel might work in, and an odd number
GRID = 4000  # inputs that an activation is followed along
JUMP = 1e-5  # of the output, from one of them to the next; the trapezoidal rule errs by some 1e-10
STAYS = "training leaves it as it is at first, which no check can tell from what should be; is it a constant?"
FAR = 100.0  # times what inputs are drawn from: exponentials of them are still numbers, those of their products are not
LARGE = np.array([sign * size for size in (10.0, 50.0, 90.0, 300.0, 800.0, 1e4) for sign in (-1.0, 1.0)])


def _require_same(part: Any, got: Arrays, expected: Arrays, rtol: float, suspects: Suspects = ()) -> None:
    for name, array in expected.items():
        require_close(part, kernel_of(name), name, got[name], array, rtol, 0.0 if rtol == 0.0 else None, suspects)


def layer_program(example: Example) -> Program:
    """The float32 kernels of a layer, forward and backward."""
    return Batch(Bench(example, "float32"), python=False).work.program


def layer_results(example: Example) -> Iterator[Arrays]:
    """What a layer gives for inputs of many kinds: rows few and many, narrow and wide, large, padded and sparse."""
    for seed, bench in enumerate(_benches(example), SEED):
        bench.x[...] = np.random.default_rng(seed).permuted(bench.x.ravel()).reshape(bench.x.shape)
        for training in _modes(bench):
            yield bench.run(seed=seed, training=training, poison=255)  # or what is not written would be as before
    for bench, matrix in sparse_benches(example):
        yield SparseBatch(bench, matrix).run()


def _modes(bench: Bench) -> tuple[bool, ...]:
    """In training, and out of it where that may differ."""
    return (True, False) if bench.names("training") or bench.states else (True,)


def _benches(example: Example) -> Iterator[Bench]:
    for rows in (ROWS, ROWS, 3, 1, MANY):
        yield Bench(example, rows=rows)
    yield from _enlarged(example)
    if Bench(example).asks_for_padding:
        yield Bench(example, padded=True)
    for wide in _widened(example):
        yield Bench(wide, rows=MANY)


def _enlarged(example: Example) -> Iterator[Bench]:
    """A batch of large inputs, if they are real numbers."""
    bench = Bench(example)
    if bench.network.input_dtype == bench.network.dtype:
        bench.x *= FAR
        yield bench


# ------------------------------------------------------------------------------------------------------------ layers


def indices_are_in_range(example: Example) -> None:
    """Run as Python, with 4, 3 and 1 rows, in training and out of it: every index fits, every shape is what build says."""
    for rows in (ROWS, 3, 1):
        bench = Bench(example, rows=rows)
        for training in (True, False):
            batch = Batch(bench, rows, training)
            looked_at(batch.work.program)
            batch.forward(bench.x)
            batch.backward(bench.grad_out)


def gradients_are_the_derivatives(example: Example) -> str:
    """Of the input and of every parameter, in float64, against central differences of sum(out * grad_out)."""
    bench = Bench(example)
    partly = [name for training in _modes(bench) for name in Derivatives(bench, training).check()]
    return f"{', '.join(partly)}: {READS_A_STATE}" if partly else ""


def inputs_stay_as_they_are(example: Example) -> None:
    """Neither pass writes to x, to the parameters, or backward to out and grad_out."""
    bench = Bench(example)
    batch = Batch(bench, keep=True)
    constants = {name: array.copy() for name, array in bench.constants().items()}
    reason = because("it works in place; a kernel may write to what it gives (out, grad_x, grad_...), scratch and states only")
    out = batch.forward(bench.x)
    node = batch.work.nodes()[0]
    require_equal(bench.part, "forward", "x", batch.work.array(node.x).reshape(bench.x.shape), bench.x, reason)
    batch.backward(bench.grad_out)
    if bench.part.kernels():
        assert node.grad_out is not None
        kept = (("x", node.x, bench.x), ("out", node.out, out), ("grad_out", node.grad_out, bench.grad_out))
        for name, array, before in kept:
            require_equal(bench.part, "backward", name, batch.work.array(array), before, reason)
    for name, now in bench.constants().items():
        require_equal(bench.part, "a kernel", name, now, constants[name], reason)
    bench.run(training=False)
    reason = because("it changes a state out of training; name training and ask it")
    for name, now in bench.states.items():
        require_equal(bench.part, "forward, out of training,", name, now, bench.before[name], reason)


def nothing_unwritten_is_read(example: Example) -> None:
    """Memory that holds NaN before gives the same finite numbers as memory of zeros, working in place or not."""
    bench = Bench(example)
    clean = bench.run(keep=True)
    reason = because("a number is left unwritten, or memory is read (or added to) before it is written")
    for name, array in clean.items():
        require_finite(bench.part, kernel_of(name), name, array, reason)
    in_place = because("inplace = True, but it reads numbers that it has written over by then")
    _require_same(bench.part, bench.run(), clean, 0.0, in_place)
    for keep in (False, True):
        given = bench.run(keep=keep, poison=255)
        blamed = _left_unwritten(bench) if agree(given["out"], clean["out"]) else ()
        _require_same(bench.part, given, clean, 0.0, [*blamed, *reason])


def _left_unwritten(bench: Bench) -> Iterator[tuple[bool, str]]:
    """The working memory that backward reads, and forward has left as it was, or a part of it."""
    batch = Batch(bench, keep=True, poison=255)
    batch.forward(bench.x)
    kernels = {name: kernel_names(kernel) for name, kernel in bench.part.kernels().items()}
    for node in batch.work.nodes():
        for name in {**node.built.scratch, **node.built.workspace}:
            shared = all(name in kernels.get(kernel, ()) for kernel in ("forward", "backward"))
            operand = node.named.get(name)
            unwritten = shared and isinstance(operand, Array) and bool(np.isnan(batch.work.array(operand)).any())
            yield unwritten, f"forward leaves numbers of {name} unwritten, which backward reads"


def only_these_rows_are_written(example: Example) -> None:
    """A ragged batch gives what a full batch of its size gives, and leaves the rows beyond and other gradients alone."""
    bench = Bench(example, rows=3)
    batch = Batch(bench, rows=8, keep=True, poison=255)
    got = batch.given(batch.forward(bench.x), batch.backward(bench.grad_out))
    _require_same(bench.part, got, bench.run(keep=True), ROUNDING)
    arrays = [(name, array) for node in batch.work.nodes()
              for name, array in {"out": node.out, "grad_x": node.grad_x, **node.named}.items()]  # fmt: skip
    for name, array in arrays:
        if not isinstance(array, Array) or not array.batched or array.storage.shared is not None or array.storage.last < 0:
            continue
        start, row = array.storage.offset, array.storage.row_bytes
        filled = -(-3 * array.multiple // array.lanes) * array.lanes * row // array.multiple  # the last block is filled up
        beyond = batch.work.program.memory[0, start + filled : start + array.storage.size(8)]
        require(bool((beyond == 255).all()), bench.part, f"{kernel_of(name)} writes to {name} beyond the rows of the batch")
    for operand in batch.parameters.values():
        batch.work.array(operand)[...] = np.nan
    require(bool(np.isnan(batch.vector).all()), bench.part, "backward writes beyond its parameters' gradients")


def batch_equals_rows(example: Example) -> None:
    """Out of training a row's results do not depend on the others; parameter gradients are their sum."""
    bench = Bench(example, rows=MANY)
    whole = bench.run(training=False)
    rows = [bench.run(slice(*ends), training=False) for ends in pairwise((0, 1, 3, *range(7, MANY + 1, 4)))]
    mixed = because("a row depends on others of the batch, or on their number; mixes_rows = True allows that, in training only")
    for name, got in whole.items():
        parts = [row[name] for row in rows]
        if name in ("out", "grad_x"):
            require_close(bench.part, kernel_of(name), name, got, np.concatenate(parts), ROUNDING, suspects=mixed)
        else:
            reason = because("the rows' gradients are to be added up (+=), neither averaged nor replaced")
            require_close(bench.part, "backward", name, got, np.sum(parts, axis=0), ROUNDING, suspects=reason)


def randomness_follows_the_seed(example: Example) -> None:
    """The same seed gives the same bits again, another one others; out of training, nothing is random."""
    for dtype in AGREEMENT:
        bench = Bench(example, dtype)
        reason = because("the kernel draws numbers of its own, or remembers; draw them from seed (nnkit.kernels.random)")
        given = bench.run()
        _require_same(bench.part, bench.run(), given, 0.0, reason)
        random = bench.names("seed") and not agree(given["out"], bench.run(training=False)["out"])
        others = [bench.run(seed=SEED + other)["out"] for other in range(1, 6)] if random else []
        follows = not others or any(not agree(other, given["out"]) for other in others)
        require(follows, bench.part, "forward draws the same numbers whatever the seed; draw them from seed")
        require(not random or not bench.names("first_row") or _rows_differ(bench), bench.part,
                "forward draws the same numbers for every row; count rows from first_row")
        reason = because("it is random out of training, too; name training and ask it")
        _require_same(bench.part, bench.run(training=False, seed=SEED + 1), bench.run(training=False), 0.0, reason)


def _rows_differ(bench: Bench) -> bool:
    """Whether random numbers make different rows of the same ones, for one of several seeds."""
    alike = copy.copy(bench)
    alike.x = bench.x[[0] * len(bench.x)]
    outs = [alike.run(seed=SEED + other)["out"] for other in range(6)]
    return any(not agree(out[1:], out[[0] * len(out[1:])]) for out in outs)


def states_follow_training(example: Example) -> str:
    """Training leaves numbers in them, after batches of one row, too; it is noted where one stays as it is at first."""
    reason = because("it divides by the number of rows less one, or by what does not vary among them")
    for name, state in Bench(example, rows=1).before.items():
        require_finite(example.part, "forward", name, state, reason)
    still = Bench(example).still
    return f"{', '.join(still)}: {STAYS}" if still else ""


def large_inputs_give_numbers(example: Example) -> None:
    """A hundred times as large as the example's: nothing overflows in float64, unless by an exponential of their products."""
    reason = because("an exponential or a power overflows; take off the largest number first, as softmax does")
    for bench in _enlarged(example):
        for training in (True, False):
            for name, array in bench.run(training=training).items():
                require_finite(bench.part, kernel_of(name), name, array, reason)


def padding_is_left_out(example: Example) -> None:
    """If it asks which steps are padding: every index fits, gradients are derivatives, other steps do not depend on it."""
    if len(example.in_shape) < 2 or not Bench(example).asks_for_padding:  # rows without steps have no padding
        return
    bench = Bench(example, padded=True)
    batch = Batch(bench, poison=255)
    looked_at(batch.work.program)
    out = batch.forward(bench.x)
    for name, array in batch.given(out, batch.backward(bench.grad_out)).items():
        reason = because("a number is left unwritten where a step is padding, or memory is read before it is written")
        require_finite(bench.part, kernel_of(name), name, array, reason)
    Derivatives(bench, training=True).check()
    padded = np.fromfunction(is_padded, bench.x.shape[:2])
    bench.x[padded] = -bench.x[padded] + 1.0
    other = Batch(bench).forward(bench.x)
    steps_stay = out.shape[:2] == padded.shape and all(built.keeps_mask for built in bench.network.leaves[1:])
    kept = ~padded if steps_stay else slice(None)
    reason = because("it depends on steps that are padding; leave out those where mask is 0")
    require_close(bench.part, "forward", "out", other[kept], out[kept], ROUNDING, suspects=reason)


def sparse_rows_equal_dense(example: Example) -> None:
    """If it has kernels for sparse matrices: every index fits, and they give what the same numbers give in full."""
    for bench, matrix in sparse_benches(example):
        batch = SparseBatch(bench, matrix)
        looked_at(batch.program)
        _require_same_sparse(bench, batch.run(), bench.run(), ROUNDING)


def _require_same_sparse(bench: Bench, got: Arrays, expected: Arrays, rtol: float) -> None:
    reason = because("indices need not be in order, and a column that comes twice counts twice; a row may be empty")
    for name, array in got.items():
        require_close(bench.part, f"{kernel_of(name)}_csr", name, array, expected[name], rtol, suspects=reason)


def passes_do_not_disturb_each_other(example: Example) -> None:
    """Two forward passes, then their two backward passes, one of them again: nothing is kept outside of a pass."""
    bench = Bench(example)
    forwards, backwards = slice(None), slice(None, None, -1)
    first, second = Batch(bench), Batch(bench)
    outs = [first.forward(bench.x[forwards]), second.forward(bench.x[backwards])]
    grads = [first.backward(bench.grad_out[forwards]), second.backward(bench.grad_out[backwards])]
    again = because("backward overwrites what it reads; a second backward must find what forward has left")
    _require_same(bench.part, first.backward(bench.grad_out[forwards]), grads[0], 0.0, again)
    given = first.given(outs[0], grads[0]), second.given(outs[1], grads[1])
    reason = because("something is kept on the class, in a global, or in a container that copies of the layer share")
    for got, rows in zip(given, (forwards, backwards), strict=True):
        _require_same(bench.part, got, bench.run(rows), 0.0, reason)


def compiled_equals_uncompiled(example: Example) -> None:
    """In both dtypes, in training and out of it; float32 keeps three digits of float64."""
    for training in (True, False):
        results = {}
        for dtype, rtol in AGREEMENT.items():
            bench = Bench(example, dtype)
            results[dtype] = bench.run(training=training, python=False)
            reason = because("compiled code rounds differently or does something else: integer arithmetic, a NumPy function")
            _require_same(bench.part, results[dtype], bench.run(training=training), rtol, reason)
        reason = because("in float32 it loses its digits: large numbers that cancel out")
        for name, exact in results["float64"].items():
            kernel = f"{kernel_of(name)} in float32"
            require_close(example.part, kernel, name, results["float32"][name], exact, DIGITS, suspects=reason)


def sparse_rows_are_computed_alike(example: Example) -> None:
    """Of sparse matrices, in both dtypes: compiled as the same numbers in full, without any float64 in the code for float32."""
    for dtype, rtol in AGREEMENT.items():
        for bench, matrix in sparse_benches(example, dtype):
            batch = SparseBatch(bench, matrix, python=False)
            _require_same_sparse(bench, batch.run(), bench.run(), rtol)
            if dtype == "float32":
                machine_code_stays_in_float32(bench.part, batch.program, ("forward", "backward"))


def wide_rows_are_computed_alike(example: Example) -> None:
    """Rows so wide, and so many, that kernels take all their ways: compiled as uncompiled, in one shard or in two."""
    reason = because("compiled code does something else with wide rows: an index, or a function that does not take such arrays")
    for wide in _widened(example):
        for dtype, rtol in AGREEMENT.items():
            bench = Bench(wide, dtype, rows=2 * (MANY // 2))
            expected = bench.run()
            got = bench.run(python=False)
            _require_same(bench.part, got, expected, rtol, reason)
            if not any(built.in_one_shard for built in bench.network.leaves):
                _require_same(bench.part, Training(bench, shards=2).run(), expected, rtol, reason)


def wide_rows_have_their_derivative(example: Example) -> None:
    """Rows so wide, and so many: in float64, along directions drawn at random."""
    modes = [training for training in (True, False) if not Bench(example).states or has_slopes(Bench(example), training)]
    for wide in (example, *_widened(example)):
        for training in modes:  # what goes through a state need not be in the gradient
            require_slopes(Bench(wide, rows=MANY), training)


def _widened(example: Example) -> Iterator[Example]:
    """The example with more numbers along its last axis, and along its first."""
    if not example.in_shape:  # a row is one number, and has no axis
        return
    for axis in dict.fromkeys((len(example.in_shape) - 1, 0)):
        before, behind = example.in_shape[:axis], example.in_shape[axis + 1 :]
        shapes = [(*before, size, *behind) for size in WIDE]
        found = next(filter(partial(_takes, example.part), shapes), None)
        if found is not None:
            yield replace(example, in_shape=found)


def _takes(part: Any, shape: tuple[int, ...]) -> bool:
    """Whether a layer can be built for rows of some shape; whatever its build says of others, it need not."""
    try:
        part.place(shape)
    except Exception:
        return False
    return True


def float32_stays_float32(example: Example) -> None:
    """No float64 arithmetic and no allocation in the machine code of float32 kernels."""
    for name, array in Bench(example, "float32").run(python=False).items():
        require(array.dtype == np.float32, example.part, f"{name} is {array.dtype}, expected float32")
    machine_code_stays_in_float32(example.part, layer_program(example), ("forward", "backward"))


def neighbours_do_not_matter(example: Example) -> None:
    """Between other layers, memory reused as in `fit`, it gives what it gives with all memory to itself."""
    bench = Bench(example, neighbours=True)
    reason = because("it reads memory that it has not named, or writes to memory that is not its to change")
    _require_same(bench.part, Training(bench).run(), bench.run(keep=True, python=False), 0.0, reason)


def shards_and_threads_do_not_matter(example: Example) -> None:
    """A batch cut in two gives the same, by one thread or by two; so do passes in several threads at once."""
    bench = Bench(example, neighbours=True)
    whole = bench.run(keep=True, python=False)
    if not any(built.in_one_shard for built in bench.network.leaves):
        alone = Training(bench, shards=2).run()
        random = bench.names("seed")
        reason = "random numbers depend on the shard; count rows from first_row" if random else "it counts on the whole batch"
        _require_same(bench.part, alone, whole, ROUNDING, because(reason))
        with Team(2) as team:
            _require_same(bench.part, Training(bench, shards=2, workers=2).run(team), alone, 0.0, _threads)
    # A state that passes change is not for several at once: then each has a model of its own, around the same layer.
    benches = [Bench(example, neighbours=True) if bench.states else bench for _ in range(4)]
    with ThreadPoolExecutor(2) as pool:
        for got in pool.map(lambda each: each.run(keep=True, python=False), benches):
            _require_same(bench.part, got, whole, 0.0, _threads)


_threads = because("threads share something that one of them changes: a global, the class, or a container on the layer")

_CHECKS: tuple[Check, ...] = (
    indices_are_in_range,  # first: compiled code does not look
    randomness_follows_the_seed,  # early: what breaks these makes others fail that tell less
    inputs_stay_as_they_are,
    nothing_unwritten_is_read,
    gradients_are_the_derivatives,
    only_these_rows_are_written,
    batch_equals_rows,
    passes_do_not_disturb_each_other,
)
LAYER_CHECKS: tuple[Check, ...] = (
    *_CHECKS,
    states_follow_training,
    begins_as_rows_say,
    large_inputs_give_numbers,
    padding_is_left_out,
    sparse_rows_equal_dense,
    *PART_CHECKS,
)

# What compiled code gives beside Python's, which the others have found right.
_COMPILED_CHECKS: tuple[Check, ...] = (
    compiled_equals_uncompiled,
    wide_rows_are_computed_alike,
    wide_rows_have_their_derivative,
    float32_stays_float32,
    neighbours_do_not_matter,
    shards_and_threads_do_not_matter,
)
COMPILED_LAYER_CHECKS: tuple[Check, ...] = (*_COMPILED_CHECKS, sparse_rows_are_computed_alike)


# ------------------------------------------------------------------------------------------------------- activations


def nan_stays_nan(example: Example) -> None:
    """Otherwise a broken net would look well."""
    for dtype in AGREEMENT:
        bench = Bench(example, dtype)
        bench.x[...] = np.nan
        out = Batch(bench).forward(bench.x)
        require(
            bool(np.isnan(out).all()), bench.part,
            f"forward makes numbers of NaN in {dtype}; a comparison with NaN is false: let that branch give x on",
        )  # fmt: skip


def outputs_do_not_jump(example: Example) -> None:
    """From one input to the next, from ``low`` to ``high``, the output changes as the derivative says, but at kinks."""
    part: Any = example.part
    if not part.elementwise:
        return
    bench = Bench(example)
    inputs = np.linspace(example.low, example.high, -(-GRID // bench.x.size) * bench.x.size)
    outs, slopes = [], []
    bench.grad_out[...] = 1.0
    batch = Batch(bench)
    for piece in np.split(inputs, len(inputs) // bench.x.size):
        x = piece.reshape(bench.x.shape)
        outs.append(batch.forward(x).ravel().copy())
        slopes.append(batch.backward(bench.grad_out)["grad_x"].ravel().copy())
    out, slope, step = np.concatenate(outs), np.concatenate(slopes), inputs[1] - inputs[0]
    jump = np.diff(out) - step * (slope[1:] + slope[:-1]) / 2
    for kink in example.kinks:
        jump[(inputs[:-1] <= kink + step) & (inputs[1:] >= kink - step)] = 0.0
    # Between two inputs a slope that rises or falls all the way lies between its ends: no trapezium is further off than this.
    excess = np.abs(jump) - step * np.abs(np.diff(slope)) / 2
    worst = int(excess.argmax())
    require(
        excess[worst] <= JUMP, part,
        f"forward gives a wrong out: from x = {inputs[worst]:.4g} to {inputs[worst + 1]:.4g} it goes from {out[worst]:.4g} to "
        f"{out[worst + 1]:.4g}, where backward says {slope[worst]:.4g}; kinks = (...) says where there is no derivative",
    )  # fmt: skip


def large_inputs_stay_finite(example: Example) -> None:
    """From -10000 to 10000, or wherever ``domain`` ends, neither the output nor the gradient of the input overflows."""
    for dtype in AGREEMENT:
        bench = Bench(example, dtype)
        reason = because("an exponential or a power overflows (take exp of -abs(x), or tanh, sigmoid of nnkit.kernels.math), "
                         "or x is out of the domain that it should declare")  # fmt: skip
        for inputs in _large(bench):
            bench.x[...] = inputs
            given = bench.run()
            for name, array in given.items():
                require_finite(bench.part, kernel_of(name), name, array, reason)


def _large(bench: Bench) -> list[NDArray[Any]]:
    """Batches of inputs of all sizes that are legal."""
    sizes = np.clip(LARGE, *bench.part.domain)
    return [np.resize(sizes[first:], bench.x.shape) for first in range(0, len(sizes), bench.x.size)]


def outputs_are_what_it_says(example: Example) -> None:
    """Within ``gives``, where it is declared, and near both its ends for some inputs, very large ones among them."""
    bench = Bench(example, "float64")
    given = bench.network.leaves[0].layer.gives  # as it is built
    if given is None:
        return
    inputs = np.clip(np.concatenate([1e4 * LARGE, LARGE, np.linspace(-10.0, 10.0, 4001)]), *bench.part.domain)
    batch, outputs = Batch(bench), []
    for first in range(0, len(inputs), bench.x.size):
        bench.x[...] = np.resize(inputs[first:], bench.x.shape)
        outputs.append(batch.forward(bench.x).copy())
    out, slack = np.concatenate(outputs), 1e-12
    low, high = float(out.min()), float(out.max())
    require(
        given.low - slack <= low and high <= given.high + slack, bench.part,
        f"gives is {given}, but outputs are from {low:g} to {high:g}",
    )  # fmt: skip
    reached = (low < -80.0 if np.isinf(given.low) else low < given.low + 0.02,
               high > 80.0 if np.isinf(given.high) else high > given.high - 0.02)  # fmt: skip
    require(all(reached), bench.part, f"gives is {given}, but outputs are from {low:g} to {high:g} alone")
    if given.sums:
        shares = np.exp(out) if given.sums == "exponentials" else out
        require(bool(np.allclose(shares.sum(axis=-1), 1.0)), bench.part, f"gives is {given}, but they do not add up to 1")


def unusual_inputs_are_computed_alike(example: Example) -> None:
    """NaN and inputs of any size, in both dtypes: compiled as uncompiled."""
    reason = because("compiled code does something else with NaN, or with large numbers")
    for dtype, rtol in AGREEMENT.items():
        bench = Bench(example, dtype)
        for inputs in [np.full_like(bench.x, np.nan), *_large(bench)]:
            bench.x[...] = inputs
            _require_same(bench.part, bench.run(python=False), bench.run(), rtol, reason)


ACTIVATION_CHECKS: tuple[Check, ...] = (
    *_CHECKS, nan_stays_nan, outputs_do_not_jump, large_inputs_stay_finite, outputs_are_what_it_says, *PART_CHECKS,
)  # fmt: skip
COMPILED_ACTIVATION_CHECKS: tuple[Check, ...] = (*_COMPILED_CHECKS, unusual_inputs_are_computed_alike)
