"""The reference: a page for each public name, and a table for each kind of thing, of what is there when the site is made."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import nnkit
from nnkit import registry
from nnkit.core.part import Part
from nnkit.guide.generated import docstrings, parts, pictures

__all__ = ["Group", "groups", "pages"]

OWN = "nnkit."
MODULES = ("onnx", "registry", "testing")
ROOMS = {  # where a name that is no part is defined: the group that it is shown in
    "errors": "errors",
    "estimators": "estimators",
    "tables": "estimators",
    "search": "estimators",
    "inspect": "inspect",
    "metrics": "metrics",
    "core": "own",
    "builtins": "own",
}
ABOUT = {
    "models": ("Models", "A net, what it learns from and by, and the functions that can be made of it."),
    "layers": ("Layers", "What a net is made of. Sizes of the input come from the data."),
    "activations": ("Activations", "Functions of each number, and softmax. They stand in a net as layers do."),
    "losses": ("Losses", "What a fit makes small. Every gradient is that of what is reported."),
    "optimizers": ("Optimizers", "How parameters change, batch by batch."),
    "trainers": ("Trainers", "Optimizers that see all rows at once."),
    "initializers": ("Initializers", "What parameters begin as."),
    "schedules": ("Schedules", "How a learning rate, or any other number, changes while a net trains."),
    "metrics": ("Metrics", "What a fit reports beside its loss."),
    "callbacks": ("Callbacks", "What is called while a net trains."),
    "estimators": ("Estimators", "Nets as scikit-learn has estimators, for arrays and tables, and the search for settings."),
    "inspect": ("Seeing inside", "How a net computes, and what its inputs do to its outputs."),
    "own": ("Parts of your own", "The contracts that every part keeps, and what goes with them."),
    "given": ("What is given", "Classes of what methods and functions return. They are not made by hand."),
}


@dataclass
class Group:
    """Names that belong together: ``items`` by the name that a user types, without ``nnkit.``."""

    key: str
    items: dict[str, Any] = field(default_factory=dict)

    def file(self, name: str) -> str:
        """The page of a name, without its ending; no two differ in capital letters only."""
        folded = [other.lower() for other in self.items].count(name.lower()) > 1
        return f"{name.rpartition('.')[2]}{'-function' if folded and not inspect.isclass(self.items[name]) else ''}"


def registered() -> dict[str, dict[str, Any]]:
    """The parts of each kind that are nnkit's own, class by name."""
    kinds = {kind: sorted(getattr(registry, kind).items()) for kind in registry.__all__}
    return {kind: {part.__name__: part for _, part in some if part.__module__.startswith(OWN)} for kind, some in kinds.items()}


def groups() -> dict[str, Group]:
    """All public names but the modules' and the errors, in groups."""
    found = {key: Group(key) for key in ABOUT}
    kinds = {part: kind for kind, some in registered().items() for part in some.values()}
    for name in nnkit.__all__:
        item = getattr(nnkit, name)
        room = str(getattr(item, "__module__", "")).removeprefix(OWN).partition(".")[0]
        key = kinds.get(item) or ROOMS.get(room, "models") if name not in MODULES else ""
        if key in found:
            found[key].items[name] = item
    for item in sorted(given(found), key=lambda item: item.__name__):
        found["given"].items[f"{item.__module__.removeprefix(OWN)}.{item.__name__}"] = item
    return found


def given(found: Mapping[str, Group]) -> set[type]:
    """Classes that public functions and methods return, and that have no public name."""
    public = {item for group in found.values() for item in group.items.values() if inspect.isclass(item)}
    callables = [item for group in found.values() for item in group.items.values() if inspect.isfunction(item)]
    callables += [inspect.unwrap(getattr(item, name)) for item in public if not issubclass(item, Part)
                  for name in members(item) if inspect.isfunction(getattr(item, name))]  # fmt: skip
    classes = {returned(function) for function in callables}
    return {item for item in classes - public if inspect.isclass(item) and item.__module__.startswith(OWN)}


