"""What a mean of the parameters is, that a fit keeps beside them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Average"]


class Average(Protocol):
    """A running mean of the parameters: after every step it moves by some share towards them."""

    def shares(
        self, begin: NDArray[np.float64], end: NDArray[np.float64], epochs: float
    ) -> NDArray[np.float64]:
        """The shares of steps from ``begin`` to ``end``, in epochs; 1 is a mean that begins anew, 0 a step that is left out."""
