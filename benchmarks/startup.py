"""Start-up: whole processes, from their start until they say that they are ready."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import nnkit

from .registry import Options, suite
from .report import Column, Section, number, ratio
from .timing import Figures, interleave
from .workloads import digits

__all__ = ["startup"]

IMPORTS = ("numpy", "numba", "nnkit", "sklearn.neural_network", "jax", "torch")
TRAIN = """
import numpy as np, nnkit as nn
X, y = np.load("X.npy"), np.load("y.npy")
model = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(64), nn.ReLU(), nn.Linear(10)])
model.fit(X, y, loss="cross_entropy", optimizer=nn.Adam(lr=1e-3), epochs=5, batch_size=64, random_state=0, progress=False)
"""
LOAD = "from sklearn.datasets import load_digits; load_digits(return_X_y=True)"
WARM, COLD = "nnkit: digits trained 5 epochs, warm cache", "nnkit: digits trained 5 epochs, cold cache"


@suite("startup", "seconds from a process's start to an import, and to a trained net with a warm and with a cold cache")
def startup(options: Options) -> list[Section]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, array in zip(("X.npy", "y.npy"), digits(), strict=True):
            np.save(place / name, array)
        rows = _measure(place, options)
    columns = [
        Column("process, from its start until", "what", left=True),
        Column("median s", "seconds", lambda value: f"{value:.2f}"),
        Column("best s", "best", lambda value: f"{value:.2f}"),
        Column("x import nnkit", "by_import", ratio),
        Column("runs", "runs", str),
    ]
    notes = [
        "Included: starting Python, the imports, and for training also reading the data from .npy files, building, loading or "
        "compiling the kernels, 5 epochs.",
        "Not included: loading the digits through scikit-learn (a row of its own), and the end of the process.",
        "Cold cache: an empty NNKIT_CACHE_DIR. Warm: one that an earlier process has filled. Python's own bytecode and the "
        "system's file cache are warm in both.",
        f"Python alone: {number(rows[0]['seconds'])} s.",
    ]
    return [Section("Start-up", columns, rows, notes)]


def _measure(place: Path, options: Options) -> list[dict[str, Any]]:
    warm = place / "warm"
    codes: dict[str, str] = {"Python runs": "", **{f"import {name}": f"import {name}" for name in IMPORTS if _installed(name)}}
    codes["scikit-learn: digits loaded"] = LOAD
    tasks: dict[Any, Callable[[], Figures]] = {what: partial(_run, code, place, warm) for what, code in codes.items()}
    tasks[WARM] = partial(_run, TRAIN, place, warm)
    rounds = interleave(tasks, options.choose(7, 2))
    cold = interleave({COLD: lambda: _run(TRAIN, place, Path(tempfile.mkdtemp(dir=place)))}, options.choose(3, 1), warm_up=0)
    rows: list[dict[str, Any]] = []
    for what in tasks:
        rows.append({"what": what, **_figures(rounds, what), "by_import": rounds.ratio(what, "import nnkit")})
    rows.append({"what": COLD, **_figures(cold, COLD)})
    rows += [{"what": f"import {name}", "seconds": "not installed"} for name in IMPORTS if not _installed(name)]
    return rows


def _figures(rounds: Any, what: str) -> dict[str, Any]:
    return {"seconds": rounds.median(what), "best": rounds.best(what), "runs": len(rounds.values(what))}


def _installed(name: str) -> bool:
    return find_spec(name.split(".")[0]) is not None


def _run(code: str, place: Path, cache: Path) -> Figures:
    """Start Python on a piece of code; take the time until it prints a line after it."""
    cache.mkdir(exist_ok=True)
    paths = [str(Path(nnkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]  # it may run from a checkout
    environment = {**os.environ, "NNKIT_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", f"{code}\nprint('ready', flush=True)"]
    begin = time.perf_counter()
    with subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
    if line != "ready\n" or process.returncode:
        raise RuntimeError(f"a process that ran this has failed, see above: {code.strip()}")
    return {"seconds": seconds}
