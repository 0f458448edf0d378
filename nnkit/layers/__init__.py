"""Layers; each module is one theme."""

from nnkit.layers.channel_norm import BatchNorm1d, BatchNorm2d, GroupNorm
from nnkit.layers.containers import Branches, Residual, TimeDistributed
from nnkit.layers.conv import Conv1d, Conv2d, ConvTranspose2d
from nnkit.layers.dropout import Dropout, Dropout2d
from nnkit.layers.linear import Linear
from nnkit.layers.pooling import AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d, Upsample
from nnkit.layers.shape import Flatten, Reshape

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Branches",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GlobalAvgPool",
    "GroupNorm",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "Reshape",
    "Residual",
    "TimeDistributed",
    "Upsample",
]
