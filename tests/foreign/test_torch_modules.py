"""PyTorch's own module database: every module and every set of arguments that nnkit has gives the same numbers.

``torch.testing._internal.common_modules`` lists PyTorch's modules with the arguments and the inputs that PyTorch tests them
with. Each is made here by the same name and the same words, gets the same weights (`nnkit.torch_weights`), and has to agree in
float64: output, gradient of the input, gradients of the parameters, running statistics; for a loss its value and its gradient.
What is not here, is refused, or is another thing on purpose, is named below with the reason. Nothing is named that would pass.
"""

import copy
import inspect
import re
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.loss import BoundLoss
from nnkit.network import network_of
from nnkit.passes import Pass

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    common_modules = pytest.importorskip("torch.testing._internal.common_modules", exc_type=ImportError)

torch.set_num_threads(1)  # the tensors are tiny
KNOWN_TORCH = (2, 13)  # a newer one may list modules that nobody has looked at yet
EPS = np.finfo(np.float64).eps
pytestmark = pytest.mark.filterwarnings("ignore:Using padding:UserWarning", "ignore:reduction. 'mean' divides:UserWarning",
                                        "ignore:LSTM with projections:UserWarning")  # fmt: skip

# ------------------------------------------------------------------------------------------------------------- words

NAMES = {"MultiheadAttention": "MultiHeadAttention"}
# What nnkit reads off its input.
INFERRED = {"in_features", "in_channels", "num_features", "num_channels", "input_size", "embed_dim", "d_model", "in1_features",
            "in2_features"}  # fmt: skip
# What says where things are, not what they are; rows come first here.
PLACES = {"inplace", "device", "dtype", "batch_first"}
# PyTorch gives the states of all steps, and the last ones besides.
ALWAYS = {name: {"return_sequences": True} for name in ("RNN", "GRU", "LSTM")}
# Defaults that PyTorch's signatures do not tell.
DEFAULTS = {"proj_size": 0}
TRANSLATED = {("KLDivLoss", "reduction", "batchmean"): "mean"}
# Axes of an input without a batch axis, where its description does not tell.
SEQUENCES = ("RNN", "GRU", "LSTM", "MultiheadAttention", "TransformerEncoderLayer", "TransformerEncoder",
             "TransformerDecoderLayer", "Transformer")  # fmt: skip
ROW_AXES = {"MaxPool2d": 3, "MultiLabelMarginLoss": 1, **dict.fromkeys(SEQUENCES, 2),
            **dict.fromkeys(("Bilinear", "RNNCell", "GRUCell", "LSTMCell"), 1)}  # fmt: skip
ROW_AXES |= {f"{kind}Pad{dims}d": 1 + dims for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
             for dims in (1, 2, 3)}  # fmt: skip
# How many inputs a layer reads, where these are several; all else that it is given are masks.
READS = dict.fromkeys(("Bilinear", "RNNCell", "GRUCell", "LSTMCell", "TransformerDecoderLayer", "Transformer"), 2)

# -------------------------------------------------------------------------------------------------------- exclusions

NOT_HERE = {
    "sizes are inferred by every layer": """LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d
        LazyConvTranspose3d""",
}
NOT_HERE = {name: reason for reason, names in NOT_HERE.items() for name in names.split()}

# What nnkit does not take: it says so. By what a case reads like.
REFUSED = {
    r"KLDivLoss\(.*log_target=True": "targets are probabilities",
    r"PoissonNLLLoss\(.*full=True": "constants are left out",
    r"BatchNorm.*track_running_stats=False": "a prediction does not depend on its batch",
    r"MaxPool.*return_indices=True": "a layer has one output",
    r"MultiheadAttention\(.*add_(bias_kv|zero_attn)=True": "the paper has no such thing",
    r"Softplus\(.*threshold=": "it is exact everywhere",
    r"FractionalMaxPool..\(.*_random_samples=": "windows are drawn by the seed; of the same draws, see test_random_layers",
    r"(ax|min)\(dim=0": "axis 0 is the batch",
    r"\(0, ": "a batch has a row",
}

