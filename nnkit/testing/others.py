"""The contract of initializers and schedules, one property to a function; each raises `CheckError` where it is broken."""

from __future__ import annotations

import numpy as np

from nnkit.core.part import Example
from nnkit.testing.compare import because, require, require_equal, require_finite
from nnkit.testing.part import PART_CHECKS, SEED, Check

__all__ = ["INITIALIZER_CHECKS", "SCHEDULE_CHECKS"]

SHAPES = ((), (7,), (0,), (64, 32), (8, 4, 3, 3))
EPOCHS = 10.0
TIMES = np.linspace(0.0, EPOCHS, 201)[:-1]


def shapes_are_filled_from_the_seed_alone(example: Example) -> None:
    """Any shape is filled with finite numbers, the same again for the same seed."""
    for shape in SHAPES:
        first, again = (np.asarray(example.part(shape, np.random.default_rng(SEED))) for _ in range(2))
        require(first.shape == shape, example.part, f"gives shape {first.shape}, expected {shape}")
        require_finite(example.part, "__call__", f"array of shape {shape}", first)
        reason = because("it draws from another source than the generator that it is given")
        require_equal(example.part, "__call__", f"array of shape {shape}", again, first, reason)


def factor_is_between_0_and_1(example: Example) -> None:
    """For many times at once the factor is float64 in [0, 1], and not always 0."""
    times = TIMES.copy()
    factor = np.asarray(example.part.factor(times, EPOCHS))
    require_equal(example.part, "factor", "epoch", times, TIMES, because("it works in place on the times that it is given"))
    require(factor.shape == TIMES.shape, example.part, f"factor gives shape {factor.shape}, expected {TIMES.shape}")
    require(factor.dtype == np.float64, example.part, f"factor gives {factor.dtype}, expected float64")
    require_finite(example.part, "factor", "factor", factor)
    within = bool((factor >= 0).all() and (factor <= 1 + 1e-12).all() and factor.max() > 0)
    came = f"factor is from {factor.min():.4g} to {factor.max():.4g}"
    require(within, example.part, f"{came}, expected numbers in [0, 1], not all 0")


def factor_of_many_times_equals_one_by_one(example: Example) -> None:
    """The factor at a time does not depend on which other times are asked for."""
    expected = np.concatenate([example.part.factor(TIMES[i : i + 1].copy(), EPOCHS) for i in range(len(TIMES))])
    reason = because("it depends on the other times that are asked for")
    require_equal(example.part, "factor", "factor", example.part.factor(TIMES.copy(), EPOCHS), expected, reason)


INITIALIZER_CHECKS: tuple[Check, ...] = (shapes_are_filled_from_the_seed_alone, *PART_CHECKS)
SCHEDULE_CHECKS: tuple[Check, ...] = (factor_is_between_0_and_1, factor_of_many_times_equals_one_by_one, *PART_CHECKS)
