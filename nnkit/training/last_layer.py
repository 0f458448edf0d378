"""Whether a loss fits the last layer of a net."""

from __future__ import annotations

from typing import Any

from nnkit.core.container import Chain
from nnkit.core.layer import Built, Layer
from nnkit.core.loss import Loss

__all__ = ["misfit"]


def misfit(given: Any, built: Built) -> str:
    """What is wrong with a net that ends as this one does, and is trained with this loss; "" where nothing is known to be."""
    return "" if isinstance(built.out_shape, dict) else _misfit(Loss.make(given), built)


def _misfit(loss: Loss, built: Built) -> str:
    layer, out_shape = _last(built), built.out_shape
    classes = out_shape[-1] if out_shape else 0
    given = layer.gives
    if loss.classes and classes == 1:
        return (f"{loss!r} expects an output for each class, and the net has one alone, so that its loss is always the same; "
                "for two classes make it two, or take loss='bce_with_logits' with targets of 0 and 1 in a column")  # fmt: skip
    if given is None:
        return ""
    if given.sums and classes == 1:
        return f"{layer!r}, the last layer, has one number a row to add up to 1: its output is always the same; leave it out"
    if loss.suits(given):
        return ""
    expected, advice = " or ".join(map(str, loss.expects)), loss.advice or "take another last layer, or another loss"
    return f"{loss!r} expects {expected}, and {layer!r}, the last layer, gives {given}; {advice}"


def _last(built: Built) -> Layer:
    """The layer whose numbers are the output: those that only give them another shape do not count."""
    while isinstance(built.layer, Chain):
        computing = [child for child in built.children if child.children or child.layer.kernels()]
        if not computing:
            break
        built = computing[-1]
    return built.layer
