"""A net of several inputs with padding runs elsewhere to the same numbers."""

import numpy as np
import pytest

import nnkit as nn

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def check(model, X, path):
    """The runtime gives what the model does."""
    nn.onnx.export(model, path)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    (out,) = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, X)
    expected = model.predict(X)
    assert np.abs(out - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_with_padding_runs_elsewhere(norm_first, tmp_path):
    """Both masks go through the sums around attention, into the second layer of the decoder."""
    transformer = nn.Transformer(2, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=9, norm_first=norm_first)
    embeddings = [[nn.Embedding(20, 8, padding_idx=0), nn.PositionalEmbedding()] for _ in range(2)]
    net = nn.Graph(src=("asked", embeddings[0]), tgt=("told", embeddings[1]), out=(("src", "tgt"), transformer))
    model = nn.Sequential([net]).build({"asked": (7,), "told": (5,)}, random_state=0)
    random = np.random.default_rng(0)
    X = {"asked": random.integers(1, 20, (4, 7)), "told": random.integers(1, 20, (4, 5))}
    X["asked"][:2, 4:] = 0
    X["told"][1:3, 3:] = 0
    check(model, X, tmp_path / "net.onnx")
