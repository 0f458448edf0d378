"""Several inputs and outputs: rows with fields, and the containers that make them and take them."""

import pickle

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of
from nnkit.testing import CheckError, check_layer

RANDOM = np.random.default_rng(0)


class Weighted(nn.Layer):
    """out = scale * sum_j x1_j x2_j."""

    inputs = ("x1", "x2")

    def build(self, in_shape):
        self.parameter("scale", (1,), init="ones")
        return (1,)

    @staticmethod
    def forward(x1, x2, scale, out):
        for n in range(x1.shape[0]):
            out[n, 0] = 0.0
            for j in range(x1.shape[1]):
                out[n, 0] += x1[n, j] * x2[n, j] * scale[0]

    @staticmethod
    def backward(x1, x2, scale, grad_out, grad_x1, grad_x2, grad_scale):
        grad_scale[0] = 0.0
        for n in range(x1.shape[0]):
            for j in range(x1.shape[1]):
                grad_x1[n, j] = grad_out[n, 0] * x2[n, j] * scale[0]
                grad_x2[n, j] = grad_out[n, 0] * x1[n, j] * scale[0]
                grad_scale[0] += grad_out[n, 0] * x1[n, j] * x2[n, j]


class Wrong(Weighted):
    """Its gradient of the second value is that of the first one."""

    @staticmethod
    def backward(x1, x2, scale, grad_out, grad_x1, grad_x2, grad_scale):
        grad_scale[0] = 0.0
        for n in range(x1.shape[0]):
            for j in range(x1.shape[1]):
                grad_x1[n, j] = grad_out[n, 0] * x2[n, j] * scale[0]
                grad_x2[n, j] = grad_out[n, 0] * x2[n, j] * scale[0]
                grad_scale[0] += grad_out[n, 0] * x1[n, j] * x2[n, j]


class InPython(nn.PythonLayer):
    """The same without the scale."""

    inputs = ("x1", "x2")

    def build(self, in_shape):
        return (1,)

    def forward(self, x1, x2):
        return (x1 * x2).sum(axis=1, keepdims=True)

    def backward(self, x1, x2, grad_out):
        return grad_out * x2, grad_out * x1


def two_headed(dtype="float64"):
    layers = [
        nn.Inputs(image=[nn.Flatten(), nn.Linear(8)], kind=[nn.Embedding(5, 2), nn.Flatten()]),
        nn.Tanh(),
        nn.Heads(price=nn.Linear(1), sort=[nn.Linear(4), "tanh", nn.Linear(3)]),
    ]
    return nn.Sequential(layers).build({"image": (4, 4), "kind": (1,)}, random_state=0, dtype=dtype)


def rows(count):
    return {"image": RANDOM.normal(size=(count, 4, 4)), "kind": RANDOM.integers(0, 5, (count, 1))}


@pytest.mark.parametrize("layer", [Weighted(), InPython()])
def test_a_layer_of_several_values_is_checked_like_any_other(layer):
    assert "gradients_are_the_derivatives" in check_layer(layer, in_shape={"x1": (3,), "x2": (3,)}).checks


def test_a_wrong_gradient_of_one_value_is_caught():
    with pytest.raises(CheckError, match="grad_x"):
        check_layer(Wrong(), in_shape={"x1": (3,), "x2": (3,)})


def test_a_layer_in_python_has_to_return_a_gradient_for_each_value():
    class One(InPython):
        def backward(self, x1, x2, grad_out):
            return grad_out * x2

    model = nn.Sequential([One()]).build({"x1": (3,), "x2": (3,)})
    model.forward((np.ones((2, 3)), np.ones((2, 3))), training=True)
    with pytest.raises(nn.ShapeError, match="return a tuple of gradient of x1, gradient of x2, got ndarray"):
        model.backward(np.ones((2, 1)))


