"""The recipes for tables, written out in PyTorch: from the same start, on the same batches, training takes the same path."""

import warnings
from math import cos, log2, pi, sqrt

import numpy as np
import pytest

import nnkit as nn
from nnkit.estimators.recipes import RECIPES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

EPOCHS, ROWS, BATCH, HIDDEN = 20, 96, 32, [12, 10, 8]
EPS = np.finfo(np.float64).eps


class Start(nn.Callback):
    """Notes the parameters that training begins with, after layers have looked at the data."""

    def on_fit_begin(self, fit):
        self.parameters = {name: array.copy() for name, array in fit.model.parameters().items()}


def table(rng):
    """Numbers, flags and codes of twelve categories."""
    rows = [[number, colour, f"town {town}"] for number, colour, town in
            zip(rng.normal(size=ROWS).tolist(), rng.choice(["red", "blue", "green"], ROWS).tolist(),
                rng.permutation(np.arange(ROWS) % 12).tolist(), strict=True)]  # fmt: skip
    number = np.array([row[0] for row in rows])
    return rows, np.sin(3 * number) + 0.1 * rng.normal(size=ROWS)


def ntk(x, weight, bias):
    return x @ weight / sqrt(x.shape[1]) + bias


def embedded(x, start, values, numbers):
    """PBLD of the numbers, each beside its own waves; flags as they are; vectors for codes."""
    given = iter(start)
    frequency, phase, weight, bias = (next(given) for _ in range(4))
    waves = torch.cos(2 * pi * x[:, :values, None] * frequency + phase)
    waves = torch.einsum("nfh,fho->nfo", waves, weight) + bias
    parts = [torch.cat([waves, x[:, :values, None]], 2).flatten(1), x[:, values:numbers]]
    parts += [next(given)[x[:, place].long()] for place in range(numbers, x.shape[1])]
    return torch.cat(parts, 1)


class Oracle:
    """A recipe by its paper: ``rates`` and ``decays`` of each parameter, and ``scheduled``, by what both are multiplied."""

    def __init__(self, recipe, classes, parameters, constants, scheme):
        self.recipe, self.classes, self.scheme = recipe, classes, scheme
        self.names = [*parameters]
        self.values = [torch.tensor(array, requires_grad=True) for array in parameters.values()]
        self.constants = {name: torch.tensor(array) for name, array in constants.items()}
        self.rates = [self.rate(name) for name in self.names]
        self.decays = [self.decay(name) for name in self.names]

    def loss(self, said, y):
        smoothing = 0.0 if self.recipe == "tabm" else 0.1
        return (torch.nn.functional.cross_entropy(said, y, label_smoothing=smoothing) if self.classes
                else torch.nn.functional.mse_loss(said, y))  # fmt: skip

    def losses(self, x, y):
        """The mean loss of each epoch."""
        adam = torch.optim.Adam([{"params": [value]} for value in self.values], betas=self.betas)
        batches, found = ROWS // BATCH, []
        for step in range(EPOCHS * batches):
            part = slice(step % batches * BATCH, (step % batches + 1) * BATCH)
            rated, decayed = self.scheduled(step / (EPOCHS * batches))
            value = self.loss(self.forward(x[part]), y[part])
            adam.zero_grad()
            value.backward()
            for group, rate, decay in zip(adam.param_groups, self.rates, self.decays, strict=True):
                group["lr"] = rate * rated
                group["params"][0].data.mul_(1 - rate * rated * decay * decayed)
            adam.step()
            found.append(value.item())
        return np.reshape(found, (EPOCHS, batches)).mean(axis=1)


class RealMLP(Oracle):
    betas = (0.9, 0.95)

    def factor(self, name):
        if name.startswith("0.0."):
            return 0.1  # waves
        return {"scale": 6.0, "bias": 0.1, "share": 0.1}.get(name.rpartition(".")[2], 1.0)

    def rate(self, name):
        lr = {("td-s", True): 0.04, ("td-s", False): 0.07, ("td", True): 0.04, ("td", False): 0.2}[self.recipe, self.classes]
        return lr * self.factor(name)

    def decay(self, name):
        plain = self.recipe == "td-s" or (name.endswith("bias") and not name.startswith("0.0."))
        return 0.0 if plain else 0.02 * self.factor(name)

    def scheduled(self, t):
        return (1 - cos(2 * pi * log2(1 + 15 * t))) / 2, (1 + cos(pi * (max(1, 2 * t) - 1))) / 2

    def forward(self, x):
        activation = torch.nn.functional.selu if self.classes else torch.nn.functional.mish
        values = iter(self.values)
        if self.recipe == "td":
            start = [next(values) for _ in range(4 + self.scheme.n_codes_)]
            x = embedded(x, start, self.scheme.n_values_, self.scheme.n_numbers_)
        x = x * next(values)
        for _ in HIDDEN:
            x = ntk(x, next(values), next(values))
            x = activation(x) if self.recipe == "td-s" else x + next(values) * (activation(x) - x)
        return ntk(x, next(values), next(values))


