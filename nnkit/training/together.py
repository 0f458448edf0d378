"""Several fits at the same time, each in a thread of its own: compiled loops do not wait for each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

from nnkit.core.container import Model, changing
from nnkit.engine.critical import check, interruptible, uninterrupted
from nnkit.engine.workers import available_threads
from nnkit.training.fit import Fit
from nnkit.training.kinds import fit_of
from nnkit.training.progress import SeveralProgress

__all__ = ["Task", "fit_together"]

Task = Callable[[], tuple[Model, dict[str, Any]]]  # a model and what `Fit` is to be given, made when their turn comes
LOOK = 0.05  # seconds between two looks at Ctrl-C and the progress line


def fit_together(
    tasks: Sequence[Task], *, n_threads: int | None = None, progress: bool | str = False, keep: bool = False
) -> list[Fit]:
    """Run fits side by side, as many at a time as there are threads; threads that are left are shared out among them.

    Every fit gives the bits that it would give alone. Callbacks are called in the threads of their fits.

    Parameters
    ----------
    tasks : for each fit a function that makes its model and its settings
    n_threads : int, optional; all cores by default
    progress : as that of `Fit`; of several fits the line says how many are done
    keep : after Ctrl-C return those that have begun, which have been stopped, instead of raising it

    Returns
    -------
    The fits, in the order of the tasks.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C, without ``keep``: all have been stopped.
    NnkitError
        What the first of the fits has raised that could not go on; the others have been stopped.
    """
    threads = available_threads(n_threads)
    at_once = max(1, min(threads, len(tasks)))
    together = _Together(threads // at_once, progress if len(tasks) == 1 else False)
    if at_once == 1:  # nothing to wait for: in this thread, which hears signals itself
        return together.one_by_one(tasks, keep)
    with uninterrupted, SeveralProgress(progress, len(tasks)) as line, ThreadPoolExecutor(at_once) as pool:
        pending: list[Future[Fit]] = [pool.submit(together.run, task) for task in tasks]
        try:
            while True:
                done, left = wait(pending, LOOK, FIRST_EXCEPTION)
                line.look(together.parts(), len(done), last=not left)
                if not left or any(future.exception() for future in done):
                    break
                check()
        except KeyboardInterrupt:
            together.stop("interrupted")
            if not keep:
                raise
        finally:
            together.stop("others have ended")
            for future in pending:
                future.cancel()
    failed = [error for future in pending if not future.cancelled() and (error := future.exception())]
    if failed:
        raise failed[0]
    return [future.result() for future in pending if not future.cancelled()]


class _Together:
    """Fits that run now, for whoever has to stop them."""

    def __init__(self, threads: int, progress: bool | str) -> None:
        self.threads, self.progress = threads, progress
        self.fits: list[Fit] = []
        self._stopped = ""

    def one_by_one(self, tasks: Sequence[Task], keep: bool) -> list[Fit]:
        """All of them, in this thread."""
        fits: list[Fit] = []
        for task in tasks:
            fits.append(self.run(task))
            if (failure := fits[-1].failure) is not None:
                if not keep:
                    raise failure
                break
        return fits

    def run(self, task: Task) -> Fit:
        """One of them."""
        with interruptible():
            model, settings = task()
        with changing(model, "fit"):
            with interruptible():
                fit = fit_of(model, **settings, n_threads=self.threads, progress=self.progress)
            self.fits.append(fit)
            if self._stopped:  # looked at after it is in the list, from which `stop` takes it
                fit.stop(self._stopped)
            fit.run()
        return fit

    def parts(self) -> list[float]:
        """Which part of each is done, of those that have begun."""
        return [fit.step / (fit.epochs * fit.steps_per_epoch) for fit in [*self.fits]]

    def stop(self, reason: str) -> None:
        """End them all after their epochs."""
        self._stopped = self._stopped or reason
        for fit in [*self.fits]:
            fit.stop(reason)
