"""The contract of an initializer."""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.part import Part
from nnkit.core.registry import Registry

__all__ = ["Given", "Initializer", "fans"]


class Initializer(Part):
    """Fills a parameter before training: one method, `__call__`.

    Hooks
    -----
    What an initializer may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one,
    which may be overridden.

    ============  =======  ====================================================================================================
    hook          default  what it is
    ============  =======  ====================================================================================================
    __call__      needed   numbers of a shape, drawn from the generator that it is given
    examples      method   class method: ready-made ones, with legal inputs, that the checks take; one with its defaults, where
                           the constructor needs no arguments
    acts_outside  False    it writes files, runs commands or the like: a file from somebody else does not bring it along
    elsewhere     ()       what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    ============  =======  ====================================================================================================

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> class Signs(nn.Initializer):
    ...     def __call__(self, shape, random):
    ...         return random.choice([-1.0, 1.0], shape)
    >>> model = nn.Sequential([nn.Linear(2, weight_init=Signs())]).build((3,), random_state=0)
    >>> np.abs(model.parameters()["0.weight"]).tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    """

    registry: ClassVar[Registry[Any]] = Registry("initializer")
    needed = ("__call__",)
    hooks = (*Part.hooks, "__call__")

    @abstractmethod
    def __call__(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
        """Draw an array of ``shape``."""


class Given(Initializer):
    """Numbers that somebody knows already."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = values

    def __call__(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
        return self.values


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of one unit: (fan_in, fan_out).

    A matrix is (in, out); a convolution's weight is (out, in, *kernel); a vector counts as both.
    """
    if len(shape) < 2:
        size = prod(shape) or 1
        return size, size
    if len(shape) == 2:
        return max(shape[0], 1), max(shape[1], 1)
    field = prod(shape[2:])
    return max(shape[1] * field, 1), max(shape[0] * field, 1)
