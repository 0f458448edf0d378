"""What several test modules need."""

import itertools
import json
import os
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest

import nnkit as nn
from tests.recalled import compared


def pytest_make_parametrize_id(val):
    """Name a case after the part, the function or the class that it is about."""
    if isinstance(val, nn.Example):
        return f"{val.part!r}{val.in_shape}"
    if isinstance(val, nn.Layer | nn.Loss | nn.Optimizer | nn.Schedule | nn.Trainer):
        return repr(val)
    return getattr(val, "__name__", None)


_begun = {}  # generators of test modules, by their ids, as they were before any test had drawn


@pytest.fixture(autouse=True)
def same_numbers(request, monkeypatch):
    """What a test draws is the same in every run, whatever tests are run before it: what has failed fails again.

    A generator of its module begins anew; what is drawn without a seed differs from call to call, but not from run to run.
    """
    for random in vars(request.module).values():
        if isinstance(random, np.random.Generator):
            random.bit_generator.state = _begun.setdefault(id(random), random.bit_generator.state)
    seeded, place, calls = np.random.default_rng, zlib.crc32(request.node.nodeid.encode()), itertools.count()
    monkeypatch.setattr(np.random, "default_rng", lambda seed=None: seeded([place, next(calls)] if seed is None else seed))


@pytest.fixture(autouse=True, scope="session")
def recalled_as_written():
    """Programs that come from templates are what would have been written, in every test."""
    with compared():
        yield


@pytest.fixture
def script(tmp_path):
    """Run a script in a new process, warnings being errors, and return what it prints."""

    def run(text, expect=0, **environment):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text))
        environment = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path)], env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == expect, done.stderr
        return done.stdout

    return run


# The kernel is the Python that runs the tests, whatever kernels are installed; in a process of its own, as the libraries that
# run it leave sockets behind.
NOTEBOOK = """
import json, sys
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

heard = []

class Client(NotebookClient):
    def process_message(self, message, *rest):
        heard.append(message["msg_type"])
        return super().process_message(message, *rest)

manager = AsyncKernelManager()
argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
manager._kernel_spec = KernelSpec(argv=argv, display_name="tests", language="python")
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in json.load(sys.stdin)])
Client(notebook, km=manager, timeout=120).execute()
print(json.dumps([heard, [cell.outputs for cell in notebook.cells]]))
"""


@pytest.fixture
def notebook(tmp_path):
    """Run a notebook of these cells in a new process; return what it says and shows."""

    def run(cells):
        done = subprocess.run([sys.executable, "-c", NOTEBOOK], input=json.dumps(cells), capture_output=True, text=True,
                              timeout=240, cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


class Figures:
    """What the tests of pictures look at."""

    @staticmethod
    def inside(figure):
        """Everything that is drawn lies within the figure, and every text can be read."""
        from matplotlib.text import Text

        figure.canvas.draw()
        drawn, (width, height) = figure.get_tightbbox(figure.canvas.get_renderer()), figure.get_size_inches()
        assert drawn.x0 >= -0.02
        assert drawn.y0 >= -0.02
        assert drawn.x1 <= width + 0.02
        assert drawn.y1 <= height + 0.02
        small = [text.get_text() for text in figure.findobj(Text) if text.get_text().strip() and text.get_fontsize() < 8]
        assert not small


@pytest.fixture
def figures(monkeypatch):
    """Draw without a screen; close what was drawn."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield Figures
    plt.close("all")
