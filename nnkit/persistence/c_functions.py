"""C functions: from Python functions of single numbers, and from the texts that layers give, with all that these name."""

from __future__ import annotations

import ast
import builtins
import math
import re
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from typing import Any, NamedTuple

import numpy as np

from nnkit.core.part import Shape, first_line, kernel_names
from nnkit.engine.source import definition, described
from nnkit.errors import KernelError
from nnkit.persistence.c_names import KEYWORDS, LIBRARY, MACROS, taken

__all__ = ["ArrayFunction", "Functions", "Given", "Number", "comment", "constant_text", "literal", "typed"]

Number = bool | int | float
Given = Number | tuple[Number, ...]  # what a name stands for that is no argument and no variable

# Names in Python that differ from C's.
RENAMED = {
    "abs": "fabs", "absolute": "fabs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "gamma": "tgamma", "power": "pow",
}  # fmt: skip
MOST = 2**31 - 1  # numbers of an array
LINE = 110  # characters, roughly

COMMENT = re.compile(r"(/\*.*?\*/)", re.S)
IDENTIFIER = re.compile(r"\b[A-Za-z_]\w*\b(?!\s*\()")
CALL = re.compile(r"\b([A-Za-z_]\w*)(?=\s*\()")
REAL_LITERAL = re.compile(r"(?<![\w.])(?:\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+)(?![\w.])")
LIBRARY_CALL = re.compile(rf"\b({'|'.join(sorted(LIBRARY))})(?=\()")
FUNCTION = re.compile(r"\s*void \w+\((.*?)\)\s*\{\n(.*)\}\s*", re.S)
ARGUMENT = re.compile(r"\s*((?:const )?(?:real|int64_t)) (\w+)((?:\[\w+\])+)\s*")


def comment(text: str) -> str:
    """A text as it may stand in a comment."""
    plain = text.encode("ascii", "backslashreplace").decode()
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


def typed(text: str, dtype: str) -> str:
    """C in which ``real`` is the dtype: float32 has literals and library functions of its own."""
    pieces = COMMENT.split(text)
    for index in range(0, len(pieces), 2):  # the others are comments
        piece = pieces[index]
        if dtype == "float32":
            piece = LIBRARY_CALL.sub(r"\1f", REAL_LITERAL.sub(r"\g<0>f", piece))
        pieces[index] = re.sub(r"\breal\b", "float" if dtype == "float32" else "double", piece)
    return "".join(pieces)


def literal(value: Number, dtype: str) -> str:
    """A number in C, which reads back as the same one."""
    if isinstance(value, bool | int):
        return str(int(value))
    if math.isfinite(value):
        return str(np.dtype(dtype).type(value))
    return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"


def is_whole(value: Given) -> bool:
    """Whether a number is C's int, or all of several are."""
    return all(isinstance(item, bool | int) for item in (value if isinstance(value, tuple) else (value,)))


def constant_text(name: str, value: Given, dtype: str) -> str:
    """The declaration of a number, or of an array of them."""
    kind = "int" if is_whole(value) else "real"
    if isinstance(value, tuple):
        numbers = ", ".join(literal(item, dtype) for item in value)
        return f"    static const {kind} {name}[] = {{{numbers}}};\n"
    return f"    const {kind} {name} = {literal(value, dtype)};\n"


class Argument(NamedTuple):
    """An array as a C function sees it."""

    kind: str  # "const real"
    shape: Shape

    @property
    def size(self) -> int:
        """How many numbers it has; 0 if it is absent."""
        return math.prod(self.shape)

    def declared(self, name: str, restrict: bool) -> str:
        """As it stands in the function's head; ``restrict`` if it is written."""
        limits = [str(size) for size in self.shape] if self.size else [""]
        if restrict and not self.kind.startswith("const"):
            limits[0] = f"restrict {limits[0]}"
        return f"{self.kind} {name}" + "".join(f"[{limit}]" for limit in limits)

    def cast(self, pointer: str) -> str:
        """A pointer to numbers as one to such an array."""
        rows = "".join(f"[{size}]" for size in self.shape[1:])
        return f"({self.kind} (*){rows}){pointer if pointer.isidentifier() else f'({pointer})'}" if rows else pointer


