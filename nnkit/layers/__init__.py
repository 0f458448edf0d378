"""Layers; each module is one theme."""

from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear
from nnkit.layers.recurrent import LSTM
from nnkit.layers.shape import Flatten, Reshape

__all__ = ["Dropout", "Flatten", "LSTM", "Linear", "Reshape"]
