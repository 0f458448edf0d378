"""Files that last: arrays and a description in one safetensors file, written whole or not at all, read with suspicion.

The metadata of the file has one entry, ``nnkit``: a JSON object with the format's name and version, the description, the
SHA-256 of the tensors, and the SHA-256 of all that. (One entry, because safetensors writes several in no particular order, and
the same model shall give the same bytes.)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import ParameterError, PersistenceError

__all__ = ["Layout", "Reader", "check_writable", "encode", "opened", "read", "reason", "remove_leftovers", "to_path", "write",
           "write_atomically"]  # fmt: skip

FORMAT, VERSION = "nnkit", 1
HEADER_LIMIT = 8 << 20  # bytes of names, shapes and description: parsed, they take some 20 times as much

DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EFBIG: "it is larger than the system allows",
    errno.EDQUOT: "your share of the disk is used up",
    errno.EROFS: "it is on a read-only file system",
    errno.EACCES: "there is no permission for it",
    errno.EPERM: "there is no permission for it",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "what stands for its folder is a file",
    errno.ENOENT: "there is no such file or folder",
    errno.ENAMETOOLONG: "its name is too long",
}


class Layout(NamedTuple):
    """What is known of an array before it is read."""

    dtype: str
    shape: tuple[int, ...]


def to_path(path: Any) -> Path:
    """A path from what the user gives, links followed.

    Raises
    ------
    ParameterError
        It is no path.
    PersistenceError
        It cannot be one: it holds a null byte.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise ParameterError(f"expected a path, got {path!r}") from None
    if "\0" in text or not text:
        raise PersistenceError(f"expected a path, got {text!r}")
    return Path(os.path.realpath(text))


def write_atomically(path: Any, data: bytes) -> None:
    """Write a file so that, whatever happens, there is all of it under its name, or what was there before.

    The bytes go to a temporary file in the same folder, and from there to the disk; only then it takes the name, and the folder
    goes to the disk, too. A process that is killed leaves at most a file ``.<name>-*.tmp`` behind; see `remove_leftovers`.

    Parameters
    ----------
    path : str or path-like
    data : the whole content

    Raises
    ------
    PersistenceError
        The system refuses: the disk is full, the folder is read-only or missing, the path is a folder, ...
    """
    target = to_path(path)
    temporary = target.parent / f"{_prefix(target)}{secrets.token_hex(8)}.tmp"
    try:
        if target.exists() and not target.is_file():  # a device would be replaced, too
            raise OSError(errno.EISDIR if target.is_dir() else errno.EINVAL, "it is no regular file")
        try:
            _write(temporary, data)
            with contextlib.suppress(OSError):  # a new version may be read by those who could read the old one
                shutil.copymode(target, temporary)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise PersistenceError(f"cannot write {str(target)!r}: {reason(error, target.parent)}; "
                               "a file that was there before is as it was") from error  # fmt: skip
    _sync_folder(target.parent)


def check_writable(path: Any) -> None:
    """Refuse, before there is anything to write, a path that `write_atomically` could not write to.

    Raises
    ------
    PersistenceError
        The folder is missing or read-only, the path is a folder, ...
    """
    target = to_path(path)
    try:
        if target.exists() and not target.is_file():
            raise OSError(errno.EISDIR if target.is_dir() else errno.EINVAL, "it is no regular file")
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise PersistenceError(f"cannot write {str(target)!r}: {reason(error, target.parent)}") from error


def _prefix(target: Path) -> str:
    """How the names of a file's temporary ones begin; short, as names may be."""
    return f".{target.name[:80]}-"


def remove_leftovers(path: Any) -> None:
    """Remove what writers of this file have left that were killed; nobody may be writing it now."""
    target = to_path(path)
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            if re.fullmatch(re.escape(_prefix(target)) + "[0-9a-f]{16}[.]tmp", name):
                (target.parent / name).unlink()


