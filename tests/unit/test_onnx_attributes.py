"""ONNX, one change at a time: what a node says is understood, or the file is refused; it never becomes other numbers."""

import itertools

import numpy as np
import pytest

import nnkit as nn

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

OPSET = 18
WORDS = {
    "activations": ["Tanh", "Relu", "Sigmoid", "HardSigmoid", "Softsign"],
    "approximate": ["none", "tanh"],
    "auto_pad": ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"],
    "coordinate_transformation_mode": ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                                       "asymmetric"],
    "direction": ["forward", "reverse", "bidirectional"],
    "keep_aspect_ratio_policy": ["stretch", "not_larger", "not_smaller"],
    "mode": ["nearest", "linear", "cubic"],
    "nearest_mode": ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"],
}  # fmt: skip
ALL = [example for kind in (nn.registry.layers, nn.registry.activations) for part in kind.values()
       if part.__module__.startswith("nnkit.") for example in part.examples()]  # fmt: skip
ALL += [nn.Example(part, shape) for part, shape in [
    (nn.Conv1d(2, 4, padding="same", dilation=2), (3, 9)), (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 7)),
    (nn.MaxPool2d(3, stride=2, ceil_mode=True), (2, 6, 7)), (nn.Upsample(scale_factor=(3, 1)), (2, 2, 3)),
    (nn.Upsample(scale_factor=0.5), (2, 4, 6)),
    (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 3, 2)), (nn.LSTM(4, return_sequences=True), (5, 3)),
    (nn.GRU(3, reverse=True), (4, 2)),
    (nn.ConvTranspose2d(4, 3, stride=(2, 3), padding=(1, 0), bias=False), (2, 3, 2)),
]]  # fmt: skip


def numbers(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def recurrent(op, gates, *outputs, **attributes):
    """A recurrence on (N, steps, features), as other programs write it: of all states or the last."""
    arrays = {"w": numbers(1, gates * 3, 2), "r": numbers(1, gates * 3, 3), "b": numbers(1, gates * 6)}
    nodes = [("Transpose", ["x"], ["t"], {"perm": [1, 0, 2]}),
             (op, ["t", *arrays], ["states", "last"], {"hidden_size": 3, **attributes})]  # fmt: skip
    if "last" in outputs:
        return [*nodes, ("Squeeze", ["last", "zero"], ["out"], {})], {**arrays, "zero": np.array([0])}, (4, 2)
    nodes += [("Squeeze", ["states", "one"], ["s"], {}), ("Transpose", ["s"], ["out"], {"perm": [1, 0, 2]})]
    return nodes, {**arrays, "one": np.array([1])}, (4, 2)


# Operators that nnkit reads and does not write: nodes, constants, the shape of a row.
OTHERS = {
    "Celu": ([("Celu", ["x"], ["out"], {"alpha": 2.0})], {}, (3,)),
    "Dropout": ([("Dropout", ["x"], ["out"], {})], {}, (3,)),
    "InstanceNormalization": ([("InstanceNormalization", ["x", "a", "b"], ["out"], {})],
                              {"a": numbers(3), "b": numbers(3)}, (3, 4)),
    "GroupNormalization": ([("GroupNormalization", ["x", "a", "b"], ["out"], {"num_groups": 2})],
                           {"a": numbers(2), "b": numbers(2)}, (4, 3)),
    "LayerNormalization": ([("LayerNormalization", ["x", "a"], ["out"], {"axis": -1})], {"a": numbers(4)}, (3, 4)),
    "Gemm": ([("Gemm", ["x", "w", "b"], ["out"], {"transB": 1, "alpha": 0.5, "beta": 2.0})],
             {"w": numbers(3, 3), "b": numbers(3)}, (3,)),
    "Flatten": ([("Flatten", ["x"], ["out"], {})], {}, (2, 3, 1)),
    "ReduceMean": ([("ReduceMean", ["x", "axes"], ["out"], {"keepdims": 0})], {"axes": np.array([2, 3])}, (2, 3, 4)),
    "Pool": ([("GlobalAveragePool", ["x"], ["g"], {}), ("Reshape", ["g", "s"], ["out"], {})],
             {"s": np.array([0, -1])}, (2, 3, 4)),
    "Resize": ([("Resize", ["x", "", "", "s"], ["out"], {})], {"s": np.array([3, 2, 6, 4])}, (2, 3, 4)),
    "Softmax": ([("Softmax", ["x"], ["out"], {})], {}, (2, 3)),
    "Split": ([("Split", ["x"], ["a", "b"], {"axis": -1, "num_outputs": 2}), ("Sigmoid", ["b"], ["s"], {}),
               ("Mul", ["a", "s"], ["out"], {})], {}, (3, 4)),
    "LSTM": recurrent("LSTM", 4),
    "LSTM, last": recurrent("LSTM", 4, "last"),
    "GRU": recurrent("GRU", 3, linear_before_reset=1),
    "RNN": recurrent("RNN", 1, "last", activations=["Relu"]),
}  # fmt: skip


def written(nodes, constants, in_shape):
    """A model as another program would write it."""
    helper = onnx.helper
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *in_shape])
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    items = [helper.make_node(op, inputs, outputs, **attributes) for op, inputs, outputs, attributes in nodes]
    graph = helper.make_graph(items, "g", [x], [out], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def others_than(name, kind, value):
    """Values that an attribute may have instead, legal or not."""
    types = onnx.defs.OpSchema.AttrType
    if name == "num_outputs":  # where a node has more, the runtime ends the process
        return []
    if kind == types.INT:
        return [other for other in (0, 1, 2, 3, -1, -2) if other != value]
    if kind == types.FLOAT:
        return [0.05, 0.3, 2.0]
    if kind == types.STRING:
        return WORDS.get(name, [])
    if kind == types.STRINGS:
        count = len(value) if value else 3
        return [list(words) for words in itertools.product(WORDS[name], repeat=count)][:: 1 if count < 2 else 7]
    if kind == types.FLOATS:
        return [[0.3], [0.3, 0.3], [0.3] * 3]
    if kind != types.INTS:
        return []
    if not value:
        return [[0], [1], [2], [1, 1], [2, 2], [2, 3], [1, 1, 1, 1], [0, 1, 0, 1]]
    nudges = [(index, by) for index in range(len(value)) for by in (1, -1)]
    nudged = [[number + by * (place == index) for place, number in enumerate(value)] for index, by in nudges]
    return [*nudged, list(value)[::-1]]


def more_inputs(item, rows):
    """Optional inputs that a node of an example may have in addition: (place, array)."""
    if item.op_type in ("LSTM", "GRU", "RNN"):
        for lengths in ([1, 2, 2], [2, 2, 2], [0, 0, 0]):
            yield 4, np.array(lengths[:rows], "int32")
        for place in (5, 6):
            for size in (2, 3, 4):
                yield place, np.zeros((1, rows, size), "float32")
                yield place, np.ones((1, rows, size), "float32")
        yield from ((7, np.full((1, 3 * size), value, "float32")) for size in (2, 3, 4) for value in (0.0, 1.0))
    schema = onnx.defs.get_schema(item.op_type, OPSET)
    for place in range(1, len(schema.inputs)):
        if place >= len(item.input) or not item.input[place]:
            for number in (0.0, 1.0):
                yield place, np.array(number, "float32")
                yield place, np.array(bool(number))
                yield place, np.array([number], "float32")
                yield place, np.array([int(number)])


def changed(model, rows):
    """Copies of a model, each with one attribute, or one optional input, that is another.

    Of nodes that say the same, as the many products and sums of a transformer do, the first is changed.
    """
    seen = set()
    for index, item in enumerate(model.graph.node):
        said = item.op_type, len(item.input), *sorted(attribute.SerializeToString() for attribute in item.attribute)
        if said in seen:
            continue
        seen.add(said)
        given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in item.attribute}
        for name, declared in onnx.defs.get_schema(item.op_type, OPSET).attributes.items():
            default = declared.default_value
            value = given.get(name, onnx.helper.get_attribute_value(default) if default.type else None)
            for other in others_than(name, declared.type, value):
                copy = onnx.ModelProto.FromString(model.SerializeToString())
                own = copy.graph.node[index]
                kept = [attribute for attribute in own.attribute if attribute.name != name]
                del own.attribute[:]
                own.attribute.extend([*kept, onnx.helper.make_attribute(name, other)])
                yield f"{item.op_type}.{name}={other!r}", copy
        for place, array in more_inputs(item, rows):
            copy = onnx.ModelProto.FromString(model.SerializeToString())
            own = copy.graph.node[index]
            own.input.extend([""] * (place + 1 - len(own.input)))
            own.input[place] = "more"
            copy.graph.initializer.append(onnx.numpy_helper.from_array(array, "more"))
            yield f"{item.op_type} with input {place} = {array!r}", copy