def returned(function: Any) -> Any:
    """The class of what a function returns, where it names one: of its module's own, or imported there for type checkers."""
    word, module = inspect.signature(function).return_annotation, import_module(function.__module__)
    if not isinstance(word, str) or word in vars(module):
        return vars(module).get(word) if isinstance(word, str) else word
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]
    places = [node.module for node in imports if node.module and word in [alias.name for alias in node.names]]
    return getattr(import_module(places[0]), word) if places else None


def members(item: type) -> list[str]:
    """The methods and properties that are described with a class: of a part only what it has beyond its contract."""
    return [name for name, owner in owners(item) if described(item, name, owner)]


def owners(item: type) -> Iterator[tuple[str, type]]:
    """Public names of a class in the order of the source, each with the class that defines it."""
    seen = set()
    for owner in item.__mro__:
        for name in vars(owner):
            if name[0] != "_" and name not in seen:
                seen.add(name)
                yield name, owner


def described(item: type, name: str, owner: type) -> bool:
    """Whether a member of a class is for who uses the class."""
    member = inspect.getattr_static(item, name)
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    if not inspect.isfunction(function) or not owner.__module__.startswith(OWN) or not function.__doc__:
        return False
    if not issubclass(item, Part):
        return not isinstance(member, staticmethod)
    return owner is item and not name.startswith(("require", "validate")) and (not item.key or name not in item.hooks)


def pages() -> Iterator[tuple[str, str]]:
    """Paths below the reference, and texts."""
    for group in groups().values():
        if group.key == "errors":
            continue
        yield f"{group.key}/index.md", index(group)
        for name, item in group.items.items():
            yield f"{group.key}/{group.file(name)}.rst", page(name, item)
    for name in MODULES:
        yield f"{name}.rst", module_page(name, getattr(nnkit, name))


def index(group: Group) -> str:
    """The table of a group: parts with what there is to say of them beside their page, others with their first sentence."""
    title, about = ABOUT[group.key]
    lines = ["---", "html_theme.sidebar_secondary.remove: true", "---", "", f"# {title}", "", about, ""]
    if group.key in registry.__all__:
        lines += parts.table({name: (item, group.file(name)) for name, item in group.items.items()})
    else:
        lines += ["| name | |", "|---|---|"]
        lines += [f"| [`{name.rpartition('.')[2]}`]({group.file(name)}.rst) | {parts.plain(parts.summary(item))} |"
                  for name, item in sorted(group.items.items())]  # fmt: skip
    if group.key == "activations":
        lines += ["", "## Pictures", "", "The function, and its derivative.", "", *pictures.cards(group.items)]
    files = sorted(group.file(name) for name in group.items)
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *files, "```", ""])


def page(name: str, item: Any) -> str:
    """The page of one name, in reStructuredText as docstrings are."""
    module, _, short = f"nnkit.{name}".rpartition(".")
    lines = [short, "=" * len(short), "", f".. currentmodule:: {module}", ""]
    if inspect.isclass(item):
        lines += [f".. autoclass:: {short}", *([f"   :members: {', '.join(members(item))}"] if members(item) else []), ""]
    elif inspect.isroutine(item):
        lines += [f".. autofunction:: {short}", ""]
    else:
        lines += [f".. py:data:: {short}", f"   :value: {item}", ""]
    if inspect.isclass(item) and issubclass(item, Part) and item.key:
        lines += parts.described(item)
    return "\n".join([*lines, f".. minigallery:: {module}.{short}", "   :add-heading: In the gallery", ""])


def module_page(name: str, module: Any) -> str:
    """The page of a public module, with all its names."""
    about = docstrings.restructured((inspect.getdoc(module) or "").splitlines())
    lines = [f"nnkit.{name}", "=" * (len(name) + 6), "", f".. py:module:: nnkit.{name}", "", *about, ""]
    for short in module.__all__:
        item = getattr(module, short)
        if isinstance(item, Mapping):
            lines += [f".. py:data:: nnkit.{name}.{short}", "", f"   {', '.join(f'``{key}``' for key in sorted(item))}", ""]
            continue
        kind = "autoclass" if inspect.isclass(item) else "autofunction"
        shown = [f"   :members: {', '.join(members(item))}"] if inspect.isclass(item) and members(item) else []
        lines += [f".. {kind}:: nnkit.{name}.{short}", *shown, ""]
    return "\n".join(lines)
