"""Mutants: what the kernels of a part become by one small mistake each, made by machine."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nnkit.engine.lazy import lazy
from nnkit.engine.source import definition
from nnkit.errors import KernelError
from nnkit.testing.changes import redefined

__all__ = ["KERNELS", "KINDS", "Mutant", "mutants_of", "planted", "reached"]

KERNELS = (
    "forward", "forward_partial", "forward_csr", "backward", "backward_x", "backward_partial", "backward_csr", "fused",
    "update",
)  # fmt: skip

# ------------------------------------------------------------------------------------------------- kinds of mistakes

_OTHER_SIGN: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
_OTHER_BOUND: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt,
}  # fmt: skip
_OTHER_END = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}


def sign(node: ast.AST) -> Iterator[ast.AST]:
    """``-`` for ``+``, and the other way round."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OTHER_SIGN:
        yield ast.BinOp(node.left, _OTHER_SIGN[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign) and type(node.op) in _OTHER_SIGN:
        yield ast.AugAssign(node.target, _OTHER_SIGN[type(node.op)](), node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand


def added_or_set(node: ast.AST) -> Iterator[ast.AST]:
    """``+=`` for ``=``, and the other way round."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript):
        yield ast.AugAssign(node.targets[0], ast.Add(), node.value)
    elif isinstance(node, ast.AugAssign):
        yield ast.Assign([node.target], node.value)


def index(node: ast.AST) -> Iterator[ast.AST]:
    """An index that is one too large, or too small."""
    if not isinstance(node, ast.Subscript):
        return
    places = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for k, at in enumerate(places):
        if isinstance(at, ast.Slice):
            continue
        for step in (1, -1):
            moved = [*places[:k], _moved(at, step), *places[k + 1 :]]
            yield ast.Subscript(node.value, ast.Tuple(moved, ast.Load()) if len(moved) > 1 else moved[0], node.ctx)


def bound(node: ast.AST) -> Iterator[ast.AST]:
    """``>=`` for ``>``, ``<=`` for ``<``, and the other way round."""
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            if type(operator) in _OTHER_BOUND:
                other = [*node.ops[:k], _OTHER_BOUND[type(operator)](), *node.ops[k + 1 :]]
                yield ast.Compare(node.left, other, node.comparators)


def factor(node: ast.AST) -> Iterator[ast.AST]:
    """A factor that is left out, or what something is divided by."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        yield node.left
        if isinstance(node.op, ast.Mult):
            yield node.right


def extreme(node: ast.AST) -> Iterator[ast.AST]:
    """``min`` for ``max``, and the other way round."""
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name) and function.id in _OTHER_END:
            yield ast.Call(ast.Name(_OTHER_END[function.id], ast.Load()), node.args, node.keywords)
        elif isinstance(function, ast.Attribute) and function.attr in _OTHER_END:
            yield ast.Call(ast.Attribute(function.value, _OTHER_END[function.attr], ast.Load()), node.args, node.keywords)


def short_loop(node: ast.AST) -> Iterator[ast.AST]:
    """A loop that stops one short."""
    if isinstance(node, ast.For) and _is_call(node.iter, "range"):
        call = node.iter
        assert isinstance(call, ast.Call)
        end = min(len(call.args) - 1, 1)
        sooner = [*call.args]
        sooner[end] = _moved(call.args[end], -1)
        yield ast.For(node.target, ast.Call(call.func, sooner, []), node.body, node.orelse)


def swapped(node: ast.AST) -> Iterator[ast.AST]:
    """Two arguments of a call that stand side by side, the other way round."""
    if isinstance(node, ast.Call) and not any(_is_call(node, name) for name in _OTHER_END):
        for k, (one, other) in enumerate(pairwise(node.args)):
            if ast.dump(one) != ast.dump(other):
                yield ast.Call(node.func, [*node.args[:k], other, one, *node.args[k + 2 :]], node.keywords)


def missing(node: ast.AST) -> Iterator[ast.AST]:
    """An assignment, or a call, that is forgotten."""
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr):
        yield ast.Pass()


def constant(node: ast.AST) -> Iterator[ast.AST]:
    """A real constant that is one per cent too large; 0.01 for 0."""
    if isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield ast.Constant(node.value * 1.01 if node.value else 0.01)


def _moved(at: ast.expr, step: int) -> ast.expr:
    """An index, so many further on."""
    if isinstance(at, ast.Constant) and isinstance(at.value, int):
        return ast.Constant(at.value + step)
    return ast.BinOp(at, ast.Add() if step > 0 else ast.Sub(), ast.Constant(abs(step)))


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


# Each gives what may stand in the place of a node of the syntax tree.
KINDS: dict[str, Callable[[ast.AST], Iterator[ast.AST]]] = {
    "sign": sign,
    "+= for =": added_or_set,
    "index off by one": index,
    "> for >=": bound,
    "factor dropped": factor,
    "min for max": extreme,
    "loop one short": short_loop,
    "argument swapped": swapped,
    "assignment missing": missing,
    "constant by 1 %": constant,
}

