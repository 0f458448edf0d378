"""How a batch is cut into shards: a rule over the model and the batch, never over the machine."""

from __future__ import annotations

from math import prod

from nnkit.engine.operands import lanes_of
from nnkit.network import Network

__all__ = ["shard_rows"]


def shard_rows(network: Network, batch_size: int) -> int:
    """How many rows of a batch one shard gets: a rule over the model and the batch, never over the machine.

    A shard has at least 32 rows (fewer slow the matrix products down) and half a million multiply-adds (about 20 us, against
    a meeting of threads of 0.5 us). Each shard writes a gradient of its own, to be summed: where that is larger than
    1 MB, a shard has at least 64 rows to pay for it. 16 rows have to do where the activations of a row are large: those of
    32 would not stay in the second-level cache. Of sequences 8 rows are enough: their steps are the rows that count.
    Rows in blocks are not cut within a block.
    """
    layers = [built.layer for built in network.leaves]
    if any(built.in_one_shard for built in network.leaves):
        return batch_size
    row_bytes = sum(prod(built.out_shape) for built in network.leaves) * network.vector.itemsize
    least = 64 if network.vector.nbytes > 1 << 20 else 16 if row_bytes > 1 << 17 else 32
    least = max(8, round(least / network.rows_of_matrices()))
    work = 3 * network.work() * batch_size
    shards = max(1, min(batch_size // least, work // 500_000, 64))
    rows = -(-batch_size // shards)
    block = lanes_of(network.dtype) if any(layer.blocked for layer in layers) else 1
    return -(-rows // block) * block
