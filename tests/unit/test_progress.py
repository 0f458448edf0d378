"""The progress line: what it says, how much time it takes, and how it leaves a terminal."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

import nnkit as nn
from nnkit.engine.stub import statistics
from nnkit.training.progress import Progress
from tests.terminal import on_terminal


class Terminal:
    """A display that takes its time, on a clock that goes as it is told."""

    now = seconds = 0.0

    def __init__(self, transient=False):
        self.lines, self.spent = [], 0.0

    def show(self, line, part):
        self.lines.append((line, part))
        self.spent += self.seconds
        Terminal.now += self.seconds

    def close(self):
        self.lines.append("closed")


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(Terminal, "now", 0.0)
    monkeypatch.setattr("nnkit.training.progress.time.perf_counter", lambda: Terminal.now)
    monkeypatch.setattr("nnkit.training.progress._Terminal", Terminal)
    return Terminal


@pytest.mark.parametrize("seconds", [0.0001, 0.002, 0.5])
def test_drawing_takes_half_a_percent_of_the_time_at_most(seconds, terminal, monkeypatch):
    monkeypatch.setattr(terminal, "seconds", seconds)
    history, progress = nn.History(), Progress(True, 1, 10**9)
    for step in range(100_000):
        terminal.now += 0.01
        progress.update(step, history)
    display = progress._display
    assert display.spent <= 0.005 * terminal.now + seconds
    assert terminal.now / (0.1 + 200 * seconds + 0.03) - 1 < len(display.lines) < terminal.now / 0.1


def test_the_line_says_how_far_and_how_fast(terminal):
    history = nn.History()
    with Progress(True, 4, 25).begin(50) as progress:  # half of it was done before
        terminal.now = 10.0
        history.add(loss=0.25, lr=0.1, val_loss=0.5)
        progress.update(60, history)
        terminal.now = 10.05
        progress.update(61, history)  # too early
        terminal.now = 50.0
        progress.update(100, history, last=True)
    assert progress._display.lines == [
        ("epoch 3/4  0:00:40 left  loss 0.25  val_loss 0.5  1 steps/s", 0.6),
        ("epoch 4/4  50.0 s  loss 0.25  val_loss 0.5  1 steps/s", 1.0),
        "closed",
    ]


def test_nothing_is_left_of_what_is_stopped(terminal):
    progress = Progress(True, 4, 25)
    with pytest.raises(KeyboardInterrupt), progress.begin(0):
        terminal.now = 10.0
        progress.update(30, nn.History())
        terminal.now = 12.0
        raise KeyboardInterrupt
    assert progress._display.lines == [
        ("epoch 2/4  0:00:23 left  3 steps/s", 0.3), ("epoch 1/4  12.0 s  2 steps/s", 0.3), "closed",
    ]  # fmt: skip


def compile_(name):
    """What a kernel does that is compiled, and of which nobody knew before."""
    statistics.awaited.add(name)
    statistics.watcher(name)
    Terminal.now += 0.07
    statistics.awaited.discard(name)
    statistics.compiled += 1


@pytest.fixture
def counters(monkeypatch):
    monkeypatch.setattr(statistics, "compiled", statistics.compiled)


def test_it_says_what_is_compiled_until_training_begins(terminal, counters):
    progress = Progress(True, 4, 25)
    with progress.preparing():
        statistics.awaited.update(names := ["Linear.forward", "Linear.backward", "ReLU.forward", "ReLU.backward"])
        for name in names[:3]:
            compile_(name)
    assert statistics.watcher is None and not statistics.awaited
    with progress.begin(0):
        assert statistics.watcher is not None
        terminal.now += 5.0
        progress.update(50, nn.History())
    assert statistics.watcher is None
    assert progress._display.lines[:3] == [
        ("compiling kernel 1 of 4  Linear.forward  once a machine", 0.0),
        ("compiling kernel 3 of 4  ReLU.forward  once a machine", 0.5),  # the second one was there within REFRESH
        ("epoch 3/4  0:00:05 left  10 steps/s", 0.5),
    ]


def test_it_ends_where_preparing_fails(terminal, counters):
    progress = Progress(True, 4, 25)
    with pytest.raises(KeyboardInterrupt), progress.preparing():
        compile_("Linear.forward")
        raise KeyboardInterrupt
    assert progress._display.lines == [("compiling kernel 1 of 1  Linear.forward  once a machine", 0.0), "closed"]
    assert statistics.watcher is None


def test_of_a_silent_fit_only_compiling_is_shown_and_nothing_is_left(terminal, counters, monkeypatch):
    shown = []
    monkeypatch.setattr("nnkit.training.progress._Terminal", lambda transient: shown.append(terminal(transient)) or shown[-1])
    monkeypatch.setattr(sys, "stderr", Broken(isatty=lambda: True))
    progress = Progress("compiling", 4, 25)
    with progress.preparing():
        compile_("Linear.forward")
    with progress.begin(0):
        terminal.now += 5.0
        progress.update(50, nn.History())
        progress.update(100, nn.History(), last=True)
    assert [item.lines for item in shown] == [[("compiling kernel 1 of 1  Linear.forward  once a machine", 0.0), "closed"]]
    with ThreadPoolExecutor(1) as pool:  # of which there may be several
        assert not pool.submit(Progress, "compiling", 4, 25).result().shown
    monkeypatch.setattr(sys, "stderr", Broken(isatty=lambda: False))
    assert not Progress("compiling", 4, 25).shown
    with pytest.raises(nn.ParameterError, match="expected 'auto', 'compiling', True or False, got 'loud'"):
        Progress("loud", 4, 25)


def test_it_is_silent_where_nobody_watches(terminal):
    progress = Progress("auto", 4, 25)
    progress.update(100, nn.History(), last=True)
    assert progress._display is None


class Broken:
    """A stream of a service: every use of it fails in its own way."""

    def __init__(self, **methods):
        vars(self).update(methods)

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def failing(*arguments):
    raise ValueError("I/O operation on closed file")


STREAMS = {
    "none": None, "without isatty": Broken(), "closed": Broken(isatty=failing, write=failing),
    "a broken pipe": Broken(isatty=lambda: True, flush=lambda: None, encoding="utf-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("progress", ["auto", True])
def test_no_stream_fails_a_fit(name, progress, monkeypatch):
    monkeypatch.setattr(sys, "stderr", STREAMS[name])
    monkeypatch.setattr(sys, "stdout", STREAMS[name])
    model = nn.Sequential([nn.Linear(1)])
    history = model.fit([[1.0], [2.0]], [[1.0], [2.0]], epochs=3, progress=progress, validation_split=0.5)
    assert (history.stopped, history.epochs) == ("finished", 3)
    assert "Linear" in str(model.summary())


def test_a_display_that_fails_is_given_up(terminal, monkeypatch):
    monkeypatch.setattr(terminal, "show", failing)
    monkeypatch.setattr(terminal, "close", failing)
    with Progress(True, 4, 25) as progress:
        progress.update(100, nn.History(), last=True)
    assert not progress.shown


def test_half_of_ipython_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", type(sys)("IPython"))  # one that is being imported
    assert not Progress("auto", 1, 1)._notebook


WITHOUT = """
import os, sys, warnings
import numpy as np, nnkit as nn

