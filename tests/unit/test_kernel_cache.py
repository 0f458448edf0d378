"""The kernel cache: who may write there, what is believed, and what happens where a disk fails."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from numba.core.serialize import dumps, loads

import nnkit as nn
from nnkit.engine import cache, stub
from nnkit.engine.cache import KernelCache
from nnkit.engine.operands import Array
from nnkit.engine.stub import Kernel, statistics
from nnkit.kernels.jit import Native

NAME = "k_forward_0123456789abcdef01234567.kernel"
OTHER = 12345  # a user, and a group, whom nobody has made

needs_root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be another user")
needs_owners = pytest.mark.skipif(not cache._BY_DESCRIPTOR or not cache._HAS_OWNERS, reason="folders without owners")


@pytest.fixture
def kept(tmp_path):
    """A cache with one file in it."""
    made = KernelCache(tmp_path / "cache")
    made.write(NAME, b"machine code")
    assert made.read(NAME) == b"machine code"
    return made


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A cache of its own for the kernels of a test."""
    made = KernelCache(tmp_path / "cache")
    monkeypatch.setattr(stub, "kernel_cache", made)
    return made


def double(x, out):
    for i in range(x.shape[0]):
        out[i] = 2 * x[i]


def doubled():
    """Compile or load a kernel, use it, and say how many were compiled and loaded."""
    x, out = np.arange(3.0), np.zeros(3)
    operands = Array.view(x), Array.view(out)
    before = statistics.compiled, statistics.loaded
    kernel = Kernel(double, operands, "float64")
    words = [np.zeros(64, np.int64).ctypes.data]
    for operand in operands:
        words += [operand.address(0), *operand.words()[1:]]
    frame = np.array(words, np.int64)
    nn.engine.operands.NATIVE(kernel.address)(frame.ctypes.data)
    assert out.tolist() == [0.0, 2.0, 4.0]
    return statistics.compiled - before[0], statistics.loaded - before[1]


def refused(path):
    """A folder that is refused: one warning, nothing kept, and nowhere else either. The warning's text."""
    made = KernelCache(path)
    with pytest.warns(nn.CacheWarning) as told:
        assert made.read(NAME) is None
        made.write(NAME, b"x")
        made.write(NAME, b"x")
        assert made.read(NAME) is None
    assert len(told) == 1
    assert made.count() == made.clear() == cache.Cached()
    return str(told[0].message)


# ------------------------------------------------------------------------------------------------ who may write


