"""Control of training: groups, frozen parameters, penalties, means, large batches in waves, numbers that follow schedules."""

import copy
import pickle
import warnings
from fnmatch import fnmatch

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.groups import Piece, Segment, group_of, pieces
from nnkit.network import network_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(96, 6))
Y = RANDOM.normal(size=(96, 3))
LABELS = RANDOM.integers(0, 3, 96)


def net(*middle, dtype="float64", width=5):
    """A net of two linear layers, always the same one."""
    layers = [nn.Linear(width), nn.Tanh(), *copy.deepcopy(middle), nn.Linear(3)]
    return nn.Sequential(layers).build((6,), random_state=0, dtype=dtype)


def twin(model):
    """The same in PyTorch, of `net` without anything between."""
    layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    with torch.no_grad():
        for name, array in model.parameters().items():
            layers.get_parameter(name).copy_(torch.from_numpy(array.T.copy()))
    return layers


def walk(model, optimizer, steps=8, threads=1, **named):
    """Train on whole batches, so that the order does not matter."""
    model.fit(X, Y, optimizer=optimizer, epochs=steps, batch_size=96, shuffle=False, n_threads=threads, progress=False, **named)
    return model


def step_torch(layers, optimizer, after=lambda: None, penalty=lambda: 0.0, steps=8):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(layers(torch.from_numpy(X)), torch.from_numpy(Y)) + penalty()
        loss.backward()
        optimizer.step()
        after()


def require_same(model, layers, atol=1e-12):
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, layers.get_parameter(name).detach().numpy().T, atol=atol, rtol=0, err_msg=name)


# ------------------------------------------------------------------------------------------------------------ groups

GROUPS = {
    "rate": {"*.bias": {"lr": 0.02}},
    "decay": {"0.*": {"weight_decay": 0.3}, "*.bias": {"weight_decay": 0.0}},
    "first match": {"0.weight": {"lr": 0.1}, "0.*": {"lr": 0.001, "weight_decay": 0.1}},
    "all": {"*": {"lr": 0.004}},
}
OPTIMIZERS = {
    "SGD": (nn.SGD(lr=0.05, momentum=0.9, weight_decay=0.01), {"0.*": {"momentum": 0.5}}),
    "Adam": (nn.Adam(lr=0.01, weight_decay=0.01), {"*.weight": {"betas": (0.5, 0.9), "eps": 1e-3}}),
    "AdamW": (nn.AdamW(lr=0.01, weight_decay=0.1), {"2.*": {"eps": 1e-2}}),
    "RMSprop": (nn.RMSprop(lr=0.01), {"2.*": {"alpha": 0.5}}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("which", [*GROUPS, "own"])
def test_groups_are_torchs(name, which):
    """A hundred numbers of each group go where PyTorch's go, in a fit and by hand."""
    base, own = OPTIMIZERS[name]
    groups = own if which == "own" else GROUPS[which]
    model, by_hand = net(), net()
    layers = twin(model)
    taken, told = set(), []
    for pattern, values in groups.items():
        chosen = [key for key, _ in layers.named_parameters() if fnmatch(key, pattern) and key not in taken]
        taken |= {*chosen}
        told.append({"params": [layers.get_parameter(key) for key in chosen], **values})
    told.append({"params": [array for key, array in layers.named_parameters() if key not in taken]})
    words = {key: value for key, value in base.hyperparameters().items()
             if key in ("lr", "momentum", "weight_decay", "betas", "eps", "alpha")}  # fmt: skip
    step_torch(layers, getattr(torch.optim, name)(told, **words))
    optimizer = base.replace(groups=groups)
    require_same(walk(model, optimizer), layers)
    for _ in range(8):
        by_hand.backward(nn.MSELoss()(by_hand.forward(X, training=True), Y).grad)
        optimizer.step(by_hand)
    require_same(by_hand, layers)


def test_groups_of_the_same_values_change_nothing_but_the_pieces():
    plain = walk(net(width=300), nn.Adam(lr=0.01))
    grouped = walk(net(width=300), nn.Adam(lr=0.01, groups={"*.bias": {"lr": 0.01}, "0.*": {"weight_decay": 0.0}}))
    np.testing.assert_array_equal(network_of(plain).vector, network_of(grouped).vector)


def test_a_schedule_multiplies_the_rates_of_all_groups():
    groups = {"0.*": {"lr": 0.1}}
    model = walk(net(), nn.SGD(lr=0.02, schedule="cosine", groups=groups))
    by_hand = net()
    optimizer = nn.SGD(lr=0.02, schedule="cosine", groups=groups)
    for epoch in range(8):
        by_hand.backward(nn.MSELoss()(by_hand.forward(X, training=True), Y).grad)
        optimizer.step(by_hand, epoch=epoch, epochs=8)
    np.testing.assert_array_equal(network_of(model).vector, network_of(by_hand).vector)
    layers = twin(net())
    stepped = torch.optim.SGD([{"params": layers[0].parameters(), "lr": 0.1}, {"params": layers[2].parameters()}], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepped, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step_torch(layers, stepped, after=schedule.step)
    require_same(model, layers)


def test_a_rate_that_is_changed_by_hand_is_that_of_groups_without_one():
    model, optimizer = net(), nn.SGD(lr=1.0, groups={"0.*": {"weight_decay": 0.0}, "2.bias": {"lr": 0.0001}})
    model.backward(nn.MSELoss()(model.forward(X, training=True), Y).grad)
    optimizer.step(model)
    before = network_of(model).vector.copy()
    optimizer.lr = 0.5
    optimizer.step(model)
    moved = network_of(model).views(before - network_of(model).vector)
    for name, rate in {"0.weight": 0.5, "2.weight": 0.5, "2.bias": 0.0001}.items():
        np.testing.assert_allclose(moved[name], rate * model.gradients()[name], rtol=1e-9, err_msg=name)


def test_clipping_by_norm_is_of_the_whole_gradient_and_by_value_of_a_group():
    model, layers = net(), twin(net())
    optimizer = torch.optim.SGD([{"params": layers[0].parameters()}, {"params": layers[2].parameters(), "lr": 0.2}], lr=0.1)

    class Clipped:
        zero_grad = optimizer.zero_grad

        @staticmethod
        def step():
            torch.nn.utils.clip_grad_value_(layers[2].parameters(), 0.02)
            torch.nn.utils.clip_grad_norm_(layers.parameters(), 0.05)
            optimizer.step()

    step_torch(layers, Clipped)
    walk(model, nn.SGD(lr=0.1, clip_norm=0.05, groups={"2.*": {"lr": 0.2, "clip_value": 0.02}}))
    require_same(model, layers, atol=1e-6)  # PyTorch adds 1e-6 to the norm


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"*.wieght": {"lr": 0.1}}, r"groups: expected a pattern .* got '\*\.wieght'; did you mean '\d\.weight'"),
        ({"*": {"rate": 0.1}}, "expected some of lr.*'rate'"),
        ({"*": {"lr": -1.0}}, "expected lr to be a number in"),
        ({"*": {"clip_norm": 1.0}}, "without clip_norm, which is the whole model's"),
        ({"*": {"schedule": "cosine"}}, "without schedule"),
        ({"*": 0.1}, "dict of dicts"),
        ([("*", {})], "dict of dicts"),
    ],
)
def test_groups_that_mean_nothing_are_refused(groups, message):
    with pytest.raises(nn.ParameterError, match=message):
        walk(net(), nn.SGD(groups=groups))


