"""What ``nnkit check --mutants`` shows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from nnkit.inspect.pictures.table import Table, count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nnkit.testing.mutation import Verdict

__all__ = ["mutation_score"]


def mutation_score(target: str | None) -> int:
    """Try the mutants of some parts, or of all; print those that no check catches, and how many were caught."""
    from rich.console import Console
    from rich.markup import escape

    from nnkit.testing.mutation import everything, judges, verdicts

    console = Console(highlight=False, soft_wrap=True)
    with console.status("looking for what can go wrong") as status:
        known = judges(target)
        chosen = everything(known)
        found: list[Verdict] = []
        for verdict in verdicts(target, known, chosen):
            found.append(verdict)
            survivors = sum(item.outcome == "survived" for item in found)
            status.update(f"{len(found)} of {len(chosen)} mutants, {survivors} survived; {verdict.part.__name__}")
            if verdict.outcome == "survived":
                console.print(f"[yellow]survived[/]  {verdict.part.__name__}, {verdict.mutant.kind}: {escape(_place(verdict))}")
    one = len(known) == 1
    groups = {(item.part.__name__ if target else item.part.registry.kind): item.part for item in found}
    rows = [_row(name, [item for item in found if name in (item.part.__name__, item.part.registry.kind)]) for name in groups]
    columns = ["part" if target else "kind of part", "mutants", "change nothing", "caught", "survived", "score", "well named"]
    notes = ["The score is of those that change a number; well named are those of the caught whose message begins with the "
             "right kernel and array."]  # fmt: skip
    print(Table("Mutants", columns, rows if one else [*rows, _row("all", found)], notes=notes))
    return 0


def _place(verdict: Verdict) -> str:
    """Where a mutant stands, from here if it is below."""
    here = f"{Path.cwd()}/"
    return str(verdict.mutant).removeprefix(here)


def _row(name: str, found: Iterable[Verdict]) -> list[str]:
    several = list(found)
    outcomes = Counter(item.outcome for item in several)
    caught, survived = outcomes["caught"], outcomes["survived"]
    named = sum(item.named for item in several)
    return [name, count(len(several)), count(outcomes["equivalent"]), count(caught), count(survived),
            _per_cent(caught, caught + survived), _per_cent(named, caught)]  # fmt: skip


def _per_cent(some: int, whole: int) -> str:
    return f"{100 * some / whole:.1f} %" if whole else ""
