"""The gallery: every script runs without a warning, draws a legible picture, and what the picture says is true."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import nnkit as nn
from tests.pictures import assert_legible

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

FOLDER = Path(nn.__file__).parent / "guide" / "gallery"
SCRIPTS = {path.stem.removeprefix("plot_"): path for path in sorted(FOLDER.glob("plot_*.py"))}


def own(kind):
    """The classes of a registry that are nnkit's own, not those of plugins."""
    return {part for part in kind.values() if part.__module__.startswith("nnkit.")}


def slopes_agree(made):
    """With finite differences; their median leaves out kinks and jumps."""
    x = made["x"]
    apart = {name: np.median(abs(np.gradient(value, x) - slope)) for name, (value, slope) in made["curves"].items()}
    return {part.__name__ for part in own(nn.registry.activations)} <= apart.keys() and max(apart.values()) < 1e-4


def months_are_a_circle(made):
    """Seen from the middle, each month stands beside the one before, and the year is one turn."""
    across, along = (made["after"] - made["after"].mean(axis=0)).T
    steps = np.diff(np.unwrap(np.arctan2(along, across)))
    return abs(np.sign(steps).sum()) == 11 and np.pi < abs(steps.sum()) < 2 * np.pi


def nets_differ_in_the_gap(made):
    """There are no data between -1 and 1.5."""
    x, spread = made["grid"][:, 0], made["spread"]
    return spread[abs(x) < 0.5].min() > 2 * spread[abs(x - 3) < 0.5].max()


def one_start_keeps_the_signal(made):
    """Of those for ReLU."""
    last = {name: sizes[-1] for name, sizes in made["signals"]["relu"].items()}
    kept = last.pop("Kaiming normal")
    return 1 / 3 < kept < 3 and all(size < 1e-3 or size > 1e3 for size in last.values())


def delta_falls_behind_sigmoids(made):
    """Over eight hidden layers."""
    falls = {name: delta[-2] / delta[0] for name, delta in made["deltas"].items()}
    return falls["sigmoid"] > 1e3 and falls["tanh"] < 10 and falls["relu"] < 10 and "vanishes" in made["warned"]["sigmoid"][0]


def chosen_rate_is_best(made):
    """Of the three that are tried."""
    last = {rate: curve[-1] for rate, curve in made["curves"].items()}
    return min(last, key=last.get) == made["chosen"] and last[made["chosen"]] < 0.3


def means_are_nearer(made):
    """In the second half of the way."""
    walk, ema, swa = (above[-150:].mean() for above in made["above"].values())
    return 3 * ema < walk and 20 * swa < walk


# What the text beside each picture says, in the names that the script has left.
TRUE = {
    "activations": slopes_agree,
    "backpropagation": lambda made: made["check"].ok,
    "calibration": lambda made: made["errors"]["calibrated"] < 0.03 < 0.08 < made["errors"]["as trained"],
    "character_gpt": lambda made: made["history"]["loss"][-1] < 1.6 and made["sentence"] not in made["text"],
    "conformal": lambda made: abs(made["came"] - made["asked"]).max() < 0.05,
    "decision_boundary": lambda made: made["right"][0] < 0.65 and made["right"][200] > 0.93,
    "denoising": lambda made: made["after"] < made["before"] / 2,
    "embeddings": months_are_a_circle,
    "ensemble": nets_differ_in_the_gap,
    "first_layer": lambda made: 0.94 < made["right"]["one layer"] < made["right"]["two layers"],
    "initializers": one_start_keeps_the_signal,
    "learning_rate": chosen_rate_is_best,
    "levenberg_marquardt": lambda made: made["losses"]["Levenberg-Marquardt"][-1] < made["losses"]["Adam"][-1] / 10,
    "optimizers": lambda made: own(nn.registry.optimizers) <= {type(part) for part in made["optimizers"].values()},
    "pendulum": lambda made: made["error"] < 0.05 and made["apart"] < 0.1,
    "periodic_features": lambda made: made["decibels"]["waves of x and y"] > made["decibels"]["x and y as they are"] + 5,
    "saliency": lambda made: made["accuracy"] > 0.95 and made["gap"] < 0.5,
    "saturation": lambda made: made["losses"][30.0][-1] > 5 * made["losses"][0.1][-1],
    "schedules": lambda made: own(nn.registry.schedules) <= {type(part) for part in made["schedules"]},
    "vanishing_delta": delta_falls_behind_sigmoids,
    "weight_averaging": means_are_nearer,
}


def test_every_script_is_looked_at():
    assert SCRIPTS.keys() == TRUE.keys()


@pytest.mark.parametrize("name", TRUE)
def test_a_script_runs_draws_and_is_right(name):
    plt.close("all")  # what other tests have left open
    with matplotlib.rc_context():
        made = runpy.run_path(str(SCRIPTS[name]))
        for number in plt.get_fignums():
            assert_legible(plt.figure(number).axes)
        drawn = len(plt.get_fignums())
        plt.close("all")
    assert drawn == 1
    assert TRUE[name](made)
