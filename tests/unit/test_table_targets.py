"""Targets of any type: which labels come back, what a missing one is told as, standardised numbers."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.exceptions import DataConversionWarning

from nnkit.errors import DataError, PersistenceError
from nnkit.persistence.description import Describer, Restorer
from nnkit.tables.targets import Classes, Scaled

LABELS = {
    "text": ["no", "yes", "maybe", "no"], "truth": [True, False, False, True], "whole": [3, 1, 10, 3],
    "whole floats": [2.0, 1.0, 5.0, 2.0], "letters": ["\u00e4", "a", "\u6771", "a"],
}  # fmt: skip
FORMS = {
    "list": list, "array": np.array, "objects": lambda cells: np.array(cells, object), "pandas": pd.Series,
    "pandas categories": lambda cells: pd.Series(cells, dtype="category"),
    "nullable": lambda cells: pd.Series(cells).convert_dtypes(),
    "one column": lambda cells: pd.DataFrame({"y": cells}), "polars": lambda cells: pl.Series("y", cells),
    "polars column": lambda cells: pl.DataFrame({"y": cells}), "pyarrow": lambda cells: pa.chunked_array([cells]),
    "pyarrow column": lambda cells: pa.table({"y": cells}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_from_every_library(kind, form):
    cells = LABELS[kind]
    classes = Classes.of(FORMS[form](cells))
    codes = classes.encode(FORMS[form](cells))
    assert codes.dtype == np.int64 and codes.tolist() == [[sorted(set(cells)).index(cell)] for cell in cells]
    assert classes.single and classes.decode(codes).tolist() == cells
    assert classes.labels[0].tolist() == sorted(set(cells))


@pytest.mark.parametrize("form", ["list", "array", "objects", "pandas", "nullable", "polars", "pyarrow", "one column"])
def test_numbers_have_mean_0_and_standard_deviation_1(form):
    cells = [1.0, 2.0, 4.0, 9.0]
    scaled = Scaled.of(FORMS[form](cells))
    z = scaled.encode(FORMS[form](cells))
    # of numbers up to 9, some roundings of 2**-53 each
    assert z.shape == (4, 1) and np.allclose([z.mean(), z.std() - 1], 0, atol=1e-15)
    assert np.allclose(scaled.decode(z), cells, rtol=1e-15) and scaled.decode(z).shape == (4,)
    assert scaled.clamped(scaled.decode(z + 9)).max() == 9 and scaled.clamped(scaled.decode(z - 9)).min() == 1


def test_numbers_of_other_types():
    assert Scaled.of([Decimal("1.5"), Decimal("2.5")]).mean == [2] and Scaled.of([True, False]).std == [0.5]
    assert Scaled.of([7, 7, 7]).encode([7, 8]).tolist() == [[0], [1]]


def test_several_outputs():
    y = pd.DataFrame({"a": ["x", "y", "x"], "b": [1, 2, 2]})
    classes = Classes.of(y)
    assert classes.encode(y).tolist() == [[0, 0], [1, 1], [0, 1]]
    assert classes.decode(classes.encode(y)).tolist() == y.to_numpy().tolist()
    assert [labels.tolist() for labels in classes.labels] == [["x", "y"], [1, 2]]
    assert Classes.of([["x", "a"], ["y", "b"]]).decode(np.array([[0, 1]])).tolist() == [["x", "b"]]
    numbers = np.array([[1.0, 10.0], [3.0, 30.0]])
    scaled = Scaled.of(numbers)
    assert scaled.encode(numbers).tolist() == [[-1, -1], [1, 1]]
    assert scaled.decode(scaled.encode(numbers)).tolist() == numbers.tolist()
    with pytest.raises(DataError, match="y: expected 2 columns, as in the fit, got 1"):
        scaled.encode([1.0])


def test_one_column_of_an_array():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert Classes.of(np.array([["a"], ["b"]])).single
    assert Scaled.of(np.array([[1.0], [2.0]])).decode(np.zeros((3, 1))).shape == (3, 1)


@pytest.mark.parametrize("kind", [Classes, Scaled])
@pytest.mark.parametrize(
    "y",
    [
        [1.0, None, 2.0], [1.0, np.nan, 2.0], pd.Series([1, None, 2], dtype="Int64"), pl.Series([1, None, 2]),
        pa.chunked_array([[1, None, 2]]), pd.DataFrame({"y": [1, np.nan, 2]}), [1.0, pd.NA, 2.0], ["a", None, "b"],
        pd.Series(["a", None, "b"], dtype="category"), pl.Series(["a", None, "b"]), np.array(["a", None, "b"], object),
        pa.chunked_array([pa.array(["a", None, "b"]).dictionary_encode()]), [dt.date(2024, 1, 1), pd.NaT, dt.date(2024, 1, 2)],
    ],
)  # fmt: skip
def test_a_missing_target_is_told_by_its_row(kind, y):
    with pytest.raises(DataError, match=r"y: expected a (target|label) in every row, got none in row 1"):
        kind.of(y)


@pytest.mark.parametrize(
    ("kind", "y", "told"),
    [
        (Scaled, [1.0, np.inf], "finite numbers, got inf in row 1"), (Scaled, ["a", "b"], "expected numbers, got 'a' in row 0"),
        (Scaled, [1e200, -1e200], "squares are finite"), (Classes, [1.5, 2.5], "Unknown label type: continuous"),
        (Classes, [1, "a"], "labels of one type, got int and str"), (Classes, [], r"got \(0,\)"), (Classes, 5, r"got \(\)"),
        (Classes, None, "requires y to be passed"), (Scaled, [[1.0], [1.0, 2.0]], "rows of different lengths"),
        (Scaled, np.ones(2) * 1j, "Complex data not supported"), (Scaled, np.ones((2, 2, 2)), r"got \(2, 2, 2\)"),
    ],
)  # fmt: skip
def test_what_are_no_targets(kind, y, told):
    with pytest.raises(ValueError, match=told):
        kind.of(y)


def test_labels_that_nobody_has_learned():
    with pytest.raises(DataError, match=r"expected one of the labels of the fit \(a, b\), got 'c' in row 1"):
        Classes.of(["a", "b"]).encode(["a", "c"])


@pytest.mark.parametrize(
    "targets", [Classes.of(["a", "b"]), Classes.of([[1, 2], [2, 1]]), Classes.of([True, False]), Scaled.of([1, 2])]
)
def test_files_keep_them_without_pickle(targets):
    describer = Describer()
    described = describer.describe(targets.record(), "targets")
    back = type(targets).of_record(Restorer([], [], describer.arrays.__getitem__).restore(described))
    out = np.array([[0] * (1 if targets.single else 2)])
    assert back.decode(out).tolist() == targets.decode(out).tolist() and back.single == targets.single
    for broken in ({**targets.record(), "single": 1}, {}, {**targets.record(), "labels": [], "mean": np.zeros(3)}, None):
        with pytest.raises(PersistenceError):
            type(targets).of_record(broken)
