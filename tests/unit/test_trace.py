"""nnkit.trace: the seed example by hand, every layer beside finite differences, and what is printed, typeset and drawn."""

import ast
import re
from math import exp
from xml.etree import ElementTree

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.fields import fields
from nnkit.inspect.trace.derivation import derivation
from nnkit.inspect.trace.formula import LATEX, MATHML, TEXT, Derivative, Equation, Symbol, _number, _rewritten, formula
from nnkit.inspect.trace.replay import Replay
from nnkit.network import network_of
from nnkit.testing.changes import changed
from tests.parts import Scale

LAYERS = [example for part in nn.registry.layers.values() for example in part.examples()]


def drawn(example, rows=3, seed=0, dtype="float64"):
    """A model of one layer, and a batch for it."""
    model = nn.Sequential([example.part]).build(example.in_shape, random_state=seed, dtype=dtype)
    random = np.random.default_rng(seed)
    if network_of(model).input_dtype == "real" or network_of(model).input_dtype == dtype:
        x = random.uniform(example.low, example.high, (rows, *example.in_shape))
    else:
        x = random.integers(0, 2, (rows, *example.in_shape))
    return model, x, random.normal(size=(rows, *model.out_shape))


# ------------------------------------------------------------------------------------------------ the seed example


def seed_example(dtype="float64"):
    """Two inputs, two hidden sigmoid units, three sigmoid outputs."""
    model = nn.Sequential([nn.Linear(2), nn.Sigmoid(), nn.Linear(3), nn.Sigmoid()]).build((2,), dtype=dtype)
    parameters = model.parameters()
    parameters["0.weight"][...] = [[0.15, 0.25], [0.2, 0.3]]
    parameters["0.bias"][...] = [0.35, -0.1]
    parameters["2.weight"][...] = [[0.4, 0.5, -0.6], [0.45, -0.55, 0.65]]
    parameters["2.bias"][...] = [0.6, 0.1, -0.2]
    return nn.trace(model, [0.05, 0.1], [0.0, 1.0, 0.0], nn.HalfSquaredErrorLoss())


def by_hand():
    """Everything that the trace of the seed example has to print, number by number, without a loop.

    Indices: w11 goes from input 1 to hidden unit 1, v12 from hidden unit 1 to output 2.
    """
    x1, x2 = 0.05, 0.1
    y1, y2, y3 = 0.0, 1.0, 0.0
    w11, w12, w21, w22, b1, b2 = 0.15, 0.25, 0.2, 0.3, 0.35, -0.1
    v11, v12, v13, v21, v22, v23, c1, c2, c3 = 0.4, 0.5, -0.6, 0.45, -0.55, 0.65, 0.6, 0.1, -0.2

    z1 = w11 * x1 + w21 * x2 + b1
    z2 = w12 * x1 + w22 * x2 + b2
    h1 = 1 / (1 + exp(-z1))
    h2 = 1 / (1 + exp(-z2))
    u1 = v11 * h1 + v21 * h2 + c1
    u2 = v12 * h1 + v22 * h2 + c2
    u3 = v13 * h1 + v23 * h2 + c3
    a1 = 1 / (1 + exp(-u1))
    a2 = 1 / (1 + exp(-u2))
    a3 = 1 / (1 + exp(-u3))
    loss = 0.5 * (y1 - a1) ** 2 + 0.5 * (y2 - a2) ** 2 + 0.5 * (y3 - a3) ** 2

    # The output layer.
    dL_da1, dL_da2, dL_da3 = a1 - y1, a2 - y2, a3 - y3
    s1, s2, s3 = a1 * (1 - a1), a2 * (1 - a2), a3 * (1 - a3)
    d1, d2, d3 = dL_da1 * s1, dL_da2 * s2, dL_da3 * s3
    output = {
        "dL/da_1": dL_da1, "dL/da_2": dL_da2, "dL/da_3": dL_da3,
        "da_1/dz_1": s1, "da_2/dz_2": s2, "da_3/dz_3": s3,
        "delta_1": d1, "delta_2": d2, "delta_3": d3,
        "dL/dw_11": d1 * h1, "dL/dw_12": d2 * h1, "dL/dw_13": d3 * h1,
        "dL/dw_21": d1 * h2, "dL/dw_22": d2 * h2, "dL/dw_23": d3 * h2,
        "dL/db_1": d1, "dL/db_2": d2, "dL/db_3": d3,
    }  # fmt: skip

    # The hidden layer.
    dL_dh1 = v11 * d1 + v12 * d2 + v13 * d3
    dL_dh2 = v21 * d1 + v22 * d2 + v23 * d3
    t1, t2 = h1 * (1 - h1), h2 * (1 - h2)
    e1, e2 = dL_dh1 * t1, dL_dh2 * t2
    hidden = {
        "dL/da_1": dL_dh1, "dL/da_2": dL_dh2,
        "da_1/dz_1": t1, "da_2/dz_2": t2,
        "delta_1": e1, "delta_2": e2,
        "dL/dw_11": e1 * x1, "dL/dw_12": e2 * x1, "dL/dw_21": e1 * x2, "dL/dw_22": e2 * x2,
        "dL/db_1": e1, "dL/db_2": e2,
    }  # fmt: skip
    return [
        ("Layer 1 (hidden)", {"z_1": z1, "z_2": z2, "a_1": h1, "a_2": h2}),
        ("Layer 2 (output)", {"z_1": u1, "z_2": u2, "z_3": u3, "a_1": a1, "a_2": a2, "a_3": a3}),
        ("Loss", {"L": loss}),
        ("Layer 2 (output)", output),
        ("Layer 1 (hidden)", hidden),
        ("Input", {"dL/dx_1": w11 * e1 + w12 * e2, "dL/dx_2": w21 * e1 + w22 * e2}),
    ]


