"""In a notebook: one bar that is updated in place, pictures, and tables."""

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


def test_every_picture_is_shown_where_it_is_drawn(notebook):
    """Those after the first one, too, and the user's own."""
    first = "import nnkit as nn\nmodel = nn.Sequential([nn.Linear(2)]).build((3,))\n_ = model.plot()"
    _, outputs = notebook([first, "_ = model.plot()", "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"])
    shown = [[kind for item in cell for kind in item["data"] if kind == "image/png"] for cell in outputs]
    assert shown == [["image/png"]] * 3


def test_a_notebook_shows_a_bar_and_pictures(notebook):
    heard, (fit, picture, table, silent, printed) = notebook(CELLS)
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
