"""The contract of losses; their reduction, weights and targets, which are the framework's."""

from nnkit.core.loss.arrays import LossArrays
from nnkit.core.loss.base import BoundLoss, Graded, Loss, RowWeights
from nnkit.core.loss.interpreted import PythonLoss

__all__ = ["BoundLoss", "Graded", "Loss", "LossArrays", "PythonLoss", "RowWeights"]