def printed(text):
    """Sections as (heading, {left side: number on the right end})."""
    sections = []
    for line in text.splitlines():
        if re.match(r"(Layer \d|Loss|Input)", line):
            sections.append((line, {}))
        elif sections and re.match(r"  \S+ += ", line):
            left = line.split()[0]
            sections[-1][1][left] = line
        elif sections and line.startswith("   ") and sections[-1][1]:
            sections[-1][1][left] += line  # an equation that goes on
    number = re.compile(r"= (-?[\d.]+(?:e-?\d+)?)$")
    return [(heading, {left: float(number.search(line)[1]) for left, line in lines.items() if number.search(line)})
            for heading, lines in sections]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_seed_example_prints_what_hand_calculation_gives(dtype):
    sections = printed(str(seed_example(dtype)))
    assert len(sections) == len(by_hand())
    for (heading, numbers), (expected_heading, expected) in zip(sections, by_hand(), strict=True):
        assert heading.startswith(expected_heading)
        assert set(numbers) == set(expected), heading
        for name, value in expected.items():
            assert numbers[name] == pytest.approx(value, rel=6e-5), (heading, name)


def test_the_seed_example_has_the_same_numbers_as_arrays():
    trace = seed_example()
    hidden, output = trace
    of = dict(by_hand()[3][1])
    np.testing.assert_allclose(output.delta[0], [of["delta_1"], of["delta_2"], of["delta_3"]], rtol=1e-12)
    np.testing.assert_allclose(output.dL_dW[1], [of["dL/dw_21"], of["dL/dw_22"], of["dL/dw_23"]], rtol=1e-12)
    of = dict(by_hand()[4][1])
    np.testing.assert_allclose(hidden.delta[0], [of["delta_1"], of["delta_2"]], rtol=1e-12)
    np.testing.assert_allclose(hidden.dL_da[0], [of["dL/da_1"], of["dL/da_2"]], rtol=1e-12)
    np.testing.assert_allclose(hidden.da_dz[0], [of["da_1/dz_1"], of["da_2/dz_2"]], rtol=1e-12)
    np.testing.assert_allclose(hidden.dL_db, hidden.delta[0], rtol=1e-12)
    np.testing.assert_allclose(hidden.grad_x[0], list(by_hand()[5][1].values()), rtol=1e-12)
    assert trace.value == pytest.approx(by_hand()[2][1]["L"], rel=1e-12)
    assert (trace[0].paths, trace[1].paths) == (("0", "1"), ("2", "3"))


