"""What nets for tables are made of, beside PyTorch with the formulas written out; and layers that begin from data."""

import pickle
import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # the tensors are tiny
RANDOM = np.random.default_rng(7)
ROWS = 9


def bins(x, ends):
    """Encoding of one feature: each bin's part that lies below x, the first and the last open."""
    ends = torch.as_tensor(ends)
    e = (x[:, None] - ends[:-1]) / (ends[1:] - ends[:-1])
    last = len(ends) - 2
    below = [e[:, t] if t == 0 else e[:, t].clamp(min=0) for t in range(last + 1)]
    return torch.stack([column if t == last else column.clamp(max=1) for t, column in enumerate(below)], dim=1)


def piecewise(x, weight, slope, bias):
    encoded = torch.stack([bins(x[:, f], np.linspace(-3, 3, 5)) for f in range(x.shape[1])], dim=1)
    return torch.einsum("nft,ftd->nfd", encoded, weight) + x[..., None] * slope + bias


def periodic(x, frequency, phase, weight, bias):
    waves = torch.cos(2 * torch.pi * x[..., None] * frequency + phase)
    return torch.cat([torch.einsum("nfh,fho->nfo", waves, weight) + bias, x[..., None]], dim=-1)


def ensemble(x, weight, r, s, bias):
    return (x * r) @ weight * s + bias


def parametric(function):
    return lambda x, share: x + share * (function(x) - x)


# A layer, the shape of its rows, and the formula of its output, of x and of its parameters.
FORMULAS = [
    (nn.Scale(), (4,), lambda x, scale: x * scale),
    (nn.Scale(2), (3, 4), lambda x, scale: x * scale),
    (nn.NTKLinear(3), (5,), lambda x, weight, bias: x @ weight / 5**0.5 + bias),
    (nn.NTKLinear(3, bias=False), (2, 5), lambda x, weight: x @ weight / 5**0.5),
    (nn.PeriodicEmbedding(), (4,), periodic),
    (nn.PeriodicEmbedding(2, hidden_features=5, sigma=1.0), (3,), periodic),
    (nn.PiecewiseLinearEmbedding(3, bins=4), (4,), piecewise),
    (nn.ParametricActivation(), (5,), parametric(torch.selu)),
    (nn.ParametricActivation("mish"), (2, 5), parametric(torch.nn.functional.mish)),
    (nn.ParametricActivation(nn.ELU(0.5)), (5,), parametric(lambda x: torch.nn.functional.elu(x, 0.5))),
    (nn.Members(3), (4,), lambda x: x[:, None].expand(-1, 3, -1)),
    (nn.BatchEnsembleLinear(4, in_init="signs"), (3, 5), ensemble),
    (nn.BatchEnsembleLinear(4, bias=False), (3, 5), lambda x, weight, r, s: (x * r) @ weight * s),
    (nn.MemberLinear(4), (3, 5), lambda x, weight, bias: torch.einsum("nmi,mij->nmj", x, weight) + bias),
]


@pytest.mark.parametrize(("layer", "in_shape", "formula"), FORMULAS, ids=[repr(layer) for layer, *_ in FORMULAS])
def test_values_and_gradients_are_those_of_the_formula(layer, in_shape, formula):
    model = nn.Sequential([layer]).build(in_shape, random_state=0, dtype="float64")
    for array in model.parameters().values():
        array += RANDOM.normal(size=array.shape)
    x = torch.tensor(RANDOM.uniform(-4, 4, (ROWS, *in_shape)), requires_grad=True)
    arrays = [torch.tensor(array, requires_grad=True) for array in model.parameters().values()]
    expected = formula(x, *arrays)
    grad_out = RANDOM.normal(size=expected.shape)
    expected.backward(torch.tensor(grad_out))
    out = model.forward(x.detach().numpy(), training=True)
    grad_x = model.backward(grad_out)
    gradients = zip(model.gradients().values(), (item.grad for item in arrays), strict=True)
    for got, wanted in [(out, expected.detach()), (grad_x, x.grad), *gradients]:
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-11, atol=1e-11)  # sums of some 100 numbers of the order of 10


