"""The recipes beside pytabkit itself: from its start, on its batches, the loss of every step is the same but for rounding."""

import numpy as np
import pandas as pd
import pytest

import nnkit as nn
from nnkit.estimators.recipes import RECIPES

pytabkit = pytest.importorskip("pytabkit")
from pytabkit.models.training import lightning_modules  # noqa: E402

EPOCHS, ROWS, VALUES = 20, 600, 4
EPS = np.finfo(np.float32).eps


def frame():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(ROWS, VALUES)), columns=list("abcd"))
    X["few"] = pd.Categorical(rng.choice(["red", "blue", "green"], ROWS))
    X["many"] = pd.Categorical([f"town {place % 12}" for place in range(ROWS)])
    return X, np.sin(2 * X["a"]) + (X["few"] == "red") + 0.1 * rng.normal(size=ROWS)


class Recorded:
    """What pytabkit begins with, what it is shown, and its losses."""

    def __init__(self, monkeypatch):
        self.parameters, self.batches, self.losses = None, [], []
        step = lightning_modules.TabNNModule.training_step

        def recording(module, batch, place):
            if self.parameters is None:
                self.parameters = {name: array.detach().numpy()[0].copy() for name, array in module.model.named_parameters()}
                self.buffers = {name: array.detach().numpy()[0].copy() for name, array in module.model.named_buffers()}
            self.batches.append({name: array.detach().numpy()[0].copy() for name, array in batch.items()})
            loss = step(module, batch, place)
            self.losses.append(loss.item())
            return loss

        monkeypatch.setattr(lightning_modules.TabNNModule, "training_step", recording)

    def buffer(self, name):
        """The first of this kind."""
        return next(array for path, array in self.buffers.items() if path.endswith(name))

    def whole(self, name):
        return np.concatenate([batch[name] for batch in self.batches])


def bent(x, center, factor):
    z = (x + center) * factor
    return z / np.sqrt(1 + (z / 3) ** 2)


def rows_of(recorded, recipe):
    """Rows as nnkit's nets take them: numbers, flags, codes."""
    numbers = recorded.whole("x_cont")
    if recipe == "td-s":  # all numbers, scaled
        return numbers, numbers.shape[1]
    flags, buffers = recorded.whole("x_one_hot"), [*recorded.buffers.values()]
    rows = [bent(numbers, *buffers[:2]), bent(flags, *buffers[2:4])]
    return np.hstack([*rows, recorded.whole("x_cat")]), VALUES + flags.shape[1]


def start_of(recorded, recipe):
    """Parameters in the order that nnkit has them; waves lie beside their own number, not before all numbers."""
    arrays = [*recorded.parameters.values()]
    if recipe == "td":
        frequency, weight, phase, bias, *rest = arrays
        place = next(place for place, (name, _) in enumerate(recorded.parameters.items()) if name.endswith("scale"))
        scale, first = arrays[place : place + 2]
        outputs = weight.shape[2]
        order = [feature * outputs + wave if wave < outputs else VALUES * outputs + feature
                 for feature in range(VALUES) for wave in range(outputs + 1)]  # fmt: skip
        order += range(len(order), len(first))
        embeddings = rest[: place - 4]
        arrays = [frequency, phase, weight, bias, *embeddings, scale[:, order], first[order], *arrays[place + 2 :]]
    return arrays


class Begin(nn.Callback):
    """Starts with these parameters, and notes the loss of every step."""

    def __init__(self, arrays):
        self.arrays = arrays

    def on_fit_begin(self, fit):
        parameters, self.losses = fit.model.parameters(), []
        for (name, array), given in zip(parameters.items(), self.arrays, strict=True):
            parameters[name] = given.reshape(array.shape)

    def on_batch_end(self, fit):
        self.losses.append(fit.loss)


@pytest.mark.parametrize("classes", [True, False], ids=["classes", "numbers"])
@pytest.mark.parametrize("recipe", ["td-s", "td"])
@pytest.mark.filterwarnings("ignore")
def test_training_is_that_of_pytabkit(recipe, classes, monkeypatch):
    recorded = Recorded(monkeypatch)
    X, y = frame()
    name = f"RealMLP_{recipe.upper().replace('-', '_')}_{'Classifier' if classes else 'Regressor'}"
    theirs = getattr(pytabkit, name)(random_state=0, n_threads=1, device="cpu", n_epochs=EPOCHS, p_drop=0.0)
    theirs.fit(X, (y > 0.5).astype(int) if classes else y)

    made = RECIPES[recipe]
    rows, numbers = rows_of(recorded, recipe)
    scheme = nn.TableScheme()
    scheme.n_values_, scheme.n_numbers_, scheme.n_codes_ = VALUES, numbers, rows.shape[1] - numbers
    scheme.cardinalities_ = [len(array) for name, array in recorded.parameters.items() if name.endswith(".emb")]
    target = recorded.whole("y")
    target = target[:, 0].astype(np.int64) if classes else (target - recorded.buffer("mean")) / recorded.buffer("std")
    layers = made.layers(scheme, made.hidden, 2 if classes else 1, classes=classes)
    model = nn.Sequential([layer for layer in layers if not isinstance(layer, nn.Dropout)])
    begin = Begin(start_of(recorded, recipe))
    optimizer, batch = made.optimizer(scheme, classes=classes), len(recorded.batches[0]["y"])
    model.fit(rows.astype(np.float32), target, loss=made.loss(classes=classes), optimizer=optimizer, epochs=1, batch_size=batch,
              shuffle=False, callbacks=[begin])  # fmt: skip
    assert len(begin.losses) == len(recorded.losses) >= EPOCHS
    assert recorded.losses[-1] < 0.9 * recorded.losses[0]
    # rounding doubles within some steps of Adam, whose first ones have the size of lr whatever the gradient's
    np.testing.assert_allclose(begin.losses, recorded.losses, rtol=2**14 * EPS)
