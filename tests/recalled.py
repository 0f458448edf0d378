"""Every program that is made from a template, in any test, is compared with the one that would have been written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

from nnkit.engine.program import Program
from nnkit.engine.stub import kernel
from nnkit.engine.template import Template, lay_out

__all__ = ["compared", "difference", "is_written"]


def difference(program: Program, others: int) -> str | None:
    """What is not as it would have been written, of a program with arrays of so many others; None where it is the same."""
    given = program._given_instructions
    written = list(given() if callable(given) else given)
    template = Template(written, lay_out(written, program.rows), len(program.controls), program._held[:others])
    own = program._held[others:]
    if [array.shape for array in template.own] != [array.shape for array in own]:
        return "arrays of its own"
    if not all(np.array_equal(mine, array) for mine, array in zip(template.own, own, strict=True)):
        return "what its own arrays hold"
    if program.memory.shape[1] != template.size or program._meets != template.meets:
        return "how its memory is laid out"
    frames, _ = template.frames(program.shards, program.memory, program.controls, program._held)
    if not np.array_equal(frames, program.frames):
        return "its frames"
    addresses = [kernel(item.function, item.operands, program.real).address for item in written]
    return None if np.array_equal(program.table[0, :, 0], addresses) else "its kernels"


@contextmanager
def compared() -> Iterator[None]:
    """Look at every program that is made meanwhile."""
    make: Any = Program.__init__

    @wraps(make)
    def looked_at(self: Program, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        if not is_written(self):
            like = named["like"]
            found = difference(self, len(like.arrays))
            assert found is None, f"{found} should be others: what is missing in the key? {like.key}"

    Program.__init__ = looked_at
    try:
        yield
    finally:
        Program.__init__ = make


def is_written(program: Program) -> bool:
    """Whether its instructions were written, and not a template recalled."""
    return "_laid_out" in vars(program)
