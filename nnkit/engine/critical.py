"""Critical sections: entered and left whole, whatever signals and forks come meanwhile.

Python runs the handlers of signals in the main thread, between any two of its instructions. What one of them raises, as Ctrl-C
does, may leave anything half done: a lock that is held, a thread that nobody ends, a library that is half imported and cannot
be imported again. So, within a section, signals wait; they come in where the section lets them (`check`, `interruptible`), and
at its end. Native code is not slowed down by any of this, and not sped up: while it runs, handlers wait anyway. Threads that
work for the main one hear of Ctrl-C when it tells them (`heed`): they raise it themselves, where they `check`.

A forked child has the forking thread alone. A lock that another one held would stay locked there for ever, and what it was
about to change, half changed. So a fork waits until nobody holds a `Lock`, and until no other thread is compiling.
"""

from __future__ import annotations

import importlib
import logging  # noqa: F401  (whoever registers later is asked earlier at a fork: a compiling thread needs logging's lock)
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Lock", "check", "heed", "imported", "interruptible", "uninterrupted"]

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGBREAK", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")
           if hasattr(signal, name)]  # fmt: skip
WAY = 1e-3  # seconds that a thread gives to another one that wants to fork
LONGEST = 60.0  # seconds that a fork waits for others to compile
PATIENCE = 0.1  # seconds that the main thread waits for a lock before it lets signals in, again and again


# -------------------------------------------------------------------------------------------------------- signals


