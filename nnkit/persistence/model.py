"""A model in a file: what it is made of, its numbers, and a row to try it with.

Loading makes nothing that the file does not pay for. The description is checked first, then the layers are made and their
shapes inferred, which takes no memory; when every parameter and state has the shape of a tensor in the file, they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Chain, Container, Model, chain_of
from nnkit.core.fields import each, fields, numbers
from nnkit.core.layer import Built, Layer, Places
from nnkit.core.plugins import provider
from nnkit.errors import NnkitError, PersistenceError
from nnkit.executor import Executor
from nnkit.network import Network, adopt
from nnkit.persistence.description import PARTS_LIMIT, Describer, Restorer
from nnkit.persistence.file import Layout, Reader, write

__all__ = ["Restored", "describe", "pack", "restored_from", "save"]

AXES_LIMIT = 16  # of a row
# What the self-test may take, at most: a model that needs more is saved without one, and a file that has one nevertheless is
# refused. Loading is more generous, as a later version may need more for the same model.
BYTES_LIMIT, WORK_LIMIT = 1 << 28, 2 << 30
GENEROUS = 4
TOLERANCE = {"float32": 1e-3, "float64": 1e-6}  # of the largest output: another machine adds up in another order

X, OUT = "self_test.x", "self_test.out"


def save(network: Network, last_fit: Mapping[str, Any], path: Any) -> None:
    """Write a net, and what its last fit was given, to a file; see `Sequential.save`."""
    describer = Describer()
    write(path, *pack(describer, model=describe(network, last_fit, describer)))


def pack(describer: Describer, **described: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `write` wants: what was described, the parts, and nnkit's version."""
    head = {"nnkit": provider(Chain)[1], "parts": describer.parts, "names": describer.names}
    return head | described, describer.arrays


def describe(network: Network, last_fit: Mapping[str, Any], describer: Describer) -> dict[str, Any]:
    """A net as JSON; its numbers go to the describer's arrays.

    Raises
    ------
    PersistenceError
        A part, or an argument of one, cannot be described.
    """
    seed, step = network.random_position
    described = {
        "layers": {"model": describer.describe(network.root.layer, "the model")["part"]},
        "in_shape": each(list, network.in_shape), "out_shape": each(list, network.out_shape), "dtype": network.dtype,
        "random_position": [seed, step], "last_fit": _describe_fit(last_fit, describer),
    }  # fmt: skip
    if network.frozen:
        described["frozen"] = sorted(network.frozen)
    arrays = network.arrays()
    try:
        restorer = Restorer(describer.parts, describer.names, describer.arrays.__getitem__, trust=True)
        _check(_placed(described, restorer)[1], network.dtype, _layouts(arrays))
    except PersistenceError as error:
        raise PersistenceError(f"save: the file could not be loaded: {error}") from error
    describer.arrays |= arrays | _self_test(network)
    return described


def _describe_fit(last_fit: Mapping[str, Any], describer: Describer) -> dict[str, Any]:
    """What the last fit was given. It is a record: a loss that nobody could find again is kept as text."""
    described = {}
    for name, value in last_fit.items():
        try:
            described[name] = describer.describe(value, name)
        except PersistenceError:
            described[name] = repr(value)
    return described


class Restored(NamedTuple):
    """What a file holds."""

    model: Any  # built, as ``make_model`` makes them
    network: Network
    restorer: Restorer  # of the rest of the description


