"""``nnkit train``."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnkit.commands.data_file import DataFile, listing, open_data
from nnkit.commands.shell import INTERRUPTED, program
from nnkit.commands.tasks import Task, task_of
from nnkit.core.callback import Callback
from nnkit.core.terminal import is_terminal
from nnkit.errors import ParameterError, printable
from nnkit.inspect.pictures.table import Table, count, number
from nnkit.network import network_of
from nnkit.persistence.disk import check_writable, to_path, write_atomically

if TYPE_CHECKING:
    from nnkit.core.training import RunningFit

__all__ = ["train"]

COARSE = 300.0  # times its range: so far from 0 float32 would round away a ten-thousandth of a standard deviation
SMALL = 1e-30  # float32 ends at 1e-38
WIDTH = 78


def train(
    file: str,
    *,
    target: str,
    layers: str = "64, relu, 32, relu",
    task: Literal["auto", "classification", "regression"] = "auto",
    output: str | None = None,
    report: str | None = None,
    drop: tuple[str, ...] = (),
    epochs: int = 200,
    batch_size: int | None = None,
    lr: float | None = None,
    optimizer: str = "adam(lr=0.003)",
    loss: str | None = None,
    validation: float = 0.2,
    patience: int = 20,
    seed: int = 0,
    threads: int | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    thousands: str | None = None,
    encoding: str | None = None,
) -> int:
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
    file : CSV with a header (commas, semicolons, tabs or bars between cells), or Parquet (extra "parquet")
    target : the column to predict
    layers : hidden layers: numbers of units, and names as `nnkit list` shows them, with arguments: "64, relu, dropout(0.2), 32,
        relu"; the output layer is added
    task : what the target is: classes, or numbers; auto: text, few different whole numbers, and whole numbers with zeros
        before them (02139) are classes
    output : file to save the net in (default: that of the data, with .safetensors, in the present folder)
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
    saved = output or f"{Path(file).stem}.safetensors"
    settings = settings_of(layers, optimizer, loss, lr, epochs=epochs, batch_size=batch_size, patience=patience,
                           random_state=seed, n_threads=threads)  # fmt: skip
    require_fraction(validation)
    data = open_data(file, delimiter=delimiter, decimal=decimal, thousands=thousands, encoding=encoding)
    features = features_of(data, target, drop)
    require_apart({"the data": file}, {"--output": saved, "--report": report})
    rows = data.read(features, target, optional=True)
    chosen = task_of(data, target, rows, task)
    train_rows, held = chosen.split(data, rows, validation, seed)
    told = Told()
    told.say(f"{file}: {count(len(rows.lines))} rows, {count(len(train_rows))} to train on, {count(len(held))} held out")
    told.say(f"features: {len(features)}: {listing(features, 40)}")
    told.say(f"target: {target}, {chosen.about()}")

    estimator = fitted(chosen, settings, rows.numbers, train_rows, held)
    history = estimator.history_
    if not history.epochs:
        print("interrupted within the first epoch: nothing is saved", file=sys.stderr)
        return INTERRUPTED
    scores = about_scores(estimator, chosen, rows.numbers, train_rows, held)
    estimator.feature_names_in_ = np.array(features, object)
    estimator.target_name_ = target
    estimator.save(saved)
    told.show(about_net(estimator.model_), about_training(history))
    told.say(how_it_ended(history))
    told.show(*scores)
    told.say(f"saved: {saved} ({count(sum(map(np.size, estimator.model_.parameters().values())))} parameters, "
             f"{os.path.getsize(saved) / 1e3:.0f} kB)")  # fmt: skip
    told.say(f"next:  {program()} predict {shlex.join([saved, file, *data.options])}", wrap=False)
    if report is not None:
        write_atomically(report, told.text.encode())
    return INTERRUPTED if history.stopped == "interrupted" else 0


class Told:
    """What is printed, kept for the report."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, text: str, wrap: bool = True) -> None:
        """A paragraph, its later lines indented."""
        self._print("\n".join(textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)) if wrap else text)

    def show(self, *tables: Table) -> None:
        """Tables, with empty lines between."""
        self._print("\n" + "\n\n".join(map(str, tables)) + "\n")

    def _print(self, text: str) -> None:
        text = printable(text)  # names of columns and files are anybody's
        print(text, flush=True)
        self.text += f"{text}\n"