def test_the_numbers_on_a_line_make_the_number_on_its_right():
    """What stands between the signs of equality can be typed into a calculator."""
    text = re.sub(r"\n {3,}=", " =", str(seed_example()))
    checked = 0
    for line in text.splitlines():
        sides = [side.strip() for side in line.split(" = ")]
        if len(sides) > 2 and re.fullmatch(r"[-+*/().\de ]+", sides[-2]):
            assert eval(sides[-2]) == pytest.approx(float(sides[-1]), rel=2e-3, abs=2e-6), line
            checked += 1
    assert checked > 30


# --------------------------------------------------------------------------------------------------- every layer


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("example", LAYERS)
def test_every_gradient_of_every_layer_agrees_with_finite_differences(example, training):
    model, x, y = drawn(example)
    trace = nn.trace(model, x, y, "mse", training=training)
    check = trace.check(most=12)
    assert check.ok, str(check)
    looked_at = sum(len(item.places) for item in check.arrays)
    assert looked_at > 0
    assert sum(int(item.kinks.sum()) for item in check.arrays) <= looked_at // 4


def between_kinks():
    """L = (relu(x - c) - relu(-x - c) + 0.5)^2 at x = 0: its slope is 0 there, and 1 beyond c on both sides."""
    model = nn.Sequential([nn.Linear(2), nn.ReLU(), nn.Linear(1)]).build((1,), dtype="float64")
    parameters = model.parameters()
    parameters["0.weight"][:], parameters["0.bias"][:] = [[1.0, -1.0]], -5e-6
    parameters["2.weight"][:], parameters["2.bias"][:] = [[1.0], [-1.0]], 0.0
    return nn.trace(model, [0.0], [-0.5], "mse")


def test_kinks_on_both_sides_of_a_number_are_no_wrong_gradient():
    check = between_kinks().check()
    assert check.ok, str(check)
    (of_input,) = (item for item in check.arrays if item.layer == 0)
    assert of_input.kinks.all() and of_input.difference == pytest.approx([0.5], abs=1e-4)
    assert "at a kink, or close beside one" in str(check)


def test_a_gradient_that_is_wrong_stays_wrong_beside_kinks(monkeypatch):
    backward = Replay.backward
    monkeypatch.setattr(Replay, "backward", lambda self: backward(self) + 1e-4)
    check = between_kinks().check()
    assert not check.ok and "WRONG" in str(check)


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "all"])
def test_how_many_numbers_are_looked_at_is_checked(most):
    with pytest.raises(nn.ParameterError, match=r"Trace\.check: expected most to be an integer of at least 1, got"):
        between_kinks().check(most)


@pytest.mark.parametrize("example", LAYERS)
def test_every_layer_is_printed_and_typeset(example):
    model, x, y = drawn(example, dtype="float32")
    trace = nn.trace(model, x, y)
    assert "FORWARD" in str(trace)
    assert str(trace).isascii()
    ElementTree.fromstring(derivation(trace, 0).html().replace("&minus;", "-"))
    latex = trace._repr_latex_()
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")


@pytest.mark.parametrize("example", LAYERS)
def test_the_numbers_of_every_layer_are_by_rows(example):
    model, x, y = drawn(example)
    for layer in nn.trace(model, x, y, "mse"):
        read = [*fields(layer.x).values(), *fields(layer.grad_x).values()]  # several, of a layer of several values
        known = [*read, layer.z, layer.a, layer.da_dz, layer.dL_da, layer.delta]
        assert {len(array) for array in known if array is not None} == {len(x)}, layer


def test_a_row_of_a_sequence_is_shown_with_all_its_steps():
    model = nn.Sequential([nn.TimeDistributed(nn.Linear(3)), nn.Flatten(), nn.Linear(1)]).build((4, 2), random_state=0)
    x = np.arange(16.0).reshape(2, 4, 2)
    trace = nn.trace(model, x, [[0.0], [1.0]], "mse")
    np.testing.assert_array_equal(trace[0].x, x)
    first, last = (trace[0].a[row] for row in (0, 1))
    assert f"from {first.min():.4g} to {first.max():.4g}" in trace.text(row=0)
    assert f"from {last.min():.4g} to {last.max():.4g}" in trace.text(row=1)


@pytest.mark.parametrize("example", LAYERS)
def test_tracing_leaves_the_model_as_it_was(example):
    model, x, y = drawn(example)
    again = model.copy()
    network = network_of(model)
    before = [network.vector.copy(), network.gradient.copy(), *(state.copy() for state in model.states().values())]
    nn.trace(model, x, y, training=True).check(most=2)
    after = [network.vector, network.gradient, *model.states().values()]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model.forward(x, training=True), again.forward(x, training=True))


