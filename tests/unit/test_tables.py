"""Tables in files as other programs write them: what is a number, which labels come back, what separates cells, encodings."""

import csv
import subprocess
import sys

import numpy as np
import pytest

import nnkit as nn
from nnkit.__main__ import main
from nnkit.commands.cells import remedy, to_labels
from nnkit.commands.data_file import open_data
from nnkit.commands.tasks import task_of
from nnkit.tables.text import Notation

QUICK = ("--epochs", "3", "--layers", "4, relu")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return str(path)


def rows_of(labels, name="label"):
    """A table of one feature, which says which label it is."""
    kinds = sorted(set(labels))
    return f"x,{name}\n" + "".join(f"{kinds.index(label)},{label}\n" for label in labels)


def predictions(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [row["prediction"] for row in csv.DictReader(file)]


# ------------------------------------------------------------------------------------------------------------- numbers


NUMBERS = {
    "1": 1, "+1": 1, "-1.5": -1.5, " 1e5 ": 1e5, "1E5": 1e5, ".5": 0.5, "1.": 1, "007": 7, "\u00a01": 1, "TRUE": 1, "False": 0,
    "": np.nan, "NA": np.nan, "n/a": np.nan, "#N/A": np.nan, "NaN": np.nan, "-nan": None, "null": np.nan, "<NA>": np.nan,
    "inf": np.inf, "-Infinity": -np.inf, "1_000": None, "1_0": None, "0x1F": None, "\uff11\uff12": None, "\u0661": None,
    "1,5": None, "1,100": None, "1 100": None, "1'100": None, "--1": None, "1e": None, "e5": None, "1.2.3": None, "5 %": None,
    "yes": None, "12:30": None, "1d5": None, "1j": None, "nano": None, "infinit": None,
}  # fmt: skip


@pytest.mark.parametrize("cell", NUMBERS)
def test_a_number_is_what_the_help_says(cell):
    expected = NUMBERS[cell]
    got = Notation().number(cell)
    assert (got is None) == (expected is None) and (got is None or np.array_equal(got, expected, equal_nan=True))


@pytest.mark.parametrize("cell", [cell for cell in NUMBERS if cell != "-nan"])
def test_columns_are_read_as_cells_are(cell):
    one, many = Notation().number(cell), Notation().numbers(["1", cell, "2.5"])
    assert (one is None) == (many is None)
    if one is not None:
        np.testing.assert_array_equal(many, [1, one, 2.5])


GROUPED = [
    (".", ",", "1,100", 1100), (".", ",", "-1,234,567.89", -1234567.89), (".", ",", "1,10", None), (".", ",", "1,1000", None),
    (".", ",", "1234,567", None), (".", ",", "1,100.5,3", None), (".", ",", "12", 12), (".", ",", ",100", None),
    (",", ".", "1.234,5", 1234.5), (",", ".", "1.5", None), (",", "", "1,5", 1.5), (",", "", "1.5", None),
    (",", "", "-,5e3", -500),
    (",", " ", "1 234,5", 1234.5), (",", " ", "1\u00a0234", 1234), (",", " ", "1\u202f234\u202f567", 1234567),
    (".", "'", "1'234.5", 1234.5), (".", "_", "1_000", 1000), (".", "_", "1_0", None), (".", ",", "NA", np.nan),
    (".", ",", "inf", np.inf), (",", "", "1_0", None), (",", ".", "1,5", 1.5), (",", "", "NA", np.nan),
    (".", ",", "1,100e3", 1100000),
]  # fmt: skip


@pytest.mark.parametrize(("decimal", "thousands", "cell", "expected"), GROUPED)
def test_thousands_and_decimal_marks_as_named(decimal, thousands, cell, expected):
    notation = Notation(decimal, thousands)
    got, whole = notation.number(cell), notation.numbers([cell, "7"])
    assert (got is None) == (expected is None) == (whole is None)
    if got is not None:
        np.testing.assert_array_equal([got, *whole], [expected, expected, 7])


@pytest.mark.parametrize(
    ("cell", "told"),
    [("1,100", "--thousands , reads it as 1100, and --decimal , reads it as 1.1"), ("1,5", "--decimal , reads it as 1.5"),
     ("1.100,5", "--decimal , --thousands . reads it as 1100.5"), ("1 100", "--thousands space reads it as 1100"),
     ("$5", "write it as 5 alone"), ("5\u00a0%", "write it as 5 alone"), ("\uff11\uff12", "write it as 12 alone"),
     ("1'000", "--thousands ''\"'\"'' reads it as 1000"), ("1_000", "--thousands _ reads it as 1000"), ("blue", None),
     ("1.2.3", None), ("2024-01-31 12:00:00", "give times as numbers, such as days since some date"),
     ("1.2.2024", "give times as numbers, such as days since some date"), ("192.168.0.1", None)],
)  # fmt: skip
def test_what_looks_like_a_number_comes_with_a_remedy(cell, told):
    assert remedy(cell, Notation()) == told


def test_remedies_undo_what_was_said():
    assert remedy("0.5", Notation(",")) == "--decimal . reads it as 0.5"
    assert remedy("1.250", Notation(",")) == "--decimal . reads it as 1.25, and --decimal , --thousands . reads it as 1250"


@pytest.mark.parametrize("cell", ["1_000", "\uff11\uff12", "0x1F", "1,100"])
def test_features_that_are_no_numbers_are_refused(here, capsys, cell):
    written(here / "a.csv", f'a,label\n1,x\n"{cell}",y\n')
    assert main(["train", "a.csv", "--target", "label", *QUICK]) == 1
    assert f"expected numbers in column 'a', got {cell!r} in line 3" in capsys.readouterr().err


def test_a_column_may_be_called_as_other_files_begin(here):
    assert open_data(written(here / "a.csv", "PK,b\n1,2\n")).names == ["PK", "b"]


def test_numbers_in_quotes_and_with_zeros_before_them_are_numbers(here):
    rows = open_data(written(here / "a.csv", 'a,b\n"1","02139"\n"+1.5",2139\n')).read(["a", "b"])
    assert np.asarray(rows.table).tolist() == [[1, 2139], [1.5, 2139]]


# -------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("kinds", [
    ("1_0", "1_1"), ("02139", "2139"), ("1E5", "100000"), ("+1", "-1"), ("1.0", "0.0"), ("1", "1.0"), ("\uff11", "1"),
    ("0x1F", "31"), ("True", "FALSE"), ("inf", "-inf"), ("1,000", "2,000"),
    ("9007199254740993", "9007199254740992"), ("0", "1"), ("-0", "0"),
    ("no", "yes"),
], ids=" ".join)  # fmt: skip
def test_labels_come_back_as_they_were_written(here, kinds, capsys):
    text = "x,label\n" + "".join(f'{place},"{kinds[place]}"\n' for place in (0, 1) * 20)
    written(here / "a.csv", text)
    assert main(["train", "a.csv", "--target", "label", "--epochs", "60", "--layers", "8, relu", "--lr", "0.05"]) == 0
    assert "label, 2 classes: " in capsys.readouterr().out
    assert main(["predict", "a.safetensors", "a.csv", "--output", "p.csv"]) == 0
    assert predictions("p.csv") == [*kinds] * 20
    assert "accuracy 1.000 on 40 rows" in capsys.readouterr().err


