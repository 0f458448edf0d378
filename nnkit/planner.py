"""From layers to instructions: which kernel runs on which memory, in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from nnkit.core.container import Container, Placed
from nnkit.core.fields import SELF, each, fields, of_field, spelt
from nnkit.core.layer import Built, Layer, PythonLayer
from nnkit.core.part import kernel_names
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, Constant, Control, ControlWord, Operand, Seed, Storage, constant, lanes_of
from nnkit.engine.program import Instruction, Numbers
from nnkit.errors import ShapeError
from nnkit.kernels.blocks import to_blocks, to_rows
from nnkit.kernels.control import Word
from nnkit.kernels.data import add, copy, copy_columns, require_finite, require_range, scale, to_whole

__all__ = ["Node", "Plan"]

Gradients = Sequence[Array | None]
NONE: Mapping[str, Array] = {}


@dataclass
class Node:
    """A layer in its place in a plan, with the memory that its kernels share."""

    name: str  # "layer 0, ReLU()"
    home: str  # path of its parameters
    built: Built
    index: int
    inputs: dict[str, Array]  # by the names by which the kernels call them
    out: Array
    named: dict[str, Operand]  # parameters, states, scratch, and parameter gradients in training
    copies: dict[int, PythonLayer] = field(default_factory=dict)  # of a Python layer, one for each shard
    grad_out: Array | None = None
    grads: dict[str, Array] = field(default_factory=dict)  # of the inputs
    begin: int = 0  # of the instructions that are its own
    end: int = 0  # of the instructions that lead to ``out``
    trains: bool = False  # whether it has parameters to learn

    @property
    def x(self) -> Array:
        """What it reads; of several values the first."""
        return next(iter(self.inputs.values()))

    @property
    def grad_x(self) -> Array | None:
        """The gradient of `x`, once there is one."""
        return next(iter(self.grads.values()), None)


@dataclass
class Step:
    """Something that was done forward, and how to do it backward.

    ``backward`` gets the gradient of ``out`` and, for each of ``inputs``, whether its gradient is wanted.
    """

    inputs: tuple[Array, ...]
    out: Array
    backward: Callable[[Array, Sequence[bool]], Gradients]
    node: Node | None = None
    strung: bool = False  # whether the numbers of ``out`` are those of the inputs, one input after the other

    @property
    def trains(self) -> bool:
        """Whether there are parameters to learn."""
        return self.node is not None and self.node.trains


class Plan:
    """Writes the instructions of a forward pass and then of the backward pass.

    Values are arrays, each known by its identity; what is done with them is noted as steps, which backward takes in reverse. A
    value that several steps have read gets the sum of their gradients.

    Parameters
    ----------
    real : "float32" or "float64"
    training : what the kernels get as ``training``
    differentiate : whether a backward pass follows
    learn : whether that has to give the gradients of the parameters, and not that of the input alone
    keep : leave every intermediate result in memory of its own, for looking at
    shards : how many the batch is cut into
    """

    def __init__(
        self, real: str, *, training: bool, differentiate: bool, learn: bool = True, keep: bool = False, shards: int = 1
    ) -> None:
        self.real = real
        self.learn = learn
        self.differentiate = differentiate
        self.training = training
        self.keep = keep
        self.shards = shards
        self.instructions: list[Instruction] = []
        self.nodes: list[Node] = []
        self.steps: list[Step] = []
        self._read_again: set[int] = set()  # storages (by id) that backward reads
        self._held: list[Array] = []  # values that steps to come will read, too
        self._shared: set[int] = set()  # storages of gradients that several steps get
        self._laid_out: dict[tuple[int, bool], Array] = {}  # values by their id, as rows or in blocks
        self._written: dict[Operand, Node] = {}  # gradients of parameters, and by whom
        self._selected: set[int] = set()  # values (by id) that are some of the input as it is
        self.inputs: Any = None
        self.outputs: Any = None
        self._no_mask = Array.rows((0,), "uint8")
        self._masks: dict[int, Array] = {}  # of values by their id: which steps of a sequence are not padding

    # ----------------------------------------------------------------------------------------------------- forward

    def run(self, placed: Placed, x: Any) -> Any:
        """Run a whole model; return its output as rows. Rows with fields are dicts of values."""
        self.inputs = x
        self.outputs = each(lambda value: self._as(value, blocked=False), self.forward(placed, x))
        return self.outputs

    def forward(self, placed: Placed, x: Any) -> Any:
        """Run a layer, or the layers of a container; return the output. Rows with fields are dicts of values."""
        layer, built = placed.built.layer, placed.built
        self._require_built_for(placed, x)
        if isinstance(layer, Container):
            out = layer.connect(self, placed.children, x)
            if (shape := each(lambda value: value.shape, out)) != built.out_shape:
                raise ShapeError(f"{placed.name}: expected connect to return what build says, shape {spelt(built.out_shape)}, "
                                 f"got {spelt(shape)}")  # fmt: skip
            return out
        inputs = {name or SELF: self._in(value, of_field(layer.input_dtype, name), placed) for name, value in fields(x).items()}
        if not layer.pointwise:
            inputs = {name: self._as(value, layer.blocked) for name, value in inputs.items()}
        return self._forward(placed, inputs) if layer.kernels() else self._view(placed, *inputs.values())

    def _in(self, value: Array, dtype: str, placed: Placed) -> Array:
        """A value in the dtype that a layer takes: what was selected from the input becomes whole where it is looked up."""
        dtype = self.real if dtype == "real" else dtype
        if value.dtype == dtype:
            return value
        if id(value) not in self._selected:
            raise ShapeError(f"{placed.name}: expected an input of {dtype}, got one of {value.dtype}; layers that look whole "
                             "numbers up come first, and see the input alone, or columns of it")  # fmt: skip
        whole = Array.rows(value.shape, dtype, value.multiple)
        self.instructions.append(Instruction(to_whole, (value.flat(), whole.flat()), placed.name, "data"))
        return self._stepped((value,), whole, lambda grad, wanted: [None])

    @staticmethod
    def _require_built_for(placed: Placed, x: Any) -> None:
        """Refuse values of other shapes than those that a layer was built for."""
        built = placed.built
        given, expected = fields(x), fields(built.in_shape)
        # Rows of a CSR matrix, which the first layers in a container read, have no shape.
        fits = given.keys() == expected.keys() and all(
            given[name].shape == shape or (not given[name].shape and isinstance(built.layer, Container))
            for name, shape in expected.items()
        )
        if not fits:
            raise ShapeError(f"{placed.name}: expected rows of shape {spelt(built.in_shape)}, for which it was built, got "
                             f"{spelt(each(lambda value: value.shape, x))}")  # fmt: skip

    def _view(self, placed: Placed, x: Array) -> Array:
        """The same numbers in another shape."""
        built = placed.built
        out = x.reshaped(built.out_shape)
        node = Node(placed.name, placed.home, built, len(self.nodes), {SELF: x}, out, {}, end=len(self.instructions))
        self.nodes.append(node)
        node.out = self._stepped((x,), out, partial(self._view_back, node), mask=self._no_mask)
        if id(x) in self._selected:
            self._selected.add(id(node.out))
        return node.out

    @staticmethod
    def _view_back(node: Node, grad: Array, wanted: Sequence[bool]) -> Gradients:
        node.grad_out, node.grads = grad, {SELF: grad.reshaped(node.built.in_shape)}
        return [node.grad_x]

    def _forward(self, placed: Placed, inputs: dict[str, Array]) -> Array:
        built, layer = placed.built, placed.built.layer
        x = next(iter(inputs.values()))
        if len({value.multiple for value in inputs.values()}) > 1:
            raise ShapeError(f"{placed.name}: expected inputs with as many entries a row, got "
                             f"{', '.join(f'{name} with {value.multiple}' for name, value in inputs.items())}")  # fmt: skip
        kernels = layer.kernels()
        backward_names = {item for stage, function in kernels.items() if stage.startswith("backward")
                          for item in kernel_names(function)}  # fmt: skip
        if layer.interpreted:  # it may keep what forward was given, for backward
            backward_names |= self._kept(built)
        overwrites = layer.inplace and x.dtype == self.real and prod(x.shape) == prod(built.out_shape)
        in_place = overwrites and next(iter(inputs)) not in backward_names and self._is_free(x)
        out = x.reshaped(built.out_shape) if in_place else self._like(x, built.out_shape)
        named = self._memory(placed, inputs, backward_names)
        node = Node(placed.name, placed.home, built, len(self.nodes), inputs, out, named, begin=len(self.instructions))
        node.trains = any(prod(item.shape) and f"grad_{item.name}" in placed.arrays for item in built.parameters.values())
        self.nodes.append(node)
        arrays = {**inputs, "out": out}
        self._read_again |= {id(array.storage) for word, array in arrays.items() if word in backward_names}
        if layer.input_limit:
            numbers = Numbers("the input", layer.input_limit, (x.multiple, *x.shape) if x.multiple > 1 else x.shape, node.index)
            operands = (x.flat(), Constant(numbers.limit, "int64"), Constant(numbers.check, "int64"), Control())
            self.instructions.append(Instruction(require_range, operands, node.name, "data", numbers=numbers))
        partial_kernel = kernels.get("forward_partial") if self.training else None
        if partial_kernel is not None:
            self._emit(node, partial_kernel, "forward", arrays)
        self._emit(node, kernels["forward"], "forward", arrays, {"out": out}, meets=partial_kernel is not None)
        node.end = len(self.instructions)
        mask = named["mask"] if built.keeps_mask else self._no_mask
        node.out = self._stepped(tuple(inputs.values()), out, partial(self._backward, node), node, mask=mask)
        if layer.selects:
            self._selected.add(id(node.out))
        return node.out

    def maker(self, out: Array) -> Node | None:
        """The layer that gave a value, if nothing was done with that value yet."""
        step = next((step for step in self.steps if step.out is out), None)
        read = any(value is out for step in self.steps for value in step.inputs)
        return None if step is None or read else step.node

    def exchange(self, out: Array, layer: Layer, memory: Mapping[str, Array]) -> Array:
        """Let another layer stand for the one that gave a value; return what that gives.

        Backward expects the gradient of this where it would have been that of ``out``.

        Parameters
        ----------
        layer : has the same parameters
        memory : some of its scratch, which is written by now
        """
        old = self.maker(out)
        assert old is not None
        self.steps = [step for step in self.steps if step.node is not old]
        self.nodes.remove(old)
        count = old.end - old.begin
        del self.instructions[old.begin : old.end]
        for node in self.nodes:
            if node.begin >= old.end:
                node.begin, node.end = node.begin - count, node.end - count
        parameters = {name: array for name, array in old.named.items() if name.removeprefix("grad_") in old.built.parameters}
        placed = Placed(old.name, layer.place(old.built.in_shape), old.home, {**parameters, **memory})
        given = self._forward(placed, old.inputs)
        self.steps[-1].out = out
        return given

    def _memory(self, placed: Placed, inputs: dict[str, Array], backward_names: set[str]) -> dict[str, Operand]:
        """All arrays of a layer by name."""
        built, x = placed.built, next(iter(inputs.values()))
        named = dict(placed.arrays)

        def dtype(declared: Any) -> str:
            return self.real if declared.dtype == "real" else str(declared.dtype)

        for declared in built.scratch.values():
            if declared.name in placed.arrays:  # written by somebody else
                continue
            named[declared.name] = self._like(x, declared.shape, dtype(declared))
            if f"grad_{declared.name}" in backward_names:
                named[f"grad_{declared.name}"] = self._like(x, declared.shape, dtype(declared))
        for declared in built.workspace.values():
            named[declared.name] = Array.fixed(declared.shape, dtype(declared))
        for declared in built.parameters.values():  # that nobody asks for a gradient of: it is written and forgotten
            named.setdefault(f"grad_{declared.name}", Array.fixed(declared.shape, dtype(declared)))
        for declared in built.partials.values():
            if self.shards == 1:  # what all know is what the one knows
                own = Array.fixed(declared.shape, self.real)
                named |= {declared.name: own, f"all_{declared.name}": own.reshaped((1, *declared.shape))}
                continue
            every = aligned_zeros(self.shards * prod(declared.shape), self.real).reshape(self.shards, *declared.shape)
            storage = Storage(shared=every)
            named[declared.name] = Array(storage, declared.shape, self.real, stride=every.strides[0])
            named[f"all_{declared.name}"] = Array(storage, every.shape, self.real)
        for place, (name, value) in enumerate(inputs.items()):
            named.update(self._mask(placed, f"mask_{name}", value))
            if not place and "mask" not in built.scratch:
                named.update(self._mask(placed, "mask", value))
        return named

    def _mask(self, placed: Placed, name: str, x: Array) -> dict[str, Array]:
        """The mask of a value as kernels may name it, which has to be one of its steps."""
        mask = self._masks.get(id(x), self._no_mask)
        read = any(name in kernel_names(item) for item in placed.built.layer.kernels().values())
        if read and not mask.is_absent and (mask.shape, mask.multiple) != (x.shape[:1], x.multiple):
            raise ShapeError(f"{placed.name}: expected a mask of {x.shape[:1]} steps, got one of {mask.shape}; a layer before, "
                             "which says passes_mask = True, changes their number")  # fmt: skip
        return {name: mask}

    def _like(self, x: Array, shape: tuple[int, ...], dtype: str = "") -> Array:
        """New memory for as many entries as ``x`` has, in rows or in blocks as ``x``."""
        return Array.rows(shape, dtype or self.real, x.multiple, x.lanes)

    def _is_free(self, x: Array) -> bool:
        """Whether a value may be overwritten: nobody looks at it, and backward does not read it."""
        read = self.differentiate and id(x.storage) in self._read_again
        held = any(x.storage is item.storage for item in (*self._held, *self._laid_out.values()))
        return not (self.keep or read or held or x.storage.shared is not None)

    def _stepped(
        self, inputs: tuple[Array, ...], out: Array, backward: Callable[[Array, Sequence[bool]], Gradients],
        node: Node | None = None, mask: Operand | None = None, strung: bool = False,
    ) -> Array:  # fmt: skip
        """Note what was done; return its output as a value of its own, though it may share memory with the input.

        Without a ``mask`` of its own, the output has that of all inputs, where it is one.
        """
        out = replace(out)
        self.steps.append(Step(inputs, out, backward, node, strung))
        known = {id(item): item for item in (self._masks.get(id(value), self._no_mask) for value in inputs)}
        mask = next(iter(known.values())) if mask is None and len(known) == 1 else mask or self._no_mask
        assert isinstance(mask, Array)
        self._masks[id(out)] = mask
        return out

    def padding(self, value: Array) -> tuple[Array, int] | None:
        """The mask of a value, and how many instructions lead to it; None where there is none that the input alone decides.

        Behind layers that learn, what a mask says is no longer about the data.
        """
        mask = self._masks.get(id(value), self._no_mask)
        maker = next((node for node in self.nodes if "mask" in node.built.scratch and node.named["mask"] is mask), None)
        if maker is None or mask.multiple > 1 or mask.is_blocked or mask.shape != value.shape[:1]:
            return None
        before = {id(item) for item in maker.inputs.values()}
        for step in reversed(self.steps):
            if id(step.out) in before:
                before |= {id(item) for item in step.inputs}
                built = step.node and step.node.built
                if built and (built.parameters or not all(state.fixed for state in built.states.values())):
                    return None
        return mask, maker.end

    @contextmanager
    def holding(self, *values: Array) -> Iterator[None]:
        """Keep values as they are: they will be read again."""
        held = len(self._held)
        self._held += values
        yield
        del self._held[held:]

    def _as(self, x: Array, blocked: bool) -> Array:
        """A value as rows, or in blocks."""
        if x.is_blocked == blocked or x.dtype != self.real:
            return x
        known = self._laid_out.get((id(x), blocked))
        if known is None:
            known = self._relaid(x, blocked, pad=True)
            known = self._stepped(
                (x,), known, lambda grad, wanted: [self._relaid(grad, not blocked, pad=False)], strung=True
            )  # fmt: skip
            self._laid_out[id(x), blocked] = known
        return known

    def _relaid(self, x: Array, blocked: bool, pad: bool) -> Array:
        """A copy in the other layout. ``pad``: what fills up the last block are copies of the last row, else zeros."""
        out = Array.rows(x.shape, self.real, x.multiple, lanes_of(self.real) if blocked else 1)
        rows, blocks = (x, out) if blocked else (out, x)
        blocks = replace(blocks, shape=(prod(x.shape),))
        operands: tuple[Operand, ...] = (rows.matrix(1, prod(x.shape)), blocks)
        if blocked:
            operands = (*operands, Constant(pad, "bool"))
        self.instructions.append(Instruction(to_blocks if blocked else to_rows, operands, "layout", "data"))
        return out

    def add(self, values: Sequence[Array], factor: float = 1.0, masked_as: Array | None = None) -> Array:
        """The sum of values, times a factor. Its padding is that of ``masked_as``, or what all have in common."""
        if len(values) == 1:
            return values[0]
        mask = None if masked_as is None else self._masks.get(id(masked_as), self._no_mask)
        self._require_real(values)
        if len({(value.shape, value.multiple) for value in values}) > 1:
            raise ShapeError(f"expected values of one shape to add, got {', '.join(str(value.shape) for value in values)}")
        blocked = any(value.is_blocked for value in values)
        values = [self._as(value, blocked) for value in values]
        free = [value for value in values[1:] if self._is_free(value)]
        out = free[0] if free else self._like(values[0], values[0].shape)
        total = values[0]
        for position, value in enumerate(values[1:]):
            last = position == len(values) - 2
            target = out if last else self._like(total, total.shape)
            self._sum(total, value, target, factor if last else 1.0)
            total = target

        def backward(grad: Array, wanted: Sequence[bool]) -> Gradients:
            if factor != 1.0:
                scaled = self._like(grad, grad.shape)
                operands = (grad.flat(), constant(factor, self.real), scaled.flat())
                self.instructions.append(Instruction(scale, operands, "mean", "backward"))
                grad = scaled
            if sum(wanted) > 1:
                self._shared.add(id(grad.storage))
            return [grad] * len(values)

        return self._stepped(tuple(values), out, backward, mask=mask)

    def _require_real(self, values: Sequence[Array]) -> None:
        """Refuse to compute with whole numbers, such as those that stand for the rows of a sparse matrix."""
        if any(value.dtype != self.real for value in values):
            raise ShapeError("expected real numbers to add or to concatenate, got whole ones: a sparse matrix, or numbers that "
                             "are to be looked up, cannot go around a layer")  # fmt: skip

    def _sum(self, a: Array, b: Array, out: Array, factor: float = 1.0) -> None:
        if b.storage is out.storage:  # in one order only: each is a kernel of its own
            a, b = b, a
        operands = (a.flat(), b.flat(), constant(factor, self.real), out.flat())
        self.instructions.append(Instruction(add, operands, "sum", "data"))

    def concatenate(self, values: Sequence[Array], axis: int) -> Array:
        """Values one after the other along an axis of their rows."""
        self._require_real(values)
        if len({(value.shape[:axis], value.shape[axis + 1 :], value.multiple) for value in values}) > 1:
            raise ShapeError(f"expected values that differ along axis {axis} of their rows alone to concatenate, got "
                             f"{', '.join(str(value.shape) for value in values)}")  # fmt: skip
        blocked = any(value.is_blocked for value in values)
        values = [self._as(value, blocked and not axis) for value in values]
        first = values[0].shape
        leading, inner = prod(first[:axis]), prod(first[axis + 1 :])
        width = sum(value.shape[axis] for value in values)
        out = self._like(values[0], (*first[:axis], width, *first[axis + 1 :]))

        def columns(whole: Array, part: Array, begin: int, joins: bool) -> Instruction:
            size = part.shape[axis] * inner
            operands = (whole.matrix(leading, width * inner), constant(begin * inner * whole.lanes, self.real),
                        part.matrix(leading, size), Constant(joins, "bool"))  # fmt: skip
            return Instruction(copy_columns, operands, "concat", "data")

        begins = np.cumsum([0, *(value.shape[axis] for value in values)])
        self.instructions += [columns(out, value, int(begin), True) for value, begin in zip(values, begins, strict=False)]

        def backward(grad: Array, wanted: Sequence[bool]) -> Gradients:
            parts = [self._like(grad, value.shape) if want else None for value, want in zip(values, wanted, strict=True)]
            self.instructions += [columns(grad, part, int(begin), False)
                                  for part, begin in zip(parts, begins, strict=False) if part is not None]  # fmt: skip
            return parts

        return self._stepped(tuple(values), out, backward, strung=leading == 1)

    def split(self, x: Array) -> Array:
        """Every step of a sequence as an entry of its own."""
        x = self._as(x, blocked=False)
        steps = x.shape[0]
        return self._stepped((x,), x.split(), lambda grad, wanted: [grad.joined(steps)], mask=self._no_mask)

    def join(self, x: Array, steps: int) -> Array:
        """The entries as sequences again."""
        x = self._as(x, blocked=False)
        return self._stepped((x,), x.joined(steps), lambda grad, wanted: [grad.split()], mask=self._no_mask)

    def copy(self, source: Array, target: Array) -> None:
        """Target = source."""
        if prod(source.shape) * source.multiple != prod(target.shape) * target.multiple:
            raise ShapeError(f"expected a copy of as many numbers, got one of {source.shape} to {target.shape}")
        self.instructions.append(Instruction(copy, (source.flat(), target.flat()), "copy", "data"))

    # ---------------------------------------------------------------------------------------------------- backward

    def backward(self, grad: Any, *, to_input: bool = False, guard: bool = False) -> Any:
        """Run the steps' derivatives in reverse, from the gradient of the output.

        Parameters
        ----------
        grad : gradient of the output, written by then; it may be overwritten. Where rows have fields, a dict of them.
        to_input : also compute the gradient of the input, and return it; None for whole numbers
        guard : stop the shard where the gradient that reaches the first parameters is not finite
        """
        wanted = {id(value) for value in fields(self.inputs).values() if to_input and value.dtype == self.real}
        for step in self.steps:
            if (self.learn and step.trains) or any(id(value) in wanted for value in step.inputs):
                wanted.add(id(step.out))
        first = next((step for step in self.steps if step.trains), None)
        grads: dict[int, Array] = {}
        for out, given in zip(fields(self.outputs).values(), fields(grad).values(), strict=True):
            grads[id(out)] = self._total(grads[id(out)], given) if id(out) in grads else given
        for step in reversed(self.steps):
            if id(step.out) not in grads or id(step.out) not in wanted:
                continue
            grad = grads.pop(id(step.out))
            if guard and step is first:
                assert step.node is not None
                self.instructions.append(Instruction(require_finite, (grad.flat(), Control()), step.node.name, "backward"))
            wants = [id(value) in wanted for value in step.inputs]
            for value, given, want in zip(step.inputs, step.backward(grad, wants), wants, strict=True):
                if want and given is not None:
                    grads[id(value)] = self._total(grads[id(value)], given) if id(value) in grads else given
        return each(lambda value: grads.get(id(value)), self.inputs) if to_input else None

    def _total(self, a: Array, b: Array) -> Array:
        """The sum of two gradients of one value."""
        free = [grad for grad in (a, b) if id(grad.storage) not in self._shared and not self.keep]
        out = free[0] if free else self._like(a, a.shape)
        self._sum(a, b, out)
        return out

    def _backward(self, node: Node, grad: Array, wanted: Sequence[bool]) -> Gradients:
        layer = node.built.layer
        kernels = {name: kernel for name, kernel in layer.kernels().items() if name.startswith("backward")}
        node.grad_out = grad
        overwrites = layer.inplace and not self.keep and prod(node.x.shape) == prod(node.out.shape)
        overwrites = overwrites and id(grad.storage) not in self._shared and len(node.inputs) == 1
        node.grads = {name: grad.reshaped(value.shape) if overwrites else self._like(value, value.shape)
                      for name, value in node.inputs.items()}  # fmt: skip
        targets = {f"grad_{name}": item for name, item in node.grads.items()}
        arrays = {**node.inputs, "out": node.out, "grad_out": grad, **targets}
        for name, function in kernels.items():
            if any(wanted) if name == "backward_x" else (self.learn and node.trains) or self._leads_to_x(node, name):
                meets = name == "backward" and "backward_partial" in kernels
                self._emit(node, function, "backward", arrays, targets, meets=meets)
        return list(node.grads.values())

    @staticmethod
    def _leads_to_x(node: Node, name: str) -> bool:
        """Whether a kernel writes the gradient of the input, or memory that a later one reads, which does."""
        built = node.built
        kernels = built.layer.kernels()
        later = [stage for stage in kernels if stage.startswith("backward")]
        later = later[later.index(name) + 1 :]
        memory = {*built.scratch, *built.workspace, *built.partials}
        written = {item.removeprefix("grad_") for item in kernel_names(kernels[name])} & memory
        read = {item.removeprefix("grad_").removeprefix("all_") for stage in later for item in kernel_names(kernels[stage])}
        of_inputs = {f"grad_{name}" for name in node.inputs} & set(kernel_names(kernels[name]))
        return built.layer.interpreted or bool(of_inputs) or bool(written & read)

    # ------------------------------------------------------------------------------------------------ instructions

    def _emit(
        self, node: Node, function: Callable[..., None], stage: str, arrays: dict[str, Array],
        targets: Mapping[str, Array] = NONE, meets: bool = False,
    ) -> None:  # fmt: skip
        layer, entries = node.built.layer, node.x.multiple
        named: dict[str, Operand] = {
            **{name: self._seen(node, array, name) for name, array in arrays.items()},
            "training": Constant(self.training, "bool"),
            "seed": Seed(node.index),
            # Where shards meet, the rows that run together are all that there are.
            "first_row": ControlWord(Word.WAVE_ROW if node.built.partials else Word.FIRST_ROW, entries),
            "rows": ControlWord(Word.ROWS, entries),
            "shards": ControlWord(Word.SHARDS),
            **{name: self._seen(node, operand, name) if isinstance(operand, Array) else operand
               for name, operand in node.named.items()},
        }  # fmt: skip
        names = kernel_names(function)
        totals = self._totals(node, names, named)
        named |= {name: Array.fixed(total.shape, self.real) for name, total in totals.items()}
        operands = [named[name] if name in named else layer.operand(name, self.real) for name in names]
        kept: tuple[Operand, ...] = ()
        if isinstance(layer, PythonLayer) and targets:
            kept = tuple(named[name] for name in self._kept(node.built))
            function = (layer.forward_kernel if stage == "forward" else layer.backward_kernel)(node.copies)
            operands += [self._seen(node, target, name) for name, target in targets.items()]
        self.instructions.append(Instruction(function, tuple(operands), node.name, stage, layer.interpreted, kept, meets))
        for name, total in totals.items():  # a layer that is used again
            another = named[name]
            assert isinstance(another, Array)
            self._sum(total, another, total)

    def _totals(self, node: Node, names: Sequence[str], named: dict[str, Operand]) -> dict[str, Array]:
        """Which of a kernel's parameter gradients another use of the layer has written already."""
        totals = {}
        for name in (f"grad_{name}" for name in node.built.parameters):
            total = named.get(name)
            if name in names and isinstance(total, Array) and self._written.setdefault(total, node) is not node:
                totals[name] = total
        return totals

    @staticmethod
    def _kept(built: Built) -> set[str]:
        """Memory that a Python layer's forward is given, and may have kept on itself."""
        kept = {*built.inputs, "out", *built.scratch, *built.workspace}
        return kept & set(kernel_names(built.layer.kernels()["forward"]))

    @staticmethod
    def _seen(node: Node, array: Array, name: str) -> Array:
        """An array as the layer's kernels want to see it."""
        layer, built = node.built.layer, node.built
        view = built.views.get(name.removeprefix("grad_"))
        if view is not None:
            array = array.reshaped(view)
            return array.folded() if layer.folds_rows else array
        if not array.batched or (name in {"mask", *(f"mask_{item}" for item in node.inputs)} and name not in built.scratch):
            return array
        return array.flat() if layer.flat else array.folded() if layer.folds_rows else array
