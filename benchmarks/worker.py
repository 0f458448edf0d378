"""A process that holds one object, does what it is asked over a pipe, and sleeps meanwhile.

Everything is measured in such a process: it starts with its cores and its thread pools already limited (most libraries read
these limits only once, as they are loaded), and no library's threads get in the way of another's.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Unavailable", "Worker", "usable_cores"]

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NNKIT_NUM_THREADS")
# One thread: XLA still owns a pool, but it is given no second core and told not to split an operation.
_XLA_SINGLE = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Unavailable(Exception):
    """The object could not be made: its library is not installed."""


def usable_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    """Environment and cores for a process that is started inside: it inherits both before its first instruction."""
    wanted = {**dict.fromkeys(_POOLS, str(threads)), "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads == 1:
        wanted["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_XLA_SINGLE}".strip()
    before = {name: os.environ.get(name) for name in wanted}
    cores = usable_cores()
    os.environ.update(wanted)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores[-threads:])
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Worker:
    """``make(*arguments)`` in a process of its own with ``threads`` threads.

    Raises
    ------
    Unavailable
        ``make`` raised ImportError.
    RuntimeError
        The process has failed; the message holds its traceback.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments))  # no daemon: joblib starts processes
        with _limited(threads):
            self._process.start()
        theirs.close()
        self._answer()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object and return its result."""
        self._pipe.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError as error:
            self._process.join(5)
            raise RuntimeError(f"a worker has died, exit code {self._process.exitcode}") from error
        if kind == "result":
            return value
        self.close()
        raise (Unavailable if kind == "unavailable" else RuntimeError)(value)

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        item = make(*arguments)
        pipe.send(("result", None))
        while True:
            method, given = pipe.recv()
            pipe.send(("result", getattr(item, method)(*given)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # whoever asked is gone
    except ImportError as error:
        pipe.send(("unavailable", str(error)))
    except Exception:
        pipe.send(("error", traceback.format_exc()))
