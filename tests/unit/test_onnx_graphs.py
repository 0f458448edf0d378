"""ONNX files whose ways part and meet: read as named values, by what the runtime makes of them."""

import numpy as np
import pytest

import nnkit as nn

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

tower = nn.Linear(3)
CONV = [nn.Conv2d(2, 3), nn.BatchNorm2d(), nn.ReLU(), nn.Flatten()]
CROSSED = nn.Graph(a=("x", [nn.Linear(3), nn.ReLU()]), b=("x", [nn.Linear(3), nn.Tanh()]), c=(("a", "b"), nn.Add()),
                   d=(("b", "a"), nn.Concat()), e=(("c", "a", "b"), nn.Add(mean=True)), outputs=("c", "d", "e"))  # fmt: skip
ENCODED = nn.Graph(code=("image", [nn.Linear(4), "relu"]), both=(("code", "table"), nn.Concat()), price=("both", nn.Linear(1)),
                   kind=("both", [nn.Linear(3), nn.Softmax()]), outputs=("price", "code", "kind"))  # fmt: skip
ONE_WAY = nn.Graph(a=("x", nn.ReLU()), b=(("x", "a"), nn.Add()), c=("b", nn.Tanh()), d=(("a", "c"), nn.Concat()),
                   e=(("b", "d"), nn.Concat()), f=("e", nn.Linear(2)))  # fmt: skip
NETS = {
    "inputs and heads": ([nn.Inputs(image=CONV, kind=[nn.Embedding(5, 2), nn.Flatten()]), nn.Linear(6), nn.Tanh(), nn.Heads(
        price=nn.Linear(1), sort=[nn.Linear(4), "tanh", nn.Linear(3)])], {"image": (1, 4, 4), "kind": (1,)}),
    "towers": ([nn.Inputs(left=tower, right=[tower, "tanh"], merge="mean"), nn.Linear(2)], {"left": (2,), "right": (2,)}),
    "residual": ([nn.Inputs(a=[nn.Linear(3), nn.Residual(nn.Linear(3), nn.ReLU())], b="identity", merge="add"), nn.LayerNorm(),
                  nn.Branches(nn.Linear(2), nn.Linear(3))], {"a": (2,), "b": (3,)}),
    "heads": ([nn.Linear(4), nn.Heads(a=nn.Linear(2), b="identity", c=nn.Softmax())], (3,)),
    "heads of the input": ([nn.Heads(a=nn.Linear(2), x="identity")], (3,)),
    "graph": ([ENCODED], {"image": (6,), "table": (2,)}),
    "crossed": ([CROSSED], (4,)),
    "behind": ([nn.Linear(4), CROSSED], (3,)),
    "one way": ([nn.Linear(3), ONE_WAY, nn.Tanh()], (2,)),
    "sequences": ([nn.Inputs(words=[nn.Embedding(5, 3), nn.LSTM(4)], steps=nn.GRU(2)), nn.Linear(2)],
                  {"words": (4,), "steps": (5, 3)}),
}  # fmt: skip
WHOLE = {"kind", "words"}


def built(net, dtype="float32"):
    layers, in_shape = NETS[net]
    model = nn.Sequential(layers).build(in_shape, random_state=0, dtype=dtype)
    random = np.random.default_rng(1)
    for array in (*model.parameters().values(), *model.states().values()):
        array += 0.1 * random.uniform(size=array.shape).astype(dtype)
    return model


def rows(model, count=5):
    random = np.random.default_rng(2)
    shapes = model.in_shape if isinstance(model.in_shape, dict) else {"": model.in_shape}
    found = {name: random.integers(0, 5, (count, *shape)) if name in WHOLE else random.normal(size=(count, *shape))
             .astype(model.dtype) for name, shape in shapes.items()}  # fmt: skip
    return found.get("", found)


def outputs(given):
    return given if isinstance(given, dict) else {"out": given}


