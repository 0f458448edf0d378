"""Every registered schedule, initializer, metric and callback keeps its contract."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.testing.checks import repr_can_be_typed_back_in

SCHEDULES = [example for part in nn.registry.schedules.values() for example in part.examples()]
INITIALIZERS = [example for part in nn.registry.initializers.values() for example in part.examples()]
OTHERS = [example for registry in (nn.registry.metrics, nn.registry.callbacks) for part in registry.values()
          for example in part.examples()]  # fmt: skip
TIMES = np.linspace(0.0, 10.0, 201)[:-1]
SHAPES = [(), (7,), (0,), (64, 32), (8, 4, 3, 3)]


@pytest.mark.parametrize("example", [*SCHEDULES, *INITIALIZERS, *OTHERS])
def test_repr_can_be_typed_back_in(example):
    repr_can_be_typed_back_in(example)


@pytest.mark.parametrize("example", SCHEDULES)
def test_factor_is_finite_and_between_0_and_1(example):
    factor = example.part.factor(TIMES, 10.0)
    assert factor.shape == TIMES.shape
    assert factor.dtype == np.float64
    assert (factor >= 0).all()
    assert (factor <= 1 + 1e-12).all()
    assert factor.max() > 0


@pytest.mark.parametrize("example", SCHEDULES)
def test_factor_of_many_times_equals_one_by_one(example):
    one_by_one = np.concatenate([example.part.factor(TIMES[i : i + 1], 10.0) for i in range(len(TIMES))])
    np.testing.assert_array_equal(example.part.factor(TIMES, 10.0), one_by_one)


@pytest.mark.parametrize("example", SCHEDULES)
def test_fit_follows_the_schedule(example):
    X, y = np.ones((4, 2)), np.zeros((4, 1))
    optimizer = nn.SGD(lr=0.5, schedule=example.part)
    history = nn.Sequential(["linear"]).fit(X, y, optimizer=optimizer, epochs=4, batch_size=2, random_state=0)
    last_steps = np.arange(4) + 0.5  # of two steps an epoch
    np.testing.assert_allclose(history["lr"], 0.5 * example.part.factor(last_steps, 4.0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("example", INITIALIZERS)
def test_initializer_fills_the_shape_from_the_seed_alone(example, shape):
    first, again = (example.part(shape, np.random.default_rng(3)) for _ in range(2))
    assert np.shape(first) == shape
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("key", nn.registry.initializers)
def test_initializer_serves_a_layer_by_name(key):
    model = nn.Sequential([nn.Linear(3, weight_init=key)]).build((4,), random_state=0)
    assert np.isfinite(model.parameters()["0.weight"]).all()


@pytest.mark.parametrize("key", nn.registry.schedules)
def test_schedule_serves_an_optimizer_by_name(key):
    history = nn.Sequential(["linear"]).fit(np.ones((2, 1)), np.ones((2, 1)), optimizer=nn.SGD(schedule=key), epochs=1)
    assert history["lr"][0] <= 0.01
