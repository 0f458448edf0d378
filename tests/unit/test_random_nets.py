"""Nets at random, of every registered layer, with masks, branches, ways around and shared parts, come back as they were."""

import functools

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.container import Chain, Container, as_layer
from nnkit.errors import NnkitError
from nnkit.layers import GRU, LSTM, RNN, Masking
from nnkit.network import network_of

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

NETS = 300
SEQUENCE = (5, 4)
BEGIN = [SEQUENCE, SEQUENCE, SEQUENCE, (6,), (2, 4, 6)]  # rows that a net starts from
# Of several values, which come back as other containers do, or not at all: tests/unit/test_fields.py has nets of them.
SEVERAL = {nn.Graph, nn.Fields, nn.Inputs, nn.Heads, nn.Add, nn.Concat}
# These come back as the layers that they are made of.
COMPOSED = {nn.TransformerEncoderLayer, nn.TransformerEncoder, nn.TransformerDecoderLayer, nn.TransformerDecoder,
            nn.Transformer, nn.AdaptiveLogSoftmaxWithLoss}  # fmt: skip


@functools.cache
def parts():
    """Parts that stand alone: those that the classes show themselves, and some that masks are for."""
    kinds = [kind for kind in (*nn.registry.layers.values(), *nn.registry.activations.values())
             if not issubclass(kind, Container) and kind.__module__.startswith("nnkit.")]  # fmt: skip
    shown = [example.part for kind in dict.fromkeys(kinds) for example in kind.examples()]
    other = {nn.CELU: nn.CELU(1.5), nn.PositionalEmbedding: nn.PositionalEmbedding()}  # ELU is CELU(1)
    return [other.get(type(part), part) for part in shown if part.input_dtype == "real" and told_apart(part)]


def told_apart(part):
    """Whether operators tell the part from others: zeros are no bias, running statistics are those of a batch norm, and nothing
    says that they are the means of all batches.
    """
    if type(part).__module__.startswith("nnkit.layers.channel_norm"):
        means = getattr(part, "momentum", 0.1) is None
        return part.bias and not means and not (type(part).__name__.startswith("Instance") and part.track_running_stats)
    if isinstance(part, nn.AdaptiveAvgPool1d) or getattr(part, "proj_size", 0):  # a product with a matrix, as Linear is
        return False
    return not isinstance(part, Chain)  # of the inputs of a layer that reads several


