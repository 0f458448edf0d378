"""How many of the mistakes that a machine can make in a part's kernels are caught by the checks.

A mutant runs as Python first, compiled checks included. What passes then is compiled, and checked once more.
"""

from __future__ import annotations

import itertools
import multiprocessing
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit import registry
from nnkit.core.part import Example, Part
from nnkit.engine.lazy import lazy
from nnkit.engine.program import uncompiled
from nnkit.errors import NnkitError
from nnkit.testing.checks import checked, checks_of, examples_of, results_of, uncompiled_checks_of
from nnkit.testing.compare import CheckError
from nnkit.testing.docstrings import docstring_examples_run
from nnkit.testing.mutants import KERNELS, KINDS, Mutant, mutants_of, planted, reached
from nnkit.testing.part import PART_CHECKS, ROUNDING, Arrays, Check
from nnkit.testing.plugin import find

__all__ = ["Judge", "Verdict", "everything", "judges", "sample", "verdicts"]

LIMIT = 30.0  # seconds that a mutant may take; one that never ends is found by that
COMPILED_LIMIT = 600.0  # where it is compiled, with all that it needs
START = 60.0  # seconds that the process which tries them may take to begin
PATIENCE = 3.0  # seconds that the examples in a docstring may take uncompiled; longer ones are left out


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes
    ----------
    mutant : which one
    part : the class
    outcome : "caught"; "survived"; or "equivalent", as it gives the same numbers as without the mistake, but for rounding
    check : who has caught it
    message : what was said then
    named : whether the message names the kernel, and the array, if any, that are wrong
    """

    mutant: Mutant
    part: type[Part]
    outcome: str
    check: str = ""
    message: str = ""
    named: bool = False


class Judge:
    """A class of parts whose mutants are tried."""

    def __init__(self, cls: type[Part]) -> None:
        self.cls = cls
        self.name = f"{cls.__module__}.{cls.__qualname__}"  # the same in another process
        self.kernels = reached(cls)

        self._results: dict[int, tuple[list[Arrays], Iterator[Arrays]]] = {}
        self.checks = [check for check in checks_of(cls) if check not in PART_CHECKS]

    @lazy
    def mutants(self) -> list[Mutant]:
        """All that can be made of it."""
        return [mutant for function in self.kernels for mutant in mutants_of(function)]

    @lazy
    def examples(self) -> list[Example]:
        """The class's, small ones first."""
        return sorted(examples_of(self.cls), key=lambda example: prod(example.in_shape))

    @lazy
    def has_docstring(self) -> bool:
        """Whether there are examples in the class's docstring that tell something uncompiled, too."""
        start = time.process_time()
        with suppress(CheckError):
            docstring_examples_run(self.cls)
            return bool(self.cls.__doc__) and ">>>" in str(self.cls.__doc__) and time.process_time() - start < PATIENCE
        return False

    def verdict(self, mutant: Mutant) -> Verdict:
        """Plant it, see whether any number changes, and whether any check notices; every kernel runs as Python meanwhile."""
        with uncompiled():
            found = self._wrong(mutant)
            if found is None:
                return Verdict(mutant, self.cls, "equivalent")
            wrong, first = found
            quick = uncompiled_checks_of(self.cls)  # first, as the others take longer
            docstring = [docstring_examples] * self.has_docstring  # which is found before anything is wrong
            late = [check for check in self.checks if check not in quick]
            return self._judged(mutant, wrong, (quick, docstring, late), first)

    def second_verdict(self, first: Verdict) -> Verdict:
        """The same of a survivor, by what can be checked compiled alone."""
        quick = uncompiled_checks_of(self.cls)
        docstring = [docstring_examples] * (not self.has_docstring)
        return self._judged(first.mutant, set(), ([check for check in self.checks if check not in quick], docstring))

    def _judged(self, mutant: Mutant, wrong: set[str], checks: Iterable[Iterable[Check]], first: int = 0) -> Verdict:
        """What the checks say; examples that give the same as without the mistake come last."""
        examples = self.examples[first:] + self.examples[:first]
        with planted(mutant):
            for check, example in ((check, example) for some in checks for example in examples for check in some):
                try:
                    checked(check, example)
                except NnkitError as error:
                    named = self._names(str(error), mutant, wrong)
                    return Verdict(mutant, self.cls, "caught", check.__name__, str(error), named)
        return Verdict(mutant, self.cls, "survived")

    def _wrong(self, mutant: Mutant) -> tuple[set[str], int] | None:
        """The first arrays that differ, or none where it raises an error, and the example's number; None where nothing does."""
        for number, example in enumerate(self.examples):
            given = results_of(example)
            for right in self._right(number):
                try:
                    with planted(mutant):
                        now = next(given)
                except Exception:
                    return set(), number
                differ = [name for name, array in right.items() if not _same(array, now[name])]
                if differ:
                    outputs = {name for name in differ if not name.startswith("grad_")}  # gradients follow from a wrong output
                    wrong = outputs if outputs and "fused" not in self.kernels[mutant.function] else set(differ)
                    return wrong, number
        return None

    def _right(self, number: int) -> Iterator[Arrays]:
        """What the kernels give as they are, for an example; it is computed once, when it is first asked for."""
        known, more = self._results.setdefault(number, ([], results_of(self.examples[number])))
        for place in itertools.count():
            if place == len(known):
                found = next(more, None)
                if found is None:
                    return
                known.append(found)
            yield known[place]

    def _names(self, message: str, mutant: Mutant, wrong: set[str]) -> bool:
        """Whether a message is about the right kernel and array: it begins with them, or its likely cause does."""
        passes = {kernel.partition("_")[0] for kernel in self.kernels[mutant.function]}  # what backward_x does is backward's
        names = {*passes, *self.kernels[mutant.function], mutant.function.__name__}
        for said in message.split("likely cause: ", 1):
            kernel = re.search(rf"\b({'|'.join({*names, *KERNELS})})\b", said)
            array = re.search(r"gives a wrong (\w+)", said)
            if kernel is not None and kernel[1] in names and (array is None or not wrong or array[1] in wrong):
                return True
        return False


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays differ by rounding at most: of their largest number, which others come of by differences."""
    if np.array_equal(one, other, equal_nan=True):
        return True
    size = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        return np.allclose(one, other, ROUNDING, ROUNDING * size, equal_nan=True)


def docstring_examples(example: Example) -> None:
    """What the examples in the docstring of an example's class show is what they give."""
    docstring_examples_run(type(example.part))


