"""Recipes for tables: which layers, loss and optimizer a net of a table has, all of it known before a row is seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.activations import SELU, Mish, ReLU
from nnkit.core.calls import nearest
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer
from nnkit.errors import ParameterError
from nnkit.initializers import Normal
from nnkit.layers import (
    BatchEnsembleLinear,
    Columns,
    Dropout,
    Embedding,
    Flatten,
    Inputs,
    MemberLinear,
    Members,
    NTKLinear,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    Scale,
)
from nnkit.losses import CrossEntropyLoss, MSELoss
from nnkit.optimizers import Adam, AdamW
from nnkit.schedules import CoslogSchedule, FlatCosineSchedule
from nnkit.tables.scheme import TableScheme

__all__ = ["RECIPES", "Recipe", "recipe_of"]

BETAS = (0.9, 0.95)


class Recipe(ABC):
    """Layers, loss and optimizer of nets for tables.

    Attributes
    ----------
    hidden : sizes of the hidden layers that it is made for
    members : how many nets in one there are, that learn from the same targets
    label_smoothing : of the loss
    max_one_hot : categories that have flags, at most, as `TableScheme` has it
    clamps : whether numbers are predicted only between the least and the largest of training
    patience : epochs to wait for a better one; None trains for all epochs, in which the schedule ends
    """

    hidden: ClassVar[tuple[int, ...]] = (256, 256, 256)
    members: ClassVar[int] = 1
    label_smoothing: ClassVar[float] = 0.1
    max_one_hot: ClassVar[int | None] = None
    clamps: ClassVar[bool] = False
    patience: ClassVar[int | None] = None

    def loss(self, *, classes: bool) -> Loss:
        """What is trained for."""
        return CrossEntropyLoss(label_smoothing=self.label_smoothing) if classes else MSELoss()

    def goals(self, target: NDArray[Any]) -> NDArray[Any]:
        """Targets for its nets: labels (rows,) or numbers (rows, outputs), for each member where there are several."""
        if self.members == 1:
            return target
        return np.repeat(np.expand_dims(target, 1), self.members, axis=1)

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
        return [*_embedded(scheme, PeriodicEmbedding()), Scale(), *inner, NTKLinear(outputs, from_data=True)]

    def optimizer(self, scheme: TableScheme, *, classes: bool) -> Optimizer:
        lr = 0.04 if classes else 0.2

        def group(rate: float) -> dict[str, Any]:
            """A rate of its own; the paper's code has it twice in the decay, which is lr times this one."""
            return {"lr": rate * lr, "weight_decay": rate * 0.02 * FlatCosineSchedule()}

        embedded = {"0.0.*": group(0.1)} if scheme.n_values_ else {}  # the waves, the first part of the first layer
        rates = {**embedded, "*.scale": group(6.0), "*.share": group(0.1), "*.bias": {"lr": 0.1 * lr, "weight_decay": 0.0}}
        return AdamW(lr=lr, betas=BETAS, weight_decay=0.02 * FlatCosineSchedule(), schedule=CoslogSchedule(4), groups=rates)


class TabM(Recipe):
    """TabM: 32 nets that share their weights, and predict their mean; numbers by the bins that they lie in."""

    hidden = (256, 256)
    members = 32
    label_smoothing = 0.0
    max_one_hot = 8
    patience = 16

    def layers(self, scheme: TableScheme, hidden: Sequence[int], outputs: int, *, classes: bool) -> list[Layer]:
        starts = ["signs", *["ones"] * len(hidden)]  # members differ by the first one, and by the last layer
        inner = [layer for size, start in zip(hidden, starts, strict=False)
                 for layer in (BatchEnsembleLinear(size, in_init=start), ReLU(), Dropout(0.1))]  # fmt: skip
        return [*_embedded(scheme, PiecewiseLinearEmbedding(16)), Members(self.members), *inner, MemberLinear(outputs)]

    def optimizer(self, scheme: TableScheme, *, classes: bool) -> Optimizer:
        embedded = ["0.*"] if scheme.n_values_ or scheme.n_codes_ else []
        return AdamW(lr=2e-3, weight_decay=3e-4, groups={name: {"weight_decay": 0.0} for name in [*embedded, "*.bias"]})


def _embedded(scheme: TableScheme, values: Layer) -> list[Layer]:
    """Numbers by a layer that embeds each, flags as they are, codes as vectors; nothing where there are no columns."""
    parts: dict[str, Any] = {}
    if scheme.n_values_:
        parts["values"] = [Columns(range(scheme.n_values_)), values, Flatten()]
    if scheme.n_numbers_ > scheme.n_values_:
        parts["flags"] = Columns(range(scheme.n_values_, scheme.n_numbers_))
    for place, cardinality in enumerate(scheme.cardinalities_):
        parts[f"codes{place}"] = [Columns([scheme.n_numbers_ + place]), Embedding(cardinality, 8), Flatten()]
    return [Inputs(**parts)] if parts else []


RECIPES: dict[str, Recipe] = {"td-s": TDS(), "td": TD(), "tabm": TabM()}


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
