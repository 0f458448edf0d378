"""The decoder of a transformer, and the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnkit.core.container import Container
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.layers.attention import CrossAttention, MultiHeadAttention
from nnkit.layers.attention.heads import require_sequence
from nnkit.layers.graph import Graph
from nnkit.layers.merge import Add, packed
from nnkit.layers.normalization import LayerNorm
from nnkit.layers.residual import Residual
from nnkit.layers.transformer.blocks import Block, Composed, Stack
from nnkit.layers.transformer.encoder import TransformerEncoder, TransformerEncoderLayer

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer"]

SHARED = ("dim_feedforward", "dropout", "activation", "layer_norm_eps", "norm_first", "bias")  # by encoder and decoder
MEMORY = ("query", "memory", "memory")  # queries of the target, keys and values of what it looks at


@register("transformer_decoder_layer")
class TransformerDecoderLayer(Block):
    """Attention of a sequence to itself, then to another one, the memory, and two Linear for every step.

    With A the attention of the target to itself (`MultiHeadAttention`), C that of the target to the memory (`CrossAttention`),
    F(x) = linear2(activation(linear1(x))) and N_1, N_2, N_3 three `LayerNorm`:

    - y = N_1(x + A(x)), z = N_2(y + C(y, memory)), out = N_3(z + F(z)), or,
    - with ``norm_first``, y = x + A(N_1(x)), z = y + C(N_2(y), memory), out = z + F(N_3(z)).

    Dropout works within A and C, behind each, behind the activation and behind F. Backward is that of the layers within.

    Parameters
    ----------
    nhead : int >= 1, divides the number of the target's features
    dim_feedforward : int >= 1, outputs of linear1
    dropout : float in [0, 1)
    activation : a layer, its class or its name
    layer_norm_eps : float in (0, 1)
    norm_first : bool, default False: norms before attention and Linear instead of behind
    bias : bool, default True: of all layers within
    causal : bool, default False: steps of the target see themselves and those before them, as they have to where each is to be
        told from those

    Shape
    -----
    tgt: (N, steps, features), memory: (N, steps there, features there) -> out: (N, steps, features)

    Raises
    ------
    ShapeError
        An input is no sequence, or ``nhead`` does not divide the target's features.

    Examples
    --------
    >>> import nnkit as nn
    >>> layer = nn.TransformerDecoderLayer(2, dim_feedforward=16, causal=True)
    >>> nn.Sequential([layer]).build({"tgt": (5, 8), "memory": (7, 8)}).out_shape
    (5, 8)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.1; Xiong et al. 2020, "On layer normalization in the transformer
    architecture" (norm_first).
    """

    inputs = ("tgt", "memory")
    sublayers = 3

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
        causal: bool = False,
    ) -> None:
        super().__init__(
            nhead, dim_feedforward=dim_feedforward, dropout=dropout, activation=activation, layer_norm_eps=layer_norm_eps,
            norm_first=norm_first, bias=bias,
        )  # fmt: skip
        self.causal = causal
        self._attention = MultiHeadAttention(nhead, dropout=dropout, bias=bias, causal=causal)
        self._cross = CrossAttention(nhead, dropout=dropout, bias=bias)

    def net(self, in_shape: dict[str, Shape]) -> Container:
        _, width = require_sequence(self, in_shape["tgt"])
        first, second, third = self._norms
        attend, cross, feed = self.dropped(self._attention), self.dropped(self._cross), self.feed_forward(width)
        if self.norm_first:
            return Graph(
                own=("tgt", Residual(first, *attend)),
                query=("own", second),
                seen=(MEMORY, cross),
                both=(("own", "seen"), Add()),
                out=("both", Residual(third, *feed)),
            )
        return Graph(
            query=("tgt", [Residual(*attend), first]),
            seen=(MEMORY, cross),
            both=(("query", "seen"), Add()),
            out=("both", [second, Residual(*feed), third]),
        )

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            packed(cls(2, dim_feedforward=3, causal=True), tgt=(2, 4), memory=(3, 4)),
            packed(cls(1, dim_feedforward=3, norm_first=True, dropout=0.0), tgt=(2, 3), memory=(2, 2)),
        ]


@register("transformer_decoder")
class TransformerDecoder(Stack):
    """Copies of a layer one after the other, all of which see the memory, and perhaps a norm behind them.

    Parameters
    ----------
    decoder_layer : a layer of two inputs, tgt and memory, such as `TransformerDecoderLayer`
    num_layers : int from 1 to 1000
    norm : a layer behind the last one, optional; with ``norm_first`` a LayerNorm belongs there

    Shape
    -----
    tgt: (N, steps, features), memory: (N, steps there, features there) -> out: (N, steps, features)

    Examples
    --------
    >>> import nnkit as nn
    >>> layer = nn.TransformerDecoderLayer(2, dim_feedforward=16, causal=True)
    >>> nn.Sequential([nn.TransformerDecoder(layer, 2)]).build({"tgt": (5, 8), "memory": (7, 8)}).out_shape
    (5, 8)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.1.
    """

    inputs = ("tgt", "memory")
    elsewhere = ("decoder_layer", "num_layers", "norm")

    def __init__(self, decoder_layer: Any, num_layers: int = 1, norm: Any = None) -> None:
        self.decoder_layer = decoder_layer
        self.num_layers = num_layers
        self.norm = norm
        self.require_stack(decoder_layer)

    def net(self, in_shape: dict[str, Shape]) -> Container:
        steps: dict[str, Any] = {}
        last = "tgt"
        for number, layer in enumerate(self._layers):
            name = f"layer{number}"
            steps[name] = ((last, "memory"), layer)
            last = name
        if self._norm:
            steps["out"] = (last, self._norm)
        return Graph(**steps)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        layer = TransformerDecoderLayer(1, dim_feedforward=3, dropout=0.0, activation="gelu", bias=False)
        return [packed(cls(layer, 2, LayerNorm()), tgt=(2, 2), memory=(3, 2))]


@register("transformer")
class Transformer(Composed):
    """An encoder and a decoder that looks at what is encoded: out = decoder(tgt, encoder(src)).

    The encoder is a `TransformerEncoder`, the decoder a `TransformerDecoder`, each with a LayerNorm behind it. What stands
    before them, embeddings and positions, and behind, a Linear to the words, are layers of their own; with `nnkit.Graph` they
    come together. Steps of src and tgt that are padding, where an `nnkit.Embedding` with ``padding_idx`` or `nnkit.Masking` has
    said so, are seen by nobody.

    Parameters
    ----------
    nhead : int >= 1, divides the number of features
    num_encoder_layers, num_decoder_layers : int from 1 to 1000
    dim_feedforward, dropout, activation, layer_norm_eps, norm_first, bias : as `TransformerEncoderLayer` takes them
    causal : bool, default False: steps of tgt see themselves and those before them

    Shape
    -----
    src: (N, steps of src, features), tgt: (N, steps, features) -> out: (N, steps, features)

    Raises
    ------
    ShapeError
        An input is no sequence, the two have other features, or ``nhead`` does not divide their number.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(
    ...     src=("question", [nn.Embedding(20, 8, padding_idx=0), nn.PositionalEmbedding()]),
    ...     tgt=("answer", [nn.Embedding(20, 8, padding_idx=0), nn.PositionalEmbedding()]),
    ...     out=(("src", "tgt"), [nn.Transformer(2, num_encoder_layers=1, num_decoder_layers=1, causal=True), nn.Linear(20)]),
    ... )
    >>> nn.Sequential([net]).build({"question": (7,), "answer": (5,)}).out_shape
    (5, 20)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need".
    """

    inputs = ("src", "tgt")
    elsewhere = ("d_model", "nhead", "num_encoder_layers", "num_decoder_layers", "dim_feedforward", "dropout", "activation")

    def __init__(
        self,
        nhead: int = 8,
        *,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = False,
        bias: bool = True,
        causal: bool = False,
    ) -> None:
        self.nhead = nhead
        self.num_encoder_layers = num_encoder_layers
        self.num_decoder_layers = num_decoder_layers
        self.dim_feedforward = dim_feedforward
        self.dropout = dropout
        self.activation = activation
        self.layer_norm_eps = layer_norm_eps
        self.norm_first = norm_first
        self.bias = bias
        self.causal = causal
        self.require_size("num_encoder_layers")
        self.require_size("num_decoder_layers")
        shared = {name: getattr(self, name) for name in SHARED}
        norms = [LayerNorm(eps=layer_norm_eps, bias=bias) for _ in range(2)]
        self._encoder = TransformerEncoder(TransformerEncoderLayer(nhead, **shared), num_encoder_layers, norms[0])
        self._decoder = TransformerDecoder(
            TransformerDecoderLayer(nhead, causal=causal, **shared), num_decoder_layers, norms[1]
        )

    def net(self, in_shape: dict[str, Shape]) -> Container:
        return Graph(memory=("src", self._encoder), out=(("tgt", "memory"), self._decoder))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        small = cls(1, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=3, causal=True)
        return [packed(small, src=(3, 2), tgt=(2, 2))]
