"""The command line's commands: functions, and classes that are made of what is given and then ``run``.

Signature and docstring say what each takes (see `nnkit.__main__`).
"""

from collections.abc import Callable
from typing import Protocol

from nnkit.commands import bench, cache, check, demo, docs, info, list_parts, predict, train, warmup

__all__ = ["COMMANDS", "Command", "Run"]


class Run(Protocol):
    """A command with all that it was given."""

    def run(self) -> int:
        """Do it, and return the exit status."""
        ...


Command = Callable[..., int | Run]

COMMANDS: dict[str, Command] = {  # in the order in which --help lists them
    "demo": demo.demo,
    "train": train.Train,
    "predict": predict.Predict,
    "list": list_parts.list_parts,
    "docs": docs.docs,
    "check": check.check,
    "info": info.info,
    "bench": bench.bench,
    "warmup": warmup.warmup,
    "cache": cache.cache,
}
