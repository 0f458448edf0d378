"""Which hyper-parameters an estimator has, those of the parts within included, and how errors name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from nnkit.core.callback import Callback
from nnkit.core.calls import Called
from nnkit.core.initializer import Initializer
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.metric import Metric
from nnkit.core.optimizer import Optimizer
from nnkit.core.part import Part
from nnkit.core.schedule import Schedule
from nnkit.errors import DataError, NnkitError, ParameterError, RegistryError, ShapeError

P = TypeVar("P", bound=Part)

__all__ = ["KINDS", "Nested", "is_auto", "random_of"]

KINDS: dict[str, type[Part]] = {  # what a name stands for, by the hyper-parameter that it is the value of
    "layers": Layer, "activation": Layer, "loss": Loss, "optimizer": Optimizer, "metrics": Metric, "callbacks": Callback,
    "schedule": Schedule, "after": Schedule, "weight_init": Initializer, "bias_init": Initializer,
}  # fmt: skip


class Nested(BaseEstimator, metaclass=Called):
    """An estimator whose hyper-parameters are parts, with hyper-parameters of their own: ``optimizer__lr``."""

    checks_values = False  # fit does, as scikit-learn has it

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyper-parameters by name; with ``deep``, also those of parts: ``optimizer__lr``, ``layers__0__out_features``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for name, value in list(params.items()):
                items = enumerate(value) if isinstance(value, list | tuple | np.ndarray) else [("", value)]
                for place, item in items:
                    path = f"{name}__{place}" if place != "" else name
                    params[path] = item
                    if isinstance(item, Part):
                        params |= {f"{path}__{inner}": number for inner, number in item.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters by name, also those of parts (and of parts that are given by name)."""
        known = self._get_param_names()
        for key, value in sorted(params.items(), key=lambda item: item[0].count("__")):  # the whole before its pieces
            name, _, path = key.partition("__")
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {known!r}.")
            if path:
                try:
                    whole = self._part(name)
                    value = _within(whole, path, value, KINDS.get(name))
                except (ValueError, RegistryError, AttributeError) as error:
                    chosen = isinstance(error, RegistryError) and is_auto(getattr(self, name))
                    why = f"{name}='auto' is chosen as fit begins; set {name} to one, to set what it has" if chosen else error
                    raise ValueError(f"Invalid parameter {key!r} for estimator {self}: {why}") from error
            setattr(self, name, value)
        return self

    @contextmanager
    def _naming(self, name: str = "", otherwise: type[NnkitError] = ParameterError) -> Iterator[None]:
        """Let errors, be it those of others, say that they are about a hyper-parameter, or an argument, of this estimator."""
        try:
            yield
        except (NnkitError, ValueError, TypeError, OverflowError) as error:
            kind = type(error) if isinstance(error, ParameterError | DataError | ShapeError | RegistryError) else otherwise
            what = f"expected numbers, got text ({error}); encode it as numbers" if _is_of_text(error) else str(error)
            about = f"{name}: " if name else ""
            raise kind(f"{type(self).__name__}: {about}{what.removeprefix(about)}") from error

    @contextmanager
    def _refusing_text(self, name: str) -> Iterator[None]:
        """Say of which argument NumPy could not make numbers; other errors are scikit-learn's, as its users know them."""
        try:
            yield
        except ValueError as error:
            if not _is_of_text(error):
                raise
            with self._naming(name, DataError):
                raise

    def _made(self, kind: type[P], name: str) -> P:
        """The part that a hyper-parameter stands for."""
        with self._naming(name):
            return kind.make(getattr(self, name), name)

    def _require_switches(self, *names: str) -> None:
        """Refuse what is no truth value: "no" is true."""
        for name in names:
            if not isinstance(value := getattr(self, name), bool | np.bool_):
                raise ParameterError(f"{type(self).__name__}: {name}: expected True or False, got {value!r}")

    def _part(self, name: str) -> Any:
        """What a hyper-parameter stands for."""
        return getattr(self, name)


def _is_of_text(error: Exception) -> bool:
    return str(error).startswith("could not convert string to float")


def random_of(random_state: Any) -> np.random.RandomState:
    """What scikit-learn makes of a random state."""
    try:
        return check_random_state(random_state)
    except (ValueError, TypeError, OverflowError) as error:
        raise ParameterError(f"expected None, an integer from 0 to 2**32 - 1 or a RandomState ({error}); "
                             "0 will do") from error  # fmt: skip


def is_auto(value: Any) -> bool:
    """Whether a hyper-parameter is left to the estimator."""
    return isinstance(value, str) and value == "auto"


def _within(value: Any, path: str, new: Any, kind: type[Part] | None) -> Any:
    """``value`` with what stands at ``path`` in it replaced: ``0__rate`` of a list of layers, ``lr`` of an optimizer."""
    name, _, rest = path.partition("__")
    if isinstance(value, list | tuple | np.ndarray):
        if not name.isdigit() or int(name) >= len(value):
            raise ValueError(f"expected a place from 0 to {len(value) - 1}, got {name!r}")
        items = list(value)
        items[int(name)] = _within(items[int(name)], rest, new, kind) if rest else new
        return tuple(items) if isinstance(value, tuple) else items
    if kind is None and not isinstance(value, Part):
        raise ParameterError(f"expected a part with hyper-parameters of its own, got {value!r}")
    part = value if isinstance(value, Part) or kind is None else kind.make(value)
    return part.replace(**{name: _within(getattr(part, name), rest, new, KINDS.get(name)) if rest else new})
