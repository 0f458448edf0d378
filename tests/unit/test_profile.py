"""model.profile(): every kernel of a step is told of, with the right figures, and the model stays as it is."""

import copy
import pickle
import time

import matplotlib
import numpy as np
import pytest

import nnkit as nn
from nnkit.engine.clock import Clocks
from nnkit.engine.operands import Array
from nnkit.engine.program import Instruction
from nnkit.inspect.cost.profile import BARS
from nnkit.inspect.cost.timing import Intervals
from nnkit.network import network_of
from nnkit.testing.inputs import draw

matplotlib.use("Agg")

import matplotlib.pyplot as plt

EXAMPLES = [example for layer in nn.registry.layers.values() for example in layer.examples()]
SHORT = {"seconds": 1e-4}
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(64, 4)), RANDOM.normal(size=(64, 2))


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def kernel(profile, name):
    return next(item for item in profile.kernels if item.name == name)


def flops(item):
    return 1e3 * item.gflops * item.us


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_layer_can_be_profiled(example):
    model = nn.Sequential([example.part]).build(example.in_shape)
    rows = draw(np.random.default_rng(0), (9, *example.in_shape), example.low, example.high)
    if network_of(model).input_dtype == "int64":
        rows = np.floor(rows).astype(np.int64)
    profile = model.profile(rows, np.zeros((9, *model.out_shape)), batch_size=9, **SHORT)
    assert all(np.isfinite(item.us) and item.us >= 0 and item.bytes > 0 for item in profile.kernels)
    assert all(item.stage in ("gather", "forward", "loss", "backward", "update") for item in profile.kernels)
    assert sum(item.share for item in profile.kernels) == pytest.approx(1)
    assert sum(part.share for part in profile.split) == pytest.approx(1)
    assert str(profile).isascii()


def test_the_figures_of_an_mlp_by_hand():
    model = nn.Sequential([nn.Linear(3), nn.ReLU(), nn.Linear(2)])
    profile = model.profile(X, Y, batch_size=32, n_threads=1, **SHORT)
    assert [item.name for item in profile.kernels if item.stage in ("forward", "backward")] == [
        "0 Linear forward", "1 ReLU forward", "2 Linear forward", "2 Linear backward", "2 Linear backward_x", "1 ReLU backward",
        "0 Linear require_finite", "0 Linear backward"]  # fmt: skip
    assert [item.stage for item in profile.kernels][:3] == ["gather"] * 3
    assert profile.kernels[-1].name == "Adam update"
    forward = kernel(profile, "0 Linear forward")
    assert flops(forward) == pytest.approx(32 * 2 * (4 * 3 + 3 + 3))
    assert forward.bytes == 4 * (32 * 4 + 12 + 3 + 32 * 3)
    assert flops(kernel(profile, "2 Linear backward_x")) == pytest.approx(32 * 2 * 3 * 2)
    assert flops(kernel(profile, "2 Linear backward")) == pytest.approx(32 * 2 * (2 * (6 + 2 + 2) - 6))
    relu = kernel(profile, "1 ReLU forward")
    assert relu.in_place and relu.bytes == 4 * 32 * 3
    assert not forward.in_place and "tiles" in forward.code
    assert forward.peak == pytest.approx(forward.gflops / profile.peak_gflops)
    assert forward.gigabytes_per_second == pytest.approx(1e-3 * forward.bytes / forward.us)
    gather = profile.kernels[0]
    assert gather.gflops is None and gather.bytes == 32 * 4 * (4 + 8)  # from float64
    assert (profile.batch_size, profile.shards, profile.threads, profile.dtype) == (32, 1, 1, "float32")
    assert profile.fit_us == pytest.approx(profile.step_us + profile.split[-1].us)


def test_the_model_stays_as_it_is():
    random = np.random.default_rng(3)
    model = nn.Sequential([nn.BatchNorm1d(), nn.Dropout(0.5), nn.Linear(2)])
    model.profile(X, Y, random_state=random, **SHORT)
    assert not model.is_built and model.last_fit == {}
    assert random.bit_generator.state == np.random.default_rng(3).bit_generator.state
    model.build((4,), random_state=0)
    model.forward(X, training=True)
    optimizer = nn.Adam(schedule="plateau") if "plateau" in nn.registry.schedules else nn.Adam()
    before = copy.deepcopy(({**model.parameters(), **model.states()}, network_of(model).random_position, vars(optimizer)))
    model.profile(X, Y, optimizer=optimizer, **SHORT)
    for name, array in {**model.parameters(), **model.states()}.items():
        assert (array == before[0][name]).all()
    assert network_of(model).random_position == before[1] and str(vars(optimizer)) == str(before[2])


class Slow(nn.PythonLayer):
    """Sleeps a while, both ways."""

    def forward(self, x):
        time.sleep(0.003)
        return x

    def backward(self, grad_out):
        time.sleep(0.001)
        return grad_out