def test_labels_are_whole_numbers_only_if_all_are_written_as_such():
    assert to_labels(["1", "0", "-3"]).dtype == np.int64
    for texts in (["1", "01"], ["1", "a"], ["1", "99999999999999999999"], ["1.0"], ["1", "\u0661"], ["1" * 5000]):
        labels = to_labels(texts)
        assert labels.dtype.kind == "U" and labels.tolist() == texts


def test_score_names_answers_that_the_net_does_not_know(here, capsys):
    written(here / "a.csv", rows_of(["02139", "2139"] * 10))
    assert main(["train", "a.csv", "--target", "label", *QUICK]) == 0
    written(here / "b.csv", "x,label\n0,2139\n1,2140\n")
    assert main(["predict", "a.safetensors", "b.csv"]) == 0
    assert "on 2 rows with label (2140: no class of the net)" in capsys.readouterr().err


@pytest.mark.parametrize("labels", [np.array([1.0, 2.0]), np.array([True, False]), np.array([1, 2], "u1")], ids=str)
def test_answers_are_compared_with_classes_of_any_kind(here, labels, capsys):
    net = nn.NNClassifier(layers=[8], epochs=80, optimizer=nn.Adam(lr=0.05), random_state=0)
    net.fit(np.array([[0.0], [1.0]] * 20), np.tile(labels, 20)).save("net.safetensors")
    written(here / "a.csv", "".join(["x,y\n", *(f"{place},{label}\n" for place, label in enumerate(labels.tolist()))]))
    assert main(["predict", "net.safetensors", "a.csv", "--target", "y"]) == 0
    assert "accuracy 1.000 on 2 rows" in capsys.readouterr().err


