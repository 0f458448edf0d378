"""The index of errors, of their docstrings; and which messages there are, of the source."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import nnkit
from nnkit import errors
from nnkit.errors import NnkitError, NnkitWarning

__all__ = ["index", "messages"]

LEAST = 12  # letters of a message that are written where it is raised, or it says nothing by itself


def classes(warnings: bool) -> dict[str, type[Exception]]:
    """The errors, or its warnings, by name; the root comes first."""
    found = {name: getattr(errors, name) for name in errors.__all__}
    chosen = {name: item for name, item in found.items() if issubclass(item, NnkitWarning) is warnings}
    return dict(sorted(chosen.items(), key=lambda item: (item[1] not in (NnkitError, NnkitWarning), item[0])))


def index() -> str:
    """The page, in Markdown."""
    lines = [
        "# Errors and warnings", "",
        "Every message says who complains, what was expected, what came, and what to do. Errors of nnkit's are of the",
        "classes below, and each is also one of Python's own: `except ValueError` catches a `ShapeError`.",
        "[Messages](messages.md) has all of them, to be searched for a word.", "",
    ]  # fmt: skip
    for title, warnings in (("Errors", False), ("Warnings", True)):
        lines += [f"## {title}", ""]
        for name, item in classes(warnings).items():
            bases = [base.__name__ for base in item.__bases__ if base.__module__ == "builtins" and base is not Exception]
            lines += [f"### {name}", "", f"```{{py:exception}} nnkit.{name}", ":no-typesetting:", "```", ""]
            lines += [markdown(inspect.getdoc(item) or ""), ""]
            lines += [f"Python's own class of it is `{bases[0]}`.", ""] if bases else []
    return "\n".join(lines)


def markdown(docstring: str) -> str:
    """A docstring as Markdown: paragraphs, literal blocks, attributes, and examples."""
    text, *sections = re.split(r"\n\n(\w+)\n-+\n", docstring)
    text = re.sub(r" *::\n\n((?:    .*\n?)+)", lambda block: f":\n\n```text\n{inspect.cleandoc(block[1])}\n```\n", text)
    blocks = [single(text).strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title == "Examples":
            blocks.append(f"```python\n{body.rstrip()}\n```")
        else:
            blocks += [f"- `{names}`: {single(' '.join(about.split()))}"
                       for names, about in re.findall(r"^(\S.*?) : .*\n((?: +.*\n?)+)", body, re.MULTILINE)]  # fmt: skip
    return "\n\n".join(blocks)


def single(text: str) -> str:
    """Code between single backticks, but for blocks of it."""
    pieces = re.split(r"(```text\n.*?```)", text, flags=re.DOTALL)
    return "".join(piece if place % 2 else re.sub(r"`+([^`\n]+)`+", r"`\1`", piece) for place, piece in enumerate(pieces))


def messages() -> str:
    """The page of messages: how each begins as it stands in the source, by its class."""
    found: dict[str, set[str]] = {name: set() for name in errors.__all__}
    for path in sorted(Path(nnkit.__file__).parent.rglob("*.py")):
        for name, message in raised(ast.parse(path.read_text(encoding="utf-8"))):
            found[name].add(message)
    lines = [
        "# Messages", "",
        "What nnkit can complain of, by the class that it raises or warns with; … stands for what depends on the case.",
        "[Errors and warnings](errors.md) says what each class means and what to do.", "",
    ]  # fmt: skip
    for name, some in found.items():
        if some:
            lines += [f"## {name}", "", *(f"- {message}" for message in sorted(some, key=str.lower)), ""]
    return "\n".join(lines)


def raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Messages in a file, each with the name of its class: of calls of the classes, and of ``warn(message, category)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            last = node.args[-1]
            name = last.id if ast.unparse(node.func) == "warn" and isinstance(last, ast.Name) else ast.unparse(node.func)
            message = " ".join(spelt(node.args[0]).split())
            if name in errors.__all__ and len(re.sub(r"\W", "", message)) >= LEAST:
                yield name, "`" + message.replace("`", "'") + "`"


def spelt(node: ast.expr) -> str:
    """A text as it stands in the source, with … for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(spelt(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return spelt(node.left) + spelt(node.right)
    return "…"
