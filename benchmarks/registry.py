"""The suites by name. A module of this package that decorates a function with `suite` adds one; no list is edited."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .report import Section

__all__ = ["Options", "Suite", "suite", "suites"]


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    quick: bool = False
    threads: tuple[int, ...] = (1, 2)
    keep: Path | None = None  # where figures of hours are written down, to go on from there
    only: tuple[str, ...] = ()  # of the libraries that a suite compares

    def choose(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True)
class Suite:
    name: str
    about: str
    run: Callable[[Options], list[Section]]


_suites: dict[str, Suite] = {}


def suite(name: str, about: str) -> Callable[[Callable[[Options], list[Section]]], Callable[[Options], list[Section]]]:
    """Register a function that measures and returns the tables to print."""

    def decorate(run: Callable[[Options], list[Section]]) -> Callable[[Options], list[Section]]:
        _suites[name] = Suite(name, about, run)
        return run

    return decorate


def suites() -> dict[str, Suite]:
    """All suites, after importing every module of this package."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith("__"):
            importlib.import_module(f".{module.name}", __package__)
    return dict(_suites)
