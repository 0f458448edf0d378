"""torch.optim: a hundred steps on two functions take the same path, with the same words, in float64."""

import inspect
import itertools
import warnings

import numpy as np
import pytest

import nnkit as nn
from nnkit.testing import walk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # the tensors are tiny
KNOWN_TORCH = (2, 13)
EPS = np.finfo(np.float64).eps
STEPS, SHAPE = 100, (5, 4)

NOT_HERE = {  # among the optimizers
    "LBFGS": "a trainer: tests/unit/test_trainers.py compares the way it goes",
    "SparseAdam": "gradients are dense",
}
# How PyTorch runs a step, not what a step is.
MECHANICS = {"self", "params", "foreach", "fused", "capturable", "differentiable"}
REFUSED = {"decoupled_weight_decay": "AdamW decouples it"}
OTHER_DEFAULTS = {("SGD", "lr"): "0.01, which PyTorch had no default for until 2.4, and has 0.001 since then"}

DECAY = {"weight_decay": [0.0, 0.05]}
BETAS = {"betas": [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)], "eps": [1e-8, 1e-3], **DECAY}
GRID = {
    "SGD": {"lr": [1e-3], "momentum": [0.0, 0.9], "nesterov": [False, True], **DECAY},
    "ASGD": {"lr": [1e-3], "lambd": [1e-4, 0.5], "alpha": [0.75, 0.2], "t0": [1e6, 3.0], **DECAY},
    "Rprop": {"lr": [0.01], "etas": [(0.5, 1.2), (0.2, 1.1)], "step_sizes": [(1e-6, 50), (1e-3, 0.02)]},
    "Adagrad": {"lr": [0.1], "eps": [1e-10, 1e-3], **DECAY},
    "Adadelta": {"lr": [0.3, 0.1], "rho": [0.9, 0.5], "eps": [1e-6, 1e-4], **DECAY},
    "RMSprop": {"lr": [1e-3], "alpha": [0.99, 0.5], "eps": [1e-8, 1e-3], "momentum": [0.0, 0.9], **DECAY},
    "Adam": {"lr": [0.01], **BETAS},
    "AdamW": {"lr": [0.01], **BETAS},
    "Adamax": {"lr": [0.01], **BETAS},
    "NAdam": {"lr": [2e-3], "momentum_decay": [4e-3, 0.1], **BETAS},
    "RAdam": {"lr": [1e-3], **BETAS},
}
FEW_BETAS = {"betas": [(0.9, 0.999), (0.5, 0.9)], **DECAY}
OPTIONS = {
    "SGD": {"lr": [1e-3], "momentum": [0.9, 0.5], "dampening": [0.3, 0.8], **DECAY},
    "Adagrad": {"lr": [0.1], "lr_decay": [0.01, 0.3], "initial_accumulator_value": [0.0, 0.5], **DECAY},
    # Of fewer gradients, the variance is a difference of numbers that are nearly equal.
    "RMSprop": {"lr": [1e-3], "alpha": [0.99, 0.97], "momentum": [0.0, 0.9], "centered": [True], **DECAY},
    "Adam": {"lr": [0.01], "amsgrad": [True], **FEW_BETAS},
    "AdamW": {"lr": [0.01], "amsgrad": [True], **FEW_BETAS},
    "NAdam": {"lr": [2e-3], "decoupled_weight_decay": [True], **FEW_BETAS},
    "RAdam": {"lr": [1e-3], "decoupled_weight_decay": [True], **FEW_BETAS},
}
WORDS = [
    (name, words)
    for table in (GRID, OPTIONS) for name, grid in table.items()
    for words in (dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    if not words.get("nesterov") or words["momentum"]  # both refuse the others
]  # fmt: skip


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


@pytest.mark.parametrize("name", GRID)
def test_climbing_path_equals_torchs(name):
    """Up the negative function; the weight decay pulls down all the same."""
    words = {**{word: values[-1] for word, values in GRID[name].items()}, "maximize": True}
    compare(getattr(nn, name)(**words), name, words, lambda w: -rosenbrock(w))


def test_average_of_asgd_equals_torchs():
    """The state that stands beside the parameters."""
    words = {"lr": 0.1, "lambd": 0.1, "t0": 3.0}
    grads = [1.0, -0.5, 2.0, 1.0, -3.0, 0.5, 0.25]
    w = torch.nn.Parameter(torch.zeros(1))
    theirs, averages = torch.optim.ASGD([w], **words), []
    for number in grads:
        w.grad = torch.tensor([number])
        theirs.step()
        averages.append(float(theirs.state[w]["ax"]))
    np.testing.assert_allclose(walk(nn.ASGD(**words), grads, of="average"), averages, rtol=32 * EPS)


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


# ------------------------------------------------------------------------------------- those that look at whole parameters

OF_WHOLE = {
    "Adafactor": {
        "lr": [0.01, 1.0], "beta2_decay": [-0.8, -0.3], "eps": [(None, 1e-3), (0.1, 0.5)], "d": [1.0, 3.0], **DECAY
    },
    "Muon": {
        "lr": [0.02], "momentum": [0.95, 0.5], "nesterov": [True, False], "eps": [1e-7, 0.5], "ns_steps": [5, 1],
        "ns_coefficients": [(3.4445, -4.775, 2.0315), (1.5, -0.5, 0.0)], "weight_decay": [0.1, 0.0],
        "adjust_lr_fn": [None, "original", "match_rms_adamw"],
    },
}  # fmt: skip


def one_by_one(grid):
    """The first of all values, and then each of the others alone."""
    first = {word: values[0] for word, values in grid.items()}
    return [first, *({**first, word: value} for word, values in grid.items() for value in values[1:])]


def whole_parameters(steps=30):
    """A net with matrices that are wide and high, filters and vectors; PyTorch's twins of its parameters; gradients."""
    layers = [nn.Conv1d(5, 2), nn.Flatten(), nn.Linear(7), nn.Linear(11), nn.Linear(1, bias=False)]
    model = nn.Sequential(layers).build((3, 4), random_state=0, dtype="float64")
    generator = np.random.default_rng(1)
    scales = [*generator.choice([1e-3, 1.0, 30.0], steps - 2), 0.0, 1e-9]
    grads = [{name: scale * generator.normal(size=array.shape) for name, array in model.parameters().items()}
             for scale in scales]  # fmt: skip
    return model, grads


def as_torchs(array):
    return torch.from_numpy((array.T if array.ndim == 2 else array).copy())


@pytest.mark.parametrize("case", [(name, words) for name in OF_WHOLE for words in one_by_one(OF_WHOLE[name])], ids=spelled)
def test_path_of_whole_parameters_equals_torchs(case, monkeypatch):
    """Muon's vectors take AdamW's steps; its iteration is compared in float64, where PyTorch has bfloat16."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    name, words = case
    model, grads = whole_parameters()
    twins = {key: torch.nn.Parameter(as_torchs(array)) for key, array in model.parameters().items()}
    if name == "Muon":
        shared = {word: words[word] for word in ("lr", "eps", "weight_decay")}
        flat = {key: torch.nn.Parameter(twin.detach().flatten(1)) for key, twin in twins.items() if twin.ndim > 1}
        vectors = {key: twin for key, twin in twins.items() if twin.ndim == 1}
        twins = {**flat, **vectors}
        optimizers = [torch.optim.Muon(flat.values(), **words), torch.optim.AdamW(vectors.values(), **shared)]
    else:
        optimizers = [torch.optim.Adafactor(twins.values(), **words)]
    ours = getattr(nn, name)(**words)
    for step in grads:
        for key, grad in step.items():
            model.gradients()[key][...] = grad
            twins[key].grad = as_torchs(grad).reshape(twins[key].shape)
        for optimizer in optimizers:
            optimizer.step()
        ours.step(model)
        for key, value in model.parameters().items():
            expected = twins[key].detach()
            np.testing.assert_allclose(as_torchs(value).reshape(expected.shape), expected, rtol=1e-9, atol=1e-11, err_msg=key)


def theirs():
    return {name: part for name, part in vars(torch.optim).items() if isinstance(part, type)
            and issubclass(part, torch.optim.Optimizer) and part is not torch.optim.Optimizer}  # fmt: skip


def test_every_optimizer_is_compared_or_said_not_to_be():
    here = {name for name in theirs() if issubclass(getattr(nn, name, object), nn.Optimizer)}
    assert here == {*GRID, *OF_WHOLE}
    assert not here & NOT_HERE.keys(), "is here by now"
    if KNOWN_TORCH == tuple(map(int, torch.__version__.split(".")[:2])):
        assert theirs().keys() == here | NOT_HERE.keys()


@pytest.mark.parametrize("name", [*GRID, *OF_WHOLE])
def test_every_word_is_compared_or_refused_and_means_the_same(name):
    their_words, our_words = (inspect.signature(getattr(module, name)).parameters for module in (torch.optim, nn))
    for word, parameter in their_words.items():
        if word in MECHANICS or word == "maximize":
            continue
        if word in REFUSED:
            with pytest.raises(TypeError, match=word):
                getattr(nn, name)(**{word: 1})
            continue
        assert word in {**GRID.get(name, {}), **OPTIONS.get(name, {}), **OF_WHOLE.get(name, {})}
        same = our_words[word].default == parameter.default
        assert same != ((name, word) in OTHER_DEFAULTS), word
