"""What each column has added to one prediction: expected gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import model_of
from nnkit.core.frames import column_names
from nnkit.core.random_state import generator
from nnkit.errors import DataError, MissingLibraryError, ParameterError, ShapeError
from nnkit.inspect.effects.ranking import draw_bars
from nnkit.inspect.effects.slopes import Slopes
from nnkit.inspect.pictures.table import Table, number, several
from nnkit.network import network_of
from nnkit.tables.cells import Cells, Numbers, Words
from nnkit.tables.reading import Table as Source
from nnkit.training.data import check_finite, to_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ExpectedGradients", "expected_gradients"]

WHO = "expected_gradients"


@dataclass(frozen=True, eq=False, repr=False)
class ExpectedGradients:
    """What each column has added to predictions; a table as text and in notebooks, and a picture.

    ::

        value_j(x) = mean over x', a of (x_j - x'_j) dF/dx_j(x' + a (x - x'))

    with rows x' of the background and a uniform between 0 and 1. The values of a row add up to F(x) less the mean of F over
    the background, but for an error of sampling, about 1 / sqrt(n_samples), which is in ``gap``. Each row of the background
    comes as often as the others, and there is one a in each of as many equal pieces as there are samples: so the error is about
    that of independent samples or less (Owen 1997), and none for linear nets.

    F is what the net gives, without a softmax: log-odds of the second of two classes; a score for each of more classes (which
    the softmax takes); numbers in the units of y (before they are clamped, by the recipe "td", and before ``decide`` of a loss
    such as "poisson_nll"); the raw outputs of a `Sequential`. Of several nets side by side, it is the mean of theirs.

    Of a table, gradients are by the numbers that the net reads: what its scheme makes of a column (flags of categories and of
    missing cells, waves of dates) is summed for that column. A category that has codes has no gradient; the line from x' to x
    then leads from one embedded vector to the other, and the products are summed over the vector. So it is for all layers that
    look numbers up, tokens of text too. Columns that are left out have 0.

    Attributes
    ----------
    names : of the columns; of rows with more axes there are none
    values : (N, columns), or (N, columns, outputs) of several outputs, float64
    base_values : () or (outputs,), the mean prediction of the background's rows that were taken
    predictions : (N,) or (N, outputs), F
    data : (N, columns) the cells of X: numbers, or objects
    output_names : of the outputs

    References
    ----------
    Owen 1997, "Monte Carlo variance of scrambled net quadrature", on samples of which there is one in each piece.
    """

    names: list[str]
    values: NDArray[np.float64]
    base_values: NDArray[np.float64]
    predictions: NDArray[np.float64]
    data: NDArray[Any]
    output_names: list[str]

    @property
    def gap(self) -> NDArray[np.float64]:
        """(N,) or (N, outputs): predictions - base_values - sum of values, which sampling has left: 0 of endless samples."""
        axes = tuple(range(1, self.values.ndim - self.base_values.ndim))
        gap: NDArray[np.float64] = self.predictions - self.base_values - self.values.sum(axis=axes)
        return gap

    @property
    def sizes(self) -> NDArray[np.float64]:
        """(columns, outputs), how much each column adds to or takes from a prediction, on average over the rows."""
        sizes: NDArray[np.float64] = np.abs(self.values).mean(axis=0).reshape(-1, len(self.output_names))
        return sizes

    @property
    def table(self) -> Table:
        """What is printed."""
        names = self.names or list(map(str, np.ndindex(self.data.shape[1:])))
        order = np.argsort(-self.sizes.sum(axis=1), kind="stable")
        rows = [[names[place], *(number(size) for size in self.sizes[place])] for place in order]
        title = f"How much each column adds to a prediction or takes from it (mean of {several(len(self.values), 'row')})"
        return Table(title, ["column", *(self.output_names if len(self.output_names) > 1 else ["mean |value|"])], rows)

    def __repr__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a bar for each column, of how much it adds or takes on average; of several outputs side by side.

        Raises
        ------
        MissingLibraryError
            Matplotlib is not installed.
        """
        names = self.names or list(map(str, np.ndindex(self.data.shape[1:])))
        return draw_bars("ExpectedGradients.plot", names, self.sizes, self.output_names, "mean |value|", ax)

    def to_shap(self) -> Any:
        """The same as ``shap.Explanation``, which shap's plots take.

        Raises
        ------
        MissingLibraryError
            The library shap is not installed.
        """
        try:
            import shap
        except ImportError:
            message = "ExpectedGradients.to_shap: expected the library shap, which is not installed; pip install shap"
            raise MissingLibraryError(message) from None
        base = np.broadcast_to(self.base_values, self.predictions.shape).copy()  # one for each row
        several_outputs = self.output_names if len(self.output_names) > 1 else None
        return shap.Explanation(self.values.copy(), base, self.data, feature_names=self.names or None,
                                output_names=several_outputs)  # fmt: skip


