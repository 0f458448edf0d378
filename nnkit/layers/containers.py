"""Layers made of layers: a graph of named values, and its usual forms; and layers for every step of a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from nnkit.core.container import Chain, Container, Placed, Reader, V, Wiring, as_layer, readers
from nnkit.core.fields import SELF, fields, picked, spelt
from nnkit.core.layer import Built, Layer
from nnkit.core.part import Example, Shape
from nnkit.core.registry import register
from nnkit.errors import ParameterError, ShapeError
from nnkit.layers.columns import Columns
from nnkit.layers.dropout import Dropout
from nnkit.layers.linear import Linear
from nnkit.layers.shape import Flatten

__all__ = ["Add", "Branches", "Concat", "Graph", "Heads", "Inputs", "Residual", "TimeDistributed"]


def alone(layers: list[Layer]) -> Any:
    """Layers one after the other, as one writes them in a container."""
    return layers[0] if len(layers) == 1 else layers or "identity"


# ------------------------------------------------------------------------------------------------ several values into one


class _Merge(Container):
    """Several values of a row -> one."""

    def require_fields(self, in_shape: Any) -> None:
        if not isinstance(in_shape, dict):
            raise ShapeError(f"{self!r}: expected rows with several fields, got {in_shape}; within nnkit.Graph, name the values that "
                             "it reads")  # fmt: skip

    def _require_equal(self, compared: Sequence[Shape], shapes: Sequence[Shape], where: str = "") -> None:
        if any(len(shape) != len(shapes[0]) for shape in shapes) or len(set(compared)) > 1:
            raise ShapeError(f"{self!r}: expected values of equal shapes{where}, got {', '.join(map(str, shapes))}")


@register("add")
class Add(_Merge):
    """The sum of several values of a row, or their mean: out = sum_i x_i.

    Each of them gets grad_out; of a mean of B values, grad_out / B.

    Parameters
    ----------
    mean : divide by how many there are

    Shape
    -----
    several values (N, ...) of one shape -> out: (N, ...)

    Raises
    ------
    ShapeError
        They have other shapes; there is only one value.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Graph(a=("x", nn.Linear(3)), b=("a", [nn.ReLU(), nn.Linear(3)]), out=(("a", "b"), nn.Add()))
    >>> nn.Sequential([net]).build((4,)).out_shape
    (3,)
    """

    def __init__(self, *, mean: bool = False) -> None:
        self.mean = mean

    @property
    def joins(self) -> str:  # type: ignore[override]
        return "mean" if self.mean else "+"

    def build(self, in_shape: Any) -> Any:
        self.require_fields(in_shape)
        shapes = list(in_shape.values())
        self._require_equal(shapes, shapes)
        return shapes[0]

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        return plan.add(list(x.values()), 1.0 / len(x) if self.mean else 1.0)

    def onnx(self, graph, x):
        return graph.node("Mean" if self.mean else "Sum", *x.values())

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), {"a": (3,), "b": (3,)}), Example(cls(mean=True), {"a": (2, 2), "b": (2, 2), "c": (2, 2)})]


@register("concat")
class Concat(_Merge):
    """Several values of a row, one after the other along an axis; each gets its part of grad_out.

    Parameters
    ----------
    dim : int, the axis, counted with the batch axis as in PyTorch: 1 (default) are the features of (N, features) and the
        channels of (N, channels, height, width); -1 is the last

    Shape
    -----
    several values (N, ...) whose shapes differ along ``dim`` alone -> out: (N, ...)

    Raises
    ------
    ShapeError
        They do not fit together; there is only one value.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Graph(a=("x", nn.Linear(3)), out=(("x", "a"), nn.Concat()))]).build((4,)).out_shape
    (7,)
    """

    joins = "concat"

    def __init__(self, *, dim: int = 1) -> None:
        self.dim = dim
        self.require("dim", type(dim) is int and dim != 0, "an axis other than the batch's, 0")

    def build(self, in_shape: Any) -> Any:
        self.require_fields(in_shape)
        shapes = list(in_shape.values())
        rank = len(shapes[0])
        self.axis = self.dim - 1 if self.dim > 0 else rank + self.dim
        if not 0 <= self.axis < rank:
            raise ShapeError(f"{self!r}: expected values with axis dim={self.dim}, got {shapes[0]} (beside the batch axis)")
        others = [(*shape[: self.axis], *shape[self.axis + 1 :]) for shape in shapes]
        self._require_equal(others, shapes, f" but along dim={self.dim}")
        return (*shapes[0][: self.axis], sum(shape[self.axis] for shape in shapes), *shapes[0][self.axis + 1 :])

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        return plan.concatenate(list(x.values()), self.axis)

    def onnx(self, graph, x):
        return graph.node("Concat", *x.values(), axis=self.axis + 1)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(), {"a": (3,), "b": (2,)}), Example(cls(dim=-1), {"a": (2, 3), "b": (2, 1)})]


# --------------------------------------------------------------------------------------------------------- named values


class Step(NamedTuple):
    """How a named value is computed: by a layer, from one or several others."""

    name: str
    reads: str | tuple[str, ...]
    layer: Layer

    @property
    def read(self) -> tuple[str, ...]:
        """The names of what it reads."""
        return (self.reads,) if isinstance(self.reads, str) else self.reads


class _Steps(Container):
    """Named values of a row, each computed from others by a layer; what a row is given and what it gives are some of them."""

    _steps: Sequence[Step]
    _outs: str | Sequence[str]  # the value that it gives, or several by name

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        written: set[str] = set()
        given: dict[str, None] = {}
        for step in self._steps:
            given.update({name: None for name in step.read if name not in written})
            written.add(step.name)
        given.update({name: None for name in _names(self._outs) if name not in written})
        return () if list(given) == [SELF] else tuple(given)

    @property
    def input_dtype(self) -> str:  # type: ignore[override]
        """Of plain rows; each field has that of the layers that read it (see `reading`)."""
        return next((step.layer.input_dtype for step in self._steps if SELF in step.read), "real")

    def require_fields(self, in_shape: Any) -> None:
        if isinstance(in_shape, dict) and set(in_shape) != set(self.inputs or (SELF,)):
            raise ShapeError(f"{self!r}: expected rows with the fields {', '.join(self.inputs) or SELF}, got {spelt(in_shape)}")
        if not isinstance(in_shape, dict) and self.inputs:
            raise ShapeError(f"{self!r}: expected rows with the fields {', '.join(self.inputs)}, got one array of {in_shape}; give a "
                             "dict of arrays, or a tuple of them in this order")  # fmt: skip

    def build(self, in_shape: Any) -> Any:
        shapes = _named(in_shape)
        whole = dict.fromkeys(shapes, True)  # whether a value is the input as it is given
        for step in self._steps:
            given = picked(shapes, step.reads, step.layer.inputs)
            behind = not all(whole.get(name) for name in step.read)
            shapes[step.name] = self.within(step.layer, given, int(behind)).out_shape
            whole[step.name] = False
        return picked(shapes, self._outs)

    def readers(self, children: Sequence[Built]) -> Iterator[Reader]:
        written: set[str] = set()
        for step, child in zip(self._steps, children, strict=True):
            mine = fields(picked({name: name for name in step.read}, step.reads, step.layer.inputs))
            for reader in readers(child):
                if (name := mine[reader.name]) not in written:
                    yield replace(reader, name=name if self.inputs else "")
            written.add(step.name)

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        values = _named(x)
        for step, child, later in zip(self._steps, children, self._read_later(), strict=True):
            with plan.holding(*(item for name in later if name in values for item in fields(values[name]).values())):
                values[step.name] = plan.forward(child, picked(values, step.reads, step.layer.inputs))
        return picked(values, self._outs)

    def _read_later(self) -> list[set[str]]:
        """Of every step, the values that are there already and are read behind it."""
        needed, later = set(_names(self._outs)), []
        for step in reversed(self._steps):
            later.append(needed - {step.name})
            needed = later[-1] | set(step.read)
        return later[::-1]

    def onnx(self, graph, x):
        values, masks = _named(x), {}
        masks = dict.fromkeys(values, graph.mask)
        for step, child in zip(self._steps, self._built.children, strict=True):
            graph.mask = next((masks[name] for name in step.read), None)
            values[step.name] = graph.layer(child, picked(values, step.reads, step.layer.inputs))
            masks[step.name] = graph.mask
        known = {id(masks[name]): masks[name] for name in _names(self._outs)}
        graph.kept += [mask for mask in masks.values() if mask is not None]
        graph.mask = next(iter(known.values())) if len(known) == 1 else None
        return picked(values, self._outs)


def _names(outs: str | Sequence[str]) -> Sequence[str]:
    return (outs,) if isinstance(outs, str) else outs


def _named(value: Any) -> dict[str, Any]:
    """The fields of a value by name; a plain one is called x."""
    return {name or SELF: item for name, item in fields(value).items()}


@register("graph")
class Graph(_Steps):
    """Named values, each computed by a layer from one or several others: for nets that are not one layer after the other.

    A step says, under the name of the value that it gives, what it reads and the layer (or the list of layers) that computes it:
    ``h=("x", nn.Linear(8))`` is h = Linear(x), ``out=(("h", "x"), nn.Concat())`` reads two values, in this order. A name that no
    step before has given is an input: ``x`` alone is a plain array, and other names, or several, are those of the arrays that
    ``fit`` and ``predict`` are given in a dict or a tuple. `nnkit.Sequential` is the simplest case: each step reads the one before.

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
        missing = next((name for name in _names(self._outs) if name not in steps), None)
        if missing is not None:
            raise ParameterError(f"Graph: expected outputs that a step computes, {', '.join(steps)}, got {missing!r}")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        shared = Linear(3)
        two = cls(a=("left", shared), b=("right", [shared, Dropout(0.3)]), out=(("a", "b"), Add()))
        return [Example(cls(h=("x", Linear(3)), out=(("x", "h"), Concat())), (2,)), Example(two, {"left": (2,), "right": (2,)})]


