"""The page of a trace, in a browser: every number is the trace's, and what is computed in the page is what nnkit computes."""

import json
from functools import partial
from importlib.resources import files

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.part import kernel_names
from nnkit.errors import KernelError
from nnkit.inspect.page.content import GIVEN, Sheet
from nnkit.inspect.page.javascript import JavaScript
from nnkit.inspect.page.lessons import lessons
from nnkit.inspect.page.page import written
from tests.browser import FOUND, Browser

EXACT = {"rtol": 1e-9, "atol": 1e-9}
RANDOM = np.random.default_rng(7)
in_a_browser = pytest.mark.skipif(FOUND is None, reason="there is no Chromium")

# All numbers of the net that is shown, and those of its trace.
STATE = """(() => {
  const {state} = page.view;
  const list = numbers => numbers ? Array.from(numbers, item => typeof item === "number" ? item : list(item)) : null;
  return {L: state.L, rows: state.rows.map(row => ({dL_dx: list(row.dL_dx), layers: row.layers.map(layer =>
    Object.fromEntries(Object.entries(layer).map(([name, numbers]) => [name, list(numbers)])))})),
    gradients: state.gradients.map(({weight, bias}) => ({weight: list(weight), bias: list(bias)}))};
})()"""

# Of every step and line: the number on the left, what the formula on the right comes to, and whether a difference is off.
LINES = """page.steps.flatMap((step, at) => {
  const isComplete = tree => {  // no sum is abridged, and functions are those that JavaScript has
    let complete = true;
    rewritten(tree, node => { complete &&= !node?.dots && (!node?.call || node.call in Math); });
    return complete;
  };
  go(at);
  const apart = document.querySelectorAll(".check.apart").length;
  const number = item => valueOf(page.view, item);
  return step.lines.map(({left, right}) => ({step: step.heading, value: number(left), apart,
    formula: right === null || !isComplete(right) ? null : evaluated(inNumbers(right, number)),
    said: find("sentence").textContent, shown: find("lines").querySelectorAll("math").length}));
})"""


class Square(nn.Activation):
    """Of one's own: s(x) = x |x|, with a helper and a branch."""

    formulas = None

    def __init__(self, slope=0.5):
        self.slope = slope

    @staticmethod
    def forward(x, slope):
        size = abs(x)
        if size > 1.0:
            return x * size * slope
        return x * slope

    @staticmethod
    def backward(grad_out, x, slope):
        return grad_out * slope * (2.0 * abs(x) if abs(x) > 1.0 else 1.0)


class Cubed(nn.Loss):
    """Of one's own: l = |p - t|**3 / 3."""

    @staticmethod
    def forward(prediction, target):
        return abs(prediction - target) ** 3.0 / 3.0

    @staticmethod
    def backward(prediction, target):
        return (prediction - target) * abs(prediction - target)


def net(*layers, inputs=2):
    return nn.Sequential(list(layers)).build((inputs,), random_state=0, dtype="float64")


def drawn(*shape):
    return RANDOM.normal(size=shape)


