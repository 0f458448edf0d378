"""Transformers, made of the layers that there are: attention, two Linear, LayerNorm and Dropout."""

from nnkit.layers.transformer.decoder import Transformer, TransformerDecoder, TransformerDecoderLayer
from nnkit.layers.transformer.encoder import TransformerEncoder, TransformerEncoderLayer

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer"]
