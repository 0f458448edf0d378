"""Docstrings as reStructuredText: in nnkit's, formulas are plain text, and a few sections are its own."""

from __future__ import annotations

import re

__all__ = ["OWN", "plain", "restructured"]

OWN = ("Shape", "Hooks")  # sections that numpydoc does not know; they are shown before those that it does
LISTS = ("Parameters", "Attributes")
HEADING = re.compile(r"^([A-Z]\w+(?: [A-Z]\w+)?)\n-{3,}$", re.MULTILINE)


def restructured(lines: list[str]) -> list[str]:
    """A docstring whose own sections are part of its text, and in whose prose only backticks mean anything."""
    pieces = HEADING.split("\n".join(lines))
    head, sections = pieces[0], list(zip(pieces[1::2], pieces[2::2], strict=True))
    own = [f".. rubric:: {title}\n{body}" for title, body in sections if title in OWN]
    known = [f"{title}\n{'-' * len(title)}{listed(body) if title in LISTS else body}"
             for title, body in sections if title not in OWN]  # fmt: skip
    return plain("\n\n".join([head, *own, *known])).splitlines()


def listed(body: str) -> str:
    """A list of ``name : what it is; more``, which go on in the next lines, as numpydoc has it: more on lines of its own."""
    entries = re.findall(r"^(\S.*?) : (.*(?:\n(?: .*)?)*)", body, re.MULTILINE)
    lines = [""]
    for names, text in entries:
        kind, *about = re.split("[;.] ", " ".join(text.split()).removesuffix("."), maxsplit=1)
        lines += [f"{names} : {kind}", *(f"    {more[0].upper()}{more[1:]}." for more in about)]
    return "\n".join([*lines, ""])


def plain(text: str) -> str:
    """A text in which stars, bars and underscores are themselves, but for code, literal blocks and tables."""
    done: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        literal = done and done[-1].endswith("::") and block.startswith(" ")
        done.append(block if literal or re.search(r"^ *(>>>|\.\. |=+(  =+)+$)", block, re.MULTILINE) else escaped(block))
    return "\n\n".join(done)


def escaped(block: str) -> str:
    """A paragraph, in which only backticks, and stars around a word, mean anything."""
    return "".join(piece if place % 2 else re.sub(r"(?<!^)(?<!\n)([*|_\\])", r"\\\1", piece)
                   for place, piece in enumerate(re.split(r"(`+[^`]*`+|(?<!\w)\*\w+\*(?!\w))", block)))  # fmt: skip
