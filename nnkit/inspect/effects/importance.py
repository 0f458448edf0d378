"""How much worse a model becomes when a column is shuffled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Model
from nnkit.core.frames import Frame
from nnkit.core.loss import Loss
from nnkit.errors import ParameterError, ShapeError
from nnkit.inspect.effects.ranking import draw_bars
from nnkit.inspect.effects.rows import Rows, rows_of
from nnkit.inspect.pictures.table import Table, number, several
from nnkit.metrics import named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FeatureImportance", "feature_importance"]

WHO = "feature_importance"


@dataclass(frozen=True)
class _Measure:
    """What says how good a model is: its name, a function of rows, targets and weights, and whether greater is the better."""

    name: str
    value: Callable[..., float]
    rises: bool = True

    def score(self, *args: Any, **weights: Any) -> float:
        """The value, or its negative: greater is the better."""
        return self.value(*args, **weights) if self.rises else -self.value(*args, **weights)


@dataclass(frozen=True, eq=False, repr=False)
class FeatureImportance:
    """How much worse a model becomes when a column is shuffled; a table as text and in notebooks, and a picture.

    Attributes
    ----------
    names : of the columns, in their order
    importances : (columns, repeats) float64, how much the score falls when the column is shuffled, or the loss rises
    score : with none shuffled; or the loss
    what : what the score is, or the loss
    falls : whether importance is how much it falls, and not how much it rises
    """

    names: list[str]
    importances: NDArray[np.float64]
    score: float
    what: str
    falls: bool

    @property
    def mean(self) -> NDArray[np.float64]:
        """(columns,), of the repeats."""
        found: NDArray[np.float64] = self.importances.mean(axis=1)
        return found

    @property
    def std(self) -> NDArray[np.float64]:
        """(columns,), standard deviation of the repeats (divided by their number)."""
        found: NDArray[np.float64] = self.importances.std(axis=1)
        return found

    @property
    def order(self) -> NDArray[np.int64]:
        """The places of the columns, the most important first."""
        return np.argsort(-self.mean, kind="stable")

    @property
    def _goes(self) -> str:
        return "falls" if self.falls else "rises"

    @property
    def table(self) -> Table:
        """What is printed."""
        repeats = self.importances.shape[1]
        title = (f"How much {self.what} {self._goes} when a column is shuffled, {several(repeats, 'time')}; with none it is "
                 f"{number(self.score)}")  # fmt: skip
        rows = [[self.names[place], number(self.mean[place]), number(self.std[place])] for place in self.order]
        return Table(title, ["column", "mean", "std"], rows)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a bar for each column, the most important on top, with the standard deviation of the repeats.

        Raises
        ------
        MissingLibraryError
            Matplotlib is not installed.
        """
        xlabel = f"how much {self.what} {self._goes} when shuffled"
        return draw_bars("FeatureImportance.plot", self.names, self.mean[:, None], [""], xlabel, ax, self.std)