class ArrayFunction(NamedTuple):
    """A C function on arrays."""

    name: str
    arguments: dict[str, Argument]


class Functions:
    """The functions of a C file, each once, behind those that it calls.

    Parameters
    ----------
    dtype : "float32" or "float64"
    used : names that the file has for something else
    """

    def __init__(self, dtype: str, used: Sequence[str] = ()) -> None:
        self.dtype = dtype
        self.texts: list[str] = []
        self._taken = set(used)
        self._names: dict[str, str] = {}  # of functions, by what they are without it
        self._scalars: dict[tuple[Any, ...], str] = {}
        self._beginning: list[Callable[..., Any]] = []  # of these the translation has begun

    def add(self, stem: str, text: str, said: str = "") -> str:
        """Add a function, of which ``text`` is all but the name, for which $ stands; return its name."""
        text = typed(text, self.dtype)
        if text not in self._names:
            stem = "function" if taken(stem) else stem
            numbered = (f"{stem}_{number}" for number in count(2))
            name = next(name for name in chain([stem], numbered) if name not in self._taken)
            self._taken.add(name)
            self._names[text] = name
            said = f"/* {comment(said)} */\n" if said else ""
            self.texts.append(f"{said}static {text.replace('$', name)}\n")
        return self._names[text]

    def scalar(self, function: Callable[..., Any], numbers: Mapping[str, Given] | None = None, stem: str = "") -> str:
        """The C function, or the one of C's library, that does what a Python function of single numbers does.

        Parameters
        ----------
        function : of numbers, giving a number; it may assign names, decide, and call others of its kind
        numbers : arguments that are constants: numbers, and tuples of them
        stem : what it shall be called; the function's own name by default

        Raises
        ------
        KernelError
            It does something else.
        """
        bound = {name: value for name, value in (numbers or {}).items() if name in kernel_names(function)}
        key = (function, *sorted(bound.items()))
        if key not in self._scalars:
            if function in self._beginning:
                raise KernelError(f"{described(function)}: calls itself, which cannot be written in C")
            self._beginning.append(function)
            self._scalars[key] = _Translator(self, function, bound).name(stem or function.__name__.strip("_"))
            self._beginning.pop()
        return self._scalars[key]

    def array(
        self,
        stem: str,
        text: str,
        shapes: Mapping[str, Shape],
        number: Callable[[str], Given | None],
        function: Callable[[str], str | None] = lambda name: None,
        *,
        restrict: bool = False,
        said: str = "",
    ) -> ArrayFunction:
        """A function from a text in C, ``void forward(const real x[N][I], ..., real out[N][J]) {...}``, with what it names.

        Parameters
        ----------
        stem : what it shall be called
        text : see `Layer.c`
        shapes : of what it may name as arguments; an array of size zero is absent
        number : what a name stands for that is no argument, no size and no variable, perhaps an array of numbers; None where it
            stands for nothing
        function : the C function of a name that is called; None where it stays as it is
        restrict : say that ``out`` shares no memory with the others
        said : a comment
        """
        parts = FUNCTION.fullmatch(textwrap.dedent(text))
        if parts is None:
            raise KernelError(f"c: expected one C function, void forward(...) {{...}}, got {text.strip()[:60]!r}")
        arguments, sizes = _arguments(parts[1], shapes)
        bare = COMMENT.sub("", parts[2])
        constants = _constants(set(IDENTIFIER.findall(bare)) - set(arguments), sizes, number, self.dtype)
        called = {name: function(name) for name in set(CALL.findall(bare)) - KEYWORDS - LIBRARY}
        body = CALL.sub(lambda found: called.get(found[1]) or found[1], parts[2])
        declared = [argument.declared(name, restrict) for name, argument in arguments.items()]
        head = f"void $({', '.join(declared)})"
        if len(head) > LINE:
            head = "void $(\n    " + ",\n    ".join(declared) + ")"
        return ArrayFunction(self.add(stem, f"{head}\n{{\n{constants}{body}}}", said), arguments)


