"""What scikit-learn's callbacks (from 1.9 on) are told about a fit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from nnkit.core.callback import Callback
from nnkit.estimators.learned import Learner

if TYPE_CHECKING:
    from nnkit.core.training import RunningFit

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


__all__ = ["CallbackSupportMixin", "Reporter", "with_callbacks"]


class Reporter(Callback):
    """Tells scikit-learn's callbacks about the epochs of a fit; each is a subtask of the estimator's."""

    def __init__(self, estimator: Learner, data: dict[str, Any]) -> None:
        self.estimator, self.data = estimator, data

    def on_fit_begin(self, fit: RunningFit) -> None:
        estimator = self.estimator
        self.root = estimator._init_callback_context(max_subtasks=fit.epochs)
        self.root.call_on_fit_task_begin(estimator=estimator, **self.data)
        self._begin()

    def _begin(self) -> None:
        self.epoch = self.root.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def _end(self, context: Any) -> bool:
        def learned() -> dict[str, Any]:
            return copy.deepcopy(self.estimator._learned())

        return bool(context.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=learned, **self.data))

    def on_epoch_end(self, fit: RunningFit) -> None:
        if self._end(self.epoch):
            fit.stop("a callback of scikit-learn said so")
        elif fit.epoch + 1 < fit.epochs and not fit.stopping:
            self._begin()

    def on_fit_end(self, fit: RunningFit) -> None:
        self._end(self.root)