def test_a_kernel_may_not_leave_the_gradient_of_a_value_out():
    class Forgetful(Weighted):
        @staticmethod
        def backward(x1, x2, scale, grad_out, grad_x1, grad_scale):
            grad_scale[0] = 0.0

    with pytest.raises(nn.KernelError, match=r"expected backward to name .* grad_x2"):
        nn.Sequential([Forgetful()]).build({"x1": (3,), "x2": (3,)})


def test_outputs_have_the_structure_of_the_heads():
    model, X = two_headed(), rows(600)
    out = model.predict(X)
    assert {name: array.shape for name, array in out.items()} == {"price": (600, 1), "sort": (600, 3)} == {
        name: (600, *shape) for name, shape in model.out_shape.items()}  # fmt: skip
    few = model.predict({name: array[:7] for name, array in X.items()})
    for name in out:
        np.testing.assert_array_equal(few[name], out[name][:7])
    few["price"][:] = 0.0  # what is given is one's own
    np.testing.assert_array_equal(model.predict((X["image"][:7], X["kind"][:7]))["price"], out["price"][:7])


def test_gradients_of_all_inputs_are_the_derivatives():
    model, X = two_headed(), rows(3)
    weights = {name: RANDOM.normal(size=(3, *shape)) for name, shape in model.out_shape.items()}

    def loss(inputs):
        return sum(float((weights[name] * out).sum()) for name, out in model.predict(inputs).items())

    model.forward(X, training=True)
    grad = model.backward(weights)
    assert grad["kind"] is None  # whole numbers have none
    step, expected = 1e-6, np.empty((3, 4, 4))
    for place in np.ndindex(3, 4, 4):
        shift = np.zeros((3, 4, 4))
        shift[place] = step
        up, down = ({**X, "image": X["image"] + sign * shift} for sign in (1, -1))
        expected[place] = (loss(up) - loss(down)) / (2 * step)
    np.testing.assert_allclose(grad["image"], expected, rtol=1e-6, atol=1e-8)


def test_towers_share_what_is_one_layer():
    tower = nn.Linear(3)
    model = nn.Sequential([nn.Inputs(left=tower, right=[tower, "tanh"], merge="add")]).build({"left": (2,), "right": (2,)}, 0)
    assert list(model.parameters()) == ["0.0.weight", "0.0.bias"]
    weight, bias = model.parameters().values()
    left, right = RANDOM.normal(size=(2, 5, 2)).astype("float32")
    expected = left @ weight + bias + np.tanh(right @ weight + bias)
    np.testing.assert_allclose(model.predict({"right": right, "left": left}), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("again", [lambda model, path: pickle.loads(pickle.dumps(model)), lambda model, path: model.copy(),
                                   lambda model, path: (model.save(path), nn.load(path))[1]])  # fmt: skip
def test_it_comes_back_with_its_fields_in_order(again, tmp_path):
    model = nn.Sequential([nn.Inputs(zeta=nn.Linear(3), alpha=nn.Linear(2)), nn.Heads(b=nn.Linear(1), a=nn.Linear(2))])
    model.build({"zeta": (2,), "alpha": (3,)}, random_state=0)
    other = again(model, tmp_path / "net.safetensors")
    assert list(other.in_shape.items()) == [("zeta", (2,)), ("alpha", (3,))]
    X = RANDOM.normal(size=(4, 2)), RANDOM.normal(size=(4, 3))
    for name, out in model.predict(X).items():
        np.testing.assert_array_equal(other.predict(X)[name], out)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (np.ones((3, 2)), "a dict of arrays for left, right, or a tuple of them in this order, got one array"),
        ({"left": np.ones((3, 2))}, "arrays for left, right, got left"),
        ({"left": np.ones((3, 2)), "right": np.ones((3, 2)), "more": np.ones(3)}, "left, right, got left, right, more"),
        ({"left": np.ones((3, 2)), "right": np.ones((2, 2))}, "as many rows in every array of X, got 3 of left, 2 of right"),
        ((np.ones((3, 2)),), "got 1 of them"),
        ({"left": np.ones((3, 4)), "right": np.ones((3, 2))}, r"X\['left'\] of shape \(N, 2\), got \(3, 4\)"),
    ],
)
def test_other_inputs_are_refused(given, match):
    model = nn.Sequential([nn.Inputs(left=nn.Linear(3), right=nn.Linear(3))]).build({"left": (2,), "right": (2,)})
    with pytest.raises(nn.ShapeError, match=match):
        model.predict(given)