assert sys.stdout is None and sys.stderr is None
X = np.ones((8, 2))
model = nn.Sequential([nn.Linear(1)])
history = model.fit(X, X[:, :1], epochs=2, progress=True)
str(model.summary(), )
nn.NNRegressor(epochs=2, verbose=True).fit(X, X[:, 0])
warnings.warn("nobody sees it")
os._exit(0 if history.stopped == "finished" else 3)
"""


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
def test_a_process_without_streams(tmp_path):
    (tmp_path / "script.py").write_text(WITHOUT)
    done = subprocess.run(["sh", "-c", f'exec "{sys.executable}" "{tmp_path / "script.py"}" >&- 2>&-'], timeout=240)
    assert done.returncode == 0


CHILD = """
import os, signal, time
import numpy as np, nnkit as nn

times = []

def stop(fit):
    times.append(time.perf_counter())
    if times[-1] - times[0] > 0.5:
        os.kill(os.getpid(), signal.SIGINT)

X = np.ones((512, 8))
history = nn.Sequential([nn.Linear(1)]).fit(X, X[:, :1], epochs=10**6, batch_size=4, callbacks=[nn.LambdaCallback(stop)])
print(history.stopped)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_ctrl_c_the_terminal_is_as_it_was():
    text = on_terminal(textwrap.dedent(CHILD), TERM="xterm", COLUMNS="80")
    assert text.rstrip().endswith("interrupted")
    assert "left" in text
    assert "left" not in text.split("\x1b[?25h")[0].rpartition("epoch")[2]  # it does not end with a promise
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden and shown again
    assert text.split("\x1b[?25h")[0].endswith("\n")  # the line is left where it was
