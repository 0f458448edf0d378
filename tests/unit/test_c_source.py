"""Nets as C files: what compilers make of them computes what nnkit computes."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from math import prod

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.container import as_layer
from nnkit.kernels.math import exp, sigmoid
from nnkit.network import network_of
from nnkit.persistence.c_names import taken
from nnkit.testing.inputs import draw

CC = shutil.which("cc")
STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
NEAR = {"float32": 1e-5, "float64": 1e-12}
NUMBER = {"float32": np.float32, "float64": np.float64}

needs_cc = pytest.mark.skipif(CC is None, reason="there is no C compiler")

BUILT_IN = [part for part in nn.registry.layers.values() if part.__module__.startswith("nnkit.")]
BUILT_IN += [part for part in nn.registry.activations.values() if part.__module__.startswith("nnkit.")]
REFUSED = {"rnn", "gru", "lstm", "masking", "multi_head_attention", "positional_embedding", "cross_attention", "bilinear",
           "cosine_similarity", "pairwise_distance", "rnn_cell", "gru_cell", "lstm_cell", "transformer_encoder_layer",
           "transformer_encoder", "transformer_decoder_layer", "transformer_decoder",
           "transformer", "max_unpool1d", "max_unpool2d", "max_unpool3d"}  # fmt: skip - what has no C, and no other part
EXAMPLES = [example for part in BUILT_IN if part.key not in REFUSED for example in part.examples()]


class Newton(nn.Activation):
    """What the translation of a scalar function has to cope with: variables, decisions, constants, helpers."""

    def __init__(self, slope=0.5, power=3, gentle=True):
        self.slope = slope
        self.power = power
        self.gentle = gentle

    @staticmethod
    def forward(x, slope, power, gentle):
        half, third = x / 2, 1 / power
        inside = (x > -1.0) & (x <= 2.0)
        if gentle:
            half *= slope
        if x < -2.0:
            y = -twice(np.sqrt(abs(x)))
        elif inside or not x < 3.0:
            y = max(half, np.minimum(x, third)) ** 2
        else:
            y = 0.0 if x != x else sigmoid(x) - exp(-x) * BASE
        count = 2 if -1.0 < x < 1.0 else 7
        return y - (half + np.arctan2(x, 2.0)) + (1 - (x - 2.0)) / count + np.float32(x) * (-third - -1.5)

    @staticmethod
    def backward(grad_out):
        return grad_out


BASE = 1.25


def twice(x):
    return x + x


def residual_block(channels):
    return nn.Residual(nn.Conv2d(channels, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(),
                       nn.Conv2d(channels, 3, padding=1, bias=False), nn.BatchNorm2d())  # fmt: skip


def shrinking_block(channels):
    inner = [nn.Conv2d(channels, 3, stride=2, padding=1), nn.BatchNorm2d(), nn.SiLU(), nn.Conv2d(channels, 3, padding=1)]
    return nn.Branches(inner, nn.Conv2d(channels, 1, stride=2), merge="add")


linear = nn.Linear(4)
conv = nn.Conv2d(2, 3, padding=1)


BENDS, STEPS = (0.25, 1.5, -0.1), (1, 3)


class Table(nn.Activation):
    """Numbers of tuples: hyper-parameters and globals, reals and whole ones, by constant and computed indices."""

    def __init__(self, slopes=(0.1, 0.5, 2.0), counts=(2, 5)):
        self.slopes = slopes
        self.counts = counts

    @staticmethod
    def forward(x, slopes, counts):
        low, middle, high = slopes
        piece = 0 if x < -1.0 else 1 if x < 1.0 else len(slopes) - 1
        if slopes[0] < 1.0:
            low = -high
        return x * slopes[piece] + bent(x, piece) + counts[1] / counts[0] + low - middle * slopes[-1]

    @staticmethod
    def backward(grad_out):
        return grad_out


def bent(x, piece):
    return BENDS[int(piece)] * x + STEPS[1] / len(STEPS)


class OneOf(nn.Layer):
    """Its C names an array of numbers that is a hyper-parameter."""

    def __init__(self, factors=(2.0, 0.5)):
        self.factors = factors

    @staticmethod
    def forward(x, factors, out):
        out[:] = factors[1] * x

    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = grad_out

    def c(self):
        return """
            void forward(const real x[N], real out[N])
            {
                for (int i = 0; i < N; i++)
                    out[i] = factors[1] * x[i];
            }"""


NETS = {
    "mlp": ((64,), [nn.Linear(128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64), nn.Tanh(), nn.Linear(10), nn.LogSoftmax()]),
    "lenet": ((1, 28, 28), [
        nn.Conv2d(6, 5, padding=2), nn.BatchNorm2d(), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(16, 5), nn.BatchNorm2d(), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(120), nn.Tanh(), nn.Linear(84), nn.Tanh(), nn.Linear(10), nn.Softmax(),
    ]),
    "resnet": ((3, 12, 12), [
        nn.Conv2d(8, 3, padding=1), nn.ReLU(), residual_block(8), nn.ReLU(), shrinking_block(12), nn.ReLU(),
        nn.Branches(nn.Conv2d(4, 1), nn.MaxPool2d(3, stride=1, padding=1), "identity"), nn.GlobalAvgPool(), nn.Linear(5),
    ]),
    "autoencoder": ((2, 8, 8), [
        nn.Conv2d(4, 3, stride=2, padding=1), nn.GroupNorm(2), nn.GELU(), nn.Conv2d(6, 2, stride=2, groups=2), nn.ELU(),
        nn.ConvTranspose2d(4, 3, stride=2, padding=1, output_padding=1, groups=2), nn.PReLU(4),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(2, 3, padding=2, dilation=2), nn.Sigmoid(),
    ]),
    "volumes": ((2, 3, 4, 5), [
        nn.Conv3d(4, (2, 3, 2), stride=(1, 2, 1), padding=(1, 1, 0), groups=2), nn.BatchNorm3d(), nn.ReLU(),
        nn.ConvTranspose3d(2, 2, stride=(1, 2, 1), padding=(0, 1, 0), output_padding=(0, 1, 0)), nn.InstanceNorm3d(),
        nn.Conv3d(2, 3, padding="same", padding_mode="reflect"), nn.LayerNorm((3, 5)),
        nn.Conv3d(3, 2, padding=(2, 1, 1), padding_mode="circular"), nn.InstanceNorm3d(track_running_stats=True),
        nn.Conv3d(2, 3, dilation=2, padding=3, padding_mode="replicate"), nn.Flatten(), nn.Reshape((2, -1)),
        nn.ConvTranspose1d(3, 3, stride=2, dilation=2), nn.InstanceNorm1d(affine=True), nn.RMSNorm(),
    ]),
    "words": ((7,), [nn.Embedding(11, 6, padding_idx=0), nn.Permute((2, 1)), nn.Conv1d(8, 3, padding="same"), nn.BatchNorm1d(),
                     nn.GLU(1), nn.MaxPool1d(2), nn.Permute((2, 1)), nn.LayerNorm(), nn.Linear(4), nn.SwiGLU(), nn.Flatten()]),
    "steps": ((5, 2, 6, 4), [
        nn.TimeDistributed([conv, nn.Residual(conv, nn.Softsign()), nn.Flatten(), nn.Linear(4), nn.RMSNorm()]),
        nn.TimeDistributed(nn.Branches(nn.Linear(2), [linear, linear])), nn.Softmax(1),
    ]),
    "shared": ((4,), [linear, nn.Residual(linear, nn.Residual("identity", linear)),
                      nn.Sequential([nn.Branches(linear, nn.Branches("identity", "tanh", merge="mean"), merge="add")])]),
    "nothing": ((2, 3), [nn.Dropout(), nn.Flatten()]),
    "doubled": ((3,), [nn.Residual("identity"), nn.Branches("identity", "identity"), nn.Reshape((2, 3)), nn.Dropout()]),
    "mean": ((3,), [nn.Branches("identity", "identity", "tanh", merge="mean"), nn.Branches(*[linear] * 3, merge="mean")]),
    "newton": ((40,), [Newton()]),
    "table": ((40,), [Table(), Table([0.1, 0.5, 2.0], np.array([3, 4])), OneOf()]),
    "steep_newton": ((40,), [Newton(1.5, 2, False)]),
}  # fmt: skip
CASES = {f"net_{index}": example for index, example in enumerate(EXAMPLES)}
CASES |= {name: nn.Example(as_layer(nn.Sequential(layers)), shape, 0 if name == "words" else -3, 11 if name == "words" else 3)
          for name, (shape, layers) in NETS.items()}  # fmt: skip


def build(example, dtype="float32"):
    """A model whose parameters and states are none that things begin with."""
    model = nn.Sequential([example.part]).build(example.in_shape, 0, dtype)
    random = np.random.default_rng(1)
    for array in model.parameters().values():
        array[...] += random.uniform(-0.3, 0.3, array.shape)
    for array in model.states().values():
        array[...] = random.uniform(0.5, 2.0, array.shape)
    return model


def rows_for(model, example, count=5):
    random = np.random.default_rng(2)
    shape = (count, *example.in_shape)
    if network_of(model).input_dtype == "int64":
        return random.integers(int(example.low), int(example.high), shape)
    return draw(random, shape, example.low, example.high, example.kinks).astype(model.dtype)


def compile_c(sources, out, *options):
    done = subprocess.run([CC, *STRICT, *options, *map(str, sources), "-lm", "-o", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def call(library, name, model, rows):
    """What the compiled function gives for every row; with a caller's working memory full of NaN."""
    out = np.empty((len(rows), prod(model.out_shape)), model.dtype)
    assert ctypes.c_int.in_dll(library, f"{name}_inputs").value == rows[0].size
    assert ctypes.c_int.in_dll(library, f"{name}_outputs").value == out.shape[1]
    work = np.full(ctypes.c_int.in_dll(library, f"{name}_work").value, np.nan, model.dtype)
    function = library[f"{name}_with"]
    pointers = [ctypes.c_void_p] * 3
    function.argtypes, function.restype = pointers, None
    rows = np.ascontiguousarray(rows)
    for n in range(len(rows)):
        function(rows[n].ctypes.data, out[n].ctypes.data, work.ctypes.data)
    return out.reshape(len(rows), *model.out_shape)


