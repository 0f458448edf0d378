"""Random numbers by counter: a pure function of (seed, counter), so any thread can draw any of them in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.kernels.math import log, real

__all__ = ["normal", "permute", "stream", "uniform_bits"]


def stream(seed: Any, step: Any, salt: Any) -> Any:
    """Seed of one part's random stream in one step: splitmix64's finaliser (Steele, Lea, Flood 2014)."""
    z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(step + 1)
    z = z + np.uint64(0xD1B54A32D192ED03) * np.uint64(salt + 1)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(1))


def permute(rows: Any, order: Any, seed: Any) -> None:
    """Fill every row of ``order`` with a random permutation of ``rows`` (Fisher and Yates, Durstenfeld 1964).

    Row e is a function of ``seed[e]`` alone. A number below i is the high half of the product of i with 32 random bits (Lemire
    2019); the bias is below i / 2**32.
    """
    count = rows.shape[0]
    for e in range(order.shape[0]):
        state = np.uint64(seed[e])
        line = order[e]
        for i in range(count):
            line[i] = rows[i]
        for i in range(count - 1, 0, -1):
            state = state + np.uint64(0x9E3779B97F4A7C15)  # splitmix64
            z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            bits = (z ^ (z >> np.uint64(31))) >> np.uint64(32)
            j = np.int64((bits * np.uint64(i + 1)) >> np.uint64(32))
            line[i], line[j] = line[j], line[i]


def uniform_bits(seed: Any, counter: Any) -> Any:
    """Draw a 32-bit unsigned integer for ``counter`` (below 2**32) in the stream ``seed``.

    Two rounds of a 32-bit xor-multiply mixer (Wellons 2018, "lowbias32"), keyed by one half of the seed each. All is
    32-bit arithmetic: loops over ``counter`` vectorise.
    """
    # Numba widens every operation on 32-bit integers to 64: each line narrows its result again.
    bits = np.uint32(np.uint32(counter) ^ np.uint32(seed & 0xFFFFFFFF))
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) + np.uint32(seed >> 32))
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))


def normal(seed: Any, counter: Any) -> Any:
    """Draw a number with mean 0 and variance 1 for ``counter`` (below 2**31) in the stream ``seed`` (Box and Muller 1958).

    sqrt(-2 log u) cos(2 pi v), where u is uniform in (0, 1], and cos(2 pi v) = 1 - 2 sin(pi v)**2 with v in [-1/2, 1/2). The
    sine is Taylor's, to degree 11: off by less than 6e-8.
    """
    u = (real(uniform_bits(seed, 2 * counter)) + 1.0) * 2.3283064365386963e-10
    angle = (real(uniform_bits(seed, 2 * counter + 1)) * 2.3283064365386963e-10 - 0.5) * 3.141592653589793
    y = angle * angle
    series = 0.008333333333333333 + y * (-1.984126984126984e-4 + y * (2.7557319223985893e-6 - y * 2.505210838544172e-8))
    sine = angle * (1.0 + y * (y * series - 0.16666666666666666))
    return np.sqrt(-2.0 * log(u)) * (1.0 - 2.0 * sine * sine)