def test_a_dict_is_refused_where_there_is_one_input():
    with pytest.raises(nn.DataError, match="expected X to be one array, got a dict of 'a'"):
        nn.Sequential([nn.Linear(2)]).fit({"a": np.ones((3, 2))}, np.ones((3, 2)))


def test_columns_of_one_array_are_several_inputs():
    kinds, sizes = RANDOM.integers(0, 5, 200), RANDOM.normal(size=(200, 2))
    X = np.column_stack([sizes, kinds])
    y = sizes.sum(axis=1, keepdims=True) + kinds[:, None]
    both = nn.Inputs(sizes=nn.Columns([0, 1]), kind=[nn.Columns([2]), nn.Embedding(5, 3), nn.Flatten()])
    model = nn.Sequential([both, nn.Linear(1)])
    model.fit(X, y, optimizer=nn.Adam(lr=0.05), epochs=60, random_state=0)
    assert model.evaluate(X, y, metrics=["r2"])["r2"] > 0.99
    assert network_of(model).input_dtype == "float32"
    for wrong in (4.5, 5.0, -1.0):
        with pytest.raises(nn.DataError, match=f"whole numbers from 0 to 4, got {wrong}"):
            model.predict([[0.5, 1.0, wrong]])


def test_a_graph_names_its_values():
    net = nn.Graph(code=("image", [nn.Linear(8), nn.ReLU()]), both=(("code", "table"), nn.Concat()), out=("both", nn.Linear(1)))
    model = nn.Sequential([net]).build({"image": (6,), "table": (2,)}, random_state=0, dtype="float64")
    image, table = RANDOM.normal(size=(5, 6)), RANDOM.normal(size=(5, 2))
    given = model.parameters()
    code = np.maximum(image @ given["0.0.0.weight"] + given["0.0.0.bias"], 0.0)
    expected = np.hstack([code, table]) @ given["0.2.weight"] + given["0.2.bias"]
    np.testing.assert_allclose(model.predict((image, table)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ({}, "expected at least one step"),
        ({"h": nn.Linear(2)}, r"expected h=\(what it reads, layer\)"),
        ({"h": ("x", nn.Linear(2)), "outputs": "y"}, "expected outputs that a step computes, h, got 'y'"),
    ],
)
def test_a_graph_that_is_none_is_refused(steps, match):
    with pytest.raises(nn.ParameterError, match=match):
        nn.Graph(**steps)


def test_a_value_that_is_read_later_stays_as_it_is():
    """Layers that work in place must not write over what another step reads."""
    net = nn.Graph(a=("x", nn.ReLU()), b=("x", nn.Tanh()), c=(("x", "a"), nn.Add()), d=(("c", "b", "x"), nn.Add()))
    model = nn.Sequential([nn.Linear(3), net]).build((3,), random_state=0, dtype="float64")
    x = RANDOM.normal(size=(4, 3))
    h = x @ model.parameters()["0.weight"] + model.parameters()["0.bias"]
    np.testing.assert_allclose(model.predict(x), 2 * h + np.maximum(h, 0.0) + np.tanh(h), rtol=1e-12)


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    X = rows(512)
    y = X["image"].sum((1, 2))[:, None]

    def trained(threads):
        towers = nn.Inputs(image=[nn.Flatten(), nn.Linear(512)], kind=[nn.Embedding(5, 2), nn.Flatten()])
        model = nn.Sequential([towers, nn.ReLU(), nn.Linear(64), nn.Linear(1)])
        model.fit(X, y, epochs=2, batch_size=256, random_state=0, n_threads=threads)
        return [array.tobytes() for array in model.parameters().values()]

    assert trained(1) == trained(2)


