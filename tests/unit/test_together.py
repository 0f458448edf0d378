"""Fits side by side: the bits of each alone, one error for all, and Ctrl-C."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import nnkit as nn
from nnkit.errors import NonFiniteError
from nnkit.training.together import fit_together

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X.sum(axis=1, keepdims=True)


class Slow(nn.Callback):
    """Takes its time."""

    acts_outside = False

    def __init__(self, began=None):
        self.began = began

    def on_epoch_end(self, fit):
        if self.began is not None:
            self.began.set()
        time.sleep(0.01)


def task(seed, epochs=5, rows=X, callbacks=(), lr=0.1):
    def made():
        model = nn.Sequential(["linear"]).build((3,), random_state=seed)
        return model, dict(
            X=rows, y=Y, loss="mse", optimizer=nn.SGD(lr=lr), epochs=epochs, batch_size=8, validation_data=None,
            validation_split=0.0, sample_weight=None, metrics=(), callbacks=callbacks, shuffle=True, random_state=seed,
            engine="compiled",
        )  # fmt: skip

    return made


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_gives_what_it_would_give_alone(threads):
    together = fit_together([task(seed) for seed in range(4)], n_threads=threads)
    for seed, fit in enumerate(together):
        (alone,) = fit_together([task(seed)], n_threads=1)
        assert fit.history["loss"] == alone.history["loss"]
        np.testing.assert_array_equal(fit.model.predict(X), alone.model.predict(X))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_one_ends_all(threads):
    tasks = [task(0, epochs=10_000_000, callbacks=[Slow()]), task(1, lr=1e30, epochs=50), task(2)]
    tasks = tasks if threads == 2 else tasks[1:]
    with pytest.raises(NonFiniteError):
        fit_together(tasks, n_threads=threads)


def test_what_a_task_raises_is_raised():
    def broken():
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        fit_together([task(0, epochs=10_000_000, callbacks=[Slow()]), broken], n_threads=2)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no such signals")
@pytest.mark.parametrize("count", [1, 3])
def test_an_interrupt_ends_all_and_leaves_no_thread(count):
    began, before = threading.Event(), threading.active_count()

    def interrupt():
        began.wait()
        os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=interrupt)
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        fit_together([task(seed, epochs=10_000_000, callbacks=[Slow(began)]) for seed in range(count)], n_threads=2)
    killer.join()
    assert threading.active_count() == before


def test_the_line_says_how_many_are_done(capfd):
    fit_together([task(seed, callbacks=[Slow()]) for seed in range(3)], n_threads=2, progress=True)
    assert "3 of 3 nets" in capfd.readouterr().err
