"""Parts as they are written on the command line: ``64, relu, dropout(0.2)``.

A part is the name under which it is registered, or that of its class, with arguments in parentheses or without. Arguments are
literals, and parts again. The text is parsed, never executed.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any, TypeVar

from nnkit import registry
from nnkit.core.layer import Layer
from nnkit.core.part import Part
from nnkit.core.registry import Registry
from nnkit.errors import CallError, NnkitError, ParameterError, RegistryError
from nnkit.layers import Linear

__all__ = ["layers_of", "part_of"]

T = TypeVar("T", bound=Part)


def layers_of(text: str) -> list[Layer]:
    """Layers, one after the other, with commas between; a number is a `Linear` layer of so many units.

    Raises
    ------
    ParameterError
        The text is not written so, or a layer refuses its arguments.
    RegistryError
        No layer has this name.

    Examples
    --------
    >>> layers_of("64, relu, Dropout(rate=0.2), residual(linear(64), tanh)")
    [Linear(out_features=64), ReLU(), Dropout(rate=0.2), Residual(Linear(out_features=64), 'tanh')]
    """
    if not text.strip():
        return []
    tree = _parsed(text, "layers")
    return [_layer(node) for node in (tree.elts if isinstance(tree, ast.Tuple) else [tree])]


def part_of(kind: type[T], text: str) -> T:
    """One part of a kind.

    Examples
    --------
    >>> import nnkit as nn
    >>> part_of(nn.Optimizer, "sgd(lr=0.1, momentum=0.9)")
    SGD(lr=0.1, momentum=0.9)
    """
    what = kind.registry.kind
    return kind.make(_part(_parsed(text, what), [kind.registry], what), what)


def _parsed(text: str, what: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ParameterError(f"{what}: expected names with commas between, such as \"64, relu, dropout(0.2)\", got {text!r} "
                             f"({reason})") from None  # fmt: skip


def _layer(node: ast.expr) -> Layer:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Linear(node.value)
    return Layer.make(_part(node, [Layer.registry], "layers"), "layers")


def _part(node: ast.expr, registries: list[Registry[Any]], what: str) -> Any:
    """The part of one of the registries that is written here."""
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if isinstance(call.func, ast.Constant) and isinstance(call.func.value, str):  # a name in quotes
        call.func = ast.Name(call.func.value, ast.Load())
    if not isinstance(call.func, ast.Name) or any(keyword.arg is None for keyword in call.keywords):
        raise ParameterError(f"{what}: expected a name, or name(arguments), got {ast.unparse(node)[:80]!r}")
    part = _class(call.func.id, registries)
    positional = [_value(item, what) for item in call.args]
    named = {str(item.arg): _value(item.value, what) for item in call.keywords}
    try:
        return part(*positional, **named)
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, NnkitError) and not isinstance(error, CallError):
            raise
        known = [str(item.replace(annotation=item.empty)) for item in inspect.signature(part).parameters.values()]
        expected, came = f"{part.__name__}({', '.join(known)})", ast.unparse(node)[:80]
        raise ParameterError(f"{what}: expected {expected}, got {came!r} ({error})") from error


def _value(node: ast.expr, what: str) -> Any:
    """An argument: a literal, the name of a part (which is looked up by whoever takes it), a part with arguments, or a list."""
    everywhere = [getattr(registry, kind) for kind in ("layers", *registry.__all__)]
    if isinstance(node, ast.Name):
        return _class(node.id, everywhere).key
    if isinstance(node, ast.Call):
        return _part(node, everywhere, what)
    if isinstance(node, ast.List | ast.Tuple):
        items = [_value(item, what) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        came = ast.unparse(node)[:80]
        raise ParameterError(f"{what}: expected numbers, strings or names as arguments, got {came!r}") from None


def _class(name: str, registries: list[Registry[Any]]) -> Any:
    """The class that is registered under a name, or is called so."""
    failure = None
    for kind in registries:
        try:
            return kind.find(name)
        except RegistryError as error:
            failure = failure or error
    for part in _classes(registries):
        if part.__name__ == name:
            return part
    assert failure is not None
    raise failure


def _classes(registries: list[Registry[Any]]) -> Iterator[type[Any]]:
    for kind in registries:
        yield from kind.classes()
