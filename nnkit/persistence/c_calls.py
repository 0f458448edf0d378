"""The plan of a forward pass as calls of C functions, and the memory that they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from nnkit.core.container import Container, Placed
from nnkit.core.fields import SELF, each, fields, spelt
from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.errors import KernelError
from nnkit.persistence.c_functions import Argument, Functions, Given, Number, comment

__all__ = ["Calls", "Value"]


@dataclass(eq=False)
class Memory:
    """The input, or what a call writes, and the calls that use it."""

    size: int
    name: str = ""  # in C, once it has a place
    first: int = -1
    last: int = -1
    over: Memory | None = None  # in whose place it lies: this one is no longer needed when it is written

    def use(self, position: int) -> None:
        """Note that the call at ``position`` reads or writes it."""
        self.first = position if self.first < 0 else self.first
        self.last = position

    @property
    def place(self) -> Memory:
        """The memory in whose place it lies at last."""
        return self if self.over is None else self.over.place


@dataclass(frozen=True, eq=False)
class Value:
    """``entries`` arrays of one shape, one after the other in memory."""

    memory: Memory
    shape: Shape
    entries: int = 1

    @classmethod
    def new(cls, shape: Shape, entries: int = 1) -> Value:
        """In memory of its own."""
        return cls(Memory(entries * prod(shape)), shape, entries)

    @property
    def whole(self) -> Shape:
        """The shape of all entries together."""
        return (self.entries, *self.shape)


@dataclass
class Call:
    """A C function on some arrays, called once or for several entries."""

    said: str
    function: str
    arguments: list[tuple[Argument, Value | str]]  # each with its value, or what it is in C
    times: int = 1

    def lines(self) -> Iterator[str]:
        """As C."""
        if self.said:
            yield f"    /* {comment(self.said)} */\n"
        call = f"{self.function}({', '.join(self._given(*item) for item in self.arguments)});"
        yield f"    {call}\n" if self.times == 1 else f"    for (int n = 0; n < {self.times}; n++)\n        {call}\n"

    def _given(self, argument: Argument, value: Value | str) -> str:
        if isinstance(value, str):
            return value
        size = argument.size
        moved = "" if self.times == 1 else f" + n * {size}" if size > 1 else " + n"
        return argument.cast(f"{value.memory.place.name}{moved}")


@dataclass
class Calls:
    """The plan of a forward pass as calls of C functions.

    Containers run their layers on it as on every `nnkit.core.container.Wiring`, so they need no C of their own.
    """

    functions: Functions
    calls: list[Call] = field(default_factory=list)
    weights: dict[str, tuple[str, Shape]] = field(default_factory=dict)  # their names in the model and shapes, by those in C
    given: set[Memory] = field(default_factory=set)  # the inputs
    _free: dict[Memory, list[Memory]] = field(default_factory=dict)  # what is written, and over what it may be

    def run(self, placed: Placed, x: Any) -> Any:
        """Plan a whole model; return its output. Rows with fields are dicts of values."""
        self.given = {value.memory for value in fields(x).values()}
        taken = set(self.given)

        def apart(out: Value) -> Value:
            """An output in memory that nothing else that is the caller's lies in."""
            out = self._elementwise("copy", "x[i]", {"x": out}) if out.memory in taken else out
            taken.add(out.memory)
            return out

        outs = each(apart, self.forward(placed, x))
        for out in fields(outs).values():
            out.memory.use(len(self.calls))  # the caller reads it when all is done
        return outs

    # -------------------------------------------------------------------------------------------- what containers ask for

    def forward(self, placed: Placed, x: Any) -> Any:
        """Run a layer, or the layers of a container; return the output. Rows with fields are dicts of values."""
        built = placed.built
        if isinstance(built.layer, Container):
            return built.layer.connect(self, placed.children, x)
        values = {name or SELF: value for name, value in fields(x).items()}
        first = next(iter(values.values()))
        try:
            if built.layer.input_dtype != "real" and first.memory not in self.given:
                raise KernelError("cannot be written in C behind nn.Columns, as it takes whole numbers")
            text = built.layer.c()
            return self._layer(placed, text, values) if text else Value(first.memory, built.out_shape, first.entries)
        except KernelError as error:
            raise KernelError(f"Sequential.to_c: {placed.name}: {error}") from error

    @contextmanager
    def holding(self, *values: Value) -> Iterator[None]:
        """Keep values as they are: nothing to do, as places are found when all that is read is known."""
        yield

    def add(self, values: Sequence[Value], factor: float = 1.0, masked_as: Value | None = None) -> Value:
        """The sum of values, times a factor."""
        total, *more = values
        for position, value in enumerate(more, 1):
            scaled = factor != 1.0 and position == len(more)
            formula = "(a[i] + b[i]) * factor" if scaled else "a[i] + b[i]"
            total = self._elementwise("sum", formula, {"a": total, "b": value}, {"factor": factor})
        return total

    def concatenate(self, values: Sequence[Value], axis: int) -> Value:
        """Values one after the other along an axis of their rows."""
        shape = values[0].shape
        width, inner = sum(value.shape[axis] for value in values), prod(shape[axis + 1 :])
        out = Value.new((*shape[:axis], width, *shape[axis + 1 :]), values[0].entries)
        begin = 0
        for value in values:
            size = value.shape[axis] * inner
            pieces = value.memory.size // size
            text = """
                void forward(const real x[P][S], real out[P][W])
                {
                    for (int p = 0; p < P; p++)
                        for (int s = 0; s < S; s++)
                            out[p][begin + s] = x[p][s];
                }"""
            seen = {"x": Value(value.memory, (pieces, size)), "out": Value(out.memory, (pieces, width * inner))}
            self._call("concatenate", text, seen, {"begin": begin}, said="" if begin else "concatenation")
            begin += size
        return out

    def split(self, x: Value) -> Value:
        """Every step of a sequence as an entry of its own."""
        return Value(x.memory, x.shape[1:], x.entries * x.shape[0])

    def join(self, x: Value, steps: int) -> Value:
        """The entries as sequences again."""
        return Value(x.memory, (steps, *x.shape), x.entries // steps)

    # ------------------------------------------------------------------------------------------------------------- calls

    def _elementwise(
        self, name: str, formula: str, values: dict[str, Value], numbers: Mapping[str, Number] | None = None
    ) -> Value:
        """A value computed number by number."""
        out = Value.new(*next((value.shape, value.entries) for value in values.values()))
        arguments = ", ".join(f"const real {item}[N]" for item in values)
        text = f"""
            void forward({arguments}, real out[N])
            {{
                for (int i = 0; i < N; i++)
                    out[i] = {formula};
            }}"""
        self._call(name, text, {**values, "out": out}, numbers or {}, said=name, inplace=True)
        return out

    def _call(
        self, name: str, text: str, values: dict[str, Value], numbers: Mapping[str, Number], said: str, inplace: bool = False
    ) -> None:
        """Call a function of the plan's own on whole values."""
        shapes = {item: value.whole for item, value in values.items()}
        function = self.functions.array(name, text, shapes, numbers.get, restrict=not inplace)
        call = Call(said, function.name, [(argument, values[item]) for item, argument in function.arguments.items()])
        self._note(call, values["out"], inplace)

    def _layer(self, placed: Placed, text: str, values: dict[str, Value]) -> Value:
        """Call a layer's function, for every entry or, where it folds rows, for every row of it."""
        built, layer = placed.built, placed.built.layer
        entries = next(iter(values.values())).entries
        out = Value.new(built.out_shape, entries)
        arrays = {**built.parameters, **built.states}
        shapes = {**built.inputs, "out": built.out_shape, **{name: item.shape for name, item in arrays.items()}}
        rows = 1
        shapes |= built.views
        if layer.folds_rows and built.in_shape:
            rows = prod(shapes["x"][:-1])
            shapes |= {"x": shapes["x"][-1:], "out": shapes["out"][-1:]}
        named = _Named(layer, self.functions)
        function = self.functions.array(
            f"{named.key}_layer", text, shapes, named.number, named.function,
            restrict=not layer.inplace, said=f"{type(layer).__name__}: {layer.about()}",
        )  # fmt: skip
        given: dict[str, Value | str] = {**values, "out": out}
        for name in [name for name in function.arguments if name in arrays]:
            argument, in_c = function.arguments[name], "_".join(["layer", *placed.home.split("."), name])
            given[name] = in_c if argument.size else "NULL"
            if argument.size:
                self.weights[in_c] = f"{placed.home}.{name}", argument.shape
        said = f"{placed.name}: {spelt(built.in_shape)} -> {built.out_shape}"
        call = Call(said, function.name, [(argument, given[name]) for name, argument in function.arguments.items()],
                    entries * rows)  # fmt: skip
        self._note(call, out, layer.inplace)
        return out

    def _note(self, call: Call, out: Value, inplace: bool) -> None:
        """Append a call, and note what memory it uses."""
        read = [value.memory for _, value in call.arguments if isinstance(value, Value) and value.memory is not out.memory]
        for memory in (*read, out.memory):
            memory.use(len(self.calls))
        self._free[out.memory] = read if inplace else []
        self.calls.append(call)

    # ------------------------------------------------------------------------------------------------------------ memory

    def place(self, callers: Mapping[str, Value], line: int) -> list[int]:
        """Give all values their place: where the working memory is cut, and at last its size, in numbers.

        Parameters
        ----------
        callers : the inputs and outputs by their names in C, whose places are the caller's
        line : places begin at multiples of it
        """
        for memory, candidates in self._free.items():
            for other in (item.place for item in candidates):
                if other not in self.given and other.last == memory.first and other.size == memory.size:
                    memory.over, other.last = other, memory.last
                    break
        for name, value in callers.items():
            value.memory.place.name = name
        places: list[tuple[int, Memory]] = []
        for memory in self._free:
            if memory.over is None and not memory.name:
                begin = 0
                for start, other in sorted(places, key=lambda item: item[0]):
                    if other.last >= memory.first and begin < start + other.size and start < begin + memory.size:
                        begin = -(-(start + other.size) // line) * line
                places.append((begin, memory))
        cuts = sorted({begin for begin, _ in places})
        for begin, memory in places:
            memory.name = f"a{cuts.index(begin) + 1}"
        return [*cuts, max((begin + memory.size for begin, memory in places), default=0)]


class _Named:
    """What the C of a layer may name beside arrays and sizes: the layer's numbers, and functions of numbers."""

    def __init__(self, layer: Layer, functions: Functions) -> None:
        self.layer = layer
        self.functions = functions
        self.key = layer.key or type(layer).__name__.lower()

    def number(self, name: str) -> Given | None:
        """A number of the layer's own, or several of them; None where it has none of this name."""
        value = getattr(self.layer, name, None)
        if isinstance(value, bool | int | float | np.number):
            return self.layer.number(name, self.functions.dtype).number
        several = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(several, tuple | list) and all(isinstance(item, bool | int | float | np.number) for item in several):
            return tuple(np.asarray(several).tolist()) or None
        return None

    def function(self, name: str) -> str | None:
        """The C function for a function that the layer has, or one in the module where its C stands."""
        own = getattr(self.layer, name, None)
        if callable(own):
            numbers = {item: value for item in vars(self.layer) if (value := self.number(item)) is not None}
            return self.functions.scalar(own, numbers, self.key)
        other = type(self.layer).c.__globals__.get(name)
        return self.functions.scalar(other) if callable(other) else None
