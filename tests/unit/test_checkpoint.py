"""Checkpoints: wherever training is stopped, it goes on to the same bits."""

import copy
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import nnkit as nn
from nnkit.errors import NnkitError
from nnkit.network import network_of
from nnkit.persistence.checkpoint import snapshot_in
from nnkit.persistence.file import read, write

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((150, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
WEIGHTS = RANDOM.uniform(0.5, 2.0, len(X))
KILLS = int(os.environ.get("NNKIT_KILLS", "6"))  # moments of kill -9; 200 take a minute


def net():
    """Everything that has a state of its own: running statistics, dropout's stream, parameters."""
    return nn.Sequential([nn.Linear(40), nn.BatchNorm1d(), nn.ReLU(), nn.Dropout(0.3), nn.Linear(3)])


WAYS = {
    "adam": {},
    "sgd with momentum, cosine": {"optimizer": nn.SGD(lr=0.1, momentum=0.9, schedule=nn.CosineSchedule(final=0.1))},
    "held-out rows": {"validation_split": 0.2, "metrics": ["accuracy"]},
    "stopped early, back to the first epoch": {"callbacks": [nn.EarlyStopping("loss", patience=1, mode="max")]},
    "never better: half the rate": {"optimizer": nn.Adam(lr=0.05,
                                                         schedule=nn.ReduceOnPlateau(gamma=0.5, patience=0, threshold=0.9))},
    "weights, clipping": {"sample_weight": WEIGHTS, "optimizer": nn.AdamW(lr=0.01, clip_norm=0.5)},
    "in order": {"shuffle": False},
    "a generator of one's own": {"random_state": lambda: np.random.Generator(np.random.Philox(5))},
    "a Mersenne twister": {"random_state": lambda: np.random.Generator(np.random.MT19937(5))},
    "an old random state": {"random_state": lambda: np.random.RandomState(3)},
}  # fmt: skip


def train(way, callbacks=(), model=None, **more):
    """Four epochs of 10 steps (8 with rows held out)."""
    options = {"random_state": 1, **WAYS[way], **more}
    if callable(options["random_state"]):
        options["random_state"] = options["random_state"]()
    options["callbacks"] = [*options.get("callbacks", ()), *callbacks]
    model = net() if model is None else model
    history = model.fit(X, Y, loss="cross_entropy", epochs=4, batch_size=15, **options)
    return model, history


class Stop(nn.Callback):
    """Raises after a step."""

    late = True  # a checkpoint that is due is written before

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, fit):
        if fit.step == self.step:
            raise RuntimeError("stopped")


def numbers(model, history):
    figures = {name: values for name, values in history.items() if name != "seconds"}
    arrays = {name: array.copy() for name, array in {**model.parameters(), **model.states()}.items()}
    return figures, history.stopped, history.best_epoch, history.steps, arrays


def assert_same(ours, theirs):
    *figures, arrays = ours
    *others, expected = theirs
    assert figures == others
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("every", "stop"), [(0.1, 7), (0.35, 20), (1, 22), (1, 28), (2, 25)])
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(way, every, stop, tmp_path):
    expected = numbers(*train(way))
    path = tmp_path / "training.safetensors"
    checkpoint = nn.Checkpoint(path, every=every)
    try:
        train(way, [checkpoint, Stop(stop)])
    except RuntimeError:
        pass
    again = numbers(*train(way, [checkpoint], resume=path, random_state=99))  # the file has what is needed of the first one
    assert_same(again, expected)


def test_the_ways_above_need_what_is_kept():
    assert train("stopped early, back to the first epoch")[1].best_epoch == 0
    assert train("stopped early, back to the first epoch")[1].epochs == 3
    assert train("never better: half the rate")[1]["lr"] == [0.05, 0.05, 0.025, 0.0125]


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_goes_on(threads, tmp_path):
    layers = [nn.Linear(200), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3)]
    data, labels = np.tile(X, (4, 1)), np.tile(Y, 4)

    def fit(**more):
        model = nn.Sequential(layers)
        options = {"epochs": 3, "batch_size": 128, "random_state": 0, "loss": "cross_entropy", **more}
        return numbers(model, model.fit(data, labels, **options))

    expected = fit(n_threads=2)
    checkpoint = nn.Checkpoint(tmp_path / "a.safetensors", every=0.2)
    with pytest.raises(RuntimeError):
        fit(callbacks=[checkpoint, Stop(8)], n_threads=3 - threads)
    assert_same(fit(callbacks=[checkpoint], resume=True, n_threads=threads), expected)


