"""Formulas as data: what Python has read off a part, and the page writes out and evaluates."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Mapping
from typing import Any

from nnkit.core.part import kernel_names
from nnkit.inspect.trace.formula import TEXT, Sum, Symbol, formula

__all__ = ["Expression", "expression", "read"]

Expression = dict[str, Any] | float | None

LONGEST = 160  # characters of a formula that is still shown
SHORT = 45  # characters of what a function computes that is written in the place of its name

SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.BitAnd: "and", ast.BitOr: "or", ast.And: "and",
    ast.Or: "or", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=", ast.NotEq: "!=", ast.USub: "minus",
    ast.Not: "not",
}  # fmt: skip


def read(function: Callable[..., Any], **known: Any) -> Expression:
    """What a scalar function returns, in its arguments; None where it is more than a formula, or a very long one."""
    node = formula(function, **known)
    if node is None:
        return None
    try:
        result = expression(_spelt_out(node, function.__globals__))
    except KeyError:  # an operator that no lecture writes
        return None
    return result if len(TEXT(node)) <= LONGEST else None


def expression(node: ast.AST) -> Expression:
    """A tree of Python's as one of dicts: ``sign``, ``call``, ``when``, ``sum`` or ``symbol`` says what it is."""
    match node:
        case Symbol():
            return {"symbol": node.letter, "index": list(map(str, node.index))}
        case Sum():
            return {"sum": node.index, "of": [expression(node.term)]}
        case ast.Constant(bool() | int() | float() as value):
            return float(value)
        case ast.BinOp(left, operator, right):
            return {"sign": SIGNS[type(operator)], "of": [expression(left), expression(right)]}
        case ast.BoolOp(operator, values):
            return {"sign": SIGNS[type(operator)], "of": list(map(expression, values))}
        case ast.UnaryOp(operator, operand):
            return {"sign": SIGNS[type(operator)], "of": [expression(operand)]}
        case ast.Compare(left, [operator], [right]):
            return {"sign": SIGNS[type(operator)], "of": [expression(left), expression(right)]}
        case ast.IfExp(test, then, other):
            return {"when": expression(test), "of": [expression(then), expression(other)]}
        case ast.Call(func, arguments):
            name = func.attr if isinstance(func, ast.Attribute) else ast.unparse(func)
            return {"call": name, "of": list(map(expression, arguments))}
    raise KeyError(ast.unparse(node))


def _spelt_out(node: ast.AST, names: Mapping[str, Any]) -> ast.AST:
    """Calls of functions that compute something short, such as sigmoid, as what they compute."""
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST) and not isinstance(node, Symbol):
            setattr(node, name, _spelt_out(value, names))
        elif isinstance(value, list):
            setattr(node, name, [_spelt_out(item, names) if isinstance(item, ast.AST) else item for item in value])
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return node
    function = names.get(node.func.id)
    if not isinstance(function, types.FunctionType) or len(kernel_names(function)) != len(node.args):
        return node
    inner = formula(function, **dict(zip(kernel_names(function), node.args, strict=True)))
    if inner is None or isinstance(inner, ast.Call) or len(TEXT(inner)) > SHORT:
        return node
    return _spelt_out(inner, function.__globals__)
