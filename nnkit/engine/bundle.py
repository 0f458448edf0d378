"""A function and all that it names, as the text of one module."""

from __future__ import annotations

import ast
import builtins
import difflib
import math
import operator
import types
from collections.abc import Callable, Collection, Hashable
from enum import Enum
from functools import partial
from typing import Any

import numpy as np

from nnkit.engine import promotion
from nnkit.engine.fingerprint import is_overloaded, of_module, of_value
from nnkit.engine.source import definition, described, placed
from nnkit.errors import KernelError
from nnkit.kernels.math import Compiled

__all__ = ["Bundle"]

_BUILTINS = {"range", "len", "min", "max", "abs", "int", "float", "bool", "round", "enumerate", "zip", "isinstance", "divmod"}
_INSTEAD = {  # of builtins
    "sum": "add up in a loop", "pow": "write x ** y", "any": "write a loop", "all": "write a loop",
    "print": "engine='python' of fit runs it uncompiled, where it prints",
}  # fmt: skip


def _is_error(value: Any) -> bool:
    """Whether a kernel may raise it: that ends the call."""
    return isinstance(value, type) and issubclass(value, Exception)


def _uncompiled(value: Any) -> Any:
    """The function within a helper that is jitted already; anything else as it is."""
    if not hasattr(value, "py_func"):
        return value
    from numba.extending import is_jitted

    return value.py_func if is_jitted(value) else value


def _of_library(value: Any) -> str | None:
    """The full name of a function of NumPy's or of the standard library's, by whatever name it was imported."""
    name = getattr(value, "__name__", "")
    for module in (math, np, np.linalg, operator):
        if getattr(module, name, None) is value:
            return f"{module.__name__}.{name}"
    return None


def _instead(value: Any, name: str) -> str:
    """What to write in place of a global that compiled code cannot have."""
    if isinstance(value, np.ndarray | list):
        return f"declare it in build, self.constant({name!r}, ...), and name it among the kernel's arguments"
    if isinstance(value, Enum):
        return f"write {value!s}.value, or derive {type(value).__name__} from enum.IntEnum"
    if callable(value):
        return "take a plain function (def), one of math, numpy or nnkit.kernels.math, or derive from PythonLayer"
    if isinstance(value, str):
        return "give each of its values a number, such as a member of an enum.IntEnum"
    if isinstance(value, dict | set | frozenset):
        return "write its numbers as a tuple, or each under a name of its own"
    return "name its attributes one by one, or pass it as a hyper-parameter, parameter or state"


def _holds_names(value: Any) -> bool:
    """Whether what stands behind its dots is known before a kernel runs: a module, a class, an object of somebody's class."""
    home = type(value).__module__.partition(".")[0]
    return isinstance(value, types.ModuleType | type) or not (callable(value) or home in ("builtins", "numpy", "numba"))


def _is_still(now: Any, value: Any) -> bool:
    """Whether what stands under a name is what it was; a property may compute the same number again."""
    return now is value or (isinstance(value, int | float) and type(now) is type(value) and repr(now) == repr(value))