def settings_of(layers: str, optimizer: str, loss: str | None, lr: float | None, **others: Any) -> dict[str, Any]:
    """The estimator's settings; whatever the user has misspelt is found before the data are read."""
    from nnkit.commands.parts import layers_of, part_of
    from nnkit.core.loss import Loss
    from nnkit.core.optimizer import Optimizer

    for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0), ("n_threads", 1), ("random_state", 0)):
        value = others[name]
        if value is not None and not least <= value < 2**31:
            flag = {"n_threads": "threads", "random_state": "seed"}.get(name, name).replace("_", "-")
            raise ParameterError(f"--{flag}: expected a whole number of at least {least}, got {value}")
    step = part_of(Optimizer, optimizer)
    return {
        "layers": layers_of(layers),
        "optimizer": step if lr is None else step.replace(lr=lr),
        "loss": None if loss is None else part_of(Loss, loss),
        **others,
    }


def require_fraction(validation: float) -> None:
    """Refuse a share of held-out rows that is none."""
    if not 0 <= validation < 1:
        raise ParameterError(f"--validation: expected a share of the rows from 0 to below 1, got {validation}")


def require_apart(inputs: dict[str, str], outputs: dict[str, str | None]) -> None:
    """Refuse output files that cannot be written, or would take the place of an input or of each other."""
    taken = {to_path(path): what for what, path in inputs.items()}
    for option, path in outputs.items():
        if path is None:
            continue
        place = to_path(path)
        if place in taken:
            raise ParameterError(f"{option}: expected a file of its own, got {path!r}, which is {taken[place]}")
        check_writable(path)
        taken[place] = option


def features_of(data: DataFile, target: str, drop: tuple[str, ...]) -> list[str]:
    """The columns that the net sees."""
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


def about_net(net: Any) -> Table:
    """The layers, one below the other."""
    rows = [[name_of(built.layer), " x ".join(map(str, built.out_shape)),
             count(sum(int(np.prod(item.shape)) for item in built.parameters.values()))]
            for _, built in network_of(net, "train").root.walk()]  # fmt: skip
    return Table(f"Net ({net.dtype})", ["layer", "outputs", "parameters"], rows)


def name_of(layer: Any) -> str:
    """A layer as it can be typed, or only its class where that is long."""
    text = repr(layer)
    return text if len(text) <= WIDTH // 2 else type(layer).__name__


def about_training(history: Any) -> Table:
    """The losses of some epochs: the first, the last, the one that is kept."""
    places = {*(np.round(np.geomspace(1, history.epochs, 8)).astype(int) - 1).tolist(), kept(history)}
    figures = {"loss": "loss", "val_loss": "held-out loss"}
    known = [name for name in figures if name in history]
    rows = [[str(place + 1), *(number(history[name][place]) for name in known),
             "kept" if place == history.best_epoch else ""] for place in sorted(places)]  # fmt: skip
    return Table("Training", ["epoch", *(figures[name] for name in known), ""], rows)


def kept(history: Any) -> int:
    """The epoch, from 0, whose net is saved."""
    return history.epochs - 1 if history.best_epoch is None else int(history.best_epoch)


def how_it_ended(history: Any) -> str:
    """How long training took, and why it is over."""
    reasons = {"finished": "all epochs done", "interrupted": "interrupted: the net is saved as it was then"}
    reason = reasons.get(history.stopped, history.stopped.replace("val_loss", "the held-out loss"))
    if history.best_epoch is not None:
        reason += f"; the net of epoch {history.best_epoch + 1} is kept"
    return (f"{history.epochs} epochs, {count(history.steps)} steps in {history.seconds:.2f} s, "
            f"{history.compile_seconds:.2f} s more to compile or load kernels; {reason}")  # fmt: skip


def about_scores(estimator: Any, task: Task, X: NDArray[Any], train: NDArray[Any], held: NDArray[Any]) -> list[Table]:
    """What the predictions are worth, beside the best guess without a net."""
    history, parts = estimator.history_, {"trained on": train, "held out": held} if len(held) else {"trained on": train}
    said = {name: estimator.predict(X[rows]) for name, rows in parts.items()}
    judged = parts["held out"] if len(held) else train
    words, value = task.guess(task.y[train])
    columns = [task.scores(task.y[rows], said[name]) for name, rows in parts.items()]
    columns.append(task.scores(task.y[judged], np.full(len(judged), value)))
    losses = [number(history[name][kept(history)]) for name in ("loss", "val_loss") if name in history]
    rows = [[f"{estimator.loss.key} loss", *losses, ""],
            *([name, *(number(column[name]) for column in columns)] for name in columns[0])]  # fmt: skip
    notes = [task.note] if task.note else []
    if history.best_epoch is not None:
        notes.append("The held-out rows have chosen the epoch: their score is a little flattering.")
    result = Table("Result", ["", *parts, words], rows, notes=notes)
    return [result, *(task.details(task.y[held], said["held out"]) if len(held) else [])]
