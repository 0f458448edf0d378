"""The pictures of the README: ``python -m benchmarks.pictures [FOLDER] --figures FIGURES.json``.

A picture is a function that draws one into a file; decorated with `picture`, it is drawn with the others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .chart import draw
from .workloads import DIGITS

__all__ = ["Given", "main", "make", "picture"]

FOLDER = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Given:
    """What pictures are drawn from: beside nnkit, the figures of a run of the benchmarks (None where there is none)."""

    figures: dict[str, Any] | None = None


_pictures: dict[str, Callable[[Path, Given], None]] = {}


def picture(draws: Callable[[Path, Given], None]) -> Callable[[Path, Given], None]:
    """Register what draws ``<its name>.png``."""
    _pictures[draws.__name__] = draws
    return draws


@picture
def trace(path: Path, given: Given) -> None:
    """Forward and backward through the net of the README."""
    import nnkit as nn

    net = nn.Sequential([nn.Linear(2), nn.Sigmoid(), nn.Linear(3), nn.Sigmoid()])
    net.build((2,), random_state=0, dtype="float64")
    axes = nn.trace(net, [0.05, 0.9], [0.0, 1.0, 0.0], loss="half_squared_error").plot()
    axes[0].figure.savefig(path)


@picture
def decision(path: Path, given: Given) -> None:
    """What a net has learned of two moons."""
    from sklearn.datasets import make_moons

    import nnkit as nn

    X, y = make_moons(300, noise=0.25, random_state=0)
    net = nn.Sequential([nn.Linear(32), nn.Tanh(), nn.Linear(2)])
    net.fit(X, y, loss="cross_entropy", optimizer=nn.Adam(lr=0.02), epochs=60, random_state=0)
    nn.plot_decision(net, X, y, names=["upper", "lower"]).figure.savefig(path)


@picture
def effects(path: Path, given: Given) -> None:
    """What a net has learned of rents that were made up, with missing cells."""
    import numpy as np

    import nnkit as nn

    random = np.random.default_rng(0)
    area, built = random.normal(70, 20, 600).clip(25), random.integers(1900, 2020, 600).astype(float)
    towns = np.array(["Bonn", "Jena", "Ulm", "Kiel"])[random.integers(0, 4, 600)]
    rent = area * (8 + 4 * (towns == "Bonn") + 2 * (towns == "Kiel")) + 0.05 * (built - 1950) ** 2 + random.normal(0, 60, 600)
    area, towns = (np.where(random.random(600) < 0.9, cells.astype(object), None) for cells in (area, towns))
    table = np.rec.fromarrays([area, towns, built], names="area, town, built")
    net = nn.TableRegressor(hidden=64, epochs=60, random_state=0).fit(table, rent)
    nn.plot_effects(net, table)[0].figure.savefig(path)


@picture
def profile(path: Path, given: Given) -> None:
    """Where the time of a training step goes: the digits net of the README."""
    import nnkit as nn

    X, y = DIGITS.data()
    layers: list[Any] = [layer for size in DIGITS.sizes[1:] for layer in (nn.Linear(size), DIGITS.activation)][:-1]
    measured = nn.Sequential(layers).profile(X, y, loss=DIGITS.loss, batch_size=DIGITS.batch, n_threads=1, random_state=0)
    measured.plot().figure.savefig(path)


@picture
def benchmarks(path: Path, given: Given) -> None:
    """How many times longer peers take."""
    if given.figures is not None:
        draw(given.figures, path)


def make(folder: Path = FOLDER, figures: Path | None = None) -> list[Path]:
    """Draw all pictures into a folder; without figures, all but the chart."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    given = Given(None if figures is None else json.loads(figures.read_text()))
    paths = [folder / f"{name}.png" for name in _pictures]
    for path, draws in zip(paths, _pictures.values(), strict=True):
        draws(path, given)
        plt.close("all")
    return [path for path in paths if path.exists()]


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--figures", type=Path, metavar="PATH", help="what python -m benchmarks --json has written")
    given = parser.parse_args()
    for path in make(given.folder, given.figures):
        print(path)


if __name__ == "__main__":
    main()
