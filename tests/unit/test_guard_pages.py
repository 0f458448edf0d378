"""No kernel reads or writes a byte outside of its arrays: every array lies between pages that nobody may touch."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
SCRIPT = Path(__file__).with_name("guarded.py")


def run(folder, *arguments):
    """How the process ended, and the last kernel that it called."""
    journal = folder / "journal"
    done = subprocess.run([sys.executable, "-W", "error", SCRIPT, journal, *arguments], capture_output=True, text=True)
    return done, journal.read_text().strip()


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("what", [["layers"], ["fits", "48"], ["others"]], ids=["layers", "fits", "others"])
def test_every_kernel_stays_within_its_arrays(side, what, tmp_path):
    done, kernel = run(tmp_path, side, *what)
    case, _, last = done.stdout.strip().rpartition("\n")
    assert done.returncode == 0, f"{kernel} left its arrays: {last}\n{done.stderr[-3000:]}"
    assert last == "done" and len(case) > 1000


@pytest.mark.parametrize(("side", "shift"), [("after", 1), ("before", -1001), ("after", 600), ("before", -1600), ("after", 0)])
def test_a_kernel_that_leaves_its_arrays_is_named(side, shift, tmp_path):
    done, kernel = run(tmp_path, side, "planted", str(shift))
    if shift == 0:
        assert done.stdout == "done\n", done.stderr
    else:
        assert done.returncode < 0, done.stdout
    assert kernel.startswith("layer 1, Beyond(") and kernel.endswith(".Beyond.forward")
