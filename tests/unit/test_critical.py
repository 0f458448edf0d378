"""Signals and forks at any moment: what they come upon is left whole."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import nnkit as nn
from nnkit.engine import critical
from nnkit.engine.critical import Lock, check, heed, interruptible, uninterrupted
from nnkit.engine.runner import Runner
from nnkit.network import network_of

unix = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


@pytest.fixture(autouse=True)
def as_before():
    """Whatever a test does, nothing stays behind."""
    handler, threads = signal.getsignal(signal.SIGINT), threading.active_count()
    yield
    assert signal.getsignal(signal.SIGINT) is handler
    assert threading.active_count() == threads
    assert (critical._depth, critical._standins, critical._noted) == (0, [], {})


def interrupt():
    signal.raise_signal(signal.SIGINT)


# ------------------------------------------------------------------------------------------------------- sections


def test_within_a_section_signals_wait_until_its_end():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted:
        interrupt()
        with uninterrupted:
            interrupt()
        done.append("all")
    assert done == ["all"]


def test_a_section_lets_signals_in_where_it_says():
    with uninterrupted:
        with pytest.raises(KeyboardInterrupt):
            check()
            interrupt()
            check()
        with pytest.raises(KeyboardInterrupt), interruptible():
            interrupt()
        interrupt()
        with pytest.raises(KeyboardInterrupt), interruptible():  # as it opens
            pytest.fail("it is not reached")
        with pytest.raises(KeyboardInterrupt), interruptible(), uninterrupted:
            interrupt()
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            check()


def test_handlers_of_every_kind_wait_and_come_back(monkeypatch):
    seen = []
    for number in critical.SIGNALS:
        before = signal.signal(number, lambda number, frame: seen.append(number))
        with uninterrupted:
            signal.raise_signal(number)
            assert seen == []
        assert seen == [number]
        seen.clear()
        signal.signal(number, before)


def test_several_handlers_that_raise_leave_nothing_behind():
    """The second comes as the first is on its way out: with a section half entered, or half left."""
    seen = []

    def raising(number, frame):
        seen.append(number)
        raise OSError(number)

    before = [signal.signal(number, raising) for number in critical.SIGNALS]
    try:
        with pytest.raises(OSError), uninterrupted:
            for number in critical.SIGNALS:
                signal.raise_signal(number)
        assert sorted(seen) == sorted(critical.SIGNALS)
        assert all(signal.getsignal(number) is raising for number in critical.SIGNALS)
    finally:
        for number, handler in zip(critical.SIGNALS, before, strict=True):
            signal.signal(number, handler)


def test_an_end_that_is_disturbed_withdraws_all(monkeypatch):
    """What is raised while handlers get their places back does not keep the others from theirs."""
    brought, real = [], signal.signal

    def disturbed(number, handler):
        real(number, handler)
        if number == signal.SIGTERM and handler is ours:
            raise OSError("of SIGTERM")

    def ours(number, frame):
        brought.append(number)

    before = real(signal.SIGTERM, ours)
    mine = signal.getsignal(signal.SIGINT)
    with pytest.raises(OSError, match="of SIGTERM"), uninterrupted:
        monkeypatch.setattr(signal, "signal", disturbed)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is ours
    assert signal.getsignal(signal.SIGINT) is mine
    real(signal.SIGTERM, before)


def test_a_handler_that_is_set_within_a_window_is_respected():
    mine = signal.getsignal(signal.SIGINT)

    def other(number, frame):
        raise OSError("other")

    with uninterrupted:
        with interruptible():
            before = signal.signal(signal.SIGINT, other)
            with pytest.raises(OSError, match="other"), uninterrupted:
                interrupt()
        with interruptible():
            signal.signal(signal.SIGINT, before)
            with pytest.raises(KeyboardInterrupt):
                interrupt()
        signal.signal(signal.SIGINT, other)
    assert signal.getsignal(signal.SIGINT) is other
    signal.signal(signal.SIGINT, mine)


def test_other_threads_have_no_sections():
    with uninterrupted:
        interrupt()
        thread = threading.Thread(target=lambda: [uninterrupted.__enter__(), check(), uninterrupted.__exit__(None, None, None)])
        thread.start()
        thread.join()
        assert signal.SIGINT in critical._noted
        with pytest.raises(KeyboardInterrupt):
            check()


@contextmanager
def held_elsewhere():
    """A lock that another thread holds, and what lets that thread go."""
    lock, held, done = Lock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield lock, done
    finally:
        done.set()
        thread.join()
        critical._locks.remove(lock)


def test_a_thread_is_called_off_where_it_looks():
    called_off, ended = threading.Event(), []

    def work():
        heed(called_off)
        check()
        called_off.set()
        try:
            with uninterrupted, interruptible():
                ended.append("goes on")
                check()
        except KeyboardInterrupt:
            ended.append("called off")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    check()  # nobody has called off this one
    assert ended == ["goes on", "called off"]


def test_who_waits_for_a_lock_can_be_interrupted():
    with held_elsewhere() as (lock, done):
        timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt), lock:
            pytest.fail("it is held")
        timer.join()
        done.set()
        with lock:
            pass


def test_an_import_is_not_broken_off(tmp_path, monkeypatch):
    (tmp_path / "half_way.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        critical.imported("half_way")
    assert critical.imported("half_way").whole


# ----------------------------------------------------------------------------------------------------------- fits


class Interrupting(nn.Callback):
    """Somebody presses Ctrl-C while this callback works."""

    def __init__(self, event="on_epoch_end"):
        self.event = event
        self.ended = False

    def noted(self):
        return {}

    def _reached(self, event):
        if event == self.event:
            interrupt()

    def on_fit_begin(self, fit):
        self._reached("on_fit_begin")

    def on_epoch_end(self, fit):
        self._reached("on_epoch_end")

    def on_fit_end(self, fit):
        self._reached("on_fit_end")
        self.ended = True


class Quiet(Interrupting):
    interruptible = False

    def on_epoch_end(self, fit):
        interrupt()
        self.last = fit.epoch  # it goes on


def data():
    import numpy as np

    X = np.random.default_rng(0).normal(size=(64, 3))
    return X, X.sum(axis=1, keepdims=True)


def test_ctrl_c_within_a_callback_raises_there_and_ends_training():
    callback = Interrupting()
    history = nn.Sequential([nn.Linear(1)]).fit(*data(), epochs=5, callbacks=[callback], random_state=0)
    assert (history.stopped, history.epochs, len(history["loss"])) == ("interrupted", 1, 1)
    assert callback.ended


def test_a_callback_may_be_left_alone():
    callback = Quiet()
    history = nn.Sequential([nn.Linear(1)]).fit(*data(), epochs=5, callbacks=[callback], random_state=0)
    assert (history.stopped, history.epochs, callback.last) == ("interrupted", 1, 0)


class Slowly(nn.PythonLayer):
    """Somebody presses Ctrl-C in its third forward pass; the first is made as it is built."""

    passes = 0

    def forward(self, x):
        type(self).passes += 1
        if self.passes == 3:
            interrupt()
            pytest.fail("it went on")
        return x

    def backward(self, grad_out):
        return grad_out


@pytest.mark.parametrize("engine", ["compiled", "python"])
def test_ctrl_c_comes_into_layers_in_python(engine):
    Slowly.passes = 0
    history = nn.Sequential([nn.Linear(1), Slowly()]).fit(*data(), epochs=50, batch_size=32, engine=engine, random_state=0)
    assert (history.stopped, history.epochs, history.steps, Slowly.passes) == ("interrupted", 0, 1, 3)


def test_the_first_look_at_signals_is_after_one_step(monkeypatch):
    slices, run = [], Runner.run
    monkeypatch.setattr(Runner, "run", lambda runner, first, last, team=None: [slices.append(last - first),
                                                                              run(runner, first, last, team)][1])  # fmt: skip
    nn.Sequential([nn.Linear(1)]).fit(*data(), epochs=50, batch_size=4, random_state=0)
    assert slices[:3] == [1, 8, 64]


def test_ctrl_c_as_training_ends_lets_all_callbacks_clean_up():
    first, stopping = Interrupting("on_fit_end"), nn.EarlyStopping(patience=1)
    model = nn.Sequential([nn.Linear(1)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(), epochs=3, callbacks=[first, stopping], random_state=0, optimizer=nn.SGD(lr=0.1))
    assert (network_of(model).vector == stopping._kept).all()


def test_the_users_own_handler_decides():
    asked = []
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(1))
    try:
        history = nn.Sequential([nn.Linear(1)]).fit(*data(), epochs=3, callbacks=[Quiet()], random_state=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (history.stopped, history.epochs, len(asked)) == ("finished", 3, 3)


def test_ctrl_c_ends_bulk_predictions_and_builds_nothing_by_halves():
    X, _ = data()
    model = nn.Sequential([nn.Linear(1)]).build((3,), random_state=0)
    expected = network_of(model).vector.copy()
    big = X.repeat(5000, axis=0)
    with pytest.raises(KeyboardInterrupt), uninterrupted:
        interrupt()
        model.predict(big)  # looks between two pieces
        pytest.fail("it was not looked at")
    again = nn.Sequential([nn.Linear(1, weight_init=Slow())])
    with pytest.raises(KeyboardInterrupt):
        again.build((3,), random_state=0)
    assert not again.is_built
    assert (network_of(model.build((3,), random_state=0)).vector == expected).all()


class Slow(nn.Initializer):
    """Ctrl-C comes while parameters are drawn."""

    def __call__(self, shape, random):
        import numpy as np

        interrupt()
        return np.ones(shape)


def test_an_estimator_that_is_interrupted_is_as_it_was():
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    net = nn.NNClassifier(layers=[nn.Linear(4, weight_init=Slow())], epochs=2, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    assert not hasattr(net, "model_")
    assert not hasattr(net, "classes_")


STORM = """
    import os, random, signal, threading, time, sys
    import numpy as np
    import nnkit as nn
    import nnkit.training.steps
    from threadpoolctl import threadpool_info

    nnkit.training.steps.shard_rows = lambda model, batch: 32  # work for two threads
    X = np.random.default_rng(0).normal(size=(512, 16)).astype("float32")
    y = X.sum(axis=1, keepdims=True)
    random, armed, stop = random.Random(0), False, False

    def net():
        return nn.Sequential([nn.Linear(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(1)])

    def fit(model, n_threads, epochs):
        return model.fit(X, y, epochs=epochs, batch_size=256, random_state=0, n_threads=n_threads, validation_split=0.25,
                         metrics=["r2"])

    def bits(n_threads):
        model = net()
        history = fit(model, n_threads, 3)
        return nnkit.network.network_of(model).vector.tobytes(), [tuple(figures) for figures in history.values()]

    def state():
        return (threading.active_count(), [item["num_threads"] for item in threadpool_info()],
                signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    def storm():
        while not stop:
            time.sleep(random.uniform(0.0005, random.choice([0.003, 0.06])))
            if armed:
                os.kill(os.getpid(), signal.SIGINT)

    expected = [bits(n_threads) for n_threads in (1, 2)]
    assert expected[0] == expected[1]
    thread = threading.Thread(target=storm)
    thread.start()
    before, ended = state(), []
    for number in range(FITS):
        model, history = net(), None
        try:
            try:
                armed = True
                if number % 5 == 4:
                    model.build((16,), random_state=0).predict(X)
                    model.evaluate(X, y)
                else:
                    history = fit(model, 1 + number % 2, random.choice([1, 5, 20, 200]))
            finally:
                armed = False
        except KeyboardInterrupt:
            ended.append("raised")
        try:
            time.sleep(0.001)  # what was on its way comes now
        except KeyboardInterrupt:
            pass
        if history is not None:
            ended.append(history.stopped)
            assert {len(figures) for figures in history.values()} <= {history.epochs}
        assert state() == before, (number, state(), before)
    stop = True
    thread.join()
    assert [bits(n_threads) for n_threads in (1, 2)] == expected
    assert ended.count("interrupted") > FITS // 20, ended
    print({kind: ended.count(kind) for kind in set(ended)})
"""


@unix
def test_a_storm_of_interrupts_leaves_no_trace(script):
    script(STORM.replace("FITS", "200"))


@unix
def test_interrupts_while_libraries_are_loaded_and_kernels_compiled(script, tmp_path):
    """On a cold cache: an import of Numba that is broken off would make every later fit fail."""
    script(
        """
        import os, random, signal, threading, time
        import numpy as np
        import nnkit as nn

        X = np.ones((64, 3))
        random, armed, stop, raised = random.Random(0), False, False, 0

        def storm():
            while not stop:
                time.sleep(random.uniform(0.005, 0.1))
                if armed:
                    os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=storm)
        thread.start()
        for attempt in range(100):
            try:
                armed = True
                nn.Sequential([nn.Linear(1)]).fit(X, X[:, :1], epochs=1)
                armed = False
                break
            except KeyboardInterrupt:
                raised += 1
            finally:
                armed = False
        stop = True
        thread.join()
        assert raised > 0
        nn.Sequential([nn.Linear(2), nn.Tanh(), nn.Linear(1)]).fit(X, X[:, :1], epochs=1)
        """,
        NNKIT_CACHE_DIR=str(tmp_path / "cold"),
    )


# ---------------------------------------------------------------------------------------------------------- forks


@unix
def test_forks_while_other_threads_compile_and_train(script, tmp_path):
    script(
        """
        import faulthandler, os, signal, sys, threading, time, traceback, warnings
        import numpy as np
        import nnkit as nn

        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
        X = np.random.default_rng(0).normal(size=(256, 32)).astype("float32")
        y = X[:, :1].copy()

        def fit(threads, *layers, dtype="float32"):
            nn.Sequential([nn.Linear(64), *layers, nn.Linear(1)]).build((32,), dtype=dtype).fit(
                X, y, epochs=2, batch_size=128, n_threads=threads)

        def compile_():
            for kind in (nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.Sigmoid, nn.SELU, nn.Mish, nn.ReLU6):
                if not stop:
                    fit(1, kind(), dtype="float64")

        def train():
            while not stop:
                fit(2)

        def limits():
            from threadpoolctl import threadpool_info
            return [item["num_threads"] for item in threadpool_info() if item["user_api"] == "blas"]

        fit(2)
        unlimited, stop = limits(), False
        threads = [threading.Thread(target=target) for target in (compile_, train)]
        for thread in threads:
            thread.start()
        failed = 0
        for number in range(100):
            child = os.fork()
            if child == 0:
                faulthandler.dump_traceback_later(60, exit=True)
                try:
                    assert limits() == unlimited, limits()
                    fit(2)
                    if number % 25 == 0:
                        fit(1, nn.LeakyReLU(), dtype="float64")
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
            failed += os.waitpid(child, 0)[1] != 0
        stop = True
        for thread in threads:
            thread.join()
        assert not failed, failed
        """,
        NNKIT_CACHE_DIR=str(tmp_path / "cold"),
    )


@unix
def test_a_child_goes_on_alone_with_the_fit_that_has_forked_it(script):
    printed = script(
        """
        import os, warnings
        import numpy as np
        import nnkit as nn
        import nnkit.training.steps

        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
        nnkit.training.steps.shard_rows = lambda model, batch: 32
        X = np.random.default_rng(0).normal(size=(256, 8))
        y = X[:, :1].copy()
        children = []

        def fork(fit):
            if fit.epoch == 1:
                children.append(os.fork())

        model = nn.Sequential([nn.Linear(8), nn.ReLU(), nn.Linear(1)])
        model.fit(X, y, epochs=4, batch_size=128, n_threads=2, random_state=0, callbacks=[nn.LambdaCallback(fork)])
        if children[0]:
            assert os.waitpid(children[0], 0)[1] == 0
        print(hash(nnkit.network.network_of(model).vector.tobytes()))
        """,
        PYTHONHASHSEED="0",
    )
    assert len(set(printed.split())) == 1
    assert len(printed.split()) == 2


@unix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_another_thread_knows_nothing_of_the_main_threads_sections():
    def fork():
        child = os.fork()
        if child == 0:
            os._exit(0 if (critical._depth, critical._noted) == (0, {})
                     and signal.getsignal(signal.SIGINT) is signal.default_int_handler else 1)  # fmt: skip
        statuses.append(os.waitpid(child, 0)[1])

    statuses = []
    with pytest.raises(KeyboardInterrupt), uninterrupted:
        interrupt()
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
    assert statuses == [0]


@unix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_waits_for_a_lock():
    lock, held, order = Lock(), threading.Event(), []

    def hold():
        with lock:
            held.set()
            while not critical._forking:  # until the other thread is about to
                pass
            order.append("released")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        with lock:
            os._exit(0 if order else 1)
    thread.join()
    critical._locks.remove(lock)
    assert os.waitpid(child, 0)[1] == 0


@unix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(critical, "LONGEST", 0.01)
    with held_elsewhere() as (lock, _):
        child = os.fork()
        if child == 0:
            with lock:
                os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert critical._fork.held == []


@unix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_that_fork_at_the_same_time():
    statuses = []

    def fork():
        for _ in range(20):
            child = os.fork()
            if child == 0:
                with uninterrupted, critical._importing:
                    os._exit(0)
            statuses.append(os.waitpid(child, 0)[1])

    threads = [threading.Thread(target=fork) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 80
    assert critical._forking == set()


@unix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_goes_on_with_the_fit_of_another_thread():
    """It has begun in sections of a thread that was not the main one, and ends them in one that is."""
    statuses = []

    def fork(fit):
        if fit.epoch == 1:
            statuses.append(os.fork())

    def train():
        history = nn.Sequential([nn.Linear(1)]).fit(*data(), epochs=3, callbacks=[nn.LambdaCallback(fork)], random_state=0)
        if statuses[0] == 0:
            os._exit(0 if history.stopped == "finished" and critical._depth == 0 else 1)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert os.waitpid(statuses[0], 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_compiling_before_it_takes_the_lock_of_logging():
    script = """
import os, threading
import nnkit
from nnkit.engine import critical
import logging
from numba.core.compiler_lock import global_compiler_lock
compiling, got = threading.Event(), []
def compile():
    with global_compiler_lock:
        compiling.set()
        while not critical._forking:
            pass
        got.append(logging._lock.acquire(timeout=2))
        if got[0]:
            logging._lock.release()
thread = threading.Thread(target=compile)
thread.start()
compiling.wait()
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
thread.join()
print(got)
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=60)
    assert run.stdout == "[True]\n", run.stderr


