"""Tables as they are: what every column is taken for, the same bits from every library, and messages that name the column."""

import datetime as dt
import pickle
import subprocess
import sys
import warnings
from decimal import Decimal

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from nnkit.errors import DataError, ParameterError, PersistenceError
from nnkit.persistence.description import Describer, Restorer
from nnkit.tables.columns import Category, Column, Date, LeftOut, Number
from nnkit.tables.reading import Table
from nnkit.tables.scaling import RobustScale
from nnkit.tables.scheme import TableScheme
from nnkit.tables.text import times_of

LIBRARIES = {"pandas": pd.DataFrame, "polars": lambda data: pl.DataFrame(data, strict=False), "pyarrow": pa.table}


@parametrize_with_checks([TableScheme(), TableScheme(max_one_hot=None, dtype="float64")])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------------------------------ the same in every library


def random_columns(rng, rows):
    """A column of every kind as lists, some cells missing."""
    cities = [f"city {place}" for place in range(40)]
    day = dt.datetime(2020, 1, 1)
    columns = {
        "number": rng.normal(size=rows).tolist(),
        "whole": rng.integers(-50, 50, rows).tolist(),
        "truth": (rng.random(rows) < 0.3).tolist(),
        "pair": rng.choice(["no", "yes"], rows).tolist(),
        "few": rng.choice(["a", "b", "c", "\u00e4", "\u6771"], rows).tolist(),
        "many": rng.choice(cities, rows).tolist(),
        "money": [Decimal(int(number)) / 100 for number in rng.integers(0, 10**6, rows)],
        "day": [(day + dt.timedelta(days=int(days))).date() for days in rng.integers(-20000, 900, rows)],
        "moment": [day + dt.timedelta(seconds=int(seconds), microseconds=7) for seconds in rng.integers(-(10**9), 10**8, rows)],
        "clock": [dt.time(int(hour), int(minute)) for hour, minute in zip(rng.integers(0, 24, rows), rng.integers(0, 60, rows),
                                                                          strict=True)],
        "span": [dt.timedelta(seconds=int(seconds)) for seconds in rng.integers(0, 10**6, rows)],
        "said": [f"{number:.3f}" for number in rng.normal(size=rows)],
        "written": [f"{days % 28 + 1:02}.0{days % 9 + 1}.20{days % 30 + 10}" for days in rng.integers(0, 900, rows)],
    }  # fmt: skip
    for column in columns.values():
        for row in np.flatnonzero(rng.random(rows) < rng.choice([0, 0.2])):
            column[row] = None
    return columns | {"nothing": [None] * rows, "same": ["x"] * rows, "constant": [7] * rows}


@pytest.mark.parametrize("seed", range(6))
def test_the_same_table_is_the_same_bits_in_every_library(seed):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(30, 200))
    columns, later = random_columns(rng, rows), random_columns(rng, 17)
    encoded = {}
    for library, frame in LIBRARIES.items():
        scheme = TableScheme(dtype="float64").fit(frame(columns))
        encoded[library] = [*scheme.encode(frame(columns)), *scheme.encode(frame(later)), scheme.about()]
    nullable = pd.DataFrame(columns).convert_dtypes()
    arrow = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
    objects = np.array(list(columns.values()), object).T
    for name, table in (("nullable", nullable), ("arrow in pandas", arrow), ("objects", objects), ("rows", objects.tolist())):
        scheme = TableScheme(dtype="float64").fit(table)
        encoded[name] = [*scheme.encode(table), *encoded["pandas"][2:]]
    first = encoded.pop("pandas")
    assert np.isfinite(first[0]).all() and np.abs(first[0]).max() <= 3
    for library, found in encoded.items():
        for one, other in zip(first, found, strict=True):
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, library


