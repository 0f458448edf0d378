"""Threads: how many by default, where the system gives fewer, and what environment variables say."""

import math
import os
import threading

import numpy as np
import pytest
from joblib import Parallel, delayed

import nnkit as nn
from nnkit.core import plugins
from nnkit.engine import environment, workers
from nnkit.engine.cores import cores_by_quota, usable_cores
from nnkit.engine.workers import Team, available_threads
from nnkit.network import network_of

X = np.random.default_rng(0).normal(size=(512, 16))
Y = X.sum(axis=1, keepdims=True)


def fit(n_threads):
    """Of eight shards a batch."""
    model = nn.Sequential([nn.Linear(256), nn.Tanh(), nn.Linear(256), nn.Tanh(), nn.Linear(1)])
    history = model.fit(X, Y, batch_size=256, epochs=2, n_threads=n_threads, random_state=0, validation_data=(X, Y))
    return network_of(model).vector.tobytes(), history["val_loss"]


# --------------------------------------------------------------------------------------------- fewer than asked for


@pytest.mark.parametrize("started", [0, 1, 2])
def test_threads_that_do_not_start_are_done_without(started, monkeypatch):
    expected, start, left = fit(1), threading.Thread.start, [started]

    def limited(thread):
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", limited)
    message = f"expected 4 threads, got {started + 1} \\(can't start new thread\\)"
    with pytest.warns(nn.EnvironmentWarning, match=message) as told:
        got = fit(4)
    assert len(told) == 1
    assert got == expected
    assert threading.active_count() == before


def test_the_threads_that_start_do_work(monkeypatch):
    sizes, run = [], Team.run
    monkeypatch.setattr(Team, "run", lambda team, address, frames: [sizes.append(len(frames)), run(team, address, frames)])
    test_threads_that_do_not_start_are_done_without(2, monkeypatch)
    assert 3 in sizes


def test_where_warnings_are_errors_nothing_stays_behind(monkeypatch):
    before = threading.active_count()
    monkeypatch.setattr(Team, "_start", lambda team: (_ for _ in ()).throw(RuntimeError("can't start new thread")))
    with pytest.raises(nn.EnvironmentWarning):
        fit(2)
    assert (threading.active_count(), bool(workers._blas._users)) == (before, False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no such limit")
def test_where_the_system_gives_no_threads(script):
    script(
        """
        import os, resource, warnings
        import numpy as np
        import nnkit as nn
        import nnkit.training.steps

        nnkit.training.steps.shard_rows = lambda model, batch: 32
        X = np.random.default_rng(0).normal(size=(256, 8))

        def fit():
            model = nn.Sequential([nn.Linear(8), nn.Linear(1)])
            model.fit(X, X[:, :1], batch_size=128, epochs=2, n_threads=2, random_state=0)
            return nnkit.network.network_of(model).vector.tobytes()

        expected = fit()
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        if os.getuid() == 0:
            os.setuid(54321)  # the limit is not root's
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert fit() == expected
        assert [str(item.message)[:29] for item in told] == ["expected 2 threads, got 1 (ca"], told
        """
    )


# ----------------------------------------------------------------------------------------------------- how many cores

V2 = "0::/user/job\n"
V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"
V1 = "5:devices:/x\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/init\n"
V1_MOUNT = "33 31 0:30 {} /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n34 31 0:3 / /mem rw - cgroup m rw,memory\n"
HYBRID = V1_MOUNT.format("/") + V2_MOUNT.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")

GROUPS = {
    "none": (V2, V2_MOUNT, {}, math.inf),
    "no quota": (V2, V2_MOUNT, {"user/job/cpu.max": "max 100000"}, math.inf),
    "one core": (V2, V2_MOUNT, {"user/job/cpu.max": "100000 100000"}, 1.0),
    "of a group around it": (V2, V2_MOUNT, {"user/job/cpu.max": "max 100000", "user/cpu.max": "150000 100000"}, 1.5),
    "the least counts": (V2, V2_MOUNT, {"user/job/cpu.max": "400000 100000", "cpu.max": "50000 100000"}, 0.5),
    "of others": (V2, V2_MOUNT, {"other/cpu.max": "100000 100000"}, math.inf),
    "version 1": (V1, V1_MOUNT.format("/"), {"cpu/docker/abc/cpu.cfs_quota_us": "250000",
                                             "cpu/docker/abc/cpu.cfs_period_us": "100000"}, 2.5),
    "version 1, a container's view": (V1, V1_MOUNT.format("/docker/abc"), {"cpu/cpu.cfs_quota_us": "100000",
                                                                           "cpu/cpu.cfs_period_us": "100000"}, 1.0),
    "version 1, no quota": (V1, V1_MOUNT.format("/"), {"cpu/docker/abc/cpu.cfs_quota_us": "-1",
                                                       "cpu/docker/abc/cpu.cfs_period_us": "100000"}, math.inf),
    "both": (V1 + "0::/\n", HYBRID, {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000",
                                     "unified/cpu.max": "200000 100000"}, 2.0),
    "nonsense": (V2, V2_MOUNT, {"user/job/cpu.max": "many"}, math.inf),
    "a period of 0": (V2, V2_MOUNT, {"user/job/cpu.max": "100000 0"}, math.inf),
    "nonsense in proc": ("what is this\n", "and this\n", {}, math.inf),
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_quotas_of_control_groups(name, tmp_path):
    groups, mounts, files, expected = GROUPS[name]
    for path, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts,
                       **{f"sys/fs/cgroup/{path}": text for path, text in files.items()}}.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert cores_by_quota(tmp_path) == expected


def test_a_system_without_control_groups(tmp_path):
    assert cores_by_quota(tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "cores"), [(math.inf, 8), (0.2, 1), (1.0, 1), (1.5, 2), (100.0, 8)])
