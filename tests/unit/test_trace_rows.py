"""In a trace: activation functions of whole rows, losses that are written as a lecture writes them, and batches of rows."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.inspect.trace.formula import LATEX, MATHML, TEXT, written

X = np.array([[0.5, -1.0], [1.5, 0.25], [-0.75, 0.5]])
OF_ROWS = [cls for cls in nn.registry.activations.values() if cls.formulas is not None and len(cls.examples()[0].in_shape) < 3]


def traced(*layers, y, loss="mse", x=X):
    model = nn.Sequential(list(layers)).build((2,), random_state=0, dtype="float64")
    return nn.trace(model, x, y, loss)


@pytest.mark.parametrize("cls", OF_ROWS)
def test_a_function_of_rows_belongs_to_its_layer_and_has_all_its_derivatives(cls):
    trace = traced(nn.Linear(4), nn.ReLU(), nn.Linear(3), cls(), y=np.eye(3))
    assert len(trace) == 2 and trace[1].is_mixing and trace[1].activation is not None
    layer, function, step = trace[1], nn.Sequential([cls()]).build((3,), dtype="float64"), 1e-6
    for j in range(3):
        shift = step * np.eye(3)[j]
        slopes = (function.predict(layer.z + shift) - function.predict(layer.z - shift)) / (2 * step)
        np.testing.assert_allclose(layer.da_dz[:, :, j], slopes, atol=1e-8)  # rounding over the step
    np.testing.assert_allclose(np.einsum("nk,nkj->nj", layer.dL_da, layer.da_dz), layer.delta, atol=1e-15)
    assert trace.check().ok


@pytest.mark.parametrize("cls", OF_ROWS)
def test_it_is_written_out(cls):
    trace = traced(nn.Linear(3), cls(), y=np.eye(3))
    text = trace.text()
    assert f"a_j = {TEXT(written(cls.formulas.forward))}" in text
    assert f"da_k/dz_j = {TEXT(written(cls.formulas.backward))}" in text
    assert "delta_j = sum_k(dL/da_k * da_k/dz_j)" in text
    assert "delta_2 = dL/da_1 * da_1/dz_2 + dL/da_2 * da_2/dz_2 + dL/da_3 * da_3/dz_2" in text
    assert trace.latex().count("{") == trace.latex().count("}")


def test_long_rows_and_images_have_no_table_of_derivatives():
    long = traced(nn.Linear(65), nn.Softmax(), y=np.zeros((3, 65)))
    assert long[0].da_dz is None and long[0].delta is not None
    model = nn.Sequential([nn.Conv2d(2, 1), nn.Softmax2d()]).build((1, 2, 2), random_state=0)
    trace = nn.trace(model, np.ones((1, 1, 2, 2)), np.zeros((1, 2, 2, 2)), "mse")
    assert trace[-1].activation is not None and trace[-1].da_dz is None and trace.check().ok
    assert "Softmax2d" in trace.text()


def test_a_slope_that_is_learnt_is_a_layer_of_its_own():
    trace = traced(nn.Linear(2), nn.PReLU(), y=np.zeros((3, 2)))
    assert [layer.activation for layer in trace] == [None, None]


def test_cross_entropy_is_p_minus_y_over_n():
    trace = traced(nn.Linear(3), y=[2, 0, 1], loss="cross_entropy")
    text = trace.text(row=1)
    assert "the numbers are those of row 2" in text
    assert "p_j = exp(a_j) / sum_k(exp(a_k)),  L_n = -sum_j(y_j * log(p_j)),  dL/da_j = 1 / 3 * (p_j - y_j)" in text
    p = np.exp(trace[0].a[1]) / np.exp(trace[0].a[1]).sum()
    for j, y in enumerate((1, 0, 0)):
        value = trace[0].dL_da[1, j]
        assert value == pytest.approx((p[j] - y) / 3)
        assert f"dL/da_{j + 1} = 1 / 3 * (p_{j + 1} - y_{j + 1}) = 1 / 3 * ({p[j]:.5g} - {y}) = {value:.5g}" in text


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0]),
                                  nn.NLLLoss(weight=[1.0, 2.0, 3.0])])  # fmt: skip
def test_what_is_more_than_the_lecture_s_has_no_formula(loss):
    assert loss.formulas is None
    assert "p_j" not in traced(nn.Linear(3), y=[2, 0, 1], loss=loss).text().partition("BACKWARD")[2]


def test_rows_that_are_ignored_weigh_nothing():
    trace = traced(nn.Linear(3), y=[2, -100, 1], loss="cross_entropy")
    assert "dL/da_j = 1 / 2 * (p_j - y_j)" in trace.text(row=0)
    assert (trace[0].dL_da[1] == 0).all()


def test_rows_and_units_are_counted_from_1():
    text = traced(nn.Linear(1), y=np.zeros((3, 1))).text()
    assert "dL/dw_11 = delta_1,1 * x_1,1 + delta_2,1 * x_2,1 + delta_3,1 * x_3,1" in text
    assert "_0" not in text


def test_fractions_of_a_notebook_are_displayed():
    html = traced(nn.Linear(1), y=np.zeros((3, 1)))._repr_html_()
    assert html.count("<math") == html.count('<math displaystyle="true"') > 0


def test_formulas_are_written_in_all_notations():
    tree = written("sum_k(exp(z_k)) / p_j if k == j else -a_j")
    assert TEXT(tree) == "sum_k(exp(z_k)) / p_j if k = j else -a_j"
    assert r"\frac{\sum_k" in LATEX(tree) and "<munder>" in MATHML(tree)