PRICES = [f"{1000 + 37 * place:,}" for place in range(30)]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (PRICES, "got '1,000' in line 2, where most cells look like numbers; --thousands , reads it as 1000"),
        ([f"1.{100 + place},5" for place in range(30)], "--decimal , --thousands . reads it as 1100.5"),
        ([f"{place},5" for place in range(30)], "got '0,5' in line 2, where most cells look like numbers; --decimal ,"),
        ([f"{place}_000" for place in range(1, 31)], "--thousands _ reads it as 1000"),
        ([f"${place}.5" for place in range(30)], "write it as 0.5 alone"),
        ([f"{place}.25" for place in range(29)] + ["?"], "got '?' in line 31, where most cells look like numbers; mend it"),
    ],
    ids=["thousands", "both", "decimals", "underscores", "money", "one of them"],
)
def test_a_target_of_numbers_in_another_notation_is_no_set_of_classes(here, labels, told, capsys):
    written(here / "a.csv", "x;price\n" + "".join(f"{place};{label}\n" for place, label in enumerate(labels * 3)))
    assert main(["train", "a.csv", "--target", "price", *QUICK]) == 1
    said = capsys.readouterr().err
    assert told in said and "or --task classification, if these are classes" in said
    assert main(["train", "a.csv", "--target", "price", "--task", "regression", *QUICK]) == 1
    assert "expected finite numbers in column 'price', got" in capsys.readouterr().err


def test_thousands_are_read_where_they_are_named(here, capsys):
    written(here / "a.csv", "x,price\n" + "".join(f'"{1000 * place:,}","{price}"\n' for place, price in enumerate(PRICES)))
    assert main(["train", "a.csv", "--target", "price", "--thousands", ",", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "target: price, numbers from 1000 to 2073" in out
    assert "a.safetensors a.csv --thousands ," in out  # what it recommends reads the same file
    assert main(["predict", "a.safetensors", "a.csv", "--thousands", ",", "--output", "p.csv"]) == 0
    assert len(predictions("p.csv")) == 30


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["1,000", "2,000"] * 20, "Classification"), (["1", "2", "?"] * 20, "Classification"),
     ([f"0{number}" for number in range(2100, 2130)] * 3, "Classification"),
     ([f"1.{number}.0" for number in range(15)] * 6, "Classification"),
     ([f"2024-01-{day}" for day in range(10, 30)] * 3, "Classification"),
     ([f"00{number}.5" for number in range(30)], "Regression")],
    ids=["two prices", "a few codes", "zeros before", "versions", "dates", "decimals"],
)  # fmt: skip
def test_what_else_a_target_may_be(here, labels, kind):
    data = open_data(written(here / "a.csv", "x;y\n" + "".join(f"1;{label}\n" for label in labels)))
    assert type(task_of(data, "y", data.read(["x"], ["y"]), "auto")).__name__ == kind


