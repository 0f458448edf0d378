"""Cosines over the whole training: in ever longer cycles, or flat at first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnkit.core.registry import register
from nnkit.core.schedule import Schedule

__all__ = ["CoslogSchedule", "FlatCosineSchedule"]

Times = NDArray[np.float64]


@register("coslog")
class CoslogSchedule(Schedule):
    """From 0 to 1 and back, several times, each twice as long as the last: factor(t) = (1 - cos(2 pi log2(1 + c t / T))) / 2.

    With c = 2**cycles - 1, log2 runs from 0 to ``cycles`` over the training of T epochs. It begins and ends at 0.

    Parameters
    ----------
    cycles : int >= 1

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.CoslogSchedule(2).factor(np.array([0.0, 1.0, 3.0, 9.0]), 9).round(6)
    array([0.      , 0.930431, 0.      , 0.      ])

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    section 3: coslog4.
    """

    def __init__(self, cycles: int = 4) -> None:
        self.cycles = cycles
        self.require_size("cycles")
        self.require_number("cycles", 1, 64)

    def factor(self, epoch: Times, epochs: float) -> Times:
        t = np.minimum(epoch / epochs, 1.0)
        return np.asarray((1 - np.cos(2 * np.pi * np.log2(1 + (2.0**self.cycles - 1) * t))) / 2)


@register("flat_cosine")
class FlatCosineSchedule(Schedule):
    """1 for the first part of the training, then down to 0 along half a cosine: factor(t) = (1 + cos(pi u)) / 2.

    u is 0 up to the time ``flat``, and runs from there to 1 at the end.

    Parameters
    ----------
    flat : float in [0, 1), a part of the whole training

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> nn.FlatCosineSchedule().factor(np.array([0.0, 5.0, 7.5, 10.0]), 10).round(6)
    array([1. , 1. , 0.5, 0. ])
    >>> dropout = nn.Dropout(0.15 * nn.FlatCosineSchedule())

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    section 3: flat_cos.
    """

    def __init__(self, *, flat: float = 0.5) -> None:
        self.flat = flat
        self.require_number("flat", 0.0, 1.0, below=True)

    def factor(self, epoch: Times, epochs: float) -> Times:
        u = np.clip((epoch / epochs - self.flat) / (1 - self.flat), 0.0, 1.0)
        return np.asarray((1 + np.cos(np.pi * u)) / 2)