NETS = {
    "sigmoid": lambda: (net(nn.Linear(2), nn.Sigmoid(), nn.Linear(3), nn.Sigmoid()), [0.05, 0.9], [0.0, 1.0, 0.0],
                        "half_squared_error"),
    "rows": lambda: (net(nn.Linear(3), nn.Tanh(), nn.Linear(2)), drawn(3, 2), drawn(3, 2), "mse"),
    "classes": lambda: (net(nn.Linear(4), nn.GELU(), nn.Linear(3)), drawn(4, 2), [0, 2, 1, 1], "cross_entropy"),
    "probabilities": lambda: (net(nn.Linear(3)), drawn(2, 2), [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], "cross_entropy"),
    "smoothed": lambda: (net(nn.Linear(3)), drawn(3, 2), [0, -100, 1],
                         nn.CrossEntropyLoss(label_smoothing=0.1, weight=[1.0, 2.0, 0.5])),
    "softmax": lambda: (net(nn.Linear(3), nn.ReLU(), nn.Linear(3), nn.Softmax()), drawn(2, 2), np.eye(3)[:2], "mse"),
    "log_softmax": lambda: (net(nn.Linear(3), nn.LogSoftmax()), drawn(2, 2), [1, 2], "nll"),
    "no bias": lambda: (net(nn.Linear(2, bias=False), nn.ELU(alpha=0.7), nn.Flatten(), nn.Linear(1)), [[1.0, -2.0]],
                        [[0.5]], nn.HuberLoss(delta=0.3)),
    "function first": lambda: (net(nn.Tanh(), nn.Linear(2), nn.Softplus()), [0.3, -0.4], [1.0, 0.0], "mae"),
    "own": lambda: (net(nn.Linear(2), Square(), nn.Linear(2), Square(slope=2.0)), [[1.5, -2.5]], [[0.1, 0.2]],
                    Cubed(reduction="sum")),
    "weighted": lambda: (net(nn.Linear(2)), drawn(2, 2), [[0.0, 1.0], [1.0, 1.0]],
                         nn.BCEWithLogitsLoss(pos_weight=[2.0, 3.0])),
    "two outputs a target": lambda: (net(nn.Linear(4)), drawn(2, 2), drawn(2, 2), "gaussian_nll"),
    **{f"rows of {key}": partial(lambda cls: (net(nn.Linear(4), cls()), drawn(2, 2), drawn(2, 4), "mse"), cls)
       for key, cls in nn.registry.activations.items() if cls.formulas is not None and len(cls.examples()[0].in_shape) < 3},
    **{f"loss {key}": partial(lambda loss: (net(nn.Linear(3)), drawn(3, 2), [1, 0, 2], loss), key)
       for key, cls in nn.registry.losses.items() if cls.examples()[0].part.formulas is not None},
    "large": lambda: (net(nn.Linear(9), nn.ReLU(), nn.Linear(12)), drawn(2, 2), [3, 7], "cross_entropy"),
}  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture
def shown(browser, tmp_path):
    """Show a page, and see that nothing in it fails or asks for the network."""

    def show(page):
        file = tmp_path / "page.html"
        file.write_text(page, "utf-8")
        browser.open(file)
        assert browser.errors == []
        return browser

    yield show
    assert browser.errors == []


def assert_is_trace(state, trace):
    """Everything in the page is as in the trace."""
    assert state["L"] == pytest.approx(trace.value, rel=1e-9)
    for layer, gradients in zip(trace.layers, state["gradients"], strict=True):
        rows = [row["layers"][layer.number - 1] for row in state["rows"]]
        for name in ("x", "z", "a", "dL_da", "delta", "da_dz"):
            expected = getattr(layer, name)
            if not (name == "da_dz" and layer.is_mixing):
                expected = expected.reshape(len(expected), -1)
            np.testing.assert_allclose([row[name] for row in rows], expected, **EXACT, err_msg=f"{name} of {layer}")
        for name, array in layer.gradients.items():
            np.testing.assert_allclose(gradients[name], array, **EXACT)
    np.testing.assert_allclose([row["dL_dx"] for row in state["rows"]], trace.inputs[0].grad_x, **EXACT)


# --------------------------------------------------------------------------------------------------------- the numbers


@in_a_browser
@pytest.mark.parametrize("name", NETS)
def test_every_number_is_the_trace_s(name, shown):
    model, x, y, loss = NETS[name]()
    trace = nn.trace(model, x, y, loss)
    page = shown(trace.to_html())
    assert page.evaluate("page.view.net.computes")
    assert_is_trace(page.evaluate(STATE), trace)
    lines = page.evaluate(LINES)
    for line in lines:
        assert line["formula"] is None or line["formula"] == pytest.approx(line["value"], rel=1e-9, abs=1e-9), line
        assert line["apart"] == 0, line
        assert line["shown"] > 0 and line["said"].startswith("Step ") and "undefined" not in line["said"]
    stages = set(page.evaluate("page.steps.map(step => step.stage)"))
    assert {"z", "a", "L", "dL_da", "delta", "dL_dw", "update"} <= stages
    assert set(page.evaluate("page.steps.map(step => step.layer)")) >= set(range(1, len(trace) + 1))


