"""The losses of a net's outputs: one, or one for each of several, and what it weighs in their sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import fields
from nnkit.core.loss import Loss
from nnkit.core.schedule import Schedule
from nnkit.errors import ParameterError

__all__ = ["Criterion"]


@dataclass(frozen=True)
class Criterion:
    """What training minimises: the sum over outputs of weight times loss.

    Attributes
    ----------
    losses : by the output's name; that of the only output has the name ""
    factors : what each weighs, by the same names
    """

    losses: dict[str, Loss]
    factors: dict[str, float]

    @classmethod
    def make(cls, loss: Any, loss_weights: Any, out_shape: Any, who: str) -> Criterion:
        """The losses that a user gives for outputs of these shapes: parts or their names, in a dict for several outputs.

        Raises
        ------
        ParameterError
            There are losses, or weights of them, for other outputs than there are; some are means and others sums.
        """
        names = list(fields(out_shape))
        several = isinstance(out_shape, dict)
        if several and isinstance(loss, list | tuple):
            raise ParameterError(f"{who}: expected loss to be one for all outputs, or a dict of one for each, such as "
                                 f"{{{names[0]!r}: 'mse'}}, got {loss!r}")  # fmt: skip
        for what, given in (("loss", loss), ("loss_weights", loss_weights)):
            if isinstance(given, Mapping) and not several:
                raise ParameterError(f"{who}: expected one loss, as the model has one output, got {what} for "
                                     f"{', '.join(map(repr, given))}; nn.Heads makes several")  # fmt: skip
            unknown = sorted(set(given) - set(names)) if isinstance(given, Mapping) else []
            if unknown:
                raise ParameterError(f"{who}: expected {what} for the outputs {', '.join(names)}, got one for {unknown[0]!r}")
        missing = [name for name in names if isinstance(loss, Mapping) and name not in loss]
        if missing:
            raise ParameterError(f"{who}: expected a loss for each output, {', '.join(names)}, got none for {missing[0]!r}")
        losses = {name: Loss.make(loss[name] if isinstance(loss, Mapping) else loss, f"loss[{name!r}]" if several else "loss")
                  for name in names}  # fmt: skip
        if len({item.reduction for item in losses.values()}) > 1:
            raise ParameterError(f"{who}: expected losses that are all means, or all sums, got {losses}")
        return cls(losses, _factors(loss_weights, names, who))

    @property
    def given(self) -> Any:
        """The loss, or a dict of them."""
        return self.losses.get("", self.losses)

    def live(self, real: str) -> tuple[Criterion, list[tuple[Schedule, NDArray[Any]]]]:
        """The same with numbers that lie in memory where they follow schedules; and these, with what they follow."""
        timed = {name: loss.live(real) for name, loss in self.losses.items()}
        return replace(self, losses={name: loss for name, (loss, _) in timed.items()}), [
            number for _, numbers in timed.values() for number in numbers]  # fmt: skip

    def now(self) -> Criterion:
        """The same with the numbers that are in memory now."""
        return replace(self, losses={name: loss.now() for name, loss in self.losses.items()})

    @property
    def is_sum(self) -> bool:
        """Whether the losses of batches add up; else they are means."""
        return all(loss.reduction == "sum" for loss in self.losses.values())

    def grade(self, out: Any, y: Any, weights: Any) -> tuple[float, Any]:
        """The value, and its gradient by each output; for several outputs, dicts of outputs, targets and weights of rows."""
        value, grads = 0.0, {}
        weighed = weights if isinstance(weights, dict) else dict.fromkeys(self.losses, weights)
        for name, loss in self.losses.items():
            graded = loss.grade(fields(out)[name], fields(y)[name], weighed[name])
            value += self.factors[name] * float(graded.loss)
            grad: NDArray[Any] = graded.grad
            grads[name] = grad if self.factors[name] == 1.0 else grad * grad.dtype.type(self.factors[name])
        return value, grads.get("", grads)


def _factors(given: Any, names: list[str], who: str) -> dict[str, float]:
    """What each loss weighs; 1 where nothing is said."""
    if given is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(given, Mapping):
        raise ParameterError(f"{who}: expected loss_weights to be a dict of numbers by the outputs' names, got {given!r}")
    for name, number in given.items():
        is_number = isinstance(number, int | float | np.number) and not isinstance(number, bool)
        if not (is_number and np.isfinite(number) and number > 0):
            raise ParameterError(f"{who}: expected loss_weights[{name!r}] to be a positive number, got {number!r}")
    return {name: float(given.get(name, 1.0)) for name in names}
