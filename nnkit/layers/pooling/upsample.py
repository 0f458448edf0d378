"""A larger image, read from a small one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import OnnxError, ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.lanes import load, store
from nnkit.layers.pooling.layer import MOST, three_axes
from nnkit.layers.pooling.sums import increase, plane
from nnkit.layers.windows import ROWS

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]

# By mode: how many axes there are (None: any number); the places that one is read from, counted from that before its position;
# and by how much positions are shifted in the output and in the input, where corners are not aligned.
MODES: dict[str, tuple[int | None, tuple[int, ...], float, float]] = {
    "nearest": (None, (0,), 0.0, 0.0),
    "nearest-exact": (None, (0,), 0.5, 0.0),
    "linear": (1, (0, 1), 0.5, 0.5),
    "bilinear": (2, (0, 1), 0.5, 0.5),
    "trilinear": (3, (0, 1), 0.5, 0.5),
    "bicubic": (2, (-1, 0, 1, 2), 0.5, 0.5),
}
Array = NDArray[Any]
ONNX_MODES = {(0,): "nearest", (0, 1): "linear", (-1, 0, 1, 2): "cubic"}


def several(value: Any) -> tuple[Any, ...]:
    """One number or several as a tuple; none where nothing is said."""
    return () if value is None else tuple(value) if isinstance(value, tuple | list) else (value,)


class _Upsampling(Layer):
    """What all kinds of upsampling share: sizes, and kernels that know three axes."""

    blocked = True
    size: Any
    scale_factor: Any
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None

    def check(self) -> None:
        """Refuse sizes and factors that mean nothing."""
        sizes, factors = several(self.size), several(self.scale_factor)
        numbers = all(isinstance(f, int | float | np.number) and not isinstance(f, bool) and 0 < f < np.inf for f in factors)
        self.require("scale_factor", len(factors) <= 3 and numbers, "a number above 0, or one for each axis")
        whole = all(isinstance(s, int | np.integer) and not isinstance(s, bool) and s >= 1 for s in sizes)
        self.require("size", len(sizes) <= 3 and whole, "an integer of at least 1, or one for each axis")
        self.require("size", not (sizes and factors), "left out where there is a scale_factor")

    def build(self, in_shape: Shape) -> Shape:
        expected, taps, shift, back = MODES[self.mode]
        dims = len(in_shape) - 1
        if expected not in (None, dims) or not 1 <= dims <= 3:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[expected or 2]}, got {in_shape}")
        image = self.image(in_shape)
        if max(image) > MOST:
            raise ShapeError(f"{self!r}: expected at most {MOST} places along an axis of the output, got {max(image)}")
        shift, back = (0.0, 0.0) if self.align_corners else (shift, back)
        alone = read_from(np.zeros(1), 1, (0,))
        found = [read_from((np.arange(large) + shift) * ratio - back, size, taps)
                 for size, large, ratio in zip(in_shape[1:], image, self.ratios(in_shape, image), strict=True)]  # fmt: skip
        axes = (alone, alone, *found)[-3:]
        self.places_d, self.places_h, self.places_w = (places for places, _ in axes)
        self.shares_d, self.shares_h, self.shares_w = (weights for _, weights in axes)
        self.taps_d, self.taps_h, self.taps_w = (tuple(range(places.shape[1])) for places, _ in axes)
        out_shape = (in_shape[0], *image)
        self.view(x=three_axes(in_shape), out=three_axes(out_shape))
        return out_shape

    def _each(self, name: str, in_shape: Shape) -> tuple[Any, ...]:
        """A hyper-parameter's number for each axis."""
        values, dims = several(getattr(self, name)), len(in_shape) - 1
        if len(values) not in (1, dims):
            raise ShapeError(f"{self!r}: expected {name} to be one number, or {dims} for rows of {in_shape}")
        return values * dims if len(values) == 1 else values

    def factors(self, in_shape: Shape) -> tuple[float, ...]:
        """How many times larger each axis becomes; twice, where nothing is said."""
        return (2.0,) * (len(in_shape) - 1) if self.scale_factor is None else self._each("scale_factor", in_shape)

    def image(self, in_shape: Shape) -> Shape:
        """The axes behind the channels in the output."""
        if self.size is not None:
            return tuple(int(size) for size in self._each("size", in_shape))
        image = tuple(floor(size * factor) for size, factor in zip(in_shape[1:], self.factors(in_shape), strict=True))
        if min(image) < 1:
            raise ShapeError(f"{self!r}: for rows of {in_shape} nothing is left of the output, its shape would be {image}")
        return image

    def ratios(self, in_shape: Shape, image: Shape) -> list[float]:
        """How far it is in the input from one place of the output to the next, along each axis."""
        pairs = list(zip(in_shape[1:], image, strict=True))
        if self.align_corners:
            return [(size - 1) / (larger - 1) if larger > 1 else 0.0 for size, larger in pairs]
        if self.size is not None or self.recompute_scale_factor:
            return [size / larger for size, larger in pairs]
        return [1.0 / float(factor) for factor in self.factors(in_shape)]

    def c(self) -> str:
        tables = [f"static const {kind} {name}[{len(table)}][{table.shape[1]}] = {_braces(table)};"
                  for axis in "dhw" for kind, word in (("int", "places"), ("real", "shares"))
                  for name in [f"{word}_{axis}"] for table in [getattr(self, name)]]  # fmt: skip
        count_d, count_h, count_w = len(self.taps_d), len(self.taps_h), len(self.taps_w)
        return f"""
            void forward(const real x[C][D][H][W], real out[C][OD][OH][OW])
            {{
                {textwrap.indent(chr(10).join(tables), " " * 16).lstrip()}
                for (int c = 0; c < C; c++)
                    for (int od = 0; od < OD; od++)
                        for (int oh = 0; oh < OH; oh++)
                            for (int ow = 0; ow < OW; ow++) {{
                                real sum = 0.0;
                                for (int i = 0; i < {count_d}; i++)
                                    for (int j = 0; j < {count_h}; j++)
                                        for (int k = 0; k < {count_w}; k++)
                                            sum += x[c][places_d[od][i]][places_h[oh][j]][places_w[ow][k]]
                                                   * (shares_d[od][i] * shares_h[oh][j] * shares_w[ow][k]);
                                out[c][od][oh][ow] = sum;
                            }}
            }}"""

    @staticmethod
    def forward(x, places_d, places_h, places_w, shares_d, shares_h, shares_w, taps_d, taps_h, taps_w, out):
        height, width = x.shape[3], x.shape[4]
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                image = plane(x[b, c])
                for od in range(out.shape[2]):
                    for oh in range(out.shape[3]):
                        for i in range(len(taps_d)):
                            for j in range(len(taps_h)):
                                first = (places_d[od, i] * height + places_h[oh, j]) * width
                                share = shares_d[od, i] * shares_h[oh, j]
                                for ow in range(out.shape[4]):
                                    target = out[b, c, od, oh, ow]
                                    sums = load(image[max(0, first + places_w[ow, 0])]) * shares_w[ow, 0]
                                    for k in range(1, len(taps_w)):
                                        sums = sums + load(image[max(0, first + places_w[ow, k])]) * shares_w[ow, k]
                                    if i + j > 0:
                                        increase(sums * share, target)
                                    else:
                                        store(sums * share, target)

    @staticmethod
    def backward(grad_out, places_d, places_h, places_w, shares_d, shares_h, shares_w, taps_d, taps_h, taps_w, grad_x):
        clear(grad_x)
        height, width = grad_x.shape[3], grad_x.shape[4]
        for b in range(grad_out.shape[0]):
            for c in range(grad_out.shape[1]):
                image = plane(grad_x[b, c])
                for od in range(grad_out.shape[2]):
                    for oh in range(grad_out.shape[3]):
                        for i in range(len(taps_d)):
                            for j in range(len(taps_h)):
                                first = (places_d[od, i] * height + places_h[oh, j]) * width
                                share = shares_d[od, i] * shares_h[oh, j]
                                for ow in range(grad_out.shape[4]):
                                    given = load(grad_out[b, c, od, oh, ow]) * share
                                    for k in range(len(taps_w)):
                                        increase(given * shares_w[ow, k], image[max(0, first + places_w[ow, k])])

    def onnx(self, graph, x):
        in_shape = self._built.in_shape
        _, taps, shift, back = MODES[self.mode]
        words: dict[str, Any] = {"mode": ONNX_MODES[taps]}
        if self.align_corners:
            words["coordinate_transformation_mode"] = "align_corners"
        elif shift == back:
            words["coordinate_transformation_mode"] = "half_pixel" if shift else "asymmetric"
        if words["mode"] == "nearest":
            words["nearest_mode"] = "round_prefer_ceil" if shift else "floor"
        if words["mode"] == "cubic":
            words["cubic_coeff_a"] = -0.75
        if self.size is not None or self.recompute_scale_factor or self.align_corners:
            image = list(self.image(in_shape))
            return graph.node("Resize", x, None, None, image, axes=list(range(2, 2 + len(image))), **words)
        return graph.node("Resize", x, None, np.array([1, 1, *self.factors(in_shape)], "float32"), **words)


