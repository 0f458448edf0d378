"""In a notebook: one bar that is updated in place, pictures, tables, and traces in a frame, in light and in dark."""

import base64
import io
import re

import numpy as np
import pytest

import nnkit as nn
from nnkit.inspect.pictures.sparkline import sparkline
from tests.browser import FOUND, Browser

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


def fitted():
    history = nn.History()
    for loss in (2.0, 1.0, 0.25):
        history.add(loss=loss, lr=0.003, val_loss=loss + 1.0)
    history.steps, history.seconds, history.stopped, history.best_epoch = 12, 0.5, "finished", 1
    return history


def traced(width=3):
    net = nn.Sequential([nn.Linear(width), nn.Sigmoid(), nn.Linear(3), nn.Sigmoid()]).build((2,), random_state=0)
    return nn.trace(net, [0.05, 0.9], [0.0, 1.0, 0.0], loss="half_squared_error")


def test_a_model_is_shown_as_its_summary_or_as_its_layers():
    model = nn.Sequential([nn.Linear(8), nn.ReLU(), nn.Linear(1)])
    shown = model._repr_html_()
    assert "not built yet" in shown and re.findall("<code>(.*?)</code>", shown) == [str(layer) for layer in model]
    model.build((4,))
    assert model._repr_html_() == model.summary()._repr_html_()


def test_a_history_is_shown_as_lines_and_numbers():
    shown = fitted()._repr_html_()
    assert "3 epochs, 12 steps in 0.50 s, finished; epoch 2 was the best" in shown
    rows = re.findall("<tr>(.*?)</tr>", shown)[1:]
    assert [re.findall(r">(?=[^<>]*[^<>\s])([^<>]+)<", row) for row in rows] == [
        ["loss", "2", "0.25", "2", "0.25"], ["lr", "0.003", "0.003", "0.003", "0.003"],
        ["val_loss", "3", "1.25", "3", "1.25"],
    ]  # fmt: skip
    assert [row.count("<circle") for row in rows] == [1, 0, 1]  # of the best epoch
    assert nn.History()._repr_html_().count("<tr>") == 1  # nothing was measured


def test_a_line_goes_from_left_to_right_and_is_high_where_numbers_are():
    points = re.search('points="(.*?)"', sparkline([2.0, np.nan, 4.0, 3.0]))[1]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in points.split())
    assert (x0, x2) == (2.0, 158.0) and x0 < x1 < x2 and y1 < y2 < y0 and (y0, y1) == (26.0, 2.0)  # NaN has no place
    assert len(re.search('points="(.*?)"', sparkline(list(range(10_000))))[1].split()) <= 202


def test_what_is_shown_takes_the_colours_of_the_notebook():
    for item in (fitted(), traced().check(), nn.Sequential([nn.Linear(1)]).build((2,)), nn.Sequential([nn.Linear(1)])):
        assert not re.search("color|background|#[0-9a-f]{3}", item._repr_html_().replace("currentColor", ""))


def test_a_trace_is_shown_on_its_page_where_that_is_small():
    shown = traced()._repr_html_()
    assert shown.count("<iframe") == 1 and 'sandbox="allow-scripts"' in shown
    assert "<math" in shown.partition("</iframe>")[2]  # what is left where frames are taken out
    assert "<iframe" not in traced(20_000)._repr_html_()


@pytest.mark.skipif(FOUND is None, reason="there is no Chromium")
def test_a_notebook_can_be_read_in_light_and_in_dark(tmp_path):
    """The page works where it may not reach its notebook, and formulas are as large as the text around them."""
    from matplotlib.image import imread

    parts = "".join(f"<div>{item._repr_html_()}</div>" for item in (traced(), fitted(), traced().check()))
    (tmp_path / "notebook.html").write_text(f'<!DOCTYPE html><meta name="color-scheme" content="light dark">{parts}')
    browser = Browser(tmp_path)
    try:
        for dark in (False, True):
            browser.size(1000, 900, dark=dark)
            browser.open(tmp_path / "notebook.html")
            assert browser.errors == []
            frame = browser.evaluate("(b => [b.width, b.height])(document.querySelector('iframe').getBoundingClientRect())")
            assert frame[0] > 900 and 700 < frame[1] <= 940
            data = browser("Page.captureScreenshot", format="png")["data"]
            pixels = imread(io.BytesIO(base64.b64decode(data)), format="png")[:780, :, :3]
            colours = np.unique((pixels * 15).astype(int).reshape(-1, 3), axis=0)
            assert len(colours) > 30 and (pixels.mean() < 0.3) == dark  # the net is drawn
            browser.evaluate("document.querySelector('details').open = true")
            sizes = browser.evaluate("""[...document.querySelectorAll("mfrac > *")].map(
              part => parseFloat(getComputedStyle(part).fontSize) / parseFloat(getComputedStyle(document.body).fontSize))""")
            assert len(sizes) > 50 and min(sizes) >= 1.0
    finally:
        browser.close()