def computed(model, x):
    """What the runtime makes of it; None where it is not legal."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]
    except Exception:
        return None


def check_changes(model, x, path, most=10**6):
    """Whatever is changed is understood or refused; how many are. Of very many changes, some spread over all are made."""
    model.graph.output[0].type.tensor_type.ClearField("shape")
    agree, wrong = 0, []
    changes = list(changed(model, len(x)))
    for what, other in changes[:: -(-len(changes) // most) or 1]:
        out = computed(other, x)
        if out is None:
            continue
        path.write_bytes(other.SerializeToString())
        try:
            came = nn.onnx.load(path).predict(x)
        except nn.OnnxError:
            continue
        if came.shape == out.shape and np.allclose(came, out, rtol=1e-4, atol=1e-5, equal_nan=True):
            agree += 1
        else:
            wrong.append(f"{what}: {came.shape} {out.shape}")
    assert not wrong
    return agree


@pytest.mark.parametrize("example", ALL)
def test_a_changed_attribute_of_what_nnkit_writes_is_understood_or_refused(example, tmp_path):
    random = np.random.default_rng(0)
    model = nn.Sequential([example.part]).build(example.in_shape, random_state=0)
    for array in model.parameters().values():
        array += 0.1 * random.normal(size=array.shape)
    nn.onnx.export(model, tmp_path / "net.onnx")
    x = random.uniform(example.low, example.high, (3, *example.in_shape)).astype("float32")
    x = np.floor(x).astype("int64") if example.low == 0 else x
    check_changes(onnx.load(tmp_path / "net.onnx"), x, tmp_path / "net.onnx", most=100)


@pytest.mark.parametrize("name", OTHERS)
def test_a_changed_attribute_of_what_others_write_is_understood_or_refused(name, tmp_path):
    model, x = written(*OTHERS[name]), numbers(3, *OTHERS[name][2])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    if name != "Resize":  # its sizes are for a fixed number of rows
        assert np.allclose(nn.onnx.load(tmp_path / "net.onnx").predict(x), computed(model, x), rtol=1e-4, atol=1e-5)
    check_changes(model, x, tmp_path / "net.onnx")
