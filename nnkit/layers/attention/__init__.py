"""Attention over the steps of a sequence, and where a step stands."""

from nnkit.layers.attention.cross import CrossAttention
from nnkit.layers.attention.multi_head import MultiHeadAttention
from nnkit.layers.attention.positions import PositionalEmbedding

__all__ = ["CrossAttention", "MultiHeadAttention", "PositionalEmbedding"]