def test_a_table_is_read_once_to_be_learned_and_encoded(monkeypatch):
    frame, reads = pd.DataFrame(random_columns(np.random.default_rng(0), 60)), []
    expected = TableScheme().fit(frame).transform(frame)
    column = Table.column
    monkeypatch.setattr(Table, "column", lambda table, place: reads.append(place) or column(table, place))
    assert np.array_equal(TableScheme().fit_transform(frame), expected)
    assert reads == list(range(frame.shape[1]))


def test_columns_that_are_read_and_taken_in_another_order_are_encoded_so():
    columns = random_columns(np.random.default_rng(0), 60)
    scheme = TableScheme().fit(pd.DataFrame(columns))
    cells, rows = scheme.read(pd.DataFrame(columns)), np.random.default_rng(1).integers(0, 60, 90)
    kinds = [column.kind for column in scheme.columns_]
    assert [place in cells for place in range(len(kinds))] == [kind != "left out" for kind in kinds]
    nothing = cells[0].taken(rows)  # where nobody reads
    taken = [cells[place].taken(rows) if place in cells else nothing for place in range(len(kinds))]
    found = scheme.transform(Table.of_columns([*columns], 90, taken))
    assert np.array_equal(found, scheme.transform(pd.DataFrame(columns))[rows])


def test_a_scheme_knows_of_which_column_each_number_is():
    columns = random_columns(np.random.default_rng(0), 60)
    scheme = TableScheme(max_one_hot=5).fit(pd.DataFrame(columns))
    plain, names = scheme.transform(pd.DataFrame(columns)), [*columns]
    assert len(scheme.origins()) == plain.shape[1]
    for place, name in enumerate(names):
        other = pd.DataFrame(columns | {name: columns[name][::-1]})
        changed = (scheme.transform(other) != plain).any(axis=0)
        assert set(scheme.origins()[changed]) <= {place}
        assert changed.any() == (scheme.columns_[place].kind != "left out")


@pytest.mark.parametrize("missing", [[], [None]])
@pytest.mark.parametrize("kind", ["int8", "int64", "uint64", "float32", "float64", "bool"])
def test_numbers_of_every_size_are_the_same_in_every_library(kind, missing):
    largest = {"int64": 2**62 + 1, "uint64": 2**64 - 1, "int8": -128, "float32": 2.0**100, "float64": 1e300, "bool": True}[kind]
    cells = [largest, False, True, *missing] if kind == "bool" else [largest, 0, 1, *missing]
    arrow = pa.table({"a": pa.array(cells, kind)})
    plain = arrow.to_pandas()
    for table in (arrow, pl.from_arrow(arrow), plain, plain.convert_dtypes(), arrow.to_pandas(types_mapper=pd.ArrowDtype)):
        values = Table.of(table).column(0).numbers().values
        assert np.array_equal(values, np.array(cells, float), equal_nan=True), type(table)


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_are_found_by_name(library):
    columns = random_columns(np.random.default_rng(0), 40)
    frame = LIBRARIES[library]
    scheme = TableScheme().fit(frame(columns))
    backwards = frame(dict(reversed(columns.items())))
    for one, other in zip(scheme.encode(frame(columns)), scheme.encode(backwards), strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(DataError, match=r"(?s)should match.*yet now missing:\n- few\n- pair\n"):
        scheme.encode(frame({name: cells for name, cells in columns.items() if name not in ("few", "pair")}))
    with pytest.raises(DataError, match=r"(?s)unseen at fit time:\n- age\n"):
        scheme.encode(frame(columns | {"age": columns["whole"]}))


def test_arrays_and_frames_in_turn_warn_as_scikit_learn_does():
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [3.0, 1.0, 2.0]})
    named, bare = TableScheme().fit(frame), TableScheme().fit(frame.to_numpy())
    with pytest.warns(UserWarning, match="X does not have valid feature names, but TableScheme was fitted with"):
        assert np.array_equal(named.transform(frame.to_numpy()), named.transform(frame))
    with pytest.warns(UserWarning, match="X has feature names, but TableScheme was fitted without"):
        bare.transform(frame)
    with pytest.raises(DataError, match="X has 3 features, but TableScheme is expecting 2 features as input"):
        bare.transform(np.eye(3))


