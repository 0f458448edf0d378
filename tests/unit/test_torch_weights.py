"""Weights carried over from PyTorch: the same outputs; what does not fit is refused, and nothing is written."""

import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

ARRAYS = {"0.weight": np.ones((2, 3)), "0.bias": np.zeros(2), "2.weight": np.ones((1, 2)), "2.bias": np.ones(1)}


def small():
    return nn.Sequential([nn.Linear(2), nn.ReLU(), nn.Linear(1)]).build((3,), random_state=0)


def without(*names):
    return {name: array for name, array in ARRAYS.items() if name not in names}


BAD = {
    "another shape": (
        {**ARRAYS, "2.weight": np.ones((1, 5))}, nn.ShapeError,
        r"layer 2, Linear\(\): expected weight of shape \(2, 1\), got \(5, 1\) from PyTorch's '2.weight' \(1, 5\)",
    ),
    "a module left over": (
        {**ARRAYS, "4.weight": np.ones((1, 1))}, nn.ShapeError, r"2 layers.*layer 0, .*layer 2, .*got also '4.weight'",
    ),
    "a module missing": (without("2.weight", "2.bias"), nn.ParameterError, "layer 2, .*'weight' is missing, got nothing"),
    "a bias missing": (without("0.bias"), nn.ParameterError, r"layer 0, .*, bias \(2,\); got '0.weight' \(2, 3\)"),
    "a bias too many": ({**ARRAYS, "2.bias_hh": np.ones(1)}, nn.ShapeError, "got also '2.bias_hh'"),
    "other names": ({"kernel": np.ones((2, 3)), "bias": np.ones(2)}, nn.ParameterError, "'weight' is missing, got 'kernel'"),
    "nothing": ({}, nn.ParameterError, "layer 0, .*got nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_and_nothing_is_written(case):
    state_dict, error, message = BAD[case]
    model = small()
    before = network_of(model).vector.copy()
    with pytest.raises(error, match=message):
        nn.torch_weights(model, state_dict)
    np.testing.assert_array_equal(network_of(model).vector, before)


def test_model_must_be_built():
    with pytest.raises(nn.NotBuiltError, match="expected a built model"):
        nn.torch_weights(nn.Sequential([nn.Linear(1)]), ARRAYS)


def test_counters_of_batches_are_ignored():
    model = small()
    nn.torch_weights(model, {**ARRAYS, "1.num_batches_tracked": np.array(3)})
    assert model.predict([[1.0, 2.0, 3.0]]) == 13.0


def test_counters_of_batches_are_taken_where_something_depends_on_them():
    """And only there: of the layer before and the one behind they are ignored."""
    layers = [nn.BatchNorm1d(), nn.BatchNorm1d(momentum=None, affine=False), nn.BatchNorm1d()]
    model = nn.Sequential(layers).build((2,), dtype="float64")
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {f"{place}.{name}": np.full(2, 1.0 + place) for place in range(3) for name in names[2 * (place == 1) :]}
    counters = {f"{place}.num_batches_tracked": np.array(3 + place) for place in range(3)}
    nn.torch_weights(model, {name: value for place in "012" for name, value in {**arrays, **counters}.items()
                             if name.startswith(place)})  # fmt: skip
    assert model.states()["1.num_batches_tracked"].tolist() == [4.0]
    x = np.array([[1.0, 5.0], [3.0, 9.0]])
    before = model.copy()
    model.forward(x, training=True)
    seen = before[:1].forward(x, training=True)
    assert model.states()["1.num_batches_tracked"].tolist() == [5.0]
    np.testing.assert_allclose(model.states()["1.running_mean"], (4.0 * 2.0 + seen.mean(axis=0)) / 5.0, rtol=1e-12)


def test_nested_modules_are_taken_in_order():
    """Containers within containers, running statistics, and a layer that is used twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 4, 3, padding=1)
            self.block = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.PReLU(4))
            self.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(100, 7), torch.nn.Tanh())
            self.twice = torch.nn.Linear(7, 7)

        def forward(self, x):
            x = self.conv(x)
            return self.twice(self.twice(self.head(x + self.block(x))))

    theirs = Twin().double()
    x = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    theirs(x)  # running statistics that are not the first ones
    twice = nn.Linear(7)
    ours = nn.Sequential([
        nn.Conv2d(4, 3, padding=1), nn.Residual(nn.Conv2d(4, 3, padding=1), nn.BatchNorm2d(), nn.PReLU(4)),
        [nn.Flatten(), nn.Linear(7), nn.Tanh()], twice, twice,
    ]).build((2, 5, 5), dtype="float64")  # fmt: skip
    nn.torch_weights(ours, theirs.state_dict())
    np.testing.assert_allclose(ours.predict(x.numpy()), theirs.eval()(x).detach().numpy(), rtol=1e-10)
