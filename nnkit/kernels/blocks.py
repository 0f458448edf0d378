"""Rows interleaved in blocks: number j of row n is blocks[n // lanes, j, n % lanes]."""

from __future__ import annotations

from nnkit.kernels.gemm import transpose

__all__ = ["clear", "to_blocks", "to_rows"]


def to_blocks(rows, blocks, pad):
    """Interleave rows. ``pad``: the last block is filled up with copies of the last row, else with zeros."""
    lanes = blocks.shape[2]
    for b in range(blocks.shape[0]):
        first = b * lanes
        last = min(lanes, rows.shape[0] - first) - 1
        if last == lanes - 1:
            transpose(rows[first : first + lanes], blocks[b])
        else:
            for j in range(rows.shape[1]):
                for lane in range(lanes):
                    blocks[b, j, lane] = rows[first + min(lane, last), j] if lane <= last or pad else 0.0


def to_rows(rows, blocks):
    """The rows of blocks."""
    lanes = blocks.shape[2]
    for b in range(blocks.shape[0]):
        first = b * lanes
        count = min(lanes, rows.shape[0] - first)
        if count == lanes:
            transpose(blocks[b], rows[first : first + lanes])
        else:
            for lane in range(count):
                for j in range(rows.shape[1]):
                    rows[first + lane, j] = blocks[b, j, lane]


def clear(array):
    """Set every number of an array (blocks, C, ..., lanes) to 0."""
    for b in range(array.shape[0]):
        for c in range(array.shape[1]):
            plane = array[b, c].reshape(array[b, c].size)
            for i in range(plane.shape[0]):
                plane[i] = 0.0
