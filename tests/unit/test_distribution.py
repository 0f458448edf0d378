"""What nnkit is called where packages are installed: whatever is told to pip, anywhere in the tree, is this project's."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import nnkit as nn
from nnkit.about import DISTRIBUTION, install

ROOT = Path(__file__).parents[2]
TEXTS = {".py", ".md", ".toml", ".ipynb", ".txt", ".yml", ".yaml", ".cfg", ".rst", ".html", ".sh"}
PROJECTS = {path.parent: tomllib.loads(path.read_text())
            for path in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]}  # fmt: skip
EXTRAS = {project["project"]["name"]: {*project["project"].get("optional-dependencies", {})} for project in PROJECTS.values()}
OURS = PROJECTS[ROOT]["project"]["name"]

# A requirement, or the path of a project: its extras in brackets.
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*|\.{1,2}(?:/[\w.-]+)*)(?:\[(?P<extras>[^\]]*)\])?\s*(?:[<>=!~@;].*)?")
PLACES = re.compile(r"\bpip3? install\b((?:[^\S\n]+(?:'[^'\n]*'|\"[^\"\n]*\"|[-\w./$@+:=\[\],{}]+))*)")


def files():
    """Everything that people read or run, and nothing that git does not know of."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        if path.is_file() and not hidden and "build" not in parts and (path.suffix in TEXTS or path.suffix == ""):
            yield path


def lines(text):
    """What follows ``pip install``, in pieces; a notebook and a string have their quotes escaped."""
    for found in PLACES.finditer(text.replace('\\"', '"')):
        yield [word.rstrip(".,:;") if word != "." else word for word in shlex.split(found[1].replace("`", " "))]


def wrong(words, folder):
    """What is wrong with the arguments of one ``pip install``."""
    skipped = False
    for word in words:
        if skipped or word.startswith("-"):
            skipped = word in ("-r", "-c", "-t", "--index-url")
            continue
        found = REQUIREMENT.fullmatch(word)
        if found is None:
            continue
        name, extras = found["name"], {item.strip() for item in (found["extras"] or "").split(",")} - {""}
        if name.startswith("."):
            homes = [home for home in ((base / name).resolve() for base in (ROOT, folder)) if home in PROJECTS]
            if not homes and name != ".":  # somebody's own project is where he stands
                yield f"{word}: there is no project"
            name = PROJECTS[homes[0]]["project"]["name"] if homes else OURS
        elif not re.sub(r"[-_.]+", "-", name).lower().startswith("nnkit"):
            continue
        if name not in EXTRAS:
            yield f"{word}: {name} is not one of {sorted(EXTRAS)}"
        elif not extras <= EXTRAS[name]:
            yield f"{word}: {name} has no extra {sorted(extras - EXTRAS[name])}"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('pip install "nnkit[plot]"', "nnkit is not one of"), ("pip install nnkit", "nnkit is not one of"),
        ("pip install -U nnkit.", "nnkit is not one of"), ("`pip install nnkit-maxout-2`", "is not one of"),
        ("pip install 'nnkit-numba[plots]'", "has no extra ['plots']"), ('pip install -e ".[benches]"', "has no extra"),
        ("pip install ./plugins/nnkit-none", "there is no project"), (r'pip install \"nnkit[onnx]\"\n', "nnkit is not one of"),
        ("pip install nnkit_numba", "nnkit_numba is not one of"),
        ('pip install "nnkit-numba[plot]"', ""), ("pip install . ./plugins/nnkit-maxout", ""), ("a pip install it needs", ""),
        ('pip install "nnkit-numba @ git+file://$PWD"', ""), ("pip install -r nnkit", ""), ("pip install numpy nothing", ""),
    ],
)  # fmt: skip
def test_the_search_finds_what_is_wrong(line, fault):
    told = [item for words in lines(line) for item in wrong(words, ROOT)]
    assert fault in told[0] if fault else not told


def test_every_install_line_is_of_this_project():
    found, told = 0, []
    for path in {*files()} - {Path(__file__)}:
        text = path.read_text(errors="replace")
        for extras in re.findall(r"\bEXTRAS *\??= *(\S+)", text):  # of the Makefile, and for it
            assert {*extras.split(",")} <= EXTRAS[OURS], path
            text = text.replace("$(EXTRAS)", extras)
        for words in lines(text):
            found += 1
            told += [f"{path.relative_to(ROOT)}: {item}" for item in wrong(words, path.parent)]
    assert told == []
    assert found > 15


def test_messages_have_their_line_from_one_place():
    """`nnkit.about.install` with an extra that there is; nnkit's own name stands in no other message."""
    asked = set()
    for path in sorted((ROOT / "nnkit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "install":
                asked |= {item.value for item in node.args if isinstance(item, ast.Constant)}
            if isinstance(node, ast.Raise) or (isinstance(node, ast.Assign) and path.name != "about.py"):
                assert not re.search(r"pip install (-\w )?\\?[\"']?nnkit", ast.unparse(node)), path
    assert {"plot", "onnx", "parquet"} <= asked <= EXTRAS[OURS]


def test_projects_have_the_name_that_messages_say():
    assert OURS == DISTRIBUTION
    assert install("plot") == f'pip install "{OURS}[plot]"'
    for project in PROJECTS.values():
        required = [*project["project"]["dependencies"]]
        required += [item for extra in project["project"].get("optional-dependencies", {}).values() for item in extra]
        own = {item for item in required if item.startswith("nnkit")}
        assert {re.split(r"[\[<>=!~ ]", item)[0] for item in own} <= {OURS}
        assert project["project"]["name"] == OURS or own
    home = ROOT / PROJECTS[ROOT]["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{nn.__version__}"' in home.read_text()
