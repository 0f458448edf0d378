"""Pooling: boxes of an image become single numbers. And the opposite, `Upsample`."""

from nnkit.layers.pooling.adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    GlobalAvgPool,
)
from nnkit.layers.pooling.average import AvgPool1d, AvgPool2d, AvgPool3d
from nnkit.layers.pooling.fractional import FractionalMaxPool2d, FractionalMaxPool3d
from nnkit.layers.pooling.maximum import MaxPool1d, MaxPool2d, MaxPool3d
from nnkit.layers.pooling.norm import LPPool1d, LPPool2d, LPPool3d
from nnkit.layers.pooling.unpool import MaxUnpool1d, MaxUnpool2d, MaxUnpool3d
from nnkit.layers.pooling.upsample import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "GlobalAvgPool",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
]
