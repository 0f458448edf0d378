"""What the arguments of losses mean in a fit: PyTorch's step for a full batch, the same bits on any number of threads."""

import numpy as np
import pytest

import nnkit as nn

RANDOM = np.random.default_rng(0)
WEIGHT = [0.5, 2.0, 1.0]
LOSSES = {
    "ignored": {"ignore_index": -1},
    "weighed": {"weight": WEIGHT},
    "all": {"weight": WEIGHT, "ignore_index": -1, "label_smoothing": 0.1},
    "summed": {"weight": WEIGHT, "ignore_index": -1, "reduction": "sum"},
}


def sequences(rows=12, steps=4, features=3, classes=3, padded=0.3):
    X = RANDOM.normal(size=(rows, steps, features))
    y = RANDOM.integers(0, classes, (rows, steps))
    y[RANDOM.random(y.shape) < padded] = -1
    return X, y


def stepped(X, y, loss, batch_size=None, **options):
    """Parameters of a net of one layer after one step of a fit."""
    model = nn.Sequential([nn.Linear(3)]).build(X.shape[1:], random_state=0, dtype="float64")
    history = model.fit(X, y, loss=loss, optimizer=nn.SGD(0.5), epochs=1, batch_size=batch_size or len(X), shuffle=False,
                        random_state=0, **options)  # fmt: skip
    return model.parameters(), history


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_of_all_rows_is_that_of_the_loss_by_hand(name, engine):
    X, y = sequences()
    loss = nn.CrossEntropyLoss(**LOSSES[name])
    y = y if loss.ignore_index == -1 else abs(y)
    parameters, history = stepped(X, y, loss, engine=engine, validation_data=(X, y))
    model = nn.Sequential([nn.Linear(3)]).build((4, 3), random_state=0, dtype="float64")
    value, grad = loss(model.forward(X, training=True), y)  # PyTorch's numbers: tests/foreign compares them
    model.backward(grad)
    nn.SGD(0.5).step(model)
    np.testing.assert_allclose(history["loss"][0], value, rtol=1e-12)
    for key, array in model.parameters().items():
        np.testing.assert_allclose(parameters[key], array, rtol=1e-12, atol=1e-14)
    after = loss(model.predict(X), y).loss
    np.testing.assert_allclose(history["val_loss"][0], after, rtol=1e-12)
    np.testing.assert_allclose(model.evaluate(X, y, loss=loss), after, rtol=1e-12)


def test_labels_weigh_the_same_whatever_batch_they_are_in():
    """The steps of one epoch from the same parameters add up to that of the whole."""
    X, y = sequences()
    loss = nn.CrossEntropyLoss(**LOSSES["all"])
    before = nn.Sequential([nn.Linear(3)]).build((4, 3), random_state=0, dtype="float64").parameters()["0.weight"]
    small = nn.SGD(1e-6)
    changes = []
    for batch_size in (3, 12):
        model = nn.Sequential([nn.Linear(3)]).build((4, 3), random_state=0, dtype="float64")
        model.fit(X, y, loss=loss, optimizer=small, epochs=1, batch_size=batch_size, shuffle=False)
        changes.append(model.parameters()["0.weight"] - before)
    np.testing.assert_allclose(changes[0], 4 * changes[1], rtol=1e-4, atol=1e-10)


