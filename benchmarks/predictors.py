"""nnkit and its peers at prediction. Each gets rows in its own kind of array, and has the result when its call returns.

A predictor is made in a worker process and imports its library there; ImportError means that it is not installed.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .peers import sklearn_estimator
from .timing import Figures, Stopwatch
from .workloads import Problem, nnkit_model

__all__ = ["PREDICTORS", "Predictor"]


class Predictor(ABC):
    """One library that predicts with a problem's net as it is before training."""

    probabilities = False  # whether it returns these, and not raw outputs

    def __init__(self, threads: int, problem: Problem, least: float) -> None:
        self.threads = threads
        self.least = least
        self.watches: dict[int, Stopwatch] = {}
        self.make(problem)

    @abstractmethod
    def make(self, problem: Problem) -> None:
        """Build the net with the problem's weights."""

    def convert(self, X: NDArray[np.float32]) -> Any:
        """Rows as the library likes them."""
        return X

    @abstractmethod
    def predict(self, X: Any) -> Any:
        """What a user calls."""

    def outputs(self, X: NDArray[np.float32]) -> NDArray[Any]:
        """Outputs for comparison."""
        return np.asarray(self.predict(self.convert(X)))

    def measure(self, X: NDArray[np.float32] | int) -> Figures:
        """Seconds of one call on rows; an integer means as many rows as were sent before."""
        if not isinstance(X, int):
            self.watches[len(X)] = Stopwatch(partial(self.predict, self.convert(X)), self.least)
            return {}
        return self.watches[X]()


class NnkitPredictor(Predictor):
    def make(self, problem: Problem) -> None:
        self.model = nnkit_model(problem.workload)

    def predict(self, X: Any) -> Any:
        return self.model.predict(X, n_threads=self.threads)


class NnkitInNumbaPredictor(NnkitPredictor):
    """The model as a function in the user's own compiled loop over rows; one row is its share of a loop over many."""

    CALLS = 1000

    def make(self, problem: Problem) -> None:
        import numba

        super().make(problem)
        self.function = self.model.as_function()

        @numba.njit(parallel=self.threads > 1)
        def loop(f: Any, X: Any, out: Any) -> None:
            for i in numba.prange(len(X)):
                f(X[i], out[i])

        self.loop = loop

    def convert(self, X: NDArray[np.float32]) -> Any:
        X = np.repeat(X, self.CALLS, axis=0) if len(X) == 1 else X
        return X, np.empty((len(X), *self.model.out_shape), np.float32)

    def predict(self, X: Any) -> Any:
        rows, out = X
        self.loop(self.function, rows, out)
        return out

    def measure(self, X: NDArray[np.float32] | int) -> Figures:
        calls = self.CALLS if isinstance(X, int) and X == 1 else 1
        return {name: seconds / calls for name, seconds in super().measure(X).items()}


class NnkitFromCPredictor(NnkitPredictor):
    """The model's C function, called by ctypes with pointers that are known: one call a row."""

    def make(self, problem: Problem) -> None:
        import ctypes

        super().make(problem)
        self.function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(self.model.address)

    def convert(self, X: NDArray[np.float32]) -> Any:
        out = np.empty((len(X), *self.model.out_shape), np.float32)
        addresses = [(X[i].ctypes.data, out[i].ctypes.data) for i in range(len(X))]
        return X, out, addresses

    def predict(self, X: Any) -> Any:
        _, out, addresses = X
        for pair in addresses:
            self.function(*pair)
        return out


class TorchPredictor(Predictor):
    def make(self, problem: Problem) -> None:
        import torch

        from .peers import TRAINERS

        trainer: Any = TRAINERS["torch"](self.threads)
        trainer.problem = problem
        trainer.reset()
        self.torch, self.model = torch, trainer.model.eval()

    def convert(self, X: NDArray[np.float32]) -> Any:
        return self.torch.from_numpy(X)

    def predict(self, X: Any) -> Any:
        with self.torch.inference_mode():
            return self.model(X)


class TorchScriptPredictor(TorchPredictor):
    def make(self, problem: Problem) -> None:
        super().make(problem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated
            traced = self.torch.jit.trace(self.model, self.torch.from_numpy(problem.X[:1]))
            self.model = self.torch.jit.freeze(traced)


class JaxPredictor(Predictor):
    def make(self, problem: Problem) -> None:
        import jax

        weights = [(jax.numpy.array(weight), jax.numpy.array(bias)) for weight, bias in problem.weights]
        activate = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh}[problem.workload.activation]

        def forward(x: Any) -> Any:
            *hidden, (weight, bias) = weights
            for w, b in hidden:
                x = activate(x @ w + b)
            return x @ weight + bias

        self.jax, self.forward = jax, jax.jit(forward)

    def convert(self, X: NDArray[np.float32]) -> Any:
        return self.jax.numpy.array(X)

    def predict(self, X: Any) -> Any:
        return self.forward(X).block_until_ready()


class OnnxPredictor(Predictor):
    def make(self, problem: Problem) -> None:
        import onnxruntime
        from onnx import TensorProto, checker, helper, numpy_helper

        nodes, constants, last = [], [], "x"
        operator = {"relu": "Relu", "tanh": "Tanh"}[problem.workload.activation]
        for index, (weight, bias) in enumerate(problem.weights):
            constants += [numpy_helper.from_array(weight, f"w{index}"), numpy_helper.from_array(bias, f"b{index}")]
            nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [f"z{index}"]))
            nodes.append(helper.make_node(operator, [f"z{index}"], [f"a{index}"]))
            last = f"a{index}"
        sizes = problem.workload.sizes
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
                for name, size in (("x", sizes[0]), (f"z{len(sizes) - 2}", sizes[-1]))]  # fmt: skip
        graph = helper.make_graph(nodes[:-1], "net", ends[:1], ends[1:], constants)
        # Opset and file format of 2022: old enough for every runtime that is around.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def predict(self, X: Any) -> Any:
        return self.session.run(None, {"x": X})[0]


class SklearnPredictor(Predictor):
    probabilities = True

    def make(self, problem: Problem) -> None:
        self.estimator = sklearn_estimator(problem, 1)

    def predict(self, X: Any) -> Any:
        return self.estimator.predict_proba(X)


PREDICTORS: dict[str, type[Predictor]] = {
    "nnkit": NnkitPredictor,
    "nnkit in a user's @njit loop": NnkitInNumbaPredictor,
    "nnkit's C function by ctypes": NnkitFromCPredictor,
    "torch": TorchPredictor,
    "TorchScript": TorchScriptPredictor,
    "JAX": JaxPredictor,
    "ONNX Runtime": OnnxPredictor,
    "scikit-learn": SklearnPredictor,
}
