"""Threads that run one native function side by side, with BLAS held to one thread meanwhile."""

from __future__ import annotations

import ctypes
import operator
import os
import queue
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from nnkit.engine import environment
from nnkit.engine.cores import usable_cores
from nnkit.engine.critical import Lock, imported, uninterrupted
from nnkit.engine.lazy import lazy
from nnkit.engine.operands import NATIVE
from nnkit.errors import EnvironmentWarning, ParameterError, warn

__all__ = ["Team", "available_threads", "set_threads", "single_threaded_blas"]


class _Mine(threading.local):
    """How many threads calls use that are made in this one; None where nobody has said so."""

    threads: int | None = None


_mine = _Mine()


def set_threads(threads: int) -> None:
    """Let calls in this thread use so many: they are run beside others."""
    _mine.threads = threads


def available_threads(n_threads: int | None = None) -> int:
    """How many threads to use: ``n_threads``, ``NNKIT_NUM_THREADS``, or as many cores as are this caller's."""
    if n_threads is None:
        return _mine.threads or environment.count("NNKIT_NUM_THREADS") or _own_share()
    try:
        count = 0 if isinstance(n_threads, bool) else operator.index(n_threads)
    except TypeError:
        count = 0
    if count < 1:
        raise ParameterError(f"n_threads: expected an integer of at least 1, or None for every core, got {n_threads!r}")
    return count


def _own_share() -> int:
    """The cores that this process may use, or the share of them that whoever runs it beside others has given it.

    OMP_NUM_THREADS says so to all libraries: joblib's workers have it (cores divided by ``n_jobs``), those of Dask and Ray,
    too.
    Where joblib runs several calls in threads, or in processes that it has not told, each gets one.
    """
    cores = usable_cores()
    share = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    told = share.isascii() and share.isdigit() and int(share[:9]) > 0
    joblib = sys.modules.get("joblib.parallel")
    if joblib is not None and joblib.get_active_backend()[0].nesting_level:
        from multiprocessing import parent_process  # which joblib has imported

        if not (told and parent_process()):
            return 1
    return min(cores, int(share[:9])) if told else cores


class _Spread:
    """Starts threads on cores other than the caller's.

    Linux may wake a thread on its waker's core and leave it waiting there for milliseconds, longer than many a call lasts
    (predicting 10 000 rows with two threads took 9.8 ms instead of 3.2). So a thread is told a core before it is woken, and
    gives up that tie as soon as it runs: from then on the system moves it as it likes.
    """

    def __init__(self) -> None:
        self._cores: list[int] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        try:
            self._core: Any = ctypes.CDLL(None).sched_getcpu if len(self._cores) > 1 else None
        except (AttributeError, OSError):
            self._core = None

    def tie(self, threads: Sequence[threading.Thread]) -> None:
        """Tie sleeping threads to the cores after the caller's."""
        if self._core is None:
            return
        here = self._core()
        start = self._cores.index(here) if here in self._cores else 0
        for index, thread in enumerate(threads, start + 1):
            self._allow(thread.native_id or 0, {self._cores[index % len(self._cores)]})

    def untie(self) -> None:
        """Let the calling thread run anywhere again."""
        if self._core is not None:
            self._allow(0, set(self._cores))

    @staticmethod
    def _allow(thread: int, cores: set[int]) -> None:
        try:
            os.sched_setaffinity(thread, cores)
        except OSError:  # a core was taken away meanwhile, or the system forbids it: then as the system likes
            pass


