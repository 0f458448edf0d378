"""Pages run as somebody types them: each in a fresh folder, and numbers count as far as they are written."""

import doctest
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

AS_WRITTEN = doctest.register_optionflag("NUMBER")  # pytest's: 0.97 stands for what is 0.01 off at most
IMPORTED = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``...`` on a page stands for anything; a page is left out where a library that it shows is not installed."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.dtest is not None and Path(item.path).suffix == ".md":
            shown = {name for example in item.dtest.examples for name in IMPORTED.findall(example.source)}
            if missing := sorted(name for name in shown if importlib.util.find_spec(name) is None):
                item.add_marker(pytest.mark.skip(reason=f"without {', '.join(missing)}"))
            for example in item.dtest.examples:
                example.options = {doctest.ELLIPSIS: True, AS_WRITTEN: True, **example.options}


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A page may write files, draw without a screen, and print fewer digits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    with np.printoptions():
        yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
