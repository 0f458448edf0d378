"""What a file brings does not act outside of the model: no file of the receiver's is written, nothing is run or imported."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.persistence.file import read, write

X = np.random.default_rng(0).normal(size=(30, 3))
CODES = np.arange(30) % 3
SMALL = {"layers": [4], "epochs": 2, "random_state": 0}


@pytest.fixture
def parts(monkeypatch):
    """Parts that are registered for one test, which note what they do to the system."""
    known = [nn.registry.callbacks, nn.registry.layers, nn.registry.activations]
    before = [dict(registry._classes) for registry in known]
    yield
    for registry, classes in zip(known, before, strict=True):
        registry._classes.clear()
        registry._classes.update(classes)


def mine(tmp_path):
    """A file of the receiver's."""
    path = tmp_path / "thesis.txt"
    path.write_text("mine")
    return path


# ------------------------------------------------------------------------------------------------ an estimator's callbacks


@pytest.mark.parametrize("way", ["list", "tuple", "alone", "array"])
@pytest.mark.parametrize("make", [nn.NNClassifier, nn.NNRegressor])
def test_a_checkpoint_of_an_estimators_file_writes_nothing(make, way, tmp_path):
    thesis, path = mine(tmp_path), tmp_path / "net.safetensors"
    stopping = nn.EarlyStopping("loss", patience=99)
    net = make(**SMALL, callbacks=[stopping]).fit(X, CODES)
    checkpoint = nn.Checkpoint(str(thesis))
    net.callbacks = {"list": [stopping, checkpoint], "tuple": (checkpoint, stopping), "alone": checkpoint,
                     "array": np.array([checkpoint, stopping], object)}[way]  # fmt: skip
    net.save(path)
    with pytest.warns(nn.PersistenceWarning) as told:
        again = nn.load(path)
    (message,) = (str(item.message) for item in told)
    assert "Checkpoint(" in message and f"path={str(thesis)!r}" in message
    assert f"callbacks of {make.__name__}" in message
    assert "nnkit.load(path, trust=True)" in message
    assert told[0].filename == __file__
    assert [repr(item) for item in again.callbacks] == ([] if way == "alone" else [repr(stopping)])
    assert isinstance(again.callbacks, tuple if way == "tuple" else list)
    again.fit(X, CODES)
    again.partial_fit(X, CODES)
    assert thesis.read_text() == "mine"


def test_a_trusted_file_brings_all(tmp_path):
    path, written = tmp_path / "net.safetensors", tmp_path / "training.safetensors"
    net = nn.NNClassifier(**SMALL, callbacks=[nn.Checkpoint(str(written))]).fit(X, CODES)
    net.save(path)
    written.unlink()
    with pytest.warns(nn.PersistenceWarning, match=r"is trusted, and brings along .*: Checkpoint\('") as told:
        again = nn.load(path, trust=True)
    assert len(told) == 1 and told[0].filename == __file__
    assert repr(again.callbacks) == repr(net.callbacks)
    again.fit(X, CODES)
    assert written.exists()


def test_harmless_callbacks_come_along_without_a_word(tmp_path):
    callbacks = [nn.EarlyStopping("loss"), nn.Monitor(), "early_stopping"]
    net = nn.NNClassifier(**SMALL, callbacks=callbacks).fit(X, CODES, X_val=X, y_val=CODES)
    net.save(tmp_path / "net.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", nn.PersistenceWarning)
        assert repr(nn.load(tmp_path / "net.safetensors").callbacks) == repr(callbacks)


def test_callbacks_that_say_nothing_are_suspected_also_by_name(parts, tmp_path):
    ran = []

    @nn.register("silent")
    class Silent(nn.Callback):
        def __init__(self, folder="runs"):
            ran.append(f"made for {folder}")
            self.folder = folder

        def on_fit_begin(self, fit):
            ran.append(f"writes to {self.folder}")

    net = nn.NNClassifier(**SMALL).fit(X, CODES)
    for place, given in enumerate([Silent("theirs"), "silent", Silent, "a_plugin_that_may_come"]):
        path = tmp_path / f"{place}.safetensors"
        net.callbacks = [given]
        net.save(path)
        ran.clear()
        with pytest.warns(nn.PersistenceWarning, match="Silent\\(folder='theirs'\\)|'silent'|'a_plugin_that_may_come'"):
            nn.load(path).fit(X, CODES)
        assert ran == [], "not even the constructor has run: it may look the path up"


