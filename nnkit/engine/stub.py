"""A kernel's source -> a self-contained module -> a native address, kept from process to process.

The module's text holds the kernel, the helpers and constants that it names, and one entry point ``void(int64 frame)`` that
unpacks the frame. A hash of all of that and of everything else that shapes the machine code is the name under which the cache
keeps what the compiler made of it. So nothing there is ever stale: an edit anywhere gives another name. Where something cannot
be followed to its end, the kernel is not kept.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import linecache
import platform
import re
import sys
import threading
import time
import types
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nnkit.engine.bundle import Bundle
from nnkit.engine.cache import SUFFIX, kernel_cache
from nnkit.engine.critical import Lock
from nnkit.engine.fingerprint import of_module
from nnkit.engine.machine_code import MachineCode
from nnkit.engine.operands import Array, Constant, Operand, aliases
from nnkit.engine.source import Place, described, place, statements
from nnkit.errors import KernelError
from nnkit.kernels.control import CONTROL_WORDS
from nnkit.kernels.random import stream

if TYPE_CHECKING:
    from nnkit.kernels.jit import Native

__all__ = ["Kernel", "Statistics", "announce", "described", "kernel", "statistics"]

_STUB_VERSION = 2
_LONGEST = 80  # letters of a function's name in a file's


@cache
def _versions() -> str:
    """The versions of all that shapes machine code."""
    import llvmlite
    import numba
    import scipy

    names = {module.__name__: module.__version__ for module in (numba, llvmlite, np, scipy)}
    return f"{sys.implementation.cache_tag} {sys.version} {names} {platform.machine()}"


class Statistics(threading.local):
    """What compiling has cost this thread: kernels compiled, kernels loaded from the cache, seconds spent."""

    compiled = 0
    loaded = 0
    seconds = 0.0
    watcher: Callable[[str], None] | None = None  # is told the name of each kernel that is compiled, before that
    _begin: float | None = None  # of the outermost kernel: what is compiled for it is part of its time

    def __init__(self) -> None:
        self.awaited: set[Kernel] = set()  # those that are yet to be compiled, as far as that is known

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Count the seconds until the end of a ``with`` block, each once."""
        if self._begin is not None:
            yield
            return
        self._begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - self._begin
            self._begin = None

    @contextmanager
    def watched(self, watcher: Callable[[str], None]) -> Iterator[None]:
        """Tell ``watcher`` what is compiled, until the end of a ``with`` block."""
        before, self.watcher = self.watcher, watcher
        try:
            yield
        finally:
            self.watcher = before
            self.awaited.clear()


statistics = Statistics()
_lock = Lock()


