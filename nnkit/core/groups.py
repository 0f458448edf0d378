"""Which parameters a pattern means, and how the vector of all of them is cut where some are treated otherwise than others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from nnkit.core.calls import nearest
from nnkit.errors import ParameterError

__all__ = ["Piece", "Segment", "group_of", "matching", "pieces"]

LINE = 16  # numbers: a piece begins and ends on a cache line, whether they are float32 or float64


class Segment(NamedTuple):
    """A parameter's place in the vector of all of them.

    Attributes
    ----------
    name : of the parameter, such as "0.weight"
    begin, end : its first number, and that of the next parameter: up to there the place is filled up with zeros
    shape : of the parameter
    trained : False where it is frozen
    """

    name: str
    begin: int
    end: int
    shape: tuple[int, ...]
    trained: bool = True


class Piece(NamedTuple):
    """A part of the vector that is updated in one go.

    Attributes
    ----------
    begin, size : its first number, and how many there are
    group : by which of the optimizer's groups; 0 is the optimizer itself
    shape : of the parameter that it is, where the group looks at whole parameters; else ()
    """

    begin: int
    size: int
    group: int = 0
    shape: tuple[int, ...] = ()


def matching(pattern: str, names: Collection[str], who: str) -> list[str]:
    """The names that a pattern of the shell's kind means: ``*`` stands for anything, dots as well.

    Raises
    ------
    ParameterError
        There are none.
    """
    found = [name for name in names if isinstance(pattern, str) and fnmatchcase(name, pattern)]
    if not found:
        near = nearest(str(pattern), list(names))
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names) or 'none'}"
        raise ParameterError(f"{who}: expected a pattern that matches the name of a parameter, such as '*.bias', got "
                             f"{pattern!r}; {hint}")  # fmt: skip
    return found


def group_of(patterns: Sequence[str], names: Collection[str], who: str) -> Mapping[str, int]:
    """The number of the first pattern, from 1, that matches each name; names without one are left out."""
    groups: dict[str, int] = {}
    for number, pattern in enumerate(patterns, 1):
        for name in matching(pattern, names, who):
            groups.setdefault(name, number)
    return groups


def pieces(segments: Sequence[Segment], groups: Mapping[str, int], whole: Mapping[int, int], chunk: int) -> list[Piece]:
    """Cut the vector where the group changes, around what is frozen, and into pieces of ``chunk`` numbers at most.

    ``whole`` are the groups that look at whole parameters: those of at least so many axes are one piece each there.
    """
    runs: list[Piece] = []
    for name, begin, end, shape, trained in segments:
        group = groups.get(name, 0)
        if not trained:
            continue
        if group in whole and len(shape) >= whole[group]:
            runs.append(Piece(begin, end - begin, group, shape or (1,)))
        elif runs and (last := runs[-1]).begin + last.size == begin and last.group == group and not last.shape:
            runs[-1] = last._replace(size=end - last.begin)
        else:
            runs.append(Piece(begin, end - begin, group))
    return [piece for run in runs for piece in ([run] if run.shape else _cut(run, chunk))]


def _cut(run: Piece, chunk: int) -> list[Piece]:
    count = -(-run.size // chunk)
    size = -(-run.size // (count * LINE)) * LINE
    ends = run.begin + run.size
    return [run._replace(begin=begin, size=min(size, ends - begin)) for begin in range(run.begin, ends, size)]
