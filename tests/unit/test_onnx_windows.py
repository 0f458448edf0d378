"""Poolings whose padding behind is another than the one before, against ONNX Runtime; and constants that would be huge."""

import itertools
import tracemalloc

import numpy as np
import pytest

import nnkit as nn

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

KINDS = {"max": ("MaxPool", {}), "mean": ("AveragePool", {"count_include_pad": 0}),
         "mean with zeros": ("AveragePool", {"count_include_pad": 1})}  # fmt: skip


def model_of(nodes, in_shape):
    """A file's bytes: nodes from x to out."""
    helper, types = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(nodes, "graph", [helper.make_tensor_value_info("x", types.FLOAT, [2, *in_shape])],
                              [helper.make_tensor_value_info("out", types.FLOAT, None)])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def pooled(path, kind, in_shape, **window):
    """Rows, what the runtime makes of them, and what nnkit does: None where it refuses the file."""
    op, mode = KINDS[kind]
    path.write_bytes(model_of([onnx.helper.make_node(op, ["x"], ["out"], **mode, **window)], in_shape))
    x = np.random.default_rng(0).normal(size=(2, *in_shape)).astype("float32") - 3.0  # zeros would win
    expected = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    try:
        model = nn.onnx.load(path)
    except nn.OnnxError as error:
        assert f"({op}) with " in str(error)
        return x, expected, None
    return x, expected, model.predict(x)


def layers_of(kind, kernel, stride, padding):
    """The layers that could be meant."""
    mode = {} if kind == "max" else {"count_include_pad": kind == "mean with zeros"}
    kind = nn.MaxPool1d if kind == "max" else nn.AvgPool1d
    return [kind(kernel, stride, padding, ceil_mode=ceil_mode, **mode) for ceil_mode in (True, False)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [6, 7])
def test_uneven_padding_along_one_axis(size, kind, tmp_path):
    """What is read is right; what is refused, no layer computes."""
    read = 0
    grid = itertools.product((2, 3, 5), (1, 2, 3), (0, 1), (0, 1, 2), (0, 1))
    for kernel, stride, before, behind, ceil_mode in grid:
        if before == behind or behind >= kernel:
            continue
        window = {"kernel_shape": [kernel], "strides": [stride], "pads": [before, behind], "ceil_mode": ceil_mode}
        x, expected, out = pooled(tmp_path / "pool.onnx", kind, (2, size), **window)
        if out is not None:
            read += 1
            assert out.shape == expected.shape, window
            assert np.allclose(out, expected, atol=1e-6), window
        elif not ceil_mode:
            others = [nn.Sequential([layer]).build((2, size)).predict(x) for layer in layers_of(kind, kernel, stride, before)]
            assert not any(other.shape == expected.shape and np.allclose(other, expected) for other in others), window
    assert read


@pytest.mark.parametrize(("kind", "image", "window", "layer"), [
    ("max", (6, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
     "MaxPool2d(3, stride=2, ceil_mode=True)"),
    ("max", (6, 7), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [0, 0, 1, 0]},
     "MaxPool2d((3, 2), stride=(2, 1), ceil_mode=True)"),
    ("max", (6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
     "MaxPool2d(3, stride=2, ceil_mode=True)"),
    ("max", (8, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 2, 2], "dilations": [2, 2]},
     "MaxPool2d(3, stride=2, dilation=2, ceil_mode=True)"),
    ("mean", (6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
     "AvgPool2d(3, stride=2, ceil_mode=True, count_include_pad=False)"),
    ("mean", (6, 6), {"kernel_shape": [7, 7], "strides": [1, 1], "pads": [0, 0, 1, 1]},  # a mean of all places
     "AvgPool2d(6, stride=1, ceil_mode=True, count_include_pad=False)"),
    ("mean", (6, 5), {"kernel_shape": [7, 2], "strides": [1, 2], "pads": [0, 0, 1, 1]},
     "AvgPool2d((6, 2), stride=(1, 2), ceil_mode=True, count_include_pad=False)"),
    ("mean with zeros", (6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, None),  # of nine, always
    ("mean with zeros", (6, 6), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]},
     "AvgPool2d(2, stride=2, ceil_mode=True)"),
    ("max", (6, 6), {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1]}, None),  # as many windows as places
])  # fmt: skip
def test_uneven_padding_of_images(kind, image, window, layer, tmp_path):
    _, expected, out = pooled(tmp_path / "pool.onnx", kind, (2, *image), **window)
    assert (out is None) == (layer is None)
    if out is not None:
        assert repr(nn.onnx.load(tmp_path / "pool.onnx").layers[0]) == layer
        assert np.allclose(out, expected, atol=1e-6)


def filled(name, *shape, dtype="float32"):
    """Zeros of which a file has the shape alone."""
    value = onnx.numpy_helper.from_array(np.zeros(1, dtype))
    return [onnx.helper.make_node("Constant", [], [f"{name} shape"], value_ints=shape),
            onnx.helper.make_node("ConstantOfShape", [f"{name} shape"], [name], value=value)]  # fmt: skip


def peak_of(work):
    """Bytes that NumPy asks for in between."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


GEMM = onnx.helper.make_node("Gemm", ["x", "w"], ["out"], transB=1)
HUGE = {
    "in one constant": filled("w", 1 << 20, 257),
    "in one of another type": filled("w", 1 << 20, 129, dtype="float64"),
    "in several": [node for name in "wuv" for node in filled(name, 1 << 20, 100)],
    "by a cast": [*filled("h", 1 << 20, 255, dtype="float16"), onnx.helper.make_node("Cast", ["h"], ["w"], to=1)],
    "by repeating": [*filled("h", 1, 257), onnx.helper.make_node("Constant", [], ["large"], value_ints=[1 << 20, 1]),
                     onnx.helper.make_node("Expand", ["h", "large"], ["w"])],
    "by putting together": [*filled("h", 1 << 20, 100), onnx.helper.make_node("Concat", ["h", "h", "h"], ["w"], axis=1)],
}  # fmt: skip


@pytest.mark.parametrize("nodes", HUGE.values(), ids=HUGE)
def test_a_small_file_with_huge_constants_is_refused_at_once(nodes, tmp_path):
    (tmp_path / "huge.onnx").write_bytes(model_of([*nodes, GEMM], (257,)))

    def load():
        with pytest.raises(nn.OnnxError, match="constants that are computed from others to have at most 1073741824 bytes"):
            nn.onnx.load(tmp_path / "huge.onnx")

    assert peak_of(load) < 1 << 24


def test_weights_of_one_number_are_kept_once(tmp_path):
    """The model's own, and its gradients, which take no memory before they are used."""
    nodes = [*filled("h", 1 << 11, 1 << 11, dtype="float16"), onnx.helper.make_node("Cast", ["h"], ["w"], to=1), GEMM]
    (tmp_path / "zeros.onnx").write_bytes(model_of(nodes, (1 << 11,)))
    assert peak_of(lambda: nn.onnx.load(tmp_path / "zeros.onnx")) < 2.5 * (1 << 24)