def feature_importance(
    model: Any, X: Any, y: Any, *, scoring: Any = None, n_repeats: int = 5, sample_weight: Any = None, random_state: Any = None
) -> FeatureImportance:
    """How much worse a fitted model becomes when a column is shuffled: permutation importance.

    importance_j = score(X, y) - mean over repeats of score(X with column j shuffled, y).

    Of two columns that say the same, each may look unimportant: the model still has the other one. Take rows that the model
    was not trained on. A column that it leaves out has 0. The numbers of a seed are scikit-learn's, which shuffles.

    Parameters
    ----------
    model : `TableClassifier`, `TableRegressor`, `NNClassifier`, `NNRegressor`, anything fitted with scikit-learn's ``score``,
        or a `Sequential` of rows of one axis
    X : rows as the model takes them: a frame of pandas, Polars, PyArrow ..., an array, a list of rows
    y : targets as the model takes them
    scoring : of an estimator, as scikit-learn has it: the name of a scorer, or a function of (estimator, X, y); by default its
        ``score``. Of a `Sequential`: a loss, a metric, or a name of one (scorers, too); by default the loss of its last fit.
    n_repeats : int >= 1, how often each column is shuffled
    sample_weight : (N,), optional: weights of the rows in the score
    random_state : None, int, RandomState or Generator

    Returns
    -------
    FeatureImportance
        ``mean``, ``std`` and ``importances`` by column, a table as text, ``plot``.

    Raises
    ------
    ParameterError
        ``model`` is no fitted model, or reads no table; ``scoring`` is none; ``n_repeats`` is not what it can be.
    NotBuiltError, ShapeError, DataError
        As the model's ``predict`` and ``score``.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> net = nn.Sequential([nn.Linear(1)]).build((3,))
    >>> net.parameters()["0.weight"] = [[1.0], [3.0], [0.0]]
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> nn.feature_importance(net, X, net.predict(X), random_state=0).order.tolist()
    [1, 0, 2]

    References
    ----------
    Breiman 2001, "Random forests", section 10; Fisher, Rudin and Dominici 2019, "All models are wrong, but many are useful".
    """
    if isinstance(n_repeats, bool) or not isinstance(n_repeats, Integral) or n_repeats < 1:
        raise ParameterError(f"{WHO}: expected n_repeats to be an integer of at least 1, got {n_repeats!r}")
    rows, series = rows_of(model, X, WHO), Frame.of(y)
    target = np.asarray(y) if series is None else series.labels("y")
    if target.ndim == 0 or len(target) != rows.count:
        raise ShapeError(f"{WHO}: expected y with {rows.count} rows, as X has, got shape {target.shape}")
    measure = _measure_of_net(model, scoring) if isinstance(model, Model) else _measure_of_estimator(model, scoring)
    weights = {} if sample_weight is None else {"sample_weight": np.asarray(sample_weight)}
    plain = float(measure.value(rows.taken(np.arange(rows.count)), target, **weights))
    importances = np.zeros((len(rows.names), n_repeats))
    if rows.read:
        importances[rows.read] = _shuffled(model, rows, target, measure, weights, int(n_repeats), random_state)
    return FeatureImportance(rows.names, importances, plain, measure.name, measure.rises)


def _shuffled(
    model: Any, rows: Rows, y: NDArray[Any], measure: _Measure, weights: dict[str, Any], n_repeats: int, random_state: Any
) -> NDArray[np.float64]:
    """By how much the score falls, (columns that are read, repeats).

    What scikit-learn shuffles are the numbers of the rows, a column of them for each of X: those are alike in all libraries.
    """
    from sklearn.inspection import permutation_importance

    every = np.arange(rows.count)

    def score(_: Any, sources: NDArray[np.int64], y: Any, **weights: Any) -> float:
        return measure.score(rows.taken(every, rows.read, list(sources.T)), y, **weights)

    sources = np.repeat(every[:, None], len(rows.read), axis=1)
    seed = int(random_state.integers(2**31)) if isinstance(random_state, np.random.Generator) else random_state
    found = permutation_importance(model, sources, y, scoring=score, n_repeats=n_repeats, random_state=seed, **weights)
    return np.asarray(found.importances, np.float64)


def _measure_of_estimator(model: Any, scoring: Any) -> _Measure:
    """An estimator's score, or a scorer of scikit-learn."""
    from sklearn.base import is_classifier, is_regressor
    from sklearn.metrics import get_scorer

    if scoring is None:
        name = "accuracy" if is_classifier(model) else "R2" if is_regressor(model) else "score"
        return _Measure(name, lambda X, y, **weights: model.score(X, y, **weights))
    if not callable(scoring) and not isinstance(scoring, str):
        raise ParameterError(f"{WHO}: expected scoring to be the name of a scorer or a function, got {scoring!r}")
    scorer = scoring if callable(scoring) else get_scorer(scoring)
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return _Measure(name, lambda X, y, **weights: float(scorer(model, X, y, **weights)))


def _measure_of_net(model: Any, scoring: Any) -> _Measure:
    """A loss, or a metric, of a net."""
    if scoring is None or isinstance(scoring, Loss) or (isinstance(scoring, str) and scoring in Loss.registry):
        loss = Loss.make(model.last_fit.get("loss", "mse") if scoring is None else scoring, "scoring")
        return _Measure(type(loss).__name__, lambda X, y, **weights: model.evaluate(X, y, loss, **weights), rises=False)
    ((name, metric),) = named(scoring).items()
    if metric.greater_is_better is None:
        raise ParameterError(f"{WHO}: expected scoring to say whether greater is the better, {metric!r} does not; "
                             "make it a Metric with greater_is_better")  # fmt: skip
    return _Measure(name, lambda X, y, **weights: model.evaluate(X, y, metrics=[metric], **weights)[name],
                    rises=metric.greater_is_better)  # fmt: skip
