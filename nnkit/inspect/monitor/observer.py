"""One look at a net that is being trained: some rows run through a copy of it, and what is seen on the way is noted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.criterion import Criterion
from nnkit.core.optimizer import Updater
from nnkit.core.trainer import Trainer
from nnkit.inspect.monitor.look import InputLook, LayerLook, Look, ParameterLook
from nnkit.inspect.trace.replay import is_scalar
from nnkit.inspect.trace.slopes import Slopes
from nnkit.network import network_of
from nnkit.passes import Pass
from nnkit.planner import Node
from nnkit.training.data import count_of

if TYPE_CHECKING:
    from nnkit.core.training import RunningFit

__all__ = ["Observer"]

MEMORY = 1 << 28  # bytes that all results of the rows together may take: fewer rows are looked at where one has large ones


class Observer:
    """Looks at the net of a fit, by a copy of it: neither parameters nor states nor random streams of the fit change.

    The rows stay the same, and so do the units that dropout leaves out: what changes from look to look is the net.
    """

    def __init__(self, fit: RunningFit, rows: int) -> None:
        self._network = network = network_of(fit.model.copy(), "Monitor")
        python = fit.engine == "python"
        bytes_of_row = 3 * sum(prod(built.out_shape) for built in network.leaves) * network.vector.itemsize
        self._x, self._y, self._weights = fit.sample(max(1, min(rows, MEMORY // bytes_of_row)))
        last, optimizer = fit.model.last_fit, fit.model.last_fit["optimizer"]
        self._criterion = Criterion.make(last["loss"], last.get("loss_weights"), network.out_shape, "Monitor")
        self._pass = Pass(network, count_of(self._x), training=True, gradient=network.gradient, keep=True, python=python)
        # A trainer of all rows has no step that could be looked ahead to.
        self._updater = None if isinstance(optimizer, Trainer) else Updater(
            optimizer, network.vector, network.gradient[None], chunk=network.chunk, segments=network.segments(), python=python
        )  # fmt: skip
        self._activations = {node.name: Slopes(node.built.layer, network.dtype, python) for node in self._pass.nodes()
                             if is_scalar(node.built.layer)}  # fmt: skip
        self._units = dict(zip((node.name for node in self._pass.nodes()), _unit_axes(self._pass.nodes()), strict=True))

    def look(self, fit: RunningFit, epoch: int) -> Look:
        """Run the rows forward and backward, and the optimizer one step, as the net is now."""
        self._network.take_over(fit.network)
        with np.errstate(all="ignore"):  # also of nets that are past help
            out = self._pass.forward(self._x)
            loss, grad = self._criterion.grade(out, self._y, self._weights)
            self._pass.backward(grad)
            layers = {node.name: self._layer(node) for node in self._pass.nodes() if node.built.layer.kernels()}
            return Look(epoch, fit.step, count_of(self._x), float(loss), layers, self._parameters(fit), self._inputs())

    def _layer(self, node: Node) -> LayerLook:
        out = self._pass.array(node.out)
        delta = float("nan") if node.grad_out is None else _rms(self._pass.array(node.grad_out))
        seen = LayerLook(float(out.mean(dtype=float)), float(out.std(dtype=float)), delta, node.home)
        slopes = self._activations.get(node.name)
        if slopes is None:
            return seen
        slope = slopes(self._pass.array(node.x), out)
        others = tuple(axis for axis in range(slope.ndim) if axis != self._units[node.name])
        dead = (slope == 0).all(axis=others)
        saturated = float((np.abs(slope) < slopes.low).mean())
        return replace(seen, units=dead.size, dead=int(dead.sum()), saturated=saturated, ordinary=slopes.ordinary)

    def _parameters(self, fit: RunningFit) -> dict[str, ParameterLook]:
        """Gradients, and then one step, which may change the gradients, too."""
        network = self._network
        norms = {name: float(np.linalg.norm(grad)) for name, grad in network.views(network.gradient).items()}
        before = network.vector.copy()
        if self._updater is not None:
            self._updater.take_over(fit.updater_progress)
            self._updater.step(fit.step / fit.steps_per_epoch, fit.epochs)
        changes = network.views(network.vector - before if self._updater is not None else np.full_like(before, np.nan))
        return {name: ParameterLook(_ratio(norms[name], w), _ratio(float(np.linalg.norm(changes[name])), w), w.ndim)
                for name, w in network.views(before).items()}  # fmt: skip

    def _inputs(self) -> InputLook | None:
        # Behind a layer with parameters, however few, it is not the data that are large.
        first = next((node for node in self._pass.nodes() if node.built.parameters), None)
        matrix = first is not None and any(len(item.shape) > 1 for item in first.built.parameters.values())
        if first is None or not matrix or first.x.dtype != self._network.dtype:
            return None
        x = self._pass.array(first.x)
        squares = np.square(x.reshape(len(x), -1), dtype=float).mean(axis=0)
        each = np.sqrt(squares)
        large = int((each > InputLook.LARGE).sum())
        return InputLook(each.size, float(np.sqrt(squares.mean())), float(each.max()), large)


def _unit_axes(nodes: Sequence[Node]) -> Iterable[int]:
    """Which axis of each layer's output, batch included, counts its units.

    The channels of images come first in a row; what has fewer axes ends in its features, unless the last parameters before it
    say otherwise: those of a convolution over a sequence, for one, are as many as the first axis is long.
    """
    lengths: set[int] = set()
    for node in nodes:
        vectors = {item.shape[0] for item in node.built.parameters.values() if len(item.shape) == 1}
        lengths = vectors if node.built.parameters else lengths
        shape = node.built.out_shape
        first = len(shape) > 2 or (len(shape) == 2 and shape[0] in lengths and shape[1] not in lengths)
        yield 1 if first else len(shape) or -1  # a number by itself is one unit: no axis counts it


def _rms(array: NDArray[Any]) -> float:
    return float(np.sqrt(np.square(array, dtype=float).mean()))


def _ratio(norm: float, parameter: NDArray[Any]) -> float:
    """A norm in relation to that of a parameter."""
    size = float(np.linalg.norm(parameter))
    return norm / size if size else float("nan")
