"""Files from anybody load as what they were, or are refused; nothing is executed, nothing takes all memory or time.

``NNKIT_MUTANTS=2000`` makes so many of them. As a script, ``test_persistence_fuzz.py FOLDER FIRST COUNT load`` tries mutants in
a process of its own, with little memory and an alarm for each file, and prints what became of them; ``resume`` in the place of
``load`` goes on training from those of a checkpoint.
"""

import copy
import json
import os
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import nnkit as nn
from nnkit.persistence import file as files

resource = pytest.importorskip("resource", reason="Windows has no alarms and no such limits")

COUNT = int(os.environ.get("NNKIT_MUTANTS", "150"))
SECONDS = 60  # for a file; some make a kernel compile for the first time
MEMORY = 2 << 30  # address space beyond what the process has as it begins, which LLVM takes a part of

SHARED = nn.Linear(4)


def originals():
    """What is saved and then broken: one of every way in which a file can be different."""
    random = np.random.default_rng(0)
    X, codes = random.normal(size=(40, 4)), random.integers(0, 3, 40)
    trained = nn.Sequential([nn.Linear(5, weight_init=nn.Constant(0.1)), nn.BatchNorm1d(), "relu", nn.Linear(3)])
    trained.fit(X, codes, loss="cross_entropy", epochs=2, random_state=0,
                optimizer=nn.Adam(schedule=nn.LinearWarmup(after="cosine"), betas=(0.8, 0.9)))  # fmt: skip
    yield "trained", trained
    yield "shared", nn.Sequential([SHARED, "tanh", nn.Residual(SHARED, [nn.ReLU(), SHARED]), nn.Branches(SHARED, "identity")])
    yield "images", nn.Sequential([nn.Conv2d(2, 3, padding=1), nn.MaxPool2d(2), nn.Upsample(scale_factor=2),
                                   nn.AdaptiveAvgPool2d((2, 1)),
                                   nn.Permute((3, 1, 2)), nn.Flatten(), nn.Dropout(0.1)])  # fmt: skip
    yield "sequences", nn.Sequential([nn.Embedding(7, 4, padding_idx=0), nn.LSTM(2, num_layers=2, return_sequences=True),
                                      nn.TimeDistributed([nn.Linear(4)]), nn.MultiHeadAttention(2), nn.GRU(2)])  # fmt: skip
    yield "estimator", nn.NNClassifier([4, nn.Dropout(np.float32(0.1))], epochs=2, random_state=0, class_weight={"a": 2.0},
                                       optimizer=nn.SGD(momentum=0.5)).fit(X, np.array(["a", "b", "c"])[codes])  # fmt: skip
    yield "regressor", nn.NNRegressor([3], epochs=2, random_state=np.random.RandomState(1)).fit(X, X[:, :2])


DATA = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


class Stop(nn.Callback):
    late = True  # when the checkpoint has been written

    def on_batch_end(self, fit):
        if fit.step == 8:
            raise InterruptedError


def train(path=None, callbacks=()):
    """A fit of which all that a checkpoint has is needed: within an epoch, validated, watched, and with what parts note."""
    model = nn.Sequential([nn.Linear(5), nn.BatchNorm1d(), "relu", nn.Dropout(0.2), nn.Linear(2)])
    optimizer = nn.Adam(schedule=nn.LinearWarmup(1, after=nn.ReduceOnPlateau(patience=0)))
    options = {"epochs": 5, "batch_size": 16, "random_state": 1, "validation_split": 0.2, "loss": "cross_entropy"}
    watching = [nn.EarlyStopping(patience=2), nn.Monitor(rows=16)]
    model.fit(DATA, (DATA[:, 0] > 0).astype(int), **options, optimizer=optimizer, callbacks=[*watching, *callbacks],
              resume=False if path is None else path)  # fmt: skip
    return model


