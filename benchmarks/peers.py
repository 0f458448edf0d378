"""nnkit and its peers at training: each does the same epochs on the same data from the same weights, in its own idiom.

A trainer is made in a worker process and imports its library there; ImportError means that it is not installed.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from .timing import Figures
from .workloads import Problem, Workload, nnkit_model

__all__ = [
    "TRAINERS",
    "NnkitTrainer",
    "Peak",
    "TorchTrainer",
    "Trainer",
    "sklearn_estimator",
    "sklearn_loss",
    "sklearn_mlp",
    "torch_net",
]


class Trainer(ABC):
    """One library that trains problems."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.problem: Problem

    def prepare(self, problem: Problem) -> str:
        """Take a problem; compile what has to be compiled. Returns what is worth a note."""
        self.problem = problem
        self.reset()
        return ""

    @abstractmethod
    def reset(self) -> None:
        """Go back to the initial weights, with a fresh optimizer."""

    @abstractmethod
    def train(self, epochs: int) -> float:
        """Train; return the last epoch's loss: the mean over its rows, each before the step that it takes part in."""

    def measure(self, epochs: int) -> Figures:
        """Seconds for each step, and the loss at the end."""
        self.reset()
        begin = time.perf_counter()
        loss = self.train(epochs)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds / (epochs * self.problem.steps_per_epoch), "loss": loss}


@contextmanager
def _timed(owner: Any, method: str) -> Iterator[list[float]]:
    """Seconds that each call of a method takes meanwhile."""
    original = getattr(owner, method)
    seconds: list[float] = []

    def timed(*arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - begin)

    setattr(owner, method, timed)
    try:
        yield seconds
    finally:
        setattr(owner, method, original)


class NnkitTrainer(Trainer):
    """``Sequential.fit`` as users call it; beside it, the part of its time that was spent inside of the compiled loop.

    ``instead`` maps names of parts to those of the parts that are used in their place.
    """

    def __init__(self, threads: int, instead: Mapping[str, str] | None = None) -> None:
        super().__init__(threads)
        self.instead = instead or {}

    def prepare(self, problem: Problem) -> str:
        self.model = self.build(problem)
        return super().prepare(problem)

    def build(self, problem: Problem) -> Any:
        return nnkit_model(problem.workload, self.instead)

    def reset(self) -> None:
        parameters = list(self.model.parameters().values())
        given = [array for pair in self.problem.weights for array in pair]
        for parameter, array in zip(parameters, given, strict=True):
            parameter[...] = array

    def train(self, epochs: int) -> float:
        import nnkit as nn

        problem, workload = self.problem, self.problem.workload
        loss = self.instead.get(workload.loss, workload.loss)
        adam = nn.registry.optimizers[self.instead.get("adam", "adam")](lr=workload.lr)
        history = self.model.fit(
            problem.X, problem.y, loss=loss, optimizer=adam, epochs=epochs, batch_size=workload.batch,
            shuffle=workload.shuffle, random_state=0, n_threads=self.threads, progress=False,
        )  # fmt: skip
        return history["loss"][-1]

    def measure(self, epochs: int) -> Figures:
        from nnkit.engine.runner import Runner

        with _timed(Runner, "run") as inside:
            figures = super().measure(epochs)
        return {**figures, "loop": sum(inside) / (epochs * self.problem.steps_per_epoch)}


def torch_net(workload: Workload) -> Any:
    """The workload's net, with PyTorch's own initial weights."""
    import torch

    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[workload.activation]
    layers = [layer for pair in pairwise(workload.sizes) for layer in (torch.nn.Linear(*pair), activation())]
    return torch.nn.Sequential(*layers[:-1])


