"""The house: which file of nnkit imports which, from floor to floor and in circles, and how long everything is.

``python -m tests.house`` prints it; `tests/unit/test_architecture.py` says what is allowed. Every import counts: those for
annotations, those inside of functions, and modules that a string names, to be imported later. The files are read, not executed.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# From the ground up. A module imports from its own floor and from those below.
FLOORS = [
    {"errors", "about"},
    {"kernels"},
    {"engine"},
    {"core"},
    {"tables"},
    {"layers", "activations", "losses", "optimizers", "initializers", "schedules", "metrics", "registry"},
    {"network"},
    {"planner", "passes", "native", "executor", "training", "inspect"},
    {"persistence"},
    {"model"},
    {"many"},
    {"estimators", "onnx"},
    {"search"},
    {"loading", "testing", "warmup", "guide", "commands", "__main__", "__init__"},
]
CHECKING = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
COMPILED = ("kernels", "engine")  # where functions without types are machine code
MOST = 12  # files and functions that are shown
INDENT = 7 * " "


@dataclass(frozen=True, order=True)
class Import:
    """One file imports another.

    Attributes
    ----------
    source, line, target : who imports, where, and which module
    names : what is wanted of it
    way : "executed" with the file, for "annotations", in a "function", or named in a "string"
    """

    source: str
    line: int
    target: str
    names: tuple[str, ...]
    way: str

    def __str__(self) -> str:
        how = "" if self.way == "executed" else f" ({self.way})"
        return f"{self.source}:{self.line} -> {self.target}: {', '.join(self.names)}{how}"


@dataclass(frozen=True, order=True)
class Function:
    """A function, how many lines it has with its docstring, where it begins, and whether it is compiled."""

    lines: int
    module: str
    line: int
    name: str
    kernel: bool

    def __str__(self) -> str:
        return f"{self.lines:5}  {self.module}:{self.line} {self.name}"


class House:
    """The files of a package: who imports whom, and how long they are.

    Parameters
    ----------
    root : folder of the package

    Attributes
    ----------
    paths : file of each module
    imports : all of them
    """

    def __init__(self, root: Path) -> None:
        self.package = root.name
        self.paths = {_module(path.relative_to(root.parent)): path for path in sorted(root.rglob("*.py"))}
        self._trees = {module: ast.parse(path.read_text()) for module, path in self.paths.items()}
        self.imports = sorted(item for module in self.paths for item in self._imports_of(module))
        self._targets: dict[str, set[str]] = {module: set() for module in self.paths}
        for item in self.imports:
            self._targets[item.source].add(item.target)

    # ---------------------------------------------------------------------------------------------------- who imports whom

    def room_of(self, module: str) -> str:
        """The file or folder of the package that a module is, or is in."""
        return (module.split(".") + ["__init__"])[1]

    def floor_of(self, module: str) -> int:
        """The number of a module's floor, from the ground up."""
        room = self.room_of(module)
        for number, floor in enumerate(FLOORS):
            if room in floor:
                return number
        raise AssertionError(f"{self.package}.{room} stands on no floor: add it to FLOORS in tests/house.py")

    def upward(self) -> list[Import]:
        """What is imported from a higher floor."""
        return [item for item in self.imports if self.floor_of(item.target) > self.floor_of(item.source)]

    def circles(self) -> list[list[str]]:
        """Modules that reach each other over imports (strongly connected components), the largest circle first."""
        reached = {module: self._reached_from(module) for module in self.paths}
        found = {tuple(other for other in self.paths if other in reached[module] and module in reached[other])
                 for module in self.paths}  # fmt: skip
        return sorted(map(list, found - {()}), key=len, reverse=True)

    def ties(self, circle: Iterable[str]) -> list[Import]:
        """The imports that make a circle."""
        return [item for item in self.imports if {item.source, item.target} <= {*circle}]

    def _reached_from(self, module: str) -> set[str]:
        reached: set[str] = set()
        waiting = [module]
        while waiting:
            new = self._targets[waiting.pop()] - reached
            reached |= new
            waiting += new
        return reached

    def _imports_of(self, module: str) -> Iterator[Import]:
        tree = self._trees[module]
        begins = [node.values[0] for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and node.values]
        heads = {begin.value for begin in begins if _is_text(begin)}
        for node, way in _importing(tree, "executed"):
            wanted: dict[str, list[str]] = {}
            for name in self._named_in(node, heads):
                target = self._resolved(name)
                if target not in (None, module):
                    wanted.setdefault(target, []).append(name.rpartition(".")[2])
            for target, names in wanted.items():
                yield Import(module, node.lineno, target, tuple(names), way)

    def _named_in(self, node: ast.AST, heads: set[str]) -> list[str]:
        """What may be imported here, by its full name; ``heads``: with which f-strings of the file begin."""
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            return [f"{node.module}.{alias.name}" for alias in node.names]
        code = re.fullmatch(r"(?:from |import )?([\w.]+)(?: import .*|:\w+)?", node.value)  # or an entry point, or a bare name
        names = [head + node.value for head in heads] + ([code[1]] if code else [])
        return [name for name in names if self._resolved(name) not in (None, self.package)]  # it heads many a string

    def _resolved(self, name: str) -> str | None:
        """The module of the package that has this name, or has what is named."""
        while name and name not in self.paths:
            name = name.rpartition(".")[0]
        return name or None

    # ------------------------------------------------------------------------------------------------------ how long it is

    def lengths(self) -> dict[str, int]:
        """Lines of each module, the longest first."""
        lines = {module: len(path.read_text().splitlines()) for module, path in self.paths.items()}
        return dict(sorted(lines.items(), key=lambda item: item[1], reverse=True))

    def functions(self) -> list[Function]:
        """All functions, the longest first."""
        found = []
        for module, tree in self._trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef):
                    lines, kernel = node.end_lineno - node.lineno + 1, self._is_kernel(node, module)
                    found.append(Function(lines, module, node.lineno, node.name, kernel))
        return sorted(found, reverse=True)

    def _is_kernel(self, node: ast.FunctionDef, module: str) -> bool:
        """Whether a function is compiled: it has no types, and is a part's static method, or in a room of kernels."""
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        typed = node.returns is not None or any(argument.annotation is not None for argument in arguments)
        static = any(ast.unparse(decorator) == "staticmethod" for decorator in node.decorator_list)
        return not typed and (static or self.room_of(module) in COMPILED)


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _importing(node: ast.AST, way: str) -> Iterator[tuple[ast.AST, str]]:
    """Import statements, and all strings but docstrings: nodes that may import, and in which way."""
    typed = node.body if isinstance(node, ast.If) and ast.unparse(node.test) in CHECKING else []
    inside = "function" if isinstance(node, ast.FunctionDef) else way
    for child in ast.iter_child_nodes(node):
        if _is_text(child):
            yield child, "string"
        elif not (isinstance(child, ast.Expr) and _is_text(child.value)):
            here = "annotations" if child in typed else inside
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, here
            yield from _importing(child, here)


