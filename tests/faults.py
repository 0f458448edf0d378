"""Faults planted in right parts: a small change of a method's source, and what has to be said about the part that it gives."""

import __future__

import inspect
import itertools
import linecache
import re
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

ANYWHERE = r"\d+(, \d+)*"
_numbers = itertools.count(1)


def changed(cls, method, piece, replacement):
    """A class derived from ``cls``, and of its name, in which a piece of a method's source is replaced.

    The method sees what it saw before: the globals of its module, and ``super()``. Its source can be read, so that it is
    compiled as any kernel is. Further lines of the replacement are indented as the line that the piece begins in.

    Raises
    ------
    ValueError : the piece does not occur exactly once in the method's source

    Examples
    --------
    >>> import nnkit as nn
    >>> Wrong = changed(nn.ReLU, "forward", "0.0 if", "0.5 if")
    >>> nn.Sequential([Wrong()]).build((2,)).predict([[3.0, -3.0]])
    array([[3. , 0.5]], dtype=float32)
    >>> changed(nn.ReLU, "forward", "x", "2.0 * x")
    Traceback (most recent call last):
    ...
    ValueError: ReLU.forward: expected 'x' exactly once in its source, found it 3 times
    """
    owner = next(base for base in cls.__mro__ if method in vars(base))
    function = inspect.unwrap(vars(owner)[method])
    source = textwrap.dedent(inspect.getsource(function))
    if (found := source.count(piece)) != 1:
        raise ValueError(f"{cls.__name__}.{method}: expected {piece!r} exactly once in its source, found it {found} times")
    line = source.partition(piece)[0].rpartition("\n")[2]
    indent = line[: len(line) - len(line.lstrip())]
    source = source.replace(piece, replacement.replace("\n", f"\n{indent}"))
    made = _defined(function, source, owner)
    return type(cls)(cls.__name__, (cls,), {
        "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__, method: made,
    })  # fmt: skip


def _defined(function, source, owner):
    """What the source gives in the place of a function of the class ``owner``."""
    text = f"def around(__class__):\n{textwrap.indent(source, '    ')}    return {function.__name__}\n"
    file = f"<{function.__qualname__}, changed, {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # where the source is looked for
    namespace = {}
    flags = function.__code__.co_flags & __future__.annotations.compiler_flag
    exec(compile(text, file, "exec", flags, dont_inherit=True), function.__globals__, namespace)
    made = namespace["around"](owner)
    inspect.unwrap(made).__qualname__ = function.__qualname__
    return made


@dataclass(frozen=True)
class Fault:
    """A right part, the changes that make it wrong, and the message (a regular expression) that has to come of them."""

    right: Any
    changes: tuple[tuple[str, str, str], ...]
    message: str

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


def fault(right, *changes, array="", index=ANYWHERE, cause="", count=r"\d+", wrong="differ", kernel="", message=""):
    """A fault in a part (a class stands for the part that it makes without arguments), and what has to be said about it.

    Parameters
    ----------
    changes : three for each change: a method, a piece of its source, and what replaces it (see `changed`)
    array : what is wrong; unless it is given, what ``forward`` or ``update`` writes
    index : where it is worst
    cause : what is named as the likely cause; unless it is given, nothing may be
    count : how many numbers are wrong
    wrong : in which way
    kernel : who is said to give the array; unless it is given, the method that is changed last
    message : what is said in place of all that, where it is not about wrong numbers
    """
    triples = tuple(zip(changes[::3], changes[1::3], changes[2::3], strict=True))
    if not message:
        kernel = kernel or triples[-1][0]
        array = array or {"forward": "out", "update": "value"}[kernel]
        because = f"; likely cause: {re.escape(cause)}" if cause else ""
        message = rf"{kernel} gives a wrong {array}: at \[{index}\] expected .* \({count} of \d+ numbers {wrong}\){because}$"
    return Fault(right() if isinstance(right, type) else right, triples, message)


def out_of_range(kernel, line, subscript, at, shape):
    """The message about an index that does not fit its array: the line, the subscript in it, the index, the shape."""
    return re.escape(f"{kernel} fails at `{line}`: {subscript} is out of range, at {at} of shape {shape}; IndexError: ")


def negative(kernel, line, subscript, at, shape):
    """The message about an index that is computed and below 0: the line, the subscript in it, the index, the shape."""
    return re.escape(f"{kernel} fails at `{line}`: {subscript} has a negative index, at {at} of shape {shape}; ")
