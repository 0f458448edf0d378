"""Kernels that let a thread compute as Python does or as the loop does, and again as before; see ``Word.ARITHMETIC``."""

from __future__ import annotations

from nnkit.engine.abi import flush_to_zero, keep_denormals, restore_arithmetic
from nnkit.kernels.control import Word

__all__ = ["after_loop", "as_before", "as_loop", "as_python"]

ARITHMETIC, BEFORE = int(Word.ARITHMETIC), int(Word.BEFORE)  # compiled code wants plain integers


def as_python(control):
    """Compute with denormal numbers."""
    control[ARITHMETIC] = keep_denormals()


def as_before(control):
    """Compute as before `as_python`."""
    restore_arithmetic(control[ARITHMETIC])


def as_loop(control):
    """Compute with 0 in the place of denormal numbers, as in the loop."""
    control[BEFORE] = flush_to_zero()


def after_loop(control):
    """Compute as before `as_loop`."""
    restore_arithmetic(control[BEFORE])