def require_near(given, expected, dtype):
    np.testing.assert_allclose(given, expected, rtol=NEAR[dtype], atol=NEAR[dtype] * np.abs(expected).max())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """All cases in both dtypes as one shared library, their self-tests as functions."""
    folder = tmp_path_factory.mktemp("c")
    models = {}
    for dtype in NUMBER:
        for case, example in CASES.items():
            name = f"{case}_{dtype}"
            models[name] = build(example, dtype)
            path = folder / f"{name}.c"
            models[name].to_c(path, name)
            path.write_text(f"#define main {name}_test\nint {name}_test(void);\n{path.read_text()}")
    library = compile_c(sorted(folder.glob("*.c")), folder / "nets.so", "-shared", "-fPIC")
    return ctypes.CDLL(str(library)), models


@needs_cc
@pytest.mark.parametrize("dtype", NUMBER)
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(CASES[case].part) if case.startswith("net_") else case)
def test_compiled_c_computes_what_predict_does(compiled, case, dtype):
    library, models = compiled
    name = f"{case}_{dtype}"
    model = models[name]
    assert library[f"{name}_test"]() == 0
    rows = rows_for(model, CASES[case])
    given, expected = call(library, name, model, rows), model.predict(rows)
    assert np.isfinite(expected).all()
    require_near(given, expected, dtype)
    alone = np.empty(model.out_shape, dtype)
    predict = library[name]
    predict.argtypes, predict.restype = [ctypes.c_void_p] * 2, None
    predict(rows[:1].ctypes.data, alone.ctypes.data)
    np.testing.assert_array_equal(alone, given[0])