def test_a_trace_in_training_draws_what_the_next_training_pass_draws():
    model = nn.Sequential([nn.Linear(50), nn.Dropout(0.5)]).build((3,), random_state=0)
    x = np.ones((4, 3))
    trace = nn.trace(model, x, np.zeros((4, 50)), training=True)
    np.testing.assert_array_equal(trace.out, model.forward(x, training=True))


def test_gradients_are_those_of_backward():
    model = nn.Sequential([nn.Linear(7), nn.Tanh(), nn.Linear(4)]).build((5,), random_state=0)
    x, y = np.random.default_rng(0).normal(size=(6, 5)), np.arange(6) % 4
    trace = nn.trace(model, x, y, "cross_entropy")
    loss, grad = nn.CrossEntropyLoss()(model.forward(x), y)
    model.backward(grad)
    assert trace.value == pytest.approx(float(loss))
    np.testing.assert_array_equal(trace[0].dL_dW, model.gradients()["0.weight"])
    np.testing.assert_array_equal(trace[1].dL_db, model.gradients()["2.bias"])
    np.testing.assert_allclose(trace[1].delta, grad, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- planted faults


def wrong_arrays(layers):
    model = nn.Sequential(layers).build((3,), random_state=0)
    check = nn.trace(model, np.random.default_rng(1).uniform(1, 2, (4, 3)), np.zeros((4, 2))).check()
    assert not check.ok
    assert "WRONG" in str(check)
    assert "are wrong" in str(check)
    return {(item.layer, item.name) for item in check.arrays if item.wrong.any()}


def test_a_wrong_derivative_is_found_where_it_is():
    """What comes after it is right, what comes before gets a wrong gradient from it."""
    half = changed(nn.Tanh, "backward", "grad_out *", "0.5 * grad_out *")()
    wrong = wrong_arrays([nn.Linear(3), half, nn.Linear(2)])
    assert wrong == {(1, "delta"), (1, "dL/dweight"), (1, "dL/dbias"), (0, "dL/dx")}


def test_a_wrong_parameter_gradient_is_found_alone():
    last_row_counts = changed(Scale, "backward", "grad_scale[j] +=", "grad_scale[j] =")()
    assert wrong_arrays([nn.Linear(3), last_row_counts, nn.Linear(2)]) == {(2, "dL/dscale")}


def test_a_kink_is_no_fault():
    model = nn.Sequential([nn.Linear(2, bias=False), nn.ReLU(), nn.Linear(1)]).build((2,), random_state=0)
    check = nn.trace(model, [[0.0, 0.0]], [[1.0]]).check()
    assert check.ok
    assert {item.name: int(item.kinks.sum()) for item in check.arrays if item.kinks.any()} == {"delta": 2, "dL/dx": 2}
    assert "kink" in str(check)


# ------------------------------------------------------------------------------------------------------ formulas


def scalar_functions():
    for part in [*nn.registry.activations.values(), *nn.registry.losses.values()]:
        for example in part.examples():
            if getattr(part, "elementwise", False) or (issubclass(part, nn.Loss) and not part.rowwise):
                yield example.part


@pytest.mark.parametrize("part", list(scalar_functions()))
def test_the_formula_read_from_a_function_computes_the_same(part):
    import nnkit.kernels.math as functions

    values = {"x": 0.3, "prediction": 0.3, "target": 1.0, "grad_out": 0.7, "out": 0.4}
    values |= {name: value for name, value in vars(part).items() if isinstance(value, bool | int | float)}
    values |= {name: None if getattr(part, name) is None else 1.5 for name in getattr(part, "per_output", ())}
    names = {name: getattr(functions, name) for name in dir(functions)} | {"abs": abs, "max": max, "min": min}
    for function in (type(part).forward, type(part).backward):
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        known = {name: value if isinstance(value, bool) or value is None else Symbol(name, value=value)
                 for name, value in values.items() if name in arguments}  # fmt: skip
        expression = formula(function, **known)
        assert expression is not None
        numbers = ast.fix_missing_locations(ast.Expression(_rewritten(expression, _number)))
        plain = {name: getattr(item, "py_func", item) for name, item in names.items()}
        value = eval(compile(numbers, "formula", "eval"), plain)
        assert value == pytest.approx(function(*(values[name] for name in arguments)), rel=1e-12)
        for notation in (TEXT, LATEX, MATHML):
            assert notation(expression)


def test_parentheses():
    a, b = Symbol("a", 1, value=-2.0), Symbol("b", value=3.0)

    def back(a, b):
        return (a + b) * a - (a - b) / (a * b) - (-b) ** 2.0

    back.source = "def back(a, b):\n    return (a + b) * a - (a - b) / (a * b) - (-b) ** 2.0"
    assert TEXT(formula(back, a=a, b=b)) == "(a_1 + b) * a_1 - (a_1 - b) / (a_1 * b) - (-b)**2"
    equation = Equation(Derivative(Symbol("L"), a, value=-0.5), formula(back, a=a, b=b))
    assert equation.sides(TEXT)[2] == "((-2) + 3) * (-2) - ((-2) - 3) / ((-2) * 3) - (-3)**2"
    assert equation.sides(LATEX)[0] == r"\frac{\partial L}{\partial a_{1}}"


def test_what_is_no_formula_is_not_written_as_one():
    def loop(x):
        total = 0.0
        for _ in range(3):
            total += x
        return total

    assert formula(loop, x=Symbol("z")) is None


def test_latex_of_the_seed_example_can_be_set():
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    lines = [line for line in seed_example().latex().splitlines() if " &= " in line]
    assert len(lines) > 40
    for line in lines:
        parser.parse(f"${line.replace('&', '').removesuffix(' ' + chr(92) * 2 + '[4pt]')}$")


def test_large_nets_are_abridged():
    model = nn.Sequential([nn.Linear(300), nn.ReLU(), nn.Linear(10)]).build((64,), random_state=0)
    text = str(nn.trace(model, np.ones((5, 64)), np.arange(5), "cross_entropy"))
    assert len(text.splitlines()) < 120
    assert max(map(len, text.splitlines())) <= 200
    assert "w_64,1 * x_64" in text
    assert "those of row 1" in text


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((nn.Sequential([nn.Linear(2)]), [1.0], [1.0]), nn.NotBuiltError, "build"),
        (("model", [1.0], [1.0]), nn.ParameterError, "expected a Sequential"),
        ((nn.Sequential([nn.Linear(2)]).build((3,)), [1.0], [1.0, 2.0]), nn.ShapeError, "3"),
        ((nn.Sequential([nn.Linear(2)]).build((3,)), [1.0, 2.0, 3.0], [1.0]), nn.ShapeError, "shape"),
        ((nn.Sequential([nn.Linear(2)]).build((3,)), [["a", "b", "c"]], [[1.0, 1.0]]), nn.DataError, "numbers"),
        ((nn.Sequential([nn.Linear(2)]).build((3,)), np.empty((0, 3)), np.empty((0, 2))), nn.DataError, "row"),
    ],
    ids=["not built", "no model", "x", "y", "text", "empty"],
)
def test_wrong_input_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.trace(*arguments)


