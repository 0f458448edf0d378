"""Checking what others provide: a distribution, a module, a class."""

from __future__ import annotations

import importlib
import inspect
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nnkit import registry
from nnkit.core import plugins
from nnkit.core.calls import nearest
from nnkit.core.part import Example, Part
from nnkit.core.registry import named
from nnkit.testing.checks import Report, check_examples
from nnkit.testing.compare import CheckError
from nnkit.testing.docstrings import docstring_examples_run

__all__ = ["check_plugin", "find", "parts_of"]


def parts_of(distribution: str) -> list[type[Part]]:
    """The classes that an installed distribution registers.

    Raises
    ------
    CheckError
        It is not installed, has no entry point for nnkit, cannot be imported, or registers nothing.
    """
    name = plugins.normalized(distribution)
    try:
        version(distribution)
    except PackageNotFoundError as error:
        message = f"{distribution}: expected an installed distribution; pip install it (with -e while you work)"
        raise CheckError(message) from error
    points = [plugin for plugin in plugins.installed() if plugins.normalized(plugin.distribution) == name]
    if not points:
        raise CheckError(
            f'{distribution}: expected an entry point in the group "{plugins.GROUP}", got none; its pyproject.toml needs '
            f'[project.entry-points."{plugins.GROUP}"] with name = "module"'
        )
    for plugin in points:
        try:
            plugin.load()
        except Exception as error:
            raise CheckError(f"{plugin}: importing {plugin.module} raises {type(error).__name__}: {error}") from error
    kinds = [getattr(registry, kind) for kind in registry.__all__]
    classes = [part for kind in kinds for part in kind.values() if plugins.normalized(plugins.provider(part)[0]) == name]
    if not classes:
        raise CheckError(f"{distribution}: importing {', '.join(plugin.module for plugin in points)} registers no part; "
                         "decorate its classes with @nnkit.register(name)")  # fmt: skip
    return classes


def check_plugin(distribution: str) -> list[Report]:
    """Check every part that an installed distribution provides, on all of its examples, and the examples in its docstrings.

    Parameters
    ----------
    distribution : its name, as pip knows it

    Returns
    -------
    list of Report

    Raises
    ------
    CheckError
        Says what is wrong with the distribution, or which part breaks its contract, and how.
    """
    reports = []
    for part in parts_of(distribution):
        reports += check_examples(part)
        docstring_examples_run(part)
    return reports


def find(target: str) -> list[Any]:
    """What is named: a part by its name, ``module:Class``, ``module``, ``file.py``, ``file.py:Class`` or a distribution.

    Classes, or one part.

    Raises
    ------
    CheckError
        There is no such thing, or it is no part.
    """
    place, _, name = target.partition(":")
    path = Path(place)
    if path.suffix == ".py":
        place = path.stem
    sys.path.insert(0, str(path.resolve().parent))
    if not place.replace(".", "_").isidentifier():
        return list(parts_of(place))
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise
        known = [key for kind in registry.__all__ for key in getattr(registry, kind)]
        if parts_named := named(place):
            return parts_named
        near = nearest(place, known)
        hint = f"; did you mean the part {near!r}?" if near else ""
        raise CheckError(
            f"{place}: expected a module, a file or an installed distribution, or a part's name, found none of that name{hint}"
        ) from error
    parts = {key: item for key, item in vars(module).items() if _is_part(item)}
    own: dict[str, Any] = {key: item for key, item in parts.items() if getattr(item, "__module__", "") == place}
    if name:
        if name not in parts:
            came = f"{getattr(module, name)!r}" if hasattr(module, name) else "nothing of that name"
            raise CheckError(f"{target}: expected a part, got {came}; {place} has {', '.join(own) or 'none'}")
        return [parts[name]]
    classes: list[Any] = [item for item in own.values() if inspect.isclass(item)]
    registered = [item for item in classes if item.key]
    if not registered:
        raise CheckError(f"{target}: expected a module that registers parts, found none in it")
    return registered


def _is_part(item: Any) -> bool:
    if isinstance(item, Example):
        return True
    kind = item if isinstance(item, type) else type(item)
    return issubclass(kind, Part) and hasattr(kind, "registry")