def test_onnx_has_all_inputs_and_outputs(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, X = two_headed("float32"), rows(5)
    nn.onnx.export(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [item.name for item in session.get_inputs()] == ["image", "kind"]
    found = session.run(["price", "sort"], {"image": X["image"].astype("float32"), "kind": X["kind"]})
    for out, expected in zip(found, model.predict(X).values(), strict=True):
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ several outputs

LOSSES = {"price": "huber", "sort": "cross_entropy"}


def targets(count):
    return {"price": RANDOM.normal(size=(count, 1)), "sort": RANDOM.integers(0, 3, count)}


def by_torch(X, y, weights):
    """The same net and its loss in PyTorch; gradients by our names."""
    torch = pytest.importorskip("torch")
    model = two_headed()
    given = {name: torch.tensor(array, requires_grad=True) for name, array in model.parameters().items()}

    def linear(name, x):
        return x @ given[f"{name}.weight"] + given[f"{name}.bias"]

    image = torch.tensor(X["image"]).reshape(len(X["image"]), -1)
    kind = given["0.1.0.weight"][torch.tensor(X["kind"])].flatten(1)
    h = torch.tanh(torch.cat([linear("0.0.1", image), kind], 1))
    price, sort = linear("2.0", h), linear("2.1.2", torch.tanh(linear("2.1.0", h)))
    loss = weights["price"] * torch.nn.functional.huber_loss(price, torch.tensor(y["price"]))
    loss = loss + weights["sort"] * torch.nn.functional.cross_entropy(sort, torch.tensor(y["sort"]))
    loss.backward()
    return loss.item(), {name: array.grad.numpy() for name, array in given.items()}


@pytest.mark.parametrize("weights", [{"price": 1.0, "sort": 1.0}, {"price": 0.25, "sort": 3.0}])
def test_a_step_on_two_losses_is_that_of_their_weighted_sum(weights):
    X, y = rows(40), targets(40)
    loss, grads = by_torch(X, y, weights)
    model = two_headed()
    before = {name: array.copy() for name, array in model.parameters().items()}
    assert model.evaluate(X, y, LOSSES) == pytest.approx(by_torch(X, y, {"price": 1.0, "sort": 1.0})[0], rel=1e-12)
    history = model.fit(X, y, loss=LOSSES, loss_weights=weights, optimizer=nn.SGD(lr=1.0), epochs=1, batch_size=40)
    assert history["loss"][0] == pytest.approx(loss, rel=1e-12)
    for name, array in model.parameters().items():
        np.testing.assert_allclose(before[name] - array, grads[name], rtol=1e-9, atol=1e-12)


def test_figures_are_told_for_each_output():
    X, y = rows(60), targets(60)
    model = two_headed()
    metrics = {"sort": ["accuracy"], "price": "r2"}
    history = model.fit(X, y, loss=LOSSES, loss_weights={"sort": 2.0}, epochs=2, validation_split=0.5, random_state=0,
                        metrics=metrics, callbacks=[nn.EarlyStopping("val_sort_loss")])  # fmt: skip
    assert list(history) == ["loss", "lr", "val_loss", "val_price_loss", "val_sort_loss", "val_price_r2", "val_sort_accuracy"]
    np.testing.assert_allclose(history["val_loss"], np.add(history["val_price_loss"], 2 * np.array(history["val_sort_loss"])))
    told = model.evaluate(X, y, metrics={"sort": ["accuracy"]})
    assert list(told) == ["loss", "price_loss", "sort_loss", "sort_accuracy"]
    assert told["loss"] == pytest.approx(told["price_loss"] + 2 * told["sort_loss"])  # as in the last fit
    assert model.evaluate(X, y, LOSSES) == pytest.approx(told["price_loss"] + told["sort_loss"])


@pytest.mark.parametrize("weights", [None, {"price": np.arange(60.0)}, np.arange(60.0)])
def test_a_weight_counts_as_so_many_rows(weights):
    X, y = rows(60), targets(60)
    model, other = two_headed(), two_headed()
    for net, engine in ((model, "compiled"), (other, "python")):
        net.fit(X, y, loss=LOSSES, sample_weight=weights, epochs=2, batch_size=20, random_state=0, engine=engine)
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, other.parameters()[name], rtol=1e-9)
    again = two_headed()
    again.evaluate(X, y, LOSSES, weights)
    price = nn.HuberLoss()(again.predict(X)["price"], y["price"], weights["price"] if isinstance(weights, dict) else weights)
    sort = nn.CrossEntropyLoss()(again.predict(X)["sort"], y["sort"], None if isinstance(weights, dict) else weights)
    assert again.evaluate(X, y, LOSSES, weights) == pytest.approx(float(price.loss + sort.loss), rel=1e-12)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"loss": {"price": "mse"}}, nn.ParameterError, "a loss for each output, price, sort, got none for 'sort'"),
        ({"loss": {**LOSSES, "more": "mse"}}, nn.ParameterError, "loss for the outputs price, sort, got one for 'more'"),
        ({"loss": "mse"}, nn.ShapeError, r"expected y\['sort'\] of shape"),
        ({"loss": {"price": "mse", "sort": nn.CrossEntropyLoss(reduction="sum")}}, nn.ParameterError, "all means, or all sums"),
        ({"loss": LOSSES, "loss_weights": [1, 2]}, nn.ParameterError, "loss_weights to be a dict of numbers"),
        ({"loss": LOSSES, "loss_weights": {"price": -1}}, nn.ParameterError, r"\['price'\] to be a positive number"),
        ({"loss": LOSSES, "metrics": ["accuracy"]}, nn.ParameterError, "metrics to be a dict for the outputs price, sort"),
        ({"loss": LOSSES, "y": np.ones(9)}, nn.ShapeError, "y to be a dict of arrays for price, sort"),
    ],
)
def test_what_does_not_fit_the_outputs_is_refused(given, error, match):
    with pytest.raises(error, match=match):
        two_headed().fit(rows(9), given.pop("y", targets(9)), epochs=1, **given)


