"""Faults planted in right parts: a small change of a method's source, and what has to be said about the part that it gives."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nnkit.testing.changes import changed

ANYWHERE = r"\d+(, \d+)*"


@dataclass(frozen=True)
class Fault:
    """A right part, the changes that make it wrong, and the message (a regular expression) that has to come of them."""

    right: Any
    changes: tuple[tuple[str, str, str], ...]
    message: str
    in_shape: tuple[int, ...] | None = None  # of the rows that it shows on, if not those of any example

    @cached_property
    def wrong(self):
        """The part with the fault in it."""
        cls = type(self.right)
        for change in self.changes:
            cls = changed(cls, *change)
        return cls.from_hyperparameters(self.right.hyperparameters())

    def __str__(self):
        changes = [f"{method}: {piece} -> {replacement or 'nothing'}" for method, piece, replacement in self.changes]
        return " ".join(f"{type(self.right).__name__}.{'; '.join(changes)}".split())


def fault(
    right, *changes, array="", index=ANYWHERE, cause="", count=r"\d+", wrong="differ", kernel="", message="", in_shape=None
):
    """A fault in a part (a class stands for the part that it makes without arguments), and what has to be said about it.

    Parameters
    ----------
    changes : three for each change: a method, a piece of its source, and what replaces it (see `nnkit.testing.changes`)
    array : what is wrong; unless it is given, what ``forward`` or ``update`` writes
    index : where it is worst
    cause : what is named as the likely cause; unless it is given, nothing may be
    count : how many numbers are wrong
    wrong : in which way
    kernel : who is said to give the array; unless it is given, the method that is changed last
    message : what is said in place of all that, where it is not about wrong numbers
    in_shape : of the rows that it shows on
    """
    triples = tuple(zip(changes[::3], changes[1::3], changes[2::3], strict=True))
    if not message:
        kernel = kernel or triples[-1][0]
        array = array or {"forward": "out", "update": "value"}[kernel]
        because = f"; likely cause: {re.escape(cause)}" if cause else ""
        message = rf"{kernel} gives a wrong {array}: at \[{index}\] expected .* \({count} of \d+ numbers {wrong}\){because}$"
    return Fault(right() if isinstance(right, type) else right, triples, message, in_shape)


def out_of_range(kernel, line, subscript, at, shape):
    """The message about an index that does not fit its array: the line, the subscript in it, the index, the shape."""
    return re.escape(f"{kernel} fails at `{line}`: {subscript} is out of range, at {at} of shape {shape}; IndexError: ")


def negative(kernel, line, subscript, at, shape):
    """The message about an index that is computed and below 0: the line, the subscript in it, the index, the shape."""
    return re.escape(f"{kernel} fails at `{line}`: {subscript} has a negative index, at {at} of shape {shape}; ")
