"""Containers by the path by which files know them."""

from nnkit.layers.graph import Branches
from nnkit.layers.residual import Residual
from nnkit.layers.time_distributed import TimeDistributed

__all__ = ["Branches", "Residual", "TimeDistributed"]