def test_a_part_that_acts_is_refused_where_it_cannot_be_left_out(parts, tmp_path):
    @nn.register("sequence_of")
    class SequenceOf(nn.Callback):
        acts_outside = False

        def __init__(self, callbacks=()):
            self.callbacks = callbacks

    @nn.register("logging")
    class Logging(nn.Identity):
        acts_outside = True

    path = tmp_path / "net.safetensors"
    net = nn.NNClassifier(**SMALL).fit(X, CODES)
    hidden = [
        {"callbacks": SequenceOf([nn.Checkpoint("a")])}, {"callbacks": SequenceOf(({"a": "checkpoint"},))},
        {"callbacks": [SequenceOf(np.array(["checkpoint"]))]}, {"metrics": [nn.Checkpoint("a")]}, {"metrics": "checkpoint"},
        {"layers": [4, Logging()]}, {"layers": ["logging"]}, {"class_weight": {"a": nn.Checkpoint("a")}},
    ]  # fmt: skip
    for given in hidden:
        nn.NNClassifier.set_params(net, **{**SMALL, "metrics": (), "callbacks": (), "class_weight": None, **given}).save(path)
        with pytest.raises(nn.PersistenceError, match=r"act outside of the model.*trust=True"):
            nn.load(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", nn.PersistenceWarning)  # which lists what it has recognised
            assert repr(nn.load(path, trust=True).get_params(deep=False)) == repr(net.get_params(deep=False))


def test_models_with_layers_that_act_are_refused_but_can_be_saved(parts, tmp_path):
    @nn.register("looking_up")
    class LookingUp(nn.Identity):
        acts_outside = True

    path = tmp_path / "net.safetensors"
    for layers in ([LookingUp()], [nn.Residual(LookingUp())], [nn.Residual("looking_up")]):
        nn.Sequential([nn.Linear(2), *layers]).build((3,)).save(path)
        with pytest.raises(nn.PersistenceError, match="act outside of the model"):
            nn.load(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", nn.PersistenceWarning)
            assert nn.load(path, trust=True).is_built


PLUGIN = """
import nnkit as nn

imported = False  # to register a layer builds one

@nn.register("evil_layer")
class EvilLayer(nn.Identity):
    acts_outside = True
    def build(self, in_shape):
        if imported:
            open("owned", "w").close()
        return in_shape

@nn.register("relu_watch")
class EvilCallback(nn.Callback):
    def __init__(self):
        open("owned", "w").close()

imported = True
"""


def test_a_plugin_that_is_not_imported_yet_does_not_act_by_its_name(tmp_path):
    """Its names are known only once somebody asks for them, in the middle of loading."""
    (tmp_path / "nnkit_evil.py").write_text(PLUGIN)
    about = tmp_path / "nnkit_evil-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nnkit-evil\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[nnkit.plugins]\nevil = nnkit_evil\n")
    net = nn.NNRegressor([nn.Residual("relu")], epochs=1, callbacks=["early_stopping"])
    net.fit(X, CODES, X_val=X, y_val=CODES).save(tmp_path / "net")
    description, arrays = read(tmp_path / "net")

    def changed(old, new):
        text = json.dumps(description)
        assert old in text
        return json.loads(text.replace(old, new))

    for number, hostile in enumerate([changed('{"tuple": ["relu"]}', '{"tuple": ["evil_layer"]}'),
                                      changed('["early_stopping"]', '["relu_watch"]'),
                                      changed('"transform_layer": -2', '"transform_layer": -2, "activation": "evil_layer"')]):
        write(tmp_path / f"{number}", hostile, arrays)
        code = f"import sys, nnkit as nn, numpy as np, warnings\nwarnings.simplefilter('ignore')\ntry:\n" \
               f"    nn.load('{number}').fit(np.ones((4, 3)), np.ones(4))\n" \
               "except nn.PersistenceError as error: print(error)\nassert 'nnkit_evil' in sys.modules"  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "owned").exists(), number


def altered(part, **arguments):
    """A part with arguments that its constructor would refuse."""
    vars(part).update(arguments)
    return part


@pytest.mark.parametrize("change", [{"epochs": 2**63}, {"batch_size": -(2**63) - 1}, {"layers": [2**64]},
                                    {"metrics": {"a": [2**70]}}, {"optimizer": altered(nn.Adam(), lr=2**63)}])  # fmt: skip
def test_integers_that_no_machine_has_are_refused(change, tmp_path):
    net = nn.NNClassifier(**SMALL).fit(X, CODES)
    net.set_params(**change).save(tmp_path / "net.safetensors")
    with pytest.raises(nn.PersistenceError, match="integers of at most 64 bits"):
        nn.load(tmp_path / "net.safetensors")


def test_nothing_is_imported_that_a_file_names(tmp_path):
    """Neither as the origin of a part, nor as its kind or name."""
    path = tmp_path / "net.safetensors"
    (tmp_path / "evil_module.py").write_text("open('owned', 'w').close()")
    nn.Sequential([nn.Linear(2)]).build((3,)).save(path)
    description, arrays = read(path)
    for change in ({"from": ["evil_module", "1"]}, {"key": "evil_module"}, {"kind": "evil_module"},
                   {"key": "evil_module.Layer", "from": ["evil_module", "1"]}):  # fmt: skip
        parts = [{**description["parts"][0], **change}, *description["parts"][1:]]
        write(path, {**description, "parts": parts, "names": [["layer", "evil_module", "evil_module", "1"]]}, arrays)
        code = f"import nnkit as nn\ntry:\n    nn.load({str(path)!r})\nexcept nn.PersistenceError: pass\nimport sys\n" \
               "assert 'evil_module' not in sys.modules"  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "owned").exists()


