"""One batch through a copy of a model, with every value left where it can be looked at, and changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.container import Model
from nnkit.core.layer import Layer
from nnkit.core.loss import BoundLoss, Loss
from nnkit.engine.operands import Array
from nnkit.network import network_of
from nnkit.passes import Pass
from nnkit.planner import Node

__all__ = ["Replay", "is_scalar", "leads"]


def is_scalar(layer: Layer) -> TypeGuard[Activation]:
    """Whether a layer is a function of each number, without parameters."""
    return isinstance(layer, Activation) and layer.elementwise


def leads(first: Node, second: Node) -> bool:
    """Whether the output of one is the input of the other, and of no third."""
    return second.x is first.out and first.grad_out is second.grad_x


class Replay:
    """A forward and a backward pass of a batch; neither the model nor its states and random streams are touched.

    Parameters
    ----------
    model : a built model, which is copied
    x, y : checked rows and targets
    loss : checked
    training : whether dropout and the like are on: they draw what the model's next training pass would
    dtype : of the copy
    """

    def __init__(
        self, model: Model, x: NDArray[Any], y: NDArray[Any], loss: Loss, *, training: bool, dtype: str
    ) -> None:  # fmt: skip
        self.network = network = network_of(model.copy(dtype), "trace")
        network.frozen = frozenset()  # what is looked at are the gradients of all
        self.x = np.array(x, network.input_dtype)
        self.prediction = np.empty((len(x), *network.out_shape), dtype)
        self._seed, step = network.random_position
        self._step = step + training
        self._grad = np.empty_like(self.prediction)
        self._loss = BoundLoss(loss, self.prediction, y, None)
        self._both = BoundLoss(loss, self.prediction, y, None, self._grad)
        self._pass = Pass(network, len(x), training=training, gradient=network.gradient, keep=True)

    def forward(self, after: Node | None = None) -> float:
        """The loss; ``after`` a node, only what comes after it is computed again."""
        if after is None:
            self.prediction[...] = self._pass.forward(self.x, self._step, self._seed)
        else:
            self.prediction[...] = self._pass.forward_after(after)
        return self._loss.value()

    def backward(self) -> NDArray[Any] | None:
        """The gradient of the input, where that is of real numbers; those within lie in the nodes' arrays."""
        self._both.value()
        grad_x: NDArray[Any] | None = self._pass.backward(self._grad)
        return grad_x

    def gradients(self) -> dict[str, NDArray[Any]]:
        """By the parameters, by their names: live views."""
        return self.network.views(self.network.gradient)

    def groups(self) -> list[list[Node]]:
        """The nodes as layers of the textbook: each alone, or with the function of each number that follows it."""
        groups: list[list[Node]] = []
        for node in self._pass.nodes():
            before = groups[-1] if groups else []
            alone = len(before) == 1 and not is_scalar(before[0].built.layer)
            if alone and is_scalar(node.built.layer) and leads(before[0], node):
                before.append(node)
            else:
                groups.append([node])
        return groups

    def array(self, array: Array) -> NDArray[Any]:
        """A copy of what an array holds, by rows."""
        return self._pass.array(array).copy()

    def memory(self, array: Array, places: Sequence[tuple[int, ...]]) -> tuple[NDArray[Any], list[tuple[int, ...]]]:
        """The array itself, as it lies in memory, and where in it the numbers at these places are."""
        held = self._pass.program.array(array)
        if array.is_blocked:
            places = [(n // array.lanes, *inner, n % array.lanes) for n, *inner in places]
        return held, list(places)