def _read(name: str, step: Any) -> tuple[str | tuple[str, ...], Layer]:
    """What a step reads, and its layer."""
    is_pair = isinstance(step, tuple) and len(step) == 2
    reads = step[0] if is_pair else None
    named = isinstance(reads, str) or (isinstance(reads, list | tuple) and reads and all(isinstance(item, str) for item in reads))
    if not named:
        raise ParameterError(f"Graph: expected {name}=(what it reads, layer), such as {name}=('x', nn.Linear(2)) or "
                             f"{name}=(('x', 'h'), nn.Concat()), got {step!r}")  # fmt: skip
    return reads if isinstance(reads, str) else tuple(reads), as_layer(step[1])


class _Merged(_Steps):
    """Parts side by side whose outputs are merged."""

    merge: str
    dim: int
    side_by_side = True

    def _merging(self) -> _Merge:
        """How the outputs come together."""
        self.require("merge", self.merge in ("concat", "add", "mean"), "'concat', 'add' or 'mean'")
        self.require("dim", type(self.dim) is int and self.dim != 0, "an axis other than the batch's, 0")
        return Concat(dim=self.dim) if self.merge == "concat" else Add(mean=self.merge == "mean")

    @property
    def joins(self) -> str:  # type: ignore[override]
        return self._merging().joins

    def build(self, in_shape: Any) -> Any:
        shapes = super().build(in_shape)
        self._merge = self._merging()
        try:
            return self._merge.build(shapes)
        except ShapeError as error:
            raise ShapeError(f"{self!r}: {error}") from None

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        return self._merge.connect(plan, [], super().connect(plan, children, x))

    def onnx(self, graph, x):
        return self._merge.onnx(graph, super().onnx(graph, x))


