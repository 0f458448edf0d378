"""A trained net as one C99 file: the mathematics, layer by layer, then the numbers, then a self-test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import each, fields, numbers
from nnkit.core.part import Shape
from nnkit.errors import DataError, ParameterError
from nnkit.executor import Executor
from nnkit.network import Network
from nnkit.persistence.c_calls import Calls, Value
from nnkit.persistence.c_functions import LINE, Functions, Number, comment, literal, typed
from nnkit.persistence.c_names import taken
from nnkit.persistence.disk import to_path, write_atomically
from nnkit.training.data import count_of

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

    Several inputs and outputs are as many arguments, in the model's order and by their names there: ``void predict(const float
    *image, const float *table, float *price, float *kind)``, whose sizes are ``PREDICT_INPUTS_image`` and so on. A name that C
    or the file has taken gets ``x_`` or ``out_`` before it.

    Parameters
    ----------
    network : what is written, as it predicts
    path : str or path-like, where to; what is there before is replaced once all is written
    name : of the function, for programs with several nets

    Raises
    ------
    KernelError
        A layer cannot be written in C: recurrent layers, attention, and those of plugins without a method ``c``.
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
    target = to_path(path)
    write_atomically(target, "".join(_File(network, name, target).pieces()).encode("ascii"))


@dataclass
class _Array:
    """An input or an output as C sees it, an argument of the function."""

    field: str  # as the model calls it; "" where it is the only one
    name: str
    kind: str  # "real", or "int64_t"
    value: Value
    written: bool  # an output
    net: str  # the function

    def named(self, what: str) -> str:
        """What belongs to it: predict_rows, or predict_rows_image."""
        return f"{self.net}_{what}_{self.name}" if self.field else f"{self.net}_{what}"

    @property
    def side(self) -> str:
        """What it is one of."""
        return "outputs" if self.written else "inputs"

    @property
    def size(self) -> str:
        """The name of the number of its numbers."""
        whole = f"{self.net}_{self.side}".upper()
        return f"{whole}_{self.name}" if self.field else whole

    @property
    def declared(self) -> str:
        """As an argument."""
        return f"{'' if self.written else 'const '}{self.kind} *{self.name}"


class _File:
    """A net's C file, piece by piece."""

    def __init__(self, network: Network, name: str, path: Path) -> None:
        self.network = network
        self.name = name
        self.path = path
        self.weights = network.arrays()
        self.dtype = network.dtype
        self.work = f"{name.upper()}_WORK"
        x = each(Value.new, network.in_shape)
        kinds = each(lambda dtype: "int64_t" if dtype == "int64" else "real", network.input_dtype)
        used = {name, f"{name}_with", f"{name}_work", f"{name}_differs", self.work, "work", "n", "wrong"}
        self.inputs = self._arrays(False, x, kinds, used)
        # The values of the outputs are not there yet: their names have to be, so that functions get others.
        self.outputs = self._arrays(True, each(Value.new, network.out_shape),
                                    each(lambda shape: "real", network.out_shape), used)  # fmt: skip
        self.calls = Calls(Functions(self.dtype, sorted(used)))
        out = self.calls.run(network.placed(), x)
        for item in self.outputs:
            item.value = fields(out)[item.field]
        both = next((item for item in sorted(used) if item in self.calls.weights), None)
        if both is not None:
            raise ParameterError(f"Sequential.to_c: expected another name than {name!r}: an array of the net is {both!r}, too")
        places = {item.name: item.value for item in self.arrays}
        *self.cuts, self.working = self.calls.place(places, CACHE_LINE // np.dtype(self.dtype).itemsize)
        self.on_stack = self.working * np.dtype(self.dtype).itemsize <= STACK
        arguments = ", ".join(item.declared for item in self.arrays)
        self.names = ", ".join(item.name for item in self.arrays)
        self.signature, self.signature_with = f"void {name}({arguments})", f"void {name}_with({arguments}, real *work)"

    def _arrays(self, written: bool, values: Any, kinds: Any, used: set[str]) -> list[_Array]:
        """Inputs or outputs, by names that nothing else in the file has; ``used`` grows by them."""
        listed: list[_Array] = []
        for place, (field, value) in enumerate(fields(values).items()):
            plain = "out" if written else "x"
            wishes = (field, f"{plain}_{field}") if field else (plain,)
            name = next((wish for wish in wishes if not field or _is_free(wish, used)), f"{plain}_{place}")
            item = _Array(field, name, fields(kinds)[field], value, written, self.name)
            used |= {name, item.size, *map(item.named, (item.side, "rows", "expected"))}
            listed.append(item)
        return listed

    @property
    def arrays(self) -> list[_Array]:
        """What the function is given, in order."""
        return [*self.inputs, *self.outputs]

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
            yield from self._array(c_name, "real", self.weights[name].reshape(shape))
        yield from self._self_test()

    def _header(self) -> str:
        network, name, file = self.network, self.name, comment(self.path.name)
        parameters = sum(array.size for array in network.parameters().values())
        lines = [
            f"{name}: a neural net in C99, written by nnkit.",
            "",
            *self._said(f"in {'float' if self.dtype == 'float32' else 'double'}; {parameters} trained parameters."),
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
            else f"content; these are too many for the stack, so there is no {name}({self.names}).",
            f"{self.names} and work must not overlap.",
        ]
        text = "".join(f" * {comment(line)}".rstrip() + "\n" for line in lines)
        return f"/*\n{text} */\n"

    def _said(self, rest: str) -> list[str]:
        """What it computes from what."""
        numbers = {item.name: f"{prod(item.value.shape)} numbers, {item.value.shape}" for item in self.arrays}
        if not any(item.field for item in self.arrays):
            return [f"From {numbers['x']}, to {numbers['out'].replace(' numbers', '')}, {rest}"]
        lines = []
        for word, side in (("From", self.inputs), ("to", self.outputs)):
            lines.append(word)
            for item in side:
                model = f", in the model {item.field!r}" if item.field not in ("", item.name) else ""
                lines.append(f"    {item.name}: {numbers[item.name]}{model}")
        return [*lines, rest]

    def _declarations(self) -> str:
        sizes = {item.size: item.value.memory.size for item in self.arrays}
        sizes[self.work] = max(self.working, 1)  # C has no arrays of size 0
        listed = _listed([f"{name} = {size}" for name, size in sizes.items()])
        constants = _listed([*(item.named(item.side) for item in self.arrays), f"{self.name}_work"])
        alone = f"{self.signature};\n" if self.on_stack else ""
        text = (
            "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n\n"
            "/* What a program declares that uses this file, and what stands there for arrays' sizes: */\n"
            f"{alone}{self.signature_with};\n"
            f"extern const int{constants};\n"
            f"enum {{{listed} }};\n\n"
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
            text += f"{self.signature}\n{{\n    real work[{self.work}];\n    {self.name}_with({self.names}, work);\n}}\n\n"
        for constant, size in (*((item.named(item.side), item.size) for item in self.arrays), (f"{self.name}_work", self.work)):
            text += f"const int {constant} = {size};\n"
        return text

    def _self_test(self) -> Iterator[str]:
        rows = self._examples()
        count = count_of(rows)
        expected = fields(each(lambda out: out.reshape(count, -1), Executor(self.network).predict(rows)))
        yield "\n/* ---------------------------------------- the self-test ---------------------------------------- */\n"
        yield "\n#ifndef NNKIT_NO_MAIN\n#include <stdio.h>\n"
        for item in self.inputs:
            yield from self._array(item.named("rows"), item.kind, fields(rows)[item.field].reshape(count, -1))
        for item in self.outputs:
            yield from self._array(item.named("expected"), "real", expected[item.field])
        declared = _listed([*(f"{item.name}[{count}][{item.size}]" for item in self.outputs), f"work[{self.work}]"])
        rows_of = [item.named("rows") for item in self.inputs] + [item.name for item in self.outputs]
        given = ", ".join(f"{name}[n]" for name in rows_of)
        compared = "".join(self._compared(item, expected[item.field]) for item in self.outputs)
        real = "float" if self.dtype == "float32" else "double"
        yield f"""
static int {self.name}_differs(const char *what, const {real} *given, const {real} *expected, int count, double tolerance)
{{
    double largest = 0.0;
    int wrong = 0;
    for (int j = 0; j < count; j++) {{
        const double a = given[j], b = expected[j];
        if (a != b && !(isnan(a) && isnan(b))) {{
            const double deviation = a < b ? b - a : a - b;
            if (!(deviation <= largest))
                largest = deviation;
            wrong |= !(deviation <= tolerance);
        }}
    }}
    printf("%s: largest deviation from nnkit %g, %s %g: %s\\n", what, largest, wrong ? "above" : "within", tolerance,
           wrong ? "WRONG" : "right");
    return wrong;
}}

int main(void)
{{
    static {real}{declared};
    int wrong = 0;
    for (int n = 0; n < {count}; n++)
        {self.name}_with({given}, work);
{compared}    return wrong;
}}
#endif
"""

    def _compared(self, item: _Array, expected: NDArray[Any]) -> str:
        """The comparison of an output."""
        scale = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)) or 1.0
        what = f"{self.name}, {item.name}" if item.field else self.name
        tolerance = literal(TOLERANCE[self.dtype] * scale, "float64")
        return (f'    wrong |= {self.name}_differs("{what}", {item.name}[0], {item.named("expected")}[0], '
                f"{len(expected)} * {item.size}, {tolerance});\n")  # fmt: skip

    def _examples(self) -> Any:
        """Rows that the model takes."""
        network = self.network
        count = max(1, min(EXAMPLES, EXAMPLE_NUMBERS // numbers(network.in_shape)))
        random = np.random.default_rng(0)

        def drawn(below: int) -> Any:
            """Whole numbers below this one, or others."""

            def field(shape: Shape, dtype: str) -> NDArray[Any]:
                if dtype != "int64":
                    return random.normal(size=(count, *shape)).astype(dtype)
                return random.integers(0, below, (count, *shape))

            return each(field, network.in_shape, network.input_dtype)

        for below in (1000, 100, 10, 2):
            rows = drawn(below)
            try:
                network.check_input(rows, "X")
            except DataError:
                continue
            return rows
        return drawn(1)

    def _array(self, name: str, kind: str, array: NDArray[Any]) -> Iterator[str]:
        yield typed(f"\nstatic const {kind} {name}{_brackets(array.shape)} = ", self.dtype)
        yield from _braces(array, "f" if self.dtype == "float32" and kind == "real" else "", "    ")
        yield ";\n"


def _listed(items: list[str]) -> str:
    """A space, and items with commas; lines of their own where one is too long."""
    line = f" {', '.join(items)}"
    return line if len(line) < LINE else "\n    " + ",\n    ".join(items)


def _is_free(name: str, used: set[str]) -> bool:
    """Whether an argument may have this name: neither C nor the file has another thing of it."""
    return not (taken(name) or name in used or re.fullmatch(r"a\d+|layer_\w*", name))


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
