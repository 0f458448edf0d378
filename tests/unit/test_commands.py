"""The command line: every command end to end, what it refuses, and what it says."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

import nnkit as nn
from nnkit.__main__ import documented, main
from nnkit.commands import COMMANDS, data_file
from nnkit.commands.data_file import open_data
from nnkit.commands.docstring import paragraphs
from nnkit.commands.parts import layers_of, part_of
from nnkit.commands.tasks import task_of
from nnkit.core.container import Chain
from nnkit.engine import cache
from nnkit.estimators.recipes import RECIPES
from nnkit.network import network_of

IRIS = Path(__file__).parents[1] / "data" / "iris.csv"
ROWS = IRIS.read_text().splitlines()
NAMES = ROWS[0].split(",")[:4]
QUICK = ("--epochs", "3", "--layers", "8, relu")
SMALL = ("--recipe", "td-s", "--epochs", "20", "--batch-size", "16")  # for tables of few rows


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of one's own to be in, with the irises."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris.csv").write_text(IRIS.read_text())
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command that succeeds; return what it prints."""

    def run(*arguments, expect=0):
        status = main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        assert status == expect, err
        return out

    return run


@pytest.fixture
def refused(capsys):
    """Run a command that fails; return its one line on standard error."""

    def refused(*arguments, status=1):
        assert main(list(map(str, arguments))) == status
        err = capsys.readouterr().err
        assert err.count("\n") == 1, err
        return err

    return refused


def table(path):
    """A file that `predict` has written: its header and columns."""
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def figure(text, name, column):
    """A figure of the table of results."""
    return float(next(line for line in text.splitlines() if line.startswith(name))[len(name):].split()[column])


# ------------------------------------------------------------------------------------------------------- the parser