def test_a_model_that_was_built_before_goes_on(tmp_path):
    def fit(**more):
        model = net().build((6,), random_state=9)
        model.forward(X[:5], training=True)
        return train("adam", model=model, **more)

    expected, _ = fit()
    with pytest.raises(RuntimeError):
        fit(callbacks=[nn.Checkpoint(tmp_path / "a.safetensors"), Stop(15)])
    resumed, _ = train("adam", resume=tmp_path / "a.safetensors")  # the weights are those of the file
    np.testing.assert_array_equal(network_of(resumed).vector, network_of(expected).vector)
    np.testing.assert_array_equal(resumed.forward(X[:5], training=True), expected.forward(X[:5], training=True))


def test_resume_true_begins_where_there_is_no_file_yet(tmp_path):
    checkpoint = nn.Checkpoint(tmp_path / "a.safetensors")
    expected = numbers(*train("adam"))
    assert_same(numbers(*train("adam", [checkpoint], resume=True)), expected)
    model, history = train("adam", [checkpoint], resume=True)  # and is done where all is done
    assert_same(numbers(model, history), expected)


def test_a_fit_that_has_ended_ends_again(tmp_path):
    way = "stopped early, back to the first epoch"
    path = tmp_path / "a.safetensors"
    expected = numbers(*train(way, [nn.Checkpoint(path)]))
    assert_same(numbers(*train(way, resume=path)), expected)


def test_a_checkpoint_is_a_model(tmp_path):
    model, _ = train("adam", [nn.Checkpoint(tmp_path / "a.safetensors")])
    np.testing.assert_array_equal(nn.load(tmp_path / "a.safetensors").predict(X), model.predict(X))


def test_the_last_files_are_kept(tmp_path):
    train("adam", [nn.Checkpoint(tmp_path / "a.safetensors", every=0.5, keep=3)])
    assert sorted(os.listdir(tmp_path)) == ["a.1.safetensors", "a.2.safetensors", "a.safetensors"]
    names = ("a.2.safetensors", "a.1.safetensors", "a.safetensors")
    assert [snapshot_in(tmp_path / name, []).step for name in names] == [30, 35, 40]


# ------------------------------------------------------------------------------------------------------------ refusals

OTHERS = {
    "data": ({"X": X[::-1].copy()}, "expected X as it was"),
    "labels": ({"Y": 2 - Y}, "expected y as it was"),
    "batch": ({"batch_size": 16}, "expected batch_size as it was in the fit that is resumed, 15, got 16"),
    "optimizer": ({"optimizer": nn.Adam(lr=0.5)}, "expected optimizer as it was"),
    "loss": ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "expected loss as it was"),
    "order": ({"shuffle": False}, "expected shuffle as it was"),
    "weights": ({"sample_weight": WEIGHTS}, "expected sample_weight as it was"),
    "held-out rows": ({"validation_split": 0.5}, "expected validation as it was"),
    "net": ({"model": nn.Sequential([nn.Linear(3)])}, "expected model as it was"),
    "callbacks": ({"callbacks": [nn.EarlyStopping()]}, "expected callbacks as it was"),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    net().fit(X, Y, loss="cross_entropy", epochs=2, batch_size=15, random_state=1, callbacks=[nn.Checkpoint(path, every=0.7)])
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_another_fit_is_refused_and_the_model_left_alone(name, file):
    change, message = OTHERS[name]
    options = {"loss": "cross_entropy", "epochs": 4, "batch_size": 15, "random_state": 1, **change}
    model, data, labels = options.pop("model", net()), options.pop("X", X), options.pop("Y", Y)
    model.build((6,), random_state=4)
    before = network_of(model).vector.copy()
    with pytest.raises(nn.ParameterError, match=message):
        model.fit(data, labels, resume=file, **options)
    np.testing.assert_array_equal(network_of(model).vector, before)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    model = net().build((6,))
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(nn.PersistenceError, match=r"expected a checkpoint to resume, got .*model.safetensors"):
        model.fit(X, Y, resume=tmp_path / "model.safetensors")
    with pytest.raises(nn.PersistenceError, match="there is no such file"):
        model.fit(X, Y, resume=tmp_path / "missing.safetensors")
    with pytest.raises(nn.ParameterError, match="expected a Checkpoint among the callbacks"):
        model.fit(X, Y, resume=True)
    with pytest.raises(nn.ParameterError, match="every"):
        nn.Checkpoint(tmp_path / "a", every=0)
    with pytest.raises(nn.ParameterError, match="keep"):
        nn.Checkpoint(tmp_path / "a", keep=0)


