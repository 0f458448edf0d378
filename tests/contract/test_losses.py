"""Every registered loss keeps every promise of its contract."""

import pytest

import nnkit as nn
from nnkit.testing.losses import LOSS_CHECKS

LOSSES = [example for part in nn.registry.losses.values() for example in part.examples()]


@pytest.mark.parametrize("check", LOSS_CHECKS)
@pytest.mark.parametrize("example", LOSSES)
def test_loss_keeps_its_contract(example, check):
    check(example)
