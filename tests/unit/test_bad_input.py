"""Bad input is refused with an error that says who, what was expected and what came; and nothing is lost."""

import linecache
import pickle

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.container import as_layer
from nnkit.network import network_of
from nnkit.testing.changes import changed
from tests.parts import Scale

X = np.random.default_rng(0).normal(size=(12, 3))
Y = X.sum(axis=1, keepdims=True)
LABELS = np.arange(12) % 2


def regression():
    return nn.Sequential([nn.Linear(2), nn.Tanh(), nn.Linear(1)])


def classification():
    return nn.Sequential([nn.Linear(2)])


def replaced(array, place, value):
    array = np.array(array, dtype=float)
    array[place] = value
    return array


BAD_FITS = {
    "one-dimensional X": (dict(X=X[:, 0]), nn.ShapeError, r"expected X of shape \(N, \.\.\.\), got \(12,\).*reshape\(-1, 1\)"),
    "ragged X": (dict(X=[[1.0, 2.0], [3.0]]), nn.DataError, "X: expected a rectangular array, got rows of different lengths"),
    "object X": (dict(X=np.full((12, 3), "a", object)), nn.DataError, "X: expected numbers, got dtype object"),
    "text X": (dict(X=np.full((12, 3), "a")), nn.DataError, "X: expected numbers, got dtype <U1"),
    "complex X": (dict(X=X + 0j), nn.DataError, "X: expected numbers, got dtype complex128"),
    "NaN in X": (dict(X=replaced(X, (4, 2), np.nan)), nn.DataError, "X: expected finite numbers, got nan in row 4, column 2"),
    "inf in X": (dict(X=replaced(X, (5, 1), -np.inf)), nn.DataError, "X: expected finite numbers, got -inf in row 5, column 1"),
    "NaN in y": (dict(y=replaced(Y, (7, 0), np.nan)), nn.DataError, "y: expected finite numbers, got nan in row 7"),
    "no rows": (dict(X=X[:0], y=Y[:0]), nn.DataError, r"X: expected at least one row .*, got shape \(0, 3\)"),
    "no columns": (dict(X=X[:, :0]), nn.DataError, r"X: expected at least one row and one column, got shape \(12, 0\)"),
    "fewer targets": (dict(y=Y[:7]), nn.ShapeError, r"MSELoss: expected y with 12 rows, as X has, got shape \(7, 1\)"),
    "flat y": (dict(y=Y[:, 0]), nn.ShapeError, r"expected y of shape \(12, 1\) .*, got \(12,\).*y\.reshape\(-1, 1\)"),
    "wide y": (dict(y=np.hstack([Y, Y])), nn.ShapeError, r"expected y of shape \(12, 1\) .*, got \(12, 2\)"),
    "unknown loss": (dict(loss="msee"), nn.RegistryError, "no loss is named 'msee'; did you mean 'mse'"),
    "unknown optimizer": (dict(optimizer="adamm"), nn.RegistryError, "no optimizer is named 'adamm'; did you mean 'adam"),
    "unknown metric": (dict(metrics=["acuracy"]), nn.RegistryError, "no metric is named 'acuracy'; did you mean 'accuracy'"),
    "unknown callback": (dict(callbacks=["early"]), nn.RegistryError, "no callback is named 'early'"),
    "loss of no kind": (dict(loss=3), nn.ParameterError, "loss: expected a loss or the name of one, got 3"),
    "no epochs": (dict(epochs=0), nn.ParameterError, "expected epochs to be an integer of at least 1, got 0"),
    "half an epoch": (dict(epochs=0.5), nn.ParameterError, "expected epochs to be an integer of at least 1, got 0.5"),
    "negative batch": (dict(batch_size=-8), nn.ParameterError, "expected batch_size to be an integer of at least 1, got -8"),
    "unknown engine": (dict(engine="gpu"), nn.ParameterError, "expected engine to be 'compiled' or 'python', got 'gpu'"),
    "no threads": (dict(n_threads=0), nn.ParameterError, "n_threads: expected an integer of at least 1.*, got 0"),
    "bad random state": (dict(random_state="0"), nn.ParameterError, "random_state: expected None, an integer.*, got '0'"),
    "bad progress": (dict(progress="yes"), nn.ParameterError, "progress: expected 'auto', .*True or False, got 'yes'"),
    "few weights": (dict(sample_weight=np.ones(5)), nn.ShapeError, r"sample_weight: expected shape \(12,\).*, got \(5,\)"),
    "negative weight": (dict(sample_weight=replaced(np.ones(12), 3, -1)), nn.DataError, "of at least 0, got -1 in row 3"),
    "no weight": (dict(sample_weight=np.zeros(12)), nn.DataError, "sample_weight: expected at least one positive weight"),
    "NaN weight": (dict(sample_weight=replaced(np.ones(12), 3, np.nan)), nn.DataError, "sample_weight: expected finite"),
    "validation of X alone": (dict(validation_data=X), nn.ParameterError, r"expected validation_data to be \(X, y\)"),
    "narrow validation": (dict(validation_data=(X[:, :2], Y)), nn.ShapeError, r"validation X of shape \(N, 3\), got \(12, 2\)"),
    "NaN in validation": (dict(validation_data=(replaced(X, (1, 0), np.nan), Y)), nn.DataError, "validation X: .* row 1"),
    "flat validation y": (dict(validation_data=(X, Y[:, 0])), nn.ShapeError, r"validation y of shape \(12, 1\)"),
    "split above 1": (dict(validation_split=1.5), nn.ParameterError, r"validation_split to be in \[0, 1\), got 1.5"),
    "negative split": (dict(validation_split=-0.5), nn.ParameterError, r"validation_split to be in \[0, 1\), got -0.5"),
    "split of everything": (dict(validation_split=0.99), nn.ParameterError, "validation_split=0.99 leaves no rows of 12"),
    "both validations": (dict(validation_data=(X, Y), validation_split=0.5), nn.ParameterError, "got both"),
    "unknown monitor": (dict(callbacks=[nn.EarlyStopping("val_loss")]), nn.ParameterError, "monitor to be .*, got 'val_loss'"),
}  # fmt: skip

