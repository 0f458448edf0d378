"""Formulas: read from the source of scalar functions, put together, and written as text, LaTeX or MathML.

An expression is one of Python's own syntax trees, with two kinds of leaves more: `Symbol` and `Derivative`, which carry the
number that they stand for.
"""

from __future__ import annotations

import ast
import html
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nnkit.engine.source import definition

__all__ = [
    "LATEX", "MATHML", "TEXT", "Derivative", "Equation", "Name", "Notation", "Sum", "Symbol", "added", "formula", "product",
    "total", "written",
]  # fmt: skip

DOTS = ast.Constant(...)


class Symbol(ast.expr):
    """A quantity: a letter with indices (counted from 1) and, where it is not of the layer at hand, its layer: w_12(3).

    ``value`` is the number that it stands for, where it stands for one.
    """

    _fields = ()

    def __init__(self, letter: str, *index: Any, layer: int | None = None, value: float = float("nan")) -> None:
        super().__init__()
        self.letter, self.index, self.layer, self.value = letter, index, layer, float(value)


class Name(str):
    """An index in words: what a quantity belongs to."""


class Derivative(ast.expr):
    """d upper / d lower."""

    _fields = ()

    def __init__(self, upper: Symbol, lower: Symbol, value: float = float("nan")) -> None:
        super().__init__()
        self.upper, self.lower, self.value = upper, lower, float(value)


class Sum(ast.expr):
    """The sum of a term over an index."""

    _fields = ("term",)

    def __init__(self, index: str, term: ast.expr) -> None:
        super().__init__()
        self.index, self.term = index, term


Quantity = Symbol | Derivative


def _node(value: ast.expr | float | None) -> ast.expr:
    return value if isinstance(value, ast.expr) else ast.Constant(value)


def _is_one(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


def product(*factors: ast.expr | float) -> ast.expr:
    """The factors multiplied; ones are left out."""
    nodes = [node for node in map(_node, factors) if not _is_one(node)]
    result = nodes[0] if nodes else ast.Constant(1)
    for node in nodes[1:]:
        result = ast.BinOp(result, ast.Mult(), node)
    return result


def total(count: int, term: Callable[[int], ast.expr], most: int = 6) -> ast.expr:
    """Terms 0 to ``count - 1`` added up; of more than ``most``, the first two and the last."""
    shown = [term(0), term(1), DOTS, term(count - 1)] if count > most else [term(place) for place in range(count)]
    return added(*shown)


def added(*terms: ast.expr) -> ast.expr:
    """The sum of these terms."""
    result = terms[0]
    for term in terms[1:]:
        result = ast.BinOp(result, ast.Add(), term)
    return result


def _rewritten(node: Any, change: Callable[[ast.AST], ast.AST | None]) -> Any:
    """A tree in which ``change`` has put something else in the place of some nodes; the old one stays as it is."""
    if isinstance(node, list):
        return [_rewritten(item, change) for item in node]
    if not isinstance(node, ast.AST):
        return node
    changed = change(node)
    if changed is not None or isinstance(node, Symbol | Derivative):
        return node if changed is None else changed
    fields = {name: _rewritten(value, change) for name, value in ast.iter_fields(node)}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return product(fields["left"], fields["right"])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _is_one(fields["right"]):
        return fields["left"]
    return type(node)(**fields)


def formula(function: Callable[..., Any], **known: ast.expr | float | None) -> ast.expr | None:
    r"""What a scalar function returns, written out in its arguments; None where it is more than a formula.

    Names of intermediate results are replaced by what they are; of an ``if`` on a known truth value, or on what is None or not,
    the branch that is taken remains.

    Examples
    --------
    >>> def backward(grad_out, out):
    ...     rest = 1.0 - out
    ...     return grad_out * out * rest
    >>> backward.source = "def backward(grad_out, out):\n    rest = 1.0 - out\n    return grad_out * out * rest"
    >>> TEXT(formula(backward, grad_out=1.0, out=Symbol("a", 2)))
    'a_2 * (1 - a_2)'
    """
    names = {name: _node(value) for name, value in known.items()}

    def fill(node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Call):
            return ast.Call(node.func, _rewritten(node.args, fill), [])
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot):
            left = names.get(node.left.id) if isinstance(node.left, ast.Name) else None
            is_none = isinstance(left, ast.Constant) and left.value is None
            return None if left is None else ast.Constant(is_none == isinstance(node.ops[0], ast.Is))
        if not isinstance(node, ast.Name):
            return None
        constant = function.__globals__.get(node.id)
        return names.get(node.id) or (ast.Constant(float(constant)) if isinstance(constant, int | float) else None)

    statements = list(definition(function).body)
    while statements:
        statement = statements.pop(0)
        if isinstance(statement, ast.Return) and statement.value is not None:
            return _rewritten(statement.value, fill)  # type: ignore[no-any-return]
        if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            names[target.id] = _rewritten(statement.value, fill)
        elif isinstance(statement, ast.If) and isinstance(test := _rewritten(statement.test, fill), ast.Constant):
            statements = [*(statement.body if test.value else statement.orelse), *statements]
        else:
            return None
    return None


