"""The command line's commands: a function each, whose signature and docstring say what it takes (see `nnkit.__main__`)."""

from collections.abc import Callable

from nnkit.commands.bench import bench
from nnkit.commands.cache import cache
from nnkit.commands.check import check
from nnkit.commands.demo import demo
from nnkit.commands.info import info
from nnkit.commands.list import list_parts
from nnkit.commands.predict import predict
from nnkit.commands.train import train
from nnkit.commands.warmup import warmup

__all__ = ["COMMANDS"]

COMMANDS: dict[str, Callable[..., int]] = {  # in the order in which --help lists them
    "demo": demo, "train": train, "predict": predict, "list": list_parts, "check": check, "info": info, "bench": bench,
    "warmup": warmup, "cache": cache,
}  # fmt: skip