@pytest.mark.parametrize("names", [["a", "a", "b"], [0, 1, 2], [0, "a", ("b", 1)]])
def test_names_of_any_kind(names):
    frame = pd.DataFrame([[1.0, 2.0, "x"], [2.0, 1.0, "y"], [3.0, 7.0, "x"]])
    frame.columns = pd.Index(names, dtype=object)
    scheme = TableScheme().fit(frame)
    assert scheme.transform(frame).shape == (3, 3) and [column.name for column in scheme.columns_] == list(map(str, names))
    assert hasattr(scheme, "feature_names_in_") == (names[0] == "a")
    assert scheme.get_feature_names_out().tolist() == [*map(str, names[:2]), f"{names[2]}_x"]


# ------------------------------------------------------------------------------------------------- what a column is taken for


MANY = [f"t{place}" for place in range(30)]
CHOICES = {
    "numbers": ([1.5, 2.0, 3.0] * 10, Number("c", True, False)),
    "missing": ([1.5, None, 3.0] * 10, Number("c", True, True)),
    "only missing varies": ([1.5, None] * 15, Number("c", False, True)),
    "infinite": ([1.0, np.inf, -np.inf] * 10, Number("c", True, False)),
    "truth": ([True, False, None] * 10, Number("c", True, True)),
    "two words": (["no", "yes"] * 15, Category("c", ("no", "yes"))),
    "one word and none": (["no", None] * 15, Category("c", ("no",))),
    "spaces": ([" no", "yes", "no ", "  "] * 8, Category("c", ("no", "yes"))),
    "nine words": (MANY[:9] * 4, Category("c", tuple(sorted(MANY[:9])), True)),
    "eight words": (MANY[:8] * 4, Category("c", tuple(MANY[:8]), False)),
    "numbers beyond all dtypes": ([10**30, 10**400, 1] * 10, Number("c", True, False)),
    "mixed": ([1, "a", 2.0, None, b"b"] * 6, Category("c", ("1", "2", "a", "b"))),
    "text": (MANY, LeftOut("c", "text or ids: 30 different ones in 30 rows")),
    "numbers as text": ([f"{number / 8}" for number in range(30)], Number("c", True, False)),
    "a marker of what is missing": ([f"{number}" for number in range(29)] + ["?"], Number("c", True, True)),
    "few numbers as text": (["1", "2", "3"] * 10, Category("c", ("1", "2", "3"))),
    "codes": ([f"0{number}" for number in range(10)] * 3, Category("c", tuple(f"0{number}" for number in range(10)), True)),
    "dates as text": ([f"2024-01-{day:02}" for day in range(1, 31)], Date("c", ("week",), False)),
    "months": ([dt.date(2020 + place // 12, 1 + place % 12, 1) for place in range(30)], Date("c", ("year",), False)),
    "years": ([dt.date(1990 + place, 1, 1) for place in range(30)], Date("c", (), False)),
    "one date": ([dt.date(1990, 1, 1)] * 30, LeftOut("c", "always 1990-01-01T00:00:00.000000")),
    "always": ([7.0] * 30, LeftOut("c", "always 7")),
    "always a word": (["x"] * 30, LeftOut("c", "always 'x'")),
    "nothing": ([None] * 30, LeftOut("c", "nothing but missing values")),
    "nothing, of NaN": ([np.nan] * 30, LeftOut("c", "nothing but missing values")),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_what_a_column_is_taken_for(case):
    cells, expected = CHOICES[case]
    scheme = TableScheme().fit(pd.DataFrame({"c": pd.Series(cells, dtype=object)}))
    assert scheme.columns_ == [expected]


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("id", range(30), LeftOut), ("PassengerId", range(100, 130), LeftOut), ("Unnamed: 0", range(30), LeftOut),
        ("rownames", range(1, 31), LeftOut), ("", range(30), LeftOut), ("user_id", [*range(10)] * 3, Category),
        ("index", [*range(10)] * 3, Number), ("width", range(30), Number), ("humid", range(30), Number),
        ("id", np.linspace(0, 1, 30), Number), ("id", [*range(25), *range(5)], LeftOut),
    ],
)  # fmt: skip
def test_ids_are_left_out_where_their_name_says_so(name, cells, kind):
    (column,) = TableScheme().fit(pd.DataFrame({name: list(cells)})).columns_
    assert type(column) is kind


def test_declared_categories_are_categories_whatever_they_look_like():
    cells = [str(number) for number in range(30)]
    polars = [pl.DataFrame({"c": pl.Series(cells, dtype=kind)}) for kind in (pl.Categorical, pl.Enum(cells))]
    for frame in (*polars, pd.DataFrame({"c": pd.Categorical(cells)}), pd.DataFrame({"c": pd.Categorical(range(30))}),
                  pa.table({"c": pa.array(cells).dictionary_encode()})):  # fmt: skip
        scheme = TableScheme().fit(frame)
        assert scheme.columns_ == [Category("c", tuple(sorted(cells)), True)] and scheme.cardinalities_ == [31]
        assert scheme.encode(frame).codes[:, 0].tolist() == [1 + sorted(cells).index(cell) for cell in cells]


def test_who_knows_better_says_so():
    either = ["01/02/2024", "02/03/2024", None]
    frame = pd.DataFrame({"zip": [10115, 10117, 80331] * 3, "no": ["1", "2", "3"] * 3, "when": either * 3, "who": MANY[:9],
                          "x": [1.0, 2.0, 3.0] * 3})  # fmt: skip
    plain = TableScheme().fit(frame)
    assert [column.kind for column in plain.columns_] == ["number", "category", "category", "left out", "number"]
    said = TableScheme(categorical=["zip", "who"], numeric="no", ignore=[4], max_one_hot=4).fit(frame)
    assert [column.kind for column in said.columns_] == ["category", "number", "category", "category", "left out"]
    assert said.get_feature_names_out().tolist() == ["no", "zip_10115", "zip_10117", "zip_80331", "when_01/02/2024", "who"]
    with pytest.raises(ParameterError, match="categorical: expected names or places of columns, got 'zop'; did you mean 'zip'"):
        TableScheme(categorical=["zop"]).fit(frame)
    with pytest.raises(ParameterError, match="each column in one list, got 'zip' in numeric and in categorical"):
        TableScheme(categorical=["zip"], numeric=["zip"]).fit(frame)
    with pytest.raises(DataError, match="column 'who': expected numbers, got text 't0' in row 0"):
        TableScheme(numeric=["who"]).fit(frame)
    with pytest.raises(DataError, match="column 'when': expected dates, got text '01/02/2024' in row 0"):
        TableScheme(dates=["when"]).fit(frame)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (["2024-01-31", "NA"], "2024-01-31"), (["2024-01"], "2024-01-01"), (["2024/1/31 12:30"], "2024-01-31T12:30"),
        (["31.01.2024"], "2024-01-31"), (["31/01/2024", "01/02/2024"], "2024-01-31"), (["1/31/2024"], "2024-01-31"),
        (["2024-01-31T23:59:59.123456789Z"], "2024-01-31T23:59:59.123456"), (["2024-01-31 00:00:00+02:00"], "2024-01-31"),
        (["12:30"], "1970-01-01T12:30"), (["12:30 am", "1:00 PM"], "1970-01-01T00:30"), (["01/01/2024"], "2024-01-01"),
        (["01/02/2024"], None), (["2024-13-01"], None), (["31.02.2024"], None), (["2024"], None), (["25:00"], None),
        ([""], None), (["2024-01-31", "31.01.2024"], None), (["\u0662024-01-31"], None),
    ],
)  # fmt: skip
def test_dates_in_text(text, first):
    times = times_of(text)
    assert times is None if first is None else times[0] == np.datetime64(first)


