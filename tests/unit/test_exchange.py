"""What parts use of ONNX is what `nnkit.core.exchange` declares, and what is at work above has all of it."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import nnkit as nn
from nnkit.core import exchange
from nnkit.core.activation import Activation
from nnkit.core.container import Container
from nnkit.persistence.onnx.cursor import Cursor
from nnkit.persistence.onnx.graph import Graph

KINDS = {name: getattr(exchange, name) for name in ("Cursor", "Found", "Graph", "Inner", "Node", "Value")}
GIVEN = {"at": "Cursor", "graph": "Graph", "node": "Node"}  # how parts call what they are given; beside a graph, x is a value
MANY = "many "  # before the kind of what a list, or an iterator, is of


def annotations(kind):
    """What a class says of its attributes and of what its methods return."""
    said = {**inspect.get_annotations(kind.__init__), **inspect.get_annotations(kind)}
    for name, item in vars(kind).items():
        function = getattr(item, "fget", None) or getattr(item, "__func__", item)
        if inspect.isfunction(function):
            said[name] = function.__annotations__.get("return", "")
    return {name: text for name, text in said.items() if name != "return" and not name.startswith("__")}


DECLARED = {name: annotations(kind) for name, kind in KINDS.items()}


def kind_behind(owner, name):
    """The kind of an attribute, or of what a method returns; "" where it is something else."""
    text = DECLARED.get(owner, {}).get(name, "")
    found = re.search(rf"\b({'|'.join(KINDS)})\b", text)
    if found is None or text.startswith("dict["):
        return ""
    return (MANY if re.match(r"(list|Sequence|Iterator)\[", text) else "") + found[1]


def kind_of(item, known):
    """The kind of an expression, as far as it can be told without running it."""
    match item:
        case ast.Name():
            return known.get(item.id, "")
        case ast.Attribute():
            return kind_behind(kind_of(item.value, known), item.attr)
        case ast.Call(func=ast.Attribute() as method):
            return kind_of(method, known)
        case ast.Call(func=ast.Name(id="abs")):
            return kind_of(item.args[0], known)
        case ast.Subscript():
            whole = kind_of(item.value, known)
            return whole if isinstance(item.slice, ast.Slice) else whole.removeprefix(MANY) if whole.startswith(MANY) else ""
        case ast.NamedExpr() | ast.Starred():
            return kind_of(item.value, known)
        case ast.GeneratorExp() | ast.ListComp():
            return MANY + inner if (inner := kind_of(item.elt, known)) else ""
        case ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.IfExp():
            return next(filter(None, (kind_of(part, known) for part in ast.iter_child_nodes(item))), "")
    return ""


def bind(target, value, known):
    """Note what a name is from here on; of several that get parts of a list, each."""
    if isinstance(target, ast.Name):
        if value:
            known[target.id] = value
    elif isinstance(target, ast.Tuple) and value.startswith(MANY):
        for part in target.elts:
            bind(part, value.removeprefix(MANY), known)


def known_names(function):
    """The kinds of all names in a function."""
    known = {}
    for inner in ast.walk(function):
        if isinstance(inner, ast.FunctionDef | ast.Lambda):
            names = [argument.arg for argument in inner.args.args]
            known |= {name: GIVEN[name] for name in names if name in GIVEN}
            if "graph" in names and "x" in names:
                known["x"] = "Value"
    before = None
    while known != before:  # what a loop binds late may be used early
        before = dict(known)
        for inner in ast.walk(function):
            match inner:
                case ast.Assign(targets=[target]) if isinstance(target, ast.Tuple) and isinstance(inner.value, ast.Tuple):
                    for part, value in zip(target.elts, inner.value.elts, strict=False):
                        bind(part, kind_of(value, known), known)
                case ast.Assign(targets=[target]) | ast.NamedExpr(target=target):
                    bind(target, kind_of(inner.value, known), known)
                case ast.For() | ast.comprehension():
                    bind(inner.target, kind_of(inner.iter, known).removeprefix(MANY), known)
    return known


def uses(source):
    """The names that functions use of values, nodes, graphs and cursors: (line, kind, name)."""
    found = set()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            known = known_names(function)
            for item in ast.walk(function):
                if isinstance(item, ast.Attribute) and (kind := kind_of(item.value, known)) in KINDS:
                    found.add((item.lineno, kind, item.attr))
    return found


def undeclared(source):
    return sorted(f"line {line}: {kind}.{name}" for line, kind, name in uses(source) if name not in DECLARED[kind])


PARTS = {*nn.registry.layers.values(), *nn.registry.activations.values(), Activation, Container, nn.Layer}
FILES = sorted({inspect.getfile(base) for part in PARTS for base in part.__mro__
                if issubclass(base, nn.Layer) and base.__module__.startswith("nnkit")})  # plugins, too; not what tests register


@pytest.mark.parametrize("file", FILES, ids=lambda file: Path(file).stem)
def test_parts_use_only_what_is_declared(file):
    assert undeclared(Path(file).read_text()) == []


@pytest.mark.parametrize("kind, for_nnkit", [("Graph", {"decide"}), ("Cursor", {"mask", "taken"})])
def test_all_that_is_declared_is_used_by_some_part(kind, for_nnkit):
    """But for what nnkit itself asks for: a value, whether it is true; a reader, how far a layer reaches."""
    used = {name for file in FILES for _, of, name in uses(Path(file).read_text()) if of == kind}
    assert set(DECLARED[kind]) - used == for_nnkit


@pytest.mark.parametrize("kind, real", [("Graph", Graph), ("Cursor", Cursor)])
def test_what_is_at_work_has_all_that_is_declared(kind, real):
    graph = Graph("float32")
    has = {*dir(graph)} if real is Graph else {*dir(real), *real.__dataclass_fields__}
    assert set(DECLARED[kind]) - has == set()


UNDECLARED = {
    "return at.ledger": "Cursor.ledger",
    "return at.after(at.take('Add')).parsed": "Cursor.parsed",
    "own = at.copy()\n    return own.region": "Cursor.region",
    "node = at.take('Add')\n    return node.readers": "Node.readers",
    "if (node := at.ahead('Add')) is None: return None\n    return node.input(1).users": "Value.users",
    "return [end.last for end in at.waists()]": "Node.last",
    "for value in at.join('Add').inputs: value.size": "Value.size",
    "return at.chain(at.value).end": "Inner.end",
    "return at.like([cls()], lambda layer, graph, x: graph.written)": "Graph.written",
    "return at.like([cls()], lambda layer, graph, x: (1.0 + -x).shape)": "Value.shape",
    "write = lambda layer, graph, x: graph.nodes(2, 'Split', x)[0].rank": "Value.rank",
    "found = at.like([cls()]) or at.found(cls())\n    return found.pattern": "Found.pattern",
    "a, b = at.copy(), 1\n    return a.flow": "Cursor.flow",
}


@pytest.mark.parametrize("body", UNDECLARED)
def test_what_is_not_declared_is_seen(body):
    (found,) = undeclared(f"def from_onnx(cls, at):\n    {body}\n")
    assert found.endswith(f": {UNDECLARED[body]}")
