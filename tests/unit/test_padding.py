"""Padding that a mask tells of weighs nothing in losses and metrics of every step, as weights by step say it."""

import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.network import network_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)
RANDOM = np.random.default_rng(3)
N, T, K = 24, 5, 4
PRESENT = np.arange(T) < RANDOM.integers(1, T + 1, N)[:, None]
SIGNALS = np.where(PRESENT[:, :, None], RANDOM.normal(size=(N, T, 3)), 0.0)
WORDS = np.where(PRESENT, RANDOM.integers(1, 9, (N, T)), 0)
LABELS = RANDOM.integers(0, K, (N, T))
VALUES = RANDOM.normal(size=(N, T, 2))
MASK = PRESENT.astype(float)


def signals(out=K):
    return nn.Sequential([nn.Masking(), nn.GRU(4, return_sequences=True), nn.Dropout(0.2), nn.Linear(out)]), SIGNALS


def words(out=K):
    embedding = nn.Embedding(9, 4, padding_idx=0)
    encoder = nn.TransformerEncoderLayer(2, dim_feedforward=8, dropout=0.0)
    return nn.Sequential([embedding, nn.Residual([nn.Linear(4), "tanh"]), encoder, nn.Linear(out)]), WORDS


def trained(make, loss, y, weights=None, validation_weights=None, **named):
    """A fit with validation and metrics, and what has come of it."""
    model, X = make(y.shape[-1] if y.ndim == 3 else K)
    model.build(X.shape[1:], random_state=0, dtype="float64")
    held = (X[:9], y[:9]) if validation_weights is None else (X[:9], y[:9], validation_weights)
    settings = {"epochs": 2, "batch_size": 7, "random_state": 1, "validation_data": held, "progress": False, **named}
    metrics = ["r2" if y.ndim == 3 else "accuracy"]
    history = model.fit(X, y, loss=loss, sample_weight=weights, metrics=metrics, **settings)
    return network_of(model).vector, {name: history[name] for name in history}, model


