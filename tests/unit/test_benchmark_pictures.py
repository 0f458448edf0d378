"""The chart of the benchmarks' figures."""

import json
from pathlib import Path

import matplotlib
import pytest

import nnkit as nn

matplotlib.use("Agg")

ROOT = Path(nn.__file__).parent.parent
FIGURES = {
    "machine": {"processor": "a processor"},
    "suites": {
        "training": [
            {"title": "Training, us", "rows": [{"workload": "small", "threads": threads, "torch_ratio": 6.3 * threads,
                                                "jax_ratio": 0.9, "jax_us": "failed"} for threads in (1, 2)]},
            {"title": "Training, loss", "rows": [{"workload": "small", "threads": 1, "torch_loss": 0.1}]},
        ],
        "layers": [{"title": "Layers, us", "rows": [{"workload": "CNN", "threads": 1, "torch_ratio": 2.0}]}],
    },
}  # fmt: skip


@pytest.fixture
def chart(monkeypatch):
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not installed with nnkit")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import chart

    return chart


def test_groups_are_what_compares_with_peers(chart):
    times, losses = FIGURES["suites"]["training"]
    assert [(group.name, sorted(group.ratios)) for group in chart.groups_of(times)] == [
        ("small, 1 thread", ["jax", "torch"]), ("small, 2 threads", ["jax", "torch"])]  # fmt: skip
    assert chart.groups_of(losses) == []


def test_the_chart_is_drawn(chart, tmp_path, monkeypatch):
    figures, picture = tmp_path / "figures.json", tmp_path / "chart.png"
    figures.write_text(json.dumps(FIGURES))
    monkeypatch.setattr("sys.argv", ["chart", str(figures), str(picture)])
    chart.main()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_figures_without_peers_are_refused(chart, tmp_path):
    with pytest.raises(ValueError, match="compare with peers"):
        chart.draw({"suites": {"startup": []}}, tmp_path / "chart.png")


def test_all_pictures_of_the_readme_are_drawn(chart, tmp_path):
    from benchmarks.pictures import make

    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps(FIGURES))
    paths = make(tmp_path / "pictures", figures)
    assert {"profile.png", "benchmarks.png"} <= {path.name for path in paths}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