def test_a_piecewise_embedding_is_continuous_and_goes_on_beyond_its_bins():
    model = nn.Sequential([nn.PiecewiseLinearEmbedding(1, bins=3)]).build((1,), random_state=0, dtype="float64")
    model.parameters()["0.weight"] = [[[1.0], [2.0], [4.0]]]
    model.parameters()["0.slope"], model.parameters()["0.bias"] = [[0.0]], [[0.0]]
    x = np.array([-5.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0])
    np.testing.assert_allclose(model.predict(x[:, None]).ravel(), [-1.0, 0.0, 1.0, 2.0, 3.0, 7.0, 11.0], atol=1e-12)


def test_waves_are_exact_however_far_they_go():
    from nnkit.kernels.math import cospi, sinpi

    assert [float(cospi(x)) for x in (0.0, 1.0, 2.0, 1e15, 1e15 + 1)] == [1.0, -1.0, 1.0, 1.0, -1.0]
    assert abs(sinpi(1e9)) == 0.0


def test_parametric_activations_are_of_single_numbers():
    with pytest.raises(nn.KernelError, match="ParametricActivation: expected an activation of single numbers, got Softmax"):
        nn.ParametricActivation("softmax")
    with pytest.raises(nn.ParameterError, match="ParametricActivation: activation: expected an activation"):
        nn.ParametricActivation(nn.Linear(3))


@pytest.mark.parametrize(("layer", "in_shape", "expected"), [
    (nn.BatchEnsembleLinear(3), (4,), r"expected input rows of shape \(members, features\), got \(4,\); nn.Members makes them"),
    (nn.MemberLinear(3), (2, 3, 4), r"expected input rows of shape \(members, features\), got \(2, 3, 4\)"),
    (nn.PeriodicEmbedding(), (2, 3), r"expected input rows of shape \(features,\), got \(2, 3\)"),
    (nn.PiecewiseLinearEmbedding(), (2, 3), r"expected input rows of shape \(features,\), got \(2, 3\)"),
    (nn.Scale(2), (3,), r"expected input rows of at least 2 axes, got \(3,\)"),
    (nn.NTKLinear(2), (), "expected input rows with a feature axis"),
    (nn.ParametricActivation(), (), "expected input rows with a feature axis"),
])  # fmt: skip
def test_rows_that_do_not_fit_are_refused(layer, in_shape, expected):
    with pytest.raises(nn.ShapeError, match=expected):
        layer.place(in_shape)


def test_learning_rates_are_those_of_groups():
    """With the paper's rates, a step of Adam moves biases a tenth of what it moves weights, and scales six times that."""
    model = nn.Sequential([nn.Scale(), nn.NTKLinear(2)]).build((3,), random_state=0, dtype="float64")
    before = {name: array.copy() for name, array in model.parameters().items()}
    optimizer = nn.Adam(lr=0.01, groups={"*.scale": {"lr": 0.06}, "*.bias": {"lr": 0.001}})
    model.fit(np.eye(3), RANDOM.normal(size=(3, 2)), epochs=1, batch_size=3, optimizer=optimizer)
    moved = {name: np.abs(array - before[name]).max() for name, array in model.parameters().items()}
    assert moved == pytest.approx({"0.scale": 0.06, "1.weight": 0.01, "1.bias": 0.001}, rel=1e-4)


# ------------------------------------------------------------------------------------------------------------- schedules


def test_coslog_has_four_cycles_each_twice_as_long():
    t = np.linspace(0, 1, 3001)
    factor = nn.CoslogSchedule().factor(256 * t, 256.0)
    np.testing.assert_allclose(factor, (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t))) / 2)
    np.testing.assert_allclose(nn.CoslogSchedule().factor(np.array([0, 1, 3, 7, 15.0]), 15), 0.0, atol=1e-12)
    peaks = (2 ** np.array([0.5, 1.5, 2.5, 3.5]) - 1) / 15
    np.testing.assert_allclose(nn.CoslogSchedule().factor(peaks, 1.0), 1.0)


def test_flat_cosine_is_flat_and_then_falls():
    t = np.linspace(0, 1, 101)
    np.testing.assert_allclose(nn.FlatCosineSchedule().factor(t, 1.0), (1 + np.cos(np.pi * (np.maximum(1, 2 * t) - 1))) / 2)


