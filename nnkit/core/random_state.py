"""Where all randomness comes from: what scikit-learn calls a random state."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.errors import ParameterError

__all__ = ["generator"]


def generator(random_state: Any) -> np.random.Generator:
    """A random generator from what scikit-learn calls a random state: None, an int, a RandomState or a Generator."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31 - 1, 4))
    if random_state is not None and (isinstance(random_state, bool) or not isinstance(random_state, int | np.integer)):
        raise ParameterError(f"random_state: expected None, an integer, a RandomState or a Generator, got {random_state!r}")
    return np.random.default_rng(random_state)