def written(text: str, **known: Symbol) -> ast.expr:
    """A formula of a part's ``formulas``: ``a_j`` is a symbol with an index, unless it is known, and ``sum_k(...)`` a sum.

    Examples
    --------
    >>> TEXT(written("exp(z_j) / sum_k(exp(z_k))", z_j=Symbol("z", 2)))
    'exp(z_2) / sum_k(exp(z_k))'
    """

    def change(node: ast.AST) -> ast.AST | None:
        match node:
            case ast.Call(ast.Name(name), [term]) if name.startswith("sum_"):
                return Sum(name.removeprefix("sum_"), _rewritten(term, change))
            case ast.Call():
                return ast.Call(node.func, _rewritten(node.args, change), [])
            case ast.Name(name):
                letter, _, index = name.partition("_")
                return known.get(name) or (Symbol(letter, index) if index else Symbol(letter))
        return None

    result: ast.expr = _rewritten(ast.parse(text, mode="eval").body, change)
    return result


def _number(node: ast.AST) -> ast.AST | None:
    """The number that a quantity stands for."""
    return ast.Constant(node.value) if isinstance(node, Symbol | Derivative) else None


@dataclass(frozen=True)
class Equation:
    """``left`` = ``right`` = the same in numbers = the number that ``left`` stands for; as a rule, without numbers."""

    left: Quantity
    right: ast.expr | None = None
    is_rule: bool = False

    def sides(self, notation: Notation) -> list[str]:
        """What stands left and right of the signs of equality; equal neighbours once."""
        written = [notation(self.left)] + ([] if self.right is None else [notation(self.right)])
        if self.is_rule:
            return written
        if self.right is not None:
            written.append(notation(_rewritten(self.right, _number)))
        written.append(notation(ast.Constant(self.left.value)))
        return [side for place, side in enumerate(written) if not place or side != written[place - 1]]


# ----------------------------------------------------------------------------------------------------------- notations

CHOICE, SUM, PRODUCT, SIGN, POWER = range(5)  # what binds how strongly
_STRENGTH = {ast.Add: SUM, ast.Sub: SUM, ast.Mult: PRODUCT, ast.Div: PRODUCT, ast.Pow: POWER}
_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "=", ast.NotEq: "!="}
_LOGIC = {ast.BitAnd: "and", ast.BitOr: "or", ast.And: "and", ast.Or: "or"}


