"""torch.optim: a hundred steps on two functions take the same path, with the same words, in float64."""

import inspect
import itertools
import warnings

import numpy as np
import pytest

import nnkit as nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # the tensors are tiny
KNOWN_TORCH = (2, 13)
EPS = np.finfo(np.float64).eps
STEPS, SHAPE = 100, (5, 4)

NOT_HERE = {
    "ASGD": "no such part",
    "Adadelta": "no such part",
    "Adafactor": "no such part",
    "Adamax": "no such part",
    "LBFGS": "not a step of a gradient: it evaluates the loss several times",
    "Muon": "it knows which parameters are matrices; an update sees a flat vector",
    "Rprop": "no such part; it wants the gradient of all rows",
    "SparseAdam": "gradients are dense",
}
# How PyTorch runs a step, not what a step is.
MECHANICS = {"self", "params", "foreach", "fused", "capturable", "differentiable"}
REFUSED = {
    "maximize": "the sign is the loss's",
    "dampening": "it is 0",
    "amsgrad": "v is the running mean",
    "centered": "the mean of the gradient is not taken off",
    "lr_decay": "rates are a schedule's",
    "initial_accumulator_value": "states begin at 0",
    "decoupled_weight_decay": "AdamW decouples it",
}
OTHER_DEFAULTS = {("SGD", "lr"): "0.01, which PyTorch had no default for until 2.4, and has 0.001 since then"}

