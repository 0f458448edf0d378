"""A trace written out: the chain rule, symbol by symbol and number by number."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.inspect.trace.formula import LATEX, MATHML, TEXT, Derivative, Equation, Sum, Symbol, added, formula, product, total
from nnkit.inspect.trace.record import Record, TracedLayer

__all__ = ["Derivation", "Section", "derivation"]

WHOLE = 4  # inputs and outputs of a layer that is written out unit by unit; of a larger one only the first
FIRST = 2
LAYERS = 24  # that are all written out; of more the first and the last ones
LONGEST = 90  # characters of a formula that is still shown
WIDTH = 118  # characters of a line


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
        return f'<div style="line-height: 1.9">{"".join(pieces)}</div>'


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
    return f'<div style="margin-left: 2em"><math>{sides}</math></div>'


# ------------------------------------------------------------------------------------------------------------- writing


def derivation(record: Record, row: int) -> Derivation:
    """The chain rule of a batch, with the numbers of one row."""
    rows, row = len(record.x), record.place_of(row)
    writers = [_Writer(record, index, row) for index in range(len(record.layers))]
    loss = _LossWriter(record, row)
    title = record.title if rows == 1 else f"{record.title}; the numbers are those of row {row}"
    forward = _abridged([writer.forward() for writer in writers])
    backward = _abridged([writer.backward(loss) for writer in reversed(writers)])
    return Derivation(title, [*forward, loss.section()], [*backward, *writers[0].input()])


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


class _LossWriter:
    """Writes the loss and its derivative by the output."""

    def __init__(self, record: Record, row: int) -> None:
        self.record, self.row, self.loss = record, row, record.loss
        self.scalar = not record.loss.rowwise and not record.loss.interpreted and record.out.ndim == 2
        rows = len(record.out)
        mean = record.loss.reduction == "mean"
        self.share = 1.0 / (rows * record.loss.terms(record.out.shape[1:])) if mean else 1.0

    def _term(self, function: Any, row: int, unit: Any, index: Any) -> Any:
        a = Symbol("a", index, value=self.record.out[row, unit])
        y = Symbol("y", index, value=self.record.y[row, unit])
        given = {name: getattr(self.loss, name) for name in self.loss.per_output}
        own = {name: None if numbers is None else float(np.broadcast_to(numbers, self.record.out.shape[1:])[unit])
               for name, numbers in given.items()}  # fmt: skip
        return formula(function, prediction=a, target=y, **_hyperparameters(self.loss), **own)

    def section(self) -> Section:
        """The value."""
        section = Section(f"Loss: {self.loss!r}")
        left = Symbol("L", value=self.record.value)
        rows, units = self.record.out.shape if self.scalar else (0, 0)

        def term(place: int) -> Any:
            n, j = divmod(place, units)
            return self._term(type(self.loss).forward, n, j, j + 1 if rows == 1 else f"{n},{j + 1}")

        if 0 < rows * units <= WHOLE * WHOLE and _of_reasonable_length(term(0)) is not None:
            section.equations.append(Equation(left, product(self.share, total(rows * units, term, WHOLE))))
        else:
            section.equations.append(Equation(left))
            section.notes.append(type(self.loss).about())
        return section

    def derivative(self, unit: int, by: Derivative) -> Equation:
        """DL/da of one output."""
        right = self._term(type(self.loss).backward, self.row, unit, unit + 1) if self.scalar else None
        right = _of_reasonable_length(right)
        return Equation(by, None if right is None else product(self.share, right))


class _Writer:
    """Writes one layer.

    Units are spelt out where the layer is dense (its outputs are weighted sums, see ``Layer.dense``) and its rows are flat.
    """

    def __init__(self, record: Record, index: int, row: int) -> None:
        self.record, self.row = record, row
        self.layer: TracedLayer = record.layers[index]
        self.next: TracedLayer | None = record.layers[index + 1] if index + 1 < len(record.layers) else None
        self.last = index == len(record.layers) - 1
        names = self.layer.layers[0].dense
        self.dense = names is not None and self.layer.x.ndim == 2
        self.weight: str
        self.bias: str
        self.weight, self.bias = names or ("", "")
        self.number = self.layer.number
        inputs, outputs = self.layer.x[0].size, self.layer.z[0].size
        few = inputs <= WHOLE and outputs <= WHOLE
        self.units = range(outputs if few else min(FIRST, outputs))
        self.sources = range(inputs if few else min(FIRST, inputs))
        self.abridged = len(self.units) < outputs or len(self.sources) < inputs

    @property
    def heading(self) -> str:
        """Its number, its place, and what it is made of."""
        parts = ", ".join(f"{path} {layer!r}" for path, layer in zip(self.layer.paths, self.layer.layers, strict=True))
        return f"Layer {self.number} ({'output' if self.last else 'hidden'}): {parts}"

    # ------------------------------------------------------------------------------------------------------- symbols

    def _symbol(self, letter: str, array: NDArray[Any] | None, *index: int, layer: int | None = None) -> Symbol:
        """A quantity of one row, by its indices from 0."""
        value = float("nan") if array is None else array[(self.row, *index)]
        return Symbol(letter, *(place + 1 for place in index), layer=layer, value=value)

    def _source(self, i: Any) -> Symbol:
        """An input: a unit of the layer before, or a number of the row."""
        value = self.layer.x[self.row, i] if isinstance(i, int) else float("nan")
        index = i + 1 if isinstance(i, int) else i
        inner = self.layer.follows and self.number > 1
        return Symbol("a" if inner else "x", index, layer=self.number - 1 if inner else None, value=value)

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
            rule = Sum("i", product(Symbol("w", "i", "j"), self._source("i")))
            section.rules.append(Equation(Symbol("z", "j"), added(rule, Symbol("b", "j")) if has_bias else rule, True))
            for j in self.units:
                summed = total(layer.x.shape[1], partial(self._weighted, j))
                right = added(summed, self._entry(self.bias, "b", j)) if has_bias else summed
                section.equations.append(Equation(self._symbol("z", layer.z, j), right))
        if activation is not None and layer.z.ndim == 2:
            rule = self._formula(type(activation).forward, x=Symbol("z", "j"))
            section.rules += [] if rule is None else [Equation(Symbol("a", "j"), rule, True)]
            for j in self.units:
                right = self._formula(type(activation).forward, x=self._symbol("z", layer.z, j))
                section.equations.append(Equation(self._symbol("a", layer.a, j), right))
        if self.abridged or not self.dense:
            section.notes += [_described("z" if activation is not None else "a", layer.z[self.row])]
            section.notes += [_described("a", layer.a[self.row])] if activation is not None else []
        return section

    def _formula(self, function: Any, **known: Any) -> Any:
        """What the activation function computes, if it can be written on a line."""
        return _of_reasonable_length(formula(function, **known, **_hyperparameters(self.layer.activation)))

    # ------------------------------------------------------------------------------------------------------ backward

    def backward(self, loss: _LossWriter) -> Section:
        """DL/da, da/dz, delta, and the gradients by the parameters."""
        section, layer = Section(self.heading), self.layer
        activation, flat = layer.activation, layer.z.ndim == 2
        if layer.delta is not None and flat and (self.dense or activation is not None):
            self._rules(section)
            for j in self.units:
                section.equations += self._delta(j, loss)
        if self.dense:
            for i in self.sources:
                section.equations += [self._dL_dw(i, j) for j in self.units]
            if self.bias in layer.parameters:
                section.equations += [self._dL_db(j) for j in self.units]
        if self.abridged or not self.dense:
            if layer.delta is not None:
                section.notes.append(_described("delta" if activation is not None else "dL/da", layer.delta[self.row]))
            section.notes += [_described(f"dL/d{name}", array) for name, array in layer.gradients.items()]
        return section

    def _rules(self, section: Section) -> None:
        dL_da = Derivative(Symbol("L"), Symbol("a", "j"))
        if self.next is not None and self.next.follows and self.next.layers[0].dense and self.next.x.ndim == 2:
            outer = self.next.number
            term = product(Symbol("w", "j", "k", layer=outer), Symbol("delta", "k", layer=outer))
            section.rules.append(Equation(dL_da, Sum("k", term), True))
        da_dz = Derivative(Symbol("a", "j"), Symbol("z", "j"))
        by_z = product(dL_da, da_dz) if self.layer.activation is not None else dL_da
        section.rules.append(Equation(Symbol("delta", "j"), by_z, True))
        if not self.dense:
            return
        many = len(self.record.x) > 1
        of_row, source = ("n",) if many else (), self._source("i")
        delta = Symbol("delta", *of_row, "j")
        by_weight = product(delta, Symbol(source.letter, *of_row, "i", layer=source.layer))
        terms: dict[str, tuple[tuple[str, ...], Any]] = {"w": (("i", "j"), by_weight)}
        if self.bias in self.layer.parameters:
            terms["b"] = (("j",), delta)
        for letter, (index, term) in terms.items():
            left = Derivative(Symbol("L"), Symbol(letter, *index))
            section.rules.append(Equation(left, Sum("n", term) if many else term, True))

    def _delta(self, j: int, loss: _LossWriter) -> Iterator[Equation]:
        layer, L = self.layer, Symbol("L")
        assert layer.dL_da is not None
        dL_da = Derivative(L, self._symbol("a", layer.a, j), layer.dL_da[self.row, j])
        yield loss.derivative(j, dL_da) if self.last else self._from_next(j, dL_da)
        by_z: Any = dL_da
        if layer.activation is not None:
            a, z = self._symbol("a", layer.a, j), self._symbol("z", layer.z, j)
            da_dz = Derivative(a, z, layer.da_dz[self.row, j])
            yield Equation(da_dz, self._formula(type(layer.activation).backward, x=z, out=a, grad_out=1.0))
            by_z = product(dL_da, da_dz)
        yield Equation(self._symbol("delta", layer.delta, j), by_z)

    def _from_next(self, i: int, dL_da: Derivative) -> Equation:
        """A hidden unit's gradient: what comes back along its weights."""
        outer = self.next
        names = outer.layers[0].dense if outer is not None and outer.follows and outer.x.ndim == 2 else None
        if outer is None or names is None:
            return Equation(dL_da)
        return Equation(dL_da, self._back(outer, names[0], i))

    def _back(self, outer: TracedLayer, weight: str, i: int) -> Any:
        def term(k: int) -> Any:
            w = Symbol("w", i + 1, k + 1, layer=outer.number, value=outer.parameters[weight][i, k])
            return product(w, self._symbol("delta", outer.delta, k, layer=outer.number))

        return total(outer.z.shape[1], term)

    def _over_rows(self, term: Callable[[int, str], Any]) -> Any:
        """A sum over the rows of the batch; ``term`` gets a row and what it adds to indices."""
        rows = len(self.record.x)
        return total(rows, lambda n: term(n, f"{n}," if rows > 1 else ""), WHOLE)

    def _dL_dw(self, i: int, j: int) -> Equation:
        layer, source = self.layer, self._source(i)

        def term(n: int, row: str) -> Any:
            x = Symbol(source.letter, f"{row}{i + 1}", layer=source.layer, value=layer.x[n, i])
            return product(self._delta_of(n, row, j), x)

        left = Derivative(Symbol("L"), Symbol("w", i + 1, j + 1), layer.gradients[self.weight][i, j])
        return Equation(left, self._over_rows(term))

    def _dL_db(self, j: int) -> Equation:
        left = Derivative(Symbol("L"), Symbol("b", j + 1), self.layer.gradients[self.bias][j])
        return Equation(left, self._over_rows(lambda n, row: self._delta_of(n, row, j)))

    def _delta_of(self, n: int, row: str, j: int) -> Symbol:
        assert self.layer.delta is not None
        return Symbol("delta", f"{row}{j + 1}", value=self.layer.delta[n, j])

    def input(self) -> list[Section]:
        """The gradient by the input of the whole net, for the first layer."""
        layer = self.layer
        if layer.grad_x is None:
            return []
        if not self.dense:
            return [Section("Input", notes=[_described("dL/dx", layer.grad_x[self.row])])]
        term = product(Symbol("w", "i", "j", layer=1), Symbol("delta", "j", layer=1))
        rule = Equation(Derivative(Symbol("L"), Symbol("x", "i")), Sum("j", term), True)
        equations = [Equation(Derivative(Symbol("L"), Symbol("x", i + 1), layer.grad_x[self.row, i]),
                              self._back(layer, self.weight, i)) for i in self.sources]  # fmt: skip
        notes = [_described("dL/dx", layer.grad_x[self.row])] if self.abridged else []
        return [Section("Input", [rule], equations, notes)]