def test_time_is_put_down_to_who_takes_it():
    """The system may let a kernel sleep longer than it wants, never shorter."""
    profile = nn.Sequential([nn.Linear(4), Slow(), nn.Linear(2)]).profile(X, Y, **SHORT)
    forward, backward = kernel(profile, "1 Slow forward"), kernel(profile, "1 Slow backward")
    assert forward.us >= 2900 and 900 <= backward.us
    assert forward.code == backward.code == "Python"
    slow = sorted(profile.kernels, key=lambda item: -item.us)[:2]
    assert {item.name for item in slow} == {"1 Slow forward", "1 Slow backward"}
    assert profile.step_us >= 3800 and profile.clocked_us >= 3800


@pytest.mark.parametrize("n_threads", [1, 2])
def test_shards_threads_and_meetings(n_threads):
    rows = RANDOM.normal(size=(512, 64))
    model = nn.Sequential([nn.Linear(128), nn.BatchNorm1d(), nn.ReLU(), nn.Linear(64)])
    profile = model.profile(rows, rows, batch_size=256, n_threads=n_threads, **SHORT)
    assert profile.shards > 1 and profile.threads == n_threads
    names = [item.kernel for item in profile.kernels]
    assert {"forward_partial", "backward_partial"} <= set(names)
    forward = kernel(profile, "0 Linear forward")
    assert flops(forward) == pytest.approx(256 * 2 * (64 * 128 + 128 + 128))
    shares = profile.shards * (64 * 128 + 128) + 256 * (64 + 128)
    assert forward.bytes == 4 * shares


@pytest.mark.parametrize("threads", [1, 2])
def test_readings_become_intervals(threads):
    """Two shards of two kernels, 10 and 20 us (in the second shard one more); a reading takes 1 us, the update 5."""
    shard = np.cumsum([0, 10 + 1, 20 + 1, 1])
    other = np.cumsum([0, 11 + 1, 21 + 1, 1]) + (shard[-1] + 1 if threads == 1 else 0)
    length = max(shard[-1], other[-1]) + 5 + 1
    times = np.stack([shard, other])[:, None, :] + length * np.arange(30)[None, :, None]
    told = Intervals.of(times.astype(float), [1, 2], threads)
    assert told.kernels == pytest.approx([21, 41])
    assert (told.update, told.reading, told.steps) == (5, 1, 30)
    waits = 2 / 2  # the first shard's thread, for what takes the second 2 us longer
    assert told.rest == pytest.approx(0 if threads == 1 else waits)


def test_meetings_are_not_put_down_to_kernels():
    def nothing(a):
        pass

    given = (Array.view(np.zeros(1)),)
    instructions = [Instruction(nothing, given, "a", "forward"), Instruction(nothing, given, "b", "forward", meets=True)]
    clocks = Clocks(instructions, shards=1, steps=4)
    assert [(item.part, item.meets) for item in clocks.instructions] == [
        ("clock", False), ("a", False), ("clock", False),
        ("clock", True), ("b", False), ("clock", False), ("clock", False),
    ]  # fmt: skip
    assert clocks.after == [1, 3]
    once = Clocks(instructions, shards=1, steps=4, within=False)
    assert [(item.part, item.meets) for item in once.instructions] == [("clock", False), ("a", False), ("b", True)]


def sparse():
    from scipy.sparse import random as matrix

    return {"X": matrix(64, 50, 0.1, "csr", random_state=0), "y": Y}


