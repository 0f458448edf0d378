"""Layers made of layers: the contract of a container, the chain of layers, and what the rooms below see of a model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from html import escape
from os import PathLike
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnkit.core.calls import Absent, Familiar, shown
from nnkit.core.fields import fields, of_field
from nnkit.core.layer import Built, Layer
from nnkit.core.part import Example, Shape, listed
from nnkit.engine.exclusive import Exclusive
from nnkit.engine.operands import Operand
from nnkit.errors import CallError, NotBuiltError, ParameterError, ShapeError, printable

if TYPE_CHECKING:
    from nnkit.core.exchange import Graph, Value

__all__ = [
    "Chain",
    "Container",
    "Model",
    "Placed",
    "Reader",
    "V",
    "Wiring",
    "as_layer",
    "chain_of",
    "changing",
    "model_of",
    "net_of",
    "readers",
    "require_built",
    "require_unchanged",
]  # fmt: skip

DEEPEST = 64  # levels; Python gives up at some 150


class Shaped(Protocol):
    """A value of a plan: what a layer gives for each row."""

    @property
    def shape(self) -> Shape: ...


V = TypeVar("V", bound=Shaped)


@dataclass
class Placed:
    """A built layer with its arrays as operands; a container with its layers."""

    name: str  # "layer 2.0, ReLU()"
    built: Built
    home: str = ""  # path of its parameters, such as "2.0"
    arrays: dict[str, Operand] = field(default_factory=dict)
    children: list[Placed] = field(default_factory=list)


class Wiring(Protocol[V]):
    """What a container's ``connect`` gets: it is told how the layers go together, forward; backward follows from it.

    The planner makes instructions of it, and what writes C makes calls of functions.
    """

    def forward(self, placed: Placed, x: Any) -> Any:
        """Run a layer, or the layers of a container; return the output. Rows with fields are dicts of values."""

    def holding(self, *values: V) -> AbstractContextManager[None]:
        """Within the ``with`` block, keep values as they are: they will be read again."""

    def add(self, values: Sequence[V], factor: float = 1.0, masked_as: V | None = None) -> V:
        """The sum of values, times a factor. Its padding is that of ``masked_as``, or what all have in common."""

    def concatenate(self, values: Sequence[V], axis: int) -> V:
        """Values one after the other along an axis of their rows."""

    def split(self, x: V) -> V:
        """Every step of a sequence as an entry of its own."""

    def join(self, x: V, steps: int) -> V:
        """The entries as sequences again."""


class Container(Layer):
    """Layers that work together as one layer; it has no kernels of its own.

    ``build`` places the inner layers by `within`; ``connect`` says to a plan how they go together: ``plan.forward(child, x)``
    gives a layer's output, and plans know how to add and to concatenate (see `nnkit.core.container.Wiring`).

    Hooks
    -----
    Beside those of every `nnkit.Layer`, of which it has no kernels. The last four say how it is drawn.

    ============  =======  ================================================================
    hook          default  what it is
    ============  =======  ================================================================
    connect       needed   says how the layers go together, and returns the output
    entries       method   how many rows of the layers within a row is: 1
    torch_order   method   the layers within that have arrays, as PyTorch's module of this name lists them: in order of use
    joins         ''       how values come together at its end: "+", or a word; "": none do
    side_by_side  False    its layers all see the input, instead of one after the other
    goes_around   False    the input also goes past its layers to its end
    framed        True     it is more than its layers
    ============  =======  ================================================================

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.core.container import Container
    >>> class Twice(Container):
    ...     def __init__(self, layer):
    ...         self.layer = layer
    ...     def build(self, in_shape):
    ...         return self.within(self.layer, self.within(self.layer, in_shape).out_shape).out_shape
    ...     def connect(self, plan, children, x):
    ...         return plan.forward(children[1], plan.forward(children[0], x))
    >>> nn.Sequential([Twice(nn.LeakyReLU(0.5))]).build((2,)).predict([[-4.0, 4.0]])
    array([[-1.,  4.]], dtype=float32)
    """

    if not TYPE_CHECKING:
        locals().update({name: Absent(name, f"a model has it: nn.Sequential([it]).{name}(...)")
                         for name in ("fit", "predict", "evaluate", "save", "summary")})  # fmt: skip

    needed = ("connect",)
    hooks = (*Layer.hooks, "connect", "entries", "torch_order", "joins", "side_by_side", "goes_around", "framed")
    joins: str = ""
    side_by_side: ClassVar[bool] = False
    goes_around: ClassVar[bool] = False
    framed: bool = True

    def within(self, layer: Layer, in_shape: Any, position: int = 0) -> Built:
        """Place an inner layer for input rows of ``in_shape``; ``position`` is 0 where it may read the input itself."""
        if not isinstance(layer, Layer):
            raise ParameterError(f"layer {position}: expected a layer, got {layer!r}; models and names are for the constructor")
        if position and layer.input_dtype != "real":
            raise ShapeError(f"layer {position}, {layer!r}: takes integers, so it can only be the first layer")
        around = self._known.around
        if any(item is layer for item in around):
            raise ParameterError(f"layer {position}, {layer!r}: expected a layer that is not within itself; take another one, "
                                 "or a copy of it")  # fmt: skip
        around.append(layer)
        built = layer.place(in_shape, self._known)
        around.pop()
        built.source = layer
        self._built.children.append(built)
        return built

    def only(self, output: str) -> tuple[Layer, dict[str, str]]:
        """A layer that computes one of several outputs, and the places in it of the layers within, by their places here."""
        raise ParameterError(f"{self!r}: expected a layer of several outputs, to take {output!r} of them")

    def readers(self, children: Sequence[Built]) -> Iterator[Reader]:
        """The layers within that read the input as it is given."""
        for child in children if self.side_by_side else children[:1]:
            yield from readers(child)

    def entries(self, in_shape: Any) -> int:
        """How many rows of the inner layers a row is: the steps of a sequence, where they see each by itself."""
        return 1

    def _require_fields(self, in_shape: Any) -> None:
        """What they are is seen as its layers are placed."""

    def work(self, in_shape: Any, out_shape: Any, parameters: int) -> int:
        return self.entries(in_shape) * sum(child.work() for child in self._built.children)

    def torch_order(self, leaves: Sequence[Built]) -> Sequence[Built]:
        """The innermost layers, in the order in which PyTorch's module of this name lists its own."""
        return leaves

    @abstractmethod
    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        """Run the inner layers on ``x``; return the output. Rows with fields are dicts of values."""

    def kernels(self) -> dict[str, Callable[..., Any]]:
        return {}

    @classmethod
    def validate(cls) -> None:
        """Nothing to check: its layers are registered themselves."""