def save_checkpoint(folder):
    with pytest.raises(InterruptedError), warnings.catch_warnings():
        warnings.simplefilter("ignore", nn.TrainingWarning)
        train(callbacks=[nn.Checkpoint(folder / "checkpoint.safetensors", every=0.34), Stop()])


def save_originals(folder):
    shapes = {"shared": (4,), "images": (1, 6, 6), "sequences": (5,)}
    for name, model in originals():
        if name in shapes:
            model.build(shapes[name], random_state=0)
        model.save(folder / f"{name}.safetensors")


# ---------------------------------------------------------------------------------------------------------- mutants


def break_bytes(data, random):
    """Anything may happen to bytes."""
    data, place = bytearray(data), int(random.integers(len(data)))
    kind = random.integers(7)
    if kind == 0:
        return data[:place]
    if kind == 1:
        for _ in range(random.integers(1, 5)):
            data[random.integers(len(data))] ^= 1 << random.integers(8)
    elif kind == 2:
        data[place : place + int(random.integers(1, 50))] = random.bytes(int(random.integers(1, 50)))
    elif kind == 3:
        del data[place : place + int(random.integers(1, 50))]
    elif kind == 4:
        size = random.choice([0, 1, len(data) - 8, len(data), 2**31, 2**40, 2**63 - 1])
        data[:8] = int(size).to_bytes(8, "little")
    elif kind == 5:
        data[place : place + 500] = bytes(len(data[place : place + 500]))
    else:
        data += random.bytes(int(random.integers(1, 50)))
    return data


HOSTILE = [
    0, 1, -1, 2, 7, 10**9, 2**31, 2**62, 2**63, 2**64, -(2**63), 10**300, 10**400, 0.0, 0.5, -1.5, 1e308, 1e-308, True,
    False, None, "", "relu", "linear", "adam", "os.system", "__import__('os').system('touch owned')", "nnkit.loading.load",
    "../../owned",
    "\0", "a" * 5000, "__class__", "pickle.loads", "inf", [], {}, [[]], {"a": 1, "b": 2}, [10**9] * 3, [1] * 70,
    {"part": 0}, {"part": 10**9}, {"part": -1}, {"model": 0}, {"model": 3}, {"part": 3}, {"array": "0.weight"},
    {"array": "self_test.x"}, {"floats": "array.0"}, {"tuple": []}, {"tuple": [0]}, {"tuple": [10**9, 10**9]}, {"float": "nan"},
    {"float": "inf"}, {"number": ["float32", 0.5]}, {"number": ["int64", 10**12]}, {"number": ["int8", 300]}, {"dict": []},
    {"dict": [[[], 1]]}, {"strings": [[2], ["a", "b"]]}, {"strings": [[10**9, 10**9], []]}, {"objects": [[1], [{"part": 0}]]},
    {"random_state": ["array.0", 10**9, 0, 0.0]}, {"os": "system"}, {"__reduce__": ["os.system", "touch owned"]},
]  # fmt: skip


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def doubling(times):
    """A table of parts each of which is twice the one before."""
    first = {"kind": "activation", "key": "relu", "arguments": {}, "from": ["nnkit", "0"]}
    twice = [{"kind": "layer", "key": "residual", "arguments": {"layers": {"tuple": [{"part": n}] * 2}}} for n in range(times)]
    return [first, *twice, {"layers": [{"part": times}]}]


def within(depth):
    """A table of parts each of which is within the next."""
    first = {"kind": "activation", "key": "relu", "arguments": {}, "from": ["nnkit", "0"]}
    around = [{"kind": "layer", "key": "residual", "arguments": {"layers": {"tuple": [{"part": n}]}}} for n in range(depth)]
    return [first, *around, {"layers": [{"part": depth}]}]


