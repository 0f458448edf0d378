"""What a layer makes of the rows that it begins from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Built
from nnkit.core.part import Example
from nnkit.testing.bench import Bench
from nnkit.testing.compare import because, require, require_equal, require_finite
from nnkit.testing.part import AGREEMENT, ROWS, SEED, Arrays

__all__ = ["begins_as_rows_say"]

MANY = 50  # rows


def begins_as_rows_say(example: Example) -> None:
    """If it begins from data: with finite numbers of its arrays, the same of the same seed, whether rows are many or alike."""
    for dtype in AGREEMENT:
        bench = Bench(example, dtype, rows=MANY)
        for built in bench.network.leaves:
            if built.layer.from_data and built.in_shape == example.in_shape:
                for rows in (bench.x, bench.x[:1], np.repeat(bench.x[:1], ROWS, axis=0)):
                    _require_begun(built, rows)


def _require_begun(built: Built, rows: NDArray[np.float64]) -> None:
    layer, arrays = built.layer, {**built.parameters, **built.states}
    given, again = (_begun(built, rows) for _ in range(2))
    reason = because("it draws numbers of its own, or remembers; draw them from random, which it is given")
    for name, array in given.items():
        require(name in arrays, layer, f"initialise gives {name!r}, which is none of its arrays: {', '.join(arrays)}")
        shape = arrays[name].shape
        require(array.shape == shape, layer, f"initialise gives {name} of shape {array.shape}, expected {shape}")
        require_finite(layer, "initialise", name, array, because("it divides by what does not vary among the rows"))
        require_equal(layer, "initialise", name, again[name], array, reason)


def _begun(built: Built, rows: NDArray[np.float64]) -> Arrays:
    """What ``initialise`` gives for a copy of the rows, which has to stay as it is."""
    seen = rows.copy()
    given = built.layer.initialise(seen, np.random.default_rng(SEED))
    require_equal(built.layer, "initialise", "x", seen, rows, because("it writes to the rows that it is given"))
    return {name: np.asarray(array) for name, array in given.items()}