BAD_LABELS = {
    "too large": (LABELS + 1, nn.DataError, "labels in y from 0 to 1 .*, got 2 in row 1"),
    "negative": (LABELS - 1, nn.DataError, "labels in y from 0 to 1 .*, got -1 in row 0"),
    "reals": (LABELS + 0.0, nn.DataError, "expected y to hold integer class labels, got dtype float64"),
    "text": (LABELS.astype(str), nn.DataError, "y: expected numbers, got dtype <U"),
    "a column": (LABELS[:, None], nn.ShapeError, r"expected y of shape \(12,\) .*, got \(12, 1\); pass y\.ravel\(\)"),
    "no distribution": (np.full((12, 2), 0.7), nn.DataError, r"probabilities that add up to 1, got .*sum 1.4"),
    "negative distribution": (np.tile([1.5, -0.5], (12, 1)), nn.DataError, r"to be in \[0, 1\], got 1.5 at \[0, 0\]"),
}

BAD_TARGETS = {
    "bce": (np.full((12, 1), 1.5), r"BCELoss: expected y to be in \[0, 1\], got 1.5 at \[0, 0\]"),
    "bce_with_logits": (replaced(np.ones((12, 1)), (3, 0), -1), r"expected y to be in \[0, 1\], got -1.0 at \[3, 0\]"),
    "hinge": (np.zeros((12, 1)), r"HingeLoss: expected y to be -1 or 1, got 0.0 at \[0, 0\]"),
    "poisson_nll": (-np.ones((12, 1)), r"PoissonNLLLoss: expected y to be in \[0, inf\], got -1.0"),
}

