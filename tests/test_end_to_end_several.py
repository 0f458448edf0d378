"""Nets of several inputs and outputs, trained on scikit-learn's data from beginning to end."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

import nnkit as nn

DIGITS = load_digits()
IMAGES = (DIGITS.images[:, None] / 16.0).astype("float32")
HELD = 400


def pairs(count, random, low, high):
    """Pairs of digits between two places of the data, half of them alike; and whether they are."""
    first = random.integers(low, high, count)
    alike = np.arange(count) % 2 == 0
    second = np.empty(count, np.int64)
    for n in range(count):
        same = DIGITS.target[low:high] == DIGITS.target[first[n]]
        second[n] = low + random.choice(np.flatnonzero(same if alike[n] else ~same))
    return {"left": IMAGES[first], "right": IMAGES[second]}, alike.astype("float32")[:, None]


def test_two_towers_tell_whether_digits_are_alike():
    """The towers are one: it sees both digits with the same weights."""
    random = np.random.default_rng(0)
    tower = nn.Sequential([nn.Conv2d(8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32), nn.Tanh()])
    net = nn.Graph(a=("left", tower), b=("right", tower), both=(("a", "b"), nn.Concat()),
                   out=("both", [nn.Linear(64), nn.ReLU(), nn.Linear(1)]))  # fmt: skip
    model = nn.Sequential([net])
    X, y = pairs(6000, random, 0, len(IMAGES) - HELD)
    model.fit(X, y, loss="bce_with_logits", optimizer=nn.Adam(lr=2e-3), epochs=15, random_state=0)
    assert sum(name.startswith("0.0.") for name in model.parameters()) == 4  # of one tower
    X, y = pairs(1000, random, len(IMAGES) - HELD, len(IMAGES))
    assert ((model.predict(X) > 0) == y).mean() > 0.85


def test_a_picture_and_a_table_meet():
    """Half of each digit as a picture, the other half as a table of numbers."""
    half = {"picture": IMAGES[:, :, :4], "table": IMAGES[:, 0, 4:].reshape(-1, 32)}
    train, held = ({name: array[rows] for name, array in half.items()} for rows in (slice(None, -HELD), slice(-HELD, None)))
    model = nn.Sequential([
        nn.Inputs(picture=[nn.Conv2d(8, 3, padding=1), nn.ReLU(), nn.Flatten()], table=[nn.Linear(32), nn.ReLU()]),
        nn.Linear(10)])  # fmt: skip
    how = {"loss": "cross_entropy", "optimizer": nn.Adam(lr=3e-3), "epochs": 15, "random_state": 0}
    model.fit(train, DIGITS.target[:-HELD], **how)
    right = model.evaluate(held, DIGITS.target[-HELD:], metrics=["accuracy"])["accuracy"]
    alone = nn.Sequential([nn.Flatten(), nn.Linear(32), nn.ReLU(), nn.Linear(10)])
    alone.fit(train["table"], DIGITS.target[:-HELD], **how)
    assert right > 0.9 > alone.evaluate(held["table"], DIGITS.target[-HELD:], metrics=["accuracy"])["accuracy"]


def test_a_net_of_two_tasks_learns_both():
    ink = IMAGES.mean((1, 2, 3))[:, None]
    y = {"digit": DIGITS.target, "ink": (ink - ink.mean()) / ink.std()}
    train, held = ({name: array[rows] for name, array in y.items()} for rows in (slice(None, -HELD), slice(-HELD, None)))
    model = nn.Sequential([
        nn.Conv2d(8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64), nn.ReLU(),
        nn.Heads(digit=nn.Linear(10), ink=nn.Linear(1))])  # fmt: skip
    history = model.fit(
        IMAGES[:-HELD], train, loss={"digit": "cross_entropy", "ink": "huber"}, loss_weights={"ink": 0.5},
        optimizer=nn.Adam(lr=3e-3), epochs=25, random_state=0, validation_data=(IMAGES[-HELD:], held),
        metrics={"digit": ["accuracy"], "ink": ["r2"]},
    )  # fmt: skip
    assert history["val_digit_accuracy"][-1] > 0.9
    assert history["val_ink_r2"][-1] > 0.9
    alone = model.copy(output="digit")
    np.testing.assert_array_equal(alone.predict(IMAGES[:9]), model.predict(IMAGES[:9])["digit"])


def test_an_auxiliary_head_helps_to_train_and_is_left_out():
    X, y = load_diabetes(return_X_y=True, scaled=True)
    X, y = X / X.std(axis=0), ((y - y.mean()) / y.std())[:, None]
    aux = (X[:, 2:3] > 0).astype("float64")
    model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Heads(main=nn.Linear(1), aux=nn.Linear(1))])
    model.fit(X[:-100], {"main": y[:-100], "aux": aux[:-100]}, loss={"main": "mse", "aux": "bce_with_logits"},
              loss_weights={"aux": 0.1}, optimizer=nn.Adam(lr=3e-3), epochs=60, random_state=0)  # fmt: skip
    alone = model.copy(output="main")
    assert list(alone.parameters()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert alone.evaluate(X[-100:], y[-100:], "mse", metrics=["r2"])["r2"] > 0.3
    alone.fit(X[:-100], y[:-100], optimizer=nn.Adam(lr=1e-4), epochs=2, random_state=0)  # and trains on


@pytest.mark.parametrize("threads", [1, 2])
def test_skips_of_a_u_are_named_values(threads):
    """A U-Net as a graph: what goes down is read again on the way up. It takes noise off digits."""
    def block(channels):
        return [nn.Conv2d(channels, 3, padding=1), nn.ReLU()]

    net = nn.Graph(
        top=("x", block(8)), low=("top", [nn.MaxPool2d(2), *block(16)]),
        up=("low", [nn.Upsample(scale_factor=2), *block(8)]), skip=(("top", "up"), nn.Concat()),
        out=("skip", [nn.Conv2d(1, 3, padding=1)]),
    )  # fmt: skip
    random = np.random.default_rng(0)
    noisy = IMAGES + 0.3 * random.normal(size=IMAGES.shape).astype("float32")
    model = nn.Sequential([net])
    model.fit(noisy[:-HELD], IMAGES[:-HELD], optimizer=nn.Adam(lr=3e-3), epochs=20, random_state=0, n_threads=threads)
    before, after = ((given[-HELD:] - IMAGES[-HELD:]).var() for given in (noisy, model.predict(noisy)))
    assert after < 0.3 * before