# ------------------------------------------------------------------------------------------------------------ mutants


@dataclass(frozen=True)
class Mutant:
    """One mistake in one function.

    Attributes
    ----------
    function : what it is made in
    number : which of the function's mistakes
    kind : a key of `KINDS`
    line : of the function's file, where its statement begins
    """

    function: types.FunctionType
    number: int
    kind: str
    line: int

    @lazy
    def _made(self) -> tuple[str, str, str]:
        """The first line of the statement without the mistake and with it, and the source of the function with it."""
        tree = definition(self.function)
        mistake = next(itertools.islice(_mistakes(tree), self.number, None))
        before = _first_line(mistake.statement)
        mistake.make()
        return before, _first_line(mistake.wrong if mistake.node is mistake.statement else mistake.statement), ast.unparse(tree)

    @property
    def source(self) -> str:
        """The function with the mistake."""
        return self._made[2]

    @lazy
    def code(self) -> types.CodeType:
        """What the function has in the place of its own, to make the mistake."""
        made: types.FunctionType = redefined(self.function, self.source)
        return made.__code__

    def __str__(self) -> str:
        before, after, _ = self._made
        return f"{self.function.__code__.co_filename}:{self.line}: {before}  ->  {after}"


OTHERS = ("nnkit.core.", "nnkit.kernels.")  # modules whose functions are no part's


def reached(cls: type[Any]) -> dict[types.FunctionType, set[str]]:
    """The functions that a class's kernels consist of, each with the names of the kernels that come to it.

    They are the kernels, and what they call of their own package; what nnkit provides for all kernels is no part's.
    """
    found: dict[types.FunctionType, set[str]] = {}

    def follow(function: Any, kernel: str) -> None:
        plain = isinstance(function, types.FunctionType) and function.__module__ is not None  # one of a text has no lines
        if not plain or function.__module__.startswith(OTHERS) or kernel in found.setdefault(function, set()):
            return
        found[function].add(kernel)
        for name in function.__code__.co_names:
            helper = function.__globals__.get(name)
            if str(getattr(helper, "__module__", None)).partition(".")[0] == function.__module__.partition(".")[0]:
                follow(helper, kernel)

    for kernel in KERNELS:  # a callback's ``update`` is none
        if isinstance(inspect.getattr_static(cls, kernel, None), staticmethod) or getattr(cls, "interpreted", False):
            follow(getattr(cls, kernel, None), kernel)
    return found


def mutants_of(function: types.FunctionType) -> Iterator[Mutant]:
    """Every mistake that can be made in a function, in the order of its lines; none where its source cannot be read."""
    try:
        tree = definition(function)
    except KernelError:
        return
    for number, mistake in enumerate(_mistakes(tree)):
        yield Mutant(function, number, mistake.kind, mistake.statement.lineno)


@dataclass(frozen=True)
class _Mistake:
    """What may stand in the place of a node: the node of a statement hangs in a field of its parent, perhaps in a list."""

    kind: str
    node: ast.AST
    wrong: ast.AST
    statement: ast.stmt
    parent: ast.AST
    field: str
    at: int | None

    def make(self) -> None:
        """Put it there."""
        if self.at is None:
            setattr(self.parent, self.field, self.wrong)
        else:
            getattr(self.parent, self.field)[self.at] = self.wrong


def _mistakes(tree: ast.FunctionDef) -> Iterator[_Mistake]:
    """All that can be made in a definition."""
    for node, statement, parent, field, at in _nodes(tree, tree):
        seen = {_first_line(node)} if isinstance(node, ast.expr) else set()
        for kind, mistakes in KINDS.items():
            for wrong in mistakes(node):
                ast.fix_missing_locations(ast.copy_location(wrong, node))
                text = _first_line(wrong)
                if text not in seen:
                    seen.add(text)
                    yield _Mistake(kind, node, wrong, statement, parent, field, at)


def _nodes(parent: ast.AST, statement: ast.stmt) -> Iterator[tuple[ast.AST, ast.stmt, ast.AST, str, int | None]]:
    """Every node below: the node, its statement, and where it hangs."""
    for field, value in ast.iter_fields(parent):
        for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST) and not isinstance(node, ast.arguments):
                own = node if isinstance(node, ast.stmt) else statement
                yield node, own, parent, field, at
                yield from _nodes(node, own)


def _first_line(node: ast.AST) -> str:
    if isinstance(node, ast.For | ast.While | ast.If | ast.With):  # what it begins with is enough
        node = copy.copy(node)
        node.body, node.orelse = [ast.Pass()], []  # type: ignore[union-attr]
    return ast.unparse(node).partition("\n")[0]


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Let the function make the mistake, wherever it is called from, as long as this lasts."""
    function = mutant.function
    right = function.__code__
    function.__code__ = mutant.code
    try:
        yield
    finally:
        function.__code__ = right
