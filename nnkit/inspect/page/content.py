"""What the page is given of a net: its numbers, its parts' functions, and their formulas."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.core.loss import Loss
from nnkit.core.loss.weights import RowWeights
from nnkit.core.part import Part, kernel_names
from nnkit.errors import KernelError
from nnkit.inspect.page.expression import expression, read
from nnkit.inspect.page.javascript import JavaScript
from nnkit.inspect.trace.flow import Input, Output, Piece
from nnkit.inspect.trace.formula import Symbol, written
from nnkit.inspect.trace.gradients import check_gradients
from nnkit.inspect.trace.record import Record, TracedLayer

__all__ = ["Sheet", "Stage", "sheet_of"]

GIVEN = {"x", "out", "grad_out", "grad_x", "prediction", "target", "label", "grad_prediction"}  # to kernels, by the page
MOST = 2_000_000  # numbers of a net and its rows that a page computes with
KEPT = 20_000  # numbers of all rows up to which the trace of each is kept, where the page cannot compute it
LOOKED_AT = 3  # numbers of an array that are compared with finite differences there


@dataclass
class Stage:
    """A layer of the textbook: weighted sums, where it has a weight, and an activation function, where it has one.

    ``shape`` is that of a row of its output. ``about`` says what else it computes, which the page only shows.
    """

    parts: str
    shape: tuple[int, ...]
    weight: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None
    activation: Activation | None = None
    about: str = ""
    recorded: dict[str, Any] = field(default_factory=dict)


@dataclass
class Sheet:
    """A net, a batch, and what is said of it.

    Attributes
    ----------
    name, caption : in the list of pages, and what stands above the picture, paragraph by paragraph
    stages : its layers
    x, y : the batch; y are classes, or a row of numbers for each row
    loss : of them
    lr : learning rate of the update
    row : of which the numbers are shown at first
    look : a step to begin with, such as ("delta", 1): a quantity and a layer
    why : why the page cannot compute the net itself; "" where it can
    recorded : the numbers of the trace, where it cannot
    """

    name: str
    caption: Sequence[str]
    stages: list[Stage]
    x: NDArray[Any]
    y: NDArray[Any]
    loss: Loss | None
    lr: float = 0.5
    row: int = 0
    look: tuple[str, int] | None = None
    why: str = ""
    recorded: dict[str, Any] = field(default_factory=dict)

    def data(self, file: JavaScript) -> dict[str, Any]:
        """As the page reads it; its functions are added to the file."""
        shape = self.stages[-1].shape
        return {
            "name": self.name, "caption": list(self.caption), "lr": self.lr, "row": self.row, "look": self.look,
            "why": self.why, "x": _encoded(self.x.reshape(len(self.x), -1)), "xShape": self.x.shape[1:],
            "layers": [self._layer(stage, file) for stage in self.stages],
            "loss": None if self.loss is None else _loss(self.loss, self.y, shape, file, bool(self.why)),
            "recorded": self.recorded,
        }  # fmt: skip

    def _layer(self, stage: Stage, file: JavaScript) -> dict[str, Any]:
        return {
            "parts": stage.parts, "shape": stage.shape, "about": stage.about,
            "weight": _encoded(stage.weight), "bias": _encoded(stage.bias),
            "activation": None if stage.activation is None else _activation(stage.activation, file, bool(self.why)),
            "recorded": stage.recorded,
        }  # fmt: skip


def _encoded(array: NDArray[Any] | None) -> dict[str, Any] | None:
    """An array as base64 of its little-endian numbers; those of float32 as such."""
    if array is None:
        return None
    kind = "<f4" if array.dtype == np.float32 else "<f8"
    text = base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()
    return {"kind": kind[1:], "shape": array.shape, "numbers": text}


# --------------------------------------------------------------------------------------------------- functions of parts


def _numbers(part: Part, names: Sequence[str]) -> dict[str, Any]:
    """The hyper-parameters among what a kernel names.

    Raises
    ------
    KernelError
        It names something else, such as memory of its own or a random stream.
    """
    found = {name: getattr(part, name, part) for name in names if name not in GIVEN}
    for name, value in found.items():
        if not (value is None or np.asarray(value).dtype.kind in "biuf"):
            raise KernelError(f"{type(part).__name__}: its kernel names {name!r}, which a page does not have")
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _function(part: Part, kernel: Any, file: JavaScript, stem: str, apart: Sequence[str] = ()) -> dict[str, Any]:
    """A kernel in JavaScript: its name, and those of the arguments that the page gives; ``apart`` are among these."""
    names = [name for name in kernel_names(kernel) if name not in apart]
    constants = _numbers(part, names)
    name = file.function(kernel, constants, stem)
    return {"name": name, "arguments": [item for item in kernel_names(kernel) if item not in constants]}


def _plain(part: Part) -> dict[str, Any]:
    """The numbers that formulas may name."""
    return {name: value for name, value in vars(part).items() if isinstance(value, bool | int | float | np.number)}


def _activation(activation: Activation, file: JavaScript, shown_only: bool) -> dict[str, Any]:
    cls: Any = type(activation)
    name, a, z = cls.__name__, Symbol("a", "j"), Symbol("z", "j")
    described: dict[str, Any] = {"name": name, "mixing": not activation.elementwise, "value": None, "slope": None}
    if activation.formulas is not None:
        value, slope = activation.formulas.forward, activation.formulas.backward
        described |= {"value": expression(written(value)), "slope": expression(written(slope))}
    elif activation.elementwise:
        plain = _plain(activation)
        described["value"] = read(cls.forward, x=z, **plain)
        described["slope"] = read(cls.backward, x=z, out=a, grad_out=1.0, **plain)
    if not shown_only:
        kernels = {"forward": cls.forward, "backward": cls.backward} if activation.elementwise else activation.kernels()
        for stage in ("forward", "backward"):
            described[stage] = _function(activation, kernels[stage], file, f"{name}_{stage}")
    return described


def _loss(loss: Loss, y: NDArray[Any], out_shape: tuple[int, ...], file: JavaScript, shown_only: bool) -> dict[str, Any]:
    cls: Any = type(loss)
    name, units = cls.__name__, int(np.prod(out_shape))
    labels = loss.are_labels(y, out_shape)
    each = {item: np.broadcast_to(getattr(loss, item), (units,)).tolist()
            for item in loss.per_output if getattr(loss, item) is not None}  # fmt: skip
    described: dict[str, Any] = {
        "parts": repr(loss), "about": loss.about(), "rowwise": loss.rowwise, "labels": labels, "readsLabels": loss.reads_labels,
        "each": each, "y": _encoded((np.where(y == loss.ignore_index, 0, y) if labels else y).reshape(len(y), -1)),
        "low": _finite(loss.target_low), "high": _finite(loss.target_high),
        "share": RowWeights(loss, y, out_shape, None).share[:, 0].tolist(),
        "value": None, "derivative": None, "probability": None,
    }  # fmt: skip
    formulas = loss.formulas
    if formulas is not None:
        described |= {"value": expression(written(formulas.forward)), "derivative": expression(written(formulas.backward))}
        described["probability"] = expression(written(formulas.probability)) if formulas.probability else None
    elif not loss.rowwise and not loss.interpreted:
        given = {item: Symbol(item, "j") if item in each else None for item in loss.per_output}
        known = {**_plain(loss), **given, "prediction": Symbol("a", "j"), "target": Symbol("y", "j")}
        described |= {"value": read(cls.forward, **known), "derivative": read(cls.backward, **known)}
    if not shown_only:
        apart = [] if loss.rowwise else list(each)
        described["forward"] = _function(loss, cls.forward, file, f"{name}_forward", apart)
        described["backward"] = _function(loss, cls.backward, file, f"{name}_backward", apart)
    return described


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


# ----------------------------------------------------------------------------------------------------------- of a trace


def sheet_of(record: Record, row: int, lr: float) -> Sheet:
    """The page of a trace: one that computes, or where that cannot be translated, one that shows the numbers of the trace."""
    row = record.place_of(row)
    try:
        sheet = _computing(record, row, lr)
        sheet.data(JavaScript())  # what cannot be translated, is found here
        return sheet
    except KernelError as error:
        return _showing(record, row, lr, str(error))


def _computing(record: Record, row: int, lr: float) -> Sheet:
    """A net that is a chain of weighted sums and functions.

    Raises
    ------
    KernelError
        It is not, or is too large.
    """
    if not (set(record.outputs) == {""} and len(record.inputs) == 1):
        raise KernelError("the net has several inputs or outputs")
    loss, y = record.criterion.losses[""], record.targets[""]
    if record.out.ndim != 2:
        raise KernelError(f"rows of the output are not flat, but have shape {record.out.shape[1:]}")
    if loss.interpreted or (loss.rowwise and loss.row_axes != 1):
        raise KernelError(f"{type(loss).__name__} is no compiled function of numbers, or of flat rows")
    if record.criterion.factors[""] != 1.0:
        raise KernelError("the loss is weighted")
    stages = [_chained(record, layer) for layer in record.layers]
    x = np.asarray(record.x)
    if x.size + sum(weight.size for layer in record.layers for weight in layer.parameters.values()) > MOST:
        raise KernelError(f"the net and its rows are more than {MOST} numbers")
    return Sheet("Your net", [record.title], stages, x, np.asarray(y), loss, lr, row)


def _chained(record: Record, layer: TracedLayer) -> Stage:
    """A layer that reads the one before it, and nothing else."""
    after = Output("") if layer.number == len(record.layers) else layer.number + 1
    alone = [piece.of for piece in layer.sources] == [_before(layer)] and [piece.of for piece in layer.readers] == [after]
    if not alone or layer.home != layer.paths[0]:
        raise KernelError(f"layer {layer.number} is not in a chain: it is used twice, or several layers read it")
    stage = _stage(layer)
    if layer.is_dense:
        if layer.activation is not None and layer.activation.interpreted:
            raise KernelError(f"{type(layer.activation).__name__} is written in plain Python")
        return stage
    if layer.activation is not None and len(layer.layers) == 1 and layer.z.ndim == 2:
        return stage
    if layer.layers[0].c() == "" and np.array_equal(layer.x.reshape(record.rows, -1), layer.a.reshape(record.rows, -1)):
        stage.about = f"{stage.about} Here it hands its numbers on as they are."
        return stage
    raise KernelError(f"layer {layer.number}, {layer.name}, is more than weighted sums and functions of numbers")


def _before(layer: TracedLayer) -> int | Input:
    """What a layer in a chain reads."""
    return Input("") if layer.number == 1 else layer.number - 1


def _stage(layer: TracedLayer) -> Stage:
    parts = ", ".join(f"{path} {part!r}" for path, part in zip(layer.paths, layer.layers, strict=True))
    weight, bias = (layer.parameters.get(name) for name in _dense(layer) or ("", ""))
    activation = layer.activation if layer.z.ndim == 2 else None
    known = weight is not None or (activation is not None and len(layer.layers) == 1)
    return Stage(parts, layer.a.shape[1:], weight, bias, activation, "" if known else type(layer.layers[0]).about())


def _dense(layer: TracedLayer) -> tuple[str, ...]:
    """The names of a weight and a bias that a page has room for; () where there are none."""
    names = layer.layers[0].dense if layer.is_dense else None
    return () if names is None or layer.parameters[names[0]].size > MOST else names


# ------------------------------------------------------------------------------------------- numbers that are only shown


def _showing(record: Record, row: int, lr: float, why: str) -> Sheet:
    """A net of which the page shows what was recorded."""
    size = sum(layer.a.size for layer in record.layers)
    kept = slice(None) if size <= KEPT else slice(row, row + 1)
    differences = list(_differences(record))
    stages = []
    for layer in record.layers:
        stage = _stage(layer)
        stage.recorded = _recorded(record, layer, kept)
        stages.append(stage)
    loss = record.criterion.losses[""] if set(record.outputs) == {""} and record.out.ndim == 2 else None
    x = np.concatenate([np.asarray(item.x, float).reshape(record.rows, -1) for item in record.inputs], axis=1)
    if len(record.inputs) == 1:
        x = x.reshape(np.asarray(record.inputs[0].x).shape)
    y = np.concatenate([np.asarray(y, float).reshape(record.rows, -1) for y in record.targets.values()], axis=1)
    grad_x = record.inputs[0].grad_x if len(record.inputs) == 1 else None
    recorded = {
        "all": kept == slice(None), "value": float(record.value), "differences": differences,
        "grad_x": None if grad_x is None else _encoded(grad_x[kept].reshape(len(grad_x[kept]), -1)),
    }  # fmt: skip
    y = record.targets[""] if loss is not None else y
    return Sheet("Your net", [record.title], stages, x, np.asarray(y), loss, lr, row, None, why, recorded)


def _recorded(record: Record, layer: TracedLayer, kept: slice) -> dict[str, Any]:
    """What a layer has left, of the rows that are kept."""

    def flat(array: Any) -> dict[str, Any] | None:
        rows = None if array is None or isinstance(array, dict) else np.asarray(array)[kept]
        return None if rows is None else _encoded(rows.reshape(len(rows), -1))

    mixing = layer.da_dz is not None and layer.da_dz.ndim > layer.z.ndim
    follows = [piece.of for piece in layer.readers]
    return {
        "x": flat(layer.x), "z": flat(layer.z), "a": flat(layer.a), "delta": flat(layer.delta), "dL_da": flat(layer.dL_da),
        "da_dz": None if layer.da_dz is None else _encoded(layer.da_dz[kept]) if mixing else flat(layer.da_dz),
        "gradients": {name: _encoded(layer.gradients[at]) for name, at in zip(("weight", "bias"), _dense(layer), strict=False)
                      if at in layer.gradients},
        "parameters": list(layer.parameters),
        "readers": list(map(_spelt, layer.readers)),
        "sources": list(map(_spelt, layer.sources)),
        "follows": [piece.of for piece in layer.sources] == [_before(layer)],
        "chained": follows in ([layer.number + 1], [Output("")]) and _is_known(record, layer),
    }  # fmt: skip


def _is_known(record: Record, layer: TracedLayer) -> bool:
    """Whether what reads a layer is the loss, or a layer of weighted sums: what comes back from there is a formula."""
    piece = layer.readers[0]
    if isinstance(piece.of, int):
        return record.layers[piece.of - 1].is_dense and piece.first == 0
    return isinstance(piece.of, Output)


def _spelt(piece: Piece) -> str:
    """What reads a layer, or what it reads, in words."""
    if isinstance(piece.of, int):
        return f"layer {piece.of}"
    if piece.of is None:
        return "more than one layer"
    return f"{'the loss' if isinstance(piece.of, Output) else 'the input'} {piece.of}".rstrip()


def _differences(record: Record) -> Iterator[Mapping[str, Any]]:
    """Some gradients beside central differences."""
    for item in check_gradients(record.replay("float64"), LOOKED_AT, 0).arrays:
        columns = item.places, item.gradient, item.difference, item.wrong, item.kinks
        for place, gradient, difference, wrong, kink in zip(*columns, strict=True):
            yield {"layer": item.layer, "of": item.name, "place": [index + 1 for index in place], "gradient": float(gradient),
                   "difference": float(difference), "verdict": "wrong" if wrong else "at a kink" if kink else "✓"}  # fmt: skip
