"""Parts that are defined in a script or a notebook, on their way to another process.

What pickles classes of ``__main__`` by their contents (cloudpickle, and so joblib, Dask and Ray) takes a function's code along,
but not its source, of which kernels are compiled; and a part that is only named, by a string, not at all. So sources are put on
the functions themselves, and an estimator takes along the parts that have been registered here.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from nnkit.core.plugins import brings
from nnkit.core.registry import bring, registered
from nnkit.engine.source import keep

__all__ = ["Carried", "bring_all", "keep_sources", "taken_along"]

Carried = list[tuple[str, str, bytes]]  # kind, name, and the pickled class


def is_importable(part: type) -> bool:
    """Whether another process finds a class by its name."""
    return part.__module__ != "__main__" and "<locals>" not in part.__qualname__


def keep_sources(part: type) -> None:
    """Put its source on every function of a class that others cannot import, and on those that these name."""
    if is_importable(part):
        return
    seen: set[int] = set()
    for owner in part.__mro__:
        if not is_importable(owner):
            for item in vars(owner).values():
                for function in _functions(item, seen):
                    keep(function)


def _functions(item: Any, seen: set[int]) -> Iterator[types.FunctionType]:
    """A function, and the functions of Python that it names; a static one, or one that Numba has jitted, as the one within."""
    item = getattr(item, "__func__", getattr(item, "py_func", item))
    if not isinstance(item, types.FunctionType) or id(item) in seen:
        return
    seen.add(id(item))
    yield item
    names = item.__code__.co_names
    named = [item.__globals__.get(name) for name in names]
    for cell in item.__closure__ or ():
        try:
            named.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    named += [vars(other)[name] for other in named if isinstance(other, type) for name in names if name in vars(other)]
    for other in named:
        yield from _functions(other, seen)


def _by_contents() -> Callable[[Any], bytes]:
    """What pickles functions and classes by their contents; the one that joblib takes, as far as that is known."""
    for name in ("joblib.externals.cloudpickle", "cloudpickle", "numba.cloudpickle"):
        try:
            found: Callable[[Any], bytes] = importlib.import_module(name).dumps
        except ImportError:
            continue
        return found
    return pickle.dumps


def taken_along() -> Carried:
    """The parts that are registered here, and that another process would not know by name."""
    packed: Carried = []
    for kind, key, part in registered():
        if part.__module__.startswith("nnkit.") or brings(part.__module__):
            continue
        keep_sources(part)
        try:
            packed.append((kind, key, _by_contents()(part)))
        except Exception:  # whatever it holds cannot be pickled; who uses it there is told that its name is unknown
            continue
    return packed


def bring_all(packed: Carried) -> None:
    """Register them in this process, except for those whose names stand for something here already."""
    for kind, key, content in packed:
        try:
            part = pickle.loads(content)
        except Exception:  # its module is not here; nor is the part then, which its name says as soon as somebody uses it
            continue
        bring(kind, key, part, lasting=is_importable(part) or _is_here(part))


def _is_here(part: type) -> bool:
    """Whether a class is the one that this process itself has under its name."""
    return getattr(sys.modules.get(part.__module__), part.__qualname__, None) is part
