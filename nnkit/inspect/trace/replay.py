"""One batch through a copy of a model, with every value left where it can be looked at, and changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.container import Model
from nnkit.core.criterion import Criterion
from nnkit.core.fields import each, fields
from nnkit.core.layer import Layer
from nnkit.core.loss import BoundLoss
from nnkit.engine.operands import Array
from nnkit.inspect.trace.flow import Flow
from nnkit.network import network_of
from nnkit.passes import Pass
from nnkit.planner import Node
from nnkit.training.data import count_of

__all__ = ["Replay", "is_function", "is_scalar", "leads"]


def is_scalar(layer: Layer) -> TypeGuard[Activation]:
    """Whether a layer is a function of each number, without parameters."""
    return isinstance(layer, Activation) and layer.elementwise


def is_function(node: Node) -> bool:
    """Whether a node is an activation function without parameters: of each number or, as softmax, of a whole row."""
    return isinstance(node.built.layer, Activation) and not node.built.parameters


def leads(first: Node, second: Node) -> bool:
    """Whether the output of one is the input of the other, and of no third."""
    return second.x is first.out and first.grad_out is second.grad_x


class Replay:
    """A forward and a backward pass of a batch; neither the model nor its states and random streams are touched.

    Parameters
    ----------
    model : a built model, which is copied
    x, y : checked rows, and targets by the names of the outputs
    criterion : the losses
    training : whether dropout and the like are on: they draw what the model's next training pass would
    dtype : of the copy
    """

    def __init__(
        self, model: Model, x: Any, y: dict[str, NDArray[Any]], criterion: Criterion, *, training: bool, dtype: str
    ) -> None:
        self.network = network = network_of(model.copy(dtype), "trace")
        network.frozen = frozenset()  # what is looked at are the gradients of all
        rows = count_of(x)
        self.x = each(np.array, x, network.input_dtype)
        self.prediction = each(lambda shape: np.empty((rows, *shape), dtype), network.out_shape)
        self._seed, step = network.random_position
        self._step = step + training
        self._grad = each(np.empty_like, self.prediction)
        out, grad = fields(self.prediction), fields(self._grad)
        self._factors = criterion.factors
        self._losses = {name: BoundLoss(loss, out[name], y[name], None) for name, loss in criterion.losses.items()}
        self._both = {name: BoundLoss(loss, out[name], y[name], None, grad[name]) for name, loss in criterion.losses.items()}
        self._pass = Pass(network, rows, training=training, gradient=network.gradient, keep=True)

    def forward(self, after: Node | None = None) -> float:
        """The loss; ``after`` a node, only what comes after it is computed again."""
        out = self._pass.forward(self.x, self._step, self._seed) if after is None else self._pass.forward_after(after)
        each(np.copyto, self.prediction, out)
        return sum(self._factors[name] * value for name, value in self.values().items())

    def values(self) -> dict[str, float]:
        """The loss of each output."""
        return {name: loss.value() for name, loss in self._losses.items()}

    def backward(self) -> Any:
        """The gradient of the input, where that is of real numbers; those within lie in the nodes' arrays."""
        for name, grad in fields(self._grad).items():
            self._both[name].value()
            grad *= grad.dtype.type(self._factors[name])
        return self._pass.backward(self._grad)

    def gradients(self) -> dict[str, NDArray[Any]]:
        """By the parameters, by their names: live views."""
        return self.network.views(self.network.gradient)

    def groups(self) -> list[list[Node]]:
        """The nodes as layers of the textbook: each alone, or with the activation function that follows it."""
        groups: list[list[Node]] = []
        for node in self._pass.nodes():
            before = groups[-1] if groups else []
            alone = len(before) == 1 and not is_function(before[0])
            if alone and is_function(node) and leads(before[0], node):
                before.append(node)
            else:
                groups.append([node])
        return groups

    def flow(self) -> Flow:
        """How the layers hand their numbers on."""
        return Flow(self._pass.plan, self.groups())

    def array(self, array: Array) -> NDArray[Any]:
        """A copy of what an array holds, by rows."""
        return self._pass.array(array).copy()

    def memory(self, array: Array, places: Sequence[tuple[int, ...]]) -> tuple[NDArray[Any], list[tuple[int, ...]]]:
        """The array itself, as it lies in memory, and where in it the numbers at these places are."""
        held = self._pass.program.array(array)
        if array.is_blocked:
            places = [(n // array.lanes, *inner, n % array.lanes) for n, *inner in places]
        return held, list(places)