def test_help_lists_every_command_and_the_version_is_known(capsys):
    for arguments, expected in ((["--help"], [*COMMANDS]), (["--version"], [f"nnkit {nn.__version__}"])):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        assert done.value.code == 0
        out = capsys.readouterr().out
        assert all(name in out for name in expected)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_described(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command = COMMANDS[name]
    summary, _, described = documented(command)
    parameters = inspect.signature(command).parameters
    assert len(summary) > 10
    assert set(described) == set(parameters) and all(described.values())
    with pytest.raises(SystemExit):
        main([name, "--help"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 and "(default: )" not in out
    for parameter in parameters.values():
        shown = f"--{parameter.name.replace('_', '-')}" if parameter.kind is parameter.KEYWORD_ONLY else ""
        assert shown in out
        assert " ".join(described[parameter.name].split()[:2]) in " ".join(out.split())


@pytest.mark.parametrize("arguments", [
    ["nosuch"], ["train"], ["train", "a.csv"], ["train", "a.csv", "--target", "a", "--epochs", "x"],
    ["train", "a.csv", "--targ", "a"], ["cache", "nosuch"], ["list", "losses", "more"],
])  # fmt: skip
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_an_unknown_argument_is_that_of_its_command(capsys):
    with pytest.raises(SystemExit) as done:
        main(["info", "iris.safetensors"])
    assert done.value.code == 2
    assert "info: unrecognized arguments: iris.safetensors; " in (error := capsys.readouterr().err)
    assert "info --help says which there are" in error


def test_traceback_is_shown_on_request(here, capsys, monkeypatch):
    for arguments in (["train", "no.csv", "--target", "a", "--traceback"], ["--traceback", "train", "no.csv", "--target", "a"]):
        assert main(arguments) == 1
        assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("NNKIT_TRACEBACK", "1")
    assert main(["train", "no.csv", "--target", "a"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_is_status_130_without_a_traceback(here, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnkit.commands.train.open_data", interrupt)
    assert main(["train", "iris.csv", "--target", "species"]) == 130
    assert capsys.readouterr().err.endswith("train: interrupted\n")


def test_closed_pipe_is_no_traceback(here):
    command = f"{sys.executable} -m nnkit list | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


# ------------------------------------------------------------------------------------------------- train and predict


def test_train_as_a_process_of_its_own_and_the_command_that_it_recommends(here):
    command = [sys.executable, "-W", "error", "-m", "nnkit", "train", "iris.csv", "--target", "species"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert figure(done.stdout, "accuracy", 2) > 0.9
    recommended = done.stdout.splitlines()[-1].removeprefix("next:  ")
    assert recommended == "python -m nnkit predict iris.safetensors iris.csv"
    again = subprocess.run([sys.executable, *recommended.split()[1:]], capture_output=True, text=True, timeout=120)
    assert again.stdout.splitlines()[:2] == ["prediction", "setosa"]
    assert re.fullmatch(r"accuracy 0\.9\d+ on 150 rows with species\n", again.stderr)


def test_report_says_what_there_is(here, run):
    out = run("train", "iris.csv", "--target", "species", "--report", "report.txt", "--output", "net.safetensors",
              "--layers", "16, ReLU, dropout(0.1), linear(8), relu")  # fmt: skip
    assert (here / "report.txt").read_text() == out
    for text in ("iris.csv: 150 rows: 97 training, 24 validation, 29 test", "features: 4: sepal_length",
                 "setosa 50, versicolor 50", "Standardize", "Dropout(rate=0.1)", "validation loss", "kept", "always virginica",
                 "as virginica", "recall", "What the test rows tell", "how sure the net is", "most important columns",
                 "saved: net.safetensors", "net.safetensors iris.csv"):  # fmt: skip
        assert text in out
    assert out.isascii()
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("options", [["--recipe", "td-s", "--epochs", "40"], ["--patience", "20"]], ids=["recipe", "by hand"])
def test_regression_beats_the_mean_and_predicts_in_its_units(here, run, options):
    load_diabetes(as_frame=True).frame.to_csv("diabetes.csv", index=False)
    out = run("train", "diabetes.csv", "--target", "target", *options)
    assert figure(out, "R2", 2) > 0.25
    assert figure(out, "R2", 3) < 0.05
    assert figure(out, "mean absolute error", 2) < 0.85 * figure(out, "mean absolute error", 3)
    run("predict", "diabetes.safetensors", "diabetes.csv", "--output", "p.csv")
    predicted = np.array(table(here / "p.csv")["prediction"], float)
    assert abs(predicted.mean() - 152) < 15
    expected = nn.load("diabetes.safetensors").predict(load_diabetes(as_frame=True).data)
    assert np.array_equal(predicted.astype(expected.dtype), expected)


def test_predictions_are_those_of_the_estimator_in_memory(here, run, capsys):
    run("train", "iris.csv", "--target", "species", *QUICK)
    net = nn.load("iris.safetensors")
    assert list(net.feature_names_in_) == NAMES
    assert net.target_name_ == "species"
    del net.feature_names_in_
    X = np.array([row.split(",")[:4] for row in ROWS[1:]], float)
    run("predict", "iris.safetensors", "iris.csv", "--probabilities", "--output", "p.csv")
    columns = table(here / "p.csv")
    assert [*columns] == ["prediction", *(f"probability_{name}" for name in ("setosa", "versicolor", "virginica"))]
    assert list(columns["prediction"]) == list(net.predict(X))
    assert np.array_equal(np.array([columns[name] for name in [*columns][1:]], float).T, net.predict_proba(X))
    assert nn.load("iris.safetensors").save("again.safetensors") is None
    assert list(nn.load("again.safetensors").feature_names_in_) == NAMES


def test_columns_are_found_by_name_in_any_order_and_others_are_ignored(here, run, refused):
    run("train", "iris.csv", "--target", "species", *QUICK)
    run("predict", "iris.safetensors", "iris.csv", "--output", "p.csv")
    cells = [row.split(",") for row in ROWS]
    order = [2, 4, 0, 3, 1]
    (here / "shuffled.csv").write_text("".join(";".join(["note", *(row[i] for i in order)]) + "\n" for row in cells))
    run("predict", "iris.safetensors", "shuffled.csv", "--output", "q.csv")
    assert (here / "q.csv").read_text() == (here / "p.csv").read_text()
    (here / "less.csv").write_text("".join(",".join(row[1:]) + "\n" for row in cells))
    assert "no column is named 'sepal_length' (a feature of the net); did you mean" in refused(
        "predict", "iris.safetensors", "less.csv")  # fmt: skip
    (here / "text.csv").write_text(",".join(NAMES) + "\n1,2,three,4\n")
    message = refused("predict", "iris.safetensors", "text.csv")
    assert "got 'three' in line 2; encode it as numbers" in message and "--drop" not in message


def test_same_seed_gives_the_same_file_with_any_number_of_threads(here, run):
    for threads in (1, 2):
        run("train", "iris.csv", "--target", "species", *QUICK, "--threads", threads, "--output", f"{threads}.safetensors")
    one, two = (nn.load(f"{threads}.safetensors").model_ for threads in (1, 2))
    assert np.array_equal(network_of(one).vector, network_of(two).vector)


def test_whole_numbers_are_classes_where_there_are_few_and_predicted_as_such(here, run):
    text = IRIS.read_text().replace("setosa", "0").replace("versicolor", "1").replace("virginica", "2")
    (here / "codes.csv").write_text(text)
    assert "target: species, 3 classes: 0 50, 1 50, 2 50" in run("train", "codes.csv", "--target", "species", *QUICK)
    run("predict", "codes.safetensors", "codes.csv", "--output", "p.csv")
    assert set(table(here / "p.csv")["prediction"]) <= {"0", "1", "2"}
    out = run("train", "codes.csv", "--target", "species", "--task", "regression", *QUICK)
    assert "numbers from 0 to 2, mean 1, " in out


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["a", "b"] * 5, "Classification"), (["0", "1"] * 5, "Classification"), (["1.0", "2.0"] * 5, "Classification"),
     (["0.5", "1.5"] * 5, "Regression"), (list(map(str, range(10))), "Regression"),
     (list(map(str, range(20))) * 5, "Classification"), (list(map(str, range(21))) * 10, "Regression")],
)  # fmt: skip
def test_task_follows_from_the_target(tmp_path, labels, kind):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"1,{label}\n" for label in labels))
    data = open_data(str(path))
    assert type(task_of(data, "y", data.read(["x"], ["y"]), "auto")).__name__ == kind


@pytest.mark.parametrize("loss", ["mse", "mae", "huber(delta=0.5)", "gaussian_nll", "poisson_nll"])
def test_losses_of_numbers(here, run, loss):
    random = np.random.default_rng(0)
    a = random.normal(size=300)
    counts = random.poisson(np.exp(1.5 + a / 2))
    (here / "a.csv").write_text("a,n\n" + "".join(f"{x},{n}\n" for x, n in zip(a, counts, strict=True)))
    options = ("--task", "regression", "--loss", loss, "--layers", "8, tanh", "--epochs", "60")
    out = run("train", "a.csv", "--target", "n", *options)
    assert figure(out, "R2", 2) > 0.2
    assert ("with mean 0 and standard deviation 1" in out) == ("nll" not in loss)


def test_columns_that_differ_by_little_of_their_size_are_computed_in_double_precision(here, run):
    random = np.random.default_rng(0)
    when, noise = 1.7e9 + random.uniform(0, 60, 300), random.normal(size=300)
    rows = "".join(f"{t},{n},7,{1e6 + np.sin((t - 1.7e9) / 10)}\n" for t, n in zip(when, noise, strict=True))
    (here / "time.csv").write_text("when,noise,constant,y\n" + rows)
    assert figure(run("train", "time.csv", "--target", "y", *SMALL), "R2", 2) > 0.8
    out = run("train", "time.csv", "--target", "y", "--epochs", "100", "--layers", "64, relu, 32, relu")
    assert "Net (float64)" in out
    assert figure(out, "R2", 2) > 0.8
    X = np.column_stack([when, noise, np.full(300, 7.0)])
    assert nn.load("time.safetensors").model_.dtype == "float64"
    assert abs(nn.load("time.safetensors").model_.predict(X).mean() - 1e6) < 1


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_columns_of_sizes_that_float32_has_not(here, run, size):
    (here / "a.csv").write_text("a,b\n" + "".join(f"{i % 10 * size},{i % 10}\n" for i in range(100)))
    options = ("--target", "b", "--task", "regression")
    assert figure(run("train", "a.csv", *options, *SMALL), "R2", 2) > 0.9
    out = run("train", "a.csv", *options, "--lr", "0.003")
    assert "Net (float64)" in out
    assert figure(out, "R2", 2) > 0.9


def test_no_rows_need_be_held_out_and_all_epochs_can_be_done(here, run):
    out = run("train", "iris.csv", "--target", "species", *QUICK, "--validation", "0")
    assert "150 rows: 121 training, 29 test" in out and "validation" not in out
    out = run("train", "iris.csv", "--target", "species", *QUICK, "--test", "0")
    assert "150 rows: 121 training, 29 validation" in out and "What the validation rows tell" in out
    out = run("train", "iris.csv", "--target", "species", *QUICK, "--validation", "0", "--test", "0")
    assert "150 rows: 150 training" in out and "What the training rows tell" in out
    out = run("train", "iris.csv", "--target", "species", *QUICK, "--patience", "0")
    assert "all epochs done" in " ".join(out.split()) and "kept" not in out


def test_nets_need_not_begin_with_a_linear_layer(here, run):
    layers = "dropout(0.1), reshape((1, 4)), conv1d(4, 3, padding='same'), relu, flatten, residual(linear(16), relu)"
    assert "Conv1d" in run("train", "iris.csv", "--target", "species", "--layers", layers, "--epochs", "2")
    assert "accuracy" in run("train", "iris.csv", "--target", "species", "--layers", "", "--epochs", "2")


@pytest.mark.parametrize("options", [[], ["--patience", "3"]], ids=["recipe", "by hand"])
def test_interrupted_training_is_saved_and_says_so(here, run, monkeypatch, options):
    def interrupt(callback, fit):
        if fit.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(nn.EarlyStopping, "on_epoch_end", interrupt)
    out = run("train", "iris.csv", "--target", "species", *options, expect=130)
    assert "interrupted: the net is saved as it was then" in " ".join(out.split())
    history = nn.load("iris.safetensors").history_
    assert (history.stopped, history.epochs) == ("interrupted", 3)


def test_a_trainer_takes_all_rows_and_refuses_batches(here, run, refused):
    run("train", "iris.csv", "--target", "species", "--optimizer", "lbfgs(history_size=5)", "--epochs", "5")
    assert isinstance(nn.load("iris.safetensors").optimizer, nn.LBFGS)
    batches = refused("train", "iris.csv", "--target", "species", "--optimizer", "lbfgs", "--batch-size", "8")
    assert "LBFGS: expected no batches" in batches
    assert "made of squares" in refused("train", "iris.csv", "--target", "species", "--optimizer", "lm")


def test_training_that_is_interrupted_at_once_saves_nothing(here, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnkit.training.steps.Steps._run_block", interrupt)
    assert main(["train", "iris.csv", "--target", "species"]) == 130
    assert "nothing is saved" in capsys.readouterr().err
    assert not (here / "iris.safetensors").exists()


# ----------------------------------------------------------------------------------------------------- other models


def test_saved_models_predict_raw_outputs(here, run, refused):
    X = np.array([row.split(",")[:4] for row in ROWS[1:]], np.float32)
    model = nn.Sequential([nn.Reshape((2, 2)), nn.Flatten(), nn.Linear(2)]).build((4,), random_state=0)
    model.save("model.safetensors")
    out = run("predict", "model.safetensors", "iris.csv", "--target", "species")
    assert out == run("predict", "model.safetensors", "iris.csv", "--drop", "species")
    header, *rows = out.splitlines()
    assert header == "output_0,output_1"
    assert np.array_equal(np.array([row.split(",") for row in rows], np.float32), model.predict(X))
    assert "expected 4 columns, as many as the net has inputs, got 5" in refused("predict", "model.safetensors", "iris.csv")
    message = refused("predict", "model.safetensors", "iris.csv", "--drop", "species", "--probabilities")
    assert "expected a saved classifier, got a model" in message
    (here / "ids.csv").write_text("a,b\n1,2\n0,3\n")
    nn.Sequential([nn.Embedding(4, 2), nn.Flatten()]).build((2,), random_state=0).save("ids.safetensors")
    assert run("predict", "ids.safetensors", "ids.csv").count("\n") == 3


def test_estimators_that_were_fitted_on_arrays_take_all_columns(here, run, refused):
    X = np.array([row.split(",")[:4] for row in ROWS[1:]], float)
    y = np.array([row.split(",")[4] for row in ROWS[1:]])
    nn.NNClassifier(layers=[8], epochs=2, random_state=0).fit(X, y).save("c.safetensors")
    nn.NNRegressor(layers=[8], epochs=2, random_state=0).fit(X, X[:, :2]).save("r.safetensors")
    nn.NNClassifier(layers=[8], loss="hinge", epochs=2, random_state=0).fit(X, y).save("h.safetensors")
    assert run("predict", "c.safetensors", "iris.csv", "--target", "species").startswith("prediction\n")
    assert run("predict", "r.safetensors", "iris.csv", "--target", "species").startswith("prediction_0,prediction_1\n")
    for name in ("r", "h"):
        message = refused("predict", f"{name}.safetensors", "iris.csv", "--target", "species", "--probabilities")
        assert "expected a classifier whose loss gives probabilities" in message


def test_name_of_the_target_is_kept_from_a_series():
    import pandas as pd

    X = pd.DataFrame(np.eye(4), columns=list("abcd"))
    net = nn.NNRegressor(layers=[], epochs=1, random_state=0).fit(X, pd.Series([1.0, 2.0, 3.0, 4.0], name="y"))
    assert net.target_name_ == "y"
    assert not hasattr(net.fit(X, np.arange(4.0)), "target_name_")


def test_score_leaves_out_rows_without_an_answer(here, run, capsys):
    run("train", "iris.csv", "--target", "species", *QUICK)
    (here / "some.csv").write_text("\n".join([*ROWS[:4], ROWS[4].replace("setosa", "")]) + "\n")
    assert main(["predict", "iris.safetensors", "some.csv"]) == 0
    assert capsys.readouterr().err.endswith("on 3 rows with species\n")
    (here / "none.csv").write_text("\n".join(row.replace("setosa", "") for row in ROWS[:4]))
    assert main(["predict", "iris.safetensors", "none.csv"]) == 0
    assert "no row has an answer" in capsys.readouterr().err
    assert "no column is named 'kind'" in (main(["predict", "iris.safetensors", "some.csv", "--target", "kind"]),
                                           capsys.readouterr().err)[1]  # fmt: skip


# ------------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("write", [
    lambda text: text.encode(),
    lambda text: b"\xef\xbb\xbf" + text.encode() + b"\n\n",
    lambda text: text.replace(",", ";").encode(),
    lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode(),
    lambda text: "\n\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()).encode(),
], ids=["commas", "BOM and empty lines", "semicolons", "tabs and CRLF", "quotes"])  # fmt: skip
def test_forms_of_csv(tmp_path, write):
    path = tmp_path / "a.csv"
    path.write_bytes(write(IRIS.read_text()))
    data = open_data(str(path))
    rows = data.read(NAMES, ["species"])
    numbers = np.asarray(rows.table)
    assert numbers.shape == (150, 4) and numbers[0].tolist() == [5.1, 3.5, 1.4, 0.2]
    assert rows.labels["species"][0] == "setosa" and len(rows.labels["species"]) == 150


def test_cells_with_delimiters_and_line_breaks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"a, first",b,"c ""x"""\n1,"two\nlines",true\n2,"x,y",FALSE\n3,z,wrong\n')
    data = open_data(str(path))
    assert data.names == ["a, first", "b", 'c "x"']
    rows = data.read(["a, first"], ["b"])
    assert (rows.labels, rows.lines.tolist()) == ({"b": ["two\nlines", "x,y", "z"]}, [2, 4, 5])
    with pytest.raises(nn.DataError, match="got 'wrong' in line 5"):
        data.read(['c "x"'])


def test_truth_values_are_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\ntrue,1\nFalse,2\n")
    assert np.asarray(open_data(str(path)).read(["a"]).table).ravel().tolist() == [1.0, 0.0]


def test_blocks_of_rows_make_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr("nnkit.commands.data_file.BLOCK", 7)
    rows = open_data(str(IRIS)).read(NAMES, ["species"])
    assert rows.lines.tolist() == list(range(2, 152))
    assert np.asarray(rows.table)[-1].tolist() == [5.9, 3.0, 5.1, 1.8]


def test_parquet_is_read_as_csv_is(here, run):
    pd = pytest.importorskip("pandas")
    frame = pd.read_csv("iris.csv")
    frame["sepal_length"] = frame["sepal_length"].astype("float32")
    frame["many"] = pd.Categorical(frame["species"])
    frame["yes"] = frame["petal_width"] > 1
    frame.to_parquet("iris.parquet")
    rows = open_data("iris.parquet").read([*NAMES, "yes"], ["many"])
    assert np.allclose(np.asarray(rows.table)[:, :4], open_data("iris.csv").read(NAMES).table, rtol=1e-6)
    assert set(np.asarray(rows.table)[:, 4]) == {0.0, 1.0} and rows.labels["many"][0] == "setosa"
    run("train", "iris.parquet", "--target", "species", "--drop", "many", "yes", *QUICK)
    assert run("predict", "iris.safetensors", "iris.csv").count("\n") == 151
    frame.loc[3, "petal_width"] = None
    frame.to_parquet("holes.parquet")
    with pytest.raises(nn.DataError, match=r"petal_width 1 \(first in row 4\)"):
        open_data("holes.parquet").read(NAMES)


def test_parquet_without_its_library(here, monkeypatch, refused):
    (here / "a.parquet").write_bytes(b"PAR1" + bytes(20))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert 'pip install "nnkit-numba[parquet]"' in refused("train", "a.parquet", "--target", "x")


REFUSED = {
    "empty": ("", "c", "expected a header and rows, got an empty file"),
    "blank": ("\n \n\n", "c", "expected a header and rows, got an empty file"),
    "header only": ("a,b,c\n", "c", "expected rows, got a header only"),
    "no header": ("1,2,3\n4,5,6\n", "3", "expected the names of the columns in the first line, got numbers: 1, 2, 3"),
    "ragged": ("a,b,c\n1,2,x\n1,2\n", "c", "expected 3 cells in line 3, as in the header, got 2"),
    "quotes": ('a,b,c\n1,2,"x\n', "c", "line 2: unexpected end of data"),
    "twice": ("a,b,a\n1,2,3\n", "b", "got 'a' for the columns 1 and 3"),
    "no name": (",a,c\n0,1,x\n", "c", "got none for column 1 (is it an index?"),
    "no column": ("a,b,clss\n1,2,x\n", "class",
                  "no column is named 'class' (--target); did you mean 'clss'? columns: a, b, clss"),
    "one column": ("a\n1\n2\n", "a", "expected columns beside the target 'a', got none"),
    "text": ("a,b,c\n1,2,x\n1,foo,x\n", "c", "expected numbers in column 'b', got 'foo' in line 3; encode it"),
    "text columns": ("a,b,c\nu,v,x\n", "c",
                     "there is text in 2 columns: a, b; encode it as numbers, or leave them out: --drop a b"),
    "decimal commas": ("a;c\n1,5;x\n", "c", "--decimal , reads it as 1.5"),
    "infinite": ("a,c\n1,x\ninf,y\n", "c", "expected finite numbers in column 'a', got inf in line 3"),
    "missing": ("a,b,c\n1,,x\n1,NA,x\n,3,y\nnan,3,y\n2,3,y\n", "c",
                "missing values in 4 of 5 rows: a 2 (first in line 4), b 2 (first in line 2)"),
    "no answer": ("a,c\n1,x\n1,\n1,NaN\n", "c", "missing values in 2 of 3 rows (first in line 3)"),
    "one class": ("a,c\n1,x\n2,x\n", "c", "expected at least two classes in column 'c', got 'x' in all 2 rows"),
    "nothing to learn from": ("a,b,c\n1,,x\n1,,y\n", "c", "expected columns that say something, got 2 columns: nothing to "
                              "learn from; left out: a (always 1), b (nothing but missing values)"),
    "large": ("a,c\n1,1e200\n2,1\n3,2.5\n", "c", "expected numbers of less than 1e+100 in column 'c', got 1e+200"),
    "ids": ("a,c\n" + "".join(f"1,u{i}\n" for i in range(40)), "c", "got 40 classes in 40 rows; is it an id"),
}  # fmt: skip


BY_HAND = ("no name", "text", "text columns", "decimal commas", "infinite", "missing")  # what recipes take


@pytest.mark.parametrize("case", REFUSED)
def test_train_says_what_is_wrong_with_a_file(here, refused, case):
    text, target, message = REFUSED[case]
    options = QUICK if case in BY_HAND else ()
    (here / "a.csv").write_text(text)
    said = refused("train", "a.csv", "--target", target, *options)
    assert "train: error: a.csv: " in said and message in said
    assert not (here / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.csv", b"\0\1\2" * 9, "got a binary file"), ("a.csv", "a,b\n1,\xe9\n".encode("latin1"), "got the byte 0xe9 in line 2"),
     ("a.xlsx", b"PK\3\4...", "got an Excel or zip file"), ("a.parquet", b"a,b\n1,2\n", "expected a Parquet file, got one"),
     ("a.parquet", b"PAR1" + bytes(50), "expected a Parquet file, got one that cannot be read")],
)  # fmt: skip
def test_train_refuses_what_is_no_table(here, refused, name, content, message):
    (here / name).write_bytes(content)
    assert message in refused("train", name, "--target", "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("iri.csv",), "cannot read 'iri.csv': there is no such file or folder; did you mean 'iris.csv'?"),
        ((".",), "cannot read '.': it is a folder"),
        (("iris.csv", "--drop", "species"), "expected the target 'species' to stay"),
        (("iris.csv", "--drop", "sepal"), "no column is named 'sepal' (--drop)"),
        (("iris.csv", "--drop", *NAMES[:2], "--drop", *NAMES[2:]), "expected columns beside the target 'species', got none"),
        (("iris.csv", "--task", "regression"), "got 'setosa' in line 2; encode it as numbers, or --task classification"),
        (("iris.csv", "--layers", "64, rleu"), "no layer is named 'rleu'; did you mean 'relu'?"),
        (("iris.csv", "--layers", "64, relu("), "expected names with commas between"),
        (("iris.csv", "--layers", "conv2d(8, 3)"), "Conv2d(8, 3): expected input rows of shape"),
        (("iris.csv", "--optimizer", "adm"), "no optimizer is named 'adm'; did you mean 'adam'?"),
        (("iris.csv", "--optimizer", "relu"), "no optimizer is named 'relu'"),
        (("iris.csv", "--loss", "mes"), "no loss is named 'mes'"),
        (("iris.csv", "--loss", "bce"), "expected a loss of raw outputs"),
        (("iris.csv", "--lr", "-1"), "Adam: expected lr"),
        (("iris.csv", "--epochs", "0"), "--epochs: expected a whole number of at least 1, got 0"),
        (("iris.csv", "--batch-size", "0"), "--batch-size: expected"),
        (("iris.csv", "--threads", "0"), "--threads: expected"),
        (("iris.csv", "--seed", "-1"), "--seed: expected"),
        (("iris.csv", "--validation", "1"), "--validation: expected a share"),
        (("iris.csv", "--validation", "nan"), "--validation: expected a share"),
        (("iris.csv", "--test", "1"), "--test: expected a share"),
        (("iris.csv", "--recipe", "td-x"), f"recipe: expected one of {', '.join(map(repr, RECIPES))}, got 'td-x'; did you"),
        (("iris.csv", "--recipe", "td", "--lr", "0.1"), "--recipe: expected a net by a recipe, got --lr, too"),
        (("iris.csv", "--seconds", "9", "--layers", "8"), "--seconds: expected a net by a recipe, got --layers, too"),
        (("iris.csv", "--seconds", "0"), "--seconds: expected a number above 0, got 0.0"),
        (("iris.csv", "--seconds", "nan"), "--seconds: expected a number above 0, got nan"),
        (("iris.csv", "--target", "sepal_width"), "expected numbers in several targets, got classes in species"),
        (("iris.csv", "--target", "sepal_width, colour"), "no column is named 'colour' (--target)"),
        (("iris.csv", "--lr", "1e30"), "fit: expected finite numbers"),
        (("iris.csv", "--output", "no/net.safetensors"), "make it first"),
        (("iris.csv", "--output", "."), "it is a folder"),
        (("iris.csv", "--output", "iris.csv"), "--output: expected a file of its own, got 'iris.csv', which is the data"),
        (("iris.csv", "--report", "no/report.txt"), "make it first"),
        (("iris.csv", "--report", "iris.safetensors"), "--report: expected a file of its own"),
        (("iris.csv", "--output", "iris.csv/net"), "what stands for its folder is a file"),
    ],
)
def test_train_says_what_is_wrong_with_its_options(here, refused, options, message):
    assert message in refused("train", options[0], "--target", "species", *options[1:])
    assert sorted(path.name for path in here.iterdir()) == ["iris.csv"]


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written_is_noticed_before_training(here, refused):
    (here / "locked").mkdir(mode=0o500)
    assert "there is no permission" in refused("train", "iris.csv", "--target", "species", "--output", "locked/net")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_are_refused_before_anybody_waits_for_them(here, refused):
    os.mkfifo("pipe")
    message = refused("train", "pipe", "--target", "species")
    assert "it is a pipe, no regular file; write what it gives to a file first" in message


