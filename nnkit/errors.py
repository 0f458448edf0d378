"""What can go wrong, by kind; every message says who, what was expected, what came and what to do."""

from __future__ import annotations

import os
import sys
import unicodedata
import warnings
from pathlib import Path
from types import FrameType

__all__ = [
    "BusyError",
    "CacheWarning",
    "CallError",
    "DataError",
    "EnvironmentWarning",
    "KernelError",
    "MissingLibraryError",
    "NativeError",
    "NnkitError",
    "NnkitWarning",
    "NonFiniteError",
    "NotBuiltError",
    "OnnxError",
    "ParameterError",
    "PersistenceError",
    "PersistenceWarning",
    "PluginWarning",
    "RegistryError",
    "ShapeError",
    "TrainingWarning",
]


def printable(text: str) -> str:
    r"""A text that is safe to show, wherever it comes from: what would steer a terminal or hide letters is spelt out.

    Lines stay lines. Names in files may be anybody's, so this is done where text leaves nnkit: in messages, in tables, and in
    what the commands print.

    Examples
    --------
    >>> print(printable("a\x1b[2Jb \u202e"))
    a\x1b[2Jb \u202e
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" or unicodedata.category(letter) == "Zs"
                   else letter.encode("unicode_escape").decode() for letter in text)  # fmt: skip


def warn(message: str, category: type[Warning]) -> None:
    """Give a warning that points at the user's line, however far away that is, and whatever libraries are between."""
    frame = _users(sys._getframe(1))
    place, names = frame.f_code.co_filename, frame.f_globals
    warnings.warn_explicit(message, category, place, frame.f_lineno, module=str(names.get("__name__", place)),
                           registry=names.setdefault("__warningregistry__", {}))  # fmt: skip


def _users(frame: FrameType) -> FrameType:
    """The first frame, from here outwards, that is no library's; where all are, as in a thread, the first not of nnkit."""
    outward = [frame]
    while (further := outward[-1].f_back) is not None:
        outward.append(further)
    outside = [frame for frame in outward if str(frame.f_globals.get("__name__")).partition(".")[0] != "nnkit"]
    return next((frame for frame in outside if not _is_library(frame.f_code.co_filename)), (outside or outward[-1:])[0])


def _is_library(file: str) -> bool:
    """Whether code is Python's own, or is installed."""
    installed = {"site-packages", "dist-packages"}.intersection(Path(file).parts)
    return bool(installed) or file.startswith(("<frozen", os.path.dirname(os.__file__)))


class Shown:
    """A message that is printable, whatever names of files or columns stand in it."""

    def __str__(self) -> str:
        return printable(super().__str__())


class NnkitError(Shown, Exception):
    """The root of every error that nnkit raises on purpose."""


class RegistryError(NnkitError, LookupError):
    """A part's name is unknown, or taken."""


class NnkitWarning(Shown, UserWarning):
    """The root of every warning that nnkit gives on purpose."""


class CacheWarning(NnkitWarning):
    """Compiled kernels cannot be kept on disk; everything works without, and is compiled again in every process."""


class PluginWarning(NnkitWarning):
    """An installed plugin cannot be loaded; everything else works without it."""


class EnvironmentWarning(NnkitWarning):
    """The machine, or an environment variable, is not what it should be; the message says what nnkit does instead."""


class TrainingWarning(NnkitWarning):
    """A net does not learn as it should; the message says in plain words what is wrong, where, and what helps."""


class PersistenceWarning(NnkitWarning):
    """A file has been loaded without some of what it names; the message says what, and how to have it."""


class ParameterError(NnkitError, ValueError):
    """A hyper-parameter is out of its range or of the wrong type."""


class CallError(ParameterError, TypeError):
    """A class or a function does not take such arguments; the message shows the call as it is written here."""


class ShapeError(NnkitError, ValueError):
    """Arrays or layers do not fit together."""


class DataError(NnkitError, ValueError):
    """The data cannot be learnt from: ragged, empty, not finite, out of range."""


class KernelError(NnkitError, TypeError):
    """A part's class is not right: a kernel cannot be compiled or names what nobody provides, a method is missing."""


class MissingLibraryError(NnkitError, ImportError):
    """Something needs a library that is not installed; the message says how to install it."""


class NativeError(NnkitError, TypeError):
    """A model cannot be a native function, or a native function not what is asked of it."""


class BusyError(NnkitError, RuntimeError):
    """A model is asked for two things at once that would change it: it is being trained, or is in a pass by hand."""


class NotBuiltError(NnkitError, RuntimeError):
    """A model is used before its shapes are known."""


class OnnxError(NnkitError, ValueError):
    """A model has no form in ONNX, or a file has none in nnkit."""


class NonFiniteError(NnkitError, ArithmeticError):
    """Training met NaN or infinity.

    Attributes
    ----------
    epoch, step : int
        Where it happened; both count from 0, ``step`` within the whole fit.
    part : str
        The first part, in the order of computation, whose output or gradient was not finite.
    history : History or None
        What the finished epochs have measured.
    """

    def __init__(self, message: str, *, epoch: int, step: int, part: str) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.part = part
        self.history: object = None


class PersistenceError(NnkitError, OSError):
    """Something cannot be saved, or a file cannot be loaded: the system refuses, or the file is not what was written."""
