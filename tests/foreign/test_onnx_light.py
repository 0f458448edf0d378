"""The nine models of the onnx package, without their trained weights: each gives the recorded output."""

from pathlib import Path

import numpy as np
import pytest

import nnkit as nn

onnx = pytest.importorskip("onnx")

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
MODELS = ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19",
          "zfnet512"]  # fmt: skip


def test_all_models_are_named():
    assert {path.stem.removeprefix("light_") for path in FOLDER.glob("*.onnx")} <= set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_the_recorded_output(name):
    recorded = onnx.numpy_helper.to_array(onnx.load_tensor(FOLDER / f"light_{name}_output_0.pb"))
    model = nn.onnx.load(FOLDER / f"light_{name}.onnx")
    count = int(np.prod(model.in_shape))
    x = (np.arange(count).reshape(1, *model.in_shape) / count).astype("float32")  # as the package's own runner has it
    out = model.predict(x)
    assert out.size == recorded.size
    assert np.allclose(out.reshape(recorded.shape), recorded, rtol=1e-3, atol=1e-5)
