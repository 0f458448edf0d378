"""Files as the system has them: what is read while others write, what is written beside others, what is left behind."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import nnkit as nn
from nnkit.persistence import disk
from nnkit.persistence.disk import remove_leftovers, write_atomically
from nnkit.persistence.file import opened, read, write

X = np.random.default_rng(0).normal(size=(20, 3))
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions, links and pipes")
forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that a process is at work at once")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def run(code, *arguments):
    """In a process of its own, which may die."""
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120)


# ---------------------------------------------------------------------------------------------- overwritten while it is read

CHANGES = {
    "truncated": "os.truncate(path, 4096)",
    "emptied": "open(path, 'wb').close()",
    "overwritten": "with open(path, 'r+b') as it: it.seek(-1000, 2); it.write(b'other' * 200)",
    "replaced": "os.remove(path); open(path, 'wb').write(b'other' * 10000)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_loaded_is_an_error_or_as_it_was(change, path):
    """A file that is mapped would end the process: SIGBUS."""
    write(path, {"what": "x"}, {"x": np.arange(100_000.0), "y": np.ones(3)})
    done = run(f"""if True:
        import os, sys, nnkit as nn
        from nnkit.persistence.file import opened
        path = sys.argv[1]
        with opened(path) as file:
            file.array("y")
            {CHANGES[change]}
            try:
                arrays = file.arrays()
            except nn.PersistenceError as error:
                print(error)
            else:
                assert arrays["x"][-1] == 99_999.0
                print("whole")
    """, path)  # fmt: skip
    assert done.returncode == 0, f"{done.returncode} {done.stderr}"
    expected = {"truncated": "it has become shorter", "emptied": "it has become shorter", "overwritten": "SHA-256 differs",
                "replaced": "whole"}  # fmt: skip
    assert expected[change] in done.stdout


def test_what_has_been_looked_at_is_what_is_used(path):
    """An array that a part was made of comes from the bytes that the checksum is of."""
    write(path, {}, {"x": np.zeros(3)})
    with opened(path) as file:
        first = file.array("x")
        first += 1  # whoever has it may change it
        write_again = path.read_bytes()
        path.write_bytes(write_again[:-8] + np.float64(7.0).tobytes())
        np.testing.assert_array_equal(file.arrays()["x"], np.zeros(3))


def test_arrays_can_be_written_to_and_are_their_own(path):
    write(path, {}, {"x": np.zeros((2, 3)), "flag": np.array([True, False]), "none": np.zeros((0, 3)), "one": np.float32(2)})
    _, arrays = read(path)
    for array in arrays.values():
        assert array.flags.writeable and array.flags.aligned and array.dtype.isnative
    assert arrays["none"].shape == (0, 3) and arrays["one"] == 2 and arrays["flag"].tolist() == [True, False]


# ---------------------------------------------------------------------------------------------------- headers that are doubted


def with_header(header, data, metadata=True):
    from nnkit.persistence.file import encode

    own = encode({}, {"x": np.zeros(1)})
    size = int.from_bytes(own[:8], "little")
    said = json.loads(own[8 : 8 + size])["__metadata__"]
    text = header if isinstance(header, bytes) else json.dumps(({"__metadata__": said} if metadata else {}) | header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, begin, end, dtype="F64"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "a hole": ({"x": entry([1], 0, 8), "y": entry([1], 16, 24)}, 24),
    "an overlap": ({"x": entry([2], 0, 16), "y": entry([1], 8, 16)}, 16),
    "the same bytes": ({"x": entry([1], 0, 8), "y": entry([1], 0, 8)}, 8),
    "bytes left": ({"x": entry([1], 0, 8)}, 9),
    "too few bytes": ({"x": entry([1], 0, 8)}, 7),
    "another size": ({"x": entry([2], 0, 8)}, 8),
    "a negative size": ({"x": entry([-1, -1], 0, 8)}, 8),
    "a negative place": ({"x": entry([1], -8, 0)}, 8),
    "a huge size": ({"x": entry([2**61], 0, 2**64)}, 8),
    "sizes that wrap round": ({"x": entry([2**32, 2**32], 0, 0)}, 0),
    "no numbers of a huge size": ({"x": entry([0, 2**62], 0, 0)}, 0),
    "many axes": ({"x": entry([1] * 70, 0, 8)}, 8),
    "a truth value as size": ({"x": entry([True], 0, 8)}, 8),
    "a fraction as size": ({"x": entry([1.0], 0, 8)}, 8),
    "a string as shape": ({"x": entry("1", 0, 8)}, 8),
    "no shape": ({"x": {"dtype": "F64", "data_offsets": [0, 8]}}, 8),
    "three places": ({"x": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8, 8]}}, 8),
    "another dtype": ({"x": entry([1], 0, 8, "F8_E4M3")}, 8),
    "a list as dtype": ({"x": entry([1], 0, 8, ["F64"])}, 8),
    "no entry": ({"x": 1}, 8),
    "half a letter as name": ({"\ud800": entry([1], 0, 8)}, 8),
    "a list": (b"[]", 0),
    "nothing": (b"", 0),
    "a name twice": (b"{" + b",".join([b'"x":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}'] * 2) + b"}", 8),
    "metadata as a list": (b'{"__metadata__": []}', 0),
    "metadata as a number": (b'{"__metadata__": {"nnkit": 1}}', 0),
    "another encoding": ('{"x": 1}'.encode("utf-16"), 0),
    "a number of 5000 digits": (b'{"x":{"dtype":"F64","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', 8),
    "objects in each other": (b'{"a":' * 100_000, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_wrong_is_refused(name, path):
    header, length = HEADERS[name]
    path.write_bytes(with_header(header, bytes(length)))
    with pytest.raises(nn.PersistenceError, match="cannot read"):
        read(path)


def test_truth_values_are_zero_or_one(path):
    write(path, {}, {"x": np.array([True, False])})
    path.write_bytes(path.read_bytes()[:-1] + b"\2")
    with pytest.raises(nn.PersistenceError, match="expected truth values as 'x'"):
        read(path)


def test_the_library_reads_the_same(path):
    """Whatever this reader takes, safetensors takes, and finds the same in it."""
    from safetensors.numpy import load

    random = np.random.default_rng(0)
    dtypes = ["float32", "float64", "int8", "uint16", "bool", "float16"]
    for _ in range(50):
        arrays = {f"{number}": np.asarray(random.integers(0, 2, tuple(random.integers(0, 4, random.integers(0, 4)))),
                                          random.choice(dtypes)) for number in range(random.integers(0, 6))}  # fmt: skip
        write(path, {"a": [1]}, arrays)
        ours, theirs = read(path)[1], load(path.read_bytes())
        assert ours.keys() == theirs.keys() == arrays.keys()
        for name, array in ours.items():
            assert array.dtype == theirs[name].dtype == arrays[name].dtype
            np.testing.assert_array_equal(array, theirs[name])
            np.testing.assert_array_equal(array, arrays[name])


# -------------------------------------------------------------------------------------------- what is no regular file


def odd_files(folder):
    """What would be waited for, or read for ever."""
    os.mkfifo(folder / "pipe")
    os.symlink("/dev/zero", folder / "zero.onnx")
    yield from (folder / "pipe", Path("/dev/zero"), folder / "zero.onnx", Path("/dev/tty"), folder, Path("/proc/self/mem"),
                folder / "missing")  # fmt: skip


@posix
def test_only_regular_files_are_read(tmp_path):
    pytest.importorskip("onnx")
    for odd in odd_files(tmp_path):
        done = run("""if True:
            import resource, sys, nnkit as nn
            from nnkit.commands.data_file import open_data
            from nnkit.errors import DataError
            import nnkit.onnx, onnx
            if sys.platform == "linux":
                resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
            model = nn.Sequential([nn.Linear(1)])
            for read in (nn.load, nn.onnx.load, open_data, lambda path: model.fit([[1.0]], [[1.0]], resume=path)):
                try:
                    read(sys.argv[1])
                except (nn.PersistenceError, nn.OnnxError, DataError) as error:
                    print(error)
        """, odd)  # fmt: skip
        assert done.returncode == 0, f"{odd}: {done.stderr}"
        assert len(done.stdout.splitlines()) == 4, f"{odd}: {done.stdout}"


@posix
def test_a_huge_file_without_content_is_not_read(tmp_path):
    pytest.importorskip("onnx")
    with open(tmp_path / "net.onnx", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(nn.OnnxError, match="expected at most 2147483648 bytes, got 1099511627776"):
        nn.onnx.load(tmp_path / "net.onnx")
    with open(tmp_path / "net.safetensors", "wb") as file:
        file.write((100).to_bytes(8, "little"))
        file.truncate(1 << 40)
    with pytest.raises(nn.PersistenceError, match="no safetensors file"):
        nn.load(tmp_path / "net.safetensors")


# ------------------------------------------------------------------------------------------------------ temporary files


def temporaries(folder):
    return sorted(item.name for item in folder.glob(".*.tmp"))


def write_and_wait(path, written, go_on):
    """A writer that stands still when all is written, before the file has its name."""
    replace = os.replace

    def waiting(*paths):
        written.set()
        go_on.wait()
        replace(*paths)

    os.replace = waiting
    write_atomically(path, b"slow")


@posix
@forking
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_another_process_is_writing_is_no_leftover(path):
    fork = multiprocessing.get_context("fork")
    written, go_on = fork.Event(), fork.Event()
    writer = fork.Process(target=write_and_wait, args=(path, written, go_on))
    writer.start()
    written.wait()
    (name,) = temporaries(path.parent)
    assert str(writer.pid) in name
    remove_leftovers(path)
    assert temporaries(path.parent) == [name]
    write_atomically(path, b"quick")  # another one may write meanwhile
    go_on.set()
    writer.join()
    assert writer.exitcode == 0 and path.read_bytes() == b"slow"
    assert os.listdir(path.parent) == [path.name]


@posix
@forking
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_process_has_left_is_removed_for_this_path_only(tmp_path):
    long = "training-" * 12  # more than 80 characters
    fork = multiprocessing.get_context("fork")
    paths = [tmp_path / f"{long}{end}.safetensors" for end in ("a", "b")]
    for path in paths:
        written, never = fork.Event(), fork.Event()
        writer = fork.Process(target=write_and_wait, args=(path, written, never))
        writer.start()
        written.wait()
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    first, second = temporaries(tmp_path)
    strangers = [f".{long}-mine.tmp", f".{long[:80]}-{'0' * 16}.tmp", f"{first}.tmp"]
    for name in strangers:
        (tmp_path / name).touch()
    remove_leftovers(paths[1])
    assert len(temporaries(tmp_path)) == len(strangers) + 1
    remove_leftovers(paths[0])
    assert temporaries(tmp_path) == sorted(strangers)
    assert second


@posix
def test_a_writer_whose_file_is_taken_for_a_leftover_takes_another_one(path, monkeypatch):
    """Between making a file and locking it, somebody may remove it."""
    lock, removed = disk._lock, []

    def too_late(descriptor):
        if not removed:
            removed.append(temporaries(path.parent)[0])
            remove_leftovers(path)
        return lock(descriptor)

    monkeypatch.setattr(disk, "_lock", too_late)
    monkeypatch.setattr(disk, "_remove_leftover", os.unlink)
    write_atomically(path, b"whole")
    assert removed and path.read_bytes() == b"whole" and not temporaries(path.parent)


def test_where_nothing_can_be_locked_only_what_is_old_is_removed(path, monkeypatch):
    monkeypatch.setattr(disk, "_lock", lambda descriptor: None)
    names = [disk._new_name(path) for _ in range(2)]
    for name in names:
        name.touch()
    os.utime(names[0], (1e9, 1e9))
    remove_leftovers(path)
    assert temporaries(path.parent) == [names[1].name]
    write_atomically(path, b"whole")
    assert path.read_bytes() == b"whole"


@posix
def test_names_of_any_length_and_letters_are_written(tmp_path):
    for name in ("x" * 250, "ü" * 120, "\N{GRINNING FACE}" * 60, "a b.-[x]*"):
        target = tmp_path / name
        write_atomically(target, b"1")
        assert target.read_bytes() == b"1"
        assert len(os.fsencode(disk._new_name(target).name)) < 120
    assert not temporaries(tmp_path)


@posix
def test_many_threads_write_one_file(path):
    errors = []

    def work(number):
        try:
            for _ in range(20):
                write_atomically(path, bytes([number]) * 1000)
                remove_leftovers(path)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(path.read_bytes())) == 1 and not temporaries(path.parent)


# ------------------------------------------------------------------------------------------------------- permissions and links


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o4755])
def test_permissions_stay_and_are_never_wider_while_it_is_written(mode, path, monkeypatch):
    path.write_bytes(b"old")
    path.chmod(mode)
    seen, sync = [], os.fsync

    def look(descriptor):
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(path, b"new")
    assert seen[0] == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == mode & 0o777


@posix
def test_a_new_file_is_as_the_umask_has_it(path):
    before = os.umask(0o027)
    try:
        write_atomically(path, b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_write_protected_file_stays(path, monkeypatch):
    path.write_bytes(b"mine")
    path.chmod(0o444)
    if os.access(path, os.W_OK):  # of root
        monkeypatch.setattr(os, "access", lambda *given, **more: False)
    with pytest.raises(nn.PersistenceError, match="it is write-protected"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"mine"


@posix
def test_links_are_followed_and_stay(tmp_path, path):
    path.write_bytes(b"old")
    (tmp_path / "link").symlink_to(path.name)
    (tmp_path / "hard").hardlink_to(path)
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and path.read_bytes() == b"new"
    assert (tmp_path / "hard").read_bytes() == b"old"  # a file of its own now: whoever has it keeps what it was


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make links of others")
@pytest.mark.parametrize("links", [1, 3])
def test_a_link_that_somebody_else_has_put_into_a_shared_folder_is_not_followed(links, tmp_path):
    shared, mine = tmp_path / "shared", tmp_path / "mine"
    shared.mkdir()
    shared.chmod(0o1777)
    mine.write_text("mine")
    target = mine
    for number in range(links):
        link = shared / f"net.{number}"
        link.symlink_to(target)
        os.lchown(link, 12345 if number == 0 else 0, 0)
        target = link
    for act in (lambda: write_atomically(target, b"new"), lambda: disk.check_writable(target)):
        with pytest.raises(nn.PersistenceError, match="is a link that somebody else has put there"):
            act()
    assert mine.read_text() == "mine"
    os.lchown(shared / "net.0", 0, 0)
    write_atomically(target, b"new")
    assert mine.read_text() == "new"


# ----------------------------------------------------------------------------------------------------------- checkpoints


def train(path, epochs=2, **options):
    net = nn.Sequential([nn.Linear(1)])
    return net.fit(X, X[:, :1], epochs=epochs, random_state=0, callbacks=[nn.Checkpoint(path, **options)])


@pytest.mark.parametrize("content", [b"mine", b"", None, "a model", "a folder", "a broken link"])
def test_numbered_files_replace_checkpoints_only(content, tmp_path):
    mine = tmp_path / "net.1"
    if content == "a folder":
        mine.mkdir()
    elif content == "a broken link":
        if os.name == "nt":
            pytest.skip("Windows needs rights for links")
        mine.symlink_to("nowhere")
    elif content is None:
        shutil.copy(__file__, mine)
    elif content == "a model":
        nn.Sequential([nn.Linear(1)]).build((2,)).save(mine)
    else:
        mine.write_bytes(content)
    before = mine.read_bytes() if mine.is_file() else None
    with pytest.raises(nn.PersistenceError, match=r"expected .*net.1'.* to be a checkpoint.*keep=1"):
        train(tmp_path / "net", keep=2)
    assert not (tmp_path / "net").exists(), "before training begins"
    assert (mine.read_bytes() if mine.is_file() else None) == before
    train(tmp_path / "net", keep=1)


def test_what_comes_while_training_runs_is_not_replaced_either(tmp_path):
    class Put(nn.Callback):
        def on_epoch_end(self, fit):
            if fit.epoch == 1:
                (tmp_path / "net.2").write_bytes(b"mine")

    net = nn.Sequential([nn.Linear(1)])
    with pytest.raises(nn.PersistenceError, match=r"net\.2"):
        net.fit(X, X[:, :1], epochs=9, callbacks=[Put(), nn.Checkpoint(tmp_path / "net", keep=3)])
    assert (tmp_path / "net.2").read_bytes() == b"mine"
    assert nn.load(tmp_path / "net.1").is_built and nn.load(tmp_path / "net").is_built


def test_numbered_files_of_an_earlier_training_are_replaced(tmp_path):
    for epochs in (5, 3):
        train(tmp_path / "net", epochs, keep=3)
    steps = [read(tmp_path / name)[0]["training"]["step"] for name in ("net", "net.1", "net.2")]
    assert steps == [3, 2, 1]


def test_what_is_no_checkpoint_gets_no_number(tmp_path):
    """It is replaced, as the path says so, and does not stop the training later on."""
    nn.Sequential([nn.Linear(1)]).build((2,)).save(tmp_path / "net")
    train(tmp_path / "net", 4, keep=3)
    steps = [read(tmp_path / name)[0]["training"]["step"] for name in ("net", "net.1", "net.2")]
    assert steps == [4, 3, 2]


@pytest.mark.parametrize("place", ["missing/net", "file/net", "."])
def test_what_cannot_be_written_is_said_before_training(place, tmp_path):
    (tmp_path / "file").touch()

    class Never(nn.Callback):
        def on_epoch_end(self, fit):
            raise AssertionError("it trains")

    with pytest.raises(nn.PersistenceError, match="cannot write"):
        nn.Sequential([nn.Linear(1)]).fit(X, X[:, :1], callbacks=[Never(), nn.Checkpoint(tmp_path / place)])


def test_keeping_without_links_copies_whole_files(tmp_path, monkeypatch):
    def no_links(*paths):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    train(tmp_path / "net", 3, keep=2)
    steps = [read(tmp_path / name)[0]["training"]["step"] for name in ("net", "net.1")]
    assert steps == [3, 2] and not temporaries(tmp_path)


def test_a_file_that_has_its_number_already_leaves_nothing_behind(tmp_path):
    """As after a kill between the two names."""
    train(tmp_path / "net", 1, keep=2)
    (tmp_path / "net.1").hardlink_to(tmp_path / "net")
    train(tmp_path / "net", 2, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["net", "net.1"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no folder here takes no files")
def test_a_folder_that_takes_no_files_is_not_said_to_be_missing():
    model = nn.Sequential(["linear"]).build((1,))
    with pytest.raises(nn.PersistenceError, match="the system takes no new files in '/proc'; choose another folder"):
        model.save("/proc/net.safetensors")