# ------------------------------------------------------------------------------------------------------------ what a net sees


def test_places_in_the_year_the_week_and_the_day_are_those_of_the_calendar():
    days = np.arange(-1_000_000, 1_000_000, 7)  # of more than 5000 years
    dates = days.astype("M8[D]")
    begin, end = (year.astype("M8[D]") for year in (dates.astype("M8[Y]"), dates.astype("M8[Y]") + 1))
    np.testing.assert_array_equal(Date.places["year"](days + 0.0), (dates - begin) / (end - begin))
    for year in (1900, 1904, 2000, 2023):  # the first day and the last one, the first moment and the last one
        first, last = (np.datetime64(f"{year}-{day}").astype(int) for day in ("01-01", "12-31"))
        places = Date.places["year"](np.array([first, last, last + 1 - 1e-9]))
        assert places[0] == 0 and places[1] == 1 - 1 / (last + 1 - first) and 1 - 1e-11 < places[2] < 1
    monday = np.datetime64("2024-01-01").astype(float)
    assert Date.places["week"](monday + np.arange(-7, 7)).tolist() == [*np.arange(7) / 7] * 2
    assert Date.places["day"](np.array([-0.25, 0.0, 1.5])).tolist() == [0.75, 0.0, 0.5]
    assert all(np.isnan(place(np.array([np.nan]))).all() for place in Date.places.values())


