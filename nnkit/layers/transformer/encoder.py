"""The encoder of a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnkit.core.container import Chain, Container
from nnkit.core.layer import Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.layers.attention import MultiHeadAttention
from nnkit.layers.attention.heads import require_sequence
from nnkit.layers.residual import Residual
from nnkit.layers.transformer.blocks import Block, Stack

__all__ = ["TransformerEncoder", "TransformerEncoderLayer"]


@register("transformer_encoder_layer")
class TransformerEncoderLayer(Block):
    """Attention of a sequence to itself, and two Linear for every step, each with a way around it and a norm.

    With A the attention (`MultiHeadAttention`), F(x) = linear2(activation(linear1(x))) and N_1, N_2 two `LayerNorm`:

    - y = N_1(x + A(x)), out = N_2(y + F(y)), or,
    - with ``norm_first``, y = x + A(N_1(x)), out = y + F(N_2(y)).

    Dropout works within A, behind A, behind the activation and behind F. Backward is that of the layers within.

    Parameters
    ----------
    nhead : int >= 1, divides the number of features
    dim_feedforward : int >= 1, outputs of linear1
    dropout : float in [0, 1)
    activation : a layer, its class or its name
    layer_norm_eps : float in (0, 1)
    norm_first : bool, default False: norms before attention and Linear instead of behind
    bias : bool, default True: of all layers within
    causal : bool, default False: steps see themselves and those before them
    attn_mask, rotary : as `MultiHeadAttention` takes them

    Shape
    -----
    x: (N, steps, features) -> out: the same

    Raises
    ------
    ShapeError
        The input is no sequence, or ``nhead`` does not divide its features.

    Examples
    --------
    >>> import nnkit as nn
    >>> layer = nn.TransformerEncoderLayer(2, dim_feedforward=16, activation="gelu", norm_first=True)
    >>> model = nn.Sequential([nn.Embedding(20, 8, padding_idx=0), nn.PositionalEmbedding(), layer]).build((12,))
    >>> model.out_shape
    (12, 8)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.1; Xiong et al. 2020, "On layer normalization in the transformer
    architecture" (norm_first).
    """

    sublayers = 2

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
        attn_mask: Any = None,
        rotary: float | None = None,
    ) -> None:
        super().__init__(
            nhead, dim_feedforward=dim_feedforward, dropout=dropout, activation=activation, layer_norm_eps=layer_norm_eps,
            norm_first=norm_first, bias=bias,
        )  # fmt: skip
        self.causal = causal
        self.attn_mask = attn_mask
        self.rotary = rotary
        self._attention = MultiHeadAttention(
            nhead, dropout=dropout, bias=bias, causal=causal, attn_mask=attn_mask, rotary=rotary
        )

    def net(self, in_shape: Shape) -> Container:
        _, width = require_sequence(self, in_shape)
        layers: list[Layer] = []
        for norm, inner in zip(self._norms, (self.dropped(self._attention), self.feed_forward(width)), strict=True):
            layers += [Residual(norm, *inner)] if self.norm_first else [Residual(*inner), norm]
        return Chain(layers)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(2, dim_feedforward=5), (3, 4)), Example(cls(1, dim_feedforward=3, norm_first=True), (2, 3))]


@register("transformer_encoder")
class TransformerEncoder(Stack):
    """Copies of a layer one after the other, each with parameters of its own, and perhaps a norm behind them.

    Parameters
    ----------
    encoder_layer : a layer, such as `TransformerEncoderLayer`
    num_layers : int from 1 to 1000
    norm : a layer behind the last one, optional; with ``norm_first`` a LayerNorm belongs there

    Shape
    -----
    x: (N, steps, features) -> out: (N, steps, features)

    Examples
    --------
    >>> import nnkit as nn
    >>> layer = nn.TransformerEncoderLayer(2, dim_feedforward=16, norm_first=True)
    >>> model = nn.Sequential([nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm())]).build((12, 8))
    >>> model.out_shape, sum(array.size for array in model.parameters().values())
    ((12, 8), 1816)

    References
    ----------
    Vaswani et al. 2017, "Attention is all you need", section 3.1.
    """

    elsewhere = ("encoder_layer", "num_layers", "norm", "enable_nested_tensor", "mask_check")

    def __init__(self, encoder_layer: Any, num_layers: int = 1, norm: Any = None) -> None:
        self.encoder_layer = encoder_layer
        self.num_layers = num_layers
        self.norm = norm
        self.require_stack(encoder_layer)

    def net(self, in_shape: Shape) -> Container:
        return Chain([*self._layers, *self._norm])

    @classmethod
    def examples(cls) -> Sequence[Example]:
        layer = TransformerEncoderLayer(1, dim_feedforward=3, dropout=0.0, activation="gelu", bias=False)
        return [Example(cls(layer, 2), (3, 2))]
