"""A kernel on scalars, or a loop over one index, rewritten as NumPy on whole arrays: the same arithmetic, as people write it.

``a if c else b`` becomes ``np.where(c, a, b)``, or something faster where that is what it means: ``a if x < a else x`` is
``np.maximum(x, a)``, ``a if c else 0`` is ``a * c``. ``max`` becomes ``np.maximum``; ``for i in range(n): out[i] = f(x[i])``
becomes ``out[...] = f(x[...])``; helper functions are rewritten likewise. What has other loops or branches is refused.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Unvectorised", "vectorised"]

_BUILTINS = {"max": "maximum", "min": "minimum"}


class Unvectorised(Exception):
    """The kernel is not elementwise, or is written in words that this module does not know."""


def _numpy(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.parse(f"numpy_.{name}", mode="eval").body, list(arguments), [])


def _same(a: ast.expr, b: ast.expr) -> bool:
    return ast.dump(a) == ast.dump(b)


class _Rewrite(ast.NodeTransformer):
    def __init__(self) -> None:
        self.index: str | None = None

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        match node.test:
            case ast.Compare(x, [ast.Lt() | ast.Gt() as order], [limit]) if _same(x, node.orelse) and _same(limit, node.body):
                return _numpy("maximum" if isinstance(order, ast.Lt) else "minimum", x, limit)
        if isinstance(node.orelse, ast.Constant) and node.orelse.value == 0:
            return ast.BinOp(node.body, ast.Mult(), node.test)
        return _numpy("where", node.test, node.body, node.orelse)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _BUILTINS:
            return _numpy(_BUILTINS[node.func.id], *node.args)
        return node

    def visit_For(self, node: ast.For) -> Any:
        if self.index is not None or not isinstance(node.target, ast.Name):
            raise Unvectorised("a loop within a loop")
        self.index = node.target.id
        body = [self.visit(item) for item in node.body]
        self.index = None
        return body

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.slice, ast.Name) and node.slice.id == self.index:
            node.slice = ast.Constant(...)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        raise Unvectorised("a branch")

    visit_While = visit_If


def vectorised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for arrays.

    Raises
    ------
    Unvectorised
    """
    try:
        text = getattr(function, "source", None) or textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise Unvectorised("no source") from error
    node = ast.parse(text).body[0]
    if not isinstance(node, ast.FunctionDef):
        raise Unvectorised("no plain function")
    node.decorator_list, node.returns = [], None
    for argument in node.args.args:
        argument.annotation = None
    node = _Rewrite().visit(node)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    known = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
    used = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    helpers = {name: vectorised(known[name]) for name in used if isinstance(known.get(name), types.FunctionType)}
    namespace = {**known, **helpers, "numpy_": np}
    exec(compile(ast.fix_missing_locations(ast.Module([node], [])), f"<{function.__qualname__}>", "exec"), namespace)
    return namespace[node.name]