def test_the_same_place_in_a_cycle_is_the_same_number_whenever_it_is():
    times = pd.to_datetime("1999-03-01") + pd.to_timedelta(np.arange(0, 24 * 4000, 6), unit="h")
    scheme = TableScheme(dtype="float64").fit(pd.DataFrame({"day": times}))
    seen = dict(zip(scheme.get_feature_names_out(), scheme.transform(pd.DataFrame({"day": times})).T, strict=True))
    assert [len(np.unique(seen[f"day_day_{wave}"])) for wave in ("sin", "cos")] == [3, 3]  # 0, 6, 12 and 18 o'clock
    week = np.column_stack([seen["day_week_sin"], seen["day_week_cos"]])
    assert len(np.unique(week, axis=0)) == 28


@pytest.mark.parametrize("what", ["numbers", "text", "dates"])
def test_columns_know_what_their_cells_were(what):
    cells = {"numbers": [1.0, 2.0, 2.0, 5.0], "text": ["1.5", "2.5", "2.5", "7.0"],
             "dates": [dt.date(2020, month, 1) for month in (1, 2, 2, 3)]}[what]  # fmt: skip
    for said in ({}, {"categorical": "c"}, {"ignore": "c"}):
        (column,) = TableScheme(**said, max_one_hot=2).fit(pd.DataFrame({"c": pd.Series(cells, dtype=object)})).columns_
        assert column.given == Column.of_record(column.record()).given == what


def test_scaling_is_that_of_its_docstring():
    rng = np.random.default_rng(0)
    column = rng.normal(3, 20, 1001)
    z = (column - np.median(column)) / (np.quantile(column, 0.75) - np.quantile(column, 0.25))
    expected = z / np.sqrt(1 + (z / 3) ** 2)
    # quantiles of halves are exact up to the rounding of one sum and one product each: some units in the last place
    assert np.allclose(RobustScale.of([column]).apply(column, 0), expected, rtol=1e-13, atol=1e-15)


