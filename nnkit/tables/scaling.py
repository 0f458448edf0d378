"""How columns of any size and spread become numbers from -3 to 3."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.exchange import Graph, Value

__all__ = ["RobustScale"]

FAR = 1e9  # x / sqrt(1 + (x/3)**2) is 3 to the last digit from here on; the square of a larger number may be infinite
LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class RobustScale:
    """Columns centred at their median, scaled by their quartiles, and bent at the ends.

    ::

        s = 1/(q75 - q25), or 2/(max - min) where that is 0, or 0 where both are
        z = s * (x - median)
        out = z / sqrt(1 + (z/3)**2)

    so that outliers end at -3 and 3, infinity exactly there. NaN becomes 0, the median, which says nothing. Median, quartiles,
    least and largest are those of the finite numbers.

    Attributes
    ----------
    center, factor : (columns,) float64, median and s

    References
    ----------
    Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data", 2024,
    section 3 (robust scaling and smooth clipping).
    """

    center: NDArray[np.float64]
    factor: NDArray[np.float64]

    @classmethod
    def of(cls, columns: Iterable[NDArray[np.float64]]) -> Self:
        """That of some columns."""
        pairs = np.array([_center_and_factor(column) for column in columns]).reshape(-1, 2)
        return cls(pairs[:, 0].copy(), pairs[:, 1].copy())

    def apply(self, column: NDArray[np.float64], place: int) -> NDArray[np.float64]:
        """The column that is number ``place``, scaled."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinity is clipped, infinity times 0 is nothing
            z = (column - self.center[place]) * self.factor[place]
        np.clip(z, -FAR, FAR, out=z)
        z /= np.sqrt(1 + (z / 3) ** 2)
        z[np.isnan(z)] = 0.0
        return z

    def onnx(self, graph: Graph, columns: Value) -> Value:
        """The same of all columns at once, in ONNX: (N, columns)."""
        z = (columns - self.center) * self.factor
        z = graph.node("Where", np.isnan(z), 0.0, z)
        z = graph.node("Clip", z, -FAR, FAR)
        return z / np.sqrt(1 + (z / 3) ** 2)


def _center_and_factor(column: NDArray[np.float64]) -> tuple[float, float]:
    finite = column[np.isfinite(column)]
    if not len(finite):
        return 0.0, 0.0
    low, low_quarter, center, high_quarter, high = np.quantile(finite / 2, [0, 0.25, 0.5, 0.75, 1])  # their range is finite
    beyond = np.isinf(column).any()
    half = (high_quarter - low_quarter) or (high - low) / 2 or 0.5 * beyond
    with np.errstate(over="ignore"):
        return 2 * center, min(0.5 / half, LARGEST) if half else 0.0
