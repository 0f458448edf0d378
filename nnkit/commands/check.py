"""``nnkit check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnkit.commands.mutants import mutation_score
from nnkit.errors import ParameterError

if TYPE_CHECKING:
    from nnkit.testing import CheckError

__all__ = ["check"]


def check(target: str | None = None, *, mutants: bool = False) -> int:
    """Check parts: gradients, shapes, threads, docstrings.

    All that nnkit's own parts have to pass, and what the compiler could vectorise. The exit status is 1 if anything is wrong.

    Parameters
    ----------
    target : the name of a part, module:Class, module, file.py, file.py:Class, or the name of an installed distribution
    mutants : check the checks of a part, or of all: make small mistakes in its kernels, one at a time, and see which are caught

    Examples
    --------
    nnkit check relu
    nnkit check my_layers.py:Scale
    nnkit check --mutants my_layers.py:Scale
    """
    if mutants:
        return mutation_score(target)
    if target is None:
        raise ParameterError("check: expected the name of a part, a module, a file or a distribution, got none")
    from rich.console import Console
    from rich.markup import escape

    from nnkit.testing import CheckError
    from nnkit.testing.checks import examples_of, findings, report
    from nnkit.testing.docstrings import docstring_examples_run
    from nnkit.testing.plugin import find
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
