"""Every registered loss keeps every promise of its contract."""

import pytest

import nnkit as nn
from nnkit.testing.checks import LOSS_CHECKS

LOSSES = [example for part in nn.registry.losses.values() for example in part.examples()]


def label(item):
    return getattr(item, "__name__", None) or f"{item.part!r}{item.in_shape}"


@pytest.mark.parametrize("check", LOSS_CHECKS, ids=label)
@pytest.mark.parametrize("example", LOSSES, ids=label)
def test_loss_keeps_its_contract(example, check):
    check(example)
