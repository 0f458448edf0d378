"""What has not been finite in a step that was given up: which part, and what of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnkit.core.criterion import Criterion
from nnkit.core.fields import fields
from nnkit.engine.operands import Array
from nnkit.errors import NonFiniteError
from nnkit.network import Network
from nnkit.passes import Pass
from nnkit.training.data import count_of

__all__ = ["check_parameters", "diagnosis"]


def diagnosis(
    network: Network, criterion: Criterion, x: Any, y: Any, weights: Any, *,
    epoch: int, step: int, seed: int, python: bool,
) -> NonFiniteError:  # fmt: skip
    """The error that names the first part that is not finite: the step is done again part by part, as nothing was updated."""
    gradient = np.zeros_like(network.gradient)
    check = Pass(network, count_of(x), training=True, gradient=gradient, keep=True, python=python)
    with np.errstate(all="ignore"):
        out = check.forward(x, step=step, seed=seed)
        part, what = _first_not_finite(check, out, criterion, y, weights)
    # Before the first step nothing has been updated: no learning rate can help.
    advice = "lower the learning rate, clip the gradient (clip_norm=1.0), or scale the data" if step else \
             "nothing was updated before: scale the data, or, if an earlier fit has failed, begin again with " \
             "model.build(in_shape)"
    return NonFiniteError(
        f"fit: expected finite numbers, but in epoch {epoch}, step {step}, the {what} of {part} was not; {advice}",
        epoch=epoch, step=step, part=part,
    )  # fmt: skip


def _first_not_finite(
    check: Pass, out: Any, criterion: Criterion, y: Any, weights: Any
) -> tuple[str, str]:
    for node in check.plan.nodes:
        if not np.isfinite(check.array(node.out)).all():
            bad = [name for name in node.built.parameters if isinstance(array := node.named[name], Array)
                   and not np.isfinite(check.array(array)).all()]  # fmt: skip
            return node.name, "output" if not bad else f"output (and already the parameter {bad[0]!r})"
    for name, loss in criterion.losses.items():
        graded, who = loss.grade(fields(out)[name], fields(y)[name], fields(weights)[name]), type(loss).__name__
        if not np.isfinite(graded.loss):
            return who, "value"
        if not np.isfinite(graded.grad).all():
            return who, "gradient"
    check.backward(criterion.grade(out, y, weights)[1])
    for node in reversed(check.plan.nodes):
        if node.grad_x is not None and not np.isfinite(check.array(node.grad_x)).all():
            return node.name, "gradient"
    return "the sum of the shards", "gradient"


def check_parameters(network: Network, epoch: int, step: int) -> None:
    """Refuse what the last step has written: no later step has looked at it."""
    with np.errstate(all="ignore"):
        if np.isfinite(network.vector.sum()):
            return
    for name, array in network.parameters().items():
        if not np.isfinite(array).all():
            part = network.name_of(name.rpartition(".")[0])
            raise NonFiniteError(
                f"fit: expected finite numbers, but after epoch {epoch}, step {step}, the parameter {name!r} of {part} was "
                "not; lower the learning rate, or clip the gradient (clip_norm=1.0)", epoch=epoch, step=step, part=part,
            )  # fmt: skip
