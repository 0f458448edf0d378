"""Named values, each computed by a layer from others: any net is such a graph, and containers are its usual forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnkit.core.container import Chain, Placed, V, Wiring, as_layer
from nnkit.core.exchange import Value
from nnkit.core.fields import SELF
from nnkit.core.layer import Layer
from nnkit.core.part import Example
from nnkit.core.registry import register
from nnkit.errors import ParameterError, ShapeError
from nnkit.layers.columns import Columns
from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear
from nnkit.layers.merge import Add, Concat, Merge, packed
from nnkit.layers.residual import alone
from nnkit.layers.steps import Step, Steps, names_of, part_of

__all__ = ["Branches", "Graph", "Heads", "Inputs"]


@register("graph")
class Graph(Steps):
    """Named values, each computed by a layer from one or several others: for nets that are not one layer after the other.

    A step says, under the name of the value that it gives, what it reads and the layer (or the list of layers) that computes
    it: ``h=("x", nn.Linear(8))`` is h = Linear(x), and ``out=(("h", "x"), nn.Concat())`` reads two values, in this order. A
    name that no step before has given is an input. ``x`` alone is a plain array; other names, or several, are those of arrays
    that ``fit`` and ``predict`` are given in a dict or a tuple. `nnkit.Sequential` is the simplest case: there each step reads
    the one before.

    Backward follows from forward: a value that several steps read gets the sum of their gradients.

    Parameters
    ----------
    outputs : str or sequence of str, optional: the value that comes out, or several by their names; by default the last one
    **steps : for each value what it is computed from, a name or a tuple of names, and the layer or list of layers

    Shape
    -----
    x, or the inputs by name -> out, or the outputs by name

    Raises
    ------
    ParameterError, ShapeError
        A step is not a pair; an output that is computed nowhere; layers that do not fit what they read.

    Examples
    --------
    An encoder and a decoder that looks at what is encoded:

    >>> import nnkit as nn
    >>> net = nn.Graph(
    ...     code=("image", [nn.Linear(8), nn.ReLU()]),
    ...     both=(("code", "table"), nn.Concat()),
    ...     price=("both", nn.Linear(1)),
    ...     kind=("both", nn.Linear(3)),
    ...     outputs=("price", "kind"),
    ... )
    >>> nn.Sequential([net]).build({"image": (16,), "table": (2,)}).out_shape
    {'price': (1,), 'kind': (3,)}
    """

    def __init__(self, *, outputs: str | Sequence[str] | None = None, **steps: Any) -> None:
        self.outputs = outputs
        self.steps = steps
        if not steps:
            raise ParameterError("Graph: expected at least one step, such as out=('x', nn.Linear(2)), got none")
        self._steps = [Step(name, *_read(name, step)) for name, step in steps.items()]
        self._outs = self._steps[-1].name if outputs is None else outputs if isinstance(outputs, str) else tuple(outputs)
        missing = next((name for name in names_of(self._outs) if name not in steps), None)
        if missing is not None:
            raise ParameterError(f"Graph: expected outputs that a step computes, {', '.join(steps)}, got {missing!r}")

    def only(self, output: str) -> tuple[Layer, dict[str, str]]:
        """What computes one of the outputs, and its steps' places in it by their places here."""
        places = self._needed(output)
        steps = {self._steps[place].name: self.steps[self._steps[place].name] for place in places}
        return Graph(outputs=output, **steps), {str(old): str(new) for new, old in enumerate(places)}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        shared = Linear(3)
        two = cls(a=("left", shared), b=("right", [shared, Dropout(0.3)]), out=(("a", "b"), Add()))
        return [Example(cls(h=("x", Linear(3)), out=(("x", "h"), Concat())), (2,)), packed(two, left=(2,), right=(2,))]


def _read(name: str, step: Any) -> tuple[str | tuple[str, ...], Layer]:
    """What a step reads, and its layer."""
    is_pair = isinstance(step, tuple) and len(step) == 2
    reads = step[0] if is_pair else None
    names = [reads] if isinstance(reads, str) else reads
    if not (isinstance(names, list | tuple) and names and all(isinstance(item, str) for item in names)):
        raise ParameterError(f"Graph: expected {name}=(what it reads, layer), such as {name}=('x', nn.Linear(2)) or "
                             f"{name}=(('x', 'h'), nn.Concat()), got {step!r}")  # fmt: skip
    return reads if isinstance(reads, str) else tuple(names), part_of("Graph", name, step[1])