def test_a_quota_is_rounded_up_and_bounded_by_the_cores_that_there_are(quota, cores, monkeypatch):
    monkeypatch.setattr("nnkit.engine.cores.cores_by_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert usable_cores.__wrapped__() == cores


@pytest.fixture
def cores(monkeypatch):
    """A machine of 8, and no variables."""
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "NNKIT_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    environment._refuse.cache_clear()


TOLD = {"3": 3, "16": 8, "2,4": 2, "0": 8, "-1": 8, "²": 8, "many": 8, "": 8}


@pytest.mark.parametrize(("text", "threads"), TOLD.items())
def test_what_all_libraries_are_told_counts(text, threads, cores, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert available_threads() == threads
    monkeypatch.setenv("NNKIT_NUM_THREADS", "5")
    assert available_threads() == 5
    assert available_threads(7) == 7


def test_calls_that_joblib_runs_in_threads_get_one_each(cores):
    assert Parallel(n_jobs=2, backend="threading")(delayed(available_threads)() for _ in range(2)) == [1, 1]
    assert available_threads() == 8


def test_workers_of_joblib_share_the_cores():
    told = Parallel(n_jobs=2, backend="loky")(delayed(available_threads)() for _ in range(2))
    assert told == [max(1, usable_cores() // 2)] * 2


# ------------------------------------------------------------------------------------------------ environment variables


@pytest.mark.parametrize("text", ["abc", "²", "0", "-1", "1e3", "1.5", "9" * 40, "2 threads"])
def test_a_number_of_threads_that_is_none_is_said_once(text, cores, monkeypatch):
    monkeypatch.setenv("NNKIT_NUM_THREADS", text)
    message = "NNKIT_NUM_THREADS: expected an integer of at least 1, got .* not set"
    with pytest.warns(nn.EnvironmentWarning, match=message) as told:
        assert available_threads() == 8
    assert text in str(told[0].message)
    assert available_threads() == 8  # without a warning, which would be an error here


def test_a_word_that_is_none_is_said_once(cores, monkeypatch):
    monkeypatch.setenv("NNKIT_PLUGINS", "of")
    with pytest.warns(nn.EnvironmentWarning, match="NNKIT_PLUGINS: expected 'on' or 'off', got 'of'"):
        assert plugins.left_out() != "all"
    for text in ("", "on", "ON ", "off"):
        monkeypatch.setenv("NNKIT_PLUGINS", text)
        assert (plugins.left_out() == "all") == (text == "off")