class Doubling(nn.PythonLayer):
    """Twice the input, in Python that native code calls."""

    def forward(self, x):
        return 2 * x

    def backward(self, grad_out):
        return 2 * grad_out


class PythonSquares(nn.PythonLoss):
    """Squares, likewise."""

    def forward(self, prediction, target):
        return (prediction - target) ** 2

    def backward(self, prediction, target):
        return 2 * (prediction - target)


@unix
@pytest.mark.parametrize("way", ["predict", "forward", "loss"])
def test_no_ctrl_c_is_lost_where_native_code_calls_python(way):
    """What is raised as Python begins or ends within native code would be printed and dropped."""
    model = nn.Sequential([nn.Linear(64), Doubling(), nn.Linear(64), Doubling()]).build((8,), random_state=0)
    rows, loss = np.ones((64, 8), np.float32), PythonSquares()
    out = model.predict(rows)
    calls = {
        "predict": lambda: model.predict(rows), "forward": lambda: model.forward(rows, training=True),
        "loss": lambda: loss(out, np.zeros_like(out)),
    }  # fmt: skip
    call, pauses = calls[way], np.random.default_rng(0).uniform(0, 1e-3, 60)
    call()
    wait, lost = threading.Event(), 0  # nobody sets it: it waits for fractions of a millisecond
    for pause in pauses:
        sent = threading.Event()

        def send(pause=pause, sent=sent):
            wait.wait(pause)
            os.kill(os.getpid(), signal.SIGINT)
            sent.set()

        thread = threading.Thread(target=send)
        try:
            thread.start()
            while not sent.is_set():
                call()
            call()
            lost += 1
        except KeyboardInterrupt:
            pass
        thread.join()
    assert lost == 0
    assert (model.predict(rows) == out).all()