@in_a_browser
@pytest.mark.parametrize("name", ["rows", "classes", "softmax", "own"])
def test_what_is_changed_is_computed_as_a_new_trace_does(name, shown):
    model, x, y, loss = NETS[name]()
    page = shown(nn.trace(model, x, y, loss).to_html(row=-1))
    x, y = np.array(x), np.array(y)
    changes = {"weight-1-2-1": 0.77, "bias-1-2": -0.25, "input-2": 1.25}
    for place, value in changes.items():
        page.evaluate(f"setNumber({place!r}, {value})")
    parameters = model.parameters()
    parameters["0.weight"][1, 0], parameters["0.bias"][1], x[-1, 1] = changes.values()
    page.evaluate("setNumber('target-2', 0.9)")
    if y.ndim > 1:
        y[-1, 1] = 0.9
    assert_is_trace(page.evaluate(STATE), nn.trace(model, x, y, loss))

    page.evaluate("setLearningRate(0.05); train(2)")
    for _ in range(2):
        trace = nn.trace(model, x, y, loss)
        for layer in trace.layers:
            for of, gradient in layer.gradients.items():
                parameters[f"{layer.home}.{of}"][...] -= 0.05 * gradient
    assert_is_trace(page.evaluate(STATE), nn.trace(model, x, y, loss))
    assert len(page.evaluate("page.losses")) == 3
    page.evaluate("find('reset').click()")
    model, *batch = NETS["own"]() if name == "own" else (None,)
    if model is not None:  # its rows are no random ones
        assert_is_trace(page.evaluate(STATE), nn.trace(model, *batch))


KERNELS = [pytest.param(cls, id=f"{kind}-{key}") for kind, registry in
           (("activation", nn.registry.activations), ("loss", nn.registry.losses))
           for key, cls in registry.items()]  # fmt: skip


def translated(part, kernel):
    """A kernel in JavaScript; None where it is more than a page translates."""
    file, numbers = JavaScript(), {}
    try:
        numbers = {name: getattr(part, name) for name in kernel_names(kernel) if name not in GIVEN}
        name = file.function(kernel, numbers)
    except (KernelError, AttributeError):
        return None
    return file, name, [item for item in kernel_names(kernel) if item not in numbers], numbers


def of_a_number(random):
    """What kernels of single numbers are given."""
    ranges = {"x": (-2.3, 2.9), "out": (0.1, 0.9), "grad_out": (-1.0, 1.0), "prediction": (0.05, 0.95), "target": (0.0, 1.0)}
    return {name: float(random.uniform(low, high)) for name, (low, high) in ranges.items()}


def of_a_row(part, random):
    """What kernels of rows are given, an activation's within a batch of one; they write some of it."""
    if isinstance(part, nn.Activation):
        x = random.uniform(-2.0, 2.0, (1, 5))
        return {"x": x, "out": np.abs(x) / np.abs(x).sum(), "grad_out": random.normal(size=x.shape), "grad_x": np.zeros_like(x)}
    shape = type(part).examples()[0].in_shape
    prediction = random.uniform(part.prediction_low, part.prediction_high, shape)
    target, label = np.asarray(part.example_target(random, 1, shape)[0]), 0
    if part.classes and target.ndim == 0:
        label, target = int(target), np.ones(1) if part.reads_labels else np.eye(shape[-1])[int(target)]
    target = np.atleast_1d(target).astype(float)
    return {"prediction": prediction, "target": target, "label": label, "grad_prediction": np.zeros(shape)}


