"""The global filter for nnkit: a learnt circular convolution over the whole row, by FFT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

import nnkit as nn

__all__ = ["GlobalFilter"]

Array = NDArray[Any]


@nn.register("global_filter")
class GlobalFilter(nn.PythonLayer):
    """Every frequency of the last axis has a learnt complex factor: out = irfft(W rfft(x)), W = weight_real + i weight_imag.

    That is a circular convolution of x with irfft(W), a kernel as long as x, in O(n log n). With X = rfft(x), Y = W X and n the
    length of x, backward is

    - dL/dY_k = c_k / n rfft(grad_out)_k, where c_k counts how often frequency k stands in the full spectrum: 2, but 1 for k = 0
      and, if n is even, for k = n / 2,
    - dL/dW_k = sum conj(X_k) dL/dY_k over all rows: its real part is ``grad_weight_real``, its imaginary part
      ``grad_weight_imag``,
    - grad_x = irfft(conj(W) rfft(grad_out)).

    At those frequencies of c_k = 1 a real signal has a real spectrum: irfft ignores the imaginary part of Y_k, so weight_imag
    has no effect there and its gradient is 0.

    Parameters
    ----------
    real_init, imag_init : initializer or its name. By default W = 1: before training out = x. The authors, whose filter stands
        in a residual block, draw both from Normal(std=0.02).

    Shape
    -----
    x: (N, ..., n) -> out: (N, ..., n); weight_real, weight_imag: (n // 2 + 1,)

    Raises
    ------
    ShapeError
        The input has no last axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential(["global_filter"]).build((4,))
    >>> model.parameters()["0.weight_real"][1:] = 0.0  # keep frequency 0: the mean
    >>> model.predict([[1.0, 2.0, 3.0, 6.0]])
    array([[3., 3., 3., 3.]], dtype=float32)

    References
    ----------
    Rao, Zhao, Zhu, Lu and Zhou 2021, "Global filter networks for image classification", section 3.2, here in one dimension.
    """

    def __init__(self, *, real_init: Any = "ones", imag_init: Any = "zeros") -> None:
        self.real_init = real_init
        self.imag_init = imag_init

    def build(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        if not in_shape:
            raise nn.ShapeError(f"{self!r}: expected input rows with a last axis, (N, ..., n), got shape (N,)")
        frequencies = in_shape[-1] // 2 + 1
        self.parameter("weight_real", (frequencies,), init=self.real_init)
        self.parameter("weight_imag", (frequencies,), init=self.imag_init)
        return in_shape

    def forward(self, x: Array, weight_real: Array, weight_imag: Array) -> Array:
        self.spectrum = rfft(x)
        return irfft((weight_real + 1j * weight_imag) * self.spectrum, x.shape[-1])

    def backward(
        self, grad_out: Array, weight_real: Array, weight_imag: Array, grad_weight_real: Array, grad_weight_imag: Array
    ) -> Array:
        n = grad_out.shape[-1]
        k = np.arange(n // 2 + 1)
        count = np.where((k == 0) | (2 * k == n), 1, 2)
        spectrum = rfft(grad_out)
        rows = tuple(range(grad_out.ndim - 1))
        grad_weight = count / n * (self.spectrum.conj() * spectrum).sum(axis=rows)
        grad_weight_real[:] = grad_weight.real
        grad_weight_imag[:] = grad_weight.imag
        return irfft((weight_real - 1j * weight_imag) * spectrum, n)

    @classmethod
    def examples(cls) -> Sequence[nn.Example]:
        drawn = cls(real_init="normal", imag_init="normal")
        return [nn.Example(cls(), (6,)), nn.Example(drawn, (7,)), nn.Example(drawn, (2, 4)), nn.Example(cls(), (1,))]
