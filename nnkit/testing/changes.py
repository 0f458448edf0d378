"""A function of another source: what a fault that is planted in a right part is made of."""

from __future__ import annotations
import __future__

import inspect
import itertools
import linecache
import textwrap
from collections.abc import Callable
from typing import Any

__all__ = ["changed", "redefined"]

_numbers = itertools.count(1)


def changed(cls: type[Any], method: str, piece: str, replacement: str) -> type[Any]:
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
    made = redefined(function, source, owner)
    kind: Any = type(cls)
    derived: type[Any] = kind(cls.__name__, (cls,), {
        "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__, method: made,
    })  # fmt: skip
    return derived


def redefined(function: Callable[..., Any], source: str, owner: type[Any] | None = None) -> Any:
    """What another source gives in the place of a function (of the class ``owner``, if it is a method).

    It sees the globals of the function. Of what a function around it has, it has the names alone.
    """
    function = inspect.unwrap(function)
    code = function.__code__
    around = ", ".join(dict.fromkeys(("__class__", *code.co_freevars)))
    text = f"def around({around}):\n{textwrap.indent(source, '    ')}\n    return {code.co_name}\n"
    file = f"<{code.co_qualname}, changed, {next(_numbers)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # where the source is looked for
    namespace: dict[str, Any] = {}
    flags = code.co_flags & __future__.annotations.compiler_flag
    exec(compile(text, file, "exec", flags, dont_inherit=True), function.__globals__, namespace)
    made = namespace["around"](owner, *[None] * len(set(code.co_freevars) - {"__class__"}))
    inspect.unwrap(made).__qualname__ = code.co_qualname
    return made