def listed(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


@in_a_browser
@pytest.mark.parametrize("cls", KERNELS)
def test_kernels_in_javascript_compute_what_they_do_in_python(cls, shown):
    """Of all parts, those of plugins, too, that are functions of numbers or of flat rows."""
    part, random = cls.examples()[0].part, np.random.default_rng(5)
    scalar = getattr(cls, "elementwise", not getattr(cls, "rowwise", True))
    scripts = []
    for kernel in (cls.forward, cls.backward):
        if (found := translated(part, kernel)) is None:
            pytest.skip(f"{cls.__name__} is shown with the numbers of the trace")
        file, name, arguments, numbers = found
        for _ in range(20 if scalar else 3):
            everything = of_a_number(random) if scalar else of_a_row(part, random)
            given = {item: everything[item] for item in arguments}
            before = json.dumps([listed(item) for item in given.values()])
            returned = kernel(**given, **numbers)
            after = [listed(item) for item in given.values()]
            scripts.append(f"(() => {{ {file.text}; const given = {before}, returned = {name}(...given);"
                           f" return [returned ?? null, ...given].flat(Infinity); }})()")  # fmt: skip
            scripts.append([None if returned is None else float(returned), *np.concatenate([np.ravel(item) for item in after])])
    page = shown("<p></p>")
    for script, expected in zip(scripts[::2], scripts[1::2], strict=True):
        found = page.evaluate(script)
        assert (found[0] is None) == (expected[0] is None)
        np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=1e-12, atol=1e-14)


def test_most_parts_are_translated():
    classes = [cls for [cls] in (param.values for param in KERNELS)]
    parts = [(cls.examples()[0].part, kernel) for cls in classes for kernel in (cls.forward, cls.backward)]
    missing = [f"{type(part).__name__}.{kernel.__name__}" for part, kernel in parts if translated(part, kernel) is None]
    assert len(missing) < len(parts) / 6, missing


REFUSED = ["x[1:3]", "x[-1]", "[1, 2]", "x @ x", "open(x)", "x.reshape(-1)", "x << 2", "'a'", "np.random"]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_arithmetic_is_refused(text):
    def kernel(x):
        return x

    kernel.source = f"def kernel(x):\n    return {text}"
    with pytest.raises(KernelError, match="is not translated to JavaScript"):
        JavaScript().function(kernel)


# ----------------------------------------------------------------------------------------------- what cannot be computed


@in_a_browser
def test_other_nets_are_shown_with_the_numbers_of_the_trace(shown):
    layers = [nn.Conv2d(2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3), nn.Softmax()]
    model = nn.Sequential(layers).build((1, 5, 5), random_state=0, dtype="float64")
    trace = nn.trace(model, RANDOM.normal(size=(2, 1, 5, 5)), np.eye(3)[:2], "mse")
    page = shown(trace.to_html(row=1))
    assert not page.evaluate("page.view.net.computes")
    assert "Conv2d" in page.evaluate("find('why').textContent") and not page.evaluate("find('why').hidden")
    assert page.evaluate("find('training').hidden && find('changes').hidden")
    state = page.evaluate(STATE)
    assert state["L"] == pytest.approx(trace.value)
    for layer in trace.layers:
        rows = [row["layers"][layer.number - 1] for row in state["rows"]]
        for name in ("z", "a", "delta", "dL_da"):
            np.testing.assert_allclose([row[name] for row in rows], getattr(layer, name).reshape(2, -1), **EXACT)
    np.testing.assert_allclose(state["gradients"][2]["weight"], trace[2].dL_dW, **EXACT)
    for line in page.evaluate(LINES):
        assert line["formula"] is None or line["formula"] == pytest.approx(line["value"], rel=1e-9, abs=1e-9), line
    page.evaluate("go(page.steps.findIndex(step => step.layer === 1 && step.stage === 'delta'))")
    assert page.evaluate("find('lines').querySelectorAll('tr').length") > 3
    assert "wrong" not in page.evaluate("find('lines').textContent")


class Doubled(nn.PythonLayer):
    """Plain Python."""

    def forward(self, x):
        return 2.0 * x

    def backward(self, grad_out):
        return 2.0 * grad_out


class Quartic(nn.PythonLoss):
    """Plain Python."""

    def forward(self, prediction, target):
        return (prediction - target) ** 4

    def backward(self, prediction, target):
        return 4.0 * (prediction - target) ** 3