@needs_owners
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o720])
def test_folder_that_others_may_write_is_refused(tmp_path, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    assert f"chmod go-w {tmp_path / 'cache'}" in refused(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@needs_owners
def test_new_folder_is_for_its_user_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        KernelCache(tmp_path / "new" / "cache").write(NAME, b"x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("new", "new/cache", f"new/cache/{NAME}")]
    assert modes == [0o700, 0o700, 0o600]


@needs_owners
def test_folder_on_the_way_that_others_may_write_is_refused(tmp_path):
    (tmp_path / "open" / "cache").mkdir(parents=True, mode=0o700)
    (tmp_path / "open").chmod(0o777)
    assert f"others may write into {tmp_path / 'open'} (its mode is 777)" in refused(tmp_path / "open" / "cache")
    (tmp_path / "open").chmod(0o1777)  # in a sticky one they cannot rename what is not theirs
    KernelCache(tmp_path / "open" / "cache").write(NAME, b"x")
    assert (tmp_path / "open" / "cache" / NAME).exists()


@needs_root
def test_folder_of_a_group_is_accepted_where_one_is_alone_in_it(tmp_path):
    """Many systems give each user a group, and let it write into the home folder."""
    import grp

    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o770)
    os.chown(tmp_path / "home", 0, OTHER)
    assert "others may write" in refused(tmp_path / "home" / "cache")
    if grp.getgrgid(0) == ("root", grp.getgrgid(0).gr_passwd, 0, []):
        os.chown(tmp_path / "home", 0, 0)
        KernelCache(tmp_path / "home" / "cache").write(NAME, b"x")
        assert (tmp_path / "home" / "cache" / NAME).exists()


@needs_root
def test_folder_that_a_list_opens_to_another_user_is_refused(tmp_path):
    """The group's bits are those of all whom the list names."""
    import struct

    (tmp_path / "home").mkdir(mode=0o700)
    nobody = 0xFFFFFFFF
    # Its owner, another user, its group, the mask, everybody else.
    entries = [(1, 7, nobody), (2, 7, OTHER), (4, 5, nobody), (16, 7, nobody), (32, 0, nobody)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(tmp_path / "home", "system.posix_acl_access", access)
    except OSError:
        pytest.skip("a disk without lists of access")
    assert "others may write" in refused(tmp_path / "home" / "cache")


@needs_root
@pytest.mark.parametrize("level", ["home", "home/cache"])
def test_folder_of_another_user_is_refused(tmp_path, level):
    (tmp_path / "home" / "cache").mkdir(parents=True, mode=0o700)
    os.chown(tmp_path / level, OTHER, OTHER)
    assert f"{tmp_path / level} belongs to user {OTHER}" in refused(tmp_path / "home" / "cache")


@needs_root
def test_what_another_user_leaves_in_a_shared_temporary_folder_is_refused(tmp_path, script):
    """A real second user, a real shared folder: a link and a folder under the name that nnkit takes there."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)

    def as_other(command):
        subprocess.run(["/bin/sh", "-c", command], user=OTHER, group=OTHER, extra_groups=[], cwd=shared, check=True)

    as_other("mkdir -m 755 theirs; ln -s theirs nnkit-0")
    assert f"nnkit-0 is a symbolic link of user {OTHER}" in refused(shared / "nnkit-0")
    as_other("rm nnkit-0; mkdir -m 777 nnkit-0")
    assert f"nnkit-0 belongs to user {OTHER}" in refused(shared / "nnkit-0")
    output = script(
        """
        import warnings, pathlib, tempfile, numpy as np, nnkit as nn
        from nnkit.engine.cache import kernel_cache
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            nn.Sequential(["tanh"]).build((2,)).predict(np.ones((4, 2)))
        print(len(told), told[0].message)
        assert kernel_cache.path == pathlib.Path(tempfile.gettempdir()) / "nnkit-0"
        """,
        NNKIT_CACHE_DIR=None, XDG_CACHE_HOME=None, HOME="/dev/null", TMPDIR=str(shared),
    )  # fmt: skip
    assert output.startswith("1 compiled kernels are not kept on disk")


@needs_root
def test_file_of_another_user_is_not_believed(kept):
    os.chown(kept.path / NAME, OTHER, OTHER)
    assert kept.read(NAME) is None
    assert not (kept.path / NAME).exists()


@needs_owners
def test_file_that_others_may_write_is_not_believed(kept):
    (kept.path / NAME).chmod(0o620)
    assert kept.read(NAME) is None
    assert not (kept.path / NAME).exists()


@needs_owners
def test_link_is_followed_once(tmp_path):
    """/home may be a link; one that is changed later changes nothing."""
    for name in ("first", "second"):
        (tmp_path / name / "cache").mkdir(parents=True, mode=0o700)
    (tmp_path / "home").symlink_to("first")
    kept = KernelCache(tmp_path / "home" / "cache")
    kept.write(NAME, b"x")
    (tmp_path / "home").unlink()
    (tmp_path / "home").symlink_to(tmp_path / "second")
    assert kept.read(NAME) == b"x"
    assert list((tmp_path / "second" / "cache").iterdir()) == []
    assert KernelCache(tmp_path / "home" / "cache").read(NAME) is None


@needs_owners
def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "symbolic link" in refused(tmp_path / "a" / "cache")


@needs_owners
def test_link_to_the_root_is_looked_at_like_any_folder(tmp_path):
    (tmp_path / "a").symlink_to("/")
    assert KernelCache(tmp_path / "a").count() == cache.Cached()
    (tmp_path / "b").symlink_to("/tmp")
    if stat.S_IMODE(os.stat("/tmp").st_mode) & stat.S_IWOTH:
        assert "chmod go-w" in refused(tmp_path / "b")


@needs_root
def test_kernels_that_root_has_made_are_for_all(kept, monkeypatch):
    """As in an image that was built by root."""
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert KernelCache(kept.path).read(NAME) == b"machine code"


def test_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    kept = KernelCache("cache")
    kept.write(NAME, b"x")
    monkeypatch.chdir(tmp_path / "there")
    assert kept.read(NAME) == b"x"
    assert kept.path == tmp_path / "here" / "cache"
    shutil.rmtree(kept.path)
    kept.write(NAME, b"y")
    assert (tmp_path / "here" / "cache" / NAME).exists()
    assert list((tmp_path / "there").iterdir()) == []


@needs_owners
def test_descriptor_that_a_daemon_has_closed_is_not_used(kept, tmp_path):
    (tmp_path / "wrong").mkdir()
    number = kept._folder._descriptor
    taken = os.open(tmp_path / "wrong", os.O_RDONLY)
    os.dup2(taken, number)
    os.close(taken)
    try:
        kept.write(NAME, b"y")
        assert kept.read(NAME) == b"y"
        assert list((tmp_path / "wrong").iterdir()) == []
    finally:
        os.close(number)


def test_system_without_descriptors_of_folders(tmp_path, monkeypatch):
    """Windows: paths do, and owners are the system's own matter."""
    monkeypatch.setattr(cache, "_BY_DESCRIPTOR", False)
    monkeypatch.setattr(cache, "_HAS_OWNERS", False)
    kept = KernelCache(tmp_path / "new" / "cache")
    kept.write(NAME, b"x" * (100 - cache._HEAD))
    assert kept._folder._descriptor is None
    (kept.path / f"{NAME}.1-0f.tmp").write_text("12")
    former = kept.path / "py311-numba0.1-a" / "__pycache__"
    former.mkdir(parents=True)
    (former / "k_forward_0.f-7.py311.nbi").write_text("123")
    (former.parent / "k_forward_0.py").write_text("1234")
    (former.parent / "mine.py").write_text("")
    assert kept.count() == cache.Cached(2, 109)
    os.utime(kept.path / NAME, (0, 0))
    assert kept.read(NAME) == b"x" * (100 - cache._HEAD)
    assert kept.clear(unused=3600) == cache.Cached()
    (kept.path / NAME).write_bytes(b"")
    assert kept.read(NAME) is None
    kept.write(NAME, b"")
    assert kept.clear().kernels == 2
    assert [path.name for path in kept.path.rglob("*")] == ["py311-numba0.1-a", "mine.py"]
    shutil.rmtree(kept.path)
    kept.write(NAME, b"x")
    assert kept.read(NAME) == b"x"


# --------------------------------------------------------------------------------------------- what is believed


def test_no_bit_may_change(mine):
    assert doubled() == (1, 0)
    assert doubled() == (0, 1)
    (path,) = mine.path.iterdir()
    whole = path.read_bytes()
    content = mine.read(path.name)
    places = [*range(cache._HEAD + 8), *np.linspace(cache._HEAD, len(whole) - 1, 60).astype(int)]
    for place in places:
        for bit in range(0, 8, 3):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            assert mine.read(path.name) is None, (place, bit)
            assert not path.exists()
    for changed in (b"", whole[:1], whole[:20], whole[: cache._HEAD], whole[:-1], whole + b"\0", bytes(len(whole))):
        path.write_bytes(changed)
        assert mine.read(path.name) is None
    path.write_bytes(whole)
    assert mine.read(path.name) == content


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-100], lambda whole: whole.replace(b"ELF", b"ELG")])
def test_damaged_kernel_is_compiled_again(mine, damage):
    doubled()
    (path,) = mine.path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    if path.read_bytes() != whole:
        assert doubled() == (1, 0)
    assert doubled() == (0, 1)


