"""What several test modules need."""

import os
import subprocess
import sys
import textwrap

import pytest


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
