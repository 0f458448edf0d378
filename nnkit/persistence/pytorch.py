"""Weights from PyTorch, without PyTorch: a mapping of names to arrays is enough."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Container, Model
from nnkit.core.layer import Built, Layer
from nnkit.errors import ParameterError, ShapeError
from nnkit.network import Network, network_of

__all__ = ["torch_weights"]

Arrays = dict[str, NDArray[Any]]

COUNT = "num_batches_tracked"  # of PyTorch's layers with running statistics


class _Place(NamedTuple):
    """A layer in its model, and its parameters and states there."""

    name: str  # "layer 0, Linear(out_features=3)"
    layer: Layer
    arrays: Arrays


def torch_weights(model: Model, state_dict: Mapping[str, Any]) -> None:
    """Give a built model the parameters and states of its twin in PyTorch.

    The arrays are handed out in order: each layer takes as many as it has parameters and states, all from one PyTorch module
    or modules within it (MultiheadAttention keeps a Linear ``out_proj``). So the twin may be nested in any way, as long as it
    lists its modules in the order in which nnkit's layers stand; where it does not, pass a dict in that order. A layer that is
    used several times takes its arrays once. Each layer knows how PyTorch's arrays become its own (``Layer.from_torch``: a
    Linear's weight is transposed). ``num_batches_tracked`` is ignored where nothing depends on it.

    Parameters
    ----------
    model : a built Sequential, or a fitted estimator
    state_dict : mapping of names to arrays or tensors: ``module.state_dict()``, or what safetensors has read

    Raises
    ------
    NotBuiltError
        The shapes of the model are not known yet.
    ShapeError, ParameterError
        Something is missing, left over, or of another shape or name; then nothing has been written.

    Examples
    --------
    The names and shapes are those of ``torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))``:

    >>> import nnkit as nn, numpy as np
    >>> state_dict = {"0.weight": np.ones((2, 3)), "0.bias": np.zeros(2), "2.weight": np.ones((1, 2)), "2.bias": np.ones(1)}
    >>> model = nn.Sequential([nn.Linear(2), nn.ReLU(), nn.Linear(1)]).build((3,))
    >>> nn.torch_weights(model, state_dict)
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[13.]], dtype=float32)
    """
    places = list(_places(network_of(model, "torch_weights")))
    left = {name: _to_array(value) for name, value in state_dict.items()}
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for place in places:
        own = [name for name in left if COUNT in place.arrays or not name.endswith(COUNT)]
        taken = {name: left.pop(name) for name in _next_module(own, len(place.arrays))}
        left.pop(_prefix(taken) + COUNT, None)
        pairs += _fit(place, taken)
    left = {name: array for name, array in left.items() if not name.endswith(COUNT)}
    if left:
        raise ShapeError(f"torch_weights: expected arrays for the {len(places)} layers that have parameters or states "
                         f"({_listed(place.name for place in places)}), got also {_listed(map(repr, left))}")  # fmt: skip
    for target, array in pairs:
        target[...] = array


def _places(network: Network) -> Iterator[_Place]:
    """The layers that have arrays, in PyTorch's order."""
    every = network.arrays()
    homes = {id(built): path for path, built in network.homes()}
    for built in _leaves(network.root):
        if (path := homes.get(id(built))) is None:
            continue
        arrays = {name: every[f"{path}.{name}"]
                  for name, declared in {**built.parameters, **built.states}.items() if prod(declared.shape)}  # fmt: skip
        if arrays:
            yield _Place(network.name_of(path), built.layer, arrays)


def _leaves(built: Built) -> Sequence[Built]:
    """The innermost layers, in PyTorch's order."""
    if not isinstance(built.layer, Container):
        return [built]
    return built.layer.torch_order([leaf for child in built.children for leaf in _leaves(child)])


def _to_array(value: Any) -> NDArray[Any]:
    """An array from an array or a tensor."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _prefix(names: Iterable[str]) -> str:
    """What the first name's module writes before the names of its arrays, such as "blocks.0."."""
    home, dot, _ = next(iter(names), "").rpartition(".")
    return home + dot


def _next_module(names: Sequence[str], wanted: int) -> list[str]:
    """The first of the names, ``wanted`` or as many as belong to the first one's module or to modules within it."""
    prefix = _prefix(names)
    return list(takewhile(lambda name: name.startswith(prefix), names[:wanted]))


def _fit(place: _Place, taken: Arrays) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The layer's arrays, each with what is to be written there."""
    came = _listed(f"{name!r} {array.shape}" for name, array in taken.items()) or "nothing: there are too few modules"
    who = f"torch_weights: {place.name}"
    prefix = _prefix(taken)
    relative = {name.removeprefix(prefix): array for name, array in taken.items()}
    wanted = f"expected {_listed(f'{name} {array.shape}' for name, array in place.arrays.items())}"
    try:
        given = place.layer.from_torch(relative)
    except KeyError as error:
        raise ParameterError(f"{who}: {wanted}; PyTorch's {error} is missing, got {came}") from None
    if given.keys() != place.arrays.keys():
        raise ParameterError(f"{who}: {wanted}; got {came}")
    for name, array in given.items():
        expected = place.arrays[name].shape
        if array.shape != expected:
            raise ShapeError(f"{who}: expected {name} of shape {expected}, got {array.shape} from PyTorch's {came}")
    return [(target, given[name]) for name, target in place.arrays.items()]


def _listed(items: Iterable[str]) -> str:
    return ", ".join(items)