def test_scaling_falls_back_to_the_range():
    column = np.array([0.0] * 9 + [4.0])  # quartiles alike: s = 2/(max - min)
    assert RobustScale.of([column]).factor == 0.5
    assert np.allclose(RobustScale.of([column]).apply(column, 0)[-1], 2 / np.sqrt(1 + 4 / 9), rtol=1e-15)
    assert RobustScale.of([np.full(5, 7.0)]).apply(np.array([7.0, 9.0, np.nan]), 0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e300, 1.7e308])
def test_numbers_of_any_size(size):
    column = size * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    out = RobustScale.of([column]).apply(np.append(column, [np.inf, -np.inf, np.nan]), 0)
    assert np.isfinite(out).all() and out[2] == 0 and (np.diff(out[:5]) > 0).all() and out[5:].tolist() == [3, -3, 0]


def test_infinity_is_the_end_of_the_scale_and_does_not_move_it():
    finite = [[1.0], [2.0], [3.0]]
    out = TableScheme(dtype="float64").fit_transform([*finite, [np.inf], [-np.inf]])
    assert out[3:, 0].tolist() == [3, -3] and np.array_equal(out[:3], TableScheme(dtype="float64").fit_transform(finite))
    assert TableScheme().fit_transform([[1.0], [1.0], [np.inf]])[:, 0].tolist() == [0, 0, 3]


def test_one_hot_and_codes():
    frame = pd.DataFrame({"two": ["a", "b", "a"], "three": ["x", "y", "z"], "many": MANY[:3]})
    scheme = TableScheme(categorical=["many"], max_one_hot=3).fit(frame)
    raw = [column.encode(Table.of(frame).column(place)) for place, column in enumerate(scheme.columns_)]
    assert raw[0].flags[0].tolist() == [1, -1, 1]
    assert np.array_equal(np.column_stack(raw[1].flags), np.eye(3))
    strange = pd.DataFrame({"two": ["?!", None, "b"], "three": [None, "w", "x"], "many": [None, "new", "t2"]})
    new = [column.encode(Table.of(strange).column(place)) for place, column in enumerate(scheme.columns_)]
    assert new[0].flags[0].tolist() == [0, 0, -1]
    assert np.array_equal(np.column_stack(new[1].flags), [[0, 0, 0], [0, 0, 0], [1, 0, 0]])
    embedded = TableScheme(categorical=["three", "many"], max_one_hot=2).fit(frame)
    assert embedded.encode(strange).codes.tolist() == [[0, 0], [0, 0], [1, 3]] and embedded.cardinalities_ == [4, 4]


def test_numbers_that_come_as_text_and_text_that_comes_as_numbers():
    frame = pd.DataFrame({"x": [1.0, 2.5, 4.0], "kind": ["1", "2", "3"]})
    scheme = TableScheme(dtype="float64", categorical=["kind"]).fit(frame)
    expected = scheme.transform(pd.DataFrame({"x": [2.5, None], "kind": ["1", "2"]}))
    for frame in (pd.DataFrame({"x": ["2.5", "?"], "kind": [1, 2]}), pd.DataFrame({"x": [2.5, None], "kind": [1.0, 2.0]}),
                  pl.DataFrame({"x": ["2.5", None], "kind": [True, None]}).with_columns(kind=pl.Series([1, 2]))):  # fmt: skip
        assert np.array_equal(scheme.transform(frame), expected)


def test_parts_of_dates():
    times = [dt.datetime(2024, 1, 1), dt.datetime(2024, 7, 1, 12), None, dt.datetime(2023, 12, 31, 18)]
    scheme = TableScheme().fit(pd.DataFrame({"t": times}))
    names = ["t_days", "t_year_sin", "t_year_cos", "t_week_sin", "t_week_cos", "t_day_sin", "t_day_cos", "t_missing"]
    assert scheme.get_feature_names_out().tolist() == names and scheme.n_values_ == 7
    (column,) = scheme.columns_
    cells = Table.of([[time] for time in times]).column(0)
    days, year_sin, year_cos, week_sin, week_cos, day_sin, day_cos = column.encode(cells).values
    assert days[0] == (dt.datetime(2024, 1, 1) - dt.datetime(1970, 1, 1)).days and np.isnan(days[2])
    assert (year_sin[0], year_cos[0], week_sin[0], week_cos[0], day_sin[0], day_cos[0]) == (0, 1, 0, 1, 0, 1)  # a Monday
    assert np.allclose(day_cos[1], -1) and np.allclose(day_sin[3], -1)
    for sine, cosine in ((year_sin, year_cos), (week_sin, week_cos), (day_sin, day_cos)):
        assert np.allclose((sine**2 + cosine**2)[[0, 1, 3]], 1) and np.isnan(sine[2])


