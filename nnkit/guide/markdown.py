r"""Pages without what only Sphinx understands, for a terminal: formulas in plain letters, no directives.

>>> print(readable("# Delta\n\n$$\\delta_j = \\frac{\\partial L}{\\partial z_j} \\cdot 2$$"))
# Delta
<BLANKLINE>
```text
δ_j = ∂L / ∂z_j · 2
```
"""

from __future__ import annotations

import re

__all__ = ["readable"]

LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ",
    "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω", "Delta": "Δ",
    "Sigma": "Σ", "partial": "∂", "sum": "Σ", "prod": "Π", "cdot": "·", "times": "×", "leftarrow": "←", "rightarrow": "→",
    "to": "→", "top": "T", "dots": "...", "ldots": "...", "cdots": "...", "approx": "≈", "le": "≤", "leq": "≤", "ge": "≥",
    "geq": "≥", "ne": "≠", "neq": "≠", "in": "∈", "infty": "∞", "pm": "±", "nabla": "∇", "odot": "⊙", "quad": "  ",
    "qquad": "    ", "sqrt": "√",
}  # fmt: skip


def readable(text: str) -> str:
    """Markdown that any reader of Markdown understands."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    pieces = re.split(r"^(`{3,}|:{3,})(.*?)\n(.*?)^\1[ ]*$", text, flags=re.DOTALL | re.MULTILINE)
    pieces += ["", "", ""]  # there is no block behind the last text
    done = []
    for prose, fence, word, body in zip(*(pieces[place::4] for place in range(4)), strict=True):
        done.append(formulas(linked(prose)))
        if word.startswith("{math}"):
            done.append(f"```text\n{spelt(body.strip())}\n```")
        elif word.startswith("{") or fence.startswith(":"):
            done.append(readable(content(body)) if shown(word) else "")
        elif fence:
            done.append(f"{fence}{word}\n{body}{fence}")
    return re.sub(r"\n{3,}", "\n\n", "".join(done)).strip()


def shown(word: str) -> bool:
    """Whether a directive has text for readers: a note, a warning, a card; not a list of pages or a target."""
    return not re.match(r"\{(toctree|py:\w+|eval-rst|image|figure|raw|contents)\}", word)


def content(body: str) -> str:
    """A directive's text, without its options."""
    return re.sub(r"\A(:[\w-]+:.*\n)+", "", body)


def linked(prose: str) -> str:
    """Links within the guide as text, with what ``nnkit docs`` calls the page; pictures by what they show."""
    prose = re.sub(r"!\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?", r"(picture: \1)", prose)
    return re.sub(r"\[([^\]]*)\]\((?!\w+:)(?:[^)]*?(\w+)\.md)?[^)]*\)", page_of, prose)


def page_of(link: re.Match[str]) -> str:
    """A link's text, and its page if that has a name of its own."""
    text, name = link.groups()
    return text if name in (None, "index") else f"{text} (`{name.replace('_', '-')}`)"


def formulas(prose: str) -> str:
    """Formulas between dollars as code, and names between braces of roles as names."""
    prose = re.sub(r"^\(.*\)=\n", "", prose, flags=re.MULTILINE)
    prose = re.sub(r"\{[\w:-]+\}`", "`", prose)
    prose = re.sub(r"\$\$(.+?)\$\$", lambda found: f"```text\n{spelt(found[1].strip())}\n```", prose, flags=re.DOTALL)
    return re.sub(r"(?<!\\)\$([^$]+?)\$", lambda found: f"`{' '.join(spelt(found[1]).split())}`", prose)


def spelt(latex: str) -> str:
    """A formula in letters."""
    latex = re.sub(r"\\(mathrm|text|mathbf|operatorname|hat|bar|tilde)\{([^{}]*)\}", r"\2", latex)
    latex = re.sub(r"\\(left|right|[Bb]ig+[lr]?|displaystyle|begin\{\w+\*?\}|end\{\w+\*?\})", "", latex)
    latex = re.sub(r"\\[,;:! ]", " ", latex).replace("\\\\", "").replace("&", "")
    inner = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
    while (plain := re.sub(rf"\\[td]?frac{inner}{inner}", fraction, latex)) != latex:
        latex = plain
    latex = re.sub(r"\\(partial|sum|prod|nabla) ", r"\\\1", latex)  # they belong to what follows
    latex = re.sub(r"\\(partial|[a-zA-Z]+)", lambda found: LETTERS.get(found[1], found[1]), latex)
    return re.sub(r"\{([^{}]*)\}", lambda found: f"({found[1]})" if " " in found[1] else found[1], latex)


def fraction(found: re.Match[str]) -> str:
    """One thing by another, on a line."""
    parts = [part.replace("\\partial ", "\\partial") for part in found.groups()]
    return " / ".join(f"({part})" if re.search(r"[+\- ]", part) else part for part in parts)