def expected_gradients(
    model: Any, X: Any, background: Any, *, n_samples: int = 200, random_state: Any = None
) -> ExpectedGradients:
    """What each column has added to the prediction of each row, beside what is predicted for a background on average.

    The mean of (x - x') * dF/dx along lines from rows x' of the background to the row x: `ExpectedGradients` has the formula,
    what F is, and how categories count. The values of a row add up to its prediction less the mean one.

    Parameters
    ----------
    model : `TableClassifier`, `TableRegressor`, `NNClassifier`, `NNRegressor`, or a `Sequential` of one input and one row of
        outputs
    X : rows as the model takes them, which are explained
    background : rows of that kind, to compare with: some 100 of the training data. Of more than ``n_samples``, so many are
        drawn at random.
    n_samples : int >= 1, points for each row; a little more where it is no multiple of the background's rows
    random_state : None, int, RandomState or Generator

    Returns
    -------
    ExpectedGradients
        With ``values``, ``base_values``, ``predictions`` and ``names``; its `to_shap` gives a ``shap.Explanation``.

    Raises
    ------
    ParameterError
        ``model`` is none of these, or has several inputs or outputs; it looks numbers up, but has no vector for each (a bag of
        them), or leaves padding out; ``n_samples`` is not what it can be.
    NotBuiltError, ShapeError, DataError
        As the model's ``predict``; X or the background is not finite, or empty.

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> net = nn.Sequential([nn.Linear(1, weight_init="ones")]).build((2,))
    >>> found = nn.expected_gradients(net, [[3.0, 1.0]], [[0.0, 0.0], [2.0, 0.0]], random_state=0)
    >>> found.values.round(5).tolist(), float(found.base_values)
    ([[2.0, 1.0]], 1.0)

    References
    ----------
    Erion, Janizek, Sturmfels, Lundberg and Lee 2021, "Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients"; Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks".
    """
    if isinstance(n_samples, bool) or not isinstance(n_samples, Integral) or n_samples < 1:
        raise ParameterError(f"{WHO}: expected n_samples to be an integer of at least 1, got {n_samples!r}")
    random, slopes = generator(random_state), Slopes(model_of(model, WHO), WHO)
    seen, others = _seen(model, X, "X"), _seen(model, background, "background").rows
    if len(others) > n_samples:
        others = others[np.sort(random.choice(len(others), int(n_samples), replace=False))]
    return _explained(slopes, seen, others, -(-int(n_samples) // len(others)), _meaning(model, slopes.out_shape), random)


def _explained(
    slopes: Slopes, seen: _Seen, others: NDArray[Any], repeats: int, meaning: _Meaning, random: np.random.Generator
) -> ExpectedGradients:
    """What columns add, compared with ``others``, each of them ``repeats`` times for each row."""
    (begin, base), (end, said) = slopes.look(others), slopes.look(seen.rows)
    values = np.zeros((*end.rows.shape, len(meaning.names)))
    for rows, compared, share in _pairs(len(seen.rows), len(others), repeats, slopes.most, random):
        parts = slopes.along(begin.taken(compared), end.taken(rows), share, meaning.directions)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        values[rows[starts]] += np.add.reduceat(parts, starts, axis=0)
    values /= repeats * len(others)
    shape = (len(meaning.names),) if len(meaning.names) > 1 else ()
    return ExpectedGradients(
        names=seen.names, values=seen.gathered(values).reshape(*seen.data.shape, *shape),
        base_values=meaning.of(base).mean(axis=0).reshape(shape), predictions=meaning.of(said).reshape(-1, *shape),
        data=seen.data, output_names=meaning.names,
    )  # fmt: skip


class _Seen(NamedTuple):
    """Rows as the net reads them, of which column each of their numbers is, and what people see of these."""

    rows: NDArray[Any]
    origins: NDArray[np.int64]
    names: list[str]
    data: NDArray[Any]

    def gathered(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums by the columns that people see, (N, columns, outputs), of those that the net reads."""
        found = np.zeros((prod(self.data.shape[1:]), len(values), values.shape[2]))
        np.add.at(found, self.origins, values.swapaxes(0, 1))
        return found.swapaxes(0, 1)


def _seen(model: Any, X: Any, name: str) -> _Seen:
    """Rows for the net of a model.

    Raises
    ------
    ShapeError, DataError
        They do not fit, are not finite, or none.
    """
    if not hasattr(model, "net_rows"):  # a net, or somebody else's estimator around one
        network, rows, columns = network_of(model, WHO), to_array(X, name), column_names(X)
        if rows.shape[1:] != network.in_shape:
            raise ShapeError(f"{WHO}: expected {name} of shape {('N', *network.in_shape)}, as the model reads it, got "
                             f"{rows.shape}")  # fmt: skip
        check_finite(rows, name, columns)
        network.check_input(rows, name)
        origins, data = np.arange(prod(network.in_shape)), rows
        names = _names(rows) if columns is None else list(map(str, columns))
    else:
        rows, origins, names = model.net_rows(X)
        data = _cells(model.scheme_, X) if hasattr(model, "scheme_") else rows
    if not len(rows):
        raise DataError(f"{WHO}: expected rows in {name}, got none")
    return _Seen(rows, origins, names, data)


def _names(rows: NDArray[Any]) -> list[str]:
    return [f"x{place}" for place in range(rows.shape[1])] if rows.ndim == 2 else []


def _cells(scheme: Any, X: Any) -> NDArray[Any]:
    """A table to look at: numbers, where all columns are; else objects, None where a cell is missing or its column left out."""
    read, columns = scheme.read(X), range(len(scheme.columns_))
    if all(isinstance(read.get(place), Numbers) for place in columns):
        return np.column_stack([read[place].values for place in columns])
    table = np.full((Source.of(X).rows, len(columns)), None, object)
    for place, cells in read.items():
        there = ~cells.missing
        table[there, place] = cells.values[there] if isinstance(cells, Numbers) else _words(cells)[there]
    return table


def _words(cells: Cells) -> NDArray[Any]:
    """Labels of categories, and dates as they are written."""
    if isinstance(cells, Words):
        return np.array([*cells.labels, None], object)[cells.codes]  # the last is what -1 leads to
    return np.array([str(tick) for tick in cells.times().ticks.tolist()], object)


class _Meaning(NamedTuple):
    """What is explained: F = directions @ outputs + offset, with ``names``."""

    directions: NDArray[np.float64]
    offset: NDArray[np.float64]
    names: list[str]

    def of(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """F of rows of outputs."""
        found: NDArray[np.float64] = outputs @ self.directions.T + self.offset
        return found


def _meaning(model: Any, out_shape: tuple[int, ...]) -> _Meaning:
    """What people want to know of outputs: those of several nets side by side, (members, outputs), as their mean.

    Raises
    ------
    ParameterError
        They have more axes than that.
    """
    classes, targets = getattr(model, "classes_", None), getattr(model, "targets_", None)
    if len(out_shape) != 1 + (len(out_shape) == 2 and targets is not None):
        raise ParameterError(f"{WHO}: expected a model of one row of outputs, (N, outputs), got rows of shape {out_shape}")
    outputs, members = out_shape[-1], prod(out_shape[:-1])
    mean, nothing = np.tile(np.eye(outputs), members) / members, np.zeros(outputs)
    if classes is not None:
        labels, warmth = list(map(str, classes)), getattr(model, "temperature_", 1.0)
        if len(labels) == outputs == 2:
            return _Meaning(np.array([[-1.0, 1.0]]) @ mean / warmth, nothing[:1], labels[1:])
        return _Meaning(mean / warmth, nothing, labels if len(labels) == outputs else labels[-1:])
    names = [f"output {k}" for k in range(outputs)]
    return _Meaning(mean, nothing, names) if targets is None else _Meaning(mean * targets.std[:, None], targets.mean, names)


def _pairs(
    count: int, others: int, repeats: int, most: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Rows, the rows that they are compared with, and where on the line between, ``most`` at a time."""
    samples, compared = others * repeats, np.tile(np.arange(others), repeats)
    together = max(1, most // samples)
    for first in range(0, count, together):
        some = np.arange(first, min(first + together, count))
        share = np.concatenate([(random.permutation(samples) + random.random(samples)) / samples for _ in some])
        rows, against = np.repeat(some, samples), np.tile(compared, len(some))
        for begin in range(0, len(rows), most):
            piece = slice(begin, begin + most)
            yield rows[piece], against[piece], share[piece]