def test_what_numba_cannot_read_is_compiled_again(mine):
    """Such as what a development version of Numba wrote that had the same number."""
    doubled()
    (path,) = mine.path.iterdir()
    for content in (b"", b"{}\n", b'{"lanes": 1}\nabc', b"no json\n"):
        mine.write(path.name, content)
        assert doubled() == (1, 0)
        assert doubled() == (0, 1)


def test_symbol_that_nobody_has_registered_does_not_end_the_process(mine):
    """LLVM's linker would: a kernel that names one is compiled again instead."""
    doubled()
    (path,) = mine.path.iterdir()
    about, _, frozen = mine.read(path.name).partition(b"\n")
    symbols, result = loads(frozen)
    strange = dumps(([*symbols, "nnkit_no_such_symbol"], result))
    with pytest.raises(LookupError, match="nnkit_no_such_symbol"):
        Native.thaw(strange)
    mine.write(path.name, about + b"\n" + strange)
    assert doubled() == (1, 0)
    assert doubled() == (0, 1)


def test_file_under_another_name_is_not_believed(kept):
    other = NAME.replace("forward", "backward")
    shutil.copy(kept.path / NAME, kept.path / other)
    assert kept.read(other) is None
    assert kept.read(NAME) == b"machine code"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_is_no_plain_file_is_not_read(kept, tmp_path):
    (tmp_path / "elsewhere").write_bytes((kept.path / NAME).read_bytes())
    for make in (os.mkfifo, lambda path: path.symlink_to(tmp_path / "elsewhere"), lambda path: path.symlink_to("/dev/zero")):
        (kept.path / NAME).unlink(missing_ok=True)
        make(kept.path / NAME)
        assert kept.read(NAME) is None
        assert not os.path.lexists(kept.path / NAME)
    (kept.path / NAME).mkdir()
    before = os.dup(0)  # the lowest number that is free
    os.close(before)
    assert kept.read(NAME) is None
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_file_that_cannot_be_opened_just_now_stays(kept, monkeypatch):
    """Such as when the process has too many open."""

    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(cache.Folder, "read", refuse)
        assert kept.read(NAME) is None
    assert kept.read(NAME) == b"machine code"


