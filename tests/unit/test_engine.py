"""The engine: what is compiled and when, where it is cached, that threads do not matter, that memory is not wasted."""

import concurrent.futures
import importlib.util
import linecache
import os
import re
import subprocess
import sys
import textwrap
import threading
import traceback
from typing import ClassVar

import numpy as np
import pytest

import nnkit as nn
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.stub import statistics
from nnkit.network import network_of
from nnkit.passes import Pass
from nnkit.training.shards import shard_rows

RANDOM = np.random.default_rng(11)
X = RANDOM.normal(size=(1100, 24)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 1100)
WEIGHTS = RANDOM.uniform(0.0, 2.0, 1100)

NETS = {
    "classifier": [nn.Linear(192), nn.ReLU(), nn.Dropout(0.2), nn.Linear(160), nn.Tanh(), nn.Linear(3)],
    "softmaxed": [nn.Linear(256), nn.PReLU(), nn.Linear(128), nn.Dropout(0.5), nn.Linear(3), nn.LogSoftmax()],
    "sequence": [nn.Reshape((4, 6)), nn.Linear(96), nn.GELU(), nn.Flatten(), nn.Linear(3)],
}


def weights_of(model):
    return np.concatenate([array.ravel() for array in model.parameters().values()])


def fit(layers, data=X, dtype="float32", **options):
    model = nn.Sequential(layers).build((24,), random_state=0, dtype=dtype)
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 256, "random_state": 1, **options}
    history = model.fit(data, LABELS[: len(data)], **options)
    return weights_of(model), history["loss"]


# ------------------------------------------------------------------------------------------------------- compiling


def test_new_architecture_of_known_parts_compiles_nothing():
    fit([nn.Linear(8), nn.ReLU(), nn.Linear(3)], X[:64])
    before = statistics.compiled, statistics.loaded
    fit([nn.Linear(9), nn.ReLU(), nn.Linear(5), nn.ReLU(), nn.Linear(11), nn.ReLU(), nn.Linear(3)], X[:50], batch_size=7)
    assert (statistics.compiled, statistics.loaded) == before


