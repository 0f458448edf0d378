"""Every registered optimizer keeps every promise of its contract, with and without what the framework adds."""

import copy

import pytest

import nnkit as nn
from nnkit.core.part import Example
from tests.promises import checks, examples

PLAIN = examples(nn.registry.optimizers.values())


def with_everything(example):
    part = copy.copy(example.part)
    part.weight_decay, part.clip_norm, part.clip_value = 0.1, 2.0, 0.5
    return Example(part)


@pytest.mark.parametrize("check", checks(nn.Optimizer))
@pytest.mark.parametrize("example", [*PLAIN, *map(with_everything, PLAIN)])
def test_optimizer_keeps_its_contract(example, check):
    check(example)
