"""What there is to know of a part beside its docstring: its names here and elsewhere, its numbers, its forms, its kernels."""

from __future__ import annotations

import inspect
import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import nnkit as nn
from nnkit.core.part import Part
from nnkit.errors import NnkitError
from nnkit.guide.generated import docstrings
from nnkit.network import network_of
from nnkit.persistence.onnx.writing import of_network

__all__ = ["described", "plain", "summary", "table"]

PYTORCH = Path(nn.__file__).parents[1] / "benchmarks" / "PYTORCH.md"


def summary(item: Any) -> str:
    """The first sentences of a docstring, which are the formula of a part."""
    return " ".join((inspect.getdoc(item) or "").partition("\n\n")[0].split())


def plain(text: str) -> str:
    """A docstring's text as Markdown: what stands between backticks is code, and nothing else means anything."""
    pieces = re.split(r"`+([^`]*)`+", text)
    return "".join(f"`{piece}`".replace("|", r"\|") if place % 2 else re.sub(r"([\\*_<>|$\[\]{}])", r"\\\1", piece)
                   for place, piece in enumerate(pieces))  # fmt: skip


@cache
def pytorch() -> dict[str, list[str]]:
    """PyTorch's names of what is here, by the name here."""
    found: dict[str, list[str]] = {}
    for theirs, ours in re.findall(r"^\| `(\w+)` \| `(\w+)", PYTORCH.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(ours, []).append(theirs)
    return found


def net(part: type[Part]) -> nn.Sequential | None:
    """A net of nothing but a layer's first example; None of what is no layer."""
    if not inspect.isclass(part) or not issubclass(part, nn.Layer):
        return None
    example = part.examples()[0]
    return nn.Sequential([example.part]).build(example.in_shape, random_state=0)


def operators(model: nn.Sequential) -> str:
    """The operators of ONNX that a net is written in, each once; "" where it cannot be written."""
    try:
        return ", ".join(dict.fromkeys(node.op for node in of_network(network_of(model, "guide")).written))
    except NnkitError:
        return ""


def has_c(model: nn.Sequential) -> bool:
    """Whether a net can be written as a C file."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            model.to_c(Path(folder, "net.c"))
    except NnkitError:
        return False
    return True


def numbers(part: type[Part]) -> str:
    """What a layer can give, or what a loss expects; "" where nobody knows, or it is any numbers."""
    example = part.examples()[0].part if issubclass(part, nn.Layer | nn.Loss) else None
    gives = getattr(example, "gives", None)
    spans = getattr(example, "expects", ()) if gives is None else (gives,)
    return " or ".join(str(span) for span in spans if span != nn.Span())


@cache
def columns(part: type[Part]) -> dict[str, str]:
    """What a table of parts says of one, by the titles of columns."""
    key = getattr(part, "key", "")  # of what stands beside parts, such as a function that makes some, there is none
    said = {"name": f'`"{key}"`' if key else "", "what it is": plain(summary(part))}
    model = net(part)
    if model is not None or (inspect.isclass(part) and issubclass(part, nn.Loss)):
        said["gives" if model is not None else "expects"] = numbers(part)
    said["PyTorch"] = ", ".join(pytorch().get(part.__name__, []))
    if model is not None:
        said |= {"ONNX": operators(model), "C": "yes" if has_c(model) else ""}
    return said


def table(items: Mapping[str, tuple[type[Part], str]]) -> list[str]:
    """Lines of a table in Markdown: parts by name, each with its page."""
    rows = [{**columns(part), "name": f"[`{name}`]({file}.rst) {columns(part)['name']}"}
            for name, (part, file) in items.items()]  # fmt: skip
    titles = [title for title in rows[0] if any(row[title] for row in rows)]
    lines = ["{.parts}", f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    return [*lines, *(f"| {' | '.join(row[title] for title in titles)} |" for row in rows)]


def described(part: type[Part]) -> list[str]:
    """Lines in reStructuredText: names here and elsewhere, forms, and the kernels as they stand in the source."""
    said, lines = columns(part), []
    if issubclass(part, nn.Activation):
        lines += [f".. image:: {part.__name__}.svg", f"   :alt: {part.__name__} and its derivative", ""]
    lines += [".. list-table::", "   :widths: auto", "   :stub-columns: 1", "   :class: facts", ""]
    for title, text in said.items():
        if text and title != "what it is":
            lines += [f"   * - {title}", f"     - {docstrings.plain(text.replace('`', '``'))}"]
    lines += [""]
    kernels = list(sources(part))
    if kernels:
        lines += [".. dropdown:: The kernels as they stand in the source", "", "   .. code-block:: python", ""]
        lines += [textwrap.indent(kernel, 6 * " ") for kernel in kernels]
    return lines


def sources(part: type[Part]) -> Iterator[str]:
    """The source of a part's kernels: its public static methods."""
    for name in dir(part):
        kernel = inspect.getattr_static(part, name)
        if isinstance(kernel, staticmethod) and name[0] != "_":
            text = getattr(kernel.__func__, "source", None)
            yield textwrap.dedent(inspect.getsource(kernel.__func__)) if text is None else text
