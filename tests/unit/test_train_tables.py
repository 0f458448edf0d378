"""nnkit train and predict with tables as they are: columns of any kind, several targets, what the report says, old files."""

import builtins
import html.parser
import math
import re

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, r2_score

import nnkit as nn
from nnkit.__main__ import main
from nnkit.commands.findings import Agreement, Calibration, Confusion, Importance, Residuals
from nnkit.estimators.recipes import RECIPES
from nnkit.inspect.pictures.figure import drawing
from nnkit.tables.reading import Table
from tests.pictures import assert_legible

QUICK = ("--recipe", "td-s", "--epochs", "8")
ROWS = 120


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; return what it says on both streams."""

    def run(*arguments, expect=0):
        assert main(list(map(str, arguments))) == expect
        said = capsys.readouterr()
        return said.err if expect else (said.out, said.err)

    return run


def flats(delimiter=";", decimal=","):
    """Flats in two towns: a row's rent follows from its size and town, its deposit from its rent."""
    random = np.random.default_rng(0)
    lines = [["Nr", "Größe, m²", "Ort", "frei ab", "Küche", "Note", "Miete", "Kaution"]]
    for place in range(ROWS):
        size, town = random.uniform(20, 120), ("Bonn", "Köln")[place % 2]
        rent = size * (12 if town == "Bonn" else 9)
        lines.append([place + 1, "" if place % 17 == 5 else f"{size:.1f}", town, f"{place % 28 + 1:02}.0{place % 9 + 1}.2024",
                      ("ja", "nein", "")[place % 3], f"Wohnung {place} im Haus", f"{rent:.2f}", f"{3 * rent:.2f}"])  # fmt: skip
    text = "".join(delimiter.join(f'"{cell}"' for cell in line) + "\r\n" for line in lines)
    return re.sub(r'"(\d+)\.(\d+)"', rf'"\1{decimal}\2"', text)


DRESSES = {
    "commas": (",", ".", "utf-8", ()), "BOM, semicolons, decimal commas": (";", ",", "utf-8-sig", ()),
    "Latin-1": (";", ",", "latin-1", ("--encoding", "latin-1")), "tabs, UTF-16": ("\t", ",", "utf-16", ()),
}  # fmt: skip


@pytest.mark.parametrize("dress", DRESSES)
def test_text_dates_ids_and_missing_cells_go_in_as_they_are(here, run, dress):
    delimiter, decimal, encoding, options = DRESSES[dress]
    (here / "flats.csv").write_bytes(flats(delimiter, decimal).encode(encoding))
    out, _ = run("train", "flats.csv", "--target", "Miete", "--drop", "Kaution", *QUICK, *options)
    said = " ".join(out.split())
    assert "6 columns: 1 number, 2 categories, 1 date; left out: Nr (ids: a different whole number in every row), " in said
    assert "Note (text or ids: 120 different ones in 120 rows)" in said
    assert "120 rows: 77 training, 19 validation, 24 test" in said
    net = nn.load("flats.safetensors")
    assert type(net).__name__ == "TableRegressor" and net.target_names_ == ["Miete"]
    assert net.feature_names_in_.tolist() == ["Größe, m²", "Ort", "frei ab", "Küche"]
    recommended = next(line for line in out.splitlines() if line.startswith("next:")).partition("predict ")[2]
    answers, scores = run("predict", *re.findall(r"'.*?'|\S+", recommended.replace("','", ",")))
    assert answers.startswith("prediction\n") and answers.count("\n") == ROWS + 1
    assert re.fullmatch(r"R2 [\d.]+, mean absolute error [\d.]+ on 120 rows with Miete\n", scores)


def test_dress_makes_no_difference(here, run):
    """The same bits from every way to write the same table."""
    answers = []
    for delimiter, decimal, encoding, options in DRESSES.values():
        (here / "flats.csv").write_bytes(flats(delimiter, decimal).encode(encoding))
        run("train", "flats.csv", "--target", "Miete", *QUICK, *options)
        answers.append(nn.load("flats.safetensors").model_.parameters()["0.scale"])
    assert all(np.array_equal(answers[0], other) for other in answers[1:])


