"""Sums over places of an image, lane by lane: what the kernels of pooling share."""

from __future__ import annotations

from nnkit.kernels.lanes import everywhere, load, store

__all__ = ["average", "increase", "share_out"]


def increase(more, target):
    """Target += more, lane by lane."""
    store(load(target) + more, target)


def average(values, count, out):
    """Out = the sum of a window (height, width, lanes), divided by ``count``."""
    total = everywhere(0.0, out)
    for h in range(values.shape[0]):
        for w in range(values.shape[1]):
            total = total + load(values[h, w])
    store(total / count, out)


def share_out(given, count, values):
    """Add to every number of a window what is given, divided by ``count``."""
    share = load(given) / count
    for h in range(values.shape[0]):
        for w in range(values.shape[1]):
            increase(share, values[h, w])
