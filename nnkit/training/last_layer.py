"""Whether the losses of a net fit the layers that its outputs are of."""

from __future__ import annotations

from collections.abc import Iterator

from nnkit.core.container import Chain
from nnkit.core.criterion import Criterion
from nnkit.core.fields import fields
from nnkit.core.layer import Built, Layer
from nnkit.core.loss import Loss
from nnkit.layers.steps import Steps

__all__ = ["misfits"]


def misfits(criterion: Criterion, built: Built) -> Iterator[str]:
    """What is wrong with a net that ends as this one does, and is trained with these losses; nothing where nothing is known."""
    for name, loss in criterion.losses.items():
        if wrong := _misfit(loss, _last(built, name), fields(built.out_shape)[name]):
            yield f"{name}: {wrong}" if name else wrong


def _misfit(loss: Loss, layer: Layer, out_shape: tuple[int, ...]) -> str:
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


def _last(built: Built, output: str) -> Layer:
    """The layer whose numbers are an output: those that only give them another shape do not count."""
    while (inner := _giving(built, output)) is not None:
        built = inner
    return built.layer


def _giving(built: Built, output: str) -> Built | None:
    """The layer within that gives an output of a container; None where several do, or there is none within."""
    if isinstance(built.layer, Chain):
        computing = [child for child in built.children if child.children or child.layer.kernels()]
        return computing[-1] if computing else None
    if isinstance(built.layer, Steps):
        steps, outs = built.layer.wires
        names = [output] if output in outs else outs
        giving = {step.name: child for step, child in zip(steps, built.children, strict=True)}  # of several the last
        return giving[names[0]] if len(names) == 1 else None
    return None
