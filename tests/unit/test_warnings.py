"""Warnings point at the line that the user has written, whoever calls whom in between."""

import inspect
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas
import pytest
from sklearn.pipeline import make_pipeline

import nnkit as nn
from nnkit.errors import warn

X, LABELS = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2
NAMED = pandas.DataFrame(X, columns=list("abc"))


@pytest.fixture(scope="module")
def table():
    return nn.TableRegressor(epochs=1, random_state=0).fit(X, X[:, 0])


def here(caught):
    """The lines of this file that the warnings are of; all of them are of it."""
    assert {item.filename for item in caught} == {__file__}, [(item.filename, str(item.message)) for item in caught]
    return {item.lineno for item in caught}


def line():
    return inspect.currentframe().f_back.f_lineno


def test_it_is_the_line_of_the_call(table, monkeypatch):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table.predict(NAMED); expected = {line()}  # noqa: E702
        make_pipeline(table).predict(NAMED); expected.add(line())  # noqa: E702
        nn.fit_many([nn.Sequential([nn.Linear(2), nn.Softmax()])] * 1, X, LABELS, loss="cross_entropy", epochs=1)
        expected.add(line() - 1)
        monkeypatch.setenv("NNKIT_NUM_THREADS", "many")
        nn.Sequential([nn.Linear(2)]).fit(X, LABELS, loss="cross_entropy", epochs=1)
        expected.add(line() - 1)
    assert here(caught) == expected


def test_it_is_the_line_of_a_callback_or_a_function_in_a_thread(table):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expected = {line() + 1}
        callback = nn.LambdaCallback(lambda fit: table.predict(NAMED))
        nn.Sequential([nn.Linear(1)]).fit(X, X[:, :1], epochs=1, callbacks=[callback])
        with ThreadPoolExecutor(1) as pool:
            expected.add(line() + 1)
            pool.submit(lambda: table.predict(NAMED)).result()
    assert here(caught) == expected


def test_where_only_libraries_call_it_is_the_first_one_outside():
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        pool.submit(partial(warn, "nobody has called", nn.NnkitWarning)).result()
    assert [item.filename.endswith("thread.py") for item in caught] == [True]


def test_code_without_a_file_is_the_users(table):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile("\n\ntable.predict(NAMED)", "<cell 7>", "exec"), {"table": table, "NAMED": NAMED})
    assert [(item.filename, item.lineno) for item in caught] == [("<cell 7>", 3)]


def test_a_library_that_is_installed_is_not_the_user(tmp_path, monkeypatch, table):
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "middleman.py").write_text("def call(function, data):\n    return function(data)\n")
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    import middleman

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            middleman.call(table.predict, NAMED); expected = line()  # noqa: E702
        assert here(caught) == {expected}
    finally:
        del sys.modules["middleman"]


def test_the_same_line_warns_once_by_default(table):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            table.predict(NAMED)
    assert len(caught) == 1
