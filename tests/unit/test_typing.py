"""What type checkers see: every public name with its type, lazy ones included; code on pages passes both."""

import ast
import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnkit as nn

ROOT = Path(nn.__file__).parent.parent
README = ROOT / "README.md"
COOKBOOK = ROOT / "plugins" / "COOKBOOK.md"
GUIDE = [page for room in ("tutorials", "howto", "migration", "explanation")
         for page in sorted((ROOT / "nnkit" / "guide" / room).glob("*.md"))]  # fmt: skip

SEEN = """
import nnkit as nn
from nnkit import Adam, NNClassifier, load, onnx, testing, trace

reveal_type(nn.NNClassifier)
reveal_type(nn.NNRegressor().fit([[0.0]], [1.0]))
reveal_type(nn.load)
reveal_type(nn.plot_decision)
reveal_type(nn.feature_importance)
reveal_type(nn.trace)
reveal_type(nn.onnx.export)
reveal_type(nn.testing.check_layer)
reveal_type(nn.Sequential([nn.Linear(3)]).fit)
reveal_type(nn.MSELoss()([[1.0]], [[1.0]]))
"""
WRONG = {  # a line that checkers refuse
    "nn.Linaer(3)": "a name that is not there",
    "nn.Linear(64, 128)": "too much by position",
    "nn.Linear(64, bias=128)": "no truth value",
    "nn.LSTM(64, batch_first=True)": "an unknown argument",
    "nn.SGD(0.1, 0.9)": "too much by position",
    "nn.Sequential([]).train()": "a method that is not there",
    "nn.Sequential([]).fit([], [], verbose=1)": "an unknown argument",
    "nn.NNClassifier(max_iter=3)": "an unknown argument",
}

# What a part gets of ONNX fulfils the protocols that it knows, and the last line is refused: half a graph does not.
FULFILLED = """
from typing import Any

import nnkit as nn
from nnkit.core.exchange import Cursor, Found, Graph, Value
from nnkit.persistence.onnx.cursor import Cursor as AtWork
from nnkit.persistence.onnx.graph import Graph as Written

def read(at: AtWork) -> Cursor:
    return at

def write(graph: Written) -> Graph:
    return graph

class Twice(nn.Layer):
    def onnx(self, graph: Graph, x: Value) -> Value:
        return graph.node("Relu", x) * 2.0

    @classmethod
    def from_onnx(cls, at: Cursor) -> Found | None:
        node = at.take("Relu")
        return at.found(cls()) if node is not None and at.take("Mul") is not None else None

class Half:
    real: str

    def node(self, op: str, *inputs: Any, **attributes: Any) -> Value:
        raise NotImplementedError

half: Graph = Half()
"""


def test_lists_of_lazy_names_are_the_same():
    """The table, the imports for checkers, ``__all__`` and ``dir`` cannot drift apart."""
    tree = ast.parse(Path(nn.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    typed = {alias.asname: node.module for node in block.body for alias in node.names if alias.asname == alias.name}
    lazy = {**nn._LATER, **dict.fromkeys(nn._MODULES, "nnkit")}
    assert typed == lazy
    assert set(lazy) <= set(nn.__all__) <= set(dir(nn))
    assert len(set(nn.__all__)) == len(nn.__all__)
    for name in nn.__all__:
        assert getattr(nn, name) is not None


def test_listed_is_what_is_public(script):
    """Before anything lazy is loaded, too; and a star imports all of it, and nothing else."""
    output = script("""
        import nnkit, sys
        listed = set(nnkit.__all__)
        assert "sklearn" not in sys.modules and listed <= set(dir(nnkit)) and "__version__" in dir(nnkit)
        before = set(globals())
        from nnkit import *
        print(sorted(set(globals()) - before - {"before"} ^ listed))
    """)
    assert output == "[]\n"


def blocks(page):
    """The Python on a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def code(page):
    """A page's examples as one module, without those that raise on purpose."""
    examples = [example for block in blocks(page) for example in doctest.DocTestParser().get_examples(block)]
    return "".join(example.source for example in examples if not example.exc_msg)


def shown():
    """README and the pages of the guide, by the names of their modules."""
    return {f"{page.parent.name}_{page.stem}_".lower(): page for page in (README, *GUIDE)}


def recipes():
    """The cookbook's files, by the names of the parts in them; those that use them by other names."""
    named = ((re.search(r'@nn.register\("(\w+)"\)', block), block) for block in blocks(COOKBOOK))
    return {found[1] if found else f"use{place}": block for place, (found, block) in enumerate(named)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("typed")
    for name, page in shown().items():
        (folder / f"{name}.py").write_text(code(page))
    for name, text in recipes().items():
        (folder / f"{name}.py").write_text(text)
    (folder / "seen.py").write_text(SEEN)
    (folder / "fulfilled.py").write_text(FULFILLED)
    lines = [f"{line}  # {reason}" for line, reason in WRONG.items()]
    (folder / "wrong.py").write_text("\n".join(["import nnkit as nn", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def mypy(files):
    """What mypy says of each file: lines and their messages."""
    pytest.importorskip("mypy")
    options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--check-untyped-defs"]
    command = [sys.executable, "-m", "mypy", *options, *sorted(path.name for path in files.glob("*.py"))]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=files, env=environment, capture_output=True, text=True, timeout=240)
    found = re.findall(r"^(\w+)\.py:(\d+): (error|note): (.*)$", done.stdout, re.MULTILINE)
    assert done.returncode in (0, 1), done.stderr or done.stdout
    return [(file, int(line), message) for file, line, _, message in found if not message.startswith("See https")]


@pytest.fixture(scope="module")
def pyright(files):
    """What pyright says, the same way."""
    pytest.importorskip("basedpyright")  # pyright that brings all it needs along
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)], "reportMissingTypeStubs": False,
                "reportUnusedExpression": False,  # a prompt prints it
                "useLibraryCodeForTypes": False}  # fmt: skip - or scikit-learn's types would be guessed
    (files / "pyrightconfig.json").write_text(json.dumps(settings))
    options = ["--outputjson", "--pythonpath", sys.executable]
    command = [sys.executable, "-m", "basedpyright", *options, *sorted(path.name for path in files.glob("*.py"))]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True, timeout=240)
    assert done.returncode in (0, 1), done.stderr or done.stdout
    found = json.loads(done.stdout)["generalDiagnostics"]
    return [(Path(item["file"]).stem, item["range"]["start"]["line"] + 1, item["message"]) for item in found]


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_pages_show_passes(checker, request):
    found = request.getfixturevalue(checker)
    assert [item for item in found if item[0] in {*shown(), *recipes()}] == []


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_name_has_its_type(checker, request):
    seen = [message for file, _, message in request.getfixturevalue(checker) if file == "seen"]
    expected = ["NNClassifier", "NNRegressor", "path", "model", "FeatureImportance", "model", "path", "Report", "History",
                "Graded"]  # fmt: skip
    assert len(seen) == len(expected), seen
    for message, word in zip(seen, expected, strict=True):
        assert re.search("[Rr]evealed type|Type of", message)
        assert word in message
        assert "builtins.object\"" not in message
        assert "is \"object\"" not in message


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_the_call_would_refuse_is_seen_before(checker, request):
    refused = {line for file, line, _ in request.getfixturevalue(checker) if file == "wrong"}
    assert [call for line, call in enumerate(WRONG, start=2) if line not in refused] == []


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_parts_get_fulfils_the_protocols(checker, request):
    refused = [line for file, line, _ in request.getfixturevalue(checker) if file == "fulfilled"]
    assert set(refused) == {len(FULFILLED.splitlines())}
