"""ONNX: what is written runs elsewhere to the same numbers, and what is read can be trained further."""

import os
import re
import stat

import numpy as np
import pytest

import nnkit as nn
from nnkit.kernels import math
from nnkit.network import network_of

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

PARTS = [part for kind in (nn.registry.layers, nn.registry.activations) for part in kind.values()
         if part.__module__.startswith("nnkit.")]  # fmt: skip
EXAMPLES = [example for part in PARTS for example in part.examples()]
MORE = [
    nn.Example(nn.Linear(2, bias=False), (3, 4)),
    nn.Example(nn.Conv1d(2, 4, padding="same", dilation=2), (3, 9)),
    nn.Example(nn.Conv2d(2, (2, 4), padding="same", bias=False), (3, 5, 6)),
    nn.Example(nn.ConvTranspose2d(4, 3, stride=(2, 3), padding=(1, 0), dilation=(2, 1), bias=False), (2, 3, 2)),
    nn.Example(nn.Conv3d(2, (2, 3, 1), stride=(1, 2, 1), padding=(1, 0, 1), dilation=(1, 2, 1)), (2, 3, 6, 2)),
    nn.Example(nn.Conv3d(2, 3, padding="same", padding_mode="reflect"), (1, 3, 2, 4)),
    nn.Example(nn.Conv2d(4, 3, padding=(2, 1), groups=2, padding_mode="circular"), (2, 3, 5)),
    nn.Example(nn.Conv1d(2, 4, padding="same", padding_mode="circular", bias=False), (2, 5)),
    nn.Example(nn.ConvTranspose1d(2, 3, stride=2, output_padding=1, bias=False), (2, 4)),
    nn.Example(nn.ConvTranspose3d(4, (1, 2, 3), stride=(2, 1, 1), padding=(0, 0, 1), groups=2), (2, 2, 3, 2)),
    nn.Example(nn.InstanceNorm1d(affine=True), (3, 4)),
    nn.Example(nn.BatchNorm3d(affine=False), (2, 2, 1, 3)),
    nn.Example(nn.LayerNorm((3, 4), elementwise_affine=False), (3, 4)),
    nn.Example(nn.LayerNorm([2, 3, 4], bias=False), (2, 3, 4)),
    nn.Example(nn.RMSNorm((3, 4)), (2, 3, 4)),
    nn.Example(nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 7)),
    nn.Example(nn.AvgPool1d(4, ceil_mode=True), (2, 7)),
    nn.Example(nn.MaxPool1d(3, stride=2, padding=1, dilation=2), (2, 9)),
    nn.Example(nn.MaxPool2d(3, stride=2, ceil_mode=True), (2, 6, 7)),
    nn.Example(nn.AdaptiveAvgPool2d(1), (3, 4, 5)),
    nn.Example(nn.AdaptiveAvgPool2d((2, 2)), (3, 4, 6)),
    nn.Example(nn.Upsample(scale_factor=(3, 1)), (2, 2, 3)),
    nn.Example(nn.Upsample(scale_factor=1.5), (2, 4, 6)),
    nn.Example(nn.GroupNorm(3), (6, 4)),
    nn.Example(nn.LayerNorm(), (2, 3, 4)),
    nn.Example(nn.RMSNorm(), (2, 3)),
    nn.Example(nn.Softmax(2), (2, 3, 4)),
    nn.Example(nn.PReLU(2), (2, 3, 4)),
    nn.Example(nn.LeakyReLU(0.3), (4,)),
    nn.Example(nn.ELU(0.7), (4,)),
    nn.Example(nn.CELU(0.7), (4,)),
    nn.Example(nn.Softplus(2.5), (4,)),
    nn.Example(nn.Hardtanh(-0.5, 2.0), (4,)),
    nn.Example(nn.Embedding(7, 3, padding_idx=-1), (2, 3), 0, 7),
    nn.Example(nn.GRU(4, num_layers=2, bidirectional=True, return_sequences=True), (5, 3)),
    nn.Example(nn.LSTM(4, num_layers=2, bidirectional=True), (5, 3)),
    nn.Example(nn.LSTM(4, return_sequences=True), (5, 3)),
    nn.Example(nn.RNN(3, num_layers=3, nonlinearity="relu", reverse=True), (4, 2)),
    nn.Example(nn.MultiHeadAttention(4, causal=True), (9, 8)),
    nn.Example(nn.MultiHeadAttention(1, causal=True, attn_mask=np.eye(5, k=-2, dtype=bool)), (5, 3)),
    nn.Example(nn.MultiHeadAttention(2, attn_mask=np.stack([np.eye(4), np.where(np.tri(4, k=1), 0.5, -np.inf)])), (4, 6)),
    nn.Example(nn.Residual(nn.Linear(3)), (2, 3)),
    nn.Example(nn.Branches("identity", [nn.Linear(3), "tanh"], merge="add"), (3,)),
    nn.Example(nn.Branches([nn.Linear(2), nn.Branches("relu", "tanh")], "identity", nn.Residual(nn.Linear(3))), (3,)),
    nn.Example(nn.TimeDistributed([nn.Conv2d(2, 2), nn.ReLU(), nn.Flatten()]), (4, 1, 3, 3)),
    nn.Example(nn.TimeDistributed(nn.TimeDistributed(nn.Linear(2))), (4, 3, 5)),
]  # fmt: skip


