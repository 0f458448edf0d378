"""The page of environment variables, of where they are declared."""

from __future__ import annotations

from nnkit.engine.environment import OTHERS, VARIABLES, Variable

__all__ = ["page"]


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([
        "# Environment variables", "",
        "A variable that is not what it may be is named in an `EnvironmentWarning`, and counts as not set.", "",
        "## nnkit's own", "", *told(VARIABLES), "## Others that count", "", *told(OTHERS),
    ])  # fmt: skip


def told(variables: dict[str, Variable]) -> list[str]:
    """Lines on each variable."""
    return [line for name, (values, default, about) in variables.items()
            for line in (f"### {name}", "", about, "", f"- It may be {values}.", f"- Not set: {default}.", "")]  # fmt: skip