# What is another thing here, on purpose.
OTHERWISE = {
    r"KLDivLoss\(\) of \(10": "the mean is over rows: the divergence, PyTorch's batchmean",
    r"(KLDiv|GaussianNLL)Loss\(reduction=none.*\) of \w*\(\d": "a term is a row",
    r"(MultiheadAttention|Transformer((En|De)coder(Layer)?)?)\(.* of .*mask": "a mask comes from the layers before",
}


LONG = torch.Tensor, torch.nn.Module
FUNCTIONS = type(torch.nn.functional.relu), type(torch.nn.functional.gelu)


def encoder_layer(module):
    """Ours of PyTorch's TransformerEncoderLayer, which a stack is made of."""
    return nn.TransformerEncoderLayer(
        module.self_attn.num_heads, dim_feedforward=module.linear1.out_features, dropout=module.dropout.p,
        activation=module.activation.__name__, layer_norm_eps=module.norm1.eps, norm_first=module.norm_first,
        bias=module.linear1.bias is not None,
    )  # fmt: skip


class Case(NamedTuple):
    """One module of the database with one set of arguments and inputs."""

    name: str
    training: bool
    words: dict[str, Any]  # the constructor's arguments by name
    module: Any
    given: dict[str, Any]  # forward's, the input first
    desc: str
    number: int

    def __str__(self):
        words = ", ".join(f"{name}={type(value).__name__ if isinstance(value, LONG) else value}"
                          for name, value in self.words.items())  # fmt: skip
        mode = "" if self.training else ", evaluating"
        return f"{self.number} {self.name}({words}) of {self.desc}{tuple(self.x.shape)}, {', '.join([*self.given][1:])}{mode}"

    @property
    def x(self):
        return next(iter(self.given.values()))

    @property
    def unbatched(self):
        return "no_batch_dim" in self.desc or self.x.dim() in (0, ROW_AXES.get(self.name))

    def part(self):
        """Ours of the same name with the same words, or what makes it."""
        cls = getattr(nn, NAMES.get(self.name, self.name))
        theirs, ours = inspect.signature(type(self.module)).parameters, inspect.signature(cls).parameters
        words = {}
        for name, value in self.words.items():
            default = theirs[name].default if name in theirs else DEFAULTS.get(name)
            if name not in INFERRED | PLACES and (name in ours or value != default):
                if isinstance(value, torch.nn.Module):
                    value = encoder_layer(value)
                value = value.__name__ if isinstance(value, FUNCTIONS) else value  # an activation
                words[name] = TRANSLATED.get((self.name, name, value), value) if isinstance(value, str) else value
        return cls(**words, **ALWAYS.get(self.name, {}))


def spelled(function, given):
    """The arguments of a call by their names."""
    bound = inspect.signature(function).bind(*given.args, **given.kwargs).arguments
    return {**{name: value for name, value in bound.items() if name != "kwargs"}, **bound.get("kwargs", {})}


def read_database():
    for info in common_modules.module_db:
        name = info.module_cls.__name__
        if not hasattr(nn, NAMES.get(name, name)):
            continue
        for training in (True, False) if info.train_and_eval_differ else (True,):
            torch.manual_seed(1)
            makers = {"device": "cpu", "dtype": torch.float64, "requires_grad": True, "training": training}
            for number, case in enumerate(info.module_inputs_func(info, **makers)):
                made = case.constructor_input
                with warnings.catch_warnings(action="ignore"):  # of nested tensors
                    module = info.module_cls(*made.args, **made.kwargs).double().train(training)
                if name.endswith("Loss") and getattr(module, "weight", None) is not None:
                    module.weight.abs_()  # PyTorch's are of any sign, which no weight here is
                given = spelled(module.forward, case.forward_input)
                given = {name: value for name, value in given.items() if value is not None}
                yield Case(name, training, spelled(info.module_cls, made), module, given, case.desc, number)