@pytest.mark.parametrize("net", NETS)
def test_what_is_written_comes_back_with_its_names(net, tmp_path):
    model = built(net)
    X = rows(model)
    nn.onnx.export(model, tmp_path / "net.onnx")
    again = nn.onnx.load(tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    elsewhere = session.run(None, X if isinstance(X, dict) else {"x": X})
    expected, found = outputs(model.predict(X)), outputs(again.predict(X))
    assert again.in_shape == model.in_shape and again.dtype == model.dtype
    assert list(found) == [item.name for item in session.get_outputs()]
    for own, other, theirs in zip(expected.values(), found.values(), elsewhere, strict=True):
        np.testing.assert_allclose(other, own, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(other, theirs, rtol=1e-4, atol=1e-5)
    assert len(again.parameters()) == len(model.parameters())  # what is shared stays so
    nn.onnx.export(again, tmp_path / "again.onnx")
    for own, other in zip(found.values(), outputs(nn.onnx.load(tmp_path / "again.onnx").predict(X)).values(), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("net", ["inputs and heads", "graph", "crossed"])
def test_double_precision_stays(net, tmp_path):
    model = built(net, "float64")
    nn.onnx.export(model, tmp_path / "net.onnx")
    again, X = nn.onnx.load(tmp_path / "net.onnx"), rows(model)
    assert again.dtype == "float64"
    for own, other in zip(model.predict(X).values(), again.predict(X).values(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12)


def test_what_is_read_can_be_trained(tmp_path):
    nn.onnx.export(built("inputs and heads"), tmp_path / "net.onnx")
    model = nn.onnx.load(tmp_path / "net.onnx")
    X, y = rows(model, 40), {"price": np.zeros((40, 1)), "sort": np.arange(40) % 3}
    history = model.fit(X, y, loss={"price": "mse", "sort": "cross_entropy"}, epochs=20, random_state=0)
    assert history["loss"][-1] < history["loss"][0]


def saved(path, nodes, inputs, outs, arrays=()):
    """A file of these nodes; shapes of inputs as ONNX has them."""
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, given, [out], **dict(more)) for op, given, out, *more in nodes], "graph",
        [info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [info(name, onnx.TensorProto.FLOAT, None) for name in outs],
        [onnx.numpy_helper.from_array(array, name) for name, array in dict(arrays).items()],
    )  # fmt: skip
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("nodes", "inputs", "match"),
    [
        ([("Mul", ["a", "b"], "out")], {"a": ["N", 2], "b": ["N", 2]}, r"meet in an Add, .* or a Concat, got .*\(Mul\)"),
        ([("Relu", ["a"], "out")], {"a": ["N", 2], "b": ["N", 2]}, r"computed from all inputs, got none from \['b'\]"),
        ([("Add", ["a", "b"], "out")], {"a": ["N", 2], "b": ["N", 3]}, r"expected values that give.*\(2,\), \(3,\)"),
        ([("Add", ["a", "b"], "out")], {"a": [4, 2], "b": [5, 2]}, "as many rows in all inputs"),
        ([("Det", ["a"], "h"), ("Add", ["h", "b"], "out")], {"a": ["N", 2], "b": ["N", 2]}, r"\(Det\)"),
        ([("Add", ["a", "b"], "out")], {"a": ["N", "T"], "b": ["N", 3]}, r"in_shape \(T\) with numbers for all sizes"),
    ],
)
def test_what_no_graph_is_is_refused(nodes, inputs, match, tmp_path):
    with pytest.raises(nn.OnnxError, match=match):
        nn.onnx.load(saved(tmp_path / "net.onnx", nodes, inputs, ["out"]))


def test_open_shapes_are_said_by_name(tmp_path):
    path = saved(tmp_path / "net.onnx", [("Add", ["a", "b"], "out")], {"a": ["N", "T"], "b": ["N", 3]}, ["out"])
    model = nn.onnx.load(path, in_shape={"a": (3,), "b": (3,)})
    np.testing.assert_array_equal(model.predict((np.ones((2, 3)), np.ones((2, 3)))), np.full((2, 3), 2.0))
    with pytest.raises(nn.ShapeError, match="expected in_shape to have arrays for a, b, got a"):
        nn.onnx.load(path, in_shape={"a": (3,)})
