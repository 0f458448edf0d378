"""Which whole numbers of a kernel are strong: those of int64 arrays, those of NumPy's functions, and what is computed of them.

Python's own (literals, counters, sizes, hyper-parameters) are weak, so in float32 kernels they all are typed as such. Where one
of an array stands beside another number, `nnkit.kernels.promotion.strong` is told of both, and gives what NumPy computes with.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection

__all__ = ["told"]

NAME = "_strong"  # under which a kernel's text calls it
COUNTING = {"int64", "argmax", "argmin", "count_nonzero", "searchsorted"}  # NumPy's that give an int64


def told(body: list[ast.stmt], arrays: Collection[str]) -> bool:
    """Have the statements tell of each strong number; whether there is one. ``arrays`` are the names of int64 arrays."""
    teller = _Teller(arrays)
    for statement in body:
        teller.visit(statement)
    return teller.any


class _Teller(ast.NodeTransformer):
    def __init__(self, arrays: Collection[str]) -> None:
        self.arrays = arrays
        self.scalars: set[str] = set()  # variables that hold strong numbers
        self.any = False

    def _is_strong(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Subscript):
            return isinstance(node.value, ast.Name) and node.value.id in self.arrays
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Attribute) and node.func.attr in COUNTING
        if isinstance(node, ast.BinOp):
            return self._is_strong(node.left) or self._is_strong(node.right)
        if isinstance(node, ast.UnaryOp):
            return self._is_strong(node.operand)
        return isinstance(node, ast.Name) and node.id in self.scalars

    def _beside(self, node: ast.expr, other: ast.expr) -> ast.expr:
        """A strong number as it is beside another one, which is not."""
        self.any = True
        read = copy.deepcopy(other)
        for item in ast.walk(read):
            if isinstance(item, ast.Name | ast.Subscript):
                item.ctx = ast.Load()
        return ast.Call(ast.Name(NAME, ast.Load()), [node, read], [])

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if self._is_strong(node.value):
            self.scalars |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        strong = self._is_strong(node.value)
        self.generic_visit(node)
        if strong:
            node.value = self._beside(node.value, node.target)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left, right = self._is_strong(node.left), self._is_strong(node.right)
        self.generic_visit(node)
        if left and not right:
            node.left = self._beside(node.left, node.right)
        elif right and not left:
            node.right = self._beside(node.right, node.left)
        return node