def test_rate_dropout_and_decay_follow_them():
    net = nn.Sequential([nn.Linear(8), nn.Dropout(0.5 * nn.FlatCosineSchedule()), nn.Linear(1)])
    optimizer = nn.AdamW(lr=0.01, schedule="coslog", weight_decay=0.02 * nn.FlatCosineSchedule())
    net.fit(RANDOM.normal(size=(64, 3)), np.ones((64, 1)), epochs=4, batch_size=16, optimizer=optimizer)
    assert net.states()["1.rate"][0] < 0.5 / 2  # of the last step


# ------------------------------------------------------------------------------------------------ beginning from data

X = RANDOM.normal(size=(400, 5)) * [1.0, 5.0, 0.2, 1.0, 0.0] + [0.0, 3.0, 0.0, 0.0, 2.0]
Y = RANDOM.integers(0, 3, 400)
STILL = nn.SGD(lr=1e-30)


def net():
    return nn.Sequential([nn.PeriodicEmbedding(), nn.Flatten(), nn.Scale(), nn.NTKLinear(16, from_data=True),
                          nn.Residual(nn.ParametricActivation(), nn.Dropout(0.3), nn.NTKLinear(16, from_data=True)),
                          nn.NTKLinear(3, from_data=True)])  # fmt: skip


def looked(model, **options):
    """Fitted for an epoch that moves nothing."""
    model.fit(X, Y, **{"loss": "cross_entropy", "optimizer": STILL, "epochs": 1, "random_state": 0, **options})
    return model


def same(first, second):
    return all((array == second[name]).all() for name, array in first.items())


def test_outputs_have_variance_one_layer_by_layer():
    model = looked(net().build((5,), random_state=3, dtype="float64"))
    arrays = model.parameters()
    before = model[:3].predict(X) @ arrays["3.weight"] / np.sqrt(20)
    within = model[4].layers[2]
    assert within.from_data
    last = model.predict(X) - arrays["5.bias"]
    np.testing.assert_allclose(before.std(axis=0), 1.0)
    np.testing.assert_allclose(last.std(axis=0), 1.0)


def test_every_bias_puts_a_zero_among_the_data():
    """Minus a mean of outputs is never outside of them."""
    model = looked(net().build((5,), random_state=3, dtype="float64"))
    z = model[:3].predict(X) @ model.parameters()["3.weight"] / np.sqrt(20)
    bias = model.parameters()["3.bias"]
    assert bias.any() and (z.min(axis=0) <= -bias).all() and (-bias <= z.max(axis=0)).all()


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads_and_of_a_fit_that_builds():
    nets = [looked(net(), n_threads=threads, random_state=11) for threads in (1, 2)]
    again = looked(net().build((5,), random_state=np.random.default_rng(11)), random_state=99)
    assert same(nets[0].parameters(), nets[1].parameters())
    assert same(nets[0].parameters(), again.parameters())
    assert not same(nets[0].parameters(), looked(net(), random_state=12).parameters())


def test_uncompiled_begins_as_compiled():
    some = {"random_state": 5}
    compiled, python = (looked(net().build((5,), random_state=1, dtype="float64"), engine=engine, **some)
                        for engine in ("compiled", "python"))  # fmt: skip
    for name, array in compiled.parameters().items():
        np.testing.assert_allclose(python.parameters()[name], array, rtol=1e-9, atol=1e-12)


def embedding(**options):
    return nn.Sequential([nn.PiecewiseLinearEmbedding(4, bins=8, **options), nn.Flatten(), nn.Linear(3)])


def test_bins_end_at_quantiles_and_constant_columns_have_none():
    ends = looked(embedding().build((5,), dtype="float64")).states()["0.ends"]
    np.testing.assert_allclose(ends[:4], np.quantile(X, np.linspace(0, 1, 9), axis=0).T[:4])
    assert ends[4, 0] == 2.0 and (ends[4, 1:] > 1e38).all()
    assert np.isfinite(embedding().build((5,)).predict(X)).all()


