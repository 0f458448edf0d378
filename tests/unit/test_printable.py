"""Text that is somebody else's steers no terminal, wherever nnkit shows it."""

import pickle

import numpy as np
import pytest

import nnkit as nn
from nnkit.errors import printable
from nnkit.inspect.pictures.table import Table
from nnkit.persistence.file import encode, read
from nnkit.training.history import History
from nnkit.training.progress import Progress

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil\x9b31m\r\ud800"
SPELT = "\\x1b]0;owned\\x07\\x1b[2J\\u202eevil\\x9b31m\\r\\ud800"
MESSAGES = [kind for name in nn.errors.__all__ if issubclass(kind := getattr(nn.errors, name), Exception)]


def is_printable(text):
    return all(letter.isprintable() or letter == "\n" for letter in text)


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_error_and_warning_is_printable(kind):
    more = {"epoch": 0, "step": 0, "part": "x"} if kind is nn.NonFiniteError else {}
    error = kind(f"got {HOSTILE}", **more)
    assert str(error) == f"got {SPELT}"
    assert is_printable(repr(error))
    assert str(kind(f"because of {error}", **more)) == f"because of got {SPELT}", "once is enough"
    if not more:
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_can_be_read_stays_as_it_is():
    for text in ("", "a b", "größe_m²", "日本語 列", "a\nb", "x\u00a0y\u3000z", "🙂"):
        assert printable(text) == text
    assert printable("a\tb\x00\x7f\u2028") == "a\\tb\\x00\\x7f\\u2028"


def test_a_table_is_printable_as_text_and_in_a_notebook():
    table = Table(f"title {HOSTILE}", ["a", HOSTILE], [[f"x\n{HOSTILE}", "1"]], notes=[HOSTILE])
    for text in (str(table), repr(table), table._repr_html_()):
        assert is_printable(text)
        assert SPELT in text
    assert "x\\n" in str(table)


def test_a_history_and_the_line_of_progress_are_printable():
    history = History()
    history.add(**{HOSTILE: 1.0, "loss": 2.0})
    assert is_printable(repr(history)) and SPELT in repr(history)
    line = Progress(False, 2, 3)._line(3, history, 1.0, last=False)
    assert is_printable(line) and f"{SPELT} 1" in line and "\n" not in line


@pytest.mark.parametrize("break_it", ["key", "kind", "from", "tensor", "argument", "in_shape", "dtype", "tag", "estimator"])
def test_errors_about_a_file_are_printable(break_it, tmp_path):
    path, text = tmp_path / "net.safetensors", HOSTILE[:-1]
    nn.Sequential([nn.Linear(2)]).build((3,)).save(path)
    description, arrays = read(path)
    part, model = description["parts"][0], description["model"]
    match break_it:
        case "key" | "kind":
            part[break_it] = text
        case "from":
            part.update({"key": "none", "from": [text, "1"]})
        case "tensor":
            arrays[f"0.{text}"] = np.zeros(1)
        case "argument":
            part["arguments"][text] = 1
        case "tag":
            part["arguments"]["bias"] = {text: 1}
        case "estimator":
            description["estimator"] = {text: text}
        case _:
            model[break_it] = text
    path.write_bytes(encode(description, arrays))
    with pytest.raises(nn.PersistenceError) as refused:
        nn.load(path)
    assert is_printable(str(refused.value))


def test_names_of_onnx_are_printable(tmp_path):
    onnx = pytest.importorskip("onnx")
    text = HOSTILE[:-1]
    x = onnx.helper.make_tensor_value_info(text, onnx.TensorProto.FLOAT, ["N", 3])
    for nodes in ([("Relu", [text], [f"a{text}"]), ("Cos", [f"a{text}"], [f"out{text}"])], [("Relu", ["none"], [f"out{text}"])],
                  [(f"Op{text}", [text], [f"out{text}"])]):  # fmt: skip
        made = [onnx.helper.make_node(*node, name=f"node{text}") for node in nodes]
        out = onnx.helper.make_tensor_value_info(f"out{text}", onnx.TensorProto.FLOAT, ["N", 3])
        proto = onnx.helper.make_model(onnx.helper.make_graph(made, text, [x], [out]))
        (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(nn.OnnxError) as refused:
            nn.onnx.load(tmp_path / "net.onnx")
        assert is_printable(str(refused.value))


def test_the_error_for_an_unknown_name_is_printable():
    with pytest.raises(nn.RegistryError) as refused:
        nn.Sequential([HOSTILE])
    assert is_printable(str(refused.value))
