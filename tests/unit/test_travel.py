"""Parts that are defined in a script or a notebook work in the processes of a search, given or named."""

import textwrap

import pytest

joblib = pytest.importorskip("joblib")

PARTS = """
import numpy as np
import nnkit as nn
from nnkit.kernels.math import exp
from sklearn.model_selection import GridSearchCV, cross_val_score

HALF = 0.5
rng = np.random.default_rng(0)
X, y = rng.normal(size=(90, 4)), np.arange(90) % 3

@nn.register("my_act")
class MyAct(nn.Activation):
    @staticmethod
    def forward(x):
        return x + damped(x)

    @staticmethod
    def backward(grad_out, x):
        return grad_out * (1.0 + (1.0 - x) * exp(-x) * HALF)

def damped(x):
    return HALF * x * exp(-x)

@nn.register("my_layer")
class MyLayer(nn.Layer):
    def __init__(self, gain: float = 2.0):
        self.gain = gain

    @staticmethod
    def forward(x, gain, out):
        for n in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[n, j] = gain * x[n, j]

    @staticmethod
    def backward(grad_out, gain, grad_x):
        for n in range(grad_x.shape[0]):
            for j in range(grad_x.shape[1]):
                grad_x[n, j] = gain * grad_out[n, j]

@nn.register("my_loss")
class MyLoss(nn.Loss):
    @staticmethod
    def forward(prediction, target):
        return (prediction - target) ** 2

    @staticmethod
    def backward(prediction, target):
        return 2.0 * (prediction - target)

@nn.register("my_descent")
class MyDescent(nn.Optimizer):
    @staticmethod
    def update(value, grad, lr):
        for i in range(value.shape[0]):
            value[i] -= lr * grad[i]

@nn.register("my_callback")
class MyCallback(nn.Callback):
    def on_epoch_end(self, fit):
        return None

@nn.register("my_metric")
class MyMetric(nn.Metric):
    def __call__(self, target, prediction):
        return 1.0

@nn.register("my_schedule")
class MySchedule(nn.Schedule):
    def factor(self, times):
        return np.ones_like(times)
"""

SEARCHES = """
given = nn.NNClassifier(layers=[nn.Linear(4), MyLayer(3.0), MyLayer, MyAct()], optimizer=MyDescent(lr=0.01), epochs=2,
                        callbacks=[MyCallback()], random_state=0)
named = nn.NNClassifier(layers=[nn.Linear(4), "my_layer", "my_act"], optimizer="my_descent", callbacks=["my_callback"],
                        epochs=2, random_state=0)
for estimator in (given, named):
    both = [cross_val_score(estimator, X, y, n_jobs=jobs, cv=3, error_score="raise") for jobs in (1, 2)]
    assert (both[0] == both[1]).all(), both
grid = {"layers": [["my_act"], [MyLayer], [MyAct()]], "optimizer": ["my_descent"], "loss": ["my_loss"]}
search = GridSearchCV(nn.NNRegressor(epochs=2, random_state=0), grid, n_jobs=2, cv=2, error_score="raise").fit(X, y)
print(np.isfinite(search.cv_results_["mean_test_score"]).all())
"""


def test_in_a_script(script):
    assert script(PARTS + SEARCHES) == "True\n"


def test_in_a_notebook_where_a_part_is_written_again(notebook):
    again = PARTS[PARTS.index('@nn.register("my_layer")') : PARTS.index('@nn.register("my_loss")')].replace("gain *", "0.0 *")
    scores = """
        once = [cross_val_score(nn.NNClassifier(layers=["my_layer"], epochs=2, random_state=0), X, y, cv=2, n_jobs=jobs,
                                error_score="raise") for jobs in (1, 2)]
        print((once[0] == once[1]).all())
    """
    end = "from joblib.externals.loky import get_reusable_executor\nget_reusable_executor().shutdown()"
    cells = [PARTS, SEARCHES, textwrap.dedent(scores), again, textwrap.dedent(scores), end]
    _, outputs = notebook(cells)
    assert [item["text"] for cell in outputs for item in cell if item["output_type"] == "stream"] == ["True\n"] * 3


WEIGHTED = """
import enum
from dataclasses import dataclass
import numpy as np
import nnkit as nn

class Sign(enum.IntEnum):
    PLUS = 1
    MINUS = -1

@dataclass(frozen=True)
class Sizes:
    half: float = 0.5

SIZES = Sizes()

class Powers:
    @staticmethod
    def square(x):
        return x * x

@nn.register("weighted_error")
class WeightedError(nn.Loss):
    rowwise = classes = True

    def __init__(self, *, class_weight=None, sign=Sign.PLUS, reduction="mean"):
        self.class_weight = class_weight
        self.sign = sign
        super().__init__(reduction=reduction)

    @staticmethod
    def forward(prediction, label, class_weight, sign):
        weight = SIZES.half if class_weight is None else class_weight[label]
        return weight * Powers.square(prediction[label] - sign * Sign.PLUS)

    @staticmethod
    def backward(prediction, label, class_weight, sign, grad_prediction):
        weight = SIZES.half if class_weight is None else class_weight[label]
        for k in range(prediction.shape[0]):
            grad_prediction[k] = 0.0
        grad_prediction[label] = 2.0 * weight * (prediction[label] - sign)

X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
"""


