"""``nnkit list``."""

from __future__ import annotations

__all__ = ["list_parts"]


def list_parts() -> int:
    """List the names of all parts, by kind and by the distribution that they come from.

    What is listed under layers and activations goes into `nnkit train --layers`, and all names go wherever nnkit asks for a
    part: loss="huber", nnkit.Sequential(["linear", "relu"]).
    """
    from rich.console import Console
    from rich.table import Table

    from nnkit import registry
    from nnkit.about import DISTRIBUTION
    from nnkit.core import plugins

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for kind in registry.__all__:
        names: dict[str, list[str]] = {}
        for key, part in sorted(getattr(registry, kind).items()):
            names.setdefault(" ".join(plugins.provider(part)), []).append(key)
        for origin, keys in sorted(names.items(), key=lambda item: (not item[0].startswith(f"{DISTRIBUTION} "), item[0])):
            table.add_row(f"[bold]{kind}[/]", f"[dim]{origin}[/]", ", ".join(keys))
            kind = ""
    console = Console(highlight=False)
    console.print(table)
    for plugin, error in plugins.failures.items():
        console.print(f"left out: {plugin}, which cannot be loaded ({type(error).__name__}: {error})", markup=False)
    if plugins.left_out():
        console.print(f"left out: {plugins.left_out()}, by NNKIT_PLUGINS or NNKIT_PLUGINS_BLOCK", markup=False)
    return 0
