"""A trace written out: the chain rule, symbol by symbol and number by number."""

from __future__ import annotations

import ast
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import fields
from nnkit.core.formulas import Formulas
from nnkit.core.loss.weights import RowWeights
from nnkit.inspect.trace.flow import Input, Output, Piece
from nnkit.inspect.trace.formula import (
    LATEX,
    MATHML,
    TEXT,
    Derivative,
    Equation,
    Name,
    Sum,
    Symbol,
    added,
    formula,
    product,
    total,
    written,
)
from nnkit.inspect.trace.record import Record, TracedInput, TracedLayer

__all__ = ["Derivation", "Section", "derivation"]

WHOLE = 4  # inputs and outputs of a layer that is written out unit by unit; of a larger one only the first
FIRST = 2
LAYERS = 24  # that are all written out; of more the first and the last ones
LONGEST = 90  # characters of a formula that is still shown
WIDTH = 118  # characters of a line
EQUATION = "margin-left: 2em; padding: 0.4em 0; line-height: normal; font-size: 1.15em; overflow-x: auto; overflow-y: hidden"


@dataclass
class Section:
    """A heading, rules for all units, and equations with the numbers of each; ``notes`` are about what is left out."""

    heading: str
    rules: list[Equation] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Derivation:
    """All sections, forward and then backward."""

    title: str
    forward: list[Section]
    backward: list[Section]

    def text(self) -> str:
        """For a terminal."""
        lines = [self.title]
        for part, sections in (("FORWARD", self.forward), ("BACKWARD", self.backward)):
            lines += ["", part]
            for section in sections:
                lines += ["", section.heading, *_text_of(section)]
        return "\n".join(lines)

    def latex(self) -> str:
        """For LaTeX with amsmath: one aligned display."""
        lines = [rf"&{LATEX.word(self.title)}"]
        for part, sections in (("Forward", self.forward), ("Backward", self.backward)):
            lines.append(rf"&\textbf{{{part}}}")
            for section in sections:
                lines.append(rf"&{LATEX.word(section.heading)}")
                for equation in (*section.rules, *section.equations):
                    left, *others = equation.sides(LATEX)
                    lines.append(f"{left} &= {' = '.join(others)}")
                lines += [rf"&{LATEX.word(note)}" for note in section.notes]
        body = " \\\\[4pt]\n".join(lines)
        return f"$$\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n$$"

    def html(self) -> str:
        """For a notebook; formulas are MathML, which browsers typeset by themselves."""
        pieces = [f"<div><b>{html.escape(self.title)}</b></div>"]
        for part, sections in (("Forward", self.forward), ("Backward", self.backward)):
            pieces.append(f"<h4>{part}</h4>")
            for section in sections:
                equations = "".join(map(_html_of, (*section.rules, *section.equations)))
                notes = "".join(f"<div><code>{html.escape(note)}</code></div>" for note in section.notes)
                heading = f"<summary>{html.escape(section.heading)}</summary>"
                pieces.append(f'<details open="open">{heading}{equations}{notes}</details>')
        return f"<div>{''.join(pieces)}</div>"


def _text_of(section: Section) -> Iterator[str]:
    line = ""
    for rule in (" = ".join(rule.sides(TEXT)) for rule in section.rules):
        if line and len(line) + 3 + len(rule) > WIDTH:
            yield f"{line},"
            line = ""
        line += f",  {rule}" if line else f"  {rule}"
    yield from [line] if line else []
    if section.equations or section.notes:
        yield ""
    for equation in section.equations:
        yield from _folded(equation.sides(TEXT))
    yield from (f"  {note}" for note in section.notes)


def _folded(sides: Sequence[str]) -> Iterator[str]:
    """An equation in lines of no more than ``WIDTH`` characters where that is possible, signs of equality below each other."""
    line, indent = f"  {sides[0]}", 3 + len(sides[0])
    for place, side in enumerate(sides[1:]):
        if place and len(line) + 3 + len(side) > WIDTH:
            yield line
            line = " " * (indent - 1)
        line += f" = {side}"
    yield line


def _html_of(equation: Equation) -> str:
    sides = "<mo>=</mo>".join(f"<mrow>{side}</mrow>" for side in equation.sides(MATHML))
    return f'<div style="{EQUATION}"><math displaystyle="true">{sides}</math></div>'


# ------------------------------------------------------------------------------------------------------------- writing


