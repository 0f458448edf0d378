"""Where all randomness comes from: what scikit-learn calls a random state."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.errors import ParameterError

__all__ = ["generator"]

LIMIT = 2**128  # what NumPy's generators make of a seed has no more bits


def generator(random_state: Any) -> np.random.Generator:
    """A random generator from what scikit-learn calls a random state: None, an int, a RandomState or a Generator.

    Raises
    ------
    ParameterError
        It is something else, or an integer below 0 or of more than 128 bits.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31 - 1, 4))
    whole = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)
    if random_state is not None and not (whole and 0 <= random_state < LIMIT):
        large = whole and abs(random_state) >= LIMIT
        shown = f"one of {int(random_state).bit_length()} bits" if large else repr(random_state)
        raise ParameterError(f"random_state: expected None, an integer of at least 0 and up to 128 bits, a RandomState or a "
                             f"Generator, got {shown}; 0 will do")  # fmt: skip
    return np.random.default_rng(random_state)
