"""JavaScript functions: from the kernels of activations and losses, with all that these call."""

from __future__ import annotations

import ast
import builtins
import json
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any

import numpy as np

from nnkit.core.part import kernel_names
from nnkit.engine.source import definition, described
from nnkit.errors import KernelError
from nnkit.kernels.math import real

__all__ = ["JavaScript", "constant"]

# Names of functions of math, NumPy and Python, by those that JavaScript's Math has. Its max and min keep NaN, as NumPy's.
MATH = {
    **{name: name for name in ("sqrt", "cbrt", "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin",
                               "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "hypot", "floor",
                               "ceil", "trunc", "sign", "pow", "fabs")},
    "fabs": "abs", "abs": "abs", "absolute": "abs", "power": "pow", "maximum": "max", "minimum": "min", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
}  # fmt: skip
CASTS: dict[Any, str] = {float: "Number", np.float64: "Number", real: "Number", int: "Math.trunc", bool: "Boolean"}

RESERVED = frozenset(
    "arguments async await break case catch class const continue debugger default delete do else enum eval export extends "
    "false finally for function if implements import in instanceof interface let new null of package private protected public "
    "return static super switch this throw true try typeof undefined var void while with yield Math Number Boolean "
    "Infinity NaN".split()
)

OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.BitAnd: "&", ast.BitOr: "|",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!==", ast.Is: "===", ast.IsNot: "!==",
    ast.And: "&&", ast.Or: "||", ast.USub: "-", ast.UAdd: "+", ast.Not: "!",
}  # fmt: skip


# What Python and its libraries have and JavaScript has not.


def larger(a, b):  # type: ignore[no-untyped-def]
    """Python's max."""
    return b if b > a else a


def smaller(a, b):  # type: ignore[no-untyped-def]
    """Python's min."""
    return b if b < a else a


def error_function(x):  # type: ignore[no-untyped-def]
    """erf(x), to about 1e-15: the series of Abramowitz and Stegun 7.1.6 up to 3, beyond it their continued fraction 7.1.14."""
    size = abs(x)
    if size < 3.0:
        term, total = x, x
        for n in range(1, 100):
            term = term * 2.0 * x * x / (2.0 * n + 1.0)
            total += term
        return 2.0 / math.sqrt(math.pi) * math.exp(-x * x) * total
    rest = size
    for n in range(60, 0, -1):
        rest = size + 0.5 * n / rest
    tail = math.exp(-x * x) / (math.sqrt(math.pi) * rest)
    return 1.0 - tail if x > 0.0 else tail - 1.0


SPELT_OUT: dict[Any, Callable[..., Any]] = {max: larger, min: smaller, math.erf: error_function}


