"""The one loop: for every step walk the shards' tables, meet, update the parameters, meet again.

It knows neither layers nor epochs. Every worker runs this same function on its share of the shards and of the
parameters; what a worker reads of another one's work lies behind a meeting. ``run`` is compiled like any kernel; the
reference engine runs it as it stands, with ``call`` replaced.
"""

from __future__ import annotations

import numpy as np

from nnkit.engine.abi import atomic_add, atomic_load, call, flush_to_zero, pause, restore_arithmetic, yield_core
from nnkit.kernels.control import NOT_FINITE, Word

# Compiled code wants plain integers.
ROWS, FIRST_ROW, BATCH_ROWS, ORDER, OFFSET, STEP, STATUS, COEFFICIENTS, SEED, LOSS, SHARDS, *_, WAVE_ROW = map(int, Word)

SPINS = 4000  # pauses (~20-100 us) until a waiting worker offers its core to others


def meet(counter, workers):
    """Wait until all workers are here. ``counter`` is the address of a count of arrivals, which only grows."""
    if workers > 1:
        goal = (atomic_add(counter, 1) // workers + 1) * workers
        spins = 0
        while atomic_load(counter) < goal:
            pause()
            spins += 1
            if spins > SPINS:
                yield_core()


def run(table, segments, controls, losses_of_shards, collect, reduce, norms, update, update_control, steps, coefficients,
        row_bytes, losses, span, counter, shard_rows, wave_rows, clip_norm, worker, workers):  # fmt: skip
    """Run steps ``span[0]`` to ``span[1]``; stop early with ``span[2]`` the status, ``span[3]`` the step after the last.

    table : (shards, instructions, 2) of data, forward, loss and backward: a kernel's address and its frame's.
    segments : instructions before which all shards meet, with the first and the last.
    controls, losses_of_shards : (shards, words): the control blocks, and the same memory as float64.
    wave_rows : there is memory for so many rows; a larger batch runs in waves of them.
    collect, reduce, update : (chunks, instructions, 2): add a wave's gradient to those before it; sum the shards' gradients;
        update that chunk of the parameters.
    norms : (chunks + 1,) the gradient's norms of the chunks, and the factor that clips the whole.
    coefficients : address of the first step's coefficients, ``row_bytes`` apart from step to step.
    steps : (steps, 4): address of the batch's row numbers, rows, offset of the row numbers, number of the step.
    """
    arithmetic = flush_to_zero()  # moments of parameters without a gradient decay to denormal numbers after some 800 steps
    chunks = update.shape[0]
    first_chunk, last_chunk = worker * chunks // workers, (worker + 1) * chunks // workers
    for t in range(span[0], span[1]):
        rows = steps[t, 1]
        if worker == 0:
            update_control[0, STEP] = steps[t, 3]
            update_control[0, COEFFICIENTS] = coefficients + t * row_bytes
        loss, status = 0.0, 0
        for first in range(0, rows, wave_rows):
            here = min(wave_rows, rows - first)
            active = (here + shard_rows - 1) // shard_rows
            for s in range(worker, active, workers):
                control = controls[s]
                control[FIRST_ROW] = first + s * shard_rows
                control[ROWS] = min(shard_rows, here - s * shard_rows)
                control[BATCH_ROWS] = rows
                control[SHARDS] = active
                control[WAVE_ROW] = s * shard_rows
                control[ORDER] = steps[t, 0]
                control[OFFSET] = steps[t, 2]
                control[STEP] = steps[t, 3]
            for segment in range(segments.shape[0] - 1):
                if segment > 0:
                    meet(counter, workers)
                for s in range(worker, active, workers):
                    for i in range(segments[segment], segments[segment + 1]):
                        if controls[s, STATUS] != 0:  # it keeps out of the work, but not of the meetings
                            break
                        call(table[s, i, 0], table[s, i, 1])
            if worker == 0:
                update_control[0, FIRST_ROW] = first
                update_control[0, SHARDS] = active
            meet(counter, workers)
            for s in range(active):
                loss += losses_of_shards[s, LOSS]
                status = max(status, controls[s, STATUS])
            if status != 0:
                break
            if collect.shape[1] > 0:
                for chunk in range(first_chunk, last_chunk):
                    for i in range(collect.shape[1]):
                        call(collect[chunk, i, 0], collect[chunk, i, 1])
                meet(counter, workers)
        if status == 0 and not np.isfinite(loss):
            status = NOT_FINITE
        if worker == 0:
            losses[t] = loss
            span[2], span[3] = status, t + 1
        if status != 0:
            break
        for chunk in range(first_chunk, last_chunk):
            for i in range(reduce.shape[1]):
                call(reduce[chunk, i, 0], reduce[chunk, i, 1])
        if clip_norm > 0.0 and chunks > 0:
            meet(counter, workers)
            if worker == 0:
                largest, total = norms[:chunks].max(), 0.0
                for chunk in range(chunks):
                    total += (norms[chunk] / largest) ** 2 if largest > 0.0 else 0.0
                norm = largest * np.sqrt(total)
                norms[chunks] = clip_norm / norm if norm > clip_norm else 1.0
            meet(counter, workers)
        for chunk in range(first_chunk, last_chunk):
            for i in range(update.shape[1]):
                call(update[chunk, i, 0], update[chunk, i, 1])
        meet(counter, workers)
    restore_arithmetic(arithmetic)
