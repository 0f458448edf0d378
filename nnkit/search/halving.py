"""Successive halving by epochs, where candidates that stay go on from where they are."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv

from nnkit.errors import ParameterError
from nnkit.estimators.legs import Leg
from nnkit.search.grid import SearchCV

__all__ = ["HalvingSearchCV"]


class HalvingSearchCV(SearchCV):
    """Train all candidates for a few epochs, the best of them for ``factor`` times as many, and so on.

    As scikit-learn's `HalvingGridSearchCV` with ``resource="epochs"``, to the same scores; but nets are not trained afresh on
    each rung: they go on from where they were left, with the optimizer's state, the order of the rows and all random numbers.
    So a candidate on the last rung is, to the bit, a net that was trained for so many epochs in one go. With factor 3 that
    saves a third of the epochs of every rung but the first.

    With c candidates there are r + 1 rungs, with r the largest integer for which factor**r <= c (or fewer, where there are too
    few epochs). On rung i, from 0, nets have had ``min_resources * factor**i`` epochs; of n candidates ceil(n / factor) stay.

    Parameters
    ----------
    estimator, param_grid, n_iter : as those of `SearchCV`
    factor : number > 1: how many times more epochs the next rung has, and how many times fewer candidates
    resource : the hyper-parameter that counts epochs: "epochs", and of a pipeline "nnclassifier__epochs", say
    min_resources : epochs of the first rung; "exhaust": as many as let the last rung have all; "smallest": 1
    max_resources : epochs that there are at most; "auto": those of the estimator
    scoring, n_jobs, refit, cv, verbose, random_state, error_score, return_train_score, progress : as those of `SearchCV`; of
        several scorers ``refit`` names the one that decides who stays. All rungs see the same folds.

    Attributes
    ----------
    n_resources_, n_candidates_ : epochs and candidates of each rung
    n_iterations_ : how many rungs there were
    n_remaining_candidates_ : how many would be on the next one
    cv_results_ : as that of `SearchCV`, with a row for each candidate on each rung, and "iter", "n_resources" beside it
    best_index_ : row of the best candidate of the last rung; best_score_, best_params_, best_estimator_ are its own

    Raises
    ------
    ParameterError
        A number of epochs, ``factor`` or ``resource`` is not what it can be; or the estimator holds out rows
        (``early_stopping``) that would be others on each rung, as its ``random_state`` is None.

    Notes
    -----
    Schedules that depend on the number of epochs are those of the last rung from the beginning: nets are looked at in the
    middle of their way. An estimator that is no net of nnkit, or one that is fitted with other rows on each rung, is trained
    afresh, as by scikit-learn.

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = nn.NNClassifier([16], epochs=45, batch_size=16, random_state=0)
    >>> rates = {"optimizer__lr": [0.00001, 0.0001, 0.001, 0.003, 0.01, 0.03]}
    >>> search = nn.HalvingSearchCV(net, rates, cv=3).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([6, 2], [15, 45])
    >>> bool(search.best_score_ > 0.9)
    True

    References
    ----------
    Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization".
    Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar 2018, "Hyperband: a novel bandit-based approach to hyperparameter
    optimization".
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        n_iter: int | None = None,
        factor: float = 3,
        resource: str = "epochs",
        min_resources: int | str = "exhaust",
        max_resources: int | str = "auto",
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
            estimator, param_grid, n_iter=n_iter, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose,
            random_state=random_state, error_score=error_score, return_train_score=return_train_score, progress=progress,
        )  # fmt: skip
        self.factor = factor
        self.resource = resource
        self.min_resources = min_resources
        self.max_resources = max_resources

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Try the candidates rung by rung, and fit the best one to all rows; as `SearchCV.fit`."""
        self._folds = _SameFolds(check_cv(self.cv, y, classifier=is_classifier(self.estimator)))
        try:
            return super().fit(X, y, **params)
        finally:
            del self._folds

    # -------------------------------------------------------------------------------------------------------- the rungs

    def _check(self) -> None:
        super()._check()
        number = isinstance(self.factor, int | float | np.number)
        self._require("factor", number and 1 < self.factor < np.inf, "a number above 1")
        known = self.estimator.get_params()
        if self.resource not in known:
            near = [name for name in known if name.rpartition("__")[2] == "epochs"]
            self._require("resource", False, f"a hyper-parameter of {type(self.estimator).__name__}"
                          + (f", such as {near[0]!r}" if near else ""))  # fmt: skip
        self._require("min_resources", self.min_resources in ("exhaust", "smallest") or _is_count(self.min_resources),
                      "'exhaust', 'smallest' or an integer of at least 1")  # fmt: skip
        self._require("max_resources", self.max_resources == "auto" or _is_count(self.max_resources),
                      "'auto' or an integer of at least 1")  # fmt: skip
        if self.max_resources == "auto" and not _is_count(known[self.resource]):
            self._require("max_resources", False, f"a number, as {self.resource} of the estimator is {known[self.resource]!r}")
        self._require("cv", not hasattr(self.cv, "__next__"), "a number, a splitter or a list of folds: all rungs look at them")
        place = self.resource.removesuffix("epochs")
        holds_out, random_state = known.get(f"{place}early_stopping"), known.get(f"{place}random_state", 0)
        if holds_out is True and random_state is None:
            raise ParameterError(f"{type(self).__name__}: expected {place}random_state to be a number where early_stopping is "
                                 "True, as the rows that are held out have to be the same on each rung, got None")  # fmt: skip

    def _require(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            raise ParameterError(f"{type(self).__name__}: {name}: expected {expected}, got {getattr(self, name)!r}")

    def _rungs(self, candidates: int) -> list[int]:
        """The epochs of each rung, of which there are no more than leave one candidate."""
        given = self.estimator.get_params()[self.resource] if self.max_resources == "auto" else self.max_resources
        most, wanted = int(given), _whole_log(candidates, self.factor)
        named: dict[Any, int] = {"exhaust": max(1, int(most // self.factor**wanted)), "smallest": 1}
        least = named.get(self.min_resources) or int(self.min_resources)
        if least > most:
            raise ParameterError(f"{type(self).__name__}: min_resources: expected at most {most}, got {least}")
        last = min(wanted, _whole_log(most // least, self.factor))
        return [min(int(self.factor**power * least), most) for power in range(last + 1)]

    def _run_search(self, evaluate_candidates: Any) -> None:  # type: ignore[override]
        candidates: list[tuple[dict[str, Any], dict[bytes, dict[int, Any]]]] = [(given, {}) for given in self._candidates()]
        if any(self.resource in given for given, _ in candidates):
            raise ParameterError(f"{type(self).__name__}: param_grid: expected no values of {self.resource}, which the rungs "
                                 "set, got some; leave them out")  # fmt: skip
        rungs = self._rungs(len(candidates))
        self.n_iterations_, self.n_resources_, self.n_candidates_ = len(rungs), rungs, []
        for rung, epochs in enumerate(rungs):
            count = len(candidates)
            self.n_candidates_.append(count)
            results = evaluate_candidates(
                [{**given, self.resource: Leg(epochs, rungs[-1], places)} for given, places in candidates], self._folds,
                more_results={"iter": [rung] * count, "n_resources": [epochs] * count},
            )  # fmt: skip
            scores = self._scores(results)[-count:]
            # from the worst to the best, those without a score first
            order = np.roll(np.argsort(scores), np.isnan(scores).sum())
            stay = order[-ceil(count / self.factor) :]
            for place, (_, places) in enumerate(candidates):  # which scikit-learn holds to the end, whoever stays
                for mark, left in places.items():
                    places[mark] = {max(left): left[max(left)]} if place in stay else {}
            candidates = [candidates[place] for place in stay]
        self.n_remaining_candidates_ = len(candidates)

    def _scores(self, results: dict[str, Any]) -> NDArray[np.float64]:
        """What decides."""
        name = f"mean_test_{self.refit if isinstance(self.refit, str) else 'score'}"
        if name not in results:
            names = ", ".join(key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_"))
            raise ParameterError(f"{type(self).__name__}: refit: expected the name of the score that decides, one of {names}, "
                                 f"got {self.refit!r}")  # fmt: skip
        return np.asarray(results[name], np.float64)

    # ------------------------------------------------------------------------------------- where scikit-learn asks for it

    def _format_results(self, candidate_params: Any, *others: Any) -> Any:
        """With plain numbers of epochs."""
        plain = [{**given, self.resource: int(given[self.resource])} for given in candidate_params]
        return super()._format_results(plain, *others)

    def _select_best_index(self, refit: Any, refit_metric: str, results: dict[str, Any]) -> int:
        """The best one of the last rung."""
        if callable(refit):
            return int(super()._select_best_index(refit, refit_metric, results))
        last = np.flatnonzero(results["iter"] == self.n_iterations_ - 1)
        scores = results[f"mean_test_{refit_metric}"][last]
        return int(last[0 if np.isnan(scores).all() else np.nanargmax(scores)])


class _SameFolds:
    """Folds that are drawn once."""

    def __init__(self, folds: Any) -> None:
        self._folds = folds
        self._drawn: list[Any] = []

    def split(self, *data: Any, **params: Any) -> Iterator[Any]:
        """The same ones each time."""
        self._drawn = self._drawn or list(self._folds.split(*data, **params))
        return iter(self._drawn)


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def _whole_log(number: float, factor: float) -> int:
    """The largest power of a factor that is not above a number, of at least 1."""
    power = 0
    while factor ** (power + 1) <= number:
        power += 1
    return power
