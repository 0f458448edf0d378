"""ONNX's own tests of its operators: each single node is read and gives the recorded numbers, or is refused."""

import inspect
import re
import sys
import warnings
from collections import Counter

import numpy as np
import pytest

import nnkit as nn

onnx = pytest.importorskip("onnx")
collection = pytest.importorskip("onnx.backend.test.case.node")

# (case, place of the input that is the data, place of the output) that neither agree nor are refused, and why that is right.
EXCLUDED: dict[tuple[str, int, int], str] = {}

# Operators with cases that have to agree, and how many in all have to: refusing everything is no way out.
AGREE = {
    "AveragePool", "BatchNormalization", "Celu", "Clip", "Conv", "ConvTranspose", "Dropout", "Elu", "Flatten", "Gelu", "Gemm",
    "GlobalAveragePool", "GroupNormalization", "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization",
    "LeakyRelu", "LogSoftmax", "MatMul", "MaxPool", "Mish", "RMSNormalization", "Relu", "Reshape",
    "Resize", "Selu", "Sigmoid", "Softmax",
    "Softplus", "Softsign", "Squeeze", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
AGREE_IN_ALL = 100


def operators():
    """Those of ONNX that some part is read from: their names stand in its module."""
    modules = {sys.modules[part.__module__] for kind in (nn.registry.layers, nn.registry.activations) for part in kind.values()}
    words = {word for module in modules for word in re.findall(r'"([A-Z]\w+)"', inspect.getsource(module))}
    return words & {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}


def cases():
    """(name, operator, model, inputs, outputs) of every case of one node with inputs and outputs that are arrays."""
    known = operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collection.collect_testcases(None)
    for case in collected:
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in known and not nodes[0].domain and case.data_sets:
            inputs, outputs = ([array_of(item) for item in items] for items in case.data_sets[0])
            if all(array is not None for array in [*inputs, *outputs]):
                yield case.name, nodes[0].op_type, case.model, inputs, outputs


def array_of(item):
    """The numbers of a tensor; None where it is none."""
    if isinstance(item, onnx.TensorProto):
        return onnx.numpy_helper.to_array(item)
    return np.asarray(item) if isinstance(item, np.ndarray | np.generic) else None


def with_one_input(model, inputs, place, output):
    """The model with all inputs but one as constants, and with one output."""
    graph = model.graph
    constants = [onnx.numpy_helper.from_array(array, item.name)
                 for index, (item, array) in enumerate(zip(graph.input, inputs, strict=True)) if index != place]  # fmt: skip
    own = onnx.helper.make_graph(graph.node, graph.name, [graph.input[place]], [graph.output[output]], constants)
    return onnx.helper.make_model(own, opset_imports=model.opset_import, ir_version=model.ir_version)


def outcome(path, model, x, out):
    """What becomes of a model: "agree", "refused", or what is wrong in words."""
    path.write_bytes(model.SerializeToString())
    try:
        net = nn.onnx.load(path)
    except nn.OnnxError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    try:
        came = net.predict(x)
    except Exception as error:
        return f"{net!r}: {type(error).__name__}: {error}"
    if came.shape != out.shape:
        return f"{net!r}: shape {came.shape} instead of {out.shape}"
    if not np.allclose(came, out, rtol=1e-3, atol=1e-5, equal_nan=True):  # some are recorded to four digits
        return f"{net!r}: off by {np.abs(came - out).max()}"
    return "agree"


def test_single_nodes_agree_or_are_refused(tmp_path):
    agree, tried, wrong = Counter(), Counter(), {}
    for name, op, model, inputs, outputs in cases():
        for place, x in enumerate(inputs):
            for output, out in enumerate(outputs):
                became = outcome(tmp_path / "node.onnx", with_one_input(model, inputs, place, output), x, out)
                tried[op] += 1
                agree[op] += became == "agree"
                if became not in ("agree", "refused"):
                    wrong[name, place, output] = became
    print(f"{agree.total()} agree, {tried.total() - agree.total() - len(wrong)} refused, {len(wrong)} else;", +agree)
    assert wrong.keys() == EXCLUDED.keys(), wrong
    assert agree.total() >= AGREE_IN_ALL
    assert not [op for op in AGREE if op in tried and not agree[op]]
