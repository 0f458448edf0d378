"""The guide: nothing public is missing in its reference, nothing is out of reach, and the terminal shows it."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnkit as nn
from nnkit import errors, search
from nnkit.__main__ import main
from nnkit.commands import docs
from nnkit.engine import environment
from nnkit.guide import markdown
from nnkit.guide.generated import docstrings, names
from nnkit.guide.generated import environment as variables
from nnkit.guide.generated import errors as index_of_errors
from nnkit.guide.pages import FOLDER, pages

SOURCES = [path for path in Path(nn.__file__).parent.rglob("*.py") if "guide" not in path.parts]
PAGES = {item.name: item for item in pages()}
GROUPS = names.groups()
ITEMS = {name: item for group in GROUPS.values() for name, item in group.items.items()}
DOCUMENTED = sorted(name for name, item in ITEMS.items() if "\nParameters\n---" in (inspect.getdoc(item) or ""))


# ------------------------------------------------------------------------------------------------------------- reference


def test_every_public_name_has_one_place():
    places = [name for group in GROUPS.values() if group.key != "given" for name in group.items]
    warnings_and_errors = [name for name in nn.__all__ if name in errors.__all__]
    assert sorted([*places, *warnings_and_errors, *names.MODULES]) == sorted(nn.__all__)


def test_no_two_pages_of_a_group_differ_in_capitals_only():
    for group in GROUPS.values():
        files = [group.file(name).lower() for name in group.items]
        assert len(files) == len({*files})


def test_every_page_that_is_made_is_listed():
    listed = re.findall(r"^[\w/]+$", (FOLDER / "reference" / "index.md").read_text().rpartition("{toctree}")[2], re.MULTILINE)
    for key, group in GROUPS.items():
        assert f"{key}/index" in listed
        text = names.index(group) if key == "callbacks" else ""
        assert not text or all(f"\n{group.file(name)}\n" in text for name in group.items)
    assert {"errors", "messages", "environment", "command_line", "file_format", *names.MODULES} <= {*listed}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_that_describes_parameters_describes_all(name):
    section = re.split(r"\n\n[A-Z]\w+\n-+\n", inspect.getdoc(ITEMS[name]).partition("\nParameters\n")[2])[0]
    described = {word.lstrip("*") for line in re.findall(r"^(\S.*?) : ", section, re.MULTILINE) for word in line.split(", ")}
    taken = inspect.signature(ITEMS[name]).parameters
    assert {*taken} - described == set()


@pytest.mark.parametrize("name", errors.__all__)
def test_each_error_says_what_it_means_and_what_to_do_and_shows_a_message(name):
    page, text = index_of_errors.index(), inspect.getdoc(getattr(errors, name))
    own = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    meaning, *advice = text.partition("\n\nExamples")[0].split("\n\n")
    assert " ".join(meaning.split()) in " ".join(own.replace("`", "").split()).replace("`", "") or "`" in meaning
    assert advice, "what is there to do?"
    assert "```" in own.partition(":no-typesetting:\n```")[2] or name == "NnkitWarning"


def test_every_message_of_the_source_is_in_the_index():
    page = index_of_errors.messages()
    for path in SOURCES:
        for name, begin in re.findall(r'raise (\w+)\(\s*f?"([^"`{\\]{15,})', path.read_text()):
            if name in errors.__all__:
                assert " ".join(begin.split()) in page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert "- `Sequential.…: expected a built model or in_shape, got neither; write" in page  # of one in two lines


def test_environment_variables_are_declared_and_read():
    text = "".join(path.read_text() for path in SOURCES if path.name != "environment.py")
    assert {*re.findall(r"NNKIT_[A-Z_]+", text)} - {"NNKIT_NO_MAIN"} == {*environment.VARIABLES}  # that one is a C macro
    assert all(f"### {name}\n" in variables.page() for name in environment.VARIABLES | environment.OTHERS)


def test_prose_of_docstrings_is_itself():
    text = ["s(x) = |x| * 2, h_ and ``a_``", "", "Parameters", "----------", "a, b : int >= 1; how many", "c : bool", "",
            "Shape", "-----", "x: (N, *shape)", "", "Examples", "--------", ">>> a_ * |b|"]  # fmt: skip
    assert [line for line in docstrings.restructured(text) if line] == [
        r"s(x) = \|x\| \* 2, h\_ and ``a_``", ".. rubric:: Shape", r"x: (N, \*shape)", "Parameters", "----------",
        "a, b : int >= 1", "    How many.", "c : bool", "Examples", "--------", ">>> a_ * |b|",
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("folder", ["tutorials", "howto", "migration", "explanation", "reference"])
def test_every_page_is_in_a_toctree(folder):
    index = (FOLDER / folder / "index.md").read_text()
    listed = "".join(re.findall(r"^```\{toctree\}.*?^```", index, re.DOTALL | re.MULTILINE))
    for path in (FOLDER / folder).glob("*.md"):
        assert path.stem == "index" or f"\n{path.stem}\n" in listed or "\n*\n" in listed
    assert f"\n{folder}/index\n" in (FOLDER / "index.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", PAGES[page].read(), flags=re.DOTALL | re.MULTILINE)
    made = {"errors.md", "messages.md", "environment.md", "command_line.md", "pytorch.md"}
    for target in re.findall(r"\]\(([^)#\s:]+\.md)", text):
        path = FOLDER / PAGES[page].section / target
        assert path.is_file() or (path.resolve().parent.name == "reference" and path.name in made), target


def test_the_page_of_searches_has_all_of_them():
    assert [name for name in search.__all__ if f"`nn.{name}" not in PAGES["searches"].read()] == []


def test_a_script_of_the_gallery_has_a_title():
    scripts = [item for item in PAGES.values() if item.section == "gallery"]
    assert scripts
    assert all(item.title[0].isupper() and "import nnkit as nn" in item.read() for item in scripts)


# -------------------------------------------------------------------------------------------------------------- terminal


@pytest.mark.parametrize("latex, spelt", [
    (r"\frac{\partial L}{\partial w_{ij}} = \delta_j a_i", "∂L / ∂w_ij = δ_j a_i"),
    (r"\frac{1}{1 + e^{-z}}", "1 / (1 + e^-z)"),
    (r"\left(\tfrac{1}{2}\right) \sum_i x_i^2", "(1 / 2) Σ_i x_i^2"),
    (r"\mathrm{softmax}(x) \in [0, 1]", "softmax(x) ∈ [0, 1]"),
])  # fmt: skip
def test_formulas_in_letters(latex, spelt):
    assert " ".join(markdown.spelt(latex).split()) == spelt


def test_directives_of_sphinx_are_gone_and_their_text_is_there():
    text = "---\na: b\n---\n# T\n\n:::{note}\n:class: x\nMind $a_i$.\n:::\n\n```{toctree}\na\n```\n\n" \
           "See {doc}`this`, ![a net](b.png), [that](../x/a_b.md#c).\n"  # fmt: skip
    assert markdown.readable(text) == "# T\n\nMind `a_i`.\n\nSee `this`, (picture: a net), that (`a-b`)."


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_shown(name, capsys):
    assert main(["docs", name]) == 0
    shown = capsys.readouterr().out
    assert PAGES[name].title in shown
    assert not re.search(r"^(:::|```\{)", shown, re.MULTILINE)
    assert PAGES[name].section == "gallery" or not re.search(r"\\(frac|partial|begin)", shown)


@pytest.mark.parametrize("name", ["first-net", "first_net", "First_Net", "tutorials/first_net.md"])
def test_a_page_is_found_however_it_is_spelt(name):
    assert docs.named(name, [*PAGES.values()]).title == PAGES["first-net"].title


def test_an_unknown_page_is_refused_with_the_nearest(capsys):
    assert main(["docs", "first-ner"]) == 1
    assert "did you mean first-net?" in capsys.readouterr().err


def test_a_search_finds_lines_with_all_words(capsys):
    assert main(["docs", "--search", "finite numbers"]) == 0
    out = capsys.readouterr().out
    assert "errors" in out and "expected finite numbers" in out
    assert main(["docs", "--search", "no line has this"]) == 0
    assert "no page has 'no line has this'" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("arguments", [[], ["first-net"], ["backpropagation"], ["errors"], ["--search", "gradient"]])
def test_no_line_is_longer_than_the_terminal(columns, arguments, capsys, monkeypatch):
    monkeypatch.setattr("nnkit.commands.docs.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    assert main(["docs", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > columns and " " in line.strip()] == []


def test_it_needs_neither_sphinx_nor_letters_beyond_ascii():
    code = "import sys; sys.modules |= dict.fromkeys(['sphinx', 'docutils', 'matplotlib', 'numpydoc']); " \
           "from nnkit.__main__ import main; raise SystemExit(main(['docs', 'backpropagation']))"  # fmt: skip
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Backpropagation by hand" in done.stdout