def derivation(record: Record, row: int) -> Derivation:
    """The chain rule of a batch, with the numbers of one row."""
    row = record.place_of(row)
    losses = {name: _LossWriter(record, name, row) for name in record.outputs}
    writers = [_Writer(record, layer, row, losses) for layer in record.layers]
    for writer in writers:
        writer.uses = [other for other in writers if other.layer.home == writer.layer.home]
    title = record.title if record.rows == 1 else f"{record.title}; the numbers are those of row {row + 1}"
    forward = [*_abridged([writer.forward() for writer in writers]), *(loss.section() for loss in losses.values())]
    forward += [] if "" in losses else [_sum_of(record)]
    backward = _abridged([writer.backward() for writer in reversed(writers)])
    inputs = [_InputWriter(record, item, row).section() for item in record.inputs if item.grad_x is not None]
    return Derivation(title, forward, [*backward, *inputs])


def _sum_of(record: Record) -> Section:
    """The loss of a net with several outputs."""
    factors = record.criterion.factors
    terms = [product(factors[name], Symbol("L", *_named(name), value=value)) for name, value in record.values.items()]
    return Section("Loss", equations=[Equation(Symbol("L", value=record.value), added(*terms))])


def _abridged(sections: list[Section]) -> list[Section]:
    """All layers, or the first and the last ones of many."""
    left_out = len(sections) - LAYERS
    if left_out <= 0:
        return sections
    gap = Section(f"... {left_out} layers more ...")
    return [*sections[: LAYERS // 2], gap, *sections[-(LAYERS // 2) :]]


def _hyperparameters(part: Any) -> dict[str, Any]:
    """The numbers that a part's functions may name."""
    return {name: value for name, value in vars(part).items() if isinstance(value, bool | int | float | np.number)}


def _of_reasonable_length(expression: Any) -> Any:
    """A formula, if it is short enough to be read."""
    return None if expression is None or len(TEXT(expression)) > LONGEST else expression


def _described(name: str, array: NDArray[Any]) -> str:
    """One line on an array: its numbers where they are few, else their range."""
    if array.size <= WHOLE:
        return f"{name} = {np.array2string(array, precision=4)}"
    return (f"{name}: shape {array.shape}, from {array.min():.4g} to {array.max():.4g}, "
            f"mean {array.mean():.4g}, standard deviation {array.std():.4g}")  # fmt: skip


def _share(weight: float) -> Any:
    """What a row weighs in the loss, as 1 / N where that is what it is."""
    count = round(1.0 / weight) if weight else 0
    return ast.BinOp(ast.Constant(1), ast.Div(), ast.Constant(count)) if count > 1 and 1.0 / count == weight else weight


def _named(name: str, *index: Any) -> tuple[Any, ...]:
    """The indices of a quantity, behind the name of the input or output that it belongs to, where there are several."""
    return (Name(name), *index) if name else index


class _LossWriter:
    """Writes the loss of an output, and its derivative by it."""

    def __init__(self, record: Record, name: str, row: int) -> None:
        self.record, self.name, self.row = record, name, row
        self.loss, self.factor = record.criterion.losses[name], record.criterion.factors[name]
        self.out, self.y = fields(record.out)[name], record.targets[name]
        self.scalar = not self.loss.rowwise and not self.loss.interpreted and self.out.ndim == 2
        self.share = _share(float(RowWeights(self.loss, self.y, self.out.shape[1:], None).share[row, 0]))
        self.written = self.loss.formulas if self.loss.rowwise and self.out.ndim == 2 else None

    def _term(self, function: Any, row: int, unit: Any, index: tuple[Any, ...], a: Symbol) -> Any:
        y = Symbol("y", *_named(self.name, *index), value=self.y[row, unit])
        given = {name: getattr(self.loss, name) for name in self.loss.per_output}
        own = {name: None if numbers is None else float(np.broadcast_to(numbers, self.out.shape[1:])[unit])
               for name, numbers in given.items()}  # fmt: skip
        return formula(function, prediction=a, target=y, **_hyperparameters(self.loss), **own)

    def section(self) -> Section:
        """The value."""
        section = Section(f"Loss {self.name}: {self.loss!r}" if self.name else f"Loss: {self.loss!r}")
        left = Symbol("L", *_named(self.name), value=self.record.values[self.name])
        rows, units = self.out.shape if self.scalar else (0, 0)

        def term(place: int) -> Any:
            n, j = divmod(place, units)
            index = (j + 1,) if rows == 1 else (f"{n + 1},{j + 1}",)
            return self._term(type(self.loss).forward, n, j, index, self._output(n, j))

        if 0 < rows * units <= WHOLE * WHOLE and _of_reasonable_length(term(0)) is not None:
            section.equations.append(Equation(left, product(self.share, total(rows * units, term, WHOLE))))
        else:
            section.equations.append(Equation(left))
            section.notes.append(type(self.loss).about())
        if self.written is not None:
            section.rules += self._written_rules(self.written)
        return section

    def _written_rules(self, formulas: Formulas) -> Iterator[Equation]:
        """Of a loss that a lecture writes for a whole row."""
        if formulas.probability:
            yield Equation(Symbol("p", "j"), written(formulas.probability), True)
        yield Equation(Symbol("L", "n"), written(formulas.forward), True)
        yield Equation(Derivative(Symbol("L"), Symbol("a", "j")), self._graded(written(formulas.backward)), True)

    def _graded(self, right: Any) -> Any:
        """A derivative, times what the row and the loss weigh."""
        return product(self.factor, self.share, right)

    def _graded_of(self, formulas: Formulas, unit: int, a: Symbol) -> Any:
        """The same with the numbers of a unit; a label is a row of zeros with a one."""
        y, out = self.y[self.row], self.out[[self.row]]
        if self.loss.are_labels(self.y, self.out.shape[1:]):
            y = np.arange(out.shape[1]) == y
        p = self.loss.probabilities(out)
        known = {"a_j": a, "y_j": Symbol("y", unit + 1, value=float(y[unit]))}
        known |= {} if p is None else {"p_j": Symbol("p", unit + 1, value=float(p[0, unit]))}
        return self._graded(written(formulas.backward, **known))

    def _output(self, row: int, unit: int) -> Symbol:
        """A number of the output: the activation of a layer, or else by its name."""
        of, place = _place(self.record.outputs[self.name], unit)
        index = place + 1 if self.record.rows == 1 else f"{row + 1},{place + 1}"
        value = self.out[row, unit]
        if isinstance(of, int):
            alone = not self.name and len(self.record.outputs[self.name]) == 1
            return Symbol("a", index, layer=None if alone else of, value=value)
        if isinstance(of, Input):
            return Symbol("x", *_named(of, index), value=value)
        return Symbol("out", *_named(self.name, index), value=value)

    def derivative(self, unit: int, a: Symbol) -> Any:
        """The derivative by a number of the output; None where that is no formula."""
        if self.written is not None:
            return self._graded_of(self.written, unit, a)
        if not self.scalar:
            return None
        right = _of_reasonable_length(self._term(type(self.loss).backward, self.row, unit, (unit + 1,), a))
        return None if right is None else self._graded(right)


def _place(pieces: Sequence[Piece], place: int) -> tuple[Any, int]:
    """Of what a number is that stands at this place of the pieces together, and where in that."""
    for piece in pieces:
        if place < piece.size:
            return piece.of, place
        place -= piece.size
    raise AssertionError("expected pieces that are all of the value")


def _spelt(piece: Piece) -> str:
    """A piece in words: "a(1)", "x_table"."""
    if isinstance(piece.of, int):
        return f"a({piece.of})"
    return "others" if piece.of is None else f"x_{piece.of}".rstrip("_")


class _Back:
    """Writes what comes back to a value from those that read it."""

    def __init__(self, record: Record, readers: Sequence[Piece], row: int) -> None:
        self.row = row
        self.outputs = [piece for piece in readers if isinstance(piece.of, Output)]
        self.layers = [(record.layers[piece.of - 1], piece.first) for piece in readers if isinstance(piece.of, int)]
        # There are formulas for weighted sums, for functions of each number, and for the loss.
        self.known = len(self.outputs) + len(self.layers) == len(readers) > 0 and all(
            item.delta is not None and (item.is_dense or item.is_function) for item, _ in self.layers)  # fmt: skip

    def rule(self, index: str, over: str) -> Any:
        """For all units, in terms of those of the layers that read them; None where it is more than that."""
        if not self.known or self.outputs:
            return None

        def back(layer: TracedLayer, first: int) -> Any:
            place = f"{first}+{index}" if first else index
            if layer.is_function:
                return Symbol("delta", place, layer=layer.number)
            w, delta = Symbol("w", place, over, layer=layer.number), Symbol("delta", over, layer=layer.number)
            return Sum(over, product(w, delta))

        return added(*(back(*item) for item in self.layers))

    def terms(self, unit: int) -> list[Any]:
        """Of one unit, what each of the layers that read it sends back."""
        return [self._sum(layer, first + unit) for layer, first in self.layers]

    def _sum(self, layer: TracedLayer, place: int) -> Any:
        dense, deltas = layer.layers[0].dense, layer.delta
        assert deltas is not None

        def delta(k: int) -> Symbol:
            return Symbol("delta", k + 1, layer=layer.number, value=deltas[self.row, k])

        if dense is None:
            return delta(place)

        def term(k: int) -> Any:
            w = Symbol("w", place + 1, k + 1, layer=layer.number, value=layer.parameters[dense[0]][place, k])
            return product(w, delta(k))

        return total(layer.z.shape[1], term)


def _sizes(layer: TracedLayer) -> tuple[int, int]:
    """How many inputs and outputs it has."""
    return sum(array[0].size for array in fields(layer.x).values()), layer.z[0].size


def _few(layer: TracedLayer) -> tuple[range, range]:
    """Which of its inputs and outputs are written out."""
    inputs, outputs = _sizes(layer)
    few = inputs <= WHOLE and outputs <= WHOLE
    return range(inputs if few else min(FIRST, inputs)), range(outputs if few else min(FIRST, outputs))


def _is_abridged(layer: TracedLayer) -> bool:
    """Whether that is not all."""
    return tuple(map(len, _few(layer))) < _sizes(layer)


class _InputWriter:
    """Writes the gradient by an input of the net."""

    def __init__(self, record: Record, given: TracedInput, row: int) -> None:
        self.record, self.given, self.row = record, given, row
        self.back = _Back(record, given.readers, row)

    def section(self) -> Section:
        """DL/dx."""
        name, grad_x, back = self.given.name, self.given.grad_x, self.back
        assert grad_x is not None
        section = Section(f"Input {name}" if name else "Input")
        size = grad_x[0].size
        shown = min((len(_few(layer)[0]) for layer, _ in back.layers), default=0)
        abridged = any(_is_abridged(layer) for layer, _ in back.layers) or shown < size
        rule = back.rule("i", "j") if grad_x.ndim == 2 else None
        if rule is not None:
            section.rules.append(Equation(Derivative(Symbol("L"), Symbol("x", *_named(name, "i"))), rule, True))
            for i in range(min(shown, size)):
                by = Derivative(Symbol("L"), Symbol("x", *_named(name, i + 1)), grad_x[self.row, i])
                section.equations.append(Equation(by, added(*back.terms(i))))
        if abridged or rule is None:
            section.notes.append(_described("dL/dx" + (f"_{name}" if name else ""), grad_x[self.row]))
        return section


class _Writer:
    """Writes one layer.

    Units are spelt out where the layer is dense (its outputs are weighted sums, see ``Layer.dense``) and its rows are flat.
    """

    def __init__(self, record: Record, layer: TracedLayer, row: int, losses: dict[str, _LossWriter]) -> None:
        self.record, self.layer, self.row, self.losses = record, layer, row, losses
        self.dense = layer.is_dense
        self.weight: str
        self.bias: str
        self.weight, self.bias = layer.layers[0].dense or ("", "")
        self.number = layer.number
        self.uses = [self]  # of its parameters
        self.back = _Back(record, layer.readers, row)
        self.sources, self.units = _few(layer)
        self.abridged = not self.dense or _is_abridged(layer)

    @property
    def heading(self) -> str:
        """Its number, its place, and what it is made of."""
        parts = ", ".join(f"{path} {layer!r}" for path, layer in zip(self.layer.paths, self.layer.layers, strict=True))
        outputs = [f"output {piece.of}".rstrip() for piece in self.back.outputs]
        return f"Layer {self.number} ({', '.join(outputs) or 'hidden'}): {parts}"

    # ------------------------------------------------------------------------------------------------------- symbols

    def _symbol(self, letter: str, array: NDArray[Any] | None, *index: int, layer: int | None = None) -> Symbol:
        """A quantity of one row, by its indices from 0."""
        value = float("nan") if array is None else array[(self.row, *index)]
        return Symbol(letter, *(place + 1 for place in index), layer=layer, value=value)

    def _source(self, i: Any, local: int | None = None) -> Symbol:
        """An input: a unit of a layer before, or a number of the row; what is neither is of the layer ``local``."""
        pieces = self.layer.sources
        if isinstance(i, int):
            of, place = _place(pieces, i)
            index, value = place + 1, self.layer.x[self.row, i]
        else:
            of, index, value = pieces[0].of if len(pieces) == 1 else None, i, float("nan")
        if isinstance(of, int):
            return Symbol("a", index, layer=of, value=value)
        return Symbol("x", *_named(of or "", index), layer=local if of is None else None, value=value)

    def _entry(self, name: str, letter: str, *index: int, layer: int | None = None) -> Symbol:
        """A parameter."""
        return Symbol(letter, *(place + 1 for place in index), layer=layer, value=self.layer.parameters[name][index])

    def _weighted(self, j: int, i: int) -> Any:
        """An input times its weight."""
        return product(self._entry(self.weight, "w", i, j), self._source(i))

    # ------------------------------------------------------------------------------------------------------- forward

    def forward(self) -> Section:
        """Z and a."""
        section = Section(self.heading)
        layer, activation = self.layer, self.layer.activation
        if not self.dense:
            section.notes.append(type(layer.layers[0]).about())
        if self.dense:
            has_bias = self.bias in layer.parameters
            rule: Any = Sum("i", product(Symbol("w", "i", "j"), self._source("i")))
            section.rules.append(Equation(Symbol("z", "j"), added(rule, Symbol("b", "j")) if has_bias else rule, True))
            for j in self.units:
                summed = total(layer.x.shape[1], partial(self._weighted, j))
                right = added(summed, self._entry(self.bias, "b", j)) if has_bias else summed
                section.equations.append(Equation(self._symbol("z", layer.z, j), right))
        if activation is not None and layer.z.ndim == 2:
            formulas = activation.formulas
            rule = written(formulas.forward) if formulas else self._formula(type(activation).forward, x=Symbol("z", "j"))
            section.rules += [] if rule is None else [Equation(Symbol("a", "j"), rule, True)]
            for j in self.units:
                right = self._formula(type(activation).forward, x=self._symbol("z", layer.z, j))
                section.equations.append(Equation(self._symbol("a", layer.a, j), right))
        if len(layer.sources) > 1:
            section.notes.append(f"{'x' if self.dense else 'its input'} is {', then '.join(map(_spelt, layer.sources))}")
        if self.abridged:
            section.notes += [_described("z" if activation is not None else "a", layer.z[self.row])]
            section.notes += [_described("a", layer.a[self.row])] if activation is not None else []
        return section

    def _formula(self, function: Any, **known: Any) -> Any:
        """What the activation function computes, if it can be read from its source on a line."""
        return _of_reasonable_length(formula(function, **known, **_hyperparameters(self.layer.activation)))

    # ------------------------------------------------------------------------------------------------------ backward

    def backward(self) -> Section:
        """DL/da, da/dz, delta, and the gradients by the parameters."""
        section, layer = Section(self.heading), self.layer
        activation, flat = layer.activation, layer.z.ndim == 2
        if layer.delta is not None and flat and (self.dense or activation is not None):
            self._rules(section)
            for j in self.units:
                section.equations += self._delta(j)
        if self.dense:
            for i in self.sources:
                section.equations += [self._dL_dw(i, j) for j in self.units]
            if self.bias in layer.parameters:
                section.equations += [self._dL_db(j) for j in self.units]
        if self.abridged:
            if layer.delta is not None:
                section.notes.append(_described("delta" if activation is not None else "dL/da", layer.delta[self.row]))
            section.notes += [_described(f"dL/d{name}", array) for name, array in layer.gradients.items()]
        return section

    def _rules(self, section: Section) -> None:
        dL_da = Derivative(Symbol("L"), Symbol("a", "j"))
        if (rule := self.back.rule("j", "k")) is not None:
            section.rules.append(Equation(dL_da, rule, True))
        da_dz = Derivative(Symbol("a", "j"), Symbol("z", "j"))
        by_z: Any = dL_da
        if self.layer.is_mixing:
            across = Derivative(Symbol("a", "k"), Symbol("z", "j"))
            by_z = Sum("k", product(Derivative(Symbol("L"), Symbol("a", "k")), across))
            formulas = self.layer.activation.formulas if self.layer.activation else None
            section.rules += [Equation(across, written(formulas.backward), True)] if formulas else []
        elif self.layer.activation is not None:
            by_z = product(dL_da, da_dz)
        section.rules.append(Equation(Symbol("delta", "j"), by_z, True))
        if not self.dense:
            return
        deltas = [use._delta_of("j", self) for use in self.uses]
        by_weight = [product(delta, use._read("i", self)) for use, delta in zip(self.uses, deltas, strict=True)]
        sums: dict[str, tuple[tuple[str, ...], Sequence[Any]]] = {"w": (("i", "j"), by_weight)}
        if self.bias in self.layer.parameters:
            sums["b"] = (("j",), deltas)
        for letter, (index, terms) in sums.items():
            left = Derivative(Symbol("L"), Symbol(letter, *index))
            many = self.record.rows > 1
            section.rules.append(Equation(left, added(*(Sum("n", term) if many else term for term in terms)), True))

    def _delta(self, j: int) -> Iterator[Equation]:
        layer, L = self.layer, Symbol("L")
        assert layer.dL_da is not None
        dL_da = Derivative(L, self._symbol("a", layer.a, j), layer.dL_da[self.row, j])
        yield Equation(dL_da, self._dL_da(j))
        by_z: Any = dL_da
        if layer.is_mixing:
            by_z = None if layer.da_dz is None else total(layer.z.shape[1], partial(self._across, j))
        elif layer.activation is not None and layer.da_dz is not None:
            a, z = self._symbol("a", layer.a, j), self._symbol("z", layer.z, j)
            da_dz = Derivative(a, z, layer.da_dz[self.row, j])
            yield Equation(da_dz, self._formula(type(layer.activation).backward, x=z, out=a, grad_out=1.0))
            by_z = product(dL_da, da_dz)
        yield Equation(self._symbol("delta", layer.delta, j), by_z)

    def _across(self, j: int, k: int) -> Any:
        """What comes back to z_j by way of a_k."""
        layer = self.layer
        assert layer.dL_da is not None and layer.da_dz is not None
        a, z = self._symbol("a", layer.a, k), self._symbol("z", layer.z, j)
        return product(Derivative(Symbol("L"), a, layer.dL_da[self.row, k]), Derivative(a, z, layer.da_dz[self.row, k, j]))

    def _dL_da(self, j: int) -> Any:
        """What comes back to a unit from the loss and from the layers that read it; None where that is no formula."""
        if not self.back.known:
            return None
        a = self._symbol("a", self.layer.a, j)
        terms = [self.losses[str(piece.of)].derivative(piece.first + j, a) for piece in self.back.outputs]
        terms += self.back.terms(j)
        return None if any(term is None for term in terms) else added(*terms)

    # A parameter's gradient is a sum over the rows of the batch and, of a layer that is used again, over its uses.

    def _dL_dw(self, i: int, j: int) -> Equation:
        left = Derivative(Symbol("L"), Symbol("w", i + 1, j + 1), self.layer.gradients[self.weight][i, j])
        return Equation(left, self._summed(lambda use, n: product(use._delta_of(j, self, n), use._read(i, self, n))))

    def _dL_db(self, j: int) -> Equation:
        left = Derivative(Symbol("L"), Symbol("b", j + 1), self.layer.gradients[self.bias][j])
        return Equation(left, self._summed(lambda use, n: use._delta_of(j, self, n)))

    def _summed(self, term: Callable[[_Writer, int], Any]) -> Any:
        return added(*(total(self.record.rows, partial(term, use), WHOLE) for use in self.uses))

    def _of_row(self, place: Any, n: int | None) -> tuple[Any, ...]:
        """The indices of a number of row ``n``, or of any."""
        if self.record.rows == 1:
            return (place,)
        return ("n", place) if n is None else (f"{n + 1},{place}",)

    def _delta_of(self, j: Any, seen_from: _Writer, n: int | None = None) -> Symbol:
        """Delta of a unit, or of any, as it is called in a layer."""
        layer = None if seen_from is self else self.number
        if n is None:
            return Symbol("delta", *self._of_row(j, n), layer=layer)
        assert self.layer.delta is not None
        return Symbol("delta", *self._of_row(j + 1, n), layer=layer, value=self.layer.delta[n, j])

    def _read(self, i: Any, seen_from: _Writer, n: int | None = None) -> Symbol:
        """An input, or any, as it is called in a layer."""
        source = self._source(i, None if seen_from is self else self.number)
        *names, place = source.index
        value = float("nan") if n is None else self.layer.x[n, i]
        return Symbol(source.letter, *names, *self._of_row(place, n), layer=source.layer, value=value)