def test_time_zones_show_the_clock_on_the_wall():
    times = pd.Series(pd.to_datetime(["2024-01-01 08:00", "2024-07-01 08:00", "2024-07-02 12:00"]))
    there = times.dt.tz_localize("Europe/Berlin")
    frames = [pd.DataFrame({"t": times}), pd.DataFrame({"t": there}), pl.DataFrame({"t": pl.from_pandas(there)}),
              pa.table({"t": pa.Array.from_pandas(there)}), pd.DataFrame({"t": there.astype(object)})]  # fmt: skip
    first, *others = [TableScheme().fit_transform(frame) for frame in frames]
    assert all(np.array_equal(first, other) for other in others)


# ------------------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (np.empty((0, 3)), r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required"),
        (pd.DataFrame({"a": []}), r"0 sample\(s\)"), (np.empty((3, 0)), r"0 feature\(s\)"),
        (pd.DataFrame(index=[1]), r"0 feature\(s\)"),
        ([1.0, 2.0], "Expected 2D array, got 1D array"), (pd.Series([1.0]), "Expected 2D array, got 1D column"),
        (5, "Expected 2D array, got 0D"), ([[1], [2, 3]], "rows of the same length"),
        (np.eye(2) * 1j, "Complex data not supported"),
        (pl.DataFrame({"a": [1]}).lazy(), r"lazy LazyFrame; read it first: collect\(\)"),
        (pd.DataFrame({"a": [1, 2], "b": [[1], [2, 3]]}), "column 'b': expected numbers, .* or dates, got cells of type list"),
        (pl.DataFrame({"a": [1, 2], "b": [[1], [2]]}), "column 'b': expected numbers, .* or dates, got cells of type List"),
        (pd.DataFrame({"a": [object(), 1]}), "column 'a': .* got cells of type object; leave it out"),
        (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), "masked array with 1 of 2 masked"),
    ],
)  # fmt: skip
def test_what_is_no_table(data, told):
    with pytest.raises(DataError, match=told):
        TableScheme().fit(data)


@pytest.mark.parametrize(
    ("column", "cells", "told"),
    [
        ("x", ["1", "old", None], "column 'x': expected numbers, got text 'old' in row 1"),
        ("x", [None, dt.date(2024, 1, 1), None], "column 'x': expected numbers, got dates 2024-01-01T00:00:00.000000 in row 1"),
        ("t", [None, None, 3.0], "column 't': expected dates, got numbers 3 in row 2"),
        ("t", ["2024-01-01", None, "soon"], "column 't': expected dates, got text 'soon' in row 2"),
    ],
)
def test_a_column_that_is_another_one_than_in_the_fit(column, cells, told):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "t": pd.to_datetime(["2024-01-01", "2024-02-01", "2024-03-05"])})
    scheme = TableScheme().fit(frame)
    with pytest.raises(DataError, match=told):
        scheme.encode(frame.assign(**{column: pd.Series(cells, dtype=object)}))
    empty = scheme.transform(frame.assign(**{column: [None] * 3}))
    assert (empty[:, [name.startswith(column) for name in scheme.get_feature_names_out()]] == 0).all()