def _arguments(text: str, shapes: Mapping[str, Shape]) -> tuple[dict[str, Argument], dict[str, int]]:
    """The arguments of a text by name, and the sizes that it has named."""
    arguments: dict[str, Argument] = {}
    sizes: dict[str, int] = {}
    for item in map(str.strip, text.split(",")):
        found = ARGUMENT.fullmatch(item)
        if found is None or found[2] not in shapes:
            known = ", ".join(shapes)
            raise KernelError(f"c: expected arguments such as const real x[N], named {known}; got {item!r}")
        kind, name, brackets = found.groups()
        axes = re.findall(r"\w+", brackets)
        argument = arguments[name] = Argument(kind, _folded(shapes[name], len(axes)))
        if argument.size > MOST:
            raise KernelError(f"c: expected at most {MOST} numbers in {name}, which an int counts, got {argument.size}")
        for axis, size in zip(axes, argument.shape, strict=True) if argument.size else ():
            if sizes.setdefault(axis, size) != size:
                raise KernelError(f"c: expected equal sizes {axis}, got {sizes[axis]} and, in {item}, {size}")
    return arguments, sizes


def _constants(words: set[str], sizes: Mapping[str, int], number: Callable[[str], Given | None], dtype: str) -> str:
    """Declarations of the sizes and numbers among some words."""
    found = {word: sizes[word] if word in sizes else number(word) for word in sorted(words)}
    whole = [f"{word} = {int(value)}" for word, value in found.items() if isinstance(value, bool | int)]
    lines = textwrap.wrap(", ".join(whole), LINE - len("    enum { "))
    listed = "    enum { " + "\n           ".join(lines) + " };\n" if whole else ""
    return listed + "".join(constant_text(word, value, dtype)
                            for word, value in found.items() if isinstance(value, float | tuple))  # fmt: skip


def _folded(shape: Shape, axes: int) -> Shape:
    """A shape of so many axes: leading ones are one."""
    return (math.prod(shape[: len(shape) - axes + 1]), *shape[len(shape) - axes + 1 :]) if axes > 1 else (math.prod(shape),)


# ------------------------------------------------------------------------------------------- what Python has and C has not


def larger(a, b):  # type: ignore[no-untyped-def]
    """Python's max."""
    return b if b > a else a


def smaller(a, b):  # type: ignore[no-untyped-def]
    """Python's min."""
    return b if b < a else a


def maximum(a, b):  # type: ignore[no-untyped-def]
    """NumPy's: NaN if one of them is."""
    return a if (a > b) | (a != a) else b


def minimum(a, b):  # type: ignore[no-untyped-def]
    """NumPy's: NaN if one of them is."""
    return a if (a < b) | (a != a) else b


def sign(x):  # type: ignore[no-untyped-def]
    """NumPy's: NaN stays."""
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else x


SPELT_OUT: dict[Any, Callable[..., Any]] = {
    max: larger, min: smaller, np.maximum: maximum, np.minimum: minimum, np.sign: sign,
}  # fmt: skip


CASTS: dict[type, tuple[str, str]] = {
    float: ("real", "real"), np.float32: ("float", "real"), np.float64: ("double", "real"), int: ("int", "int"),
}  # fmt: skip
TYPES = {"real": "real", "int": "int", "bool": "int"}


class _C(NamedTuple):
    """An expression in C."""

    text: str
    level: int  # how strongly it binds, see below
    kind: str = "real"  # "int" or "bool": C's int, which divides otherwise

    def within(self, level: int) -> str:
        """As a part of an expression that binds so strongly."""
        return self.text if self.level >= level else f"({self.text})"


CHOICE, OR, AND, COMPARISON, SUM, PRODUCT, SIGN, ATOM = range(1, 9)

ARITHMETIC: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: ("+", SUM), ast.Sub: ("-", SUM), ast.Mult: ("*", PRODUCT), ast.Div: ("/", PRODUCT),
}  # fmt: skip
LOGICAL: dict[type[ast.AST], tuple[str, int]] = {
    ast.And: ("&&", AND), ast.Or: ("||", OR), ast.BitAnd: ("&&", AND), ast.BitOr: ("||", OR),
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def _assigned_names(node: ast.AST) -> list[str]:
    """The variables that are set within, as often as they are."""
    return [item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)]