def read_from(positions: Array, size: int, taps: tuple[int, ...]) -> tuple[Array, Array]:
    """The places around each position on an axis, (positions, taps), and their weights; beyond the ends are those at the ends.

    Between two places weights fall linearly; of four, they are those of cubic convolution with a = -3/4 (Keys 1981, eq. 4).
    """
    before = np.floor(positions)[:, None]
    places = np.clip(before + taps, 0, size - 1).astype(np.int64)
    far = abs(positions[:, None] - (before + taps))
    if len(taps) == 1:
        return places, np.ones_like(far)
    if len(taps) == 2:
        return places, 1.0 - far
    near = (1.25 * far - 2.25) * far * far + 1.0
    return places, np.where(far <= 1.0, near, ((3.75 - 0.75 * far) * far - 6.0) * far + 3.0)


def _braces(table: Array) -> str:
    """A table's initializer in C, in lines."""
    rows = ", ".join(f"{{{', '.join(map(repr, row))}}}" for row in table.tolist())
    return "\n".join(textwrap.wrap(f"{{{rows}}}", 110, subsequent_indent="    "))


@register("upsample")
class Upsample(_Upsampling):
    """A larger image, or a smaller one: every place of the output is read from the input, at the same relative position.

    With r = (o + 1/2) / scale_factor - 1/2 along each axis:

    - ``"nearest"``: the place floor(o / scale_factor); ``"nearest-exact"``: the one nearest to r;
    - ``"linear"`` (L), ``"bilinear"`` (H, W), ``"trilinear"`` (D, H, W): the mean of the two places around r along each axis,
      weighed by how near they are;
    - ``"bicubic"`` (H, W): the four places around r along each axis, weighed by Keys' cubic convolution with a = -3/4.

    Places beyond the edges are those at the edges. Each place of x gets the sum of grad_out over all places that read it,
    weighed alike.

    Parameters
    ----------
    size : int or one for each axis, optional: of the output
    scale_factor : number above 0 or one for each axis, optional: how many times larger; 2 where there is no size, either
    mode : "nearest", "nearest-exact", "linear", "bilinear", "trilinear" or "bicubic"
    align_corners : bool, optional: corners meet corners, r = o (L - 1) / (OL - 1); not where mode is "nearest"
    recompute_scale_factor : bool, optional: positions go by the sizes, as if the output's had been given

    Shape
    -----
    x: (N, C, ...) -> out: (N, C, *size), or (N, C, floor(L scale_factor) ...), with one to three axes

    Raises
    ------
    ShapeError
        Rows do not have the axes of the mode, or nothing is left of the output.

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
    >>> model = nn.Sequential([nn.Upsample(5, mode="linear", align_corners=True)])
    >>> model.build((1, 3)).predict([[[1.0, 2.0, 4.0]]])
    array([[[1. , 1.5, 2. , 3. , 4. ]]], dtype=float32)

    References
    ----------
    Keys 1981, "Cubic convolution interpolation for digital image processing".
    """

    elsewhere = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")

    def __init__(
        self, size: Any = None, *, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:  # fmt: skip
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = bool(align_corners) if isinstance(align_corners, np.bool_) else align_corners
        again = recompute_scale_factor
        self.recompute_scale_factor = bool(again) if isinstance(again, np.bool_) else again
        self.check()
        self.require("mode", mode in MODES,
                     "'nearest' or 'bilinear', or else 'nearest-exact', 'linear', 'trilinear' or 'bicubic'")  # fmt: skip
        for name in ("align_corners", "recompute_scale_factor"):
            self.require(name, getattr(self, name) is None or isinstance(getattr(self, name), bool), "True or False")
        smooth = len(MODES[mode][1]) > 1
        self.require("align_corners", smooth or align_corners is None, "left out where mode is 'nearest' or 'nearest-exact'")
        self.require("recompute_scale_factor", not (again and size is not None), "left out where there is a size")

    @classmethod
    def from_onnx(cls, at):
        """By factors, or to sizes; the places in between as `forward` finds them."""
        if (node := at.take("Resize")) is None or not 2 <= at.rank <= 4:
            return None
        if node.input(1) is not None and node.constant(1).size:
            raise OnnxError("expected no region of interest, got one")
        axes = [axis % (at.rank + 1) for axis in node.attributes.get("axes") or range(at.rank + 1)]
        by_size = node.input(2) is None or not node.constant(2).size
        given = dict(zip(axes, node.integers(3) if by_size else node.constant(2).tolist(), strict=True))
        words = cls._by_sizes(at, given) if by_size else cls._by_factors(at, given)
        layer = cls(**words, **cls._onnx_mode(node, at.shape, words))
        return at.found(layer)

    @staticmethod
    def _by_sizes(at, sizes):
        """The sizes, or factors, where they are multiples of those of the rows."""
        channels, *image = at.shape
        if sizes.get(0, 1) not in (1, at.rows) or sizes.get(1, channels) != channels:
            raise OnnxError(f"expected other sizes for axes behind the channels only, for rows of {at.shape}, got {sizes}")
        wanted = [sizes.get(axis, size) for axis, size in enumerate(image, 2)]
        if all(large % size == 0 for large, size in zip(wanted, image, strict=True)):
            return {"scale_factor": _shortest([large // size for large, size in zip(wanted, image, strict=True)])}
        return {"size": _shortest(wanted)}

    @staticmethod
    def _by_factors(at, scales):
        if scales.get(0, 1) != 1 or scales.get(1, 1) != 1:
            raise OnnxError(f"expected factors for the axes behind the channels, got {scales}")
        factors = [scales.get(axis, 1) for axis in range(2, at.rank + 1)]
        whole = [int(factor) if factor == int(factor) else at.number(np.array(factor)) for factor in factors]
        return {"scale_factor": _shortest(whole)}

    @classmethod
    def _onnx_mode(cls, node, shape, words):
        """The mode that reads the places that the operator does."""
        mode, place, rounding = (node.attributes[name] for name in ("mode", "coordinate_transformation_mode", "nearest_mode"))
        built = cls(**words).place(shape)
        if mode == "nearest":
            factors = several(words.get("scale_factor", 0.5))
            whole = all(isinstance(factor, int) for factor in factors)  # then the nearest place is no matter of rounding
            if (place, rounding) == ("asymmetric", "floor") or (whole and place == "half_pixel" and "round" in rounding):
                return {"mode": "nearest"}
            if (place, rounding) == ("half_pixel", "round_prefer_ceil"):
                return {"mode": "nearest-exact"}
            raise OnnxError(f"expected places by 'asymmetric' and 'floor', got {place!r} and {rounding!r}")
        axes = len(shape) - 1
        smooth = {"linear": ["linear", "bilinear", "trilinear"][axes - 1], "cubic": "bicubic" if axes == 2 else None}.get(mode)
        if mode == "cubic" and node.attributes["cubic_coeff_a"] != -0.75:
            raise OnnxError(f"expected cubic_coeff_a=-0.75, got {node.attributes['cubic_coeff_a']}")
        centred = place == "half_pixel" or (place == "pytorch_half_pixel" and min(built.out_shape[1:]) > 1)
        factors = several(words.get("scale_factor", 1))
        exact = all(size * factor % 1 == 0 for size, factor in zip(shape[1:], factors * (axes // len(factors)), strict=True))
        if smooth and (centred or (place == "align_corners" and exact)):  # else its last corner is between places
            return {"mode": smooth, "align_corners": None if centred else True}
        raise OnnxError(f"expected mode 'nearest', or 'linear' by 'half_pixel', got {mode!r} by {place!r}")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(scale_factor=2), (1, 2, 3)), Example(cls(scale_factor=(1.5, 2.6), mode="bilinear"), (2, 3, 2)),
                Example(cls((3, 5), mode="bicubic"), (1, 2, 3)), Example(cls(5, mode="nearest-exact"), (2, 3)),
                Example(cls(scale_factor=1.5, mode="trilinear", align_corners=True), (1, 2, 2, 3))]  # fmt: skip


def _shortest(numbers):
    """One number for all axes, or one for each."""
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


class _Upsampling2d(_Upsampling):
    """An image, in one of the modes."""

    elsewhere = ("size", "scale_factor")

    def __init__(self, size: Any = None, *, scale_factor: Any = None) -> None:
        self.size = size
        self.scale_factor = scale_factor
        self.check()

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 3:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[2]}, got {in_shape}")
        return super().build(in_shape)

    @classmethod
    def from_onnx(cls, at):
        """As an `Upsample`, which it is."""

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls((3, 4)), (1, 2, 3))]


@register("upsampling_nearest2d")
class UpsamplingNearest2d(_Upsampling2d):
    """`Upsample` of an image with ``mode="nearest"``.

    Parameters
    ----------
    size : int or (height, width), optional: of the output
    scale_factor : number above 0 or (vertical, horizontal), optional: 2 where there is no size, either

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, *size), or (N, C, floor(H scale_factor), floor(W scale_factor))

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or nothing is left of the output.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.UpsamplingNearest2d((1, 4))]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]])
    array([[[[1., 1., 2., 2.]]]], dtype=float32)
    """


@register("upsampling_bilinear2d")
class UpsamplingBilinear2d(_Upsampling2d):
    """`Upsample` of an image with ``mode="bilinear"`` and ``align_corners=True``.

    Parameters
    ----------
    size : int or (height, width), optional: of the output
    scale_factor : number above 0 or (vertical, horizontal), optional: 2 where there is no size, either

    Shape
    -----
    x: (N, C, H, W) -> out: (N, C, *size), or (N, C, floor(H scale_factor), floor(W scale_factor))

    Raises
    ------
    ShapeError
        Rows are not (C, H, W), or nothing is left of the output.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.UpsamplingBilinear2d((1, 3))]).build((1, 1, 2)).predict([[[[1.0, 2.0]]]])
    array([[[[1. , 1.5, 2. ]]]], dtype=float32)
    """

    mode = "bilinear"
    align_corners = True
