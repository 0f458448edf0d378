"""How a net for a table comes about: by a recipe, from columns of any kind, or of layers that the user names, from numbers."""

from __future__ import annotations

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.commands.data_file import DataFile, Rows, listing
from nnkit.commands.parts import layers_of, part_of
from nnkit.commands.tasks import Task
from nnkit.core.callback import Callback
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer
from nnkit.core.terminal import is_terminal
from nnkit.core.trainer import Trainer
from nnkit.errors import ParameterError
from nnkit.inspect.pictures.table import Table, count
from nnkit.network import network_of
from nnkit.tables.columns import LeftOut
from nnkit.tables.reading import Table as Data

if TYPE_CHECKING:  # scikit-learn is imported where it is needed: who asks for help need not wait for it
    from nnkit.core.training import RunningFit
    from nnkit.tables.scheme import TableScheme

__all__ = ["ByHand", "ByRecipe", "Parts", "Way"]

COARSE = 300.0  # times its range: so far from 0 float32 would round away a ten-thousandth of a standard deviation
SMALL = 1e-30  # float32 ends at 1e-38
WIDTH = 40  # of a layer in a table

Parts = dict[str, NDArray[np.int64]]  # the rows for "training", for "validation" and for the "test"; none is empty


class Way(ABC):
    """How a net for a table comes about."""

    @abstractmethod
    def read(self, data: DataFile, features: Sequence[str], targets: Sequence[str]) -> Rows:
        """Read the columns that the net is to see."""

    @abstractmethod
    def columns(self, rows: Rows) -> str:
        """What the net sees, in words."""

    @abstractmethod
    def fitted(self, tasks: Sequence[Task], X: Data, parts: Parts) -> Any:
        """An estimator that has learned the training rows."""

    @abstractmethod
    def named(self, net: Any, X: Data, tasks: Sequence[Task]) -> Any:
        """The net to save, which knows what its columns are called."""

    @abstractmethod
    def about(self, net: Any) -> Table | str:
        """What the net is."""


@dataclass
class ByRecipe(Way):
    """A recipe says what layers there are, and how they are trained; columns are of any kind.

    Attributes
    ----------
    recipe : its name
    settings : of the estimator, those that the user has given
    seconds : how long training may take; None: as long as it takes
    scheme : what the columns of the whole file are, once they are read
    """

    recipe: str
    settings: dict[str, Any]
    seconds: float | None
    scheme: TableScheme = field(init=False)

    def __post_init__(self) -> None:
        from nnkit.estimators.recipes import recipe_of

        recipe_of(self.recipe)  # which has to be one

    def read(self, data: DataFile, features: Sequence[str], targets: Sequence[str]) -> Rows:
        """Ids, and whatever else says nothing, are left out: rows to come need not have such columns."""
        from nnkit.tables.scheme import TableScheme

        rows = data.table(features, targets)
        self.scheme = TableScheme().fit(rows.table)
        used = [place for place, column in enumerate(self.scheme.columns_) if not isinstance(column, LeftOut)]
        return replace(rows, table=rows.table.chosen(used))

    def columns(self, rows: Rows) -> str:
        return self.scheme.about()

    def fitted(self, tasks: Sequence[Task], X: Data, parts: Parts) -> Any:
        """Columns are what they are in the whole file, in whatever rows the net is trained on."""
        task = tasks[0]
        y = task.y if len(tasks) == 1 else np.column_stack([task.y for task in tasks])
        kinds = {name: [column.name for column in self.scheme.columns_ if column.kind == kind]
                 for name, kind in (("numeric", "number"), ("categorical", "category"), ("dates", "date"))}  # fmt: skip
        for one in tasks:
            one.note = one.scaled_note
        train, held = parts["training"], parts.get("validation")
        own = {} if held is None else {"X_val": X.take(held), "y_val": y[held]}
        net = task.table_net(recipe=self.recipe, **self.settings, **kinds, validated=held is not None, validation_fraction=0.0,
                             callbacks=[_Kept()], verbose=is_terminal(sys.stderr))  # fmt: skip
        net.fit(X.take(train), y[train], **own, seconds=self.seconds)
        return net.set_params(callbacks=())

    def named(self, net: Any, X: Data, tasks: Sequence[Task]) -> Any:
        net.target_names_ = [task.column for task in tasks]
        return net

    def about(self, net: Any) -> str:
        from nnkit.estimators.recipes import recipe_of

        sizes, nets = ", ".join(map(str, recipe_of(net.recipe_).hidden)), len(net.best_epochs_)
        told = "net" if nets == 1 else f"{nets} nets, of which this is the first, and the mean is what is predicted"
        return f"{told}: recipe {net.recipe_}, hidden units {sizes}, {count(parameters(net))} parameters"


