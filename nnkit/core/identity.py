"""What tells parts apart: their class, and all that they hold."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from nnkit.core.container import Model
from nnkit.core.part import Part
from nnkit.engine.operands import Live

__all__ = ["Unlike", "identity"]

LARGEST = 1 << 16  # bytes of an array that are looked at
PLAIN = frozenset([bool, int, str, bytes, type(None), types.FunctionType, types.BuiltinFunctionType, np.ufunc])
BY_PLACE = {"_built", "_known"}  # what a layer is given as it is placed


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
    if isinstance(value, Part):
        held = [(name, identity(item)) for name, item in vars(value).items() if name not in BY_PLACE]
        return kind, kind.exchanged, *held
    if kind is dict:
        return kind, *[(name, identity(item)) for name, item in value.items()]
    if isinstance(value, Live):
        return kind, value.memory.dtype.char
    if isinstance(value, Model):
        return kind, *map(identity, value.layers)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU" and value.nbytes <= LARGEST:
        return kind, value.dtype.str, value.shape, value.tobytes()
    return value if isinstance(value, type) else Unlike()