def test_padded_sequences_are_the_unpadded_ones():
    _, y = sequences()
    prediction = RANDOM.normal(size=(12, 4, 3))
    there = y != -1
    for options in (LOSSES["ignored"], LOSSES["all"], LOSSES["summed"]):
        loss, grad = nn.CrossEntropyLoss(**options)(prediction, y)
        alone, slope = nn.CrossEntropyLoss(**options)(prediction[there], y[there])
        np.testing.assert_allclose(loss, alone, rtol=1e-14)
        np.testing.assert_allclose(grad[there], slope, rtol=1e-14)
        assert not grad[~there].any()


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(**LOSSES["all"]), nn.NLLLoss(weight=WEIGHT, ignore_index=-1)], ids=repr)
def test_images_have_their_classes_on_axis_1(loss):
    """As convolutions give them; it is what a Permute before the loss gives."""
    X, y = RANDOM.normal(size=(6, 2, 4, 5)), RANDOM.integers(-1, 3, (6, 4, 5))
    fits = []
    softmax = [[nn.LogSoftmax(dim=dim)] if isinstance(loss, nn.NLLLoss) else [] for dim in (1, -1)]
    for layers, own in ((softmax[0], loss.replace(dim=1)), ([nn.Permute((2, 3, 1)), *softmax[1]], loss)):
        model = nn.Sequential([nn.Conv2d(3, 1), *layers]).build((2, 4, 5), random_state=0, dtype="float64")
        history = model.fit(X, y, loss=own, optimizer=nn.SGD(0.1), epochs=3, batch_size=4, random_state=0,
                            validation_data=(X, y), metrics=["accuracy"])  # fmt: skip
        figures = *history["loss"], *history["val_loss"], *history["val_accuracy"], model.evaluate(X, y, loss=own)
        fits.append(np.array(figures))
    np.testing.assert_allclose(fits[0], fits[1], rtol=1e-12)


@pytest.mark.parametrize("options", [LOSSES["all"], {**LOSSES["all"], "dim": 1}], ids=["last", "axis 1"])
def test_the_bits_are_the_same_for_any_number_of_threads(options):
    X, y = RANDOM.normal(size=(512, 64)), RANDOM.integers(-1, 3, (512, 40))
    shape = (3, 40) if options.get("dim") else (40, 3)
    fits = []
    for n_threads in (1, 2):
        model = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(120), nn.Reshape(shape)])
        history = model.fit(X, y, loss=nn.CrossEntropyLoss(**options), epochs=2, batch_size=256, random_state=0,
                            n_threads=n_threads, validation_split=0.5)  # fmt: skip
        fits.append((history["loss"], history["val_loss"], model.parameters()["2.weight"].tobytes()))
    assert fits[0] == fits[1]


# ----------------------------------------------------------------------------------------------- weights of each place


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("engine", ["compiled", "python"])
def test_steps_that_weigh_nothing_may_hold_anything(engine, reduction):
    """Steps of a sequence whose target is missing; the others weigh what they are given."""
    X, y = RANDOM.normal(size=(12, 4, 3)), RANDOM.normal(size=(12, 4, 3))
    weights = RANDOM.uniform(0.5, 2.0, (12, 4)) * (RANDOM.random((12, 4)) < 0.7)
    weights[5] = 0.0
    wild = np.where(weights[..., None] > 0, y, 1e30)
    loss = nn.MSELoss(reduction=reduction)
    parameters, history = stepped(X, wild, loss, engine=engine, sample_weight=weights, validation_data=(X, wild, weights))
    model = nn.Sequential([nn.Linear(3)]).build((4, 3), random_state=0, dtype="float64")
    prediction = model.forward(X, training=True)
    share = weights[..., None] / (3 * weights.sum() if reduction == "mean" else 1.0)
    value, grad = loss(prediction, wild, weights)
    np.testing.assert_allclose(value, (share * (prediction - y) ** 2).sum(), rtol=1e-12)
    np.testing.assert_allclose(grad, 2 * share * (prediction - y), rtol=1e-12)
    np.testing.assert_allclose(history["loss"][0], value, rtol=1e-12)
    model.backward(grad)
    nn.SGD(0.5).step(model)
    for key, array in model.parameters().items():
        np.testing.assert_allclose(parameters[key], array, rtol=1e-12)
    after = loss(model.predict(X), wild, weights).loss
    np.testing.assert_allclose(history["val_loss"][0], after, rtol=1e-12)
    np.testing.assert_allclose(model.evaluate(X, wild, loss=loss, sample_weight=weights), after, rtol=1e-12)