def require_alike(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


@pytest.mark.parametrize("make", [signals, words])
@pytest.mark.parametrize(
    ("loss", "y"),
    [("cross_entropy", LABELS), ("mse", VALUES), (nn.MSELoss(reduction="sum"), VALUES),
     (nn.CrossEntropyLoss(weight=[1.0, 2.0, 0.5, 1.5]), LABELS), ("bce_with_logits", (VALUES > 0).astype(float)),
     (nn.LinearCrossEntropyLoss(), LABELS)],
    ids=["classes", "values", "sum", "weighed classes", "truths", "linear"],
)  # fmt: skip
def test_padded_steps_weigh_nothing(make, loss, y):
    """To the bit as with weights by step: training, validation, metrics, and an evaluation afterwards."""
    implicit, explicit = trained(make, loss, y), trained(make, loss, y, MASK, MASK[:9])
    require_alike(implicit, explicit)
    model, X, metrics = implicit[2], make()[1], ["r2"] if y.ndim == 3 else ["accuracy"]
    told = model.evaluate(X, y, loss, metrics=metrics)
    assert told == model.evaluate(X, y, loss, sample_weight=MASK, metrics=metrics)
    everywhere = nn.Loss.make(loss)(model.predict(X), y).loss
    assert told["loss"] != pytest.approx(everywhere), "else nothing is shown"


@pytest.mark.parametrize(
    "weights", [RANDOM.uniform(0.1, 2.0, N), np.arange(N) % 3, RANDOM.uniform(0.1, 2.0, (N, T))], ids=["rows", "zeros", "steps"]
)
def test_weights_multiply(weights):
    by_step = MASK * weights.reshape(N, -1)
    require_alike(trained(signals, "mse", VALUES, weights, weights[:9]), trained(signals, "mse", VALUES, by_step, by_step[:9]))


@pytest.mark.parametrize(
    "named",
    [{"accumulate": 2}, {"n_threads": 2, "batch_size": 12}, {"engine": "python", "epochs": 1},
     {"validation_data": None, "validation_split": 0.25}, {"validation_data": None}],
    ids=["waves", "threads", "python", "split", "training data"],
)  # fmt: skip
def test_however_it_is_trained(named):
    explicit = trained(signals, "cross_entropy", LABELS, MASK, MASK[:9], **named)
    require_alike(trained(signals, "cross_entropy", LABELS, **named), explicit)


def test_labels_to_ignore_are_not_counted_twice():
    """Where both say the same it is as if one did; where not, a step counts that neither leaves out."""
    loss = nn.CrossEntropyLoss(ignore_index=-100)
    ignored = np.where(PRESENT, LABELS, -100)
    both = trained(words, loss, ignored)
    require_alike(both, trained(words, "cross_entropy", LABELS))
    some = np.where((LABELS == 2) | ~PRESENT, -100, LABELS)
    assert (PRESENT & (LABELS == 2)).any()
    require_alike(trained(words, loss, np.where(LABELS == 2, -100, LABELS)), trained(words, loss, some))


def test_it_is_pytorchs_loss_with_an_ignored_index():
    model = nn.Sequential([nn.Embedding(9, 4, padding_idx=0), nn.Linear(6), nn.Tanh(), nn.Linear(K)])
    model.build((T,), random_state=0, dtype="float64")
    layers = torch.nn.Sequential(
        torch.nn.Embedding(9, 4, padding_idx=0), torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, K)).double()
    with torch.no_grad():
        for name, array in model.parameters().items():
            value = array if name == "0.weight" else array.T
            layers.get_parameter(name).copy_(torch.from_numpy(value.copy()))
        layers[0].weight[0] = 0.0
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.05)
    ignored = torch.from_numpy(np.where(PRESENT, LABELS, -100)).reshape(-1)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(layers(torch.from_numpy(WORDS)).reshape(-1, K), ignored, ignore_index=-100)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    history = model.fit(WORDS, LABELS, loss="cross_entropy", optimizer=nn.Adam(lr=0.05), epochs=6, batch_size=N, shuffle=False,
                        progress=False)  # fmt: skip
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-10)
    for name, array in model.parameters().items():
        expected = layers.get_parameter(name).detach().numpy()
        given = array[1:] if name == "0.weight" else array.T
        np.testing.assert_allclose(given, expected[1:] if name == "0.weight" else expected, atol=1e-9, err_msg=name)


def test_of_several_outputs_those_count_alone_that_the_mask_reaches():
    def fitted(weights):
        heads = nn.Heads(steps=nn.Linear(K), rows=nn.Sequential([nn.Flatten(), nn.Linear(2)]))
        model = nn.Sequential([nn.Masking(), nn.RNN(4, return_sequences=True), heads])
        y = {"steps": LABELS, "rows": VALUES[:, 0]}
        model.fit(SIGNALS, y, loss={"steps": "cross_entropy", "rows": "mse"}, sample_weight=weights, epochs=2, batch_size=8,
                  random_state=0, progress=False)  # fmt: skip
        return network_of(model).vector

    np.testing.assert_array_equal(fitted(None), fitted({"steps": MASK}))
    assert (fitted(None) != fitted({"rows": np.arange(N) + 1.0})).any()


@pytest.mark.parametrize(
    ("layers", "y"),
    [
        ([nn.Masking(), nn.GRU(4), nn.Linear(2)], VALUES[:, 0]),  # one value a row
        ([nn.Masking(), nn.GRU(4, return_sequences=True), nn.Linear(2), nn.Reshape((T, 2))], VALUES),  # which ends the mask
        ([nn.Linear(3), nn.Masking(), nn.GRU(4, return_sequences=True), nn.Linear(2)], VALUES),  # no longer about the data
    ],
    ids=["rows", "ended", "learnt"],
)  # fmt: skip
def test_every_step_counts_where_no_mask_of_the_input_reaches_the_output(layers, y):
    model = nn.Sequential(layers).build((T, 3), random_state=0, dtype="float64")
    assert model.evaluate(SIGNALS, y, "mse") == pytest.approx(((model.predict(SIGNALS) - y) ** 2).mean())


