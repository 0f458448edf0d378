"""What `test_guard_pages` runs in a process of its own, where a kernel that leaves its arrays may end it.

usage: guarded.py JOURNAL before|after layers|fits|others|planted [NUMBER]
"""

import contextlib
import itertools
import math
import sys
import warnings

import numpy as np
import scipy.sparse

import nnkit as nn
from nnkit.engine.memory import own, using
from nnkit.engine.operands import Array
from nnkit.kernels.control import CONTROL_WORDS
from nnkit.network import Network, network_of
from nnkit.passes import Pass
from nnkit.testing.guard import GuardPages
from nnkit.testing.inputs import draw
from nnkit.training import data
from nnkit.training.shards import shard_rows

RANDOM = np.random.default_rng(0)


def ours(kind):
    return [part for part in kind.values() if part.__module__.startswith("nnkit.")]


class Apart(Network):
    """Every parameter, state and gradient is an array of its own."""

    def placed(self, *given, **named):
        placed = super().placed(*given, **named)
        self._move(placed)
        return placed

    def _move(self, placed):
        nothing = np.zeros(CONTROL_WORDS, np.int64), np.zeros(0, np.uint8)
        placed.arrays = {name: Array.view(own(array.value(*nothing))) for name, array in placed.arrays.items()}
        for child in placed.children:
            self._move(child)


def layers(guards):
    """Forward and backward of every example of every layer; the numbers are those of usual memory."""
    parts = [*ours(nn.registry.layers), *ours(nn.registry.activations)]
    examples = [example for part in parts for example in part.examples()]
    for example, dtype in itertools.product(examples, ("float32", "float64")):
        print(f"{example.part!r} {example.in_shape} {dtype}", flush=True)
        network = network_of(nn.Sequential([example.part]).build(example.in_shape, 0, dtype))
        network.__class__ = Apart
        for rows, training in ((1, True), (3, True), (17, True), (5, False)):
            shape = (rows, *example.in_shape)
            if network.input_dtype == "int64":
                x = RANDOM.integers(int(example.low), int(example.high), shape)
            else:
                x = draw(RANDOM, shape, example.low, example.high, example.kinks).astype(dtype)
            grad = RANDOM.uniform(-1.0, 1.0, (rows, *network.out_shape)).astype(dtype)
            found = []
            for memory in (None, guards):
                with using(memory) if memory else contextlib.nullcontext():
                    work = Pass(network, rows, training=training, gradient=network.gradient)
                    found.append((work.forward(x), work.backward(grad)))
            for one, other in zip(*found, strict=True):
                np.testing.assert_array_equal(one, other)


def vectors():
    width = int(RANDOM.integers(1, 40))
    choice = [nn.ReLU(), nn.Tanh(), nn.LayerNorm(), nn.BatchNorm1d(), nn.Dropout(0.3), nn.Residual(nn.Linear(width)), nn.GELU(),
              nn.Branches(nn.Linear(width), "identity", merge="add"), nn.RMSNorm(), nn.PReLU()]  # fmt: skip
    chosen = [choice[place] for place in RANDOM.choice(len(choice), int(RANDOM.integers(1, 5)), replace=False)]
    return [nn.Linear(width), *chosen, nn.Linear(3)], (int(RANDOM.integers(1, 40)),), 0


def images():
    maps, channels, width = (int(RANDOM.integers(1, high)) for high in (9, 4, 9))
    pool = [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(3, 2, 1)][RANDOM.integers(3)]
    layers = [nn.Conv2d(maps, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), pool, nn.Flatten(), nn.Linear(3)]
    return layers, (channels, 7, width + 1), 0


def steps():
    layer = [nn.LSTM, nn.GRU, nn.RNN][RANDOM.integers(3)]
    shape = int(RANDOM.integers(1, 9)), int(RANDOM.integers(1, 20))
    return [layer(int(RANDOM.integers(1, 20)), bidirectional=bool(RANDOM.integers(2))), nn.Linear(3)], shape, 0


def words():
    limit = int(RANDOM.integers(2, 30))
    attention = nn.Residual(nn.LayerNorm(), nn.MultiHeadAttention(2, causal=bool(RANDOM.integers(2))))
    layers = [nn.Embedding(limit, 8, padding_idx=0), nn.PositionalEmbedding(), attention, nn.Flatten(), nn.Linear(3)]
    return layers, (int(RANDOM.integers(2, 12)),), limit


def fits(guards, count):
    """Random nets on random data, every optimizer, every loss: nobody leaves an array, the user's included."""
    warnings.simplefilter("ignore", nn.TrainingWarning)  # of losses that do not fit a random last layer
    optimizers = itertools.cycle(ours(nn.registry.optimizers))
    losses = itertools.cycle([part.examples()[0] for part in ours(nn.registry.losses)])
    for number, kind in zip(range(count), itertools.cycle([vectors, images, steps, words]), strict=False):
        layers, shape, limit = kind()
        loss, optimizer = nn.CrossEntropyLoss(), next(optimizers)()
        if kind is vectors:
            example = next(losses)
            *leading, last = example.in_shape
            loss = example.part
            layers = [*layers, nn.Linear(3 * math.prod(leading)), nn.Reshape((*leading, 3)), nn.Linear(last)]
        rows = int(RANDOM.integers(1, 90))
        batch, threads = int(RANDOM.integers(1, rows + 1)), int(RANDOM.integers(1, 3))
        print(number, layers, shape, rows, batch, threads, loss, optimizer, flush=True)
        with using(guards):
            X = own(RANDOM.integers(0, limit, (rows, *shape)) if limit else RANDOM.normal(size=(rows, *shape)).astype("f4"))
            model = nn.Sequential(layers).build(shape, number)
            y, weight = own(loss.example_target(RANDOM, rows, model.out_shape)), own(RANDOM.uniform(0.5, 2, rows))
            try:
                model.fit(X, y, loss=loss, optimizer=optimizer, epochs=2, batch_size=batch, n_threads=threads,
                          random_state=number, sample_weight=weight, validation_data=(X, y))  # fmt: skip
            except nn.NonFiniteError:
                pass  # a random net may diverge; that is not what is looked at
            model.predict(X)


