"""What tells things apart, parts above all: their class, and all that they hold."""

from __future__ import annotations

import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from functools import cache, partial, wraps
from typing import Any, TypeVar

import numpy as np

from nnkit.core.calls import Familiar
from nnkit.engine.operands import Live

__all__ = ["Unlike", "identity", "once"]

T = TypeVar("T")

LARGEST = 1 << 16  # bytes of an array that are looked at
LONGEST = 1 << 10  # things in a list that are looked at
DEEPEST = 1 << 12  # things within others that are looked at
MOST = 1024  # things that a check remembers
PLAIN = frozenset([bool, int, type(None), types.BuiltinFunctionType, np.ufunc])
KNOWN = frozenset(["nnkit", "numpy", "scipy", "numba", *sys.stdlib_module_names]) - {"__main__"}  # whose globals stay
UNREAD = (types.ModuleType, staticmethod, classmethod, property)  # of classes and modules that functions name


class Unlike:
    """Stands for a value of which nothing is known: no key of a dict can hold it."""

    __hash__ = None  # type: ignore[assignment]


def identity(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """Something that is equal for two values only if the same program follows from them, but for the addresses of arrays.

    It has a hash, unless something within is `Unlike` all else. Of the user's own classes and functions it has what they read:
    the globals, the variables around them, what stands on classes. ``seen`` are the things (by id) that were looked at before.
    """
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if kind is float:
        return kind, value.hex()  # 0.0 and -0.0 are two numbers
    if kind in (str, bytes):
        return (kind, value) if len(value) <= LARGEST else Unlike()
    if isinstance(value, type):
        return value
    if isinstance(value, Live):
        return kind, value.memory.dtype.char
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU" and value.nbytes <= LARGEST:
        return kind, value.dtype.str, value.shape, value.tobytes()
    seen = {} if seen is None else seen
    if id(value) in seen:  # which may lead back to itself
        return "seen", seen[id(value)][0]
    seen[id(value)] = len(seen), value  # held, or another thing might get its address
    if len(seen) > DEEPEST:
        return Unlike()
    of = partial(identity, seen=seen)
    if isinstance(value, Familiar):
        return kind, kind.exchanged, *_own(value, of), *[(name, of(item)) for name, item in value._held().items()]
    if kind is types.FunctionType:
        return kind, *_read(value, of)
    if kind in (tuple, list, dict) and len(value) <= LONGEST:
        return kind, *([(name, of(item)) for name, item in value.items()] if kind is dict else map(of, value))
    return Unlike()


def _package(item: Any) -> str:
    return str(getattr(item, "__module__", None) or getattr(item, "__name__", "")).partition(".")[0]


def _is_known(item: Any) -> bool:
    return _package(item) in KNOWN


@cache
def _is_installed(package: str) -> bool:
    file = str(getattr(sys.modules.get(package), "__file__", None))
    return file.startswith((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))


def _own(part: Familiar, of: Callable[[Any], Any]) -> Iterator[Any]:
    """What stands on the classes of a part that are the user's; what kernels read, they look after themselves."""
    for base in type(part).__mro__:
        if _is_known(base):
            continue
        for name, item in vars(base).items():
            if isinstance(item, staticmethod):
                yield name, item.__func__
            elif isinstance(item, property):
                yield name, of(item.fget), *_given(part, name, of)
            elif isinstance(item, classmethod | types.FunctionType):
                yield name, of(getattr(item, "__func__", item))
            elif not name.startswith(("__", "_abc_")):
                yield name, of(item)


def _given(part: Familiar, name: str, of: Callable[[Any], Any]) -> Iterator[Any]:
    """What a property gives to the kernels that name it, which may come from anywhere."""
    static = [item.__func__ for base in type(part).__mro__ for item in vars(base).values() if isinstance(item, staticmethod)]
    if any(name in item.__code__.co_varnames for item in static if isinstance(item, types.FunctionType)):
        try:
            yield of(getattr(part, name))
        except Exception:  # whatever it is: a layer that is not built has not all yet, and the one that is counts, too
            yield AttributeError


@cache
def _names(code: types.CodeType) -> frozenset[str]:
    """All names of globals and attributes in it, and in the functions within."""
    inner = [item for item in code.co_consts if isinstance(item, types.CodeType)]
    return frozenset(code.co_names).union(*map(_names, inner))


def _read(function: types.FunctionType, of: Callable[[Any], Any]) -> Iterator[Any]:
    """What follows from a function: itself, where it is of a library; else its text, and what it reads."""
    if _is_known(function):
        yield function
        return
    yield from (function.__code__, of(function.__defaults__), of(function.__kwdefaults__))
    names = sorted(_names(function.__code__))
    try:
        read = {name: function.__globals__[name] for name in names if name in function.__globals__}
        cells = {str(place): cell.cell_contents for place, cell in enumerate(function.__closure__ or ())}
    except ValueError:  # a variable that has no value yet
        yield Unlike()
        return
    for name, value in (read | cells).items():
        package = _package(value)
        stays = package in KNOWN or (package != _package(function) and _is_installed(package))
        if isinstance(value, types.ModuleType | type) or (stays and type(value) is types.FunctionType):
            yield name, value
            held = {} if stays else vars(value)
            yield from ((inner, of(held[inner])) for inner in names if inner in held and type(held[inner]) not in UNREAD)
        else:
            yield name, of(value)


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