IMAGE = (3, 12, 12)
WIRINGS = {
    "convolutions": (
        IMAGE,
        [nn.Conv2d(8, 3, padding=1), "relu", nn.MaxPool2d(2), nn.Conv2d(4, 3), "relu", "relu", "flatten",
         nn.Linear(3)],
        [nn.Conv2d(5, (2, 3), stride=2, groups=1), "relu", nn.Conv2d(6, 1, padding="same"), nn.MaxPool2d((1, 2), stride=1),
         nn.Conv2d(10, 3, dilation=2, padding=3), "relu", "relu", "flatten", nn.Linear(7), "relu", nn.Linear(3)],
    ),
    "sequences": (
        (6, 8),
        [nn.LSTM(8, bidirectional=True, return_sequences=True), nn.LayerNorm(), nn.MultiHeadAttention(2, causal=True),
         nn.GRU(4, bidirectional=True), nn.Linear(3)],
        [nn.MultiHeadAttention(4), nn.GRU(5, num_layers=2, bidirectional=True, return_sequences=True), nn.LayerNorm(),
         nn.LSTM(6, bidirectional=True), nn.Linear(5), nn.Linear(3)],
    ),
    "branches": (
        (6,),
        [nn.Linear(6), nn.Residual(nn.Branches(nn.Linear(6), nn.Residual(nn.BatchNorm1d()), merge="add")),
         nn.Branches(nn.Linear(2), nn.Residual("relu")),
         nn.Dropout(0.1), nn.Branches(nn.Linear(4), nn.Linear(4), nn.Linear(4), merge="mean"), nn.Linear(3)],
        [nn.Branches(nn.Linear(4), nn.Linear(4), nn.Residual("relu"), merge="concat"), nn.Dropout(0.5), nn.BatchNorm1d(),
         nn.Residual(nn.Branches(nn.Linear(14), nn.Residual(nn.Linear(14)), merge="add")), nn.Linear(3)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WIRINGS)
def test_other_sizes_strides_and_wirings_of_known_layers_compile_nothing(name):
    in_shape, first, second = WIRINGS[name]
    data = np.random.default_rng(0).standard_normal((40, *in_shape))

    def train(net):
        nn.Sequential(net).fit(data, LABELS[:40], loss="cross_entropy", epochs=1, batch_size=20, n_threads=2)

    train(first)
    before = statistics.compiled, statistics.loaded
    train(second)
    assert (statistics.compiled, statistics.loaded) == before


def test_warmup_compiles_a_part_ahead(script, tmp_path):
    """The parts of `python -m nnkit warmup`, and that nothing is left to compile for one that it has done."""
    cold = {"NNKIT_CACHE_DIR": str(tmp_path), "NNKIT_PLUGINS": "off"}
    script(
        """
        from nnkit import registry
        from nnkit.engine.stub import statistics
        from nnkit.warmup import _compile_loop, _compile_part, parts
        listed = parts()
        assert {key for kind, key in listed if kind == "layers"} == set(registry.layers), listed
        assert {kind for kind, _ in listed} == {"layers", "activations", "losses", "optimizers"}
        seconds = [_compile_loop(), *(_compile_part(*part) for part in listed if part[1] in ("tanh", "adam", "mse"))]
        assert statistics.compiled > 10 and all(second >= 0 for second in seconds)
        """,
        **cold,
    )
    script(
        """
        import nnkit as nn, numpy as np
        from nnkit.engine.stub import statistics
        X = np.ones((64, 3), np.float32)
        nn.Sequential([nn.Linear(5), "tanh", nn.Linear(2)]).fit(X, np.ones((64, 2)), epochs=2)
        assert (statistics.compiled, statistics.loaded > 5) == (0, True), (statistics.compiled, statistics.loaded)
        """,
        **cold,
    )


def test_second_epoch_compiles_nothing():
    seen = []
    count = nn.LambdaCallback(lambda fit: seen.append(statistics.compiled))
    fit([nn.Linear(8), nn.Linear(3)], X[:64], epochs=3, callbacks=[count])
    assert seen[0] == seen[-1]


TRAIN = """
    import numpy as np, nnkit, nnkit as nn
    from nnkit.engine.stub import statistics
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = nn.Sequential([nn.Linear(4), nn.Tanh(), nn.Linear(1)])
    history = model.fit(X, X[:, :1], epochs=3, random_state=0)
    print(history["loss"], nnkit.network.network_of(model).vector.tobytes().hex()[:64], model.predict(X[:1])[0, 0])
    print(statistics.compiled, statistics.loaded)
"""


PREDICT = """
    import numpy as np, nnkit as nn
    from nnkit.engine.cache import kernel_cache
    model = nn.Sequential([nn.Linear(4), nn.Tanh()]).build((3,), random_state=0)
    print(model.predict(np.ones((5, 3))).tolist())
    print(kernel_cache.path)
"""


def test_second_process_loads_everything_from_the_cache(script, tmp_path):
    first = script(TRAIN, NNKIT_CACHE_DIR=str(tmp_path / "cache")).splitlines()
    second = script(TRAIN, NNKIT_CACHE_DIR=str(tmp_path / "cache")).splitlines()
    compiled = int(first[1].split()[0])
    assert compiled > 0
    assert first[1] == f"{compiled} 0"
    assert second[1] == f"0 {compiled}"
    assert first[0] == second[0]


def test_many_processes_may_start_on_a_cold_cache_at_once(tmp_path):
    path = tmp_path / "predict.py"
    path.write_text(textwrap.dedent(PREDICT))
    environment = {**os.environ, "NNKIT_CACHE_DIR": str(tmp_path / "cache")}
    started = [
        subprocess.Popen([sys.executable, "-W", "error", str(path)], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    outputs = [process.communicate(timeout=240)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [0] * 8
    assert len({output[0] for output in outputs}) == 1
    assert not list((tmp_path / "cache").rglob("*.tmp"))


def test_unwritable_home_falls_back_to_a_temporary_folder(script, tmp_path):
    """A file instead of a folder: not even root can write into it."""
    blocked = tmp_path / "home"
    blocked.write_text("")
    (tmp_path / "temporary").mkdir()
    output = script(
        PREDICT, NNKIT_CACHE_DIR=None, XDG_CACHE_HOME=None, HOME=str(blocked), LOCALAPPDATA=str(blocked),
        TMPDIR=str(tmp_path / "temporary"),
    ).splitlines()  # fmt: skip
    assert output[1].startswith(str(tmp_path / "temporary"))


def test_nothing_is_written_into_the_package(script, tmp_path):
    """It may be installed read-only."""
    folder = importlib.util.find_spec("nnkit").submodule_search_locations[0]
    script(
        f"""
        import pathlib
        before = {{path for path in pathlib.Path({folder!r}).rglob("*") if "__pycache__" not in path.parts}}
        import numpy as np, nnkit as nn
        nn.Sequential(["tanh"]).build((2,)).predict(np.ones((4, 2)))
        assert before == {{path for path in pathlib.Path({folder!r}).rglob("*") if "__pycache__" not in path.parts}}
        """,
        NNKIT_CACHE_DIR=str(tmp_path / "cache"), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip


CELL = """
import nnkit as nn

GAIN = {gain}

def gain(x):
    return GAIN * x

class Gain(nn.Activation):
    @staticmethod
    def forward(x):
        return gain(x)

    @staticmethod
    def backward(grad_out):
        return gain(grad_out)
"""


def run_cell(number, text):
    """What a notebook does: the source is known to linecache alone."""
    name = f"<cell-{number}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), namespace)
    return namespace["Gain"]


def test_kernel_of_a_notebook_cell_is_compiled_and_an_edit_is_seen():
    for number, gain in enumerate((2.0, 3.0)):
        model = nn.Sequential([run_cell(number, CELL.format(gain=gain))()]).build((2,))
        np.testing.assert_array_equal(model.predict([[1.0, -2.0]]), [[gain, -2 * gain]])


def test_edit_of_a_helper_in_another_file_is_seen_by_the_next_process(script, tmp_path):
    user = """
        import nnkit as nn, helpers
        class Bent(nn.Activation):
            @staticmethod
            def forward(x):
                return helpers.bend(x)
            @staticmethod
            def backward(grad_out):
                return grad_out
        print(nn.Sequential([Bent()]).build((1,)).predict([[3.0]])[0, 0])
    """
    for body, expected in (("x + x", "6.0"), ("x * x", "9.0")):
        (tmp_path / "helpers.py").write_text(f"def bend(x):\n    return {body}\n")
        output = script(user, NNKIT_CACHE_DIR=str(tmp_path / "cache"), PYTHONDONTWRITEBYTECODE="1")
        assert output.strip() == expected


# --------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    "options",
    [{}, {"sample_weight": WEIGHTS}, {"optimizer": nn.Adam(clip_norm=0.05), "batch_size": 300}],
    ids=["plain", "weighted", "clipped and ragged"],
)
def test_threads_give_identical_bits(net, options):
    alone, losses = fit(NETS[net], n_threads=1, **options)
    for n_threads in (2, 4):
        weights, same_losses = fit(NETS[net], n_threads=n_threads, **options)
        np.testing.assert_array_equal(weights, alone)
        assert same_losses == losses


@pytest.mark.parametrize("net", NETS)
def test_these_nets_are_cut_into_shards(net):
    """Otherwise the test above would show nothing."""
    model = nn.Sequential(NETS[net]).build((24,))
    assert shard_rows(network_of(model), 256) <= 128


def test_shards_equal_one_shard_to_rounding():
    class Whole(nn.Identity):
        mixes_rows = True  # keeps the batch in one piece

    layers = [nn.Linear(192), nn.ReLU(), nn.Linear(160), nn.Tanh(), nn.Linear(3)]
    cut, _ = fit(layers, dtype="float64", optimizer=nn.SGD(0.1), sample_weight=WEIGHTS)
    whole, _ = fit([*layers, Whole()], dtype="float64", optimizer=nn.SGD(0.1), sample_weight=WEIGHTS)
    np.testing.assert_allclose(cut, whole, rtol=1e-9, atol=1e-12)


def test_fits_in_threads_do_not_disturb_each_other():
    alone = [fit([nn.Linear(16), nn.Tanh(), nn.Linear(3)], X[:200], random_state=seed)[0] for seed in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda seed: fit([nn.Linear(16), nn.Tanh(), nn.Linear(3)], X[:200], random_state=seed)[0], range(4))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_model_predicts_in_many_threads():
    model = nn.Sequential([nn.Linear(64), nn.Tanh(), nn.Linear(3)]).build((24,), random_state=0)
    expected = model.predict(X[:100])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for result in pool.map(model.predict, [X[:100]] * 40):
            np.testing.assert_array_equal(result, expected)


def test_no_thread_is_left_behind():
    fit(NETS["classifier"], n_threads=4, epochs=1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nnkit")]


# ---------------------------------------------------------------------------------------------------------- Python


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_python_engine_equals_the_compiled_one(dtype):
    layers = [nn.Linear(6), nn.SiLU(), nn.Dropout(0.3), nn.Linear(3)]
    options = {"data": X[:50], "dtype": dtype, "batch_size": 16, "optimizer": nn.Adam(clip_norm=1.0), "validation_split": 0.2}
    compiled, losses = fit(layers, **options)
    python, same_losses = fit(layers, engine="python", **options)
    tolerance = {"float32": 1e-4, "float64": 1e-9}[dtype]
    np.testing.assert_allclose(python, compiled, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(losses, same_losses, rtol=tolerance)


def test_python_engine_cuts_a_batch_into_the_same_shards():
    layers = [nn.Linear(256), nn.PReLU(), nn.Linear(3)]
    options = {"data": X[:128], "dtype": "float64", "batch_size": 100, "epochs": 1}
    np.testing.assert_allclose(fit(layers, engine="python", **options)[0], fit(layers, **options)[0], rtol=1e-9, atol=1e-12)


class PythonTanh(nn.PythonLayer):
    def forward(self, x):
        self.out = np.tanh(x)
        return self.out

    def backward(self, grad_out):
        return grad_out * (1 - self.out**2)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_python_layer_equals_the_compiled_layer(n_threads):
    options = {"dtype": "float64", "n_threads": n_threads, "validation_split": 0.1}
    python, losses = fit([nn.Linear(192), PythonTanh(), nn.Linear(160), nn.ReLU(), nn.Linear(3)], **options)
    compiled, same_losses = fit([nn.Linear(192), nn.Tanh(), nn.Linear(160), nn.ReLU(), nn.Linear(3)], **options)
    np.testing.assert_allclose(python, compiled, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(losses, same_losses, rtol=1e-8)


def test_python_layer_alone_predicts_many_rows():
    model = nn.Sequential([PythonTanh()]).build((24,))
    np.testing.assert_allclose(model.predict(X[:5]), np.tanh(X[:5]), rtol=1e-6)
    np.testing.assert_allclose(model.predict(X), np.tanh(X), rtol=1e-6)


class Fails(nn.PythonLayer):
    def __init__(self, fails_from=0):
        self.fails_from = fails_from

    def forward(self, x, first_row):
        if first_row >= self.fails_from:
            raise ZeroDivisionError("the third law")
        return x

    def backward(self, grad_out):
        return grad_out


@pytest.mark.parametrize("first_row", [0, 1], ids=["in the calling thread", "in a worker"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_exception_in_a_python_layer_ends_fit_with_its_traceback(n_threads, first_row):
    layers = [nn.Linear(192), Fails(first_row), nn.Linear(160), nn.Linear(3)]
    with pytest.raises(ZeroDivisionError, match="the third law") as caught:
        fit(layers, n_threads=n_threads)
    assert 'raise ZeroDivisionError("the third law")' in "".join(traceback.format_exception(caught.value))
    fit([nn.Linear(192), Fails(10**9), nn.Linear(160), nn.Linear(3)], n_threads=n_threads, epochs=1)


def test_exception_in_a_python_layer_ends_predict():
    with pytest.raises(ZeroDivisionError, match="the third law"):
        nn.Sequential([Fails()]).build((24,)).predict(X)


@pytest.mark.parametrize("wrong", [None, np.zeros((2, 2))], ids=["nothing", "another shape"])
def test_python_layer_that_returns_the_wrong_thing_is_named(wrong):
    class Wrong(nn.PythonLayer):
        def forward(self, x):
            return wrong

        def backward(self, grad_out):
            return grad_out

    with pytest.raises(nn.ShapeError, match=r"Wrong\(\): expected forward to return the output, shape \(4, 24\), got"):
        nn.Sequential([Wrong()]).build((24,)).predict(X[:4])


# ---------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_arena_begins_on_a_cache_line(dtype):
    for count in (1, 3, 64, 1000):
        assert aligned_zeros(count, dtype).ctypes.data % 64 == 0


def test_every_array_of_a_program_begins_on_a_cache_line():
    model = nn.Sequential([nn.Linear(7), nn.Tanh(), nn.Linear(3)]).build((5,))
    work = Pass(network_of(model), 9, training=True, gradient=network_of(model).gradient, keep=True)
    arrays = [work.array(array) for node in work.nodes() for array in (node.x, node.out, node.grad_out, node.grad_x)]
    for array in [*arrays, *model.parameters().values(), *model.gradients().values()]:
        assert array.ctypes.data % 64 == 0


def test_buffers_that_are_never_alive_together_share_memory():
    net = network_of(nn.Sequential([nn.Linear(50), nn.ReLU()] * 10).build((50,)))
    shared, kept = (
        Pass(net, 100, training=True, gradient=net.gradient, keep=keep).program.memory.size for keep in (False, True)
    )
    assert shared < 0.6 * kept


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.astype(np.float64),
        np.asfortranarray,
        lambda data: np.repeat(data, 2, axis=0)[::2],
        lambda data: np.repeat(data, 2, axis=1)[:, ::2],
        lambda data: data[::-1][::-1],
        lambda data: np.ascontiguousarray(data[:, ::-1])[:, ::-1],
        lambda data: data.tolist(),
    ],
    ids=["float64", "Fortran", "every other row", "every other column", "twice reversed", "reversed columns", "lists"],
)
def test_memory_layout_of_X_does_not_matter(change):
    data = X[:100]
    expected, _ = fit([nn.Linear(3)], data, batch_size=32)
    np.testing.assert_array_equal(fit([nn.Linear(3)], change(data), batch_size=32)[0], expected)


def fit_any(data, targets=LABELS):
    model = nn.Sequential([nn.Linear(3)]).build((24,), random_state=0)
    model.fit(data, targets[: len(data)], loss="cross_entropy", epochs=2, batch_size=32, random_state=1)
    return weights_of(model)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64, bool, np.float16])
def test_dtype_of_X_does_not_matter(dtype):
    data = (np.abs(X[:100]) * 3).astype(dtype)
    np.testing.assert_array_equal(fit_any(data), fit_any(data.astype(np.float32)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_dtype_of_labels_does_not_matter(dtype):
    np.testing.assert_array_equal(fit_any(X[:100], LABELS.astype(dtype)), fit_any(X[:100]))


def test_strided_labels_are_read_right():
    np.testing.assert_array_equal(fit_any(X[:100], np.repeat(LABELS, 2)[::2]), fit_any(X[:100]))


def test_frames_and_series_are_accepted():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:100])
    np.testing.assert_array_equal(fit_any(frame, pandas.Series(LABELS)), fit_any(X[:100]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads resident memory as Linux gives it")
def test_memory_map_larger_than_need_be_is_not_copied(script, tmp_path):
    """400 MB that are mostly holes: the resident memory of their own pages aside, fit takes little."""
    output = script(
        f"""
        import numpy as np, nnkit as nn, re
        np.memmap({str(tmp_path / "large")!r}, np.float32, "w+", shape=(100_000, 1000)).flush()
        X = np.memmap({str(tmp_path / "large")!r}, np.float32, "r", shape=(100_000, 1000))
        y = np.zeros((100_000, 1), np.float32)
        model = nn.Sequential([nn.Linear(1)])
        model.fit(X[:64], y[:64], epochs=1, validation_split=0.5)
        def anonymous():
            return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
        peak = before = anonymous()
        class Watch(nn.Callback):
            def on_batch_end(self, fit):
                global peak
                peak = max(peak, anonymous())
        model.fit(X, y, epochs=1, batch_size=2048, callbacks=[Watch()], validation_split=0.1)
        assert not X.flags.writeable
        print(peak - before)
        """
    )
    assert float(output) < 100


ALLOCATIONS = """
    import tracemalloc
    import numpy as np, nnkit as nn
    X, y = np.ones((256, 8), np.float32), np.ones((256, 1), np.float32)
    def peak(epochs):
        model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(1)])
        tracemalloc.start()
        model.fit(X, y, epochs=epochs, batch_size=64, random_state=0, n_threads={n_threads})
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory
    peak(2048)
    print(peak(2048), peak(8192))
"""


@pytest.mark.parametrize("n_threads", [1, 2])
def test_steps_allocate_nothing(script, n_threads):
    """24 000 more steps: beyond the history of 6144 more epochs (two floats and two list slots each), nothing."""
    short, long = map(int, script(ALLOCATIONS.format(n_threads=n_threads)).split())
    assert long - short < 6144 * 100


def test_kernels_allocate_nothing(script):
    output = script(
        """
        import numpy as np, nnkit as nn
        from numba.core.runtime import _nrt_python, rtsys
        _nrt_python.memsys_enable_stats()
        X, y = np.ones((256, 8), np.float32), np.zeros(256, int)
        model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Dropout(0.1), nn.PReLU(), nn.Linear(3)])
        options = dict(loss="cross_entropy", batch_size=64, random_state=0, optimizer=nn.Adam(clip_norm=1.0))
        model.fit(X, y, epochs=1, **options)
        counts = []
        for epochs in (1, 200):
            before = rtsys.get_allocation_stats().alloc
            model.fit(X, y, epochs=epochs, **options)
            counts.append(rtsys.get_allocation_stats().alloc - before)
        print(*counts)
        """
    )
    short, long = map(int, output.split())
    assert long == short


def test_stub_names_its_kernel_and_keeps_constants_in_its_dtype():
    model = nn.Sequential([nn.GELU()]).build((3,))
    text = Pass(network_of(model), 1, training=True, gradient=network_of(model).gradient).program.kernel(0).text
    assert text.startswith('"""nnkit.activations.GELU.forward in float32')
    assert re.search(r"np\.float32\(0\.5\)", text)


# ------------------------------------------------------------------------------------------------- denormal numbers


class Tiny(nn.Activation):
    """Makes denormal numbers of ordinary ones."""

    @staticmethod
    def forward(x):
        return x * 1e-39

    @staticmethod
    def backward(grad_out):
        return grad_out


class Halved(nn.PythonLayer):
    """Notes how Python computes within the loop."""

    seen: ClassVar[list[float]] = []

    def forward(self, x):
        self.seen.append(float(np.float32(1e-39) * np.float32(0.5)))
        return x

    def backward(self, grad_out):
        return grad_out


def test_the_loop_flushes_denormal_numbers_and_nobody_else_does():
    Halved.seen.clear()
    ones = np.ones((300, 2), np.float32)
    model = nn.Sequential([Halved(), Tiny()]).build((2,))
    for threads in (1, 2):
        assert (model.predict(ones, n_threads=threads) == 0).all()
        assert np.float32(1e-39) * np.float32(0.5) > 0
    assert len(Halved.seen) > 0
    assert min(Halved.seen) > 0
    exact = nn.Sequential([Tiny()]).build((2,), dtype="float64")
    np.testing.assert_allclose(exact.predict(ones), 1e-39)


def test_moments_of_what_gets_no_gradient_do_not_become_denormal():
    """They would slow the optimizer down threefold."""

    class Moments(nn.Callback):
        def on_fit_end(self, fit):
            seen.append(np.abs(fit.updater_progress.states["m"]))

    seen = []
    steps = 850  # 0.9**850 is 1e-39
    X = np.zeros((64 * steps, 6), np.float32)
    X[:64] = np.random.default_rng(0).normal(size=(64, 6))
    y = np.zeros((len(X), 1), np.float32)
    nn.Sequential([nn.Linear(1)]).fit(X, y, epochs=1, shuffle=False, callbacks=[Moments()], random_state=0)
    assert len(seen) == 1
    assert not ((seen[0] > 0) & (seen[0] < np.finfo(np.float32).tiny)).any()
