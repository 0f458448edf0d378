"""What is shown on terminals: at 80 columns no line is longer, so that nothing is cut within a word; at 40 all is told."""

import io
import os
import re
import sys
from itertools import pairwise

import numpy as np
import pytest

import nnkit as nn
from nnkit.__main__ import main
from nnkit.commands import COMMANDS
from nnkit.inspect.pictures.table import Table
from tests.terminal import on_terminal


class Screen(io.StringIO):
    """Standard output that somebody watches."""

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """Print what a function gives to a terminal of a width; the lines that are there then."""

    def shown(width, function):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys, "stdout", Screen())
        monkeypatch.setattr(sys, "stderr", sys.stdout)
        try:
            print(function())
        except SystemExit:
            pass
        return re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue()).splitlines()

    return shown


X = np.random.default_rng(0).normal(size=(64, 16))
LABELS = np.arange(64) % 4


def images():
    layers = [nn.Reshape((1, 4, 4)), nn.Conv2d(4, 3, padding="same"), nn.BatchNorm2d(), nn.Residual(nn.Conv2d(4, 3, padding=1))]
    return nn.Sequential([*layers, nn.Flatten(), nn.Linear(4)]).build((16,), random_state=0)


def traced():
    net = nn.Sequential([nn.Linear(2), nn.Sigmoid(), nn.Linear(3), nn.Sigmoid()]).build((2,), random_state=0, dtype="float64")
    return nn.trace(net, [0.05, 0.9], [0.0, 1.0, 0.0], loss="half_squared_error")


def history():
    fitted = nn.History()
    fitted.add(loss=2.1894123, lr=0.001, val_loss=2.35112, val_accuracy=0.15123, val_top_5_accuracy=0.512345)
    return fitted


THINGS = {
    "summary": lambda: images().summary(),
    "profile": lambda: images().profile(X, LABELS, loss="cross_entropy", seconds=0.05),
    "trace": traced,
    "check": lambda: traced().check(),
    "history": history,
    "importance": lambda: nn.feature_importance(nn.NNClassifier([4], epochs=1, random_state=0).fit(X, LABELS), X, LABELS,
                                                random_state=0),
}
SAID = {"list": ["list"], "list losses": ["list", "losses"], "list pool": ["list", "pool"], "list lstm": ["list", "lstm"],
        "unknown": ["list", "cov2d"], "wrong": ["train", "a.csv", "--target", "a", "--epoch", "3"], "missing": ["train"],
        "info": ["info"], "help": ["--help"], **{f"{name} --help": [name, "--help"] for name in COMMANDS}}  # fmt: skip
LONG = re.compile(r"examples:|\S*/\S*")  # what is typed, and paths, stay whole


@pytest.mark.parametrize("name", [*THINGS, *SAID])
def test_no_line_is_longer_than_80(name, screen, monkeypatch):
    monkeypatch.setattr("nnkit.inspect.cost.machine.SECONDS", 0.01)
    function = THINGS[name] if name in THINGS else lambda: main(SAID[name])
    lines = screen(80, function)
    assert len(lines) > 1 and [line for line in lines if len(line) > 80 and not LONG.search(line)] == []


@pytest.mark.parametrize("name", [*THINGS, *SAID])
def test_at_40_columns_the_same_words_are_there(name, screen, monkeypatch):
    monkeypatch.setattr("nnkit.inspect.cost.machine.SECONDS", 0.01)
    function = THINGS[name] if name in THINGS else lambda: main(SAID[name])
    narrow, wide = (screen(width, function) for width in (40, 200))
    if name not in ("profile", "info") and "--help" not in name:  # figures that are measured; argparse, which does what it does
        headers = set(" ".join(line for line, below in pairwise(wide) if set(below) == {"-"}).split())  # of columns of words
        assert set(words(wide)) - set(words(narrow)) <= headers
        assert [line for line in narrow if len(line) > 40 and " " in line.strip() and ">>>" not in line] == []


def words(lines):
    return [word.strip(",") for line in lines for word in line.split() if not set(word) <= {"-"}]


def test_a_table_without_room_is_told_row_by_row(screen):
    rows = [["first layer", "12 345", "1.5 kB", ""], ["second layer", "-", "2.5 kB", "kept"]]
    table = Table("Sizes", ["layer", "parameters", "memory", ""], rows, notes=["in float32"])
    assert screen(80, lambda: table)[2] == "layer          parameters   memory"
    assert screen(38, lambda: table)[2:6] == [
        "layer         parameters  memory", "--------------------------------------", "first layer       12 345  1.5 kB",
        "second layer           -  2.5 kB  kept",
    ]  # fmt: skip
    assert screen(34, lambda: table)[4:6] == ["first         12 345  1.5 kB", "layer"]
    assert screen(28, lambda: table)[2:] == [
        "first layer", "    parameters 12 345,", "    memory 1.5 kB", "second layer", "    memory 2.5 kB, kept", "",
        "in float32",
    ]  # fmt: skip


SCRIPT = """
import time
time.sleep(0.5)  # until the terminal is as wide as it is to be
import numpy as np, nnkit as nn
X = np.ones((8, 2))
wait = nn.LambdaCallback(lambda fit: time.sleep(0.11))
nn.Sequential([nn.Linear(1)]).fit(X, X[:, :1], epochs=3, metrics=["r2"], callbacks=[wait])
"""


def seen(width, folder, **environment):
    """What a script writes to a real terminal, and the lines that it has drawn there."""
    text = on_terminal(SCRIPT, width, **{"TERM": "xterm-256color", "NNKIT_CACHE_DIR": str(folder), **environment})
    lines = re.split(r"[\r\n]+|\x1b\[2K", text)
    return text, [line for line in (re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in lines) if line]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_first_fit_shows_what_it_compiles(tmp_path):
    text, lines = seen(80, tmp_path)
    compiling = [line for line in lines if line.startswith("compiling kernel ")]
    counts = [*dict.fromkeys(tuple(map(int, re.findall(r"\d+", line)[:2])) for line in compiling)]
    assert counts[0][0] == 1 and len(counts) > 5 and all(done > before for (before, _), (done, _) in pairwise(counts))
    assert any(done < known - 3 for done, known in counts) and all(done <= known for done, known in counts)
    assert all("once a machine" in line and re.search("[\u2501\u2578\u257a]$", line) for line in compiling)
    assert re.search(r"\x1b\[38;", text) and lines[-1].startswith("epoch 3/3  ") and "loss" in lines[-1]
    assert max(map(len, lines)) <= 80
    for width, environment in ((80, {}), (40, {"NO_COLOR": "1"}), (80, {"TERM": "dumb"})):  # and now they are there
        text, lines = seen(width, tmp_path, **environment)
        assert "compiling" not in text and lines[-1].startswith("epoch 3/3  ") and max(map(len, lines)) <= width
        assert bool(re.search(r"\x1b\[38;", text)) == (not environment)
        assert ("\x1b" in text) == ("TERM" not in environment)
