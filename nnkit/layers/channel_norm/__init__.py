"""Normalisation of channels: over the batch, or over groups of channels."""

from nnkit.layers.channel_norm.batch import BatchNorm1d, BatchNorm2d
from nnkit.layers.channel_norm.group import GroupNorm

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm"]
