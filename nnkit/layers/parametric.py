"""An activation that is learnt to be more or less of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from nnkit.activations import SELU
from nnkit.core.activation import Activation, kernel_of_text
from nnkit.core.part import Example, Shape, kernel_names
from nnkit.core.registry import register
from nnkit.errors import KernelError, ShapeError

__all__ = ["ParametricActivation"]

FORWARD = """def forward(x, share, {numbers}whole, out):
    for n in range(x.shape[0]):
        row, kept, target = x[n], whole[n], out[n]
        for j in range(row.shape[0]):
            value = row[j]
            given = curve({curve})
            kept[j] = given
            target[j] = value + share[j] * (given - value)
"""
BACKWARD = """def backward(x, share, {numbers}whole, grad_out, grad_x, grad_share):
    grad_share[:] = 0.0
    for n in range(x.shape[0]):
        row, kept, grad, target = x[n], whole[n], grad_out[n], grad_x[n]
        for j in range(row.shape[0]):
            value, given, g = row[j], kept[j], grad[j]
            grad_share[j] += g * (given - value)
            target[j] = g + share[j] * (slope({slope}) - g)
"""


@cache
def _blended(cls: Any) -> dict[str, Callable[..., Any]]:
    """The kernels for an activation: its two functions, in the loops above."""
    curve, slope = cls.forward, cls.backward
    words = {"x": "value", "out": "given", "grad_out": "g"}  # what the loops call what the functions name
    named = [name for name in dict.fromkeys((*kernel_names(curve), *kernel_names(slope))) if name not in words]
    said = {
        "numbers": "".join(f"{name}, " for name in named),
        **{word: ", ".join(words.get(name, name) for name in kernel_names(function))
           for word, function in (("curve", curve), ("slope", slope))},
    }  # fmt: skip
    where = f"{__name__}.{cls.__module__}.{cls.__qualname__}"
    return {
        "forward": kernel_of_text(FORWARD.format(**said), "forward", f"{where}.forward", curve=curve),
        "backward": kernel_of_text(BACKWARD.format(**said), "backward", f"{where}.backward", slope=slope),
    }


@register("parametric_activation")
class ParametricActivation(Activation):
    """An activation s that each unit learns to be more or less of: out_j = x_j + a_j (s(x_j) - x_j).

    With a share a = 1 it is s, with a = 0 the identity. Backward: grad_x_j = grad_out_j (1 + a_j (s'(x_j) - 1)), and dL/da_j =
    sum of grad_out_j (s(x_j) - x_j) over all rows.

    Parameters
    ----------
    activation : an activation of single numbers, its class or its name

    Shape
    -----
    x: (N, ..., features) -> out: the same; share, which is a: (features,), at first 1

    Raises
    ------
    KernelError
        The activation is not one of single numbers, such as softmax.
    ShapeError
        The input has no feature axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.ParametricActivation("relu")]).build((2,))
    >>> model.parameters()["0.share"] = [1.0, 0.5]
    >>> model.predict([[-4.0, -4.0]])
    array([[ 0., -2.]], dtype=float32)

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    section 3.
    """

    elementwise = False
    folds_rows = passes_mask = True
    forward, backward = map(staticmethod, _blended(SELU).values())  # of the default; others have theirs in `kernels`

    def __init__(self, activation: Any = "selu") -> None:
        self.activation = activation
        self._inner: Activation = Activation.make(activation, "ParametricActivation: activation")
        if not self._inner.elementwise:
            raise KernelError(f"ParametricActivation: expected an activation of single numbers, got {self._inner!r}")

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return self._inner.kinks

    @property
    def curve(self) -> Callable[..., Any]:
        """The activation of a number."""
        return type(self._inner).forward

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape:
            raise ShapeError(f"{self!r}: expected input rows with a feature axis, (N, ..., features), got shape (N,)")
        self.parameter("share", in_shape[-1:], init="ones")
        self.scratch("whole", in_shape)  # s(x)
        vars(self).update(self._inner.hyperparameters())  # which its functions may name
        return in_shape

    def kernels(self) -> dict[str, Callable[..., Any]]:
        return _blended(type(self._inner))

    def c(self) -> str:
        return """
            void forward(const real x[J], const real share[J], real out[J])
            {
                for (int j = 0; j < J; j++)
                    out[j] = x[j] + share[j] * (curve(x[j]) - x[j]);
            }"""

    def onnx(self, graph, x):
        return x + graph.array("share") * (self._inner.onnx(graph, x) - x)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        parts = [cls(), cls("mish"), cls("tanh"), cls("leaky_relu")]
        return [Example(part, (2, 3), kinks=part.kinks) for part in parts]
