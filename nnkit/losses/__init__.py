"""Losses; each module is one theme. Reduction and weights are `Loss`'s."""

from nnkit.losses.binary import BCELoss, BCEWithLogitsLoss, MultiLabelSoftMarginLoss
from nnkit.losses.classes import CrossEntropyLoss, NLLLoss
from nnkit.losses.distributions import GaussianNLLLoss, KLDivLoss, PoissonNLLLoss
from nnkit.losses.margins import HingeEmbeddingLoss, HingeLoss, MultiLabelMarginLoss, MultiMarginLoss, SoftMarginLoss
from nnkit.losses.regression import (
    HalfSquaredErrorLoss,
    HuberLoss,
    L1Loss,
    LogCoshLoss,
    MSELoss,
    QuantileLoss,
    SmoothL1Loss,
)

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HalfSquaredErrorLoss",
    "HingeEmbeddingLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LogCoshLoss",
    "MSELoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "QuantileLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
]
