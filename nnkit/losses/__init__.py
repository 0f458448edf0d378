"""Losses; each module is one theme. Reduction and weights are `Loss`'s."""

from nnkit.losses.alignment import CTCLoss
from nnkit.losses.binary import BCELoss, BCEWithLogitsLoss, MultiLabelSoftMarginLoss
from nnkit.losses.classes import CrossEntropyLoss, NLLLoss
from nnkit.losses.distributions import GaussianNLLLoss, KLDivLoss, PoissonNLLLoss
from nnkit.losses.linear import LinearCrossEntropyLoss
from nnkit.losses.margins import HingeEmbeddingLoss, HingeLoss, MultiLabelMarginLoss, MultiMarginLoss, SoftMarginLoss
from nnkit.losses.overlap import DiceLoss
from nnkit.losses.pairs import CosineEmbeddingLoss, MarginRankingLoss, TripletMarginLoss
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
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "DiceLoss",
    "GaussianNLLLoss",
    "HalfSquaredErrorLoss",
    "HingeEmbeddingLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LinearCrossEntropyLoss",
    "LogCoshLoss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "QuantileLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
]
