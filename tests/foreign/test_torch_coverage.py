"""The table of PyTorch's words: none of them is without a word here or a reason, and no word here is misspelt."""

import warnings

import pytest

import nnkit as nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
coverage = pytest.importorskip("benchmarks.coverage", reason="the benchmarks are not installed with nnkit")

KNOWN_TORCH = (2, 13)


@pytest.fixture(scope="module")
def words():
    return coverage.words()


def test_no_name_is_without_a_word_or_a_reason(words):
    known = KNOWN_TORCH == tuple(map(int, torch.__version__.split(".")[:2]))
    assert not known or [f"{word.module}.{word.name}" for word in words if word.where == "without a reason"] == []
    named = {word.name for word in words}
    for name, item in vars(torch.nn.modules).items():
        if isinstance(item, type) and name[0] != "_":
            assert name in named


def test_what_is_written_down_is_about_names_of_pytorchs(words):
    """And says nothing of what is found by itself."""
    named = {word.name for word in words}
    assert not (coverage.ELSEWHERE.keys() | coverage.REASONS.keys() | coverage.LATER) - named
    assert not coverage.REASONS.keys() & (coverage.ELSEWHERE.keys() | coverage.LATER)
    assert [name for name in coverage.REASONS if coverage.ours_of(name)] == [], "it is here by now"


def test_words_here_are_names_of_nnkits(words):
    assert not [word for word in words if word.ours and word.ours.partition("(")[0].partition(".")[0] not in nn.__all__]
    assert not coverage.is_here("Linnear")
    assert not coverage.is_here("Linear(8, no_such=1)")
    for name, written in coverage.ELSEWHERE.items():
        assert coverage.is_here(written) or name in coverage.LATER, f"{written}, for {name}"


def test_a_part_with_pytorchs_name_is_found_by_itself(words):
    """Whatever is written down: a new part touches no table."""
    for word in words:
        if hasattr(nn, word.name) and word.name not in coverage.ELSEWHERE:
            assert word.ours == word.name


def test_arguments_that_are_not_here_are_told(words):
    without = {word.name: word.without for word in words}
    assert without["Linear"] == without["Adam"] == without["StepLR"] == ()
    assert set(without["CyclicLR"]) == {"scale_fn", "scale_mode"}
    assert without["OneCycleLR"] == without["ReduceLROnPlateau"] == ()


def test_totals_add_up(words):
    *rows, whole = coverage.totals(words)
    assert [sum(int(row[column]) for row in rows) for column in range(1, len(whole))] == list(map(int, whole[1:]))
    assert int(whole[1]) == len(words) == sum(map(int, whole[2:]))


def test_the_page_has_a_line_for_every_name(words):
    page = coverage.markdown(words)
    for word in words:
        assert f"| `{word.name}` | " in page
    assert "| `CosineAnnealingLR` | `CosineSchedule` |" in page
