"""Transformers, made of the layers that there are: attention, two Linear, LayerNorm and Dropout."""

from nnkit.layers.transformer.encoder import TransformerEncoder, TransformerEncoderLayer

__all__ = ["TransformerEncoder", "TransformerEncoderLayer"]
