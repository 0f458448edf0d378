"""Layers; each module is one theme."""

from nnkit.layers.containers import Branches, Residual, TimeDistributed
from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear
from nnkit.layers.shape import Flatten, Reshape

__all__ = ["Branches", "Dropout", "Flatten", "Linear", "Reshape", "Residual", "TimeDistributed"]