def places(tree):
    """Every (container, key) of a JSON value."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(value, dict | list):
            yield from places(value)


def break_tree(tree, random):
    """Change a place or two of a JSON value."""
    for _ in range(random.integers(1, 3)):
        every = list(places(tree))
        where, key = every[random.integers(len(every))]
        kind = random.integers(6)
        if kind == 0:
            other, place = every[random.integers(len(every))]
            where[key] = copy.deepcopy(other[place])
        elif kind == 1:
            del where[key]
        elif kind == 2 and isinstance(where, list):
            where.insert(key, copy.deepcopy(where[key]))
        elif kind == 3 and isinstance(where[key], int) and not isinstance(where[key], bool):
            where[key] += int(random.choice([-2, -1, 1, 2, 1000, 10**6, 10**12]))
        else:
            where[key] = copy.deepcopy(HOSTILE[random.integers(len(HOSTILE))])


def break_arrays(arrays, random):
    """Change an array or two."""
    for _ in range(random.integers(1, 3)):
        name = str(random.choice([*arrays]))
        array, kind = arrays[name], random.integers(8)
        if kind == 0:
            del arrays[name]
        elif kind == 1:
            arrays[name] = array.astype(str(random.choice(["float16", "float64", "int64", "bool", "uint8"])))
        elif kind == 2:
            arrays[name] = array.T if array.ndim > 1 else array.reshape(-1)[:-1]
        elif kind == 3:
            arrays[name] = np.zeros(tuple(random.integers(0, 9, random.integers(0, 4))), array.dtype)
        elif kind == 4:
            arrays[name] = np.full_like(array, np.nan if array.dtype.kind == "f" else 1)
        elif kind == 5:
            arrays[str(random.choice(["9.weight", "0.extra", "self_test.y", "array.99", "\0", "../owned"]))] = array
        elif kind == 6:
            arrays[name] = array[..., None, None]
        else:
            other = str(random.choice([*arrays]))
            arrays[name], arrays[other] = arrays[other], arrays[name]
        if not arrays:
            return


def sealed(description, arrays):
    """The bytes of a file with the right checksums, though JSON may be deeper than this can write."""
    return files.encode(description, arrays)


def break_header(data, random):
    """Let the header of the format say something else of the tensors, the rest being as it was."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensor = header[str(random.choice([name for name in header if name != "__metadata__"]))]
    kind = random.integers(5)
    if kind == 0:
        tensor["shape"] = [int(size) for size in random.choice([0, 1, 3, 2**31, 2**62, 2**63 - 1], random.integers(0, 5))]
    elif kind == 1:
        tensor["dtype"] = str(random.choice(["F16", "BF16", "F64", "I64", "F8_E4M3", "BOOL", "object", "C64"]))
    elif kind == 2:
        tensor["data_offsets"] = [int(place) for place in random.choice([0, 4, 10**6, 2**40, 2**63], 2)]
    elif kind == 3:
        break_tree(header, random)
    else:
        header["__metadata__"]["nnkit"] = str(random.choice(["[" * 100_000, "{}", "1" * 5000, "null", '{"a":' * 5000]))
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def mutant(data, seed):
    """The bytes of a broken file, and whether its checksums are right nevertheless."""
    random = np.random.default_rng(seed)
    kind = random.integers(10)
    if kind < 3:
        return break_bytes(data, random), False
    if kind < 4:
        return break_header(data, random), False
    description, arrays = read_bytes(data)
    special = random.integers(25)
    if special == 0:
        description["parts"] = doubling(int(random.choice([8, 30, 200])))
        description["model"]["layers"] = {"model": len(description["parts"]) - 1}
    elif special == 1:
        description["parts"] = within(int(random.choice([50, 300, 2000])))
        description["model"]["layers"] = {"model": len(description["parts"]) - 1}
    elif special == 2:
        where, key = list(places(description))[random.integers(20)]
        where[key] = nested(int(random.choice([100, 400])))
    elif kind < 8:
        break_tree(description, random)
    else:
        break_arrays(arrays, random)
    try:
        return sealed(description, arrays), True
    except (nn.PersistenceError, UnicodeError):  # what cannot even be written
        return break_bytes(data, random), False