def test_layers_without_numbers_to_learn_may_come_before():
    known = nn.Standardize(np.zeros(3), np.array([1.0, 2.0, 3.0]))
    model = nn.Sequential([known, nn.Masking(), nn.RNN(4, return_sequences=True), nn.Linear(2)])
    model.build((T, 3), random_state=0, dtype="float64")
    expected = ((model.predict(SIGNALS) - VALUES) ** 2)[PRESENT].mean()
    assert model.evaluate(SIGNALS, VALUES, "mse") == pytest.approx(expected)


def test_classes_on_the_first_axis_are_no_steps():
    """A mask is of the first axis of a row; with dim=1 that one holds classes."""
    model = nn.Sequential([nn.Masking(), nn.Linear(T)]).build((T, 3), random_state=0, dtype="float64")
    loss, y = nn.CrossEntropyLoss(dim=1), RANDOM.integers(0, T, (N, T))
    assert model.evaluate(SIGNALS, y, loss) == pytest.approx(float(loss(model.predict(SIGNALS), y).loss))


def test_nothing_but_padding_is_refused():
    model, X = signals()
    model.build(X.shape[1:])
    with pytest.raises(nn.DataError, match="X: expected steps that count, got none: all are padding, or weigh 0"):
        model.fit(0 * X, LABELS, loss="cross_entropy", epochs=1)
    with pytest.raises(nn.DataError, match="validation X: expected steps that count"):
        model.fit(X, LABELS, loss="cross_entropy", epochs=1, validation_data=(0 * X, LABELS))
    with pytest.raises(nn.DataError, match="X: expected steps that count"):
        model.evaluate(X, LABELS, "cross_entropy", sample_weight=1 - MASK)


def test_rows_of_nothing_but_padding_are_absent():
    X, y = np.concatenate([0 * SIGNALS[:6], SIGNALS]), np.concatenate([LABELS[:6], LABELS])
    vectors = []
    for rows, labels in ((X, y), (SIGNALS, LABELS)):
        model = signals()[0].build((T, 3), random_state=0, dtype="float64")
        model.fit(rows, labels, loss="cross_entropy", epochs=3, batch_size=8, random_state=1, shuffle=False, progress=False)
        vectors.append(network_of(model).vector)
    np.testing.assert_array_equal(*vectors)


def share(y, prediction, sample_weight=None):
    return np.average(y == prediction, weights=sample_weight)


def test_who_watches_a_fit_sees_the_same():
    """Metrics of one's own, a confusion matrix, a monitor and a profile."""
    model = signals()[0].build((T, 3), random_state=0, dtype="float64")
    monitor = nn.Monitor()
    history = model.fit(SIGNALS, LABELS, loss="cross_entropy", metrics=[share, "accuracy"], epochs=2, random_state=1,
                        callbacks=[monitor], progress=False)  # fmt: skip
    right = model.predict(SIGNALS).argmax(axis=-1) == LABELS
    assert history["share"][-1] == pytest.approx(right[PRESENT].mean())
    assert np.sum(history.confusion) == PRESENT.sum() and np.trace(history.confusion) == right[PRESENT].sum()
    assert monitor.looks
    assert model.profile(SIGNALS, LABELS, loss="cross_entropy", seconds=0.01).kernels


def test_it_goes_on_from_a_checkpoint(tmp_path):
    def fitted(epochs, **named):
        model = signals()[0].build((T, 3), random_state=0)
        model.fit(SIGNALS, LABELS, loss="cross_entropy", epochs=epochs, batch_size=8, random_state=1, progress=False, **named)
        return network_of(model).vector

    path = tmp_path / "training.safetensors"
    fitted(2, callbacks=[nn.Checkpoint(path)])
    np.testing.assert_array_equal(fitted(4, resume=path), fitted(4))