MERGES: dict[str, Callable[[int], Merge]] = {  # how outputs come together, by the word for it
    "concat": lambda dim: Concat(dim=dim),
    "add": lambda dim: Add(),
    "mean": lambda dim: Add(mean=True),
}


class _Merged(Steps):
    """Parts side by side whose outputs are merged."""

    merge: str
    dim: int
    side_by_side = True
    _parts = "parts"  # what they are called in messages

    def _merging(self) -> Merge:
        """How the outputs come together."""
        self.require("merge", isinstance(self.merge, str) and self.merge in MERGES, "'concat', 'add' or 'mean'")
        self.require("dim", type(self.dim) is int and self.dim != 0, "an axis other than the batch's, 0")
        return MERGES[self.merge](self.dim)

    @property
    def joins(self) -> str:  # type: ignore[override]
        return self._merging().joins

    def build(self, in_shape: Any) -> Any:
        shapes = super().build(in_shape)
        self._merge = self._merging()
        return self._merge.merged(list(shapes.values()), f"{self!r}: expected {self._parts} that give")

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        return self._merge.connect(plan, [], super().connect(plan, children, x))

    def onnx(self, graph, x):
        return self._merge.onnx(graph, super().onnx(graph, x))


@register("inputs")
class Inputs(_Merged):
    """Several inputs, each through layers of its own, and then together: out = merge(f_a(a), f_b(b), ...).

    Data are a dict of arrays by these names, or a tuple of them in this order. Where the parts begin with `nnkit.Columns`, they
    are one array, of which each part reads its columns. The same layer object in two parts is one layer with shared parameters,
    as in two towers.

    - ``"concat"``: the outputs one after the other along axis ``dim``; each gets its part of grad_out.
    - ``"add"``: their sum; each gets grad_out.
    - ``"mean"``: their mean; each of B gets grad_out / B.

    Parameters
    ----------
    merge : "concat", "add" or "mean"
    dim : int, the axis to concatenate along, counted with the batch axis as in PyTorch
    **parts : for each input a layer, or a list of layers one after the other; ``"identity"`` passes it on

    Shape
    -----
    a dict of (N, ...) by name -> out: (N, ...)

    Raises
    ------
    ShapeError
        The outputs of the parts do not fit together; other inputs are given.

    Examples
    --------
    >>> import nnkit as nn
    >>> both = nn.Inputs(image=[nn.Flatten(), nn.Linear(8)], kind=[nn.Embedding(5, 2), nn.Flatten()])
    >>> nn.Sequential([both]).build({"image": (4, 4), "kind": (1,)}).out_shape
    (10,)
    """

    def __init__(self, *, merge: str = "concat", dim: int = 1, **parts: Any) -> None:
        self.merge = merge
        self.dim = dim
        self.parts = parts
        if not parts:
            raise ParameterError("Inputs: expected a part for each input, such as image=[...], got none")
        self._merging()
        self._layers = {name: part_of("Inputs", name, part) for name, part in parts.items()}

    @property
    def _by_columns(self) -> bool:
        """Whether all parts read columns of one array."""
        return all(_first(layer).selects for layer in self._layers.values())

    @property
    def _steps(self) -> Sequence[Step]:  # type: ignore[override]
        return [Step(name, SELF if self._by_columns else name, layer) for name, layer in self._layers.items()]

    @property
    def _outs(self) -> Sequence[str]:  # type: ignore[override]
        return tuple(self._layers)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            packed(cls(a=Linear(2), b=[Linear(3), Dropout(0.3)]), a=(3,), b=(2,)),
            Example(cls(a=[Columns([0, 2]), Linear(2)], b=Columns([1, 2]), merge="mean"), (3,)),
        ]


def _first(layer: Layer) -> Layer:
    """The first layer of a chain."""
    while isinstance(layer, Chain):
        layer = layer.layers[0]
    return layer


