"""Files that last: arrays and a description in one safetensors file, written whole or not at all, read with suspicion.

The metadata of the file has one entry, ``nnkit``: a JSON object with the format's name and version, the description, the
SHA-256 of the tensors, and the SHA-256 of all that. (One entry, because safetensors writes several in no particular order, and
the same model shall give the same bytes.)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from io import FileIO
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.about import install
from nnkit.errors import PersistenceError
from nnkit.persistence.disk import fill, open_regular, reason, to_path, write_atomically

__all__ = ["Layout", "Reader", "encode", "opened", "read", "write"]

FORMAT, VERSION = "nnkit", 1
HEADER_LIMIT = 8 << 20  # bytes of names, shapes and description: parsed, they take some 20 times as much

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip


class Layout(NamedTuple):
    """What is known of an array before it is read."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _digest(head: Mapping[str, Any]) -> str:
    """Of all that the metadata says, but for this."""
    text = _canonical({name: value for name, value in head.items() if name != "sha256"})
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of all arrays with their names, dtypes and shapes."""
    whole = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        whole.update(_canonical([name, array.dtype.name, array.shape]).encode())
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        whole.update(little.reshape(-1).view(np.uint8).data if array.size else b"")
    return whole.hexdigest()


def encode(description: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """The bytes of a file: those of `write`, and its errors."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES.values():
            raise PersistenceError(f"cannot write array {name!r}: expected numbers or truth values, got dtype {array.dtype}")
    head = {"format": FORMAT, "version": VERSION, "description": dict(description), "tensors": _digest_of(arrays)}
    try:
        data = save(arrays, {FORMAT: _canonical(head | {"sha256": _digest(head)})})
    except (TypeError, ValueError, RecursionError) as error:
        raise PersistenceError(f"cannot write the description: expected what JSON can hold, got {error}") from error
    size = int.from_bytes(data[:8], "little")
    if size > HEADER_LIMIT:
        raise PersistenceError(f"cannot write names and description of {size} bytes: expected at most {HEADER_LIMIT}; "
                               "the model has too many parts for one file")  # fmt: skip
    return data


