"""nnkit.trace of nets whose values go several ways: beside finite differences, and what is printed, typeset and drawn."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import nnkit as nn
from nnkit.testing.changes import changed

RANDOM = np.random.default_rng(0)


def towers():
    parts = nn.Inputs(image=[nn.Flatten(), nn.Linear(2), "tanh"], my_table="identity")
    heads = nn.Heads(price=nn.Linear(1), kind=[nn.Linear(2), "tanh", nn.Linear(3)])
    return nn.Sequential([parts, nn.Linear(2), nn.Tanh(), heads])


def graph():
    steps = {"h": ("a", [nn.Linear(2), "tanh"]), "out": (("h", "b"), nn.Bilinear(2)), "sum": (("h", "out"), nn.Add())}
    return nn.Sequential([nn.Graph(**steps, last=("sum", nn.Linear(1)), outputs=("last", "h", "sum"))])


def views():
    """Two views of one array in memory, of which each goes its own way."""
    return nn.Sequential([nn.Linear(4), nn.Tanh(), nn.Unflatten(1, (2, 2)), nn.Heads(
        one=[nn.Flatten(), nn.Linear(2)], two=[nn.Flatten(), nn.Tanh(), nn.Linear(1)])])  # fmt: skip


def shared():
    tower = nn.Linear(2)
    return nn.Sequential([nn.Inputs(left=tower, right=[tower, "tanh"], merge="mean"), nn.Linear(1)])


def looked_up():
    kind = [nn.Embedding(5, 2), nn.Flatten()]
    return nn.Sequential([nn.Inputs(kind=kind, size="identity"), nn.Heads(one=nn.Linear(2), two="identity")])


NETS = {
    "towers": (towers, {"image": (2, 1), "my_table": (1,)}, {"price": "mse", "kind": "cross_entropy"}, {"kind": 3.0}),
    "graph": (graph, {"a": (2,), "b": (1,)}, "mse", {"last": 0.5, "h": 2.0}),
    "views": (views, (3,), "mse", {"two": 0.25}),
    "shared": (shared, {"left": (2,), "right": (2,)}, "half_squared_error", None),
    "looked up": (looked_up, {"kind": (1,), "size": (2,)}, "mse", None),
    "branches": (lambda: nn.Sequential([nn.Branches(nn.Linear(2), [nn.Linear(1), "tanh"]), nn.Linear(2)]), (2,), "mse", None),
    "residual": (lambda: nn.Sequential([nn.Linear(2), nn.Residual(nn.Linear(2))]), (2,), "mse", None),
}


def traced(name, rows=3, dtype="float64", **options):
    layers, in_shape, loss, weights = NETS[name]
    model = layers().build(in_shape, random_state=0, dtype=dtype)

    def drawn(field, shape):
        return RANDOM.integers(0, 5, (rows, *shape)) if field == "kind" else RANDOM.normal(size=(rows, *shape))

    x = {field: drawn(field, shape) for field, shape in in_shape.items()} if isinstance(in_shape, dict) else drawn("", in_shape)
    shapes = model.out_shape
    y = {field: RANDOM.integers(0, 3, rows) if field == "kind" else RANDOM.normal(size=(rows, *shape))
         for field, shape in shapes.items()} if isinstance(shapes, dict) else RANDOM.normal(size=(rows, *shapes))  # fmt: skip
    return model, x, y, nn.trace(model, x, y, loss, loss_weights=weights, **options)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rows", [1, 3])
def test_every_gradient_agrees_with_finite_differences(name, rows):
    *_, trace = traced(name, rows)
    check = trace.check()
    assert check.ok, str(check)
    inputs = {item.name for item in check.arrays if item.layer == 0}
    assert inputs == {"dL/dx" + (f"_{item.name}" if item.name else "") for item in trace.inputs if item.grad_x is not None}


@pytest.mark.parametrize("name", NETS)
def test_the_loss_and_the_gradients_are_those_of_a_step(name):
    model, x, y, trace = traced(name)
    _, _, loss, weights = NETS[name]
    for field, out in trace.out.items() if isinstance(trace.out, dict) else [("", trace.out)]:
        np.testing.assert_array_equal(out, model.predict(x)[field] if field else model.predict(x))
    before = {path: array.copy() for path, array in model.parameters().items()}
    history = model.fit(x, y, loss=loss, loss_weights=weights, optimizer=nn.SGD(lr=1.0), epochs=1, batch_size=3)
    assert history["loss"][0] == pytest.approx(trace.value, rel=1e-12)
    again = nn.trace(model, x, y)  # with the losses of that fit, and what they weighed
    assert again.value == pytest.approx(model.evaluate(x, y), rel=1e-12)
    for layer in trace:
        for key, gradient in layer.gradients.items():
            path = f"{layer.paths[0]}.{key}"
            if path in before:  # that of a layer that is used again is that of its first use
                np.testing.assert_allclose(before[path] - model.parameters()[path], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("rows", [1, 2])
def test_the_numbers_on_a_line_make_the_number_on_its_right(name, rows):
    text = re.sub(r"\n {3,}=", " =", str(traced(name, rows)[-1]))
    assert text.isascii()
    checked = 0
    for line in text.splitlines():
        sides = [side.strip() for side in line.split(" = ")]
        if len(sides) > 2 and "..." not in line and re.fullmatch(r"[-+*/().\de ]+", sides[-2]):
            assert eval(sides[-2]) == pytest.approx(float(sides[-1]), rel=2e-3, abs=2e-5), line
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("name", NETS)
def test_it_is_typeset(name):
    from matplotlib.mathtext import MathTextParser

    *_, trace = traced(name)
    ElementTree.fromstring(trace._repr_html_().replace("&minus;", "-"))
    parser = MathTextParser("path")
    for line in (line for line in trace.latex().splitlines() if " &= " in line):
        parser.parse(f"${line.replace('&', '').removesuffix(' ' + chr(92) * 2 + '[4pt]')}$")


@pytest.mark.parametrize("name", NETS)
def test_it_is_drawn_with_all_inputs_and_layers(name, figures):
    *_, trace = traced(name)
    forward, _ = trace.plot()
    labels = [text.get_text().split("\n")[0].split(",")[0] for text in forward.texts]
    expected = {"x" + (f"_{item.name}" if item.name else "") for item in trace.inputs}
    assert expected | {f"a({layer.number})" for layer in trace} <= set(labels)
    figures.inside(forward.figure)


def test_what_comes_back_from_several_heads_is_written_as_a_sum():
    text = str(traced("towers", 1)[-1])
    assert "Layer 5 (output price)" in text and "Layer 7 (output kind)" in text
    assert "dL/da_j = sum_k(w_jk(5) * delta_k(5)) + sum_k(w_jk(6) * delta_k(6))" in text
    assert re.search(r"z_1 = w_11 \* a_1\(2\) \+ w_21 \* a_2\(2\) \+ w_31 \* a_1\(3\) \+ b_1", text), text
    assert "x is a(2), then a(3)" in text
    assert re.search(r"L_price = .*y_price,1", text) and re.search(r"L = L_price \+ 3 \* L_kind = [-\d. +*]* = ", text)
    assert "Input image" in text and "dL/dx_my_table,1 = delta_1(3) = " in text


def test_an_input_that_several_layers_read_gets_all_their_gradients():
    model = NETS["branches"][0]().build((2,), random_state=0, dtype="float64")
    trace = nn.trace(model, [0.5, -0.25], [0.0, 1.0], "mse")
    assert "dL/dx_i = sum_j(w_ij(1) * delta_j(1)) + sum_j(w_ij(2) * delta_j(2))" in str(trace)
    step = 1e-6
    ends = [model.evaluate([[0.5 + sign * step, -0.25]], [[0.0, 1.0]], "mse") for sign in (1, -1)]
    assert trace.inputs[0].grad_x[0, 0] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_a_layer_that_is_used_again_sums_over_its_uses():
    text = str(traced("shared", 1)[-1])
    assert "dL/dw_ij = delta_j * x_left,i + delta_j(2) * x_right,i" in text
    assert re.search(r"dL/db_1 = delta_1\(1\) \+ delta_1 = ", text)


def test_a_loss_of_what_is_a_sum_names_it_so():
    text = str(traced("residual", 1)[-1])
    assert "(out_1 - y_1) * (out_1 - y_1)" in text and "(output)" not in text


def test_a_wrong_derivative_is_found_in_its_head():
    half = changed(nn.Tanh, "backward", "grad_out *", "0.5 * grad_out *")()
    model = nn.Sequential([nn.Linear(2), nn.Heads(a=[nn.Linear(2), half], b=[nn.Linear(2), "tanh"])])
    model.build((3,), random_state=0)
    check = nn.trace(model, RANDOM.normal(size=(2, 3)), (np.zeros((2, 2)), np.zeros((2, 2))), "mse").check()
    wrong = {(item.layer, item.name) for item in check.arrays if item.wrong.any()}
    assert not check.ok and (2, "delta") in wrong and not any(layer == 3 for layer, _ in wrong)


@pytest.mark.parametrize("row", [
    ({"image": [[0.5], [0.1]], "my_table": [1.0]}, {"price": 1.0, "kind": 2}),
    (([[[0.5], [0.1]]], [[1.0]]), ([[1.0]], [2])),
])  # fmt: skip
def test_one_row_may_come_without_a_batch(row):
    model = towers().build(NETS["towers"][1], random_state=0)
    trace = nn.trace(model, *row, NETS["towers"][2])
    assert trace.rows == 1 and trace.check()


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "match"),
    [
        (np.ones((2, 2)), {"price": 1.0, "kind": 2}, {}, nn.ShapeError, "a dict of arrays for image, my_table"),
        ((np.ones((2, 2, 1)), np.ones((3, 1))), {"price": 1.0, "kind": 2}, {}, nn.ShapeError, "as many rows in every array"),
        ((np.ones((2, 1)), np.ones(1)), 1.0, {}, nn.ShapeError, "price, kind"),
        ((np.ones((2, 1)), np.ones(1)), (1.0, 7), {}, nn.DataError, r"y\['kind'\]"),
        ((np.ones((2, 1)), np.ones(1)), (1.0, 2), {"loss_weights": {"prize": 2.0}}, nn.ParameterError, "prize"),
        ((np.ones((2, 1)), np.ones(1)), (1.0, 2), {"loss": {"price": "mse"}}, nn.ParameterError, "none for 'kind'"),
    ],
)
def test_wrong_input_is_refused(x, y, options, error, match):
    model = towers().build(NETS["towers"][1])
    with pytest.raises(error, match=match):
        nn.trace(model, x, y, **{"loss": NETS["towers"][2], **options})