CASES = {
    "one row": (lambda: {"X": X[:1], "y": Y[:1]}, [nn.Linear(2)]),
    "fewer rows than a batch": (lambda: {"X": X[:5], "y": Y[:5], "batch_size": 7}, [nn.Linear(2)]),
    "batches that do not fit": (lambda: {"X": X[:50], "y": Y[:50], "batch_size": 16}, [nn.Linear(2)]),
    "sparse": (sparse, [nn.Linear(2)]),
    "whole numbers": (lambda: {"X": RANDOM.integers(0, 9, (64, 5)), "y": RANDOM.integers(0, 3, 64), "loss": "cross_entropy"},
                      [nn.Embedding(9, 4), nn.Flatten(), nn.Linear(3)]),
    "lists": (lambda: {"X": X.tolist(), "y": Y.tolist()}, [nn.Linear(2)]),
    "models in models": (lambda: {"X": X, "y": Y}, [nn.Sequential([nn.Residual(nn.Linear(4))]),
                          nn.Branches(nn.Linear(1), nn.Linear(1))]),
    "clipped": (lambda: {"X": X, "y": Y, "optimizer": nn.SGD(clip_norm=1.0, weight_decay=0.1)}, [nn.Linear(2)]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_whatever_fit_takes(case):
    given, layers = CASES[case]
    profile = nn.Sequential(layers).profile(**given(), **SHORT)
    assert profile.steps >= 20
    assert [part.name for part in profile.split][:2] == ["gather", "forward"]


def test_float64_is_compared_with_the_peak_of_float64():
    profile = nn.Sequential([nn.Linear(2)]).build((4,), dtype="float64").profile(X, Y, **SHORT)
    assert profile.dtype == "float64" and "float64" in str(profile)


def test_of_the_data_only_the_batch_counts():
    profile = nn.Sequential([nn.Linear(2)]).profile(np.ones((6400, 4)), np.ones((6400, 2)), batch_size=64, **SHORT)
    assert profile.kernels[0].bytes == 64 * 4 * (4 + 8)


def test_the_parts_of_the_last_fit_are_measured_again():
    model = nn.Sequential([nn.Linear(2)])
    model.fit(X, Y, loss="huber", optimizer="sgd", epochs=1)
    names = [item.name for item in model.profile(X, Y, **SHORT).kernels]
    assert any(name.startswith("Huber") for name in names) and names[-1] == "SGD update"


@pytest.mark.parametrize("given, error, message", [
    ({"X": X[:, :3], "y": Y}, nn.ShapeError, "expected X of shape"),
    ({"X": X * np.nan, "y": Y}, nn.DataError, "finite"),
    ({"X": X, "y": Y[:9]}, nn.ShapeError, "y"),
    ({"X": X, "y": Y, "batch_size": 0}, nn.ParameterError, "batch_size"),
    ({"X": X, "y": Y, "loss": "most"}, nn.RegistryError, "most"),
    ({"X": X, "y": Y, "n_threads": 0}, nn.ParameterError, "n_threads"),
    ({"X": X, "y": Y, "seconds": 0}, nn.ParameterError, "seconds"),
    ({"X": X, "y": Y, "seconds": float("inf")}, nn.ParameterError, "seconds"),
    ({"X": X, "y": 1e30 * Y, "optimizer": nn.SGD(lr=1e30)}, nn.NonFiniteError, "scale the data"),
])  # fmt: skip
def test_it_refuses_what_fit_refuses(given, error, message):
    with pytest.raises(error, match=message):
        nn.Sequential([nn.Linear(2)]).build((4,)).profile(**given)


def test_what_the_compiler_made_is_kept_with_the_kernel(script, tmp_path):
    look = """
        import numpy as np, nnkit as nn
        from nnkit.engine.stub import Kernel
        def refuse(self): raise RuntimeError("compiled again")
        Kernel.llvm = property(refuse)
        profile = nn.Sequential([nn.Tanh()]).profile(np.ones((8, 4)), np.ones((8, 4)), seconds=1e-4)
        print(profile.compiled > 0, [item.code for item in profile.kernels])
        """
    cache = tmp_path / "cache"
    first = script(look, NNKIT_CACHE_DIR=str(cache))
    again = script(look, NNKIT_CACHE_DIR=str(cache))
    assert first.startswith("True") and again == first.replace("True", "False", 1)
    assert list(cache.iterdir()) and not list(cache.glob("*.tmp"))


def test_a_pickle_of_before_loads():
    profile = nn.Sequential([nn.Linear(2)]).profile(X, Y, **SHORT)
    pickled, now = pickle.dumps(profile, protocol=0), b"nnkit.inspect.cost.profile\n"
    assert now in pickled
    assert pickle.loads(pickled.replace(now, b"nnkit.inspect.profile\n")) == profile


def test_a_table_for_terminals_and_one_for_notebooks():
    profile = nn.Sequential([nn.Linear(3), nn.ReLU(), nn.Linear(2)]).profile(X, Y, **SHORT)
    assert max(map(len, str(profile).splitlines())) <= 120
    page = profile._repr_html_()
    assert page.count("<table>") == 2 and page.count("<tr>") == len(profile.kernels) + len(profile.split) + 2


@pytest.mark.parametrize("layers", [1, 20])
def test_the_picture(layers):
    profile = nn.Sequential([nn.Linear(4, bias=False), nn.Tanh()] * layers + [nn.Linear(2)]).profile(X, Y, **SHORT)
    ax = profile.plot()
    ax.figure.canvas.draw()
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names) == min(len(profile.kernels), BARS + 1)
    if layers == 1:
        assert names == [item.name for item in profile.kernels]
    (split,) = ax.child_axes
    ticks = [tick for tick in ax.get_xticklabels() if tick.get_position()[0] <= ax.get_xlim()[1]]
    texts = [*ax.texts, *ax.get_yticklabels(), *ticks, ax.xaxis.label, split.title, *split.get_legend().texts]
    figure = ax.figure.bbox
    for text in texts:
        box = text.get_window_extent()
        assert figure.x0 <= box.x0 and box.x1 <= figure.x1 and figure.y0 <= box.y0 and box.y1 <= figure.y1, text
        assert text.get_fontsize() >= 9
    boxes = [text.get_window_extent() for text in [*ax.texts, *split.get_legend().texts, split.title]]
    assert not [1 for index, box in enumerate(boxes) for other in boxes[index + 1 :] if box.overlaps(other)]
    _, mine = plt.subplots()
    assert profile.plot(mine) is mine