class _Translator:
    """One Python function of numbers, on its way to C."""

    def __init__(self, functions: Functions, function: Callable[..., Any], numbers: Mapping[str, Given]) -> None:
        self.functions = functions
        self.function = function
        self.numbers = dict(numbers)  # and tuples that it names
        self.tree = definition(function)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        self.globals = {**vars(builtins), **function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
        self.free = [name for name in kernel_names(function) if name not in numbers]
        self.kinds = dict.fromkeys(self.free, "real")  # of variables
        assigned = _assigned_names(self.tree)
        outside = [name for item in self.tree.body if isinstance(item, ast.Assign) for name in _assigned_names(item)]
        self.constant = {name for name in outside if assigned.count(name) == 1}  # these are declared where they are set
        for name in {*kernel_names(function), *assigned}:
            if name in KEYWORDS | MACROS or not name.isascii():
                raise KernelError(f"{described(function)}: the name {name!r} cannot be written in C; choose another one")

    def name(self, stem: str) -> str:
        """The name of the C function."""
        return self._same_as() or self.functions.add(stem, self._text(), first_line(self.function))

    def _same_as(self) -> str | None:
        """The function that this one calls with its own arguments, and that is all."""
        match self.tree.body:
            case [ast.Return(ast.Call(func, arguments, []))]:
                names = [argument.id for argument in arguments if isinstance(argument, ast.Name)]
                same = names == self.free and len(names) == len(arguments)
                return self._callee(func, len(names)) if same and names else None
        return None

    def _text(self) -> str:
        before: dict[str, str] = {}
        while before != self.kinds:  # until it is known which variables are integers
            before = dict(self.kinds)
            body = "".join(f"    {line}\n" for line in self._block(self.tree.body))
        variables = {name: kind for name, kind in self.kinds.items() if name not in self.constant.union(self.free)}
        head = "".join(constant_text(name, value, self.functions.dtype)
                       for name, value in self.numbers.items() if re.search(rf"\b{name}\b", body))  # fmt: skip
        head += "".join(f"    {TYPES[kind]} {name};\n" for name, kind in variables.items())
        arguments = ", ".join(f"real {name}" for name in self.free) or "void"
        return f"real $({arguments})\n{{\n{head}{body}}}"

    def refuse(self, node: ast.AST, why: str = "") -> KernelError:
        """The error for what C, or this translation, has not."""
        return KernelError(
            f"{described(self.function)}: `{ast.unparse(node)[:80]}` cannot be written in C{why}; expected a function of "
            "numbers that computes, compares, decides, and calls functions of math, numpy and nnkit.kernels.math; else "
            "give its layer a method c"
        )

    # ------------------------------------------------------------------------------------------------------ statements

    def _block(self, body: Sequence[ast.stmt]) -> list[str]:
        lines: list[str] = []
        for position, statement in enumerate(body):
            match statement:
                case ast.Pass():
                    pass
                case ast.Return(ast.expr() as value):
                    lines.append(f"return {self._expression(value).text};")
                case ast.Assign([ast.Name(name)], value):
                    lines.append(self._assigned(name, value))
                case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)) if len(targets) == len(values):
                    names = {target.id for target in targets if isinstance(target, ast.Name)}
                    read = {node.id for value in values for node in ast.walk(value) if isinstance(node, ast.Name)}
                    if len(names) < len(targets) or names & read:
                        raise self.refuse(statement)
                    pairs = zip(targets, values, strict=True)
                    lines += [self._assigned(target.id, value) for target, value in pairs if isinstance(target, ast.Name)]
                case ast.Assign([ast.Tuple(targets)], ast.Name() as several) if len(self._several(several)) == len(targets):
                    for place, target in enumerate(targets):
                        if not isinstance(target, ast.Name):
                            raise self.refuse(statement)
                        lines.append(self._assigned(target.id, ast.Subscript(several, ast.Constant(place), ast.Load())))
                case ast.AugAssign(ast.Name(name) as target, operator, value):
                    lines.append(self._assigned(name, ast.BinOp(ast.Name(target.id, ast.Load()), operator, value)))
                case ast.If(test, then, other):
                    known = self._known(test)
                    if known is None:
                        lines.append(f"if ({self._expression(test).text}) {{")
                        lines += [f"    {line}" for line in self._block(then)]
                        if other:
                            lines += ["} else {", *(f"    {line}" for line in self._block(other))]
                        lines.append("}")
                    else:
                        chosen = then if known else other
                        lines += self._block(chosen)
                        if any(isinstance(item, ast.Return) for item in chosen):
                            return lines  # what follows is never reached
                case _:
                    raise self.refuse(statement)
            if isinstance(statement, ast.Return) and position < len(body) - 1:
                break
        return lines

    def _assigned(self, name: str, value: ast.expr) -> str:
        written = self._expression(value)
        if name in self.numbers:
            raise self.refuse(value, f" (it changes {name})")
        if self.kinds.get(name, written.kind) != written.kind:
            self.kinds[name] = "real"
        self.kinds.setdefault(name, written.kind)
        declared = f"const {TYPES[self.kinds[name]]} " if name in self.constant else ""
        return f"{declared}{name} = {written.text};"

    # ----------------------------------------------------------------------------------------------------- expressions

    def _known(self, node: ast.expr) -> bool | None:
        """Which way a condition goes that is made of constants only; None for others."""
        names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
        if any(isinstance(item, ast.Call | ast.Attribute) for item in ast.walk(node)) or not names <= set(self.numbers):
            return None
        return bool(eval(compile(ast.Expression(node), "condition", "eval"), {"__builtins__": {}}, dict(self.numbers)))

    def _expression(self, node: ast.expr) -> _C:
        match node:
            case ast.Constant(bool() | int() | float() as value):
                return self._number(value)
            case ast.Name(name) if name in self.kinds:
                return _C(name, ATOM, self.kinds[name])
            case ast.Name(name) if isinstance(self.numbers.get(name), bool | int | float):
                return _C(name, ATOM, "int" if is_whole(self.numbers[name]) else "real")
            case ast.Subscript(ast.Name(name) as several, index) if self._several(several):
                return self._item(node, name, index)
            case ast.Call(ast.Name("len"), [ast.Name() as several], []) if self._several(several):
                return self._number(len(self._several(several)))
            case ast.Name() | ast.Attribute():
                value = self._value(node)
                if isinstance(value, np.generic):
                    value = value.item()
                if isinstance(value, bool | int | float):
                    return self._number(value)
            case ast.UnaryOp(ast.USub() | ast.UAdd() as operator, operand):
                inner = self._expression(operand)
                return _C(f"{'-' if isinstance(operator, ast.USub) else '+'}{inner.within(ATOM)}", SIGN, inner.kind)
            case ast.UnaryOp(ast.Not(), operand):
                return _C(f"!{self._expression(operand).within(ATOM)}", SIGN, "bool")
            case ast.BoolOp(operator, values):
                return self._logical(operator, [self._expression(value) for value in values])
            case ast.BinOp(left, ast.BitAnd() | ast.BitOr() as operator, right):
                sides = [self._expression(left), self._expression(right)]
                if all(side.kind == "bool" for side in sides):
                    return self._logical(operator, sides)
            case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
                return self._arithmetic(operator, self._expression(left), self._expression(right))
            case ast.BinOp(left, ast.Pow(), right):
                return _C(f"pow({self._expression(left).text}, {self._expression(right).text})", ATOM)
            case ast.Compare(left, operators, rights) if all(type(operator) in COMPARISONS for operator in operators):
                return self._comparison(operators, [self._expression(item) for item in (left, *rights)])
            case ast.IfExp(test, then, other):
                return self._choice(test, then, other)
            case ast.Call(func, arguments, []):
                return self._call(node, func, arguments)
        raise self.refuse(node)

    def _several(self, node: ast.Name) -> tuple[Number, ...]:
        """The numbers of a tuple, a constant array from now on; none where a name stands for something else."""
        value = self.numbers.get(node.id, self._value(node))
        if not (isinstance(value, tuple) and all(isinstance(item, bool | int | float) for item in value)):
            return ()
        if node.id in KEYWORDS | MACROS:
            raise self.refuse(node, f" (the name {node.id!r} means something else there)")
        self.numbers[node.id] = value
        return value

    def _item(self, node: ast.expr, name: str, index: ast.expr) -> _C:
        """One of a tuple's numbers. Python counts from the end, too, C does not."""
        value = self.numbers[name]
        assert isinstance(value, tuple)
        place, kind = self._expression(index), "int" if is_whole(value) else "real"
        if place.kind == "real":
            raise self.refuse(node)
        if re.fullmatch(r"-?\d+", place.text):
            if not -len(value) <= int(place.text) < len(value):
                raise self.refuse(node, f" ({name} has {len(value)} numbers)")
            return _C(f"{name}[{int(place.text) % len(value)}]", ATOM, kind)
        return _C(f"{name}[{place.text}]", ATOM, kind)

    def _number(self, value: Number) -> _C:
        kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "real"
        return _C(literal(value, self.functions.dtype), SIGN if value < 0 else ATOM, kind)

    def _logical(self, operator: ast.AST, sides: Sequence[_C]) -> _C:
        word, level = LOGICAL[type(operator)]
        return _C(f" {word} ".join(side.within(COMPARISON) for side in sides), level, "bool")

    def _arithmetic(self, operator: ast.operator, left: _C, right: _C) -> _C:
        word, level = ARITHMETIC[type(operator)]
        whole = left.kind != "real" and right.kind != "real"
        before = left.within(level)
        if whole and isinstance(operator, ast.Div):  # Python's / gives fractions
            return _C(f"(real){left.within(ATOM)} / {right.within(ATOM)}", level)
        return _C(f"{before} {word} {right.within(level + 1)}", level, "int" if whole else "real")

    def _comparison(self, operators: Sequence[ast.cmpop], sides: Sequence[_C]) -> _C:
        pairs = zip(operators, sides, sides[1:], strict=False)
        single = [_C(f"{a.within(SUM)} {COMPARISONS[type(operator)]} {b.within(SUM)}", COMPARISON, "bool")
                  for operator, a, b in pairs]  # fmt: skip
        return single[0] if len(single) == 1 else self._logical(ast.And(), single)

    def _choice(self, test: ast.expr, then: ast.expr, other: ast.expr) -> _C:
        known = self._known(test)
        if known is not None:
            return self._expression(then if known else other)
        condition, yes, no = (self._expression(item) for item in (test, then, other))
        kind = yes.kind if yes.kind == no.kind else "real" if "real" in (yes.kind, no.kind) else "int"
        return _C(f"{condition.within(OR)} ? {yes.within(OR)} : {no.within(CHOICE)}", CHOICE, kind)

    def _call(self, node: ast.Call, func: ast.expr, arguments: Sequence[ast.expr]) -> _C:
        value = self._value(func)
        if isinstance(value, type) and value in CASTS and len(arguments) == 1:
            cast, kind = CASTS[value]
            return _C(f"({cast}){self._expression(arguments[0]).within(ATOM)}", SIGN, kind)
        name = self._callee(func, len(arguments))
        if name is None:
            raise self.refuse(node)
        return _C(f"{name}({', '.join(self._expression(argument).text for argument in arguments)})", ATOM)

    def _callee(self, func: ast.expr, count: int) -> str | None:
        """The C function of what is called with so many arguments."""
        value = self._value(func)
        try:
            value = SPELT_OUT.get(value, value)
        except TypeError:  # cannot be looked up, so it is no function
            return None
        name = getattr(value, "__name__", "")
        name = RENAMED.get(name, name)
        if name in LIBRARY and (isinstance(value, np.ufunc) or getattr(value, "__module__", "") in ("math", "builtins")):
            return name
        plain = isinstance(value, types.FunctionType) and len(kernel_names(value)) == count
        return self.functions.scalar(value) if plain else None

    def _value(self, node: ast.expr) -> Any:
        """What a name such as ``np.exp`` stands for; None where it stands for nothing."""
        match node:
            case ast.Name(name) if name not in self.kinds:
                return self.globals.get(name)
            case ast.Attribute(inner, name):
                return getattr(self._value(inner), name, None)
        return None