BAD_PARTS = {
    "negative lr": (lambda: nn.Adam(lr=-1e-3), r"Adam: expected lr to be a number in \(0, inf\), got -0.001"),
    "lr of zero": (lambda: nn.SGD(lr=0), r"SGD: expected lr to be a number in \(0, inf\), got 0"),
    "NaN lr": (lambda: nn.SGD(lr=float("nan")), "SGD: expected lr to be a number in .*, got nan"),
    "text lr": (lambda: nn.SGD(lr="fast"), "SGD: expected lr to be a number in .*, got 'fast'"),
    "large momentum": (lambda: nn.SGD(momentum=1.0), r"SGD: expected momentum to be a number in \[0, 1\), got 1.0"),
    "nesterov alone": (lambda: nn.SGD(nesterov=True), "SGD: expected nesterov to be False where momentum is 0"),
    "negative decay": (lambda: nn.AdamW(weight_decay=-1), "AdamW: expected weight_decay to be a number in .*, got -1"),
    "clip of zero": (lambda: nn.Adam(clip_norm=0), "Adam: expected clip_norm to be a number in .*, got 0"),
    "beta of one": (lambda: nn.Adam(betas=(1.0, 0.9)), r"Adam: expected betas to be two numbers in \[0, 1\)"),
    "one beta": (lambda: nn.Adam(betas=(0.9,)), r"Adam: expected betas to be two numbers in \[0, 1\), got \(0.9,\)"),
    "dropout of one": (lambda: nn.Dropout(1.0), r"Dropout: expected rate to be a number in \[0, 1\), got 1.0"),
    "no features": (lambda: nn.Linear(0), "Linear: expected out_features to be an integer of at least 1, got 0"),
    "half a feature": (lambda: nn.Linear(2.5), "Linear: expected out_features to be an integer of at least 1, got 2.5"),
    "features of 65 bits": (lambda: nn.Linear(2**63), r"Linear: expected out_features to be from -2.*63 to .*, got 9"),
    "words of 65 bits": (lambda: nn.Embedding(2**63, 2), r"Embedding: expected num_embeddings to be from -2.*63 to .*, got 9"),
    "a rate of 65 bits": (lambda: nn.Dropout(2**64), r"Dropout: expected rate to be from -2.*63 to .*, got 1"),
    "a slope of 65 bits": (lambda: nn.LeakyReLU(-(10**30)), r"LeakyReLU: expected negative_slope to be from -2.*63 to "),
    "lr of 400 digits": (lambda: nn.SGD(lr=10**400), r"SGD: expected lr to be from -2.*63 to .*, got 1"),
    "more than addresses": (lambda: nn.Sequential([nn.Linear(2**62)]).build((4,)),
                            r"Linear\(.*\): expected 'weight' to be of a size that can be addressed, got"),
    "reduction": (lambda: nn.MSELoss(reduction="average"),
                  "MSELoss: expected reduction to be 'mean', 'sum' or 'none', got 'average'"),
    "delta": (lambda: nn.HuberLoss(delta=0), r"HuberLoss: expected delta to be a number in \(0, inf\), got 0"),
    "quantile": (lambda: nn.QuantileLoss(quantile=1), r"QuantileLoss: expected quantile to be a number in \(0, 1\), got 1"),
    "gelu": (lambda: nn.GELU("fast"), "GELU: expected approximate to be 'none' or 'tanh', got 'fast'"),
    "warm-up": (lambda: nn.LinearWarmup(0), "LinearWarmup: expected warmup to be a number in .*, got 0"),
    "no layers": (lambda: nn.Sequential([]), "Sequential: expected at least one layer, got an empty list"),
    "a layer for a list": (lambda: nn.Sequential(nn.ReLU()), r"expected a list of layers, got ReLU\(\)"),
    "unknown layer": (lambda: nn.Sequential(["linaer"]), "no layer is named 'linaer'; did you mean 'linear'"),
    "unknown activation": (lambda: nn.Sequential(["rellu"]), "no layer is named 'rellu'; did you mean 'relu'"),
    "a number for a layer": (lambda: nn.Sequential([64]), "expected a layer or the name of one, got 64"),
    "unknown initializer": (lambda: nn.Sequential([nn.Linear(1, weight_init="glorot")]).build((2,)),
                            "no initializer is named 'glorot'; did you mean 'glorot_"),
    "unknown schedule": (lambda: regression().fit(X, Y, optimizer=nn.SGD(schedule="cosin")),
                         "no schedule is named 'cosin'; did you mean 'cosine'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FITS)
def test_fit_refuses(case):
    given, error, message = BAD_FITS[case]
    given = {"X": X, "y": Y, "epochs": 1, **given}
    with pytest.raises(error, match=message) as caught:
        regression().fit(given.pop("X"), given.pop("y"), **given)
    assert isinstance(caught.value, nn.NnkitError)


@pytest.mark.parametrize("case", BAD_LABELS)
def test_cross_entropy_refuses_labels(case):
    y, error, message = BAD_LABELS[case]
    with pytest.raises(error, match=message):
        classification().fit(X, y, loss="cross_entropy", epochs=1)


@pytest.mark.parametrize("loss", BAD_TARGETS)
def test_loss_refuses_targets_out_of_its_range(loss):
    y, message = BAD_TARGETS[loss]
    with pytest.raises(nn.DataError, match=message):
        regression().fit(X, y, loss=loss, epochs=1)


@pytest.mark.parametrize("case", BAD_PARTS)
def test_part_refuses_hyper_parameters(case):
    make, message = BAD_PARTS[case]
    with pytest.raises(nn.NnkitError, match=message):
        make()


def test_wrong_feature_count_is_refused():
    model = regression().build((3,), random_state=0)
    message = r"expected X of shape \(N, 3\), got \(12, 2\)"
    with pytest.raises(nn.ShapeError, match=message):
        model.fit(X[:, :2], Y)
    with pytest.raises(nn.ShapeError, match=message):
        model.predict(X[:, :2])
    with pytest.raises(nn.ShapeError, match=message):
        model.evaluate(X[:, :2], Y)
    with pytest.raises(nn.ShapeError, match=message):
        model.forward(X[:, :2])


def test_one_row_alone_is_refused_with_a_hint():
    with pytest.raises(nn.ShapeError, match=r"got \(3,\); one row alone is X\.reshape\(1, 3\)"):
        regression().build((3,)).predict(X[0])


@pytest.mark.parametrize("call", ["predict", "evaluate", "forward", "backward", "parameters", "gradients", "states", "update"])
def test_unbuilt_model_is_refused(call):
    given = {"evaluate": (X, Y), "parameters": (), "gradients": (), "states": (), "update": (nn.SGD(),)}.get(call, (X,))
    with pytest.raises(nn.NotBuiltError, match=rf"Sequential\.{call}: expected a built model; call fit, or build"):
        getattr(regression(), call)(*given)


def test_backward_before_forward_is_refused():
    with pytest.raises(nn.NotBuiltError, match="expected a forward pass before it"):
        regression().build((3,)).backward(Y)


def test_backward_of_another_shape_is_refused():
    model = regression().build((3,))
    model.forward(X)
    with pytest.raises(nn.ShapeError, match=r"expected grad_out of shape \(12, 1\), as the output, got \(12,\)"):
        model.backward(Y[:, 0])


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(nn.ShapeError, match=r"Reshape\(\(4, -1\)\): expected input rows of 4 numbers .*, got \(6,\)"):
        nn.Sequential([nn.Reshape((4, -1))]).build((6,))
    with pytest.raises(nn.ParameterError, match="PReLU: expected num_parameters to be 1 or 3"):
        nn.Sequential([nn.PReLU(5)]).build((3, 4))
    with pytest.raises(nn.ShapeError, match=r"Linear.*: expected input rows with a feature axis"):
        nn.Sequential([nn.Linear(1)]).build(())


@pytest.mark.parametrize("dtype", ["float16", "int32"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(nn.ParameterError, match=f"expected dtype float32 or float64, got {dtype}"):
        regression().build((3,), dtype=dtype)


def test_named_columns_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(replaced(X, (2, 1), np.nan), columns=["age", "weight", "height"])
    with pytest.raises(nn.DataError, match="got nan in row 2, column weight; impute it or drop the row"):
        regression().fit(frame, Y)
    frame["age"] = "old"
    with pytest.raises(nn.DataError, match=r"X: expected columns of numbers, got 'age' \(str|object\); encode text"):
        regression().fit(frame, Y)


def test_sparse_data_are_refused_with_a_hint_where_they_cannot_be_used():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(nn.ShapeError, match=r"Dropout\(\): expected dense rows, got a sparse matrix; begin with Linear"):
        nn.Sequential([nn.Dropout(), nn.Linear(1)]).fit(sparse.csr_matrix(X), Y)
    with pytest.raises(nn.DataError, match=r"y: expected a dense array, got a sparse .*; pass y\.toarray\(\)"):
        regression().fit(X, sparse.csr_matrix(Y))


def test_refused_data_leave_the_model_as_it_was():
    model = regression()
    model.fit(X, Y, epochs=2, random_state=0)
    before = {name: array.copy() for name, array in model.parameters().items()}
    for case in ("NaN in X", "flat y", "negative weight", "narrow validation"):
        given, error, _ = BAD_FITS[case]
        given = {"X": X, "y": Y, **given}
        with pytest.raises(error):
            model.fit(given.pop("X"), given.pop("y"), **given)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, before[name])


# ------------------------------------------------------------------------------------------------ parts by others


@pytest.mark.parametrize(
    ("method", "piece", "replacement", "message"),
    [
        ("forward", "x, scale", "x, scael", "names 'scael', which nobody provides; did you mean 'scale'"),
        ("forward", "scale, out", "scale", r"expected forward to name \(and write\) out"),
        ("backward", ", grad_scale):", "):", r"expected backward to name \(and write\) grad_scale"),
    ],
)
def test_kernel_that_names_the_wrong_things_is_refused(method, piece, replacement, message):
    part = changed(Scale, method, piece, replacement)
    with pytest.raises(nn.KernelError, match=message):
        nn.Sequential([part()]).build((3,))
    with pytest.raises(nn.KernelError, match=message):
        nn.register("scale_of_this_test")(part)
    assert "scale_of_this_test" not in nn.registry.layers


def test_kernel_that_cannot_be_compiled_is_refused_with_its_name():
    model = nn.Sequential([changed(Scale, "forward", "x[n, j] * scale[j]", "{'a': x}")()]).build((3,))
    with pytest.raises(nn.KernelError, match=r"Scale\.forward: Numba cannot compile this kernel for float32"):
        model.predict(X)


def test_kernel_without_source_is_refused():
    namespace = {}
    exec("def forward(x, scale, out):\n    out[:] = x * scale\n", namespace)
    typed = type("Typed", (Scale,), {"forward": staticmethod(namespace["forward"])})
    model = nn.Sequential([typed()]).build((3,))
    linecache.clearcache()
    with pytest.raises(nn.KernelError, match="expected a function whose source can be read"):
        model.predict(X)


def test_activation_without_static_methods_is_refused():
    class Bad(nn.Activation):
        def forward(self, x):
            return x

        def backward(self, grad_out):
            return grad_out

    with pytest.raises(nn.KernelError, match="Bad: expected forward to be a @staticmethod on scalars"):
        nn.register("bad_of_this_test")(Bad)


def test_taken_and_unfit_names_are_refused():
    class Another(nn.Activation):
        @staticmethod
        def forward(x):
            return x

        @staticmethod
        def backward(grad_out):
            return grad_out

    with pytest.raises(nn.RegistryError, match=r"'relu' is taken by nnkit\.activations\.ReLU; .*Another needs another"):
        nn.register("relu")(Another)
    with pytest.raises(nn.RegistryError, match="expected a snake_case name"):
        nn.register("My Part")(Another)
    with pytest.raises(nn.RegistryError, match="expected a class derived from Layer"):
        nn.register("number")(int)
    assert nn.registry.activations["relu"] is nn.ReLU


def test_optimizer_that_names_the_wrong_things_is_refused():
    class Bad(nn.SGD):
        @staticmethod
        def update(value, grad, momentumm):
            value -= momentumm * grad

    with pytest.raises(nn.KernelError, match="update names 'momentumm', which nobody provides; did you mean 'momentum'"):
        regression().fit(X, Y, optimizer=Bad(), epochs=1)


def test_loss_called_with_wrong_shapes_is_refused():
    with pytest.raises(nn.ShapeError, match=r"expected predictions of shape \(N, \.\.\.\), got \(\)"):
        nn.MSELoss()(1.0, 1.0)
    with pytest.raises(nn.ShapeError, match=r"expected target of shape \(2, 1\) .*nothing is broadcast silently"):
        nn.MSELoss()([[1.0], [2.0]], [1.0, 2.0])
    with pytest.raises(nn.ShapeError, match=r"expected sample_weight of shape \(2,\), got \(3,\)"):
        nn.MSELoss()([[1.0], [2.0]], [[1.0], [2.0]], [1.0, 1.0, 1.0])
    with pytest.raises(nn.ShapeError, match=r"expected predictions of D means and D log-variances, .*, got \(3,\)"):
        nn.GaussianNLLLoss()([[1.0, 2.0, 3.0]], [[1.0]])


# ------------------------------------------------------------------------------------- what other libraries call numbers


def table(**columns):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({name: pandas.array(values, dtype=kind) for name, (values, kind) in columns.items()})


def tensor(**options):
    torch = pytest.importorskip("torch")
    kind = options.pop("dtype", "float32")
    return torch.ones(12, 3, dtype=getattr(torch, kind), **options)


FOREIGN = {
    "a tensor with a gradient": (lambda: tensor(requires_grad=True), r"pass X\.detach\(\)\.cpu\(\)\.float\(\)\.numpy\(\)"),
    "bfloat16": (lambda: tensor(dtype="bfloat16"), r"got Tensor \(.*BFloat16\); of a tensor, pass X\.detach"),
    "a sparse tensor": (lambda: tensor().to_sparse(), r"X: expected numbers that NumPy can read, got Tensor \(.*[Ss]parse"),
    "a tensor of nowhere": (lambda: tensor(device="meta"), "X: expected numbers that NumPy can read, got Tensor"),
    "nullable integers": (lambda: table(a=([1, None] * 6, "Int64"), b=([1] * 12, "Int64"), c=([1] * 12, "Float64")),
                          "X: expected finite numbers, got nan in row 1, column a"),
    "complex": (lambda: X + 0j, "X: expected numbers, got dtype complex128; give the real and the imaginary parts as columns"),
    "dates": (lambda: np.zeros((12, 3), "M8[D]"), r"X: expected numbers, got dtype datetime64\[D\]; .*np\.timedelta64"),
    "durations": (lambda: np.zeros((12, 3), "m8[s]"), r"X: expected numbers, got dtype timedelta64\[s\]; .*np\.timedelta64"),
    "text": (lambda: np.full((12, 3), "a"), "X: expected numbers, got dtype <U1; encode it as numbers first"),
    "records": (lambda: np.zeros(12, "f4,f4,f4"), "X: expected numbers, got dtype .*convert it"),
    "what is masked": (lambda: np.ma.masked_array(X, X > 1), "X: expected numbers everywhere, got a masked array .*filled"),
    "numbers beyond all": (lambda: [[2**70] * 3] * 12, "X: expected numbers, got dtype object"),
    "nothing": (lambda: None, "X: expected numbers, got dtype object"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_array_of_numbers_is_refused(name):
    make, message = FOREIGN[name]
    given = make()
    with pytest.raises(nn.DataError, match=message):
        regression().fit(given, Y)
    if name != "nullable integers":  # what is missing goes through, as NaN does
        with pytest.raises(nn.DataError):
            regression().build((3,)).predict(given)
    with pytest.raises(nn.DataError):
        classification().fit(X, given)


def test_a_nullable_series_is_numbers():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(nn.DataError, match="y: expected finite numbers, got nan in row 1"):
        regression().fit(X, pandas.Series([1, None] * 6, dtype="Int64"))
    whole = [nn.Sequential([nn.Linear(2)]).fit(X, labels, loss="cross_entropy", epochs=2, random_state=0)["loss"]
             for labels in (LABELS, pandas.Series(LABELS, dtype="Int64"))]  # fmt: skip
    assert whole[0] == whole[1]


def test_by_hand_the_same_is_refused():
    given = tensor(requires_grad=True)
    model = regression().build((3,))
    with pytest.raises(nn.DataError, match=r"x\.detach|X\.detach"):
        model.forward(given)
    model.forward(X)
    with pytest.raises(nn.DataError, match=r"grad_out\.detach"):
        model.backward(given[:, :1])
    for arguments in ((given, X), (X, given), (X, X, given[:, 0])):
        with pytest.raises(nn.DataError, match=r"\.detach\(\)"):
            nn.MSELoss()(*arguments)


# --------------------------------------------------------------------------------------------------------------- weights

SHARES = np.linspace(0.0, 1.0, 12)


def weighted(scale, **options):
    """All that becomes of these weights."""
    model = nn.Sequential([nn.Linear(1)])
    weights = SHARES * scale
    history = model.fit(X, Y, epochs=3, batch_size=5, random_state=0, sample_weight=weights, validation_data=(X, Y, weights))
    loss, grad = nn.MSELoss()(np.zeros_like(Y), Y, weights)
    losses = [*history["loss"], *history["val_loss"], model.evaluate(X, Y, sample_weight=weights), loss]
    return [*losses, *grad.ravel(), *network_of(model).vector]


@pytest.mark.parametrize("scale", [1.7e308, 2.0**1000, 2.0**-1000, 1e-310])
def test_of_the_weights_of_a_mean_only_the_ratios_count(scale):
    np.testing.assert_allclose(weighted(scale), weighted(1.0), rtol=1e-5, atol=1e-12)
    if scale in (2.0**1000, 2.0**-1000):
        assert weighted(scale) == weighted(1.0)


@pytest.mark.parametrize("scale", [1e308, 1e-310])
def test_weights_that_a_sum_cannot_have_are_refused(scale):
    with pytest.raises(nn.DataError, match="sample_weight: expected weights of 1e-30 to 1e30 for HalfSquaredErrorLoss"):
        nn.Sequential([nn.Linear(1)]).fit(X, Y, loss="half_squared_error", sample_weight=np.full(12, scale))
    with pytest.raises(nn.DataError, match="divide them by their mean"):
        nn.HalfSquaredErrorLoss()(Y, Y, np.full(12, scale))


@pytest.mark.parametrize("weights", [np.full(12, np.nan), -np.ones(12), np.full(12, np.inf)])
def test_by_hand_weights_are_looked_at(weights):
    with pytest.raises(nn.DataError, match="sample_weight: expected finite weights of at least 0"):
        nn.MSELoss()(Y, Y, weights)


@pytest.mark.parametrize("scale", [1e308, 1e-310])
def test_class_weights_of_any_size(scale):
    def loss(**options):
        net = nn.NNClassifier(layers=[], epochs=3, random_state=0, **options)
        return net.fit(X, LABELS, np.full(12, scale) if options["class_weight"] == "balanced" else None).loss_curve_

    expected = nn.NNClassifier(layers=[], epochs=3, random_state=0).fit(X, LABELS).loss_curve_
    for class_weight in ({0: scale, 1: scale}, "balanced"):
        np.testing.assert_allclose(loss(class_weight=class_weight), expected, rtol=1e-6)
    with pytest.raises(nn.DataError, match="sample_weight: expected finite"):
        nn.NNClassifier(layers=[], class_weight={0: 1e308, 1: 1.0}).fit(X, LABELS, np.full(12, 1e10))


# ------------------------------------------------------------------------------------------------- seeds, and layers within


@pytest.mark.parametrize("seed", [-1, np.int64(-1), 2**200, pytest.param(-(10**6000), id="huge"), float("nan"), "0", True, [1]])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(nn.ParameterError, match=r"random_state: expected None, an integer of at least 0.*; 0 will do"):
        regression().build((3,), random_state=seed)
    with pytest.raises(nn.ParameterError, match="random_state: expected None, an integer of at least 0"):
        regression().fit(X, Y, random_state=seed)


@pytest.mark.parametrize("seed", [-1, 2**70, float("nan"), "0"])
def test_an_estimators_seed_that_is_none_is_refused(seed):
    with pytest.raises(nn.ParameterError, match=r"random_state: expected None, an integer from 0 .*; 0 will do"):
        nn.NNClassifier(random_state=seed).fit(X, LABELS)


def test_seeds_of_128_bits():
    large, small = (network_of(regression().build((3,), random_state=seed)).vector for seed in (2**70, 0))
    assert (large != small).any()


def nested(wrap, times):
    layer = nn.Linear(2)
    for _ in range(times):
        layer = wrap(layer)
    return layer


WRAPPERS = {"models": lambda layer: nn.Sequential([layer]), "lists": lambda layer: [layer], "residual": nn.Residual,
            "branches": lambda layer: nn.Branches(layer, merge="add"), "steps": nn.TimeDistributed}  # fmt: skip


@pytest.mark.parametrize("times", [65, 300, 2000])
@pytest.mark.parametrize("name", WRAPPERS)
def test_layers_too_deep_within_each_other_are_refused(name, times):
    with pytest.raises(nn.ParameterError, match=r"expected (layers|lists)"):
        nn.Sequential([nested(WRAPPERS[name], times)])


@pytest.mark.parametrize("name", ["models", "lists", "residual", "branches"])
def test_layers_as_deep_as_can_be(name, tmp_path):
    deep = nested(WRAPPERS[name], 30 if name == "residual" else 60)
    model = nn.Sequential([deep])
    model.fit(X[:, :2], X[:, :2], epochs=1, random_state=0)
    model.save(tmp_path / "deep.safetensors")
    for again in (nn.load(tmp_path / "deep.safetensors"), pickle.loads(pickle.dumps(model)), model.copy()):
        assert (again.predict(X[:, :2]) == model.predict(X[:, :2])).all()
    assert str(model.summary())
    assert repr(model)


def test_a_layer_within_itself_is_refused():
    model = nn.Sequential([nn.Linear(3)])
    model.layers.append(as_layer(model))
    residual = nn.Residual(nn.Linear(3))
    residual._inner.layers.append(residual)
    endless = [nn.Linear(3)]
    endless.append(endless)
    assert "..." in repr(model)
    for refused in (lambda: model.build((3,)), lambda: model.fit(X, X), lambda: model.copy().build((3,)),
                    lambda: model.summary(in_shape=3), lambda: nn.Sequential([residual]),
                    lambda: nn.Sequential(endless)):  # fmt: skip
        with pytest.raises(nn.ParameterError, match="within"):
            refused()


def test_a_model_among_the_layers_of_another_is_refused_in_words():
    model = nn.Sequential([nn.Linear(3)])
    model.layers.append(nn.Sequential([nn.Linear(3)]))
    with pytest.raises(nn.ParameterError, match=r"layer 1: expected a layer, got Sequential.*for the constructor"):
        model.build((3,))