@needs_cc
@pytest.mark.parametrize("part", BUILT_IN, ids=lambda part: part.key)
def test_every_part_has_c_or_is_refused_by_name(part, tmp_path):
    for example in part.examples():
        model = nn.Sequential([example.part]).build(example.in_shape)
        if part.key in REFUSED:
            with pytest.raises(nn.KernelError, match=rf"to_c: layer 0(, {part.__name__}\(|\.).*no method c"):
                model.to_c(tmp_path / "net.c")
            assert os.listdir(tmp_path) == []


EDGES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4]


@needs_cc
@pytest.mark.parametrize("key", [part.key for part in BUILT_IN if issubclass(part, nn.Activation) and part.elementwise])
def test_activations_at_the_edges(compiled, key):
    library, models = compiled
    for case, example in CASES.items():
        if getattr(example.part, "key", "") == key and example.in_shape == (3, 4):
            name = f"{case}_float64"
            rows = np.resize(EDGES, (1, 3, 4))
            np.testing.assert_allclose(call(library, name, models[name], rows), models[name].predict(rows), rtol=1e-12)
            return
    raise AssertionError(f"no example of {key}")


@needs_cc
def test_max_pooling_keeps_nan(compiled):
    library, models = compiled
    case = next(case for case, example in CASES.items() if repr(example.part) == "MaxPool2d(2)")
    rows = np.full((1, *CASES[case].in_shape), -np.inf)
    rows[0, 0, 1, 0] = np.nan
    name = f"{case}_float64"
    np.testing.assert_array_equal(call(library, name, models[name], rows), models[name].predict(rows))


