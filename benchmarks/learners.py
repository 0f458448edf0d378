"""nnkit and its peers as scikit-learn's estimators: each is made, fitted, searched and asked as its users do it.

A learner is made in a worker process and imports its library there; ImportError means that it is not installed.
"""

from __future__ import annotations

import os
import time
import warnings
from abc import ABC, abstractmethod
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .peers import sklearn_loss, sklearn_mlp, torch_net
from .timing import Figures, Stopwatch
from .workloads import Workload

__all__ = ["FOLDS", "LEARNERS", "RATES", "SIZES", "Learner"]

RATES, SIZES, FOLDS = (3e-4, 1e-3, 3e-3), ((50,), (100,), (200,)), 5  # of the grid search


class Learner(ABC):
    """One library's estimators for workloads, which say by their loss whether classes or numbers are predicted.

    ``grid`` names the hyper-parameters that are the learning rate and the hidden sizes; without, no grid is searched, and there
    are no ensembles.
    """

    grid: tuple[str, str] | None = None

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.watches: dict[int, Stopwatch] = {}

    @abstractmethod
    def make(self, epochs: int, seed: int) -> Any:
        """An estimator that has not been fitted."""

    @abstractmethod
    def loss(self, estimator: Any) -> float:
        """Training loss of the last epoch."""

    def bag(self, members: int) -> Any:
        """An estimator of so many nets, each of rows drawn with replacement."""
        raise NotImplementedError

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Targets as the library likes them."""
        return y

    def prepare(self, workload: Workload, epochs: int) -> None:
        """Take a workload; an epoch of two batches compiles what has to be compiled."""
        self.workload, self.epochs = workload, epochs
        self.X, y = workload.data()
        self.y = self.targets(y)
        some = slice(2 * workload.batch)
        self.fitted = self.make(1, 0).fit(self.X[some], self.y[some])

    def fit(self) -> Figures:
        """Seconds of one fit, and the loss that it ends at."""
        estimator = self.make(self.epochs, 0)
        begin = time.perf_counter()
        estimator.fit(self.X, self.y)
        return {"seconds": time.perf_counter() - begin, "loss": self.loss(estimator)}

    def fit_bag(self, members: int) -> Figures:
        """Seconds of a fit of so many nets to three quarters of the rows, and the accuracy of their mean on the others."""
        from sklearn.model_selection import train_test_split

        X, X_test, y, y_test = train_test_split(self.X, self.y, random_state=0)
        begin, estimator = time.perf_counter(), self.bag(members).fit(X, y)
        return {"seconds": time.perf_counter() - begin, "score": float(estimator.score(X_test, y_test))}

    def watch(self, rows: int, least: float) -> None:
        """Make ready to measure predictions for so many rows."""
        X = np.resize(self.X, (rows, self.X.shape[1]))
        self.watches[rows] = Stopwatch(partial(self.fitted.predict, X), least)

    def predict(self, rows: int) -> Figures:
        return self.watches[rows]()

    def search(self, jobs: int, backend: str) -> Figures:
        """Seconds of a grid search, the best model's fit to all rows included, and the best mean score of the folds.

        Each job has one thread: more would share the cores with the other jobs.
        """
        from joblib import parallel_config
        from sklearn.model_selection import GridSearchCV
        from threadpoolctl import threadpool_limits

        assert self.grid is not None
        search = GridSearchCV(self.make(self.epochs, 0), dict(zip(self.grid, (RATES, SIZES), strict=True)), cv=FOLDS)
        inner = {"inner_max_num_threads": 1} if backend == "loky" else {}
        begin = time.perf_counter()
        with parallel_config(backend, n_jobs=jobs, **inner), threadpool_limits(1):
            search.fit(self.X, self.y)
        return {"seconds": time.perf_counter() - begin, "score": float(search.best_score_)}

    def end_search(self) -> None:
        """Let go of the processes that loky keeps for the next search."""
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def scores(self, seeds: int) -> list[float]:
        """Accuracy or R2 on a held-out quarter; each seed splits the rows and draws the weights anew."""
        from sklearn.model_selection import train_test_split

        scores = []
        for seed in range(seeds):
            X, X_test, y, y_test = train_test_split(self.X, self.y, random_state=seed)
            scores.append(float(self.make(self.epochs, seed).fit(X, y).score(X_test, y_test)))
        return scores


class NnkitLearner(Learner):
    grid = "optimizer__lr", "layers"

    def make(self, epochs: int, seed: int) -> Any:
        import nnkit as nn

        workload = self.workload
        return {"cross_entropy": nn.NNClassifier, "mse": nn.NNRegressor}[workload.loss](
            workload.sizes[1:-1], optimizer=nn.Adam(lr=workload.lr), activation=workload.activation, epochs=epochs,
            batch_size=workload.batch, shuffle=workload.shuffle, random_state=seed,
        )  # fmt: skip

    def bag(self, members: int) -> Any:
        return self.make(self.epochs, 0).set_params(n_members=members, resample="bootstrap")

    def loss(self, estimator: Any) -> float:
        return float(estimator.loss_)


class SklearnLearner(Learner):
    """MLPClassifier and MLPRegressor without penalty; nothing stops them early."""

    grid = "learning_rate_init", "hidden_layer_sizes"

    def __init__(self, threads: int) -> None:
        from sklearn.exceptions import ConvergenceWarning

        super().__init__(threads)
        warnings.simplefilter("ignore", ConvergenceWarning)  # scikit-learn tells joblib's workers, too

    def make(self, epochs: int, seed: int) -> Any:
        return sklearn_mlp(self.workload, max_iter=epochs, random_state=seed)

    def bag(self, members: int) -> Any:
        from sklearn.ensemble import BaggingClassifier

        return BaggingClassifier(self.make(self.epochs, 0), members, n_jobs=self.threads, random_state=0)

    def loss(self, estimator: Any) -> float:
        return sklearn_loss(estimator)


class SkorchLearner(Learner):
    """skorch's nets around PyTorch's modules; all rows are trained on, and nothing is printed."""

    def __init__(self, threads: int) -> None:
        # Spinning, OpenMP's threads make two no faster than one here, and many times slower where the cores are shared.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import skorch  # noqa: F401
        import torch

        super().__init__(threads)
        torch.set_num_threads(threads)

    def make(self, epochs: int, seed: int) -> Any:
        import skorch
        import torch

        workload = self.workload
        kind, criterion = {
            "cross_entropy": (skorch.NeuralNetClassifier, torch.nn.CrossEntropyLoss),
            "mse": (skorch.NeuralNetRegressor, torch.nn.MSELoss),
        }[workload.loss]
        torch.manual_seed(seed)
        return kind(
            partial(torch_net, workload), criterion=criterion, optimizer=torch.optim.Adam, lr=workload.lr, max_epochs=epochs,
            batch_size=workload.batch, iterator_train__shuffle=workload.shuffle, train_split=None, verbose=0,
        )  # fmt: skip

    def loss(self, estimator: Any) -> float:
        return float(estimator.history[-1, "train_loss"])

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        return y.reshape(-1, 1) if self.workload.loss == "mse" else y


LEARNERS: dict[str, type[Learner]] = {
    "nnkit": NnkitLearner,
    "sklearn": SklearnLearner,
    "skorch": SkorchLearner,
}
