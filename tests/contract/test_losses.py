"""Every registered loss keeps every promise of its contract."""

import pytest

import nnkit as nn
from nnkit.testing.checks import checks_of

LOSSES = [example for part in nn.registry.losses.values() for example in part.examples()]


@pytest.mark.parametrize("check", checks_of(nn.Loss))
@pytest.mark.parametrize("example", LOSSES)
def test_loss_keeps_its_contract(example, check):
    check(example)