# ------------------------------------------------------------------------------------------------------------------- on screen


def public_names(model: object) -> list[str]:
    """What completion offers to who types a dot."""
    return [name for name in dir(model) if not name.startswith("_")]


def show(house: House) -> None:
    """Print floors, imports upward, circles, and what is longest."""
    lengths, functions = house.lengths(), house.functions()
    print(f"{len(lengths)} files, {sum(lengths.values())} lines, {len(house.imports)} imports")
    print("\nfloors, and lines of their rooms")
    for number, floor in reversed([*enumerate(FLOORS)]):
        rooms = dict.fromkeys(sorted(floor), 0)
        for module, lines in lengths.items():
            if house.room_of(module) in rooms:
                rooms[house.room_of(module)] += lines
        print(f"{number:5}  {', '.join(f'{room} {lines}' for room, lines in rooms.items())}")
    upward, circles = house.upward(), house.circles()
    print(f"\nimports upward: {len(upward)}", *upward, sep=f"\n{INDENT}")
    print(f"\ncircles: {len(circles)}")
    for circle in circles:
        print(f"{len(circle):5}  files", *house.ties(circle), sep=f"\n{INDENT}")
    print("\nthe longest files", *(f"{lines:5}  {module}" for module, lines in [*lengths.items()][:MOST]), sep="\n")
    for title, kernel in (("functions", False), ("kernels", True)):
        print(f"\nthe longest {title}", *[item for item in functions if item.kernel is kernel][:MOST], sep="\n")


if __name__ == "__main__":
    import nnkit

    show(House(Path(nnkit.__file__).parent))
    names = public_names(nnkit.Sequential(["relu"]))
    print(f"\npublic names of a model: {len(names)}\n{INDENT}{', '.join(names)}")
