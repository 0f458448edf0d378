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