class Notation(ABC):
    """Writes expressions; how each thing looks is a subclass's."""

    def __call__(self, node: ast.AST, around: int = 0, digits: int = 5) -> str:
        """Write an expression that stands within something that binds as strongly as ``around``."""
        if isinstance(node, Symbol):
            return self.symbol(node)
        if isinstance(node, Derivative):
            return self.derivative(node)
        if isinstance(node, Sum):
            return self.sum(node)
        if isinstance(node, ast.Constant):
            return self._constant(node.value, around, digits)
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            return self.call(name, [self(item) for item in node.args])
        if isinstance(node, ast.UnaryOp):
            return self._within(self.minus(self(node.operand, PRODUCT)), SIGN, around)
        if isinstance(node, ast.IfExp):
            return self._within(self.cases(self(node.body, SUM), self(node.test, SUM), self(node.orelse)), CHOICE, around)
        if isinstance(node, ast.Compare):
            return self.compare(self(node.left, SUM), _SIGNS[type(node.ops[0])], self(node.comparators[0], SUM))
        if isinstance(node, ast.BoolOp):
            return f" {self.word(_LOGIC[type(node.op)])} ".join(map(self, node.values))
        if isinstance(node, ast.BinOp):
            return self._binary(node, around)
        return self.word(ast.unparse(node))

    def _constant(self, value: Any, around: int, digits: int) -> str:
        if value is ...:
            return self.dots
        text = self.number(f"{float(value):.{digits}g}")
        return self.parentheses(text) if value < 0 and around else text

    def _binary(self, node: ast.BinOp, around: int) -> str:
        kind = type(node.op)
        if kind in _LOGIC:
            return f"{self(node.left)} {self.word(_LOGIC[kind])} {self(node.right)}"
        strength = _STRENGTH[kind]
        if kind is ast.Pow:
            return self.power(self(node.left, POWER + 1), self(node.right))
        if kind is ast.Div:
            return self.fraction(node, around)
        left, right = self(node.left, strength), self(node.right, strength + (kind is not ast.Add))
        if isinstance(node.right, ast.UnaryOp):
            right = self.parentheses(right)
        written = self.times(left, right) if kind is ast.Mult else self.compare(left, _SIGNS[kind], right)
        return self._within(written, strength, around)

    def _within(self, text: str, strength: int, around: int) -> str:
        return self.parentheses(text) if strength < around else text

    dots: str

    @abstractmethod
    def symbol(self, symbol: Symbol) -> str: ...
    @abstractmethod
    def derivative(self, derivative: Derivative) -> str: ...
    @abstractmethod
    def sum(self, node: Sum) -> str: ...
    @abstractmethod
    def number(self, text: str) -> str: ...
    @abstractmethod
    def word(self, text: str) -> str: ...
    @abstractmethod
    def call(self, name: str, arguments: Sequence[str]) -> str: ...
    @abstractmethod
    def minus(self, text: str) -> str: ...
    @abstractmethod
    def times(self, left: str, right: str) -> str: ...
    @abstractmethod
    def fraction(self, node: ast.BinOp, around: int) -> str: ...
    @abstractmethod
    def power(self, base: str, exponent: str) -> str: ...
    @abstractmethod
    def compare(self, left: str, sign: str, right: str) -> str: ...
    @abstractmethod
    def cases(self, value: str, test: str, otherwise: str) -> str: ...
    @abstractmethod
    def parentheses(self, text: str) -> str: ...


def _index(symbol: Symbol, word: Callable[[str], str] = str) -> str:
    """Indices one after the other, with commas where one has two digits or is a name."""
    parts = [word(item) if isinstance(item, Name) else str(item) for item in symbol.index]
    apart = any(isinstance(item, Name) or len(str(item)) > 1 for item in symbol.index)
    return ("," if apart else "").join(parts)


class _Text(Notation):
    dots = "..."

    def symbol(self, symbol: Symbol) -> str:
        index = f"_{_index(symbol)}" if symbol.index else ""
        return f"{symbol.letter}{index}" + (f"({symbol.layer})" if symbol.layer is not None else "")

    def derivative(self, derivative: Derivative) -> str:
        return f"d{self.symbol(derivative.upper)}/d{self.symbol(derivative.lower)}"

    def sum(self, node: Sum) -> str:
        return f"sum_{node.index}({self(node.term)})"

    def number(self, text: str) -> str:
        return text

    def word(self, text: str) -> str:
        return text

    def call(self, name: str, arguments: Sequence[str]) -> str:
        return f"{name}({', '.join(arguments)})"

    def minus(self, text: str) -> str:
        return f"-{text}"

    def times(self, left: str, right: str) -> str:
        return f"{left} * {right}"

    def fraction(self, node: ast.BinOp, around: int) -> str:
        return self._within(f"{self(node.left, PRODUCT)} / {self(node.right, PRODUCT + 1)}", PRODUCT, around)

    def power(self, base: str, exponent: str) -> str:
        return f"{base}**{exponent}"

    def compare(self, left: str, sign: str, right: str) -> str:
        return f"{left} {sign} {right}"

    def cases(self, value: str, test: str, otherwise: str) -> str:
        return f"{value} if {test} else {otherwise}"

    def parentheses(self, text: str) -> str:
        return f"({text})"


