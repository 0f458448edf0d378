"""What a program is wherever its memory lies.

Nets of one architecture on data of one kind run the same program: only the addresses of parameters, data and states are others.
So a program is planned once, and the next one of its kind is the same template on other memory.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.engine.instruction import Instruction
from nnkit.engine.memory import ALIGNMENT, allocator, own
from nnkit.engine.operands import Array, Operand, Storage, aliases
from nnkit.engine.stub import Kernel
from nnkit.errors import KernelError
from nnkit.kernels.control import CONTROL_WORDS

__all__ = ["Likeness", "Template", "lay_out", "recalled", "remember"]

MOST = 256  # templates that are remembered; when there are more, all are forgotten
NUMBER, MEMORY, CONTROL, ARRAYS = range(4)  # what a word is: a number, or an address in one of these; the arrays one by one


class Likeness(NamedTuple):
    """What programs have in common that differ in the addresses of their arrays alone.

    Attributes
    ----------
    key : all that their instructions follow from, beside the arrays; something without a hash is like nothing else
    arrays : those of others that the instructions name, each as the very object that it is there. All other arrays are the
        program's own: their shapes and numbers follow from the key.
    """

    key: Hashable
    arrays: Sequence[NDArray[Any]]

    @classmethod
    def of(cls, key: Hashable, *likes: Likeness, arrays: Sequence[NDArray[Any]] = ()) -> Likeness:
        """What programs have in common that are alike in a key, in all of these, and name these arrays beside theirs."""
        return cls((key, *(item.key for item in likes)), [*arrays, *(array for item in likes for array in item.arrays)])

    def including(self, *more: Hashable) -> Hashable | None:
        """What is the same for all programs that are alike, in ``more``, too; None where the key has no hash: none are."""
        key = self.key, *more, *[(array.shape, array.strides, array.dtype.char) for array in self.arrays]
        try:
            hash(key)
        except TypeError:
            return None
        return key


class Template:
    """The frames of a program, without addresses; see `nnkit.engine.program`.

    Parameters
    ----------
    instructions : the table, in order
    rooms : where the pieces of a shard's memory begin and end, see `lay_out`
    controls : how many control blocks there are
    arrays : those of others, see `Likeness`

    Attributes
    ----------
    size : bytes of a shard's memory
    meets : instructions before which all shards wait for each other
    own : the program's own arrays; of a template that is remembered, what they are before anything has run
    kernels : of the instructions, where it is remembered
    """

    def __init__(
        self, instructions: Sequence[Instruction], rooms: list[tuple[int, int]], controls: int, arrays: Sequence[NDArray[Any]]
    ) -> None:
        self.rooms = rooms
        # The odd cache line keeps the same buffer of two shards off the same cache sets.
        self.size = max((end for _, end in rooms), default=0) + ALIGNMENT
        self.meets = [index for index, instruction in enumerate(instructions) if instruction.meets]
        self.own: list[NDArray[Any]] = []
        self.kernels: list[Kernel] | None = None
        self.addresses = np.empty(0, np.int64)  # of these
        self._places = {id(array): place for place, array in enumerate(arrays, ARRAYS)}
        words: list[tuple[int, int, int]] = []  # number, what it is, by how much it grows from shard to shard outside of memory
        starts: list[int] = []  # where an instruction's frame begins
        for instruction in instructions:
            starts.append(len(words))
            words.append((0, CONTROL, CONTROL_WORDS * 8 if controls > 1 else 0))
            repeated = aliases(instruction.operands)
            for place, operand in enumerate(instruction.operands):
                if place not in repeated:
                    words += self._words(operand)
        self._numbers, self._owners, self._moves = np.array(words, np.int64).reshape(-1, 3).T.copy()
        self._starts = np.array(starts, np.int64)

    def _words(self, operand: Operand) -> list[tuple[int, int, int]]:
        words = [(number, NUMBER, 0) for number in operand.words()]
        address, outside = operand.address(0), operand.outside
        if address is not None and outside is None:
            words[0] = address, MEMORY, 0
        elif address is not None and outside is not None:
            if id(outside) not in self._places:
                self._places[id(outside)] = ARRAYS + len(self._places)
                self.own.append(outside)
            move = operand.stride if isinstance(operand, Array) else 0
            words[0] = address - outside.ctypes.data, self._places[id(outside)], move
        return words

    def frames(
        self, shards: int, memory: NDArray[np.uint8], controls: NDArray[np.int64], arrays: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every shard's frames, and the table that leads to them, with no kernels yet; ``arrays`` are others', then its own."""
        begins = [0, memory.ctypes.data, controls.ctypes.data, *[array.ctypes.data for array in arrays]]
        shard = np.arange(shards)[:, None]
        moves = np.where(self._owners == MEMORY, memory.strides[0], self._moves)
        frames = self._numbers + np.array(begins, np.int64)[self._owners] + shard * moves
        table = np.empty((shards, len(self._starts), 2), np.int64)
        table[:, :, 1] = frames.ctypes.data + 8 * (self._starts + frames.shape[1] * shard)
        return frames, table


_templates: dict[Hashable, Template] = {}


def recalled(key: Hashable) -> Template | None:
    """The template that is remembered for a key, if its kernels are still what they were."""
    found = _templates.get(key)
    if found is None or not all(kernel.is_current for kernel in set(found.kernels or ())):
        return None
    return found


def remember(key: Hashable, template: Template, kernels: list[Kernel], arrays: Sequence[NDArray[Any]]) -> None:
    """Remember a template that was made for programs that are alike.

    Raises
    ------
    KernelError
        What counts as the program's own is part of an array of others: the next program would work on that of this one.
    """
    for mine in template.own:
        if any(np.may_share_memory(mine, array) for array in arrays):
            raise KernelError(f"a program: expected all arrays of others by name, got part of one, of shape {mine.shape}")
    template.own = [own(array) for array in template.own]
    template.kernels, template.addresses = kernels, np.array([kernel.address for kernel in kernels], np.int64)
    if len(_templates) >= MOST:
        _templates.clear()
    _templates[key] = template


def lay_out(
    instructions: Sequence[Instruction], rows: int, keep: bool = False, outside: Sequence[Array] = ()
) -> list[tuple[int, int]]:
    """Give every storage an offset; storages that are never alive together share memory (unless ``keep``).

    Returns where the room of each begins and ends.
    """
    source = allocator()
    storages: dict[Storage, None] = {array.storage: None for array in outside}
    for storage in storages:
        storage.use(0)
        storage.use(len(instructions))
    for position, instruction in enumerate(instructions):
        for operand in (*instruction.operands, *instruction.kept):
            if isinstance(operand, Array) and operand.storage.shared is None:
                operand.storage.use(position)
                storages[operand.storage] = None
    placed: list[tuple[int, int, Storage]] = []  # offset, end
    for storage in sorted(storages, key=lambda item: -item.size(rows)):
        size = source.extent(storage.size(rows))
        alive = sorted(
            (start, end) for start, end, other in placed
            if keep or source.apart or (other.first <= storage.last and storage.first <= other.last)
        )
        offset = 0
        for start, end in alive:
            if offset + size <= start:
                break
            offset = max(offset, end)
        storage.offset = offset + source.begin(storage.size(rows))
        placed.append((offset, offset + size, storage))
    return [(start, end) for start, end, _ in placed]