@register("inputs")
class Inputs(_Merged):
    """Several inputs, each through layers of its own, and then together: out = merge(f_a(a), f_b(b), ...).

    Data are a dict of arrays by these names, or a tuple of them in this order. Where the parts begin with `nnkit.Columns`, it may be
    one array, of which each reads its columns. The same layer object in two parts is one layer with shared parameters: two towers.

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
    >>> net = nn.Sequential([nn.Inputs(image=[nn.Flatten(), nn.Linear(8)], kind=[nn.Embedding(5, 2), nn.Flatten()]), nn.Linear(1)])
    >>> net.build({"image": (4, 4), "kind": (1,)}).summary().layers[0].out_shape
    (10,)
    """

    def __init__(self, *, merge: str = "concat", dim: int = 1, **parts: Any) -> None:
        self.merge = merge
        self.dim = dim
        self.parts = parts
        if not parts:
            raise ParameterError("Inputs: expected a part for each input, such as image=[...], got none")
        self._merging()
        self._layers = {name: as_layer(part) for name, part in parts.items()}

    @property
    def _by_columns(self) -> bool:
        """Whether all parts read columns of one array."""
        return all(isinstance(_first(layer), Columns) for layer in self._layers.values())

    @property
    def _steps(self) -> Sequence[Step]:  # type: ignore[override]
        return [Step(name, SELF if self._by_columns else name, layer) for name, layer in self._layers.items()]

    @property
    def _outs(self) -> Sequence[str]:  # type: ignore[override]
        return tuple(self._layers)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(a=Linear(2), b=[Linear(3), Dropout(0.3)]), {"a": (3,), "b": (2,)}),
            Example(cls(a=[Columns([0, 2]), Linear(2)], b=Columns([1, 2]), merge="mean"), (3,)),
        ]


def _first(layer: Layer) -> Layer:
    """The first layer of a chain."""
    while isinstance(layer, Chain):
        layer = layer.layers[0]
    return layer


@register("heads")
class Heads(_Steps):
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
        self._steps = [Step(name, SELF, as_layer(part)) for name, part in parts.items()]
        self._outs = tuple(parts)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(a=Linear(2), b=[Linear(3), Dropout(0.3)]), (3,))]


