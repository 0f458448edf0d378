"""What numbers a layer can give, and what numbers a loss expects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Span"]

@dataclass(frozen=True)
class Span:
    """What the numbers of an output row can be: each of them, and all together.

    A layer declares what it gives (``Layer.gives``), a loss what it expects (``Loss.expects``); `Sequential.fit` compares them.

    Attributes
    ----------
    low, high : each number is from low to high, and can come as near to both as you like
    sums : what adds up to 1 over the last axis: "numbers", as of a softmax, or "exponentials", as of its logarithm; "" where
        nothing does

    Examples
    --------
    >>> import nnkit as nn
    >>> print(nn.Span(0, 1, "numbers"))
    numbers from 0 to 1 that add up to 1
    >>> nn.Span(0, 1, "numbers").meets(nn.Span(0, 1)), nn.Span(0, 1).meets(nn.Span())
    (True, False)
    """

    low: float = -np.inf
    high: float = np.inf
    sums: str = ""

    def meets(self, expected: Span) -> bool:
        """Whether all numbers are among the expected ones, and none of these is out of reach."""
        return (self.low, self.high) == (expected.low, expected.high) and expected.sums in ("", self.sums)

    def __str__(self) -> str:
        words = f"numbers from {self.low:g} to {self.high:g}"
        if np.isinf(self.low) or np.isinf(self.high):
            words = f"numbers of at least {self.low:g}" if np.isinf(self.high) else f"numbers of at most {self.high:g}"
        if np.isinf(self.low) and np.isinf(self.high):
            words = "any real numbers"
        together = {"numbers": " that add up to 1", "exponentials": " whose exponentials add up to 1"}
        return words + together.get(self.sums, "")
