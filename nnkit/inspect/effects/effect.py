"""How what a model says changes with a column, as numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import ParameterError
from nnkit.inspect.effects.answers import Answers
from nnkit.inspect.effects.rows import Places, Rows
from nnkit.tables.cells import Cells, Times, Words

__all__ = ["Effect", "effect_of"]

ENDS = (0.05, 0.95)  # quantiles between which a curve goes, as scikit-learn's does
FEW = 2  # numbers, of which each is a category
LABELS = 15  # of a column, of which no more are looked at
BATCH = 65_536  # rows that are predicted at a time


@dataclass(frozen=True, eq=False)
class Effect:
    """What a model says of rows if a column of all of them had one value, for several values.

    Attributes
    ----------
    name : of the column
    labels : of categories; None where there are ``values``
    values : (values,) float64 or datetime64, of numbers and dates
    said : (rows, values, outputs); the last one of the values is none at all where ``misses``
    misses : whether the column has missing cells
    deciles : of the column, where it is of numbers or dates
    left : how many more categories there are, which are rare
    """

    name: str
    labels: list[str] | None
    values: NDArray[Any]
    said: NDArray[np.float64]
    misses: bool
    deciles: NDArray[Any]
    left: int = 0

    @property
    def average(self) -> NDArray[np.float64]:
        """(values, outputs), the partial dependence."""
        found: NDArray[np.float64] = self.said.mean(axis=0)
        return found


def effect_of(rows: Rows, answers: Answers, place: int, chosen: Places, categorical: bool, n_points: int) -> Effect:
    """The effect of a column on the ``chosen`` rows, for some of the values that it has anywhere.

    Raises
    ------
    ParameterError
        The model does not read it.
    """
    if place not in rows.read:
        raise ParameterError(f"plot_effects: expected a column that the model reads, {rows.names[place]!r} is left out")
    cells = rows.cells(place)
    words = cells if isinstance(cells, Words) else None
    labels: list[str] | None = None
    values, deciles, left = np.empty(0), np.empty(0), 0
    if words is None:
        numbers = _comparable(cells)
        there = np.flatnonzero(numbers == numbers)
        words = cells.words() if categorical or len(np.unique(numbers[there])) <= FEW else None
    if words is not None:
        sources, labels, left = _labels(words)
    else:
        sources = there[_spread(numbers[there], n_points)]
        values, deciles = numbers[sources], np.quantile(numbers[there], np.arange(1, 10) / 10, method="inverted_cdf")
    missing = np.flatnonzero(cells.missing)[:1]
    said = _said(rows, answers, place, chosen, np.concatenate([sources, missing]))
    return Effect(rows.names[place], labels, values, said, len(missing) > 0, deciles, left)


def _said(rows: Rows, answers: Answers, place: int, chosen: Places, sources: Places) -> NDArray[np.float64]:
    """What the model says of the chosen rows, (rows, values, outputs), with the cells of others in a column."""
    pieces = []
    for some in np.array_split(chosen, -(-len(chosen) * len(sources) // BATCH)):
        said = answers.predict(rows.taken(np.repeat(some, len(sources)), [place], [np.tile(sources, len(some))]))
        pieces.append(said.reshape(len(some), len(sources), -1))
    return np.concatenate(pieces)


def _comparable(cells: Cells) -> NDArray[Any]:
    """Numbers or dates, NaN or NaT where one is missing or infinite."""
    if isinstance(cells, Times):
        return cells.ticks
    values = cells.numbers().values
    return np.where(np.isfinite(values), values, np.nan)


def _spread(values: NDArray[Any], most: int) -> Places:
    """Where values are that go from one end to the other in about equal steps, each once."""
    found, first = np.unique(values, return_index=True)
    if len(found) > most:
        low, high = np.quantile(values, ENDS, method="inverted_cdf").astype(np.float64)  # of dates, microseconds
        places, share = found.astype(np.float64), np.arange(most) / (most - 1)
        steps = low * (1 - share) + high * share
        after = np.searchsorted(places, steps).clip(1, len(places) - 1)
        with np.errstate(over="ignore"):
            before_is_nearer = steps - places[after - 1] <= places[after] - steps
        first = first[np.unique(after - before_is_nearer)]
    return np.asarray(first, np.int64)


def _labels(words: Words) -> tuple[Places, list[str], int]:
    """Rows that have labels, the labels, and how many more there are: rare ones are left out."""
    counts = words.counts()
    common = np.argsort(-counts, kind="stable")[:LABELS]
    labels = {code: str(words.labels[code]) for code in common[counts[common] > 0].tolist()}
    order = sorted(labels, key=lambda code: _in_order(labels[code]))
    rows = np.array([np.flatnonzero(words.codes == code)[0] for code in order], np.int64)
    return rows, [labels[code] for code in order], int(np.count_nonzero(counts)) - len(order)


def _in_order(label: str) -> tuple[float, list[str]]:
    """Numbers in their order, then words, in which numbers count as such."""
    words = [part.zfill(12) if part.isdecimal() else part for part in re.split(r"(\d+)", label)]
    try:
        return float(label), words
    except ValueError:
        return np.inf, words
