"""Threads that run one native function side by side, with BLAS held to one thread meanwhile."""

from __future__ import annotations

import collections
import ctypes
import operator
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from nnkit.engine.operands import NATIVE
from nnkit.errors import ParameterError

__all__ = ["Team", "available_threads", "single_threaded_blas"]



def available_threads(n_threads: int | None = None) -> int:
    """How many threads to use: ``n_threads``, ``NNKIT_NUM_THREADS``, or as many cores as this process may use."""
    if n_threads is None:
        text = os.environ.get("NNKIT_NUM_THREADS", "")
        if text.isdigit() and int(text) > 0:
            return int(text)
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        count = 0 if isinstance(n_threads, bool) else operator.index(n_threads)
    except TypeError:
        count = 0
    if count < 1:
        raise ParameterError(f"n_threads: expected an integer of at least 1, or None for every core, got {n_threads!r}")
    return count


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
    """The calling thread and ``size - 1`` helpers, which end with the ``with`` block.

    Helpers sleep between two calls of `run`. They belong to one fit alone: nothing is shared between fits, and a forked
    child starts its own.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._calls: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(size - 1)]
        self._spread = _Spread()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(calls,), name="nnkit-worker", daemon=True) for calls in self._calls
        ]

    def __enter__(self) -> Team:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for calls in self._calls:
            calls.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self, calls: queue.SimpleQueue[Any]) -> None:
        while (call := calls.get()) is not None:
            self._spread.untie()
            function, frame = call
            function(frame)
            self._done.put(None)

    def run(self, address: int, frames: Sequence[int]) -> None:
        """Call the native function once with each frame (one for each member), all at the same time."""
        function = NATIVE(address)
        self._spread.tie(self._threads)
        calls = [(function, frame) for frame in frames[1:]]
        try:
            # All or none, even if Ctrl-C comes now: a helper alone would wait for the others for ever.
            collections.deque(map(queue.SimpleQueue.put, self._calls, calls), maxlen=0)
        finally:
            try:
                function(frames[0])
            finally:
                for _ in self._calls:
                    self._done.get()


class _BlasLimit:
    """Counts who needs single-threaded BLAS: fits may overlap, and the setting belongs to the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._controller: Any = None
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                if self._controller is None:
                    import scipy.linalg.cython_blas  # noqa: F401 - the BLAS kernels call
                    from threadpoolctl import ThreadpoolController

                    self._controller = ThreadpoolController()
                self._limit = self._controller.limit(limits=1, user_api="blas")

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.restore_original_limits()


_blas = _BlasLimit()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread: nnkit's own threads call it concurrently, which is only safe and fast that way."""
    _blas.enter()
    try:
        yield
    finally:
        _blas.leave()
