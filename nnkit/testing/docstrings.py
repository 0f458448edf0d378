"""The examples in the docstring of a part: numbers that its author has shown, and that its kernels are to give."""

from __future__ import annotations

import doctest
import sys
from typing import Any

from nnkit.core.part import Part
from nnkit.testing.compare import CheckError

__all__ = ["docstring_examples_run", "wrong_examples"]

_looking = False  # an example may check the part itself


class _Runner(doctest.DocTestRunner):
    """Keeps what was shown, and what came in its place."""

    def __init__(self) -> None:
        super().__init__(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
        self.wrong: list[tuple[str, str]] = []

    def report_failure(self, out: Any, test: doctest.DocTest, example: doctest.Example, got: str) -> None:
        self.wrong.append((example.want, got))
        super().report_failure(out, test, example, got)


def _run(part: Any) -> tuple[_Runner, str]:
    """Run the examples of a class; what is said about those that fail."""
    module, runner = sys.modules[part.__module__], _Runner()
    names = dict(vars(module))
    said: list[str] = []
    try:
        tests = doctest.DocTestFinder(recurse=False).find(part, part.__name__, module=module, globs=names)
    except OSError:  # its module has no file that would say on which line they stand
        tests = [doctest.DocTestParser().get_doctest(part.__doc__ or "", names, part.__name__, None, None)]
    for test in tests:
        runner.run(test, out=said.append)
    return runner, "".join(said).strip()


def docstring_examples_run(part: Any) -> None:
    """What the examples in a class's docstring show is what they give."""
    if not isinstance(part, type) or not issubclass(part, Part):
        return
    runner, said = _run(part)
    if runner.failures:
        cause = "".join(f"\nlikely cause: {kernel}, if all other checks find nothing" for kernel in part.needed[:1])
        raise CheckError(f"{part.__name__}: an example in its docstring gives something else:\n{said}{cause}")


def wrong_examples(part: type[Any]) -> list[tuple[str, str]]:
    """What the examples in a class's docstring show, and give instead: a witness where two kernels contradict each other."""
    global _looking
    if _looking or part.__module__ not in sys.modules:
        return []
    _looking = True
    try:
        return _run(part)[0].wrong
    finally:
        _looking = False
