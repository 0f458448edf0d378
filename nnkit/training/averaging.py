"""The mean of the parameters that a fit keeps beside them: when it stands in their place, and what states go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.callback import Callback
from nnkit.core.container import Model
from nnkit.errors import ParameterError
from nnkit.network import Network, network_of
from nnkit.passes import Pass

__all__ = ["Averaging", "averaging_of"]


def averaging_of(callbacks: Sequence[Callback]) -> Callback | None:
    """The one of the callbacks that wants a mean of the parameters.

    Raises
    ------
    ParameterError
        There are two.
    """
    found = [callback for callback in callbacks if callback.watches("shares")]
    if len(found) > 1:
        raise ParameterError(f"fit: expected one mean of the parameters, got {found[0]!r} and {found[1]!r}")
    return found[0] if found else None


class Averaging:
    """Puts a mean of the parameters in their place, for as long as it is wanted.

    Parameters
    ----------
    model : whose parameters these are
    mean : flat vector, all zeros until it has begun
    batches : inputs of the training data, for states that follow the batches; None leaves such states as they are
    rows : of the largest batch
    """

    def __init__(
        self, model: Model, mean: NDArray[Any], batches: Callable[[], Iterable[NDArray[Any]]] | None, rows: int, python: bool
    ) -> None:
        self._model, self._mean, self._batches, self._rows, self._python = model, mean, batches, rows, python

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Meanwhile the mean stands in the parameters' place, where it has begun."""
        network = network_of(self._model)
        vector, states = network.vector.copy(), {name: state.copy() for name, state in network.states().items()}
        self.settle()
        try:
            yield
        finally:
            network.vector[:] = vector
            for name, state in network.states().items():
                state[...] = states[name]

    def settle(self) -> None:
        """Put the mean in the parameters' place for good, where it has begun."""
        if not self._mean.any():
            return
        network = network_of(self._model)
        for segment in network.segments():
            if segment.trained:
                network.vector[segment.begin : segment.end] = self._mean[segment.begin : segment.end]
        if self._batches is not None:
            self._compute_states(network, self._batches())

    def _compute_states(self, network: Network, batches: Iterable[NDArray[Any]]) -> None:
        """States are the mean, over batches, of what each batch alone would leave behind: as of PyTorch's ``update_bn``.

        These are the states of layers that move them by a hyper-parameter ``momentum`` towards those of a batch.
        """
        copied = self._model.copy()
        again = network_of(copied)
        totals: dict[str, NDArray[np.float64]] = {}
        for path, built in again.homes():
            if built.layer.provides("momentum"):
                built.layer.momentum = 1.0  # type: ignore[attr-defined]
                totals |= {f"{path}.{name}": np.zeros(state.shape) for name, state in built.states.items() if not state.fixed}
        if not totals:
            return
        forward, count = Pass(again, self._rows, training=True, gradient=again.gradient, python=self._python), 0
        for batch in batches:
            count += 1
            forward.forward(batch, step=count, seed=again.seed)
            for name, state in again.states().items():
                if name in totals:
                    totals[name] += state
        for name, state in network.states().items():
            if name in totals:
                state[...] = totals[name] / count