_read = {}


def read_bytes(data):
    """Description and arrays of an original, ready to be changed."""
    if data not in _read:
        path = Path(f"original-{len(_read)}")
        path.write_bytes(data)
        _read[data] = files.read(path)
    description, arrays = _read[data]
    return copy.deepcopy(description), dict(arrays)


# ---------------------------------------------------------------------------------------------------------- the trial

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "shutil.rmtree")


def facts(loaded):
    """What can be seen of a model or an estimator, to compare."""
    net = getattr(loaded, "model_", loaded)
    arrays = {**net.parameters(), **net.states()}
    text = repr(loaded) if net is loaded else repr({name: value for name, value in vars(loaded).items() if name[0] != "_"})
    return text.split("RandomState(")[0], net.in_shape, net.dtype, {name: array.tobytes() for name, array in arrays.items()}


def trial(folder, first, count, use):
    """Load mutants or go on from them, one after the other; print what became of them."""
    os.chdir(folder)
    warnings.simplefilter("ignore", nn.TrainingWarning)
    take = {"load": nn.load, "resume": train}[use]
    paths = sorted(Path().glob("*.safetensors"))
    datas = [path.read_bytes() for path in paths]
    for data in datas:
        read_bytes(data)
    known = [facts(take(path)) for path in paths]  # compiles what they need
    before = {*sys.modules}
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if os.path.exists("/proc/self/statm") else 0
    if pages:
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    armed = []

    def watch(event, arguments):
        if armed and event in FORBIDDEN:
            print("forbidden:", event, arguments, flush=True)
            os._exit(3)

    sys.addaudithook(watch)
    outcomes = Counter()
    for seed in range(first, first + count):
        which = seed % len(paths)
        with np.errstate(all="ignore"):
            data, is_sealed = mutant(datas[which], seed)
        Path("mutant").write_bytes(data)
        print("mutant", seed, paths[which].stem, file=sys.stderr, flush=True)
        signal.alarm(SECONDS)  # kills the process, also within compiled code
        armed.append(seed)
        try:
            with np.errstate(all="ignore"):
                loaded = take("mutant")
        except nn.NnkitError as error:
            outcomes["refused, with checksums" if is_sealed else "refused"] += 1
            assert len(str(error)) < 20_000, seed
            fits = isinstance(error, nn.PersistenceError) or "as it was in the fit that is resumed" in str(error)
            assert fits or isinstance(error, nn.NonFiniteError), f"{seed}: {type(error).__name__}: {error}"
        else:
            if is_sealed:
                outcomes["loaded, with checksums"] += 1
                facts(loaded)
            else:
                outcomes["loaded as it was"] += 1
                assert facts(loaded) == known[which], seed
        armed.clear()
        signal.alarm(0)
    assert not list(Path().rglob("owned"))
    strange = {name for name in {*sys.modules} - before if name.partition(".")[0] in ("antigravity", "pickle", "this")}
    assert not strange, strange
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**outcomes, "peak_kilobytes": peak}))


@pytest.mark.parametrize("use", ["load", "resume"])
def test_broken_files_are_taken_as_they_were_or_are_refused(use, tmp_path):
    save_checkpoint(tmp_path)
    if use == "load":
        save_originals(tmp_path)
    command = [sys.executable, "-W", "error", __file__, str(tmp_path), "0", str(COUNT), use]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + COUNT)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    outcomes = json.loads(done.stdout)
    peak = outcomes.pop("peak_kilobytes")
    print(outcomes, peak)
    assert sum(outcomes.values()) == COUNT
    assert outcomes["refused"] > COUNT // 5
    assert outcomes["refused, with checksums"] > COUNT // 5  # what is behind the checksums is reached
    assert outcomes["loaded, with checksums"] > 0  # where a change changes nothing that can be seen, or something legal


if __name__ == "__main__":
    trial(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
