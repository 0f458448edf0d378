"""Layers; each module is one theme."""

from nnkit.layers.attention import MultiHeadAttention, PositionalEmbedding
from nnkit.layers.dropout import Dropout
from nnkit.layers.embedding import Embedding
from nnkit.layers.gated import GLU, SwiGLU
from nnkit.layers.linear import Linear
from nnkit.layers.normalization import LayerNorm, RMSNorm
from nnkit.layers.shape import Flatten, Permute, Reshape, Squeeze

__all__ = [
    "GLU",
    "Dropout",
    "Embedding",
    "Flatten",
    "LayerNorm",
    "Linear",
    "MultiHeadAttention",
    "Permute",
    "PositionalEmbedding",
    "RMSNorm",
    "Reshape",
    "Squeeze",
    "SwiGLU",
]
