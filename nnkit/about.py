"""What nnkit is called where packages are installed, and its version."""

from __future__ import annotations

__all__ = ["DISTRIBUTION", "__version__", "install"]

DISTRIBUTION = "nnkit-numba"  # the import and the command are nnkit; in the package index that name is another project's
__version__ = "0.1.0"


def install(extra: str = "", *, upgrade: bool = False) -> str:
    """The command that installs nnkit, with one of its extras.

    Examples
    --------
    >>> install("plot")
    'pip install "nnkit-numba[plot]"'
    >>> install(upgrade=True)
    'pip install -U nnkit-numba'
    """
    return " ".join(["pip install", *["-U"] * upgrade, f'"{DISTRIBUTION}[{extra}]"' if extra else DISTRIBUTION])
