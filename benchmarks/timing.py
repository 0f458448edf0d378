"""Interleaved measurement: one round measures A, B, C once each, the next round again, so that a slow spell hits all alike.

A ratio is the median of the rounds' ratios, not the ratio of medians: the two numbers of a ratio were taken side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from statistics import median

__all__ = ["Figures", "Rounds", "Stopwatch", "interleave"]

Figures = dict[str, float]


class Rounds:
    """What the rounds have measured: for each key a list of figures by name, one entry for each round."""

    def __init__(self) -> None:
        self.figures: dict[Hashable, list[Figures]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self.figures

    def values(self, key: Hashable, name: str = "seconds") -> list[float]:
        return [figures[name] for figures in self.figures[key]]

    def median(self, key: Hashable, name: str = "seconds") -> float:
        return median(self.values(key, name))

    def best(self, key: Hashable, name: str = "seconds") -> float:
        return min(self.values(key, name))

    def ratio(self, key: Hashable, by: Hashable, name: str = "seconds", by_name: str = "seconds") -> float:
        """Median over the rounds of a figure of ``key`` divided by one of ``by``."""
        return median(a / b for a, b in zip(self.values(key, name), self.values(by, by_name), strict=True))


def interleave(
    tasks: Mapping[Hashable, Callable[[], Figures]], rounds: int, *, warm_up: int = 1, rest: float = 0.0
) -> Rounds:
    """Run all tasks in turn, ``warm_up + rounds`` times, and keep the figures of the last ``rounds``.

    ``rest`` seconds pass between two tasks: thread pools spin for some milliseconds after their work, which would take a
    core from whoever is measured next.
    """
    result = Rounds()
    for index in range(-warm_up, rounds):
        for key, task in tasks.items():
            time.sleep(rest)
            figures = task()
            if index >= 0:
                result.figures.setdefault(key, []).append(figures)
    return result


class Stopwatch:
    """Times a call that is too short for the clock: repeats it for ``least`` seconds, and divides."""

    def __init__(self, call: Callable[[], object], least: float = 0.005) -> None:
        self.call = call
        self.count = 1
        call()
        while self._run() < least:
            self.count *= 2

    def _run(self) -> float:
        call = self.call
        begin = time.perf_counter()
        for _ in range(self.count):
            call()
        return time.perf_counter() - begin

    def __call__(self) -> Figures:
        return {"seconds": self._run() / self.count}