@register("residual")
class Residual(Container):
    """Layers with a way around them: out = x + f(x), where f is the layers one after the other.

    grad_x = grad_out + the gradient that comes back through f.

    Parameters
    ----------
    *layers : layers, their classes or their names

    Shape
    -----
    x: (N, ...) -> out: the same

    Raises
    ------
    ShapeError
        f gives another shape than that of x.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Residual(nn.Linear(8), nn.ReLU(), nn.Linear(4))]).build((4,)).out_shape
    (4,)

    References
    ----------
    He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition".
    """

    joins = "+"
    goes_around = True

    def __init__(self, *layers: Any) -> None:
        self.layers = tuple(layers)
        self._inner = Chain(layers)

    @property
    def input_dtype(self) -> str:  # type: ignore[override]
        return self._inner.input_dtype

    def build(self, in_shape: Shape) -> Shape:
        out_shape = self._inner_shape(in_shape)
        if out_shape != in_shape:
            raise ShapeError(f"{self!r}: expected layers that give the shape of their input, {in_shape}, to be added to it, "
                             f"got {out_shape}; for another shape use Branches([...], shortcut, merge='add')")  # fmt: skip
        return out_shape

    def _inner_shape(self, in_shape: Shape) -> Shape:
        for position, layer in enumerate(self._inner.layers):
            in_shape = self.within(layer, in_shape, position).out_shape
        return in_shape

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: V) -> V:
        with plan.holding(x):
            return plan.add([x, self._inner.connect(plan, children, x)])

    def onnx(self, graph, x):
        out = x
        for child in self._built.children:
            out = graph.layer(child, out)
        return x + out

    @classmethod
    def from_onnx(cls, at):
        """Add, where one of the two is what there was before."""
        join = at.join("Add")
        branches = [value for value in join.inputs if value is not at.value] if join is not None else []
        if len(branches) != 1 or len(join.inputs) != 2:
            return None
        inner = at.chain(*branches)
        return at.after(join).around(cls(*inner.layers), inner)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(Linear(3), Dropout(0.4), Linear(4)), (4,))]


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

    @classmethod
    def from_onnx(cls, at):
        for op, merge in (("Concat", "concat"), ("Sum", "add"), ("Add", "add"), ("Mean", "mean")):
            if (join := at.join(op)) is not None:
                inner = {id(value): at.chain(value) for value in join.distinct()}
                listed = [alone(inner[id(value)].layers) for value in join.inputs]
                dim = {"dim": join.attributes["axis"]} if merge == "concat" else {}
                return at.after(join).around(cls(*listed, merge=merge, **dim), *inner.values())
        return None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        linear = Linear(3)
        return [
            Example(cls(Linear(2), [linear, linear]), (3,)),
            Example(cls(Linear(3), linear, linear, merge="mean"), (3,)),
            Example(cls(linear, Linear(1), dim=-1), (2, 3)),
        ]


@register("time_distributed")
class TimeDistributed(Container):
    """A layer for every step of a sequence: out[n, t] = f(x[n, t]), with the same parameters for all steps.

    The gradients of the parameters are summed over the steps. (Linear, LayerNorm and activations do this by themselves.)

    Parameters
    ----------
    layer : a layer, its class or its name, or a list of layers

    Shape
    -----
    x: (N, steps, ...) -> out: (N, steps, ...), the layer being built for rows of x.shape[2:]

    Raises
    ------
    ShapeError
        Rows of the input have no steps.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.TimeDistributed([nn.Flatten(), nn.Linear(4)])]).build((7, 2, 3)).out_shape
    (7, 4)
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self._inner: Layer = as_layer(layer)

    @property
    def input_dtype(self) -> str:  # type: ignore[override]
        return self._inner.input_dtype

    def build(self, in_shape: Shape) -> Shape:
        if len(in_shape) < 2:
            raise ShapeError(f"{self!r}: expected input rows of shape (steps, ...), got {in_shape}")
        return (in_shape[0], *self.within(self._inner, in_shape[1:]).out_shape)

    def entries(self, in_shape: Shape) -> int:
        return in_shape[0]

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: V) -> V:
        return plan.join(plan.forward(children[0], plan.split(x)), x.shape[0])

    def onnx(self, graph, x):
        (child,) = self._built.children
        steps, *shape = self._built.in_shape
        graph.mask = None
        out = graph.layer(child, graph.node("Reshape", x, [-1, *shape]))
        graph.mask = None
        return graph.node("Reshape", out, [-1, steps, *child.out_shape])

    @classmethod
    def from_onnx(cls, at):
        """Layers between one Reshape that makes rows of the steps, and one that puts them together again."""
        if at.rank < 2 or (node := at.take("Reshape")) is None or node.integers(1) != [-1, *at.shape[1:]]:
            return None
        steps = at.shape[0]
        for end in at.waists():
            if end.op == node.op and end.is_constant(1) and end.integers(1)[:2] == [-1, steps]:
                inner = at.chain(end.inputs[0], at.shape[1:])
                return at.after(end).around(cls(alone(inner.layers)), inner)
        return None

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls([Flatten(), Linear(2), Dropout(0.3)]), (3, 2, 2))]
