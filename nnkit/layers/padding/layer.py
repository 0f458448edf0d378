"""What every kind of padding shares: where each place of the output comes from, along one to three axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import clear
from nnkit.kernels.lanes import everywhere, load, store
from nnkit.layers.pooling.sums import increase
from nnkit.layers.windows import ROWS

__all__ = ["Padding"]

LONGEST = 2**24  # places of an axis, for each of which it is kept where it comes from


class Padding(Layer):
    """Every place of the output is that of the input which ``source`` says, or ``value`` where it says -1.

    Kernels see three axes, whatever their number is, and read where each place of an axis comes from.
    """

    elsewhere: ClassVar[tuple[str, ...]] = ("padding",)
    blocked = True
    dims: ClassVar[int]
    onnx_mode: ClassVar[str | None]  # of the operator Pad, if it has one for this
    c_source: ClassVar[str]  # what ``source`` says, in C: a statement that changes place {p} of an axis of {size} places
    onnx_value: ClassVar[bool] = False  # the operator takes a value, and takes away places where there are less
    value: float = 0.0

    def __init__(self, padding: Any) -> None:
        self.padding = padding
        several = padding if isinstance(padding, tuple | list) else (padding,)
        whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) for size in several)
        alone = not isinstance(padding, tuple | list)
        self.require("padding", whole and (alone or len(several) == 2 * self.dims),
                     f"an integer, or {2 * self.dims} of them: before and behind, the last axis first")  # fmt: skip

    def pads(self) -> list[tuple[int, int]]:
        """How many places there are before and behind each axis, the first axis first."""
        if isinstance(self.padding, tuple | list):
            ends = zip(self.padding[::2], self.padding[1::2], strict=True)
            return [(int(before), int(behind)) for before, behind in ends][::-1]
        return [(int(self.padding),) * 2] * self.dims

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 1 + self.dims:
            raise ShapeError(f"{self!r}: expected input rows of shape {ROWS[self.dims]}, got {in_shape}")
        pads = self.pads()
        out_shape = (in_shape[0], *(size + sum(ends) for size, ends in zip(in_shape[1:], pads, strict=True)))
        if min(out_shape) < 1 or max(out_shape) > LONGEST:
            raise ShapeError(f"{self!r}: for rows of {in_shape} nothing is left of the output, its shape would be {out_shape}"
                             if min(out_shape) < 1 else f"{self!r}: an output of shape {out_shape} is too large")  # fmt: skip
        for size, (before, behind) in zip(in_shape[1:], pads, strict=True):
            self.require_room(in_shape, size, size + min(before, 0) + min(behind, 0), max(before, behind))
        empty = 3 - self.dims
        sizes, outs = (1,) * empty + in_shape[1:], (1,) * empty + out_shape[1:]
        self.before_d, self.before_h, self.before_w = ends = (0,) * empty + tuple(pad for pad, _ in pads)
        ends_behind = (0,) * empty + tuple(pad for _, pad in pads)
        self.first_d, self.first_h, self.first_w = first = tuple(max(0, -pad) for pad in ends)
        kept = [size - begin + min(pad, 0) for size, begin, pad in zip(sizes, first, ends_behind, strict=True)]
        self.kept_d, self.kept_h, self.kept_w = kept
        self.places_d, self.places_h, self.places_w = (
            self.source(np.arange(count, dtype=np.int64) - pad, *axis)
            for count, pad, *axis in zip(outs, ends, sizes, first, kept, strict=True)
        )
        self.view(x=(in_shape[0], *sizes), out=(in_shape[0], *outs))
        return out_shape

    def require_room(self, in_shape: Shape, size: int, kept: int, most: int) -> None:
        """Refuse more places than there are to take numbers from; of an axis, so many are kept."""

    @staticmethod
    def source(places: NDArray[np.int64], size: int, first: int, kept: int) -> NDArray[np.int64]:
        """Where places, counted from the first of an axis, come from; -1: from nowhere."""
        raise NotImplementedError

    def c(self) -> str:
        folds = {axis: self.c_source.format(p=axis, size=axis.upper()) for axis in "dhw"}
        return f"""
            void forward(const real x[C][D][H][W], real out[C][OD][OH][OW])
            {{
                for (int c = 0; c < C; c++)
                    for (int od = 0; od < OD; od++) {{
                        int d = od - before_d;
                        {folds["d"]}
                        for (int oh = 0; oh < OH; oh++) {{
                            int h = oh - before_h;
                            {folds["h"]}
                            for (int ow = 0; ow < OW; ow++) {{
                                int w = ow - before_w;
                                {folds["w"]}
                                out[c][od][oh][ow] = d < 0 || h < 0 || w < 0 ? value : x[c][d][h][w];
                            }}
                        }}
                    }}
            }}"""

    @staticmethod
    def forward(x, value, places_d, places_h, places_w, out):
        for b in range(out.shape[0]):
            for c in range(out.shape[1]):
                for od in range(out.shape[2]):
                    for oh in range(out.shape[3]):
                        d, h = places_d[od], places_h[oh]
                        for ow in range(out.shape[4]):
                            w, target = places_w[ow], out[b, c, od, oh, ow]
                            if min(d, h, w) < 0:
                                store(everywhere(value, target), target)
                            else:
                                store(load(x[b, c, d, h, w]), target)

    @staticmethod
    def backward(grad_out, places_d, places_h, places_w, grad_x):
        clear(grad_x)
        for b in range(grad_out.shape[0]):
            for c in range(grad_out.shape[1]):
                for od in range(grad_out.shape[2]):
                    for oh in range(grad_out.shape[3]):
                        d, h = places_d[od], places_h[oh]
                        for ow in range(grad_out.shape[4]):
                            w = places_w[ow]
                            if min(d, h, w) >= 0:
                                increase(load(grad_out[b, c, od, oh, ow]), grad_x[b, c, d, h, w])

    def onnx(self, graph, x):
        """The operator; or one that reads places by number, where programs disagree, or there is none."""
        pads = self.pads()
        if self.onnx_mode is not None and (self.onnx_value or min(map(min, pads)) >= 0):
            ends = [0, 0, *(before for before, _ in pads), 0, 0, *(behind for _, behind in pads)]
            return graph.node("Pad", x, ends, *([self.value] if self.onnx_value else []), mode=self.onnx_mode)
        for axis, name in enumerate("dhw"[-self.dims :], 2):
            if any(pads[axis - 2]):
                x = graph.node("Gather", x, getattr(self, f"places_{name}").tolist(), axis=axis)
        return x

    @classmethod
    def from_onnx(cls, at):
        """The operator, with places before and behind the axes that are not the channels'."""
        if at.rank != 1 + cls.dims:
            return None
        if cls.onnx_mode is None or at.ahead("Pad") is None:
            return super().from_onnx(at)
        node = at.take("Pad")
        axes = [axis % (at.rank + 1) for axis in node.integers(3)] if node.input(3) is not None else range(at.rank + 1)
        pads = node.integers(1)
        ends = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
        if node.attributes["mode"] != cls.onnx_mode or any(any(ends.get(axis, ())) for axis in (0, 1)):
            return None
        value = at.number(node.constant(2)) if node.input(2) is not None and node.constant(2).size else 0.0
        padding = [pad for axis in range(at.rank, 1, -1) for pad in ends.get(axis, (0, 0))]
        return at.found(cls.read(padding[0] if len(set(padding)) == 1 else tuple(padding), value))

    @classmethod
    def read(cls, padding, value):
        """The layer with a padding and a value, which matters where it is a constant."""
        return cls(padding)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        pads = (1, 2, 0, 1, 2, 1), (2, -1, -1, 1, 1, 0)
        images = (3, 2, 3), (2, 3, 3)
        return [Example(cls(ends[: 2 * cls.dims]), (2, *image[-cls.dims :])) for ends, image in zip(pads, images, strict=True)]