def test_groups_are_hyper_parameters_as_all_others(tmp_path):
    optimizer = nn.Adam(groups={"*.bias": {"weight_decay": 0.0}, "0.*": {"betas": (0.5, 0.9)}})
    assert repr(optimizer) == "Adam(groups={'*.bias': {'weight_decay': 0.0}, '0.*': {'betas': (0.5, 0.9)}})"
    assert eval(repr(optimizer), vars(nn)).groups == optimizer.groups == pickle.loads(pickle.dumps(optimizer)).groups
    model = walk(net(), optimizer)
    model.save(tmp_path / "net.safetensors")
    assert nn.load(tmp_path / "net.safetensors").last_fit["optimizer"].groups == optimizer.groups
    sklearn = pytest.importorskip("sklearn.base")
    classifier = nn.NNClassifier([nn.Linear(4)], optimizer=optimizer, epochs=1)
    cloned = sklearn.clone(classifier).set_params(optimizer__groups={"*": {"lr": 0.1}})
    assert cloned.fit(X, LABELS).optimizer.groups == {"*": {"lr": 0.1}} != classifier.optimizer.groups


def test_settings_of_groups_that_change_between_steps_by_hand_count():
    groups = {"0.*": {"lr": 0.1}}
    model, optimizer = net(), nn.SGD(lr=0.1, momentum=0.9, groups=groups)
    model.backward(nn.MSELoss()(model.forward(X, training=True), Y).grad)
    optimizer.step(model)
    groups["0.*"]["lr"] = 0.0001
    before = model.copy().parameters()
    optimizer.step(model)
    moved = {name: np.abs(array - before[name]).max() for name, array in model.parameters().items()}
    assert moved["0.weight"] < 1e-3 * moved["2.weight"]


# ---------------------------------------------------------------------------------------------------------- the pieces


