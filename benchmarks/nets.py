"""Nets of layers and their twins in PyTorch: the same data, the same initial weights, the same batches in the same order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .workloads import Data, digits

__all__ = ["NETS", "Net", "full_batches", "pictures"]


@dataclass(frozen=True)
class Net:
    """A net as nnkit's layers and as PyTorch's, its data and how it is trained: Adam, float32.

    ``products`` are the multiply-adds of a row's forward pass, layer by layer, of products with weights and of attention's
    two; the first ones' inputs need no gradient (an Embedding's 0 where that is the first layer).
    ``image`` says that PyTorch has a choice between two orders of memory.
    """

    name: str
    net: str
    layers: Callable[[Any], list[Any]]  # of the module nnkit
    torch: Callable[[], Any]
    data: Callable[[], Data]
    batch: int
    epochs: int
    products: tuple[int, ...]
    image: bool = False
    tolerance: float = 0.01  # by how much the final losses may differ
    quick: int = 1
    shuffle: bool = False
    loss: str = "cross_entropy"
    lr: float = 1e-3

    @property
    def flops(self) -> int:
        """Arithmetic of a step, two for each multiply-add: forward, the weights' gradients, the inputs' gradients."""
        return 2 * self.batch * (3 * sum(self.products) - self.products[0])


def full_batches() -> Data:
    """scikit-learn's digits, as many as fill batches of 128."""
    X, y = digits()
    return X[:1792], y[:1792]


# -------------------------------------------------------------------------------------------------- convolutions


def sequences() -> Data:
    """The digits, three times as high and as wide, with a margin: 28 rows of 28, as MNIST's."""
    X, y = full_batches()
    large = X.reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2)
    return np.pad(large, ((0, 0), (2, 2), (2, 2))), y


def pictures() -> Data:
    X, y = sequences()
    return X[:, None], y


