"""Pooling: windows of an image become single numbers. And the opposite, `Upsample`."""

from nnkit.layers.pooling.adaptive import AdaptiveAvgPool2d, GlobalAvgPool
from nnkit.layers.pooling.average import AvgPool1d, AvgPool2d
from nnkit.layers.pooling.maximum import MaxPool1d, MaxPool2d
from nnkit.layers.pooling.upsample import Upsample

__all__ = ["AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "GlobalAvgPool", "MaxPool1d", "MaxPool2d", "Upsample"]
