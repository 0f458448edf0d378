"""Losses in plain NumPy, as `PythonLayer` is for layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from nnkit.core.interpreted import call_copy
from nnkit.core.loss.base import Loss
from nnkit.core.part import Shape, kernel_names
from nnkit.errors import KernelError

__all__ = ["PythonLoss"]


class PythonLoss(Loss):
    """A loss in plain NumPy: for a first draft, or for code that Numba cannot compile.

    ``forward(self, prediction, target)`` gets arrays of shape (rows, k), where rows counts whatever lies before the last axis,
    and returns the loss of every number, (rows, k), or, with ``rowwise = True``, of every row, (rows,).
    ``backward(self, prediction, target)`` returns its derivative by the prediction, (rows, k). Where targets are classes, they
    come as one-hot rows; a loss whose two methods name ``label``, too, gets labels as for any `Loss`: (rows,) of them and a
    ``target`` of (rows, 1). Reduction and weights are applied outside.

    Every shard works on its own copy of the loss, so ``forward`` may keep things on ``self`` for ``backward``, which is called
    right after it.

    Parameters
    ----------
    reduction : {"mean", "sum"}

    Raises
    ------
    ShapeError
        When it runs: a method returns an array of another shape.

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> class Quartic(nn.PythonLoss):
    ...     def forward(self, prediction, target):
    ...         return (prediction - target) ** 4
    ...     def backward(self, prediction, target):
    ...         return 4 * (prediction - target) ** 3
    >>> loss, grad = Quartic(reduction="sum")([[1.0, 2.0]], [[0.0, 0.0]])
    >>> float(loss), grad.tolist()
    (17.0, [[4.0, 32.0]])
    """

    interpreted: ClassVar[bool] = True

    def kernel(self, gradient: bool) -> Callable[..., Any]:
        copies: dict[int, PythonLoss] = {}

        def call(shard: int, method: str, prediction: Any, target: Any, label: Any, shape: Shape, what: str) -> Any:
            named = {"prediction": prediction, "target": target, "label": label}
            given = [named[name] for name in kernel_names(getattr(type(self), method))]
            return call_copy(self, copies, shard, method, given, shape, what)

        def value(shard: int, prediction: Any, target: Any, label: Any, row_loss: Any) -> None:
            shape = row_loss.shape if self.rowwise else prediction.shape
            losses = call(shard, "forward", prediction, target, label, shape, "losses")
            row_loss[...] = losses if self.rowwise else losses.sum(axis=1)

        def value_and_gradient(
            shard: int, prediction: Any, target: Any, label: Any, weight: Any, grad: Any, row_loss: Any
        ) -> None:
            value(shard, prediction, target, label, row_loss)
            derivative = call(shard, "backward", prediction, target, label, grad.shape, "gradient of the prediction")
            np.multiply(derivative, weight[:, None], out=grad, casting="same_kind")

        return value_and_gradient if gradient else value

    @classmethod
    def validate(cls) -> None:
        for name in ("forward", "backward"):
            names = kernel_names(getattr(cls, name, None) or (lambda: None))
            static = isinstance(inspect.getattr_static(cls, name, None), staticmethod)
            if static or names not in (("prediction", "target"), ("prediction", "target", "label")):
                raise KernelError(f"{cls.__name__}: expected a method {name}(self, prediction, target)")