def _write(path: Path, data: bytes) -> None:
    """A new file, on the disk when this returns."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, flags, 0o666), "wb") as file:  # 0o666: as the user's umask has it
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The folder's entries to the disk. Not every system can: Windows opens no folders, some file systems refuse."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def reason(error: OSError, folder: Path | None = None) -> str:
    """Why the system refuses, in plain words; ``folder`` is where a file was to be written."""
    if folder is not None and error.errno == errno.ENOENT:
        return f"there is no folder {str(folder)!r}; make it first"
    return REASONS.get(error.errno or 0) or error.strerror or str(error)


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

    Attributes
    ----------
    path : Path
    description : what `write` was given
    layouts : dtype and shape of each array, as the file declares them; all of them are in the file
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._file = file
        self.layouts = {name: self._layout(name) for name in file.keys()}
        head = _parse((file.metadata() or {}).get(FORMAT), path)
        self.description: dict[str, Any] = head["description"]
        self._digest: str = head["tensors"]

    def _layout(self, name: str) -> Layout:
        piece = self._file.get_slice(name)
        code = str(piece.get_dtype())
        if code not in DTYPES:
            raise PersistenceError(f"cannot read {str(self.path)!r}: expected numbers or truth values as {name!r}, got {code}")
        return Layout(DTYPES[code], tuple(piece.get_shape()))

    def array(self, name: str) -> NDArray[Any]:
        """Read one array, before it is known whether a bit has changed."""
        if name not in self.layouts:
            raise PersistenceError(f"there is no tensor {name[:80]!r}")
        return np.asarray(self._file.get_tensor(name))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Read all arrays; refuse them where a bit is not what it was."""
        arrays = {name: self.array(name) for name in self.layouts}
        if _digest_of(arrays) != self._digest:
            raise _damaged(self.path, "the tensors are not those that were written (SHA-256 differs)")
        return arrays


def _damaged(path: Path, what: str) -> PersistenceError:
    return PersistenceError(f"cannot read {str(path)!r}: {what}; the file is damaged, or not one of nnkit's")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _parse(text: str | None, path: Path) -> dict[str, Any]:
    """What the metadata says, if it is what was written."""
    if text is None:
        raise _damaged(path, f"it is a safetensors file without {FORMAT!r} in its metadata")
    try:
        head = json.loads(text, parse_constant=_refuse)
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise ValueError("no name of a format")
        if head.get("version") != VERSION:
            came = str(head.get("version"))[:40]
            raise PersistenceError(f"cannot read {str(path)!r}: expected version {VERSION} of the format, got {came}; "
                                   "a newer nnkit has written it: pip install -U nnkit")  # fmt: skip
        whole = head.get("sha256") == _digest(head)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its description cannot be read ({error})") from error
    if not whole:
        raise _damaged(path, "its description is not what was written (SHA-256 differs)")
    if not isinstance(head.get("description"), dict) or not isinstance(head.get("tensors"), str):
        raise _damaged(path, "its description is incomplete")
    return head


def _check_header(path: Path) -> None:
    """Refuse what is no file of ours before anybody maps it into memory or parses it."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        status = os.fstat(file.fileno())  # of the open file; without blocking, as a named pipe would wait for a writer
        if not stat.S_ISREG(status.st_mode):
            raise PersistenceError(f"cannot read {str(path)!r}: it is no regular file")
        size = int.from_bytes(file.read(8), "little")
    if status.st_size < 8 or size > status.st_size - 8:
        raise _damaged(path, f"it is {status.st_size} bytes long, shorter than it says")
    if size > HEADER_LIMIT:
        raise _damaged(path, f"expected a header of at most {HEADER_LIMIT} bytes, got {size}")


@contextlib.contextmanager
def opened(path: Any) -> Iterator[Reader]:
    """Open a file that `write` has written: to look at what it declares before its arrays take memory.

    Raises
    ------
    PersistenceError
        The file cannot be read, is damaged, or is not one of nnkit's.
    """
    from safetensors import SafetensorError, safe_open

    source = to_path(path)
    try:
        _check_header(source)
        with safe_open(str(source), framework="numpy") as file:
            yield Reader(source, file)
    except PersistenceError:
        raise
    except OSError as error:
        raise PersistenceError(f"cannot read {str(source)!r}: {reason(error)}") from error
    except SafetensorError as error:
        raise _damaged(source, f"it is no safetensors file ({str(error)[:200]})") from error


def read(path: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read the description and all arrays of a file that `write` has written; see `opened`."""
    with opened(path) as file:
        return file.description, file.arrays()