def test_one_output_has_one_loss():
    with pytest.raises(nn.ParameterError, match="expected one loss, as the model has one output, got loss for 'price'"):
        nn.Sequential([nn.Linear(1)]).fit(np.ones((3, 2)), np.ones((3, 1)), loss={"price": "mse"})


def test_a_head_that_helped_to_train_is_left_out():
    X = rows(30)
    model = two_headed()
    alone = model.copy(output="sort")
    assert alone.out_shape == (3,)
    np.testing.assert_array_equal(alone.predict(X), model.predict(X)["sort"])
    assert sum(array.size for array in alone.parameters().values()) < sum(array.size for array in model.parameters().values())
    with pytest.raises(nn.ParameterError, match="expected one of the outputs, price, sort, got 'kind'"):
        model.copy(output="kind")
    net = nn.Graph(h=("x", nn.Linear(4)), a=("h", nn.Linear(2)), b=(("h", "a"), nn.Concat()), outputs=("a", "b"))
    both = nn.Sequential([nn.Linear(3), net]).build((2,), random_state=0)
    given = RANDOM.normal(size=(5, 2))
    for name in ("a", "b"):
        np.testing.assert_array_equal(both.copy(output=name).predict(given), both.predict(given)[name])


def test_a_fit_goes_on_from_a_checkpoint_to_the_bit(tmp_path):
    X, y = rows(60), targets(60)
    whole, halves = two_headed(), two_headed()
    options = {"loss": LOSSES, "loss_weights": {"sort": 2.0}, "batch_size": 20, "random_state": 0}
    whole.fit(X, y, epochs=4, **options)
    halves.fit(X, y, epochs=2, callbacks=[nn.Checkpoint(tmp_path / "fit")], **options)
    again = two_headed()
    again.fit(X, y, epochs=4, callbacks=[nn.Checkpoint(tmp_path / "fit")], resume=True, **options)
    for name, array in whole.parameters().items():
        np.testing.assert_array_equal(again.parameters()[name], array)
    again.save(tmp_path / "net")
    assert nn.load(tmp_path / "net").evaluate(X, y) == again.evaluate(X, y)