class TorchTrainer(Trainer):
    """A plain eager loop: nn.Sequential, torch.optim.Adam, tensors indexed by a random permutation."""

    ADAMS: tuple[dict[str, Any], ...] = ({}, {"foreach": True}, {"fused": True})  # the fastest is taken, for each problem
    TRIAL = 20  # steps
    adam: dict[str, Any]

    def __init__(self, threads: int) -> None:
        import torch

        super().__init__(threads)
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)

    def prepare(self, problem: Problem) -> str:
        import torch

        self.X, self.y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)
        self.problem = problem
        self.adam = self.fastest("adam", self.ADAMS)
        chosen = ", ".join(f"{name}={value}" for name, value in self.adam.items()) or "the default"
        return f"torch's Adam with {chosen}, the fastest of {len(self.ADAMS)} variants"

    def fastest(self, attribute: str, choices: Sequence[Any]) -> Any:
        """Which value of an attribute trains fastest."""
        epochs = -(-self.TRIAL // self.problem.steps_per_epoch)
        seconds = []
        for choice in choices:
            setattr(self, attribute, choice)
            seconds.append(min(self.measure(epochs)["seconds"] for _ in range(3)))
        return choices[int(np.argmin(seconds))]

    def reset(self) -> None:
        import torch

        workload = self.problem.workload
        self.model = torch_net(workload)
        with torch.no_grad():
            for linear, (weight, bias) in zip(self.model[::2], self.problem.weights, strict=True):
                linear.weight.copy_(torch.from_numpy(weight.T.copy()))
                linear.bias.copy_(torch.from_numpy(bias))
        self.loss = {"cross_entropy": torch.nn.CrossEntropyLoss, "mse": torch.nn.MSELoss}[workload.loss]()

    def train(self, epochs: int) -> float:
        import torch

        workload, X, y, model = self.problem.workload, self.X, self.y, self.model
        rows, batch = len(X), workload.batch
        optimizer = torch.optim.Adam(model.parameters(), lr=workload.lr, **self.adam)
        total = torch.zeros(())
        for epoch in range(epochs):
            order = torch.randperm(rows) if workload.shuffle else None
            for start in range(0, rows, batch):
                chosen = slice(start, start + batch) if order is None else order[start : start + batch]
                target = y[chosen]
                loss = self.loss(model(X[chosen]), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if epoch == epochs - 1:
                    total += loss.detach() * len(target)
        return float(total) / rows


class JaxTrainer(Trainer):
    """One jitted function for an epoch: a scan over the batches with the gather inside, optax.adam."""

    def __init__(self, threads: int) -> None:
        import jax  # noqa: F401
        import optax  # noqa: F401

        super().__init__(threads)
        self.random = np.random.default_rng(0)

    def prepare(self, problem: Problem) -> str:
        import jax.numpy as jnp

        self.X, self.y = jnp.asarray(problem.X), jnp.asarray(problem.y.astype(np.int32 if problem.y.ndim == 1 else np.float32))
        self.epoch = self._compile(problem)
        return super().prepare(problem)

    def _compile(self, problem: Problem) -> Callable[..., Any]:
        import jax
        import optax

        workload, X, y = problem.workload, self.X, self.y
        optimizer = self.optimizer = optax.adam(workload.lr)
        loss = _jax_loss(workload.activation, workload.loss)
        rows, batch = len(X), workload.batch
        full = rows // batch * batch

        def step(state: Any, chosen: Any) -> Any:
            parameters, moments = state
            x, target = (X, y) if chosen is None else (X[chosen], y[chosen])
            value, gradient = jax.value_and_grad(loss)(parameters, x, target)
            updates, moments = optimizer.update(gradient, moments, parameters)
            return (optax.apply_updates(parameters, updates), moments), value

        def epoch(state: Any, order: Any) -> Any:
            if batch >= rows and not workload.shuffle:
                return step(state, None)
            state, losses = jax.lax.scan(step, state, order[:full].reshape(-1, batch))
            total = losses.sum() * batch
            if full < rows:
                state, last = step(state, order[full:])
                total += last * (rows - full)
            return state, total / rows

        return jax.jit(epoch, donate_argnums=0)

    def reset(self) -> None:
        import jax.numpy as jnp

        parameters = [(jnp.array(weight), jnp.array(bias)) for weight, bias in self.problem.weights]
        self.state = parameters, self.optimizer.init(parameters)

    def train(self, epochs: int) -> float:
        rows, shuffle = len(self.problem.X), self.problem.workload.shuffle
        state, loss = self.state, float("nan")
        unshuffled = np.arange(rows, dtype=np.int32)
        for _ in range(epochs):
            state, loss = self.epoch(state, self.random.permutation(unshuffled) if shuffle else unshuffled)
        return float(loss)  # waits for the result


def _jax_loss(activation: str, loss: str) -> Callable[..., Any]:
    import jax
    import optax

    activate = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh}[activation]
    compare = {
        "mse": lambda out, target: (out - target) ** 2,
        "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
    }[loss]

    def value(parameters: Any, x: Any, target: Any) -> Any:
        *hidden, (weight, bias) = parameters
        for w, b in hidden:
            x = activate(x @ w + b)
        return compare(x @ weight + bias, target).mean()

    return value


def sklearn_mlp(workload: Workload, **parameters: Any) -> Any:
    """An MLP of scikit-learn's for the workload: without penalty, and not stopped early."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    return {"cross_entropy": MLPClassifier, "mse": MLPRegressor}[workload.loss](
        hidden_layer_sizes=workload.sizes[1:-1], activation=workload.activation, solver="adam", alpha=0.0,
        batch_size=workload.batch, learning_rate_init=workload.lr, shuffle=workload.shuffle, tol=0.0,
        n_iter_no_change=10**9, **parameters,
    )  # fmt: skip


def sklearn_loss(estimator: Any) -> float:
    """The last epoch's loss; its squared error has a factor of 1/2 (Adam's steps do not depend on a factor)."""
    return float(estimator.loss_) * (2.0 if estimator.loss == "squared_error" else 1.0)


def sklearn_estimator(problem: Problem, epochs: int) -> Any:
    """An MLP of scikit-learn's that has the problem's initial weights."""
    estimator = sklearn_mlp(problem.workload, random_state=0, max_iter=1, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch has not converged
        estimator.fit(problem.X, problem.y)
    for index, (weight, bias) in enumerate(problem.weights):
        estimator.coefs_[index][...] = weight
        estimator.intercepts_[index][...] = bias
    return estimator.set_params(max_iter=epochs)


class SklearnTrainer(Trainer):
    """MLPClassifier or MLPRegressor without penalty and early stopping; goes on from the given weights by warm_start."""

    def __init__(self, threads: int) -> None:
        import sklearn.neural_network  # noqa: F401

        super().__init__(threads)

    def reset(self) -> None:
        self.estimator = sklearn_estimator(self.problem, 1)

    def train(self, epochs: int) -> float:
        from threadpoolctl import threadpool_limits

        self.estimator.set_params(max_iter=epochs)
        with warnings.catch_warnings(), threadpool_limits(self.threads):
            warnings.simplefilter("ignore")
            self.estimator.fit(self.problem.X, self.problem.y)
        return sklearn_loss(self.estimator)


class Peak:
    """How fast the machine multiplies matrices: np.dot of two 1024 x 1024 float32 matrices, the best of a few."""

    SIZE = 1024
    FLOPS = 2 * SIZE**3

    def __init__(self, threads: int) -> None:
        self.threads = threads
        random = np.random.default_rng(0)
        self.a, self.b = random.random((2, self.SIZE, self.SIZE), dtype=np.float32)
        self.out = np.empty_like(self.a)

    def measure(self, times: int = 4) -> Figures:
        from threadpoolctl import threadpool_limits

        seconds = []
        with threadpool_limits(self.threads, "blas"):
            for _ in range(times):
                begin = time.perf_counter()
                np.dot(self.a, self.b, self.out)
                seconds.append(time.perf_counter() - begin)
        return {"seconds": min(seconds), "gflops": 1e-9 * self.FLOPS / min(seconds)}


TRAINERS: dict[str, type[Trainer]] = {
    "nnkit": NnkitTrainer,
    "torch": TorchTrainer,
    "jax": JaxTrainer,
    "sklearn": SklearnTrainer,
}
