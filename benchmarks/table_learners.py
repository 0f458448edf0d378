"""nnkit and its peers as estimators of tables: each is given the frame as its users would hand it over.

A learner is made in a worker process and imports its library there; ImportError means that it is not installed.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from .table_data import TABLES
from .timing import Figures

__all__ = ["LEARNERS", "OWN", "TableLearner"]

HELD = 0.2  # of the rows, to measure the error on


class TableLearner(ABC):
    """One library's way from a frame to predictions, in so many threads."""

    epochs: ClassVar[str] = ""  # what the hyper-parameter is called, where there is one

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.more: dict[str, Any] = {}

    @abstractmethod
    def make(self, X: Any, classes: bool, seed: int) -> Any:
        """An estimator for such a frame."""

    def frame(self, X: Any) -> Any:
        """The frame as the library takes it."""
        return X

    def measure(self, table: int, seed: int, epochs: int | None = None) -> Figures:
        """Fit to four fifths of a table; the error on the rest, and the seconds of both.

        The error is the share of rows that are wrong, or the root of the mean squared error in units of the standard deviation.
        """
        from sklearn.model_selection import train_test_split

        warnings.simplefilter("ignore")
        known = TABLES[table]
        X, y = known.load()
        labels = np.unique(y, return_inverse=True)[1] if known.classes else np.asarray(y, float)
        stratify = labels if known.classes else None
        X, X_test, y, y_test = train_test_split(X, labels, test_size=HELD, random_state=seed, stratify=stratify)
        self.more = {self.epochs: epochs} if epochs and self.epochs else {}
        begin = time.perf_counter()
        model = self.make(X, known.classes, seed).fit(self.frame(X), y)
        fitted = time.perf_counter()
        said = model.predict(self.frame(X_test))
        done = time.perf_counter()
        wrong = np.mean(said != y_test) if known.classes else np.sqrt(np.mean((said - y_test) ** 2)) / np.std(y_test)
        return {"error": float(wrong), "seconds": fitted - begin, "predict": done - fitted}

    def predictions(self, rows: int) -> Figures:
        """Seconds to predict so many rows of ten numbers, labels of two classes."""
        rng = np.random.default_rng(0)
        import pandas

        X = pandas.DataFrame(rng.normal(size=(rows, 10)).astype(np.float32), columns=[f"x{place}" for place in range(10)])
        y = (X.sum(axis=1) > 0).to_numpy().astype(int)
        self.more = {self.epochs: 2} if self.epochs else {}
        model = self.make(X[:2000], True, 0).fit(self.frame(X[:2000]), y[:2000])
        model.predict(self.frame(X))
        begin = time.perf_counter()
        model.predict(self.frame(X))
        return {"seconds": time.perf_counter() - begin}


def _categories(X: Any) -> Any:
    """Text as categories, and dates as numbers, of a copy."""
    import pandas

    X = X.copy()
    for name in X.columns:
        if name == "date":
            X[name] = pandas.to_datetime(X[name])
        if X[name].dtype.kind in "OSU" or str(X[name].dtype) in ("string", "str"):
            X[name] = X[name].astype("category")
        elif X[name].dtype.kind == "M":
            X[name] = X[name].astype("int64")
    return X


class _Nnkit(TableLearner):
    epochs = "epochs"
    settings: ClassVar[dict[str, Any]] = {}

    def make(self, X: Any, classes: bool, seed: int) -> Any:
        import nnkit as nn

        kind = nn.TableClassifier if classes else nn.TableRegressor
        return kind(random_state=seed, n_threads=self.threads, **self.settings | self.more)


class NnkitTDS(_Nnkit):
    settings: ClassVar[dict[str, Any]] = {"recipe": "td-s"}


class NnkitTD(_Nnkit):
    """The default."""


class NnkitBagged(_Nnkit):
    settings: ClassVar[dict[str, Any]] = {"n_members": 5}


class NnkitTabM(_Nnkit):
    settings: ClassVar[dict[str, Any]] = {"recipe": "tabm"}


class Lightgbm(TableLearner):
    def make(self, X: Any, classes: bool, seed: int) -> Any:
        import lightgbm

        kind = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
        return kind(random_state=seed, n_jobs=self.threads, verbose=-1)

    def frame(self, X: Any) -> Any:
        return _categories(X)


class HistGradientBoosting(TableLearner):
    def make(self, X: Any, classes: bool, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        return (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(random_state=seed)

    def frame(self, X: Any) -> Any:
        return _categories(X)


class SklearnMLP(TableLearner):
    """Standardised and one-hot."""

    def make(self, X: Any, classes: bool, seed: int) -> Any:
        from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
        from sklearn.impute import SimpleImputer
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        numbers = make_pipeline(SimpleImputer(), StandardScaler())
        columns = make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
        )
        scaled = TransformedTargetRegressor(MLPRegressor(random_state=seed), transformer=StandardScaler())
        return make_pipeline(columns, MLPClassifier(random_state=seed) if classes else scaled)

    def frame(self, X: Any) -> Any:
        return _categories(X)


class _Pytabkit(TableLearner):
    epochs = "n_epochs"
    kind: ClassVar[str]

    def make(self, X: Any, classes: bool, seed: int) -> Any:
        import logging

        import pytabkit

        logging.disable(logging.CRITICAL)
        kind = getattr(pytabkit, f"{self.kind}_{'Classifier' if classes else 'Regressor'}")
        numbers = [name for name in X.columns if X[name].dtype.kind in "iufb"]
        self._means = X[numbers].mean()  # it refuses missing numbers
        return kind(random_state=seed, n_threads=self.threads, device="cpu", verbosity=0, **self.more)

    def frame(self, X: Any) -> Any:
        X = _categories(X)
        for name in self._means.index:
            if X[name].isna().any():
                X[f"{name}_missing"] = X[name].isna().astype("str").astype("category")
                X[name] = X[name].fillna(self._means[name])
        return X


class PytabkitTDS(_Pytabkit):
    kind = "RealMLP_TD_S"


class PytabkitTD(_Pytabkit):
    kind = "RealMLP_TD"


OWN = "nnkit td"
LEARNERS: dict[str, type[TableLearner]] = {
    "LightGBM": Lightgbm, "HistGradientBoosting": HistGradientBoosting, "scikit-learn MLP": SklearnMLP, "nnkit td-s": NnkitTDS,
    OWN: NnkitTD, "nnkit td, 5 nets": NnkitBagged, "nnkit tabm": NnkitTabM, "pytabkit td-s": PytabkitTDS,
    "pytabkit td": PytabkitTD,
}  # fmt: skip
