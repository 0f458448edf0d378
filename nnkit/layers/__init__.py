"""Layers; each module is one theme."""

from nnkit.layers.containers import Branches, Residual, TimeDistributed
from nnkit.layers.conv import Conv1d, Conv2d, ConvTranspose2d
from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear
from nnkit.layers.shape import Flatten, Reshape

__all__ = ["Branches", "Conv1d", "Conv2d", "ConvTranspose2d", "Dropout", "Flatten", "Linear", "Reshape", "Residual", "TimeDistributed"]