def others(guards):
    """What random nets seldom meet: sparse rows, shards, clipping, many rows, calls from outside, plugins, NaN."""
    whole = data._whole
    data._whole = lambda index, name: own(whole(index, name))
    optimizers = [nn.SGD(lr=0.1, clip_norm=0.1, weight_decay=0.01, momentum=0.9), nn.Adam(clip_value=0.01),
                  nn.AdamW(weight_decay=0.1)]  # fmt: skip
    for number, optimizer in enumerate(optimizers):
        print(number, optimizer, flush=True)
        with using(guards):
            for rows, columns in ((1, 1), (300, 17), (257, 3)):
                X = scipy.sparse.random(rows, columns, 0.3, "csr", np.float32, random_state=number)
                X.data = own(X.data)
                model = nn.Sequential([nn.Linear(5), nn.BatchNorm1d(), nn.ReLU(), nn.Linear(2)]).build((columns,), number)
                model.fit(X, own(RANDOM.normal(size=(rows, 2))), epochs=2, batch_size=33, optimizer=optimizer, n_threads=2)
                np.testing.assert_allclose(model.predict(X), model.predict(own(X.toarray())), rtol=1e-4, atol=1e-5)
            X = own(RANDOM.normal(size=(600, 40)).astype("f4"))  # enough work for several shards, which meet
            model = nn.Sequential([nn.Linear(130), nn.BatchNorm1d(), nn.Tanh(), nn.Linear(130), nn.ReLU(), nn.Linear(3)])
            model.fit(X, own(X[:, :3]), epochs=2, batch_size=257, optimizer=optimizer, n_threads=2)
            assert shard_rows(network_of(model), 257) < 257
    tokens = own(RANDOM.integers(0, 9, (257, 6)))
    for layers in ([nn.LSTM(3)], [nn.GRU(4, bidirectional=True)], [nn.TimeDistributed(nn.Linear(2)), nn.Flatten()]):
        print(layers, flush=True)
        with using(guards):
            model = nn.Sequential([nn.Embedding(9, 5, padding_idx=0), *layers, nn.Linear(2)]).build((6,), 0)
            model.fit(tokens, own(RANDOM.integers(0, 2, 257)), loss="cross_entropy", epochs=1)
            f, out = model.as_function(), own(np.empty(2, np.float32))
            for row in (tokens[0], own(np.full(6, 9)), own(np.full(6, -1))):
                f.c_function(row.ctypes.data, out.ctypes.data)
                assert np.isnan(out).all() == (row[0] in (9, -1))
    for example in (example for part in nn.registry.losses.values() for example in part.examples()):
        print(example.part, flush=True)
        with using(guards):
            prediction = own(RANDOM.uniform(example.low, example.high, (7, *example.in_shape)))
            example.part.grade(prediction, own(example.part.example_target(RANDOM, 7, example.in_shape)), own(np.ones(7)))
    parts = [*nn.registry.layers.values(), *nn.registry.activations.values()]
    for example, bad in itertools.product((example for part in parts for example in part.examples()), (np.nan, np.inf, 1e30)):
        print(f"{example.part!r} {bad}", flush=True)
        network = network_of(nn.Sequential([example.part]).build(example.in_shape, 0))
        network.__class__ = Apart
        if network.input_dtype == "int64":
            continue
        with using(guards), np.errstate(all="ignore"):
            x = RANDOM.normal(size=(5, *example.in_shape)).astype("f4")
            x.flat[:: 3 if bad < 1e31 else 1] = bad
            work = Pass(network, 5, training=True, gradient=network.gradient)
            work.forward(own(x))
            work.backward(np.full((5, *network.out_shape), bad, "f4"))


class Beyond(nn.Layer):
    """Reads ``shift`` numbers further on than it should."""

    def __init__(self, shift=0):
        self.shift = shift

    def build(self, in_shape):
        self.parameter("scale", in_shape, init="ones")
        return in_shape

    @staticmethod
    def forward(x, scale, shift, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = x[n, j] * scale[j + shift]

    @staticmethod
    def backward(x, scale, grad_out, grad_x, grad_scale):
        grad_scale[:] = 0.0
        grad_x[:] = 0.0


def planted(guards, shift):
    """A kernel that does leave an array."""
    network = network_of(nn.Sequential([nn.Tanh(), Beyond(shift)]).build((1000,), 0))
    network.__class__ = Apart
    with using(guards):
        Pass(network, 3, training=True, gradient=network.gradient).forward(np.ones((3, 1000), "f4"))


if __name__ == "__main__":
    journal, side, what, *numbers = sys.argv[1:]
    run = {"layers": layers, "fits": fits, "others": others, "planted": planted}[what]
    run(GuardPages(side == "before", journal), *map(int, numbers))
    print("done")