def restored_from(
    file: Reader, make_model: Callable[[list[Layer]], Model] = Model, self_test: bool = True, trust: bool = False
) -> Restored:
    """The model that a file holds, and what restores the rest of its description.

    Parameters
    ----------
    file : the open file
    make_model : makes a model of layers
    self_test : compare outputs
    trust : make parts that act outside of the model, too

    Raises
    ------
    PersistenceError
        The file does not hold a model, or the model does not give the outputs that it gave where it was saved.
    """
    described = file.description.get("model")
    restorer = Restorer(file.description.get("parts"), file.description.get("names"), file.array, trust, make_model)
    if not isinstance(described, dict):
        raise PersistenceError("expected a model")
    model, root = _placed(described, restorer)
    dtype = described.get("dtype")
    if not isinstance(dtype, str) or dtype not in TOLERANCE:
        raise PersistenceError(f"expected dtype float32 or float64, got {str(dtype)[:40]!r}")
    tried = any(name.startswith((X, OUT)) for name in file.layouts)
    _check(root, dtype, file.layouts)
    if tried:
        _check_cost(root, GENEROUS)
        expected = {**_named(X, each(Layout, Network.inputs(root, dtype), root.in_shape)),
                    **_named(OUT, each(lambda shape: Layout(dtype, shape), root.out_shape))}  # fmt: skip
        for name, layout in expected.items():
            _compare(name, file.layouts.get(name), layout)
    position = described.get("random_position")
    if not isinstance(position, list) or not _is_sizes(position, low=0) or len(position) != 2 or max(position) >= 2**62:
        raise PersistenceError("expected a seed and the number of a step")
    arrays = file.arrays()
    network = Network.of(chain_of(model), root, dtype)
    network.fill(arrays, (position[0], position[1]))
    network.frozen = _frozen(described.get("frozen", []), network)
    adopt(model, network)
    fit = described.get("last_fit")
    if isinstance(fit, dict):
        model.last_fit = {name: restorer.accepted(restorer.restore(value), "the last fit") for name, value in fit.items()}
    if tried and self_test:
        row, out = each(arrays.__getitem__, _names(X, root.in_shape)), each(arrays.__getitem__, _names(OUT, root.out_shape))
        _try(network, row, out)
    return Restored(model, network, restorer)


def _frozen(names: Any, network: Network) -> frozenset[str]:
    """The parameters that are not trained."""
    known = network.parameters()
    if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
        raise PersistenceError("expected the names of parameters that are frozen")
    return frozenset(names)


class _Places(Places):
    """Counts the layers that are placed: some are stacks of many more than the file says."""

    placed = 0

    def setdefault(self, key: Layer, default: Any = None) -> Any:
        self.placed += 1
        if self.placed > PARTS_LIMIT:
            raise PersistenceError(f"expected a model of at most {PARTS_LIMIT} layers")
        return super().setdefault(key, default)


def _is_sizes(value: list[Any], low: int = 1) -> bool:
    return all(type(size) is int and size >= low for size in value)


def _placed(described: Mapping[str, Any], restorer: Restorer) -> tuple[Model, Built]:
    """The layers of a model, and their shapes."""
    model, in_shape = restorer.restore(described.get("layers")), described.get("in_shape")
    shapes = fields(in_shape).values()
    if not isinstance(model, Model) or not shapes or not all(isinstance(shape, list) and _is_sizes(shape) for shape in shapes):
        raise PersistenceError("expected layers and the shape of a row")
    root = restorer.make("the model's shapes", chain_of(model).place, each(tuple, in_shape), _Places())
    if each(list, root.out_shape) != described.get("out_shape"):
        raise PersistenceError(f"expected output rows of shape {described.get('out_shape')}, the layers give {root.out_shape}; "
                               "was the model written with other versions of its parts?")  # fmt: skip
    for _, built in root.walk():
        if max(len(shape) for value in (built.in_shape, built.out_shape) for shape in fields(value).values()) > AXES_LIMIT:
            raise PersistenceError(f"expected rows of at most {AXES_LIMIT} axes, got {built.out_shape}")
    return model, root


def _layouts(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Layout]:
    return {name: Layout(array.dtype.name, array.shape) for name, array in arrays.items()}