RECORDED = {
    "python layer": lambda: (net(nn.Linear(2), Doubled(), nn.Linear(1)), [[1.0, 2.0]], [[0.5]], "mse"),
    "python loss": lambda: (net(nn.Linear(2), nn.Sigmoid()), RANDOM.normal(size=(3, 2)), RANDOM.normal(size=(3, 2)), Quartic()),
    "learnt slope": lambda: (net(nn.Linear(2), nn.PReLU()), [[1.0, 2.0]], [[0.5, 0.1]], "mse"),
    "branches": lambda: (nn.Sequential([nn.Linear(2), nn.Residual([nn.Linear(2), nn.ReLU()])]).build((2,), random_state=0),
                         [[1.0, 2.0]], [[0.5, 0.1]], "mse"),
    "sequence": lambda: (nn.Sequential([nn.GRU(3, return_sequences=True), nn.Linear(2)]).build((4, 2), random_state=0),
                         RANDOM.normal(size=(2, 4, 2)), RANDOM.normal(size=(2, 4, 2)), "mse"),
}  # fmt: skip


@in_a_browser
@pytest.mark.parametrize("name", RECORDED)
def test_parts_that_are_not_translated_say_so(name, shown):
    model, x, y, loss = RECORDED[name]()
    trace = nn.trace(model, x, y, loss)
    page = shown(trace.to_html())
    assert not page.evaluate("page.view.net.computes")
    assert len(page.evaluate("find('why').textContent")) > 60
    for line in page.evaluate(LINES):
        assert np.isfinite(line["value"]) and line["shown"]
    assert page.evaluate(STATE)["L"] == pytest.approx(trace.value, rel=1e-6)


@in_a_browser
def test_several_inputs_and_outputs_are_shown(shown):
    inputs = nn.Inputs(left=nn.Linear(2), right=[nn.Linear(2), "tanh"])
    model = nn.Sequential([inputs, nn.Linear(3), nn.Heads(price=nn.Linear(1), kind=nn.Linear(2))])
    model.build({"left": (2,), "right": (3,)}, random_state=0)
    x = {"left": RANDOM.normal(size=(2, 2)), "right": RANDOM.normal(size=(2, 3))}
    trace = nn.trace(model, x, {"price": [[1.0], [2.0]], "kind": [0, 1]}, {"price": "mse", "kind": "cross_entropy"})
    page = shown(trace.to_html())
    assert "several inputs or outputs" in page.evaluate("find('why').textContent")
    assert page.evaluate(LINES)


# ----------------------------------------------------------------------------------------------------------- the lessons


@pytest.fixture(scope="module")
def taught():
    return {sheet.name: place for place, sheet in enumerate(lessons())}


@pytest.fixture
def lesson(shown, taught):
    def show(name):
        page = shown(written(lessons()))
        page.evaluate(f"open({taught[name]})")
        return page

    return show


@in_a_browser
@pytest.mark.parametrize("sheet", lessons(), ids=lambda sheet: sheet.name)
def test_lessons_are_what_nnkit_computes(sheet: Sheet, lesson):
    layers = [part for stage in sheet.stages for part in (nn.Linear(len(stage.bias)), stage.activation) if part is not None]
    model = net(*layers, inputs=sheet.x.shape[1])
    for array, given in zip(model.parameters().values(), (a for s in sheet.stages for a in (s.weight, s.bias)), strict=True):
        array[...] = given
    page = lesson(sheet.name)
    assert_is_trace(page.evaluate(STATE), nn.trace(model, sheet.x, sheet.y, sheet.loss))
    stage, layer = sheet.look or ("z", 1)
    assert page.evaluate("[page.steps[page.position].stage, page.steps[page.position].layer]") == [stage, layer]
    assert all(line["apart"] == 0 for line in page.evaluate(LINES))


@in_a_browser
def test_the_textbook_s_numbers(lesson):
    state = lesson("The textbook's example").evaluate(STATE)
    assert state["L"] == pytest.approx(0.19, abs=1e-12)
    np.testing.assert_allclose(state["rows"][0]["layers"][1]["a"], [0.3, 0.5, 0.2], atol=1e-12)
    np.testing.assert_allclose(state["rows"][0]["layers"][1]["dL_da"], [0.3, -0.5, 0.2], atol=1e-12)