def test_several_targets_are_predicted_side_by_side(here, run):
    pq = pytest.importorskip("pyarrow.parquet")
    (here / "flats.csv").write_text(flats(), encoding="utf-8")
    out, _ = run("train", "flats.csv", "--target", "Miete", "--target", "Kaution", *QUICK)
    both, _ = run("train", "flats.csv", "--target", "Miete, Kaution", *QUICK)
    timeless = [re.sub(r"in \d+\.\d+ s, \d+\.\d+ s", "", text) for text in (out, both)]
    assert timeless[0] == timeless[1]
    for text in ("R2 of Miete", "R2 of Kaution", "always the mean", "Kaution, true minus predicted", "Miete: means of groups"):
        assert text in out
    said, scores = run("predict", "flats.safetensors", "flats.csv", "--output", "-")
    assert said.startswith("prediction_Miete,prediction_Kaution\n") and scores.count("mean absolute error") == 2
    run("predict", "flats.safetensors", "flats.csv", "--output", "p.parquet")
    columns = pq.read_table("p.parquet")
    assert columns.column_names == ["prediction_Miete", "prediction_Kaution"]
    assert columns["prediction_Kaution"].to_pylist() == [float(line.split(",")[1]) for line in said.splitlines()[1:]]
    message = run("train", "flats.csv", "--target", "Miete,Kaution", "--layers", "8", "--drop", "Größe, m²", "Ort", "frei ab",
                  "Küche", "Note", expect=1)  # fmt: skip
    assert "--target: expected one column for a net by hand, got 2; recipes take several" in message


def test_rows_to_come_need_neither_ids_nor_answers_and_wrong_cells_are_named(here, run):
    (here / "flats.csv").write_text(flats(",", "."), encoding="utf-8")
    run("train", "flats.csv", "--target", "Miete", "--drop", "Kaution", *QUICK)
    header = "Küche,Ort,\"Größe, m²\",frei ab\n"
    (here / "new.csv").write_text(header + 'ja,Jena,?,01.02.2025\n,Bonn,55.5,\n', encoding="utf-8")
    out, err = run("predict", "flats.safetensors", "new.csv")
    assert out.count("\n") == 3 and err == ""
    (here / "new.csv").write_text(header + 'ja,Bonn,50,01.02.2025\nja,Bonn,"1,100",01.02.2025\n', encoding="utf-8")
    message = run("predict", "flats.safetensors", "new.csv", expect=1)
    assert "new.csv: expected numbers in column 'Größe, m²', got '1,100' in line 3; --thousands , reads it as 1100" in message
    (here / "new.csv").write_text(header + "ja,Bonn,50,soon\n", encoding="utf-8")
    assert "new.csv: column 'frei ab': expected dates" in run("predict", "flats.safetensors", "new.csv", expect=1)
    (here / "new.csv").write_text("Küche,Ort,frei ab\nja,Bonn,01.02.2025\n", encoding="utf-8")
    assert "no column is named 'Größe, m²' (a feature of the net)" in run("predict", "flats.safetensors", "new.csv", expect=1)


def test_columns_are_what_they_are_in_the_whole_file(here, run):
    """One cell of text, wherever it is, makes a column of categories: training rows alone might not have it."""
    rows = [f"{place % 5},{place % 2},{'ab'[place % 2]}" for place in range(60)]
    for place in (0, 17, 59):
        lines = [row if at != place else f"four,{at % 2},{'ab'[at % 2]}" for at, row in enumerate(rows)]
        (here / "a.csv").write_text("\n".join(["grade,x,kind", *lines]) + "\n")
        out, _ = run("train", "a.csv", "--target", "kind", *QUICK)
        assert "2 columns: 1 number, 1 category" in out


def test_estimators_fitted_on_frames_and_arrays_predict_files(here, run):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": np.arange(40.0), "c": ["a", "b"] * 20, "y": np.arange(40.0)})
    net = nn.TableRegressor("td-s", hidden=8, epochs=2, random_state=0).fit(frame[["x", "c"]], frame["y"])
    assert net.target_names_ == ["y"]
    net.save("frame.safetensors")
    frame.to_csv("a.csv", index=False)
    _, scores = run("predict", "frame.safetensors", "a.csv")
    assert scores.endswith("on 40 rows with y\n")
    assert not hasattr(net.fit(frame[["x", "c"]].to_numpy(), frame["y"].to_numpy()), "target_names_")
    net.save("array.safetensors")
    out, _ = run("predict", "array.safetensors", "a.csv", "--target", "y")
    assert out.splitlines()[1:] == list(map(str, net.predict(frame[["x", "c"]].to_numpy()).tolist()))
    two = nn.TableRegressor("td-s", hidden=8, epochs=2, random_state=0).fit(frame[["c"]], frame[["x", "y"]])
    two.save("two.safetensors")
    assert nn.load("two.safetensors").target_names_ == ["x", "y"]


def test_same_seed_gives_the_same_net_and_report_with_any_number_of_threads(here, run):
    (here / "flats.csv").write_text(flats(), encoding="utf-8")
    reports = []
    for threads in (1, 2):
        run("train", "flats.csv", "--target", "Ort", *QUICK, "--threads", threads, "--report", "r.html")
        reports.append(re.sub(r"in \d+\.\d+ s, \d+\.\d+ s", "", (here / "r.html").read_text(encoding="utf-8")))
    assert reports[0] == reports[1]