def test_few_values_have_few_bins_and_the_last_one_goes_on():
    model = nn.Sequential([nn.PiecewiseLinearEmbedding(1, bins=8)]).build((1,), dtype="float64")
    few = np.repeat([[0.0], [1.0]], [50, 51], axis=0)  # whose median is one of them
    model.fit(few, np.zeros((101, 1, 1)), optimizer=STILL, epochs=1)
    assert model.states()["0.ends"][0, :2].tolist() == [0.0, 1.0] and (model.states()["0.ends"][0, 2:] > 1e38).all()
    model.parameters()["0.weight"][0, 0] = 1.0
    slope = 1.0 + model.parameters()["0.slope"][0, 0]
    rise = np.diff(model.predict([[-1.0], [0.0], [1.0], [5.0]]).ravel())
    np.testing.assert_allclose(rise, [slope, slope, 4 * slope])


def test_only_the_first_fit_looks():
    model = looked(embedding())
    before = model.states()["0.ends"].copy()
    model.fit(3 * X, Y, loss="cross_entropy", epochs=1)
    assert (model.states()["0.ends"] == before).all()


def test_rows_that_are_held_out_or_weigh_nothing_are_not_looked_at():
    weights = np.r_[np.ones(200), np.zeros(200)]
    model = looked(embedding().build((5,), dtype="float64"), sample_weight=weights)
    np.testing.assert_allclose(model.states()["0.ends"][:4], np.quantile(X[:200], np.linspace(0, 1, 9), axis=0).T[:4])


def test_what_somebody_has_set_stays(tmp_path):
    by_hand, whole = nn.NTKLinear(3, from_data=True), {"loss": "mse"}
    model = nn.Sequential([by_hand]).build((5,), random_state=0)
    model.parameters()["0.bias"] = [1.0, 2.0, 3.0]
    model.fit(X, np.zeros((400, 3)), optimizer=STILL, epochs=1, **whole)
    assert model.parameters()["0.bias"].tolist() == [1.0, 2.0, 3.0]
    looked(net()).save(tmp_path / "net.safetensors")
    loaded = nn.load(tmp_path / "net.safetensors")
    before = {name: array.copy() for name, array in loaded.parameters().items()}
    loaded.fit(5 * X, Y, loss="cross_entropy", optimizer=STILL, epochs=1)
    assert same(loaded.parameters(), before)


def test_copies_and_pickles_of_what_was_drawn_still_look():
    model = net().build((5,), random_state=3)
    others = [model.copy(), pickle.loads(pickle.dumps(model))]
    looked(model)
    for other in others:
        assert same(looked(other).parameters(), model.parameters())


def test_a_trained_net_within_another_stays_and_a_drawn_one_looks():
    trained, drawn = (nn.Sequential([nn.NTKLinear(4, from_data=True)]) for _ in range(2))
    trained.fit(X, np.zeros((400, 4)), optimizer=STILL, epochs=1, random_state=0)
    drawn.build((4,), random_state=0)
    before = trained.parameters()["0.weight"].copy(), drawn.parameters()["0.weight"].copy()
    model = looked(nn.Sequential([trained, drawn, nn.Linear(3)]))
    assert (model.parameters()["0.0.weight"] == before[0]).all()
    assert (model.parameters()["1.0.weight"] != before[1]).all()


def test_frozen_parameters_stay_as_they_are():
    model = nn.Sequential([nn.NTKLinear(4, from_data=True), nn.Linear(3)]).build((5,), random_state=0).freeze("0.weight")
    before = model.parameters()["0.weight"].copy()
    looked(model)
    assert (model.parameters()["0.weight"] == before).all() and model.parameters()["0.bias"].any()


def test_a_fit_goes_on_as_if_it_had_never_stopped(tmp_path):
    given = {"optimizer": nn.Adam(lr=0.01), "epochs": 4, "batch_size": 64, "random_state": 2}
    whole = looked(net(), **given)
    checkpoint = nn.Checkpoint(tmp_path / "fit.safetensors")
    with pytest.raises(RuntimeError, match="stopped"):
        looked(net(), callbacks=[checkpoint, Stop(10)], **given)
    again = looked(net(), callbacks=[checkpoint, Stop(0)], resume=True, **given)
    assert same(whole.parameters(), again.parameters())


class Stop(nn.Callback):
    late = True  # a checkpoint that is due is written before

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, fit):
        if fit.step == self.step:
            raise RuntimeError("stopped")


