"""Compiling ahead: the float32 kernels of every part, and those of `fit` and `predict` themselves."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import numpy as np

from nnkit import registry
from nnkit.engine.stub import statistics
from nnkit.engine.workers import available_threads
from nnkit.layers import Branches, Flatten, Linear, Masking, MaxPool2d, Residual
from nnkit.model import Sequential
from nnkit.testing.checks import compile_kernels

__all__ = ["parts", "warm_up"]

KINDS = ("layers", "activations", "losses", "optimizers")  # those that have kernels


def parts() -> list[tuple[str, str]]:
    """Kind and name of every part that has kernels."""
    return [(kind, key) for kind in KINDS for key in getattr(registry, kind)]


def warm_up() -> Iterator[float]:
    """Compile everything; yields the seconds that each piece took, as it is done.

    There is a process for each core: within one process Numba compiles one function at a time.
    """
    with ProcessPoolExecutor(available_threads(None), get_context("spawn")) as pool:
        futures = [pool.submit(_compile_loop), pool.submit(_compile_wiring)]
        futures += [pool.submit(_compile_part, *part) for part in parts()]
        for future in as_completed(futures):
            yield future.result()


def _compile_part(kind: str, key: str) -> float:
    before = statistics.seconds
    compile_kernels(getattr(registry, kind)[key])
    return statistics.seconds - before


def _compile_loop() -> float:
    """What is no part's: gathering batches, weights, labels, shuffling, validation, the loop, native functions."""
    before = statistics.seconds
    X, weights = np.zeros((64, 4)), np.ones(64)
    for data in (X, X.astype(np.float32)):
        for labels in (np.zeros(64, np.int64), np.zeros((64, 2))):
            model = Sequential([Linear(4), "relu", Linear(2)]).build((4,))
            loss = "mse" if labels.ndim > 1 else "cross_entropy"
            model.fit(data, labels, loss=loss, epochs=1, validation_split=0.5, sample_weight=weights)
            model.fit(data, labels, loss=loss, epochs=1)
            model.predict(data)
            model.as_function(gradient=True)
    return statistics.seconds - before


def _compile_wiring() -> float:
    """What containers need: sums, in place and not, and concatenations; layers in rows between layers in blocks; masks."""
    before = statistics.seconds
    joined = [Residual(Linear(4), "relu"), Branches("relu", Linear(4), "tanh"), Branches(Linear(4), Linear(4), merge="mean"),
              Residual(Branches("relu", Residual(Linear(4)), merge="add")), Linear(2)]  # fmt: skip
    images = [Branches(MaxPool2d(1), MaxPool2d(1)), Flatten(), Linear(2)]
    for layers, in_shape in ((joined, (4,)), (images, (1, 2, 2))):
        Sequential(layers).fit(np.zeros((64, *in_shape)), np.zeros(64, np.int64), loss="cross_entropy", epochs=1)
    Sequential([Masking(), Linear(2)]).fit(np.ones((64, 3, 4)), np.zeros((64, 3), np.int64), loss="cross_entropy", epochs=1)
    return statistics.seconds - before