class TabM(Oracle):
    betas = (0.9, 0.999)

    def rate(self, name):
        return 2e-3

    def decay(self, name):
        return 0.0 if name.startswith("0.") or name.endswith("bias") else 3e-4

    def scheduled(self, t):
        return 1.0, 1.0

    def forward(self, x):
        numbers, values = self.scheme.n_values_, iter(self.values)
        weight, slope, bias = (next(values) for _ in range(3))
        (ends,) = self.constants.values()
        number = x[:, :numbers, None]
        shares = (number - ends[None, :, :-1]) / (ends[:, 1:] - ends[:, :-1])  # none is below the first end here, or above all
        parts = [(slope * number + bias + torch.einsum("nft,ftd->nfd", shares.clamp(0, 1), weight)).flatten(1),
                 x[:, numbers : self.scheme.n_numbers_]]  # fmt: skip
        parts += [next(values)[x[:, place].long()] for place in range(self.scheme.n_numbers_, x.shape[1])]
        x = torch.cat(parts, 1)[:, None].expand(-1, 32, -1)
        for _ in HIDDEN:
            weight, r, s, bias = (next(values) for _ in range(4))
            x = torch.relu(s * ((r * x) @ weight) + bias)
        weight, bias = next(values), next(values)
        return torch.einsum("nmi,mio->nmo", x, weight) + bias

    def loss(self, said, y):
        return sum(super(TabM, self).loss(said[:, member], y) for member in range(32)) / 32


ORACLES = {"td-s": RealMLP, "td": RealMLP, "tabm": TabM}


@pytest.mark.parametrize("classes", [True, False], ids=["classes", "numbers"])
@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_recipe_is_that_of_the_paper(recipe, classes):
    rows, number = table(np.random.default_rng(0))
    target = (number > 0).astype(np.int64) if classes else (number - number.mean())[:, None] / number.std()
    made = RECIPES[recipe]
    scheme = nn.TableScheme(max_one_hot=made.max_one_hot, dtype="float64").fit(rows)
    x = scheme.transform(rows)
    layers = made.layers(scheme, HIDDEN, 2 if classes else 1, classes=classes)
    model = nn.Sequential([layer for layer in layers if not isinstance(layer, nn.Dropout)])
    model.build(x.shape[1:], random_state=0, dtype="float64")
    optimizer = made.optimizer(scheme, classes=classes)
    history = model.fit(x, made.goals(target), loss=made.loss(classes=classes), optimizer=optimizer, epochs=EPOCHS,
                        batch_size=BATCH, shuffle=False, callbacks=[start := Start()])  # fmt: skip
    oracle = ORACLES[recipe](recipe, classes, start.parameters, model.states(), scheme)
    expected = oracle.losses(torch.tensor(x), torch.tensor(target))
    assert expected[-1] < 0.9 * expected[0]  # it has learned something
    # 60 steps of Adam: where a gradient is near 0, its sign is that of rounding, and a step goes lr this way or that
    np.testing.assert_allclose(history["loss"], expected, rtol=2**26 * EPS)


def test_td_s_begins_with_numbers_of_variance_1():
    scheme = nn.TableScheme(max_one_hot=None).fit(np.random.default_rng(0).normal(size=(20, 30)))
    model = nn.Sequential(RECIPES["td-s"].layers(scheme, [200, 200], 3, classes=True)).build((30,), random_state=0)
    drawn = {name: array for name, array in model.parameters().items() if name.startswith(("1.", "3."))}
    for name, array in drawn.items():
        assert abs(array.std() - 1) < 6 / np.sqrt(2 * array.size), name  # six standard errors
    assert not model.parameters()["5.weight"].any() and not model.parameters()["5.bias"].any()
