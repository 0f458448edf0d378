"""A kernel's source -> a self-contained module in the cache folder -> a native address.

The module holds the kernel, the helpers and constants that it names, and one entry point ``void(int64 frame)`` that unpacks
the frame; its name is a hash of all of that and of everything else that shapes the machine code. So Numba's own disk
cache beside it never goes stale: an edit anywhere gives another file. One function and one signature per file,
written under a temporary name and renamed, make it safe for many processes to start on a cold cache at once.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import os
import platform
import stat
import sys
import tempfile
import textwrap
import time
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nnkit.engine.critical import Lock
from nnkit.engine.lazy import lazy
from nnkit.engine.machine_code import MachineCode
from nnkit.engine.operands import Constant, Operand, aliases
from nnkit.errors import KernelError
from nnkit.kernels.control import CONTROL_WORDS
from nnkit.kernels.math import Compiled
from nnkit.kernels.random import stream

__all__ = ["Cached", "Kernel", "Statistics", "cache_folder", "cached", "clear_cache", "definition", "described", "kernel",
           "statistics"]  # fmt: skip

_STUB_VERSION = 1
_LIFETIME = 90 * 86400.0  # seconds after its last use until a cached kernel is pruned
_BUILTINS = {"range", "len", "min", "max", "abs", "int", "float", "bool", "round", "enumerate", "zip", "isinstance"}


# --------------------------------------------------------------------------------------------------------- source


def described(function: Callable[..., Any]) -> str:
    """A kernel's name for people: ``nnkit.activations.ReLU.forward``."""
    return getattr(function, "described", f"{function.__module__}.{function.__qualname__}")


def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """The function's definition, without decorators, annotations and docstring."""
    try:
        text = getattr(function, "source", None) or textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise KernelError(
            f"{described(function)}: expected a function whose source can be read, got one without a file; "
            "define it in a module or in a notebook cell, or derive from PythonLayer"
        ) from error
    node = ast.parse(text).body[0]
    if not isinstance(node, ast.FunctionDef):
        raise KernelError(f"{described(function)}: expected a plain function (def), got {ast.unparse(node)[:60]!r}")
    node.decorator_list = []
    node.returns = None
    for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
        argument.annotation = None
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    return node