class Chain(Container):
    """Layers one after the other, as one layer: what a model is within another.

    Parameters
    ----------
    layers : layers, their classes or their names
    model : the model that it stands for; where it is built, its parameters and states are taken over
    """

    def __init__(self, layers: Iterable[Layer | type[Layer] | str | Model | Sequence[Any]], model: Model | None = None) -> None:
        self.layers: list[Layer] = [as_layer(layer) for layer in layers]
        self.model = model
        if not self.layers:
            raise ParameterError("Sequential: expected at least one layer, got an empty list")
        _require_depth(self.layers)

    @recursive_repr("...")
    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self.layers))}])"

    @property
    def input_dtype(self) -> str | dict[str, str]:  # type: ignore[override]
        return self.layers[0].input_dtype if self.layers else "real"  # all were taken out of the list

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.layers[0].inputs if self.layers else ()

    @property
    def framed(self) -> bool:  # type: ignore[override]
        """A list of layers is not."""
        return self.model is not None

    def build(self, in_shape: Any) -> Any:
        if not self.layers:
            raise ParameterError("Sequential: expected at least one layer, got an empty list")
        behind, selected = 0, False  # how many layers compute before
        for layer in self.layers:
            in_shape = self.within(layer, in_shape, behind).out_shape
            selected = selected or layer.selects
            is_view = not (layer.kernels() or isinstance(layer, Container))
            behind += not (layer.selects or (selected and is_view))
        return in_shape

    def readers(self, children: Sequence[Built]) -> Iterator[Reader]:
        first, *behind = children
        yield from readers(first)
        if first.layer.selects:
            computing = (child for child in behind if child.children or child.layer.kernels())
            for reader in readers(next(computing, first)):
                yield reader.behind(first.layer)

    def around(self, children: list[Built]) -> Built:
        """The chain of layers that are built already."""
        chain = Chain(self.layers, self.model)
        chain._built = Built(chain, children[0].in_shape, children[-1].out_shape, children=children)
        return chain._built

    def connect(self, plan: Wiring[V], children: Sequence[Placed], x: Any) -> Any:
        for child in children:
            x = plan.forward(child, x)
        return x

    def onnx(self, graph: Graph, x: Value) -> Value:
        for child in self._built.children:
            x = graph.layer(child, x)
        return x

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return []


