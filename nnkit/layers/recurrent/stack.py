"""Stacks of recurrent layers as other programs write them in ONNX: operators one after the other, on (steps, N, features)."""

from __future__ import annotations

import numpy as np

from nnkit.errors import OnnxError

__all__ = ["read_stack"]


def read_stack(kind, at):
    """Layers of one kind, from a Transpose to another, or to the last state; None where there is something else."""
    if not _turns(at):
        return None
    layers, records, nodes, states = [], [], [], at
    while states is not None and (node := states.ahead(kind.operator)) is not None:
        layer, arrays = kind.read_operator(node)
        _require_plain(node)
        layers.append(layer)
        records += arrays
        nodes.append(node)
        at = states.after(node)
        states = _as_sequence(at.copy(), layer)
    if states is None and len(nodes[-1].outputs) < 2:
        raise OnnxError(f"expected all states of {nodes[-1].name!r}, or the last, got something else of them")
    first = layers[0]
    if any(repr(layer) != repr(first) for layer in layers):
        return None
    whole = first.replace(num_layers=len(layers))
    if states is not None:
        return _of_all_states(states, whole, records)
    return None if whole.bidirectional else _of_last_states(at.after(nodes[-1], 1), nodes, whole, records)


def _turns(at):
    """Come by a Transpose between (N, steps, features) and (steps, N, features); whether there is one."""
    node = at.take("Transpose")
    return node is not None and node.attributes["perm"] == [1, 0, 2]


def _require_plain(node):
    """Refuse what our layers do not have: states that are given, and peepholes."""
    for place in range(5, len(node.inputs)):
        if node.input(place) is not None and np.any(node.constant(place)):
            raise OnnxError("expected states that begin with 0, and no peepholes, got others")


def _as_sequence(states, layer):
    """Behind all states of an operator (steps, directions, N, size), where they are one sequence again; None if nowhere."""
    moved = states.take("Transpose")
    if moved and moved.attributes["perm"] == [0, 2, 1, 3]:
        joined = states.take("Reshape")
        width = layer.hidden_size * (2 if layer.bidirectional else 1)
        shapes = [[steps, 0, features] for steps in (0, states.shape[0]) for features in (-1, width)]
        return states if joined is not None and joined.integers(1) in shapes else None
    squeezed = None if layer.bidirectional else states.take("Squeeze")
    return states if squeezed is not None and squeezed.integers(1) == [1] else None


def _of_all_states(at, whole, records):
    """The stack that gives all its states, or of these the last one."""
    if not _turns(at):
        return None
    step = at.copy()
    chosen = step.take("Gather")
    if chosen is None or chosen.attributes["axis"] != 1 or whole.reverse or whole.bidirectional:
        return at.found(whole.replace(return_sequences=True), *records)
    return step.found(whole, *records) if chosen.constant(1).tolist() in (-1, [-1]) else None


def _of_last_states(at, nodes, whole, records):
    """The stack that gives what the second output of its last operator holds, alone or behind those of the others."""
    stack = at.take("Concat", place=len(nodes) - 1)
    if stack is not None and (
        stack.attributes["axis"] != 0 or list(map(id, stack.inputs)) != [id(node.outputs[1]) for node in nodes]
    ):
        return None
    chosen = at.take("Gather") or at.take("Squeeze")
    fits = chosen is not None and np.ravel(chosen.constant(1)).tolist() in ([-1], [0] if len(nodes) == 1 else [-1])
    return at.found(whole, *records) if fits and chosen.attributes.get("axis", 0) == 0 else None
