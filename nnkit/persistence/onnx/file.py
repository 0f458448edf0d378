"""ONNX files on disk."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from nnkit.errors import OnnxError

__all__ = ["read", "write"]


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Put a file in its place when all of it is on the disk; if that fails, what was there before stays."""
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            mode = os.umask(0)
            os.umask(mode)
            os.chmod(temporary, 0o666 & ~mode)  # as any new file's, not mkstemp's
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise OnnxError(f"onnx.export: {os.fspath(path)!r} cannot be written: {error.strerror or error}") from None


def read(path: str | os.PathLike[str]) -> tuple[bytes, Path]:
    """The content of a file, and its folder."""
    try:
        return Path(path).read_bytes(), Path(path).resolve().parent
    except OSError as error:
        raise OnnxError(f"onnx.load: {os.fspath(path)!r} cannot be read: {error.strerror or error}") from None
