"""What Python does without a word, and compiled kernels should not: count from the end, and make arrays.

``x[n, -1]`` is the last number of a row, on purpose. ``x[n, j - 1]`` at j = 0 is it, too, in Python and in compiled code. And
``out[:] = x * scale`` asks for memory in every call, and takes seconds to compile, where a loop takes some tenths.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from nnkit.engine.program import Program

__all__ = ["NegativeIndex", "NewArray", "looked_at"]

_FRAMEWORK = re.compile(r"nnkit\.(kernels|engine|core)\.")  # whose own arrays are not a kernel's


class NegativeIndex(IndexError):
    """An array was read or written at a computed index below 0.

    Attributes
    ----------
    subscript : as it is written
    index : what came
    shape : of the array
    """

    def __init__(self, subscript: str, index: str, shape: tuple[int, ...]) -> None:
        super().__init__("it counts from the end, compiled, too; let the loop begin later, or write -1 for the last one")
        self.subscript, self.index, self.shape = subscript, index, shape

    def __str__(self) -> str:
        return f"{self.subscript} has a negative index, at {self.index} of shape {self.shape}; {super().__str__()}"


class NewArray(Exception):
    """Arithmetic of whole arrays has made another array."""


def looked_at(program: Program) -> None:
    """From now on an uncompiled program raises `NegativeIndex` and `NewArray`; what stays Python in any case may do both."""
    program.instructions[:] = [
        item if item.interpreted else replace(item, function=_on_looked_at(item.function)) for item in program.instructions
    ]


def _on_looked_at(function: Callable[..., Any]) -> Callable[..., Any]:
    def kernel(*arguments: Any) -> None:
        function(*(item.view(_LookedAt) if isinstance(item, np.ndarray) else item for item in arguments))

    return kernel


class _LookedAt(np.ndarray[Any, Any]):
    """A kernel's array; what `nnkit.kernels` makes of it, such as a vector of lanes, is none."""

    def __getitem__(self, index: Any) -> Any:
        if _some_negative(index):
            _refuse_computed(self, index, sys._getframe(1))
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if _some_negative(index):
            _refuse_computed(self, index, sys._getframe(1))
        super().__setitem__(index, value)

    def __array_ufunc__(self, ufunc: Any, method: Any, *inputs: Any, **kwargs: Any) -> Any:
        """Arithmetic, on plain arrays; it may write into one that there is, or give one number."""
        given = kwargs.get("out")
        if given is not None:
            kwargs["out"] = _plain(given)
        result = getattr(ufunc, method)(*_plain(inputs), **kwargs)
        if given is not None:
            return given[0] if len(given) == 1 else given
        if np.ndim(result) > 0 and not _FRAMEWORK.match(_module(sys._getframe(1))):
            raise NewArray("it makes an array, in every call; loop over numbers, and write into out or declared scratch arrays")
        return result


def _module(frame: FrameType | None) -> str:
    """The module that calls NumPy."""
    name = "numpy"
    while frame is not None and name.partition(".")[0] == "numpy":
        name, frame = frame.f_globals.get("__name__", ""), frame.f_back
    return name


def _plain(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(item.view(np.ndarray) if isinstance(item, _LookedAt) else item for item in items)


def _some_negative(index: Any) -> bool:
    for item in index if type(index) is tuple else (index,):
        ends = (item.start, item.stop) if type(item) is slice else (item,)
        for end in ends:
            if isinstance(end, int | np.integer) and end < 0:
                return True
    return False


def _refuse_computed(array: Any, index: Any, frame: FrameType) -> None:
    inside_numpy = frame.f_globals.get("__name__", "").partition(".")[0] == "numpy"
    found = None if inside_numpy else _subscript(frame.f_code, frame.f_lasti)
    if found is None:
        return
    items = index if type(index) is tuple else (index,)
    written = found.slice.elts if isinstance(found.slice, ast.Tuple) else [found.slice]
    if len(written) != len(items):  # a tuple in a variable
        written = [found.slice] * len(items)
    constants = _constants(frame)
    for item, expression in zip(items, written, strict=True):
        for end, ends_at in _ends(item, expression):
            if isinstance(end, int | np.integer) and end < 0 and not _from_the_end(ends_at, constants):
                raise NegativeIndex(ast.unparse(found), f"[{', '.join(map(_written, items))}]", array.shape)


def _ends(item: Any, expression: ast.expr) -> Iterator[tuple[Any, ast.expr]]:
    """What an index is made of, a number or the two ends of a slice, each beside how it is written."""
    if not isinstance(item, slice):
        yield item, expression
    elif isinstance(expression, ast.Slice):
        yield item.start, expression.lower or expression
        yield item.stop, expression.upper or expression


def _written(item: Any) -> str:
    if isinstance(item, slice):
        return ":".join("" if end is None else str(end) for end in (item.start, item.stop))
    return str(item)


def _from_the_end(expression: ast.expr, constants: set[str]) -> bool:
    """Whether somebody has written that it counts from the end: it begins with a minus, or is the name of a constant."""
    if isinstance(expression, ast.Name):
        return expression.id in constants
    while isinstance(expression, ast.BinOp):
        expression = expression.left
    return isinstance(expression, ast.Attribute) or (
        isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.USub)
    )


def _constants(frame: FrameType) -> set[str]:
    """Names whose numbers nobody computes here: globals, those from around, a kernel's hyper-parameters, ``last = -1``."""
    code = frame.f_code
    is_kernel = frame.f_back is not None and frame.f_back.f_globals is globals()
    given = code.co_argcount if is_kernel else 0
    passed = set(code.co_varnames[given : code.co_argcount])
    return {*code.co_names, *code.co_freevars, *code.co_varnames} - passed - _set_in(code)


class _Source(NamedTuple):
    """A function's definition, parsed without the lines above it and the columns before it."""

    tree: ast.Module
    above: int
    indent: int

    def place(self, node: ast.Subscript) -> tuple[int, int, int, int]:
        """Lines and columns in the file, as code objects note them."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        lines = node.lineno + self.above, node.end_lineno + self.above
        return (*lines, node.col_offset + self.indent, node.end_col_offset + self.indent)


@cache
def _source(code: CodeType) -> _Source | None:
    try:
        lines, first = inspect.getsourcelines(code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    return _Source(tree, first - 1, len(lines[0]) - len(lines[0].lstrip()))


@cache
def _set_in(code: CodeType) -> set[str]:
    """Names that a function sets, but for those that it sets to what counts from the end, such as ``last = -1``."""
    found = _source(code)
    nodes = list(ast.walk(found.tree)) if found is not None else []
    meant = {id(target) for node in nodes if isinstance(node, ast.Assign) and _from_the_end(node.value, set())
             for target in node.targets}  # fmt: skip
    stored = (node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return {node.id for node in stored if id(node) not in meant}


@cache
def _subscript(code: CodeType, instruction: int) -> ast.Subscript | None:
    """The subscript that an instruction of a function is."""
    found = _source(code)
    if found is None:
        return None
    place = list(code.co_positions())[instruction // 2]
    for node in ast.walk(found.tree):
        if isinstance(node, ast.Subscript) and found.place(node) == place:
            return node
    return None