class JavaScript:
    """A file of functions, each once, behind those that it calls.

    Examples
    --------
    >>> import nnkit as nn
    >>> file = JavaScript()
    >>> file.function(nn.Sigmoid.backward)
    'backward'
    >>> print(file.text)
    function backward(grad_out, out) {
      return ((grad_out * out) * (1.0 - out));
    }
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}  # by their names
        self._names: dict[tuple[Any, ...], str] = {}
        self._beginning: list[Callable[..., Any]] = []  # of these the translation has begun

    @property
    def text(self) -> str:
        """The file."""
        return "\n".join(self._texts.values())

    @property
    def names(self) -> list[str]:
        """Of its functions."""
        return list(self._texts)

    def function(self, function: Callable[..., Any], numbers: Mapping[str, Any] | None = None, stem: str = "") -> str:
        """The name of the JavaScript function that does what a Python function does.

        Parameters
        ----------
        function : of numbers and arrays, which are arrays of rows there; it may assign, decide, count, and call others
        numbers : arguments that are constants: numbers, None, and sequences of numbers
        stem : what it shall be called; the function's own name by default

        Raises
        ------
        KernelError
            It does something else.
        """
        bound = {name: value for name, value in (numbers or {}).items() if name in kernel_names(function)}
        key = (function, *((name, repr(value)) for name, value in sorted(bound.items())))
        if key not in self._names:
            if function in self._beginning:
                raise KernelError(f"{described(function)}: calls itself, which is not translated to JavaScript")
            self._beginning.append(function)
            try:
                head, body = _Translator(self, function, bound).parts()
            finally:
                self._beginning.pop()
            stem = stem or function.__name__.strip("_")
            names = (name for name in chain([stem], (f"{stem}_{number}" for number in count(2))) if name not in RESERVED)
            self._names[key] = name = next(name for name in names if name not in self._texts)
            self._texts[name] = f"function {name}({head}) {{\n{body}}}"
        return self._names[key]


def constant(value: Any) -> str:
    """A number, None, or several numbers, in JavaScript.

    Raises
    ------
    KernelError
        It is something else.
    """
    if isinstance(value, np.ndarray | tuple | list):
        return f"[{', '.join(map(constant, value))}]"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is not None and not isinstance(value, bool | int | float):
        raise KernelError(f"expected a number, several of them, or None, got {value!r}, which a page does not have")
    return json.dumps(value)


class _Translator:
    """One Python function, on its way to JavaScript."""

    def __init__(self, file: JavaScript, function: Callable[..., Any], numbers: Mapping[str, Any]) -> None:
        self.file, self.function, self.numbers = file, function, numbers
        self.tree = definition(function)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        self.globals = {**vars(builtins), **function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
        self.arguments = [name for name in kernel_names(function) if name not in numbers]
        assigned = [node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        self.variables = sorted({*assigned} - {*self.arguments})
        self.local = {*kernel_names(function), *assigned}

    def parts(self) -> tuple[str, str]:
        """Its arguments, and its body."""
        constants = [f"const {_named(name)} = {constant(value)};" for name, value in self.numbers.items()]
        variables = [f"let {', '.join(map(_named, self.variables))};"] if self.variables else []
        lines = [*constants, *variables, *self._block(self.tree.body)]
        return ", ".join(map(_named, self.arguments)), "".join(f"  {line}\n" for line in lines)

    def refuse(self, node: ast.AST) -> KernelError:
        """The error for what is not translated."""
        return KernelError(f"{described(self.function)}: `{ast.unparse(node)[:80]}` is not translated to JavaScript")

    # ------------------------------------------------------------------------------------------------------ statements

    def _block(self, body: Sequence[ast.stmt]) -> Iterator[str]:
        for statement in body:
            yield from self._statement(statement)

    def _within(self, head: str, body: Sequence[ast.stmt]) -> Iterator[str]:
        yield f"{head} {{"
        yield from (f"  {line}" for line in self._block(body))
        yield "}"

    def _statement(self, node: ast.stmt) -> Iterator[str]:
        match node:
            case ast.Pass():
                pass
            case ast.Return(None):
                yield "return;"
            case ast.Return(ast.expr() as value):
                yield f"return {self(value)};"
            case ast.Assign([target], value):
                yield f"{self._assigned(target, value)};"
            case ast.AugAssign(target, operator, value):
                yield f"{self._target(target)} = {self._two(node, self._target(target), operator, self(value))};"
            case ast.If(test, then, other):
                yield from self._within(f"if ({self(test)})", then)
                yield from self._within("else", other) if other else []
            case ast.While(test, body, []):
                yield from self._within(f"while ({self(test)})", body)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), limits, []), body, []):
                yield from self._within(self._counted(_named(name), [self(limit) for limit in limits]), body)
            case ast.Break():
                yield "break;"
            case ast.Continue():
                yield "continue;"
            case ast.Expr(ast.Call() as call):
                yield f"{self(call)};"
            case _:
                raise self.refuse(node)

    @staticmethod
    def _counted(name: str, limits: Sequence[str]) -> str:
        """The head of a loop; Python's range goes down where its step is negative."""
        begin, end = ("0", *limits) if len(limits) == 1 else limits[:2]
        step = limits[2] if len(limits) == 3 else "1"
        sign = ">" if step.lstrip("(").startswith("-") else "<"
        return f"for ({name} = {begin}; {name} {sign} {end}; {name} += {step})"

    def _assigned(self, target: ast.expr, value: ast.expr) -> str:
        match target, value:
            case ast.Tuple(targets), ast.Tuple(values) if len(targets) == len(values):
                return f"[{', '.join(map(self._target, targets))}] = [{', '.join(map(self, values))}]"
            case ast.Tuple(targets), _:
                return f"[{', '.join(map(self._target, targets))}] = {self(value)}"
            case ast.Subscript(several, ast.Slice(None, None, None)), _:
                return f"{self(several)}.fill({self(value)})"
        return f"{self._target(target)} = {self(value)}"

    def _target(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Name | ast.Subscript):
            raise self.refuse(node)
        return _named(node.id) if isinstance(node, ast.Name) else self(node)

    # ----------------------------------------------------------------------------------------------------- expressions

    def __call__(self, node: ast.expr) -> str:
        """An expression."""
        match node:
            case ast.Constant(bool() | int() | float() | None as value):
                return repr(value) if type(value) is float and math.isfinite(value) else constant(value)
            case ast.Name(name) if name in self.local:
                return _named(name)
            case ast.Subscript(ast.Attribute(array, "shape"), ast.Constant(int() as axis)) if axis >= 0:
                return f"{self(array)}{'[0]' * axis}.length"
            case ast.Subscript(several, ast.Tuple(indices)):
                return self(several) + "".join(f"[{self._index(index)}]" for index in indices)
            case ast.Subscript(several, index):
                return f"{self(several)}[{self._index(index)}]"
            case ast.UnaryOp(operator, operand) if type(operator) in OPERATORS:
                return f"({OPERATORS[type(operator)]}{self(operand)})"
            case ast.BinOp(left, operator, right):
                return self._two(node, self(left), operator, self(right))
            case ast.BoolOp(operator, values):
                return "(" + f" {OPERATORS[type(operator)]} ".join(map(self, values)) + ")"
            case ast.Compare(left, operators, rights) if all(type(operator) in OPERATORS for operator in operators):
                sides = [self(side) for side in (left, *rights)]
                pairs = zip(sides, operators, sides[1:], strict=False)
                return "(" + " && ".join(f"{a} {OPERATORS[type(operator)]} {b}" for a, operator, b in pairs) + ")"
            case ast.IfExp(test, then, other):
                return f"({self(test)} ? {self(then)} : {self(other)})"
            case ast.Call(ast.Name("len"), [several], []):
                return f"{self(several)}.length"
            case ast.Call(func, arguments, []):
                return f"{self._callee(node, func, len(arguments))}({', '.join(map(self, arguments))})"
            case ast.Tuple(items):
                return f"[{', '.join(map(self, items))}]"
            case ast.Name() | ast.Attribute():
                return self._outside(node)
        raise self.refuse(node)

    def _index(self, node: ast.expr) -> str:
        match node:
            case ast.Slice() | ast.UnaryOp(ast.USub(), _):  # JavaScript does not count from the end
                raise self.refuse(node)
        return self(node)

    def _two(self, node: ast.AST, left: str, operator: ast.operator, right: str) -> str:
        match operator:
            case ast.FloorDiv():
                return f"Math.floor({left} / {right})"
            case ast.Mod():
                return f"({left} - Math.floor({left} / {right}) * {right})"
        if type(operator) not in OPERATORS:
            raise self.refuse(node)
        return f"({left} {OPERATORS[type(operator)]} {right})"

    def _outside(self, node: ast.expr) -> str:
        """A number, or several, that a name stands for which is no variable."""
        value = self._value(node)
        several = value if isinstance(value, tuple) else (value,)
        if several and all(isinstance(item, bool | int | float | np.number) for item in several):
            return constant(value)
        raise self.refuse(node)

    def _callee(self, node: ast.Call, func: ast.expr, given: int) -> str:
        value = self._value(func)
        try:
            value = SPELT_OUT.get(value, value)
            if value in CASTS and given == 1:
                return CASTS[value]
        except TypeError:  # cannot be looked up, so it is no function
            raise self.refuse(node) from None
        name = getattr(value, "__name__", "")
        if name in MATH and (isinstance(value, np.ufunc) or getattr(value, "__module__", "") in ("math", "builtins")):
            return f"Math.{MATH[name]}"
        if isinstance(value, types.FunctionType) and len(kernel_names(value)) == given:
            return self.file.function(value)
        raise self.refuse(node)

    def _value(self, node: ast.expr) -> Any:
        """What a name such as ``np.exp`` stands for; None where it stands for nothing."""
        match node:
            case ast.Name(name) if name not in self.local:
                return self.globals.get(name)
            case ast.Attribute(inner, name):
                return getattr(self._value(inner), name, None)
        return None


def _named(name: str) -> str:
    """A variable's name, as it may stand in JavaScript."""
    return f"{name}_" if name in RESERVED else name
