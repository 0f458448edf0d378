"""The house: which floor a module may import from, who may name what, and what is public."""

import ast
import re
from pathlib import Path

import pytest

import nnkit as nn

ROOT = Path(nn.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
KINDS = [nn.registry.layers, nn.registry.activations, nn.registry.losses, nn.registry.optimizers, nn.registry.initializers,
         nn.registry.schedules, nn.registry.metrics, nn.registry.callbacks]  # fmt: skip
PARTS = [part for kind in KINDS for part in kind.values() if part.__module__.partition(".")[0] == "nnkit"]  # not of plugins

# From the ground up. A module imports from its own floor and from those below.
FLOORS = [
    {"errors", "about"},
    {"kernels"},
    {"engine"},
    {"core"},
    {"layers", "activations", "losses", "optimizers", "initializers", "schedules", "metrics", "registry"},
    {"network"},
    {"planner", "passes", "native", "executor", "training", "inspect"},
    {"persistence"},
    {"model"},
    {"estimators", "onnx"},
    {"loading", "testing", "warmup", "commands", "__main__", "__init__"},
]


def floor_of(module):
    for number, floor in enumerate(FLOORS):
        if module in floor:
            return number
    raise AssertionError(f"nnkit.{module} stands on no floor: add it to FLOORS")


def module_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def type_checking_lines(tree):
    """Imports for annotations only: they are not executed."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {inner.lineno for block in blocks for statement in block.body for inner in ast.walk(statement)
            if hasattr(inner, "lineno")}  # fmt: skip


def imports(path):
    """Modules of nnkit that a file imports, those inside of functions included."""
    tree = ast.parse(path.read_text())
    skipped = type_checking_lines(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" if node.module == "nnkit" else node.module or "" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "nnkit" and node.lineno not in skipped:
                yield node.lineno, (name.split(".") + ["__init__"])[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    own = floor_of(module_of(path))
    up = [f"line {line}: nnkit.{name}" for line, name in imports(path) if floor_of(name) > own]
    assert not up, f"{path.relative_to(ROOT)} imports from a higher floor: {', '.join(up)}"


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
        names = {part.key for part in PARTS if part.__module__ != home}
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
    r"\bwarnings\.warn": {"errors.py"},  # `nnkit.errors.warn` finds the user's line
}  # fmt: skip


@pytest.mark.parametrize("pattern", ONLY)
def test_what_has_one_place(pattern):
    naming = {path.relative_to(ROOT).as_posix() for path in FILES if re.search(pattern, path.read_text())}
    assert naming <= ONLY[pattern]