CASES = list(read_database())


def excluded(case):
    return case.name == "LinearCrossEntropyLoss" or any(re.search(pattern, str(case)) for pattern in (*REFUSED, *OTHERWISE))


# ------------------------------------------------------------------------------------------------------------ theirs


class GaussianOfLogarithms(torch.nn.Module):
    """PyTorch's loss of means and variances as one of means and logarithms of variances, side by side."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, prediction, target):
        mean, logarithm = prediction.chunk(2, dim=-1)
        return self.inner(mean, target, logarithm.exp())


class OfLogits(torch.nn.Module):
    """PyTorch's loss of the logarithm of a softmax, whose gradient is the true one only through that."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, log_probs, **others):
        return self.inner(log_probs.log_softmax(dim=-1), **others)


class SideBySide(torch.nn.Module):
    """PyTorch's LSTMCell, of states that lie side by side."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, input, hx):  # noqa: A002 - PyTorch's name
        return torch.cat(self.inner(input, hx.chunk(2, dim=-1)), dim=-1)


def twin(case):
    """Their module and what it is given by name, in the form that both can take."""
    module, given = copy.deepcopy(case.module), dict(case.given)
    if case.name in ALWAYS:  # a sequence begins with the state 0 here
        given.pop("hx", None)
    if case.name == "LSTMCell":
        module, given["hx"] = SideBySide(module), torch.cat(given["hx"], dim=-1)
    given = {name: torch.as_tensor(value).detach() for name, value in given.items()}
    if case.name == "GaussianNLLLoss":
        module, mean, target, variance = GaussianOfLogarithms(module), *given.values()
        given = {"prediction": torch.cat([mean, variance.log().expand_as(mean)], dim=-1), "target": target}
    if case.name == "KLDivLoss":  # of probabilities; PyTorch's are logarithms of any numbers, NaN among them
        given = {name: value.nan_to_num().sigmoid() for name, value in given.items()}
        given["input"] = given["input"].log()
    if case.name == "CTCLoss":
        module = OfLogits(module)
    if case.name == "MarginRankingLoss":  # of yes and no; PyTorch's are signs of any numbers, 0 among them
        given["target"] = given["target"].sign() + (given["target"] == 0)
    if case.name.startswith("LPPool"):  # of numbers that have powers
        given = {name: value.abs() for name, value in given.items()}
    if case.name == "MultiheadAttention":  # of a sequence to itself
        given |= dict.fromkeys(("key", "value"), given["query"])
    for part in module.modules():
        if isinstance(part, torch.nn.MultiheadAttention):
            part.batch_first = True
    return module, given


def evaluate(module, given, cotangent, reads=1):
    """Output, gradients of the first inputs, and gradients of the parameters and states as a state dict lists them."""
    names = [*given][:reads]
    x, *others = (given[name].clone().requires_grad_(given[name].is_floating_point()) for name in names)
    replaced = {id(given[name]): value for name, value in zip(names, (x, *others), strict=True)}
    module.zero_grad()
    out = module(**{name: replaced.get(id(value), value) for name, value in given.items()})
    out = out[0] if isinstance(out, tuple) else out
    out.backward(cotangent(out))
    learnt = {name: parameter.grad for name, parameter in module.named_parameters()} | dict(module.named_buffers())
    learnt = {name: learnt[name].clone() for name in module.state_dict()}
    grads = {f"grad_{name}": other.grad for name, other in zip(names[1:], others, strict=True)}
    return {"out": out.detach(), **({} if x.grad is None else {"grad_x": x.grad}), **grads, **learnt}


DRAWS, STEP = 4, 2.0**-26  # the square root of eps: half of the digits are the change's


def tolerances(module, given, cotangent, results, reads=1):
    """How far off float64 may be, for each of the results.

    A computation in floating point is the exact one of numbers that are a little off: by no more than n eps, where n counts
    the operations that a number goes through (Higham 2002, section 1.5; for a sum of n numbers, section 4.2). So a result is
    off by n eps times the sum over those numbers of how it reacts to each. Random changes of all of them show the root of the
    sum of squares, which is at most a factor sqrt(n) below the sum; a sum has no more terms than there are numbers, and what
    it rounds is off in any direction, so that sqrt(n) of the n are what counts. 32 more are for formulas of a single number,
    with functions of the C library that are right to 4 eps; intermediate numbers are about as large as 1, the numbers that come
    in, and the results.
    """
    generator = torch.Generator().manual_seed(2)

    def shaken(tensor):
        if not tensor.is_floating_point():
            return tensor
        signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
        return tensor.detach() * (1 + STEP * signs)

    reaction = dict.fromkeys(results, 0.0)
    for _ in range(DRAWS):
        other = copy.deepcopy(module)
        for parameter in other.parameters():
            parameter.data = shaken(parameter)
        moved = {id(tensor): shaken(tensor) for tensor in given.values()}
        changed = evaluate(other, {name: moved[id(tensor)] for name, tensor in given.items()}, cotangent, reads)
        for name, result in results.items():
            reaction[name] = max(reaction[name], largest(changed[name] - result) / STEP)
    numbers = [tensor for tensor in (*given.values(), *module.parameters()) if tensor.is_floating_point()]
    count = 32 + sum(tensor.numel() for tensor in numbers)
    inner = max([1.0, *map(largest, numbers)])
    return {name: count * EPS * (inner + largest(result) + reaction[name]) for name, result in results.items()}


def largest(tensor):
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0


# -------------------------------------------------------------------------------------------------------------- ours


def loss_of(part, case, given, python):
    """Our loss of their numbers: classes stand on axis 1."""
    prediction, *others, target = (tensor.contiguous().numpy() for tensor in given.values())
    shape = prediction.shape
    if part.classes and prediction.ndim > 2:
        part = part.replace(dim=1)
    if case.unbatched:
        alone = part.classes or (others and target.ndim == 0 and prediction.ndim == 1)
        prediction, others = prediction.reshape(1, -1), [other.reshape(1, -1) for other in others]
        target = target.reshape(1) if alone else target.reshape(1, -1)
    if others and not python:
        loss, (grad, *_) = part(prediction, *others, target)
        return {"out": np.asarray(loss), "grad_x": grad.reshape(shape)}
    if others:
        prediction = np.stack([prediction, *others], part.joint)
    if python:
        grad = np.empty_like(prediction)
        part.check_target(target, prediction.shape[1:], len(prediction), "target")
        bound = BoundLoss(part, prediction, target, None, grad, python=True)
        loss = bound.values().reshape(len(prediction), -1) if part.reduction == "none" else bound.value()
    else:
        loss, grad = part(prediction, target)
    grad = np.moveaxis(grad, part.joint, 0)[0] if others else grad
    return {"out": np.asarray(loss), "grad_x": grad.reshape(shape)}


def alignment_of(part, given):
    """Our loss of the logarithm of a softmax of their numbers, whose rows come second."""
    logits, *others = (tensor.numpy() for tensor in given.values())
    prediction = torch.tensor(logits).log_softmax(dim=-1).numpy().swapaxes(0, 1)
    loss, grad = part(np.ascontiguousarray(prediction), *others)
    grad = grad - np.exp(prediction) * grad.sum(axis=-1, keepdims=True)
    return {"out": np.asarray(loss), "grad_x": grad.swapaxes(0, 1)}


def layer_of(part, case, module, given, grad_out, results, python):
    """Our layer of their numbers, and their gradients and states by our names."""

    def batch(tensor):
        return tensor.numpy()[None] if case.unbatched else tensor.numpy()

    x, grad_out = batch(next(iter(given.values()))), batch(grad_out)
    in_shape = x.shape[1:]
    if part.inputs:
        x = {name: batch(tensor) for name, tensor in zip(part.inputs, given.values(), strict=False)}
        in_shape = {name: array.shape[1:] for name, array in x.items()}
    model = nn.Sequential([part]).build(in_shape, random_state=0, dtype="float64")
    theirs = model.copy()
    nn.torch_weights(model, module.state_dict())
    if python:
        network = network_of(model)
        one = Pass(network, len(grad_out), training=case.training, gradient=network.gradient, python=True)
        out, grad_x = one.forward(x), one.backward(grad_out)
    else:
        out, grad_x = model.forward(x, training=case.training), model.backward(grad_out)
    grads = {} if grad_x is None else {"grad_x": grad_x}
    if part.inputs:
        others = [*given][1 : len(part.inputs)]
        grads = dict(zip(("grad_x", *(f"grad_{name}" for name in others)), grad_x.values(), strict=True))
    ours = {"out": out, **grads, **model.gradients(), **model.states()}
    values = [name for name in results if name == "out" or name.startswith("grad_")]
    nn.torch_weights(theirs, {name: value for name, value in results.items() if name not in values})
    expected = {name: batch(results[name]) for name in values}
    return ours, {**expected, **theirs.parameters(), **theirs.states()}


def compare(case, python):
    part = case.part()
    module, given = twin(case)
    before = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(3)
    drawn = {}

    def cotangent(out):
        if case.name.endswith("Loss"):
            return torch.ones_like(out)
        return drawn.setdefault("it", torch.randn(out.shape, dtype=out.dtype, generator=generator))

    reads = READS.get(case.name, 1)
    results = evaluate(module, given, cotangent, reads)
    allowed = tolerances(before, given, cotangent, results, reads)
    if case.name.endswith("Loss"):
        ours = alignment_of(part, given) if case.name == "CTCLoss" else loss_of(part, case, given, python)
        expected = {name: results[name].numpy() for name in ("out", "grad_x")}
        assert ours["out"].size == expected["out"].size
        ours["out"] = ours["out"].reshape(expected["out"].shape)
    else:
        ours, expected = layer_of(part, case, before, given, drawn["it"], results, python)
    assert ours.keys() == expected.keys()
    of_parameters = max([0.0, *(value for name, value in allowed.items() if name != "out" and not name.startswith("grad_"))])
    for name, value in expected.items():
        assert ours[name].shape == value.shape, name
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=allowed.get(name, of_parameters), err_msg=name)


engines = pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])


@engines
@pytest.mark.parametrize("case", [case for case in CASES if not excluded(case)], ids=str)
def test_module_equals_torchs(case, python):
    compare(case, python)


# Of PyTorch's loss that holds the last layer: how it is computed is no matter of numbers; single rows, other axes and losses
# of each row are CrossEntropyLoss's, whose cases are above.
LAST = r"^\d+ LinearCrossEntropyLoss\((?!.*(options=Linear|out_features=\(\d|reduction=none)).* of \(8, 5"


@pytest.mark.parametrize("case", [case for case in CASES if re.search(LAST, str(case))], ids=str)
def test_loss_that_takes_the_last_layer_equals_torchs(case):
    """Its value, and its gradients as what a step of gradient descent changes; by the input, that is of a table of rows."""
    words = {name: case.words[name] for name in ("weight", "ignore_index", "label_smoothing", "reduction")}
    loss = nn.LinearCrossEntropyLoss(**{name: value for name, value in words.items() if value is not None})
    module, given = twin(case)
    if given["target"].is_floating_point():  # of probabilities
        given["target"] = given["target"] / given["target"].sum(dim=1, keepdim=True)
    rows, target = given["input"].numpy(), given["target"].numpy()
    biased = module.linear.bias is not None
    model = nn.Sequential([nn.Embedding(*rows.shape), nn.Linear(4, bias=biased)]).build((1,), dtype="float64")
    state = {name.replace("linear", "1"): tensor for name, tensor in module.state_dict().items() if name.startswith("linear")}
    nn.torch_weights(model, {"0.weight": torch.tensor(rows), **state})
    before = model.copy().parameters()
    history = model.fit(np.arange(len(rows))[:, None], target[:, None], loss=loss, optimizer=nn.SGD(lr=1.0), epochs=1,
                        batch_size=len(rows))  # fmt: skip
    steps = {name: before[name] - array for name, array in model.parameters().items()}
    original = copy.deepcopy(module)
    results = evaluate(module, given, torch.ones_like)
    # What a step changes is the difference of numbers as they were and are.
    allowed = {name: limit + EPS * largest(results[name]) + EPS * max(map(largest, (*given.values(), *module.parameters())))
               for name, limit in tolerances(original, given, torch.ones_like, results).items()}  # fmt: skip
    ours = {"out": np.asarray(history["loss"][0]), "grad_x": steps["0.weight"], "linear.weight": steps["1.weight"].T,
            "linear.bias": steps.get("1.bias")}  # fmt: skip
    for name, limit in allowed.items():
        if name in ours:
            np.testing.assert_allclose(ours[name], results[name], rtol=0, atol=limit, err_msg=name)


def reading(pattern):
    return [case for case in CASES if re.search(pattern, str(case))]


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_is_not_taken_is_refused(pattern):
    assert reading(pattern)
    for case in reading(pattern):
        with pytest.raises((nn.NnkitError, TypeError)):
            compare(case, python=False)


@pytest.mark.parametrize("pattern", OTHERWISE)
def test_what_is_otherwise_on_purpose_still_is(pattern):
    assert reading(pattern)
    for case in reading(pattern):
        with pytest.raises((AssertionError, nn.NnkitError, TypeError, RuntimeError)):  # PyTorch's own, of shapes
            compare(case, python=False)


OTHER_DEFAULTS = {
    ("LinearCrossEntropyLoss", "ignore_index"): "-100, which PyTorch's None is for labels",
    ("Softmax", "dim"): "the last axis; PyTorch warns, and guesses by the number of axes",
    ("LogSoftmax", "dim"): "the last axis; PyTorch warns, and guesses by the number of axes",
    ("TransformerDecoderLayer", "activation"): "'relu'; PyTorch has the function",
    ("Transformer", "activation"): "'relu'; PyTorch has the function",
    ("TransformerEncoderLayer", "activation"): "'relu'; PyTorch has the function",
    ("Softmin", "dim"): "the last axis; PyTorch warns, and guesses by the number of axes",
}


def test_words_in_common_have_the_same_defaults():
    others = set()
    for name, module in vars(torch.nn).items():
        part = getattr(nn, NAMES.get(name, name), None)
        if isinstance(module, type) and isinstance(part, type):
            theirs, ours = inspect.signature(module).parameters, inspect.signature(part).parameters
            words = [word for word in theirs.keys() & ours.keys() if theirs[word].default is not inspect.Parameter.empty]
            others |= {(name, word) for word in words if theirs[word].default != ours[word].default}
    assert others == OTHER_DEFAULTS.keys()


def test_every_module_is_here_or_said_not_to_be():
    database = {info.module_cls.__name__ for info in common_modules.module_db}
    here = {name for name in database if hasattr(nn, NAMES.get(name, name))}
    assert not here & NOT_HERE.keys(), "is here by now"
    assert not NOT_HERE.keys() - database, "PyTorch has no such module"
    if KNOWN_TORCH == tuple(map(int, torch.__version__.split(".")[:2])):
        assert not database - here - NOT_HERE.keys(), "is in neither"