# ---------------------------------------------------------------------------------------------------------- delimiters


DELIMITED = {
    "names with commas": ("Height, cm;Weight, kg;label\n170;60;a\n180;70;b\n", ["Height, cm", "Weight, kg", "label"]),
    "decimal commas": ("a;b;label\n1,5;2,5;x\n3,5;4,5;y\n", ["a", "b", "label"]),
    "bars": ("a|b|label\n1|2|x, y\n", ["a", "b", "label"]),
    "tabs": ("a, cm\tb, cm\tlabel\n1\t2\tx\n", ["a, cm", "b, cm", "label"]),
    "a line break in a name": ('"Height\n(cm)",label\n170,a\n', ["Height\n(cm)", "label"]),
    "semicolons within quotes": ('"a;b;c;d","e"\n1,x\n', ["a;b;c;d", "e"]),
    "Excel's line": ("sep=;\nHeight, cm;Weight, kg\n170;60\n", ["Height, cm", "Weight, kg"]),
    "Excel's line of a bar, CRLF": ("sep=|\r\na,b|c,d\r\n1|2\r\n", ["a,b", "c,d"]),
    "lists in cells": ("id,tags,n\n1,a|b,2\n2,c|d,3\n", ["id", "tags", "n"]),
    "spaces before quotes": ('a, "b, c", d\n1, 2, x\n', ["a", "b, c", "d"]),
    "empty lines above": ("\n  \n,,\na,b,c\n1,2,3\n", ["a", "b", "c"]),
    "one column": ("a\n1\n", ["a"]),
    "a ragged line": ("a,b,c\n1,2,3\n1;2,3\n", ["a", "b", "c"]),
    "old line ends": ("a;b\r1;2\r3;4\r", ["a", "b"]),
}


@pytest.mark.parametrize("name", DELIMITED)
def test_delimiters_are_those_that_split_all_rows_evenly(here, name):
    text, names = DELIMITED[name]
    assert open_data(written(here / "a.csv", text)).names == names


@pytest.mark.parametrize(
    ("delimiter", "between"),
    [(":", ":"), ("tab", "\t"), (r"\t", "\t"), ("space", " "), (",", ","), ("~", "~"), ("\u00a6", "\u00a6")],
)
def test_delimiters_that_are_named(here, delimiter, between):
    path = written(here / "a.csv", "a;x b;x".replace(" ", between) + "\n" + "1;2 2;3".replace(" ", between) + "\n")
    assert open_data(path, delimiter=delimiter).names == ["a;x", "b;x"]


def test_what_two_delimiters_split_evenly_is_left_to_the_user(here, capsys):
    written(here / "a.csv", "Height, cm;Weight, kg;label\n170,5;60,2;a\n180,5;70,2;b\n" * 1)
    assert main(["train", "a.csv", "--target", "label"]) == 1
    assert "got ',' and ';', which do; say which: --delimiter , or --delimiter ';'" in capsys.readouterr().err
    data = open_data("a.csv", decimal=",")  # what is in numbers is not between them
    assert np.asarray(data.read(data.names[:2]).table).tolist() == [[170.5, 60.2], [180.5, 70.2]]
    quoted = open_data(written(here / "b.csv", 'a,b\n"1,5","2,5"\n'), decimal=",")
    assert np.asarray(quoted.read(["a", "b"]).table).tolist() == [[1.5, 2.5]]


