"""Layers; each module is one theme."""

from nnkit.layers.adaptive_softmax import AdaptiveLogSoftmaxWithLoss, ClusterLogSoftmax
from nnkit.layers.attention import CrossAttention, MultiHeadAttention, PositionalEmbedding
from nnkit.layers.channel_norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from nnkit.layers.columns import Columns
from nnkit.layers.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from nnkit.layers.dropout import Dropout, Dropout2d
from nnkit.layers.embedding import Embedding, EmbeddingBag
from nnkit.layers.gated import GLU, SwiGLU
from nnkit.layers.graph import Branches, Graph, Heads, Inputs
from nnkit.layers.linear import Linear
from nnkit.layers.merge import Add, Concat
from nnkit.layers.normalization import LayerNorm, RMSNorm, Standardize
from nnkit.layers.pairs import Bilinear, CosineSimilarity, PairwiseDistance
from nnkit.layers.pooling import AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d, Upsample
from nnkit.layers.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, Masking, RNNCell
from nnkit.layers.residual import Residual
from nnkit.layers.response_norm import LocalResponseNorm
from nnkit.layers.shape import Flatten, Permute, Reshape, Squeeze
from nnkit.layers.steps import Fields
from nnkit.layers.time_distributed import TimeDistributed
from nnkit.layers.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "GLU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool2d",
    "AdaptiveLogSoftmaxWithLoss",
    "Add",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Branches",
    "ClusterLogSoftmax",
    "Columns",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineSimilarity",
    "CrossAttention",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "EmbeddingBag",
    "Fields",
    "Flatten",
    "GRUCell",
    "GlobalAvgPool",
    "Graph",
    "GroupNorm",
    "Heads",
    "Inputs",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "Masking",
    "MaxPool1d",
    "MaxPool2d",
    "MultiHeadAttention",
    "PairwiseDistance",
    "Permute",
    "PositionalEmbedding",
    "RMSNorm",
    "RNNCell",
    "Reshape",
    "Residual",
    "Squeeze",
    "Standardize",
    "SwiGLU",
    "TimeDistributed",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Upsample",
]
