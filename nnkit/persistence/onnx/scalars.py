"""Functions of numbers, as ONNX has them."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

from nnkit.core.exchange import Value
from nnkit.kernels import math

__all__ = ["rebound"]


def _expm1(x: Value) -> Value:
    """tanh(x / 2) (exp(x) + 1), which keeps its digits near 0."""
    return x.graph.node("Tanh", 0.5 * x) * (x.graph.node("Exp", x) + 1.0)


def _named(op: str) -> Callable[[Value], Value]:
    return lambda x: x.graph.node(op, x)


# What takes the place of the functions that kernels are written in.
_FUNCTIONS: dict[Callable[..., Any], Callable[[Any], Any]] = {
    math.erf: _named("Erf"),
    math.exp: _named("Exp"),
    math.expm1: _expm1,
    math.log: _named("Log"),
    math.log1p: lambda x: x.graph.node("Log", 1.0 + x),
    math.real: lambda x: x,
    math.sigmoid: _named("Sigmoid"),
    math.softplus: _named("Softplus"),
    math.tanh: _named("Tanh"),
}


def rebound(function: Callable[..., Any], known: dict[Any, Any] | None = None) -> Callable[..., Any]:
    """The same function, but that it and those that it calls take values for numbers."""
    known = {} if known is None else known
    if function in _FUNCTIONS:
        return _FUNCTIONS[function]
    if function not in known:
        plain: Any = getattr(function, "py_func", function)  # of Numba's
        names = dict(plain.__globals__)
        known[function] = FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__, plain.__closure__)
        for name in plain.__code__.co_names:
            if names.get(name) is math:
                names[name] = SimpleNamespace(**{own.__name__: work for own, work in _FUNCTIONS.items()})
            elif isinstance(getattr(names.get(name), "py_func", names.get(name)), FunctionType):
                names[name] = rebound(names[name], known)
    return known[function]  # type: ignore[no-any-return]