class Kernel:
    """A function with the kinds of its operands: everything that its machine code depends on.

    What it works out, it works out once, under the lock of all compiling.
    """

    def __init__(self, function: Callable[..., Any], operands: Sequence[Operand], real: str):
        self.function = function
        self.real = real
        self._operands = tuple(operands)
        self._aliases = aliases(operands)
        self._written: tuple[str, Bundle] | None = None
        self._made: tuple[Native, MachineCode] | None = None
        self._body: ast.FunctionDef = ast.parse("def nothing(): pass").body[0]  # type: ignore[assignment]
        self._llvm: str | None = None  # where it was compiled in this process

    @property
    def is_current(self) -> bool:
        """Whether all that it was made of is still as it was."""
        return self._written is None or self._written[1].is_current()

    @property
    def address(self) -> int:
        """Native address of ``void(int64 frame)``."""
        return self._native[0].address

    def load(self) -> bool:
        """Have it without compiling, if it is there: in this process, or in the cache."""
        if self._made is None:
            with statistics.measured(), _lock:
                self._made = self._made or self._load()
        return self._made is not None

    @property
    def machine_code(self) -> MachineCode:
        """What the compiler has made of it."""
        return self._native[1]

    @property
    def llvm(self) -> str:
        """LLVM code, optimised; compiled afresh where it comes from the cache, because that cannot be inspected."""
        _ = self._native
        with _lock:
            if self._llvm is None:
                self._llvm = self._compiled("inspected").llvm
            return self._llvm

    @property
    def text(self) -> str:
        """The stub: a module whose one entry point unpacks the frame and calls the function."""
        return self._stub[0]

    @property
    def _stub(self) -> tuple[str, Bundle]:
        with _lock:
            if self._written is None:
                self._written = self._write()
            return self._written

    @property
    def _native(self) -> tuple[Native, MachineCode]:
        if self._made is None:
            with statistics.measured(), _lock:
                self._made = self._made or self._load() or self._compile()
        return self._made

    def _write(self) -> tuple[str, Bundle]:
        bundle = Bundle(self.real)
        node = self._body = bundle.definition(self.function)
        draws = any("_stream(" in operand.source(1, self.real) for operand in self._operands)
        drawn = bundle.place("stream", stream, self.function) if draws else ""
        names = [argument.arg for argument in node.args.args]
        if len(names) != len(self._operands):
            raise KernelError(
                f"{described(self.function)}: expected a function that names its arguments, got one of "
                f"({ast.unparse(node.args)}); leave away the decorator that puts another function in its place"
            )
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
        whole = [name for name, operand in zip(names, self._operands, strict=True)
                 if isinstance(operand, Array) and operand.dtype == "int64"]  # fmt: skip
        bundle.tell(self.function, node, whole)
        imports = sorted({*bundle.imports, *unpacking})
        # The body stands in the entry itself. As a function of its own it would be optimised before it is known which of its
        # arrays are one and the same, with checks for overlap that send every loop in place down the scalar path.
        body = [
            f"_words = _carray(_pointer(_frame), ({word},), np.int64)",
            f"_control = _carray(_pointer_at(_frame, 0), ({CONTROL_WORDS},), np.int64)",
            *lines,
            *(line for statement in node.body for line in ast.unparse(statement).splitlines()),
        ]
        text = "\n".join(
            [
                f'"""{described(self.function)} in {self.real}; written by nnkit."""',
                *imports,
                f"from nnkit.kernels.jit import {'weak_helper as ' if self.real == 'float32' else ''}helper",
                *bundle.lines,
                "def {entry}(_frame):",
                *(f"    {line}" for line in body),
                "",
            ]
        )
        return text, bundle

    @property
    def _name(self) -> str:
        """What it is known by: the same in all processes whose compiler makes the same of it."""
        from nnkit.kernels.jit import settings

        own = [of_module(name).digest for name in ("nnkit.engine.abi", "nnkit.kernels.jit")]
        about = (str(_STUB_VERSION), _versions(), settings(), *own, self.text)
        digest = hashlib.sha256("\0".join(about).encode()).hexdigest()[:24]
        return f"k_{self.function.__name__[:_LONGEST]}_{digest}"

    @property
    def _is_kept(self) -> bool:
        """Whether its name says everything; else it is for this process alone."""
        return self._stub[1].is_whole and all(of_module(name).is_whole for name in ("nnkit.engine.abi", "nnkit.kernels.jit"))

    def _load(self) -> tuple[Native, MachineCode] | None:
        """Take it from the cache, if it is there."""
        from nnkit.kernels.jit import Native

        for module, function in self._stub[1].apart:
            _provide(module, function)
        if not self._is_kept:
            return None
        name = self._name
        kept = kernel_cache.read(name + SUFFIX)
        if kept is None:
            return None
        about, _, frozen = kept.partition(b"\n")
        _home(name)
        try:
            told = json.loads(about)
            made = Native.thaw(frozen), MachineCode(**{**told, "library": tuple(told["library"])})
        except Exception:  # whole, and yet of no use here: a development version of the same number, a symbol of nobody's
            kernel_cache.remove(name + SUFFIX)
            return None
        statistics.loaded += 1
        return made

    def _compile(self) -> tuple[Native, MachineCode]:
        """Compile it, and keep it for other processes."""
        name = self._name
        if statistics.watcher is not None:
            statistics.awaited.add(self)
            statistics.watcher(self.function.__qualname__.rpartition("<locals>.")[2])
        native = self._compiled(name)
        self._llvm = native.llvm
        made = MachineCode.of(self._llvm)
        statistics.compiled += 1
        statistics.awaited.discard(self)
        frozen = native.frozen() if self._is_kept else None
        if frozen is not None:
            kernel_cache.write(name + SUFFIX, json.dumps(asdict(made)).encode() + b"\n" + frozen)
        return native, made

    def _compiled(self, name: str) -> Native:
        """Execute the stub as a module of its own, and compile its entry."""
        from numba.core.errors import NumbaError

        from nnkit.kernels.jit import Native

        text, bundle = self._stub
        text = text.replace("def {entry}", f"def {name}")
        module = _home(name)
        vars(module).update(bundle.given)
        file = f"<nnkit {name}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # tracebacks and profilers show it
        exec(compile(text, file, "exec"), vars(module))
        try:
            return Native.compile(getattr(module, name), self.real)
        except NumbaError as error:
            said = str(error).replace(file, described(self.function))
            message = (
                f"{described(self.function)}: Numba cannot compile this kernel for {self.real} operands "
                f"({', '.join(inspect.signature(self.function).parameters)}); write it with loops over arrays and "
                "scalar arithmetic, or derive from PythonLayer. Numba says:\n  " + "\n  ".join(_first_said(said))
            )
            found = self._place(str(error), text.splitlines(), file)
            raise KernelError(message if found is None else found.around(message)) from None

    def _place(self, said: str, lines: list[str], file: str) -> Place | None:
        """The line of the user's that Numba complains of, the innermost one."""
        for number in map(int, re.findall(rf'File "{re.escape(file)}", line (\d+)', said)):
            begin = max(index for index in range(number) if lines[index].startswith("def "))
            name = lines[begin].removeprefix("def ").partition("(")[0]
            function, node = self._stub[1].defined.get(name, (self.function, self._body))
            wanted = lines[number - 1].strip()
            before = [line.strip() for line in lines[begin : number - 1]].count(wanted)
            alike = [item for item in statements(node) if ast.unparse(item).partition("\n")[0] == wanted]
            if len(alike) > before and (found := place(function, alike[before].lineno)) is not None:
                return found
        return None


def _first_said(said: str) -> list[str]:
    """The first paragraph of Numba's long ones that says what is wrong."""
    lines = [line for line in said.strip().splitlines() if not line.startswith("Failed in nopython mode")]
    end = next((index for index, line in enumerate(lines) if line.startswith(("File ", "During"))), len(lines))
    return [line for line in lines[:end] if line.strip()][:12] or lines[:1]


def _home(name: str) -> types.ModuleType:
    """A kernel's module: its name is part of the symbols in the machine code, and Numba looks it up as that is loaded."""
    name = f"{__name__}.{name}"
    return sys.modules.setdefault(name, types.ModuleType(name))


def announce(kernels: Iterable[Kernel]) -> None:
    """Find out how many of these kernels have to be compiled, where somebody watches that."""
    if statistics.watcher is not None:
        statistics.awaited.update(item for item in dict.fromkeys(kernels) if not item.load())


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
