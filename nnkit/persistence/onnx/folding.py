"""What is known without data: what nodes compute from constants and shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.exchange import Node, Value
from nnkit.errors import OnnxError
from nnkit.persistence.onnx.tensors import each, once, usual
from nnkit.persistence.onnx.view import Ledger

__all__ = ["Shapes"]

COMPUTED = 1 << 30  # bytes of all constants that are computed from others: a file of a few kB may ask for so much
BATCH = -(1 << 40)  # stands for the number of rows in what is computed from shapes

Array = NDArray[Any]


class Shapes:
    """What nodes compute from constants and shapes alone; `BATCH` is the number of rows.

    What a constant is repeated for, once for every row, it is known for one.
    """

    def __init__(self, inputs: Iterable[tuple[Value, Sequence[int | str | None]]], rows: int | None) -> None:
        self.rows = rows
        self._of_rows: set[int] = set()  # values whose first axis are the rows
        self._shapes: dict[int, list[int]] = {}  # of values, by their ids
        for x, in_shape in inputs:
            self._of_rows.add(id(x))
            if all(isinstance(size, int) for size in in_shape):
                self._shapes[id(x)] = [BATCH, *(size for size in in_shape if isinstance(size, int))]
        self._begins: set[int] = set()  # shapes of which only the number of rows is known, which comes first
        self.computed = self.bytes = 0  # numbers of constants that are no views of others, and their bytes as weights
        self._repeated: dict[int, set[int]] = {}  # axes along which a constant is one for every row, by its value's id

    def known(self, node: Node) -> Array | None:
        """The output of a node, if it is known."""
        ledger = Ledger()
        seen = ledger.view(node)
        for place in range(len(node.inputs)):
            ledger.ask(node, place)
        array = None
        try:
            array = self._folded(seen)
            if array is None:
                return None
            ledger.require_all(node)
        except _Excess:
            self.bytes = COMPUTED + 1
        except Exception:  # whatever NumPy says of inputs that do not fit, or what the node says beside them: not known
            return None
        if self.bytes > COMPUTED:
            raise OnnxError(f"onnx.load: node {node.name!r} ({node.op}): expected constants that are computed from others to "
                            f"have at most {COMPUTED} bytes in all, got more; write them to the file")  # fmt: skip
        return usual(array) if array is not None and array.dtype.kind in "fib" else None

    def _folded(self, node: Node) -> Array | None:
        if node.op == "Constant":
            return np.asarray(next(node.attributes[name] for name in node.attributes if name.startswith("value")))
        if node.op == "Shape" and len(node.inputs) == 1:
            return self._shape(node)
        work = _FOLDED.get(node.op)
        arrays = [None if value is None else value.array for value in node.inputs]
        if arrays and id(node.inputs[0]) in self._begins:
            return _first_of(node, *arrays[1:])
        if work is None or not arrays or arrays[0] is None:
            return None
        repeated = set().union(*(self._repeated.get(id(value), ()) for value in node.inputs))
        if node.op in _REPEATS and (shape := arrays[-1]) is not None:
            repeated = {int(axis) - len(shape) for axis in np.flatnonzero(shape == BATCH)}
            arrays[-1] = np.where(shape == BATCH, 1, shape)
        elif repeated and (node.op != "Slice" or repeated & _from_the_end(arrays[0], arrays[3])):
            return None
        if repeated:
            self._repeated[id(node.outputs[0])] = repeated
        array = work(node, *arrays)
        if array is not None and not np.may_share_memory(array, arrays[0]):
            self.computed += array.size
            self.bytes += array.size * max(array.itemsize, 4)
        return array

    def _shape(self, node: Node) -> Array | None:
        part = slice(node.attributes.get("start", 0), node.attributes.get("end"))
        value = node.inputs[0]
        if id(value) in self._shapes:
            return np.array(self._shapes[id(value)], "int64")[part]
        if value is None or id(value) not in self._of_rows or id(value) in self._repeated:
            return None
        if part == slice(0, 1):
            return np.array([BATCH])
        if part == slice(0, None):
            self._begins.add(id(node.outputs[0]))
        return None

    def follow(self, node: Node) -> None:
        """Take note of what is computed for rows; in shapes for Reshape, 0 is their number."""
        flow = next((value for value in node.inputs if value is not None and value.array is None), None)
        own = self._shapes.get(id(flow), [BATCH] if id(flow) in self._of_rows else [])
        if node.op == "Reshape" and len(node.inputs) == 2 and node.is_constant(1):
            self._find_rows(node, own)
        if (shape := _shape_after(node, own)) is not None:
            self._shapes[id(node.outputs[0])] = shape
        as_before = node.op == "Reshape" and id(node.input(1)) in self._begins
        if own[:1] == [BATCH] and (as_before or not _MOVES.get(node.op, _stays)(node)):
            self._of_rows |= {id(value) for value in node.outputs}

    def _find_rows(self, node: Node, own: list[int]) -> None:
        sizes = node.constant(1)
        if sizes.all():
            node.attributes = {**node.attributes, "allowzero": 0}  # of zeros that are not there
            node.stated -= {"allowzero"}
        whole = [0 if int(size) in (BATCH, self.rows) and own[place : place + 1] == [BATCH] else int(size)
                 for place, size in enumerate(sizes.reshape(-1)[:64])]  # fmt: skip
        if sizes.ndim == 1 and len(whole) == sizes.size and whole != sizes.tolist():
            node.inputs = [node.inputs[0], Value(node.outputs[0].graph, array=np.array(whole, "int64"))]


def _stays(node: Node) -> bool:
    return False


def _shape_after(node: Node, own: list[int]) -> list[int] | None:
    """The shape of what a node that has the number of rows in other places computes."""
    if node.op == "Transpose" and len(node.attributes.get("perm") or []) == len(own):
        return [own[axis] for axis in node.attributes["perm"]]
    if node.op in ("GRU", "LSTM", "RNN") and len(own) == 3 and node.is_constant(2):
        return [own[0], len(node.constant(2)), own[1], node.constant(2).shape[-1]]
    if node.op == "Reshape" and node.is_constant(1) and node.constant(1).ndim == 1 and node.constant(1).min() >= 0:
        sizes = node.integers(1)
        return [size or own[place] for place, size in enumerate(sizes)] if len(sizes) <= len(own) or all(sizes) else None
    return None


class _Excess(Exception):
    """A constant that is computed would be too large."""


def _require_room(numbers: int, dtype: Any) -> None:
    if numbers * np.dtype(dtype).itemsize > COMPUTED:
        raise _Excess


def _filled(node: Node, shape: Array) -> Array | None:
    given = node.attributes.get("value")
    number = np.zeros((), "float32") if given is None else given.reshape(())
    _require_room(prod(map(int, shape)), number.dtype)
    return np.broadcast_to(number, tuple(shape))


def _cast(node: Node, data: Array) -> Array | None:
    import onnx

    to = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    if BATCH in once(data):
        return data if to == "int64" else None
    return each(lambda own: own.astype(to), data) if to in ("float32", "float64", "int64") else None


def _slice(node: Node, data: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Any:
    axes = np.arange(starts.size) if axes is None else axes
    steps = np.ones(starts.size, "int64") if steps is None else steps
    if steps.min(initial=1) < 1:
        return None
    parts = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(int(start), int(end), int(step))
    return data[tuple(parts)]


def _first_of(node: Node, *arrays: Any) -> Array | None:
    """What a node takes of a shape of which only the number of rows is known; None if it is more than that."""
    if node.op == "Gather" and node.attributes["axis"] == 0 and not arrays[0].any():
        return np.full(arrays[0].shape, BATCH)
    first = node.op == "Slice" and [array.item() for array in arrays] in ([0, 1], [0, 1, 0], [0, 1, 0, 1])
    return np.array([BATCH]) if first else None


def _from_the_end(data: Array, axes: Array | None) -> set[int]:
    return {int(axis) % data.ndim - data.ndim for axis in (range(data.ndim) if axes is None else axes)}


def _gather(node: Node, data: Array, index: Array) -> Array | None:
    return np.take(data, index, axis=0) if data.ndim == 1 and node.attributes["axis"] in (0, -1) else None


def _concat(node: Node, *parts: Array) -> Array | None:
    _require_room(sum(part.size for part in parts), np.result_type(*parts))
    return np.concatenate(parts, axis=node.attributes["axis"])


def _expand(node: Node, data: Array, shape: Array) -> Array | None:
    sizes = np.broadcast_shapes(data.shape, tuple(map(int, shape)))
    _require_room(prod(sizes), data.dtype)
    return np.broadcast_to(data, sizes)


def _reshape(node: Node, data: Array, shape: Array) -> Array | None:
    if node.attributes["allowzero"] or BATCH in shape:
        return None
    return data.reshape([data.shape[place] if size == 0 else int(size) for place, size in enumerate(shape)])


def _axes(axes: Array) -> tuple[int, ...]:
    return tuple(int(axis) for axis in axes.reshape(-1))


# Operators whose output is known where their inputs are.
_FOLDED: dict[str, Callable[..., Array | None]] = {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": lambda node, data: data,
    "Mul": lambda node, a, b: a * b if BATCH not in a and BATCH not in b and max(a.size, b.size) <= 64 else None,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": lambda node, data, axes=None: np.squeeze(data, None if axes is None else _axes(axes)),
    "Transpose": lambda node, data: np.transpose(data, node.attributes.get("perm")),
    "Unsqueeze": lambda node, data, axes: np.expand_dims(data, _axes(axes)),
}
_REPEATS = ("ConstantOfShape", "Expand")

# Operators of which the first axis of the output may be another than that of the input.
_MOVES: dict[str, Callable[[Node], bool]] = {
    "GRU": lambda node: True,
    "Gather": lambda node: not node.is_constant(0) and node.attributes["axis"] < 1,
    "LSTM": lambda node: True,
    "RNN": lambda node: True,
    "Reshape": lambda node: not node.is_constant(1) or node.constant(1).reshape(-1)[:1].tolist() != [0],
    "Squeeze": lambda node: not node.is_constant(1) or 0 in node.constant(1),
    "Transpose": lambda node: (node.attributes.get("perm") or [-1])[0] != 0,
    "Unsqueeze": lambda node: not node.is_constant(1) or 0 in node.constant(1),
}
