"""Pages run as somebody types them: each in a fresh folder, and numbers count as far as they are written."""

import doctest
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

AS_WRITTEN = doctest.register_optionflag("NUMBER")  # pytest's: 0.97 stands for what is 0.01 off at most


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``...`` on a page stands for anything."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.dtest is not None and Path(item.path).suffix == ".md":
            for example in item.dtest.examples:
                example.options = {doctest.ELLIPSIS: True, AS_WRITTEN: True, **example.options}


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A page may write files, draw without a screen, and print fewer digits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    with np.printoptions():
        yield
