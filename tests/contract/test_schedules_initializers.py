"""Every registered schedule, initializer, metric, callback and trainer keeps its contract."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.testing.others import INITIALIZER_CHECKS, SCHEDULE_CHECKS
from nnkit.testing.part import PART_CHECKS
from nnkit.testing.trainers import TRAINER_CHECKS

SCHEDULES = [example for part in nn.registry.schedules.values() for example in part.examples()]
INITIALIZERS = [example for part in nn.registry.initializers.values() for example in part.examples()]
TRAINERS = [example for part in nn.registry.trainers.values() for example in part.examples()]
OTHERS = [example for registry in (nn.registry.metrics, nn.registry.callbacks) for part in registry.values()
          for example in part.examples()]  # fmt: skip


@pytest.mark.parametrize("check", SCHEDULE_CHECKS)
@pytest.mark.parametrize("example", SCHEDULES)
def test_schedule_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("check", INITIALIZER_CHECKS)
@pytest.mark.parametrize("example", INITIALIZERS)
def test_initializer_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("check", TRAINER_CHECKS)
@pytest.mark.parametrize("example", TRAINERS)
def test_trainer_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("check", PART_CHECKS)
@pytest.mark.parametrize("example", OTHERS)
def test_metric_or_callback_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("example", SCHEDULES)
def test_fit_follows_the_schedule(example):
    X, y = np.ones((4, 2)), np.zeros((4, 1))
    optimizer = nn.SGD(lr=0.5, schedule=example.part)
    history = nn.Sequential(["linear"]).fit(X, y, optimizer=optimizer, epochs=4, batch_size=2, random_state=0)
    last_steps = np.arange(4) + 0.5  # of two steps an epoch
    np.testing.assert_allclose(history["lr"], 0.5 * example.part.factor(last_steps, 4.0))


@pytest.mark.parametrize("key", nn.registry.initializers)
def test_initializer_serves_a_layer_by_name(key):
    model = nn.Sequential([nn.Linear(3, weight_init=key)]).build((4,), random_state=0)
    assert np.isfinite(model.parameters()["0.weight"]).all()


@pytest.mark.parametrize("key", [key for key, part in nn.registry.schedules.items() if part.examples()])
def test_schedule_serves_an_optimizer_by_name(key):
    history = nn.Sequential(["linear"]).fit(np.ones((2, 1)), np.ones((2, 1)), optimizer=nn.SGD(schedule=key), epochs=1)
    assert history["lr"][0] <= 0.01
