"""Tables in files: columns by name, of CSV and of Parquet."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import os
import re
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
from nnkit.commands.cells import character, notation_of, options_of, remedy, spoken, typed
from nnkit.commands.source import Source
from nnkit.errors import DataError, MissingLibraryError, ParameterError, printable
from nnkit.persistence.disk import reason
from nnkit.tables.cells import Numbers, Words
from nnkit.tables.reading import Table
from nnkit.tables.text import Notation, without_markers

__all__ = ["DataFile", "Rows", "listing", "open_data"]

DELIMITERS = ",;\t|"
SAMPLE = 1000  # rows that say which of these it is
MARKS = {  # with which texts may begin, the longer before those that they begin with
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
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
    table : the columns in the order that was asked for
    labels : by name, the cells of columns that stay as they are written
    lines : where each row is in the file
    """

    table: Table
    labels: dict[str, list[str]]
    lines: NDArray[np.int64]


@dataclass
class _Column:
    """Cells that become numbers, and what is wrong with some of them."""

    name: str
    notation: Notation
    blocks: list[NDArray[np.float64]] = field(default_factory=list)
    text: tuple[int, str] | None = None  # line and content of the first cell that is no number

    def add(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        """Take the cells of some rows."""
        numbers = self.notation.numbers(cells)
        if numbers is None:
            self.text = self.text or next((line, cell) for cell, line in zip(cells, lines, strict=True)
                                          if self.notation.number(cell) is None)  # fmt: skip
            numbers = np.zeros(len(cells))
        self.blocks.append(numbers)

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
    source : where its bytes are
    names : of the columns, in order
    notation : how numbers are written in it
    options : what the user has said about it, to be typed again
    """

    unit = "line"  # what the file counts rows in
    one_column = ""  # what to ask where there is but one

    def __init__(self, source: Source, names: Sequence[str], notation: Notation, options: Sequence[str]) -> None:
        self.path, self.source, self.names = source.name, source, list(names)
        self.notation, self.options = notation, list(options)
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
                more = self.one_column if len(self.names) == 1 else ""
                raise self.error(f"no column is named {name!r} ({what}); {hint}columns: {listing(self.names, 40)}{more}")

    def several(self, given: Sequence[str], what: str) -> list[str]:
        """The columns that a user names, perhaps several with commas between, where no column is called so."""
        said = [[item] if item in self.names else [name.strip() for name in item.split(",")] for item in given]
        names = [*dict.fromkeys(name for some in said for name in some)]
        self.require(names, what)
        return names

    def read(self, numbers: Sequence[str], labels: Sequence[str] = (), *, optional: bool = False) -> Rows:
        """Read columns of numbers, and some whose cells stay as they are.

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
        columns, lines = [_Column(name, self.notation) for name in numbers], []
        found: dict[str, list[str]] = {name: [] for name in labels}
        for where, cells, answers in self._fitting(numbers, labels, 16):  # every number is kept twice for a moment
            lines.append(where)
            for column, piece in zip(columns, cells, strict=True):
                if isinstance(piece, np.ndarray):
                    column.blocks.append(piece)
                else:
                    column.add(piece, where)
            _add_labels(found, answers)
        if not lines:
            raise self.error("expected rows, got a header only")
        whole = np.concatenate(lines)
        self._check(columns, whole, optional)
        return Rows(Table.of_cells({column.name: Numbers(column.values) for column in columns}), found, whole)

    def table(self, names: Sequence[str], labels: Sequence[str] = ()) -> Rows:
        """Read columns of any type, and some whose cells stay as they are. Cells may be missing.

        Where the user has not said how numbers are written, columns may say it: ``notation`` and ``options`` tell what was
        found.

        Raises
        ------
        DataError
            A row has another number of cells; the file has no rows; ...
        """
        columns: list[list[str]] = [[] for _ in names]
        found: dict[str, list[str]] = {name: [] for name in labels}
        lines = []
        for where, cells, answers in self._fitting(names, labels, 100):  # a text of some letters
            lines.append(np.asarray(where))
            for column, piece in zip(columns, cells, strict=True):
                column += piece
            _add_labels(found, answers)
        if not lines:
            raise self.error("expected rows, got a header only")
        self._speak(spoken([*columns, *found.values()], self.notation))
        read = {name: typed(column, self.notation) for name, column in zip(names, columns, strict=True)}
        return Rows(Table.of_cells(read), found, np.concatenate(lines))

    def require_numbers(self, rows: Rows, places: Sequence[int]) -> None:
        """Refuse text in columns of numbers that were read with others.

        Raises
        ------
        DataError
            A cell is no number; the message says in which line.
        """
        usual = Notation()  # what was written in another is read already
        for place in places:
            cells = rows.table.column(place)
            if isinstance(cells, Words) and cells.said_numbers(usual) is None:
                labels = without_markers(cells.labels.tolist())
                strange = [code for code, label in enumerate(labels) if usual.number(label) is None]
                first = int(np.isin(cells.codes, strange).argmax())
                raise self._no_number(rows.table.names[place], rows.lines[first], labels[cells.codes[first]])

    def _speak(self, notation: Notation) -> None:
        """Read numbers in this notation from now on."""
        if notation != self.notation:
            self.notation, self.options = notation, [*options_of(notation), *self.options]

    def _fitting(self, names: Sequence[str], labels: Sequence[str], size: int) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """The blocks of a table that fits into memory, where a cell takes ``size`` bytes."""
        rows, most = 0, _memory() // (size * max(len(names), 1))
        for where, cells, answers in self._blocks(names, labels):
            rows += len(where)
            if rows > most:
                raise self._too_large(most, len(names))
            yield where, cells, answers

    def _check(self, columns: Sequence[_Column], lines: NDArray[np.int64], optional: bool) -> None:
        """Refuse text, cells that are missing, and numbers that are not finite."""

        def or_drop(names: Collection[str]) -> str:
            what = "them" if len(names) > 1 else "it"
            return f", or leave {what} out: --drop {shlex.join(names)}" if optional else ""

        text = {column.name: column.text for column in columns if column.text is not None}
        if text:
            name, (line, value) = next(iter(text.items()))
            others = f"; there is text in {len(text)} columns: {listing([*text])}" if len(text) > 1 else ""
            raise self._no_number(name, line, value, others, or_drop(text))
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

    def _too_large(self, most: int, columns: int) -> DataError:
        return self.error(f"expected a table that fits into memory, at most {most} rows of {columns} columns, got more; split "
                          "the file, or leave columns out")  # fmt: skip

    def _no_number(self, name: str, line: int, cell: str, others: str = "", ways: str = "") -> DataError:
        return self.error(f"expected numbers in column {name!r}, got {cell[:40]!r} in {self.unit} {line}{others}; "
                          f"{remedy(cell, self.notation) or 'encode it as numbers'}{ways}")  # fmt: skip

    @abstractmethod
    def _blocks(self, numbers: Sequence[str], labels: Sequence[str]) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """Some rows at a time: where they are in the file, the cells of each column, as text or as numbers, and the labels."""


def _add_labels(found: dict[str, list[str]], answers: list[Any]) -> None:
    """The labels of some more rows."""
    for column, cells in zip(found.values(), answers, strict=True):
        column += [cell.strip() for cell in cells]


def open_data(
    path: str, *, delimiter: str | None = None, decimal: str = ".", thousands: str | None = None, encoding: str | None = None
) -> DataFile:
    """The table in a file, or on standard input (``-``), CSV or Parquet: whatever it is called, by what it begins with.

    What else is said of it is what the options of the command line say; CSV alone has a delimiter and an encoding.

    Raises
    ------
    DataError
        There is no such file, it cannot be read, it is neither, or its header is no header.
    ParameterError
        What is said of it cannot be.
    MissingLibraryError
        It is Parquet, and pyarrow is not installed.
    """
    notation = notation_of(decimal, thousands)
    separator = None if delimiter is None else character(delimiter, "--delimiter")
    try:
        source = Source.of(path)
        with source.open() as file:
            begin = file.read(4096)
    except (OSError, ValueError) as error:  # a path with a null byte
        raise DataError(f"cannot read {path!r}: {_why(path, error)}") from error
    said = {"--delimiter": delimiter, "--encoding": encoding}
    named = [word for option, value in said.items() if value is not None for word in (option, value)]
    options = [*options_of(notation), *named]
    if begin.startswith(b"PAR1"):
        for option, value in said.items():
            if value is not None:
                raise DataError(f"{path}: expected CSV, which has what {option} says, got a Parquet file; leave that out")
        return ParquetFile(source, notation, options)
    if path.lower().endswith((".parquet", ".pq")):
        raise DataError(f"{path}: expected a Parquet file, got one that does not begin like any; is it damaged?")
    for magic, what in ((b"PK\3\4", "an Excel or zip file"), (b"\xd0\xcf\x11\xe0", "an Excel file"), (b"%PDF", "a PDF file"),
                        (b"\x1f\x8b", "a gzip file"), (b"ARROW1", "an Arrow file")):  # fmt: skip
        if begin.startswith(magic):
            raise DataError(f"{path}: expected CSV or Parquet, got {what}; save it as CSV in UTF-8")
    codec = encoding_of(path, begin, encoding)
    if not begin.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0"):
        raise DataError(f"{path}: expected a header and rows, got an empty file")
    return CsvFile(source, notation, options, codec, separator)


def encoding_of(path: str, begin: bytes, named: str | None) -> str:
    """In which encoding a text is: the one of the mark that it begins with, or the one that is named, or UTF-8.

    Raises
    ------
    DataError
        It is no text, or not in the encoding that is named.
    ParameterError
        There is no such encoding.
    """
    marked = next((codec for mark, codec in MARKS.items() if begin.startswith(mark)), None)
    try:
        codec = codecs.lookup(named or "utf-8")
        "".encode(codec.name)  # some are no encodings of text
    except (LookupError, ValueError):
        raise ParameterError(f"--encoding: expected the name of an encoding, such as utf-8, cp1252 (Windows, western Europe), "
                             f"latin-1, utf-16 or shift_jis, got {named!r}") from None  # fmt: skip
    if marked is not None:
        if named is not None and not codec.name.startswith(marked.removesuffix("-sig")):
            raise DataError(f"{path}: expected text in {named}, as --encoding says, got a file that begins with the mark of "
                            f"{marked.removesuffix('-sig')}; leave --encoding out")  # fmt: skip
        return marked
    if b"\0" in begin and not codec.name.startswith(("utf-16", "utf-32")):
        if begin[1::2].count(0) * 3 > len(begin):  # two of three letters are Latin ones, at the least
            raise DataError(f"{path}: expected CSV or Parquet, got what looks like UTF-16 text without a mark; try --encoding "
                            "utf-16-le, or save it as UTF-8")  # fmt: skip
        raise DataError(f"{path}: expected CSV or Parquet, got a binary file")
    return codec.name


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
    """Comma-separated values, or separated by another character; quotes as in RFC 4180."""

    one_column = " (is there another character between the cells? --delimiter says which)"

    def __init__(
        self, source: Source, notation: Notation, options: Sequence[str], encoding: str, delimiter: str | None
    ) -> None:
        self.path, self.source = source.name, source
        self.notation, self._encoding, self._named = notation, encoding, "--encoding" in options
        with self._text() as file:
            said = re.fullmatch(r'"?sep=(.)"?\s*', file.readline())  # Excel's own line above the header
        self._skipped = said is not None
        self._delimiter = delimiter or (said[1] if said else self._sniffed())
        _, names = next(self._rows(), (0, []))
        if not names:
            raise self.error("expected a header and rows, got an empty file")
        super().__init__(source, [name.strip() for name in names], notation, options)
        if all(number is not None and np.isfinite(number) for number in map(notation.number, self.names)):
            raise self.error(f"expected the names of the columns in the first line, got numbers: {listing(self.names)}; "
                             "write a header above")  # fmt: skip

    def _sniffed(self) -> str:
        """The delimiter that gives all rows as many cells, and several; `csv.Sniffer` would guess where two do."""
        even = [delimiter for delimiter in DELIMITERS if self._width(delimiter)]
        even = [delimiter for delimiter in even if delimiter != self.notation.decimal] or even
        if len(even) > 1:
            several = " and ".join(map(repr, even))
            ways = " or ".join(f"--delimiter {shlex.quote(delimiter)}" for delimiter in even)
            raise self.error(f"expected one character that splits all rows into as many cells, got {several}, which do; say "
                             f"which: {ways}")  # fmt: skip
        if even:
            return even[0]
        # No rows are even: the header says what they should be.
        return max(DELIMITERS, key=lambda delimiter: len(next(self._lines(delimiter), (1, []))[1]))

    def _width(self, delimiter: str) -> int:
        """Into how many cells a delimiter splits each row; 0 where they differ, or are not split."""
        rows = self._lines(delimiter)
        try:
            width = len(next(rows)[1])
            even = (len(row) == width or not _says_something(row) for _, row in islice(rows, SAMPLE))
            return width if width > 1 and all(even) else 0
        except (DataError, StopIteration):
            return 0

    @contextmanager
    def _text(self) -> Iterator[Any]:
        """The file, open to be read."""
        try:
            with io.TextIOWrapper(io.BufferedReader(self.source.open()), self._encoding, newline="") as file:
                yield file
        except UnicodeError as error:
            way = "leave --encoding out" if self._named else "save it as UTF-8"
            raise self.error(f"expected text in {self._encoding.removesuffix('-sig')}, got {self._undecoded(error)}; {way}, or "
                             "name its encoding: --encoding cp1252 (Windows, western Europe), latin-1, utf-16-le, shift_jis ..."
                             ) from None  # fmt: skip
        except OSError as error:
            raise self.error(f"cannot be read: {reason(error)}") from error

    def _undecoded(self, error: UnicodeError) -> str:
        """What is not in the encoding that it should be in, and where."""
        if not isinstance(error, UnicodeDecodeError) or self._encoding.startswith(("utf-16", "utf-32")):
            return str(error)
        with io.BufferedReader(self.source.open()) as raw:
            for line, content in enumerate(raw, 1):
                try:
                    content.decode(self._encoding)
                except UnicodeDecodeError as wrong:
                    return f"the byte 0x{content[wrong.start]:02x} in line {line}"
        return str(error)

    def _lines(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """The lines on which rows begin, and their cells, as a delimiter splits them, from the first row that has any."""
        with self._text() as file:
            line = 1
            if self._skipped:
                file.readline()
                line = 2
            before, begun = line - 1, False
            reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=not delimiter.isspace())
            try:
                for row in reader:
                    begun = begun or _says_something(row)
                    if begun and row:
                        yield line, row
                    line = before + reader.line_num + 1
            except csv.Error as error:
                raise self.error(f"line {line}: {error}; are quotes opened and not closed?") from None

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Rows as wide as the header, which is the first; where they are not, but say nothing, they are left out."""
        width = 0
        for line, row in self._lines(self._delimiter):
            width = width or len(row)
            if len(row) == width:
                yield line, row
            elif _says_something(row):
                raise self.error(f"expected {width} cells in line {line}, as in the header, got {len(row)}; is there a "
                                 f"{self._delimiter!r} in a cell without quotes, or a line broken in two?")  # fmt: skip

    def _blocks(self, numbers: Sequence[str], labels: Sequence[str]) -> Iterator[tuple[list[int], list[Any], list[Any]]]:
        rows = self._rows()
        next(rows)
        while block := list(islice(rows, BLOCK)):
            columns = list(zip(*(row for _, row in block), strict=True))
            cells, answers = ([columns[self.names.index(name)] for name in names] for names in (numbers, labels))
            yield [line for line, _ in block], cells, answers


def _says_something(row: Sequence[str]) -> bool:
    return any(cell.strip() for cell in row)


class ParquetFile(DataFile):
    """Parquet, by pyarrow."""

    unit = "row"

    def __init__(self, source: Source, notation: Notation, options: Sequence[str]) -> None:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError:
            raise MissingLibraryError(f"{source.name}: expected the library pyarrow to read Parquet, which is not installed; "
                                      f"{install('parquet')}") from None  # fmt: skip
        self._failure = (ArrowException, OSError)
        self.path = source.name
        with self._readable(), source.open() as file:
            names = parquet.read_schema(file).names
        super().__init__(source, names, notation, options)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except self._failure as error:
            raise self.error(f"expected a Parquet file, got one that cannot be read: {str(error)[:200]}") from error

    def table(self, names: Sequence[str], labels: Sequence[str] = ()) -> Rows:
        from pyarrow import Table as Arrow

        wanted = [*dict.fromkeys([*names, *labels])]
        batches: list[Any] = []
        size, most = 0, _memory()
        for batch in self._batches(wanted):
            size += batch.nbytes
            if size > most:
                raise self._too_large(sum(map(len, batches)), len(wanted))
            batches.append(batch)
        if not batches:
            raise self.error("expected rows, got a header only")
        whole = Arrow.from_batches(batches)
        found = {name: [cell.strip() for cell in _texts(whole.column(name))] for name in labels}
        return Rows(Table.of(whole.select(names)), found, np.arange(1, whole.num_rows + 1))

    def _blocks(self, numbers: Sequence[str], labels: Sequence[str]) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        done, names = 0, [*dict.fromkeys([*numbers, *labels])]
        for batch in self._batches(names):
            cells = [_cells(batch.column(name)) for name in numbers]
            yield np.arange(done + 1, done + 1 + batch.num_rows), cells, [_texts(batch.column(name)) for name in labels]
            done += batch.num_rows

    def _batches(self, names: list[str]) -> Iterator[Any]:
        """Some rows at a time, as pyarrow has them."""
        from pyarrow import parquet

        rows = max(1, min(BLOCK, CELLS // max(len(names), 1)))
        with self._readable(), self.source.open() as file:
            for batch in parquet.ParquetFile(file).iter_batches(rows, columns=names):
                if batch.num_rows:
                    yield batch


def _cells(column: Any) -> Any:
    """A column of pyarrow as numbers, where it holds such, else as text."""
    import pyarrow as pa

    kind = column.type
    if any(test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return _texts(column)


def _texts(column: Any) -> list[str]:
    """The cells of a column of pyarrow in words; nothing for those that are missing."""
    return ["" if cell is None else cell.decode(errors="backslashreplace") if isinstance(cell, bytes) else str(cell)
            for cell in column.to_pylist()]  # fmt: skip
