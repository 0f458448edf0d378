"""Threads that run one native function side by side, with BLAS held to one thread meanwhile."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from nnkit.errors import ParameterError

__all__ = ["Team", "available_threads", "single_threaded_blas"]

_NATIVE = ctypes.CFUNCTYPE(None, ctypes.c_int64)  # releases the GIL while it runs


def available_threads(n_threads: int | None = None) -> int:
    """How many threads to use: ``n_threads``, ``NNKIT_NUM_THREADS``, or as many cores as this process may use."""
    if n_threads is None:
        text = os.environ.get("NNKIT_NUM_THREADS", "")
        if text.isdigit() and int(text) > 0:
            return int(text)
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1
    if isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise ParameterError(f"n_threads: expected an integer of at least 1, or None for every core, got {n_threads!r}")
    return n_threads


class Team:
    """The calling thread and ``size - 1`` helpers, which end with the ``with`` block.

    Helpers sleep between two calls of `run`. They belong to one fit alone: nothing is shared between fits, and a forked
    child starts its own.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._calls: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(size - 1)]
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
            function, frame = call
            function(frame)
            self._done.put(None)

    def run(self, address: int, frames: Sequence[int]) -> None:
        """Call the native function once with each frame (one for each member), all at the same time."""
        function = _NATIVE(address)
        for calls, frame in zip(self._calls, frames[1:], strict=True):
            calls.put((function, frame))
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