# ------------------------------------------------------------------------------------------------ where disks fail


FAILING = """
    import warnings, numpy as np, nnkit as nn, os, shutil, sys, tempfile
    from nnkit.engine.stub import statistics
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        {before}
        out = nn.Sequential(["tanh"]).build((2,)).predict(np.ones((4, 2)))
        {between}
        out = nn.Sequential(["sigmoid"]).build((2,)).predict(np.zeros((4, 2)))
    assert out.tolist() == [[0.5, 0.5]] * 4
    print([str(item.message) for item in told], statistics.compiled > 0)
"""


def told(script, before="pass", between="pass", **environment):
    output = script(FAILING.format(before=before, between=between), **environment)
    messages, compiled = output.strip().rsplit(" ", 1)
    assert compiled == "True"
    return eval(messages)


def test_no_folder_at_all(script, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    (message,) = told(
        script, f"tempfile.tempdir = {str(blocked)!r}", NNKIT_CACHE_DIR=None, XDG_CACHE_HOME=None, HOME=str(blocked),
        LOCALAPPDATA=str(blocked),
    )  # fmt: skip
    assert "cannot be used" in message and "NNKIT_CACHE_DIR" in message


def test_folder_that_was_asked_for_is_not_exchanged_for_another(script, tmp_path):
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "blocked").write_text("")
    (message,) = told(
        script, NNKIT_CACHE_DIR=str(tmp_path / "blocked"), HOME=str(tmp_path / "home"), LOCALAPPDATA=str(tmp_path / "home"),
        XDG_CACHE_HOME=None, TMPDIR=str(tmp_path / "temporary"),
    )  # fmt: skip
    assert str(tmp_path / "blocked") in message
    assert [*(tmp_path / "home").iterdir(), *(tmp_path / "temporary").iterdir()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")
def test_full_disk(script, tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    (message,) = told(script, limit, NNKIT_CACHE_DIR=str(tmp_path / "cache"))
    assert "cannot be written" in message
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners")
def test_read_only_folder(tmp_path, mine, monkeypatch):
    """What is there is used; what is missing is compiled in memory."""
    doubled()
    if os.getuid() == 0:  # root may write everywhere
        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(cache.Folder, "write", refuse)
    else:
        mine.path.chmod(0o500)
    try:
        assert doubled() == (0, 1)
        with pytest.warns(nn.CacheWarning, match="cannot be written") as told:
            for number in "ab":
                mine.write(NAME.replace("0123", f"{number}" * 4), b"x")
        assert len(told) == 1
    finally:
        mine.path.chmod(0o700)


@pytest.mark.parametrize("clear", [lambda path: KernelCache(path).clear(), shutil.rmtree], ids=["cleared", "removed"])
def test_what_is_cleared_while_it_is_written_is_gone_without_a_word(clear, mine, monkeypatch):
    """Between the making of the temporary file and its renaming."""
    replace = os.replace

    def after_clearing(*arguments, **how):
        clear(mine.path)
        return replace(*arguments, **how)

    with monkeypatch.context() as patches:
        patches.setattr(cache.os, "replace", after_clearing)
        mine.write(NAME, b"x")
    assert mine.read(NAME) is None
    assert not mine.refusal
    mine.write(NAME, b"x")
    assert mine.read(NAME) == b"x"


def test_folder_removed_meanwhile_is_made_again(script, tmp_path):
    folder = tmp_path / "a" / "cache"
    assert told(script, between=f"shutil.rmtree({str(folder.parent)!r})", NNKIT_CACHE_DIR=str(folder)) == []
    assert list(folder.iterdir())


def test_folder_removed_for_good(script, tmp_path):
    folder = tmp_path / "a" / "cache"
    gone = f"shutil.rmtree({str(folder.parent)!r}); open({str(folder.parent)!r}, 'w').close()"
    (message,) = told(script, between=gone, NNKIT_CACHE_DIR=str(folder))
    assert str(folder) in message


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_leftovers_of_a_killed_writer_are_pruned(tmp_path, script):
    text = """
        import os, signal
        from nnkit.engine.cache import KernelCache
        os.replace = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        KernelCache(os.environ["NNKIT_CACHE_DIR"]).write("k_a_0123456789abcdef01234567.kernel", b"x")
    """
    script(text, expect=-signal.SIGKILL, NNKIT_CACHE_DIR=str(tmp_path / "cache"))
    (left,) = (tmp_path / "cache").iterdir()
    assert left.suffix == ".tmp"
    KernelCache(tmp_path / "cache").write(NAME, b"x")
    assert left.exists()  # who knows whether its writer is alive
    os.utime(left, (0, left.stat().st_mtime - 120))
    KernelCache(tmp_path / "cache").write(NAME, b"x")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [NAME]


def test_interrupted_writer_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        KernelCache(tmp_path / "cache").write(NAME, b"x")
    assert list((tmp_path / "cache").iterdir()) == []


def test_kernel_in_use_is_not_pruned(kept):
    old = kept.path / NAME
    os.utime(old, (0, 0))
    assert kept.clear(unused=3600).kernels == 1
    kept.write(NAME, b"x")
    os.utime(old, (0, 0))
    assert kept.read(NAME) == b"x"
    assert kept.clear(unused=3600).kernels == 0


@needs_owners
def test_former_folder_that_is_a_link_is_left_alone(kept, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "k_forward_0.py").write_text("")
    (kept.path / "py311-numba0.1-a").symlink_to(elsewhere)
    assert kept.clear().kernels == 1
    assert (elsewhere / "k_forward_0.py").exists()


def test_no_warning_where_all_is_well(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = KernelCache(tmp_path / "cache")
        made.write(NAME, b"x")
        assert (made.read(NAME), made.refusal) == (b"x", "")


# --------------------------------------------------------------------------------------------- other ways to run


def test_optimised_python_loads_and_compiles(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(FAILING.format(before="pass", between="pass")))
    environment = {**os.environ, "NNKIT_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-OO", str(path)], env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout == "[] True\n", done.stderr


def test_package_without_its_source_says_so(tmp_path):
    """Installed as .pyc files alone, nothing can be compiled."""
    package = tmp_path / "nnkit"
    shutil.copytree(Path(nn.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "compileall", "-b", "-q", str(package)], check=True)
    for path in package.rglob("*.py"):
        path.unlink()
    text = """
        import numpy as np, nnkit as nn
        assert nn.__file__.endswith(".pyc")
        try:
            nn.Sequential(["tanh"]).build((2,)).predict(np.ones((4, 2)))
        except nn.KernelError as error:
            print(error)
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    path_of_modules = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "NNKIT_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": path_of_modules}
    done = subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=240)
    assert "with the .py files" in done.stdout, done.stderr
