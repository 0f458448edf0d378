"""Which kind of fit an optimizer needs: step by step, or by iterations over all rows."""

from __future__ import annotations

from typing import Any

from nnkit.core.container import Model
from nnkit.core.optimizer import Optimizer
from nnkit.core.trainer import Trainer
from nnkit.training.fit import Fit
from nnkit.training.iterations import Iterations
from nnkit.training.steps import Steps

__all__ = ["fit_of"]


def fit_of(model: Model, X: Any, y: Any, *, optimizer: Any, **options: Any) -> Fit:
    """A fit that is ready to run; `Fit` says what it is given."""
    made: Any = Optimizer.make(optimizer, "optimizer")
    kind = Iterations if isinstance(made, Trainer) else Steps
    return kind(model, X, y, optimizer=made, **options)
