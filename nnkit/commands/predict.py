"""``nnkit predict``."""

from __future__ import annotations

import csv
import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from importlib.util import find_spec
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.about import install
from nnkit.commands.data_file import DataFile, Rows, listing, open_data
from nnkit.commands.shell import require_apart
from nnkit.commands.tasks import TASKS
from nnkit.core.terminal import is_terminal
from nnkit.errors import DataError, MissingLibraryError, ParameterError, PersistenceWarning, printable
from nnkit.inspect.pictures.table import count, number
from nnkit.model import Sequential
from nnkit.persistence.disk import write_atomically
from nnkit.tables.reading import Table
from nnkit.tables.text import MISSING

__all__ = ["Predict"]

STANDARD_OUTPUT = "-"


@dataclass(frozen=True)
class Predict:
    """Predict the rows of a table (CSV or Parquet) with a saved net, as CSV or Parquet.

    What `nnkit train` has saved knows its columns: they are found by their names, in any order, and others are ignored. Where
    the target is among them, the score is printed, too (on standard error). Other nets take all columns in the order of the
    file. Which cells are numbers, `nnkit train --help` says.

    What is written is CSV in UTF-8, with commas and decimal points, or Parquet where the output's name ends so, a column for
    each target; labels are as they were in the table that the net was trained on.

    Parameters
    ----------
    model : file of a saved estimator, or of a saved model, whose raw outputs are written
    file : CSV with a header, or Parquet, as for `nnkit train`; - is standard input
    output : file to write, Parquet (extra "parquet") if it ends with .parquet or .pq, else CSV (default, or -: standard output)
    probabilities : write those of the classes, too
    target : the column with the right answers, if there are any; several with commas between, or one --target for each
        (default: what `nnkit train` was given)
    drop : columns to leave out, for a net that does not know its columns by name
    delimiter : what separates the cells of CSV, as for `nnkit train` (default: found out)
    decimal : the decimal mark in the table
    thousands : what stands between groups of three digits in it (default: nothing)
    encoding : of CSV, as for `nnkit train` (default: by its mark, else utf-8)

    Examples
    --------
    nnkit predict iris.safetensors new.csv --output species.csv
    nnkit predict iris.safetensors new.csv --probabilities | head
    """

    model: str
    file: str
    _: KW_ONLY
    output: str | None = None
    probabilities: bool = False
    target: list[str] = field(default_factory=list)
    drop: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: str = "."
    thousands: str | None = None
    encoding: str | None = None

    def run(self) -> int:
        """Do it, and return the exit status."""
        if self.output == STANDARD_OUTPUT:
            return replace(self, output=None).run()
        write = writer_of(self.output)
        if self.output is None and sys.stdout is None:
            raise ParameterError("predict: expected --output, or a standard output to write to, got neither")
        require_apart({"the model": self.model, "the data": self.file}, {"--output": self.output})
        net = self._load()
        data = open_data(
            self.file, delimiter=self.delimiter, decimal=self.decimal, thousands=self.thousands, encoding=self.encoding
        )
        targets = self._targets(net, data)
        rows = self._read(net, data, targets)
        try:
            columns = predicted(net, rows.table, targets_of(net), self.probabilities)
        except DataError as error:
            raise data.error(str(error)) from error
        self._write(write(columns), len(rows.lines))
        said = [column for name, column in columns.items() if name.startswith("prediction")]
        if len(said) == len(targets):
            for target, column in zip(targets, said, strict=True):
                print(printable(score(net, data, target, rows, column)), file=sys.stderr)
        return 0

    def _load(self) -> Any:
        """What the model's file holds, without its callbacks, which are of no use here."""
        from nnkit.loading import load

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PersistenceWarning)
            return load(self.model)

    def _targets(self, net: Any, data: DataFile) -> list[str]:
        """The columns with the right answers, if they are there."""
        given = data.several(self.target, "--target")
        known = targets_of(net)
        return given or (known if set(known) <= set(data.names) else [])

    def _read(self, net: Any, data: DataFile, targets: list[str]) -> Rows:
        """The columns that the net was trained on, in their order."""
        known = getattr(net, "feature_names_in_", None)
        features = self._columns(net, data, targets) if known is None else [*map(str, known)]
        data.require(features, "a feature of the net")
        if not hasattr(net, "scheme_"):
            vars(net).pop("feature_names_in_", None)  # nobody has to look at them again
            return data.read(features, targets, optional=known is None)
        rows = data.table(features, targets)
        data.require_numbers(rows, [at for at, column in enumerate(net.scheme_.columns_) if column.kind == "number"])
        return rows if known is not None else replace(rows, table=replace(rows.table, named=False))

    def _columns(self, net: Any, data: DataFile, targets: list[str]) -> list[str]:
        """The columns for a net that does not know their names: all, if they are as many as it takes."""
        data.require(self.drop, "--drop")
        names = [name for name in data.names if name not in targets and name not in self.drop]
        expected = prod(net.in_shape) if isinstance(net, Sequential) else net.n_features_in_
        if len(names) != expected:
            raise data.error(f"expected {expected} columns, as many as the net has inputs, got {len(names)}: {listing(names)}; "
                             "leave some out with --drop, the one with the answers with --target")  # fmt: skip
        return names

    def _write(self, content: bytes, rows: int) -> None:
        """Write the predictions to the file, or to standard output."""
        if self.output is None:
            text = content.decode()
            sys.stdout.write(printable(text) if is_terminal(sys.stdout) else text)
            sys.stdout.flush()
        else:
            write_atomically(self.output, content)
            print(printable(f"{count(rows)} predictions: {self.output}"), file=sys.stderr)