@in_a_browser
def test_mazur_s_numbers(lesson):
    """As printed in his text, to its digits."""
    page = lesson("Mazur's example")
    assert page.evaluate("page.view.state.L") == pytest.approx(0.298371109, abs=5e-10)
    weights = page.evaluate("(train(1), page.view.net.layers.map(layer => layer.weight.map(row => Array.from(row))))")
    np.testing.assert_allclose(weights[1], [[0.35891648, 0.511301270], [0.408666186, 0.561370121]], atol=1e-8)
    np.testing.assert_allclose(weights[0], [[0.149780716, 0.24975114], [0.19956143, 0.29950229]], atol=1e-8)


@in_a_browser
def test_the_scenes_show_what_they_are_for(lesson):
    slope = "page.view.state.rows[0].layers[0].da_dz[0]"
    page = lesson("A sigmoid saturates")
    assert page.evaluate(slope) < 0.003
    assert page.evaluate(f"(setNumber('bias-1-1', -4), {slope})") == pytest.approx(0.25)

    page = lesson("A ReLU dies")
    first = "page.view.state.gradients[0].weight.map(row => row[0])"
    assert page.evaluate(first) == [0, 0]
    assert page.evaluate(f"(train(50), {first})") == [0, 0]
    assert page.evaluate("page.losses.at(-1) < page.losses[0]")
    assert page.evaluate(f"(setNumber('bias-1-1', 0.5), {first})") != [0, 0]

    page = lesson("Delta vanishes over eight layers")
    sizes = page.evaluate("page.view.state.rows[0].layers.map(({delta}) => Math.max(...delta.map(Math.abs)))")
    assert len(sizes) == 8 and sizes[0] < 1e-4 * sizes[-1]

    page = lesson("The loss falls, or does not")
    for lr, falls in ((0.1, True), (0.38, True), (0.41, False)):
        page.evaluate(f"find('reset').click(), setLearningRate({lr}), train(10)")
        assert page.evaluate("page.losses.at(-1) < page.losses[0]") is falls


# ------------------------------------------------------------------------------------------------------- how it is used


@pytest.fixture
def textbook(shown):
    model, *batch = NETS["sigmoid"]()
    page = shown(nn.trace(model, *batch).to_html())
    page.size(1200, 900)
    return page


@in_a_browser
def test_the_keyboard_does_everything(textbook):
    position = "page.position"
    keys = ("ArrowRight", 39, 1), ("ArrowRight", 39, 2), ("ArrowLeft", 37, 1), ("End", 35, 41), ("Home", 36, 0)
    for key, code, expected in keys:
        textbook.press(key, code)
        assert textbook.evaluate(position) == expected
    textbook.press(" ", 32)
    assert textbook.evaluate("find('play').getAttribute('aria-pressed')") == "true"
    textbook.press(" ", 32)
    textbook.evaluate("document.querySelector('[data-place=weight-2-1-3]').focus()")
    before = textbook.evaluate("page.view.net.layers[1].weight[0][2]")
    textbook.press("ArrowUp", 38)
    assert textbook.evaluate("page.view.net.layers[1].weight[0][2]") == pytest.approx(before + 0.01)
    assert textbook.evaluate("document.activeElement.dataset.place") == "weight-2-1-3"
    assert textbook.evaluate(position) == 0


@in_a_browser
@pytest.mark.parametrize("place", ["weight-1-1-2", "input-2", "target-2", "bias-2-3"])
def test_numbers_are_dragged(place, textbook):
    textbook.evaluate("go(page.steps.length - 1)")
    look = f"(() => {{ const [array, at] = numberAt({place!r}); return [array[at], page.view.state.L]; }})()"
    (before, loss), _ = textbook.evaluate(look), textbook.drag(f"[data-place={place}]", 40)
    after, changed = textbook.evaluate(look)
    assert after == pytest.approx(before + 0.4)
    assert changed != loss


@in_a_browser
def test_places_are_lit_that_the_numbers_come_from(textbook):
    textbook.evaluate("go(page.steps.findIndex(({stage, layer}) => stage === 'dL_da' && layer === 1))")
    lit = """Array.from(document.querySelectorAll("#picture .source"), item =>
      item.dataset.place ?? item.dataset.unit ?? item.dataset.lit)"""
    expected = {f"weight-2-1-{k}" for k in (1, 2, 3)} | {f"unit-2-{k}" for k in (1, 2, 3)}
    assert set(textbook.evaluate(lit)) == expected
    assert set(textbook.evaluate(lit.replace("source", "result"))) == {"unit-1-1"}


