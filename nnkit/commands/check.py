"""``nnkit check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnkit.testing import CheckError

__all__ = ["check"]


def check(target: str) -> int:
    """Check parts: gradients, shapes, threads, docstrings.

    All that nnkit's own parts have to pass, and what the compiler could vectorise. The exit status is 1 where something is
    wrong.

    Parameters
    ----------
    target : the name of a part, module:Class, module, file.py, file.py:Class, or the name of an installed distribution

    Examples
    --------
    nnkit check relu
    nnkit check my_layers.py:Scale
    nnkit check nnkit-maxout
    """
    from rich.console import Console
    from rich.markup import escape

    from nnkit.testing import CheckError
    from nnkit.testing.checks import examples_of, findings, report
    from nnkit.testing.plugin import docstring_examples_run, find
    from nnkit.testing.progress import Watching

    console = Console(highlight=False, soft_wrap=True)
    wrong = 0

    def show(what: str, error: CheckError | None) -> None:
        nonlocal wrong
        wrong += error is not None
        console.print(f"  [green]right[/]  {what}" if error is None else f"  [red]wrong  {what}[/]")
        if error is not None:
            console.print(f"         {escape(str(error))}")

    try:
        for part in find(target):
            examples = examples_of(part)
            names = [repr(example.part) for example in examples]
            for example, name in zip(examples, names, strict=True):
                rows = f", rows of shape {example.in_shape}" if names.count(name) > 1 else ""
                console.print(f"[bold]{escape(name)}[/]{rows}")
                before, found = wrong, []
                with Watching(name, console):
                    for item in findings(example):
                        show(item.check.__name__, item.error)
                        found.append(item)
                if wrong == before:
                    for line in repr(report(example, found)).splitlines()[1:]:
                        console.print(f"[dim]{escape(line)}[/]")
            docstring_examples_run(part)
    except CheckError as error:
        wrong += 1
        console.print(f"[red]wrong[/]  {escape(str(error))}")
    console.print("[bold red]not all is right[/]" if wrong else "[bold green]all is right[/]")
    return int(wrong > 0)
