"""The fully connected layer, with weights as they are or divided by the root of their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.initializer import Initializer
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.core.span import Span
from nnkit.errors import OnnxError, ShapeError
from nnkit.initializers import Normal
from nnkit.kernels.gemm import ACROSS, STRIP, add_bias, dot, dot_transposed, sum_rows

__all__ = ["Linear", "NTKLinear"]

CORNERS = 5  # rows whose outputs a bias that begins from data is a mean of


def times(array, factor):
    """The product, without a copy where the factor is one."""
    return array if factor == 1 else array * factor


@register("linear")
class Linear(Layer):
    r"""Every output is a weighted sum of all inputs: out = x @ weight + bias.

    With the textbook's names, z_j = sum_i w_ij a_i + b_j. Given delta_j = dL/dz_j (``grad_out``), backward is

    - dL/dw_ij = sum_n a_ni delta_nj (``x.T @ grad_out``), summed over the rows n of the batch,
    - dL/db_j = sum_n delta_nj,
    - dL/da_i = sum_j w_ij delta_j (``grad_out @ weight.T``).

    Parameters
    ----------
    out_features : int >= 1; the number of inputs is inferred
    bias : bool, default True
    weight_init, bias_init : initializer or its name. The default weight, Kaiming uniform with gain 1/sqrt(3), is
        PyTorch's: uniform in [-1/sqrt(in_features), 1/sqrt(in_features)].

    Shape
    -----
    x: (N, ..., in_features) -> out: (N, ..., out_features); weight: (in_features, out_features), so weight[i, j] goes from
    input i to output j; bias: (out_features,).

    Raises
    ------
    ShapeError
        The input has no feature axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Linear(2, weight_init="ones")]).build((3,))
    >>> model.predict([[1.0, 2.0, 3.0]])
    array([[6., 6.]], dtype=float32)

    References
    ----------
    Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors", eqs. 4 to 7.
    """

    folds_rows = passes_mask = True
    dense = ("weight", "bias")
    gives = Span()
    elsewhere = ("in_features", "out_features", "bias")

    def __init__(
        self, out_features: int = 1, *, bias: bool = True, weight_init: Any = "linear_uniform", bias_init: Any = "zeros"
    ) -> None:
        self.out_features = out_features
        self.bias = bias
        self.weight_init = weight_init
        self.bias_init = bias_init
        self.require_size("out_features")

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape:
            raise ShapeError(f"{self!r}: expected input rows with a feature axis, (N, ..., in_features), got shape (N,)")
        *leading, in_features = in_shape
        self.parameter("weight", (in_features, self.out_features), init=self.weight_init)
        self.parameter("bias", (self.out_features,) if self.bias else (0,), init=self.bias_init)
        self.workspace("strip", (min(STRIP, self.out_features), ACROSS))
        return (*leading, self.out_features)

    def c(self) -> str:
        return """
            void forward(const real x[I], const real weight[I][J], const real bias[J], real out[J])
            {
                for (int j = 0; j < J; j++)
                    out[j] = bias ? bias[j] : 0.0;
                for (int i = 0; i < I; i++)
                    for (int j = 0; j < J; j++)
                        out[j] += x[i] * weight[i][j];
            }"""

    @staticmethod
    def forward(x, weight, bias, out):
        dot(x, weight, out)
        add_bias(bias, out)

    @staticmethod
    def backward(x, grad_out, grad_weight, grad_bias):
        dot(x.T, grad_out, grad_weight)
        sum_rows(grad_out, grad_bias)

    @staticmethod
    def backward_x(weight, grad_out, strip, grad_x):
        dot_transposed(grad_out, weight, strip, grad_x)

    @staticmethod
    def forward_csr(x, indptr, indices, data, weight, bias, out):
        for n in range(x.shape[0]):
            row = out[n]
            for j in range(row.shape[0]):
                row[j] = bias[j] if bias.shape[0] > 0 else 0.0
            for entry in range(indptr[x[n]], indptr[x[n] + 1]):
                factor, column = data[entry], weight[indices[entry]]
                for j in range(row.shape[0]):
                    row[j] += factor * column[j]

    @staticmethod
    def backward_csr(x, indptr, indices, data, grad_out, grad_weight, grad_bias):
        grad_weight[:] = 0.0
        grad_bias[:] = 0.0
        for n in range(x.shape[0]):
            row = grad_out[n]
            for j in range(grad_bias.shape[0]):
                grad_bias[j] += row[j]
            for entry in range(indptr[x[n]], indptr[x[n] + 1]):
                factor, column = data[entry], grad_weight[indices[entry]]
                for j in range(row.shape[0]):
                    column[j] += factor * row[j]

    def onnx(self, graph, x):
        weight, bias = graph.array("weight"), graph.array("bias")
        if len(self._built.in_shape) == 1:
            return graph.node("Gemm", x, weight, bias)
        return x @ weight if bias is None else x @ weight + bias

    @classmethod
    def from_onnx(cls, at):
        """Gemm, or MatMul and perhaps an Add."""
        if (node := at.take("Gemm")) is not None:
            weight = times(node.constant(1).T if node.flag("transB") else node.constant(1), node.attributes["alpha"])
            bias = None if node.input(2) is None else times(node.constant(2), node.attributes["beta"])
            if at.rank != 1 or node.flag("transA"):
                return None
        elif (node := at.take("MatMul")) is not None:
            weight, bias = node.constant(1), None
        if node is None or weight.ndim != 2:
            return None
        units = weight.shape[1]

        def fits(array):
            """Whether it adds one number to each unit, the same for all rows."""
            return array.ndim <= at.rank + 1 and array.size in (1, units) and array.shape[-1:] in ((), (1,), (units,))

        if bias is None and (add := at.ahead("Add")) is not None and add.is_constant(1) and fits(add.constant(1)):
            bias = at.take("Add").constant(1)
        if bias is None:
            return at.found(cls(units, bias=False), weight=weight)
        if not fits(bias):
            raise OnnxError(f"expected a bias of one number for each of {units} units, got shape {bias.shape}")
        return at.found(cls(units), weight=weight, bias=np.broadcast_to(bias.reshape(-1), (units,)))

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {**arrays, "weight": arrays["weight"].T}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (4,)), Example(cls(2, bias=False), (5,)), Example(cls(3), (2, 4))]


def multiply_all(array, factor):
    """Every number of a matrix times a factor."""
    for i in range(array.shape[0]):
        row = array[i]
        for j in range(row.shape[0]):
            row[j] *= factor


@register("ntk_linear")
class NTKLinear(Layer):
    """Every output is a weighted sum of all I inputs, in the neural tangent parametrisation: out = x @ weight / sqrt(I) + bias.

    Weights are of the order of 1 whatever I is, so that one learning rate serves layers of all widths. Backward, with d =
    grad_out: dL/dweight = x.T @ d / sqrt(I), dL/dbias = the sum of d over all rows, grad_x = d @ weight.T / sqrt(I).

    Parameters
    ----------
    out_features : int >= 1; the number of inputs is inferred
    bias : bool
    weight_init, bias_init : initializer or its name; by default (None) normal with variance 1, and zeros
    from_data : bool: the first fit begins with numbers that suit its rows. Every column of the weight, drawn as before, is
        divided by the standard deviation of its outputs z = x @ weight / sqrt(I) over the rows, where they vary. Every bias
        becomes -sum_k w_k z_k, of the outputs of five rows, drawn at random, with random shares w_k that add up to 1: the kink
        of an activation lies among the data. ("std" and "he+5" in the paper.)

    Shape
    -----
    x: (N, ..., in_features) -> out: (N, ..., out_features); weight: (in_features, out_features); bias: (out_features,).

    Raises
    ------
    ShapeError
        The input has no feature axis.

    Examples
    --------
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.NTKLinear(2, weight_init="ones")]).build((4,))
    >>> model.predict([[1.0, 2.0, 3.0, 4.0]])
    array([[5., 5.]], dtype=float32)

    The paper's learning rates, the biases' a tenth of that of the weights:

    >>> optimizer = nn.Adam(lr=0.04, betas=(0.9, 0.95), groups={"*.bias": {"lr": 0.004}})

    References
    ----------
    Jacot, Gabriel and Hongler 2018, "Neural tangent kernel: convergence and generalization in neural networks", section 2.
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    section 3. Steinwart 2019, "A sober look at neural network initializations", for he+5.
    """

    folds_rows = passes_mask = True
    gives = Span()

    def __init__(
        self, out_features: int = 1, *, bias: bool = True, weight_init: Any = None, bias_init: Any = "zeros",
        from_data: bool = False,
    ) -> None:  # fmt: skip
        self.out_features = out_features
        self.bias = bias
        self.weight_init = weight_init
        self.bias_init = bias_init
        self.from_data = from_data
        self.require_size("out_features")

    def build(self, in_shape: Shape) -> Shape:
        if not in_shape:
            raise ShapeError(f"{self!r}: expected input rows with a feature axis, (N, ..., in_features), got shape (N,)")
        *leading, in_features = in_shape
        self.factor = 1 / sqrt(in_features)
        self.parameter("weight", (in_features, self.out_features), init=self._drawn())
        self.parameter("bias", (self.out_features,) if self.bias else (0,), init=self.bias_init)
        self.workspace("strip", (min(STRIP, self.out_features), ACROSS))
        return (*leading, self.out_features)

    def _drawn(self) -> Any:
        """What the weight is drawn by."""
        return Normal(std=1.0) if self.weight_init is None else self.weight_init

    def initialise(self, x: NDArray[Any], random: np.random.Generator) -> dict[str, NDArray[Any]]:
        rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
        weight = np.broadcast_to(Initializer.make(self._drawn())((rows.shape[1], self.out_features), random),
                                 (rows.shape[1], self.out_features))  # fmt: skip
        z = self.factor * rows @ weight
        std = z.std(axis=0)
        std[std <= 1e-6 * np.abs(z).max(axis=0)] = 1.0  # what is the same in all rows, to float32's rounding
        weight, z = weight / std, z / std
        if not self.bias:
            return {"weight": weight}
        chosen = random.integers(len(z), size=(CORNERS, self.out_features))
        shares = random.exponential(size=chosen.shape)
        bias = -(np.take_along_axis(z, chosen, 0) * shares).sum(axis=0) / shares.sum(axis=0)
        return {"weight": weight, "bias": bias}

    def c(self) -> str:
        return """
            void forward(const real x[I], const real weight[I][J], const real bias[J], real out[J])
            {
                for (int j = 0; j < J; j++)
                    out[j] = 0.0;
                for (int i = 0; i < I; i++)
                    for (int j = 0; j < J; j++)
                        out[j] += x[i] * weight[i][j];
                for (int j = 0; j < J; j++)
                    out[j] = factor * out[j] + (bias ? bias[j] : 0.0);
            }"""

    @staticmethod
    def forward(x, weight, bias, factor, out):
        dot(x, weight, out)
        biased = bias.shape[0] > 0
        for n in range(out.shape[0]):
            row = out[n]
            for j in range(row.shape[0]):
                row[j] = factor * row[j] + (bias[j] if biased else 0.0)

    @staticmethod
    def backward(x, factor, grad_out, grad_weight, grad_bias):
        dot(x.T, grad_out, grad_weight)
        multiply_all(grad_weight, factor)
        sum_rows(grad_out, grad_bias)

    @staticmethod
    def backward_x(weight, factor, grad_out, strip, grad_x):
        dot_transposed(grad_out, weight, strip, grad_x)
        multiply_all(grad_x, factor)

    def onnx(self, graph, x):
        out = x @ graph.array("weight") * self.factor
        return out + graph.array("bias") if self.bias else out

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(3), (4,)), Example(cls(2, bias=False), (5,)), Example(cls(3, from_data=True), (2, 4))]
