"""Many models trained at the same time, each with settings of its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.calls import nearest
from nnkit.core.container import require_unchanged
from nnkit.core.fields import each
from nnkit.errors import DataError, ParameterError, TrainingWarning, warn
from nnkit.model import Sequential
from nnkit.network import inputs_of
from nnkit.training.data import count_of, to_inputs
from nnkit.training.history import History
from nnkit.training.last_layer import misfits
from nnkit.training.together import Task, fit_together

__all__ = ["fit_many"]

SHARED = ("self", "X", "y", "n_threads", "progress", "resume")  # what the settings of one model do not say
SETTINGS = {name: parameter.default for name, parameter in inspect.signature(Sequential.fit).parameters.items()
            if name not in SHARED}  # fmt: skip
ROWS = ("rows", "validation_rows")


def fit_many(
    models: Sequence[Sequential], X: Any, y: Any, *, settings: Sequence[Mapping[str, Any]] = (), n_threads: int | None = None,
    progress: bool | str = "auto", **shared: Any,
) -> list[History]:  # fmt: skip
    """Train models side by side, as many at a time as there are cores; each gives the bits that it would give alone.

    Where there are more cores than models, each model's steps are shared out among several. Callbacks run in the threads of
    their fits.

    Parameters
    ----------
    models : of any layers; each is trained as by `Sequential.fit`, built first where it is not yet
    X, y : as for `Sequential.fit`; nothing of them is copied but the rows of the fits that run
    settings : for each model a dict of what it has for itself: any argument of `Sequential.fit` but ``resume``; ``y`` of its
        own; ``rows``, numbers of the rows that it is trained on (all by default, and a row may come several times); and
        ``validation_rows``, which it is validated on
    n_threads : int, optional; all cores by default
    progress : "auto" (on a terminal and in a notebook), True or False: how many are done
    **shared : what all have in common, any argument of `Sequential.fit` but ``resume``

    Returns
    -------
    list of History, in the order of the models
        After Ctrl-C every model is left as it is then, and the histories say "interrupted".

    Raises
    ------
    ParameterError
        A setting is unknown, or callbacks are shared: an object that remembers something can watch one fit.
    ShapeError, DataError, NonFiniteError
        As from `Sequential.fit`, of the first model that cannot go on; the others end after their epochs.

    Examples
    --------
    Five folds, and how well each net does on the rows that it has not seen:

    >>> import nnkit as nn, numpy as np
    >>> from sklearn.model_selection import KFold
    >>> X = np.linspace(-2, 2, 200, dtype=np.float32)[:, None]
    >>> folds = [{"rows": rows, "validation_rows": held, "random_state": seed}
    ...          for seed, (rows, held) in enumerate(KFold(5, shuffle=True, random_state=0).split(X))]
    >>> nets = [nn.Sequential([nn.Linear(16), "tanh", nn.Linear(1)]) for _ in folds]
    >>> histories = nn.fit_many(nets, X, np.sin(X), settings=folds, epochs=30, optimizer=nn.Adam(lr=0.01), batch_size=16)
    >>> max(history["val_loss"][-1] for history in histories) < 0.05
    True
    """
    models, own = list(models), [dict(item) for item in settings] or [{} for _ in models]
    if len(own) != len(models):
        raise ParameterError(f"fit_many: expected settings for each of {len(models)} models, got {len(own)}")
    if len({id(model) for model in models}) < len(models):
        raise ParameterError("fit_many: expected each model once; model.copy() makes another one of the same numbers")
    for item in (shared, *own):
        _check(item, () if item is shared else (*ROWS, "y"))
    tasks: list[Task] = [partial(_task, model, X, y, {**SETTINGS, **shared, **item})
                         for model, item in zip(models, own, strict=True)]  # fmt: skip
    fits = fit_together(tasks, n_threads=n_threads, progress=progress, keep=True)
    for wrong in dict.fromkeys(words for fit in fits for words in misfits(fit.criterion, fit.network.root)):
        warn(f"fit_many: {wrong}", TrainingWarning)
    histories = {id(fit.model): fit.history for fit in fits}
    return [histories.get(id(model)) or _never_begun() for model in models]


def _check(settings: Mapping[str, Any], more: Sequence[str]) -> None:
    known = [*SETTINGS, *more]
    for name in settings:
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ParameterError(f"fit_many: expected settings among {', '.join(known)}, got {name!r}{hint}")
    if not more and any(not isinstance(item, str) for item in settings.get("callbacks", ())):
        raise ParameterError("fit_many: expected callbacks of each model for itself, or names of them, got objects that all "
                             "models would share; give them by settings=[{'callbacks': [...]}, ...]")  # fmt: skip


def _task(model: Sequential, X: Any, y: Any, settings: dict[str, Any]) -> tuple[Sequential, dict[str, Any]]:
    """A model, and what `Fit` is to be given: a model's own rows are taken when its turn comes."""
    require_unchanged(model, "fit_many")
    rows, validation, y = settings.pop("rows", None), settings.pop("validation_rows", None), settings.pop("y", y)
    if rows is not None or validation is not None:
        X, weights = to_inputs(X, inputs_of(model, X), "fit_many"), settings["sample_weight"]
        count, whole = count_of(X), [X, *(None if item is None else each(np.asarray, item) for item in (y, weights))]
        if validation is not None:
            if settings["validation_data"] is not None or settings["validation_split"]:
                raise ParameterError("fit_many: expected validation_rows, validation_data or validation_split, got two of them")
            settings["validation_data"] = tuple(_taken(item, _places(validation, count)) for item in whole)
        if rows is not None:
            X, y, settings["sample_weight"] = (_taken(item, _places(rows, count)) for item in whole)
    return model, {"X": X, "y": y, **settings}


def _taken(item: Any, places: NDArray[Any]) -> Any:
    """These rows of an array, or of each by name."""
    return None if item is None else each(lambda array: array[places], item)


def _places(rows: Any, count: int) -> NDArray[Any]:
    """Numbers of rows, checked."""
    places: NDArray[Any] = np.asarray(rows)
    if places.dtype == bool and places.shape == (count,):
        return np.flatnonzero(places)
    if places.dtype.kind not in "iu" or places.ndim != 1 or not len(places):
        raise DataError(f"fit_many: expected rows to be whole numbers, one or more, got {rows!r:.80}")
    if places.min() < -count or places.max() >= count:
        raise DataError(f"fit_many: expected numbers of rows below {count}, got {places.max()}")
    return places


def _never_begun() -> History:
    history = History()
    history.stopped = "interrupted"
    return history
