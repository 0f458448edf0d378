"""What every kind of part promises, and what the checks of all kinds share."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example
from nnkit.core.registry import registered
from nnkit.engine.program import Instruction, Program
from nnkit.engine.source import described
from nnkit.errors import KernelError, NnkitError
from nnkit.model import Sequential
from nnkit.testing.arrays import NegativeIndex, NewArray
from nnkit.testing.compare import CheckError, require

__all__ = [
    "AGREEMENT",
    "DIFFERENCES",
    "PART_CHECKS",
    "ROUNDING",
    "ROWS",
    "SEED",
    "Arrays",
    "Check",
    "explained",
    "how_compiled",
    "machine_code_stays_in_float32",
    "pickle_round_trip",
    "repr_can_be_typed_back_in",
]

Check = Callable[[Example], str | None]  # what it returns, if anything, is what of it could not be checked, and why
Arrays = dict[str, NDArray[Any]]

ROWS = 4
SEED = 1847
# Compiled against uncompiled: the float32 functions of nnkit.kernels.math are within 1.5e-6 of the exact ones; what is left is
# for sums in another order, of 70 numbers with 2**-23 each.
AGREEMENT = {"float32": 1e-5, "float64": 1e-12}
DIFFERENCES = 1e-6  # derivative against central differences, whose own error is about 1e-10 times the curvature
ROUNDING = 1e-12  # float64 sums in another order


def repr_can_be_typed_back_in(example: Example) -> None:
    """``eval(repr(part))`` and a part made from its hyper-parameters are the part again."""
    part = example.part
    known: list[type[Any]] = [Sequential, *(kind for _, _, kind in registered() if kind.__module__.startswith("nnkit."))]
    known += map(type, [part, *part.hyperparameters().values(), *_within(part)])
    names = {"np": np, **vars(np), **{kind.__name__: kind for kind in known}}
    try:
        again = eval(repr(part), names)
        rebuilt = part.replace()
    except Exception as error:
        message = f"its repr and hyper-parameters cannot make it again ({type(error).__name__}: {error})"
        raise CheckError(f"{part!r}: {message}; the constructor must accept what it stores") from error
    for source, made in (("repr makes", again), ("hyper-parameters make", rebuilt)):
        require(repr(made) == repr(part), part, f"the {source} another part, {made!r}; store arguments as they come")


def _within(part: Any) -> Iterator[Layer]:
    """The layers that a container has, and those that they have."""
    for layer in getattr(part, "layers", ()):
        yield layer
        yield from _within(layer)


def pickle_round_trip(example: Example) -> None:
    """A pickled part comes back as the same part; of a class that no module holds, what it stores does."""
    part = example.part
    cls: Any = type(part)
    importable = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls
    try:
        again = pickle.loads(pickle.dumps(part if importable else vars(part)))
    except Exception as error:
        raise CheckError(f"{part!r}: cannot be pickled ({error}); store numbers, names and parts only") from error
    if not importable:
        stored, again = again, cls.__new__(cls)
        vars(again).update(stored)
    require(repr(again) == repr(part), part, f"comes back from a pickle as {again!r}")


PART_CHECKS: tuple[Check, ...] = (repr_can_be_typed_back_in, pickle_round_trip)


# ------------------------------------------------------------------------------------------------- kernels as Python


@contextmanager
def explained(part: Any) -> Iterator[None]:
    """Report what a kernel raises when it runs as Python: where it does, and which index is out of range."""
    try:
        yield
    except (CheckError, KernelError):
        raise
    except NnkitError as error:  # which says all itself
        raise CheckError(str(error)) from error
    except Exception as error:
        raise CheckError(f"{part!r}: {_told(error)}") from error


_FRAMEWORK = re.compile(r"nnkit\.(core|engine|passes|testing)|numpy\b")


def _told(error: Exception) -> str:
    """An error, the kernel's line that has raised it, and the index that does not fit, or the shapes that may be why."""
    said = str(error) if isinstance(error, NegativeIndex | NewArray) else f"{type(error).__name__}: {error}"
    stack = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)
             if not _FRAMEWORK.match(frame.f_globals.get("__name__", ""))]  # fmt: skip
    for depth in range(len(stack) - 1, -1, -1):
        frame, line = stack[depth]
        try:
            lines, first = inspect.getsourcelines(frame.f_code)
        except (OSError, TypeError):
            continue
        text = lines[line - first].strip()
        callers = [caller.f_code.co_name for caller, _ in stack[: depth + 1]]
        told = f"{': '.join(callers)} fails at `{text}`: "
        if isinstance(error, NegativeIndex):
            return told + said
        if isinstance(error, IndexError):
            return told + _index_out_of_range("".join(lines), line - first + 1, frame) + said
        return told + said + _shapes(text, frame)
    return said


def _shapes(text: str, frame: FrameType) -> str:
    """The shapes of the arrays that a line names."""
    arrays = {name: value for name, value in frame.f_locals.items() if isinstance(value, np.ndarray)}
    shapes = [f"{name} of shape {arrays[name].shape}" for name in dict.fromkeys(re.findall(r"\w+", text)) if name in arrays]
    return f"; with {', '.join(shapes)}" if shapes else ""


def _index_out_of_range(source: str, line: int, frame: FrameType) -> str:
    """The first subscript of a line, inner ones first, whose index does not fit."""
    known = {**frame.f_globals, **frame.f_locals}
    subscripts = [node for node in ast.walk(ast.parse(textwrap.dedent(source)))
                  if isinstance(node, ast.Subscript) and node.lineno == line]  # fmt: skip
    for node in reversed(subscripts):
        array = eval(ast.unparse(node.value), known)
        wanted = ast.Subscript(ast.Name("_place", ast.Load()), node.slice, ast.Load())  # there may be slices in it
        place = eval(ast.unparse(wanted), {**known, "_place": np.s_})
        try:
            array[place]
        except IndexError:
            index = [int(i) if isinstance(i, np.integer) else i for i in (place if isinstance(place, tuple) else (place,))]
            return f"{ast.unparse(node)} is out of range, at {index} of shape {np.shape(array)}; "
    return ""


# ---------------------------------------------------------------------------------------------------- machine code


def machine_code_stays_in_float32(part: Any, program: Program, stages: Sequence[str]) -> None:
    """Refuse kernels whose float32 code computes in float64, or asks for memory; what runs as Python has no such code."""
    if program.python:
        return
    for index, instruction in own_kernels(program, stages):
        code, name = program.kernel(index).machine_code, instruction.function.__name__
        require(not code.allocates, part, f"{name} allocates memory; write into out and declared scratch arrays instead")
        require(not code.widens, part,
                f"{name} for float32 computes in float64; a constant, a NumPy call or a whole number of NumPy's widens it")


def own_kernels(program: Program, stages: Sequence[str]) -> Iterator[tuple[int, Instruction]]:
    """The compiled kernels that are a part's own; the framework's add losses up in float64, on purpose."""
    for index, instruction in enumerate(program.instructions):
        framework = described(instruction.function).startswith(("nnkit.kernels.", "nnkit.engine."))
        if instruction.stage in stages and not instruction.interpreted and not framework:
            yield index, instruction


def how_compiled(program: Program, stages: Sequence[str]) -> dict[str, str]:
    """What became of each kernel's loops, read from its machine code: a report, not a requirement."""
    return {instruction.function.__name__: str(program.kernel(index).machine_code)
            for index, instruction in own_kernels(program, stages)}  # fmt: skip
