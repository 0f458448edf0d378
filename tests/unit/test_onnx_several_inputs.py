"""Layers of several inputs, and nets of them with padding, run elsewhere to the same numbers."""

import numpy as np
import pytest

import nnkit as nn

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

EXAMPLES = [example for part in nn.registry.layers.values() if part.__module__.startswith("nnkit.")
            for example in part.examples() if isinstance(example.in_shape, dict)]  # fmt: skip


def check(model, X, path):
    """The runtime gives what the model does."""
    nn.onnx.export(model, path)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    (out,) = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, X)
    expected = model.predict(X)
    assert np.abs(out - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("example", EXAMPLES)
def test_layer_of_several_inputs_runs_elsewhere(example, tmp_path):
    random = np.random.default_rng(0)
    model = nn.Sequential([example.part]).build(example.in_shape, random_state=0)
    for array in model.parameters().values():
        array += 0.1 * random.normal(size=array.shape)
    X = {name: random.normal(size=(5, *shape)).astype("float32") for name, shape in example.in_shape.items()}
    check(model, X, tmp_path / "part.onnx")


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