@register("heads")
class Heads(Steps):
    """Several outputs, each from layers of its own on the same input: out = {a: f_a(x), b: f_b(x), ...}.

    It ends a model with a loss for each output: ``fit(X, {"price": y1, "kind": y2}, loss={"price": "huber", "kind":
    "cross_entropy"})``; predictions are a dict by the same names. grad_x is the sum of what comes back through the heads.

    Parameters
    ----------
    **parts : for each output a layer, or a list of layers one after the other; ``"identity"`` gives the input itself

    Shape
    -----
    x: (N, ...) -> a dict of (N, ...) by name

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Linear(8), nn.ReLU(), nn.Heads(price=nn.Linear(1), kind=nn.Linear(3))]).build((4,)).out_shape
    {'price': (1,), 'kind': (3,)}

    References
    ----------
    Caruana 1997, "Multitask learning".
    """

    side_by_side = True

    def __init__(self, **parts: Any) -> None:
        self.parts = parts
        if not parts:
            raise ParameterError("Heads: expected a part for each output, such as price=nn.Linear(1), got none")
        self._steps = [Step(name, SELF, part_of("Heads", name, part)) for name, part in parts.items()]
        self._outs = tuple(parts)

    def only(self, output: str) -> tuple[Layer, dict[str, str]]:
        """The part for one of the outputs, and its place in it by its place here."""
        (place,) = self._needed(output)
        return self._steps[place].layer, {str(place): ""}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(Chain([cls(a=Linear(2), b=[Linear(3), Dropout(0.3)]), Concat()]), (3,))]


@register("branches")
class Branches(_Merged):
    """Layers side by side on the same input, their outputs put together.

    - ``"concat"``: out is the outputs one after the other along axis ``dim``; each gets its part of grad_out.
    - ``"add"``: out = sum_b f_b(x); each gets grad_out.
    - ``"mean"``: out = 1/B sum_b f_b(x); each gets grad_out / B.

    grad_x is the sum of what comes back through the branches.

    Parameters
    ----------
    *branches : for each branch a layer, or a list of layers one after the other; ``"identity"`` passes x on
    merge : "concat", "add" or "mean"
    dim : int, the axis to concatenate along, counted with the batch axis as in PyTorch: 1 (default) are the features of
        (N, features) and the channels of (N, channels, height, width); -1 is the last

    Shape
    -----
    x: (N, ...) -> out: (N, ...)

    Raises
    ------
    ShapeError
        The outputs of the branches do not fit together.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Branches(nn.Linear(3), [nn.Linear(8), "relu", nn.Linear(2)])]).build((4,)).out_shape
    (5,)

    References
    ----------
    Szegedy et al. 2015, "Going deeper with convolutions" (concat).
    """

    _parts = "branches"

    def __init__(self, *branches: Any, merge: str = "concat", dim: int = 1) -> None:
        self.branches = tuple(branches)
        self.merge = merge
        self.dim = dim
        self.require("branches", len(branches) > 0, "at least one branch")
        self._merging()
        self._steps = [Step(f"branch {place}", SELF, as_layer(branch)) for place, branch in enumerate(self.branches)]
        self._outs = tuple(step.name for step in self._steps)

    def build(self, in_shape: Any) -> Any:
        if len({step.layer.input_dtype for step in self._steps}) > 1:
            raise ShapeError(f"{self!r}: expected branches that all take whole numbers, or none of them; they have one input")
        return super().build(in_shape)

    def onnx(self, graph, x):
        if self.merge != "mean" or graph.real == "float32":
            return super().onnx(graph, x)
        return Add().onnx(graph, Steps.onnx(self, graph, x)) / len(self.branches)  # runtimes have no Mean of doubles

    @classmethod
    def from_onnx(cls, at):
        for op, merge in (("Concat", "concat"), ("Sum", "add"), ("Add", "add"), ("Mean", "mean")):
            if (join := at.join(op)) is not None:
                inner = {id(value): at.chain(value) for value in join.distinct()}
                listed = [alone(inner[id(value)].layers) for value in join.inputs]
                dim = {"dim": join.attributes["axis"]} if "axis" in join.attributes else {}
                at.after(join)
                share = next(at.waists(), None) if op in ("Sum", "Add") else None
                if share is not None and share.op == "Div" and share.input(0) is at.value and _is(share.input(1), len(listed)):
                    at.take("Div")
                    merge = "mean"
                return at.around(cls(*listed, merge=merge, **dim), *inner.values())
        return None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        linear = Linear(3)
        return [
            Example(cls(Linear(2), [linear, linear]), (3,)),
            Example(cls(Linear(3), linear, linear, merge="mean"), (3,)),
            Example(cls(linear, Linear(1), dim=-1), (2, 3)),
        ]


def _is(value: Value | None, number: int) -> bool:
    """Whether a value is known, and this number alone."""
    return value is not None and value.array is not None and np.array_equal(value.array.ravel(), [number])
