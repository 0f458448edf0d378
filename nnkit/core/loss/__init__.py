"""The contract of losses; their reduction, weights and targets, which are the framework's."""

from nnkit.core.loss.arrays import LossArrays
from nnkit.core.loss.base import BoundLoss, Graded, Loss
from nnkit.core.loss.interpreted import PythonLoss
from nnkit.core.loss.weights import RowWeights

__all__ = ["BoundLoss", "Graded", "Loss", "LossArrays", "PythonLoss", "RowWeights"]
