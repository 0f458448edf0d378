"""What tells things apart, parts above all: their class, and all that they hold."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from nnkit.core.calls import Familiar
from nnkit.engine.operands import Live

__all__ = ["Unlike", "identity", "once"]

T = TypeVar("T")

LARGEST = 1 << 16  # bytes of an array that are looked at
MOST = 1024  # things that a check remembers
PLAIN = frozenset([bool, int, str, bytes, type(None), types.FunctionType, types.BuiltinFunctionType, np.ufunc])


class Unlike:
    """Stands for a value of which nothing is known: no key of a dict can hold it."""

    __hash__ = None  # type: ignore[assignment]


def identity(value: Any) -> Any:
    """Something that is equal for two values only if the same program follows from them, but for the addresses of arrays.

    It has a hash, unless something within is `Unlike` all else.
    """
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if kind is float:
        return kind, value.hex()  # 0.0 and -0.0 are two numbers
    if kind in (tuple, list):
        return kind, *map(identity, value)
    if isinstance(value, Familiar):
        return kind, kind.exchanged, *[(name, identity(item)) for name, item in value._held().items()]
    if kind is dict:
        return kind, *[(name, identity(item)) for name, item in value.items()]
    if isinstance(value, Live):
        return kind, value.memory.dtype.char
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU" and value.nbytes <= LARGEST:
        return kind, value.dtype.str, value.shape, value.tobytes()
    return value if isinstance(value, type) else Unlike()


def once(check: Callable[[T], None], of: Callable[[T], Any] = identity) -> Callable[[T], None]:
    """Let a check look once at all things that are the same, by what ``of`` says of them."""
    passed: set[Any] = set()

    @wraps(check)
    def look(thing: T) -> None:
        its = of(thing)
        try:
            known = its in passed
        except TypeError:  # it is like nothing else
            known, its = False, None
        if not known or its is None:
            check(thing)
            if len(passed) >= MOST:
                passed.clear()
            passed.add(its)

    return look
