"""The source of functions: a text is believed only where it is still the text that a function was made of."""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Hashable, Iterator
from functools import reduce
from operator import or_
from tokenize import TokenError
from typing import Any, NamedTuple

from nnkit.errors import KernelError

__all__ = [
    "Place", "definition", "described", "keep", "meaning", "place", "placed", "raised_at", "require_source", "statements",
    "within",
]  # fmt: skip

# The flags of a code object that `from __future__ import ...` sets.
_FUTURE = reduce(or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names))
_ASYNCHRONOUS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_INDENTED = "if True:\n"  # before a text with an indent: without it, texts in several lines within would lose theirs


def described(function: Callable[..., Any]) -> str:
    """A kernel's name for people: ``nnkit.activations.ReLU.forward``."""
    return getattr(function, "described", f"{function.__module__}.{function.__qualname__}")


def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """The function's definition, without decorators, annotations and docstring.

    Raises
    ------
    KernelError : it is no plain function, has no source, or the file is not what it was when the function was made
    """
    text = getattr(function, "source", None)
    if text is None and function.__code__.co_name == "<lambda>":
        raise KernelError(f"{described(function)}: expected a plain function (def), got a lambda; write def, with a return")
    if text is None and function.__code__.co_flags & _ASYNCHRONOUS:
        raise KernelError(f"{described(function)}: expected a plain function (def), got an async def")
    own = text or _text(function)
    node = _parsed(own)
    assert node is not None  # what is generated is a function, and so is what has been found right
    if text is None:
        ast.increment_lineno(node, function.__code__.co_firstlineno - 1 - own[:1].isspace())
    node.decorator_list = []
    node.returns = None
    for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
        argument.annotation = None
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    return node


class Place(NamedTuple):
    """A line of a kernel, as its author sees it."""

    file: str
    line: int
    name: str  # of the function
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"

    def around(self, message: str) -> str:
        """A message that begins with the line and ends with it, as a traceback would."""
        return f'{self}: {message}\n  File "{self.file}", line {self.line}, in {self.name}\n    {self.text}'


def place(function: Callable[..., Any], line: int) -> Place | None:
    """A line of a function's file; None where somebody else has written the function."""
    code = getattr(function, "__code__", None)
    lines = _texts.get(code, "").splitlines() if code is not None else []
    if code is None or not 0 <= line - code.co_firstlineno < len(lines):
        return None
    return Place(code.co_filename, line, code.co_name, lines[line - code.co_firstlineno].strip())


