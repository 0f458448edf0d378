"""Which rows a layer takes as the first of a net, for scikit-learn's tags: before there is a fit, as far as one can know."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from nnkit.core.container import Container
from nnkit.core.layer import Built, Layer
from nnkit.errors import NnkitError

__all__ = ["takes_axes", "takes_sparse"]

SIZES = range(1, 17)  # of rows that a layer is tried with


def takes_axes(layer: Layer, axes: int) -> bool:
    """Whether a layer takes rows of so many axes: its class has such an example, or it can be built for some."""
    return axes in _axes_of_examples(cast(Any, type(layer))) or _placed(layer, axes) is not None


def takes_sparse(layer: Layer) -> bool:
    """Whether a layer takes the rows of a sparse matrix."""
    built = _placed(layer, 1) if isinstance(layer, Container) else None
    return type(layer).forward_csr is not None if built is None else _reads_sparse(built)


@cache
def _axes_of_examples(kind: Any) -> frozenset[int]:
    return frozenset(len(example.in_shape) for example in kind.examples())


def _placed(layer: Layer, axes: int) -> Built | None:
    """The layer in its place for rows of some size."""
    for size in SIZES:
        try:
            return layer.place((size,) * axes)
        except NnkitError:
            continue
    return None


def _reads_sparse(built: Built) -> bool:
    layer = built.layer
    if not isinstance(layer, Container):
        return type(layer).forward_csr is not None
    first = built.children if layer.side_by_side else built.children[:1]
    return not layer.goes_around and all(map(_reads_sparse, first))