@pytest.mark.parametrize("row", [4, -5, 1.0, True])
def test_a_row_that_is_not_there_is_refused(row):
    model = nn.Sequential([nn.Linear(2)]).build((3,))
    trace = nn.trace(model, np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(nn.ParameterError, match="4 rows"):
        trace.text(row)
    with pytest.raises(nn.ParameterError, match="4 rows"):
        trace.plot(row)


# ------------------------------------------------------------------------------------------------------- pictures


def nets():
    lstm = nn.Sequential([nn.Embedding(20, 8), nn.LSTM(12), nn.Linear(5)]).build((7,), random_state=0)
    images = nn.Sequential([nn.Conv2d(4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3)])
    deep = nn.Sequential([nn.Linear(4), nn.Sigmoid()] * 20).build((4,), random_state=0)
    return {
        "seed": (seed_example().model, [[0.05, 0.1]]),
        "sequence": (lstm, np.arange(14).reshape(2, 7)),
        "images": (images.build((1, 8, 8), random_state=0), np.ones((2, 1, 8, 8))),
        "deep": (deep, np.ones((1, 4))),
        "one": (nn.Sequential([nn.Linear(1)]).build((1,)), np.ones((1, 1))),
    }


@pytest.mark.parametrize("name", list(nets()))
def test_the_picture_has_all_layers_and_nothing_is_cut_off(name, figures):
    model, x = nets()[name]
    trace = nn.trace(model, x, np.ones((len(x), *model.out_shape)))
    forward, backward = trace.plot()
    assert len(forward.figure.axes) == 4  # two panels and their colour bars
    for ax, symbol in ((forward, "a"), (backward, "delta")):
        labels = [text.get_text() for text in ax.texts]
        assert any(label.startswith(f"{symbol}({len(trace)})") for label in labels)
    figures.inside(forward.figure)


def test_the_picture_can_go_into_axes_that_are_there(figures):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2)
    assert list(seed_example().plot(ax=axes)) == list(axes)
    assert len(figure.axes) == 4
    assert [*seed_example().plot(ax=plt.subplots()[1])] == [plt.gcf().axes[0]]


