"""In a notebook: one bar that is updated in place, pictures, and tables."""

import json
import subprocess
import sys

CELLS = [
    """
import numpy as np
import nnkit as nn
X = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
model = nn.Sequential([nn.Linear(8), nn.ReLU(), nn.Linear(1)])
monitor = nn.Monitor()
news = nn.LambdaCallback(lambda fit: time.sleep(0.02))
history = model.fit(X, X[:, :1], epochs=30, validation_split=0.2, callbacks=[monitor, news], random_state=0)
""".replace("import numpy", "import time\nimport numpy"),
    "%matplotlib inline\n_ = history.plot()",
    "monitor",
    "history = model.fit(X, X[:, :1], epochs=2, progress=False)",
    "print(model.summary())",
]

# The kernel is the Python that runs the tests, whatever kernels are installed; in a process of its own, as the libraries that
# run it leave sockets behind.
RUN = """
import json, sys
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

heard = []

class Client(NotebookClient):
    def process_message(self, message, *rest):
        heard.append(message["msg_type"])
        return super().process_message(message, *rest)

manager = AsyncKernelManager()
argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
manager._kernel_spec = KernelSpec(argv=argv, display_name="tests", language="python")
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in json.load(sys.stdin)])
Client(notebook, km=manager, timeout=120).execute()
print(json.dumps([heard, [cell.outputs for cell in notebook.cells]]))
"""


def run(cells, folder):
    """What a notebook of these cells says and shows."""
    done = subprocess.run([sys.executable, "-c", RUN], input=json.dumps(cells), capture_output=True, text=True, timeout=240,
                          cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_picture_is_shown_where_it_is_drawn(tmp_path):
    """Those after the first one, too, and the user's own."""
    first = "import nnkit as nn\nmodel = nn.Sequential([nn.Linear(2)]).build((3,))\n_ = model.plot()"
    _, outputs = run([first, "_ = model.plot()", "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"], tmp_path)
    shown = [[kind for item in cell for kind in item["data"] if kind == "image/png"] for cell in outputs]
    assert shown == [["image/png"]] * 3


def test_a_notebook_shows_a_bar_and_pictures(tmp_path):
    heard, (fit, picture, table, silent, printed) = run(CELLS, tmp_path)
    [bar] = fit
    assert '<progress max="1" value="1.0000"' in bar["data"]["text/html"]
    assert bar["data"]["text/plain"].startswith("epoch 30/30  ")
    assert "val_loss" in bar["data"]["text/plain"]
    assert heard.count("display_data") == 2  # the bar and the picture
    assert heard.count("update_display_data") > 0
    assert [item["data"].get("image/png", "")[:8] for item in picture] == ["iVBORw0K"]
    [shown] = table
    assert "<table>" in shown["data"]["text/html"]
    assert silent == []
    [text] = printed
    assert text["output_type"] == "stream" and "Linear(out_features=8)" in text["text"]
