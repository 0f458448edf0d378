"""scikit-learn's grid search and randomized search, with all fits side by side."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV

from nnkit.errors import ParameterError
from nnkit.search.threads import side_by_side

__all__ = ["SearchCV"]


class SearchCV(GridSearchCV):
    """Try hyper-parameters by cross-validation: scikit-learn's `GridSearchCV` and `RandomizedSearchCV`, its fits side by side.

    All that these do is done by scikit-learn, so ``cv_results_``, ranks and scores are theirs, to the bit: several scorers,
    groups, sample weights, metadata routing, pipelines (whose steps are fitted on each fold), estimators of anybody. What is
    different is where the fits run: in threads of this process, which share the data, as many at a time as there are cores.
    After Ctrl-C, which is raised, the search is as it was.

    Parameters
    ----------
    estimator : an estimator, or a pipeline
    param_grid : dict of lists by names such as "optimizer__lr", or a list of dicts; with ``n_iter`` values may also be
        distributions (those of scipy.stats)
    n_iter : int, optional: try so many combinations that are drawn, instead of all
    scoring, refit, cv, verbose, error_score, return_train_score : as those of `GridSearchCV`
    n_jobs : how many fits at a time: all cores by default; below 0 as joblib has it; 1 is one after another in this thread
    random_state : None, int or RandomState: decides what is drawn
    progress : "auto" (on a terminal and in a notebook), True or False: a line that says how many fits are done

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_,
        classes_, n_features_in_, feature_names_in_ : as those of `GridSearchCV`

    Raises
    ------
    ParameterError
        ``n_iter`` or ``n_jobs`` is no such number; or a distribution is given, and no ``n_iter``.
    ValueError, TypeError
        As from `GridSearchCV`.

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = nn.NNClassifier([16], epochs=30, batch_size=16, random_state=0)
    >>> search = nn.SearchCV(net, {"optimizer__lr": [0.0001, 0.01], "layers": [[8], [16, 16]]}, cv=3).fit(X, y)
    >>> search.best_params_["optimizer__lr"], bool(search.best_score_ > 0.9)
    (0.01, True)

    Drawn from distributions:

    >>> from scipy.stats import loguniform
    >>> drawn = nn.SearchCV(net, {"optimizer__lr": loguniform(1e-4, 1e-1)}, n_iter=4, cv=3, random_state=0).fit(X, y)
    >>> len(drawn.cv_results_["params"])
    4

    References
    ----------
    Bergstra and Bengio 2012, "Random search for hyper-parameter optimization".
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_iter: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        progress: bool | str = "auto",
    ) -> None:
        super().__init__(
            estimator, param_grid, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose, pre_dispatch="all",
            error_score=error_score, return_train_score=return_train_score,
        )  # fmt: skip
        self.n_iter = n_iter
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Try all candidates, and fit the best one to all rows.

        Parameters
        ----------
        X, y : rows and targets
        **params : for ``fit`` of the estimator, the splitter and the scorers, as `GridSearchCV` passes them on: ``groups``,
            ``sample_weight``

        Returns
        -------
        self

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C: all fits have ended.
        """
        self._check()
        with side_by_side(self.n_jobs, progress=self.progress):
            super().fit(X, y, **params)
        return self

    def _check(self) -> None:
        """Refuse what scikit-learn does not know, or does not say why it refuses it."""
        who, count = type(self).__name__, self.n_iter
        if count is not None and (isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1):
            raise ParameterError(f"{who}: n_iter: expected an integer of at least 1, or None for all of a grid, got {count!r}")
        if count is None:
            for grid in self.param_grid if isinstance(self.param_grid, list) else [self.param_grid]:
                for name, values in grid.items() if isinstance(grid, dict) else ():
                    if hasattr(values, "rvs"):
                        raise ParameterError(f"{who}: {name}: expected a list of values for a grid, got a distribution; "
                                             "n_iter=20 draws as many combinations")  # fmt: skip

    def _candidates(self) -> list[dict[str, Any]]:
        """What is to be tried."""
        if self.n_iter is None:
            return list(ParameterGrid(self.param_grid))
        return list(ParameterSampler(self.param_grid, self.n_iter, random_state=self.random_state))

    @property
    def param_distributions(self) -> Any:
        """The grid, as `RandomizedSearchCV` calls it."""
        return self.param_grid

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        """As scikit-learn's class does it, which also tells its callbacks (from 1.9 on)."""
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}
        how = GridSearchCV if self.n_iter is None else RandomizedSearchCV
        how._run_search(self, evaluate_candidates, **context)
