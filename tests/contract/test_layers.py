"""Every registered layer and activation keeps every promise of its contract."""

import pytest

import nnkit as nn
from nnkit.testing.checks import checks_of

LAYERS = [example for part in nn.registry.layers.values() for example in part.examples()]
ACTIVATIONS = [example for part in nn.registry.activations.values() for example in part.examples()]


@pytest.mark.parametrize("check", checks_of(nn.Layer))
@pytest.mark.parametrize("example", LAYERS)
def test_layer_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("check", checks_of(nn.Activation))
@pytest.mark.parametrize("example", ACTIVATIONS)
def test_activation_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("part", [*nn.registry.layers.values(), *nn.registry.activations.values()])
def test_every_layer_has_examples(part):
    assert part.examples()
