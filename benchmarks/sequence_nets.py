"""Nets of sequences with padding, of bags and of PyTorch's own transformer layers, and their twins in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .nets import BLOCKS, HEADS, STEPS, VOCABULARY, WIDTH, Net, characters, sequences
from .workloads import Data

__all__ = ["SEQUENCE_NETS"]

WORDS, LONGEST, FEATURES = 5000, 60, 64  # of the bags


def encoder(nn: Any) -> list[Any]:
    layer = nn.TransformerEncoderLayer(HEADS, dim_feedforward=4 * WIDTH, activation="gelu", norm_first=True)
    stack = nn.TransformerEncoder(layer, BLOCKS, norm=nn.LayerNorm())
    return [nn.Embedding(VOCABULARY, WIDTH), nn.PositionalEmbedding(), stack, nn.Linear(VOCABULARY)]


def torch_encoder() -> Any:
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(VOCABULARY, WIDTH)
            self.positions = nn.Embedding(STEPS, WIDTH)
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, activation="gelu", batch_first=True, norm_first=True)
            self.stack = nn.TransformerEncoder(layer, BLOCKS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
            self.head = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, x: Any) -> Any:
            return self.head(self.stack(self.tokens(x) + self.positions.weight))

    return Encoder()


def texts() -> Data:
    """Texts of 10 to 60 words; their kind makes some of the words ten times as likely."""
    random = np.random.default_rng(0)
    y = random.integers(0, 10, 1792)
    lengths = random.integers(10, LONGEST + 1, len(y))
    common = random.integers(1, WORDS, (10, 50))
    words = np.where(random.random((len(y), LONGEST)) < 0.3, common[y[:, None], random.integers(0, 50, (len(y), LONGEST))],
                     random.integers(1, WORDS, (len(y), LONGEST)))  # fmt: skip
    words[np.arange(LONGEST) >= lengths[:, None]] = 0
    return words, y  # type: ignore[return-value]  # integers are looked up


def bag(nn: Any) -> list[Any]:
    return [nn.EmbeddingBag(WORDS, FEATURES, padding_idx=0), nn.Linear(10)]


def torch_bag() -> Any:
    from torch import nn

    return nn.Sequential(nn.EmbeddingBag(WORDS, FEATURES, padding_idx=0), nn.Linear(FEATURES, 10))


def padded() -> Data:
    """The digits row by row, each without some of its last rows, in whose places there are zeros."""
    X, y = sequences()
    lengths = np.random.default_rng(0).integers(14, 29, len(X))
    shown: NDArray[Any] = X + 0.1
    shown[np.arange(28) >= lengths[:, None]] = 0.0
    return shown, y


def padded_gru(nn: Any) -> list[Any]:
    return [nn.Masking(), nn.GRU(64), nn.Linear(10)]


def torch_padded_gru() -> Any:
    from torch import nn

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = nn.GRU(28, 64, batch_first=True)
            self.head = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            lengths = (x != 0).any(dim=2).sum(dim=1)
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.head(self.recurrent(packed)[1][0])

    return Packed()


_BLOCK = (STEPS * WIDTH * 4 * WIDTH, 2 * STEPS * STEPS * WIDTH, STEPS * 2 * WIDTH * 4 * WIDTH)

SEQUENCE_NETS = (
    Net("encoder", f"TransformerEncoder of {BLOCKS} layers with Dropout, width {WIDTH}, {HEADS} heads, {STEPS} steps", encoder,
        torch_encoder, characters, 32, 1, (0, *BLOCKS * _BLOCK, STEPS * WIDTH * VOCABULARY), tolerance=0.1),
    Net("bag", f"EmbeddingBag({WORDS}, {FEATURES})-10, 10 to {LONGEST} words", bag, torch_bag, texts, 128, 2,
        (0, FEATURES * 10)),
    Net("gru, padded", "GRU(64)-10, 14 to 28 steps of 28", padded_gru, torch_padded_gru, padded, 64, 2,
        (21 * 28 * 3 * 64, 21 * 64 * 3 * 64, 64 * 10)),
)  # fmt: skip