def test_what_kernels_name_goes_along(script):
    """Members of enumerations, fields of dataclasses, functions of classes; given to pools, copied and searched over."""
    text = """
        import joblib
        from sklearn.base import clone
        from sklearn.model_selection import GridSearchCV

        def fitted(loss):
            return nn.NNClassifier(layers=[], loss=loss, epochs=1, random_state=0).fit(X, y).decision_function(X)

        losses = [WeightedError(), WeightedError(class_weight=(0.5, 2.0)), WeightedError(class_weight=np.array([0.5, 2.0]))]
        jobs = [joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(fitted)(loss) for loss in losses)
                for backend in ("loky", "sequential")]
        assert np.array_equal(*jobs)
        assert not np.array_equal(jobs[0][0], jobs[0][1]) and np.array_equal(jobs[0][1], jobs[0][2])
        grid = {"loss__class_weight": [None, (1.0, 2.0), np.array([1.0, 2.0])], "loss__sign": list(Sign)}
        estimator = clone(nn.NNClassifier(layers=[], loss=WeightedError(), epochs=1, random_state=0))
        print(len(GridSearchCV(estimator, grid, n_jobs=2, cv=2, error_score="raise").fit(X, y).cv_results_["params"]))
    """
    assert script(WEIGHTED + textwrap.dedent(text)) == "6\n"


def test_files_name_the_import_that_is_missing(script, tmp_path):
    """A module's parts are found by name where it has been imported; elsewhere the message says what to import."""
    (tmp_path / "my_parts.py").write_text(WEIGHTED)
    begin = "import os, sys\nfrom pathlib import Path\nos.chdir(os.path.dirname(__file__))\nsys.path.insert(0, '.')\n"
    make = """
        import pickle
        from my_parts import *
        loss = WeightedError(class_weight=np.array([0.5, 2.0]), sign=-1)
        est = nn.NNClassifier(layers=[], loss=loss, epochs=1, random_state=0).fit(X, y)
        est.save("net.safetensors")
        Path("net.pickle").write_bytes(pickle.dumps(est))
        Path("named.pickle").write_bytes(pickle.dumps(nn.NNClassifier(layers=[], loss="weighted_error", epochs=1)))
        np.save("out.npy", est.decision_function(X))
        print(est)
    """
    made = script(begin + textwrap.dedent(make))
    again = """
        import pickle
        import numpy as np, nnkit as nn
        try:
            nn.load("net.safetensors")
        except nn.PersistenceError as error:
            print(error)
        named = pickle.loads(Path("named.pickle").read_bytes())
        assert named.fit(np.zeros((4, 2)), [0, 1, 0, 1]).loss == "weighted_error"
        import my_parts
        for estimator in (nn.load("net.safetensors"), pickle.loads(Path("net.pickle").read_bytes())):
            assert np.array_equal(estimator.decision_function(my_parts.X), np.load("out.npy"))
            assert estimator.fit(my_parts.X, my_parts.y)
            print(estimator)
    """
    error, *shown = script(begin + textwrap.dedent(again)).splitlines()
    assert "'weighted_error' is missing" in error
    assert "import my_parts before nnkit.load" in error
    assert shown == 2 * made.splitlines()


def test_a_name_of_this_process_stays_what_it_is(script):
    """And a pickle whose module is nowhere to be found can be read, as long as nobody asks for its parts."""
    text = """
        import pickle
        est = pickle.dumps(nn.NNClassifier(layers=["my_act"]))
        before = nn.registry.activations["my_act"]
        pickle.loads(est)
        assert nn.registry.activations["my_act"] is before
        open("estimator.pickle", "wb").write(est)
    """
    script(PARTS + "import os; os.chdir(os.path.dirname(__file__))" + textwrap.dedent(text))
    elsewhere = """
        import os, pickle
        os.chdir(os.path.dirname(__file__))
        import numpy as np
        import nnkit as nn

        @nn.register("my_loss")
        class Mine(nn.Loss):
            @staticmethod
            def forward(prediction, target):
                return prediction * target

            @staticmethod
            def backward(prediction, target):
                return target

        estimator = pickle.load(open("estimator.pickle", "rb"))
        print(nn.registry.losses["my_loss"] is Mine)
        print(estimator.set_params(epochs=1).fit(np.zeros((4, 2)), [0, 1, 0, 1]).predict(np.zeros((1, 2))).shape)
    """
    assert script(elsewhere) == "True\n(1,)\n"