@dataclass
class ByHand(Way):
    """Layers, optimizer and loss as the user names them; columns are numbers.

    Attributes
    ----------
    layers, optimizer, loss, lr, patience : as on the command line; None where nothing is said
    settings : of the estimator, those that the user has given
    """

    layers: str | None
    optimizer: str | None
    loss: str | None
    lr: float | None
    patience: int | None
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        """Whatever the user has misspelt is found before the data are read."""
        optimizer = part_of(Optimizer, self.optimizer or "adam(lr=0.003)")
        self.settings = {
            "epochs": 200, **self.settings,
            "layers": layers_of("64, relu, 32, relu" if self.layers is None else self.layers),
            "optimizer": optimizer if self.lr is None else optimizer.replace(lr=self.lr),
            "loss": None if self.loss is None else part_of(Loss, self.loss),
        }  # fmt: skip

    def read(self, data: DataFile, features: Sequence[str], targets: Sequence[str]) -> Rows:
        if len(targets) > 1:
            raise ParameterError(f"--target: expected one column for a net by hand, got {len(targets)}; recipes take several")
        return data.read(features, targets, optional=True)

    def columns(self, rows: Rows) -> str:
        return f"{len(rows.table.names)}: {listing(rows.table.names, 40)}"

    def fitted(self, tasks: Sequence[Task], X: Data, parts: Parts) -> Any:
        from nnkit.layers import Standardize
        from nnkit.training.callbacks import EarlyStopping

        (task,), numbers, train = tasks, np.asarray(X), parts["training"]
        loss = Loss.make(self.settings["loss"] or task.loss)
        batch_size = self.settings.get("batch_size")
        if batch_size is None and not isinstance(self.settings["optimizer"], Trainer):  # which takes all rows
            batch_size = int(np.clip(len(train) // 20, 16, 256))
        layers = [Standardize.of(numbers[train]), *self.settings["layers"]]
        net = task.net(**{
            **self.settings, "layers": layers, "loss": loss,
            "batch_size": "auto" if batch_size is None else min(batch_size, len(train)),
            "dtype": dtype_of(numbers, task.y), "verbose": is_terminal(sys.stderr),
        })  # fmt: skip
        y, held, patience = task.scaled(loss, train), parts.get("validation"), 20 if self.patience is None else self.patience
        callbacks = [EarlyStopping(patience=patience)] if held is not None and patience else []
        net.set_params(callbacks=[*callbacks, _Kept()])
        net.fit(numbers[train], y[train], **({} if held is None else {"X_val": numbers[held], "y_val": y[held]}))
        task.restore(net)
        return net.set_params(callbacks=callbacks)

    def named(self, net: Any, X: Data, tasks: Sequence[Task]) -> Any:
        """A copy: the net itself goes on to take rows without names."""
        known = copy.copy(net)
        known.feature_names_in_, known.target_name_ = np.array(X.names, object), tasks[0].column
        return known

    def about(self, net: Any) -> Table:
        """The layers, one below the other."""
        rows = [[called(built.layer), " x ".join(map(str, built.out_shape)),
                 count(sum(int(np.prod(item.shape)) for item in built.parameters.values()))]
                for _, built in network_of(net.model_, "train").root.walk()]  # fmt: skip
        return Table(f"Net ({net.model_.dtype})", ["layer", "outputs", "parameters"], rows)


class _Kept(Callback):
    """After Ctrl-C what was learned until then is kept, and saved."""

    def on_fit_end(self, fit: RunningFit) -> None:
        if isinstance(fit.failure, KeyboardInterrupt):
            fit.failure = None


def called(layer: Any) -> str:
    """A layer as it can be typed, or only its class where that is long."""
    text = repr(layer)
    return text if len(text) <= WIDTH else type(layer).__name__


def parameters(net: Any) -> int:
    """How many numbers an estimator has learned."""
    return sum(map(np.size, net.model_.parameters().values()))


def dtype_of(X: NDArray[np.float64], y: NDArray[Any]) -> str:
    """float64 where a column differs by little of its size, or float32 has no numbers of this size; else float32."""
    columns = X if y.dtype.kind != "f" else np.column_stack([X, y])
    spread, size = np.ptp(columns, axis=0), np.abs(columns).max(axis=0)
    lost = (spread > 0) & ((size > COARSE * spread) | (spread < SMALL)) | (size > 1 / SMALL)
    return "float64" if bool(lost.any()) else "float32"