class Model(Familiar):
    """What a user makes of layers, as the rooms below the front door see it: every `nnkit.Sequential` is one.

    A model has a chain of layers and, once it is built, a network of them: `nnkit.network.network_of` gives it, and the rooms
    below work on that. What is declared here is what they, and callbacks, ask of the model itself.

    Attributes
    ----------
    layers : its layers
    last_fit : what the last fit was given: ``"loss"``, ``"optimizer"``, ``"epochs"``, ``"batch_size"``, ``"shuffle"``
    """

    _network: Any = None  # a `nnkit.network.Network`, once the model is built

    def __init__(self, layers: Iterable[Layer | type[Layer] | str | Model | Sequence[Any]]) -> None:
        if isinstance(layers, str | Layer):
            raise ParameterError(f"Sequential: expected a list of layers, got {layers!r}; write Sequential([...])")
        if isinstance(layers, Mapping):
            raise ParameterError(f"Sequential: expected a list of layers, which go by their places, got "
                                 f"{type(layers).__name__}; write Sequential(list(layers.values()))")  # fmt: skip
        self._chain = Chain(layers, self)
        self.layers: list[Layer] = self._chain.layers
        self.last_fit: dict[str, Any] = {}
        self._training = Exclusive("a model")

    def __repr__(self) -> str:
        return repr(self._chain)

    if TYPE_CHECKING:

        def summary(self, in_shape: Any = None, batch_size: int = 64) -> Any: ...

    def _repr_html_(self) -> str:
        """For a notebook: what `summary` tells; of a model that is not built, its layers."""
        if self.is_built:
            return str(self.summary()._repr_html_())
        layers = "".join(f"<li><code>{escape(printable(repr(layer)))}</code></li>" for layer in self.layers)
        return f'<div><b>{type(self).__name__}</b>, not built yet<ol start="0">{layers}</ol></div>'

    def _held(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __call__(self, *args: Any, **named: Any) -> NoReturn:
        """Models are not functions: `predict` gives outputs, `forward` those that `backward` goes on from."""
        raise CallError(f"{type(self).__name__}: expected model.predict(X), or model.forward(x, training=True) before "
                        "model.backward(grad), got model(...)")  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Layers, shapes and numbers; never addresses. A loss of one's own in ``last_fit`` may not be pickled."""
        return {"chain": self._chain, "layers": self.layers, "network": self._network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._chain, self.layers, self._network = state["chain"], state["layers"], state["network"]
        self.last_fit, self._training = {}, Exclusive("a model")

    @property
    def is_built(self) -> bool:
        """Whether the shapes are known, and there are numbers."""
        return self._network is not None

    @property
    def in_shape(self) -> Any:
        """The shape of one input row; of several inputs a dict of their shapes."""
        return require_built(self, "Sequential.in_shape").in_shape

    @property
    def out_shape(self) -> Any:
        """The shape of one output row; of several outputs a dict of their shapes."""
        return require_built(self, "Sequential.out_shape").out_shape

    @property
    def dtype(self) -> str:
        """In what it computes: "float32" or "float64"."""
        return require_built(self, "Sequential.dtype").dtype  # type: ignore[no-any-return]

    def freeze(self, *patterns: str) -> Self:
        """Train all parameters but those whose names match one of the patterns; of them no gradient is computed.

        ``*`` stands for anything, as in a shell: ``"0.*"`` is the first layer with all that it holds, and ``"*.bias"`` every
        bias. What is frozen stays so in files, copies and further fits, until `unfreeze`; building anew trains everything.
        Parameters before the first layer that is trained cost no backward pass at all. States, such as the running statistics
        of batch norm, are no parameters: training goes on to move them, as in PyTorch.

        Returns
        -------
        Model
            The model itself.

        Raises
        ------
        NotBuiltError, ParameterError, BusyError
            Parameters have no names yet; a pattern matches none of them; the model is being trained.

        Examples
        --------
        >>> import nnkit as nn, numpy as np
        >>> model = nn.Sequential([nn.Linear(4), nn.Tanh(), nn.Linear(1)]).build((2,), random_state=0)
        >>> before = model.copy().parameters()
        >>> history = model.freeze("0.*").fit(np.eye(2), np.ones((2, 1)), epochs=3)
        >>> [name for name, array in model.parameters().items() if (array != before[name]).any()]
        ['2.weight', '2.bias']
        """
        return self._frozen(patterns, True, "freeze")

    def unfreeze(self, *patterns: str) -> Self:
        """Train again what `freeze` has frozen: the parameters whose names match one of the patterns, by default all.

        Raises
        ------
        NotBuiltError, ParameterError, BusyError
            As for `freeze`.
        """
        return self._frozen(patterns or ("*",), False, "unfreeze")

    def _frozen(self, patterns: Sequence[str], frozen: bool, what: str) -> Self:
        network = require_built(self, f"Sequential.{what}")
        if not patterns:
            raise ParameterError(f"Sequential.{what}: expected patterns of parameters' names, such as '0.*', got none")
        with changing(self, what):
            network.freeze(patterns, frozen, f"Sequential.{what}")
        return self

    def parameters(self) -> Any:
        """All trained arrays by name: live views, writing to them changes the model."""
        raise NotImplementedError

    def gradients(self) -> Any:
        """The loss's gradients by the parameters, from the last backward pass: live views."""
        raise NotImplementedError

    def states(self) -> Any:
        """All arrays that are kept but not trained, by name: live views."""
        raise NotImplementedError

    def copy(self, dtype: DTypeLike | None = None) -> Self:
        """The same layers with arrays of their own that hold the same numbers, perhaps in another dtype."""
        raise NotImplementedError

    def predict(self, X: Any, n_threads: int | None = None) -> NDArray[Any]:
        """Outputs of the last layer, in evaluation mode."""
        raise NotImplementedError

    def update(self, optimizer: Any, epoch: float | None = None, epochs: float = 1.0) -> None:
        """One step of an optimizer from the present gradients."""
        raise NotImplementedError

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a file."""
        raise NotImplementedError


def chain_of(model: Model) -> Chain:
    """The layers of a model, as one layer."""
    return model._chain


def changing(model: Model, who: str) -> AbstractContextManager[None]:
    """Be the only one to change a model's numbers within a ``with`` block; others get a `BusyError`."""
    return model._training.by(f"Sequential.{who}")


def require_unchanged(model: Model, what: str) -> None:
    """Refuse what needs both the layers and the numbers, where ``layers`` is not what the model was built with."""
    if model._network is not None and not _has_layers(model._network.root, model.layers):
        raise ParameterError(f"Sequential: {what}: expected the layers that the model was built with, got others in "
                             "model.layers; build it again, which draws new numbers, or make another model")  # fmt: skip


def _has_layers(built: Built, layers: Sequence[Layer]) -> bool:
    """Whether these are the layers that a chain was built with, and so it is for the chains within: lists can be changed."""
    if len(layers) != len(built.children) or any(
        child.source is not layer for layer, child in zip(layers, built.children, strict=True)
    ):
        return False
    return all(_has_layers(item, chain.layers) for chain, item in _chains(built))


def _chains(built: Built) -> Iterator[tuple[Chain, Built]]:
    """The outermost chains within."""
    for child in built.children:
        if isinstance(child.layer, Chain):
            yield child.layer, child
        else:
            yield from _chains(child)


@dataclass(frozen=True)
class Reader:
    """A layer that reads the input as it is given, or some of it.

    Attributes
    ----------
    built : the layer
    name : of the field that it reads, "" for plain rows
    dtype : in which the layer reads it, "real" or "int64"
    columns : which of its columns, where a layer before it selects some
    """

    built: Built
    name: str = ""
    dtype: str = "real"
    columns: NDArray[np.int64] | None = None

    def behind(self, layer: Any) -> Reader:
        """The same layer, behind one that selects columns."""
        return replace(self, columns=layer.chosen if self.columns is None else layer.chosen[self.columns])

    def of(self, rows: Any) -> Any:
        """What it reads of rows."""
        mine = rows[self.name] if self.name else rows
        return mine if self.columns is None else mine[:, self.columns]


def readers(built: Built) -> Iterator[Reader]:
    """The layers within that read the input as it is given."""
    if isinstance(built.layer, Container):
        yield from built.layer.readers(built.children)
    else:
        dtypes = built.layer.input_dtype
        yield from (Reader(built, name, of_field(dtypes, name)) for name in fields(built.in_shape))


def _require_depth(layers: Sequence[Layer]) -> None:
    """Refuse layers so deep within each other that Python cannot walk through them; here it goes level by level."""
    for _ in range(DEEPEST):
        held = (item for layer in layers for value in vars(layer).values() for item in listed(value))
        layers = list({id(item): item for item in held if isinstance(item, Layer)}.values())
        if not layers:
            return
    raise ParameterError(f"expected layers within layers at most {DEEPEST} deep, got more, or one within itself; put them one "
                         "after the other")  # fmt: skip


def net_of(given: Any) -> Any:
    """The net of a fitted estimator; anything else is what it is."""
    return getattr(given, "model_", given)


def model_of(given: Any, who: str) -> Model:
    """The built model that is given itself, or as a fitted estimator.

    Raises
    ------
    ParameterError
        It is neither.
    NotBuiltError
        The model is not built.
    """
    model = net_of(given)
    if not isinstance(model, Model):
        hint = ""
        if hasattr(given, "get_params"):
            hint = "; fit it before; of a search give best_estimator_, of a pipeline the last step"
        elif isinstance(given, str | PathLike):
            hint = "; read it with nnkit.load(path)"
        raise ParameterError(f"{who}: expected a Sequential or a fitted NNClassifier or NNRegressor, got {shown(given)}{hint}")
    require_built(model, who)
    return model


def require_built(model: Model, who: str) -> Any:
    """The network of a built model."""
    if model._network is None:
        raise NotBuiltError(f"{who}: expected a built model; call fit, or build(in_shape=...) first")
    return model._network


def as_layer(part: Any) -> Layer:
    """A layer from a layer, its class or its name; a model or a list of layers as a chain."""
    model = net_of(part)
    if isinstance(model, Model):
        return model._chain
    if not isinstance(part, list | tuple):
        return Layer.make(part)
    try:
        return Chain(listed(part))
    except RecursionError:
        raise ParameterError("expected lists of layers, got lists within lists without an end") from None
