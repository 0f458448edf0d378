"""The record of a pass: what one batch has left on its way forward and backward, as layers of the textbook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.container import Model
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.engine.operands import Array
from nnkit.errors import ParameterError
from nnkit.inspect.trace.replay import Replay, is_scalar, leads
from nnkit.inspect.trace.slopes import Slopes
from nnkit.network import network_of
from nnkit.planner import Node

__all__ = ["Record", "TracedLayer"]

LONGEST = 110  # characters of a model that is spelt out in a title


@dataclass(frozen=True)
class TracedLayer:
    """A layer of the textbook: what has parameters, with the activation function that follows.

    Attributes
    ----------
    number : from 1, as in the textbook
    paths : of the model's layers that it is made of, such as "0" and "1"
    layers : those layers
    x : (N, ...), its input: the activations of the layer before; (N, T, ...) within a `TimeDistributed`
    z : (N, ...), what goes into the activation function
    a : (N, ...), its output; ``z`` where there is no activation function
    da_dz : (N, ...), slope of the activation function at ``z``; 1 where there is none
    dL_da : (N, ...), gradient of the loss by the output; None where nobody needs it
    delta : (N, ...), gradient by ``z``; None where nobody needs it
    grad_x : (N, ...), gradient by the input; None where that holds whole numbers
    parameters, gradients : arrays by name. A gradient is the sum over the batch and, for a layer used twice, over its uses.
    follows : whether its input is the output of the layer numbered before it, which goes nowhere else
    """

    number: int
    paths: tuple[str, ...]
    layers: tuple[Layer, ...]
    x: NDArray[Any]
    z: NDArray[Any]
    a: NDArray[Any]
    da_dz: NDArray[Any]
    dL_da: NDArray[Any] | None
    delta: NDArray[Any] | None
    grad_x: NDArray[Any] | None
    parameters: dict[str, NDArray[Any]]
    gradients: dict[str, NDArray[Any]]
    follows: bool

    @property
    def dL_dW(self) -> NDArray[Any] | None:
        """Gradient by the parameter "weight", None where there is none."""
        return self.gradients.get("weight")

    @property
    def dL_db(self) -> NDArray[Any] | None:
        """Gradient by the parameter "bias", None where there is none."""
        return self.gradients.get("bias")

    @property
    def activation(self) -> Activation | None:
        """The function of each number that ends it."""
        last = self.layers[-1]
        return last if is_scalar(last) else None

    @property
    def name(self) -> str:
        """Its layers, as they were made."""
        return ", ".join(map(repr, self.layers))

    def __repr__(self) -> str:
        return f"TracedLayer({self.number}: {self.name})"


class Record:
    """A forward and a backward pass of a batch; the model is copied for it.

    Attributes
    ----------
    layers : the textbook's layers
    loss : the loss; ``value`` is its value for the batch
    x, y : the batch
    out : the output, that of the last layer
    """

    def __init__(self, model: Model, x: NDArray[Any], y: NDArray[Any], loss: Loss, training: bool) -> None:
        self.model, self.x, self.y, self.loss, self.training = model, x, y, loss, training
        replay = self.replay(network_of(model, "trace").dtype)
        self.value = replay.forward()
        self.out = replay.prediction
        replay.backward()
        self.layers = list(_layers(replay))

    def replay(self, dtype: str) -> Replay:
        """The same passes once more."""
        return Replay(self.model, self.x, self.y, self.loss, training=self.training, dtype=dtype)

    @property
    def title(self) -> str:
        """What was run."""
        rows = f"{len(self.x)} row{'s' if len(self.x) > 1 else ''}"
        model = repr(self.model)
        if len(model) > LONGEST:
            model = f"{type(self.model).__name__} of {len(self.model.layers)} layers"
        return f"{model}, {rows}, {type(self.loss).__name__}: L = {self.value:.5g}"

    def place_of(self, row: int) -> int:
        """Which row of the batch is meant, from 0; negative ones count from the end."""
        rows = len(self.x)
        if isinstance(row, bool) or not isinstance(row, int | np.integer) or not -rows <= row < rows:
            raise ParameterError(f"trace: expected row to be one of the batch's {rows} rows, counted from 0, got {row!r}")
        return int(row) % rows


def _layers(replay: Replay) -> Iterator[TracedLayer]:
    """The nodes of a pass as layers of the textbook."""
    before: list[Node] = []
    for number, group in enumerate(replay.groups(), 1):
        yield _layer(replay, number, group, bool(before) and leads(before[-1], group[0]))
        before = group


def _layer(replay: Replay, number: int, group: list[Node], follows: bool) -> TracedLayer:
    first, last = group[0], group[-1]
    function = last.built.layer
    z = last.x if is_scalar(function) else last.out

    def numbers(array: Array) -> NDArray[Any]:  # a row may be several entries to a layer: those of TimeDistributed
        held, rows = replay.array(array), len(replay.x)
        return held if len(held) == rows else held.reshape(rows, -1, *held.shape[1:])

    def value(array: Array | None) -> NDArray[Any] | None:
        return None if array is None else numbers(array)

    values, gradients = replay.network.parameters(), replay.gradients()
    named = {name: f"{first.home}.{name}" for name in first.built.parameters if f"{first.home}.{name}" in gradients}
    held, a = numbers(z), numbers(last.out)
    return TracedLayer(
        number=number,
        paths=tuple(node.name.partition(",")[0].removeprefix("layer ") for node in group),
        layers=tuple(node.built.layer for node in group),
        x=numbers(first.x),
        z=held,
        a=a,
        da_dz=Slopes(function, replay.network.dtype)(held, a) if is_scalar(function) else np.ones_like(held),
        dL_da=value(last.grad_out),
        delta=value(last.grad_x if is_scalar(function) else last.grad_out),
        grad_x=value(first.grad_x) if first.x.dtype == replay.network.dtype else None,  # of whole numbers there is none
        parameters={name: values[full].copy() for name, full in named.items()},
        gradients={name: gradients[full].copy() for name, full in named.items()},
        follows=follows,
    )
