"""Models and estimators in files: what was saved comes back to the bit, and what cannot be saved or loaded says so."""

import errno
import hashlib
import json
import os
import warnings

import numpy as np
import pytest
from sklearn.base import clone

import nnkit as nn
from nnkit.core.container import Chain
from nnkit.core.plugins import provider
from nnkit.network import network_of
from nnkit.persistence import file as files
from nnkit.persistence.description import PARTS_LIMIT, Describer, Restorer
from nnkit.persistence.file import encode, opened, read, write
from nnkit.persistence.model import X as ROW
from nnkit.persistence.model import describe, pack

LAYERS = [example for kind in (nn.registry.layers, nn.registry.activations) for part in kind.values()
          for example in part.examples()]  # fmt: skip
OTHERS = [example.part for kind in (nn.registry.losses, nn.registry.optimizers, nn.registry.schedules, nn.registry.metrics,
                                    nn.registry.initializers, nn.registry.callbacks)
          for part in kind.values() for example in part.examples()]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def again(model, path):
    """The model from its file."""
    model.save(path)
    return nn.load(path)


def rows_for(model, low=-3.0, high=3.0, rows=5):
    random = np.random.default_rng(1)
    if network_of(model).input_dtype != model.dtype:
        return random.integers(0, 2, (rows, *model.in_shape))
    return random.uniform(low, high, (rows, *model.in_shape)).astype(model.dtype)


def same(a, b):
    if a.dtype == object:
        return a.dtype == b.dtype and a.tolist() == b.tolist()
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def assert_same_model(loaded, model, X):
    assert repr(loaded) == repr(model)
    assert (loaded.in_shape, loaded.out_shape, loaded.dtype, network_of(loaded).input_dtype) == (
        model.in_shape, model.out_shape, model.dtype, network_of(model).input_dtype)  # fmt: skip
    for mine, theirs in [(loaded.parameters(), model.parameters()), (loaded.states(), model.states())]:
        assert list(mine) == list(theirs)
        assert all(same(mine[name], theirs[name]) for name in mine)
    assert same(loaded.predict(X), model.predict(X))


# ------------------------------------------------------------------------------------------------------ every part


@pytest.mark.parametrize("example", LAYERS)
def test_layer_comes_back(example, path):
    model = nn.Sequential([example.part]).build(example.in_shape, random_state=0)
    random = np.random.default_rng(2)
    for state in model.states().values():  # as training leaves them
        state[...] = random.uniform(0.5, 1.5, state.shape)
    assert_same_model(again(model, path), model, rows_for(model, example.low, example.high))
    assert ROW in read(path)[1]  # it was tried


@pytest.mark.parametrize("part", OTHERS, ids=repr)
def test_other_part_comes_back(part, path):
    model = nn.Sequential([nn.Linear(2)]).build((3,), random_state=0)
    model.last_fit = {"part": part}
    model.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nn.PersistenceWarning)  # that it is trusted, where it acts outside of the model
        (loaded,) = nn.load(path, trust=True).last_fit.values()
    assert type(loaded) is type(part)
    assert repr(loaded) == repr(part)
    for name, value in part.hyperparameters().items():
        assert type(getattr(loaded, name)) is type(value)


@pytest.mark.parametrize("part", [example.part for example in LAYERS] + OTHERS, ids=repr)
def test_file_says_where_a_part_comes_from(part):
    describer = Describer()
    describer.describe(part, "it")
    entry = describer.parts[-1]
    if isinstance(part, Chain):  # which goes as a model
        assert {item["from"][1] for item in describer.parts if "from" in item} == {"0.1.0"}
        return
    assert [entry["kind"], entry["key"], entry["from"]] == [type(part).registry.kind, type(part).key, [*provider(type(part))]]
    assert entry["from"][1] == "0.1.0"
    assert entry["from"][0].startswith("nnkit")


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -(2**80), 0.1, float("inf"), float("-inf"), -0.0, "text", "", (1, (2, "a")), [1, [2.5, None]],
     np.float32(0.1), np.float64(0.1), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), {"a": 1, 2: "b", (1, 2): None},
     [float(i) / 3 for i in range(100)]],
    ids=repr,
)  # fmt: skip
def test_value_comes_back(value):
    describer = Describer()
    described = json.loads(json.dumps(describer.describe(value, "it")))
    loaded = Restorer([], [], describer.arrays.__getitem__).restore(described)
    assert type(loaded) is type(value)
    assert repr(loaded) == repr(value)


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.array(3, np.int16), np.zeros((0, 2), bool), np.array(["a", "", "long"]),
     np.array([["a", 1], [None, 2.5]], object), np.array([], "U3"), np.array([np.nan, np.inf], np.float32)],
    ids=lambda array: f"{array.dtype}{array.shape}",
)  # fmt: skip
def test_array_comes_back(array):
    describer = Describer()
    described = json.loads(json.dumps(describer.describe(array, "it")))
    loaded = Restorer([], [], describer.arrays.__getitem__).restore(described)
    assert loaded.dtype.kind == array.dtype.kind
    assert loaded.shape == array.shape
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize("value", [lambda x: x, 1j, object(), np.complex64(1), {1, 2}, b"bytes", np.array([b"x"]), int, ...],
                         ids=lambda value: type(value).__name__)  # fmt: skip
