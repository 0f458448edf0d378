"""The record of a pass: what one batch has left on its way forward and backward, as layers of the textbook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.container import Model
from nnkit.core.criterion import Criterion
from nnkit.core.fields import fields
from nnkit.core.layer import Layer
from nnkit.engine.operands import Array
from nnkit.errors import ParameterError
from nnkit.inspect.trace.flow import Flow, Piece
from nnkit.inspect.trace.replay import Replay, is_function, is_scalar, leads
from nnkit.inspect.trace.slopes import Slopes, jacobian
from nnkit.network import network_of
from nnkit.planner import Node
from nnkit.training.data import count_of

__all__ = ["Record", "TracedInput", "TracedLayer"]

LONGEST = 110  # characters of a model that is spelt out in a title


@dataclass(frozen=True)
class TracedLayer:
    """A layer of the textbook: what has parameters, with the activation function that follows.

    Attributes
    ----------
    number : from 1, as in the textbook
    paths : of the model's layers that it is made of, such as "0" and "1"
    home : path of its parameters: that of the first use, where it is used again
    layers : those layers
    x : (N, ...), its input: the activations of the layer before; (N, T, ...) within a `TimeDistributed`. Of a layer that reads
        several values a dict of them, as ``grad_x``
    z : (N, ...), what goes into the activation function
    a : (N, ...), its output; ``z`` where there is no activation function
    da_dz : (N, ...), slope of the activation function at ``z``; 1 where there is none. Of a function of a whole row of K
        numbers, such as softmax, (N, K, K): ``da_dz[n, k, j]`` is da_k/dz_j; None where rows are not flat, or long
    dL_da : (N, ...), gradient of the loss by the output; None where nobody needs it
    delta : (N, ...), gradient by ``z``; None where nobody needs it
    grad_x : (N, ...), gradient by the input; None where that holds whole numbers
    parameters, gradients : arrays by name. A gradient is the sum over the batch and, for a layer used twice, over its uses.
    follows : whether its input is the output of the layer numbered before it, which goes nowhere else
    sources : what its input is, in order: outputs of layers, and inputs of the net
    readers : where its output goes
    """

    number: int
    paths: tuple[str, ...]
    home: str
    layers: tuple[Layer, ...]
    x: Any
    z: NDArray[Any]
    a: NDArray[Any]
    da_dz: NDArray[Any] | None
    dL_da: NDArray[Any] | None
    delta: NDArray[Any] | None
    grad_x: Any
    parameters: dict[str, NDArray[Any]]
    gradients: dict[str, NDArray[Any]]
    follows: bool
    sources: tuple[Piece, ...]
    readers: tuple[Piece, ...]

    @property
    def is_dense(self) -> bool:
        """Whether its rows are flat, and what it computes are weighted sums (see ``Layer.dense``)."""
        return self.layers[0].dense is not None and bool(self.x.ndim == 2)

    @property
    def is_function(self) -> bool:
        """Whether its rows are flat, and it is a function of each number and nothing else."""
        return is_scalar(self.layers[0]) and self.z.ndim == 2

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
        """The activation function that ends it: of each number or, as softmax, of a whole row."""
        last = self.layers[-1]
        return last if isinstance(last, Activation) and (len(self.layers) > 1 or not self.parameters) else None

    @property
    def is_mixing(self) -> bool:
        """Whether that function is one of a whole row."""
        return self.activation is not None and not self.activation.elementwise

    @property
    def name(self) -> str:
        """Its layers, as they were made."""
        return ", ".join(map(repr, self.layers))

    def __repr__(self) -> str:
        return f"TracedLayer({self.number}: {self.name})"


@dataclass(frozen=True, eq=False)
class TracedInput:
    """An input of the net; one of several has a name.

    Attributes
    ----------
    name : "" where there is one
    x : (N, ...)
    grad_x : (N, ...); None where it holds whole numbers
    readers : where it goes
    """

    name: str
    x: NDArray[Any]
    grad_x: NDArray[Any] | None
    readers: tuple[Piece, ...]


class Record:
    """A forward and a backward pass of a batch; the model is copied for it.

    Attributes
    ----------
    layers : the textbook's layers
    inputs : the inputs of the net
    loss : the loss; of several outputs a dict of losses. ``value`` is its value for the batch, or that of their weighted sum
    x, y : the batch
    out : the output; dicts of arrays where there are several
    """

    def __init__(self, model: Model, x: Any, y: dict[str, NDArray[Any]], criterion: Criterion, training: bool) -> None:
        self.model, self.x, self.targets, self.criterion, self.training = model, x, y, criterion, training
        self.y, self.loss = y.get("", y), criterion.given
        self.rows = count_of(x)
        replay = self.replay(network_of(model, "trace").dtype)
        self.value, self.values = replay.forward(), replay.values()
        self.out = replay.prediction
        grad_x, flow = replay.backward(), replay.flow()
        self.layers = list(_layers(replay, flow))
        self.inputs = [TracedInput(name, array, fields(grad_x)[name], flow.readers(fields(flow.inputs)[name]))
                       for name, array in fields(replay.x).items()]  # fmt: skip
        self.outputs = {name: flow.sources(value) for name, value in fields(flow.outputs).items()}

    def replay(self, dtype: str) -> Replay:
        """The same passes once more."""
        return Replay(self.model, self.x, self.targets, self.criterion, training=self.training, dtype=dtype)

    @property
    def title(self) -> str:
        """What was run."""
        rows = f"{self.rows} row{'s' if self.rows > 1 else ''}"
        model = repr(self.model)
        if len(model) > LONGEST:
            model = f"{type(self.model).__name__} of {len(self.model.layers)} layers"
        losses = " and ".join(type(loss).__name__ + (f" of {name}" if name else "")
                              for name, loss in self.criterion.losses.items())  # fmt: skip
        return f"{model}, {rows}, {losses}: L = {self.value:.5g}"

    def place_of(self, row: int) -> int:
        """Which row of the batch is meant, from 0; negative ones count from the end."""
        rows = self.rows
        if isinstance(row, bool) or not isinstance(row, int | np.integer) or not -rows <= row < rows:
            raise ParameterError(f"trace: expected row to be one of the batch's {rows} rows, counted from 0, got {row!r}")
        return int(row) % rows


def _layers(replay: Replay, flow: Flow) -> Iterator[TracedLayer]:
    """The nodes of a pass as layers of the textbook."""
    before: list[Node] = []
    for number, group in enumerate(replay.groups(), 1):
        yield _layer(replay, flow, number, group, bool(before) and leads(before[-1], group[0]))
        before = group


def _slope(function: Layer | None, z: NDArray[Any], a: NDArray[Any]) -> NDArray[Any] | None:
    """Derivative of an activation function, where there is one, for each row."""
    if function is None:
        return np.ones_like(z)
    assert isinstance(function, Activation)
    return Slopes(function, z.dtype.name)(z, a) if is_scalar(function) else jacobian(function, z, a)


def _layer(replay: Replay, flow: Flow, number: int, group: list[Node], follows: bool) -> TracedLayer:
    first, last = group[0], group[-1]
    function = last.built.layer if is_function(last) else None
    z = last.out if function is None else last.x

    def numbers(array: Array) -> NDArray[Any]:  # a row may be several entries to a layer: those of TimeDistributed
        held, rows = replay.array(array), count_of(replay.x)
        return held if len(held) == rows else held.reshape(rows, -1, *held.shape[1:])

    def value(array: Array | None) -> NDArray[Any] | None:
        return None if array is None else numbers(array)

    def read(arrays: dict[str, Array]) -> Any:
        """What is known by the names of the inputs, as arrays; of the only one, that."""
        known = {name: numbers(array) for name, array in arrays.items()}
        return known if len(first.inputs) > 1 else known.get(next(iter(first.inputs)))

    real = {name: grad for name, grad in first.grads.items() if first.inputs[name].dtype == replay.network.dtype}
    values, gradients = replay.network.parameters(), replay.gradients()
    named = {name: f"{first.home}.{name}" for name in first.built.parameters if f"{first.home}.{name}" in gradients}
    held, a = numbers(z), numbers(last.out)
    return TracedLayer(
        number=number,
        paths=tuple(node.name.partition(",")[0].removeprefix("layer ") for node in group),
        home=first.home,
        layers=tuple(node.built.layer for node in group),
        x=read(first.inputs),
        z=held,
        a=a,
        da_dz=_slope(function, held, a),
        dL_da=value(last.grad_out),
        delta=value(last.grad_out if function is None else last.grad_x),
        grad_x=read(real),  # of whole numbers there is none
        parameters={name: values[full].copy() for name, full in named.items()},
        gradients={name: gradients[full].copy() for name, full in named.items()},
        follows=follows,
        sources=flow.sources(first.x),
        readers=flow.readers(last.out),
    )
