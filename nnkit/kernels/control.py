"""The control block: what a kernel can learn of the present step, and how it reports trouble."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CONTROL_WORDS", "FAILED", "NOT_FINITE", "RAISED", "REFUSED", "Word", "refuse"]

CONTROL_WORDS = 24  # three cache lines: shards of different threads never share one


class Word(IntEnum):
    """The words of a control block."""

    ROWS = 0  # rows of this shard, this step
    FIRST_ROW = 1  # where they begin in the batch
    BATCH_ROWS = 2  # rows of the whole batch
    ORDER = 3  # address of the batch's first row number
    OFFSET = 4  # added to every row number
    STEP = 5  # steps since training began
    STATUS = 6  # 0, or why the shard stopped
    COEFFICIENTS = 7  # address of the step's row of optimizer coefficients
    SEED = 8  # of the whole run
    LOSS = 9  # what the shard adds to the batch's loss: the bits of a float64
    SHARDS = 10  # of the batch, this step
    TAKEN = 11  # 1 while a caller from outside works with this shard's memory
    ARGUMENTS = 12  # address of that caller's frame
    ARITHMETIC = 13  # how the thread computed before a kernel in Python
    CHECK = 14  # of a number that cannot be used: which check has found it,
    ENTRY = 15  # where it is among the numbers of the shard,
    NUMBER = 16  # and what it is
    BEFORE = 17  # how the thread computed before a program that runs without the loop
    WAVE_ROW = 18  # where the shard's rows begin among those that run together


# Why a shard stopped: Word.STATUS.
NOT_FINITE = 1
FAILED = 2  # the greater: where one shard failed and another is not finite, the failure is what is reported
REFUSED = 3  # a number that would be used as an index is out of range
RAISED = 4  # compiled code raised an error; ENTRY is the address of its frame

_STATUS, _CHECK, _ENTRY, _NUMBER = map(int, (Word.STATUS, Word.CHECK, Word.ENTRY, Word.NUMBER))  # for compiled code


def refuse(control, check, entry, number):
    """Stop the shard because of a number that cannot be used; the first one is what is reported."""
    if control[_STATUS] != REFUSED:
        control[_STATUS] = REFUSED
        control[_CHECK] = check
        control[_ENTRY] = entry
        control[_NUMBER] = number
