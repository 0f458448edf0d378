"""What layers with windows over one to three axes have in common: a size for each axis, and where the windows lie."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nnkit.core.part import Shape
from nnkit.errors import ShapeError

__all__ = ["ROWS", "Spatial", "require_sizes", "sizes"]


def sizes(value: Any, dims: int) -> tuple[int, ...]:
    """One size for each axis, from one for all or one for each."""
    return (int(value),) * dims if isinstance(value, int | np.integer) else tuple(int(size) for size in value)


def require_sizes(layer: Any, name: str, dims: int, low: int = 1, words: str = "") -> None:
    """Refuse a hyper-parameter that is neither an integer of at least ``low`` nor one for each axis."""
    value = getattr(layer, name)
    several = value if isinstance(value, tuple | list) else (value,)
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= low for size in several)
    each = f", or {dims} of them" if dims > 1 else ""
    layer.require(name, whole and len(several) in (1, dims) and (isinstance(value, int | np.integer) or len(several) == dims),
                  f"an integer of at least {low}{each}{' ' + words if words else ''}")  # fmt: skip


ROWS = {1: "(channels, length)", 2: "(channels, height, width)", 3: "(channels, depth, height, width)"}  # by the number of axes


class Spatial:
    """Windows that step over the axes behind the channels.

    Kernels know them as ``stride_d``, ``stride_h``, ``padding_w`` and so on, or as ``strides``, ``paddings`` and ``dilations``,
    one for each of three axes.
    """

    dims: ClassVar[int]
    kernel_size: Any
    padding: Any
    dilation: Any = 1

    def channels_of(self, in_shape: Shape) -> int:
        """The number of channels of rows (C, L), (C, H, W) or (C, D, H, W)."""
        if len(in_shape) != 1 + self.dims:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[self.dims]}, got {in_shape}")
        return in_shape[0]

    def windows(self, in_shape: Shape, stride: Any, ceil_mode: bool = False) -> Shape:
        """How many windows there are along each axis; sets what the kernels need to find them."""
        stride = self.kernel_size if stride is None else stride
        kernel, strides, dilations = (sizes(item, self.dims) for item in (self.kernel_size, stride, self.dilation))
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        if self.padding == "same":
            before, around = [size // 2 for size in reach], reach
        else:
            before = list(sizes(0 if self.padding == "valid" else self.padding, self.dims))
            around = [2 * size for size in before]
        count = []
        for size, more, far, step, pad in zip(in_shape[1:], around, reach, strides, before, strict=True):
            room = size + more - far - 1
            if room < 0:
                raise ShapeError(f"{self!r}: expected rows at least as large as the window, {far + 1} with padding of {more} "
                                 f"in all, got {in_shape}")  # fmt: skip
            windows = (-(-room // step) if ceil_mode else room // step) + 1
            if ceil_mode and (windows - 1) * step >= size + pad:  # a window that begins in the padding behind does not count
                windows -= 1
            count.append(windows)
        self.set_window(strides, before, dilations, kernel)
        return tuple(count)

    def set_window(self, strides: Any, paddings: Any, dilations: Any, kernel: Any) -> None:
        """Set the numbers that kernels name; where there are fewer than three axes, the first ones are one long."""
        self.strides, self.paddings, self.dilations = (1, 1, *strides)[-3:], (0, 0, *paddings)[-3:], (1, 1, *dilations)[-3:]
        names = {"stride": self.strides, "padding": self.paddings, "dilation": self.dilations, "kernel": (1, 1, *kernel)[-3:]}
        for name, values in names.items():
            for axis, value in zip("dhw", values, strict=True):
                setattr(self, f"{name}_{axis}", value)

    def onnx_window(self) -> dict[str, list[int]]:
        """What ONNX calls the sizes of a window."""
        pairs = {name: [getattr(self, f"{name}_{axis}") for axis in "dhw"[-self.dims :]]
                 for name in ("kernel", "stride", "padding", "dilation")}  # fmt: skip
        behind = pairs["padding"]
        if self.padding == "same":
            behind = [d * (k - 1) - d * (k - 1) // 2 for d, k in zip(pairs["dilation"], pairs["kernel"], strict=True)]
        return {"kernel_shape": pairs["kernel"], "strides": pairs["stride"], "pads": pairs["padding"] + behind,
                "dilations": pairs["dilation"]}  # fmt: skip

    def with_two_axes(self, shape: Shape) -> Shape:
        """(C, L) as (C, 1, L)."""
        return (shape[0], 1, shape[1]) if len(shape) == 2 else shape

    def with_three_axes(self, shape: Shape) -> Shape:
        """(C, L) as (C, 1, 1, L), (C, H, W) as (C, 1, H, W)."""
        return (shape[0], *(1, 1, *shape[1:])[-3:])