@needs_cc
def test_numbers_out_of_a_vocabulary_give_nan(compiled):
    library, models = compiled
    case = next(case for case, example in CASES.items() if repr(example.part).startswith("Embedding(5"))
    given = call(library, f"{case}_float32", models[f"{case}_float32"], np.array([[0, -1, 5, 1 << 40]]))[0]
    assert np.isfinite(given[0]).all()
    assert np.isnan(given[1:]).all()


@needs_cc
@pytest.mark.parametrize("dtype", NUMBER)
def test_the_program_tests_itself(tmp_path, dtype):
    model = build(CASES["mlp"], dtype)
    model.to_c(tmp_path / "net.c")
    done = subprocess.run([compile_c([tmp_path / "net.c"], tmp_path / "net")], capture_output=True, text=True)
    assert done.returncode == 0
    assert "right" in done.stdout
    assert float(done.stdout.split("nnkit ")[1].split(",")[0]) < NEAR[dtype]


@needs_cc
@pytest.mark.parametrize("array", ["layer_0_0_weight", "layer_0_1_running_var", "layer_0_9_bias"])
def test_a_wrong_number_is_found_by_the_self_test(tmp_path, array):
    path = tmp_path / "net.c"
    build(CASES["lenet"]).to_c(path)
    before, middle, after = path.read_text().partition(f"static const float {array}[")
    declared, again, numbers = after.partition(f"static const float {array}[")  # the first one has no numbers
    first = numbers.index("0x")
    path.write_text(before + middle + declared + again + numbers[:first] + "9.0f + " + numbers[first:])
    done = subprocess.run([compile_c([path], tmp_path / "net")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "WRONG" in done.stdout


@needs_cc
def test_nan_where_a_number_belongs_is_found_by_the_self_test(tmp_path):
    path = tmp_path / "net.c"
    build(CASES["mlp"]).to_c(path)
    head, numbers = path.read_text().split("the numbers -")
    path.write_text(head + "the numbers -" + numbers.replace("0x", "NAN + 0x", 1))
    assert subprocess.run([compile_c([path], tmp_path / "net")], capture_output=True).returncode == 1


PROGRAM = """
#include <stdio.h>
#include "first.c"
void second(const float *x, float *out);
extern const int second_inputs;

int main(void)
{
    float x[FIRST_INPUTS] = {1.0f, -2.0f, 0.5f}, out[FIRST_OUTPUTS], other[FIRST_OUTPUTS];
    if (second_inputs != FIRST_INPUTS)
        return 1;
    first(x, out);
    second(x, other);
    printf("%.9g %.9g %.9g %.9g", out[0], out[1], other[0], other[1]);
    return 0;
}
"""


@needs_cc
def test_two_nets_in_one_program_one_included_one_linked(tmp_path):
    models = [nn.Sequential([nn.Linear(4), nn.ReLU(), nn.Linear(2)]).build((3,), seed) for seed in (0, 1)]
    for model, name in zip(models, ["first", "second"], strict=True):
        model.to_c(tmp_path / f"{name}.c", name=name)
    (tmp_path / "main.c").write_text(PROGRAM)
    program = compile_c([tmp_path / "main.c", tmp_path / "second.c"], tmp_path / "program", "-DNNKIT_NO_MAIN")
    given = [float(word) for word in subprocess.run([program], capture_output=True, text=True).stdout.split()]
    expected = np.concatenate([model.predict([[1.0, -2.0, 0.5]])[0] for model in models])
    np.testing.assert_allclose(given, expected, rtol=1e-5)


@needs_cc
def test_large_nets_leave_the_stack_alone(tmp_path):
    """On a stack of 64 KB, which their values would overflow."""
    model = nn.Sequential([nn.Conv2d(2, 3, padding=1), nn.ReLU(), nn.Conv2d(1, 3, padding=1)]).build((1, 256, 256), 0)
    path = tmp_path / "net.c"
    model.to_c(path)
    assert "void predict(" not in path.read_text()
    program = compile_c([path], tmp_path / "net")
    assert subprocess.run(["sh", "-c", f"ulimit -s 64; {program}"], capture_output=True).returncode == 0


def values_in(text):
    return [float.fromhex(word.rstrip("f")) for word in text.replace("{", " ").replace("}", " ").replace(",", " ").split()]


@pytest.mark.parametrize("dtype", NUMBER)
def test_numbers_are_exact(tmp_path, dtype):
    model = nn.Sequential([nn.Linear(64, bias_init="ones")]).build((9,), 3, dtype)
    weight = model.parameters()["0.weight"]
    weight[0, :4] = 0.0, -0.0, np.finfo(dtype).smallest_subnormal, -np.finfo(dtype).max
    model.to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    kind = "float" if dtype == "float32" else "double"
    written = text.split(f"static const {kind} layer_0_weight[9][64] =")[1].split(";")[0]
    assert np.array_equal(np.array(values_in(written), dtype).view(np.uint8), weight.ravel().view(np.uint8))


@needs_cc
def test_what_is_not_finite_is_written_too(tmp_path):
    model = nn.Sequential([nn.Linear(2)]).build((2,), 0)
    model.parameters()["0.bias"][:] = np.nan, -np.inf
    model.to_c(tmp_path / "net.c")
    assert subprocess.run([compile_c([tmp_path / "net.c"], tmp_path / "net")], capture_output=True).returncode == 0


def test_the_same_net_gives_the_same_file(tmp_path):
    model = build(CASES["resnet"])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        model.to_c(tmp_path / name / "net.c")
    assert (tmp_path / "one" / "net.c").read_bytes() == (tmp_path / "two" / "net.c").read_bytes()


def test_memory_is_used_again(tmp_path):
    """A chain needs its two largest neighbours; what is elementwise, none."""
    chain = [nn.Linear(64), nn.ReLU(), nn.Linear(32), nn.Tanh(), nn.Linear(64), nn.Mish(), nn.Linear(32), nn.Linear(8)]
    nn.Sequential(chain).build((16,)).to_c(tmp_path / "net.c")
    assert "PREDICT_WORK = 96" in (tmp_path / "net.c").read_text()


def test_a_net_of_one_layer_writes_straight_to_out(tmp_path):
    nn.Sequential([nn.Linear(64), nn.Softmax()]).build((16,)).to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    assert "linear_layer(x, layer_0_weight, layer_0_bias, out);" in text
    assert "softmax_layer(out, out);" in text


def test_the_function_is_specialised_for_the_layers_options(tmp_path):
    nn.Sequential([nn.GELU("tanh"), nn.LeakyReLU(0.25)]).build((3,)).to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    assert "erff" not in text
    assert "const float negative_slope = 0.25f;" in text
    assert "return x > 0.0f ? x : negative_slope * x;" in text


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_model_that_is_not_built_is_refused(tmp_path):
    with pytest.raises(nn.NotBuiltError, match="expected a built model"):
        nn.Sequential([nn.Linear(2)]).to_c(tmp_path / "net.c")


@pytest.mark.parametrize("name", ["", "2nd", "pre dict", "for", "main", "expf", "exp", "größe", "a;b", None, 3, "_x"])
def test_names_that_are_not_for_c_are_refused(tmp_path, name):
    with pytest.raises(nn.ParameterError, match="expected name"):
        nn.Sequential([nn.Linear(2)]).build((2,)).to_c(tmp_path / "net.c", name=name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("names, why", [
    ("real NAN NULL EOF linux unix M_PI INT64_MAX SIZE_MAX isnormal offsetof L_tmpnam NNKIT_NO_MAIN", "replace it by"),
    ("bool true nullptr thread_local typeof asm inline restrict", "a word of the language"),
    ("size_t int64_t float_t FILE va_list uint my_t", "a type of C's headers"),
    ("_predict __predict _Bool", "the compiler's and the library's"),
    ("y0 jn gamma finite exp10 fmaf roundf32 cpow lgamma_r isinf remove printf malloc free memcpy memset strlen exit abs read "
     "towupper wcstoll feclearexcept fputc_unlocked", "C's library has a function"),
    ("prédict a-b 1a", "not made of letters"),
])  # fmt: skip
def test_names_of_c_and_its_headers_are_refused_with_the_reason(tmp_path, names, why):
    model = nn.Sequential([nn.Linear(2)]).build((2,))
    for name in names.split():
        with pytest.raises(nn.ParameterError, match=f"got '{name}': .*{why}"):
            model.to_c(tmp_path / "net.c", name=name)
    assert os.listdir(tmp_path) == []


@needs_cc
@pytest.mark.parametrize("standard", ["c99", "gnu17"])
def test_whatever_the_headers_declare_here_is_refused(tmp_path, standard):
    """As this machine's compiler lists it: functions, macros and types."""
    (tmp_path / "all.c").write_text("".join(f"#include <{name}.h>\n" for name in ("math", "stddef", "stdint", "stdio")))

    def ask(*options):
        done = subprocess.run([CC, f"-std={standard}", *options, "all.c"], cwd=tmp_path, capture_output=True, text=True)
        if done.returncode:
            pytest.skip("another kind of compiler")
        return done.stdout

    macros = re.findall(r"#define (\w+)", ask("-dM", "-E"))
    types = re.findall(r"\b(\w+);", " ".join(re.findall("typedef[^{}]*?;", ask("-E", "-P"))))
    ask("-aux-info", "list", "-fsyntax-only")
    functions = re.findall(r"(\w+) \(", (tmp_path / "list").read_text()) if (tmp_path / "list").exists() else []
    assert len(macros) > 100 and len(types) > 20
    free = [name for name in {*macros, *types, *functions} if not taken(name)]
    assert free == []


ODD_NAMES = """x out work n a1 i net tolerance wrong expected given largest linear_layer relu layer float32 Net PREDICT strength
memory isolated tomato gammas index2 class N""".split()


@needs_cc
@pytest.mark.parametrize("options", [STRICT, ["-O0"]], ids=["c99", "as it comes"])
def test_names_that_are_accepted_compile_and_run(tmp_path, options):
    model = nn.Sequential([nn.Residual(nn.Linear(2), nn.ReLU(), nn.Linear(2))]).build((2,), random_state=0)
    for name in ODD_NAMES:
        model.to_c(tmp_path / "net.c", name=name)
        command = [CC, *options, "net.c", "-lm", "-o", "net"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert subprocess.run([tmp_path / "net"], capture_output=True).returncode == 0, name


def test_no_array_has_the_name_of_something_else(tmp_path):
    class Scaled(nn.Layer):
        def build(self, in_shape):
            self.parameter("expected", in_shape[-1:], init="ones")
            return in_shape

        def c(self):
            return """
                void forward(const real x[J], const real expected[J], real out[J])
                {
                    for (int j = 0; j < J; j++)
                        out[j] = x[j] * expected[j];
                }"""

        @staticmethod
        def forward(x, expected, out):
            out[...] = x * expected

        @staticmethod
        def backward(grad_out, expected, x, grad_x, grad_expected):
            grad_x[...] = grad_out * expected
            grad_expected[...] = (grad_out * x).sum(axis=0)

    with pytest.raises(nn.ParameterError, match="another name than 'layer_0': an array of the net is 'layer_0_expected'"):
        nn.Sequential([Scaled()]).build((2,)).to_c(tmp_path / "net.c", name="layer_0")


@needs_cc
@pytest.mark.parametrize("name", ["x", "out", "work", "add", "linear_layer", "n", "a1", "layer_0_0_weight"])
def test_names_that_the_file_uses_itself_are_fine_or_refused(tmp_path, name):
    try:
        nn.Sequential([nn.Residual(nn.Linear(2), nn.Linear(2))]).build((2,)).to_c(tmp_path / "net.c", name=name)
    except nn.ParameterError:
        return
    assert subprocess.run([compile_c([tmp_path / "net.c"], tmp_path / "net")], capture_output=True).returncode == 0


@pytest.mark.parametrize("where", ["missing/net.c", "", ".", "net.c/net.c"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path, where):
    (tmp_path / "net.c").write_text("before")
    with pytest.raises(nn.NnkitError):
        nn.Sequential([nn.Linear(2)]).build((2,)).to_c(tmp_path / where if where else "")
    assert (tmp_path / "net.c").read_text() == "before"
    assert os.listdir(tmp_path) == ["net.c"]


def test_what_is_no_path_is_refused():
    with pytest.raises(nn.ParameterError, match="expected a path"):
        nn.Sequential([nn.Linear(2)]).build((2,)).to_c(3)


class Interpreted(nn.PythonLayer):
    def forward(self, x):
        return x

    def backward(self, grad_out):
        return grad_out


class Beyond(nn.Activation):
    @staticmethod
    def forward(x):
        return x * BENDS[3]

    @staticmethod
    def backward(grad_out):
        return grad_out


class Odd(nn.Activation):
    @staticmethod
    def forward(x):
        total = x
        for _ in range(3):
            total = total * x
        return total

    @staticmethod
    def backward(grad_out):
        return grad_out


class Tripled(nn.Layer):
    """A layer of a plugin that is right in all but its C, each time in another place."""

    def __init__(self, text):
        self.text = text

    def c(self):
        return self.text

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = 3.0 * x[n, j]

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_out.shape[0]):
            for j in range(grad_out.shape[1]):
                grad_x[n, j] = 3.0 * grad_out[n, j]


WHOLE = "void forward(const real x[N], real out[N])\n{\n    for (int i = 0; i < N; i++)\n        out[i] = FACTOR * x[i];\n}"


@pytest.mark.parametrize("layer, words", [
    (Interpreted(), "Interpreted has no method c; give it one"),
    (Odd(), r"Odd\.forward: `for _ in range\(3\):.*cannot be written in C"),
    (Beyond(), r"Beyond\.forward: `BENDS\[3\]` cannot be written in C \(BENDS has 3 numbers\)"),
    (nn.TimeDistributed([nn.Flatten(), Odd()]), r"layer 0\.0\.1, Odd\(\).*cannot be written in C"),
    (Tripled("out = 3 * x"), r"layer 0, Tripled.*expected one C function"),
    (Tripled(WHOLE.replace("const real x", "const real weight")), "named x, out; got 'const real weight"),
    (Tripled(WHOLE.replace("const real x[N]", "const real x[N][M]").replace("out[N]", "out[M]")), "equal sizes M"),
], ids=["PythonLayer", "loop", "beyond a tuple", "within", "no function", "unknown array", "unequal sizes"])  # fmt: skip
def test_what_cannot_be_written_is_refused_with_its_place(tmp_path, layer, words):
    shape = (2, 4) if isinstance(layer, nn.TimeDistributed) or "[M]" in getattr(layer, "text", "") else (4,)
    with pytest.raises(nn.KernelError, match=f"(?s)Sequential.to_c: .*{words}"):
        nn.Sequential([layer]).build(shape).to_c(tmp_path / "net.c")
    assert os.listdir(tmp_path) == []


@needs_cc
def test_a_layer_of_ones_own_says_its_c(tmp_path):
    nn.Sequential([Tripled(WHOLE.replace("FACTOR", "3.0"))]).build((4,)).to_c(tmp_path / "net.c")
    done = subprocess.run([compile_c([tmp_path / "net.c"], tmp_path / "net")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@needs_cc
def test_documentation_cannot_break_out_of_a_comment(tmp_path):
    class Hostile(nn.Activation):
        """*/ #error out of the comment /* ??/ ünicode."""

        @staticmethod
        def forward(x):
            return x

        @staticmethod
        def backward(grad_out):
            return grad_out

    nn.Sequential([Hostile()]).build((2,)).to_c(tmp_path / "net.c")
    assert subprocess.run([compile_c([tmp_path / "net.c"], tmp_path / "net")], capture_output=True).returncode == 0


def test_writing_a_net_does_not_import_more_than_it_must():
    code = "import sys, nnkit; sys.exit('nnkit.persistence.c_source' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