def segments(*sizes, frozen=()):
    ends = np.cumsum([0, *(-(-size // 16) * 16 for size in sizes)]).tolist()
    return [Segment(f"{place}.w", begin, end, (size // 4, 4), place not in frozen)
            for place, (begin, end, size) in enumerate(zip(ends, ends[1:], sizes, strict=False))]  # fmt: skip


def test_pieces_cover_what_is_trained_once_and_nothing_else():
    random = np.random.default_rng(0)
    for _ in range(50):
        sizes = random.integers(1, 300, random.integers(1, 8)).tolist()
        frozen = [place for place in range(len(sizes)) if random.random() < 0.3]
        groups = {f"{place}.w": int(random.integers(0, 3)) for place in range(len(sizes))}
        given = segments(*sizes, frozen=frozen)
        counted = np.zeros(given[-1].end, int)
        for begin, size, group, shape in pieces(given, groups, {2: 2}, 64):
            counted[begin : begin + size] += 1
            inside = [item for item in given if item.begin < begin + size and item.end > begin]
            assert {groups[item.name] for item in inside} == {group}
            assert size <= 64 or shape
            assert not shape or (group == 2 and len(inside) == 1 and inside[0].shape == shape)
        for item in given:
            assert (counted[item.begin : item.end] == item.trained).all()


def test_neighbours_of_one_group_are_one_piece():
    assert pieces(segments(10, 20, 30), {"2.w": 1}, (), 1000) == [Piece(0, 48), Piece(48, 32, 1)]


def test_the_first_pattern_that_matches_counts():
    assert group_of(["*.bias", "0.*"], ["0.weight", "0.bias", "1.weight"], "x") == {"0.bias": 1, "0.weight": 2}


# ------------------------------------------------------------------------------------------------------------ penalties


def test_l1_and_l2_are_the_gradients_of_penalties():
    model, layers = net(), twin(net())

    def penalty():
        return 0.02 * layers[0].weight.abs().sum() + 0.05 * (layers[2].weight ** 2).sum()

    step_torch(layers, torch.optim.SGD(layers.parameters(), lr=0.1), penalty=penalty)
    walk(model, nn.SGD(lr=0.1, groups={"0.weight": {"l1": 0.02}, "2.weight": {"weight_decay": 0.1}}))
    require_same(model, layers)


def test_l1_leaves_zeros_alone():
    model = net()
    model.parameters()["2.bias"] = [0.0, 1.0, -1.0]
    model.gradients()["2.bias"][...] = 0.0
    nn.SGD(lr=0.1, groups={"2.bias": {"l1": 0.5}}).step(model)
    np.testing.assert_allclose(model.parameters()["2.bias"], [0.0, 0.95, -0.95])


@pytest.mark.parametrize("engine", ["compiled", "python"])
def test_max_norm_limits_the_weights_of_each_unit(engine):
    model, layers = net(), twin(net())

    def limit():
        with torch.no_grad():
            layers[0].weight.copy_(torch.renorm(layers[0].weight, 2, 0, 0.6))

    step_torch(layers, torch.optim.SGD(layers.parameters(), lr=0.3), after=limit)
    walk(model, nn.SGD(lr=0.3, groups={"0.*": {"max_norm": 0.6}}), engine=engine)
    require_same(model, layers, atol=1e-6)  # PyTorch adds 1e-7 to the norm
    norms = np.linalg.norm(model.parameters()["0.weight"], axis=0)
    assert norms.max() == pytest.approx(0.6)
    assert norms.min() < 0.59, "else all are at the limit, and nothing is shown"


def test_max_norm_of_a_convolution_is_that_of_a_filter():
    images = RANDOM.normal(size=(8, 2, 5, 5))
    model = nn.Sequential([nn.Conv2d(4, 3), nn.Flatten(), nn.Linear(1)]).build((2, 5, 5), random_state=0, dtype="float64")
    model.fit(images, images[:, :1, 0, 0], optimizer=nn.SGD(lr=1e-9, max_norm=0.5), epochs=1, progress=False)
    norms = np.linalg.norm(model.parameters()["0.weight"].reshape(4, -1), axis=1)
    assert (norms <= 0.5 + 1e-9).all() and norms.max() > 0.49


# -------------------------------------------------------------------------------------------------------------- freezing


def test_frozen_parameters_stay_and_the_others_do_not_know():
    model, layers = net(), twin(net())
    layers[0].requires_grad_(False)
    step_torch(layers, torch.optim.Adam([array for array in layers.parameters() if array.requires_grad], lr=0.01))
    assert model.freeze("0.*") is model
    require_same(walk(model, nn.Adam(lr=0.01)), layers)


@pytest.mark.parametrize("patterns", [("0.weight",), ("*.bias",), ("2.*",), ("0.bias", "2.weight")])
@pytest.mark.parametrize("threads", [1, 2])
def test_any_parameter_may_be_frozen(patterns, threads):
    whole, part = net(width=300), net(width=300).freeze(*patterns)
    before = net(width=300).parameters()
    for model in (whole, part):
        walk(model, nn.SGD(lr=0.01), steps=1, threads=threads)
    for name, array in part.parameters().items():
        frozen = any(fnmatch(name, pattern) for pattern in patterns)
        np.testing.assert_allclose(array, before[name] if frozen else whole.parameters()[name], rtol=1e-12, err_msg=name)


def test_nothing_is_computed_before_the_first_layer_that_is_trained():
    deep = [nn.Linear(8), nn.ReLU(), nn.Linear(8), nn.ReLU(), nn.Linear(3)]

    def backward(*frozen):
        model = nn.Sequential(copy.deepcopy(deep)).build((6,))
        profile = (model.freeze(*frozen) if frozen else model).profile(X, Y, loss="mse", seconds=0.01)
        return [kernel.name for kernel in profile.kernels if kernel.stage == "backward"]

    assert {name[0] for name in backward()} == {*"01234"}
    assert {name[0] for name in backward("0.*", "2.*")} == {"4"}
    assert {name[0] for name in backward("2.*", "4.*")} == {*"01234"}
    assert len(backward("2.*")) < len(backward()), "no gradient of parameters that stay"


def test_a_frozen_layer_lets_gradients_through():
    model, layers = net(), twin(net())
    layers[2].requires_grad_(False)
    step_torch(layers, torch.optim.SGD([*layers[0].parameters()], lr=0.1))
    require_same(walk(model.freeze("2.*"), nn.SGD(lr=0.1)), layers)


def test_what_is_frozen_by_hand_has_no_gradient_and_keeps_its_moments():
    model, optimizer = net(), nn.SGD(lr=0.1, momentum=0.9)

    def step():
        model.backward(nn.MSELoss()(model.forward(X, training=True), Y).grad)
        optimizer.step(model)

    step()
    before = model.copy().parameters()
    model.freeze("0.*")
    assert not model.gradients()["0.weight"].any()
    step()
    assert not model.gradients()["0.weight"].any() and model.gradients()["2.weight"].any()
    np.testing.assert_array_equal(model.parameters()["0.weight"], before["0.weight"])
    model.unfreeze("0.weight")
    held = model.copy().parameters()["0.weight"]
    network_of(model).gradient[:] = 0.0
    optimizer.step(model)
    assert (model.parameters()["0.weight"] != held).any(), "the velocity of before goes on"
    np.testing.assert_array_equal(model.parameters()["0.bias"], before["0.bias"])


def test_files_copies_slices_and_pickles_know_what_is_frozen(tmp_path):
    model = net().freeze("0.*", "2.bias")
    model.save(tmp_path / "net.safetensors")
    frozen = {"0.weight", "0.bias", "2.bias"}
    for again in (model, nn.load(tmp_path / "net.safetensors"), model.copy(), pickle.loads(pickle.dumps(model))):
        assert network_of(again).frozen == frozen
    assert network_of(model[1:]).frozen == {"1.bias"}
    assert network_of(model.unfreeze()).frozen == frozenset()
    assert network_of(model.freeze("*").build((6,))).frozen == frozenset()


def test_a_summary_tells_what_is_frozen():
    model = net().freeze("0.*")
    summary = model.summary()
    assert (summary.frozen, summary.layers[0].frozen, summary.layers[2].frozen) == (35, 35, 0)
    assert "35 frozen" in str(summary) and "53 parameters, of which 35 are frozen" in str(summary)
    assert summary.training_flops < net().summary().training_flops


def test_freezing_nothing_or_everything_is_refused():
    with pytest.raises(nn.NotBuiltError):
        nn.Sequential(["linear"]).freeze("0.*")
    with pytest.raises(nn.ParameterError, match=r"Sequential\.freeze: expected a pattern .* got '7\.\*'"):
        net().freeze("7.*")
    with pytest.raises(nn.ParameterError, match="got none"):
        net().freeze()
    with pytest.raises(nn.ParameterError, match="all of them frozen"):
        walk(net().freeze("*"), nn.SGD())


def test_a_net_is_tuned_for_other_classes(tmp_path):
    """A net that has learnt ten digits' first five learns the others by its last layer alone."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    first = digits.target < 5
    model = nn.Sequential([nn.Linear(48), nn.ReLU(), nn.Linear(5)])
    model.fit(digits.data[first] / 16, digits.target[first], loss="cross_entropy", epochs=15, random_state=0, progress=False)
    model.save(tmp_path / "net.safetensors")
    tuned = nn.load(tmp_path / "net.safetensors").freeze("0.*")
    kept = tuned.copy().parameters()["0.weight"]
    rest, labels = digits.data[~first] / 16, digits.target[~first] - 5
    tuned.fit(rest, labels, loss="cross_entropy", optimizer=nn.Adam(lr=0.01), epochs=15, random_state=0, progress=False)
    np.testing.assert_array_equal(tuned.parameters()["0.weight"], kept)
    assert (tuned.predict(rest).argmax(axis=1) == labels).mean() > 0.9


def test_a_checkpoint_is_of_the_same_frozen_parameters(tmp_path):
    path = tmp_path / "training.safetensors"
    model = net()
    walk(model.freeze("0.*"), nn.Adam(), steps=2, callbacks=[nn.Checkpoint(path)])
    with pytest.raises(nn.ParameterError, match=r"\['0\.bias', '0\.weight'\], got \[\]"):
        walk(net(), nn.Adam(), steps=4, resume=path)
    resumed, whole = walk(net().freeze("0.*"), nn.Adam(), steps=4, resume=path), walk(net().freeze("0.*"), nn.Adam(), steps=4)
    np.testing.assert_array_equal(network_of(resumed).vector, network_of(whole).vector)


# ------------------------------------------------------------------------------------------------------------- large batches


def in_batches(model, batch_size, **named):
    settings = {"optimizer": nn.Adam(lr=0.01, clip_norm=0.5), "epochs": 3, "random_state": 1, "progress": False, **named}
    history = model.fit(X, Y, batch_size=batch_size, **settings)
    return network_of(model).vector, history


@pytest.mark.parametrize("batch_size, accumulate", [(8, 4), (7, 3), (1, 32), (40, 2), (96, 5)])
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.MSELoss(reduction="sum")])
def test_batches_that_are_accumulated_are_one_large_batch(batch_size, accumulate, loss):
    """Also with dropout, whose mask is that of the large batch, with weights, and with a smaller batch at the end."""
    weights = np.random.default_rng(2).uniform(0.0, 2.0, 96)
    named = {"loss": loss, "sample_weight": weights}
    large, expected = in_batches(net(nn.Dropout(0.3)), batch_size * accumulate, **named)
    waves, history = in_batches(net(nn.Dropout(0.3)), batch_size, accumulate=accumulate, **named)
    np.testing.assert_allclose(waves, large, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-12)
    assert history.steps == expected.steps


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_waves_have_the_same_bits_on_any_number_of_threads(threads):
    def trained(threads, **named):
        model = nn.Sequential([nn.Linear(256), nn.ReLU(), nn.Linear(256), nn.ReLU(), nn.Linear(3)]).build((6,), random_state=0)
        rows = np.random.default_rng(0).normal(size=(600, 6))
        model.fit(rows, rows[:, :3], batch_size=128, accumulate=2, epochs=2, random_state=0, n_threads=threads, progress=False,
                  **named)  # fmt: skip
        return network_of(model).vector

    np.testing.assert_array_equal(trained(threads), trained(1))


def test_batch_norm_sees_the_rows_of_a_wave_as_in_pytorch():
    """And every wave moves the running statistics."""
    model = nn.Sequential([nn.Linear(5), nn.BatchNorm1d(), nn.Linear(3)]).build((6,), random_state=0, dtype="float64")
    layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3)).double()
    with torch.no_grad():
        for name, array in model.parameters().items():
            layers.get_parameter(name).copy_(torch.from_numpy(array.T.copy()))
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        for rows in np.split(np.arange(96), 4):
            output = layers(torch.from_numpy(X[rows]))
            (torch.nn.functional.mse_loss(output, torch.from_numpy(Y[rows])) / 4).backward()
        optimizer.step()
    settings = {"optimizer": nn.SGD(lr=0.1), "shuffle": False, "progress": False}
    model.fit(X, Y, batch_size=24, accumulate=4, epochs=3, **settings)
    require_same(model, layers)
    for name, array in model.states().items():
        np.testing.assert_allclose(array, layers.get_buffer(name).numpy(), rtol=1e-9, err_msg=name)


def test_waves_run_uncompiled():
    compiled, _ = in_batches(net(), 8, accumulate=3, epochs=1)
    uncompiled, _ = in_batches(net(), 8, accumulate=3, epochs=1, engine="python")
    np.testing.assert_allclose(compiled, uncompiled, rtol=1e-9)


def test_callbacks_see_the_gradient_of_the_large_batch():
    seen = []

    class Looks(nn.Callback):
        def on_batch_end(self, fit):
            seen.append(fit.network.gradient.copy())

    for batch_size, accumulate in ((24, 4), (96, 1)):
        model = net()
        model.fit(X, Y, batch_size=batch_size, accumulate=accumulate, epochs=1, shuffle=False, callbacks=[Looks()])
    np.testing.assert_allclose(*seen, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_gradients_are_accumulated_by_hand_as_in_pytorch_and_as_in_a_fit(clip_norm):
    by_hand, fitted, layers = net().freeze("0.bias"), net().freeze("0.bias"), twin(net())
    layers[0].bias.requires_grad_(False)
    trained = [array for array in layers.parameters() if array.requires_grad]
    stepped = torch.optim.AdamW(trained, lr=0.02)
    optimizer = nn.AdamW(lr=0.02, clip_norm=clip_norm)
    for _ in range(3):
        stepped.zero_grad()
        for part, rows in enumerate(np.split(np.arange(96), 4)):
            (torch.nn.functional.mse_loss(layers(torch.from_numpy(X[rows])), torch.from_numpy(Y[rows])) / 4).backward()
            grad = nn.MSELoss()(by_hand.forward(X[rows], training=True), Y[rows]).grad
            by_hand.backward(grad / 4, accumulate=part > 0)
        for name, array in by_hand.gradients().items():
            theirs = layers.get_parameter(name).grad
            np.testing.assert_allclose(array, 0.0 if theirs is None else theirs.numpy().T, atol=1e-13, err_msg=name)
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(trained, clip_norm)
        stepped.step()
        optimizer.step(by_hand)
    require_same(by_hand, layers, atol=1e-6 if clip_norm else 1e-12)  # PyTorch adds 1e-6 to the norm
    fitted.fit(X, Y, optimizer=optimizer, batch_size=24, accumulate=4, epochs=3, shuffle=False, progress=False)
    np.testing.assert_allclose(network_of(fitted).vector, network_of(by_hand).vector, rtol=1e-9, atol=1e-12)


def test_accumulate_is_a_whole_number():
    with pytest.raises(nn.ParameterError, match="accumulate to be an integer of at least 1, got 0"):
        in_batches(net(), 8, accumulate=0)


# ---------------------------------------------------------------------------------------------------------------- means


def averaged_torch(make, steps, start=0, average=None, layers=None):
    """PyTorch's mean of the parameters of plain gradient descent."""
    layers = twin(net()) if layers is None else layers
    mean = torch.optim.swa_utils.AveragedModel(layers, multi_avg_fn=average)
    counted = iter(range(steps))

    def after():
        if next(counted) >= start:
            mean.update_parameters(layers)

    step_torch(layers, make(layers), after=after, steps=steps)
    return layers, mean.module


def test_ema_is_torchs():
    multi = torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    _, mean = averaged_torch(lambda layers: torch.optim.SGD(layers.parameters(), lr=0.1), 9, average=multi)
    require_same(walk(net(), nn.SGD(lr=0.1), steps=9, callbacks=[nn.EMA(0.8)]), mean)


def test_swa_is_torchs_and_training_goes_on_from_the_parameters():
    _, mean = averaged_torch(lambda layers: torch.optim.SGD(layers.parameters(), lr=0.1), 8, start=4)
    require_same(walk(net(), nn.SGD(lr=0.1), steps=8, callbacks=[nn.SWA(0.5)]), mean)


def test_swa_takes_every_so_many_epochs():
    rate = np.array([0.5, 1.0, 1.5, 2.0, 2.25, 2.5, 2.75, 3.0])
    shares = nn.SWA(0.25, every=2).shares(rate - 0.25, rate, 8.0)
    np.testing.assert_array_equal(shares, [0, 0, 0, 0, 0, 0, 0, 1])
    later = np.arange(4.0, 9.0)
    np.testing.assert_allclose(nn.SWA(0.25, every=2).shares(later - 1, later, 8.0), [0, 1 / 2, 0, 1 / 3, 0])


def test_what_is_validated_and_kept_is_the_mean():
    seen = {}

    class Looks(nn.Callback):
        def on_epoch_end(self, fit):
            seen[fit.epoch] = fit.model.evaluate(X, Y, loss="mse")

    def trained(*callbacks):
        model = net()
        settings = {"optimizer": nn.SGD(lr=0.1), "epochs": 8, "batch_size": 96, "shuffle": False, "progress": False}
        return model, model.fit(X, Y, validation_data=(X, Y), callbacks=[*callbacks], **settings)

    model, history = trained(nn.EMA(0.9), Looks(), nn.EarlyStopping(stop=False))
    _, expected = trained()
    assert history["loss"] == expected["loss"], "training goes on from the parameters"
    assert history["val_loss"] == pytest.approx([seen[epoch] for epoch in range(8)])
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, Y, loss="mse")), "the best epoch is the last one"
    assert (np.array(history["val_loss"]) > expected["val_loss"])[1:].all(), "the mean lags behind"


def test_ema_is_written_to_checkpoints(tmp_path):
    path = tmp_path / "training.safetensors"
    whole = walk(net(), nn.Adam(), steps=6, callbacks=[nn.EMA(0.9)])
    walk(net(), nn.Adam(), steps=3, callbacks=[nn.EMA(0.9), nn.Checkpoint(path)])
    resumed = walk(net(), nn.Adam(), steps=6, callbacks=[nn.EMA(0.9)], resume=path)
    np.testing.assert_array_equal(network_of(resumed).vector, network_of(whole).vector)


def test_frozen_parameters_are_their_own_mean():
    model = net().freeze("0.*")
    walk(model, nn.SGD(lr=0.1), callbacks=[nn.EMA(0.9)])
    np.testing.assert_array_equal(model.parameters()["0.weight"], net().parameters()["0.weight"])


@pytest.mark.parametrize("momentum", [0.1, None])
def test_swa_computes_running_statistics_anew(momentum):
    norm = torch.nn.BatchNorm1d(5, momentum=momentum)
    layers = torch.nn.Sequential(torch.nn.Linear(6, 5), norm, torch.nn.Linear(5, 3)).double()
    model = nn.Sequential([nn.Linear(5), nn.BatchNorm1d(momentum=momentum), nn.Linear(3)])
    model.build((6,), random_state=0, dtype="float64")
    with torch.no_grad():
        for name, array in model.parameters().items():
            layers.get_parameter(name).copy_(torch.from_numpy(array.T.copy()))
    _, mean = averaged_torch(lambda layers: torch.optim.SGD(layers.parameters(), lr=0.1), 8, start=4, layers=layers)
    torch.optim.swa_utils.update_bn([torch.from_numpy(X)], mean)
    walk(model, nn.SGD(lr=0.1), callbacks=[nn.SWA(0.5)])
    require_same(model, mean)
    for name, array in model.states().items():
        np.testing.assert_allclose(array, mean.get_buffer(name).reshape(-1).numpy(), rtol=1e-9, err_msg=name)


def stepped_by_hand(model, layers, average, theirs, count=9, every=1, frozen_from=None):
    """Steps by hand here and in PyTorch, with a mean in both."""
    optimizer, stepped = nn.SGD(lr=0.1, momentum=0.5), torch.optim.SGD(layers.parameters(), lr=0.1, momentum=0.5)
    for step in range(count):
        rows = slice(8 * step, 8 * step + 8)
        if step == frozen_from:
            model.freeze("0.*")
            layers[0].requires_grad_(False)
        stepped.zero_grad()
        torch.nn.functional.mse_loss(layers(torch.from_numpy(X[rows])), torch.from_numpy(Y[rows])).backward()
        stepped.step()
        model.backward(nn.MSELoss()(model.forward(X[rows], training=True), Y[rows]).grad)
        optimizer.step(model)
        if step % every == every - 1:
            average.update(model)
            theirs.update_parameters(layers)


SWA_UTILS = torch.optim.swa_utils
MEANS = {"ema": (nn.EMA(0.8), {"multi_avg_fn": SWA_UTILS.get_ema_multi_avg_fn(0.8)}), "swa": (nn.SWA(0.5), {})}


@pytest.mark.parametrize("which", MEANS)
@pytest.mark.parametrize("named", [{}, {"every": 3}, {"frozen_from": 4}], ids=["each", "every third", "frozen"])
def test_by_hand_means_are_averaged_models(which, named):
    average, told = copy.deepcopy(MEANS[which][0]), MEANS[which][1]
    model, layers = net(), twin(net())
    theirs = torch.optim.swa_utils.AveragedModel(layers, **told)
    stepped_by_hand(model, layers, average, theirs, **named)
    before = network_of(model).vector.copy()
    require_same(average.averaged(model), theirs.module)
    require_same(pickle.loads(pickle.dumps(average)).averaged(model), theirs.module)
    np.testing.assert_array_equal(network_of(model).vector, before)
    require_same(model, layers)


@pytest.mark.parametrize("which", MEANS)
def test_by_hand_running_statistics_are_computed_anew_from_batches(which):
    average, told = copy.deepcopy(MEANS[which][0]), MEANS[which][1]
    layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3)).double()
    model = nn.Sequential([nn.Linear(5), nn.BatchNorm1d(), nn.Linear(3)]).build((6,), random_state=0, dtype="float64")
    with torch.no_grad():
        for name, array in model.parameters().items():
            layers.get_parameter(name).copy_(torch.from_numpy(array.T.copy()))
    theirs = torch.optim.swa_utils.AveragedModel(layers, **told)
    stepped_by_hand(model, layers, average, theirs)
    batches = [X[:40], X[40:56], X[56:]]
    states = {name: array.copy() for name, array in model.states().items()}

    def require_states(given, expected):
        for name, array in given.states().items():
            np.testing.assert_allclose(array, expected.get_buffer(name).numpy(), rtol=1e-9, err_msg=name)

    require_states(average.averaged(model), theirs.module)
    torch.optim.swa_utils.update_bn(map(torch.from_numpy, batches), theirs)
    for given in (batches, iter(batches)):
        averaged = average.averaged(model, given)
        require_same(averaged, theirs.module)
        require_states(averaged, theirs.module)
    np.testing.assert_allclose(averaged.predict(X), theirs.eval()(torch.from_numpy(X)).detach().numpy(), atol=1e-9)
    for name, array in model.states().items():
        np.testing.assert_array_equal(array, states[name])


def test_a_mean_by_hand_is_that_of_a_fit():
    """To rounding: the compiled loop may join a product and a sum."""
    for average in (nn.EMA(0.8), nn.SWA(0.0), nn.SWA(0.0, every=2)):
        fitted, by_hand, mine = net(), net(), copy.deepcopy(average)
        walk(fitted, nn.SGD(lr=0.1), callbacks=[average])
        optimizer = nn.SGD(lr=0.1)
        for _ in range(8):
            by_hand.backward(nn.MSELoss()(by_hand.forward(X, training=True), Y).grad)
            optimizer.step(by_hand)
            mine.update(by_hand)
        averaged = mine.averaged(by_hand)
        np.testing.assert_allclose(network_of(averaged).vector, network_of(fitted).vector, rtol=1e-12, atol=1e-15)


def test_a_mean_by_hand_says_what_it_needs():
    average, model = nn.EMA(), net()
    with pytest.raises(nn.ParameterError, match=r"EMA\.averaged: expected a mean, got none yet: call update\(model\)"):
        average.averaged(model)
    with pytest.raises(nn.NotBuiltError):
        average.update(nn.Sequential(["linear"]))
    average.update(model)
    with pytest.raises(nn.ShapeError, match=r"EMA\.update: expected the model that it is the mean of"):
        average.update(net(width=50))
    with pytest.raises(nn.ShapeError, match="in float64, got others in float32"):
        average.averaged(net(dtype="float32"))
    for wrong, message in ((X, r"write \[X\]"), ([], "at least one batch"), ([X[:, :2]], "batch"), ([X[0]], "batch")):
        with pytest.raises(nn.NnkitError, match=message):
            average.averaged(model, wrong)
    with pytest.raises(AttributeError, match=r"write average\.update\(model\)"):
        average.update_parameters(model)


def test_one_mean_is_enough():
    with pytest.raises(nn.ParameterError, match=r"one mean of the parameters, got EMA\(\) and SWA\(\)"):
        walk(net(), nn.SGD(), callbacks=[nn.EMA(), nn.SWA()])


# ------------------------------------------------------------------------------------------------------------- early stopping


def says(figures, rises=False):
    """A metric that says these figures, one after the other."""
    given = iter(figures)

    class Says(nn.Metric):
        greater_is_better = rises

        def __call__(self, y, prediction, loss, sample_weight=None):
            return next(given)

    return Says()


def stopped(figures, **named):
    """The epoch that is gone back to, and why training ended, where these are the losses."""
    model = net()
    stopping = nn.EarlyStopping("val_Says", **named)
    history = model.fit(X, Y, metrics=[says(figures)], validation_data=(X, Y), epochs=len(figures) - 1, callbacks=[stopping],
                        optimizer=nn.SGD(lr=0.1), progress=False)  # fmt: skip
    return history.best_epoch, history.stopped


def test_early_stopping_may_keep_the_last_of_the_best_and_may_not_stop():
    figures = [3.0, 2.0, 2.5, 2.0, 2.25, 9.0]
    assert stopped(figures, stop=False, patience=0) == (1, "finished")
    assert stopped(figures, stop=False, keep="last_best") == (3, "finished")
    assert stopped(figures, patience=1, keep="last_best") == (3, "val_Says has not improved for 2 epochs")
    assert stopped(figures, patience=0, keep="last_best") == (1, "val_Says has not improved for 1 epochs")
    with pytest.raises(nn.ParameterError, match="'best' or 'last_best'"):
        nn.EarlyStopping(keep="last")


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "named", [{}, {"patience": 1}, {"keep": "last_best", "stop": False}, {"min_delta": 0.3, "patience": 2},
              {"keep": "last_best", "min_delta": 0.5}, {"restore_best": False}], ids=str,
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_early_stopping_by_hand_is_that_of_a_fit(mode, named, seed):
    figures = np.random.default_rng(seed).choice([1.0, 1.5, 2.0, 2.25, np.nan], 12).tolist()
    settings = {"patience": 3, "mode": mode, **named}
    fitted, by_hand = net(nn.BatchNorm1d()), net(nn.BatchNorm1d())
    history = fitted.fit(X, Y, metrics=[says([*figures, 0.0], mode == "max")], validation_data=(X, Y), epochs=12, batch_size=96,
                         callbacks=[nn.EarlyStopping("val_Says", **settings)], optimizer=nn.SGD(lr=0.1), shuffle=False,
                         progress=False)  # fmt: skip
    stopping, optimizer, epochs = nn.EarlyStopping(**settings), nn.SGD(lr=0.1), 0
    for figure in figures:
        by_hand.backward(nn.MSELoss()(by_hand.forward(X, training=True), Y).grad)
        optimizer.step(by_hand)
        epochs += 1
        if stopping.update(by_hand, figure):
            break
    assert epochs == history.epochs
    assert stopping.restore(by_hand) == history.best_epoch
    np.testing.assert_allclose(network_of(by_hand).vector, network_of(fitted).vector, rtol=1e-12, atol=1e-15)
    for name, state in by_hand.states().items():
        np.testing.assert_allclose(state, fitted.states()[name], rtol=1e-12, err_msg=name)


def test_early_stopping_by_hand_says_what_it_needs():
    model = net()
    with pytest.raises(nn.ParameterError, match="mode to be 'min' or 'max', by hand, for anything but a loss"):
        nn.EarlyStopping("accuracy").update(model, 0.5)
    stopping = nn.EarlyStopping()
    assert stopping.restore(model) is None
    assert stopping.update(model, 1.0) is False
    with pytest.raises(nn.ShapeError, match=r"EarlyStopping\.update: expected the model of the calls before"):
        stopping.update(net(width=50), 1.0)
    model.fit(X, Y, epochs=1, callbacks=[stopping], progress=False)
    assert stopping.update(model, 5.0) is False and stopping.restore(model) == 0, "after a fit it begins anew"


# ---------------------------------------------------------------------------------------- numbers that follow schedules


def test_a_scheduled_number_is_a_schedule_times_a_number():
    schedule = 0.5 * nn.CosineSchedule()
    assert repr(schedule) == "0.5 * CosineSchedule()" and eval(repr(schedule), vars(nn)).scale == 0.5
    np.testing.assert_allclose(schedule.factor(np.array([0.0, 5.0, 10.0]), 10.0), [0.5, 0.25, 0.0], atol=1e-12)
    assert (4 * schedule).scale == 2.0
    with pytest.raises(nn.ParameterError, match=r"rate to be a number in \[0, 1\), got CosineSchedule\(\)"):
        nn.Dropout(nn.CosineSchedule())
    with pytest.raises(nn.ParameterError, match="goes by time"):
        0.5 * nn.ReduceOnPlateau()


def test_dropout_follows_a_schedule_in_every_step():
    """A rate that falls in steps is, part by part, a fit with that rate."""
    noted = []

    class Notes(nn.Callback):
        def on_batch_end(self, fit):
            noted.append(float(fit.network.states()["2.rate"][0]))

    schedule = 0.5 * nn.StepSchedule(0.5, gamma=0.5)  # twice an epoch
    model = net(nn.Dropout(schedule))
    settings = {"optimizer": nn.SGD(lr=0.01), "batch_size": 24, "shuffle": False, "random_state": 1, "progress": False}
    model.fit(X, Y, epochs=2, callbacks=[Notes()], **settings)
    np.testing.assert_allclose(noted, [0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.03125])
    first = net(nn.Dropout(0.5))
    first.fit(X, Y, epochs=1, **settings)
    part = net(nn.Dropout(0.5 * nn.StepSchedule(100)))
    part.fit(X, Y, epochs=1, **settings)
    np.testing.assert_array_equal(network_of(part).vector, network_of(first).vector)
    assert (network_of(model).vector != network_of(first).vector).any()


@pytest.mark.parametrize("threads", [1, 2])
def test_dropouts_rate_is_the_share_of_zeros_in_that_epoch(threads):
    shares = []

    class Looks(nn.PythonLayer):
        def forward(self, x):
            shares.append(float((x == 0).mean()))
            return x

        def backward(self, grad_out):
            return grad_out

    model = nn.Sequential([nn.Linear(400), nn.Dropout(0.8 * nn.CosineSchedule()), Looks(), nn.Linear(3)])
    model.fit(X, Y, epochs=4, batch_size=96, n_threads=threads, random_state=0, progress=False)
    expected = 0.8 * nn.CosineSchedule().factor(np.arange(4.0), 4.0)
    np.testing.assert_allclose(shares, np.repeat(expected, len(shares) // 4), atol=0.02)


def test_schedules_of_numbers_go_on_from_a_checkpoint(tmp_path):
    path = tmp_path / "training.safetensors"

    def trained(callbacks=(), resume=False, epochs=6):
        model = net(nn.Dropout(0.5 * nn.CosineSchedule(restart=6)))
        model.fit(X, Y, optimizer=nn.AdamW(weight_decay=0.1 * nn.CosineSchedule(restart=6)), epochs=epochs, batch_size=24,
                  random_state=3, callbacks=callbacks, resume=resume, progress=False)  # fmt: skip
        return network_of(model).vector

    trained([nn.Checkpoint(path, every=0.5)], epochs=3)
    np.testing.assert_array_equal(trained(resume=path), trained())


def test_the_decay_follows_a_schedule():
    model, layers = net(), twin(net())
    stepped = torch.optim.AdamW(layers.parameters(), lr=0.01)
    expected = 0.5 * nn.CosineSchedule().factor(np.arange(8.0), 8.0)
    stepped.param_groups[0]["weight_decay"] = expected[0]
    following = iter([*expected[1:], 0.0])

    def after():
        stepped.param_groups[0]["weight_decay"] = next(following)

    step_torch(layers, stepped, after=after)
    require_same(walk(model, nn.AdamW(lr=0.01, weight_decay=0.5 * nn.CosineSchedule())), layers)


def test_momentum_follows_a_schedule_also_in_a_group_and_by_hand():
    schedule = 0.9 * nn.CosineSchedule(final=0.1)
    model, by_hand, layers = net(), net(), twin(net())
    optimizer = nn.SGD(lr=0.05, groups={"0.*": {"momentum": schedule}})
    told = [{"params": layers[0].parameters(), "momentum": 0.9}, {"params": layers[2].parameters()}]
    stepped = torch.optim.SGD(told, lr=0.05)
    times = iter(range(1, 9))

    def after():
        stepped.param_groups[0]["momentum"] = schedule.at(next(times), 8)

    step_torch(layers, stepped, after=after)
    require_same(walk(model, optimizer), layers)
    for epoch in range(8):
        by_hand.backward(nn.MSELoss()(by_hand.forward(X, training=True), Y).grad)
        optimizer.step(by_hand, epoch=epoch, epochs=8)
    require_same(by_hand, layers)


CYCLED = {
    "SGD": nn.SGD(lr=0.05, momentum=0.5, groups={"0.*": {"momentum": 0.1, "weight_decay": 0.1}}),
    "SGD without": nn.SGD(lr=0.05, nesterov=True, momentum=0.5),
    "RMSprop": nn.RMSprop(lr=0.01),
    "Adam": nn.Adam(lr=0.02, betas=(0.5, 0.9), groups={"0.*": {"betas": (0.7, 0.99)}}),
    "AdamW": nn.AdamW(lr=0.02),
    "Adamax": nn.Adamax(lr=0.02),
    "RAdam": nn.RAdam(lr=0.02, betas=(0.9, 0.9)),
}


@pytest.mark.parametrize("which", CYCLED)
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_takes_momentum_along_as_in_pytorch(which, three_phase):
    """In every group, in a fit and by hand; for Adam and its kin it is the first of the betas."""
    model, by_hand, layers, optimizer = net(), net(), twin(net()), CYCLED[which]
    cls = getattr(torch.optim, which.split()[0])
    words = {key: value for key, value in optimizer.hyperparameters().items()
             if key in ("lr", "momentum", "betas", "nesterov", "weight_decay")}  # fmt: skip
    told = [{"params": layers[0].parameters(), **(optimizer.groups or {}).get("0.*", {})}, {"params": layers[2].parameters()}]
    stepped = cls(told, **words)
    count = 12  # of which PyTorch's schedule sees one more: its last step is the end
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        stepped, words["lr"], count + 1, pct_start=(0.25 * count + 1) / (count + 1), three_phase=three_phase)  # fmt: skip
    step_torch(layers, stepped, after=schedule.step, steps=count)
    optimizer = optimizer.replace(schedule=nn.OneCycle(rise=0.25, three_phase=three_phase))
    require_same(walk(model, optimizer, steps=count), layers, atol=1e-9)
    for epoch in range(count):
        by_hand.backward(nn.MSELoss()(by_hand.forward(X, training=True), Y).grad)
        optimizer.step(by_hand, epoch=epoch, epochs=count)
    require_same(by_hand, layers, atol=1e-9)


def test_a_momentum_that_cycles_needs_one_that_can():
    with pytest.raises(nn.ParameterError, match=r"Adagrad: expected a schedule that leaves .*pass cycle_momentum"):
        walk(net(), nn.Adagrad(schedule="one_cycle"))
    with pytest.raises(nn.ParameterError, match=r"NAdam: expected betas\[0\] to be a number"):
        walk(net(), nn.NAdam(schedule="cyclic"))
    for optimizer in (nn.Adagrad, nn.NAdam):
        walk(net(), optimizer(schedule=nn.OneCycle(cycle_momentum=False)))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adamax", "RAdam"])
def test_each_of_the_betas_follows_a_schedule(name, which):
    schedule, plain = 0.9 * nn.CosineSchedule(final=0.5), (0.8, 0.95)
    betas = tuple(schedule if place == which else beta for place, beta in enumerate(plain))
    model, layers = net(), twin(net())
    stepped = getattr(torch.optim, name)(layers.parameters(), lr=0.02)
    times = iter(range(9))

    def set_betas():
        now = schedule.at(next(times), 8)
        stepped.param_groups[0]["betas"] = tuple(now if place == which else beta for place, beta in enumerate(plain))

    set_betas()
    stepped.param_groups[0]["weight_decay"] = 0.01
    step_torch(layers, stepped, after=set_betas)
    optimizer = getattr(nn, name)(lr=0.02, betas=betas, weight_decay=0.01)
    require_same(walk(model, optimizer), layers, atol=1e-9)
    by_hand = net()
    for epoch in range(8):
        by_hand.backward(nn.MSELoss()(by_hand.forward(X, training=True), Y).grad)
        optimizer.step(by_hand, epoch=epoch, epochs=8)
    np.testing.assert_array_equal(network_of(by_hand).vector, network_of(model).vector)


def test_betas_that_follow_schedules_are_checked_shown_saved_and_go_on(tmp_path):
    optimizer = nn.Lion(betas=(0.9 * nn.CosineSchedule(), 0.99))
    assert repr(optimizer) == "Lion(betas=(0.9 * CosineSchedule(), 0.99))"
    assert repr(eval(repr(optimizer), vars(nn))) == repr(optimizer)
    for wrong in ((nn.CosineSchedule(), 0.9), (0.9,), (2 * nn.CosineSchedule(), 0.9), 0.9 * nn.CosineSchedule(), ("a", "b")):
        with pytest.raises(nn.ParameterError, match=r"betas to be two numbers in \[0, 1\)"):
            nn.Adam(betas=wrong)
    path = tmp_path / "training.safetensors"
    optimizer = nn.Adam(betas=(0.9, 0.9 * nn.StepSchedule(2, gamma=0.5)), schedule="cyclic")
    whole = walk(net(), optimizer, steps=6)
    whole.save(tmp_path / "net.safetensors")
    assert repr(nn.load(tmp_path / "net.safetensors").last_fit["optimizer"]) == repr(optimizer)
    walk(net(), optimizer, steps=3, callbacks=[nn.Checkpoint(path)])
    np.testing.assert_array_equal(network_of(walk(net(), optimizer, steps=6, resume=path)).vector, network_of(whole).vector)


def test_by_hand_a_plateau_is_told_the_losses_as_in_pytorch():
    model, layers = net(), twin(net())
    stepped = torch.optim.SGD(layers.parameters(), lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(stepped, factor=0.5, patience=1, cooldown=1)
    schedule = nn.ReduceOnPlateau(gamma=0.5, patience=1, cooldown=1)
    optimizer, losses = nn.SGD(lr=0.1, schedule=schedule), iter([3.0, 3.0, 3.0, 4.0, 3.0, 3.0, 3.0, 2.0])
    given = iter([3.0, 3.0, 3.0, 4.0, 3.0, 3.0, 3.0, 2.0])
    step_torch(layers, stepped, after=lambda: theirs.step(next(losses)))
    assert stepped.param_groups[0]["lr"] < 0.05
    for epoch in range(8):
        model.backward(nn.MSELoss()(model.forward(X, training=True), Y).grad)
        optimizer.step(model, epoch=epoch, epochs=8)
        schedule.observe(next(given))
    require_same(model, layers)


def test_by_hand_a_number_that_follows_a_schedule_needs_the_time():
    model = net()
    model.backward(nn.MSELoss()(model.forward(X, training=True), Y).grad)
    for optimizer in (nn.SGD(momentum=0.9 * nn.CosineSchedule()), nn.Adam(betas=(0.9 * nn.CosineSchedule(), 0.9)),
                      nn.SGD(groups={"0.*": {"l1": 0.1 * nn.CosineSchedule()}}), nn.SGD(schedule="cosine")):  # fmt: skip
        with pytest.raises(nn.ParameterError, match=r"expected step\(model, epoch=..., epochs=...\) because of its schedule"):
            optimizer.step(model)
        optimizer.step(model, epoch=0, epochs=2)


def test_a_monitor_knows_groups_frozen_parameters_and_schedules():
    loss = nn.CrossEntropyLoss(label_smoothing=0.1 * nn.CosineSchedule())
    optimizer = nn.SGD(lr=0.1, momentum=0.9 * nn.CosineSchedule(), max_norm=1.0, groups={"*.bias": {"lr": 0.01}})
    model, monitor = net(nn.Dropout(0.5 * nn.CosineSchedule())).freeze("0.*"), nn.Monitor()
    model.fit(X, LABELS, loss=loss, optimizer=optimizer, epochs=3, callbacks=[monitor, nn.EMA(0.9)], progress=False)
    assert monitor.looks[-1].parameters["0.weight"].update == 0.0 < monitor.looks[-1].parameters["3.weight"].update


def test_a_trace_has_the_gradients_of_all_parameters():
    model = net().freeze("0.*")
    frozen, whole = nn.trace(model, X[:2], Y[:2], "mse"), nn.trace(net(), X[:2], Y[:2], "mse")
    np.testing.assert_array_equal(frozen.layers[0].dL_dW, whole.layers[0].dL_dW)
    assert network_of(model).frozen == {"0.weight", "0.bias"}


def test_by_hand_a_loss_is_as_at_the_start_of_a_fit():
    loss, smooth = nn.CrossEntropyLoss(label_smoothing=0.4 * nn.CosineSchedule()), nn.CrossEntropyLoss(label_smoothing=0.4)
    out = net().predict(X)
    assert loss(out, LABELS).loss == smooth(out, LABELS).loss
    assert net().evaluate(X, LABELS, loss) == net().evaluate(X, LABELS, smooth)


def test_nesterov_takes_a_momentum_that_follows_a_schedule():
    scheduled = walk(net(), nn.SGD(lr=0.1, momentum=0.9 * nn.StepSchedule(100), nesterov=True))
    np.testing.assert_array_equal(
        network_of(scheduled).vector, network_of(walk(net(), nn.SGD(lr=0.1, momentum=0.9, nesterov=True))).vector
    )


def test_by_hand_a_layers_number_is_that_of_the_last_step():
    model, optimizer = net(nn.Dropout(0.5 * nn.CosineSchedule())), nn.SGD()
    assert model.states()["2.rate"] == 0.5
    model.backward(nn.MSELoss()(model.forward(X, training=True), Y).grad)
    optimizer.step(model, epoch=5, epochs=10)
    np.testing.assert_allclose(model.states()["2.rate"], 0.25)


def test_label_smoothing_follows_a_schedule():
    """Of a loss, too; and what is evaluated after the fit is the loss at its end."""
    loss = nn.CrossEntropyLoss(label_smoothing=0.4 * nn.CosineSchedule())
    model, layers = net(), twin(net())
    model.fit(X, LABELS, loss=loss, optimizer=nn.SGD(lr=0.1), epochs=6, batch_size=96, shuffle=False, progress=False)
    stepped = torch.optim.SGD(layers.parameters(), lr=0.1)
    for smoothing in 0.4 * nn.CosineSchedule().factor(np.arange(6.0), 6.0):
        stepped.zero_grad()
        output = layers(torch.from_numpy(X))
        torch.nn.functional.cross_entropy(output, torch.from_numpy(LABELS), label_smoothing=smoothing).backward()
        stepped.step()
    require_same(model, layers)
    assert model.last_fit["loss"].label_smoothing == 0.0
    assert model.evaluate(X, LABELS) == pytest.approx(model.evaluate(X, LABELS, loss="cross_entropy"))


def test_a_net_with_a_scheduled_number_is_saved_and_predicts(tmp_path):
    model = net(nn.Dropout(0.5 * nn.CosineSchedule()))
    walk(model, nn.SGD())
    model.save(tmp_path / "net.safetensors")
    again = nn.load(tmp_path / "net.safetensors")
    assert repr(again.layers[2]) == "Dropout(rate=0.5 * CosineSchedule())"
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(model.copy().states()["2.rate"], model.states()["2.rate"])


# ------------------------------------------------------------------------------------------------------------------ figures


def mean_error(y, prediction):
    return np.abs(y - prediction).mean()


def weighted_share(y, prediction, sample_weight=None):
    return np.average(y == prediction, weights=sample_weight)


def test_functions_are_metrics():
    model = net()
    history = model.fit(X, Y, metrics=[mean_error, "r2"], epochs=2, progress=False)
    assert list(history) == ["loss", "lr", "mean_error", "r2"]
    assert history["mean_error"][-1] == pytest.approx(np.abs(Y - model.predict(X)).mean())
    assert model.evaluate(X, Y, metrics=[mean_error])["mean_error"] == pytest.approx(history["mean_error"][-1])
    weights = np.arange(96.0)
    classes = net()
    classes.fit(X, LABELS, loss="cross_entropy", metrics=weighted_share, sample_weight=weights, epochs=1, progress=False)
    right = classes.predict(X).argmax(axis=1) == LABELS
    told = classes.evaluate(X, LABELS, sample_weight=weights, metrics=[weighted_share])["weighted_share"]
    assert told == pytest.approx(np.average(right, weights=weights))
    with pytest.raises(nn.ParameterError, match="two of the name 'mean_error'"):
        model.evaluate(X, Y, metrics=[mean_error, type(mean_error)(mean_error.__code__, {}, "mean_error")])
    with pytest.raises(nn.ParameterError, match="<lambda> to return a number, got NoneType"):
        model.evaluate(X, Y, metrics=[lambda y, prediction: None])


@pytest.mark.parametrize("kind", ["classes", "two classes", "probabilities"])
def test_confusion_is_that_of_scikit_learn(kind):
    sklearn = pytest.importorskip("sklearn.metrics")
    loss, y, outputs = {
        "classes": ("cross_entropy", LABELS, 3),
        "two classes": ("bce_with_logits", (LABELS > 0).astype(float).reshape(-1, 1), 1),
        "probabilities": ("cross_entropy", np.eye(3)[LABELS], 3),
    }[kind]
    model = nn.Sequential([nn.Linear(outputs)])
    history = model.fit(X[:60], y[:60], loss=loss, validation_data=(X[60:], y[60:]), metrics=["accuracy"], epochs=5,
                        callbacks=[nn.EarlyStopping(stop=False)], progress=False)  # fmt: skip
    out = model.predict(X[60:])
    taken = (out[:, 0] > 0).astype(int) if kind == "two classes" else out.argmax(axis=1)
    truth = y[60:, 0].astype(int) if kind == "two classes" else LABELS[60:]
    np.testing.assert_array_equal(history.confusion, sklearn.confusion_matrix(truth, taken))
    expected = sklearn.precision_recall_fscore_support(truth, taken, zero_division=0.0)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(history.per_class[name], values, err_msg=name)
    assert nn.History.of(history.record()).confusion == history.confusion


def test_there_is_no_confusion_where_rows_have_no_class_or_nobody_asks():
    history = net().fit(X, Y, metrics=["r2"], epochs=1, progress=False)
    assert history.confusion is None
    assert net().fit(X, LABELS, loss="cross_entropy", epochs=1, progress=False).confusion is None
    with pytest.raises(nn.DataError, match="no confusion matrix"):
        history.per_class  # noqa: B018