class _Latex(Notation):
    dots = r"\dots"
    greek = frozenset({"delta"})

    def symbol(self, symbol: Symbol) -> str:
        letter = rf"\{symbol.letter}" if symbol.letter in self.greek else symbol.letter
        letter = letter if len(symbol.letter) == 1 or symbol.letter in self.greek else rf"\mathrm{{{symbol.letter}}}"
        layer = f"^{{({symbol.layer})}}" if symbol.layer is not None else ""
        below = _index(symbol, self.word)
        return letter + (f"_{{{below}}}" if symbol.index else "") + layer

    def derivative(self, derivative: Derivative) -> str:
        return rf"\frac{{\partial {self.symbol(derivative.upper)}}}{{\partial {self.symbol(derivative.lower)}}}"

    def sum(self, node: Sum) -> str:
        return rf"\sum_{node.index} {self(node.term, PRODUCT)}"

    def number(self, text: str) -> str:
        digits, _, exponent = text.partition("e")
        return rf"{digits} \cdot 10^{{{int(exponent)}}}" if exponent else digits

    def word(self, text: str) -> str:
        return rf"\text{{{text}}}".replace("_", r"\_")

    def call(self, name: str, arguments: Sequence[str]) -> str:
        if name == abs.__name__:
            return rf"\left|{arguments[0]}\right|"
        return rf"\operatorname{{{name}}}".replace("_", r"\_") + self.parentheses(", ".join(arguments))

    def minus(self, text: str) -> str:
        return f"-{text}"

    def times(self, left: str, right: str) -> str:
        return rf"{left} \cdot {right}"

    def fraction(self, node: ast.BinOp, around: int) -> str:
        return rf"\frac{{{self(node.left)}}}{{{self(node.right)}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{{{exponent}}}"

    def compare(self, left: str, sign: str, right: str) -> str:
        signs = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne"}
        return f"{left} {signs.get(sign, sign)} {right}"

    def cases(self, value: str, test: str, otherwise: str) -> str:
        return rf"\begin{{cases}} {value} & {test} \\ {otherwise} & \text{{else}} \end{{cases}}"

    def parentheses(self, text: str) -> str:
        return rf"\left({text}\right)"


class _MathML(Notation):
    dots = "<mo>…</mo>"

    def symbol(self, symbol: Symbol) -> str:
        letter = f"<mi>{'δ' if symbol.letter == 'delta' else html.escape(symbol.letter)}</mi>"
        below = f"<mn>{html.escape(_index(symbol))}</mn>"
        above = "" if symbol.layer is None else f"<mrow><mo>(</mo><mn>{symbol.layer}</mn><mo>)</mo></mrow>"
        if symbol.index:
            return f"<msubsup>{letter}{below}{above}</msubsup>" if above else f"<msub>{letter}{below}</msub>"
        return f"<msup>{letter}{above}</msup>" if above else letter

    def derivative(self, derivative: Derivative) -> str:
        upper, lower = (f"<mrow><mi>∂</mi>{self.symbol(item)}</mrow>" for item in (derivative.upper, derivative.lower))
        return f"<mfrac>{upper}{lower}</mfrac>"

    def sum(self, node: Sum) -> str:
        return f"<munder><mo>∑</mo><mi>{node.index}</mi></munder>{self(node.term, PRODUCT)}"

    def number(self, text: str) -> str:
        digits, _, exponent = text.partition("e")
        written = f"<mn>{digits.replace('-', '&minus;')}</mn>"
        return f"{written}<mo>·</mo><msup><mn>10</mn><mn>{int(exponent)}</mn></msup>" if exponent else written

    def word(self, text: str) -> str:
        return f"<mtext>{html.escape(text)}</mtext>"

    def call(self, name: str, arguments: Sequence[str]) -> str:
        return f"<mi>{html.escape(name)}</mi>{self.parentheses('<mo>,</mo>'.join(arguments))}"

    def minus(self, text: str) -> str:
        return f"<mo>&minus;</mo>{text}"

    def times(self, left: str, right: str) -> str:
        return f"{left}<mo>·</mo>{right}"

    def fraction(self, node: ast.BinOp, around: int) -> str:
        return f"<mfrac><mrow>{self(node.left)}</mrow><mrow>{self(node.right)}</mrow></mfrac>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup><mrow>{base}</mrow><mrow>{exponent}</mrow></msup>"

    def compare(self, left: str, sign: str, right: str) -> str:
        return f"{left}<mo>{html.escape(sign).replace('-', '&minus;')}</mo>{right}"

    def cases(self, value: str, test: str, otherwise: str) -> str:
        rows = "".join(f"<mtr><mtd>{item}</mtd><mtd>{when}</mtd></mtr>" for item, when in
                       ((value, test), (otherwise, "<mtext>else</mtext>")))  # fmt: skip
        return f"<mrow><mo>{{</mo><mtable>{rows}</mtable></mrow>"

    def parentheses(self, text: str) -> str:
        return f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"


TEXT, LATEX, MATHML = _Text(), _Latex(), _MathML()
