"""What the parts of a transformer have in common: they are nets of other layers; norms, and two Linear behind attention."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, ClassVar

from nnkit.core.container import Container, Placed, Reader, V, Wiring, as_layer
from nnkit.core.layer import Built, Layer
from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear
from nnkit.layers.normalization import LayerNorm

__all__ = ["Block", "Composed", "Stack"]

DEEPEST = 1000  # layers of a stack: every one is made and placed, and a slip of the pen shall not take all memory


class Composed(Container):
    """A layer that is a net of other layers, which is known when the shape of its input is."""

    _net: Container  # once it is built

    @abstractmethod
    def net(self, in_shape: Any) -> Container:
        """The net for rows of a shape: layers are the same ones whenever it is asked for."""

    def build(self, in_shape: Any) -> Any:
        """Be the net: its layers are this one's."""
        inner = self.net(in_shape).place(in_shape, self._known)
        assert isinstance(inner.layer, Container)
        self._net = inner.layer
        self._built.children = inner.children
        return inner.out_shape

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        return self._net.connect(plan, children, x)

    def readers(self, children: Sequence[Built]) -> Iterator[Reader]:
        return self._net.readers(children)

    def onnx(self, graph, x):
        return self._net.onnx(graph, x)

    @classmethod
    def from_onnx(cls, at):
        """Nothing: it comes back as the layers that it is made of."""


class Block(Composed):
    """What the layers of a transformer have in common: arguments, norms, and the feed-forward layers."""

    sublayers: ClassVar[int]  # each with a norm
    elsewhere: ClassVar[tuple[str, ...]] = (
        "d_model", "nhead", "dim_feedforward", "dropout", "activation", "layer_norm_eps", "batch_first", "norm_first", "bias",
    )  # fmt: skip

    def __init__(
        self,
        nhead: int,
        *,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self.nhead = nhead
        self.dim_feedforward = dim_feedforward
        self.dropout = dropout
        self.activation = activation
        self.layer_norm_eps = layer_norm_eps
        self.norm_first = norm_first
        self.bias = bias
        self.require_size("nhead")
        self.require_size("dim_feedforward")
        self.require_number("dropout", 0.0, 1.0, below=True)
        self.require_number("layer_norm_eps", 0.0, 1.0, above=True, below=True)
        self._norms = [LayerNorm(eps=layer_norm_eps, bias=bias) for _ in range(self.sublayers)]
        self._wide = Linear(dim_feedforward, bias=bias)
        self._activation = Layer.make(activation)
        self._narrow: dict[int, Linear] = {}  # by the width of the input, which is known later

    def dropped(self, *layers: Layer) -> list[Layer]:
        """Layers and a Dropout behind them, if there is to be one."""
        return [*layers, Dropout(self.dropout)] if self.dropout else [*layers]

    def feed_forward(self, width: int) -> list[Layer]:
        """The layers behind attention, for so many features."""
        narrow = self._narrow.setdefault(width, Linear(width, bias=self.bias))
        return [*self.dropped(self._wide, self._activation), *self.dropped(narrow)]

    def torch_order(self, leaves: Sequence[Built]) -> Sequence[Built]:
        """PyTorch lists the norms last."""
        return sorted(leaves, key=lambda leaf: any(leaf.source is norm for norm in self._norms))


class Stack(Composed):
    """Copies of a layer one after the other, each with parameters of its own, and perhaps a norm behind them."""

    num_layers: int
    norm: Any

    def require_stack(self, layer: Any) -> None:
        """Refuse what is no stack of layers; keep the layers of one that is."""
        self.require_size("num_layers")
        self.require("num_layers", self.num_layers <= DEEPEST, f"at most {DEEPEST}")
        self._layers = [deepcopy(as_layer(layer)) for _ in range(self.num_layers)]
        self._norm = [] if self.norm is None else [as_layer(self.norm)]
