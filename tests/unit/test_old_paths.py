"""Pickles name classes by their modules: where a part once stood, it is still found."""

import pickle

import pytest

import nnkit as nn

PLACES = {
    "nnkit.core.layer": ("Layer", "PythonLayer"),
    "nnkit.core.loss": ("Loss", "PythonLoss"),
    "nnkit.layers.attention": ("MultiHeadAttention", "PositionalEmbedding"),
    "nnkit.layers.channel_norm": ("BatchNorm1d", "BatchNorm2d", "GroupNorm"),
    "nnkit.layers.conv": ("Conv1d", "Conv2d", "ConvTranspose2d"),
    "nnkit.layers.pooling": (
        "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "GlobalAvgPool", "MaxPool1d", "MaxPool2d", "Upsample",
    ),
    "nnkit.layers.recurrent": ("GRU", "LSTM", "RNN", "Masking"),
}  # fmt: skip


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PLACES.items() for name in names])
def test_a_pickle_that_names_a_part_where_it_once_stood_finds_it(module, name):
    pickled = f"c{module}\n{name}\n.".encode()  # as protocol 0 writes a class
    assert pickle.loads(pickled) is getattr(nn, name)