def test_lines_are_counted_from_the_top_of_the_file(here):
    data = open_data(written(here / "a.csv", 'sep=;\n\na;b\n1;"two\nlines"\n\n2;x\n'))
    assert data.read(["a"], ["b"]).lines.tolist() == [4, 7]
    with pytest.raises(nn.DataError, match="got 'x' in line 7"):
        open_data(written(here / "b.csv", "sep=;\n\na;b\n1;2\n\n\nx;3\n")).read(["a"])


def test_rows_of_empty_cells_are_rows_that_miss_all(here):
    data = open_data(written(here / "a.csv", "a,b\n1,2\n,\n3,4\n"))
    with pytest.raises(nn.DataError, match="missing values in 1 of 3 rows"):
        data.read(["a", "b"])


# ----------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_a_file_says_itself(here, encoding):
    data = open_data(written(here / "a.csv", "Größe\tName\n1,5\tJosé\n", encoding), decimal=",")
    rows = data.read(["Größe"], ["Name"])
    assert data.names == ["Größe", "Name"] and np.asarray(rows.table).tolist() == [[1.5]] and rows.labels == {"Name": ["José"]}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16-be", "UTF16", "mac_roman", "utf-8", "UTF-8"])
def test_encodings_that_are_named(here, encoding):
    data = open_data(written(here / "a.csv", "Größe,Name\n1.5,José\n", encoding), encoding=encoding)
    assert data.names == ["Größe", "Name"] and data.read(["Größe"], ["Name"]).labels == {"Name": ["José"]}


def test_excels_unicode_text(here, capsys):
    lines = "".join(f"{place % 3}\t{'Müller' if place % 3 else 'Łódź'}\r\n" for place in range(30))
    written(here / "a.txt", "x\tName\r\n" + lines, "utf-16")
    assert main(["train", "a.txt", "--target", "Name", *QUICK]) == 0
    assert main(["predict", "a.safetensors", "a.txt", "--output", "p.csv"]) == 0
    assert set(predictions("p.csv")) <= {"Müller", "Łódź"}


WRONG = [
    ("a,é\n1,2\n", "latin-1", (),
     "expected text in utf-8, got the byte 0xe9 in line 1; save it as UTF-8, or name its encoding: --encoding cp1252"),
    ("a,b\n1,2\n" * 3000 + "é,1\n", "latin-1", (), "got the byte 0xe9 in line 6001"),
    ("a,b\n1,2\n", "utf-8-sig", ("--encoding", "latin-1"), "begins with the mark of utf-8; leave --encoding out"),
    ("a,b\n1,2\n", "utf-16", ("--encoding", "cp1252"), "begins with the mark of utf-16; leave --encoding out"),
    ("a,b\n1,2\n", "utf-8", ("--encoding", "utf-16"),
     "expected text in utf-16, got UTF-16 stream does not start with BOM; leave --encoding out, or name"),
    ("a,b\n1,2\n", "utf-8", ("--encoding", "utf-16-le"), "a.csv: "),
    ("a,b\n1,2\n", "utf-16-le", (), "looks like UTF-16 text without a mark; try --encoding utf-16-le"),
    ("a,b\n1,2\n", "utf-8", ("--encoding", "klingon"), "--encoding: expected the name of an encoding, such as utf-8, cp1252"),
    ("a,b\n1,2\n", "utf-8", ("--encoding", "hex"), "--encoding: expected the name of an encoding"),
    ("a,b\n1,2\n", "utf-8", ("--encoding", "undefined"), "--encoding: expected the name of an encoding"),
    ("a,\x81\n1,2\n", "latin-1", ("--encoding", "cp1252"), "expected text in cp1252, got the byte 0x81 in line 1"),
    ("sep=;\n", "utf-8", (), "expected a header and rows, got an empty file"),
    (",,\n \n,,\n", "utf-8", (), "no column is named 'b' (--target); columns: ,,"),
    ("sep=;\na;b\n", "utf-8", (), "expected rows, got a header only"),
    ("a:b\n1:x\n", "utf-8", (), "columns: a:b (is there another character between the cells? --delimiter says which)"),
    ("b\nx\n", "utf-8", (), "the columns are b (is there another character between the cells? --delimiter says which)"),
    ("x" * 200_000, "utf-8", (), "field larger than field limit"),
    ("a,b\n1,2\n", "utf-8", ("--delimiter", "::"), "--delimiter: expected one character that is no letter"),
    ("a,b\n1,2\n", "utf-8", ("--delimiter", '"'), "--delimiter: expected one character"),
    ("a,b\n1,2\n", "utf-8", ("--decimal", "x"), "--decimal: expected one character"),
    ("a,b\n1,2\n", "utf-8", ("--decimal", ""), "--decimal: expected one character"),
    ("a,b\n1,2\n", "utf-8", ("--thousands", "."), "--thousands: expected another character than the decimal mark"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "encoding", "options", "told"), WRONG)