# ------------------------------------------------------------------------------------------------- what checkpoints restore


class Log(nn.Callback):
    """Writes into a folder; like many, it works the file's name out once, and counts."""

    def __init__(self, folder):
        self.folder = folder
        self.file = os.path.join(folder, "log.txt")

    def on_fit_begin(self, fit):
        self.lines, self.begun = 0, self.file + ".begun"

    def on_epoch_end(self, fit):
        self.lines += 1
        with open(self.file, "a") as file:
            file.write(f"{self.lines}\n")


def train(log, epochs, **more):
    nn.Sequential([nn.Linear(2), nn.Linear(1)]).fit(X, CODES[:, None], epochs=epochs, random_state=0, callbacks=log, **more)


def test_what_a_callback_derives_from_its_arguments_stays_that_of_this_run(tmp_path):
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    path = tmp_path / "a.safetensors"
    train([Log(str(tmp_path / "theirs")), nn.Checkpoint(path)], 2)
    log = Log(str(tmp_path / "ours"))
    train([log], 3, resume=path)
    assert (tmp_path / "theirs" / "log.txt").read_text() == "1\n2\n"
    assert (tmp_path / "ours" / "log.txt").read_text() == "3\n"  # it goes on counting
    assert log.begun == str(tmp_path / "ours" / "log.txt.begun")


def test_what_a_callback_has_noted_may_be_the_name_of_a_part(tmp_path):
    class Notes(nn.Callback):
        acts_outside = False

        def on_epoch_end(self, fit):
            self.last = "checkpoint"

    path, notes = tmp_path / "a.safetensors", Notes()
    train([Notes(), nn.Checkpoint(path)], 2)
    train([notes], 2, resume=path)
    assert notes.last == "checkpoint"


@pytest.mark.parametrize("noted", [{"file": 1}, {"file": "x"}, {"folder": "x"}, {"begun": 2.0}, {"lines": "x"}, {"late": 1},
                                   {"on_fit_end": 1}, {"acts_outside": 0}, {"new": "x"}, {"lines": [1, {"a": "x"}]},
                                   {"__class__": 3}, {"key": 1}])  # fmt: skip
def test_a_checkpoint_sets_nothing_that_leads_somewhere(noted, tmp_path):
    log = Log("ours")
    log.on_fit_begin(None)
    before = dict(vars(log))
    with pytest.raises(nn.ParameterError, match="expected what such a callback has noted"):
        log.resume(noted)
    assert vars(log) == before
    path = tmp_path / "a.safetensors"
    train([Log(str(tmp_path)), nn.Checkpoint(path)], 2)
    description, arrays = read(path)
    description["training"]["noted"] = [{"dict": [[name, value if not isinstance(value, list) else 0]
                                                  for name, value in noted.items()]}]  # fmt: skip
    write(path, description, arrays)
    if noted != {"lines": [1, {"a": "x"}]}:
        with pytest.raises(nn.PersistenceError, match="expected a checkpoint of this very fit"):
            train([Log(str(tmp_path))], 3, resume=path)


def test_state_of_all_kinds_goes_into_a_checkpoint():
    class Notes(nn.Callback):
        best = 0.0  # a default of the class's, until there is one

        def on_fit_begin(self, fit):
            self.count, self.kept, self.by_name = 1, np.ones(3), {"a": [1, None, np.float32(2.0)], 3: (True,)}
            self.name, self.path, self.open = "a name", os.path, print

    class Harmless(Notes):
        acts_outside = False

        def on_fit_begin(self, fit):
            super().on_fit_begin(fit)
            del self.path, self.open

    for kind, expected in ((Notes, {"count", "kept", "by_name"}), (Harmless, {"count", "kept", "by_name", "name"})):
        made, other = kind(), kind()
        for item in (made, other):
            item.on_fit_begin(None)
        made.count, made.name = 5, "another"
        noted = made.noted()
        assert noted.keys() == expected
        other.resume({**noted, "best": 2.0})
        assert (other.count, other.best) == (5, 2.0)
        assert other.name == ("a name" if kind is Notes else "another")


@pytest.mark.parametrize("trust", ["no", 1, None])
def test_trust_is_a_truth_value(trust, tmp_path):
    nn.Sequential([nn.Linear(2)]).build((3,)).save(tmp_path / "net")
    with pytest.raises(nn.ParameterError, match="expected trust to be True or False, got"):
        nn.load(tmp_path / "net", trust=trust)
