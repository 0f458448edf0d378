"""Tables in files whose columns may be of any type: what each is taken for, decimal commas, standard input, Parquet out."""

import io
import sys
import types

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import nnkit as nn
from nnkit.__main__ import main
from nnkit.commands.cells import spoken
from nnkit.commands.data_file import open_data
from nnkit.errors import DataError
from nnkit.tables.scheme import TableScheme
from nnkit.tables.text import Notation

ROWS = [
    ("name", "born", "height", "married", "plz", "rank", "note"),
    ("M\u00fcller, Jo", "31.01.1980", "1.80", "true", "01067", "1", "a"),
    ('Li "L"', "01.02.1990", "NA", "false", "80331", "?", "b"),
    ("two\nlines", "", "1.65", "", "01067", "2.5", "a"),
    ("x", "15.06.1985", "1.7", "true", "10115", "3", ""),
]  # fmt: skip
KINDS = ["category", "date", "number", "number", "category", "number", "category"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def csv_of(rows, delimiter=",", decimal="."):
    cells = [[cell.replace(".", decimal) if cell.count(".") == 1 else cell for cell in row] for row in rows]
    return "".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in cells)


def typed_file(path, content, **said):
    path.write_bytes(content)
    data = open_data(str(path), **said)
    rows = data.table([name for name in data.names if name != "note"], ["note"])
    return data, rows, TableScheme(dtype="float64").fit(rows.table)


@pytest.mark.parametrize(
    ("delimiter", "decimal", "encoding", "said"),
    [
        (",", ".", "utf-8", {}), (";", ",", "utf-8", {}), ("\t", ",", "utf-8-sig", {}), ("|", ".", "utf-16", {}),
        (";", ",", "latin-1", {"encoding": "latin-1"}), (";", ",", "cp1252", {"encoding": "cp1252", "decimal": ","}),
        (",", ",", "utf-8", {}),
    ],
)  # fmt: skip
def test_text_dates_and_missing_cells_in_any_dress(here, delimiter, decimal, encoding, said):
    data, rows, scheme = typed_file(here / "a.csv", csv_of(ROWS, delimiter, decimal).encode(encoding), **said)
    assert [column.kind for column in scheme.columns_] == KINDS[:-1]
    frame = pd.DataFrame({
        "name": ["M\u00fcller, Jo", 'Li "L"', "two\nlines", "x"], "born": ["1980-01-31", "1990-02-01", None, "1985-06-15"],
        "height": [1.8, None, 1.65, 1.7], "married": [True, False, None, True], "plz": ["01067", "80331", "01067", "10115"],
        "rank": [1, None, 2.5, 3],
    })  # fmt: skip
    assert np.array_equal(scheme.transform(rows.table), TableScheme(dtype="float64").fit_transform(frame))
    assert rows.labels == {"note": ["a", "b", "a", ""]} and rows.lines.tolist() == [2, 3, 4, 6]
    assert data.options[:2] == (["--decimal", ","] if decimal == "," else data.options[:2])


@pytest.mark.parametrize(
    ("columns", "decimal", "thousands"),
    [
        ([["1,5", "2"]], ",", ""), ([["1,500", "2"]], ".", ""), ([["1,500", "2,5"]], ",", ""), ([["1.234,5", "2"]], ",", "."),
        ([["1,5", "2"], ["1.5", "2"]], ".", ""), ([["1,5", "a"]], ".", ""), ([["a, b", "c"]], ".", ""), ([["1", "2"]], ".", ""),
        ([["1,5", "?"]], ",", ""), ([["1,5"], ["10.01.2024"]], ",", ""),
    ],
)  # fmt: skip
def test_decimal_commas_are_seen_where_there_is_no_doubt(columns, decimal, thousands):
    assert spoken(columns, Notation()) == Notation(decimal, thousands)


def test_what_the_user_says_of_numbers_holds():
    assert spoken([["1,5"]], Notation(".", ",")) == Notation(".", ",")


def test_ids_are_left_out_and_said_so(here):
    text = "id,code,x\n" + "".join(f"{row},k{row},{row % 3}\n" for row in range(30))
    (here / "a.csv").write_text(text)
    data = open_data("a.csv")
    scheme = TableScheme().fit(data.table(data.names).table)
    assert scheme.about() == ("3 columns: 1 number; left out: id (ids: a different whole number in every row), code (text or "
                              "ids: 30 different ones in 30 rows)")  # fmt: skip


def test_parquet_has_types_of_its_own(here):
    frame = pd.DataFrame({"t": pd.to_datetime(["2024-01-01", None, "2024-03-01"]), "c": pd.Categorical(["1", "2", "1"]),
                          "x": [1.5, None, 2.0], "y": ["a", None, "b"]})  # fmt: skip
    frame.to_parquet("a.parquet")
    rows = open_data("a.parquet").table(["x", "t", "c"], ["y"])
    scheme = TableScheme().fit(rows.table)
    assert [column.kind for column in scheme.columns_] == ["number", "date", "category"]
    assert rows.labels == {"y": ["a", "", "b"]}
    assert np.array_equal(scheme.transform(rows.table), scheme.transform(frame[["c", "x", "t"]]))
    frame[:0].to_parquet("none.parquet")
    with pytest.raises(DataError, match="header only"):
        open_data("none.parquet").table(["x"])


def test_a_table_without_rows_and_one_beyond_memory(here, monkeypatch):
    (here / "a.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="header only"):
        open_data("a.csv").table(["a"])
    (here / "a.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr("nnkit.commands.data_file._memory", lambda: 50)
    with pytest.raises(DataError, match="fits into memory"):
        open_data("a.csv").table(["a"])


# --------------------------------------------------------------------------------------------- standard input, Parquet out


def test_standard_input_and_parquet_as_output(here, capsys, monkeypatch):
    text = "x,kind\n" + "".join(f"{row % 2},{'no' if row % 2 else 'yes'}\n" for row in range(40))
    for arguments in (["train", "-", "--target", "kind", "--epochs", "3"], ["predict", "model.safetensors", "-"]):
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(text.encode()), closed=False))
        assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "standard input: 40 rows" in out and out.count("\nno\n") + out.count("\nyes\n") > 0
    (here / "a.csv").write_text(text)
    assert main(["predict", "model.safetensors", "a.csv", "--probabilities", "--output", "p.parquet"]) == 0
    table = pq.read_table("p.parquet").to_pandas()
    expected = nn.load("model.safetensors").predict_proba(pd.DataFrame({"x": [row % 2 for row in range(40)]}))
    assert table.columns.tolist() == ["prediction", "probability_no", "probability_yes"]
    assert np.array_equal(table[["probability_no", "probability_yes"]], expected)
    assert main(["predict", "model.safetensors", "a.csv", "--output", "-"]) == 0
    assert capsys.readouterr().out.startswith("prediction\n")


def test_parquet_as_output_without_its_library(here, capsys, monkeypatch):
    monkeypatch.setattr("nnkit.commands.predict.find_spec", lambda name: None)
    assert main(["predict", "model.safetensors", "a.csv", "--output", "p.parquet"]) != 0
    assert "the library pyarrow to write Parquet" in capsys.readouterr().err


def test_no_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["train", "-", "--target", "x"]) != 0
    assert "no standard input; name a file" in capsys.readouterr().err
