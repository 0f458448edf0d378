"""Every registered loss keeps every promise of its contract."""

import pytest

import nnkit as nn
from tests.promises import checks, examples

LOSSES = examples(nn.registry.losses.values())


@pytest.mark.parametrize("check", checks(nn.Loss))
@pytest.mark.parametrize("example", LOSSES)
def test_loss_keeps_its_contract(example, check):
    check(example)
