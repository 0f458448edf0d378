"""Arrays of every dtype, byte order and memory layout: the same numbers give the same bits, whatever they are kept in."""

from functools import partial

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import nnkit as nn

RNG = np.random.default_rng(0)
X = RNG.integers(0, 3, (24, 4)).astype(float)
LABELS = np.arange(24) % 3
Y = X[:, :1] * 0.5


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = memory.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS = {
    **{kind: partial(np.asarray, dtype=kind)
       for kind in ("<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "g", "i1", ">i2", "<i4", ">i4", "<i8", ">i8", "u1", ">u2", ">u8",
                    "<u8", "q", "Q", "l", "L")},
    "big-endian longdouble": lambda array: array.astype(np.dtype("g").newbyteorder()),
    "objects": lambda array: array.astype(object),
    "objects of integers": lambda array: array.astype(int).astype(object),
    "Fortran": np.asfortranarray,
    "reversed": lambda array: array[::-1].copy()[::-1],
    "reversed columns": lambda array: array[..., ::-1].copy()[..., ::-1] if array.ndim > 1 else array,
    "every second": lambda array: np.repeat(array, 2, axis=0)[::2],
    "unaligned": unaligned,
    "unaligned, big-endian": lambda array: unaligned(array.astype(">f4")),
    "read-only": read_only,
    "lists": lambda array: array.tolist(),
}  # fmt: skip
WHOLE = [name for name, form in FORMS.items() if np.asarray(form(LABELS)).dtype.kind in "iu" or name == "objects of integers"]


def fitted(x, y, **more):
    net = nn.Sequential([nn.Linear(5), nn.Tanh(), nn.Linear(3 if more.get("loss") == "cross_entropy" else 1)])
    net.fit(x, y, epochs=2, batch_size=8, random_state=0, n_threads=1, **more)
    return net.predict(x).tobytes(), net.evaluate(x, y)


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_any_kind(form):
    assert fitted(FORMS[form](X), Y) == fitted(X, Y)


@pytest.mark.parametrize("form", FORMS)
def test_targets_and_weights_of_any_kind(form):
    y = np.rint(Y * 2)
    weight = 1.0 + LABELS
    assert fitted(X, FORMS[form](y), sample_weight=FORMS[form](weight)) == fitted(X, y, sample_weight=weight)


@pytest.mark.parametrize("form", WHOLE)
def test_labels_of_any_kind(form):
    labels = FORMS[form](LABELS)
    assert fitted(X, labels, loss="cross_entropy") == fitted(X, LABELS, loss="cross_entropy")


def test_labels_of_truth_values_and_from_a_file(tmp_path):
    flags = LABELS == 1
    assert fitted(X, flags, loss="cross_entropy") == fitted(X, flags.astype(int), loss="cross_entropy")
    LABELS.astype(">i8").tofile(tmp_path / "labels")
    X.astype(">f8").tofile(tmp_path / "rows")
    rows = np.memmap(tmp_path / "rows", ">f8", "r", shape=X.shape)
    labels = np.memmap(tmp_path / "labels", ">i8", "r")
    assert fitted(rows, labels, loss="cross_entropy") == fitted(X, LABELS, loss="cross_entropy")


@pytest.mark.parametrize("kind", [">i8", "<i8", ">u8", "<u8"])
def test_labels_beyond_float64_are_not_rounded(kind):
    wrong = LABELS.astype(kind)
    wrong[3] = 2**53 + 1
    with pytest.raises(nn.DataError, match="got 9007199254740993 in row 3"):
        fitted(X, wrong, loss="cross_entropy")


@pytest.mark.parametrize("form", [name for name in WHOLE if name != "lists"])
def test_indices_of_an_embedding(form):
    def out(rows):
        return nn.Sequential([nn.Embedding(3, 2), nn.Flatten(), nn.Linear(1)]).build((4,), random_state=0).predict(rows)

    np.testing.assert_array_equal(out(FORMS[form](X)), out(X.astype(int)))


