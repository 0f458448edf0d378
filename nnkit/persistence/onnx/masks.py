"""Where a file says what is padding. A mask is computed beside the values, and what computes it is no way from layer to layer.

So masks are looked for first, and the layers that begin one are put where those behind them go by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from nnkit.core.exchange import Cursor, Value
from nnkit.core.layer import Built, Layer
from nnkit.core.part import Shape, kernel_names
from nnkit.persistence.onnx.dataflow import Dataflow
from nnkit.persistence.onnx.graph import Graph

__all__ = ["Begin", "goes_by_mask", "masks_begun"]


class Begin(NamedTuple):
    """A layer that passes a value on as it is, and says what is padding in it."""

    layer: Layer
    mask: Value


def goes_by_mask(built: Built) -> bool:
    """Whether a layer asks for the mask of a layer before it."""
    return any(
        "mask" in kernel_names(kernel) and "mask" not in item.scratch
        for _, item in built.walk() for kernel in item.layer.kernels().values()
    )  # fmt: skip


def masks_begun(
    parts: Sequence[type[Layer]], flow: Dataflow, at: Callable[[Value, Shape], Cursor]
) -> dict[int, list[Begin]]:
    """The layers that begin a mask, by the values (their ids) that the masks are of.

    Parameters
    ----------
    parts : classes of layers
    flow : of the graph; the nodes of the masks are used from here on
    at : gives the place of a value, for rows of some shape
    """
    begun: dict[int, list[Begin]] = {}
    operators = {node.op for node in flow.nodes}
    for part, built, first in _only_masks(parts):
        if not first <= operators:
            continue
        read = {id(value): value for node in flow.nodes if node.op in first for value in node.distinct() if value.array is None}
        for value in read.values():
            while (found := part.from_onnx(at(value, built.in_shape))) is not None:
                taken = {id(node) for node in found.end.taken}
                if found.end.value is not value or found.end.mask is None or taken <= flow.used:
                    break
                flow.used |= taken
                begun.setdefault(id(value), []).append(Begin(found.layer, found.end.mask))
    return begun


def _only_masks(parts: Sequence[type[Layer]]) -> Iterator[tuple[type[Layer], Built, set[str]]]:
    """Classes whose output is the input itself, with a mask of it; and the operators that these write."""
    for part in parts:
        for example in part.examples():
            built = example.part.place(example.in_shape)
            if built.layer.passes_mask and "mask" in built.scratch:
                graph = Graph("float32")
                graph.built, x = built, Value(graph)
                if built.layer.onnx(graph, x) is x:
                    yield part, built, {node.op for node in graph.written}
                    break
