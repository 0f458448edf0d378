"""An error in a kernel of the user's says the line where it is, first and last, in few lines."""

import subprocess
import sys
import textwrap

import pytest

PART = """
import numpy as np
import nnkit as nn


def helper(row):
    total = 0.0
    for j in range(row.shape[0]):
        total += {helper}
    return total


class Bad(nn.Layer):
    \"\"\"Some words.\"\"\"

    @staticmethod
    def forward(x, out):
        # and a comment
        for n in range(x.shape[0]):
            out[n] = helper(x[n])
            if n > 3:
                out[n] = helper(x[n])
            else:
                {forward}

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_out.shape[0]):
            {backward}


class BadLoss(nn.Loss):
    @staticmethod
    def forward(prediction, target):
        return {loss}

    @staticmethod
    def backward(prediction, target):
        return 0.0


model = nn.Sequential([nn.Linear(3), Bad()])
{call}
"""
FIT = "model.fit(np.zeros((8, 2)), np.zeros((8, 3)), loss=BadLoss(), progress=False)"
RIGHT = {"helper": "row[j]", "forward": "out[n] = helper(x[n])", "backward": "grad_x[n] = grad_out[n]", "loss": "0.0"}


@pytest.mark.parametrize(("where", "line", "said", "most"), [
    ("helper", "row[j].nonsense(2)", "Unknown attribute 'nonsense'", 10),
    ("forward", "out[n] = x[n].nonsense(3)", "Unknown attribute 'nonsense'", 10),
    ("forward", "out[n] = unheard(3)", "the name 'unheard' is unknown", 10),
    ("backward", "grad_x[n] = grad_out[n] + 'text'", "No implementation of function", 22),
    ("backward", "grad_x[n, :2] = grad_out[n]", "raised ValueError: could not broadcast", 12),
    ("forward", "raise ValueError('no such rows')", "raised ValueError: no such rows", 12),
    ("loss", "prediction.nonsense + target", "Unknown attribute 'nonsense'", 10),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("call", [
    FIT, "model.build((2,)).forward(np.zeros((8, 2)), training=True)", "model.build((2,)).predict(np.zeros((8, 2)))",
    "nn.NNRegressor([nn.Linear(3), Bad()], loss=BadLoss(), epochs=1).fit(np.zeros((8, 2)), np.zeros((8, 3)))",
], ids=["fit", "forward", "predict", "estimator"])  # fmt: skip
def test_the_line_of_the_user_stands_first_and_last(where, line, said, most, call, tmp_path):
    if call.startswith("model.build") and where in ("backward", "loss"):
        pytest.skip("not run by this call")
    text = PART.format(**{**RIGHT, where: line}, call=call)
    path = tmp_path / "user.py"
    path.write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    written = next(item for item in text.splitlines() if line in item).strip()
    number = next(index for index, item in enumerate(text.splitlines(), 1) if line in item)
    [message] = [item for item in lines if item.startswith("nnkit.errors.KernelError: ")]
    assert message.startswith(f"nnkit.errors.KernelError: {path}:{number}: {written}: "), done.stderr
    assert said in done.stderr
    assert lines[-1].strip() == written, done.stderr
    assert f'line {number}, in ' in lines[-2]
    assert len(lines) <= most + (0 if call == FIT else 3), done.stderr  # from within the model, or from scikit-learn
    assert "direct cause" not in done.stderr