class Team:
    """The calling thread and up to ``size - 1`` helpers, which end with the ``with`` block; meanwhile BLAS has one thread.

    Helpers sleep between two calls of `run`. They belong to one fit alone: nothing is shared between fits, and a forked
    child starts its own. The block is a critical section.

    Attributes
    ----------
    size : how many are there: fewer than asked for where the system gives no more threads, and one alone in a forked child
    """

    def __init__(self, size: int) -> None:
        self._asked = size
        self.size = 1
        self._calls: list[queue.SimpleQueue[Any]] = []
        self._threads: list[threading.Thread] = []
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()

    @lazy
    def _spread(self) -> _Spread:
        return _Spread()

    def __enter__(self) -> Team:
        _blas.__enter__()
        _teams.add(self)
        try:
            while self.size < self._asked:
                self._start()
        except RuntimeError as error:  # "can't start new thread"
            self._warn(error)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        """Start one more helper."""
        calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        thread = threading.Thread(target=self._serve, args=(calls,), name="nnkit-worker", daemon=True)
        thread.start()
        self._calls.append(calls)
        self._threads.append(thread)
        self.size += 1

    def _warn(self, error: RuntimeError) -> None:
        try:
            warn(
                f"expected {self._asked} threads, got {self.size} ({error}); they do the work of all, with the same result. "
                "n_threads or NNKIT_NUM_THREADS sets how many are asked for", EnvironmentWarning
            )  # fmt: skip
        except BaseException:  # where warnings are errors
            self.__exit__(None, None, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            _teams.discard(self)
            for calls in self._calls:
                calls.put(None)
            for thread in self._threads:
                thread.join()
            self._leave_alone()
        finally:
            _blas.__exit__(kind, error, trace)

    def _leave_alone(self) -> None:
        """Be the calling thread alone: the helpers have ended, or are in another process."""
        self.size = 1
        self._calls, self._threads = [], []

    def _serve(self, calls: queue.SimpleQueue[Any]) -> None:
        while (call := calls.get()) is not None:
            self._spread.untie()
            function, frame = call
            function(frame)
            self._done.put(None)

    def run(self, address: int, frames: Sequence[int]) -> None:
        """Call the native function once with each frame, one for each member or for the first of them, all at the same time."""
        function = NATIVE(address)
        with uninterrupted:  # all or none: a helper alone would wait for the others for ever
            self._spread.tie(self._threads[: len(frames) - 1])
            for calls, frame in zip(self._calls, frames[1:], strict=False):
                calls.put((function, frame))
            function(frames[0])
            for _ in frames[1:]:
                self._done.get()


_teams: set[Team] = set()  # at work


class _BlasLimit:
    """Holds BLAS to one thread as long as somebody needs it: fits may overlap, and the setting belongs to the whole process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users: Counter[int] = Counter()  # by thread, how often
        self._controller: Any = None
        self._limit: Any = None

    def __enter__(self) -> None:
        uninterrupted.__enter__()
        try:
            with self._lock:
                if not self._users:
                    if self._controller is None:
                        imported("scipy.linalg.cython_blas")  # the BLAS that kernels call
                        self._controller = imported("threadpoolctl").ThreadpoolController()
                    self._limit = self._controller.limit(limits=1, user_api="blas")
                self._users[threading.get_ident()] += 1
        except BaseException:
            uninterrupted.__exit__(None, None, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._users -= Counter([threading.get_ident()])  # what comes to nothing is dropped
            if not self._users:
                self._limit.restore_original_limits()
        uninterrupted.__exit__(kind, error, trace)

    def forget_others(self) -> None:
        """In a forked child there is one thread, and of its fits only those that it is in."""
        before, mine = bool(self._users), threading.get_ident()
        self._users = Counter({thread: count for thread, count in self._users.items() if thread == mine})
        if before and not self._users:
            self._limit.restore_original_limits()


_blas = _BlasLimit()


def single_threaded_blas() -> AbstractContextManager[None]:
    """Hold BLAS to one thread: nnkit's own threads call it concurrently, which is only safe and fast that way.

    What is done meanwhile is a critical section.
    """
    return _blas


def _in_child() -> None:
    """After a fork, in the child: no helpers came with it."""
    for team in _teams:
        team._leave_alone()
    _teams.clear()
    _blas.forget_others()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
