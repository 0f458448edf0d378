"""``nnkit train``."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnkit.commands.data_file import DataFile, listing, open_data
from nnkit.commands.report import Told, about_net, about_scores, about_training, how_it_ended
from nnkit.commands.shell import INTERRUPTED, program, require_apart
from nnkit.commands.source import STANDARD_INPUT
from nnkit.commands.tasks import Task, task_of
from nnkit.core.callback import Callback
from nnkit.core.terminal import is_terminal
from nnkit.errors import ParameterError
from nnkit.inspect.pictures.table import count
from nnkit.persistence.disk import write_atomically

if TYPE_CHECKING:
    from nnkit.core.training import RunningFit

__all__ = ["Train"]

COARSE = 300.0  # times its range: so far from 0 float32 would round away a ten-thousandth of a standard deviation
SMALL = 1e-30  # float32 ends at 1e-38


@dataclass(frozen=True)
class Train:
    """Train a net on a table (CSV or Parquet), save it, and say how good it is.

    All columns but the target are features, and have to be numbers; the net sees each with mean 0 and standard deviation 1,
    and what is saved takes them as they are in the file. Some rows are held out: training stops when the loss on them no longer
    falls, the net of the best epoch is kept, and its score on them is told beside that of the best guess without a net.
    `nnkit predict` goes on from there.

    A number in CSV has digits from 0 to 9, at most one decimal mark, perhaps a sign before (-1) and an exponent after it
    (1.5e3); spaces, quotes and zeros before it do not count; true and false are 1 and 0. An empty cell, NA, N/A, NaN or null is
    missing. Whatever else there is (1_000, 0x1F, other digits, 1,100 without --thousands) is text.

    Labels of classes stay as they are written, without spaces around them: 02139 and 2139 are two classes, and so are 1 and
    1.0.

    Parameters
    ----------
    file : CSV with a header (commas, semicolons, tabs or bars between cells), or Parquet (extra "parquet"); - is standard input
    target : the column to predict
    layers : hidden layers: numbers of units, and names as `nnkit list` shows them, with arguments: "64, relu, dropout(0.2), 32,
        relu"; the output layer is added
    task : what the target is: classes, or numbers; auto: text, few different whole numbers, and whole numbers with zeros
        before them (02139) are classes
    output : file to save the net in (default: that of the data, with .safetensors, in the present folder; model.safetensors for
        standard input)
    report : file for what is printed
    drop : columns to leave out
    epochs : times to go through the data, at most
    batch_size : rows of a step (default: a twentieth of the data, but at least 16 and at most 256)
    lr : learning rate (default: that of the optimizer)
    optimizer : one of those that `nnkit list` shows, with arguments: "adamw(weight_decay=0.1)"
    loss : likewise: "huber(delta=0.5)" (default: cross_entropy for classes, mse for numbers)
    validation : share of the rows to hold out; 0 holds out none
    patience : epochs to wait for a lower loss on the held-out rows; after one more, training stops; 0 goes on to the end
    seed : which rows are held out, how the net begins, in which order it sees the rows
    threads : how many (default: NNKIT_NUM_THREADS, or one for each core that it may use)
    delimiter : what separates the cells of CSV: one character, or tab or space (default: what a first line sep=; says, else the
        one of , ; tab | that splits all rows into as many cells)
    decimal : the decimal mark: ',' for 1,5
    thousands : what stands between groups of three digits: ',' for 1,100, space for 1 100 (default: nothing)
    encoding : of CSV: cp1252, latin-1, utf-16-le ... (default: by the mark that UTF-8 and UTF-16 may begin with, else utf-8)

    Examples
    --------
    nnkit train iris.csv --target species
    nnkit train houses.csv --target price --layers "128, relu, 64, relu" --drop id
    nnkit train messung.csv --target Preis --decimal "," --encoding cp1252
    """

    file: str
    _: KW_ONLY
    target: str
    layers: str = "64, relu, 32, relu"
    task: Literal["auto", "classification", "regression"] = "auto"
    output: str | None = None
    report: str | None = None
    drop: tuple[str, ...] = ()
    epochs: int = 200
    batch_size: int | None = None
    lr: float | None = None
    optimizer: str = "adam(lr=0.003)"
    loss: str | None = None
    validation: float = 0.2
    patience: int = 20
    seed: int = 0
    threads: int | None = None
    delimiter: str | None = None
    decimal: str = "."
    thousands: str | None = None
    encoding: str | None = None

    def run(self) -> int:
        """Do it, and return the exit status."""
        name = "model" if self.file == STANDARD_INPUT else Path(self.file).stem
        settings, saved = self._settings(), self.output or f"{name}.safetensors"
        data = open_data(
            self.file, delimiter=self.delimiter, decimal=self.decimal, thousands=self.thousands, encoding=self.encoding
        )
        features = self._features(data)
        require_apart({"the data": self.file}, {"--output": saved, "--report": self.report})
        rows = data.read(features, self.target, optional=True)
        task = task_of(data, self.target, rows, self.task)
        train, held = task.split(data, rows, self.validation, self.seed)
        told = Told()
        told.say(f"{data.path}: {count(len(rows.lines))} rows, {count(len(train))} to train on, {count(len(held))} held out")
        told.say(f"features: {len(features)}: {listing(features, 40)}")
        told.say(f"target: {self.target}, {task.about()}")

        estimator = fitted(task, settings, rows.numbers, train, held)
        if not estimator.history_.epochs:
            print("interrupted within the first epoch: nothing is saved", file=sys.stderr)
            return INTERRUPTED
        scores = about_scores(estimator, task, rows.numbers, train, held)
        estimator.feature_names_in_ = np.array(features, object)
        estimator.target_name_ = self.target
        estimator.save(saved)

        told.show(about_net(estimator.model_), about_training(estimator.history_))
        told.say(how_it_ended(estimator.history_))
        told.show(*scores)
        told.say(f"saved: {saved} ({count(sum(map(np.size, estimator.model_.parameters().values())))} parameters, "
                 f"{os.path.getsize(saved) / 1e3:.0f} kB)")  # fmt: skip
        told.say(f"next:  {program()} predict {shlex.join([saved, self.file, *data.options])}", wrap=False)
        if self.report is not None:
            write_atomically(self.report, told.text.encode())
        return INTERRUPTED if estimator.history_.stopped == "interrupted" else 0

    def _settings(self) -> dict[str, Any]:
        """The estimator's settings; whatever the user has misspelt is found before the data are read."""
        from nnkit.commands.parts import layers_of, part_of
        from nnkit.core.loss import Loss
        from nnkit.core.optimizer import Optimizer

        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0), ("threads", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < 2**31:
                flag = name.replace("_", "-")
                raise ParameterError(f"--{flag}: expected a whole number of at least {least}, got {value}")
        optimizer = part_of(Optimizer, self.optimizer)
        settings = {
            "layers": layers_of(self.layers),
            "optimizer": optimizer if self.lr is None else optimizer.replace(lr=self.lr),
            "loss": None if self.loss is None else part_of(Loss, self.loss),
            "epochs": self.epochs, "batch_size": self.batch_size, "patience": self.patience, "random_state": self.seed,
            "n_threads": self.threads,
        }  # fmt: skip
        if not 0 <= self.validation < 1:
            raise ParameterError(f"--validation: expected a share of the rows from 0 to below 1, got {self.validation}")
        return settings

    def _features(self, data: DataFile) -> list[str]:
        """The columns that the net sees."""
        target, drop = self.target, self.drop
        data.require([target], "--target")
        data.require(drop, "--drop")
        if target in drop:
            raise data.error(f"expected the target {target!r} to stay, got it in --drop, too")
        features = [name for name in data.names if name != target and name not in drop]
        if not features:
            raise data.error(f"expected columns beside the target {target!r}, got none; the columns are {listing(data.names)}"
                             f"{data.one_column if len(data.names) == 1 else ''}")  # fmt: skip
        return features


def fitted(task: Task, settings: dict[str, Any], X: NDArray[Any], train: NDArray[Any], held: NDArray[Any]) -> Any:
    """An estimator that has learned from some rows; it takes and gives numbers as they are in the file."""
    from nnkit.core.layer import Layer
    from nnkit.core.loss import Loss
    from nnkit.layers import Standardize
    from nnkit.training.callbacks import EarlyStopping

    layers: list[Layer] = [Standardize.of(X[train]), *settings["layers"]]
    loss = Loss.make(settings["loss"] or task.loss)
    patience, batch_size = settings["patience"], settings["batch_size"] or int(np.clip(len(train) // 20, 16, 256))
    estimator = task.estimator(**{
        **settings, "layers": layers, "loss": loss, "batch_size": min(batch_size, len(train)), "dtype": dtype_of(X, task.y),
        "verbose": is_terminal(sys.stderr),
    })  # fmt: skip
    y = task.scaled(loss, train)
    callbacks = [EarlyStopping(patience=patience)] if len(held) and patience else []
    estimator.set_params(callbacks=[*callbacks, _Kept()])
    estimator.fit(X[train], y[train], **({"X_val": X[held], "y_val": y[held]} if len(held) else {}))
    task.restore(estimator)
    return estimator.set_params(callbacks=callbacks)


class _Kept(Callback):
    """After Ctrl-C what was learned until then is kept, and saved."""

    def on_fit_end(self, fit: RunningFit) -> None:
        if isinstance(fit.failure, KeyboardInterrupt):
            fit.failure = None


def dtype_of(X: NDArray[np.float64], y: NDArray[Any]) -> str:
    """float64 where a column differs by little of its size, or float32 has no numbers of this size; else float32."""
    columns = X if y.dtype.kind != "f" else np.column_stack([X, y])
    spread, size = np.ptp(columns, axis=0), np.abs(columns).max(axis=0)
    lost = (spread > 0) & ((size > COARSE * spread) | (spread < SMALL)) | (size > 1 / SMALL)
    return "float64" if bool(lost.any()) else "float32"