# ---------------------------------------------------------------------------------------------------------------- the page


class Page(html.parser.HTMLParser):
    """What a page is made of: its tags, where each is within which, and whatever it asks others for."""

    void = ("meta", "br", "img", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.asked, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.asked += [value for name, value in attrs
                       if name in ("src", "href", "xlink:href") and not value.startswith(("#", "data:"))]  # fmt: skip
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("target", "titles"),
    [("Ort", ["loss", "accuracy", "Confusion matrix", "Calibration", "The most important columns"]),
     ("Miete", ["loss", "Residuals", "Predicted and true", "The most important columns"])],
)  # fmt: skip
def test_page_is_one_file_with_all_that_is_printed_and_pictures(here, run, target, titles):
    pytest.importorskip("matplotlib")
    text = flats().replace("Bonn", "<b>$B_o$nn & \x1b[2J")
    (here / "flats.csv").write_text(text, encoding="utf-8")
    out, _ = run("train", "flats.csv", "--target", target, "--drop", "Kaution", *QUICK, "--report", "r.html")
    content = (here / "r.html").read_text(encoding="utf-8")
    page = Page(content)
    assert page.asked == [] and "script" not in page.tags and "url(http" not in content
    assert page.tags.count("svg") == len(titles) - (target == "Ort")  # loss and accuracy are in one
    words = " ".join(page.text.split())
    for title in titles:
        assert title in words
    assert "\x1b" not in content and "b" not in page.tags[: page.tags.index("section")]
    if target == "Ort":
        assert "<b>$B_o$nn" in words
    figures = re.findall(r"\d+\.\d+", out.split("Result")[1].split("saved")[0])
    assert len(figures) > 10 and all(number in words for number in figures)


def findings():
    random = np.random.default_rng(0)
    truth, said = random.normal(size=(2, 500)) * 1e5
    long = [f"a class that has a long name {place}" for place in range(100)]
    for classes in (2, 3, 12, 26, 100):
        labels = np.array(long[:classes] if classes != 26 else [chr(97 + place) for place in range(26)])
        yield Confusion.of("what it is, $ or \u20ac", np.sort(labels), *random.choice(labels, (2, 400)))
    yield Calibration.of(np.linspace(0.3, 1, 300), random.uniform(size=300) < 0.8)
    yield Calibration.of(np.ones(7), np.ones(7, bool))
    for kind in (Residuals, Agreement):
        yield kind("price", truth, said)
        yield kind("price", np.full(9, 3.0), np.full(9, 3.0))
    for columns in (1, 40):
        values = random.normal(size=columns)
        yield Importance("accuracy", long[:columns], values, np.abs(values) / 9, 50, columns)


@pytest.mark.parametrize("finding", [*findings()], ids=lambda finding: type(finding).__name__)
def test_pictures_can_be_read(finding):
    plt = pytest.importorskip("matplotlib.pyplot")
    with drawing("test") as drawn:
        figure = finding.draw(drawn)
        assert_legible(figure.axes)
    plt.close(figure)


def test_page_without_its_library_is_noticed_before_training(here, run, monkeypatch):
    (here / "flats.csv").write_text(flats(), encoding="utf-8")
    real = builtins.__import__

    def without(name, *more, **named):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    message = run("train", "flats.csv", "--target", "Miete", *QUICK, "--report", "r.html", expect=1)
    assert '--report: expected the library matplotlib, which is not installed; pip install "nnkit-numba[plot]"' in message
    assert not (here / "flats.safetensors").exists()
    run("train", "flats.csv", "--target", "Miete", *QUICK, "--report", "r.txt")
    assert (here / "r.txt").read_text(encoding="utf-8").count("mean absolute error")


