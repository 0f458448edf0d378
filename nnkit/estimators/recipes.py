"""Recipes for tables: which layers and which optimizer a net of a table has, all of it known before a row is seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from nnkit.activations import SELU, Mish
from nnkit.core.calls import nearest
from nnkit.core.layer import Layer
from nnkit.core.optimizer import Optimizer
from nnkit.errors import ParameterError
from nnkit.initializers import Normal
from nnkit.layers import Columns, Dropout, Embedding, Flatten, Inputs, NTKLinear, ParametricActivation, PeriodicEmbedding, Scale
from nnkit.optimizers import Adam, AdamW
from nnkit.schedules import CoslogSchedule, FlatCosineSchedule
from nnkit.tables.scheme import TableScheme

__all__ = ["RECIPES", "Recipe", "recipe_of"]

BETAS = (0.9, 0.95)


class Recipe(ABC):
    """Layers and optimizer of nets for tables.

    Attributes
    ----------
    max_one_hot : categories that have flags, at most, as `TableScheme` has it
    clamps : whether numbers are predicted only between the least and the largest of training
    """

    max_one_hot: ClassVar[int | None] = None
    clamps: ClassVar[bool] = False

    @abstractmethod
    def layers(self, scheme: TableScheme, hidden: Sequence[int], outputs: int, *, classes: bool) -> list[Layer]:
        """All layers, for rows of ``scheme.transform``, so many hidden units and outputs; of classes, or of numbers."""

    @abstractmethod
    def optimizer(self, scheme: TableScheme, *, classes: bool) -> Optimizer:
        """The optimizer of these layers."""


class TDS(Recipe):
    """RealMLP-TD-S: a scale for each column, and neural tangent layers that begin at random but for the last, which is zero."""

    def layers(self, scheme: TableScheme, hidden: Sequence[int], outputs: int, *, classes: bool) -> list[Layer]:
        activation = SELU if classes else Mish
        inner = [layer for size in hidden for layer in (NTKLinear(size, bias_init=Normal(std=1.0)), activation())]
        return [Scale(), *inner, NTKLinear(outputs, weight_init="zeros")]

    def optimizer(self, scheme: TableScheme, *, classes: bool) -> Optimizer:
        lr = 0.04 if classes else 0.07
        rates = {"*.scale": {"lr": 6 * lr}, "*.bias": {"lr": 0.1 * lr}}
        return Adam(lr=lr, betas=BETAS, schedule=CoslogSchedule(4), groups=rates)


class TD(Recipe):
    """RealMLP-TD: embeddings of numbers and of many categories, learnt activations, dropout, decay, a start from the data."""

    max_one_hot = 8
    clamps = True

    def layers(self, scheme: TableScheme, hidden: Sequence[int], outputs: int, *, classes: bool) -> list[Layer]:
        activation = SELU if classes else Mish
        inner = [layer for size in hidden for layer in (NTKLinear(size, from_data=True), ParametricActivation(activation()),
                                                        Dropout(0.15 * FlatCosineSchedule()))]  # fmt: skip
        return [*self._embedded(scheme), Scale(), *inner, NTKLinear(outputs, from_data=True)]

    @staticmethod
    def _embedded(scheme: TableScheme) -> list[Layer]:
        """Numbers as waves, flags as they are, codes as vectors; none where there are no columns."""
        values, numbers = scheme.n_values_, scheme.n_numbers_
        parts: dict[str, Any] = {}
        if values:
            parts["values"] = [Columns(range(values)), PeriodicEmbedding(), Flatten()]
        if numbers > values:
            parts["flags"] = Columns(range(values, numbers))
        for place, cardinality in enumerate(scheme.cardinalities_):
            parts[f"codes{place}"] = [Columns([numbers + place]), Embedding(cardinality, 8), Flatten()]
        return [Inputs(**parts)] if parts else []

    def optimizer(self, scheme: TableScheme, *, classes: bool) -> Optimizer:
        lr = 0.04 if classes else 0.2

        def group(rate: float) -> dict[str, Any]:
            """A rate of its own; the paper's code has it twice in the decay, which is lr times this one."""
            return {"lr": rate * lr, "weight_decay": rate * 0.02 * FlatCosineSchedule()}

        embedded = {"0.0.*": group(0.1)} if scheme.n_values_ else {}  # the waves, the first part of the first layer
        rates = {**embedded, "*.scale": group(6.0), "*.share": group(0.1), "*.bias": {"lr": 0.1 * lr, "weight_decay": 0.0}}
        return AdamW(lr=lr, betas=BETAS, weight_decay=0.02 * FlatCosineSchedule(), schedule=CoslogSchedule(4), groups=rates)


RECIPES: dict[str, Recipe] = {"td-s": TDS(), "td": TD()}


def recipe_of(name: Any) -> Recipe:
    """The recipe of this name.

    Raises
    ------
    ParameterError
        There is none.
    """
    found = RECIPES.get(name) if isinstance(name, str) else None
    if found is None:
        near = nearest(str(name), RECIPES)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ParameterError(f"recipe: expected one of {', '.join(map(repr, RECIPES))}, got {name!r}{hint}")
    return found