def test_net_that_memory_cannot_hold(here, refused):
    assert "error: " in refused("train", "iris.csv", "--target", "species", "--layers", "10000000000000")


def test_what_was_saved_before_is_replaced(here, run):
    (here / "iris.safetensors").write_text("something else")
    run("train", "iris.csv", "--target", "species", *QUICK)
    nn.load("iris.safetensors")


def test_predict_refuses(here, run, refused):
    run("train", "iris.csv", "--target", "species", *QUICK)
    assert "there is no such file" in refused("predict", "no.safetensors", "iris.csv")
    assert "cannot read" in refused("predict", "iris.csv", "iris.csv")
    assert "there is no such file" in refused("predict", "iris.safetensors", "no.csv")
    for output in ("iris.csv", "iris.safetensors"):
        assert "expected a file of its own" in refused("predict", "iris.safetensors", "iris.csv", "--output", output)
    assert "make it first" in refused("predict", "iris.safetensors", "iris.csv", "--output", "no/p.csv")


# ------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("text", "layers"),
    [("", []), ("64", [nn.Linear(64)]), ("64, relu,", [nn.Linear(64), nn.ReLU()]), ("LayerNorm", [nn.LayerNorm()]),
     ("'gelu'", [nn.GELU()]), ("dropout(.2)", [nn.Dropout(0.2)]),
     ("linear(3, weight_init=orthogonal)", [nn.Linear(3, weight_init="orthogonal")]),
     ("linear(3, weight_init=constant(0.5))", [nn.Linear(3, weight_init=nn.Constant(0.5))]),
     ("residual(linear(4), Tanh, 'relu')", [nn.Residual(nn.Linear(4), "tanh", "relu")]),
     ("branches(linear(4), relu, merge='concat')", [nn.Branches(nn.Linear(4), "relu", merge="concat")]),
     ("conv2d(8, (3, 3))", [nn.Conv2d(8, (3, 3))])],
)  # fmt: skip
def test_layers_as_they_are_typed(text, layers):
    assert repr(layers_of(text)) == repr(layers)


