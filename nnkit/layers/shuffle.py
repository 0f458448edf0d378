"""Layers that move numbers between channels and places: nothing is computed, all are somewhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.layers.shape import Rearranged

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]


class _Shuffle(Rearranged):
    """Axes that are split, put in another order, and merged."""

    if TYPE_CHECKING:

        def __init__(self, number: int) -> None:
            """All are made of one number."""

    def moves(self, in_shape: Shape) -> tuple[Shape, tuple[int, ...], Shape]:
        """The sizes of the axes once they are split, where those of the output come from, and the shape of the output."""
        raise NotImplementedError

    def build(self, in_shape: Shape) -> Shape:
        sizes, order, out_shape = self.moves(in_shape)
        self.arrange(sizes, order)
        return out_shape

    def onnx(self, graph, x):
        sizes, order, out_shape = self.moves(self._built.in_shape)
        split = graph.node("Reshape", x, [0, *sizes])
        moved = graph.node("Transpose", split, perm=[0, *(axis + 1 for axis in order)])
        return graph.node("Reshape", moved, [0, *out_shape])

    @classmethod
    def from_onnx(cls, at):
        """By the sizes of the axes once they are split: one of them is the constructor's argument."""
        if (node := at.ahead("Reshape")) is None or not node.is_constant(1):
            return None
        sizes = dict.fromkeys(size for size in node.integers(1)[1:] if size > 0)
        return at.like([cls(size) for size in sizes], _Shuffle.onnx)

    def image(self, in_shape: Shape) -> Shape:
        """The shape of a row, which has to be that of an image."""
        if len(in_shape) != 3:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, height, width), got {in_shape}")
        return in_shape


@register("pixel_shuffle")
class PixelShuffle(_Shuffle):
    """Channels become places, for an image r times as high and as wide.

    out[n, c, r h + i, r w + j] = x[n, (c r + i) r + j, h, w]; grad_x is grad_out where the numbers came from. After a
    convolution it makes a larger image, without the gaps that a transposed one leaves.

    Parameters
    ----------
    upscale_factor : int >= 1, r

    Shape
    -----
    x: (N, C r r, H, W) -> out: (N, C, r H, r W)

    Raises
    ------
    ShapeError
        Rows are not (channels, H, W), or r * r does not divide the channels.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.PixelShuffle(2)]).build((4, 1, 2)).predict([[[[1.0, 5.0]], [[2.0, 6.0]], [[3.0, 7.0]], [[4.0, 8.0]]]])
    array([[[[1., 2., 5., 6.],
             [3., 4., 7., 8.]]]], dtype=float32)

    References
    ----------
    Shi et al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
    network", eq. 4.
    """

    elsewhere = ("upscale_factor",)

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor
        self.require_size("upscale_factor")

    def moves(self, in_shape: Shape) -> tuple[Shape, tuple[int, ...], Shape]:
        channels, height, width = self.image(in_shape)
        r = self.upscale_factor
        if channels % (r * r):
            raise ShapeError(f"{self!r}: expected a multiple of {r * r} channels, got {channels}")
        left = channels // (r * r)
        return (left, r, r, height, width), (0, 3, 1, 4, 2), (left, height * r, width * r)

    def onnx(self, graph, x):
        return graph.node("DepthToSpace", x, blocksize=self.upscale_factor, mode="CRD")

    @classmethod
    def from_onnx(cls, at):
        """The operator, or what it is made of."""
        if (node := at.take("DepthToSpace")) is None:
            return super().from_onnx(at)
        return at.found(cls(node.attributes["blocksize"])) if node.attributes["mode"] == "CRD" else None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (8, 3, 2)), Example(cls(3), (9, 1, 2))]


@register("pixel_unshuffle")
class PixelUnshuffle(_Shuffle):
    """Places become channels, the reverse of `PixelShuffle`: out[n, (c r + i) r + j, h, w] = x[n, c, r h + i, r w + j].

    grad_x is grad_out where the numbers came from.

    Parameters
    ----------
    downscale_factor : int >= 1, r

    Shape
    -----
    x: (N, C, r H, r W) -> out: (N, C r r, H, W)

    Raises
    ------
    ShapeError
        Rows are not (channels, height, width), or r does not divide height and width.

    Examples
    --------
    >>> import nnkit as nn
    >>> X = [[[[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0]]]]
    >>> nn.Sequential([nn.PixelUnshuffle(2)]).build((1, 2, 4)).predict(X)[0].tolist()
    [[[1.0, 5.0]], [[2.0, 6.0]], [[3.0, 7.0]], [[4.0, 8.0]]]

    References
    ----------
    Shi et al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
    network", eq. 4.
    """

    elsewhere = ("downscale_factor",)

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor
        self.require_size("downscale_factor")

    def moves(self, in_shape: Shape) -> tuple[Shape, tuple[int, ...], Shape]:
        channels, height, width = self.image(in_shape)
        r = self.downscale_factor
        if height % r or width % r:
            raise ShapeError(f"{self!r}: expected multiples of {r} as height and width, got rows of {in_shape}")
        high, wide = height // r, width // r
        return (channels, high, r, wide, r), (0, 2, 4, 1, 3), (channels * r * r, high, wide)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (2, 6, 4)), Example(cls(3), (1, 3, 6))]


@register("channel_shuffle")
class ChannelShuffle(_Shuffle):
    """Channels that come in ``groups`` one after the other then alternate: out[n, i groups + g] = x[n, g C / groups + i].

    grad_x is grad_out where the numbers came from. It lets what grouped convolutions compute meet.

    Parameters
    ----------
    groups : int >= 1

    Shape
    -----
    x: (N, C, ...) -> out: the same

    Raises
    ------
    ShapeError
        Rows have no axis behind the channels, or groups does not divide the channels.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.ChannelShuffle(2)]).build((4, 1)).predict([[[1.0], [2.0], [3.0], [4.0]]])[0].ravel()
    array([1., 3., 2., 4.], dtype=float32)

    References
    ----------
    Zhang, Zhou, Lin and Sun 2018, "ShuffleNet: an extremely efficient convolutional neural network for mobile devices".
    """

    elsewhere = ("groups",)

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self.require_size("groups")

    def moves(self, in_shape: Shape) -> tuple[Shape, tuple[int, ...], Shape]:
        if len(in_shape) < 2:
            raise ShapeError(f"{self!r}: expected input rows of shape (channels, ...), got {in_shape}")
        if in_shape[0] % self.groups:
            raise ShapeError(f"{self!r}: expected channels that groups={self.groups} share out evenly, got {in_shape[0]}")
        order = (1, 0, *range(2, len(in_shape) + 1))
        return (self.groups, in_shape[0] // self.groups, *in_shape[1:]), order, in_shape

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2), (6, 2)), Example(cls(3), (6, 2, 2))]
