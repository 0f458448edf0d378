"""The mean of the parameters that is kept beside them: when it stands in their place, and what states go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.callback import Callback
from nnkit.core.container import Model, model_of
from nnkit.core.fields import fields
from nnkit.core.groups import Segment
from nnkit.errors import DataError, ParameterError, ShapeError
from nnkit.network import Network, inputs_of, network_of
from nnkit.passes import Pass
from nnkit.training.data import check_row_shape, count_of, is_sparse, to_inputs

__all__ = ["Averaging", "Mean", "averaging_of"]


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
    segments : those of the vector that it is a mean of
    batches : inputs of the training data, for states that follow the batches; None leaves such states as they are
    rows : of the largest batch
    """

    def __init__(
        self, model: Model, mean: NDArray[Any], segments: Sequence[Segment],
        batches: Callable[[], Iterable[NDArray[Any]]] | None, rows: int, python: bool = False,
    ) -> None:  # fmt: skip
        self._model, self._mean, self._segments = model, mean, segments
        self._batches, self._rows, self._python = batches, rows, python

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
        for segment in self._segments:
            network.vector[segment.begin : segment.end] = self._mean[segment.begin : segment.end]
        if self._batches is not None:
            self._compute_states(network, self._batches())

    def _compute_states(self, network: Network, batches: Iterable[NDArray[Any]]) -> None:
        """States are the mean, over batches, of what each batch alone would leave behind: as of PyTorch's ``update_bn``.

        These are the states of layers that move them by a hyper-parameter ``momentum`` towards those of a batch. Where it is
        None, they are such a mean already, once they begin anew.
        """
        copied = self._model.copy()
        again = network_of(copied)
        totals: dict[str, NDArray[np.float64]] = {}
        means: list[str] = []
        for path, built in again.homes():
            if not built.layer.provides("momentum"):
                continue
            names = [f"{path}.{name}" for name, state in built.states.items() if not state.fixed]
            if built.layer.momentum is None:  # type: ignore[attr-defined]
                means += names
            else:
                built.layer.momentum = 1.0  # type: ignore[attr-defined]
                totals |= {name: np.zeros(again.states()[name].shape) for name in names}
        if not (totals or means):
            return
        for name in means:
            again.states()[name][...] = 0.0
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
            elif name in means:
                state[...] = again.states()[name]


class Mean(Callback):
    """A mean of the parameters, which moves by `shares`: kept by the fit that it is a callback of, or by hand with `update`."""

    acts_outside = False

    _mean: NDArray[Any] | None = None  # by hand: flat, as the parameters
    _updates = 0

    def update(self, model: Model) -> None:
        """By hand: move the mean towards a model's present parameters, after ``optimizer.step(model)``.

        The first call begins it. Every call counts as a step, and as an epoch: who calls decides when the mean begins.

        Raises
        ------
        NotBuiltError, ShapeError
            The model has no parameters yet, or others than at the last call.
        """
        who = f"{type(self).__name__}.update"
        vector = network_of(model_of(model, who), who).vector
        mean = np.zeros_like(vector) if self._mean is None else self._mean
        self._require_alike(mean, vector, who)
        begin = np.array([float(self._updates)])
        mean += vector.dtype.type(self.shares(begin, begin + 1.0, 0.0)[0]) * (vector - mean)
        self._mean, self._updates = mean, self._updates + 1

    def averaged(self, model: Model, batches: Iterable[Any] | None = None) -> Any:
        """By hand: a copy of the model whose parameters are the mean of what `update` has seen.

        Parameters
        ----------
        model : the model that was given to `update`; it stays as it is
        batches : optional, rows of input, (N, *in_shape), one batch after the other: running statistics of batch norms are
            computed anew from them, for the mean. Else they are those of the model now.

        Raises
        ------
        ParameterError, NotBuiltError, ShapeError, DataError
            There has been no update; the model is another one; the batches do not fit it.
        """
        who = f"{type(self).__name__}.averaged"
        network = network_of(model_of(model, who), who)
        if self._mean is None:
            raise ParameterError(f"{who}: expected a mean, got none yet: call update(model) after steps")
        self._require_alike(self._mean, network.vector, who)
        given = None if batches is None else _rows_of(model, network, batches, who)
        rows = max(map(count_of, given)) if given else 1
        with Averaging(model, self._mean, network.segments(), None if given is None else lambda: given, rows).in_place():
            return model.copy()

    @staticmethod
    def _require_alike(mean: NDArray[Any], vector: NDArray[Any], who: str) -> None:
        if mean.shape != vector.shape or mean.dtype != vector.dtype:
            raise ShapeError(f"{who}: expected the model that it is the mean of, with as many parameters in {mean.dtype}, got "
                             f"others in {vector.dtype}; make one for each model")  # fmt: skip


def _rows_of(model: Model, network: Network, batches: Iterable[Any], who: str) -> list[Any]:
    """Batches as rows that fit the network."""
    if isinstance(batches, np.ndarray | dict) or hasattr(batches, "tocsr"):
        raise DataError(f"{who}: expected batches to be a list of arrays, or an iterator over them, got one array; write [X]")
    found = []
    for batch in batches:
        rows = to_inputs(batch, inputs_of(model, batch), who, "batch")
        check_row_shape(rows, network.in_shape, who, "batch")
        network.check_input(rows, "batch")
        if any(map(is_sparse, fields(rows).values())):
            raise DataError(f"{who}: expected dense rows, got a sparse matrix; pass x.toarray()")
        found.append(rows)
    if not found:
        raise DataError(f"{who}: expected at least one batch, got none")
    return found
