"""One program for many callers at once: each call works in a slot, which is a shard with memory of its own.

``serve`` is compiled like any kernel, once for all programs.
"""

from __future__ import annotations

from nnkit.engine.abi import atomic_exchange, atomic_store, call, pause, yield_core
from nnkit.kernels.control import CONTROL_WORDS, Word

__all__ = ["serve"]

ARGUMENTS, STATUS, TAKEN = int(Word.ARGUMENTS), int(Word.STATUS), int(Word.TAKEN)  # compiled code wants plain integers
STRIDE = 8 * CONTROL_WORDS  # bytes from one slot's control block to the next one's
SCATTER = 0x9E3779B97F4A7C15 >> 24  # the golden ratio: multiples of it are spread evenly (Knuth, TAOCP 3, section 6.4)


def serve(table, controls, taken, frame):
    """Run one call: take a slot that is free, walk its table, give it back.

    table : (slots, instructions, 2): a kernel's address and its frame's.
    controls : (slots, words): the control blocks.
    taken : address of the first slot's word that says whether it is in use.
    frame : address of the caller's frame. It lies on the stack of the caller's thread, so that the address tells threads
        apart: each tries a slot of its own first.
    """
    slots = table.shape[0]
    slot = (((frame >> 16) * SCATTER >> 16) & 0xFFFF) % slots
    tries = 0
    while atomic_exchange(taken + slot * STRIDE, 1) != 0:
        slot = (slot + 1) % slots
        tries += 1
        pause()
        if tries % slots == 0:  # there are more threads at work than slots
            yield_core()
    controls[slot, ARGUMENTS] = frame
    controls[slot, STATUS] = 0
    for i in range(table.shape[1]):
        call(table[slot, i, 0], table[slot, i, 1])
    atomic_store(taken + slot * STRIDE, 0)
