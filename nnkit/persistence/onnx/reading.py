"""From the content of a file to a net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Chain
from nnkit.core.part import Shape
from nnkit.errors import OnnxError
from nnkit.network import Network
from nnkit.persistence.onnx.parsing import Parsed, parse, require_sane
from nnkit.persistence.onnx.pattern import declared
from nnkit.persistence.onnx.reader import Reader, Unreadable

__all__ = ["from_proto"]

Array = NDArray[Any]


def from_proto(content: bytes, folder: Path, in_shape: Sequence[int] | None) -> Network:
    """A built net from the content of a file."""
    parsed = parse(content, folder)
    shape = _row_shape(parsed, in_shape)
    reader = Reader(parsed)
    try:
        inner = reader.whole(shape)
    except RecursionError:
        raise OnnxError("onnx.load: expected branches within branches to some depth, got more of them") from None
    except Unreadable as error:
        raise OnnxError(str(error)) from None
    chain = Chain(inner.layers)
    if chain.input_dtype == "real" and parsed.integers:
        raise OnnxError(f"onnx.load: expected an input of real numbers for {chain.layers[0]!r}, got one of integers")
    network = Network.of(chain, chain.place(shape), parsed.real)  # which draws no numbers that go at once
    network.fill(_named(network, inner.arrays), (int(np.random.default_rng().integers(2**62)), 0))
    return network


def _row_shape(parsed: Parsed, in_shape: Sequence[int] | None) -> Shape:
    """The shape of an input row, as the file and the user say."""
    shape = parsed.in_shape if in_shape is None else [int(size) for size in in_shape]
    fits = len(shape) == len(parsed.in_shape)
    fits = fits and all(size == own for size, own in zip(shape, parsed.in_shape, strict=True) if isinstance(own, int))
    if not fits or not all(isinstance(size, int) and size > 0 for size in shape):
        expected = ", ".join(str(size or "?") for size in parsed.in_shape)
        came = "nothing for what the file leaves open; pass in_shape" if in_shape is None else str(tuple(shape))
        raise OnnxError(f"onnx.load: expected in_shape ({expected}) with numbers for all sizes, got {came}")
    sizes = tuple(size for size in shape if isinstance(size, int))
    require_sane(sizes, "an input row")
    return sizes


def _named(network: Network, arrays: list[dict[str, Array]]) -> dict[str, Array]:
    """The arrays of the layers that have some, in order, by their names in a network."""
    homes = [(path, built) for path, built in network.homes() if declared(built)]
    if [declared(built).keys() for _, built in homes] != [record.keys() for record in arrays]:
        raise OnnxError(f"onnx.load: expected arrays for each layer of {network!r}, got others")
    return {f"{path}.{name}": array for (path, _), record in zip(homes, arrays, strict=True) for name, array in record.items()}