def test_a_full_disk_ends_training_and_leaves_the_last_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    train("adam", [nn.Checkpoint(path)])
    whole = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(nn.PersistenceError, match="the disk is full"):
        train("adam", [nn.Checkpoint(path)])
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_damaged_checkpoint_is_refused(file, tmp_path):
    """One bit, anywhere: the same training, or an error."""
    whole, target = file.read_bytes(), tmp_path / "b.safetensors"
    model = net()
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 15, "random_state": 1}
    for place in np.random.default_rng(1).integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        target.write_bytes(damaged)
        with pytest.raises(NnkitError):
            model.fit(X, Y, resume=target, **options)


@pytest.mark.parametrize("kind, changes", [
    ("MT19937", [{"pos": 10**6}, {"pos": -1000}, {"pos": 625}, {"pos": 0.5}, {"pos": True}]),
    ("Philox", [{"buffer_pos": -1000}, {"buffer_pos": 10**6}, {"buffer": np.zeros(2, np.uint64)}]),
    ("SFC64", [{"state": np.zeros(2, np.uint64)}, {"uinteger": 2**64}]),
    ("PCG64", [{"inc": 2**200}, {"bit_generator": "os.system"}, {"bit_generator": ["PCG64"]}]),
])  # fmt: skip
def test_the_state_of_a_random_generator_leads_nowhere(kind, changes, tmp_path):
    """NumPy believes what it is given: it reads its buffers wherever the state says. In a process of its own, which may die."""
    path, script = tmp_path / "a.safetensors", """if True:
        import sys, numpy as np, nnkit as nn
        random = np.random.Generator(getattr(np.random, sys.argv[2])(0))
        X = np.ones((20, 2))
        def fit(**more):
            nn.Sequential([nn.Linear(1)]).fit(X, X[:, :1], random_state=random, epochs=3, **more)
        if sys.argv[3] == "write":
            fit(callbacks=[nn.Checkpoint(sys.argv[1], every=1)])
        else:
            try:
                fit(resume=sys.argv[1])
            except nn.PersistenceError as error:
                print(error)
    """

    def run(what):
        command = [sys.executable, "-c", script, str(path), kind, what]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert run("write").returncode == 0
    description, arrays = read(path)
    for change in changes:
        training, more = copy.deepcopy(description["training"]), dict(arrays)
        for which in ("begun", "drawn"):
            state = training[which]["dict"]
            inner = next((value for name, value in state if name == "state"))["dict"]
            for name, value in change.items():
                if isinstance(value, np.ndarray):
                    more[f"array.{which}"] = value
                    value = {"array": f"array.{which}"}
                for pair in (*state, *inner):
                    if pair[0] == name and not (isinstance(pair[1], dict) and "dict" in pair[1]):
                        pair[1] = value
        write(path, {**description, "training": training}, more)
        done = run("resume")
        assert done.returncode == 0, f"{change}: {done.returncode} {done.stderr}"
        assert "as random generator to go on with" in done.stdout or "expected the state of a" in done.stdout, change


# -------------------------------------------------------------------------------------------------------------- kill -9


def endless(path, ready):
    """What is killed."""
    ready.set()
    train("held-out rows", [nn.Checkpoint(path, every=0.1, keep=2)], resume=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that a process is at work at once")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path):
    """The files left behind all load, and training from them ends in the same bits, be it killed again and again."""
    expected = numbers(*train("held-out rows"))
    forking, random = multiprocessing.get_context("fork"), np.random.default_rng(2)
    for kill in range(KILLS):
        path = tmp_path / f"{kill}" / "a.safetensors"
        path.parent.mkdir()
        for _ in range(1 + kill % 2):  # every second one is killed twice
            ready = forking.Event()
            worker = forking.Process(target=endless, args=(path, ready))
            worker.start()
            ready.wait()
            time.sleep(random.uniform(0.0, 0.25))
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
        for name in path.parent.glob("*.safetensors"):
            nn.load(name)
        again = numbers(*train("held-out rows", [nn.Checkpoint(path, every=0.1, keep=2)], resume=True))
        assert_same(again, expected)
        assert not list(path.parent.glob(".*")), "what a killed writer has left is removed"