class Maker:
    """Makes nets of parts that fit; the same ones for the same number.

    Parameters
    ----------
    number : of the net
    """

    def __init__(self, number):
        self.random = np.random.default_rng(number)
        self.made = []  # (shape, layer): what may be used once more
        self.masks = 0  # branches that are masks alone

    def some(self, items):
        return items[self.random.integers(len(items))]

    def chance(self, share):
        return self.random.random() < share

    def layer(self, shape, keep, depth):
        """A layer for rows of this shape, and the shape that it gives; with ``keep``, the same."""
        again = [layer for before, layer in self.made if before == shape]
        if again and self.chance(0.25):
            return self.fitting(self.some(again), shape, keep)
        if depth and self.chance(0.4):
            return self.fitting(self.some(list(CONTAINERS.values()))(self, shape, depth - 1), shape, keep)
        if len(shape) == 2 and self.chance(0.35):
            sequences, both = keep or self.chance(0.5), not keep and self.chance(0.2)
            recurrent = self.some([GRU, LSTM, RNN])(shape[1], return_sequences=sequences, bidirectional=both)
            return self.fitting(self.some([Masking(), Masking(), recurrent, recurrent, nn.MultiHeadAttention(1)]), shape, keep)
        return self.fitting(nn.Linear(shape[-1]) if self.chance(0.2) else self.some(parts()), shape, keep)

    def fitting(self, layer, shape, keep):
        """The layer and what it gives, if it fits."""
        if not layer.hyperparameters().get("layers", True):  # an empty one
            return None
        again = [before for before, item in self.made if item is layer]
        if (not again and self.chance(0.8)) or any(before != shape for before in again):
            layer = layer.replace() if not isinstance(layer, Container) else layer
        try:
            out = layer.place(shape).out_shape
        except NnkitError:
            return None
        if not out or np.prod(out) > 64 or (keep and out != shape):
            return None
        if isinstance(layer, nn.Squeeze) and out == shape:  # which writes nothing
            return None
        self.made.append((shape, layer))
        return layer, out

    def chain(self, shape, length, depth, keep=False):
        """Layers one after the other, and the shape that they give."""
        layers = []
        for _ in range(100):
            if len(layers) == length:
                break
            found = self.layer(shape, keep, depth)
            if found is not None:
                layers.append(found[0])
                shape = found[1]
        return layers, shape

    def residual(self, shape, depth):
        return nn.Residual(*self.chain(shape, self.random.integers(1, 4), depth, keep=True)[0])

    def branches(self, shape, depth):
        """Branches that give the same: the shape of the input, or what a last layer makes of it."""
        ends = [[nn.Linear(2)]]
        if len(shape) == 2:
            ends += [[GRU(2), LSTM(2), RNN(2)]] * 2
        end = self.some([*ends, None])
        inner = []
        for _ in range(self.random.integers(2, 4)):
            layers, _ = self.chain(shape, self.random.integers(end is None, 3), depth, keep=True)
            self.masks += end is None and all(isinstance(layer, Masking) for layer in layers)
            inner.append([*layers, *([] if end is None else [self.some(end)])])
        merge = self.some(["add", "mean", "concat"])
        return nn.Branches(*[layers[0] if len(layers) == 1 else layers for layers in inner], merge=merge)

    def each_step(self, shape, depth):
        """Layers for every step; a row without steps gets them as they are."""
        if len(shape) < 2 or shape[0] == 1:  # the operators for one step are a Reshape
            return self.within(shape, depth)
        return nn.TimeDistributed(self.chain(shape[1:], self.random.integers(1, 3), depth)[0])

    def within(self, shape, depth):
        return as_layer(nn.Sequential(self.chain(shape, self.random.integers(1, 3), depth)[0]))

    def net(self):
        """A net, and rows for it."""
        layers = []
        if self.chance(0.15):
            layers.append(nn.Embedding(5, 3, padding_idx=self.some([None, 0, 4])))
            start, shape = (4,), (4, 3)
            X = self.random.integers(0, 5, (8, 4))
        else:
            start = shape = self.some(BEGIN)
            X = self.random.normal(size=(8, *shape)).astype("float32")
        layers += self.chain(shape, self.random.integers(1, 6), 2)[0]
        for row in range(6) if len(X.shape) == 3 else ():  # padding of any kind
            X[row, self.random.random(X.shape[1]) < 0.4] = 0.0
        model = nn.Sequential(layers).build(start, random_state=0)
        for array in (*model.parameters().values(), *model.states().values()):
            if self.chance(0.7):
                array += self.random.uniform(0.0, 0.3, array.shape)
        return model, X


CONTAINERS = {
    nn.Residual: Maker.residual, nn.Branches: Maker.branches, nn.TimeDistributed: Maker.each_step, Chain: Maker.within,
}  # fmt: skip


def test_every_container_is_among_them():
    registered = {kind for kind in nn.registry.layers.values() if issubclass(kind, Container)}
    ours = {kind for kind in registered if kind.__module__.startswith("nnkit.")}
    assert ours == (CONTAINERS.keys() - {Chain}) | SEVERAL | COMPOSED


def structure(model):
    """What is trained and kept, in order: of which layers, of which shapes, and what is used again."""
    first, found = {}, []
    for _, built in network_of(model).root.walk():
        declared = {name: item.shape for name, item in {**built.parameters, **built.states}.items() if np.prod(item.shape)}
        if declared:
            found.append((type(built.layer).key, declared, first.setdefault(id(built.home), len(first))))
    return found


def written(path):
    """Operators and what they read, without names, and without those that do nothing, or that nobody reads."""
    graph = onnx.load(path).graph
    needed, nodes = {graph.output[0].name}, []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed |= set(node.input)
            nodes.insert(0, node)
    same = {}
    for node in nodes:
        if node.op_type == "Identity":
            same[node.output[0]] = same.get(node.input[0], node.input[0])
    kept = [node for node in nodes if node.op_type != "Identity"]
    read = [[same.get(name, name) for name in node.input] for node in kept]
    places = {}
    for node, names in zip(kept, read, strict=True):
        for name in (*names, *node.output):
            places.setdefault(name, len(places))
    return [(node.op_type.replace("Sum", "Add"), [places[name] for name in names], sorted(map(str, node.attribute)))
            for node, names in zip(kept, read, strict=True)]  # fmt: skip


