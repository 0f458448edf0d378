"""What works in a layer's place where the input is a sparse matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnkit.core.layer import Built, Layer
from nnkit.errors import ShapeError

__all__ = ["CSRLayer"]


class CSRLayer(Layer):
    """A built layer at work on a sparse matrix, whose rows it gets by number."""

    needed = ()
    input_dtype = "int64"

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def kernels(self) -> dict[str, Callable[..., Any]]:
        kernels = {"forward": type(self.layer).forward_csr, "backward": type(self.layer).backward_csr}
        return {name: kernel for name, kernel in kernels.items() if kernel is not None}

    @classmethod
    def of(cls, built: Built) -> Built:
        """What takes a built layer's place where the input is sparse; the parameters are the same.

        Raises
        ------
        ShapeError
            The layer has no kernels for sparse input.
        """
        layer = built.layer
        if type(layer).forward_csr is None:
            raise ShapeError(f"{layer!r}: expected dense rows, got a sparse matrix; begin with Linear, or pass X.toarray()")
        return Built(cls(layer), (), built.out_shape, parameters=built.parameters)