def test_a_wrong_word_about_a_table_is_an_error_with_the_remedy(here, capsys, text, encoding, options, told):
    written(here / "a.csv", text, encoding)
    assert main(["train", "a.csv", "--target", "b", *options]) == 1
    assert told in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- Parquet


def test_parquet_has_no_delimiter_and_no_encoding(here, capsys):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"a": [1.0], "b": ["x"]}).to_parquet("a.parquet")
    for option in ("--delimiter", "--encoding"):
        assert main(["train", "a.parquet", "--target", "b", option, ";"]) == 1
        assert f"expected CSV, which has what {option} says, got a Parquet file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["int64", "uint64", "float64", "bool", "str", "category", "bytes"])
def test_labels_of_parquet_come_back_as_they_are_there(here, kind):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    labels = {"int64": [2**53 + 1, 2**53], "uint64": [2**64 - 1, 3], "float64": [1.5, 2.0], "bool": [True, False]}
    labels = labels.get(kind, ["01", "1"])
    cells = [label.encode() for label in labels] if kind == "bytes" else labels  # as old programs write text
    series = pandas.Series(cells * 20, dtype=object if kind == "bytes" else kind)
    pandas.DataFrame({"x": [0.0, 1.0] * 20, "y": series}).to_parquet("a.parquet")
    more = ("--task", "classification", "--epochs", "60", "--layers", "8, relu", "--lr", "0.05")
    assert main(["train", "a.parquet", "--target", "y", *more]) == 0
    assert main(["predict", "a.safetensors", "a.parquet", "--output", "p.csv"]) == 0
    assert predictions("p.csv") == [*map(str, labels)] * 20


# ------------------------------------------------------------------------------------------------------- as a newcomer


def test_a_german_table_in_processes_of_their_own(here):
    def nnkit(*arguments):
        return subprocess.run([sys.executable, "-W", "error", "-m", "nnkit", *arguments], capture_output=True, text=True,
                              encoding="utf-8", cwd=here)  # fmt: skip

    lines = "".join(f"{place % 7},5;{1000 + 100 * (place % 7)},25\n" for place in range(60))
    written(here / "preise.csv", "Größe, m²;Preis\n" + lines, "cp1252")
    failed = nnkit("train", "preise.csv", "--target", "Preis")
    assert failed.returncode == 1 and "--encoding cp1252" in failed.stderr and "Traceback" not in failed.stderr
    options = ("--encoding", "cp1252")  # decimal commas are seen
    done = nnkit("train", "preise.csv", "--target", "Preis", *options, "--epochs", "20")
    assert done.returncode == 0, done.stderr
    assert "numbers from 1000.25 to 1600.25" in done.stdout
    recommended = next(line for line in done.stdout.splitlines() if line.startswith("next:")).split()
    assert recommended[-4:] == ["--decimal", ",", "--encoding", "cp1252"]
    again = nnkit("predict", "preise.safetensors", "preise.csv", *recommended[-4:])
    assert again.returncode == 0 and again.stdout.count("\n") == 61 and "R2" in again.stderr
