"""Normalisation of channels: over the batch, over groups of channels, or each by itself."""

from nnkit.layers.channel_norm.batch import BatchNorm1d, BatchNorm2d, BatchNorm3d
from nnkit.layers.channel_norm.group import GroupNorm
from nnkit.layers.channel_norm.instance import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]
