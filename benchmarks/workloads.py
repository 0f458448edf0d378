"""The nets and data that everybody trains: same shapes, same numbers, same initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGITS", "TABLES", "TINY", "WORKLOADS", "Problem", "Workload", "make_problem", "nnkit_model"]

Data = tuple[NDArray[np.float32], NDArray[Any]]


def digits() -> Data:
    """scikit-learn's 8x8 digits, scaled to [0, 1]."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y.astype(np.int64)


def exponentials(rows: int) -> Data:
    """Matrix exponentials of 2x2 matrices: the task of SimpleChains' first published benchmark."""
    from scipy.linalg import expm

    X = np.random.default_rng(0).normal(0.0, 0.7, (rows, 2, 2))
    return X.reshape(rows, 4).astype(np.float32), expm(X).reshape(rows, 4).astype(np.float32)


def tiny() -> Data:
    return exponentials(64 * 32)


def simple_chains() -> Data:
    return exponentials(10_000)


def images() -> Data:
    """Ten prototypes in the shape of MNIST's images, noisy; every tenth label is wrong, so that no loss goes to zero."""
    random = np.random.default_rng(0)
    y = random.integers(0, 10, 128 * 30)
    X = 0.35 * random.random((10, 784))[y] + 0.65 * random.random((len(y), 784))
    wrong = random.random(len(y)) < 0.1
    y[wrong] = random.integers(0, 10, wrong.sum())
    return X.astype(np.float32), y


def diabetes() -> Data:
    """scikit-learn's diabetes, features and target standardised."""
    from sklearn.datasets import load_diabetes

    return _standardised(*load_diabetes(return_X_y=True))


def classes() -> Data:
    """20 000 x 50 features of five classes."""
    from sklearn.datasets import make_classification

    X, y = make_classification(20_000, 50, n_informative=20, n_redundant=10, n_classes=5, random_state=0)
    return X.astype(np.float32), y.astype(np.int64)


def numbers() -> Data:
    """100 000 x 20 features and a linear function of ten of them, noisy."""
    from sklearn.datasets import make_regression

    return _standardised(*make_regression(100_000, 20, noise=50.0, random_state=0))


def _standardised(X: NDArray[Any], y: NDArray[Any]) -> Data:
    from sklearn.preprocessing import scale

    return scale(X).astype(np.float32), scale(y).astype(np.float32)


@dataclass(frozen=True)
class Workload:
    """A fully connected net, its data and how it is trained: Adam, float32.

    ``epochs`` is how many one measurement takes (from the initial weights each time), ``quick`` the same with ``--quick``.
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    loss: str
    data: Callable[[], Data]
    batch: int
    epochs: int
    quick: int
    shuffle: bool = True
    lr: float = 1e-3
    tolerance: float = 0.1  # by how much a final loss may differ from nnkit's: orders of batches differ, and so do losses

    @property
    def net(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} {self.activation}, {self.loss}, {self.batch}"

    @property
    def flops(self) -> int:
        """Arithmetic of the matrix products of a step, two for each multiply-add.

        These are forward, the weights' gradients, and the inputs' gradients but for the first layer's, which nobody needs.
        """
        layers = [a * b for a, b in pairwise(self.sizes)]
        return 2 * self.batch * (3 * sum(layers) - layers[0])


@dataclass(frozen=True)
class Problem:
    """A workload with its data and the weights to begin from: for a `Workload`, (in, out) matrices and biases."""

    workload: Any
    X: NDArray[Any]
    y: NDArray[Any]
    weights: Any

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.X) // self.workload.batch)


TINY = Workload("tiny", (4, 32, 16, 4), "tanh", "mse", tiny, 64, 100, 20)
DIGITS = Workload("digits", (64, 128, 64, 10), "relu", "cross_entropy", digits, 64, 20, 10)
WORKLOADS = (
    TINY,
    DIGITS,
    Workload("mnist-shaped", (784, 512, 512, 10), "relu", "cross_entropy", images, 128, 5, 2),
    Workload("SimpleChains", (4, 32, 16, 4), "tanh", "mse", simple_chains, 10_000, 200, 50, shuffle=False),
)

# What the estimators are fitted to: the hidden layer, the batches and the optimizer that are scikit-learn's defaults.
TABLES = (
    Workload("digits", (64, 100, 10), "relu", "cross_entropy", digits, 200, 40, 5),
    Workload("diabetes", (10, 100, 1), "relu", "mse", diabetes, 200, 150, 20),
    Workload("20 000 x 50", (50, 100, 5), "relu", "cross_entropy", classes, 200, 12, 2),
    Workload("100 000 x 20", (20, 100, 1), "relu", "mse", numbers, 200, 3, 1),
)


def nnkit_model(workload: Workload, instead: Mapping[str, str] | None = None) -> Any:
    """The workload's net, built with the same random weights each time; ``instead`` names parts to use in others' place."""
    import nnkit as nn

    instead = instead or {}
    linear = nn.registry.layers[instead.get("linear", "linear")]
    activation = instead.get(workload.activation, workload.activation)
    layers: list[Any] = []
    for size in workload.sizes[1:]:
        layers += [linear(size), activation]
    return nn.Sequential(layers[:-1]).build((workload.sizes[0],), random_state=0)


def make_problem(workload: Workload) -> Problem:
    """Load the data and draw the initial weights, which are nnkit's."""
    X, y = workload.data()
    parameters = list(nnkit_model(workload).parameters().values())
    pairs = zip(parameters[::2], parameters[1::2], strict=True)
    return Problem(workload, X, y, [(weight.copy(), bias.copy()) for weight, bias in pairs])