def test_a_large_table_is_looked_at_in_part(monkeypatch):
    from nnkit.training import beginning

    monkeypatch.setattr(beginning, "LOOKED_AT", 100 * 32)
    seen = []

    class Looks(nn.Layer):
        from_data = True

        def build(self, in_shape):
            self.parameter("w", in_shape)
            return in_shape

        def initialise(self, x, random):
            seen.append(x)
            return {}

        @staticmethod
        def forward(x, w, out):
            for n in range(x.shape[0]):
                for j in range(x.shape[1]):
                    out[n, j] = x[n, j] + w[j]

        @staticmethod
        def backward(grad_out, grad_x, grad_w):
            grad_w[:] = 0.0
            for n in range(grad_x.shape[0]):
                for j in range(grad_x.shape[1]):
                    grad_w[j] += grad_out[n, j]
                    grad_x[n, j] = grad_out[n, j]

    looked(nn.Sequential([nn.Linear(32), Looks(), nn.Linear(3)]).build((5,), random_state=0))
    assert [x.shape for x in seen] == [(100, 32)] and not seen[0].flags.writeable


class Bad(nn.NTKLinear):
    def initialise(self, x, random):
        return {"weights": np.zeros(3)}


def test_what_is_wrong_with_a_beginning_is_said():
    with pytest.raises(nn.KernelError, match=r"layer 0, Bad\(.*\): initialise: expected one of its arrays, got 'weights'"):
        looked(nn.Sequential([Bad(3, from_data=True)]))


# ------------------------------------------------------------------------------------------------------------ together


def test_categories_are_looked_up_column_by_column():
    """Numbers and codes in one table: tables of their own for large categories, in any net, with parts that there are."""
    codes = np.c_[RANDOM.integers(0, 12, 300), RANDOM.integers(0, 20, 300)]
    table = np.c_[RANDOM.normal(size=(300, 3)), codes]
    reads = {f"code{k}": [nn.Columns([3 + k]), nn.Embedding(size, 8), nn.Flatten()] for k, size in enumerate((12, 20))}
    model = nn.Sequential([nn.Inputs(numbers=[nn.Columns(range(3)), nn.PeriodicEmbedding(), nn.Flatten()], **reads),
                           nn.Scale(), nn.NTKLinear(16, from_data=True), "selu", nn.NTKLinear(2)])  # fmt: skip
    history = model.fit(table, codes[:, 0] % 2, loss="cross_entropy", epochs=60, optimizer=nn.Adam(0.02), random_state=0)
    assert history.loss[-1] < 0.1 * history.loss[0]


def test_members_learn_apart_and_are_one_in_the_mean():
    x = RANDOM.normal(size=(300, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = nn.Sequential([nn.Members(8), nn.BatchEnsembleLinear(32, in_init="signs"), "relu",
                           nn.BatchEnsembleLinear(32), "relu", nn.MemberLinear(2)])  # fmt: skip
    every = np.broadcast_to(y[:, None], (300, 8))
    history = model.fit(x, every, loss="cross_entropy", epochs=60, optimizer=nn.AdamW(lr=5e-3), random_state=0)
    loss, out = nn.CrossEntropyLoss(), model.predict(x)
    means = [float(loss(out[:, member], y).loss) for member in range(8)]
    assert float(loss(out, every).loss) == pytest.approx(np.mean(means), rel=1e-5)
    assert history.loss[-1] < 0.3 and len({round(mean, 6) for mean in means}) == 8
    assert (loss.probabilities(out).mean(axis=1).argmax(axis=1) == y).mean() > 0.9


def test_biases_of_members_begin_alike():
    bias = nn.Sequential([nn.Members(3), nn.BatchEnsembleLinear(5)]).build((4,), random_state=0).parameters()["1.bias"]
    assert (bias == bias[0]).all() and (np.abs(bias) <= 0.5).all() and bias.any()


def test_no_rows_pass_for_nets_that_begin_from_nothing(monkeypatch):
    from nnkit.training import beginning

    monkeypatch.setattr(beginning, "Plan", None)
    looked(nn.Sequential([nn.NTKLinear(3)]))
    assert network_of(nn.Sequential([nn.NTKLinear(3)]).build((5,))).as_drawn() == []
