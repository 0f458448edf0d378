"""The kernel cache: a folder of files that are machine code, and so are believed only where nobody else can have written them.

It knows bytes and names, not kernels. A file holds a checksum of its name and content, is written under a temporary name and
renamed, and is read through one descriptor: what is damaged or not ours is removed, as if it had never been there. Whatever
goes wrong with the disk, kernels are compiled in memory, for this process, and one warning says why.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nnkit.engine import environment
from nnkit.errors import CacheWarning, warn

__all__ = ["SUFFIX", "Cached", "KernelCache", "kernel_cache"]

SUFFIX = ".kernel"
_MAGIC = b"nnkit kernel 1\n"
_HEAD = len(_MAGIC) + hashlib.sha256().digest_size
_LARGEST = 1 << 28  # bytes; the largest kernels have some 300 kB
_DAY = 86400.0  # seconds; how exactly it is known when a kernel was last used
_LIFETIME = 90 * _DAY  # seconds after its last use until a cached kernel is pruned
_WRITING = 60.0  # seconds; a writer needs milliseconds, so an older temporary file is a dead one's
_LINKS = 40  # symbolic links in one path, as many as Linux follows

_HAS_OWNERS = hasattr(os, "geteuid")
_BY_DESCRIPTOR = {os.open, os.mkdir, os.stat, os.access, os.unlink, os.rename, os.readlink, os.rmdir} <= os.supports_dir_fd
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0) | _NO_LINK
_PASSING = _FOLDER | getattr(os, "O_PATH", 0)  # a folder on the way may be one that we may pass through but not list
_READ = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | _NO_LINK  # not waiting: it could be a pipe
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | _NO_LINK

# What nnkit writes, and what it wrote when every version had a folder of Numba's own files.
_KERNEL = re.compile(r"k_\w+_[0-9a-f]{24}\.kernel")
_TEMPORARY = re.compile(r"k_\w+_[0-9a-f]{24}\.kernel\.\d+-[0-9a-f]+\.tmp")
_FORMER_FOLDER = re.compile(r"py\d+-numba[^/]*")
_FORMER_KERNEL = re.compile(r"k_\w+\.py")
_FORMER_FILE = re.compile(r"k_\w+\.(py|json)|\w+\.tmp|k_\w+[-.].+\.(nbi|nbc|pyc)(\.tmp\.[0-9a-f]+)?|k_\w+\.pyc(\.\d+)?")


class Unsafe(Exception):
    """Another user could put code into a folder, or has."""


@dataclass
class Cached:
    """Compiled kernels on disk: how many, and their bytes."""

    kernels: int = 0
    size: int = 0

    def add(self, is_kernel: bool, size: int) -> None:
        """Count one more file."""
        self.kernels += is_kernel
        self.size += size


# ------------------------------------------------------------------------------------------------- who may write


@cache
def _rulers(user: int) -> frozenset[int]:
    """Users that could do anything anyway: root, we, and in a container without a root of its own the outer root."""
    users = {0, user}
    with suppress(OSError, ValueError):  # not Linux
        if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
            users.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return frozenset(users)


@cache
def _is_private(group: int, user: int) -> bool:
    """Whether we are alone in a group, as far as the system tells.

    Where it does not list its users, because these are on another machine, the group has to have the user's name: so it is
    where each user is given a group.
    """
    import grp
    import pwd

    try:
        me, found = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    belonging = {other.pw_name for other in pwd.getpwall() if other.pw_gid == group}
    if me.pw_name not in belonging and not (me.pw_gid == group and found.gr_name == me.pw_name):
        return False
    return belonging | set(found.gr_mem) <= {me.pw_name}


def _is_own(status: os.stat_result) -> bool:
    """Whether a folder or file is ours, or root's (an image of a container may bring kernels), and nobody else's to write."""
    return status.st_uid in _rulers(os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _require_own(status: os.stat_result, path: Path) -> None:
    """The cache folder itself is closed to others, those of any group too."""
    if status.st_uid not in _rulers(os.geteuid()):
        raise Unsafe(f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()} who runs this")
    if not _is_own(status):
        raise Unsafe(f"others may write into {path} (its mode is {stat.S_IMODE(status.st_mode):o}): chmod go-w {path}")


def _has_list(folder: int) -> bool:
    """Whether a list says for more users than owner and group what they may do; the bits for the group then mean all these."""
    try:
        return bool(os.getxattr(f"/proc/self/fd/{folder}", "system.posix_acl_access"))
    except (AttributeError, OSError):  # there is none, or this is not Linux
        return False


def _require_firm(folder: int, path: Path) -> None:
    """A folder on the way cannot be exchanged by another user.

    Its owner and everybody who may write into it could rename what lies below it, and put another folder of ours there, such
    as one that we have unpacked from an archive of theirs. So it has to be root's or ours, and not for others to write. A
    sticky folder (/tmp) may be, because in it one renames only what is one's own; so may be one of a group in which we are
    alone.
    """
    status, user = os.fstat(folder), os.geteuid()
    if status.st_uid not in _rulers(user):
        raise Unsafe(f"{path} belongs to user {status.st_uid}, who could exchange what lies in it")
    if status.st_mode & stat.S_ISVTX:
        return
    shared = status.st_mode & stat.S_IWGRP and (_has_list(folder) or not _is_private(status.st_gid, user))
    if shared or status.st_mode & stat.S_IWOTH:
        mode = stat.S_IMODE(status.st_mode)
        raise Unsafe(f"others may write into {path} (its mode is {mode:o}), and exchange what lies in it")


def _descend(path: Path) -> int:
    """Open an absolute path level by level, looking at each as it is opened, and making those that are missing.

    Symbolic links are followed here and not by the system, from one checked folder to the next. Nobody but their owner can
    change one: root's and ours are good ones.
    """
    here, seen = os.open(path.anchor, _PASSING), Path(path.anchor)
    parts, links = list(path.parts[1:]), 0
    try:
        while parts:
            _require_firm(here, seen)
            part = parts.pop(0)
            status = _found_or_made(part, here)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if status.st_uid not in _rulers(os.geteuid()) or links > _LINKS:
                    raise Unsafe(f"{seen / part} is a symbolic link of user {status.st_uid}, who could change it")
                target = Path(os.readlink(part, dir_fd=here))
                parts = [*target.parts, *parts]
                if not target.is_absolute():
                    continue
                part = parts.pop(0)
            below = os.open(part, _PASSING, dir_fd=here)
            os.close(here)
            here, seen = below, seen / part
        _require_own(os.fstat(here), seen)
        return os.open(".", os.O_RDONLY | _FOLDER, dir_fd=here)
    finally:
        os.close(here)


def _found_or_made(part: str, folder: int) -> os.stat_result:
    try:
        return os.stat(part, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(part, 0o700, dir_fd=folder)
        return os.stat(part, dir_fd=folder, follow_symlinks=False)


# -------------------------------------------------------------------------------------------------------- folder


class Folder:
    """A folder that is ours alone; looked at once, when it is opened, and used through its descriptor from then on.

    Where the system has no such descriptors (Windows), it is a path, and the user's profile is what protects it.

    Raises
    ------
    Unsafe : another user could put files there
    OSError : it cannot be made or opened
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        if _BY_DESCRIPTOR and _HAS_OWNERS:
            self._descriptor = _descend(path)
            status = os.fstat(self._descriptor)
        else:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
        self._identity = status.st_dev, status.st_ino

    def is_there(self) -> bool:
        """Whether it still exists, and the descriptor is still its own: a daemon closes all that it has inherited."""
        try:
            status = os.stat(self.path if self._descriptor is None else self._descriptor)
        except OSError:
            return False
        return self._is_same(status) and (self._descriptor is None or status.st_nlink > 0)

    def close(self) -> None:
        """Give the descriptor back, if it is still its own."""
        if self._descriptor is not None and self._is_same(os.stat(self._descriptor)):
            os.close(self._descriptor)

    def _is_same(self, status: os.stat_result) -> bool:
        return (status.st_dev, status.st_ino) == self._identity

    @property
    def is_writable(self) -> bool:
        """Whether new files may be made; no promise, because a disk may be full."""
        return os.access(self._at("."), os.W_OK, dir_fd=self._descriptor)

    def _at(self, name: str) -> str:
        return name if self._descriptor is not None else str(self.path / name)

    def read(self, name: str) -> bytes:
        """A file's bytes, if it is a plain file that nobody else may have written; else nothing. It is in use from now on."""
        handle = os.open(self._at(name), os.O_RDONLY | _READ, dir_fd=self._descriptor)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST or (_HAS_OWNERS and not _is_own(status)):
                return b""
            if time.time() - status.st_mtime > _DAY:
                with suppress(OSError):
                    os.utime(handle if os.utime in os.supports_fd else self._at(name))
            with open(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)

    def write(self, name: str, data: bytes) -> None:
        """Write the whole file or none of it."""
        temporary = f"{name}.{os.getpid()}-{os.urandom(6).hex()}.tmp"
        handle = os.open(self._at(temporary), _CREATE, 0o600, dir_fd=self._descriptor)
        try:
            with open(handle, "wb") as file:
                file.write(data)
            os.replace(self._at(temporary), self._at(name), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            self.remove(temporary)
            raise

    def remove(self, name: str) -> None:
        """Remove a file; another process may be faster."""
        with suppress(OSError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """The plain files in it, with what the system says of them."""
        yield from _listed(self.path if self._descriptor is None else self._descriptor)

    def former(self, clear_before: float | None = None) -> Cached:
        """Files of the former layout, a folder for each version; those last used before a time are removed, if one is given."""
        found, folders = Cached(), list[str]()
        with suppress(OSError), os.scandir(self.path if self._descriptor is None else self._descriptor) as entries:
            folders = [entry.name for entry in entries if _FORMER_FOLDER.fullmatch(entry.name)]
        for folder in folders:
            for inner in (f"{folder}/__pycache__", folder):
                self._former(inner, clear_before, found)
        return found

    def _former(self, folder: str, clear_before: float | None, found: Cached) -> None:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | _FOLDER, dir_fd=self._descriptor) if self._descriptor is not None else None
            try:
                for name, status in _listed(self.path / folder if handle is None else handle):
                    if not _FORMER_FILE.fullmatch(name) or (clear_before is not None and status.st_mtime > clear_before):
                        continue
                    if clear_before is not None:
                        os.unlink(name if handle is not None else self.path / folder / name, dir_fd=handle)
                    found.add(_FORMER_KERNEL.fullmatch(name) is not None, status.st_size)
            finally:
                if handle is not None:
                    os.close(handle)
            if clear_before is not None:
                os.rmdir(self._at(folder), dir_fd=self._descriptor)  # an error where it is not empty


def _listed(folder: int | Path) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in list(entries):  # all of them first: some are removed meanwhile
            with suppress(OSError):  # another process has just removed it
                if entry.is_file(follow_symlinks=False):
                    yield entry.name, entry.stat(follow_symlinks=False)


# --------------------------------------------------------------------------------------------------------- cache


class KernelCache:
    """Keeps bytes under names from process to process, and says once where it cannot.

    Parameters
    ----------
    path : where; None decides when it is first used: ``NNKIT_CACHE_DIR``, or else the user's cache folder, or, where that
        cannot be made or written, a folder in the system's temporary one. A folder that is not safe is never exchanged for
        another: then nothing is kept.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._wish = path
        self._folder: Folder | None = None
        self._path: Path | None = None  # absolute; decided once
        self._warned = False
        self._pruned = False
        self.refusal = ""  # why nothing is kept

    @property
    def path(self) -> Path | None:
        """Where files are kept, or would be if the folder were safe; None where there is no place at all."""
        self._open()
        return self._path

    def __str__(self) -> str:
        return f"{self.path}, not used: {self.refusal}" if self.path is None or self.refusal else str(self.path)

    def _open(self) -> Folder | None:
        """The folder; where it has gone, it is made again."""
        if self._folder is not None and self._folder.is_there():
            return self._folder
        if self.refusal:
            return None
        if self._folder is not None:
            with suppress(OSError):
                self._folder.close()
            self._folder = None
        named = self._path or self._wish or environment.text("NNKIT_CACHE_DIR")
        wishes = [named] if named else [place for place in (_users_folder(), _temporary_folder()) if place is not None]
        reason = "there is neither a folder of the user's nor a temporary one"
        for wish in wishes:
            try:
                self._path = Path(os.path.abspath(wish))
                folder = Folder(self._path)
                if folder.is_writable or wish is wishes[-1]:
                    self._folder = folder
                    return folder
                reason = f"{wish} cannot be written"
            except Unsafe as error:
                reason = str(error)
                break
            except (OSError, ValueError) as error:  # a path with a null character is a ValueError
                reason = f"{wish} cannot be used ({getattr(error, 'strerror', None) or error})"
        self.refusal = reason
        self._warn(reason)
        return None

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            warn(
                f"compiled kernels are not kept on disk: {reason}. Everything works, but every process compiles anew; let "
                "NNKIT_CACHE_DIR name a folder on a disk with space that only you can write",
                CacheWarning,
            )  # fmt: skip

    def read(self, name: str) -> bytes | None:
        """What was written under a name; None where nothing was, or what is there is not what was written."""
        folder = self._open()
        if folder is None:
            return None
        try:
            found = folder.read(name)
        except OSError as error:
            if error.errno != errno.ELOOP:  # it is not there, or there are too many open files
                return None
            found = b""  # a symbolic link
        content = found[_HEAD:]
        if found[:_HEAD] != _head(name, content):
            folder.remove(name)
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keep bytes under a name, if that can be done."""
        folder = self._open()
        if folder is None:
            return
        try:
            folder.write(name, _head(name, content) + content)
        except FileNotFoundError:
            pass  # somebody clears the cache, or removes the folder, just now: then it is as if it had been written before that
        except OSError as error:
            if self.read(name) is None:  # else another process was faster, and is reading it (Windows)
                self._warn(f"{folder.path} cannot be written ({error.strerror or error})")
        if not self._pruned:  # once in a process: it looks at every file
            self._pruned = True
            self.clear(unused=_LIFETIME)

    def remove(self, name: str) -> None:
        """Forget what was written under a name."""
        folder = self._open()
        if folder is not None:
            folder.remove(name)

    def count(self) -> Cached:
        """What is there, of all versions."""
        folder = self._open()
        if folder is None:
            return Cached()
        found = folder.former()
        with suppress(OSError):
            for name, status in folder.files():
                if _KERNEL.fullmatch(name) or _TEMPORARY.fullmatch(name):
                    found.add(name.endswith(SUFFIX), status.st_size)
        return found

    def clear(self, unused: float = 0.0) -> Cached:
        """Remove what nobody has used for so many seconds, and what writers that were killed have left; return what it was.

        Other processes may be compiling and loading: what they miss they compile again. Files that nnkit has not written stay.
        """
        folder = self._open()
        if folder is None:
            return Cached()
        now = time.time()
        removed = folder.former(clear_before=now - unused)
        with suppress(OSError):
            for name, status in folder.files():
                age = unused if _KERNEL.fullmatch(name) else min(unused, _WRITING) if _TEMPORARY.fullmatch(name) else None
                if age is not None and status.st_mtime <= now - age:
                    folder.remove(name)
                    removed.add(name.endswith(SUFFIX), status.st_size)
        return removed


def _head(name: str, content: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(name.encode() + b"\0" + content).digest()


def _users_folder() -> Path | None:
    try:
        home = Path.home()
    except RuntimeError:  # no home
        return None
    return {
        "darwin": home / "Library" / "Caches",
        "win32": Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")),
    }.get(sys.platform, Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")) / "nnkit"


def _temporary_folder() -> Path | None:
    owner = str(os.geteuid()) if _HAS_OWNERS else os.environ.get("USERNAME", "user")
    try:
        return Path(tempfile.gettempdir()) / f"nnkit-{owner}"
    except OSError:  # the system has none
        return None


kernel_cache = KernelCache()  # where this process keeps its kernels