class _Standin:
    """Stands before the handler of a signal while there are sections: passes it on, or notes it within one."""

    def __init__(self, number: int, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.number = number
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _depth or _in_bookkeeping(frame):
            _noted[number] = self
        else:
            self.handler(number, frame)


_depth = 0  # sections that the main thread is in
_standins: list[list[_Standin]] = []  # those that each of them has brought, windows or not
_noted: dict[int, _Standin] = {}


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _in_bookkeeping(frame: FrameType | None) -> bool:
    """Whether the main thread is about to enter or to leave a section."""
    while frame is not None:
        if frame.f_code in _BOOKKEEPING:
            return True
        frame = frame.f_back
    return False


def _install() -> list[_Standin]:
    """Stand before all handlers that are Python's: those of the system do not raise."""
    brought: list[_Standin] = []
    try:
        for number in SIGNALS:
            handler: Any = signal.getsignal(number)
            if callable(handler) and not isinstance(handler, _Standin):
                brought.append(_Standin(number, handler))
                signal.signal(number, brought[-1])
    except BaseException:  # of a signal that nobody stands before yet
        _withdraw(brought)
        raise
    return brought


def _withdraw(brought: list[_Standin]) -> None:
    """Give the handlers their places back, but for those that somebody has replaced meanwhile."""
    raised: BaseException | None = None
    while brought:
        try:
            while brought:
                present: Any = signal.getsignal(brought[-1].number)
                if present is brought[-1]:
                    signal.signal(brought[-1].number, brought[-1].handler)
                brought.pop()
        except BaseException as error:  # of a signal whose own handler is back
            raised = error
    if raised is not None:
        raise raised


class _Heeded(threading.local):
    """What calls off the work of a thread."""

    event: threading.Event | None = None


_heeded = _Heeded()


def heed(event: threading.Event) -> None:
    """From now on, `check` in this thread raises KeyboardInterrupt once the event is set."""
    _heeded.event = event


def check() -> None:
    """Let the signals in that came within a section: their handlers run here, and may raise."""
    if (event := _heeded.event) is not None and event.is_set():
        raise KeyboardInterrupt
    if _noted and _in_main_thread():
        number, standin = _noted.popitem()
        try:
            standin.handler(number, sys._getframe(1))
        finally:  # of several that raise, the last one is heard
            check()


class _Uninterrupted:
    """A section in the main thread; elsewhere Python lets no signals in."""

    def __enter__(self) -> None:
        global _depth
        if _in_main_thread():
            _standins.append([] if _depth else _install())
            _depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        global _depth
        if _standins and _in_main_thread():  # none: in the child of another thread, which was in sections as it forked
            _depth -= 1
            try:
                _withdraw(_standins.pop())
            finally:
                if not _depth:
                    check()


class interruptible:
    """A window in a section, for the code of others: signals come in anywhere within it, first those that have waited."""

    __slots__ = ("_closed",)

    def __enter__(self) -> None:
        global _depth
        self._closed = 0
        if _depth and _in_main_thread():
            self._closed, _depth = _depth, 0
            if _noted:
                try:
                    check()
                except BaseException:
                    _depth = self._closed
                    raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        global _depth
        if self._closed:
            _depth = self._closed


uninterrupted = _Uninterrupted()

_BOOKKEEPING = {method.__code__ for cls in (_Uninterrupted, interruptible) for method in (cls.__enter__, cls.__exit__)}


# ---------------------------------------------------------------------------------------------------------- locks


class Lock:
    """A lock of ours: who holds it is in a section and may take it again, and a fork waits until it is free."""

    def __init__(self) -> None:
        self.inner = threading.RLock()
        _locks.append(self)

    def __enter__(self) -> None:
        if not _in_main_thread():
            self.inner.acquire()
            return
        uninterrupted.__enter__()
        try:
            while not self.inner.acquire(timeout=PATIENCE):
                if _depth == 1:  # no section around this one
                    check()
        except BaseException:
            uninterrupted.__exit__(None, None, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.inner.release()
        if _forking:  # it would be taken again before the other thread is awake
            time.sleep(WAY)
        uninterrupted.__exit__(kind, error, trace)


_locks: list[Lock] = []  # there are a few, one for each thing that threads share
_importing = Lock()
_whole: dict[str, Any] = {}


def imported(name: str) -> Any:
    """A module, imported to its end: of a large library whose import is broken off, what is left may be of no use."""
    if name not in _whole:
        with _importing:
            _whole[name] = importlib.import_module(name)
    return _whole[name]


# ---------------------------------------------------------------------------------------------------------- forks

_FOREIGN = ("numba.core.compiler_lock", "global_compiler_lock._lock"), ("llvmlite.binding.ffi", "lib._lock._lock")

_forking: set[int] = set()  # threads that wait for it


class _Fork(threading.local):
    """What a thread that forks has to remember until it has."""

    def __init__(self) -> None:
        self.held: list[Any] = []
        self.in_main = True

    def release(self) -> None:
        """Let others have the locks."""
        while self.held:
            self.held.pop().release()


_fork = _Fork()


def _all_locks() -> list[Any]:
    """Ours, and those that Numba and LLVM hold while they compile."""
    locks: list[Any] = [lock.inner for lock in _locks]
    for module, path in _FOREIGN:
        item: Any = sys.modules.get(module)
        for name in path.split("."):
            item = getattr(item, name, None)
        locks += [item] if hasattr(item, "acquire") else []
    return locks


def _hold() -> None:
    """Before a fork: take all locks. Whatever order others take them in, nobody waits for ever: who waits, holds none.

    Somebody who holds one may wait for what the forking thread holds, so that this ends some time, with a fork like any other.
    """
    _fork.in_main = _in_main_thread()
    _forking.add(threading.get_ident())
    uninterrupted.__enter__()
    locks, deadline = _all_locks(), time.monotonic() + LONGEST
    while locks[0].acquire(timeout=max(0.0, deadline - time.monotonic())):
        _fork.held.append(locks[0])
        for lock in locks[1:]:
            if not lock.acquire(blocking=False):
                _fork.release()
                locks.insert(0, locks.pop(locks.index(lock)))
                break
            _fork.held.append(lock)
        else:
            return


def _go_on() -> None:
    """After a fork, in the parent."""
    _forking.discard(threading.get_ident())
    _fork.release()
    uninterrupted.__exit__(None, None, None)


def _begin() -> None:
    """After a fork, in the child: what other threads were about is nobody's business any more."""
    global _depth
    _forking.clear()
    _fork.release()
    for lock in _locks:
        if lock.inner.acquire(blocking=False):
            lock.inner.release()
        else:  # the fork has not waited for it
            lock.inner = threading.RLock()
    _noted.clear()
    if _fork.in_main:
        uninterrupted.__exit__(None, None, None)
        return
    _depth = 0
    while _standins:
        _withdraw(_standins.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_go_on, after_in_child=_begin)
