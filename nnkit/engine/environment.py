"""Environment variables: which there are, and what they say, or once that it cannot be understood."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

from nnkit.errors import EnvironmentWarning, warn

__all__ = ["OTHERS", "VARIABLES", "Variable", "count", "text", "word"]


class Variable(NamedTuple):
    """What an environment variable may be, what holds where it is not set, and what it says."""

    values: str
    default: str
    about: str


VARIABLES = {  # nnkit's own; all that is read is declared here
    "NNKIT_CACHE_DIR": Variable(
        "a folder", "the user's cache folder, or else a temporary one",
        "Where compiled kernels are kept. Nobody but you may be able to write into it. Several machines may share it.",
    ),
    "NNKIT_NUM_THREADS": Variable(
        "an integer of at least 1", "the cores that the process may use",
        "How many threads train and predict, where `n_threads` does not say so. Results do not depend on it.",
    ),
    "NNKIT_PLUGINS": Variable("`on` or `off`", "`on`", "Whether installed plugins are loaded."),
    "NNKIT_PLUGINS_BLOCK": Variable(
        "distributions, with commas between", "none", "Plugins that are left out, as in `nnkit-snake,nnkit-focal`.",
    ),
    "NNKIT_TRACEBACK": Variable("`0` or `1`", "`0`", "Whether the command line shows where in the code an error arose."),
}  # fmt: skip

OTHERS = {  # of others, which nnkit goes by
    "OMP_NUM_THREADS": Variable(
        "an integer", "the cores that the process may use",
        "A share of the cores: joblib, Dask and Ray set it for their workers. `NNKIT_NUM_THREADS` goes before it.",
    ),
    "NUMBA_CPU_NAME": Variable(
        "a processor, as LLVM calls it", "this machine's", "The processor that kernels are compiled for, and found by.",
    ),
    "NUMBA_CPU_FEATURES": Variable("LLVM's features", "this machine's", "What that processor has beside what its name says."),
    "NUMBA_DISABLE_JIT": Variable(
        "`0` or `1`", "`0`", "Lets Numba run your own functions as Python; kernels are compiled all the same.",
    ),
    "XDG_CACHE_HOME": Variable("a folder", "`~/.cache`", "The user's cache folder on Linux; kernels are in `nnkit` below it."),
    "COLUMNS": Variable("an integer", "the width of the terminal", "How wide tables and help are printed."),
}  # fmt: skip


def text(name: str) -> str:
    """The variable as it is; an empty string where it is not set."""
    assert name in VARIABLES
    return os.environ.get(name, "").strip()


def count(name: str) -> int | None:
    """The variable as an integer of at least 1; None where it is not set, or no such number."""
    said = text(name)
    if said.isascii() and said.isdigit() and len(said) < 10 and int(said) > 0:
        return int(said)
    if said:
        _refuse(name, said, "an integer of at least 1")
    return None


def word(name: str, *known: str) -> str:
    """The variable, which is one of the ``known`` words in small letters; an empty string where it is not set, or another."""
    said = text(name)
    if said.lower() in known:
        return said.lower()
    if said:
        _refuse(name, said, " or ".join(map(repr, known)))
    return ""


@cache
def _refuse(name: str, said: str, expected: str) -> None:
    """Say so, once in a process for each text."""
    message = f"{name}: expected {expected}, got {said!r}; nnkit goes on as if it were not set"
    warn(message, EnvironmentWarning)