def test_what_is_not_finite_is_named():
    X, y = rows(20), targets(20)
    with pytest.raises(nn.NonFiniteError, match="the value of MSELoss was not"):
        two_headed("float32").fit(X, {**y, "price": y["price"] * 1e38}, loss={**LOSSES, "price": "mse"}, epochs=1)


def test_a_monitor_looks_at_all_outputs():
    monitor = nn.Monitor()
    two_headed().fit(rows(40), targets(40), loss=LOSSES, epochs=2, callbacks=[monitor])
    assert len(monitor.looks) >= 2


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: nn.Heads([nn.Linear(1)]), nn.CallError, r"each goes by a name that you choose; write Heads\(a=Linear\(\)\)"),
        (lambda: nn.Inputs(nn.ReLU(), nn.Tanh()), nn.CallError, r"write Inputs\(a=ReLU\(\), b=Tanh\(\)\)"),
        (lambda: nn.Graph({"a": ("x", "relu")}), nn.CallError, r"write Graph\(\*\*\{'a': \('x', 'relu'\)\}\)"),
        (lambda: nn.Graph(a=("x", "relu")).fit(1, 2), AttributeError, r"a model has it: nn.Sequential\(\[it\]\).fit"),
        (lambda: nn.Sequential([nn.Graph(o=(("a", "b", "c"), Weighted()))]).build({"a": (2,), "b": (2,), "c": (2,)}),
         nn.ShapeError, "o: expected values for x1, x2, got a, b, c"),
        (lambda: two_headed().fit(rows(3), targets(3), loss=["mse", "mse"]), nn.ParameterError, "a dict of one for each"),
    ],
)
def test_habits_are_told_what_to_write(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_lists_of_arrays_are_inputs_and_targets_in_order():
    X, y = rows(20), targets(20)
    model, other = two_headed(), two_headed()
    model.fit([X["image"], X["kind"]], [y["price"], y["sort"]], loss=LOSSES, epochs=1, random_state=0)
    other.fit(X, y, loss=LOSSES, epochs=1, random_state=0)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(other.parameters()[name], array)


def test_shapes_are_integers_too_and_have_an_axis():
    class Shift(nn.Layer):
        def __init__(self, shape):
            self.shape = shape

        def build(self, in_shape):
            self.parameter("shift", self.shape)
            return in_shape

        @staticmethod
        def forward(x, shift, out):
            for n in range(x.shape[0]):
                for j in range(x.shape[1]):
                    out[n, j] = x[n, j] + shift[j]

        @staticmethod
        def backward(grad_out, grad_x, grad_shift):
            grad_shift[:] = 0.0
            for n in range(grad_out.shape[0]):
                for j in range(grad_out.shape[1]):
                    grad_x[n, j] = grad_out[n, j]
                    grad_shift[j] += grad_out[n, j]

    assert nn.Sequential([Shift(3)]).build((3,)).parameters()["0.shift"].shape == (3,)
    with pytest.raises(nn.KernelError, match=r"got \(\); one number alone is an array of shape \(1,\)"):
        nn.Sequential([Shift(())]).build((3,))