class _Rename(ast.NodeTransformer):
    """Give every global that a function names its place in the bundle, and every float literal the kernel's dtype."""

    def __init__(self, bundle: Bundle, function: Callable[..., Any], whole: ast.FunctionDef) -> None:
        self.bundle = bundle
        self.function = function
        self.whole = whole
        code = function.__code__
        self.local = {*code.co_varnames, *code.co_cellvars}
        self.cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        try:
            self._namespace = {**function.__globals__, **{name: cell.cell_contents for name, cell in self.cells.items()}}
        except ValueError:
            raise KernelError(f"{described(function)}: expected all of {', '.join(self.cells)} to be there before the function "
                              "is compiled, got one that is assigned later") from None  # fmt: skip

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """The function itself; Numba would copy one within it into it, and then drop what that writes into arrays."""
        return self.generic_visit(node) if node is self.whole else self._refuse_within(node)

    def _refuse_within(self, node: ast.AST) -> ast.AST:
        outside = "write it outside, and give it what it needs"
        what, instead = {
            ast.FunctionDef: ("function", outside), ast.Lambda: ("lambda", outside)
        }.get(type(node), ("comprehension", "write a loop"))  # fmt: skip
        message = f"{described(self.function)}: expected no {what} within a kernel or what it calls; {instead}"
        raise KernelError(placed(self.function, node, message))

    visit_Lambda = visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _refuse_within

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        """Defaults are the values that the function has, not what their text gives now; `None` stands for no default."""
        defaults, keywords = self.function.__defaults__ or (), self.function.__kwdefaults__ or {}
        node.defaults = [self._default(value) for value in defaults]
        node.kw_defaults = [self._default(keywords[item.arg]) if item.arg in keywords else None for item in node.kwonlyargs]
        return node

    def _default(self, value: Any) -> ast.expr:
        return ast.parse(self.bundle.literal(value, "default", self.function), mode="eval").body

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self.bundle.real(node) if isinstance(node.value, float) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        path = [node.attr]
        inner = node.value
        while isinstance(inner, ast.Attribute):
            path.insert(0, inner.attr)
            inner = inner.value
        root = inner.id if isinstance(inner, ast.Name) else ""
        owner = self._namespace.get(root)
        if root in self.local or root not in self._namespace or not _holds_names(owner):
            self.generic_visit(node)
            return node
        value: Any = owner
        for name in path:
            if not hasattr(value, name):
                near = difflib.get_close_matches(name, dir(value), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                message = f"{described(self.function)}: {root}.{'.'.join(path)} does not exist{hint}"
                raise KernelError(placed(self.function, node, message))
            home, value = value, getattr(value, name)
        if owner in (np, math):
            self.bundle.imports.add(f"import {owner.__name__} as {root}")
            return self.bundle.real(node) if isinstance(value, float) else node
        self.bundle.named.append((partial(getattr, home, node.attr, None), value))
        return self._named(node, node.attr, value)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """An import within: compiled code cannot."""
        line = ast.unparse(node)
        raise KernelError(placed(self.function, node, f"{described(self.function)}: expected imports at the top of the module, "
                                 f"got {line!r} within a kernel; move it there"))  # fmt: skip

    visit_ImportFrom = visit_Import  # type: ignore[assignment]

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.local or not isinstance(node.ctx, ast.Load):
            return node
        if node.id not in self._namespace:
            if node.id in _BUILTINS or _is_error(getattr(builtins, node.id, None)):
                return node
            known = [*self._namespace, *self.local, *_BUILTINS]
            near = difflib.get_close_matches(node.id, known, 1)
            is_builtin = hasattr(builtins, node.id)
            hint = _INSTEAD.get(node.id, "") if is_builtin else f"did you mean {near[0]!r}?" if near else ""
            what = ("a builtin that compiled code does not have" if is_builtin else "unknown") + (hint and f"; {hint}")
            raise KernelError(placed(self.function, node, f"{described(self.function)}: the name {node.id!r} is {what}"))
        value = self._namespace[node.id]
        if isinstance(value, types.ModuleType):
            self.bundle.imports.add(f"import {value.__name__} as {node.id}")
            return node
        cell = self.cells.get(node.id)
        now = partial(self.function.__globals__.get, node.id) if cell is None else partial(getattr, cell, "cell_contents")
        self.bundle.named.append((now, value))
        return self._named(node, node.id, value)

    def _named(self, node: ast.expr, wish: str, value: Any) -> ast.Name:
        """What stands for a value in the bundle."""
        try:
            return ast.Name(self.bundle.place(wish, value, self.function), ast.Load())
        except KernelError as error:
            if "\n" in str(error):  # it says where already
                raise
            raise KernelError(placed(self.function, node, str(error))) from None


class Bundle:
    """Collects a function and all that it names into one module text.

    Attributes
    ----------
    imports, lines : the text
    given : what the text names and Numba compiles itself, by the name that it has there
    named : of every function's parts, global and closure variable, how to look at it, and what was there
    apart : functions that are called by their symbols: module and name
    is_whole : whether the text, with the hashes in it, says everything
    """

    def __init__(self, real: str) -> None:
        self.dtype = real
        self.imports: set[str] = {"import numpy as np"}
        self.lines: list[str] = []
        self.given: dict[str, Any] = {}
        self.named: list[tuple[Callable[[], Any], Any]] = []
        self.apart: set[tuple[str, str]] = set()
        self.is_whole = True
        self.defined: dict[str, tuple[Callable[..., Any], ast.FunctionDef]] = {}  # functions of the text, by their names there
        self._begun: list[Callable[..., Any]] = []  # functions whose definitions are not complete
        self._names: dict[Hashable, str] = {}
        self._gives_strong: dict[str, bool] = {}  # by functions' names in the text: whether they return strong numbers

    def is_current(self) -> bool:
        """Whether everything that was taken in is still what it was."""
        return all((there := now()) is value or _is_still(there, value) for now, value in self.named)

    def real(self, node: ast.expr) -> ast.expr:
        """``node`` in the kernel's dtype: Python's own floats are float64 and would widen float32 arithmetic."""
        if self.dtype == "float64":
            return node
        return ast.Call(ast.parse(f"np.{self.dtype}", mode="eval").body, [node], [])

    def name(self, wish: str, key: Hashable) -> str:
        """A name for the thing known by ``key`` that no kernel has for an argument or a local."""
        self._names[key] = f"_{wish}_{len(self._names)}_"
        return self._names[key]

    def place(self, wish: str, value: Any, user: Callable[..., Any]) -> str:
        """Bring a global of ``user`` into the module and return the name it has there."""
        value = _uncompiled(value)
        value = getattr(value, "variants", {}).get(self.dtype, value)
        if isinstance(value, Compiled):
            if value.apart:
                self.apart.add((value.module, value.apart))
            return self.compiled(value.module, value.name)
        if any(value is function for function in self._begun):
            raise KernelError(f"{described(user)}: expected functions that do not call themselves, be it through others, got "
                              f"{wish}; write a loop")  # fmt: skip
        key: Hashable = id(value) if callable(value) else (wish, repr(value))
        if key in self._names:
            return self._names[key]
        if callable(value) and (library := _of_library(value)) is not None:
            self.imports.add(f"import {library.partition('.')[0]}")
            self.lines.append(f"{self.name(wish, key)} = {library}")
            return self._names[key]
        if type(value).__module__.startswith("numba.") or (isinstance(value, types.FunctionType) and is_overloaded(value)):
            name = self.name(wish, key)
            self._give(value, name)
        elif isinstance(value, types.FunctionType):
            name = self.name(wish, key)
            self.function(value, name)
        elif value is None or isinstance(value, bool | int | float | np.number | tuple):
            name = self.name(wish, key)
            self.lines.append(f"{name} = {self.literal(value, wish, user)}")
        elif isinstance(value, type) and issubclass(value, np.generic):
            name = self.name(wish, key)
            self.lines.append(f"{name} = np.{value.__name__}")
        elif getattr(builtins, wish, None) is value and wish in _BUILTINS:
            return wish
        else:
            what = ", a method" if isinstance(value, types.MethodType) else f" of type {type(value).__name__}"
            raise KernelError(f"{described(user)}: expected its globals to be numbers, tuples of numbers and functions, got "
                              f"{wish}{what}; {_instead(value, wish)}")  # fmt: skip
        return name

    def compiled(self, module: str, wish: str) -> str:
        """Import what is compiled already, under a name that it then has."""
        key = (module, wish)
        if key not in self._names:
            digest, is_whole = of_module(module)
            self.is_whole = self.is_whole and is_whole
            name = self.name(wish, key)
            self.imports.add(f"from {module} import {wish} as {name}  # {digest}")
        return self._names[key]

    def _give(self, value: Any, name: str) -> None:
        """Hand over something that Numba compiles itself."""
        home = str(getattr(value, "__module__", ""))
        digest, is_whole = of_module(home) if home.startswith("nnkit.") else of_value(value)
        self.is_whole = self.is_whole and is_whole
        self.given[name] = value
        self.lines.append(f"# {name}: {home}.{getattr(value, '__qualname__', '')} {digest}")

    def literal(self, value: Any, wish: str, user: Callable[..., Any]) -> str:
        """A constant as source, reals in the kernel's dtype."""
        if isinstance(value, tuple):
            return "(" + "".join(self.literal(item, wish, user) + ", " for item in value) + ")"
        if isinstance(value, np.floating | float) and not isinstance(value, np.float32):
            return f"np.{self.dtype}({float(value)!r})".replace("(inf)", "(np.inf)").replace("(nan)", "(np.nan)")
        if isinstance(value, np.number):
            return f"np.{value.dtype.name}({value.item()!r})"
        if isinstance(value, bool | None):
            return repr(value)
        if isinstance(value, int):
            return repr(int(value))  # of an enumeration, too
        raise KernelError(f"{described(user)}: the constant {wish} holds {type(value).__name__}, expected numbers")

    def definition(self, function: Callable[..., Any]) -> ast.FunctionDef:
        """A function's definition in this module; whatever it calls stands before it."""
        for name in ("__code__", "__defaults__", "__kwdefaults__"):  # notebooks that reload modules set these anew
            self.named.append((partial(getattr, function, name), getattr(function, name)))
        self._begun.append(function)
        try:
            node = definition(function)
            _Rename(self, function, node).visit(node)
        except KernelError as error:
            raise error.with_traceback(None) from None  # the way through the tree says nothing
        finally:
            self._begun.pop()
        return ast.fix_missing_locations(node)

    def function(self, function: Callable[..., Any], name: str, strong: Collection[str] = ()) -> None:
        """Append a function under ``name``, to be called by others; these of its arguments are strong whole numbers."""
        node = self.definition(function)
        node.name = name
        self._gives_strong[name] = self.tell(function, node, strong)
        self.defined[name] = function, node
        self.lines.append("@helper\n" + ast.unparse(node))

    def tell(self, function: Callable[..., Any], node: ast.FunctionDef, strong: Collection[str]) -> bool:
        """Have a definition for float32 tell of its strong whole numbers (see `promotion`); whether it returns one."""
        has_some = strong or promotion.COUNTING.intersection(function.__code__.co_names) or any(self._gives_strong.values())
        if self.dtype != "float32" or not has_some:
            return False
        told = promotion.told(node.body, strong, self._called)
        if told.any and promotion.NAME not in self._names:
            self.lines.append(f"{promotion.NAME} = {self.compiled('nnkit.kernels.promotion', 'strong')}")
            self._names[promotion.NAME] = promotion.NAME
        ast.fix_missing_locations(node)
        return told.gives

    def _called(self, call: ast.Call, strong: Collection[int | str]) -> tuple[str, bool] | None:
        """What to call where arguments, by their places or names, are strong, and whether it gives such a number."""
        if not isinstance(call.func, ast.Name) or call.func.id not in self.defined:
            return None
        function, node = self.defined[call.func.id]
        names = [argument.arg for argument in node.args.args]  # Numba says so where there are too few
        names += [""] * (len(call.args) - len(names))
        given = {names[item] if isinstance(item, int) else item for item in strong}
        if not given:
            return node.name, self._gives_strong[node.name]
        key = ("strong", node.name, *sorted(given))
        if key not in self._names:
            self.function(function, self.name(function.__name__, key), given)
        return self._names[key], self._gives_strong[self._names[key]]
