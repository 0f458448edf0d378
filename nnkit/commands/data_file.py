"""Tables in files: columns by name, of CSV and of Parquet."""

from __future__ import annotations

import csv
import difflib
import io
import os
import shlex
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.about import install
from nnkit.errors import DataError, MissingLibraryError, printable
from nnkit.persistence.disk import open_regular, reason

__all__ = ["MISSING", "DataFile", "Rows", "listing", "open_data"]

MISSING = {"", "na", "nan", "n/a", "null"}  # in lower case: what stands for a number that is not there
TRUTH = {"true": 1.0, "false": 0.0}
DELIMITERS = ",;\t"
BLOCK, CELLS = 20_000, 1 << 24  # rows that are turned into numbers in one go, and how many numbers these may be


def listing(names: Sequence[object], most: int = 12) -> str:
    """Names one after the other, not too many of them."""
    shown = ", ".join(printable(str(name)).replace("\n", "\\n") for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass
class Rows:
    """What was read of a table.

    Attributes
    ----------
    numbers : (rows, columns) float64, the columns in the order that was asked for
    labels : cells of the one column that is not to be numbers; empty where none was asked for
    lines : where each row is in the file
    """

    numbers: NDArray[np.float64]
    labels: list[str]
    lines: NDArray[np.int64]


@dataclass
class _Column:
    """Cells that become numbers, and what is wrong with some of them."""

    name: str
    blocks: list[NDArray[np.float64]] = field(default_factory=list)
    text: tuple[int, str] | None = None  # line and content of the first cell that is no number

    def add(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        """Take the cells of some rows."""
        try:
            self.blocks.append(np.fromiter(map(float, cells), np.float64, len(cells)))
        except ValueError:
            self.blocks.append(np.array([self._number(*cell) for cell in zip(cells, lines, strict=True)]))

    def _number(self, cell: str, line: int) -> float:
        short = cell.strip().lower()
        if short in MISSING:
            return np.nan
        try:
            return TRUTH[short] if short in TRUTH else float(short)
        except ValueError:
            self.text = self.text or (line, cell)
            return np.nan

    @property
    def values(self) -> NDArray[np.float64]:
        return np.concatenate(self.blocks) if self.blocks else np.empty(0)


def _memory() -> int:
    """Bytes of memory that the machine has; more than any has where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 60


class DataFile(ABC):
    """A file with named columns; nothing but the names is read before `read` is called.

    Attributes
    ----------
    path : as the user gave it
    names : of the columns, in order
    """

    unit = "line"  # what the file counts rows in

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self.path, self.names = path, list(names)
        several = [name for name, times in Counter(self.names).items() if times > 1]
        if several:
            places = [str(place) for place, name in enumerate(self.names, 1) if name == several[0]]
            raise self.error(f"expected a name of its own for each column, got {several[0]!r} for the columns "
                             f"{' and '.join(places)}; rename all but one")  # fmt: skip

    def error(self, message: str) -> DataError:
        """An error about this file."""
        return DataError(f"{self.path}: {message}")

    def require(self, names: Sequence[str], what: str) -> None:
        """Refuse columns that are not there."""
        for name in names:
            if name not in self.names:
                near = difflib.get_close_matches(name, self.names, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise self.error(f"no column is named {name!r} ({what}); {hint}columns: {listing(self.names, 40)}")

    def read(self, numbers: Sequence[str], labels: str | None = None, *, optional: bool = False) -> Rows:
        """Read columns of numbers, and one whose cells stay as they are.

        ``optional``: the user may leave columns out, for the message about those that cannot be read.

        Raises
        ------
        DataError
            A cell is missing, or no number; a row has another number of cells; the file has no rows; ...
        """
        if "" in numbers:
            place = self.names.index("") + 1
            raise self.error(f"expected a name for each column, got none for column {place} (is it an index? pandas leaves it "
                             "out with to_csv(index=False)); name it, or --drop ''")  # fmt: skip
        columns, found, lines = [_Column(name) for name in numbers], [], []
        rows, most = 0, _memory() // (16 * max(len(numbers), 1))  # every number is kept twice for a moment
        for where, cells in self._blocks([*numbers, *([] if labels is None else [labels])]):
            rows += len(where)
            if rows > most:
                raise self.error(f"expected a table that fits into memory, at most {most} rows of {len(numbers)} columns, got "
                                 "more; split the file, or leave columns out")  # fmt: skip
            lines.append(where)
            for column, piece in zip(columns, cells, strict=False):
                if isinstance(piece, np.ndarray):
                    column.blocks.append(piece)
                else:
                    column.add(piece, where)
            if labels is not None:
                found += [str(cell).strip() for cell in cells[-1]]
        if not lines:
            raise self.error("expected rows, got a header only")
        whole = np.concatenate(lines)
        self._check(columns, whole, optional)
        matrix = np.empty((len(whole), len(columns)))
        for place, column in enumerate(columns):
            matrix[:, place] = column.values
        return Rows(matrix, found, whole)

    def _check(self, columns: Sequence[_Column], lines: NDArray[np.int64], optional: bool) -> None:
        """Refuse text, cells that are missing, and numbers that are not finite."""

        def or_drop(names: Collection[str]) -> str:
            what = "them" if len(names) > 1 else "it"
            return f", or leave {what} out: --drop {shlex.join(names)}" if optional else ""

        text = {column.name: column.text for column in columns if column.text is not None}
        if text:
            name, (line, value) = next(iter(text.items()))
            others = f"; there is text in {len(text)} columns: {listing([*text])}" if len(text) > 1 else ""
            remedy = "write decimal points, not commas" if _is_number(value.replace(",", ".")) else "encode it as numbers"
            raise self.error(f"expected numbers in column {name!r}, got {value[:40]!r} in {self.unit} {line}{others}; "
                             f"{remedy}{or_drop(text)}")  # fmt: skip
        holes = {column.name: np.flatnonzero(np.isnan(column.values)) for column in columns}
        holes = {name: places for name, places in holes.items() if len(places)}
        if holes:
            told = [f"{name} {len(places)} (first in {self.unit} {lines[places[0]]})" for name, places in holes.items()]
            rows = len(np.unique(np.concatenate([*holes.values()])))
            raise self.error(f"expected a number in every cell, got missing values in {rows} of {len(lines)} rows: "
                             f"{listing(told)}; fill them in, remove the rows{or_drop(holes)}")  # fmt: skip
        for column in columns:
            infinite = np.flatnonzero(np.isinf(column.values))
            if len(infinite):
                raise self.error(f"expected finite numbers in column {column.name!r}, got {column.values[infinite[0]]} in "
                                 f"{self.unit} {lines[infinite[0]]}")  # fmt: skip

    @abstractmethod
    def _blocks(self, names: Sequence[str]) -> Iterator[tuple[Any, list[Any]]]:
        """Some rows at a time: where they are in the file, and the cells of each column, as text or as numbers."""


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return bool(np.isfinite(float(text)))
    return False


def open_data(path: str) -> DataFile:
    """The table in a file, CSV or Parquet: whatever it is called, by what it begins with.

    Raises
    ------
    DataError
        There is no such file, it cannot be read, it is neither, or its header is no header.
    MissingLibraryError
        It is Parquet, and pyarrow is not installed.
    """
    try:
        with open_regular(path) as file:  # a pipe could be read only once
            begin = file.read(4096)
    except (OSError, ValueError) as error:  # a path with a null byte
        raise DataError(f"cannot read {path!r}: {_why(path, error)}") from error
    if begin.startswith(b"PAR1"):
        return ParquetFile(path)
    if path.lower().endswith((".parquet", ".pq")):
        raise DataError(f"{path}: expected a Parquet file, got one that does not begin like any; is it damaged?")
    for magic, what in ((b"PK", "an Excel or zip file"), (b"\x1f\x8b", "a gzip file"), (b"\xff\xfe", "UTF-16 text"),
                        (b"\xfe\xff", "UTF-16 text"), (b"%PDF", "a PDF file")):  # fmt: skip
        if begin.startswith(magic):
            raise DataError(f"{path}: expected CSV or Parquet, got {what}; save it as CSV in UTF-8")
    if b"\0" in begin:
        raise DataError(f"{path}: expected CSV or Parquet, got a binary file")
    if not begin.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError(f"{path}: expected a header and rows, got an empty file")
    return CsvFile(path)


def _why(path: str, error: OSError | ValueError) -> str:
    """Why a file cannot be opened, and which one may have been meant."""
    if not isinstance(error, OSError):
        return str(error)
    with suppress(OSError):
        near = difflib.get_close_matches(Path(path).name, os.listdir(Path(path).parent), 1)
        if isinstance(error, FileNotFoundError) and near:
            return f"{reason(error)}; did you mean {str(Path(path).parent / near[0])!r}?"
    return reason(error)


class CsvFile(DataFile):
    """Comma-separated values, or separated by semicolons or tabs; quotes as in RFC 4180, UTF-8."""

    def __init__(self, path: str) -> None:
        self.path = path
        with self._text() as file:
            header = next(line for line in file if line.strip())
        outside = "".join(header.split('"')[::2])  # of quotes
        self._delimiter = max(DELIMITERS, key=outside.count)
        _, names = next(self._rows())
        super().__init__(path, [name.strip() for name in names])
        if all(map(_is_number, self.names)):
            raise self.error(f"expected the names of the columns in the first line, got numbers: {listing(self.names)}; "
                             "write a header above")  # fmt: skip

    @contextmanager
    def _text(self) -> Iterator[Any]:
        """The file, open to be read."""
        try:
            with io.TextIOWrapper(io.BufferedReader(open_regular(self.path)), "utf-8-sig", newline="") as file:
                yield file
        except UnicodeDecodeError:
            with io.BufferedReader(open_regular(self.path)) as raw:
                for line, content in enumerate(raw, 1):
                    try:
                        content.decode()
                    except UnicodeDecodeError as error:
                        raise self.error(f"expected UTF-8 text, got the byte 0x{content[error.start]:02x} in line {line}; "
                                         "save it as UTF-8") from None  # fmt: skip
            raise
        except OSError as error:
            raise self.error(f"cannot be read: {reason(error)}") from error

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """The lines on which rows begin, and their cells: the header first; empty lines are left out."""
        with self._text() as file:
            reader = csv.reader(file, delimiter=self._delimiter, strict=True)
            line, width = 1, 0
            try:
                for row in reader:
                    if len(row) == width or (width == 0 and row):
                        width = width or len(row)
                        yield line, row
                    elif any(cell.strip() for cell in row):
                        raise self.error(f"expected {width} cells in line {line}, as in the header, got {len(row)}; is there a "
                                         f"{self._delimiter!r} in a cell without quotes, or a line broken in two?")  # fmt: skip
                    line = reader.line_num + 1
            except csv.Error as error:
                raise self.error(f"line {line}: {error}; are quotes opened and not closed?") from None

    def _blocks(self, names: Sequence[str]) -> Iterator[tuple[list[int], list[Sequence[str]]]]:
        places = [self.names.index(name) for name in names]
        rows = self._rows()
        next(rows)
        while block := list(islice(rows, BLOCK)):
            columns = list(zip(*(row for _, row in block), strict=True))
            yield [line for line, _ in block], [columns[place] for place in places]


class ParquetFile(DataFile):
    """Parquet, by pyarrow."""

    unit = "row"

    def __init__(self, path: str) -> None:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError:
            raise MissingLibraryError(f"{path}: expected the library pyarrow to read Parquet, which is not installed; "
                                      f"{install('parquet')}") from None  # fmt: skip
        self._failure = (ArrowException, OSError)
        self.path = path
        with self._readable():
            self._file = parquet.ParquetFile(path, memory_map=False)
        super().__init__(path, self._file.schema_arrow.names)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except self._failure as error:
            raise self.error(f"expected a Parquet file, got one that cannot be read: {str(error)[:200]}") from error

    def _blocks(self, names: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], list[Any]]]:
        done = 0
        with self._readable():
            for batch in self._file.iter_batches(max(1, min(BLOCK, CELLS // max(len(names), 1))), columns=list(names)):
                if batch.num_rows:
                    yield np.arange(done + 1, done + 1 + batch.num_rows), [self._cells(batch.column(name)) for name in names]
                done += batch.num_rows

    @staticmethod
    def _cells(column: Any) -> Any:
        """A column as numbers, where it holds such, else as text."""
        import pyarrow as pa

        kind = column.type
        if any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)):
            return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return ["" if cell is None else str(cell) for cell in column.to_pylist()]
