"""What a lecture writes for a part whose kernels are loops, from which no formula can be read."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Formulas"]


class Formulas(NamedTuple):
    """Formulas in Python's syntax; ``z_j`` is a number with an index, and ``sum_k(...)`` a sum over one.

    Attributes
    ----------
    forward : of an activation a_j, in ``z_j``; of a loss that of a row, in ``a_j``, ``y_j`` and ``p_j``
    backward : of an activation da_k/dz_j, in ``a_j`` and ``z_j``; of a loss its derivative by ``a_j``
    probability : of a loss, what ``p_j`` is, in ``a_j``; "" where neither names it

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Softmax.formulas.forward
    'exp(z_j) / sum_k(exp(z_k))'
    >>> nn.CrossEntropyLoss().formulas.backward
    'p_j - y_j'
    """

    forward: str
    backward: str
    probability: str = ""