def test_what_cannot_be_described_is_named(value):
    model = nn.Sequential([nn.Linear(2, weight_init="ones")]).build((3,))
    model.layers[0].weight_init = value
    with pytest.raises(nn.PersistenceError, match=r"Linear's weight_init"):
        describe(network_of(model), {}, Describer())


# ---------------------------------------------------------------------------------------------------------- models


def small():
    return nn.Sequential([nn.Linear(3), "relu", nn.Linear(2)]).build((4,), random_state=0)


shared = nn.Linear(4)
inner = nn.Sequential([nn.Linear(4), nn.Tanh()])
MODELS = {
    "shared": (lambda: [shared, nn.ReLU(), shared, nn.Residual(shared, "tanh")], (4,)),
    "nested": (lambda: [inner, [nn.Linear(4), nn.ReLU], inner, nn.Residual(inner)], (4,)),
    "containers": (lambda: [nn.Branches(nn.Linear(2), [shared, "relu", nn.Linear(3)], "identity"),
                            nn.Residual(nn.Residual(nn.LayerNorm()), "sigmoid")], (4,)),
    "sequences": (lambda: [nn.Embedding(7, 4, padding_idx=0), nn.LSTM(3, num_layers=2, bidirectional=True,
                                                                      return_sequences=True),
                           nn.TimeDistributed([nn.Flatten(), nn.Linear(2)]), nn.GRU(2)], (5,)),
    "images": (lambda: [nn.Conv2d(3, (2, 3), padding="same"), nn.BatchNorm2d(), nn.MaxPool2d((2, 2)), nn.Flatten(),
                        nn.Linear(2)], (1, 6, 6)),
    "initializers": (lambda: [nn.Linear(3, weight_init=nn.Uniform(-0.1, 0.1), bias_init=nn.Constant(np.float64(0.3)))], (4,)),
    "scalars": (lambda: [nn.Linear(np.int64(3)), nn.Dropout(np.float32(0.25))], (4,)),
    "classes": (lambda: [nn.Residual(nn.ReLU, [nn.Linear(4), nn.Sigmoid])], (4,)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_model_comes_back(name, dtype, path):
    layers, in_shape = MODELS[name]
    model = nn.Sequential(layers()).build(in_shape, random_state=0, dtype=dtype)
    loaded = again(model, path)
    X = rows_for(model)
    if name == "classes":  # stand as names
        assert repr(loaded) == "Sequential([Residual('relu', [Linear(out_features=4), 'sigmoid'])])"
        assert same(loaded.predict(X), model.predict(X))
    else:
        assert_same_model(loaded, model, X)


def test_shared_layer_stays_shared(path):
    layer = nn.Linear(4)
    model = nn.Sequential([layer, nn.ReLU(), layer, nn.Residual(layer)]).build((4,), random_state=0)
    loaded = again(model, path)
    assert loaded.layers[0] is loaded.layers[2]
    assert loaded.layers[3].layers[0] is loaded.layers[0]
    assert sorted(loaded.parameters()) == ["0.bias", "0.weight"]
    first = loaded.predict(np.ones((1, 4)))
    loaded.parameters()["0.weight"][...] *= 2
    assert (loaded.predict(np.ones((1, 4))) != first).any()


def test_training_goes_on_after_loading(path):
    random = np.random.default_rng(0)
    X, y = random.normal(size=(64, 4)), random.normal(size=(64, 2))
    model = nn.Sequential([nn.Linear(8), nn.BatchNorm1d(), nn.Dropout(0.3), nn.Linear(2)])
    model.fit(X, y, epochs=2, random_state=0)
    loaded = again(model, path)
    losses = [net.fit(X, y, epochs=2, random_state=1)["loss"] for net in (model, loaded)]
    assert losses[0] == losses[1]
    assert_same_model(loaded, model, X)
    assert same(loaded.forward(X, training=True), model.forward(X, training=True))


def test_the_last_fit_is_kept(path):
    model = nn.Sequential([nn.Linear(2)])
    schedule = nn.LinearWarmup(2, after=nn.CosineSchedule(restart=3))
    optimizer = nn.Adam(betas=(0.8, 0.9), schedule=schedule, clip_norm=np.float64(2))
    X, y = np.ones((10, 3)), np.ones((10, 2))
    model.fit(X, y, loss=nn.HuberLoss(delta=0.5), optimizer=optimizer, epochs=3, batch_size=5, shuffle=False)
    loaded = again(model, path).last_fit
    assert repr(loaded) == repr(dict(sorted(model.last_fit.items())))
    assert (loaded["epochs"], loaded["batch_size"], loaded["shuffle"]) == (3, 5, False)
    assert loaded["optimizer"].schedule.after.restart == 3


def test_a_loss_that_is_not_registered_is_kept_as_text(path):
    class Own(nn.MSELoss):
        pass

    model = nn.Sequential([nn.Linear(2)])
    model.fit(np.ones((10, 3)), np.ones((10, 2)), loss=Own(), epochs=1)
    assert again(model, path).last_fit["loss"] == "Own()"


def test_numbers_that_are_not_finite_come_back(path):
    model = small()
    model.parameters()["0.weight"][0, 0] = np.nan
    model.parameters()["2.bias"][...] = [np.inf, -np.inf]
    assert_same_model(again(model, path), model, rows_for(model))


def test_a_slice_is_a_model_of_its_own(path):
    model = small()
    assert_same_model(again(model[:2], path), model[:2], rows_for(model))


def test_the_same_model_gives_the_same_bytes(path, script):
    small().save(path)
    first = path.read_bytes()
    output = script(f"""
        import hashlib, nnkit as nn
        nn.load({str(path)!r}).save({str(path) + "2"!r})
        print(hashlib.sha256(open({str(path) + "2"!r}, "rb").read()).hexdigest())
    """)
    assert output.strip() == hashlib.sha256(first).hexdigest()


def test_other_programs_can_read_the_file(path):
    from safetensors.numpy import load_file

    model = small()
    model.save(path)
    tensors = load_file(path)
    assert {*model.parameters(), "self_test.x", "self_test.out"} == {*tensors}
    assert same(tensors["0.weight"], model.parameters()["0.weight"])


def test_clean_process_gives_the_same_outputs(script, tmp_path):
    """Plugins are found by their entry points; nothing but nnkit is imported."""
    parts = {"maxout": "nnkit-maxout", "snake": "nnkit-snake", "global_filter": "nnkit-spectral"}
    for number, key in enumerate(parts):
        part = nn.Layer.registry.find(key)
        example = part.examples()[0]
        model = nn.Sequential([example.part, "relu", nn.Flatten(), nn.Linear(2)]).build(example.in_shape, random_state=0)
        rows = rows_for(model)
        model.last_fit = {"loss": nn.Loss.make("focal"), "optimizer": nn.Optimizer.make("adan")}
        model.save(tmp_path / f"{number}.safetensors")
        np.savez(tmp_path / f"{number}.npz", x=rows, out=model.predict(rows))
    output = script(f"""
        import sys, numpy as np, nnkit as nn
        for number in range({len(parts)}):
            model, kept = nn.load(f"{tmp_path}/{{number}}.safetensors"), np.load(f"{tmp_path}/{{number}}.npz")
            assert model.predict(kept["x"]).tobytes() == kept["out"].tobytes()
            print(type(model.layers[0]).__module__, model.last_fit["loss"].key, model.last_fit["optimizer"].key)
        assert not {{"sklearn", "torch", "pickle5"}} & set(sys.modules)
    """)
    assert output.splitlines() == [f"{name.replace('-', '_')} focal adan" for name in parts.values()]


# --------------------------------------------------------------------------------------------- what cannot be saved


def test_model_that_is_not_built_is_refused(path):
    with pytest.raises(nn.NotBuiltError, match="expected a built model; call fit, or build"):
        nn.Sequential([nn.Linear(2)]).save(path)
    assert not path.exists()


class Doubled(nn.Activation):
    @staticmethod
    def forward(x):
        return x + x

    @staticmethod
    def backward(grad_out, x):
        return grad_out + grad_out


class Halved(nn.ReLU):
    """Not registered, though its base class is."""


@pytest.mark.parametrize("part", [Doubled, Halved])
def test_class_that_is_not_registered_is_named(part, path):
    model = nn.Sequential([nn.Residual(nn.Linear(2), part())]).build((2,))
    with pytest.raises(nn.PersistenceError, match=rf"{part.__qualname__} is not registered.*@nnkit\.register"):
        model.save(path)
    assert not path.exists()


def test_function_as_initializer_is_named(path):
    class Drawn(nn.Initializer):
        def __init__(self, function):
            self.function = function

        def __call__(self, shape, random):
            return self.function(shape)

    nn.register("drawn_in_a_test")(Drawn)
    try:
        model = nn.Sequential([nn.Linear(2, weight_init=Drawn(np.zeros))]).build((2,))
        with pytest.raises(nn.PersistenceError, match=r"Drawn's function, <.*zeros>: expected None, numbers"):
            model.save(path)
    finally:
        del nn.registry.initializers._classes["drawn_in_a_test"]


def test_layers_within_themselves_are_refused(path):
    model = small()
    around = nn.Residual(nn.ReLU())
    around.layers = (around,)
    model.layers.append(around)
    with pytest.raises(nn.PersistenceError, match="within themselves"):
        model.save(path)


def test_layer_that_was_changed_after_building_is_refused(path):
    model = small()
    model.layers[0].out_features = 7
    with pytest.raises(nn.PersistenceError, match=r"expected '0.weight' as float32 of shape \(4, 7\), got float32 of shape"):
        model.save(path)


# ------------------------------------------------------------------------------------------------- what is missing


@pytest.mark.parametrize("layers", ["[nn.Linear(2), 'snake']", "[nn.Residual('snake')]", "[nn.Residual(['relu', 'snake'])]"])
def test_missing_plugin_says_what_to_install(layers, script, path):
    nn.Sequential(eval(layers)).build((2,)).save(path)
    text = f"""
        import nnkit as nn
        try:
            nn.load({str(path)!r})
        except nn.PersistenceError as error:
            print(error)
    """
    output = script(text, NNKIT_PLUGINS_BLOCK="nnkit-snake")
    assert "'snake' is missing; it came from nnkit-snake 0.1.0: pip install nnkit-snake (" in output
    assert "plugins left out: nnkit-snake (by NNKIT_PLUGINS)" in output
    assert script(text) == ""


def test_missing_initializer_of_a_plugin_is_named(path):
    class Halves(nn.Initializer):
        def __call__(self, shape, random):
            return np.full(shape, 0.5)

    nn.register("halves_in_a_test")(Halves)
    try:
        nn.Sequential([nn.Linear(2, weight_init="halves_in_a_test")]).build((2,)).save(path)
    finally:
        del nn.registry.initializers._classes["halves_in_a_test"]
    with pytest.raises(nn.PersistenceError, match="'halves_in_a_test' is missing; it came from a script or a notebook"):
        nn.load(path)


def changed(path, change):
    """Rewrite a file with its description and arrays changed, checksums included."""
    description, arrays = read(path)
    change(description, arrays)
    write(path, description, arrays)


CHANGES = {
    "weight of another shape": (lambda d, a: a.update({"0.weight": np.zeros((4, 2), "f")}), r"'0.weight' as .*shape \(4, 3\)"),
    "weight of another dtype": (lambda d, a: a.update({"0.weight": np.zeros((4, 3))}), r"'0.weight'.*got float64"),
    "no weight": (lambda d, a: a.pop("2.bias"), r"expected '2.bias'.*got none"),
    "one weight more": (lambda d, a: a.update({"3.weight": np.zeros(1, "f")}), r"got also '3.weight'"),
    "output of another shape": (lambda d, a: a.update({"self_test.out": np.zeros(3, "f")}), "'self_test.out'"),
    "no output": (lambda d, a: a.pop("self_test.out"), "'self_test.out'.*none"),
    "other weights": (lambda d, a: a.update({"0.weight": 2 * a["0.weight"]}), r"not give the outputs.*self_test=False"),
    "a module as a kind": (lambda d, a: d["parts"][0].update(kind="os"), "expected a kind of part"),
    "a module as a key": (lambda d, a: d["parts"][0].update(key="os.system"), "'os.system' is missing.*install -U nnkit-numba"),
    "a key of another kind": (lambda d, a: d["parts"][0].update(key="adam"), "'adam' is missing"),
    "unknown argument": (lambda d, a: d["parts"][0]["arguments"].update(depth=3), "make layer 'linear': CallError.*depth"),
    "illegal argument": (lambda d, a: d["parts"][0]["arguments"].update(out_features=-3), "ParameterError: Linear: expected"),
    "part within itself": (lambda d, a: d["parts"][-1].update(layers=[{"part": len(d["parts"]) - 1}]), "expected a part among"),
    "other shape of rows": (lambda d, a: d["model"].update(in_shape=[5]), r"of shape \(5, 3\)"),
    "other shape of outputs": (lambda d, a: d["model"].update(out_shape=[5]), r"expected output rows of shape \[5\]"),
    "other dtype": (lambda d, a: d["model"].update(dtype="float16"), "expected dtype float32 or float64"),
    "no model": (lambda d, a: d.pop("model"), "expected a model"),
    "no parts": (lambda d, a: d.pop("parts"), "expected a table of parts"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_found(name, path):
    change, message = CHANGES[name]
    small().save(path)
    changed(path, change)
    with pytest.raises(nn.PersistenceError, match=message):
        nn.load(path)


def test_other_outputs_can_be_loaded_nevertheless(path):
    small().save(path)
    changed(path, CHANGES["other weights"][0])
    assert nn.load(path, self_test=False).is_built


def test_outputs_of_another_machine_pass_the_self_test(path):
    small().save(path)
    changed(path, lambda d, a: a.update({"self_test.out": a["self_test.out"] * np.float32(1 + 1e-5)}))
    assert nn.load(path).is_built


def hostile(layers, in_shape, out_shape, path, **arrays):
    """A file of layers that nobody has built."""
    describer = Describer()
    described = {"layers": describer.describe(nn.Sequential(layers), "it"), "in_shape": [*in_shape], "out_shape": [*out_shape],
                 "dtype": "float32", "random_position": [0, 0], "last_fit": {}}  # fmt: skip
    describer.arrays |= {"self_test.x": np.ones(in_shape, "f"), "self_test.out": np.ones(out_shape, "f")}
    write(path, *pack(describer, model=described))


def doubled(times):
    layer = nn.ReLU()
    for _ in range(times):
        layer = nn.Residual(layer, layer)
    return layer


def altered(part, **arguments):
    """A part with arguments that its constructor would refuse."""
    vars(part).update(arguments)
    return part


HUGE = {
    "weights": ([nn.Linear(10**12), nn.Linear(1)], (4,), (1,), "got none"),
    "activations": ([nn.Upsample(scale_factor=1e5), nn.AdaptiveAvgPool2d(1)], (1, 4, 4), (1, 1, 1), "a self-test of at most"),
    "more than a float holds": ([nn.Upsample(scale_factor=1e308), nn.AdaptiveAvgPool2d(1)], (1, 9, 9), (1, 1, 1),
                                "OverflowError"),
    "windows": ([nn.MaxPool2d(10**9, padding=5 * 10**8)], (1, 4, 4), (1, 1, 1), "a self-test of at most"),
    "places": ([nn.LSTM(2, num_layers=1000, bidirectional=True, return_sequences=True) for _ in range(6)], (3, 2), (1,),
               f"at most {PARTS_LIMIT} layers"),
    "integers": ([altered(nn.LSTM(2), hidden_size=2**63)], (3, 2), (1,), "integers of at most 64 bits"),
    "axes": ([nn.Reshape((1,) * 40)], (1,), (1,) * 40, "at most 16 axes"),
    "doubling": ([doubled(30)], (3,), (3,), f"at most {PARTS_LIMIT} parts"),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_what_would_take_all_memory_or_time_is_refused(name, path):
    *made, message = HUGE[name]
    hostile(*made, path)
    with pytest.raises(nn.PersistenceError, match=message):
        nn.load(path)


def test_stacks_have_an_end():
    with pytest.raises(nn.ParameterError, match="num_layers to be at most 1000, got 1000000000"):
        nn.LSTM(2, num_layers=10**9)


def test_model_that_is_slow_to_try_is_saved_without_a_self_test(path):
    model = nn.Sequential([nn.Upsample(scale_factor=3000), nn.AdaptiveAvgPool2d(1)]).build((1, 4, 4))
    model.save(path)
    assert ROW not in read(path)[1]
    assert nn.load(path).in_shape == (1, 4, 4)


def test_tensor_is_read_once(path):
    """Or a short description could ask for a long tensor again and again."""
    small().save(path)
    changed(path, lambda d, a: d["parts"][0]["arguments"].update(bias=[{"array": "0.weight"}] * 2))
    with pytest.raises(nn.PersistenceError, match=r"'0\.weight' to be described once"):
        nn.load(path)


def test_strings_take_no_more_memory_than_the_file(path):
    small().save(path)
    strings = {"strings": [[100_001], ["a" * 100_000] + [""] * 100_000]}
    changed(path, lambda d, a: d["parts"][0]["arguments"].update(bias=strings))
    with pytest.raises(nn.PersistenceError, match="an array of strings of at most"):
        nn.load(path)


# ------------------------------------------------------------------------------------------------------- the file


def test_every_bit_counts(path):
    small().save(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.choice(len(whole), 200, replace=False):
        broken = bytearray(whole)
        broken[place] ^= 1 << random.integers(8)
        path.write_bytes(broken)
        with pytest.raises(nn.PersistenceError):
            nn.load(path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1])
def test_truncated_file_is_refused(length, path):
    small().save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(nn.PersistenceError, match="cannot read"):
        nn.load(path)


@pytest.mark.parametrize("text", [None, "", "[]", "[" * 100_000, '{"format":"nnkit","version":1}', "NaN", "1" * 10_000,
                                  '{"format":"nnkit","version":1,"description":NaN}'],
                         ids=lambda text: repr(text)[:12])  # fmt: skip
def test_safetensors_of_others_are_refused(text, path):
    from safetensors.numpy import save

    metadata = None if text is None else {"nnkit": text}
    path.write_bytes(save({"a": np.ones(2)}, metadata=metadata))
    with pytest.raises(nn.PersistenceError, match="not one of nnkit's"):
        nn.load(path)


def test_file_of_a_later_version_says_so(path, monkeypatch):
    monkeypatch.setattr(files, "VERSION", 2)
    small().save(path)
    monkeypatch.undo()
    with pytest.raises(nn.PersistenceError, match=r"expected version 1 of the format, got 2; .* pip install -U nnkit-numba"):
        nn.load(path)


def test_large_header_is_not_parsed(path):
    path.write_bytes((1 << 30).to_bytes(8, "little"))
    os.truncate(path, (1 << 30) + 8)
    with pytest.raises(nn.PersistenceError, match="a header of at most"):
        nn.load(path)


def test_large_description_is_not_written(path):
    with pytest.raises(nn.PersistenceError, match="too many parts for one file"):
        write(path, {"text": "a" * (9 << 20)}, {})
    assert not path.exists()


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array([object()]), np.array(["2020"], "M8[Y]")],
                         ids=lambda array: str(array.dtype))  # fmt: skip
def test_arrays_of_no_numbers_are_not_written(array, path):
    with pytest.raises(nn.PersistenceError, match="array 'a': expected numbers or truth values"):
        write(path, {}, {"a": array})


@pytest.mark.parametrize("description", [{"a": float("nan")}, {"a": object()}, {"a": {1, 2}}], ids=["nan", "object", "set"])
def test_description_that_is_no_json_is_not_written(description, path):
    with pytest.raises(nn.PersistenceError, match="what JSON can hold"):
        write(path, description, {})


def test_arrays_come_back_however_they_lie_in_memory(path):
    whole = np.arange(24.0).reshape(4, 6)
    arrays = {"turned": whole.T, "some": whole[::2, ::-3], "foreign": whole.astype(">f4"), "one": np.array(2.5)}
    write(path, {"a": [1, 2.5, None, "\u00fc"]}, arrays)
    description, loaded = read(path)
    assert description == {"a": [1, 2.5, None, "\u00fc"]}
    assert {name: array.shape for name, array in loaded.items()} == {name: array.shape for name, array in arrays.items()}
    assert all((loaded[name] == array).all() for name, array in arrays.items())


def test_shapes_are_known_before_anything_is_read(path):
    write(path, {}, {"a": np.zeros((2, 3), "f")})
    with opened(path) as file:
        assert file.layouts == {"a": ("float32", (2, 3))}


# ------------------------------------------------------------------------------------------------ the file system


def assert_nothing_happened(folder, before):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


REFUSALS = {
    "disk full at the write": ("fsync", errno.ENOSPC, "the disk is full"),
    "disk full at the opening": ("open", errno.ENOSPC, "the disk is full"),
    "read-only": ("open", errno.EROFS, "a read-only file system"),
    "no permission": ("open", errno.EACCES, "no permission"),
    "no permission to replace": ("replace", errno.EPERM, "no permission"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_leaves_the_file_as_it_was(name, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    small().save(path)
    before = {path.name: path.read_bytes()}
    function, number, message = REFUSALS[name]

    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    model = nn.Sequential([nn.Linear(7)]).build((4,))
    model.predict(np.ones((1, 4), "f"))  # compiled before the system refuses
    data = encode(*pack(describer := Describer(), model=describe(network_of(model), {}, describer)))
    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(nn.PersistenceError, match=rf"cannot write .*{message}.*as it was") as caught:
        files.write_atomically(path, data)
    monkeypatch.undo()
    assert isinstance(caught.value, OSError)
    assert_nothing_happened(tmp_path, before)
    model.save(path)  # now it may
    assert nn.load(path).out_shape == (7,)


def test_interruption_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    small().save(path)
    before = {path.name: path.read_bytes()}

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        small().save(path)
    monkeypatch.undo()
    assert_nothing_happened(tmp_path, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_file_that_is_cut_off_while_it_is_written_leaves_nothing(script, tmp_path):
    """The system takes the first 1000 bytes only."""
    path = tmp_path / "net.safetensors"
    small().save(path)
    before = {path.name: path.read_bytes()}
    output = script(f"""
        import resource, signal, nnkit as nn
        from nnkit.persistence.disk import write_atomically
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_atomically({str(path)!r}, b"a" * 5000)
        except nn.PersistenceError as error:
            print(error)
    """)
    assert "it is larger than the system allows" in output
    (tmp_path / "script.py").unlink(missing_ok=True)
    assert_nothing_happened(tmp_path, before)


def test_path_that_is_a_folder(tmp_path):
    with pytest.raises(nn.PersistenceError, match=r"cannot write .* it is a folder"):
        small().save(tmp_path)
    with pytest.raises(nn.PersistenceError, match=r"cannot read .* it is a folder"):
        nn.load(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("text")
    with pytest.raises(nn.PersistenceError, match="what stands for its folder is a file"):
        small().save(tmp_path / "a" / "net.safetensors")
    assert_nothing_happened(tmp_path, {"a": b"text"})


def test_missing_folder(tmp_path):
    with pytest.raises(nn.PersistenceError, match=r"there is no folder .*none'; make it first"):
        small().save(tmp_path / "none" / "net.safetensors")
    with pytest.raises(nn.PersistenceError, match="there is no such file"):
        nn.load(tmp_path / "none" / "net.safetensors")


@pytest.mark.parametrize("path", ["", "a\0b", "a" * 300], ids=["empty", "null", "long"])
def test_path_that_cannot_be(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for use in (small().save, nn.load):
        with pytest.raises(nn.PersistenceError):
            use(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [3, None, 1.5])
def test_what_is_no_path(path):
    for use in (small().save, nn.load):
        with pytest.raises(nn.ParameterError, match="expected a path"):
            use(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs devices")
def test_devices_and_pipes_are_no_files(tmp_path):
    for path in ("/dev/full", "/dev/null"):
        with pytest.raises(nn.PersistenceError, match="no regular file"):
            small().save(path)
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(nn.PersistenceError, match="no regular file"):
            nn.load(path)


def test_second_save_takes_the_place_of_the_first(tmp_path):
    path = tmp_path / "net.safetensors"
    first, second = small(), nn.Sequential([nn.Linear(2)]).build((4,), random_state=1)
    first.save(path)
    path.chmod(0o640)
    second.save(path)
    assert_same_model(nn.load(path), second, rows_for(second))
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o640
    assert [item.name for item in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "net.safetensors")
    small().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert nn.load(tmp_path / "link").out_shape == (2,)


# ------------------------------------------------------------------------------------------------------ estimators

random = np.random.default_rng(0)
XS = random.normal(size=(60, 4))
CODES = np.digitize(XS[:, 0] + 0.1 * XS[:, 1], [-0.5, 0.5])
BINARY = (CODES > 0).astype(int)
NAMES = np.array(["a", "bb", "ccc"])
SMALL = {"layers": [5, nn.Dropout(0.2)], "epochs": 3, "random_state": 0}
ESTIMATORS = {
    "integers": (nn.NNClassifier(**SMALL), XS, CODES + 7),
    "strings": (nn.NNClassifier(**SMALL, class_weight={"a": 1.0, "bb": 2.0, "ccc": 0.5}), XS, NAMES[CODES]),
    "objects": (nn.NNClassifier(**SMALL, class_weight="balanced"), XS, NAMES.astype(object)[CODES]),
    "truth values": (nn.NNClassifier(**SMALL), XS, BINARY.astype(bool)),
    "one output": (nn.NNClassifier(**SMALL, loss="bce_with_logits"), XS, BINARY),
    "several labels": (nn.NNClassifier(**SMALL), XS, np.stack([BINARY, CODES == 1], axis=1).astype(int)),
    "one number": (nn.NNRegressor(**SMALL, loss=nn.HuberLoss(delta=0.3)), XS, XS[:, 1]),
    "several numbers": (nn.NNRegressor(**SMALL, dtype="float32"), XS, XS[:, :3]),
    "two outputs a number": (nn.NNRegressor(**SMALL, loss="gaussian_nll", optimizer=nn.RMSprop(lr=0.01)), XS, XS[:, :2]),
    "stopped early": (nn.NNRegressor((4, 3), activation=nn.Tanh(), early_stopping=True, epochs=4, random_state=1), XS, XS.T[1]),
    "everything": (nn.NNClassifier([nn.Linear(6), "gelu", nn.Residual(nn.Linear(6))], epochs=3,
                                   metrics=["accuracy", "f1_macro"],
                                   optimizer=nn.Adam(lr=0.01, schedule=nn.LinearWarmup(
                                       1, after=nn.ReduceOnPlateau(gamma=0.5, patience=0))),
                                   callbacks=[nn.EarlyStopping(patience=2)], random_state=np.random.RandomState(3)), XS, CODES),
}  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimator_comes_back(name, path):
    estimator, X, y = ESTIMATORS[name]
    estimator = clone(estimator).fit(X, y)
    estimator.save(path)
    loaded = nn.load(path)
    assert type(loaded) is type(estimator)
    random_state = loaded.get_params()["random_state"]
    if isinstance(random_state, np.random.RandomState):  # whose repr is its address
        assert random_state.randint(99, size=9).tolist() == clone(estimator).random_state.randint(99, size=9).tolist()
        random_state = estimator.random_state
    assert repr(clone(loaded).set_params(random_state=random_state)) == repr(estimator)
    assert vars(loaded).keys() == vars(estimator).keys()
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        if hasattr(estimator, method):
            assert same(getattr(loaded, method)(X), getattr(estimator, method)(X))
    assert loaded.score(X, y) == estimator.score(X, y)
    assert loaded.loss_curve_ == estimator.loss_curve_
    assert loaded.history_.record() == estimator.history_.record()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_training_of_an_estimator_goes_on(name, path):
    """Optimizer, schedule and random numbers are where they were."""
    estimator, X, y = ESTIMATORS[name]
    estimator = clone(estimator).set_params(warm_start=True).fit(X, y)
    estimator.save(path)
    loaded = nn.load(path)
    for one in (estimator, loaded):
        if not one.early_stopping:
            one.partial_fit(X, y)
        one.fit(X, y)
    assert loaded.loss_curve_ == estimator.loss_curve_
    assert same(loaded.predict(X), estimator.predict(X))


def test_names_of_features_come_back(path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(XS, columns=["a", "b", "c", "d"])
    clf = nn.NNClassifier(**SMALL).fit(frame, CODES)
    clf.save(path)
    loaded = nn.load(path)
    assert list(loaded.feature_names_in_) == ["a", "b", "c", "d"]
    assert same(loaded.predict(frame), clf.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["b", "a", "c", "d"]])


def test_estimator_that_is_not_fitted_is_refused(path):
    with pytest.raises(nn.NotBuiltError, match=r"NNClassifier\.save: expected a fitted estimator; call fit first"):
        nn.NNClassifier().save(path)


def test_estimator_of_ones_own_class_is_refused(path):
    class Own(nn.NNClassifier):
        pass

    with pytest.raises(nn.PersistenceError, match=r"Own.save: expected one of NNClassifier, .*TableRegressor; save its net"):
        Own(**SMALL).fit(XS, CODES).save(path)


def test_function_in_an_estimator_is_named(path):
    clf = nn.NNClassifier(**SMALL, callbacks=[nn.LambdaCallback(print)]).fit(XS, CODES)
    with pytest.raises(nn.PersistenceError, match=r"LambdaCallback's function, <built-in function print>"):
        clf.save(path)
    assert not path.exists()


ATTRIBUTES = {
    "class": (lambda e: e.update({"class": "os.system"}), "expected one of NNClassifier, NNRegressor"),
    "parameter": (lambda e: e["parameters"].update(depth=3), "cannot make NNClassifier: CallError"),
    "more": (lambda e: e["learned"].update(predict=3), "expected the attributes"),
    "less": (lambda e: e["learned"].pop("n_iter_"), "expected the attributes"),
    "kind": (lambda e: e["learned"].update(_random=3), "expected the attributes"),
    "labels": (lambda e: e["learned"].update(classes_={"strings": [[2], ["a", "b"]]}), "expected labels for 3 outputs"),
    "loss": (lambda e: e["learned"].update(_loss=3), "expected the loss"),
    "sizes": (lambda e: e["learned"].update(n_features_in_=3), "expected the attributes"),
    "history": (lambda e: e.update(history={"dict": []}), "expected figures"),
    "optimizer": (lambda e: e.update(optimizer={"dict": [["optimizer", "os"]]}), "cannot make the optimizer's state"),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_change_of_an_estimator_is_found(name, path):
    change, message = ATTRIBUTES[name]
    nn.NNClassifier(**SMALL).fit(XS, CODES).save(path)
    changed(path, lambda description, arrays: change(description["estimator"]))
    with pytest.raises(nn.PersistenceError, match=message):
        nn.load(path)


def test_estimator_in_a_clean_process(path, script):
    clf = nn.NNClassifier(**SMALL).fit(XS, NAMES[CODES])
    clf.save(path)
    np.save(path.with_suffix(".npy"), XS)
    output = script(f"""
        import numpy as np, nnkit as nn
        clf = nn.load({str(path)!r})
        print(clf.predict_proba(np.load({str(path.with_suffix(".npy"))!r})).tobytes().hex())
    """)
    assert output.strip() == clf.predict_proba(XS).tobytes().hex()
