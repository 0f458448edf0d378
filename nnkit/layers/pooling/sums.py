"""Sums over boxes of an image, lane by lane: what the kernels of pooling share."""

from __future__ import annotations

from nnkit.kernels.blocks import clear
from nnkit.kernels.lanes import everywhere, load, store
from nnkit.kernels.math import real

__all__ = ["average", "increase", "plane", "share_out"]


def increase(more, target):
    """Target += more, lane by lane."""
    store(load(target) + more, target)


def plane(image):
    """All places of an image (depth, height, width, lanes) in a line."""
    return image.reshape(image.shape[0] * image.shape[1] * image.shape[2], image.shape[3])


def average(x, spans_d, spans_h, spans_w, out):
    """Out = the sum of every box, divided by its size; of the spans, see `Boxes`."""
    height, width = x.shape[3], x.shape[4]
    for b in range(out.shape[0]):
        for c in range(out.shape[1]):
            image = plane(x[b, c])
            for od in range(out.shape[2]):
                front, deep = spans_d[od, 0], spans_d[od, 1]
                for oh in range(out.shape[3]):
                    top, high, size = front * height + spans_h[oh, 0], spans_h[oh, 1], spans_d[od, 2] * spans_h[oh, 2]
                    for ow in range(out.shape[4]):
                        first, wide = top * width + spans_w[ow, 0], spans_w[ow, 1]
                        target = out[b, c, od, oh, ow]
                        total = everywhere(0.0, target)
                        for i in range(deep):
                            for j in range(high):
                                line = first + (i * height + j) * width
                                for k in range(wide):
                                    total = total + load(image[max(0, line + k)])
                        store(total / real(size * spans_w[ow, 2]), target)


def share_out(grad_out, spans_d, spans_h, spans_w, grad_x):
    """grad_x = the sum of what its boxes get, divided by their sizes."""
    clear(grad_x)
    height, width = grad_x.shape[3], grad_x.shape[4]
    for b in range(grad_x.shape[0]):
        for c in range(grad_x.shape[1]):
            image = plane(grad_x[b, c])
            for od in range(grad_out.shape[2]):
                front, deep = spans_d[od, 0], spans_d[od, 1]
                for oh in range(grad_out.shape[3]):
                    top, high, size = front * height + spans_h[oh, 0], spans_h[oh, 1], spans_d[od, 2] * spans_h[oh, 2]
                    for ow in range(grad_out.shape[4]):
                        first, wide = top * width + spans_w[ow, 0], spans_w[ow, 1]
                        share = load(grad_out[b, c, od, oh, ow]) / real(size * spans_w[ow, 2])
                        for i in range(deep):
                            for j in range(high):
                                line = first + (i * height + j) * width
                                for k in range(wide):
                                    increase(share, image[max(0, line + k)])