@pytest.mark.parametrize("columns", [80, 40])
def test_paragraphs_and_titles_fit_the_terminal(here, run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("nnkit.core.terminal.is_terminal", lambda stream: True)
    (here / "flats.csv").write_text(flats(), encoding="utf-8")
    for target in ("Ort", "Miete"):
        out, _ = run("train", "flats.csv", "--target", target, "--drop", "Kaution", *QUICK)
        assert max(len(line) for line in out.splitlines() if not line.startswith("next:")) <= columns


# -------------------------------------------------------------------------------------------------------- what figures say


def test_confusion_and_calibration_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    truth, said = random.integers(0, 4, (2, 200))
    found = Confusion.of("kind", np.arange(4), truth, said)
    assert np.array_equal(found.matrix, confusion_matrix(truth, said))
    many = Confusion.of("kind", np.arange(40), random.integers(0, 40, 200), random.integers(0, 40, 200)).table()
    assert len(many.rows) == 10 and "lowest recall" in many.title
    sure = random.uniform(0.5, 1, 200)
    right = random.uniform(size=200) < sure**2
    share, mean = calibration_curve(right, sure, n_bins=10, strategy="quantile")
    known = Calibration.of(sure, right)
    assert known.rows.tolist() == [20] * 10
    np.testing.assert_allclose(known.said, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(known.right, share, rtol=0, atol=1e-12)
    assert [row[0] for row in Calibration.of(sure[:3], right[:3]).table().rows] == [f"{sure[:3].mean():.1%}"]


def test_residuals_are_quantiles_of_truth_minus_prediction():
    table = Residuals("y", np.array([1.0, 2.0, 3.0]), np.array([1.5, 2.0, 1.0])).table()
    assert [row[1] for row in table.rows] == ["-0.500", "-0.450", "-0.250", "0", "1.00", "1.80", "2.00"]


class Sum:
    """Predicts a + 2 b; what is in c is of no account."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.asarray(X) @ [1.0, 2.0, 0.0]


def test_importance_is_what_shuffling_a_column_costs():
    """R2 of y = a + 2 b with independent a and b of the same variance falls by 2 * 1/5 and by 2 * 4/5."""
    X = np.random.default_rng(0).normal(size=(1000, 3))
    table = Table.of(X)
    truth = Sum().predict(X)
    found = Importance.of(Sum(), table, lambda rows, said: r2_score(truth[rows], said), "R2", 0)
    assert found.names == ["x1", "x0", "x2"]
    spread = 4 * math.sqrt(8 / 1000)  # four standard deviations of such a share of two sums of 1000 squares, at the most
    np.testing.assert_allclose(found.mean, [1.6, 0.4, 0], rtol=0, atol=spread)
    assert found.mean[2] == found.spread[2] == 0


def test_rows_of_a_table_are_taken_column_by_column():
    table = Table.of([[1.0, "a"], [2.0, "b"], [None, "c"]])
    taken = table.take(np.array([2, 0]))
    assert taken.rows == 2 and taken.column(1).words().labels.tolist() == ["a", "c"]
    mixed = table.take(np.array([[0, 2], [1, 0]]))
    assert mixed.column(0).numbers().values.tolist() == [1, 2] and mixed.column(1).shown(0) == "'c'"
    assert np.array_equal(np.asarray(Table.of([[1, 2.5], [3, 4]])), [[1, 2.5], [3, 4]])
    with pytest.raises(nn.DataError, match="expected numbers"):
        np.asarray(table)


def test_importance_of_a_wide_table_takes_no_longer(monkeypatch):
    monkeypatch.setattr("nnkit.commands.findings.CELLS", 9000)
    monkeypatch.setattr("nnkit.commands.findings.BLOCK", 200)
    X = np.random.default_rng(0).normal(size=(100, 3))
    truth = Sum().predict(X)
    found = Importance.of(Sum(), Table.of(X), lambda rows, said: r2_score(truth[rows], said), "R2", 0)
    assert found.rows == 100 and len(found.names) == 3
    monkeypatch.setattr("nnkit.commands.findings.CELLS", 1500)
    found = Importance.of(Sum(), Table.of(X), lambda rows, said: r2_score(truth[rows], said), "R2", 0)
    assert found.rows == 50 and found.names == ["x1", "x0"]
    assert "Only the first 2 of 3 columns were shuffled." in found.table().notes


# ------------------------------------------------------------------------------------------------------ time and recipes


def test_time_to_keep_to_is_that_of_fit(here, run):
    """All epochs several times over: several nets, of which the page says so."""
    (here / "flats.csv").write_text(flats(), encoding="utf-8")
    out, _ = run("train", "flats.csv", "--target", "Ort", "--recipe", "td-s", "--epochs", "2", "--seconds", "3")
    assert "nets, of which this is the first" in " ".join(out.split())
    net = nn.load("flats.safetensors")
    assert 1 < len(net.best_epochs_) <= 8
    out, _ = run("predict", "flats.safetensors", "flats.csv", "--probabilities")
    assert out.startswith("prediction,probability_Bonn,probability_Köln\n")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_and_predicts(here, run, recipe):
    (here / "flats.csv").write_text(flats(), encoding="utf-8")
    for target in ("Ort", "Miete"):
        out, _ = run("train", "flats.csv", "--target", target, "--drop", "Kaution", "--recipe", recipe, "--epochs", "2")
        assert f"recipe {recipe}, hidden units {', '.join(map(str, RECIPES[recipe].hidden))}" in " ".join(out.split())
        assert run("predict", "flats.safetensors", "flats.csv")[0].count("\n") == ROWS + 1
