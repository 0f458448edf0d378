"""Adding a part touches one place: a class in a module makes it known to everything that works on all parts."""

import os
import subprocess
import sys
import textwrap

import pytest

PARTS = '''
    import numpy as np
    import nnkit as nn


    @nn.register("new_layer")
    class NewLayer(nn.Layer):
        folds_rows = True

        def build(self, in_shape):
            self.parameter("offset", in_shape[-1:])
            return in_shape

        @staticmethod
        def forward(x, offset, out):
            for n in range(x.shape[0]):
                for j in range(x.shape[1]):
                    out[n, j] = x[n, j] + offset[j]

        @staticmethod
        def backward(grad_out, grad_x, grad_offset):
            grad_offset[:] = 0.0
            for n in range(grad_out.shape[0]):
                for j in range(grad_out.shape[1]):
                    grad_x[n, j] = grad_out[n, j]
                    grad_offset[j] += grad_out[n, j]


    @nn.register("new_activation")
    class NewActivation(nn.Activation):
        @staticmethod
        def forward(x):
            return x * abs(x)

        @staticmethod
        def backward(grad_out, x):
            return 2.0 * abs(x) * grad_out


    @nn.register("new_loss")
    class NewLoss(nn.Loss):
        @staticmethod
        def forward(prediction, target):
            return (prediction - target) ** 4.0

        @staticmethod
        def backward(prediction, target):
            return 4.0 * (prediction - target) ** 3.0


    @nn.register("new_optimizer")
    class NewOptimizer(nn.Optimizer):
        def __init__(self, lr=0.01):
            self.lr = lr

        @staticmethod
        def update(value, grad, lr):
            for i in range(value.shape[0]):
                value[i] -= lr * grad[i]


    @nn.register("new_initializer")
    class NewInitializer(nn.Initializer):
        def __call__(self, shape, random):
            return random.integers(0, 2, shape).astype(float)


    @nn.register("new_schedule")
    class NewSchedule(nn.Schedule):
        def factor(self, epoch, epochs):
            return 1.0 / (1.0 + epoch)


    @nn.register("new_metric")
    class NewMetric(nn.Metric):
        def __call__(self, y, prediction, loss, sample_weight=None):
            return float(np.abs(y - prediction).max())


    @nn.register("new_callback")
    class NewCallback(nn.Callback):
        epochs_seen = 0

        def on_epoch_end(self, fit):
            NewCallback.epochs_seen += 1


    @nn.register("new_trainer")
    class NewTrainer(nn.Trainer):
        def iterate(self, problem, states):
            theta, gradient, rate = problem.position(), np.zeros(problem.size), 1.0
            loss = problem.value_and_grad(gradient)
            problem.move(theta - gradient)
            while problem.value() > loss and rate > 1e-9:
                rate /= 2
                problem.move(theta - rate * gradient)
            return nn.Iteration(problem.value())
'''
USE = """
    import new_parts, numpy as np, nnkit as nn

    for kind in nn.registry.__all__:
        (name,) = [name for name in getattr(nn.registry, kind) if name.startswith("new_")]
        print(kind, name)
    X = np.random.default_rng(0).normal(size=(32, 3))
    model = nn.Sequential([nn.Linear(4, weight_init="new_initializer"), "new_layer", "new_activation", nn.Linear(1)])
    history = model.fit(X, X[:, :1], loss="new_loss", optimizer=nn.Adam(schedule="new_schedule"), metrics=["new_metric"],
                        callbacks=["new_callback"], epochs=2, random_state=0)
    print(len(history["new_metric"]), new_parts.NewCallback.epochs_seen)
    model.fit(X, X[:, :1], optimizer="new_optimizer", epochs=1)
    model.fit(X, X[:, :1], optimizer="new_trainer", epochs=1)
"""
LISTED = """
    import new_parts
    from benchmarks.kernels import examples

    print(*[type(example.part).__name__ for kind in ("layers", "activations", "losses", "optimizers")
            for example in examples(kind) if "new_" in example.part.key])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "new_parts.py").write_text(textwrap.dedent(PARTS))
    return folder


def test_new_parts_are_in_the_registry_and_serve_by_name(script, folder):
    *listed, used = script(USE, PYTHONPATH=str(folder)).splitlines()
    kinds = ["activations", "callbacks", "initializers", "layers", "losses", "metrics", "optimizers", "schedules",
             "trainers"]  # fmt: skip
    names = ["activation", "callback", "initializer", "layer", "loss", "metric", "optimizer", "schedule", "trainer"]
    assert listed == [f"{kind} new_{name}" for kind, name in zip(kinds, names, strict=True)]
    assert used == "2 2"


def test_new_parts_are_in_the_contract_suite(folder, request):
    root = request.config.rootpath
    command = [sys.executable, "-m", "pytest", "-p", "new_parts", "-k", "New", "-p", "no:cacheprovider", "--verbose",
               str(root / "tests" / "contract"), "--ignore", __file__]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    for check, part in [("indices_are_in_range", "NewLayer"), ("nan_stays_nan", "NewActivation"),
                        ("loss_gradient_is_the_derivative", "NewLoss"), ("update_descends", "NewOptimizer"),
                        ("shapes_are_filled_from_the_seed_alone", "NewInitializer"),
                        ("factor_is_between_0_and_1", "NewSchedule"), ("repr_can_be_typed_back_in", "NewMetric"),
                        ("repr_can_be_typed_back_in", "NewCallback"), ("iterations_descend", "NewTrainer")]:  # fmt: skip
        assert any(check in line and part in line and "PASSED" in line for line in done.stdout.splitlines()), (check, part)


def test_new_parts_are_in_the_benchmark_list(script, folder, request):
    output = script(LISTED, PYTHONPATH=os.pathsep.join([str(folder), str(request.config.rootpath)]))
    assert output == "NewLayer NewActivation NewLoss NewOptimizer\n"
