"""The nine models of the onnx package, without their trained weights: each gives the recorded output, or is refused by name."""

from pathlib import Path

import numpy as np
import pytest

import nnkit as nn

onnx = pytest.importorskip("onnx")

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
READ = ["densenet121", "resnet50", "shufflenet", "squeezenet"]
REFUSED = {
    "bvlc_alexnet": r"\(MaxPool\) with .*pads=\[0, 0, 1, 1\]",  # more padding behind than before
    "inception_v1": r"\(AveragePool\) with .*pads=\[0, 0, 1, 1\]",
    "inception_v2": r"\(MaxPool\) with .*pads=\[0, 0, 1, 1\]",
    "vgg19": "expected constants that are computed from others to have at most",  # 144 million numbers, of a file of 5 kB
    "zfnet512": "expected constants that are computed from others to have at most",
}


def test_all_models_are_named():
    assert {path.stem.removeprefix("light_") for path in FOLDER.glob("*.onnx")} <= {*READ, *REFUSED}


@pytest.mark.parametrize("name", READ)
def test_a_model_gives_the_recorded_output(name):
    recorded = onnx.numpy_helper.to_array(onnx.load_tensor(FOLDER / f"light_{name}_output_0.pb"))
    model = nn.onnx.load(FOLDER / f"light_{name}.onnx")
    count = int(np.prod(model.in_shape))
    x = (np.arange(count).reshape(1, *model.in_shape) / count).astype("float32")  # as the package's own runner has it
    out = model.predict(x)
    assert out.size == recorded.size
    assert np.allclose(out.reshape(recorded.shape), recorded, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_is_refused_by_name(name):
    with pytest.raises(nn.OnnxError, match=REFUSED[name]):
        nn.onnx.load(FOLDER / f"light_{name}.onnx")
