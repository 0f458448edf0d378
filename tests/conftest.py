"""What several test modules need."""

import os
import subprocess
import sys
import textwrap

import pytest

import nnkit as nn


def pytest_make_parametrize_id(val):
    """Name a case after the part, the function or the class that it is about."""
    if isinstance(val, nn.Example):
        return f"{val.part!r}{val.in_shape}"
    if isinstance(val, nn.Layer | nn.Loss | nn.Optimizer | nn.Schedule):
        return repr(val)
    return getattr(val, "__name__", None)


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
