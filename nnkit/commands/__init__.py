"""The command line's commands: a function each, whose signature and docstring say what it takes (see `nnkit.__main__`)."""

from collections.abc import Callable

from nnkit.commands import bench, cache, check, demo, info, list_parts, predict, train, warmup

__all__ = ["COMMANDS"]

COMMANDS: dict[str, Callable[..., int]] = {  # in the order in which --help lists them
    "demo": demo.demo,
    "train": train.train,
    "predict": predict.predict,
    "list": list_parts.list_parts,
    "check": check.check,
    "info": info.info,
    "bench": bench.bench,
    "warmup": warmup.warmup,
    "cache": cache.cache,
}