def test_wrong_arguments_are_shown_the_right_ones():
    with pytest.raises(nn.ParameterError, match=r"expected Dropout\(rate=0.5\), got 'dropout\(rat=0.2\)'"):
        layers_of("dropout(rat=0.2)")


@pytest.mark.parametrize("text", [
    "__import__('os').system('true')", "(lambda: 1)()", "relu()()", "dropout(*[1])", "dropout(**{})", "dropout(open('x'))",
    "dropout(1 if 1 else 2)", "nn.ReLU", "64; relu", "[64]", "dropout(rate=rate.x)", "1.5", "True", "-1", "((" * 2000, "x" * 9,
    "relu\0", "dropout(0.2, 0.3, 0.4)", "adam",
])  # fmt: skip
def test_nothing_else_is_taken_for_layers(text):
    with pytest.raises(nn.NnkitError):
        layers_of(text)


@pytest.mark.parametrize("kind", [nn.registry.layers, nn.registry.activations], ids=lambda kind: kind.kind)
def test_every_layer_can_be_typed_as_it_is_written(kind):
    for part in kind.values():
        for example in part.examples():
            if not isinstance(example.part, Chain) and "array(" not in repr(example.part):  # of layers, and of numbers
                assert repr(layers_of(repr(example.part))[0]) == repr(example.part)