def lenet5(nn: Any) -> list[Any]:
    return [
        nn.Conv2d(6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(120), nn.ReLU(), nn.Linear(84), nn.ReLU(), nn.Linear(10),
    ]  # fmt: skip


def torch_lenet5() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def cnn(nn: Any) -> list[Any]:
    return [
        nn.Conv2d(32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(10),
    ]  # fmt: skip


def torch_cnn() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 7 * 7, 10),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- recurrence


def lstm(nn: Any) -> list[Any]:
    return [nn.LSTM(64), nn.Linear(10)]


def gru(nn: Any) -> list[Any]:
    return [nn.GRU(64), nn.Linear(10)]


def torch_lstm() -> Any:
    from torch import nn

    return _last_state(nn.LSTM(28, 64, batch_first=True))


def torch_gru() -> Any:
    from torch import nn

    return _last_state(nn.GRU(28, 64, batch_first=True))


def _last_state(recurrent: Any) -> Any:
    from torch import nn

    class LastState(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = recurrent
            self.head = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            states, _ = self.recurrent(x)
            return self.head(states[:, -1])

    return LastState()


# ------------------------------------------------------------------------------------------------- normalisation


def norms(nn: Any) -> list[Any]:
    return [
        nn.Linear(128), nn.BatchNorm1d(), nn.GELU(), nn.Dropout(0.1), nn.Linear(64), nn.LayerNorm(), nn.GELU(),
        nn.Dropout(0.1), nn.Linear(10),
    ]  # fmt: skip


def torch_norms() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm1d(128), nn.GELU(), nn.Dropout(0.1), nn.Linear(128, 64), nn.LayerNorm(64), nn.GELU(),
        nn.Dropout(0.1), nn.Linear(64, 10),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------- transformer

STEPS, WIDTH, HEADS, VOCABULARY, BLOCKS = 64, 64, 4, 65, 2


def characters() -> Data:
    """A text where each character has four successors, one of them likely; rows of it, and the same rows one step later."""
    random = np.random.default_rng(0)
    successors = random.integers(0, VOCABULARY, (VOCABULARY, 4))
    rows = 16 * 32
    text: NDArray[np.int64] = np.empty((rows, STEPS + 1), np.int64)
    text[:, 0] = random.integers(0, VOCABULARY, rows)
    for step in range(STEPS):
        text[:, step + 1] = successors[text[:, step], random.choice(4, rows, p=(0.7, 0.1, 0.1, 0.1))]
    return text[:, :-1].copy(), text[:, 1:].copy()  # type: ignore[return-value]  # integers are looked up


def gpt(nn: Any) -> list[Any]:
    blocks = [
        layer for _ in range(BLOCKS) for layer in (
            nn.Residual(nn.LayerNorm(), nn.MultiHeadAttention(HEADS, causal=True)),
            nn.Residual(nn.LayerNorm(), nn.Linear(4 * WIDTH), nn.GELU(), nn.Linear(WIDTH)),
        )
    ]  # fmt: skip
    return [nn.Embedding(VOCABULARY, WIDTH), nn.PositionalEmbedding(), *blocks, nn.LayerNorm(), nn.Linear(VOCABULARY)]


def torch_gpt() -> Any:
    from torch import nn
    from torch.nn import functional

    class Attention(nn.MultiheadAttention):
        """Its parameters; the shortest way through them."""

        def forward(self, x: Any) -> Any:  # type: ignore[override]
            rows, steps, width = x.shape
            projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
            q, k, v = projected.view(rows, steps, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
            out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out_proj(out.transpose(1, 2).reshape(rows, steps, width))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(WIDTH)
            self.attention = Attention(WIDTH, HEADS)
            self.norm2 = nn.LayerNorm(WIDTH)
            self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(VOCABULARY, WIDTH)
            self.positions = nn.Embedding(STEPS, WIDTH)
            self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
            self.norm = nn.LayerNorm(WIDTH)
            self.head = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(self.blocks(self.tokens(x) + self.positions.weight)))

    return GPT()


# Of a block: projections to q, k, v and back; scores and weighted values of T (T + 1) / 2 pairs; two layers of 4 x the width.
_BLOCK = (STEPS * WIDTH * 4 * WIDTH, STEPS * (STEPS + 1) * WIDTH, STEPS * 2 * WIDTH * 4 * WIDTH)

NETS = (
    Net("lenet5", "Conv2d(6, 5)-MaxPool-Conv2d(16, 5)-MaxPool-120-84-10, 28x28", lenet5, torch_lenet5, pictures, 128, 2,
        (24 * 24 * 25 * 6, 8 * 8 * 150 * 16, 256 * 120, 120 * 84, 84 * 10), image=True),
    Net("cnn", "Conv2d(32, 3)-MaxPool-Conv2d(64, 3)-MaxPool-10, 28x28", cnn, torch_cnn, pictures, 128, 1,
        (28 * 28 * 9 * 32, 14 * 14 * 9 * 32 * 64, 7 * 7 * 64 * 10), image=True),
    Net("lstm", "LSTM(64)-10, 28 steps of 28", lstm, torch_lstm, sequences, 64, 2,
        (28 * 28 * 4 * 64, 28 * 64 * 4 * 64, 64 * 10)),
    Net("gru", "GRU(64)-10, 28 steps of 28", gru, torch_gru, sequences, 64, 2,
        (28 * 28 * 3 * 64, 28 * 64 * 3 * 64, 64 * 10)),
    Net("norms", "64-128-BatchNorm-GELU-Dropout-64-LayerNorm-GELU-Dropout-10", norms, torch_norms, full_batches, 64, 15,
        (64 * 128, 128 * 64, 64 * 10), tolerance=0.1, quick=5),
    Net("gpt", f"{BLOCKS} blocks, width {WIDTH}, {HEADS} heads, {STEPS} steps, {VOCABULARY} characters", gpt, torch_gpt,
        characters, 32, 1, (0, *BLOCKS * _BLOCK, STEPS * WIDTH * VOCABULARY)),
)  # fmt: skip