class _Rename(ast.NodeTransformer):
    """Give every global that a function names its place in the bundle, and every float literal the kernel's dtype."""

    def __init__(self, bundle: _Bundle, function: Callable[..., Any]) -> None:
        self.bundle = bundle
        self.function = function
        code = function.__code__
        self.local = {*code.co_varnames, *code.co_cellvars}
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        self.namespace = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self.bundle.real(node) if isinstance(node.value, float) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        path = [node.attr]
        inner = node.value
        while isinstance(inner, ast.Attribute):
            path.insert(0, inner.attr)
            inner = inner.value
        root = inner.id if isinstance(inner, ast.Name) else ""
        owner = self.namespace.get(root)
        if not isinstance(owner, types.ModuleType) or root in self.local:
            self.generic_visit(node)
            return node
        value: Any = owner
        for name in path:
            if not hasattr(value, name):
                raise KernelError(f"{described(self.function)}: {root}.{'.'.join(path)} does not exist")
            home, value = value, getattr(value, name)
        if owner in (np, math):
            self.bundle.imports.add(f"import {owner.__name__} as {root}")
            return self.bundle.real(node) if isinstance(value, float) else node
        self.bundle.named.append((vars(home), node.attr, value))
        return ast.Name(self.bundle.place(node.attr, value, self.function), ast.Load())

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.local or not isinstance(node.ctx, ast.Load):
            return node
        if node.id not in self.namespace:
            if node.id in _BUILTINS:
                return node
            known = [*self.namespace, *self.local, *_BUILTINS]
            near = difflib.get_close_matches(node.id, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            what = "a builtin that compiled code does not have" if hasattr(builtins, node.id) else "unknown"
            raise KernelError(f"{described(self.function)}: the name {node.id!r} is {what}{hint}")
        value = self.namespace[node.id]
        if isinstance(value, types.ModuleType):
            self.bundle.imports.add(f"import {value.__name__} as {node.id}")
            return node
        if node.id in self.function.__globals__:
            self.bundle.named.append((self.function.__globals__, node.id, value))
        return ast.Name(self.bundle.place(node.id, value, self.function), ast.Load())


class _Bundle:
    """Collects a function and all that it names into one module text."""

    def __init__(self, real: str) -> None:
        self.dtype = real
        self.imports: set[str] = {"import numpy as np"}
        self.named: list[tuple[dict[str, Any], str, Any]] = []  # globals: where they are, their name and value
        self.lines: list[str] = []
        self.names: dict[Hashable, str] = {}
        self.apart: set[tuple[str, str]] = set()  # functions that are called by their symbols

    def real(self, node: ast.expr) -> ast.expr:
        """``node`` in the kernel's dtype: Python's own floats are float64 and would widen float32 arithmetic."""
        if self.dtype == "float64":
            return node
        return ast.Call(ast.parse(f"np.{self.dtype}", mode="eval").body, [node], [])

    def name(self, wish: str, key: Hashable) -> str:
        """A name for the thing known by ``key`` that no kernel has for an argument or a local."""
        self.names[key] = f"_{wish}_{len(self.names)}_"
        return self.names[key]

    def place(self, wish: str, value: Any, user: Callable[..., Any]) -> str:
        """Bring a global of ``user`` into the module and return the name it has there."""
        value = getattr(value, "py_func", value)  # a helper that is jitted already
        value = getattr(value, "variants", {}).get(self.dtype, value)
        if isinstance(value, Compiled):
            if value.apart:
                self.apart.add((value.module, value.apart))
            return self.compiled(value.module, value.name)
        key: Hashable = id(value) if callable(value) else (wish, repr(value))
        if key in self.names:
            return self.names[key]
        if isinstance(value, types.FunctionType):
            name = self.name(wish, key)
            self.function(value, name)
        elif isinstance(value, bool | int | float | np.number | tuple):
            name = self.name(wish, key)
            self.lines.append(f"{name} = {self._literal(value, wish, user)}")
        elif isinstance(value, type) and issubclass(value, np.generic):
            name = self.name(wish, key)
            self.lines.append(f"{name} = np.{value.__name__}")
        elif type(value).__module__.startswith("numba."):
            home = getattr(value, "_defn", None)
            return self.compiled(home.__module__ if home is not None else user.__module__, wish)
        elif getattr(builtins, wish, None) is value and wish in _BUILTINS:
            return wish
        else:
            raise KernelError(
                f"{described(user)}: expected its globals to be numbers, tuples of numbers and functions, "
                f"got {wish} of type {type(value).__name__}; pass it as a hyper-parameter, parameter or state"
            )
        return name

    def compiled(self, module: str, wish: str) -> str:
        """Import what is compiled already, under a name that it then has."""
        key = (module, wish)
        if key not in self.names:
            name = self.name(wish, key)
            self.imports.add(f"from {module} import {wish} as {name}  # {fingerprint(module)}")
        return self.names[key]

    def _literal(self, value: Any, wish: str, user: Callable[..., Any]) -> str:
        """A constant as source, reals in the kernel's dtype."""
        if isinstance(value, tuple):
            return "(" + "".join(self._literal(item, wish, user) + ", " for item in value) + ")"
        if isinstance(value, np.floating | float) and not isinstance(value, np.float32):
            return f"np.{self.dtype}({float(value)!r})".replace("(inf)", "(np.inf)").replace("(nan)", "(np.nan)")
        if isinstance(value, np.number):
            return f"np.{value.dtype.name}({value.item()!r})"
        if isinstance(value, bool | int):
            return repr(value)
        raise KernelError(f"{described(user)}: the constant {wish} holds {type(value).__name__}, expected numbers")

    def definition(self, function: Callable[..., Any]) -> ast.FunctionDef:
        """A function's definition in this module; whatever it calls stands before it."""
        node: ast.FunctionDef = _Rename(self, function).visit(definition(function))
        return ast.fix_missing_locations(node)

    def function(self, function: Callable[..., Any], name: str) -> None:
        """Append a function under ``name``, to be called by others."""
        node = self.definition(function)
        node.name = name
        self.lines.append("@helper\n" + ast.unparse(node))


@cache
def fingerprint(module: str) -> str:
    """Hash of a module's source."""
    return hashlib.sha256(inspect.getsource(importlib.import_module(module)).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------- cache


@cache
def _versions() -> str:
    """Everything outside of a kernel's source that shapes its machine code."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba
    import scipy

    cpu = hashlib.sha256(llvm.get_host_cpu_features().flatten().encode()).hexdigest()[:8]
    return (
        f"py{sys.version_info[0]}{sys.version_info[1]}-numba{numba.__version__}-llvmlite{llvmlite.__version__}"
        f"-numpy{np.__version__}-scipy{scipy.__version__}-{platform.machine()}-{llvm.get_host_cpu_name()}-{cpu}"
    )


def _usable(folder: Path) -> bool:
    """Whether the folder is, or can be made, ours alone to write: its files are executed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH):
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: ``NNKIT_CACHE_DIR``, the user's cache folder, or else a temporary folder."""
    candidates = [Path(os.environ["NNKIT_CACHE_DIR"])] if os.environ.get("NNKIT_CACHE_DIR") else []
    try:
        home = Path.home()
        candidates.append(
            {
                "darwin": home / "Library" / "Caches",
                "win32": Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")),
            }.get(sys.platform, Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache"))
            / "nnkit"
        )
    except RuntimeError:  # no home
        pass
    owner = str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    candidates.append(Path(tempfile.gettempdir()) / f"nnkit-{owner}")
    for folder in candidates:
        if _usable(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="nnkit-"))


@dataclass
class Cached:
    """Compiled kernels on disk: how many, and their bytes."""

    kernels: int = 0
    size: int = 0


def cached() -> Cached:
    """What is in the cache folder, of all versions."""
    return _count(_files(cache_folder()))


def clear_cache(unused: float = 0.0) -> Cached:
    """Remove what nobody has used for so many seconds, by default everything; return what was removed.

    Other processes may be compiling and loading: what they miss they compile again. Files that nnkit has not written stay.
    """
    latest, root, removed = time.time() - unused, cache_folder(), []
    for path, status in _files(root):
        with suppress(OSError):  # another process was faster
            if status.st_mtime <= latest:
                path.unlink()
                removed.append((path, status))
    for folder in {path.parent for path, _ in removed}:
        for emptied in (folder, folder.parent):  # __pycache__, and that of the versions
            with suppress(OSError):  # it is not empty
                if emptied != root:
                    emptied.rmdir()
    return _count(removed)


@cache
def _prune() -> None:
    """Remove kernels that nobody has used for long, once in a process: it looks at every file."""
    clear_cache(unused=_LIFETIME)


def _files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file of the cache: kernels, what Numba has made of them, what a writer that was killed has left."""
    for pattern in ("py*-numba*/k_*", "py*-numba*/__pycache__/k_*", "py*-numba*/*.tmp"):
        with suppress(FileNotFoundError):  # a folder that another process has just removed
            for path in root.glob(pattern):
                with suppress(OSError):
                    yield path, path.stat()


def _count(files: Iterable[tuple[Path, os.stat_result]]) -> Cached:
    found = Cached()
    for path, status in files:
        found.kernels += path.suffix == ".py"
        found.size += status.st_size
    return found


def _write(path: Path, text: str) -> None:
    """Write the whole file or none of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


class Statistics:
    """What compiling has cost this process: kernels compiled, kernels loaded from the cache, seconds spent."""

    def __init__(self) -> None:
        self.compiled = 0
        self.loaded = 0
        self.seconds = 0.0


statistics = Statistics()
_lock = Lock()


# --------------------------------------------------------------------------------------------------------- kernel


class Kernel:
    """A function with the kinds of its operands: everything that its machine code depends on."""

    def __init__(self, function: Callable[..., Any], operands: Sequence[Operand], real: str):
        self.function = function
        self.real = real
        self._operands = tuple(operands)
        self._aliases = aliases(operands)
        self._named: list[tuple[dict[str, Any], str, Any]] = []
        self._apart: set[tuple[str, str]] = set()

    @lazy
    def text(self) -> str:
        """The stub: a module whose one entry point unpacks the frame and calls the function."""
        bundle = _Bundle(self.real)
        node = bundle.definition(self.function)
        draws = any("_stream(" in operand.source(1, self.real) for operand in self._operands)
        drawn = bundle.place("stream", stream, self.function) if draws else ""
        names = [argument.arg for argument in node.args.args]
        lines, word = [], 1
        for index, (name, operand) in enumerate(zip(names, self._operands, strict=True)):
            if index in self._aliases:
                lines.append(f"{name} = {names[self._aliases[index]]}")
                continue
            expression = operand.source(word, self.real)
            lines.append(f"{name} = {expression.replace('_stream(', drawn + '(', 1)}")
            word += len(operand.words())
        unpacking = ("from numba import carray as _carray", "from nnkit.engine.abi import pointer as _pointer",
                     "from nnkit.engine.abi import pointer_at as _pointer_at")  # fmt: skip
        imports = sorted({*bundle.imports, *unpacking})
        self._named, self._apart = bundle.named, bundle.apart
        # The body stands in the entry itself. As a function of its own it would be optimised before it is known which of its
        # arrays are one and the same, with checks for overlap that send every loop in place down the scalar path.
        body = [
            f"_words = _carray(_pointer(_frame), ({word},), np.int64)",
            f"_control = _carray(_pointer_at(_frame, 0), ({CONTROL_WORDS},), np.int64)",
            *lines,
            *(line for statement in node.body for line in ast.unparse(statement).splitlines()),
        ]
        return "\n".join(
            [
                f'"""{described(self.function)} in {self.real}; written by nnkit."""',
                *imports,
                "from nnkit.kernels.jit import entry, helper",
                *bundle.lines,
                "def {entry}(_frame):",
                *(f"    {line}" for line in body),
                "",
            ]
        )

    @property
    def is_current(self) -> bool:
        """Whether all globals that it was made of still have the values that they had."""
        return all(home.get(name) is value for home, name, value in self._named)

    @lazy
    def entry(self) -> Any:
        """Numba's compiled function; loaded from the cache when it is there."""
        with _lock:
            begin = time.perf_counter()
            try:
                return self._load()
            finally:
                statistics.seconds += time.perf_counter() - begin

    @lazy
    def address(self) -> int:
        """Native address of ``void(int64 frame)``."""
        return int(self.entry.address)

    @lazy
    def _path(self) -> Path:
        """Where the stub is kept; beside it, what the compiler has made of it."""
        versions = _versions()
        about = (versions, str(_STUB_VERSION), fingerprint("nnkit.engine.abi"), fingerprint("nnkit.kernels.jit"))
        digest = hashlib.sha256("\0".join((*about, self.text)).encode()).hexdigest()[:24]
        return cache_folder() / versions / f"k_{self.function.__name__}_{digest}.py"

    def _load(self) -> Any:
        name = self._path.stem  # the text is written by now
        for module, function in self._apart:
            _provide(module, function)
        compiled = self._compile(getattr(self._module(), name))
        if getattr(compiled, "cache_hits", 0):
            statistics.loaded += 1
        else:
            statistics.compiled += 1
            self._describe(str(compiled.inspect_llvm()))
        return compiled

    def _module(self, attempts: int = 5) -> types.ModuleType:
        """The stub, imported; written first where it is not in the cache."""
        path, name = self._path, self._path.stem
        try:
            if not path.exists():
                _write(path, self.text.replace("def {entry}", f"def {name}"))
                _prune()
            elif time.time() - path.stat().st_mtime > 86400:
                for file in (*path.parent.glob(f"{name}.*"), *(path.parent / "__pycache__").glob(f"{name}*")):
                    os.utime(file)
            return _import(name, path)
        except FileNotFoundError:  # another process has cleared the cache just now
            if attempts == 1:
                raise
            return self._module(attempts - 1)

    def _describe(self, code: str) -> MachineCode:
        """Keep what the compiler has made of it: code that comes from the cache cannot be read."""
        made = MachineCode.of(code)
        try:
            _write(self._path.with_suffix(".json"), json.dumps(asdict(made)))
        except OSError:  # the disk is full or gone
            pass
        return made

    @lazy
    def machine_code(self) -> MachineCode:
        """What the compiler has made of it, from beside the cached kernel; where nothing is there, it is compiled again."""
        _ = self.entry
        try:
            told = json.loads(self._path.with_suffix(".json").read_text(encoding="utf-8"))
            return MachineCode(**{**told, "library": tuple(told["library"])})
        except (OSError, ValueError, TypeError, KeyError):
            return self._describe(self.llvm)

    def _compile(self, function: Callable[..., Any]) -> Any:
        from numba.core.errors import NumbaError

        from nnkit.kernels.jit import entry

        try:
            return entry(cache=True)(function)
        except NumbaError as error:
            reason = str(error).strip().splitlines()
            raise KernelError(
                f"{described(self.function)}: Numba cannot compile this kernel for {self.real} operands "
                f"({', '.join(inspect.signature(self.function).parameters)}); write it with loops over arrays and "
                "scalar arithmetic, or derive from PythonLayer. Numba says:\n  " + "\n  ".join(reason[:25])
            ) from error
        except (OSError, RuntimeError):  # the disk is full, the file has gone (Numba's RuntimeError): for this process alone
            return entry(cache=False)(function)

    @lazy
    def llvm(self) -> str:
        """LLVM code, optimised; compiled afresh where it comes from the cache, because that cannot be inspected."""
        from nnkit.kernels.jit import entry

        if not getattr(self.entry, "cache_hits", 0):
            return str(self.entry.inspect_llvm())
        name = "inspected"
        namespace: dict[str, Any] = {"__name__": "nnkit_inspected"}
        exec(compile(self.text.replace("def {entry}", f"def {name}"), "<inspected>", "exec"), namespace)
        return str(entry(cache=False)(namespace[name]).inspect_llvm())


def _import(name: str, path: Path) -> types.ModuleType:
    """Execute a stub under its own name; it stays in ``sys.modules`` because cached code refers to it."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


_kernels: dict[Hashable, Kernel] = {}


def kernel(function: Callable[..., Any], operands: Sequence[Operand], real: str) -> Kernel:
    """The kernel for a function on operands of these kinds; the same one for the same kinds."""
    repeated = aliases(operands)
    key = (function, real, tuple((operand.kind(), repeated.get(index)) for index, operand in enumerate(operands)))
    found = _kernels.get(key)
    if found is None or not found.is_current:
        found = _kernels[key] = Kernel(function, operands, real)
    return found


@cache
def _provide(module: str, name: str) -> Kernel:
    """Compile a function of whole numbers that kernels call by its symbol, and make that known to the linker."""
    import llvmlite.binding as llvm

    function = getattr(importlib.import_module(module), name)
    found = kernel(function, [Constant(0, "int64")] * function.__code__.co_argcount, "float64")
    llvm.add_symbol(f"nnkit_{name}", found.address)
    return found
