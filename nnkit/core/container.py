"""Layers made of layers: the contract of a container, and the chain that every `Sequential` is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, ClassVar

from nnkit.core.calls import shown
from nnkit.core.layer import Built, Layer
from nnkit.core.part import Example, Shape, listed
from nnkit.engine.operands import Array, Operand
from nnkit.errors import NotBuiltError, ParameterError, ShapeError

if TYPE_CHECKING:
    from nnkit.model import Sequential
    from nnkit.persistence.onnx.graph import Graph, Value
    from nnkit.planner import Plan

__all__ = ["Chain", "Container", "Placed", "as_layer", "has_layers", "model_of", "readers"]

DEEPEST = 64  # levels; Python gives up at some 150


@dataclass
class Placed:
    """A built layer with its arrays as operands; a container with its layers."""

    name: str  # "layer 2.0, ReLU()"
    built: Built
    home: str = ""  # path of its parameters, such as "2.0"
    arrays: dict[str, Operand] = field(default_factory=dict)
    children: list[Placed] = field(default_factory=list)


class Container(Layer):
    """Layers that work together as one layer; it has no kernels of its own.

    ``build`` places the inner layers by `within`; ``connect`` lets a plan run them: ``plan.forward(child, x)`` gives a layer's
    output, and plans know how to add and to concatenate, forward and backward.

    How it is drawn, a container says by attributes: ``joins``, how values come together at its end ("+" or a word; "" where
    none do); ``side_by_side``, whether its layers all see the input, instead of one after the other; ``goes_around``, whether
    the input also goes past its layers to its end; ``framed``, whether it is more than its layers.
    """

    needed = ()
    hooks = (*Layer.hooks, "connect", "entries", "joins", "side_by_side", "goes_around", "framed")
    joins: str = ""
    side_by_side: ClassVar[bool] = False
    goes_around: ClassVar[bool] = False
    framed: bool = True

    def within(self, layer: Layer, in_shape: Shape, position: int = 0) -> Built:
        """Place an inner layer for input rows of ``in_shape``."""
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

    def entries(self, in_shape: Shape) -> int:
        """How many rows of the inner layers a row is: the steps of a sequence, where they see each by itself."""
        return 1

    def work(self, in_shape: Shape, out_shape: Shape, parameters: int) -> int:
        return self.entries(in_shape) * sum(child.work() for child in self._built.children)

    def connect(self, plan: Plan, children: Sequence[Placed], x: Array) -> Array:
        """Run the inner layers on ``x``; return the output."""
        raise NotImplementedError

    def kernels(self) -> dict[str, Callable[..., Any]]:
        return {}

    @classmethod
    def validate(cls) -> None:
        """Nothing to check: its layers are registered themselves."""


class Chain(Container):
    """Layers one after the other, as one layer: what a `Sequential` is within another.

    Parameters
    ----------
    layers : layers, their classes or their names
    model : the `Sequential` that it stands for; where it is built, its parameters and states are taken over
    """

    def __init__(self, layers: Iterable[Layer | type[Layer] | str], model: Sequential | None = None) -> None:
        self.layers: list[Layer] = [as_layer(layer) for layer in layers]
        self.model = model
        if not self.layers:
            raise ParameterError("Sequential: expected at least one layer, got an empty list")
        _require_depth(self.layers)

    @recursive_repr("...")
    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self.layers))}])"

    @property
    def input_dtype(self) -> str:  # type: ignore[override]
        return self.layers[0].input_dtype if self.layers else "real"  # all were taken out of the list

    @property
    def framed(self) -> bool:  # type: ignore[override]
        """A list of layers is not."""
        return self.model is not None

    def build(self, in_shape: Shape) -> Shape:
        if not self.layers:
            raise ParameterError("Sequential: expected at least one layer, got an empty list")
        for position, layer in enumerate(self.layers):
            in_shape = self.within(layer, in_shape, position).out_shape
        return in_shape

    def around(self, children: list[Built]) -> Built:
        """The chain of layers that are built already."""
        chain = Chain(self.layers, self.model)
        chain._built = Built(chain, children[0].in_shape, children[-1].out_shape, children=children)
        return chain._built

    def connect(self, plan: Plan, children: Sequence[Placed], x: Array) -> Array:
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


def has_layers(built: Built, layers: Sequence[Layer]) -> bool:
    """Whether these are the layers that a chain was built with, and so it is for the chains within: lists can be changed."""
    if len(layers) != len(built.children) or any(
        child.source is not layer for layer, child in zip(layers, built.children, strict=True)
    ):
        return False
    return all(has_layers(item, chain.layers) for chain, item in _chains(built))


def _chains(built: Built) -> Iterator[tuple[Chain, Built]]:
    """The outermost chains within."""
    for child in built.children:
        if isinstance(child.layer, Chain):
            yield child.layer, child
        else:
            yield from _chains(child)


def readers(built: Built) -> Iterator[Built]:
    """The layers within that read the input as it is given."""
    if not built.children:
        yield built
        return
    beside = isinstance(built.layer, Container) and built.layer.side_by_side
    for child in built.children if beside else built.children[:1]:
        yield from readers(child)


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


def model_of(given: Any, who: str) -> Any:
    """The built model that is given itself, or as a fitted estimator.

    Raises
    ------
    ParameterError
        It is neither.
    NotBuiltError
        The model is not built.
    """
    model = net_of(given)
    if not isinstance(getattr(model, "chain", None), Chain):
        hint = ""
        if hasattr(given, "get_params"):
            hint = "; fit it before; of a search give best_estimator_, of a pipeline the last step"
        elif isinstance(given, str | PathLike):
            hint = "; read it with nnkit.load(path)"
        raise ParameterError(f"{who}: expected a Sequential or a fitted NNClassifier or NNRegressor, got {shown(given)}{hint}")
    if not model.is_built:
        raise NotBuiltError(f"{who}: expected a built model; call fit, or build(in_shape=...) first")
    return model


def as_layer(part: Any) -> Layer:
    """A layer from a layer, its class or its name; a model or a list of layers as a chain."""
    chain = getattr(net_of(part), "chain", None)
    if isinstance(chain, Layer):
        return chain
    if not isinstance(part, list | tuple):
        return Layer.make(part)
    try:
        return Chain(listed(part))
    except RecursionError:
        raise ParameterError("expected lists of layers, got lists within lists without an end") from None
