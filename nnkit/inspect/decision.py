"""What a model of two features decides, as a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Model
from nnkit.core.frames import Frame, column_names
from nnkit.core.loss import Loss
from nnkit.errors import DataError, NotBuiltError, ParameterError, ShapeError
from nnkit.inspect.pictures.figure import COLOURS, SEQUENTIAL, colours_of, drawing, new_axes
from nnkit.network import network_of
from nnkit.training.data import check_finite, to_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_decision"]

MARGIN = 0.08  # of the data's range, on each side
MANY = 4000  # points, of which no more are drawn
FAINT, FULL = 0.10, 0.55  # saturation where a class is as probable as the others, and where it is certain
MARKERS = "os^DvPX<>*"

Rows = NDArray[Any]
Predict = Callable[[Rows], NDArray[Any]]


def plot_decision(
    model: Any, X: Any, y: Any, ax: Axes | None = None, *, loss: Loss | str | None = None,
    names: Sequence[str] | None = None, resolution: int = 200,
) -> Axes:  # fmt: skip
    """Draw what a model of two features decides, wherever the data are: regions for classes, heights for numbers.

    A region has its class's colour, the fuller the more probable the class is (evenly, where the model gives no
    probabilities); the line between is where two classes are equally probable. Data points are drawn on top, in their true
    class's colour, with a marker of its own, or, of numbers, in the colour of their true height. Of more than 4000 points some
    are drawn.

    Parameters
    ----------
    model : `Sequential`, `NNClassifier`, `NNRegressor`, or anything fitted with scikit-learn's ``predict``: a pipeline, a tree
    X : (N, 2) numbers; a data frame's columns name the axes
    y : (N,) labels or numbers; for a `Sequential` as its loss takes them
    ax : matplotlib's Axes to draw into, optional
    loss : says what the outputs of a `Sequential` mean; by default the loss of its last fit
    names : of a `Sequential`'s classes, in order; by default their numbers
    resolution : points of the map along each axis, at least 2

    Returns
    -------
    Axes

    Raises
    ------
    ShapeError
        X has not two columns, y not as many rows, or the model gives several numbers a row that are no classes.
    DataError
        X or y is not finite, or y has a label that the model does not know.
    NotBuiltError
        The model is not built.
    ParameterError
        It is not known what the outputs mean, or ``model`` is no model.
    MissingLibraryError
        Matplotlib is not installed.

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import make_moons
    >>> X, y = make_moons(200, noise=0.2, random_state=0)
    >>> clf = nn.NNClassifier(layers=[16], epochs=20, random_state=0).fit(X, y)
    >>> axes = nn.plot_decision(clf, X, y)  # doctest: +SKIP
    """
    if not hasattr(model, "predict"):
        raise ParameterError(f"plot_decision: expected a model with predict, got {model!r}")
    if isinstance(resolution, bool) or not isinstance(resolution, int | np.integer) or resolution < 2:
        raise ParameterError(f"plot_decision: expected resolution to be an integer of at least 2, got {resolution!r}")
    points, target = _data(X, y)
    surface = _of_net(model, target, loss, names) if isinstance(model, Model) else _of_estimator(model, X, target)
    decided = _Map.of(surface.predict, points, int(resolution))
    with drawing("plot_decision") as plt:
        axes = new_axes(plt, ax, (6.4, 4.6))
        surface.draw(axes, decided, points, _drawn(points), getattr(y, "name", None))
        across, along = map(str, column_names(X) or ("feature 0", "feature 1"))
        axes.set(xlabel=across, ylabel=along, xlim=decided.across[[0, -1]], ylim=decided.along[[0, -1]])
    return axes


def _data(X: Any, y: Any) -> tuple[Rows, Rows]:
    """The points, two finite numbers each, and as many targets."""
    points = to_array(X, "X")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ShapeError(f"plot_decision: expected X of two features, shape (N, 2), got {points.shape}; choose two columns, or "
                         "fit the model on two principal components")  # fmt: skip
    check_finite(points, "X", column_names(X))
    series = Frame.of(y)
    target = np.asarray(y) if series is None else series.labels("y")
    if target.ndim == 0 or len(target) != len(points):
        raise ShapeError(f"plot_decision: expected y with {len(points)} rows, as X has, got shape {target.shape}")
    if target.dtype.kind in "biuf":
        check_finite(target, "y")
    return points, target


def _drawn(points: Rows) -> NDArray[np.int64]:
    """Which points are drawn."""
    every = np.arange(len(points))
    return every if len(points) <= MANY else np.random.default_rng(0).choice(every, MANY, replace=False)


def _size(chosen: Rows) -> int:
    """How large these points are drawn."""
    return 26 if len(chosen) <= 1000 else 9


@dataclass(frozen=True)
class _Map:
    """What a model says wherever the data are: ``values`` (along, across, outputs)."""

    across: Rows
    along: Rows
    values: Rows

    @classmethod
    def of(cls, predict: Predict, points: Rows, resolution: int) -> Self:
        """Of a grid of so many points along each axis."""
        low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
        margin = np.where(high > low, MARGIN * (high - low), 1.0)
        across, along = (np.linspace(*ends, resolution) for ends in zip(low - margin, high + margin, strict=True))
        grid = np.stack(np.meshgrid(across, along), axis=-1).reshape(-1, 2)
        return cls(across, along, np.asarray(predict(grid), float).reshape(resolution, resolution, -1))


class _Classes:
    """Regions. ``predict`` gives a score for each class, of which the highest wins; they may be probabilities."""

    def __init__(self, predict: Predict, names: Sequence[str], target: NDArray[np.int64], probable: bool) -> None:
        self.predict, self._names, self._target, self._probable = predict, names, target, probable
        self._colours = colours_of(len(names))

    def draw(self, axes: Any, decided: _Map, points: Rows, chosen: Rows, title: Any) -> None:
        values, classes = decided.values, decided.values.shape[-1]
        winner = values.argmax(axis=-1)
        certain = np.ones(winner.shape)
        if self._probable and classes > 1:  # 0 where all are as probable
            certain = (values.max(axis=-1) - 1 / classes) / (1 - 1 / classes)
        strength = (FAINT + (FULL - FAINT) * certain.clip(0, 1))[..., None]
        image = 1 - strength * (1 - self._colours[winner])
        extent = (*decided.across[[0, -1]], *decided.along[[0, -1]])
        axes.imshow(image, extent=extent, origin="lower", aspect="auto", interpolation="bilinear", zorder=0)
        for k in range(classes - (classes == 2)):
            ahead = values[..., k] - np.delete(values, k, axis=-1).max(axis=-1, initial=-np.inf)
            if ahead.min() < 0 < ahead.max():
                axes.contour(decided.across, decided.along, ahead, levels=[0.0], colors=COLOURS[0], linewidths=1.2, zorder=1)
        points, target, size = points[chosen], self._target[chosen], _size(chosen)
        for k, name in enumerate(self._names):
            axes.scatter(*points[target == k].T, s=size, color=[self._colours[k]], marker=MARKERS[k % len(MARKERS)],
                         edgecolors="black", linewidths=0.6, label=name, zorder=2)  # fmt: skip
        many = len(self._names) > 14
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title=title, ncols=2 if many else 1, borderaxespad=0.2,
                    markerscale=(26 / size) ** 0.5)  # fmt: skip


class _Numbers:
    """Heights."""

    def __init__(self, predict: Predict, target: NDArray[Any]) -> None:
        self.predict, self._target = predict, target

    def draw(self, axes: Any, decided: _Map, points: Rows, chosen: Rows, title: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        across, along, heights = decided.across, decided.along, decided.values[..., 0]
        target = self._target[chosen]
        low, high = (float(pick([pick(heights), pick(target)])) for pick in (np.min, np.max))
        levels = MaxNLocator(15).tick_values(low, high if high > low else low + 1)
        style = {"cmap": SEQUENTIAL, "vmin": levels[0], "vmax": levels[-1]}
        filled = axes.contourf(across, along, heights, levels=levels, extend="both", zorder=0, **style)
        axes.contour(across, along, heights, levels=levels, colors="white", linewidths=0.4, zorder=1)
        axes.scatter(*points[chosen].T, s=_size(chosen), c=target, edgecolors="white", linewidths=0.7, zorder=2, **style)
        axes.figure.colorbar(filled, ax=axes, label="y" if title is None else str(title))


def _of_net(model: Model, target: NDArray[Any], loss: Loss | str | None, names: Sequence[str] | None) -> _Classes | _Numbers:
    """What a net's outputs mean, by its loss."""
    if not model.is_built:
        raise NotBuiltError("plot_decision: expected a built model; fit it first")
    network = network_of(model, "plot_decision")
    if network.in_shape != (2,):
        raise ShapeError(f"plot_decision: expected a model of two features, in_shape (2,), got {network.in_shape}")
    if loss is None and "loss" not in model.last_fit:
        raise ParameterError("plot_decision: expected loss=..., for what the outputs mean: the model was not fitted here")
    meaning: Loss = Loss.make(model.last_fit["loss"] if loss is None else loss, "loss")
    target = to_array(target, "y")
    one_hot = target.ndim == 2 and target.shape[1] > 1
    if not one_hot and target.ndim == 2:
        target = target[:, 0]
    if target.ndim > 1 + one_hot or len(network.out_shape) != 1:
        raise ShapeError(f"plot_decision: expected one label or number a row, got y of shape {target.shape} for outputs of "
                         f"shape {network.out_shape}")  # fmt: skip
    outputs = network.out_shape[0]

    def score(rows: Rows) -> NDArray[Any]:
        raw = model.predict(rows)
        given = meaning.probabilities(raw.astype(float))
        if given is None:
            return np.hstack([-raw, raw]) if outputs == 1 else raw
        return np.hstack([1 - given, given]) if outputs == 1 else given

    probable = meaning.probabilities(np.zeros((1, outputs))) is not None
    labels: Sequence[Any] = range(max(2, outputs))
    if outputs == 1 and meaning.target_values is not None:
        labels = sorted(meaning.target_values)
    if probable or meaning.target_values is not None or (one_hot and target.shape[1] == outputs):
        if outputs > 1 and not meaning.classes and not (one_hot and (target.sum(axis=1) == target.max(axis=1)).all()):
            raise ShapeError("plot_decision: expected one label a row, got several; draw models of one output each")
        known = [float(label) for label in labels]
        numbers = target.argmax(axis=1) if one_hot else _places(target.astype(float), known)
        shown = [f"{label:g}" for label in known] if names is None else [str(name) for name in names]
        if len(shown) != len(labels):
            raise ParameterError(f"plot_decision: expected names of {len(labels)} classes, got {len(shown)}")
        return _Classes(score, shown, numbers, probable)
    decided = meaning.decide(np.zeros((1, outputs)))
    if one_hot or decided.shape != (1, 1):
        raise ShapeError(f"plot_decision: expected a model of one number a row, got {decided.size}")
    return _Numbers(lambda rows: meaning.decide(model.predict(rows)), target)


