"""Files as the system has them: regular ones are read, and written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from nnkit.errors import ParameterError, PersistenceError

try:
    import fcntl
except ImportError:  # Windows, where nobody removes a file that another process has open
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_writable", "fill", "open_regular", "read_up_to", "read_whole", "reason", "remove_leftovers", "replace_name",
           "to_path", "write_atomically"]  # fmt: skip

OLD = 24 * 3600.0  # seconds without a change after which nobody is writing a file any more, where locks cannot tell
STEM = 40  # bytes of a file's name in those of its temporary files, for people to see whose they are

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


def reason(error: OSError, folder: Path | None = None) -> str:
    """Why the system refuses, in plain words; ``folder`` is where a file was to be written."""
    if folder is not None and error.errno == errno.ENOENT:
        if folder.is_dir():
            return f"the system takes no new files in {str(folder)!r}; choose another folder"
        return f"there is no folder {str(folder)!r}; make it first"
    return REASONS.get(error.errno or 0) or error.strerror or str(error)


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


# -------------------------------------------------------------------------------------------------------------- reading


def _require_regular(status: os.stat_result) -> None:
    """Refuse folders, pipes that wait for a writer, devices that never end.

    Raises
    ------
    OSError
    """
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        what = "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device"
        raise OSError(errno.EINVAL, f"it is {what}, no regular file; write what it gives to a file first")


def open_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """Open a regular file for reading, without a buffer; whatever opens what a user or a file names opens it here.

    Raises
    ------
    OSError
        There is none, it cannot be read, or it is something else: a folder, a pipe, a device.
    """
    _require_regular(os.stat(path))  # to open a device may do something already
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = io.FileIO(os.open(path, flags), "rb")
    try:
        _require_regular(os.fstat(file.fileno()))  # it may have become one in between
    except OSError:
        file.close()
        raise
    return file


def fill(file: io.FileIO, memory: memoryview) -> int:
    """Read into memory until it is full, or the file at its end; return how many bytes there were."""
    done = 0
    while done < len(memory) and (count := file.readinto(memory[done:])):
        done += count
    return done


def read_up_to(file: io.FileIO, size: int) -> bytes:
    """The next bytes of a file, fewer where it ends before."""
    pieces = []
    while size and (piece := file.read(size)):  # no system gives more than 2 GB at once
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_whole(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises
    ------
    OSError
        As those of `open_regular`, or it is longer.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EINVAL, f"expected at most {most} bytes, got {size}")
        return read_up_to(file, size)


# -------------------------------------------------------------------------------------------------------------- writing


def write_atomically(path: Any, data: bytes) -> None:
    """Write a file so that, whatever happens, there is all of it under its name, or what was there before.

    The bytes go to a temporary file in the same folder, and from there to the disk; only then it takes the name, and the folder
    goes to the disk, too. A process that is killed leaves at most a file ``.<name>-*.tmp`` behind; see `remove_leftovers`. It
    takes the permissions of the file that was there, and never has more. Links are followed, but not those that others have
    put where all may write.

    Parameters
    ----------
    path : str or path-like
    data : the whole content

    Raises
    ------
    PersistenceError
        The system refuses: the disk is full, the folder or the file is read-only or missing, the path is a folder, ...
    """
    target = to_path(path)
    try:
        mode = _replaceable(path, target)
        with _temporary(target, 0o666 if mode is None else 0o600) as (file, temporary):  # 0o666: as the umask has it
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if mode is not None:
                with contextlib.suppress(OSError):
                    os.chmod(temporary, mode)
            if fcntl is None:
                file.close()
            os.replace(temporary, target)
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
        _replaceable(path, target)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise PersistenceError(f"cannot write {str(target)!r}: {reason(error, target.parent)}") from error


def _replaceable(path: Any, target: Path) -> int | None:
    """The permissions of the file that another is to replace; None where there is none yet.

    Raises
    ------
    OSError
        It must not be replaced: it is no regular file, it is write-protected, or a link leads there that somebody else has put
        into a folder where all may write, such as /tmp.
    """
    place = os.path.abspath(os.fsdecode(path))
    for _ in range(40):  # links in a row, as systems have it
        if not os.path.islink(place):
            break
        folder, link = os.stat(os.path.dirname(place)), os.lstat(place)
        shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
        if shared and hasattr(os, "geteuid") and link.st_uid not in (os.geteuid(), folder.st_uid):
            raise OSError(errno.EINVAL, f"{place!r} is a link that somebody else has put there")
        place = os.path.join(os.path.dirname(place), os.readlink(place))
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    _require_regular(status)  # a device would be replaced, too
    if not os.access(target, os.W_OK):
        raise OSError(errno.EINVAL, "it is write-protected")
    return stat.S_IMODE(status.st_mode) & 0o777


def _prefix(target: Path) -> str:
    """How the names of a file's temporary ones begin, and of no other file's."""
    stem = target.name.encode("utf-8", "ignore")[:STEM].decode("utf-8", "ignore")
    return f".{stem}-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _new_name(target: Path) -> Path:
    return target.parent / f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(8)}.tmp"


@contextlib.contextmanager
def _temporary(target: Path, mode: int) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file beside another, locked as long as its writer lives; gone at the end, if it has not got another name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        path = _new_name(target)
        with open(os.open(path, flags, mode), "wb") as file:
            try:
                if _lock(file.fileno()) is False or not os.fstat(file.fileno()).st_nlink:
                    continue  # somebody has taken it for a leftover before it was locked
                yield file, path
                return
            finally:
                if fcntl is None:
                    file.close()
                with contextlib.suppress(OSError):
                    path.unlink()


def _lock(descriptor: int) -> bool | None:
    """Whether this process has got the lock on a file; None where the system has none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def remove_leftovers(path: Any) -> None:
    """Remove the temporary files of this path whose writers were killed; those that are being written stay."""
    target = to_path(path)
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            if re.fullmatch(re.escape(_prefix(target)) + "[0-9]+-[0-9a-f]{16}[.]tmp", name):
                with contextlib.suppress(OSError):
                    _remove_leftover(target.parent / name)


def _remove_leftover(path: Path) -> None:
    with open_regular(path) as file:
        locked, status = _lock(file.fileno()), os.fstat(file.fileno())
        if locked or (locked is None and time.time() - status.st_mtime > OLD):
            if fcntl is None:
                file.close()
            path.unlink()


def replace_name(source: Path, target: Path) -> None:
    """Let ``target`` be another name for a file, or a copy where the file system knows no links; never nothing in between.

    Raises
    ------
    OSError, PersistenceError
    """
    place = _new_name(target)
    try:
        os.link(source, place)
        os.replace(place, target)
    except OSError:
        write_atomically(target, read_whole(source, sys.maxsize))
    finally:  # where they were one file already, nothing has been renamed
        with contextlib.suppress(OSError):
            place.unlink()


def _sync_folder(folder: Path) -> None:
    """The folder's entries to the disk. Not every system can: Windows opens no folders, some file systems refuse."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
