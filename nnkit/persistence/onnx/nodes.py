"""From a file's nodes to `Node`: operators of any opset, as if they were written in one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nnkit.core.exchange import Node, Value
from nnkit.errors import OnnxError
from nnkit.persistence.onnx.graph import Graph
from nnkit.persistence.onnx.tensors import Files, array_of, shortest

__all__ = ["OPSET", "defaults", "read_node"]

OPSET = 18  # of what is written, as runtimes since 2023 read it; older operators are read as if they were of this one
FLATTENED = ("Hardmax", "LogSoftmax", "Softmax")  # before opset 13, all axes from theirs on count as one


def _schema(op: str, opset: int) -> Any:
    import onnx

    try:
        return onnx.defs.get_schema(op, max_inclusive_version=opset)
    except onnx.defs.SchemaError:
        return None


@cache
def defaults(op: str, opset: int = OPSET) -> dict[str, Any]:
    """What an operator's attributes are where they are not given."""
    import onnx

    schema = _schema(op, opset)
    if schema is None:
        return {}
    given = {name: item.default_value for name, item in schema.attributes.items()}
    files = Files(Path())
    return {name: _attribute(item, files) for name, item in given.items() if item.type != onnx.AttributeProto.UNDEFINED}


@cache
def _moved(op: str) -> dict[str, int]:
    """Attributes that have become inputs, and which: "axes", for example."""
    schema = _schema(op, OPSET)
    return {} if schema is None else {item.name: place for place, item in enumerate(schema.inputs)}


def read_node(graph: Graph, item: Any, opset: int, files: Files) -> Node:
    """A node without its inputs, but for those that were attributes once."""
    plain = item.domain in ("", "ai.onnx")
    op = item.op_type if plain else f"{item.domain}.{item.op_type}"
    usual = {**defaults(op), **defaults(op, opset)} if plain else {}
    attributes = dict(usual)
    inputs: list[Value | None] = [None] * len(item.input)
    for given in item.attribute:
        try:
            attribute = _attribute(given, files)
        except OnnxError:
            raise
        except Exception as error:  # whatever the library says of a broken one
            raise OnnxError(f"onnx.load: node {item.name!r} ({op}): its attribute {given.name!r}: {error}") from None
        place = _moved(op).get(given.name) if plain else None
        if place is None:
            attributes[given.name] = attribute
        else:
            inputs += [None] * (place + 1 - len(inputs))
            inputs[place] = Value(graph, array=np.asarray(attribute))
    if op in FLATTENED and opset < 13:
        attributes["flattened"] = 1
    stated = frozenset(name for name, value in attributes.items() if name not in usual or not _same(value, usual[name]))
    return Node(op, inputs, attributes, name=item.name, stated=stated)


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else bool(one == other)


def _attribute(given: Any, files: Files) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(given)
    if isinstance(value, onnx.TensorProto):
        return array_of(value, files)
    if isinstance(value, float):
        return shortest(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple) or hasattr(value, "add") or hasattr(value, "append"):
        return [item.decode() if isinstance(item, bytes) else shortest(item) if isinstance(item, float) else item
                for item in value]  # fmt: skip
    return value