def test_parts_of_other_kinds():
    assert repr(part_of(nn.Optimizer, "adamw(lr=0.1, schedule=cosine)")) == "AdamW(lr=0.1, schedule='cosine')"
    assert repr(part_of(nn.Loss, "CrossEntropyLoss(label_smoothing=0.1)")) == "CrossEntropyLoss(label_smoothing=0.1)"


# ---------------------------------------------------------------------------------------------------- other commands


def test_list_and_info_and_demo(run, monkeypatch):
    monkeypatch.setattr("nnkit.commands.demo.EPOCHS", 2)
    assert "relu" in run("list") and "test accuracy" in run("demo")
    again = run("demo")  # all of its kernels are there now
    assert "loading " in again and "compiling" not in again
    monkeypatch.setattr("nnkit.inspect.cost.machine.SECONDS", 0.01)
    out = run("info")
    for text in (nn.__version__, np.__version__, "numba", "scikit-learn", "threads", "blas", "kernels", "GFLOP/s", "extras"):
        assert text.lower() in out.lower()


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A cache folder with two kernels, two of the former layout of different versions, and things that nobody knows."""
    versions = [tmp_path / "py311-numba0.1-a", tmp_path / "py310-numba0.2-b"]
    for folder in versions:
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "k_forward_0.py").write_text("x")
        (folder / "k_forward_0.json").write_text("{}")
        for name in ("k_forward_0.f-7.py311.nbi", "k_forward_0.f-7.py311.1.nbc", "k_forward_0.cpython-311.pyc"):
            (folder / "__pycache__" / name).write_bytes(bytes(100))
    (versions[0] / "tmp1.tmp").write_text("")
    (versions[0] / "mine.py").write_text("")
    (tmp_path / "thesis.txt").write_text("")
    (tmp_path / "k_thesis.kernel").write_text("")
    kept = cache.KernelCache(tmp_path)
    for letter in "ab":
        kept.write(f"k_forward_{letter * 24}.kernel", bytes(100 - cache._HEAD))
    (tmp_path / f"k_forward_{'a' * 24}.kernel.1-0f.tmp").write_text("12345")
    monkeypatch.setattr(cache, "kernel_cache", kept)
    return tmp_path


def test_cache_says_what_there_is_and_clears_what_is_its_own(kernels, run):
    assert run("cache") == run("cache", "info") == f"{kernels}\n4 kernels, 0.0 MB\n"
    assert cache.kernel_cache.count().size == 2 * 303 + 2 * 100 + 5
    assert run("cache", "clear") == f"{kernels}\n4 kernels, 0.0 MB, removed\n"
    left = {path.relative_to(kernels).as_posix() for path in kernels.rglob("*")}
    assert left == {"thesis.txt", "k_thesis.kernel", "py311-numba0.1-a", "py311-numba0.1-a/mine.py"}
    assert run("cache", "clear") == f"{kernels}\n0 kernels, 0.0 MB, removed\n"


def test_only_kernels_that_nobody_has_used_for_long_are_pruned(kernels):
    old = [kernels / "py310-numba0.2-b" / "k_forward_0.py", kernels / f"k_forward_{'a' * 24}.kernel"]
    for path in (*old, kernels / "thesis.txt"):
        os.utime(path, (0, 0))
    assert cache.kernel_cache.clear(unused=3600).kernels == 2
    assert not any(path.exists() for path in old)
    assert (kernels / "thesis.txt").exists() and cache.kernel_cache.count().kernels == 2


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners")
def test_commands_say_that_a_folder_is_refused(tmp_path, capsys, monkeypatch):
    import warnings

    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(cache, "kernel_cache", cache.KernelCache(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["cache"]) == 0
    out, err = capsys.readouterr()
    reason = f"others may write into {folder} (its mode is 777): chmod go-w {folder}"
    assert out == f"{folder}, not used: {reason}\n0 kernels, 0.0 MB\n"
    assert " cache: warning: compiled kernels are not kept on disk" in err


def test_cache_without_its_folder(tmp_path, script):
    text = "from nnkit.__main__ import main; main(['cache', 'clear']); main(['cache'])"
    assert script(text, NNKIT_CACHE_DIR=str(tmp_path / "no" / "such")).count("0 kernels") == 2


def test_cache_may_be_cleared_while_a_process_compiles(tmp_path, script):
    text = """
        import threading, numpy as np, nnkit as nn
        from nnkit.engine import cache
        done = threading.Event()
        def clear():
            while not done.wait(0.001):
                cache.kernel_cache.clear()
        thread = threading.Thread(target=clear)
        thread.start()
        try:
            model = nn.Sequential(["tanh", "sigmoid"]).build((3,))
            print(model.predict(np.zeros((2, 3))).shape)
        finally:
            done.set()
            thread.join()
    """
    assert script(text, NNKIT_CACHE_DIR=str(tmp_path)) == "(2, 3)\n"


def test_bench_refuses_an_unknown_suite(refused):
    assert "unknown suite 'nosuch'; expected some of " in refused("bench", "nosuch")
    assert "threads: expected numbers of at least 1" in refused("bench", "startup", "--threads", "0")


def test_bench_without_its_folder(monkeypatch, refused):
    monkeypatch.setattr("nnkit.commands.bench.find_spec", lambda name: None)
    assert "install nnkit as a wheel" in refused("bench")


def test_benchmarks_import_each_other_relatively(request):
    """In a wheel they are called nnkit.benchmarks."""
    for path in (request.config.rootpath / "benchmarks").glob("*.py"):
        assert not re.search(r"^\s*(from|import) benchmarks", path.read_text(), re.M), path.name


def test_warnings_are_one_line(here, capsys, monkeypatch):
    import warnings

    monkeypatch.setattr("nnkit.commands.list_parts.list_parts", None)
    monkeypatch.setitem(COMMANDS, "list", lambda: warnings.warn("a plugin is broken", nn.PluginWarning, stacklevel=1) or 0)
    warnings.simplefilter("always")
    assert main(["list"]) == 0
    assert capsys.readouterr().err.endswith("list: warning: a plugin is broken\n")


def test_columns_are_only_those_of_the_header():
    assert open_data(str(IRIS)).names == [*NAMES, "species"]


# ----------------------------------------------------------------------------------------------- text of files on a terminal

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil\x9b31m\r"  # a window's title, an empty screen, letters backwards, a second line


def is_printable(text):
    return all(letter.isprintable() or letter == "\n" for letter in text)


def hostile_irises(path):
    rows = [line.replace("versicolor", f"versi{HOSTILE}") for line in ROWS[1:]]
    header = [f'"{HOSTILE}{name}\nerror: all is well"' for name in NAMES]
    path.write_text("\n".join([",".join([*header, f'"species{HOSTILE}"']), *rows]), newline="")
    return open_data(str(path)).names


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names of files")
def test_names_in_a_table_steer_no_terminal(here, capsys):
    """Neither as columns, nor as classes, nor as names of files, in errors, tables and reports."""
    path = here / f"a{HOSTILE}.csv"
    names = hostile_irises(path)
    target, net = names[-1], f"net{HOSTILE}.safetensors"
    runs = [
        ("train", path, "--target", target, "--output", net, "--report", "report.txt", *QUICK),
        ("predict", net, path), ("predict", net, path, "--output", f"out{HOSTILE}.csv"), ("predict", net, "iris.csv"),
        ("train", path, "--target", "missing"), ("train", path, "--target", target, "--drop", names[0], names[0] + "x"),
        ("train", path, "--target", names[0], "--drop", *names[1:]), ("train", f"missing{HOSTILE}", "--target", "x"),
        ("train", path, "--target", target, "--layers", HOSTILE), ("predict", net, "iris.csv", "--output", f"{HOSTILE}/a"),
        ("predict", path, path),
    ]  # fmt: skip
    for run in runs:
        main(list(map(str, run)))
        out, err = capsys.readouterr()
        assert is_printable(err), run
        assert is_printable(out) or run == ("predict", net, path), run
        assert "\nerror: all is well" not in out + err or run == ("predict", net, path), run
    assert is_printable((here / "report.txt").read_text())
    assert HOSTILE.strip() in (here / f"out{HOSTILE}.csv").read_text(), "data stay as they are"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals to make")
def test_predictions_are_printable_on_a_terminal_only(here, capsys):
    path = here / "a.csv"
    target = hostile_irises(path)[-1]
    assert main(["train", str(path), "--target", target, "--output", "net", *QUICK]) == 0
    command = [sys.executable, "-m", "nnkit", "predict", "net", "a.csv"]
    piped = subprocess.run(command, capture_output=True, timeout=120).stdout.decode()
    assert HOSTILE.strip() in piped
    master, terminal = os.openpty()
    process = subprocess.Popen(command, stdout=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    shown = b""
    while piece := read_terminal(master):
        shown += piece
    assert process.wait() == 0
    os.close(master)
    assert is_printable(shown.decode().replace("\r\n", "\n")) and "\\x1b]0;owned" in shown.decode()


def read_terminal(descriptor):
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # nobody has its other end any more
        return b""


def test_a_net_with_callbacks_predicts_without_a_word_of_them(here, run, capsys):
    X = np.random.default_rng(0).normal(size=(30, 2))
    net = nn.NNRegressor([2], epochs=1).fit(X, X[:, 0])
    net.callbacks = [nn.Checkpoint("iris.csv")]
    net.save("net")
    (here / "rows.csv").write_text("a,b\n1,2\n")
    assert main(["predict", "net", "rows.csv"]) == 0
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------------------------- files that are bombs


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_that_is_larger_than_memory_is_refused_while_it_is_read(kind, here, monkeypatch, refused):
    """A few thousand bytes of Parquet may stand for any number of rows."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.zeros(200_000), "b": np.zeros(200_000), "y": np.arange(200_000.0)})
    frame.to_parquet("rows") if kind == "parquet" else frame.to_csv("rows", index=False)
    monkeypatch.setattr(data_file, "_memory", lambda: 1 << 20)
    message = refused("train", "rows", "--target", "y", *QUICK)
    assert "expected a table that fits into memory, at most 32768 rows of 2 columns" in message
    assert "expected a table that fits into memory, at most " in refused("train", "rows", "--target", "y")


