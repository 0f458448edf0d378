"""Nets of volumes, and nets that give images, with their twins in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .nets import Net, full_batches, pictures
from .workloads import Data

__all__ = ["IMAGE_NETS"]


def volumes() -> Data:
    """The digits twice as large, sheared along a third axis: 16 planes of 16 x 16."""
    X, y = full_batches()
    image = X[:256].reshape(-1, 8, 8).repeat(2, axis=1).repeat(2, axis=2)
    return np.stack([np.roll(image, plane // 4, axis=2) for plane in range(16)], axis=1)[:, None], y[:256]


def conv3d(nn: Any) -> list[Any]:
    return [
        nn.Conv3d(16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 3, padding=1), nn.ReLU(),
        nn.Conv3d(32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv3d(32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(10),
    ]  # fmt: skip


def torch_conv3d() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv3d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv3d(32, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 4**3, 10),
    )  # fmt: skip


def noisy() -> Data:
    """Images of 28 x 28 with noise, and without."""
    clean, _ = pictures()
    clean = clean[:512]
    noise = np.random.default_rng(0).normal(0.0, 0.3, clean.shape)
    return (clean + noise).astype(np.float32), clean


def unet(nn: Any) -> list[Any]:
    def block(channels: int) -> list[Any]:
        return [nn.Conv2d(channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 3, padding=1), nn.ReLU()]

    def around(channels: int, *inner: Any) -> Any:
        up = nn.ConvTranspose2d(channels, 2, stride=2)
        return nn.Branches("identity", [nn.MaxPool2d(2), *block(2 * channels), *inner, up])

    return [*block(16), around(16, around(32), *block(32)), *block(16), nn.Conv2d(1, 1)]


def torch_unet() -> Any:
    import torch
    from torch import nn

    def block(before: int, channels: int) -> Any:
        return nn.Sequential(nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(),
                             nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())  # fmt: skip

    class Around(nn.Module):
        def __init__(self, channels: int, *inner: Any) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.MaxPool2d(2), block(channels, 2 * channels), *inner,
                                       nn.ConvTranspose2d(2 * channels, channels, 2, stride=2))  # fmt: skip

        def forward(self, x: Any) -> Any:
            return torch.cat([x, self.inner(x)], 1)

    return nn.Sequential(block(1, 16), Around(16, Around(32), block(64, 32)), block(32, 16), nn.Conv2d(16, 1, 1))


# Multiply-adds of a block of two convolutions, per place.
def _block(before: int, channels: int) -> int:
    return 9 * (before * channels + channels * channels)


IMAGE_NETS = (
    Net("conv3d", "Conv3d(16, 3)-Conv3d(16, 3)-Conv3d(32, 3)/2-Conv3d(32, 3)/2-10, 16x16x16", conv3d, torch_conv3d, volumes,
        32, 1, (16**3 * 27 * 16, 16**3 * 27 * 16 * 16, 8**3 * 27 * 16 * 32, 4**3 * 27 * 32 * 32, 32 * 4**3 * 10), image=True),
    Net("unet", "U-Net of 16, 32 and 64 channels that takes noise away, 28x28", unet, torch_unet, noisy, 64, 1,
        (28 * 28 * _block(1, 16), 14 * 14 * _block(16, 32), 7 * 7 * _block(32, 64), 14 * 14 * 64 * 32, 14 * 14 * _block(64, 32),
         28 * 28 * 32 * 16, 28 * 28 * _block(32, 16), 28 * 28 * 16), image=True, loss="mse"),
)  # fmt: skip