BETAS = {"betas": [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)], "eps": [1e-8, 1e-3], "weight_decay": [0.0, 0.05]}
GRID = {
    "SGD": {"lr": [1e-3], "momentum": [0.0, 0.9], "nesterov": [False, True], "weight_decay": [0.0, 0.05]},
    "Adagrad": {"lr": [0.1], "eps": [1e-10, 1e-3], "weight_decay": [0.0, 0.05]},
    "RMSprop": {
        "lr": [1e-3], "alpha": [0.99, 0.5], "eps": [1e-8, 1e-3], "momentum": [0.0, 0.9], "weight_decay": [0.0, 0.05]
    },
    "Adam": {"lr": [0.01], **BETAS},
    "AdamW": {"lr": [0.01], **BETAS},
    "NAdam": {"lr": [2e-3], "momentum_decay": [4e-3, 0.1], **BETAS},
    "RAdam": {"lr": [1e-3], **BETAS},
}  # fmt: skip
WORDS = [
    (name, words)
    for name, grid in GRID.items()
    for words in (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    if not words.get("nesterov") or words["momentum"]  # both refuse the others
]


def rosenbrock(w):
    """A valley with a bend: steep across it, flat along it."""
    x = w.flatten()
    return (10 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


GENERATOR = torch.Generator().manual_seed(1)
ROWS = torch.randn((30, 20), dtype=torch.float64, generator=GENERATOR) * torch.logspace(-1, 1, 20, dtype=torch.float64)
LABELS = torch.randint(0, 2, (30,), generator=GENERATOR).double()
START = torch.randn(SHAPE, dtype=torch.float64, generator=GENERATOR)


def logistic_regression(w):
    """On features of very different scales."""
    return torch.nn.functional.binary_cross_entropy_with_logits(ROWS @ w.flatten(), LABELS)


FUNCTIONS = [rosenbrock, logistic_regression]
functions = pytest.mark.parametrize("function", FUNCTIONS)


def gradient(function, w):
    point = torch.as_tensor(w).clone().requires_grad_(True)
    return torch.autograd.grad(function(point), point)[0]


def their_path(name, words, function, clip=lambda parameter: None, shaken=lambda tensor: tensor):
    w = torch.nn.Parameter(shaken(START.clone()))
    optimizer = getattr(torch.optim, name)([w], **words)
    path = []
    for _ in range(STEPS):
        w.grad = shaken(gradient(function, w.detach()))
        clip(w)
        optimizer.step()
        w.data = shaken(w.data)
        path.append(w.detach().numpy().copy())
    return np.array(path)


def our_path(optimizer, function):
    model = nn.Sequential([nn.Linear(SHAPE[1], bias=False)]).build(SHAPE[:1], dtype="float64")
    value, grad = model.parameters()["0.weight"], model.gradients()["0.weight"]
    value[...] = START.numpy()
    path = []
    for _ in range(STEPS):
        grad[...] = gradient(function, value.copy()).numpy()
        optimizer.step(model)
        path.append(value.copy())
    return np.array(path)


STEP, OPERATIONS = 2.0**-26, 32


def compare(optimizer, name, words, function, clip=lambda parameter: None):
    """The same path, as far as float64 can tell.

    A step of rounded numbers is the exact step of numbers that are a little off: it has less than 32 operations on a number,
    so by no more than 32 eps of the parameter and of its gradient. The path that is shaken so, on purpose and much more, shows
    how far that can lead at each step.
    """
    expected = their_path(name, words, function, clip)
    generator = torch.Generator().manual_seed(2)

    def shaken(tensor):
        return tensor * (1 + STEP * (torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1))

    reaction = np.abs(their_path(name, words, function, clip, shaken) - expected).max(axis=(1, 2)) / STEP
    assert reaction.max() * STEP < 0.01  # else it would tell nothing
    off = np.abs(our_path(optimizer, function) - expected).max(axis=(1, 2))
    allowed = OPERATIONS * EPS * (np.abs(expected).max(axis=(1, 2)) + np.maximum.accumulate(reaction))
    wrong = off > allowed
    assert not wrong.any(), f"step {np.argmax(wrong) + 1}: {off[wrong][0]:g} off, allowed {allowed[wrong][0]:g}"
    assert np.abs(expected - START.numpy()).max() > 0.01  # it has come somewhere


@pytest.fixture(autouse=True)
def double_precision():
    """PyTorch's optimizers keep their own numbers in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def spelled(case):
    return f"{case[0]}({', '.join(f'{name}={value}' for name, value in case[1].items())})"


@functions
@pytest.mark.parametrize("case", WORDS, ids=spelled)
def test_path_equals_torchs(case, function):
    name, words = case
    compare(getattr(nn, name)(**words), name, words, function)


def by_norm(limit):
    """PyTorch divides by the norm + 1e-6, nnkit by the norm."""

    def clip(parameter):
        norm = float(parameter.grad.norm())
        torch.nn.utils.clip_grad_norm_([parameter], limit * (1 + 1e-6 / norm))

    return clip


def by_value(limit):
    return lambda parameter: torch.nn.utils.clip_grad_value_([parameter], limit)


def by_both(value, norm):
    def clip(parameter):
        by_value(value)(parameter)
        by_norm(norm)(parameter)

    return clip


CLIPS = [
    ({"clip_norm": 0.3}, by_norm(0.3)),
    ({"clip_norm": 30.0}, by_norm(30.0)),  # some gradients are shorter
    ({"clip_value": 0.1}, by_value(0.1)),
    ({"clip_value": 0.1, "clip_norm": 0.2}, by_both(0.1, 0.2)),
]


@functions
@pytest.mark.parametrize(("ours", "clip"), CLIPS, ids=[str(ours) for ours, _ in CLIPS])
@pytest.mark.parametrize("words", [{"lr": 2e-3, "momentum": 0.9}, {"lr": 2e-3, "weight_decay": 0.05}], ids=str)
def test_clipped_path_equals_torchs(ours, clip, words, function):
    compare(nn.SGD(**words, **ours), "SGD", words, function, clip)


def theirs():
    return {name: part for name, part in vars(torch.optim).items() if isinstance(part, type)
            and issubclass(part, torch.optim.Optimizer) and part is not torch.optim.Optimizer}  # fmt: skip


def test_every_optimizer_is_compared_or_said_not_to_be():
    here = {name for name in theirs() if hasattr(nn, name)}
    assert here == set(GRID)
    assert not here & NOT_HERE.keys(), "is here by now"
    if KNOWN_TORCH == tuple(map(int, torch.__version__.split(".")[:2])):
        assert theirs().keys() == here | NOT_HERE.keys()


@pytest.mark.parametrize("name", GRID)
def test_every_word_is_compared_or_refused_and_means_the_same(name):
    their_words, our_words = (inspect.signature(getattr(module, name)).parameters for module in (torch.optim, nn))
    for word, parameter in their_words.items():
        if word in MECHANICS:
            continue
        if word in REFUSED:
            with pytest.raises(TypeError, match=word):
                getattr(nn, name)(**{word: 1})
            continue
        assert word in GRID[name]
        same = our_words[word].default == parameter.default
        assert same != ((name, word) in OTHER_DEFAULTS), word