@in_a_browser
def test_a_screen_reader_is_told_each_step(textbook):
    said = textbook.evaluate("(go(12), find('sentence').textContent)")
    assert said.startswith("Step 13 of 42. Backward. Layer 2, the output layer: ∂L/∂a, from the loss (case 1). d L by d a 2 is")
    unnamed = ("Array.from(document.querySelectorAll('button, input, select, [tabindex]')).filter(item => "
               "!(item.textContent.trim() || item.labels?.length || item.getAttribute('aria-label'))).length")  # fmt: skip
    assert textbook.evaluate(unnamed) == 0
    assert textbook.evaluate("find('sentence').getAttribute('aria-live')") == "polite"


@in_a_browser
def test_a_phone_needs_no_scrolling_sideways(textbook):
    textbook.size(360, 740, mobile=True)
    for place in range(0, 42, 7):
        assert textbook.evaluate(f"(go({place}), document.documentElement.scrollWidth)") <= 360


@in_a_browser
def test_light_dark_and_print(textbook):
    paper = "getComputedStyle(document.body).backgroundColor"
    assert textbook.evaluate(paper) == "rgb(255, 255, 255)"
    textbook.size(1200, 900, dark=True)
    assert textbook.evaluate(paper) == "rgb(21, 24, 28)"
    assert len(textbook("Page.printToPDF")["data"]) > 20_000
    assert textbook.evaluate("find('all').children.length") == 42  # all steps are on paper


@in_a_browser
def test_units_of_large_layers_are_chosen_with_a_click(shown):
    model, x, y, loss = NETS["large"]()
    page = shown(nn.trace(model, x, y, loss).to_html())
    page.size(1200, 900)
    page.evaluate("go(page.steps.length - 1)")
    page.evaluate("""(() => {
      const image = document.querySelector('image[data-column="1"]'), {x, y, width, height} = image.getBoundingClientRect();
      image.dispatchEvent(new MouseEvent("click", {bubbles: true, clientX: x + 0.9 * width, clientY: y + 0.5 * height}));
    })()""")
    assert page.evaluate("page.view.chosen[1]") == 6  # of nine, three by three
    for unit, chosen in ((4, 4), (10, 4), (0, 4)):  # by the keyboard
        page.evaluate(f"find('unit').value = {unit}, find('unit').dispatchEvent(new Event('change'))")
        assert page.evaluate("page.view.chosen[1]") == chosen


def test_the_page_is_one_small_file(tmp_path):
    model, *batch = NETS["sigmoid"]()
    page = nn.trace(model, *batch).to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == page
    assert len(page.encode()) < 300_000
    assert not [word for word in ("http://", "https://", "src=", "@import", "url(") if word in page]
    assert repr(page) == f"Page({len(page)} characters)" and "<iframe" in page._repr_html_()


def test_texts_of_a_net_are_no_markup():
    class Named(nn.Linear):
        def __repr__(self):
            return "</script><script>alert(1)</script>"

    model = nn.Sequential([Named(1)]).build((1,), random_state=0)
    page = nn.trace(model, [1.0], [2.0], "mse").to_html()
    assert page.count("</script>") == 2
    assert "alert(1)" in page and "<script>alert" not in page


def test_the_sources_are_in_the_package():
    names = {item.name for item in files("nnkit.inspect.page").iterdir()}
    assert {"page.html", "page.css", "page.js", "arithmetic.js", "formulas.js", "lecture.js", "drawing.js"} <= names


@pytest.mark.parametrize("lr", [0.0, -1.0, np.inf, np.nan, "fast", True])
def test_learning_rates_are_checked(lr):
    model, *batch = NETS["sigmoid"]()
    with pytest.raises(nn.ParameterError, match="to_html: expected lr to be a finite number above 0"):
        nn.trace(model, *batch).to_html(lr=lr)


def test_rows_are_checked():
    model, *batch = NETS["sigmoid"]()
    with pytest.raises(nn.ParameterError, match="expected row to be one of the batch's 1 rows"):
        nn.trace(model, *batch).to_html(row=1)
