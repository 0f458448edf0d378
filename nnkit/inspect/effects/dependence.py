"""How a prediction changes with a column: partial dependence and individual curves, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import Loss
from nnkit.core.random_state import generator
from nnkit.errors import ParameterError
from nnkit.inspect.effects.answers import Answers
from nnkit.inspect.effects.effect import effect_of
from nnkit.inspect.effects.panels import draw_effects
from nnkit.inspect.effects.rows import places_of, rows_of

__all__ = ["plot_effects"]

WHO = "plot_effects"
KINDS = ("average", "individual", "both")
PANELS = 12  # where nobody says which columns


def plot_effects(
    model: Any, X: Any, features: Any = None, ax: Any = None, *, kind: str = "average", categorical: Any = (),
    loss: Loss | str | None = None, names: Sequence[str] | None = None, n_points: int = 40, max_rows: int = 500,
    random_state: Any = 0,
) -> NDArray[Any]:  # fmt: skip
    """Draw how the prediction changes with each column: partial dependence.

    effect_j(v) = mean over rows n of F(x_n with v in column j), where F is the probability of each class (of two that of the
    second; the decision function, where there are none), or the predicted number in its own units. A number or a date is a
    curve, from its 5 % to its 95 % quantile, with its deciles below; a category is a bar for each label, which begins at the
    mean prediction. Missing cells are a category beside. All panels have one scale. The values v are some of X: none is made
    up. What columns do together is averaged out; with ``kind="both"`` it shows, as curves that are not parallel.

    Parameters
    ----------
    model : `TableClassifier`, `TableRegressor`, `NNClassifier`, `NNRegressor`, anything fitted as scikit-learn has it, or a
        `Sequential` of rows of one axis
    X : rows as the model takes them: a frame of pandas, Polars, PyArrow ..., an array, a list of rows
    features : names or places of columns, one or several; by default the first 12 that the model reads
    ax : matplotlib's Axes to draw into, optional; several for several columns
    kind : "average"; "individual", curves of 50 rows; or "both"
    categorical : columns of numbers that are categories; text is, and so are numbers of at most two values
    loss : says what the outputs of a `Sequential` mean; by default the loss of its last fit
    names : of the outputs, in order
    n_points : int >= 2, values of a curve
    max_rows, random_state : int >= 1; of more rows, so many are drawn to average over

    Returns
    -------
    array of Axes

    Raises
    ------
    ParameterError, NotBuiltError, ShapeError, DataError, MissingLibraryError
        ``model`` is no fitted model, or reads no table; there is no such column; an argument is not what it can be; as the
        model's ``predict``; matplotlib is not installed.

    Examples
    --------
    >>> axes = nn.plot_effects(net, frame, ["age", "town"], kind="both")  # doctest: +SKIP

    References
    ----------
    Friedman 2001, "Greedy function approximation", section 8.2; Goldstein, Kapelner, Bleich and Pitkin 2015, "Peeking inside
    the black box" (curves of single rows).
    """
    _check(kind, n_points=(n_points, 2), max_rows=(max_rows, 1))
    rows = rows_of(model, X, WHO)
    places = rows.read[:PANELS] if features is None else places_of(rows, features, WHO)
    if not places:
        raise ParameterError(f"{WHO}: expected a column to draw, got none")
    chosen = np.arange(rows.count)
    if rows.count > max_rows:
        chosen = np.sort(generator(random_state).choice(rows.count, int(max_rows), replace=False))
    answers = Answers.of(model, rows.taken(chosen), loss, names, WHO)
    words = places_of(rows, categorical, WHO)
    effects = [effect_of(rows, answers, place, chosen, place in words, int(n_points)) for place in places]
    return draw_effects(effects, answers.names, answers.unit, answers.predict(rows.taken(chosen)).mean(axis=0), kind, ax)


def _check(kind: Any, **numbers: tuple[Any, int]) -> None:
    if kind not in KINDS:
        raise ParameterError(f"{WHO}: expected kind to be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    for name, (given, least) in numbers.items():
        if isinstance(given, bool) or not isinstance(given, Integral) or given < least:
            raise ParameterError(f"{WHO}: expected {name} to be an integer of at least {least}, got {given!r}")
