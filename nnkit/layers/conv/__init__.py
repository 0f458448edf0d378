"""Convolutions, and their transposes, over one to three axes."""

from nnkit.layers.conv.convolution import Conv1d, Conv2d, Conv3d
from nnkit.layers.conv.transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