def write(path: Any, description: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write arrays and their description as one safetensors file, atomically and durably.

    Parameters
    ----------
    path : str or path-like
    description : what JSON can hold; no NaN or infinity
    arrays : arrays of numbers or truth values by name, of any shape

    Raises
    ------
    PersistenceError
        The description or an array cannot be written, or the system refuses; a file that was there before is as it was.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from nnkit.persistence.file import read, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/a.safetensors", {"what": "a line"}, {"x": np.arange(3)})
    ...     read(f"{folder}/a.safetensors")
    ({'what': 'a line'}, {'x': array([0, 1, 2])})
    """
    write_atomically(path, encode(description, arrays))


class Reader:
    """An open file, of which the description is checked and the arrays are not read yet.

    Nothing is mapped into memory: where the file is written to in the meantime, what comes is an error. Every byte is read
    once, so that what has been checked is what is used.

    Attributes
    ----------
    path : Path
    description : what `write` was given
    layouts : dtype and shape of each array, as the file declares them; all of them are in the file
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file
        self._arrays: dict[str, NDArray[Any]] = {}
        text = self._header()
        try:
            header = json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_distinct)
            said = header.pop("__metadata__", {}).get(FORMAT)
            self.layouts, self._places = _laid_out(header, os.fstat(file.fileno()).st_size - 8 - len(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _damaged(path, f"it is no safetensors file ({str(error)[:200]})") from error
        head = _parse(said, path)
        self.description: dict[str, Any] = head["description"]
        self._digest: str = head["tensors"]
        self._begin = 8 + len(text)

    def _header(self) -> bytes:
        """The bytes that say what is in the file, if they are there and not too many."""
        length = os.fstat(self._file.fileno()).st_size
        size = int.from_bytes(self._file.read(8), "little")
        if length < 8 or size > length - 8:
            raise _damaged(self.path, f"it is {length} bytes long, shorter than it says")
        if size > HEADER_LIMIT:
            raise _damaged(self.path, f"expected a header of at most {HEADER_LIMIT} bytes, got {size}")
        text = bytearray(size)
        self._fill(memoryview(text))
        return bytes(text)

    def _fill(self, memory: memoryview) -> None:
        """Read as many bytes as the memory has."""
        if fill(self._file, memory) < len(memory):
            raise _damaged(self.path, "it has become shorter while it was read")

    def array(self, name: str) -> NDArray[Any]:
        """Read one array, before it is known whether a bit has changed: a copy, as that is still to be found out."""
        return self._array(name).copy()

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self.layouts:
            raise PersistenceError(f"there is no tensor {name[:80]!r}")
        if name not in self._arrays:
            layout = self.layouts[name]
            try:
                array = np.empty(layout.shape, np.dtype(layout.dtype).newbyteorder("<"))
            except ValueError as error:  # of too many axes; of 0 times too many numbers
                raise _damaged(self.path, f"{name[:80]!r} has a shape that no array has ({error})") from error
            self._file.seek(self._begin + self._places[name])
            self._fill(array.reshape(-1).view(np.uint8).data if array.size else memoryview(b""))
            if layout.dtype == "bool" and array.view(np.uint8).max(initial=0) > 1:
                raise _damaged(self.path, f"expected truth values as {name[:80]!r}, got other bytes")
            self._arrays[name] = array.astype(layout.dtype, copy=False)
        return self._arrays[name]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Read all arrays; refuse them where a bit is not what it was."""
        arrays = {name: self._array(name) for name in self.layouts}
        if _digest_of(arrays) != self._digest:
            raise _damaged(self.path, "the tensors are not those that were written (SHA-256 differs)")
        return arrays


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, if no name comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _laid_out(header: Mapping[str, Any], length: int) -> tuple[dict[str, Layout], dict[str, int]]:
    """What arrays a header declares, and where they begin in ``length`` bytes, which they fill without holes or overlap.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError
        The header is no header.
    """
    layouts, ranges = {}, {}
    for name, entry in header.items():
        code, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if code not in DTYPES:
            raise ValueError(f"expected numbers or truth values as {name[:80]!r}, got {str(code)[:40]}")
        whole = type(shape) is list and all(type(size) is int and size >= 0 for size in (begin, end, *shape))
        name.encode()  # JSON holds strings that UTF-8 has not: a ValueError
        if not whole:
            raise ValueError(f"expected a shape and two places of {name[:80]!r}, got something else")
        layouts[name], ranges[name] = Layout(DTYPES[code], tuple(shape)), (begin, end)
        if layouts[name].size != end - begin:
            raise ValueError(f"expected {layouts[name].size} bytes as {name[:80]!r}, got {end - begin}")
    places = [(0, 0), *sorted(ranges.values()), (length, length)]
    if any(left[1] != right[0] for left, right in pairwise(places)):
        raise ValueError(f"expected arrays that fill {length} bytes, one after the other")
    return layouts, {name: begin for name, (begin, _) in ranges.items()}


def _damaged(path: Path, what: str) -> PersistenceError:
    return PersistenceError(f"cannot read {str(path)!r}: {what}; the file is damaged, or not one of nnkit's")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _parse(text: Any, path: Path) -> dict[str, Any]:
    """What the metadata says, if it is what was written."""
    if not isinstance(text, str):
        raise _damaged(path, f"it is a safetensors file without {FORMAT!r} in its metadata")
    try:
        head = json.loads(text, parse_constant=_refuse)
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise ValueError("no name of a format")
        if head.get("version") != VERSION:
            came = str(head.get("version"))[:40]
            raise PersistenceError(f"cannot read {str(path)!r}: expected version {VERSION} of the format, got {came}; "
                                   f"a newer nnkit has written it: {install(upgrade=True)}")  # fmt: skip
        whole = head.get("sha256") == _digest(head)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its description cannot be read ({error})") from error
    if not whole:
        raise _damaged(path, "its description is not what was written (SHA-256 differs)")
    if not isinstance(head.get("description"), dict) or not isinstance(head.get("tensors"), str):
        raise _damaged(path, "its description is incomplete")
    return head


@contextlib.contextmanager
def opened(path: Any) -> Iterator[Reader]:
    """Open a file that `write` has written: to look at what it declares before its arrays take memory.

    Raises
    ------
    PersistenceError
        The file cannot be read, is damaged, or is not one of nnkit's.
    """
    source = to_path(path)
    try:
        with open_regular(source) as file:
            yield Reader(source, file)
    except PersistenceError:
        raise
    except OSError as error:
        raise PersistenceError(f"cannot read {str(source)!r}: {reason(error)}") from error


def read(path: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the description and all arrays of a file that `write` has written; see `opened`."""
    with opened(path) as file:
        return file.description, file.arrays()
