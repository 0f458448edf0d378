"""Which whole numbers of a kernel are strong: those of int64 arrays, those of NumPy's functions, and what is computed of them.

Python's own (literals, counters, sizes, hyper-parameters) are weak, so in float32 kernels they all are typed as such. Where one
of an array stands beside another number, `nnkit.kernels.promotion.strong` is told of both, and gives what NumPy computes with.
A function that a kernel hands such arrays or numbers to is told of them in its turn, in a text of its own.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Collection

__all__ = ["COUNTING", "NAME", "Told", "told"]

NAME = "_strong"  # under which a text calls it
COUNTING = {"int64", "argmax", "argmin", "count_nonzero", "searchsorted"}  # NumPy's that give an int64

# For a call, and its arguments that are strong, by their places or names: what to call, and whether it gives a strong number.
Helper = Callable[[ast.Call, Collection[int | str]], tuple[str, bool] | None]


class Told(ast.NodeTransformer):
    """What was found in the statements of a function.

    Attributes
    ----------
    any : whether there is a strong number beside another one
    gives : whether the function returns a strong number
    """

    def __init__(self, names: Collection[str], helper: Helper) -> None:
        self._names = set(names)  # int64 arrays, their rows, and variables that hold strong numbers
        self._helper = helper
        self.any = self.gives = False

    def _is_strong(self, node: ast.expr | None) -> bool:
        if isinstance(node, ast.Subscript):
            return self._is_strong(node.value)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                return node.func.attr in COUNTING
            if isinstance(node.func, ast.Name) and node.func.id == "abs":
                return self._is_strong(node.args[0])
            helper = self._called(node)
            return helper is not None and helper[1]
        if isinstance(node, ast.BinOp):
            return self._is_strong(node.left) or self._is_strong(node.right)
        if isinstance(node, ast.UnaryOp):
            return self._is_strong(node.operand)
        return isinstance(node, ast.Name) and node.id in self._names

    def _called(self, node: ast.Call) -> tuple[str, bool] | None:
        """The function for a call, by its name, and whether it gives a strong number; None where no text says what it does."""
        strong: list[int | str] = [place for place, given in enumerate(node.args) if self._is_strong(given)]
        strong += [word.arg for word in node.keywords if word.arg is not None and self._is_strong(word.value)]
        return self._helper(node, strong)

    def _beside(self, node: ast.expr, other: ast.expr) -> ast.expr:
        """A strong number as it is beside another one, which is not."""
        self.any = True
        read = copy.deepcopy(other)
        for item in ast.walk(read):
            if isinstance(item, ast.Name | ast.Subscript):
                item.ctx = ast.Load()
        return ast.Call(ast.Name(NAME, ast.Load()), [node, read], [])

    def _note(self, target: ast.expr, value: ast.expr) -> None:
        """An assignment: what holds a strong number then."""
        if isinstance(target, ast.Name) and self._is_strong(value):
            self._names.add(target.id)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, given in zip(target.elts, value.elts, strict=True):
                self._note(one, given)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        for target in node.targets:
            self._note(target, node.value)
        return self.generic_visit(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        self._note(node.target, node.iter)
        return self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.gives = self.gives or self._is_strong(node.value)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = self._called(node)
        self.generic_visit(node)
        if called is not None:
            node.func = ast.Name(called[0], ast.Load())
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        strong = self._is_strong(node.value)
        self._note(node.target, node.value)
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


def told(body: list[ast.stmt], names: Collection[str], helper: Helper) -> Told:
    """Have statements tell of each strong number.

    Parameters
    ----------
    names : of int64 arrays, and of strong numbers, that the statements get
    helper : see `Helper`; it gives None where no text says what is called
    """
    teller = Told(names, helper)
    for statement in body:
        teller.visit(statement)
    return teller
