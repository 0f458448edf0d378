"""Mutants of kernels: which there are, how they are planted, and what is said of them."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.__main__ import main
from nnkit.testing import CheckError, check_layer
from nnkit.testing.bench import Batch, Bench
from nnkit.testing.mutants import KINDS, mutants_of, planted, reached
from nnkit.testing.mutation import Judge, everything, judges, verdicts
from tests.parts import Scale


def kernel(x, factor, out):
    for n in range(x.shape[0]):
        if x[n] > 0.5:
            out[n] = -factor * x[n]
        else:
            out[n] += max(x[n], 0.0)
    fill(x, out)


def fill(x, out):
    out[:] = x


AFTER = {
    "sign": ["out[n] = factor * x[n]", "out[n] -= max(x[n], 0.0)"],
    "+= for =": ["out[n] += -factor * x[n]", "out[n] = max(x[n], 0.0)"],
    "index off by one": ["for n in range(x.shape[1]):", "if x[n - 1] > 0.5:", "out[n + 1] = -factor * x[n]"],
    "> for >=": ["if x[n] >= 0.5:"],
    "factor dropped": ["out[n] = -factor", "out[n] = x[n]"],
    "min for max": ["out[n] += min(x[n], 0.0)"],
    "loop one short": ["for n in range(x.shape[0] - 1):"],
    "argument swapped": ["fill(out, x)"],
    "assignment missing": ["pass"],
    "constant by 1 %": ["if x[n] > 0.505:", "out[n] += max(x[n], 0.01)"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_mistake_is_made_wherever_it_can_be(kind):
    made = [str(mutant).rpartition("  ->  ")[2] for mutant in mutants_of(kernel) if mutant.kind == kind]
    assert set(AFTER[kind]) <= set(made)


def test_no_mistake_is_made_twice_or_makes_no_difference():
    mutants = list(mutants_of(kernel))
    sources = [mutant.source for mutant in mutants]
    assert len(set(sources)) == len(sources)
    assert all(str(mutant).startswith(f"{__file__}:") for mutant in mutants)


def test_a_mistake_is_there_while_it_is_planted():
    mutant = next(item for item in mutants_of(Scale.backward) if item.kind == "+= for =" and "grad_scale" in str(item))
    with planted(mutant), pytest.raises(nn.testing.CheckError, match="backward gives a wrong grad_scale"):
        check_layer(Scale(), in_shape=(5,))
    check_layer(Scale(), in_shape=(5,))


def test_helpers_belong_to_the_kernels_that_come_to_them():
    from nnkit.layers.recurrent import gru as steps

    found = reached(nn.GRU)
    assert found[steps.gru_step] == {"forward"}
    assert found[steps.gru_step_back] == {"backward"}
    assert found[nn.GRU.forward] == {"forward"}


def test_every_mistake_in_a_small_layer_is_caught():
    judge = Judge(Scale)
    found = [judge.verdict(mutant) for mutant in judge.mutants]
    assert {verdict.outcome for verdict in found} <= {"caught", "equivalent"}
    assert sum(verdict.named for verdict in found) >= 0.9 * sum(verdict.outcome == "caught" for verdict in found)


ENDLESS = '''
import nnkit as nn

class Twice(nn.Layer):
    """out = 2 x."""

    @staticmethod
    def forward(x, out):
        n = 0
        while n < x.shape[0]:
            out[n] = 2.0 * x[n]
            n += 1

    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = 2.0 * grad_out
'''


def test_a_mutant_that_never_ends_is_given_up(tmp_path):
    file = tmp_path / "endless_part.py"
    file.write_text(ENDLESS)
    target = f"{file}:Twice"
    known = judges(target)
    name = known[0].name
    lines = [str(known[0].mutants[place]).partition(": ")[2] for _, place in everything(known)]
    quick, endless = lines.index("out[n] = 2.0 * x[n]  ->  out[n] = 2.0"), lines.index("n += 1  ->  pass")
    before, given_up, after = verdicts(target, known, [(name, quick), (name, endless), (name, quick)], limit=5.0)
    assert given_up.outcome == "caught" and given_up.message == "it crashes, or does not end"
    assert before.check == after.check != ""


RAISED = '''
import nnkit as nn

class Raised(nn.Activation):
    """out = x + 0.5."""

    @staticmethod
    def forward(x):
        return x + 0.5

    @staticmethod
    def backward(grad_out, x):
        return grad_out
'''


def test_a_survivor_is_compiled_and_checked_once_more(tmp_path):
    file = tmp_path / "part_that_is_compiled.py"
    file.write_text(RAISED)
    (judge,) = judges(f"{file}:Raised")
    mutant = next(item for item in judge.mutants if str(item).endswith("return x + 0.505"))

    def compiled_alone(example):
        bench = Bench(example)
        batch = Batch(bench, python=False)
        if not batch.work.program.python and np.abs(batch.forward(bench.x) - bench.x - 0.5).max() > 1e-6:
            raise CheckError("forward gives a wrong out")

    judge.checks.append(compiled_alone)
    first = judge.verdict(mutant)
    assert first.outcome == "survived"
    second = judge.second_verdict(first)
    assert (second.outcome, second.check, second.named) == ("caught", "compiled_alone", True)


def test_the_command_shows_survivors_and_the_score(tmp_path, monkeypatch, capsys):
    file = tmp_path / "part_with_a_level.py"
    file.write_text(RAISED)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--mutants", f"{file}:Raised"]) == 0
    said = capsys.readouterr().out
    assert "survived  Raised, constant by 1 %: part_with_a_level.py:9: return x + 0.5  ->  return x + 0.505" in said
    assert "Raised" in said and "score" in said


def test_the_command_wants_a_part_unless_it_is_for_all(capsys):
    assert main(["check"]) == 1
    assert "expected the name of a part" in capsys.readouterr().err


def test_a_part_without_kernels_has_no_score(capsys):
    assert main(["check", "--mutants", "early_stopping"]) == 1
    assert "expected a part with kernels of its own" in capsys.readouterr().err