def rows(example, count, seed=0):
    """Legal input."""
    random = np.random.default_rng(seed)
    X = random.uniform(example.low, example.high, (count, *example.in_shape)).astype("float32")
    return np.floor(X).astype("int64") if example.low == 0 else X


def shaken(model, in_shape, dtype="float32"):
    """Built, with parameters and states that are all different."""
    random = np.random.default_rng(1)
    model.build(in_shape, random_state=0, dtype=dtype)
    for array in model.parameters().values():
        array += 0.1 * random.normal(size=array.shape)
    for array in model.states().values():
        array += random.random(size=array.shape)
    return model


def run(path, X):
    """What the runtime makes of it."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": x})[0] for x in X]


def close(a, b, tolerance=1e-5):
    """Whether they agree to a part of the largest number."""
    return a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max())


def check_round_trip(model, X, path):
    """The runtime and what is loaded give what the model does."""
    nn.onnx.export(model, path)
    batches = [X[:1], X[:3], X]
    for batch, out in zip(batches, run(path, batches), strict=True):
        assert close(out, model.predict(batch))
    again = nn.onnx.load(path)
    assert (again.in_shape, again.out_shape, again.dtype) == (model.in_shape, model.out_shape, model.dtype)
    assert close(again.predict(X), model.predict(X))
    return again


# Layers of several values are written, and not read: ways are read that meet in a sum, a mean or a concatenation.
SEVERAL = [example for part in nn.registry.layers.values() if isinstance(part.inputs, tuple) and part.inputs
           for example in part.examples()]  # fmt: skip
READ = [example for example in EXAMPLES if repr(example) not in map(repr, SEVERAL)]


@pytest.mark.parametrize("example", [*READ, *MORE])
def test_part_runs_elsewhere_and_comes_back(example, tmp_path):
    model = shaken(nn.Sequential([example.part]), example.in_shape)
    check_round_trip(model, rows(example, 7), tmp_path / "part.onnx")


@pytest.mark.parametrize("example", SEVERAL)
def test_a_part_of_several_values_runs_elsewhere(example, tmp_path):
    model, X = shaken(nn.Sequential([example.part]), example.in_shape), rows(example, 7)
    nn.onnx.export(model, tmp_path / "part.onnx")
    assert close(run(tmp_path / "part.onnx", [X])[0], model.predict(X))


@pytest.mark.parametrize("example", READ)
def test_double_precision_is_written_as_double(example, tmp_path):
    model = shaken(nn.Sequential([example.part]), example.in_shape, "float64")
    nn.onnx.export(model, tmp_path / "part.onnx")
    X = rows(example, 5)
    try:
        (out,) = run(tmp_path / "part.onnx", [X if X.dtype == "int64" else X.astype("float64")])
    except Exception as error:
        if not re.search("NOT_IMPLEMENTED|does not support double", str(error)):
            raise
    else:
        assert out.dtype == "float64"
        assert close(out, model.predict(X), 1e-7)  # attributes, such as an alpha, have single precision
    again = nn.onnx.load(tmp_path / "part.onnx")
    weights = any(array.size for array in model.parameters().values())
    assert close(again.predict(X), model.predict(X), 1e-5 if not weights else 1e-7)


# ------------------------------------------------------------------------------------------------------------ nets


def transformer(tokens, width, steps):
    blocks = [layer for _ in range(2) for layer in (
        nn.Residual(nn.LayerNorm(), nn.MultiHeadAttention(2, causal=True)),
        nn.Residual(nn.LayerNorm(), nn.Linear(2 * width), nn.GELU(), nn.Linear(width)),
    )]  # fmt: skip
    return [nn.Embedding(tokens, width), nn.PositionalEmbedding(), *blocks, nn.LayerNorm(), nn.Linear(tokens)], (steps,)


def residual_block(channels):
    return [nn.Residual(nn.Conv2d(channels, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.Conv2d(channels, 3, padding=1),
                        nn.BatchNorm2d()), nn.ReLU()]  # fmt: skip


NETS = {
    "readme": lambda: ([nn.Linear(128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(10)], (64,)),
    "textbook": lambda: ([nn.Linear(3), nn.Sigmoid(), nn.Linear(2), nn.Sigmoid()], (2,)),
    "deep": lambda: ([nn.Linear(16), nn.BatchNorm1d(), nn.SiLU(), nn.Residual(nn.Linear(16), nn.Mish()), nn.RMSNorm(),
                      nn.Linear(8), nn.GLU(), nn.LogSoftmax()], (5,)),
    "lenet": lambda: ([nn.Conv2d(6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(16, 5), nn.Tanh(), nn.AvgPool2d(2),
                       nn.Flatten(), nn.Linear(32), nn.Tanh(), nn.Linear(10)], (1, 20, 20)),
    "convolutional": lambda: ([nn.Conv2d(8, 3, padding="same"), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(),
                               nn.Conv2d(8, 3, groups=4), nn.GroupNorm(2), nn.PReLU(8), nn.GlobalAvgPool(), nn.Linear(4)],
                              (1, 8, 8)),
    "residual": lambda: ([nn.Branches(nn.Conv2d(4, 1), nn.Conv2d(4, 3, padding=1)), nn.ReLU(), *residual_block(8),
                          nn.Branches([nn.Conv2d(6, 3, stride=2, padding=1), nn.BatchNorm2d()], nn.Conv2d(6, 1, stride=2),
                                      merge="add"), *residual_block(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3)],
                         (1, 8, 8)),
    "autoencoder": lambda: ([nn.Conv2d(4, 3, stride=2, padding=1), nn.ELU(), nn.ConvTranspose2d(4, 4, stride=2, padding=1),
                             nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 3, padding=1), nn.Hardsigmoid()],
                             (1, 8, 8)),
    "lstm": lambda: ([nn.LSTM(8), nn.Linear(2)], (6, 3)),
    "gru": lambda: ([nn.GRU(6, num_layers=2, bidirectional=True), nn.LayerNorm(), nn.Linear(3), nn.Softmax()], (6, 3)),
    "transformer": lambda: transformer(11, 8, 6),
    "conv1d": lambda: ([nn.Permute((2, 1)), nn.Conv1d(6, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Permute((2, 1)),
                        nn.TimeDistributed([nn.Linear(4), nn.Tanh()]), nn.RNN(5, return_sequences=True), nn.Flatten(),
                        nn.Linear(2)], (12, 3)),
    "shapes": lambda: ([nn.Linear(12), nn.Reshape((3, 2, -1)), nn.Softmax(1), nn.Flatten(2), nn.SwiGLU(), nn.Squeeze(),
                        [nn.Linear(1), nn.Squeeze(2)]], (5,)),
}  # fmt: skip


def net(name):
    layers, in_shape = NETS[name]()
    model = shaken(nn.Sequential(layers), in_shape)
    random = np.random.default_rng(2)
    X = random.normal(size=(9, *in_shape)).astype("float32")
    return model, random.integers(0, 11, (9, *in_shape)) if network_of(model).input_dtype == "int64" else X


@pytest.mark.parametrize("name", NETS)
def test_net_runs_elsewhere_comes_back_and_trains_on(name, tmp_path):
    model, X = net(name)
    again = check_round_trip(model, X, tmp_path / "net.onnx")
    target = np.random.default_rng(3).normal(size=(len(X), *model.out_shape))
    history = again.fit(X, target, epochs=4, batch_size=9, optimizer=nn.Adam(1e-2), random_state=0, shuffle=False)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("name", ["readme", "lenet", "transformer"])
def test_what_is_loaded_is_made_of_the_same_layers(name, tmp_path):
    model, _ = net(name)
    nn.onnx.export(model, tmp_path / "net.onnx")
    assert repr(nn.onnx.load(tmp_path / "net.onnx")) == repr(model)


GRID = [(kernel, stride, padding, length) for kernel in (2, 3) for stride in (1, 2, 3, 5) for padding in (0, 1)
        for length in (6,)]  # fmt: skip


@pytest.mark.parametrize("ceil_mode", [True, False])
def test_windows_that_begin_in_the_padding_are_written_out(ceil_mode, tmp_path):
    """By ONNX Runtime, by PyTorch, and read again."""
    torch = pytest.importorskip("torch")
    sizes = {"ceil_mode": ceil_mode}
    for kernel, stride, padding, length in GRID:
        pairs = [(nn.MaxPool1d(kernel, stride, padding, **sizes), torch.nn.MaxPool1d(kernel, stride, padding, **sizes))]
        pairs += [(nn.AvgPool1d(kernel, stride, padding, count_include_pad=counts, **sizes),
                   torch.nn.AvgPool1d(kernel, stride, padding, count_include_pad=counts, **sizes)) for counts in (True, False)]
        window = (kernel, 2), (stride, 1), (padding, 0)
        pairs.append((nn.MaxPool2d(*window, **sizes), torch.nn.MaxPool2d(*window, **sizes)))
        pairs += [(nn.AvgPool2d(*window, count_include_pad=counted, **sizes),
                   torch.nn.AvgPool2d(*window, count_include_pad=counted, **sizes)) for counted in (True, False)]
        for layer, other in pairs:
            shape = (2, length, 4) if "2d" in type(layer).__name__ else (2, length)
            model, X = nn.Sequential([layer]).build(shape), rows(nn.Example(layer, shape), 3)
            assert close(other(torch.from_numpy(X)).numpy(), model.predict(X)), layer
            check_round_trip(model, X, tmp_path / "pool.onnx")


def sequences(steps=7):
    """Sequences with padding behind, before, between, everywhere and nowhere."""
    X = np.random.default_rng(0).normal(size=(6, steps, 3)).astype("float32")
    for row, padded in enumerate([slice(4, None), slice(0, 2), slice(2, 4), slice(None), slice(0, 0), slice(0, None, 2)]):
        X[row, padded] = 0.0
    return X


@pytest.mark.parametrize("layers", [
    [nn.GRU(4)], [nn.LSTM(4, return_sequences=True)], [nn.RNN(4, reverse=True, return_sequences=True)],
    [nn.LSTM(4, num_layers=2, bidirectional=True)], [nn.Linear(4), nn.ReLU(), nn.MultiHeadAttention(2), nn.GRU(3)],
    [nn.Linear(4), nn.Residual(nn.LayerNorm(), nn.MultiHeadAttention(2, causal=True)), nn.LSTM(3)],
], ids=repr)  # fmt: skip
def test_padding_counts_for_nothing(layers, tmp_path):
    model = shaken(nn.Sequential([nn.Masking(), *layers]), (7, 3))
    again = check_round_trip(model, sequences(), tmp_path / "net.onnx")
    assert repr(again.layers[0]) == "Masking()"


def test_steps_in_another_order_without_their_lengths_are_refused_in_words(tmp_path):
    nn.onnx.export(shaken(nn.Sequential([nn.Masking(), nn.GRU(4)]), (7, 3)), tmp_path / "net.onnx")
    proto = onnx.load(tmp_path / "net.onnx")
    (gru,) = (node for node in proto.graph.node if node.op_type == "GRU")
    del gru.input[4:]
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(nn.OnnxError, match=r"got node '1/GatherElements' \(GatherElements\) with axis=1; give the class"):
        nn.onnx.load(tmp_path / "net.onnx")


def test_the_padding_of_an_embedding_counts_for_nothing(tmp_path):
    model = shaken(nn.Sequential([nn.Embedding(6, 4, padding_idx=2), nn.GRU(3, bidirectional=True), nn.Linear(2)]), (5,))
    X = np.random.default_rng(0).integers(0, 6, (8, 5))
    X[0], X[1, 2:], X[2, :3] = 2, 2, 2
    again = check_round_trip(model, X, tmp_path / "net.onnx")
    assert again.layers[0].padding_idx == 2


def test_a_layer_that_is_used_twice_is_written_once_and_stays_one(tmp_path):
    shared = nn.Linear(4)
    model = shaken(nn.Sequential([shared, "tanh", shared, nn.Residual(shared), nn.LayerNorm(), nn.LayerNorm()]), (4,))
    again = check_round_trip(model, rows(nn.Example(shared, (4,)), 5), tmp_path / "net.onnx")
    assert len([item for item in onnx.load(tmp_path / "net.onnx").graph.initializer if "weight" in item.name]) == 3
    assert again.parameters().keys() == model.parameters().keys()


def test_layers_that_only_begin_alike_stay_two(tmp_path):
    model = nn.Sequential([nn.LayerNorm(), nn.LayerNorm()]).build((4,))
    nn.onnx.export(model, tmp_path / "net.onnx")
    assert len(nn.onnx.load(tmp_path / "net.onnx").parameters()) == 4


def test_the_file_names_its_batch_axis_and_its_weights(tmp_path):
    model, _ = net("readme")
    nn.onnx.export(model, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == ["N", 64]
    assert [node.op_type for node in graph.node] == ["Gemm", "Relu", "Dropout", "Gemm"]
    assert {item.name for item in graph.initializer} >= {"0.weight", "0.bias", "3.weight", "3.bias"}


# ---------------------------------------------------------------------------------------------------- parts of others


class Wave(nn.Activation):
    """An activation as a plugin would have it: paths, NumPy, a helper, hyper-parameters."""

    def __init__(self, size: float = 2.0, steep: bool = False):
        self.size = size
        self.steep = steep

    @staticmethod
    def forward(x, size, steep):
        if steep:
            return np.sin(x) * size
        if x > 1.0 or x != x:
            return size * bent(x)
        return min(x, 0.5) if -1.0 < x else size * np.sin(x)

    @staticmethod
    def backward(grad_out, x):
        return grad_out


def bent(x):
    return np.sqrt(abs(x)) - math.erf(x) ** 2 / 3.0


class Shift(nn.Layer):
    """A layer as a plugin would have it; how it is read is said by its example."""

    def __init__(self, scale: float = 3.0):
        self.scale = scale

    def build(self, in_shape):
        self.parameter("offset", in_shape[-1:])
        return in_shape

    @staticmethod
    def forward(x, offset, scale, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale + offset[j]

    @staticmethod
    def backward(grad_out, grad_x, grad_offset):
        grad_offset[:] = 0.0
        grad_x[:] = grad_out

    def onnx(self, graph, x):
        return x * self.scale + graph.array("offset")


@pytest.fixture
def registered(monkeypatch):
    """Classes that are known for the time of a test."""

    def register(**classes):
        for key, part in classes.items():
            monkeypatch.setitem(part.registry._classes, key, part)

    return register


@pytest.mark.parametrize("part", [Wave(), Wave(0.3), Wave(steep=True)])
def test_an_activation_needs_no_method_of_its_own(part, tmp_path):
    X = np.linspace(-3.0, 3.0, 60, dtype="float32").reshape(-1, 4)
    model = nn.Sequential([part]).build((4,))
    nn.onnx.export(model, tmp_path / "wave.onnx")
    assert close(run(tmp_path / "wave.onnx", [X])[0], model.predict(X))


def test_parts_of_plugins_are_read_like_built_in_ones(registered, tmp_path):
    registered(wave=Wave, shift=Shift)
    model = shaken(nn.Sequential([nn.Linear(4), Shift(1.25), Wave(0.75), nn.Linear(2)]), (3,))
    X = rows(nn.Example(model, (3,)), 5)
    assert repr(check_round_trip(model, X, tmp_path / "net.onnx")) == repr(model)


def test_a_part_without_a_form_says_so(tmp_path):
    class Plain(nn.PythonLayer):
        def forward(self, x):
            return x

        def backward(self, grad_out):
            return grad_out

    model = nn.Sequential([nn.Linear(2), nn.Residual(Plain())]).build((2,))
    with pytest.raises(nn.OnnxError, match=r"layer 1.0, Plain\(\).*Plain has no method onnx"):
        nn.onnx.export(model, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_function_that_onnx_does_not_have_says_so(tmp_path):
    class Odd(nn.Activation):
        @staticmethod
        def forward(x):
            return np.nextafter(x, 2.0)

        @staticmethod
        def backward(grad_out):
            return grad_out

    with pytest.raises(nn.OnnxError, match=r"layer 0, Odd\(\).*Nextafter"):
        nn.onnx.export(nn.Sequential([Odd()]).build((2,)), tmp_path / "net.onnx")


# ----------------------------------------------------------------------------------------------------- files and folders


def test_a_model_that_is_not_built_is_refused(tmp_path):
    with pytest.raises(nn.NotBuiltError, match="build"):
        nn.onnx.export(nn.Sequential(["relu"]), tmp_path / "net.onnx")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    model, X = net("readme")
    path.write_bytes(b"before")
    with monkeypatch.context() as patch:
        def full(handle):
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(nn.PersistenceError, match=r"net.onnx.*the disk is full"):
            nn.onnx.export(model, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    nn.onnx.export(model, path)
    assert close(nn.onnx.load(path).predict(X), model.predict(X))
    assert list(tmp_path.iterdir()) == [path]


def test_paths_that_are_no_files_are_refused(tmp_path):
    model, _ = net("textbook")
    for path in (tmp_path, tmp_path / "missing" / "net.onnx"):
        with pytest.raises(nn.PersistenceError, match="cannot write"):
            nn.onnx.export(model, path)
        with pytest.raises(nn.OnnxError, match="cannot be read"):
            nn.onnx.load(path)
    assert not list(tmp_path.iterdir())


def test_the_file_is_for_whom_any_new_file_is_for(tmp_path):
    model, _ = net("textbook")
    nn.onnx.export(model, tmp_path / "net.onnx")
    (tmp_path / "other").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_without_the_library_there_is_a_hint(script):
    output = script(
        """
        import sys
        sys.modules["onnx"] = None
        import nnkit as nn
        for use in (lambda: nn.onnx.export(nn.Sequential(["relu"]).build((2,)), "x"), lambda: nn.onnx.load("x")):
            try:
                use()
            except nn.OnnxError as error:
                print(error)
        """
    )
    assert output.count('pip install "nnkit-numba[onnx]"') == 2


def test_the_library_is_imported_by_who_uses_it(script):
    assert script("import sys, nnkit as nn; nn.onnx.export; print('onnx' in sys.modules)") == "False\n"


# -------------------------------------------------------------------------------------------- what others have written


def saved(path, nodes, constants, in_shape, opset=18, **options):
    """A file as another program would write it; arrays are constants by name."""
    helper = onnx.helper
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *in_shape])
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    arrays = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph([helper.make_node(*node[:3], **dict(node[3:])) for node in nodes], "g", [x], [out], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path, **options)
    return path


SMALL = {"w": np.arange(6, dtype="float32").reshape(2, 3), "b": np.ones(2, "float32")}
GEMM = ("Gemm", ["x", "w", "b"], ["h"], ("transB", 1), ("alpha", 2.0))


def test_the_operators_of_later_opsets_are_read(tmp_path):
    nodes = [("Gelu", ["x"], ["h"], ("approximate", "tanh")), ("RMSNormalization", ["h", "w"], ["out"], ("epsilon", 1e-3))]
    model = nn.onnx.load(saved(tmp_path / "net.onnx", nodes, {"w": np.ones(3, "float32")}, (3,), opset=23))
    assert repr(model) == "Sequential([GELU(approximate='tanh'), RMSNorm(eps=0.001)])"


def test_a_product_with_transposed_and_scaled_weights_is_read(tmp_path):
    model = nn.onnx.load(saved(tmp_path / "net.onnx", [GEMM, ("Relu", ["h"], ["out"])], SMALL, (3,)))
    X = np.array([[1.0, -1.0, 2.0]])
    assert close(model.predict(X), np.maximum(2.0 * X @ SMALL["w"].T + SMALL["b"], 0.0))


@pytest.mark.parametrize(("nodes", "said"), [
    ([GEMM, ("Det", ["h"], ["out"])], r"rows of shape \(2,\).*\(Det\)"),
    ([("Transpose", ["x"], ["out"], ("perm", [1, 0]))], r"\(Transpose\)"),
    ([("Relu", ["x"], ["h"]), ("Sub", ["h", "x"], ["out"])], r"\(Relu\).*\(Sub\)"),
    ([GEMM, ("Gemm", ["h", "w"], ["out"], ("transB", 1))], r"\(Gemm\)"),
    ([("Relu", ["later"], ["out"]), ("Tanh", ["x"], ["later"])], r"Relu.*'later'"),
    ([("Relu", ["x"], ["out"]), ("Tanh", ["x"], ["out"])], "'out' twice"),
    ([("Relu", ["x"], [f"h{i}"]) for i in range(600)] + [("Sum", [f"h{i}" for i in range(600)], ["out"])], "at most 500"),
])  # fmt: skip
def test_what_no_layer_does_is_refused_by_name(nodes, said, tmp_path):
    path = saved(tmp_path / "net.onnx", nodes, SMALL, (3,))
    with pytest.raises(nn.OnnxError, match=said) as caught:
        nn.onnx.load(path)
    assert type(caught.value) is nn.OnnxError


@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 1), (1, 4)])
@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_a_bias_may_have_any_shape_that_is_the_same_for_all_rows(op, shape, tmp_path):
    random = np.random.default_rng(0)
    arrays = {"w": random.normal(size=(3, 4)).astype("float32"), "b": random.normal(size=shape).astype("float32")}
    nodes = [("Gemm", ["x", "w", "b"], ["out"])] if op == "Gemm" else [
        ("MatMul", ["x", "w"], ["h"]), ("Add", ["b", "h"], ["out"])]  # fmt: skip
    X = random.normal(size=(5, 3)).astype("float32")
    model = nn.onnx.load(saved(tmp_path / "net.onnx", nodes, arrays, (3,)))
    assert repr(model) == "Sequential([Linear(out_features=4)])"
    assert close(model.predict(X), X @ arrays["w"] + arrays["b"])


@pytest.mark.parametrize("shape", [(5, 1), (5, 4), (2, 1, 4)])
def test_a_bias_that_is_another_for_each_row_is_refused(shape, tmp_path):
    for nodes in ([("Gemm", ["x", "w", "b"], ["out"])], [("MatMul", ["x", "w"], ["h"]), ("Add", ["h", "b"], ["out"])]):
        arrays = {"w": np.ones((3, 4), "float32"), "b": np.ones(shape, "float32")}
        with pytest.raises(nn.OnnxError, match=r"\(Gemm\)|\(Add\)"):
            nn.onnx.load(saved(tmp_path / "net.onnx", nodes, arrays, (3,)))


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 2, 1, 1)])
@pytest.mark.parametrize("ops", [["Mul"], ["Add"], ["Mul", "Add"], ["Conv", "Add"]])
def test_a_factor_and_a_summand_for_each_channel_are_read(ops, shape, tmp_path):
    random = np.random.default_rng(0)
    arrays = {op: random.normal(size=shape).astype("float32") for op in ops}
    arrays["Conv"] = random.normal(size=(2, 2, 1, 1)).astype("float32")
    values = ["x", *(f"h{place}" for place in range(1, len(ops))), "out"]
    nodes = [(op, [values[place], op], [values[place + 1]]) for place, op in enumerate(ops)]
    path = saved(tmp_path / "net.onnx", nodes, arrays, (2, 3, 4))
    X = random.normal(size=(5, 2, 3, 4)).astype("float32")
    model = nn.onnx.load(path)
    assert len(model.layers) == 1
    assert close(model.predict(X), run(path, [X])[0])


@pytest.mark.parametrize("shape", [[1, -1], [1, 24], [0, -1], [-1, 24]])
def test_a_file_for_one_row_is_read_for_any_number_of_them(shape, tmp_path):
    path = saved(tmp_path / "net.onnx", [("Reshape", ["x", "shape"], ["out"])], {"shape": np.array(shape)}, (2, 3, 4))
    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(proto, path)
    X = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype("float32")
    assert close(nn.onnx.load(path).predict(X), X.reshape(5, 24))
    assert close(nn.onnx.load(path).predict(X[:1]), run(path, [X[:1]])[0])


def test_a_file_for_another_number_of_rows_is_not_made_one_of_them(tmp_path):
    path = saved(tmp_path / "net.onnx", [("Reshape", ["x", "shape"], ["out"])], {"shape": np.array([1, -1])}, (2, 3))
    with pytest.raises(nn.OnnxError, match=r"\(Reshape\)"):
        nn.onnx.load(path)


@pytest.mark.parametrize(("op", "axis", "fits"), [("Softmax", 1, False), ("Softmax", 2, True), ("LogSoftmax", -1, True)])
def test_before_opset_13_the_axes_behind_that_of_a_softmax_count_as_one(op, axis, fits, tmp_path):
    path = saved(tmp_path / "net.onnx", [(op, ["x"], ["out"], ("axis", axis))], {}, (2, 3), opset=11)
    X = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("float32")
    if fits:
        assert close(nn.onnx.load(path).predict(X), run(path, [X])[0])
    else:
        with pytest.raises(nn.OnnxError, match=r"\(Softmax\).*behind axis 1"):
            nn.onnx.load(path)


def test_what_a_reader_does_not_ask_for_is_refused_by_name(registered, tmp_path):
    class Careless(nn.Activation):
        """Reads an operator and looks at none of its attributes."""

        @staticmethod
        def forward(x):
            return x

        @staticmethod
        def backward(grad_out):
            return grad_out

        @classmethod
        def from_onnx(cls, at):
            return at.found(cls()) if at.take("ThresholdedRelu") else None

    registered(careless=Careless)
    nodes = [("ThresholdedRelu", ["x"], ["out"], ("alpha", 1.0))]
    assert repr(nn.onnx.load(saved(tmp_path / "net.onnx", nodes, {}, (3,)))) == "Sequential([Careless()])"
    nodes = [("ThresholdedRelu", ["x"], ["out"], ("alpha", 2.0))]
    with pytest.raises(nn.OnnxError, match=r"\(ThresholdedRelu\): expected its attribute 'alpha' at its default, got 2.0"):
        nn.onnx.load(saved(tmp_path / "net.onnx", nodes, {}, (3,)))


def test_layers_that_share_weights_in_another_way_are_two(tmp_path):
    arrays = {"w": np.arange(9, dtype="float32").reshape(3, 3), "b": np.arange(3, dtype="float32")}
    nodes = [("Gemm", ["x", "w", "b"], ["h"]), ("Gemm", ["h", "w", "b"], ["out"], ("transB", 1), ("beta", 0.5))]
    path = saved(tmp_path / "net.onnx", nodes, arrays, (3,))
    X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    assert close(nn.onnx.load(path).predict(X), run(path, [X])[0])


def test_an_open_size_has_to_be_given(tmp_path):
    path = saved(tmp_path / "net.onnx", [("Relu", ["x"], ["out"])], {}, ("steps", 3))
    with pytest.raises(nn.OnnxError, match=r"\(steps, 3\).*in_shape"):
        nn.onnx.load(path)
    with pytest.raises(nn.OnnxError, match=r"\(steps, 3\).*\(5, 4\)"):
        nn.onnx.load(path, in_shape=(5, 4))
    assert nn.onnx.load(path, in_shape=(5, 3)).out_shape == (5, 3)


def test_weights_beside_the_file_are_read_and_elsewhere_refused(tmp_path):
    (tmp_path / "models").mkdir()
    nodes = [GEMM, ("Relu", ["h"], ["out"])]
    path = saved(tmp_path / "models" / "net.onnx", nodes, SMALL, (3,), save_as_external_data=True, location="weights",
                 size_threshold=0)  # fmt: skip
    assert (path.parent / "weights").exists()
    assert close(nn.onnx.load(path).parameters()["0.weight"], 2.0 * SMALL["w"].T)
    os.replace(path.parent / "weights", tmp_path / "weights")
    model = onnx.load(path, load_external_data=False)
    for place in ("../weights", str(tmp_path / "weights"), "missing", "."):
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = place
        path.write_bytes(model.SerializeToString())
        with pytest.raises(nn.OnnxError, match="own folder"):
            nn.onnx.load(path)
    (path.parent / "link").symlink_to(tmp_path / "weights")
    os.mkfifo(path.parent / "pipe")
    (path.parent / "zero").symlink_to("/dev/zero")
    for place in ("link", "pipe", "zero"):
        for tensor in model.graph.initializer:
            next(entry for entry in tensor.external_data if entry.key == "location").value = place
        path.write_bytes(model.SerializeToString())
        with pytest.raises(nn.OnnxError, match="own folder"):
            nn.onnx.load(path)


def test_sizes_that_the_file_does_not_hold_are_refused(tmp_path):
    path = saved(tmp_path / "net.onnx", [GEMM, ("Relu", ["h"], ["out"])], SMALL, (3,))
    whole = onnx.load(path)
    for change in (lambda graph: graph.initializer[0].dims.__setitem__(0, 1 << 40),
                   lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 1 << 40),
                   lambda graph: graph.initializer[0].dims.__setitem__(0, -2)):  # fmt: skip
        model = onnx.ModelProto.FromString(whole.SerializeToString())
        change(model.graph)
        path.write_bytes(model.SerializeToString())
        with pytest.raises(nn.OnnxError):
            nn.onnx.load(path)


@pytest.mark.parametrize("name", NETS)
def test_a_broken_file_is_refused_or_a_model(name, tmp_path):
    model, _ = net(name)
    path = tmp_path / "net.onnx"
    nn.onnx.export(model, path)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for trial in range(40):
        broken = bytearray(whole)
        place = int(random.integers(len(whole)))
        if trial % 2:
            broken[place] ^= 1 << int(random.integers(8))
        else:
            del broken[place : None if trial % 4 else place + int(random.integers(1, 40))]
        path.write_bytes(broken)
        try:
            assert nn.onnx.load(path).is_built
        except nn.NnkitError:
            pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("opset", [13, 17, 20])
def test_what_pytorch_exports_is_read(opset, tmp_path):
    torch = pytest.importorskip("torch")
    of = torch.nn

    class Around(of.Module):
        def __init__(self, *inner):
            super().__init__()
            self.inner = of.Sequential(*inner)

        def forward(self, x):
            return torch.relu(x + self.inner(x))

    class Last(of.Module):
        def __init__(self, rnn):
            super().__init__()
            self.rnn = rnn

        def forward(self, x):
            return self.rnn(x)[0][:, -1]

    class All(Last):
        def forward(self, x):
            return self.rnn(x)[0]

    class Rows(of.Module):
        def forward(self, x):
            return x.view(x.size(0), -1)

    torch.manual_seed(0)
    nets = [
        (of.Sequential(of.Linear(4, 6), of.GELU(), of.LayerNorm(6), of.Linear(6, 4, bias=False), of.SiLU(), of.Dropout(),
                       of.GELU("tanh"), of.Mish(), of.Hardswish(), of.Softsign(), of.LogSigmoid(), of.GLU(), of.LogSoftmax(-1)),
         torch.randn(5, 4)),
        (of.Sequential(of.Conv2d(2, 4, 3, padding=1), of.GroupNorm(2, 4), of.PReLU(4),
                       Around(of.Conv2d(4, 4, 3, padding=1), of.BatchNorm2d(4), of.ELU(0.5)), of.MaxPool2d(2),
                       of.ConvTranspose2d(4, 3, 2, stride=2), of.AvgPool2d(2), Rows(), of.Linear(27, 2), of.Softmax(1)),
         torch.randn(5, 2, 6, 7)),
        (of.Sequential(of.Conv1d(3, 4, 2), of.LeakyReLU(0.2), of.MaxPool1d(2), of.Flatten(), of.BatchNorm1d(8), of.Hardtanh()),
         torch.randn(5, 3, 5)),
        (of.Sequential(of.Conv2d(1, 3, 3), of.ReLU6(), of.Upsample(scale_factor=2), of.AdaptiveAvgPool2d(1), of.Flatten()),
         torch.randn(5, 1, 5, 5)),
        (of.Sequential(of.Embedding(7, 3), All(of.LSTM(3, 4, batch_first=True, bidirectional=True)), of.Linear(8, 2)),
         torch.randint(0, 7, (5, 6))),
        (of.Sequential(Last(of.GRU(3, 4, num_layers=2, batch_first=True)), of.Linear(4, 2)), torch.randn(5, 6, 3)),
        (of.Sequential(All(of.RNN(3, 4, num_layers=2, batch_first=True, bidirectional=True)), of.Linear(8, 2)),
         torch.randn(5, 6, 3)),
    ]  # fmt: skip
    for twin, x in nets:
        torch.onnx.export(twin.eval(), (x,), str(tmp_path / "net.onnx"), dynamo=False, opset_version=opset,
                          input_names=["x"], dynamic_axes={"x": {0: "N"}})  # fmt: skip
        model = nn.onnx.load(tmp_path / "net.onnx")
        assert close(model.predict(x.numpy()), twin(x).detach().numpy())
