"""What the kernels of recurrent layers share: the way from step to step, and back."""

from __future__ import annotations

from nnkit.kernels.gemm import multiply
from nnkit.kernels.math import sigmoid, tanh

__all__ = ["activate", "add", "add_rows", "assign", "give", "go_back", "is_padding", "mirrored", "project", "receive"]


def is_padding(mask, n, t):
    """Whether step t of row n is padding; where there is no mask, none is."""
    return mask.shape[1] > 0 and mask[n, t] == 0


def mirrored(step, steps, reverse):
    """Where in the sequence the step is that is taken as number ``step``, or the other way round."""
    return steps - 1 - step if reverse else step


def assign(source, target):
    """Target = source, one row of numbers."""
    for j in range(target.shape[0]):
        target[j] = source[j]


def add(source, target):
    """Target += source, one row of numbers; a source of size zero is absent."""
    for j in range(source.shape[0]):
        target[j] += source[j]


def activate(gate, product, bias, signed):
    """Gate = tanh (where it is to be signed) or sigmoid of gate + product + bias."""
    if signed:
        for j in range(gate.shape[0]):
            gate[j] = tanh(gate[j] + product[j] + bias[j])
    else:
        for j in range(gate.shape[0]):
            gate[j] = sigmoid(gate[j] + product[j] + bias[j])


def project(x, weight_ih, reverse, inputs, gates):
    """Inputs are x with the steps first, in the order in which they are taken; gates = inputs @ weight_ih."""
    rows, steps = x.shape[0], x.shape[1]
    for s in range(steps):
        for n in range(rows):
            assign(x[n, mirrored(s, steps, reverse)], inputs[s * rows + n])
    multiply(inputs, weight_ih, gates, True)


def give(hidden, mask, reverse, return_sequences, out):
    """Out are the last states, one or all, each in its step's place in the sequence; 0 where it is padding."""
    outs = out.shape[1]
    first = hidden.shape[0] - outs
    for n in range(out.shape[0]):
        for k in range(outs):
            if return_sequences and is_padding(mask, n, k):
                out[n, k] = 0.0
            else:
                assign(hidden[first + mirrored(k, outs, reverse), n], out[n, k])


def receive(grad_out, mask, reverse, return_sequences, later, delta):
    """Add to delta, the gradient of a state, that of the output that is this state; ``later`` is how many steps follow."""
    outs = grad_out.shape[1]
    if later < outs:
        k = mirrored(outs - 1 - later, outs, reverse)
        for n in range(delta.shape[0]):
            if not (return_sequences and is_padding(mask, n, k)):
                add(grad_out[n, k], delta[n])


def go_back(grad_gates, weight_t, product, delta):
    """Add to delta what comes to the state before a step through its gates."""
    multiply(grad_gates, weight_t, product, True)
    for n in range(delta.shape[0]):
        add(product[n], delta[n])


def add_rows(rows, total):
    """Total += the sum of all rows; a total of size zero is absent."""
    if total.shape[0] > 0:
        for n in range(rows.shape[0]):
            add(rows[n], total)
