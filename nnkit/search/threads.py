"""What scikit-learn computes in parallel, in threads of this process: compiled loops do not wait for each other."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from joblib import parallel_config
from joblib.parallel import ParallelBackendBase, SequentialBackend, get_active_backend

from nnkit.engine.critical import check, heed
from nnkit.engine.workers import available_threads, set_threads, single_threaded_blas
from nnkit.errors import ParameterError
from nnkit.training.progress import SeveralProgress

__all__ = ["side_by_side"]

LOOK = 0.05  # seconds between two looks at Ctrl-C and the progress line

Work = Callable[[], Any]


@contextmanager
def side_by_side(n_jobs: int | None = None, *, progress: bool | str = "auto") -> Iterator[None]:
    """Within a ``with`` block, whatever scikit-learn runs in parallel is run in threads of this process.

    Any of its searches, `cross_val_score`, `learning_curve`, a bagging of nets: data are shared instead of copied, nothing is
    pickled, and every fit gives the bits that it gives alone. Where there are more cores than fits, each fit shares its steps
    out among several. What a task runs in parallel itself is run one after another; a block within such a task changes nothing.

    Ctrl-C ends all fits and is raised where the search was called; estimators of others are fitted to their end before.
    Callbacks run in the threads of their fits.

    Parameters
    ----------
    n_jobs : how many fits at a time, for those who are not told themselves; all cores by default; below 0 as joblib has it
        (-2 is all cores but one). With 1 they run one after another in this thread, and there is no line.
    progress : "auto" (on a terminal and in a notebook), True or False: a line that says how many are done

    Raises
    ------
    ParameterError
        ``n_jobs`` is no such number.

    Notes
    -----
    BLAS has one thread meanwhile, as in joblib's worker processes: what other estimators compute with it (`PCA`) may differ
    from what it gives with several in its last bits. Estimators that hold the interpreter's lock gain nothing.

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_predict
    >>> X, y = load_iris(return_X_y=True)
    >>> with nn.side_by_side():
    ...     y_held_out = cross_val_predict(nn.NNClassifier([16], epochs=30, batch_size=16, random_state=0), X, y, cv=3)
    >>> bool((y_held_out == y).mean() > 0.9)
    True
    """
    count = _count(n_jobs)
    if get_active_backend()[0].nesting_level:
        yield
        return
    with SeveralProgress(progress, 0) as line, parallel_config(backend=_Threads(line), n_jobs=count):
        yield


def _count(n_jobs: Any) -> int:
    """How many fits at a time."""
    if n_jobs is None:
        return available_threads()
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or not n_jobs:
        raise ParameterError(f"n_jobs: expected an integer other than 0, or None for all cores, got {n_jobs!r}")
    return n_jobs if n_jobs > 0 else max(1, available_threads() + 1 + n_jobs)


class _Awaited(Future[Any]):
    """A result to come, as joblib asks for it."""

    def __init__(self, backend: _Threads) -> None:
        super().__init__()
        self._backend = backend

    def get(self) -> Any:
        """The result, when it is there."""
        self._backend.wait_for(self)
        return self.result()


class _Threads(ParallelBackendBase):
    """Runs what joblib hands over, in the order in which it comes.

    It waits for results itself, rather than be asked for them every 10 ms, which is longer than many a fit lasts; and begins
    when all tasks are there that joblib hands over in advance, to share the cores out among them.
    """

    uses_threads = supports_sharedmem = True

    def __init__(self, line: SeveralProgress) -> None:
        super().__init__()
        self._line = line
        self._done = 0  # tasks of earlier calls
        self._futures: list[_Awaited] = []
        self._waiting: list[Callable[[], Any]] = []  # for threads
        self._pool: ThreadPoolExecutor | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """At most so many at a time."""
        self._jobs = _count(n_jobs)
        return self._jobs

    def get_nested_backend(self) -> tuple[Any, None]:
        """Within a task there is one thing after another."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None

    def submit(self, func: Work, callback: Callable[[Any], None]) -> _Awaited:
        """Take a task; ``callback`` may hand over more."""
        future = _Awaited(self)
        self._futures.append(future)

        def run() -> None:
            try:
                result = self._context.copy().run(func)
                callback(None)  # before the result is there: who has seen all results has seen all tasks
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        if self._pool is None:
            self._waiting.append(run)
        else:
            self._pool.submit(run)
        return future

    apply_async = submit  # joblib before 1.5

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """The threads: until the last result, or an error, which calls off what still runs."""
        called_off, cores, self._context = threading.Event(), available_threads(), copy_context()  # such as np.errstate
        threads = max(1, min(self._jobs, len(self._waiting)))

        def begin() -> None:
            heed(called_off)
            set_threads(max(1, cores // threads))

        with warnings.catch_warnings(), single_threaded_blas():  # scikit-learn sets filters in each thread
            self._pool = pool = ThreadPoolExecutor(threads, initializer=begin)
            try:
                for run in self._waiting:
                    pool.submit(run)
                yield
                self._look()
            finally:
                called_off.set()
                self._pool = None
                pool.shutdown(cancel_futures=True)
                self._done += len(self._futures)
                self.abort_everything()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Forget the tasks."""
        self._futures, self._waiting = [], []

    def wait_for(self, future: Future[Any]) -> None:
        """Wait for a result; meanwhile signals come in, and an error of any other task."""
        while not future.done():
            wait([future], LOOK)
            for other in self._futures:
                if other.done() and other.exception() is not None:
                    other.result()
            self._look()
            check()

    def _look(self) -> None:
        """Show how many are done."""
        self._line.fits = self._done + len(self._futures)
        done = self._done + sum(future.done() for future in self._futures)
        self._line.look([1.0] * done, done, last=done == self._line.fits)
