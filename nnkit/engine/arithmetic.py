"""Kernels that let a thread compute as Python does, and as the loop does again; see ``Word.ARITHMETIC``."""

from __future__ import annotations

from nnkit.engine.abi import keep_denormals, restore_arithmetic
from nnkit.kernels.control import Word

__all__ = ["as_before", "as_python"]

ARITHMETIC = int(Word.ARITHMETIC)  # compiled code wants a plain integer


def as_python(control):
    """Compute with denormal numbers."""
    control[ARITHMETIC] = keep_denormals()


def as_before(control):
    """Compute as before `as_python`."""
    restore_arithmetic(control[ARITHMETIC])