@pytest.mark.parametrize("first", range(0, NETS, 25))
def test_a_net_that_is_written_comes_back_as_itself(first, tmp_path):
    for number in range(first, first + 25):
        maker = Maker(number)
        model, X = maker.net()
        out = model.predict(X)
        model.save(tmp_path / "net.safetensors")
        again = nn.load(tmp_path / "net.safetensors")
        assert repr(again) == repr(model)
        assert structure(again) == structure(model)
        assert np.array_equal(again.predict(X), out), (number, model)
        nn.onnx.export(model, tmp_path / "net.onnx")
        try:
            again = nn.onnx.load(tmp_path / "net.onnx")
        except nn.OnnxError:  # where such a mask goes on behind the branches, the operators do not always tell
            assert maker.masks, (number, model)
            continue
        assert np.allclose(again.predict(X), out, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(out).max())), (number, model, again)
        assert structure(again) == structure(model), (number, model, again)
        if "TimeDistributed('identity')" in repr(again):  # of one within another there may be left one that does nothing
            continue
        nn.onnx.export(again, tmp_path / "again.onnx")
        assert written(tmp_path / "again.onnx") == written(tmp_path / "net.onnx"), (number, model, again)


def padded(*shape):
    X = np.random.default_rng(0).normal(size=shape).astype("float32")
    X[:2, 2:], X[2, :2], X[3] = 0.0, 0.0, 0.0
    return X


def gru(**options):
    return GRU(4, return_sequences=True, **options)


SHARED = nn.LSTM(4, return_sequences=True)


@pytest.mark.parametrize("layers", [
    [nn.Branches([Masking(), LSTM(2)], [GRU(2)], merge="add")],
    [nn.Branches([GRU(2)], [Masking(), LSTM(2)], merge="add")],
    [nn.Branches([Masking(), LSTM(2)], [Masking(0.5), GRU(2)], [RNN(2)], merge="add")],
    [nn.Residual(nn.LayerNorm(), Masking()), GRU(2)],
    [Masking(), nn.Residual(gru(), Masking()), gru(), nn.Branches(Masking(), nn.ReLU(), merge="add"), GRU(3)],
    [Masking(), nn.Branches([Masking(), nn.ReLU()], nn.ReLU(), merge="add"), GRU(3)],
    [Masking(), nn.Residual(nn.Linear(4)), nn.TimeDistributed(nn.Linear(4)), GRU(3)],
    [nn.Branches([Masking(), SHARED], SHARED, merge="mean"), nn.LayerNorm()],
    [nn.Branches([Masking(), gru()], "identity", merge="add"), LSTM(2)],
], ids=repr)  # fmt: skip
def test_a_layer_goes_by_the_mask_that_it_went_by(layers, tmp_path):
    model, X = nn.Sequential(layers).build(SEQUENCE, random_state=0), padded(6, *SEQUENCE)
    nn.onnx.export(model, tmp_path / "net.onnx")
    again = nn.onnx.load(tmp_path / "net.onnx")
    assert np.allclose(again.predict(X), model.predict(X), atol=1e-5)
    assert structure(again) == structure(model)
    (out,) = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": X})
    assert np.allclose(out, model.predict(X), atol=1e-5)


@pytest.mark.parametrize("layer", [nn.LayerNorm(), nn.BatchNorm1d(), nn.PReLU(), nn.Linear(1)], ids=repr)
def test_what_is_used_twice_is_one_layer_whatever_its_numbers(layer, tmp_path):
    width = 1 if isinstance(layer, nn.Linear) else 3
    model = nn.Sequential([layer, "tanh", layer, nn.Residual(layer)]).build((width,), random_state=0)
    nn.onnx.export(model, tmp_path / "net.onnx")
    assert structure(nn.onnx.load(tmp_path / "net.onnx")) == structure(model)


@pytest.mark.parametrize("layer", [nn.LayerNorm(elementwise_affine=False), nn.BatchNorm1d(affine=False)], ids=repr)
def test_a_norm_without_parameters_comes_back_without(layer, tmp_path):
    nn.onnx.export(nn.Sequential([layer]).build((3,)), tmp_path / "net.onnx")
    assert nn.onnx.load(tmp_path / "net.onnx").parameters() == {}


def test_padding_that_no_layer_goes_by_is_remembered_by_its_embedding(tmp_path):
    model = nn.Sequential([nn.Embedding(5, 3, padding_idx=2), nn.Flatten(), nn.Linear(2)]).build((4,), random_state=0)
    nn.onnx.export(model, tmp_path / "net.onnx")
    assert nn.onnx.load(tmp_path / "net.onnx").layers[0].padding_idx == 2


def test_many_masks_are_read_or_refused_in_time(tmp_path):
    layers = [layer for _ in range(60) for layer in (Masking(), nn.Residual(gru()))]
    model = nn.Sequential(layers).build(SEQUENCE, random_state=0)
    nn.onnx.export(model, tmp_path / "net.onnx")
    assert structure(nn.onnx.load(tmp_path / "net.onnx")) == structure(model)
