"""What a net is made of: layers, shapes, parameters, memory, arithmetic."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from nnkit.core.container import Container
from nnkit.core.fields import fields
from nnkit.core.layer import Built, Declared
from nnkit.errors import ParameterError
from nnkit.inspect.pictures.table import Table, count, number, shortened, spelt

__all__ = ["LayerSummary", "Summary", "summary"]

WIDTH = 32  # characters of a layer's name


@dataclass(frozen=True)
class LayerSummary:
    """A layer in its place.

    Attributes
    ----------
    path : "2", or "2.0" within the container "2"
    layer : as it is written in Python
    depth : in how many containers it stands
    is_container : whether it is made of the layers that follow; its own numbers are then their sums
    shares : path of the layer whose parameters these are, where the layer is used again; else ""
    in_shape, out_shape : of a row
    parameters, states : how many numbers are parameters, and kept but not trained; 0 where it shares them
    frozen : how many of the parameters are not trained
    parameter_bytes : of these two
    activation_bytes : of what a row leaves behind for backward: the output, and the layer's notes (scratch)
    flops : of a forward pass of a row, 2 for each multiply-add, roughly; an activation's number counts as one
    """

    path: str
    layer: str
    depth: int
    is_container: bool
    shares: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    parameters: int
    states: int
    parameter_bytes: int
    activation_bytes: int
    flops: int
    frozen: int = 0

    @property
    def name(self) -> str:
        """The path and the layer; of a container only what it is, for its layers follow."""
        return f"{self.path} {self.layer.partition('(')[0] if self.is_container else self.layer}"


@dataclass(frozen=True)
class Summary:
    """A model's layers and what they add up to; see `Sequential.summary`.

    Attributes
    ----------
    layers : containers before the layers that they are made of
    in_shape, out_shape, dtype : of the model
    batch_size : what the memory in training is for
    parameters, states, parameter_bytes, activation_bytes, flops, frozen : totals, as in `LayerSummary`
    training_bytes : parameters, as many gradients, states, and the activations of a batch. The optimizer's moments come on
        top, and so do further gradients where the batch is cut into shards; layers that work in place take less.
    training_flops : of a training step of a row: forward, and as much for each kind of gradient, of the parameters (where
        there are some) and of the input (where a layer before it has any)

    Examples
    --------
    >>> import nnkit as nn
    >>> summary = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(10)]).summary(in_shape=(64,))
    >>> summary.parameters == 64 * 128 + 128 + 128 * 10 + 10
    True
    >>> print(summary)  # doctest: +ELLIPSIS
    Sequential: (N, 64) float32
    <BLANKLINE>
    layer                        output   parameters    memory   per row     FLOP
    ...
    0 Linear(out_features=128)   128           8 320   33.3 kB     512 B   16.9 k
    1 ReLU()                     128               -         -     512 B      256
    2 Linear(out_features=10)    10            1 290   5.16 kB      40 B   2.60 k
    <BLANKLINE>
    9 610 parameters: 38.4 kB.
    Memory to train on batches of 64: 145 kB for parameters, gradients and activations;
    the optimizer's moments come on top.
    Arithmetic of a row: 19.8 k forward, 42.1 k in a training step.
    memory: of parameters and states; per row: output and notes for backward, at most;
    FLOP: of a row forward, 2 for each multiply-add, roughly.
    """

    layers: list[LayerSummary]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    dtype: str
    batch_size: int
    parameters: int
    states: int
    parameter_bytes: int
    activation_bytes: int
    flops: int
    training_flops: int
    frozen: int = 0

    @property
    def training_bytes(self) -> int:
        gradients = self.parameters * np.dtype(self.dtype).itemsize
        return self.parameter_bytes + gradients + self.batch_size * self.activation_bytes

    @property
    def _table(self) -> Table:
        headers = ["layer", "output", "parameters", "memory", "per row", "FLOP"]
        rows = [self._cells(item) for item in self.layers]
        shapes = {name: f"({', '.join(map(str, ('N', *item)))})" for name, item in fields(self.in_shape).items()}
        shape = ", ".join(f"{name} {item}".strip() for name, item in shapes.items())
        frozen = f", of which {count(self.frozen)} are frozen" if self.frozen else ""
        states = f", and {count(self.states)} numbers that are kept but not trained" if self.states else ""
        notes = [
            f"{count(self.parameters)} parameters{frozen}{states}: "
            f"{_size(self.parameter_bytes) if self.parameter_bytes else '0 B'}.",
            f"Memory to train on batches of {self.batch_size}: {_size(self.training_bytes)} for parameters, gradients and "
            "activations;",
            "the optimizer's moments come on top.",
            f"Arithmetic of a row: {_flop(self.flops)} forward, {_flop(self.training_flops)} in a training step.",
            "memory: of parameters and states; per row: output and notes for backward, at most;",
            "FLOP: of a row forward, 2 for each multiply-add, roughly.",
        ]
        shared = [f"layer {item.path} is layer {item.shares}" for item in self.layers if item.shares]
        notes += [f"Used again, its parameters counted once: {each}." for each in shared]
        return Table(f"Sequential: {shape} {self.dtype}", headers, rows, words=2, notes=notes)

    @staticmethod
    def _cells(item: LayerSummary) -> list[str]:
        name = shortened(item.name, max(WIDTH - 2 * item.depth, 12))
        frozen = " frozen" if item.frozen and item.frozen == item.parameters else ""
        parameters = "(shared)" if item.shares else f"{count(item.parameters)}{frozen}" if item.parameters else "-"
        return ["  " * item.depth + name, _output(item.out_shape), parameters, _size(item.parameter_bytes),
                _size(item.activation_bytes), _flop(item.flops)]  # fmt: skip

    def __str__(self) -> str:
        return str(self._table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table._repr_html_()


def _scaled(value: float, units: Sequence[str]) -> str:
    """Three digits that matter, and the unit."""
    power = 0
    while value >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{count(int(value)) if power == 0 else number(value)} {units[power]}"


def _output(shape: Any) -> str:
    """The shape of an output row; where it has many fields, their names."""
    text = spelt(shape)
    return text if len(text) <= 24 or not isinstance(shape, dict) else ", ".join(shape)


def _size(size: int) -> str:
    return _scaled(size, ("B", "kB", "MB", "GB", "TB", "PB", "EB")) if size else "-"


def _flop(value: int) -> str:
    return _scaled(value, ("", "k", "M", "G", "T", "P", "E")).rstrip() if value else "-"


class _Reader:
    """Reads built layers, containers before the layers within, and adds up."""

    def __init__(self, root: Built, dtype: str, frozen: Collection[str]) -> None:
        self._frozen = frozen
        self._dtype = np.dtype(dtype)
        self._paths: dict[int, str] = {}  # of the first uses of layers, by the id of their place
        self._learns = False  # whether a layer before has parameters
        self.training_flops = 0
        self.layers = [row for index, child in enumerate(root.children) for row in self._read(child, str(index), 0, 1)]

    def _read(self, built: Built, path: str, depth: int, entries: int) -> list[LayerSummary]:
        """A layer, to which a row is so many entries, and the layers within."""
        layer = built.layer
        self._paths[id(built)] = path
        within, own, joins = [], [], False
        if isinstance(layer, Container):
            joins = bool(layer.joins)
            inner = entries * layer.entries(built.in_shape)
            for index, child in enumerate(built.children):
                rows = self._read(child, f"{path}.{index}", depth + 1, inner)
                own.append(rows[0])
                within += rows
        shared = built.home is not None and built.home is not built and bool(built.parameters or built.states)
        parameters, states = (0 if shared else _numbers(group.values()) for group in (built.parameters, built.states))
        computes = bool(layer.kernels())
        flops = 2 * built.work() * entries * computes
        home = self._paths[id(built.home or built)]
        frozen = _numbers(item for name, item in built.parameters.items() if f"{home}.{name}" in self._frozen)
        self._count(flops, _numbers(built.parameters.values()) > frozen)
        kept = [Declared("out", built.out_shape)] * (computes or joins) + list(built.scratch.values())
        summed = LayerSummary(
            path=path, layer=repr(layer), depth=depth, is_container=bool(built.children),
            shares=self._paths[id(built.home)] if shared else "", in_shape=built.in_shape, out_shape=built.out_shape,
            parameters=parameters + sum(row.parameters for row in own),
            states=states + sum(row.states for row in own),
            parameter_bytes=(parameters + states) * self._dtype.itemsize + sum(row.parameter_bytes for row in own),
            activation_bytes=entries * self._bytes(kept) + sum(row.activation_bytes for row in own),
            flops=flops + sum(row.flops for row in own),
            frozen=(0 if shared else frozen) + sum(row.frozen for row in own),
        )  # fmt: skip
        return [summed, *within]

    def _count(self, flops: int, learns: bool) -> None:
        """Add forward, and backward to what needs a gradient: the parameters, and whatever comes after some."""
        self.training_flops += flops * (1 + learns + self._learns)
        self._learns = self._learns or learns

    def _bytes(self, arrays: Iterable[Declared]) -> int:
        sizes = {"real": self._dtype.itemsize}
        return sum(prod(item.shape) * (sizes.get(item.dtype) or np.dtype(item.dtype).itemsize) for item in arrays)


def _numbers(arrays: Iterable[Declared]) -> int:
    return sum(prod(item.shape) for item in arrays)


def summary(root: Built, dtype: str = "float32", batch_size: int = 64, frozen: Collection[str] = ()) -> Summary:
    """Look at all layers of a net in their places, see `Sequential.summary`; nothing is allocated.

    Parameters
    ----------
    root : the chain of all layers
    dtype : of parameters and activations
    batch_size : of the training that the memory is told of
    frozen : names of the parameters that are not trained
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ParameterError(f"summary: expected batch_size to be an integer of at least 1, got {batch_size!r}")
    reader = _Reader(root, dtype, frozen)
    top = [item for item in reader.layers if item.depth == 0]
    totals = {name: sum(getattr(item, name) for item in top)
              for name in ("parameters", "states", "parameter_bytes", "activation_bytes", "flops", "frozen")}  # fmt: skip
    return Summary(
        layers=reader.layers, in_shape=root.in_shape, out_shape=root.out_shape, dtype=dtype, batch_size=int(batch_size),
        training_flops=reader.training_flops, **totals,
    )  # fmt: skip
