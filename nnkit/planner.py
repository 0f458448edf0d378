"""From layers to instructions: which kernel runs on which memory, in what order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

from nnkit.core.layer import Built, PythonLayer, kernel_names
from nnkit.engine.operands import Array, Constant, Control, ControlWord, Operand, Seed
from nnkit.engine.program import Instruction
from nnkit.kernels.control import Word
from nnkit.kernels.data import copy, require_finite

__all__ = ["Node", "Plan"]


@dataclass
class Node:
    """A layer in its place in a plan, with the memory that its kernels share."""

    name: str  # "layer 0, ReLU()"
    built: Built
    index: int
    x: Array
    out: Array
    named: dict[str, Operand]  # parameters, states, scratch, and parameter gradients in training
    copies: dict[int, PythonLayer] = field(default_factory=dict)  # of a Python layer, one for each shard
    grad_out: Array | None = None
    grad_x: Array | None = None


class Plan:
    """Writes the instructions of a forward pass and then of the backward pass.

    Parameters
    ----------
    real : "float32" or "float64"
    training : what the kernels get as ``training``
    differentiate : whether a backward pass follows
    keep : leave every intermediate result in memory of its own, for looking at
    """

    def __init__(self, real: str, *, training: bool, differentiate: bool, keep: bool = False) -> None:
        self.real = real
        self.differentiate = differentiate
        self.training = training
        self.keep = keep
        self.instructions: list[Instruction] = []
        self.nodes: list[Node] = []
        self._read_again: set[int] = set()  # storages (by id) that backward reads
        self._mask = Array.rows((0,), "uint8")  # which steps of a sequence are not padding

    def forward(self, layers: Sequence[tuple[str, Built, dict[str, Operand]]], x: Array) -> Array:
        """Run the layers one after the other; return the last one's output."""
        for name, built, arrays in layers:
            x = self._forward(name, built, arrays, x)
        return x

    def _forward(self, name: str, built: Built, arrays: dict[str, Operand], x: Array) -> Array:
        layer = built.layer
        kernels = layer.kernels()
        backward_names = {item for function in kernels[1:] for item in kernel_names(function)}
        if not kernels:  # the same numbers in another shape
            out = x.reshaped(built.out_shape)
            self.nodes.append(Node(name, built, len(self.nodes), x, out, {}))
            self._mask = Array.rows((0,), "uint8")
            return out
        if layer.interpreted:  # it may keep what forward was given, for backward
            backward_names |= self._kept(built)
        in_place = (
            self._may_overwrite(built)
            and x.dtype == self.real
            and not (self.differentiate and ("x" in backward_names or id(x.storage) in self._read_again))
        )
        out = x.reshaped(built.out_shape) if in_place else Array.rows(built.out_shape, self.real)
        named = dict(arrays)
        for declared in built.scratch.values():
            dtype = self.real if declared.dtype == "real" else declared.dtype
            named[declared.name] = Array.rows(declared.shape, dtype)
            if f"grad_{declared.name}" in backward_names:
                named[f"grad_{declared.name}"] = Array.rows(declared.shape, dtype)
        for declared in built.workspace.values():
            dtype = self.real if declared.dtype == "real" else declared.dtype
            named[declared.name] = Array.fixed(declared.shape, dtype)
        mask = named.setdefault("mask", self._mask)
        assert isinstance(mask, Array)
        self._mask = mask if "mask" in built.scratch or layer.passes_mask else Array.rows((0,), "uint8")
        node = Node(name, built, len(self.nodes), x, out, named)
        self.nodes.append(node)
        self._read_again |= {id(array.storage) for word, array in (("x", x), ("out", out)) if word in backward_names}
        self._emit(node, kernels[0], "forward", {"x": x, "out": out}, target=out)
        return out

    def _may_overwrite(self, built: Built) -> bool:
        return built.layer.inplace and not self.keep and prod(built.in_shape) == prod(built.out_shape)

    def copy(self, source: Array, target: Array) -> None:
        """Target = source."""
        self.instructions.append(Instruction(copy, (source.flat(), target.flat()), "copy", "data"))

    def backward(self, grad: Array, *, to_input: bool = False, guard: bool = False) -> Array | None:
        """Run the layers' derivatives in reverse, from the gradient of the output.

        Parameters
        ----------
        grad : gradient of the output, written by then; it may be overwritten
        to_input : also compute the gradient of the input, and return it
        guard : stop the shard where the gradient that reaches the first parameters is not finite
        """
        needed = 0
        if not to_input:  # nobody needs a gradient before the first parameters
            trained = [node.index for node in self.nodes if node.built.parameters]
            needed = trained[0] if trained else len(self.nodes)
        for node in reversed(self.nodes[needed:]):
            if guard and node.index == needed:
                self.instructions.append(Instruction(require_finite, (grad.flat(), Control()), node.name, "backward"))
            grad = self._backward(node, grad, node.index > needed or to_input)
        return grad if to_input else None

    def _backward(self, node: Node, grad: Array, to_input: bool) -> Array:
        layer = node.built.layer
        kernels = layer.kernels()[1:]
        node.grad_out = grad
        if not kernels:
            return grad.reshaped(node.built.in_shape)
        overwrites = self._may_overwrite(node.built)
        grad_x = grad.reshaped(node.built.in_shape) if overwrites else Array.rows(node.built.in_shape, self.real)
        node.grad_x = grad_x
        arrays = {"x": node.x, "out": node.out, "grad_out": grad, "grad_x": grad_x}
        for function in kernels:
            if to_input or function is not type(layer).backward_x:
                self._emit(node, function, "backward", arrays, target=grad_x)
        return grad_x

    def _emit(
        self, node: Node, function: Callable[..., None], stage: str, arrays: dict[str, Array], target: Array
    ) -> None:
        layer = node.built.layer
        named: dict[str, Operand] = {
            **{name: self._seen(node, array) for name, array in arrays.items()},
            "training": Constant(self.training, "bool"),
            "seed": Seed(node.index),
            "first_row": ControlWord(Word.FIRST_ROW),
            **{name: self._seen(node, operand) if isinstance(operand, Array) and operand.batched and name != "mask" else operand
               for name, operand in node.named.items()},
        }  # fmt: skip
        operands = [named[name] if name in named else layer.number(name, self.real)
                    for name in kernel_names(function)]  # fmt: skip
        kept: tuple[Operand, ...] = ()
        if isinstance(layer, PythonLayer):
            kept = tuple(named[name] for name in self._kept(node.built))
            function = (layer.forward_kernel if stage == "forward" else layer.backward_kernel)(node.copies)
            operands.append(self._seen(node, target))
        self.instructions.append(Instruction(function, tuple(operands), node.name, stage, layer.interpreted, kept))

    @staticmethod
    def _kept(built: Built) -> set[str]:
        """Memory that a Python layer's forward is given, and may have kept on itself."""
        return {"x", "out", *built.scratch, *built.workspace} & set(kernel_names(built.layer.kernels()[0]))

    @staticmethod
    def _seen(node: Node, array: Array) -> Array:
        """An array as the layer's kernels want to see it."""
        layer = node.built.layer
        return array.flat() if layer.flat else array.folded() if layer.folds_rows else array
