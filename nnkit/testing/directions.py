"""Gradients with too many numbers for a difference by each: they are compared along directions drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnkit.testing.bench import Batch, Bench, gradient_of
from nnkit.testing.compare import CheckError
from nnkit.testing.part import DIFFERENCES, SEED

__all__ = ["has_slopes", "require_slopes"]

STEP = 1e-6  # truncation ~ STEP**2, rounding ~ 1e-16 / STEP; of many numbers, few are that near to a kink
TRIES = 2  # what is wrong for that many inputs is wrong; for one of them, it may be a kink


def require_slopes(bench: Bench, training: bool) -> None:
    """Raise `CheckError` where a gradient is not the derivative of sum(out * grad_out) along a direction."""
    random = np.random.default_rng(SEED)
    for _ in range(TRIES):
        bench.x[...] = random.permuted(bench.x.ravel()).reshape(bench.x.shape)
        batch = Batch(bench, len(bench.x), training)
        batch.forward(bench.x)
        parameters = {gradient_of(name): array for name, array in bench.model.parameters().items()}
        arrays = {"grad_x": bench.x, **parameters}
        slopes = {name: _Slope(bench, batch, arrays[name], given) for name, given in batch.backward(bench.grad_out).items()}
        signs = {name: random.choice([-1.0, 1.0], slope.given.shape) for name, slope in slopes.items()}
        wrong = [name for name, slope in slopes.items() if slope.is_wrong(signs[name])]
        if not wrong:
            return
    name = wrong[0]
    place, expected = slopes[name].worst(signs[name])
    mode, rows = "" if training else ", out of training,", len(bench.x)
    raise CheckError(f"{bench.part!r}: backward{mode} gives a wrong {name}: at {list(place)} expected {expected:.8g}, got "
                     f"{slopes[name].given[place]:.8g} (of {rows} rows of shape {bench.x.shape[1:]}); fewer and narrower rows "
                     "are right")  # fmt: skip


def has_slopes(bench: Bench, training: bool) -> bool:
    """Whether all gradients are derivatives along a direction."""
    try:
        require_slopes(bench, training)
    except CheckError:
        return False
    return True


@dataclass
class _Slope:
    """A gradient, beside the slopes of sum(out * grad_out) by its array."""

    bench: Bench
    batch: Batch
    array: NDArray[np.float64]
    given: NDArray[np.float64]

    def along(self, direction: NDArray[np.float64]) -> float:
        """The slope along a direction, by differences."""
        before, ends = self.array.copy(), []
        for step in (STEP, -STEP):
            self.array[...] = before + step * direction
            ends.append(float((self.batch.forward(self.bench.x) * self.bench.grad_out).sum()))
        self.array[...] = before
        return (ends[0] - ends[1]) / (2 * STEP)

    def is_wrong(self, direction: NDArray[np.float64]) -> bool:
        """Whether the gradient says another slope."""
        terms = self.given * direction
        size = 1.0 + float(np.sqrt((terms * terms).sum()))
        return not abs(self.along(direction) - float(terms.sum())) <= DIFFERENCES * size

    def worst(self, direction: NDArray[np.float64]) -> tuple[tuple[int, ...], float]:
        """The place of a number that is wrong, and what it should be; half of the numbers are looked at, and half of those."""
        places = np.arange(self.given.size)
        while len(places) > 1:
            half = np.zeros(self.given.size)
            first = places[: len(places) // 2]
            half[first] = direction.ravel()[first]
            places = first if self.is_wrong(half.reshape(direction.shape)) else places[len(first) :]
        place = tuple(int(i) for i in np.unravel_index(int(places[0]), self.given.shape))
        one = np.zeros_like(self.given)
        one[place] = 1.0
        return place, self.along(one)
