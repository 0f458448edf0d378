"""What the docstring of a part says, as text for a terminal."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import nnkit

__all__ = ["about", "paragraphs"]

ENTRIES = ("Parameters", "Attributes", "Raises", "Returns")  # sections in which each line that is not indented is an entry


def about(part: type) -> str:
    """What a part is, in a line; and where it comes from, if that is a plugin."""
    from nnkit.core.plugins import provider

    first = _plain(" ".join((inspect.getdoc(part) or "").partition("\n\n")[0].split()))
    return first if part.__module__.startswith("nnkit.") else f"{first} ({' '.join(provider(part)).strip()})"


def paragraphs(part: type, kind: str, width: int) -> Iterator[tuple[str, list[str]]]:
    """How a part is written, and its docstring: titles of sections, "" where there is none, and lines of this width."""
    from nnkit.core.plugins import provider

    public = getattr(nnkit, part.__name__, None) is part
    call = [str(item.replace(annotation=item.empty)) for item in inspect.signature(part).parameters.values()]
    whole = f"{'nn' if public else part.__module__}.{part.__name__}({', '.join(call)})"
    yield "", _wrapped(f"{getattr(part, 'key', part.__name__)}: {kind} of {' '.join(provider(part)).strip()}", width)
    yield "", _wrapped(whole, width, "    ")
    for block in re.split(r"\n\n+", _plain(inspect.getdoc(part) or "")):
        titled = re.match(r"(.+)\n-+(?:\n|$)", block)
        title, body = (titled[1], block[titled.end() :]) if titled else ("", block)
        text, code = re.match(r"((?:(?!>>> ).*(?:\n|$))*)(.*)", body, re.DOTALL).groups()  # type: ignore[union-attr]
        lines = [] if title else [""]
        if text.startswith("    "):  # a formula, or code
            lines += [piece for line in text.splitlines() for piece in _wrapped(line, width, "        ")]
        else:
            for item in re.split(r"\n(?=\S)" if title in ENTRIES else r"\n(?=- )", text.strip("\n")):
                item = re.sub(r"^(\w+)\n +", r"\1 : ", item)  # an error, and below it when it is raised
                lines += _wrapped(" ".join(item.split()), width, "  " if item.startswith("- ") else "    " * (title in ENTRIES))
        lines += [piece for line in code.splitlines() for piece in _wrapped(line, width, "    ")]
        yield title, lines


def _plain(text: str) -> str:
    """A docstring without its marks for code, and for who runs its examples."""
    return re.sub(r"\s+# doctest: .*|``([^`]+)``|`([^`\n]+)`", lambda found: found[1] or found[2] or "", text)


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines that end between words; the following ones are indented."""
    if len(text) <= width:
        return [text] if text else []
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
