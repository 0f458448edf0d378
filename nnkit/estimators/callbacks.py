"""What scikit-learn's callbacks (from 1.9 on) are told about a fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from nnkit.core.callback import Callback
from nnkit.core.training import RunningFit
from nnkit.estimators.learned import Learner
from nnkit.estimators.splitting import TrainingSet

if TYPE_CHECKING:
    Method = TypeVar("Method", bound=Callable[..., Any])

    class CallbackSupportMixin:
        """Nothing that a checker would have to know."""

    def with_callbacks(method: Method) -> Method:
        """A method stays what it is: scikit-learn has no types."""
else:
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:  # scikit-learn before 1.9 has no callbacks

        class CallbackSupportMixin:
            """Nothing: `object` itself cannot come before other bases."""

        def with_callbacks(method):
            """Leave the method as it is."""
            return method


__all__ = ["CallbackSupportMixin", "Report", "reporting", "with_callbacks"]

Report = Callable[[TrainingSet], Callback]  # what tells them about a fit on these rows


class _Reporter(Callback):
    """Tells scikit-learn's callbacks about the epochs of a fit; each is a subtask of a task, that of the net ``learner``."""

    def __init__(self, estimator: Learner, learner: Learner, begin: Callable[[int], Any], data: TrainingSet) -> None:
        self.estimator, self.learner, self.begin, self.data = estimator, learner, begin, _told(data)

    def on_fit_begin(self, fit: RunningFit) -> None:
        self.root = self.begin(fit.epochs)
        self.root.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self._begin()

    def _begin(self) -> None:
        self.epoch = self.root.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def _end(self, context: Any) -> bool:
        def learned() -> dict[str, Any]:
            whole = {name: value for name, value in self.estimator._learned().items() if name != "estimators_"}
            return copy.deepcopy({**whole, **self.learner._learned()})

        return bool(context.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=learned, **self.data))

    def on_epoch_end(self, fit: RunningFit) -> None:
        if self._end(self.epoch):
            fit.stop("a callback of scikit-learn said so")
        elif fit.epoch + 1 < fit.epochs and not fit.stopping:
            self._begin()

    def on_fit_end(self, fit: RunningFit) -> None:
        self._end(self.root)


def _told(data: TrainingSet) -> dict[str, Any]:
    return {"X": data.X, "y": data.y, "metadata": {"sample_weight": data.sample_weight}}


@contextmanager
def reporting(
    estimator: Any, learners: Sequence[Learner], data: TrainingSet, watched: bool
) -> Iterator[Sequence[Report | None]]:
    """What tells scikit-learn's callbacks about the fit of each net, if anything; of several, each fit is a subtask."""
    if not watched:
        yield [None] * len(learners)
    elif len(learners) == 1:
        yield [partial(_Reporter, estimator, estimator, lambda epochs: estimator._init_callback_context(max_subtasks=epochs))]
    else:
        root = estimator._init_callback_context(max_subtasks=len(learners), sequential_subtasks=False)
        root.call_on_fit_task_begin(estimator=estimator, **_told(data))
        yield [partial(_Reporter, estimator, learner, partial(root.subcontext, "member", place))
               for place, learner in enumerate(learners)]  # fmt: skip
        root.call_on_fit_task_end(estimator=estimator, reconstruction_attributes=lambda: copy.deepcopy(estimator._learned()),
                                  **_told(data))  # fmt: skip
