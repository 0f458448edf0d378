"""A trained net as one C99 file: the mathematics, layer by layer, then the numbers, then a self-test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Container, Placed
from nnkit.core.fields import require_plain
from nnkit.core.layer import Layer
from nnkit.core.part import Shape
from nnkit.errors import DataError, KernelError, ParameterError
from nnkit.executor import Executor
from nnkit.network import Network
from nnkit.persistence.c_functions import Argument, Functions, Given, Number, comment, literal, typed
from nnkit.persistence.c_names import taken
from nnkit.persistence.disk import to_path, write_atomically

__all__ = ["write_c"]

STACK = 1 << 18  # bytes that `predict` may take from the stack: half of what a thread has on macOS, which gives it least
CACHE_LINE = 64  # bytes: values begin at multiples of it in the working memory
EXAMPLES, EXAMPLE_NUMBERS = 4, 1 << 12  # rows of the self-test, and how many numbers they may have together
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}  # of the self-test, for the largest output: compilers round differently


def write_c(network: Network, path: Any, name: str = "predict") -> None:
    """Write a net as one C99 file; what `Sequential.to_c` does.

    The file has the numbers, exactly, and a function for each kind of layer. Of it, a program calls
    ``void predict(const float *x, float *out)`` for one row (double for a float64 model; int64_t where the first layer
    looks numbers up), or ``predict_with(x, out, work)`` with ``PREDICT_WORK`` numbers of working memory of its own: both
    keep nothing between calls. Where more than 256 KB are needed, too much for some stacks, there is only the second.
    By itself the file makes a program that tests it; how to compile it is said at its top.

    Parameters
    ----------
    network : what is written, as it predicts
    path : str or path-like, where to; what is there before is replaced once all is written
    name : of the function, for programs with several nets

    Raises
    ------
    KernelError, ShapeError
        A layer cannot be written in C: recurrent layers, attention, and those of plugins without a method ``c``; there are
        several inputs or outputs.
    PersistenceError, ParameterError
        The file cannot be written; the name is not one for C.

    Examples
    --------
    >>> import nnkit as nn, pathlib, tempfile
    >>> model = nn.Sequential([nn.Linear(2), nn.ReLU()]).build((3,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "net.c"
    ...     model.to_c(path)
    ...     "void predict(const float *x, float *out)" in path.read_text()
    True
    """
    why = taken(name) if isinstance(name, str) else "it is no string"
    if why:
        raise ParameterError("Sequential.to_c: expected name to be a name that C leaves free, such as 'predict', got "
                             f"{name!r}: {why}")  # fmt: skip
    require_plain(network.in_shape, network.out_shape, "Sequential.to_c")
    target = to_path(path)
    write_atomically(target, "".join(_File(network, name, target).pieces()).encode("ascii"))


# ------------------------------------------------------------------------------------------------------ values and calls


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
    _free: dict[Memory, list[Memory]] = field(default_factory=dict)  # what is written, and over what it may be

    def run(self, placed: Placed, x: Value) -> Value:
        """Plan a whole model; return its output."""
        self.given = x.memory
        out = self.forward(placed, x)
        return self._elementwise("copy", "x[i]", {"x": out}) if out.memory is x.memory else out

    # -------------------------------------------------------------------------------------------- what containers ask for

    def forward(self, placed: Placed, x: Any) -> Any:
        """Run a layer, or the layers of a container; return the output. Rows with fields are dicts of values."""
        built = placed.built
        if isinstance(built.layer, Container):
            return built.layer.connect(self, placed.children, x)
        try:
            if built.layer.input_dtype != "real" and x.memory is not self.given:
                raise KernelError("cannot be written in C behind nn.Columns, as it takes whole numbers")
            text = built.layer.c()
            return self._layer(placed, text, x) if text else Value(x.memory, built.out_shape, x.entries)
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

    def _layer(self, placed: Placed, text: str, x: Value) -> Value:
        """Call a layer's function, for every entry or, where it folds rows, for every row of it."""
        built, layer = placed.built, placed.built.layer
        out = Value.new(built.out_shape, x.entries)
        arrays = {**built.parameters, **built.states}
        shapes = {"x": built.in_shape, "out": built.out_shape, **{name: item.shape for name, item in arrays.items()}}
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
        given: dict[str, Value | str] = {"x": x, "out": out}
        for name in [name for name in function.arguments if name in arrays]:
            argument, in_c = function.arguments[name], "_".join(["layer", *placed.home.split("."), name])
            given[name] = in_c if argument.size else "NULL"
            if argument.size:
                self.weights[in_c] = f"{placed.home}.{name}", argument.shape
        said = f"{placed.name}: {built.in_shape} -> {built.out_shape}"
        call = Call(said, function.name, [(argument, given[name]) for name, argument in function.arguments.items()],
                    x.entries * rows)  # fmt: skip
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

    def place(self, x: Value, out: Value, line: int) -> list[int]:
        """Give all values their place: where the working memory is cut, and at last its size, in numbers.

        Parameters
        ----------
        x, out : the input and the output, whose places are the caller's
        line : their places begin at multiples of it
        """
        for memory, candidates in self._free.items():
            for other in (item.place for item in candidates):
                if other is not x.memory and other.last == memory.first and other.size == memory.size:
                    memory.over, other.last = other, memory.last
                    break
        x.memory.name, out.memory.place.name = "x", "out"
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


# -------------------------------------------------------------------------------------------------------------- the file


class _File:
    """A net's C file, piece by piece."""

    def __init__(self, network: Network, name: str, path: Path) -> None:
        self.network = network
        self.name = name
        self.path = path
        self.arrays = network.arrays()
        self.dtype = network.dtype
        upper = name.upper()
        self.inputs, self.outputs, self.work = f"{upper}_INPUTS", f"{upper}_OUTPUTS", f"{upper}_WORK"
        self.rows, self.expected = f"{name}_rows", f"{name}_expected"
        with_work = f"{name}_with"
        numbers = [f"{name}_{item}" for item in ("inputs", "outputs", "work")]
        used = [name, with_work, *numbers, self.inputs, self.outputs, self.work, self.rows, self.expected, "x", "out", "n"]
        self.calls = Calls(Functions(self.dtype, used))
        x = Value.new(network.in_shape)
        out = self.calls.run(network.placed(), x)
        both = next((item for item in used if item in self.calls.weights), None)
        if both is not None:
            raise ParameterError(f"Sequential.to_c: expected another name than {name!r}: an array of the net is {both!r}, too")
        *self.cuts, self.working = self.calls.place(x, out, CACHE_LINE // np.dtype(self.dtype).itemsize)
        self.on_stack = self.working * np.dtype(self.dtype).itemsize <= STACK
        given = "int64_t" if network.input_dtype == "int64" else "real"
        self.kind = {"x": given, "out": "real"}
        self.signature = f"void {name}(const {given} *x, real *out)"
        self.signature_with = f"void {with_work}(const {given} *x, real *out, real *work)"

    def pieces(self) -> Iterator[str]:
        """The text, in order."""
        yield self._header()
        yield typed(self._declarations(), self.dtype)
        for text in self.calls.functions.texts:
            yield f"{text}\n"
        yield typed(self._predict(), self.dtype)
        if self.calls.weights:
            yield "\n/* ---------------------------------------- the numbers ---------------------------------------- */\n"
        for c_name, (name, shape) in self.calls.weights.items():
            yield from self._array(c_name, "real", self.arrays[name].reshape(shape))
        yield from self._self_test()

    def _header(self) -> str:
        network, name, file = self.network, self.name, comment(self.path.name)
        parameters = sum(array.size for array in network.parameters().values())
        numbers = f"{prod(network.in_shape)} numbers, {network.in_shape}, to {prod(network.out_shape)}, {network.out_shape}"
        lines = [
            f"{name}: a neural net in C99, written by nnkit.",
            "",
            f"From {numbers}, in {'float' if self.dtype == 'float32' else 'double'}; {parameters} trained parameters.",
            "",
            "The self-test computes some rows and compares with what nnkit has computed; it ends with 0 if all is right:",
            "",
            f"    cc -std=c99 -O2 {file} -lm -o net && ./net",
            "",
            "In a program of your own, leave the self-test out (-O3 -march=native is faster):",
            "",
            f"    cc -std=c99 -O2 -DNNKIT_NO_MAIN -c {file}",
            "",
            "Every array is one row, in C order, without the batch axis. The functions keep nothing between calls and may",
            f"run in many threads at once. {name}_with takes its working memory from the caller, {self.working} numbers of any",
            f"content; {name} takes it from the stack." if self.on_stack
            else f"content; these are too many for the stack, so there is no {name}(x, out).",
            "x, out and work must not overlap.",
        ]
        text = "".join(f" * {comment(line)}".rstrip() + "\n" for line in lines)
        return f"/*\n{text} */\n"

    def _declarations(self) -> str:
        sizes = {self.inputs: prod(self.network.in_shape), self.outputs: prod(self.network.out_shape)}
        sizes[self.work] = max(self.working, 1)  # C has no arrays of size 0
        listed = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        alone = f"{self.signature};\n" if self.on_stack else ""
        text = (
            "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n\n"
            "/* What a program declares that uses this file, and what stands there for arrays' sizes: */\n"
            f"{alone}{self.signature_with};\n"
            f"extern const int {self.name}_inputs, {self.name}_outputs, {self.name}_work;\n"
            f"enum {{ {listed} }};\n\n"
        )
        if self.calls.weights:
            text += "/* Trained parameters and states; their numbers stand at the end. */\n"
        for c_name, (_, shape) in self.calls.weights.items():
            text += f"static const real {c_name}{_brackets(shape)};\n"
        return text + "\n"

    def _predict(self) -> str:
        body = "".join(f"    real *const a{number} = work{f' + {begin}' if begin else ''};\n"
                       for number, begin in enumerate(self.cuts, 1))  # fmt: skip
        body += "\n" if body else "    (void)work;\n\n"
        body += "".join(line for call in self.calls.calls for line in call.lines())
        text = f"{self.signature_with}\n{{\n{body}}}\n\n"
        if self.on_stack:
            text += f"{self.signature}\n{{\n    real work[{self.work}];\n    {self.name}_with(x, out, work);\n}}\n\n"
        for item, size in (("inputs", self.inputs), ("outputs", self.outputs), ("work", self.work)):
            text += f"const int {self.name}_{item} = {size};\n"
        return text

    def _self_test(self) -> Iterator[str]:
        rows = self._examples()
        expected = Executor(self.network).predict(rows).reshape(len(rows), -1)
        scale = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)) or 1.0
        yield "\n/* ---------------------------------------- the self-test ---------------------------------------- */\n"
        yield "\n#ifndef NNKIT_NO_MAIN\n#include <stdio.h>\n"
        yield from self._array(self.rows, self.kind["x"], rows.reshape(len(rows), -1))
        yield from self._array(self.expected, "real", expected)
        real = "float" if self.dtype == "float32" else "double"
        text = f"""
int main(void)
{{
    static {real} out[{self.outputs}], work[{self.work}];
    const double tolerance = {literal(TOLERANCE[self.dtype] * scale, "float64")};
    double largest = 0.0;
    int wrong = 0;
    for (int n = 0; n < {len(rows)}; n++) {{
        {self.name}_with({self.rows}[n], out, work);
        for (int j = 0; j < {self.outputs}; j++) {{
            const double given = out[j], expected = {self.expected}[n][j];
            if (given != expected && !(isnan(given) && isnan(expected))) {{
                const double deviation = given < expected ? expected - given : given - expected;
                if (!(deviation <= largest))
                    largest = deviation;
                wrong |= !(deviation <= tolerance);
            }}
        }}
    }}
    printf("{self.name}: largest deviation from nnkit %g, %s %g: %s\\n", largest, wrong ? "above" : "within", tolerance,
           wrong ? "WRONG" : "right");
    return wrong;
}}
#endif
"""
        yield text

    def _examples(self) -> NDArray[Any]:
        """Rows that the model takes."""
        network = self.network
        count = max(1, min(EXAMPLES, EXAMPLE_NUMBERS // prod(network.in_shape)))
        random = np.random.default_rng(0)
        shape = (count, *network.in_shape)
        if network.input_dtype != "int64":
            return random.normal(size=shape).astype(self.dtype)
        for below in (1000, 100, 10, 2):
            rows = random.integers(0, below, shape)
            try:
                network.check_input(rows, "X")
            except DataError:
                continue
            return rows
        return np.zeros(shape, np.int64)

    def _array(self, name: str, kind: str, array: NDArray[Any]) -> Iterator[str]:
        yield typed(f"\nstatic const {kind} {name}{_brackets(array.shape)} = ", self.dtype)
        yield from _braces(array, "f" if self.dtype == "float32" and kind == "real" else "", "    ")
        yield ";\n"


def _brackets(shape: Shape) -> str:
    return "".join(f"[{size}]" for size in shape)


def _braces(array: NDArray[Any], suffix: str, indent: str) -> Iterator[str]:
    """An array's initializer, the rows in braces of their own."""
    yield "{\n"
    if array.ndim > 1:
        for row in array:
            yield indent
            yield from _braces(row, suffix, f"{indent}    ")
            yield ",\n"
    else:
        across = 6 if array.dtype.itemsize == 4 else 4
        numbers = [_exact(value, suffix) for value in array.tolist()]
        for begin in range(0, len(numbers), across):
            yield f"{indent}{', '.join(numbers[begin : begin + across])},\n"
    yield f"{indent[4:]}}}"


def _exact(value: Number, suffix: str) -> str:
    """A number without rounding: a real one in hexadecimal."""
    if isinstance(value, int):
        return str(value)
    if not np.isfinite(value):
        return literal(value, "float64")
    return re.sub(r"\.?0*p", "p", value.hex()) + suffix
