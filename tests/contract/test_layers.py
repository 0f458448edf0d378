"""Every registered layer and activation keeps every promise of its contract."""

import pytest

import nnkit as nn
from tests.promises import checks, examples

LAYERS = examples(nn.registry.layers.values())
ACTIVATIONS = examples(nn.registry.activations.values())


@pytest.mark.parametrize("check", checks(nn.Layer))
@pytest.mark.parametrize("example", LAYERS)
def test_layer_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("check", checks(nn.Activation))
@pytest.mark.parametrize("example", ACTIVATIONS)
def test_activation_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("part", [*nn.registry.layers.values(), *nn.registry.activations.values()])
def test_every_layer_has_examples(part):
    assert part.examples()
