"""Parts of other distributions: entry points in the group ``nnkit.plugins``, imported when somebody asks for what they bring.

An entry point names a module; importing it registers its parts. ``NNKIT_PLUGINS=off`` loads none (``on`` is the default), and
``NNKIT_PLUGINS_BLOCK=nnkit-snake,nnkit-focal`` leaves these distributions out.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from nnkit.about import DISTRIBUTION, __version__
from nnkit.engine import environment
from nnkit.engine.critical import Lock, interruptible
from nnkit.errors import PluginWarning, warn

__all__ = ["GROUP", "Plugin", "brings", "failures", "installed", "left_out", "load", "provider"]

GROUP = "nnkit.plugins"


@dataclass(frozen=True)
class Plugin:
    """An entry point of a distribution, in its ``version``: the ``module`` whose import registers parts."""

    module: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    def load(self) -> None:
        """Import the module, and so register its parts."""
        importlib.import_module(self.module)


def normalized(distribution: str) -> str:
    """A distribution's name in the one spelling that all others stand for."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def installed() -> list[Plugin]:
    """Every plugin that pip has installed, blocked or not."""
    from importlib.metadata import distributions  # takes 10 ms to import, which most processes need not pay

    importlib.invalidate_caches()  # one may have come in while this process runs
    found = {
        Plugin(point.module, item.name, item.version): None
        for item in distributions()
        for point in item.entry_points.select(group=GROUP)
    }
    return sorted(found, key=lambda plugin: (plugin.distribution, plugin.module))


def left_out() -> str:
    """Which plugins the environment forbids: "all", or a list of names; nothing where it forbids none."""
    if environment.word("NNKIT_PLUGINS", "on", "off") == "off":
        return "all"
    return ", ".join(sorted(_blocked()))


def _blocked() -> set[str]:
    return {normalized(name.strip()) for name in environment.text("NNKIT_PLUGINS_BLOCK").split(",") if name.strip()}


failures: dict[Plugin, BaseException] = {}  # what could not be loaded, and why
_tried: set[Plugin] = set()
_lock = Lock()


def load(undo: Callable[[str], None]) -> None:
    """Import every plugin that is installed, allowed, and not imported yet; warn once about each that cannot be.

    ``undo`` is called with the name of a module that fails half-way, to take back what it has registered by then.
    """
    if left_out() == "all":
        return
    failed = []
    with _lock:
        blocked = _blocked()
        for plugin in installed():
            if plugin in _tried or normalized(plugin.distribution) in blocked:
                continue
            _tried.add(plugin)  # before it runs: it may look parts up itself
            try:
                with interruptible():
                    plugin.load()
            except (Exception, SystemExit) as reason:  # whatever a stranger's module does, the host goes on
                undo(plugin.module)
                failures[plugin] = reason
                failed.append(plugin)
            except BaseException:
                undo(plugin.module)
                _tried.discard(plugin)
                raise
    for plugin in failed:
        error = failures[plugin]
        warn(
            f"the plugin {plugin} cannot be loaded and is left out: importing {plugin.module} raises "
            f"{type(error).__name__}: {error} (NNKIT_PLUGINS_BLOCK={plugin.distribution} leaves it out without this warning)",
            PluginWarning,
        )


def brings(module: str) -> bool:
    """Whether a plugin that has been imported here brings the parts of a module: any other process finds them by itself."""
    return any(f"{module}.".startswith(f"{plugin.module}.") for plugin in _tried)


def provider(part: type) -> tuple[str, str]:
    """The distribution that a class comes from and its version; for a script or a notebook no distribution, and its module."""
    package = part.__module__.partition(".")[0]
    found = (DISTRIBUTION, __version__) if package == __name__.partition(".")[0] else _provider(package)
    return found if found[0] else ("", part.__module__)


@cache
def _provider(package: str) -> tuple[str, str]:
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    for plugin in installed():
        if plugin.module.partition(".")[0] == package:
            return plugin.distribution, plugin.version
    name = packages_distributions().get(package, [package])[0]  # editable installs are not in this list
    try:
        return name, version(name)
    except PackageNotFoundError:
        return "", ""