def targets_of(net: Any) -> list[str]:
    """What a net knows of the names of what it predicts."""
    alone = getattr(net, "target_name_", None)
    return getattr(net, "target_names_", [] if alone is None else [alone])


def predicted(net: Any, X: Table, targets: list[str], probabilities: bool) -> dict[str, NDArray[Any]]:
    """The columns to write, by name."""
    if isinstance(net, Sequential):
        if probabilities:
            raise ParameterError("--probabilities: expected a saved classifier, got a model, which has raw outputs only")
        out = net.predict(np.asarray(X).reshape(-1, *net.in_shape)).reshape(X.rows, -1)
        return {f"output_{place}": column for place, column in enumerate(out.T)}
    out = net.predict(X)
    columns = {"prediction": out}
    if out.ndim == 2:
        names = targets if len(targets) == out.shape[1] else range(out.shape[1])
        columns = {f"prediction_{name}": column for name, column in zip(names, out.T, strict=True)}
    if probabilities:
        if not hasattr(net, "predict_proba"):
            raise ParameterError("--probabilities: expected a classifier whose loss gives probabilities, got "
                                 f"{type(net).__name__} with the loss {net.loss!r}")  # fmt: skip
        shares = zip(net.classes_, net.predict_proba(X).T, strict=True)
        columns |= {f"probability_{label}": column for label, column in shares}
    return columns


def writer_of(path: str | None) -> Callable[[dict[str, NDArray[Any]]], bytes]:
    """What makes a file of columns: Parquet or CSV, by its name.

    Raises
    ------
    MissingLibraryError
        It is to be Parquet, and pyarrow is not installed.
    """
    if path is None or not path.lower().endswith((".parquet", ".pq")):
        return as_csv
    if find_spec("pyarrow") is None:
        raise MissingLibraryError(f"{path}: expected the library pyarrow to write Parquet, which is not installed; "
                                  f"{install('parquet')}")  # fmt: skip
    return as_parquet


def as_parquet(columns: dict[str, NDArray[Any]]) -> bytes:
    """Columns as Parquet: numbers and labels of the types that they have."""
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pyarrow.table({name: pyarrow.array(column) for name, column in columns.items()}), file)
    return file.getvalue()


def as_csv(columns: dict[str, NDArray[Any]]) -> bytes:
    """Columns as CSV: numbers in the fewest digits that give them back."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
    return text.getvalue().encode()


def score(net: Any, data: DataFile, target: str, rows: Rows, prediction: NDArray[Any]) -> str:
    """How good the predictions are, in the rows that have the answer."""
    answered = np.array([label.lower() not in MISSING for label in rows.labels[target]], bool)
    if not answered.any():
        return f"no row has an answer in column {target!r}"
    kind = TASKS[type(net).__name__]
    truth = kind.truth(data, target, rows, answered, prediction.dtype)
    told = [f"{name} {number(value, 4)}" for name, value in kind.scores(truth, prediction[answered]).items()]
    strange = sorted({*truth.tolist()} - {*net.classes_.tolist()}) if hasattr(net, "classes_") else []
    note = f" ({listing(strange)}: no class of the net)" if strange else ""
    return f"{', '.join(told)} on {count(int(answered.sum()))} rows with {target}{note}"