@pytest.mark.parametrize("draw", [
    lambda ax: seed_example().plot(ax=ax), lambda ax: seed_example().model.plot(ax=ax),
    lambda ax: nn.plot_decision(seed_example().model, [[0.0, 1.0]], [[1.0, 0.0, 0.0]], ax=ax, loss="bce"),
], ids=["trace", "model", "decision"])  # fmt: skip
@pytest.mark.parametrize("ax", [3, "here", []], ids=["number", "text", "none"])
def test_what_is_no_axes_is_refused(figures, draw, ax):
    with pytest.raises(nn.ParameterError, match="expected ax to be matplotlib's Axes, or several, got"):
        draw(ax)


def test_delta_that_vanishes_is_still_to_be_seen(figures):
    model = nn.Sequential([nn.Linear(6), nn.Sigmoid()] * 8 + [nn.Linear(3)]).build((6,), random_state=0)
    trace = nn.trace(model, np.linspace(-1, 1, 6), 1, "cross_entropy")
    forward, backward = trace.plot()
    figures.inside(forward.figure)
    assert np.abs(trace[0].delta).max() < 1e-5 * np.abs(trace[-1].delta).max()
    of_first = [patch.get_facecolor()[:3] for patch in backward.patches[6:12]]
    assert min(map(min, of_first)) < 0.92, of_first  # none of them white alone
    bar = forward.figure.axes[-1]
    ticks = bar.transData.transform([(0, tick) for tick in bar.get_yticks()])[:, 1]
    assert np.diff(np.sort(ticks)).min() > 0.04 * bar.get_window_extent().height  # labels do not overlap


def test_one_row_may_come_without_a_batch():
    model = nn.Sequential([nn.Linear(3)]).build((2,), random_state=0)
    whole = nn.trace(model, [[1.0, 2.0]], [1], "cross_entropy")
    for y in (1, [1], np.int64(1)):
        assert nn.trace(model, [1.0, 2.0], y, "cross_entropy").value == whole.value
    with pytest.raises(nn.DataError, match="x: expected a rectangular array"):
        nn.trace(model, [[1.0, 2.0], [3.0]], [0, 1], "cross_entropy")
    with pytest.raises(nn.DataError, match="y: expected numbers"):
        nn.trace(model, [1.0, 2.0], "one", "cross_entropy")


@pytest.mark.parametrize(("layers", "left_out"), [(24, 0), (25, 1), (300, 276)])
def test_of_very_many_layers_the_first_and_the_last_are_printed(layers, left_out):
    model = nn.Sequential([nn.Linear(2), nn.Tanh()] * layers).build((2,), random_state=0)
    trace = nn.trace(model, [0.0, 1.0], [0.0, 1.0])
    headings = [line for line in str(trace).splitlines() if line.startswith(("Layer ", "..."))]
    assert len(headings) == 2 * (layers - left_out + (left_out > 0))
    assert headings.count(f"... {left_out} layers more ...") == 2 * (left_out > 0)
    assert headings[0].startswith("Layer 1 (hidden)") and headings[-1] == headings[0]


def test_a_large_net_is_not_spelt_out_in_the_title():
    model = nn.Sequential([nn.Linear(2), nn.Sigmoid()] * 10).build((2,), random_state=0)
    assert str(nn.trace(model, [0.0, 1.0], [0.0, 1.0])).startswith("Sequential of 20 layers, 1 row, MSELoss: L = ")
