"""The derivation of backpropagation, equation by equation: nnkit against the same formulas in scalar loops, in float64.

With z_j = sum_i w_ij a_i(l-1) + b_j, a_j = s(z_j) and L = 1/2 sum_j (y_j - a_j)**2.
"""

from math import exp

import numpy as np
import pytest

import nnkit as nn

SIZES = (4, 5, 3)  # inputs, hidden units, outputs
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def s(z):
    return 1.0 / (1.0 + exp(-z))


class Textbook:
    """One row through a net of two sigmoid layers, in scalars."""

    def __init__(self, parameters, x, y):
        w1, b1, w2, b2 = (array.tolist() for array in parameters.values())
        inputs, hidden, outputs = map(range, SIZES)
        z1 = [sum(w1[i][j] * x[i] for i in inputs) + b1[j] for j in hidden]
        a1 = [s(z) for z in z1]
        z2 = [sum(w2[i][j] * a1[i] for i in hidden) + b2[j] for j in outputs]
        a2 = [s(z) for z in z2]
        self.a = [a1, a2]
        self.loss = 0.5 * sum((y[j] - a2[j]) ** 2 for j in outputs)
        self.dL_da = [a2[j] - y[j] for j in outputs]
        self.da_dz = [[s(z) * (1 - s(z)) for z in z1], [s(z) * (1 - s(z)) for z in z2]]
        delta2 = [self.dL_da[j] * self.da_dz[1][j] for j in outputs]
        delta1 = [sum(w2[i][j] * delta2[j] for j in outputs) * self.da_dz[0][i] for i in hidden]
        self.delta = [delta1, delta2]
        dL_dw1 = [[delta1[j] * x[i] for j in hidden] for i in inputs]
        dL_dw2 = [[delta2[j] * a1[i] for j in outputs] for i in hidden]
        self.dL_dw = [dL_dw1, dL_dw2]
        self.dL_db = [delta1, delta2]
        self.dL_dx = [sum(w1[i][j] * delta1[j] for j in hidden) for i in inputs]


@pytest.fixture(scope="module")
def worked():
    """A net, two rows, what nnkit computes for them and what the textbook does."""
    random = np.random.default_rng(1986)
    layers = [nn.Linear(SIZES[1], bias_init="normal"), nn.Sigmoid(), nn.Linear(SIZES[2], bias_init="normal"), nn.Sigmoid()]
    model = nn.Sequential(layers).build((SIZES[0],), random_state=0, dtype="float64")
    x, y = random.normal(size=(2, SIZES[0])), random.uniform(size=(2, SIZES[2]))
    out = model.forward(x)
    loss, grad = nn.HalfSquaredErrorLoss()(out, y)
    grad_x = model.backward(grad)
    rows = [Textbook(model.parameters(), x[n].tolist(), y[n].tolist()) for n in range(2)]
    return model, out, loss, grad, grad_x, rows


def test_output_is_s_of_z(worked):
    _, out, *_, rows = worked
    np.testing.assert_allclose(out, [row.a[1] for row in rows], **EXACT)


def test_loss_is_half_the_sum_of_squares(worked):
    _, _, loss, *_, rows = worked
    np.testing.assert_allclose(loss, sum(row.loss for row in rows), **EXACT)


def test_dL_da_is_a_minus_y(worked):
    _, _, _, grad, _, rows = worked
    np.testing.assert_allclose(grad, [row.dL_da for row in rows], **EXACT)


def test_worked_numbers():
    loss, grad = nn.HalfSquaredErrorLoss()([[0.3, 0.5, 0.2]], [[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(grad, [[0.3, -0.5, 0.2]], **EXACT)
    np.testing.assert_allclose(loss, 0.19, **EXACT)


def test_derivative_of_the_sigmoid_is_s_times_one_minus_s():
    z = np.linspace(-6, 6, 41)[:, None]
    model = nn.Sequential([nn.Sigmoid()]).build((1,), dtype="float64")
    model.forward(z)
    np.testing.assert_allclose(model.backward(np.ones_like(z)), [[s(v) * (1 - s(v))] for v in z.ravel()], **EXACT)


def single_row(model, row_x, row_y):
    """Gradients of one row alone: its dL/db is its delta."""
    out = model.forward(row_x[None])
    _, grad = nn.HalfSquaredErrorLoss()(out, row_y[None])
    model.backward(grad)
    return {name: array.copy() for name, array in model.gradients().items()}


@pytest.mark.parametrize(("layer", "name"), [(1, "2.bias"), (0, "0.bias")], ids=["output layer", "hidden layer"])
def test_delta_of_a_layer(layer, name):
    """Output: (a_j - y_j) s'(z_j). Hidden: (sum_j w_ij delta_j) s'(z_i). dz/db = 1, so dL/db of one row is its delta."""
    model, x, y = fresh()
    for n in range(len(x)):
        expected = Textbook(model.parameters(), x[n].tolist(), y[n].tolist()).delta[layer]
        np.testing.assert_allclose(single_row(model, x[n], y[n])[name], expected, **EXACT)


def fresh():
    random = np.random.default_rng(1847)
    layers = [nn.Linear(SIZES[1], bias_init="normal"), nn.Sigmoid(), nn.Linear(SIZES[2], bias_init="normal"), nn.Sigmoid()]
    model = nn.Sequential(layers).build((SIZES[0],), random_state=3, dtype="float64")
    return model, random.normal(size=(3, SIZES[0])), random.uniform(size=(3, SIZES[2]))


@pytest.mark.parametrize(("layer", "name"), [(1, "2.weight"), (0, "0.weight")], ids=["output layer", "hidden layer"])
def test_dL_dw_ij_is_delta_j_a_i(worked, layer, name):
    model, *_, rows = worked
    expected = np.sum([row.dL_dw[layer] for row in rows], axis=0)
    np.testing.assert_allclose(model.gradients()[name], expected, **EXACT)


@pytest.mark.parametrize(("layer", "name"), [(1, "2.bias"), (0, "0.bias")], ids=["output layer", "hidden layer"])
def test_dL_db_j_is_delta_j(worked, layer, name):
    model, *_, rows = worked
    expected = np.sum([row.dL_db[layer] for row in rows], axis=0)
    np.testing.assert_allclose(model.gradients()[name], expected, **EXACT)


def test_dL_dx_i_is_the_sum_of_w_ij_delta_j(worked):
    *_, grad_x, rows = worked
    np.testing.assert_allclose(grad_x, [row.dL_dx for row in rows], **EXACT)


def test_one_step_of_descent_is_w_minus_lr_dL_dw():
    model, x, y = fresh()
    before = {name: array.copy() for name, array in model.parameters().items()}
    _, grad = nn.HalfSquaredErrorLoss()(model.forward(x), y)
    model.backward(grad)
    nn.SGD(lr=0.1).step(model)
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, before[name] - 0.1 * model.gradients()[name], **EXACT)
