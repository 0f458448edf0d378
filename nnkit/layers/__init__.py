"""Layers; each module is one theme."""

from nnkit.layers.attention import MultiHeadAttention, PositionalEmbedding
from nnkit.layers.channel_norm import BatchNorm1d, BatchNorm2d, GroupNorm
from nnkit.layers.columns import Columns
from nnkit.layers.conv import Conv1d, Conv2d, ConvTranspose2d
from nnkit.layers.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout, GaussianNoise
from nnkit.layers.embedding import Embedding
from nnkit.layers.gated import GLU, SwiGLU
from nnkit.layers.graph import Branches, Graph, Heads, Inputs
from nnkit.layers.linear import Linear
from nnkit.layers.merge import Add, Concat
from nnkit.layers.normalization import LayerNorm, RMSNorm, Standardize
from nnkit.layers.padding import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReflectionPad3d,
    ReplicationPad1d,
    ReplicationPad2d,
    ReplicationPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from nnkit.layers.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    GlobalAvgPool,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    Upsample,
    UpsamplingBilinear2d,
    UpsamplingNearest2d,
)
from nnkit.layers.recurrent import GRU, LSTM, RNN, Masking
from nnkit.layers.residual import Residual
from nnkit.layers.response_norm import LocalResponseNorm
from nnkit.layers.shape import Flatten, Permute, Reshape, Squeeze, Unflatten
from nnkit.layers.shuffle import ChannelShuffle, PixelShuffle, PixelUnshuffle
from nnkit.layers.steps import Fields
from nnkit.layers.time_distributed import TimeDistributed

__all__ = [
    "GLU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "Add",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Branches",
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "Columns",
    "Concat",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "FeatureAlphaDropout",
    "Fields",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool",
    "Graph",
    "GroupNorm",
    "Heads",
    "Inputs",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "Masking",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MultiHeadAttention",
    "Permute",
    "PixelShuffle",
    "PixelUnshuffle",
    "PositionalEmbedding",
    "RMSNorm",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Reshape",
    "Residual",
    "Squeeze",
    "Standardize",
    "SwiGLU",
    "TimeDistributed",
    "Unflatten",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]
