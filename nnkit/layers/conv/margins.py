"""What lies around the input of a convolution, where it is not zeros: numbers of the input itself."""

from __future__ import annotations

from nnkit.kernels.blocks import clear
from nnkit.kernels.lanes import load, store

__all__ = ["circular", "gather", "reflect", "replicate", "scatter"]


def reflect(place, size):
    """Where a place outside, counted from 0, is read: the mirror stands at the last place inside."""
    return -place if place < 0 else 2 * (size - 1) - place if place >= size else place


def replicate(place, size):
    """The last place inside."""
    return 0 if place < 0 else size - 1 if place >= size else place


def circular(place, size):
    """As if the input went on from its beginning."""
    return place + size if place < 0 else place - size if place >= size else place


def gather(x, sources, padded):
    """Padded = x with its margins: ``sources`` are the places to read along the first axis, then along the others."""
    planes, height, width = padded.shape[2], padded.shape[3], padded.shape[4]
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            for d in range(planes):
                for h in range(height):
                    row, target = x[b, c, sources[d], sources[planes + h]], padded[b, c, d, h]
                    for w in range(width):
                        store(load(row[sources[planes + height + w]]), target[w])


def scatter(grad_padded, sources, grad_x):
    """Grad_x = the sum of what its places get, from where they are and from the margins."""
    clear(grad_x)
    planes, height, width = grad_padded.shape[2], grad_padded.shape[3], grad_padded.shape[4]
    for b in range(grad_x.shape[0]):
        for c in range(grad_x.shape[1]):
            for d in range(planes):
                for h in range(height):
                    row, given = grad_x[b, c, sources[d], sources[planes + h]], grad_padded[b, c, d, h]
                    for w in range(width):
                        target = row[sources[planes + height + w]]
                        store(load(target) + load(given[w]), target)
