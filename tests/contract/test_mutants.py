"""The checks of parts, checked: a sample of the mistakes that a machine can make in all kernels, each planted in turn."""

from math import sqrt

import pytest

from nnkit.testing.mutants import KINDS
from nnkit.testing.mutation import judges, sample, verdicts

SIZE, SEED = 300, 17
# Of those that change a number. The sample has 0.991; a slow machine leaves out examples in docstrings that take it too long,
# and without any of them the checks alone catch 0.936.
SCORE = 0.93
# Of the caught, of which there are some 240: the goal for all mutants is 0.9, and a sample's share lies less than three
# standard deviations below that of all.
NAMED = 0.9 - 3 * sqrt(0.9 * 0.1 / 240)


@pytest.fixture(scope="module")
def tried():
    known = [judge for judge in judges() if not judge.cls.__module__.startswith("tests")]  # of which other processes know
    return list(verdicts(None, known, sample(known, SIZE, SEED), compiled=False))


def test_the_sample_has_mistakes_of_every_kind(tried):
    assert len(tried) == SIZE
    assert {verdict.mutant.kind for verdict in tried} == set(KINDS)


def test_what_changes_a_number_is_caught(tried):
    caught = [verdict for verdict in tried if verdict.outcome == "caught"]
    survivors = [verdict for verdict in tried if verdict.outcome == "survived"]
    assert len(caught) > SIZE / 2
    assert len(caught) >= SCORE * (len(caught) + len(survivors)), "\n".join(map(str, survivors))


def test_what_is_caught_is_said_of_the_right_kernel_and_array(tried):
    caught = [verdict for verdict in tried if verdict.outcome == "caught"]
    others = [f"{verdict.mutant}\n  {verdict.message}" for verdict in caught if not verdict.named]
    assert len(others) <= (1 - NAMED) * len(caught), "\n".join(others)