def raised_at(error: BaseException) -> tuple[Place | None, types.TracebackType | None]:
    """The innermost line of somebody else's code that an error comes from, and the traceback that begins and ends there."""
    found, ends = None, None
    entry = error.__traceback__
    while entry is not None:
        code = entry.tb_frame.f_code
        if not str(entry.tb_frame.f_globals.get("__name__")).startswith(("nnkit.", "numpy.", "numba.")):
            text = linecache.getline(code.co_filename, entry.tb_lineno, entry.tb_frame.f_globals).strip()
            found = Place(code.co_filename, entry.tb_lineno, code.co_name, text)
            ends = types.TracebackType(None, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        entry = entry.tb_next
    return found, ends


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """All statements within a definition, in the order of its lines."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        yield from statements(child)


def placed(function: Callable[..., Any], node: ast.AST, message: str) -> str:
    """A message about something in a function, with the line where it stands."""
    found = place(function, getattr(node, "lineno", 0))
    return message if found is None else found.around(message)


# Texts that were found right, by the code that they give. Functions are few, and kernels keep them alive anyway.
_texts: dict[types.CodeType, str] = {}


def keep(function: Callable[..., Any]) -> None:
    """Put its source on a function, as far as it can be read, for a process that has no file of it."""
    try:
        function.kept_source = _text(function)  # type: ignore[attr-defined]
    except KernelError:
        return


def _text(function: Callable[..., Any]) -> str:
    """A function's lines, from its file or notebook cell; the first ones found serve for good."""
    code = function.__code__
    if code not in _texts and _is_kept(function):
        _texts[code] = function.kept_source  # type: ignore[attr-defined]
    if code not in _texts:
        linecache.checkcache(code.co_filename)
        lines = linecache.getlines(code.co_filename, function.__globals__) or _typed(code)
        if not lines:
            typed = code.co_filename in ("<stdin>", "<string>")
            what = "one that was typed at Python's prompt, which keeps no source" if typed else "one without a file"
            where = "" if typed else f" ({code.co_filename})"
            newer = "take Python 3.13, whose prompt keeps it, " if typed and sys.version_info < (3, 13) else ""
            packages = "" if typed else "install its package with the .py files, "
            raise KernelError(
                f"{described(function)}: expected a function whose source can be read, got {what}{where}; put the class into a "
                f"file or a notebook cell, {packages}{newer}or derive from PythonLayer"
            )
        try:
            text = "".join(inspect.getblock(lines[code.co_firstlineno - 1 :]))
            fits = _fits(text, "".join(lines), function)
        except (IndexError, SyntaxError, TokenError):  # there is no definition any more
            fits = False
        if not fits:
            raise KernelError(
                f"{described(function)}: expected the source that it was made of in {code.co_filename}, line "
                f"{code.co_firstlineno}, got another one; the file has changed on disk: reload the module, or start anew"
            )
        _texts[code] = text
    return _texts[code]


def _typed(code: types.CodeType) -> list[str]:
    """The lines of what was typed at Python's prompt, which keeps them since 3.13; `inspect` has them from there, too."""
    lines: list[str] = getattr(linecache, "_getlines_from_code", lambda code: [])(code)
    return lines


def require_source(function: Callable[..., Any]) -> None:
    """Refuse a function that cannot be compiled as nobody has kept its source, long before it is."""
    if function.__code__.co_filename.startswith("<") and getattr(function, "source", None) is None:
        _text(function)


def _is_kept(function: Callable[..., Any]) -> bool:
    """Whether a function has brought its source along."""
    text = getattr(function, "kept_source", None)
    return isinstance(text, str) and _fits(text, text, function)


def _parsed(text: str) -> ast.FunctionDef | None:
    indented = text[:1].isspace()
    node: ast.AST = ast.parse(_INDENTED + text if indented else text).body[0]
    if isinstance(node, ast.If) and indented:
        node = node.body[0]
    return node if isinstance(node, ast.FunctionDef) else None


def _fits(text: str, whole: str, function: Callable[..., Any]) -> bool:
    """Whether a definition in a file gives a function's code, wherever it stands now."""
    code = function.__code__
    node = _parsed(text)
    if node is None:
        return False
    node.decorator_list = []
    statements: list[ast.stmt] = [node]
    *_, owner, _ = ["<locals>", *code.co_qualname.split(".")]
    if owner != "<locals>":  # a class, whose name is part of names with two underscores
        statements = [_around(f"class {owner}: pass", statements)]
    if code.co_freevars:  # what is around it has them
        statements = [_around(f"def around(): {' = '.join(code.co_freevars)} = None", statements)]
    # Calls of what the file imports are compiled in another way. Most often that is modules; in a notebook's cell it is
    # nothing. To compile the whole file would always do, but takes some 10 ms.
    modules = [name for name in code.co_names if isinstance(function.__globals__.get(name), types.ModuleType)]
    imports: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in modules]
    if any(_made(ast.fix_missing_locations(ast.Module(tried, [])), code) for tried in (imports + statements, statements)):
        return True
    return code.co_firstlineno in (same.co_firstlineno for same in _made(whole, code))


def _made(module: ast.Module | str, code: types.CodeType) -> list[types.CodeType]:
    """What is the same code in a module, compiled."""
    found: types.CodeType = compile(module, code.co_filename, "exec", flags=code.co_flags & _FUTURE, dont_inherit=True)
    return [inner for inner in within(found) if inner.co_name == code.co_name and meaning(inner) == meaning(code)]


def _around(text: str, statements: list[ast.stmt]) -> ast.stmt:
    outer = ast.parse(text).body[0]
    assert isinstance(outer, ast.ClassDef | ast.FunctionDef)
    outer.body += statements
    return outer


def within(code: types.CodeType) -> list[types.CodeType]:
    """The code of all functions inside of a function or module, however deep."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return inner + [deeper for each in inner for deeper in within(each)]


def meaning(constant: Any) -> Hashable:
    """What a code object or constant does: code without the places where it stands, numbers with type and sign."""
    if isinstance(constant, types.CodeType):
        counts = constant.co_argcount, constant.co_posonlyargcount, constant.co_kwonlyargcount
        names = constant.co_names, constant.co_varnames, constant.co_freevars, constant.co_cellvars
        return constant.co_code, counts, names, tuple(map(meaning, constant.co_consts))
    if isinstance(constant, tuple):
        return tuple(map(meaning, constant))
    if isinstance(constant, frozenset):  # in an order that is the same in all processes
        return "frozenset", *sorted(map(repr, map(meaning, constant)))
    return type(constant), repr(constant)
