"""Nets of several inputs and outputs as C files: an argument for each, by its name."""

import ctypes
import subprocess
from math import prod

import numpy as np
import pytest

import nnkit as nn
from tests.unit.test_c_source import NEAR, NUMBER, build, compile_c, needs_cc

tower = nn.Linear(3)


class Scaled(nn.Layer):
    """out = (x1 + x2) * scale: a layer of several values, and its C."""

    inputs = ("x1", "x2")

    def build(self, in_shape):
        self.parameter("scale", in_shape["x1"], init="ones")
        return in_shape["x1"]

    @staticmethod
    def forward(x1, x2, scale, out):
        for n in range(x1.shape[0]):
            for j in range(x1.shape[1]):
                out[n, j] = (x1[n, j] + x2[n, j]) * scale[j]

    @staticmethod
    def backward(x1, x2, scale, grad_out, grad_x1, grad_x2, grad_scale):
        grad_scale[:] = 0.0
        for n in range(x1.shape[0]):
            for j in range(x1.shape[1]):
                grad_x1[n, j] = grad_x2[n, j] = grad_out[n, j] * scale[j]
                grad_scale[j] += grad_out[n, j] * (x1[n, j] + x2[n, j])

    def c(self):
        return """
            void forward(const real x1[N], const real x2[N], const real scale[N], real out[N])
            {
                for (int i = 0; i < N; i++)
                    out[i] = (x1[i] + x2[i]) * scale[i];
            }"""


ENCODED = nn.Graph(code=("image", [nn.Flatten(), nn.Linear(4), "relu"]), both=(("code", "table"), nn.Concat()),
                   price=("both", nn.Linear(1)), kind=("both", [nn.Linear(3), nn.Softmax()]),
                   outputs=("price", "code", "kind"))  # fmt: skip
ODD = "double real x out work n a1 predict layer_0_weight wrong linear_layer größe".split()
NETS = {
    "towers": ([nn.Inputs(left=tower, right=[tower, "tanh"], merge="mean"), nn.Linear(2)], {"left": (2,), "right": (2,)}),
    "heads": ([nn.Linear(4), nn.ReLU(), nn.Heads(price=nn.Linear(1), again="identity", kind=[nn.ReLU(), nn.Softmax()])], (3,)),
    "graph": ([ENCODED], {"image": (2, 3), "table": (2,)}),
    "handed on": ([nn.Graph(h=("a", nn.Flatten()), g=("a", [nn.Flatten(), nn.Tanh()]), k=("b", nn.Dropout()),
                            outputs=("h", "g", "k"))], {"a": (2, 2), "b": (3,)}),
    "views": ([nn.Linear(4), nn.Heads(flat="identity", square=nn.Unflatten(1, (2, 2)), again=nn.Unflatten(1, (4, 1)))], (2,)),
    "layer": ([nn.Graph(a=("left", nn.Linear(2)), out=(("a", "right"), Scaled()))], {"left": (3,), "right": (2,)}),
    "numbers": ([nn.Inputs(kind=[nn.Embedding(5, 2), nn.Flatten()], size=nn.Linear(2)), nn.Heads(out=nn.Linear(1), x=nn.ELU())],
                {"kind": (2,), "size": (3,)}),
    "bag": ([nn.Graph(bag=(("kind", "size"), nn.EmbeddingBag(5, 3, mode="sum", padding_idx=1, per_sample_weights=True)))],
            {"kind": (4,), "size": (4,)}),
    "odd": ([nn.Inputs(**{name: nn.Linear(2) for name in ODD}), nn.Heads(**{name: nn.Linear(1) for name in ODD})],
            dict.fromkeys(ODD, (2,))),
}  # fmt: skip


def rows_for(model, count=5):
    random = np.random.default_rng(2)
    shapes = model.in_shape if isinstance(model.in_shape, dict) else {"": model.in_shape}
    rows = {name: random.integers(0, 5, (count, *shape)) if name == "kind" else random.normal(size=(count, *shape))
            .astype(model.dtype) for name, shape in shapes.items()}  # fmt: skip
    return rows.get("", rows)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    models = {}
    for dtype in NUMBER:
        for place, (case, (layers, in_shape)) in enumerate(NETS.items()):
            name = f"net_{place}_{dtype}"
            models[case, dtype] = name, build(nn.Example(nn.Sequential(layers), in_shape), dtype)
            path = folder / f"{name}.c"
            models[case, dtype][1].to_c(path, name)
            path.write_text(f"#define main {name}_test\nint {name}_test(void);\n{path.read_text()}")
    return ctypes.CDLL(str(compile_c(sorted(folder.glob("*.c")), folder / "nets.so", "-shared", "-fPIC"))), models


@needs_cc
@pytest.mark.parametrize("dtype", NUMBER)
@pytest.mark.parametrize("case", NETS)
def test_compiled_c_computes_what_predict_does(compiled, case, dtype):
    library, models = compiled
    name, model = models[case, dtype]
    assert library[f"{name}_test"]() == 0
    rows = rows_for(model)
    expected = model.predict(rows)
    inputs = list(rows.values()) if isinstance(rows, dict) else [rows]
    outputs = list(expected.values()) if isinstance(expected, dict) else [expected]
    work = np.full(ctypes.c_int.in_dll(library, f"{name}_work").value, np.nan, dtype)
    with_work, alone = library[f"{name}_with"], library[name]
    with_work.argtypes = alone.argtypes = None
    for n in range(5):
        for function, more in ((with_work, [work]), (alone, [])):
            out = [np.full(array.shape[1:], np.nan, dtype) for array in outputs]
            given = [np.ascontiguousarray(array[n]) for array in inputs]
            before = [array.copy() for array in given]
            function(*(ctypes.c_void_p(array.ctypes.data) for array in (*given, *out, *more)))
            for array, wanted in zip(out, outputs, strict=True):
                np.testing.assert_allclose(array, wanted[n], rtol=NEAR[dtype], atol=NEAR[dtype] * np.abs(wanted).max())
            for array, old in zip(given, before, strict=True):
                np.testing.assert_array_equal(array, old)


def test_the_arguments_are_the_models_in_its_order(tmp_path):
    layers, in_shape = NETS["graph"]
    model = nn.Sequential(layers).build(in_shape, random_state=0)
    model.to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    assert "void predict(const float *image, const float *table, float *price, float *code, float *kind);" in text
    for name, shape in {**model.in_shape, **model.out_shape}.items():
        assert f"    {name}: {prod(shape)} numbers, {shape}\n" in text


def test_a_name_that_is_taken_gets_another_one(tmp_path):
    layers, in_shape = NETS["odd"]
    nn.Sequential(layers).build(in_shape, random_state=0).to_c(tmp_path / "net.c", "predict")
    text = (tmp_path / "net.c").read_text()
    assert "const float *x_double, const float *x_real, const float *x, const float *out, const float *x_work" in text
    assert "float *out_double" in text and "float *out_11" in text and r"in the model 'gr\xf6\xdfe'" in text


@needs_cc
def test_a_wrong_number_of_one_head_is_found(tmp_path):
    layers, in_shape = NETS["heads"]
    build(nn.Example(nn.Sequential(layers), in_shape)).to_c(tmp_path / "net.c")
    before, head, after = (tmp_path / "net.c").read_text().partition("static const float layer_0_2_0_bias[1] = {")
    assert head
    (tmp_path / "net.c").write_text(f"{before}{head}9.0f + {after.lstrip()}")
    done = subprocess.run([compile_c([tmp_path / "net.c"], tmp_path / "net")], capture_output=True, text=True)
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stdout.splitlines() if "WRONG" in line] == ["predict, price"]
