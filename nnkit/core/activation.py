"""The contract of an activation: two scalar functions, of which nnkit makes the loops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nnkit.core.formulas import Formulas
from nnkit.core.layer import Layer
from nnkit.core.part import Example, kernel_names
from nnkit.core.registry import Registry
from nnkit.errors import KernelError

if TYPE_CHECKING:
    from nnkit.core.exchange import Cursor, Found, Graph, Value

__all__ = ["Activation", "kernel_of_text"]


class Activation(Layer):
    """A function of each number: ``forward(x)`` gives the output, ``backward`` the gradient of the input.

    Both are static methods on scalars. ``backward`` names ``grad_out`` and either ``out`` or ``x``, whichever its derivative is
    written in (``out`` needs less memory: then nnkit works in place). Both may name hyper-parameters.

    An activation that is not elementwise, such as softmax, sets ``elementwise = False`` and writes its kernels on arrays as
    any `Layer`.

    Hooks
    -----
    Beside those of every `nnkit.Layer`, ``forward`` and ``backward`` being needed here, too. Where ``elementwise`` is true,
    ``inplace``, ``flat``, ``pointwise`` and ``passes_mask`` are true by themselves, and ``onnx`` and ``c`` are made of
    ``forward``. What depends on hyper-parameters is a property.

    ===========  ===========  =============================================================================================
    hook         default      what it is
    ===========  ===========  =============================================================================================
    elementwise  True         forward and backward are functions of a number; else they are kernels on arrays, as a layer's
    low          -3.0         the checks draw inputs from here
    high         3.0          to here
    kinks        ()           inputs where there is no derivative; the checks keep away from them
    domain       (-inf, inf)  legal inputs; of those from -10000 to 10000 none may overflow
    formulas     None         what a lecture writes where its kernels are loops, for `trace`: `nnkit.Formulas`
    ===========  ===========  =============================================================================================

    Examples
    --------
    >>> import nnkit as nn
    >>> class Square(nn.Activation):
    ...     @staticmethod
    ...     def forward(x):
    ...         return x * x
    ...     @staticmethod
    ...     def backward(grad_out, x):
    ...         return 2.0 * x * grad_out
    >>> nn.Sequential([Square()]).build((2,)).predict([[3.0, -4.0]])
    array([[ 9., 16.]], dtype=float32)
    """

    registry: ClassVar[Registry[Any]] = Registry("activation", within=Layer.registry)

    hooks = (*Layer.hooks, "elementwise", "low", "high", "kinks", "domain", "formulas")
    elementwise: ClassVar[bool] = True
    # What follows is a property where it depends on hyper-parameters.
    low: ClassVar[float] = -3.0
    high: ClassVar[float] = 3.0
    kinks: ClassVar[tuple[float, ...]] = ()
    domain: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    formulas: ClassVar[Formulas | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.elementwise:
            cls.inplace = cls.flat = cls.pointwise = cls.passes_mask = True

    def parameter(self, name: str, shape: Iterable[int], init: Any = "zeros") -> None:
        if self.elementwise:
            raise KernelError(f"{self!r}: expected no parameter such as {name!r} of functions of single numbers; set "
                              "elementwise = False, and write forward and backward as loops over arrays, as nn.Layer has them")
        super().parameter(name, shape, init)

    def c(self) -> str:
        if not self.elementwise:
            return super().c()
        return """
            void every(const real x[N], real out[N])
            {
                for (int i = 0; i < N; i++)
                    out[i] = forward(x[i]);
            }"""

    def kernels(self) -> dict[str, Callable[..., Any]]:
        part: Any = type(self)
        return _loops(part) if self.elementwise else super().kernels()

    def onnx(self, graph: Graph, x: Value) -> Value:
        """Written from ``forward``, where that is a function of each number; then there is nothing to override."""
        if not self.elementwise:
            return super().onnx(graph, x)
        function = type(self).forward
        return graph.scalars(function, x=x, **{name: getattr(self, name) for name in kernel_names(function) if name != "x"})

    @classmethod
    def from_onnx(cls, at: Cursor) -> Found | None:
        """As it is written, or as it would be from ``forward``."""
        found = super().from_onnx(at)
        if found is None and cls.elementwise and cls.onnx is not Activation.onnx:
            found = at.like((example.part for example in cls.examples()), Activation.onnx)
        return found

    @classmethod
    def positions(cls, args: Sequence[Any]) -> tuple[str, ...]:
        """As PyTorch's activations, which say last whether they work in place."""
        return (*super().positions(args), "inplace")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        parts = [example.part for example in super().examples()]
        return [Example(part, (3, 4), part.low, part.high, part.kinks) for part in parts]

    @classmethod
    def require_whole(cls) -> None:
        """Refuse a class without its functions."""
        super().require_whole()
        if cls.elementwise:
            for name in ("forward", "backward"):
                if not isinstance(inspect.getattr_static(cls, name), staticmethod):
                    raise KernelError(f"{cls.__name__}: expected {name} to be a @staticmethod on scalars")


@cache
def _loops(cls: Any) -> dict[str, Callable[..., Any]]:
    return {
        "forward": _loop(cls, cls.forward, "forward", "out", indexed={"x"}),
        "backward": _loop(cls, cls.backward, "backward", "grad_x", indexed={"x", "out", "grad_out"}),
    }


def _loop(cls: type[Activation], function: Callable[..., Any], name: str, target: str, indexed: set[str]) -> Any:
    """``function`` of every number of its arrays."""
    names = kernel_names(function)
    call = ", ".join(f"{item}[i]" if item in indexed else item for item in names)
    source = (
        f"def {name}({', '.join((*names, target))}):\n"
        f"    for i in range({target}.shape[0]):\n"
        f"        {target}[i] = function({call})\n"
    )
    return kernel_of_text(source, name, f"{cls.__module__}.{cls.__qualname__}.{name}", function=function)


def kernel_of_text(source: str, name: str, described: str, **functions: Callable[..., Any]) -> Any:
    """A kernel that is written as a text, which calls these functions."""
    namespace: dict[str, Any] = dict(functions)
    exec(source, namespace)
    kernel = namespace[name]
    kernel.source, kernel.described = source, described
    return kernel