@pytest.mark.parametrize("real", ["f4", "f8"])
def test_byte_order_is_no_dtype_of_its_own(real):
    prediction = RNG.normal(size=(24, 3)).astype(real)
    swapped = prediction.astype(f">{real}")
    for loss, target in ((nn.CrossEntropyLoss(), LABELS), (nn.MSELoss(), np.tile(Y, 3))):
        value, grad = loss(prediction, target)
        other, same = loss(swapped, target.astype(target.dtype.newbyteorder()), np.ones(24, ">f8"))
        assert type(value) is type(other) and value == other and grad.dtype == same.dtype
        np.testing.assert_array_equal(grad, same)
    rows = X.astype(real)
    net = nn.Sequential([nn.Linear(2)]).build((4,), random_state=0, dtype=np.dtype(f">{real}"))
    assert net.dtype == np.dtype(real).name
    np.testing.assert_array_equal(net.forward(rows.astype(f">{real}")), net.forward(rows))
    grad = RNG.normal(size=(24, 2)).astype(real)
    np.testing.assert_array_equal(net.backward(grad.astype(f">{real}")), net.backward(grad))
    net.parameters()["0.weight"] = np.ones((4, 2), f">{real}")
    assert (net.parameters()["0.weight"] == 1).all()


@pytest.mark.parametrize("kind", [">f4", "<f4", ">f8"])
def test_an_estimator_computes_in_the_dtype_of_its_rows(kind):
    net = nn.NNRegressor(layers=[4], epochs=1, random_state=0).fit(X.astype(kind), Y[:, 0].astype(">f4"))
    assert net.model_.dtype == np.dtype(kind).newbyteorder("=").name
    np.testing.assert_array_equal(net.predict(X.astype(kind)), net.predict(X))
    sparse = csr_matrix(X)
    sparse.data = sparse.data.astype(kind)
    assert nn.NNRegressor(layers=[4], epochs=1).fit(sparse, Y[:, 0]).model_.dtype == net.model_.dtype


@pytest.mark.parametrize("kind", [">i8", ">i2", ">u8", ">f8", ">U3", "?"])
def test_labels_of_an_estimator_keep_their_kind_and_are_saved(kind, tmp_path):
    labels = np.array([0, 1, 1] if kind == "?" else [1, 20, 3])[LABELS].astype(kind)
    if kind == ">i8":
        labels[labels == 3] = 2**53 + 1
    net = nn.NNClassifier(layers=[4], epochs=1, random_state=0).fit(X, labels)
    assert net.classes_.dtype == labels.dtype.newbyteorder("=") and net.classes_.tolist() == sorted(set(labels.tolist()))
    net.save(tmp_path / "net")
    np.testing.assert_array_equal(nn.load(tmp_path / "net").predict(X), net.predict(X))


def test_what_is_too_large_for_float64_is_infinite_without_a_warning():
    if np.finfo(np.longdouble).max == np.finfo(float).max:
        pytest.skip("longdouble is float64 here")
    rows = X.astype(np.longdouble)
    rows[2, 1] = np.longdouble("1e4000")
    with pytest.raises(nn.DataError, match="got inf in row 2, column 1"):
        fitted(rows, Y)


@pytest.mark.parametrize("kind", ["S1", "U1", "M8[D]", "m8[s]", "c16", "f4,f4"])
@pytest.mark.parametrize("order", "<>")
def test_what_is_no_number_in_any_byte_order(kind, order):
    array = np.zeros((24, 4), np.dtype(kind).newbyteorder(order))
    with pytest.raises(nn.DataError, match="X: expected numbers, got dtype"):
        fitted(array, Y)


@pytest.mark.parametrize(
    ("cells", "told"),
    [([1, None], "got nan in row 0, column 1"), ([1, "a"], "got dtype object"), ([1, 2**70], "got dtype object"),
     ([0.5, 2**2000], "got dtype object"), ([None, None], "got dtype object"), ([1, 1j], "got dtype object")],
)  # fmt: skip
def test_objects_that_are_not_all_numbers(cells, told):
    rows = np.tile(np.array(cells * 2, object), (24, 1))
    with pytest.raises(nn.DataError, match=told):
        fitted(rows, Y)
