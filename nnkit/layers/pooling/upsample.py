"""A larger image, read from a small one."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Any

import numpy as np

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import OnnxError, ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.lanes import load, store
from nnkit.kernels.math import real
from nnkit.layers.pooling.sums import increase

__all__ = ["Upsample"]


@register("upsample")
class Upsample(Layer):
    """A larger image: every place of the output is read from the input, at the same relative position.

    With r = (oh + 1/2) / scale_factor - 1/2, likewise for columns:

    - ``"nearest"``: out[n, c, oh, ow] = x[n, c, floor(oh / scale_factor), floor(ow / scale_factor)];
    - ``"bilinear"``: the mean of the four places around (r_h, r_w), weighed by how near they are, r below 0 counting as 0
      (PyTorch's ``align_corners=False``).

    Each place of x gets the sum of grad_out over all places that read it, weighed alike.

    Parameters
    ----------
    scale_factor : number or (vertical, horizontal), above 0
    mode : "nearest" or "bilinear"

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, floor(H scale_factor), floor(W scale_factor))

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or nothing is left of the output.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Upsample(scale_factor=2)]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]])
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]], dtype=float32)
    >>> X = [[[[1.0, 2.0, 4.0], [3.0, 0.0, 8.0]]]]
    >>> nn.Sequential([nn.Upsample(scale_factor=2, mode="bilinear")]).build((1, 2, 3)).predict(X).round(3)[0, 0]
    array([[1.   , 1.25 , 1.75 , 2.5  , 3.5  , 4.   ],
           [1.5  , 1.5  , 1.5  , 2.375, 4.125, 5.   ],
           [2.5  , 2.   , 1.   , 2.125, 5.375, 7.   ],
           [3.   , 2.25 , 0.75 , 2.   , 6.   , 8.   ]], dtype=float32)
    """

    elsewhere = ("size", "scale_factor", "mode")
    blocked = True

    def __init__(self, *, scale_factor: Any = 2, mode: str = "nearest") -> None:
        self.scale_factor = scale_factor
        self.mode = mode
        factors = self.factors
        numbers = all(isinstance(f, int | float | np.number) and not isinstance(f, bool) and 0 < f < np.inf for f in factors)
        self.require("scale_factor", len(factors) == 2 and numbers, "a number above 0, or two of them")
        self.require("mode", mode in ("nearest", "bilinear"), "'nearest' or 'bilinear'")

    @property
    def factors(self) -> Any:
        """One for each axis of an image."""
        return self.scale_factor if isinstance(self.scale_factor, tuple | list) else (self.scale_factor,) * 2

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 3:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, height, width), got {in_shape}")
        image = tuple(floor(size * factor) for size, factor in zip(in_shape[1:], self.factors, strict=True))
        if min(image) < 1:
            raise ShapeError(f"{self!r}: for rows of {in_shape} nothing is left of the output, its shape would be {image}")
        self.ratio_h, self.ratio_w = (1.0 / float(factor) for factor in self.factors)
        self.linear = self.mode == "bilinear"
        return (in_shape[0], *image)

    def c(self) -> str:
        return """
            void forward(const real x[C][H][W], real out[C][OH][OW])
            {
                for (int c = 0; c < C; c++)
                    for (int oh = 0; oh < OH; oh++) {
                        const real row = linear ? fmax((oh + 0.5) * ratio_h - 0.5, 0.0) : oh * ratio_h;
                        const int top = (int)row < H ? (int)row : H - 1, bottom = top + 1 < H ? top + 1 : top;
                        for (int ow = 0; ow < OW; ow++) {
                            const real column = linear ? fmax((ow + 0.5) * ratio_w - 0.5, 0.0) : ow * ratio_w;
                            const int left = (int)column < W ? (int)column : W - 1, right = left + 1 < W ? left + 1 : left;
                            const real down = linear ? row - top : 0.0, along = linear ? column - left : 0.0;
                            const real above = x[c][top][left] * (1.0 - along) + x[c][top][right] * along;
                            const real below = x[c][bottom][left] * (1.0 - along) + x[c][bottom][right] * along;
                            out[c][oh][ow] = above * (1.0 - down) + below * down;
                        }
                    }
            }"""

    @staticmethod
    def forward(x, linear, ratio_h, ratio_w, out):
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                for oh in range(out.shape[2]):
                    top, bottom, down = neighbours(oh, ratio_h, x.shape[2], linear)
                    for ow in range(out.shape[3]):
                        left, right, along = neighbours(ow, ratio_w, x.shape[3], linear)
                        above = load(x[b, c, top, left]) * (1.0 - along) + load(x[b, c, top, right]) * along
                        below = load(x[b, c, bottom, left]) * (1.0 - along) + load(x[b, c, bottom, right]) * along
                        store(above * (1.0 - down) + below * down, out[b, c, oh, ow])

    @staticmethod
    def backward(grad_out, linear, ratio_h, ratio_w, grad_x):
        clear(grad_x)
        for b in range(grad_out.shape[0]):
            for c in range(grad_out.shape[1]):
                for oh in range(grad_out.shape[2]):
                    top, bottom, down = neighbours(oh, ratio_h, grad_x.shape[2], linear)
                    for ow in range(grad_out.shape[3]):
                        left, right, along = neighbours(ow, ratio_w, grad_x.shape[3], linear)
                        given = load(grad_out[b, c, oh, ow])
                        increase(given * ((1.0 - down) * (1.0 - along)), grad_x[b, c, top, left])
                        increase(given * ((1.0 - down) * along), grad_x[b, c, top, right])
                        increase(given * (down * (1.0 - along)), grad_x[b, c, bottom, left])
                        increase(given * (down * along), grad_x[b, c, bottom, right])

    def onnx(self, graph, x):
        scales = np.array([1, 1, *self.factors], "float32")
        if self.linear:
            return graph.node("Resize", x, None, scales, mode="linear", coordinate_transformation_mode="half_pixel")
        place = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return graph.node("Resize", x, None, scales, mode="nearest", **place)

    @classmethod
    def from_onnx(cls, at):
        """By factors, or to sizes that are multiples; the places in between as `forward` finds them."""
        if (node := at.take("Resize")) is None or at.rank != 3:
            return None
        if node.input(1) is not None and node.constant(1).size:
            raise OnnxError("expected no region of interest, got one")
        if node.input(2) is not None and node.constant(2).size:
            scales = node.constant(2).tolist()
        else:
            sizes = node.integers(3)
            scales = [1, *(size / own for size, own in zip(sizes[1:], at.shape, strict=False))]
            if len(sizes) != 4 or sizes[0] not in (1, at.rows) or not all(float(factor).is_integer() for factor in scales):
                raise OnnxError(f"expected multiples of the sizes of rows {at.shape}, got {sizes}")
        if len(scales) != 4 or scales[:2] != [1, 1]:
            raise OnnxError(f"expected factors for the last two of four axes, got {scales}")
        factors = tuple(int(factor) if factor == int(factor) else at.number(np.array(factor)) for factor in scales[2:])
        scale_factor = factors if len(set(factors)) > 1 else factors[0]
        return at.found(cls(scale_factor=scale_factor, mode=cls._onnx_mode(node, at.shape, factors)))

    @staticmethod
    def _onnx_mode(node, shape, factors):
        """The mode that reads the places that the operator does."""
        mode, place, rounding = (node.attributes[name] for name in ("mode", "coordinate_transformation_mode", "nearest_mode"))
        if mode == "nearest":
            whole = all(isinstance(factor, int) for factor in factors)  # then the nearest place is no matter of rounding
            if (place, rounding) == ("asymmetric", "floor") or (whole and place == "half_pixel" and "round" in rounding):
                return "nearest"
            raise OnnxError(f"expected places by 'asymmetric' and 'floor', got {place!r} and {rounding!r}")
        several = all(int(size * factor) > 1 for size, factor in zip(shape[1:], factors, strict=True))
        smooth = {"linear": "bilinear"}.get(mode)
        if smooth and (place == "half_pixel" or (place == "pytorch_half_pixel" and several)):
            return smooth
        raise OnnxError(f"expected mode 'nearest', or 'linear' by 'half_pixel', got {mode!r} by {place!r}")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(scale_factor=2), (1, 2, 3)), Example(cls(scale_factor=(1.5, 2.6), mode="bilinear"), (2, 3, 2))]


def neighbours(place, ratio, size, linear):
    """The two places that ``place`` of a larger image is read from, and the weight of the second."""
    if linear:
        position = max(0.0, (real(place) + 0.5) * ratio - 0.5)
        first = min(int(position), size - 1)
        return first, min(first + 1, size - 1), position - real(first)
    nearest = min(int(real(place) * ratio), size - 1)
    return nearest, nearest, ratio * 0.0