def _declared(root: Built) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all parameters and states."""
    for path, built in root.walk():
        if built.home is built:
            yield from ((f"{path}.{item.name}", item.shape) for item in built.parameters.values() if prod(item.shape))
            yield from ((f"{path}.{item.name}", item.shape) for item in built.states.values())


def _check(root: Built, dtype: str, layouts: Mapping[str, Layout]) -> None:
    """Refuse arrays that are not those of the layers; theirs are the names that begin with a number."""
    declared = {name: Layout(dtype, shape) for name, shape in _declared(root)}
    for name, layout in declared.items():
        _compare(name, layouts.get(name), layout)
    left = sorted(name for name in layouts if name[:1].isdigit() and name not in declared)
    if left:
        raise PersistenceError(f"expected the arrays of the layers, got also {', '.join(left[:5])[:200]!r}")


def _compare(name: str, layout: Layout | None, expected: Layout) -> None:
    if layout != expected:
        came = "none" if layout is None else f"{layout.dtype} of shape {layout.shape}"
        raise PersistenceError(f"expected {name[:80]!r} as {expected.dtype} of shape {expected.shape}, got {came}")


# ------------------------------------------------------------------------------------------------------- the self-test


def _check_cost(root: Built, factor: int = 1) -> None:
    """Refuse a self-test that would take much time or memory.

    A row in blocks takes as much memory as the rows of a whole block; a step of a sequence comes after the other.
    """
    lanes = 16
    memory = 0
    for times, built in _repeated(root):
        rows = sum(prod(item.shape) for item in built.scratch.values()) + numbers(built.in_shape) + numbers(built.out_shape)
        shared = sum(prod(item.shape) for item in (*built.workspace.values(), *built.partials.values()))
        memory += 8 * (times * lanes * rows + shared)
    if memory > factor * BYTES_LIMIT or root.work() > factor * WORK_LIMIT:
        raise PersistenceError(f"expected a self-test of at most {factor * BYTES_LIMIT} bytes and {factor * WORK_LIMIT} "
                               f"multiplications, got {memory} and {root.work()}")  # fmt: skip


def _repeated(built: Built, times: int = 1) -> Iterator[tuple[int, Built]]:
    """The layers, and how often each runs for one row: within a layer for sequences, once for each step."""
    if not isinstance(built.layer, Container):
        yield times, built
        return
    for child in built.children:
        yield from _repeated(child, times * built.layer.entries(built.in_shape))


def _rows(network: Network) -> Iterator[Any]:
    """Rows to try a net with, the most telling first: layers may refuse some."""
    random = np.random.default_rng(0)

    def drawn(high: int, real: Callable[[Any], Any]) -> Any:
        return each(
            lambda shape, dtype: (random.integers(0, high, shape) if dtype != network.dtype else real(shape)).astype(dtype),
            network.in_shape, network.input_dtype,
        )  # fmt: skip

    several = network.dtype in fields(network.input_dtype).values()
    for high in (1000, 100, 10, 2, 1):
        if several:
            yield drawn(high, lambda shape: random.normal(size=shape))
            yield drawn(high, lambda shape: random.uniform(size=shape))
        yield drawn(high, partial(random.integers, 0, high))


def _self_test(network: Network) -> dict[str, NDArray[Any]]:
    """A row and its output; nothing where that would take long, or the net takes none of the rows."""
    try:
        _check_cost(network.root)
    except PersistenceError:
        return {}
    for row in _rows(network):
        try:
            return {**_named(X, row), **_named(OUT, _alone(network, row))}
        except NnkitError:  # of the layer that looks at its input
            continue
    return {}


def _alone(network: Network, row: Any) -> Any:
    """The output for one row."""
    return each(lambda out: out[0], Executor(network).predict(each(lambda array: array[None], row)))


def _names(name: str, value: Any) -> Any:
    """What the arrays are called in the file that belong to a value: its fields, each by its own."""
    return {item: f"{name}.{item}" for item in value} if isinstance(value, dict) else name


def _named(name: str, value: Any) -> dict[str, Any]:
    """A value by its name; its fields, each by its own."""
    return {f"{name}.{item}" if item else name: array for item, array in fields(value).items()}


def _try(network: Network, row: Any, expected: Any) -> None:
    """Refuse a net that does not give the output that it gave where it was saved."""
    try:
        out = _alone(network, row)
    except Exception as error:
        raise PersistenceError(f"the self-test cannot be run: {type(error).__name__}: {error}") from error
    each(lambda given, wanted: _require_close(given, wanted, TOLERANCE[network.dtype]), out, expected)


def _require_close(out: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    with np.errstate(all="ignore"):
        off = np.abs(out - expected)
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        fits = (out == expected) | (np.isnan(out) & np.isnan(expected)) | (off <= tolerance * scale)
    if not fits.all():
        worst = off[~fits].max()
        raise PersistenceError(
            f"the model does not give the outputs that it gave where it was saved: they differ by {worst:.3g}, of "
            f"{scale:.3g}; it was written with other versions of its parts. nnkit.load(path, self_test=False) loads it as it is"
        )