def _of_estimator(model: Any, X: Any, target: NDArray[Any]) -> _Classes | _Numbers:
    """A fitted estimator as scikit-learn has them."""
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim != 1:
        raise ShapeError(f"plot_decision: expected one label or number a row, y of shape (N,), got {target.shape}")
    columns = column_names(X)
    make = getattr(type(X), "from_pydict", type(X))  # a table of pyarrow has no other constructor

    def framed(rows: Rows) -> Any:
        """As the data that it was fitted on, which may have had names."""
        return rows if columns is None else make(dict(zip(columns, rows.T, strict=True)))

    classes = getattr(model, "classes_", None)
    if classes is None and target.dtype.kind in "OUSb":
        classes = np.unique(target)
    if classes is None:
        return _Numbers(lambda rows: _single(model.predict(framed(rows))), target.astype(float))
    labels = list(classes)
    probable = hasattr(model, "predict_proba")

    def score(rows: Rows) -> NDArray[Any]:
        if probable:
            return np.asarray(model.predict_proba(framed(rows)))
        places = _places(np.asarray(model.predict(framed(rows))), labels)
        return np.asarray(places[:, None] == np.arange(len(labels)), float)

    return _Classes(score, [str(label) for label in labels], _places(target, labels), probable)


def _single(values: Any) -> NDArray[Any]:
    """Predictions that are one number each."""
    numbers = np.asarray(values)
    if numbers.ndim > 1 and numbers[0].size != 1:
        raise ShapeError(f"plot_decision: expected a model of one number a row, got {numbers[0].size}")
    return numbers


def _places(labels: NDArray[Any], known: Sequence[Any]) -> NDArray[np.int64]:
    """The place of each label among the known ones."""
    places = {label: place for place, label in enumerate(known)}
    unknown = [label for label in labels.tolist() if label not in places]
    if unknown:
        raise DataError(f"plot_decision: expected labels in y of {', '.join(map(str, known))}, got {unknown[0]!r}")
    return np.array([places[label] for label in labels.tolist()], np.int64)
