"""The house: which floor a module may import from, who may name what, and what is public."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

import nnkit as nn
from tests.house import House, public_names

ROOT = Path(nn.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
KINDS = [nn.registry.layers, nn.registry.activations, nn.registry.losses, nn.registry.optimizers, nn.registry.initializers,
         nn.registry.schedules, nn.registry.metrics, nn.registry.callbacks, nn.registry.trainers]  # fmt: skip
PARTS = [part for kind in KINDS for part in kind.values() if part.__module__.partition(".")[0] == "nnkit"]  # not of plugins

HOUSE = House(ROOT)
FILE, FUNCTION = 600, 60  # lines


@pytest.mark.parametrize("module", HOUSE.paths)
def test_imports_point_down(module):
    assert [str(item) for item in HOUSE.upward() if item.source == module] == []


def test_no_imports_run_in_a_circle():
    ties = [HOUSE.ties(circle) for circle in HOUSE.circles()]
    assert ties == [], "\n\n".join("\n".join(map(str, circle)) for circle in ties)


def test_files_and_functions_are_short():
    """A part is one class in one place, however many there are; the compiler sees a kernel whole."""
    long = {module: lines for module, lines in HOUSE.lengths().items() if lines > FILE}
    assert long.keys() <= {"nnkit.activations", "nnkit.losses"}, long
    assert [str(item) for item in HOUSE.functions() if item.lines > FUNCTION and not item.kernel] == []


def test_the_front_door_is_narrow():
    names = public_names(nn.Sequential(["relu"]))
    assert len(names) <= 26, names
    assert HOUSE.lengths()["nnkit.model"] <= 450


def built(root, **files):
    """A house of these files; two underscores within a name lead into a folder."""
    for name, text in files.items():
        path = (root / "nnkit").joinpath(*re.split(r"(?<=\w)__(?=\w)", name)).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return House(root / "nnkit")


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("executed", "from nnkit.model import Sequential"),
        ("executed", "import nnkit.model as home"),
        ("executed", "from nnkit import model"),
        ("annotations", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nnkit.model import Sequential"),
        ("function", "class Layer:\n    def build(self):\n        if self:\n            from nnkit.model import Sequential"),
        ("string", "Sequential = imported('nnkit.model').Sequential"),
        ("string", "LATER = {'Sequential': 'nnkit.model:Sequential'}"),
        ("string", "MODULES = ('model',)\ndef found(name):\n    return imported(f'nnkit.{name}')"),
        ("string", "CODE = ['from nnkit.model import Sequential', 'pass']"),
    ],
)
def test_an_import_upward_is_seen(tmp_path, way, text):
    house = built(tmp_path, core__layer=text, model="from nnkit.core import layer")
    (found,) = house.upward()
    assert (found.source, found.target, found.way) == ("nnkit.core.layer", "nnkit.model", way)
    assert house.circles() == [["nnkit.core.layer", "nnkit.model"]]


def test_what_only_looks_like_an_import_is_none(tmp_path):
    text = '''
        """Layers.

        from nnkit.model import Sequential
        """
        from nnkit.core import part
        GROUP, HINT = "nnkit.plugins", "write nnkit.model.Sequential"
        def is_own(module, name):
            "nnkit.model"
            return module.startswith("nnkit.") or f"{name} of nnkit.{module}"
    '''
    house = built(tmp_path, __init__="", model="", core__part="import json", core__layer=text)
    assert [str(item) for item in house.imports] == ["nnkit.core.layer:6 -> nnkit.core.part: part"]


def test_a_circle_is_seen_and_the_names_that_tie_it(tmp_path):
    house = built(
        tmp_path,
        core__part="import re",
        core__layer="from nnkit.core.part import Part\nfrom nnkit.core.container import Chain, Placed",
        core__container="def walked():\n    from nnkit.core.walk import walk",
        core__walk="import typing\nif typing.TYPE_CHECKING:\n    from nnkit.core.layer import Built\nelse:\n    Built = object",
        model="from nnkit.core.layer import Layer",
    )
    (circle,) = house.circles()
    assert house.upward() == []
    assert [str(item) for item in house.ties(circle)] == [
        "nnkit.core.container:2 -> nnkit.core.walk: walk (function)",
        "nnkit.core.layer:2 -> nnkit.core.container: Chain, Placed",
        "nnkit.core.walk:3 -> nnkit.core.layer: Built (annotations)",
    ]


def test_a_room_without_a_floor_is_refused(tmp_path):
    with pytest.raises(AssertionError, match=r"nnkit\.attic stands on no floor"):
        built(tmp_path, attic="import nnkit.errors", errors="").upward()


def test_lengths_are_counted_and_kernels_told_apart(tmp_path):
    lines = "    x = 1\n" * 60
    house = built(
        tmp_path,
        layers__linear=f"class Linear:\n  @staticmethod\n  def forward(x, out):\n{lines}  def build(self):\n{lines}",
        engine__loop=f"def run(table):\n{lines}",
        model=f"class Sequential:\n  @staticmethod\n  def fit(model: Any):\n{lines}",
    )
    assert house.lengths() == {"nnkit.layers.linear": 124, "nnkit.model": 63, "nnkit.engine.loop": 61}
    assert {(item.name, item.lines, item.kernel) for item in house.functions()} == {
        ("forward", 61, True), ("build", 61, False), ("run", 61, True), ("fit", 61, False),
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_imports_are_not_used(path):
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level]


def test_only_jit_names_numbas_flags():
    flags = re.compile(r"\b(fastmath|error_model|nogil|forceinline|boundscheck|parallel)\s*=")
    naming = [path.relative_to(ROOT).as_posix() for path in FILES if flags.search(path.read_text())]
    assert [name for name in naming if name != "kernels/jit.py"] == []


def test_no_file_compares_with_a_parts_name():
    """What a part is, it says of itself: nobody asks for its name."""
    found = []
    for path in FILES:
        home = ".".join(["nnkit", *path.relative_to(ROOT).with_suffix("").parts])
        names = {part.key for part in PARTS if part.__module__ != home} - {"bilinear"}  # which is a way to upsample, too
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                compared = {item.value for side in [node.left, *node.comparators] for item in ast.walk(side)
                            if isinstance(item, ast.Constant) and isinstance(item.value, str)}  # fmt: skip
                found += [f"{path.relative_to(ROOT)}:{node.lineno} {name!r}" for name in compared & names]
    assert found == []


def test_no_file_switches_on_a_parts_class():
    names = {part.__name__ for part in PARTS}
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
                asked = {item.id for item in ast.walk(node.args[1]) if isinstance(item, ast.Name)} & names
                found += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in asked]
    assert found == []


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_registered_class_is_public(part):
    assert getattr(nn, part.__name__) is part


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_registered_class_says_what_it_is_and_shows_it(part):
    text = part.__doc__ or ""
    summary = text.strip().splitlines()[0]
    assert len(summary) > 10
    assert not summary.startswith(part.__name__ + "(")  # a dataclass would write its signature
    assert ">>> " in text.partition("Examples")[2]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_documented_parameters_are_those_of_the_constructor(part):
    section = re.search(r"Parameters\n\s+-+\n(.*?)(\n\s*\n|\Z)", part.__doc__, re.S)
    if section is None:
        return
    documented = {name.strip() for line in section[1].splitlines() if re.match(r"^    \w[\w, ]* : ", line)
                  for name in line.split(" : ")[0].split(",")}  # fmt: skip
    taken = {name for name in part.__init__.__code__.co_varnames[: part.__init__.__code__.co_argcount
                                                                 + part.__init__.__code__.co_kwonlyargcount]}  # fmt: skip
    assert documented <= taken


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_registry_keys_are_snake_case_and_known_to_their_class(kind):
    assert len(kind) > 0
    for key, part in kind.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", key)
        assert part.key == key


def test_all_lists_only_what_exists():
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                module = ".".join(["nnkit", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
                namespace = __import__(module, fromlist=["x"])
                names = ast.literal_eval(node.value)
                assert [name for name in names if not hasattr(namespace, name)] == [], module


def test_import_is_light(script):
    """Numba, scikit-learn and rich are imported by whoever needs them, not at the door."""
    output = script("import sys, nnkit; print({'numba', 'sklearn', 'scipy', 'rich'} & set(sys.modules))")
    assert output == "set()\n"


ONLY = {  # what has one place, and why
    r"\bcached_property\b": {"engine/lazy.py"},  # before Python 3.12 it has a lock that a forked child finds taken
    r"\bR?Lock\(\)": {"engine/critical.py", "engine/exclusive.py", "engine/stub.py", "engine/outside.py", "engine/workers.py",
                      "core/plugins.py"},  # of `nnkit.engine.critical`: forks wait for it, and signals
    r"threading\.R?Lock\(": {"engine/critical.py"},
    r"\.isatty\(": {"core/terminal.py"},  # not every process has streams
    r"\bsignal\.signal\(": {"engine/critical.py"},
    r"os\.environ.*NNKIT_": set(),  # `nnkit.engine.environment` declares what is read
    r"\bwarnings\.warn": {"errors.py"},  # `nnkit.errors.warn` finds the user's line
}  # fmt: skip


@pytest.mark.parametrize("pattern", ONLY)
def test_what_has_one_place(pattern):
    naming = {path.relative_to(ROOT).as_posix() for path in FILES if re.search(pattern, path.read_text())}
    assert naming <= ONLY[pattern]