@pytest.mark.parametrize("settings", [{"dtype": "float16"}, {"max_one_hot": -1}, {"max_one_hot": 2.5}, {"max_one_hot": True}])
def test_hyper_parameters_that_cannot_be(settings):
    with pytest.raises(ParameterError, match=next(iter(settings))):
        TableScheme(**settings).fit([[1.0]])


def test_what_was_not_fitted():
    with pytest.raises(NotFittedError):
        TableScheme().encode([[1.0]])


def test_left_out_columns_are_not_read_again():
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "same": ["a"] * 3})
    scheme = TableScheme().fit(frame)
    assert scheme.about() == "2 columns: 1 number; left out: same (always 'a')"
    assert np.array_equal(scheme.transform(frame.assign(same=[[1], {}, None])), scheme.transform(frame))


# -------------------------------------------------------------------------------------------------------- copies and files


def fitted():
    columns = random_columns(np.random.default_rng(3), 60)
    return TableScheme(max_one_hot=5, categorical=["whole"]).fit(pd.DataFrame(columns)), pd.DataFrame(columns)


def test_copies_are_the_same():
    scheme, frame = fitted()
    assert not hasattr(clone(scheme), "columns_")
    for copy in (pickle.loads(pickle.dumps(scheme)), clone(scheme).fit(frame)):
        for one, other in zip(scheme.encode(frame), copy.encode(frame), strict=True):
            assert np.array_equal(one, other)


def test_files_keep_it_without_pickle():
    scheme, frame = fitted()
    describer = Describer()
    described = describer.describe(scheme.record(), "a table's scheme")
    restorer = Restorer(describer.parts, describer.names, describer.arrays.__getitem__)
    back = TableScheme.of_record(restorer.restore(described))
    assert [column.given for column in back.columns_] == [column.given for column in scheme.columns_]
    assert back.columns_ == scheme.columns_ and back.get_params() == scheme.get_params()
    assert np.array_equal(back.transform(frame), scheme.transform(frame))
    assert back.feature_names_in_.tolist() == scheme.feature_names_in_.tolist()


def broken_records():
    record = fitted()[0].record()
    first = record["columns"][0]
    yield from ({**record, "center": record["center"][1:]}, {**record, "factor": "1"}, {**record, "columns": [first]}, None, {})
    yield from ({**record, "more": 1}, {**record, "parameters": {}}, {**record, "columns": {}})
    for column in ({**first, "kind": "layer"}, {**first, "varies": 1}, {**first, "more": 1}, {"kind": "number"}, 5,
                   {"kind": "category", "name": "c", "labels": [1], "embedded": True, "given": "text"},
                   {"kind": "date", "name": "c", "cycles": ["moon"], "misses": False, "given": "dates"},
                   {**first, "given": None}):  # fmt: skip
        yield {**record, "columns": [column, *record["columns"][1:]]}


@pytest.mark.parametrize("record", [*broken_records()])
def test_what_nobody_has_recorded_is_refused(record):
    with pytest.raises((PersistenceError, ParameterError)):
        TableScheme.of_record(record)


def test_every_kind_of_column_can_be_kept():
    assert {type(column) for column in fitted()[0].columns_} == {*Column.kinds.values()}


def test_importing_nnkit_imports_no_frames():
    code = "import sys, nnkit, nnkit.commands.train; print({'narwhals', 'pandas', 'polars', 'pyarrow'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_pandas_output():
    scheme, frame = fitted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = scheme.set_output(transform="pandas").fit_transform(frame)
    assert out.columns.tolist() == scheme.get_feature_names_out().tolist() and len(out) == len(frame)


def test_another_library_that_narwhals_knows_by_its_protocol():
    table = pa.record_batch({"a": [1.0, 2.0, None], "b": ["x", None, "y"]})
    frame = nw.from_native(pa.table(table)).to_pandas()
    assert np.array_equal(TableScheme().fit_transform(table), TableScheme().fit_transform(frame))