def test_weights_of_rows_are_those_of_all_their_places():
    X, y = sequences()
    rows = RANDOM.uniform(0.5, 2.0, 12)
    loss = nn.CrossEntropyLoss(**LOSSES["all"])
    first, _ = stepped(X, y, loss, batch_size=5, sample_weight=rows)
    second, _ = stepped(X, y, loss, batch_size=5, sample_weight=np.repeat(rows[:, None], 4, axis=1))
    np.testing.assert_allclose(first["0.weight"], second["0.weight"], rtol=1e-12)


def test_metrics_leave_out_what_does_not_count():
    y = np.array([[0, 1, -100], [1, 1, 0], [-100, -100, -100]])
    prediction = np.eye(2)[[[0, 1, 1], [1, 0, 0], [0, 0, 0]]]
    loss = nn.CrossEntropyLoss()
    assert nn.Accuracy()(y, prediction, loss) == 0.5
    assert nn.Accuracy()(y, prediction, loss, np.array([1.0, 3.0, 5.0])) == 0.25
    assert nn.Accuracy()(y, prediction, loss, np.array([[1.0] * 3, [1.0, 0.0, 1.0], [1.0] * 3])) == 1.0
    there = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    truth = np.array([[[0.0], [9.0]], [[1.0], [2.0]], [[2.0], [7.0]]])
    guess = np.array([[[0.0], [0.0]], [[1.0], [2.0]], [[2.0], [0.0]]])
    assert nn.R2()(truth, guess, nn.MSELoss(), there) == 1.0


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("loss", "y", "message"), [
    (nn.CrossEntropyLoss(reduction="none"), np.zeros((4, 5), int), "expected a loss that is one number"),
    (nn.CrossEntropyLoss(weight=[1.0, 2.0]), np.zeros((4, 5), int), "expected a weight for each of 3 classes, got 2"),
    (nn.CrossEntropyLoss(dim=3), np.zeros((4, 5), int), r"expected predictions with an axis 3, got shape \('N', 5, 3\)"),
    (nn.CrossEntropyLoss(), np.zeros((4, 3), int), r"expected y of shape \(4, 5\) .*; .* on axis 1, .*dim=1"),
    (nn.CrossEntropyLoss(), np.full((4, 5), -1), "expected labels in y from 0 to 2"),
    (nn.BCEWithLogitsLoss(pos_weight=[1.0, 2.0]), np.zeros((4, 5, 3)), r"pos_weight with a number for each output .*\(5, 3\)"),
    (nn.MultiLabelMarginLoss(), np.full((4, 5, 3), 3), "expected labels in y from 0 to 2, and then -1, got 3 to 3"),
    (nn.CTCLoss(), np.zeros((4, 2), int), "without the blank 0, and then -1"),
    (nn.CTCLoss(with_lengths=True), np.full((4, 2), 6), "numbers of steps from 0 to 5|from 0 to 2"),
    (nn.CosineEmbeddingLoss(), np.ones(4), "expected predictions with an axis -2 of 2: input1, input2"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(loss, y, message):
    model = nn.Sequential([nn.Linear(3)]).build((5, 2))
    for call in (model.fit, model.evaluate):
        with pytest.raises(nn.NnkitError, match=message):
            call(np.zeros((4, 5, 2)), y, loss=loss)


@pytest.mark.parametrize("options", [
    {"weight": [1.0, -1.0]}, {"weight": [[1.0]]}, {"weight": "balanced"}, {"dim": 0}, {"dim": 1.5}, {"ignore_index": 0.5},
    {"label_smoothing": 1.0}, {"reduction": "batchmean"},
])  # fmt: skip
def test_arguments_that_mean_nothing_are_refused(options):
    with pytest.raises(nn.ParameterError, match=f"expected {next(iter(options))} to be"):
        nn.CrossEntropyLoss(**options)


def test_a_square_has_to_say_where_its_classes_are():
    prediction, y = RANDOM.normal(size=(2, 3, 3)), RANDOM.integers(0, 3, (2, 3))
    with pytest.raises(nn.ShapeError, match=r"each could; pass dim=1 \(PyTorch's layout\), or dim=-1"):
        nn.CrossEntropyLoss()(prediction, y)
    here, there = (nn.CrossEntropyLoss(dim=dim)(prediction, y).loss for dim in (-1, 1))
    assert here != there
    assert there == nn.CrossEntropyLoss(dim=-1)(prediction.swapaxes(1, 2), y).loss


def test_a_batch_in_which_nothing_counts_has_no_loss():
    loss, grad = nn.CrossEntropyLoss()(np.ones((2, 3)), [-100, -100])
    assert loss == 0.0 and not grad.any()
    with pytest.raises(nn.DataError, match="CrossEntropyLoss: expected targets that count, got none"):
        stepped(np.ones((2, 3)), np.array([-100, -100]), nn.CrossEntropyLoss())


def test_a_label_that_becomes_an_ignored_one_within_a_fit_is_named():
    y = np.zeros(20, np.int64)

    class Changes(nn.Callback):
        def on_epoch_end(self, fit):
            y[7] = -100

    with pytest.raises(nn.DataError, match=r"the labels .* from 0 to 2, got -100 in row 7"):
        nn.Sequential([nn.Linear(3)]).fit(np.zeros((20, 2)), y, loss="cross_entropy", epochs=2, callbacks=[Changes()])


# --------------------------------------------------------------------------------------------------- of several, end to end


def test_a_net_learns_from_triplets():
    data = RANDOM.normal(size=(3, 60, 4))
    data[:2, :, 0] += 2 * RANDOM.choice([-1, 1], 60)
    data[2, :, 0] -= data[0, :, 0]
    X = data.swapaxes(0, 1).copy()
    model = nn.Sequential([nn.Linear(2)]).build((3, 4), random_state=0)
    history = model.fit(X, np.zeros(60), loss=nn.TripletMarginLoss(swap=True), epochs=30, optimizer=nn.Adam(0.05))
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_a_net_learns_labels_without_being_told_where_they_are():
    y = RANDOM.permuted(np.tile([1, 2, 3], (64, 1)), axis=1)
    X = np.zeros((64, 9, 4), np.float32)
    for n in range(64):
        X[n, np.sort(RANDOM.choice(np.arange(0, 9, 2), 3, replace=False)), y[n]] = 1.0
    model = nn.Sequential([nn.Conv1d(16, 3, padding=1), nn.ReLU(), nn.Permute((2, 1)), nn.Linear(4), nn.LogSoftmax()])
    history = model.fit(X.swapaxes(1, 2), y, loss="ctc", epochs=100, optimizer=nn.Adam(0.02), random_state=0, batch_size=16)
    assert history["loss"][-1] < 0.1
    path = nn.CTCLoss().decide(model.predict(X.swapaxes(1, 2)))
    read = [[k for place, k in enumerate(row) if k and (not place or row[place - 1] != k)] for row in path.tolist()]
    assert np.mean([labels == list(right) for labels, right in zip(read, y.tolist(), strict=True)]) > 0.95


def test_a_trace_writes_the_weights_of_outputs_out():
    model = nn.Sequential([nn.Linear(2)]).build((2,), random_state=0, dtype="float64")
    text = nn.trace(model, [[0.5, 1.0]], [[1.0, 0.0]], nn.BCEWithLogitsLoss(weight=[2.0, 3.0])).text()
    assert "2 * (softplus(a_1) - y_1 * a_1) + 3 * (softplus(a_2) - y_2 * a_2)" in text


@pytest.mark.parametrize("options", [{}, {"div_value": 2.0, "head_bias": True}], ids=str)
def test_clusters_of_classes_equal_pytorchs(options):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 12], **options).double()
    X, y = RANDOM.normal(size=(6, 16)), np.array([0, 4, 5, 11, 12, 19])
    given = torch.tensor(X, requires_grad=True)
    expected = theirs(given, torch.tensor(y))
    expected.loss.backward()
    model = nn.Sequential([nn.AdaptiveLogSoftmaxWithLoss(20, [5, 12], **options)]).build((16,), dtype="float64")
    nn.torch_weights(model, theirs.state_dict())
    out = model.forward(X)
    np.testing.assert_allclose(out, theirs.log_prob(given).detach().numpy(), rtol=1e-12)
    loss, grad = nn.NLLLoss()(out, y)
    np.testing.assert_allclose(loss, expected.loss.item(), rtol=1e-12)
    np.testing.assert_allclose(model.backward(grad), given.grad.numpy(), rtol=1e-10, atol=1e-15)
    for own, other in zip(model.gradients().values(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(own, other.grad.numpy().T, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("arguments", "message"), [
    ((20, [5, 5]), "cutoffs to be increasing whole numbers from 1 to 19"), ((20, [20]), "cutoffs"), ((20, []), "cutoffs"),
    ((20, [0.5]), "cutoffs"), ((1, [1]), "n_classes"),
])  # fmt: skip
def test_clusters_that_are_none_are_refused(arguments, message):
    with pytest.raises(nn.ParameterError, match=message):
        nn.AdaptiveLogSoftmaxWithLoss(*arguments)


def test_clusters_need_features():
    with pytest.raises(nn.ShapeError, match="expected at least 16 features, so that cluster 2 has one, got 8"):
        nn.Sequential([nn.AdaptiveLogSoftmaxWithLoss(20, [5, 12])]).build((8,))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("blank", [0, 3])
def test_alignments_equal_pytorchs(blank, zero_infinity, reduction):
    """Also where labels are repeated, none, or too many for the steps."""
    torch = pytest.importorskip("torch")
    logits = RANDOM.normal(size=(5, 9, 5))
    lengths, counts = np.array([2 if zero_infinity else 9, 7, 9, 4, 9]), np.array([3, 1, 2, 0, 3])
    labels = RANDOM.integers(0, 4, (5, 3))
    labels += labels >= blank
    labels[2:, 1] = labels[2:, 0]
    given = torch.tensor(logits, requires_grad=True)
    prediction = given.log_softmax(-1)
    loss = torch.nn.CTCLoss(blank=blank, zero_infinity=zero_infinity, reduction=reduction)
    expected = loss(prediction.transpose(0, 1), *map(torch.tensor, (labels, lengths, counts)))
    expected.sum().backward()
    own = nn.CTCLoss(blank=blank, zero_infinity=zero_infinity, reduction=reduction)
    several = np.concatenate([row[:count] for row, count in zip(labels, counts, strict=True)])
    for target in (labels, several):
        value, grad = own(prediction.detach().numpy(), target, lengths, counts)
        np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-12)
        slope = grad - np.exp(prediction.detach().numpy()) * grad.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(slope, given.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [
    {}, {"p": 1.0}, {"p": 3.0}, {"swap": True}, {"margin": 0.3, "swap": True, "p": 1.5}, {"eps": 0.1},
], ids=str)  # fmt: skip
def test_triplets_equal_pytorchs(options, reduction):
    torch = pytest.importorskip("torch")
    arrays = [RANDOM.normal(size=(7, 5)) for _ in range(3)]
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    expected = torch.nn.TripletMarginLoss(**options, reduction=reduction)(*tensors)
    expected.sum().backward()
    own = nn.TripletMarginLoss(**options, reduction=reduction)
    value, grads = own(*arrays)
    joined, grad = own(np.stack(arrays, axis=1))
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_array_equal(joined, value)
    np.testing.assert_array_equal(np.moveaxis(grad, 1, 0), grads)
    for slope, tensor in zip(grads, tensors, strict=True):
        np.testing.assert_allclose(slope, tensor.grad.numpy(), rtol=1e-11, atol=1e-14)
