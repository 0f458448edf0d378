"""What compiled code depends on beyond its own text: a hash of all that can be followed, and whether all could be."""

from __future__ import annotations

import dis
import functools
import hashlib
import importlib.util
import os
import sys
import time
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from nnkit.engine.source import meaning, within

__all__ = ["Fingerprint", "is_overloaded", "of_module", "of_value"]

_STARTED = time.time()
_SKEW = 60.0  # seconds; a file from farther in the future tells of a wrong clock, not of a change
_MOST = 5000  # things that are followed: whoever names more than that is not followed at all

# Of these the versions count, which are in every kernel's key.
_VERSIONED = {*sys.stdlib_module_names, "builtins", "numpy", "numba", "llvmlite", "scipy"} - {"__main__"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, np.generic, np.dtype, type(Ellipsis))


class Fingerprint(NamedTuple):
    """A hash, and whether it covers everything; where it does not, code that depends on it is not for other processes."""

    digest: str
    is_whole: bool


def _is_versioned(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _VERSIONED


# ------------------------------------------------------------------------------------------------------- modules


@functools.cache
def of_module(name: str) -> Fingerprint:
    """Of a module's text, with all that it registers; not whole where the text may be another one than that which runs."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    text = None
    with suppress(AttributeError, ImportError, OSError):  # a loader need not have texts
        text = spec.loader.get_source(name)  # type: ignore[union-attr]
    is_whole = text is not None
    with suppress(AttributeError, TypeError, OSError):  # within an archive there is a text, and no file
        is_whole = is_whole and not _STARTED < _changed(os.stat(spec.origin)) < time.time() + _SKEW  # type: ignore
    return Fingerprint(hashlib.sha256((text or "").encode()).hexdigest()[:16], is_whole)


def _changed(status: os.stat_result) -> float:
    """When a file was last changed or put in its place; installers set the time that Windows alone takes for it."""
    return max(status.st_mtime, status.st_ctime) if sys.platform == "win32" else status.st_ctime


# -------------------------------------------------------------------------------------------------------- values


_first: dict[int, tuple[Any, str]] = {}


def of_value(value: Any) -> Fingerprint:
    """Of something that Numba compiles itself, such as an intrinsic, a ufunc or a function with overloads, and all it calls.

    Numba keeps what it has compiled. So when something has changed since it was first seen here, the hash is not whole.
    """
    walk = _Walk()
    try:
        walk.follow(value)
    except Exception:  # code of others says how their things are shown and compared
        walk.is_whole = False
    digest = walk.hash.hexdigest()[:16]
    _, first = _first.setdefault(id(value), (value, digest))
    return Fingerprint(digest, walk.is_whole and digest == first)


@functools.lru_cache(maxsize=1)
def _registered(count: int) -> dict[int, list[Any]]:
    """What Numba knows by now to stand for functions in compiled code; there are only ever more of them."""
    from numba.core.typing.templates import builtin_registry

    known: dict[int, list[Any]] = {}
    for function, kind in builtin_registry.globals[:count]:
        known.setdefault(id(function), []).extend(getattr(kind, "templates", ()))
    return known


def _stand_ins(function: Any) -> list[Any]:
    """What stands for a function in compiled code: functions of ``numba.extending.overload``, or templates of Numba's own."""
    from numba.core.typing.templates import builtin_registry

    templates = _registered(len(builtin_registry.globals)).get(id(function), [])
    return [getattr(template, "_overload_func", template) for template in templates]


def is_overloaded(function: types.FunctionType) -> bool:
    """Whether compiled code has something else in a function's place; `register_jitable` only says that it may be compiled."""
    found = _stand_ins(function)
    itself = [cell.cell_contents for other in found for cell in getattr(other, "__closure__", None) or ()]
    return bool(found) and function not in itself


class _Walk:
    """Follows values through functions, what these name, their closures and defaults, classes and containers."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.is_whole = True
        self._places: dict[Any, int] = {}
        self._kept: list[Any] = []  # so that no place in memory is taken twice

    def say(self, *words: Any) -> None:
        self.hash.update(repr(words).encode() + b"\0")

    def _is_new(self, value: Any, *more: Any) -> bool:
        """Whether this is the first visit; the others are noted as such."""
        key = (id(value), *more)
        if key in self._places:
            self.say("again", self._places[key])
            return False
        self._places[key] = len(self._places)
        self._kept.append(value)
        self.is_whole = self.is_whole and len(self._places) < _MOST
        return self.is_whole

    def follow(self, value: Any) -> None:
        """Take in a value and all that it depends on."""
        if isinstance(value, _PLAIN):
            self.say(type(value).__qualname__, repr(value))
        elif self._is_new(value):
            self.say(type(value).__qualname__)
            next((follow for kinds, follow in _FOLLOWED if isinstance(value, kinds)), _Walk._instance)(self, value)

    def _all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.follow(value)

    def _function(self, function: types.FunctionType) -> None:
        self.say(function.__module__, function.__qualname__)
        if _is_versioned(function.__module__):
            return
        self.say(meaning(function.__code__))
        self._all((function.__defaults__, function.__kwdefaults__))
        codes = [function.__code__, *within(function.__code__)]
        names = sorted({name for code in codes for name in code.co_names})
        for cell in function.__closure__ or ():
            try:
                self._named(cell.cell_contents, names)
            except ValueError:  # it is empty
                self.say("empty")
        for name in names:
            if name in function.__globals__:
                self._named(function.__globals__[name], names)
        for code in codes:
            for instruction in dis.get_instructions(code):
                if instruction.opname == "IMPORT_NAME" and not _is_versioned(str(instruction.argval)):
                    self._imported(str(instruction.argval), names)
        self._all(_stand_ins(function))

    def _imported(self, name: str, names: list[str]) -> None:
        if name in sys.modules:
            self._named(sys.modules[name], names)
        else:  # relative, or not imported yet
            self.is_whole = False

    def _named(self, value: Any, names: list[str]) -> None:
        """A value of code that has these names in it: any of a module's may be meant."""
        if not isinstance(value, types.ModuleType):
            self.follow(value)
            return
        self.say(value.__name__)
        for name in names if not _is_versioned(value.__name__) else ():
            if name in vars(value) and self._is_new(value, name):
                self._named(vars(value)[name], names)

    def _class(self, kind: type) -> None:
        self.say(kind.__module__, kind.__qualname__)
        if _is_versioned(kind.__module__):
            return
        if type(kind).__module__.partition(".")[0] == "numba":  # what it means is registered elsewhere
            self.is_whole = False
        self._all(kind.__mro__[1:])
        for name, value in sorted(vars(kind).items()):
            if isinstance(value, _PLAIN + _DEFINED) and name not in ("__module__", "__doc__", "__firstlineno__"):
                self.say(name)
                self.follow(value)

    def _instance(self, value: Any) -> None:
        """Anything else: Numba's own things by what they were made of, others by their class and what they hold."""
        from numba import types as kinds

        home = type(value).__module__
        sources = "py_func", "_dispatcher", "_defn", "gufunc_builder"
        made_of = [getattr(value, name) for name in sources if hasattr(value, name)]
        if home.partition(".")[0] == "numba" and made_of:
            self._all((*made_of, *(getattr(value, name, None) for name in ("targetoptions", "_ctor_kwargs", "signature"))))
        elif isinstance(value, kinds.Type) and _is_versioned(home):
            self.say(str(value), str(getattr(value, "sig", "")))
        elif _is_versioned(home) or not hasattr(value, "__dict__"):
            self.say(repr(value))
            self.is_whole = self.is_whole and " at 0x" not in repr(value) and home.partition(".")[0] != "numba"
        else:
            self._all((type(value), vars(value)))

    def _array(self, array: np.ndarray[Any, Any]) -> None:
        self.say(array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        self.is_whole = self.is_whole and not array.dtype.hasobject

    def _set(self, values: Iterable[Any]) -> None:
        self.say(sorted(map(repr, values)))
        self.is_whole = self.is_whole and all(isinstance(value, _PLAIN) for value in values)


_DEFINED = (types.FunctionType, staticmethod, classmethod, property, tuple, list, dict, set, frozenset, np.ndarray, type)
_FOLLOWED: list[tuple[Any, Callable[[_Walk, Any], None]]] = [
    (types.FunctionType, _Walk._function),
    (type, _Walk._class),
    (types.ModuleType, lambda walk, module: walk.say(module.__name__)),
    (types.BuiltinFunctionType, lambda walk, function: walk.say(function.__module__, function.__qualname__)),
    (tuple | list, _Walk._all),
    (set | frozenset, _Walk._set),
    (dict, lambda walk, values: walk._all(item for pair in values.items() for item in pair)),
    (np.ndarray, _Walk._array),
    (np.ufunc, lambda walk, ufunc: walk.say(ufunc.__name__)),
    (functools.partial, lambda walk, part: walk._all((part.func, part.args, part.keywords))),
    (types.MethodType, lambda walk, method: walk._all((method.__func__, method.__self__))),
    (staticmethod | classmethod, lambda walk, method: walk.follow(method.__func__)),
    (property, lambda walk, made: walk._all((made.fget, made.fset))),
    (functools._lru_cache_wrapper, lambda walk, function: walk.follow(function.__wrapped__)),
]
