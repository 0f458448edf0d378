"""Pages with files and commands: what is typed from them gives what the pages show."""

import doctest
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

import nnkit as nn

ROOT = Path(nn.__file__).parents[1]
TUTORIAL, COOKBOOK = ROOT / "plugins" / "README.md", ROOT / "plugins" / "COOKBOOK.md"
GUIDE = ROOT / "nnkit" / "guide"
LONGEST = 30  # lines of an example that are not empty


class Shown(NamedTuple):
    """A block of a page: the text of a file, or a command and what it prints."""

    file: str  # "" where it is a command
    text: str


BLOCK = re.compile(r"""^```(?P<kind>\w+)\n(?P<code>.*?)^```$ | (?P<told>(?:^[ ]{4}[^\n]*\n)+)
                       | (?P<prose>(?:^(?!```)\S[^\n]*\n)+)""", re.MULTILINE | re.DOTALL | re.VERBOSE)  # fmt: skip


def blocks(page):
    """What a page shows, in order: a file goes by the last name in the paragraph before it."""
    before = ""
    for found in BLOCK.finditer(page):
        if found["prose"]:
            before = found["prose"]
        elif found["kind"] in ("sh", "console"):
            yield Shown("", found["code"])
        elif found["code"]:
            names = re.findall(r"`([\w.]+\.(?:py|toml))`", before)
            yield Shown(names[-1] if names else "script.py", found["code"])
        else:
            yield Shown("", textwrap.dedent(found["told"]))


def install(folder):
    """Leave in a folder what ``pip install -e .`` would leave where packages are installed."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = project["entry-points"]["nnkit.plugins"].items()
    (about / "entry_points.txt").write_text("[nnkit.plugins]\n" + "".join(f"{key} = {module}\n" for key, module in points))


def run(folder, *arguments):
    """What a Python in a folder prints, warnings being errors."""
    paths = [str(ROOT), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "160"}
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr + (f"exit status {done.returncode}\n" if done.returncode else "")


def typed(folder, page):
    """Follow a page in a folder; what went otherwise than it says."""
    checker, wrong = doctest.OutputChecker(), []
    for shown in blocks(page):
        if shown.file:
            (folder / shown.file).write_text(shown.text)
            if shown.file == "script.py" and (came := run(folder, shown.file)):
                wrong.append(came)
        elif shown.text == "pip install -e .\n":
            install(folder)
        elif shown.text.startswith("$ python "):
            command, _, expected = shown.text.partition("\n")
            came = run(folder, *command.split()[2:])
            expected = re.sub(r"\d+ numbers at once", "... at once", expected)  # as many as the processor takes
            if not checker.check_output(expected, came, doctest.ELLIPSIS):
                wrong.append(f"{command}\n{came}")
    return wrong


def recipes():
    """The cookbook's sections by their titles."""
    _, *sections = re.split(r"^## (.*)\n", COOKBOOK.read_text(), flags=re.MULTILINE)
    return dict(zip(sections[::2], sections[1::2], strict=True))


@pytest.mark.parametrize("title", recipes())
def test_a_recipe_is_right_as_it_is_typed(title, tmp_path):
    files = [shown for shown in blocks(recipes()[title]) if shown.file]
    assert f"python -m nnkit check {files[0].file}" in recipes()[title]
    if "onnx.export" in "".join(shown.text for shown in files):
        pytest.importorskip("onnx")
    assert typed(tmp_path, recipes()[title]) == []


@pytest.mark.parametrize("title", recipes())
def test_a_recipe_is_short(title):
    for shown in blocks(recipes()[title]):
        lines = shown.text.splitlines()
        assert not shown.file or len([line for line in lines if line.strip()]) <= LONGEST
        assert max(map(len, lines)) <= 120


def test_the_cookbook_has_a_recipe_for_every_kind_of_part():
    text = COOKBOOK.read_text()
    assert [kind for kind in ("Layer", "Activation", "Loss", "Optimizer", "Schedule", "Metric", "Callback")
            if f"(nn.{kind})" not in text] == []  # fmt: skip
    assert "(Container)" in text
    assert "def onnx(" in text
    assert "def c(" in text


def test_the_tutorial_is_right_as_it_is_typed(tmp_path):
    page = TUTORIAL.read_text().partition("## What kernels may name")[0]
    assert typed(tmp_path, page) == []
    assert {"nnkit_serf.py", "pyproject.toml", "test_serf.py"} <= {path.name for path in tmp_path.iterdir()}
    assert "serf" in run(tmp_path, "-m", "nnkit", "list")
    assert "1 passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_serf.py")


def test_the_guide_makes_a_package_as_it_is_typed(tmp_path):
    _, _, page = (GUIDE / "tutorials" / "own_layer.md").read_text().partition("## A package")
    assert typed(tmp_path, page) == []
    assert "feature_gate" in run(tmp_path, "-m", "nnkit", "list")
    assert "1 passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_feature_gate.py")


def test_the_guide_shows_commands_that_run(tmp_path):
    page = (GUIDE / "howto" / "command_line.md").read_text()
    script = tmp_path / "make_table.py"
    script.write_text("".join(example.source for example in doctest.DocTestParser().get_examples(page)))
    commands = [line for shown in blocks(page) if not shown.file for line in shown.text.splitlines()]
    assert len(commands) == 5
    for words in ("make_table.py", *(f"-m {command}" for command in commands)):
        assert "exit status" not in run(tmp_path, *shlex.split(words))
    assert {"iris.html", "iris.safetensors", "answers.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_the_tutorial_shows_what_a_forgotten_factor_gives(tmp_path):
    page = TUTORIAL.read_text()
    serf = next(shown for shown in blocks(page) if shown.file == "nnkit_serf.py")
    (tmp_path / "hasty.py").write_text(serf.text.replace("return grad_out * (", "return ("))
    came = run(tmp_path, "-m", "nnkit", "check", "hasty.py")
    said = next(shown.text for shown in blocks(page) if shown.text.startswith("Serf(): backward gives a wrong grad_x"))
    assert re.sub(r"[-\d.]+", "0", " ".join(said.split())) in re.sub(r"[-\d.]+", "0", " ".join(came.split()))


FAULTS = [("1 / np.sqrt", "1 / np.square"), ("all is right", "not all is right"), ("return np.where", "retrun = np.where"),
          ("`inverse_sqrt.py`", "`sqrt.py`"), ("array([0.25", "array([0.5")]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), FAULTS)
def test_a_page_that_is_wrong_is_seen(before, after, tmp_path):
    page = recipes()["A schedule"]
    assert before in page
    assert typed(tmp_path, page.replace(before, after, 1)) != []
