"""Which rows each of several nets learns from, and which it holds out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold

from nnkit.errors import ParameterError
from nnkit.estimators.splitting import held_out

__all__ = ["RESAMPLES", "SEEDS", "Resample", "require_resample", "resampled"]

SEEDS = 2**31  # of nets: whole numbers below that
FOLDS = 5  # at least: two nets by folds hold out a fifth each, not half of the rows

Rows = NDArray[np.int64]
RESAMPLES = ("folds", "seeds", "bootstrap")


class Resample(NamedTuple):
    """Numbers of rows, for one net."""

    train: Rows
    held: Rows


def require_resample(resample: Any) -> None:
    """Refuse what is no way to choose rows."""
    if not isinstance(resample, str) or resample not in RESAMPLES:
        raise ParameterError(f"resample: expected one of {', '.join(map(repr, RESAMPLES))}, got {resample!r}")


def resampled(
    resample: Any, members: int, labels: NDArray[Any] | None, rows: int, fraction: float, random: np.random.RandomState
) -> Iterator[Resample]:
    """Rows for each of several nets; with ``labels`` the same share of each class.

    Parameters
    ----------
    resample : "folds": each holds out another fold; "seeds": each holds out a fraction drawn anew; "bootstrap": each learns
        from as many rows as there are, drawn with replacement, and holds out those that were not drawn
    members : int >= 1; a single one holds out a fraction, whatever ``resample`` says
    rows, fraction : how many rows there are, and the share that is held out where there are no folds

    Raises
    ------
    ParameterError
        ``resample`` or ``fraction`` is something else.
    """
    require_resample(resample)
    every = np.arange(rows)
    if members == 1 or resample == "seeds":
        for _ in range(members):
            held = held_out(labels, rows, fraction, random)
            yield Resample(np.setdiff1d(every, held, assume_unique=True), held)
    elif resample == "bootstrap":
        for _ in range(members):
            drawn = np.sort(random.randint(rows, size=rows))
            yield Resample(drawn, np.setdiff1d(every, drawn))
    else:
        yield from _folds(members, labels, every, random)


def _folds(members: int, labels: NDArray[Any] | None, every: Rows, random: np.random.RandomState) -> Iterator[Resample]:
    """Folds of about equal size; a class of a few rows is in as many folds."""
    count = min(max(members, FOLDS), len(every))
    if count < 2:
        raise ParameterError(f"resample: expected two rows for folds, or more, got n_samples={len(every)}; take 'seeds'")
    least = count if labels is None else int(np.unique(labels, return_counts=True)[1].min())
    by_class = labels is not None and least >= count
    folds = (StratifiedKFold if by_class else KFold)(count, shuffle=True, random_state=random)
    splits = [Resample(train, held) for train, held in folds.split(every, labels)]
    for place in range(members):
        yield splits[place % count]