def judges(target: str | None = None) -> list[Judge]:
    """Those of the classes that are named (see `nnkit.testing.plugin.find`), or of all that are registered.

    Raises
    ------
    CheckError : there is no such part, or none that has kernels, and examples to try them on
    """
    everybody = dict.fromkeys(part for kind in registry.__all__ for part in getattr(registry, kind).values())
    found = list(everybody) if target is None else find(target)
    classes = [part if isinstance(part, type) else type(part) for part in found]
    several = [judge for judge in map(Judge, classes) if judge.kernels and judge.cls.examples()]
    if not several:
        raise CheckError(f"{target}: expected a part with kernels of its own, and with examples to try them on")
    return several


# -------------------------------------------------------------------------------------------------- which are tried

Choice = tuple[str, int]  # the name of a judge, and one of its mutants


def everything(known: Sequence[Judge]) -> list[Choice]:
    """All mutants."""
    return [(judge.name, mutant) for judge in known for mutant in range(len(judge.mutants))]


def sample(known: Sequence[Judge], count: int, seed: int) -> list[Choice]:
    """So many mutants at random, as many of each kind as there are, one kind after the other."""
    random = np.random.default_rng(seed)
    kinds: dict[str, list[Choice]] = {kind: [] for kind in KINDS}
    named, whole = {judge.name: judge for judge in known}, everything(known)
    for name, mutant in (whole[place] for place in random.permutation(len(whole))):
        kinds[named[name].mutants[mutant].kind].append((name, mutant))
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    return sorted(itertools.islice(filter(None, in_turn), count))


# ------------------------------------------------------------------------------------------------ a process for it


def verdicts(
    target: str | None, known: Sequence[Judge], chosen: Sequence[Choice], limit: float = LIMIT, *, compiled: bool = True
) -> Iterator[Verdict]:
    """What becomes of mutants, one after the other, in a process of their own: one that never ends, or crashes, harms nobody.

    Parameters
    ----------
    target, known : see `judges`
    chosen : which are tried
    limit : seconds that each may take as Python
    compiled : whether those that survive as Python are compiled
    """
    todo, named = list(chosen), {judge.name: judge for judge in known}
    while todo:
        with _Helper(target, todo, compiled) as helper:
            while todo:
                name, place = todo.pop(0)
                judge = named[name]
                answer = helper.answer(limit)
                found = answer or ("caught", "", "it crashes, or does not end", False)
                yield Verdict(judge.mutants[place], judge.cls, *found)
                if answer is None:
                    break


class _Helper:
    """A process that judges mutants in turn."""

    def __init__(self, target: str | None, todo: Sequence[Choice], compiled: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._answers, answers = context.Pipe(duplex=False)
        self._process = context.Process(target=_judge, args=(target, todo, compiled, answers), daemon=True)
        self._process.start()
        answers.close()
        self._spare = START

    def __enter__(self) -> _Helper:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()
        self._answers.close()

    def answer(self, limit: float) -> tuple[str, str, str, bool] | None:
        """All of the next `Verdict` but whose it is; None where there comes none in time."""
        answer: tuple[str, str, str, bool] | None = None
        with suppress(EOFError):
            if self._answers.poll(limit + self._spare):
                self._spare = 0.0
                answer = self._answers.recv()
                if answer is None and self._answers.poll(COMPILED_LIMIT):  # it is compiled now
                    answer = self._answers.recv()
        return answer


def _judge(target: str | None, todo: Sequence[Choice], compiled: bool, answers: Connection) -> None:
    """What the process does."""
    there = {judge.name: judge for judge in judges(target)}
    for name, mutant in todo:
        given = there[name].verdict(there[name].mutants[mutant])
        if compiled and given.outcome == "survived":
            answers.send(None)
            given = there[name].second_verdict(given)
        answers.send((given.outcome, given.check, given.message, given.named))
