"""The way back from the largest numbers of windows: values go to the places where those stand."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from nnkit.core.fields import fields
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import clear
from nnkit.layers.merge import packed
from nnkit.layers.pooling.layer import Spans, Windows, three_axes
from nnkit.layers.pooling.maximum import maxima, require_places
from nnkit.layers.pooling.sums import plane
from nnkit.layers.windows import sizes

__all__ = ["MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]

class _MaxUnpool(Windows):
    """Zeros, but for the places of the largest numbers of the windows of ``pooled``."""

    inputs = ("values", "pooled")
    elsewhere: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__(kernel_size, stride, padding)

    def build(self, in_shape: dict[str, Shape]) -> Shape:
        values, pooled = in_shape["values"], in_shape["pooled"]
        channels = self.channels_of(pooled)
        counts, more = (self.windows(pooled, self.stride, rounded) for rounded in (False, True))
        if values not in ((channels, *counts), (channels, *more)):
            raise ShapeError(f"{self!r}: expected a value for each window of pooled, rows of shape {(channels, *counts)} for "
                             f"{pooled}, got {values}; pooled is what the max pool has read")  # fmt: skip
        require_places(self, pooled)
        self.ceil_mode = counts != more == values[1:]
        self.see_windows(pooled)
        return pooled

    def see(self, in_shape: Shape, out_shape: Shape, spans: Sequence[Spans]) -> None:
        self.set_spans(spans)
        image, windows = three_axes(in_shape), three_axes(out_shape)
        self.view(values=windows, pooled=image, out=image)
        self.scratch("largest", windows)
        self.scratch("place", windows)

    def work(self, in_shape: dict[str, Shape], out_shape: Shape, parameters: int) -> int:  # type: ignore[override]
        return prod(in_shape["values"]) * prod(sizes(self.kernel_size, self.dims)) // 4

    @staticmethod
    def forward(values, pooled, spans_d, spans_h, spans_w, largest, place, out):
        clear(out)
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                maxima(pooled[b, c], spans_d, spans_h, spans_w, (1, 1, 1), place[b, c], largest[b, c])
                given, places, image = plane(values[b, c]), plane(place[b, c]), plane(out[b, c])
                for window in range(given.shape[0]):
                    for lane in range(given.shape[1]):
                        image[int(places[window, lane]), lane] = given[window, lane]

    @staticmethod
    def backward(grad_out, place, grad_values, grad_pooled):
        clear(grad_pooled)
        for b in range(grad_out.shape[0]):
            for c in range(grad_out.shape[1]):
                image, places, given = plane(grad_out[b, c]), plane(place[b, c]), plane(grad_values[b, c])
                for window in range(given.shape[0]):
                    for lane in range(given.shape[1]):
                        given[window, lane] = image[int(places[window, lane]), lane]

    def onnx(self, graph, x):
        """With the places that ONNX's own max pool finds; they count through all rows and channels.

        Paddings behind are as long as the last windows reach, which may be further with ``ceil_mode``.
        """
        values, pooled = fields(x).values()
        window = self.onnx_window()
        _, places = graph.nodes(2, "MaxPool", pooled, **window)
        kernel, strides, before = window["kernel_shape"], window["strides"], window["pads"][: self.dims]
        behind = [max(pad, s * (count - 1) + k - pad - size)
                  for k, s, pad, count, size in zip(kernel, strides, before, self.counts, self.image, strict=True)]  # fmt: skip
        return graph.node("MaxUnpool", values, places, graph.node("Shape", pooled), kernel_shape=kernel, strides=strides,
                          pads=before + behind)  # fmt: skip


@register("max_unpool1d")
class MaxUnpool1d(_MaxUnpool):
    """Undo a max pool along one axis: each value goes to where the largest number of its window stood; elsewhere are zeros.

    ``values`` has a number for each window, ``pooled`` is what a `MaxPool1d` with the same sizes reads. With p(o) the first
    place of the largest number of window o of ``pooled``, out[n, c, p(o)] = values[n, c, o]. Where windows overlap and several
    of them have their largest number at one place, the last one's value stands there. (PyTorch is given the places as indices;
    here they are found again.)

    Backward, grad_values[n, c, o] = grad_out[n, c, p(o)], for every window, as in PyTorch: also for one whose value another one
    has overwritten, though out does not depend on it. grad_pooled = 0: places are whole numbers, which change in jumps alone.

    Parameters
    ----------
    kernel_size : int >= 1
    stride : int >= 1, by default kernel_size
    padding : int >= 0, at most half of kernel_size

    Shape
    -----
    values: (N, C, O), pooled: (N, C, L) -> out: (N, C, L); O is what the max pool makes of L, with ``ceil_mode`` or without

    Raises
    ------
    ShapeError
        ``pooled`` is not (C, L), or there is not a value for each of its windows; a channel has more than 2**24 places.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(small=("x", nn.MaxPool1d(2)), out=(("small", "x"), nn.MaxUnpool1d(2)))
    >>> nn.Sequential([net]).build((1, 5)).predict([[[5.0, 3.0, 2.0, 7.0, 9.0]]])
    array([[[5., 0., 0., 7., 0.]]], dtype=float32)

    References
    ----------
    Zeiler, Taylor and Fergus 2011, "Adaptive deconvolutional networks for mid and high level feature learning", section 2.2.
    """

    dims = 1

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [packed(cls(2), values=(2, 2), pooled=(2, 5))]


@register("max_unpool2d")
class MaxUnpool2d(_MaxUnpool):
    """Undo a max pool of images: each value goes to where the largest number of its window stood; elsewhere are zeros.

    ``values`` has a number for each window, ``pooled`` is what a `MaxPool2d` with the same sizes reads. With p(o) the first
    place, row by row, of the largest number of window o of ``pooled``, out[n, c, p(o)] = values[n, c, o]. Where windows overlap
    and several of them have their largest number at one place, the last one's value stands there. Backward as in `MaxUnpool1d`:
    grad_values[n, c, o] = grad_out[n, c, p(o)] and grad_pooled = 0.

    Parameters
    ----------
    kernel_size : int or (height, width)
    stride : int or (vertical, horizontal), by default kernel_size
    padding : int or (vertical, horizontal), at most half of kernel_size

    Shape
    -----
    values: (N, C, OH, OW), pooled: (N, C, H, W) -> out: (N, C, H, W); OH and OW are what the max pool makes of H and W

    Raises
    ------
    ShapeError
        ``pooled`` is not (C, H, W), or there is not a value for each of its windows; a channel has more than 2**24 places.

    Examples
    --------
    A decoder puts what it has made of the small image where the encoder has found the large numbers:

    >>> import nnkit as nn
    >>> net = nn.Graph(small=("x", nn.MaxPool2d(2)), code=("small", nn.Conv2d(1, 1)), out=(("code", "x"), nn.MaxUnpool2d(2)))
    >>> model = nn.Sequential([net]).build((1, 2, 4))
    >>> model.parameters()["0.1.weight"][...], model.parameters()["0.1.bias"][...] = 10.0, 1.0
    >>> model.predict([[[[1.0, 2.0, 0.0, 4.0], [3.0, 0.0, 0.0, 0.0]]]])
    array([[[[ 0.,  0.,  0., 41.],
             [31.,  0.,  0.,  0.]]]], dtype=float32)

    References
    ----------
    Badrinarayanan, Kendall and Cipolla 2017, "SegNet: a deep convolutional encoder-decoder architecture for image
    segmentation", section 3.
    """

    dims = 2

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [packed(cls(2), values=(2, 2, 1), pooled=(2, 4, 3)),
                packed(cls((2, 3), stride=(2, 3), padding=1), values=(1, 2, 2), pooled=(1, 3, 5))]  # fmt: skip


@register("max_unpool3d")
class MaxUnpool3d(_MaxUnpool):
    """Undo a max pool of volumes: each value goes to where the largest number of its window stood; elsewhere are zeros.

    ``values`` has a number for each window, ``pooled`` is what a `MaxPool3d` with the same sizes reads. With p(o) the first
    place of the largest number of window o of ``pooled``, out[n, c, p(o)] = values[n, c, o]. Where windows overlap and several
    of them have their largest number at one place, the last one's value stands there. Backward as in `MaxUnpool1d`:
    grad_values[n, c, o] = grad_out[n, c, p(o)] and grad_pooled = 0.

    Parameters
    ----------
    kernel_size : int or (depth, height, width)
    stride : int or one for each axis, by default kernel_size
    padding : int or one for each axis, at most half of kernel_size

    Shape
    -----
    values: (N, C, OD, OH, OW), pooled: (N, C, D, H, W) -> out: (N, C, D, H, W); the sizes of values are what the max pool makes
    of the others

    Raises
    ------
    ShapeError
        ``pooled`` is not (C, D, H, W), or there is not a value for each of its windows; a channel has more than 2**24 places.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(small=("x", nn.MaxPool3d((2, 1, 2))), out=(("small", "x"), nn.MaxUnpool3d((2, 1, 2))))
    >>> nn.Sequential([net]).build((1, 2, 1, 2)).predict([[[[[1.0, 3.0]], [[5.0, 0.0]]]]])
    array([[[[[0., 0.]],
    <BLANKLINE>
             [[5., 0.]]]]], dtype=float32)

    References
    ----------
    Zeiler, Taylor and Fergus 2011, "Adaptive deconvolutional networks for mid and high level feature learning", section 2.2.
    """

    dims = 3

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [packed(cls((2, 1, 2)), values=(1, 1, 2, 1), pooled=(1, 3, 2, 2))]
