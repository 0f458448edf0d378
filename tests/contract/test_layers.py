"""Every registered layer and activation keeps every promise of its contract."""

import pytest

import nnkit as nn
from nnkit.testing.checks import ACTIVATION_CHECKS, LAYER_CHECKS

LAYERS = [example for part in nn.registry.layers.values() for example in part.examples()]
ACTIVATIONS = [example for part in nn.registry.activations.values() for example in part.examples()]


def label(item):
    return getattr(item, "__name__", None) or f"{item.part!r}{item.in_shape}"


@pytest.mark.parametrize("check", LAYER_CHECKS, ids=label)
@pytest.mark.parametrize("example", LAYERS, ids=label)
def test_layer_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("check", ACTIVATION_CHECKS, ids=label)
@pytest.mark.parametrize("example", ACTIVATIONS, ids=label)
def test_activation_keeps_its_contract(example, check):
    check(example)


@pytest.mark.parametrize("part", [*nn.registry.layers.values(), *nn.registry.activations.values()], ids=label)
def test_every_layer_has_examples(part):
    assert part.examples()