def test_a_wide_table_of_parquet_comes_in_small_pieces(here, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(np.arange(3000.0).reshape(100, 30), columns=[f"c{number}" for number in range(30)])
    frame.to_parquet("rows")
    monkeypatch.setattr(data_file, "CELLS", 300)
    table = open_data("rows")
    assert {len(where) for where, _, _ in table._blocks(table.names, [])} == {10}
    np.testing.assert_array_equal(table.read(table.names).table, frame)


@pytest.fixture
def shell(here):
    """A command line with the streams that a shell gives it."""
    nn.NNClassifier(layers=[4], epochs=2, random_state=0).fit(np.eye(4), [0, 1, 0, 1]).save("net.safetensors")
    (here / "four.csv").write_text("a,b,c,d\n1,0,0,0\n0,1,0,0\n")

    def run(line):
        line = line.replace("nnkit", f"'{sys.executable}' -m nnkit")
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
def test_closed_streams(shell):
    assert shell("nnkit list >&-") == (0, "", "")
    code, out, err = shell("nnkit predict net.safetensors four.csv 2>&-")
    assert (code, out.splitlines()[0], err) == (0, "prediction", "")
    code, out, err = shell("nnkit predict nowhere.safetensors four.csv 2>&-")
    assert (code, out, err) == (1, "", "")
    code, out, err = shell("nnkit predict net.safetensors four.csv >&-")
    assert (code, out) == (1, "")
    assert "expected --output, or a standard output to write to, got neither" in err
    assert shell("nnkit predict net.safetensors four.csv --output out.csv >&- 2>&-") == (0, "", "")
    code, out, _ = shell("nnkit train iris.csv --target species --epochs 2 2>&-")
    assert code == 0
    assert "saved" in out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_full_disk_behind_standard_output(shell):
    code, _, err = shell("nnkit predict net.safetensors four.csv > /dev/full")
    assert code == 1
    assert err.endswith("predict: error: [Errno 28] No space left on device\n")
    assert err.count("\n") == 1


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert all(f"  {name} " in out for name in COMMANDS) and "demo shows what nnkit does" in " ".join(out.split())
    assert err == ""


@pytest.mark.parametrize(("arguments", "hint"), [
    (["trian"], "no command is called 'trian'; did you mean train?"),
    (["train", "a.csv", "--target", "a", "--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?"),
    (["--traceback", "lst"], "did you mean list?"),
])  # fmt: skip
def test_words_that_nobody_knows_are_told_near_ones(arguments, hint, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("columns", [None, "40", "20"])
def test_list_has_whole_names_in_any_width(columns, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    words = set(" ".join(lines).replace(",", " ").split())
    for kind in nn.registry.__all__:
        assert {kind, *getattr(nn.registry, kind)} <= words
    assert [line for line in lines if line != line.rstrip()] == []
    if columns is None:  # into a file, or another program: a line for each kind and distribution
        assert any("celu, " in line and " tanhshrink" in line for line in lines)
    elif columns == "40":
        assert max(map(len, lines)) <= 40


def test_check_tells_examples_of_the_same_part_apart(capsys):
    assert main(["check", "linear"]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Linear(")]
    assert len(set(titles)) == len(titles) > 1


def test_check_takes_a_parts_name(capsys):
    assert main(["check", "early_stopping"]) == 0
    assert "EarlyStopping()" in capsys.readouterr().out
    assert main(["check", "rellu"]) == 1
    assert "did you mean the part 'relu'?" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("kind", nn.registry.__all__)
def test_list_of_a_kind_has_a_line_of_meaning_for_each_part(kind, run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = run("list", kind).splitlines()
    parts = getattr(nn.registry, kind)
    for key, part in parts.items():
        place = next(place for place, line in enumerate(lines) if line.split()[0] == key)
        first = " ".join(inspect.getdoc(part).partition("\n\n")[0].split()).replace("`", "")
        assert first in " ".join(lines[place : place + 2])
    assert run("list", getattr(nn.registry, kind).kind.title()).splitlines() == lines  # "Loss" is "losses"


@pytest.mark.parametrize("kind", nn.registry.__all__)
def test_list_of_a_part_is_its_docstring(kind):
    for key, part in getattr(nn.registry, kind).items():
        titles, blocks = zip(*paragraphs(part, "part", 80), strict=True)
        lines = [line for block in blocks for line in block]
        words = re.sub(r"\s+# doctest: .*|\n-{3,}$|`", "", inspect.getdoc(part), flags=re.MULTILINE).split()
        told = " ".join([*titles, *lines])
        assert lines[0].startswith(f"{key}: part of ") and f"{part.__name__}(" in told
        assert [word for word in words if word not in told] == []
        assert not any("``" in line or "doctest:" in line for line in lines)
        assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


def test_list_finds_parts_by_some_letters_and_by_other_names(run, refused):
    assert run("list", "relu6").splitlines()[0].startswith("relu6: activation of nnkit-numba ")
    out = run("list", "pool2d")
    assert "max_pool2d" in out and "avg_pool2d" in out and "conv2d" not in out
    assert run("list", "Conv2d") == run("list", "conv2d")
    assert "did you mean 'conv2d'?" in refused("list", "cov2d")
    assert "did you mean 'linear'?" in refused("list", "dense")  # as Keras has it
    assert "list names all" in refused("list", "qqqqqq")
