"""``nnkit train``."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nnkit.commands.data_file import DataFile, listing, open_data
from nnkit.commands.findings import Learning
from nnkit.commands.page import page, require_pictures
from nnkit.commands.report import Told, about_scores, findings_of, how_it_ended, judging
from nnkit.commands.shell import INTERRUPTED, program, require_apart
from nnkit.commands.source import STANDARD_INPUT
from nnkit.commands.tasks import Task, task_of
from nnkit.commands.ways import ByHand, ByRecipe, Parts, Way, parameters
from nnkit.errors import ParameterError
from nnkit.inspect.pictures.table import count
from nnkit.persistence.disk import write_atomically

__all__ = ["Train"]

BY_HAND = ("layers", "optimizer", "loss", "lr", "patience")  # options of a net that the user makes
PAGES = (".html", ".htm")


@dataclass(frozen=True)
class Train:
    """Train a net on a table (CSV or Parquet), save it, and say how good it is.

    All columns but the target are features: numbers, categories, text, dates, with cells missing anywhere. Ids, and columns
    that say nothing, are left out. The net is that of a recipe known to be good (nn.TableClassifier, nn.TableRegressor). Some
    rows are held out for a test before anything is learned, and tell how good the net is, beside the best guess without one;
    some of the others choose the epoch whose net is kept. `nnkit predict` goes on from there.

    With --layers, --optimizer, --loss, --lr or --patience, the net is made by hand instead: features have to be numbers then,
    without missing ones, of which the net sees each with mean 0 and standard deviation 1, and training stops when the loss on
    the validation rows no longer falls.

    A number in CSV has digits from 0 to 9, at most one decimal mark, perhaps a sign before (-1) and an exponent after it
    (1.5e3); spaces, quotes and zeros before it do not count; true and false are 1 and 0. An empty cell, NA, N/A, NaN or null is
    missing. Whatever else there is (1_000, 0x1F, other digits, 1,100 without --thousands) is text.

    Labels of classes stay as they are written, without spaces around them: 02139 and 2139 are two classes, and so are 1 and
    1.0.

    Parameters
    ----------
    file : CSV with a header (commas, semicolons, tabs or bars between cells), or Parquet (extra "parquet"); - is standard input
    target : the column to predict; several of numbers with commas between, or one --target for each
    recipe : of the net, as nn.TableClassifier has them: "td"; "td-s", which is smaller and faster; or "tabm", 32 nets in one,
        which is slower (default: td)
    seconds : how long training may take, about, with a recipe: as many epochs as fit in, and several nets where there is time
    task : what the target is: classes, or numbers; auto: text, few different whole numbers, and whole numbers with zeros
        before them (02139) are classes
    output : file to save the net in (default: that of the data, with .safetensors, in the present folder; model.safetensors for
        standard input)
    report : file for what is printed; one page with pictures, if it ends with .html (extra "plot")
    drop : columns to leave out
    test : share of the rows that is held out to tell how good the net is; with 0 the validation rows tell it
    validation : share of the rows that are left, to choose the epoch; with 0 it is the last one
    epochs : times to go through the data, at most (default: that of the recipe, or 200)
    batch_size : rows of a step (default: that of the recipe, or a twentieth of the data, but at least 16 and at most 256)
    layers : hidden layers, by hand: numbers of units, and names as `nnkit list` shows them, with arguments: "64, relu,
        dropout(0.2), 32, relu", which is the default but for the dropout; the output layer is added
    optimizer : by hand: one of those that `nnkit list` shows, with arguments: "adamw(weight_decay=0.1)" (default:
        adam(lr=0.003))
    loss : likewise: "huber(delta=0.5)" (default: cross_entropy for classes, mse for numbers)
    lr : learning rate, by hand (default: that of the optimizer)
    patience : by hand: epochs to wait for a lower loss on the validation rows; after one more, training stops; 0 goes on to the
        end (default: 20)
    seed : which rows are held out, how the net begins, in which order it sees the rows
    threads : how many (default: NNKIT_NUM_THREADS, or one for each core that it may use)
    delimiter : what separates the cells of CSV: one character, or tab or space (default: what a first line sep=; says, else the
        one of , ; tab | that splits all rows into as many cells)
    decimal : the decimal mark: ',' for 1,5; recipes see it themselves where numbers are written so beyond doubt
    thousands : what stands between groups of three digits: ',' for 1,100, space for 1 100 (default: nothing)
    encoding : of CSV: cp1252, latin-1, utf-16-le ... (default: by the mark that UTF-8 and UTF-16 may begin with, else utf-8)

    Examples
    --------
    nnkit train people.csv --target income --report report.html
    nnkit train messung.csv --target Preis,Gewicht --encoding cp1252
    nnkit train houses.csv --target price --layers "128, relu, 64, relu" --drop id
    """

    file: str
    _: KW_ONLY
    target: list[str]
    recipe: str | None = None
    seconds: float | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    output: str | None = None
    report: str | None = None
    drop: tuple[str, ...] = ()
    test: float = 0.2
    validation: float = 0.2
    epochs: int | None = None
    batch_size: int | None = None
    layers: str | None = None
    optimizer: str | None = None
    loss: str | None = None
    lr: float | None = None
    patience: int | None = None
    seed: int = 0
    threads: int | None = None
    delimiter: str | None = None
    decimal: str = "."
    thousands: str | None = None
    encoding: str | None = None

    def run(self) -> int:
        """Do it, and return the exit status."""
        name = "model" if self.file == STANDARD_INPUT else Path(self.file).stem
        self._require()
        way, saved = self._way(), self.output or f"{name}.safetensors"
        data = open_data(
            self.file, delimiter=self.delimiter, decimal=self.decimal, thousands=self.thousands, encoding=self.encoding
        )
        targets = data.several(self.target, "--target")
        features = self._features(data, targets)
        require_apart({"the data": self.file}, {"--output": saved, "--report": self.report})
        rows = way.read(data, features, targets)
        tasks = [task_of(data, target, rows, self.task) for target in targets]
        if len(tasks) > 1 and any(task.classes for task in tasks):
            raise data.error("expected numbers in several targets, got classes in "
                             f"{listing([task.column for task in tasks if task.classes])}; train a net for each, or --task "
                             "regression")  # fmt: skip
        if not rows.table.names:
            raise data.error(f"expected columns that say something, got {way.columns(rows)}")
        parts = self._parts(tasks)
        told = Told()
        shares = ", ".join(f"{count(len(of))} {what}" for what, of in parts.items())
        told.say(f"{data.path}: {count(len(rows.lines))} rows: {shares}")
        told.say(f"features: {way.columns(rows)}")
        for task in tasks:
            told.say(f"target: {task.column}, {task.about()}")

        X = rows.table
        net = way.fitted(tasks, X, parts)
        if not net.history_.epochs:
            print("interrupted within the first epoch: nothing is saved", file=sys.stderr)
            return INTERRUPTED
        way.named(net, X, tasks).save(saved)

        told.show(way.about(net), Learning(net.history_))
        told.say(how_it_ended(net.history_))
        told.show(about_scores(net, tasks, X, parts))
        told.say(f"What the {judging(parts)} rows tell:")
        told.show(*findings_of(net, tasks, X, parts, self.seed))
        told.say(f"saved: {saved} ({count(parameters(net))} parameters, {os.path.getsize(saved) / 1e3:.0f} kB)")
        told.say(f"next:  {program()} predict {shlex.join([saved, self.file, *data.options])}", wrap=False)
        if self.report is not None:
            text = page(f"{data.path}: {listing(targets)}", told.blocks) if self._is_page else told.text
            write_atomically(self.report, text.encode())
        return INTERRUPTED if net.history_.stopped == "interrupted" else 0

    def _require(self) -> None:
        """Refuse numbers that are none of these options', before the data are read."""
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0), ("threads", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < 2**31:
                flag = name.replace("_", "-")
                raise ParameterError(f"--{flag}: expected a whole number of at least {least}, got {value}")
        for name in ("test", "validation"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ParameterError(f"--{name}: expected a share of the rows from 0 to below 1, got {share}")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ParameterError(f"--seconds: expected a number above 0, got {self.seconds}")
        if self._is_page:
            require_pictures()

    @property
    def _is_page(self) -> bool:
        return self.report is not None and self.report.lower().endswith(PAGES)

    def _way(self) -> Way:
        """How the net comes about."""
        given = {"epochs": self.epochs, "batch_size": self.batch_size, "random_state": self.seed, "n_threads": self.threads}
        settings = {name: value for name, value in given.items() if value is not None}
        by_hand = {name: getattr(self, name) for name in BY_HAND}
        said = [name for name, value in by_hand.items() if value is not None]
        if not said:
            return ByRecipe(self.recipe or "td", settings, self.seconds)
        for name in ("recipe", "seconds"):
            if getattr(self, name) is not None:
                raise ParameterError(f"--{name}: expected a net by a recipe, got --{said[0]}, too, which is for nets by hand; "
                                     "leave one out")  # fmt: skip
        return ByHand(**by_hand, settings=settings)

    def _features(self, data: DataFile, targets: list[str]) -> list[str]:
        """The columns to learn from."""
        drop = self.drop
        data.require(drop, "--drop")
        for target in targets:
            if target in drop:
                raise data.error(f"expected the target {target!r} to stay, got it in --drop, too")
        features = [name for name in data.names if name not in targets and name not in drop]
        if not features:
            raise data.error(f"expected columns beside the target {listing(list(map(repr, targets)))}, got none; the columns "
                             f"are {listing(data.names)}{data.one_column if len(data.names) == 1 else ''}")  # fmt: skip
        return features

    def _parts(self, tasks: list[Task]) -> Parts:
        """Which rows there are for what: of each class the same share."""
        from nnkit.estimators.splitting import held_out

        labels = tasks[0].y if tasks[0].classes else None
        random, rows = np.random.RandomState(self.seed), np.arange(len(tasks[0].y))
        parts, left = {}, rows
        for name in ("test", "validation"):
            held = left[held_out(None if labels is None else labels[left], len(left), getattr(self, name), random)]
            left, parts[name] = np.setdiff1d(left, held, assume_unique=True), held
        whole = {"training": left, "validation": parts["validation"], "test": parts["test"]}
        return {name: of for name, of in whole.items() if len(of)}
