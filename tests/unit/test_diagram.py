"""model.plot(): every layer in a box of its own, nothing cut off, nothing over something else."""

import matplotlib
import pytest

import nnkit as nn

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

EXAMPLES = [example for layer in nn.registry.layers.values() for example in layer.examples()]
SHARED = nn.Linear(16)
NETS = {
    "one layer": ([nn.Linear(3)], 4),
    "mlp": ([nn.Linear(128), nn.ReLU(), nn.Linear(10)], 64),
    "lenet": ([nn.Conv2d(6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 5), nn.ReLU(), nn.MaxPool2d(2),
               nn.Flatten(), nn.Linear(120), nn.ReLU(), nn.Linear(84), nn.ReLU(), nn.Linear(10)], (1, 28, 28)),
    "residual": ([nn.Conv2d(8, 3, padding="same"), nn.BatchNorm2d(), nn.Residual(nn.Conv2d(8, 3, padding="same"), nn.ReLU()),
                  nn.Branches(nn.GlobalAvgPool(), [nn.Flatten(), nn.Linear(20)]), nn.Linear(10)], (1, 8, 8)),
    "gpt": ([nn.Embedding(65, 32), *(nn.Residual(nn.LayerNorm(), nn.MultiHeadAttention(4, causal=True)),
                                     nn.Residual(nn.LayerNorm(), nn.Linear(128), nn.GELU(), nn.Linear(32))) * 2,
             nn.Linear(65)], 64),
    "sequence": ([nn.TimeDistributed([nn.Conv2d(4, 3), nn.Flatten()]), nn.LSTM(8), nn.Linear(2)], (5, 3, 8, 8)),
    "sixty": ([layer for width in range(20) for layer in (nn.Linear(64 + width), nn.LayerNorm(), nn.ReLU())], 64),
    "nested": ([nn.Sequential([nn.Linear(16), nn.Sequential([SHARED, nn.Residual(nn.Branches(
        nn.Linear(16), [nn.Linear(4), "relu", nn.Linear(16)], "identity", merge="mean"), "tanh")])]), SHARED,
        nn.Residual(nn.Residual(nn.Residual(SHARED)))], 16),
    "graph": ([nn.Graph(code=("image", [nn.Linear(8), nn.ReLU()]), both=(("code", "table"), nn.Concat()),
                        price=("both", nn.Linear(1)), kind=("both", [nn.Linear(3), nn.Softmax()]), outputs=("price", "kind"))],
              {"image": (16,), "table": (2,)}),
    "going around": ([nn.Linear(4), nn.Graph(a=("x", nn.ReLU()), b=("x", nn.Tanh()), c=(("x", "a"), nn.Add()),
                                             d=(("c", "b", "x"), nn.Add())), nn.Linear(2)], 3),
    "u": ([nn.Graph(
        down=("x", [nn.Conv2d(4, 3, padding=1), nn.ReLU()]), middle=("down", [nn.MaxPool2d(2), nn.Conv2d(8, 1)]),
        up=("middle", nn.Upsample(scale_factor=2)), both=(("up", "down"), nn.Concat()), out=("both", nn.Conv2d(1, 1)))],
        (1, 8, 8)),
    "graph of containers": ([nn.Graph(h=("a", nn.Residual(nn.Linear(3), nn.ReLU())), g=(("h", "b"), nn.Bilinear(4)),
                                      k=("g", nn.Graph(x=("x", nn.Linear(2)), y=("x", nn.Tanh()))), forgotten=("k", nn.ReLU()),
                                      s=("b", nn.Branches(nn.Linear(2), nn.Linear(3))), outputs=("k", "s", "h"))],
                            {"a": (3,), "b": (2,)}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def texts_of(ax):
    """What is written, and where, in dots."""
    ax.figure.canvas.draw()
    return [(text.get_text(), text.get_window_extent()) for text in ax.texts if text.get_text()]


def require_legible(ax):
    figure = ax.figure.bbox
    texts = texts_of(ax)
    for text, box in texts:
        assert figure.x0 <= box.x0 and box.x1 <= figure.x1 and figure.y0 <= box.y0 and box.y1 <= figure.y1, text
    for index, (text, box) in enumerate(texts):
        over = [other for other, another in texts[index + 1 :] if box.overlaps(another)]
        assert not over, f"{text!r} and {over}"
    assert all(text.get_fontsize() >= 9 for text in ax.texts)
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for index, box in enumerate(boxes):
        for other in boxes[index + 1 :]:
            apart = not box.overlaps(other)
            inside = box.x0 <= other.x0 and other.x1 <= box.x1 and box.y0 <= other.y0 and other.y1 <= box.y1
            assert apart or inside
    for text, box in texts:  # a layer's text lies within its box
        for around in boxes:
            if around.x0 < (box.x0 + box.x1) / 2 < around.x1 and around.y0 < (box.y0 + box.y1) / 2 < around.y1:
                assert around.x0 <= box.x0 and box.x1 <= around.x1, text


@pytest.mark.parametrize("net", NETS)
def test_nothing_is_cut_off_or_over_something_else(net):
    layers, in_shape = NETS[net]
    model = nn.Sequential(layers)
    ax = model.plot(in_shape=in_shape)
    require_legible(ax)
    written = "\n".join(text for text, _ in texts_of(ax))
    for item in model.summary(in_shape).layers:
        if not item.is_container:
            assert f"{item.path} {item.layer.partition('(')[0]}" in written
    assert not model.is_built


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_layer_can_be_drawn(example):
    require_legible(nn.Sequential([example.part]).build(example.in_shape).plot())


def test_a_container_is_drawn_as_what_it_says_of_itself():
    def drawn(*layers):
        return [text for text, _ in texts_of(nn.Sequential(layers).plot(in_shape=4))]

    assert "+" in drawn(nn.Residual(nn.Linear(4)))
    assert "concat" in drawn(nn.Branches(nn.Linear(4), nn.Linear(4)))
    assert "mean" in drawn(nn.Branches(nn.Linear(4), nn.Linear(4), merge="mean"))

    class Gated(nn.Residual):
        joins = "times"

    assert "times" in drawn(Gated(nn.Linear(4)))
    shared = nn.Linear(4)
    assert "1 Linear(out_features=4)\nparameters of layer 0" in drawn(shared, shared)


def test_a_graph_is_drawn_by_what_reads_what():
    layers, in_shape = NETS["graph"]
    ax = nn.Sequential(layers).plot(in_shape=in_shape)
    at = {text.split("\n")[0]: box for text, box in texts_of(ax)}
    tops = {name: box.y1 for name, box in at.items()}
    assert tops["image 16"] == pytest.approx(tops["table 2"], abs=2)
    assert tops["table 2"] > tops["0.0.0 Linear(out_features=8)"] > tops["code 8"] > tops["0.1 Concat()"]
    assert tops["0.1 Concat()"] > tops["both 10"] > tops["0.3.0 Linear(out_features=3)"]
    assert tops["0.2 Linear()"] == pytest.approx(tops["0.3.0 Linear(out_features=3)"], abs=2)  # both read the same
    heads = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    assert len(heads) == 2 + 2 + 5  # from outside and to there, within two chains, and one for each value that a step reads
    sides = sorted(box.x0 for name, box in at.items() if name in ("image 16", "table 2"))
    assert at["image 16"].x0 == sides[0] and at["table 2"].x0 == sides[1]


def test_it_draws_on_the_axes_that_it_is_given():
    _, ax = plt.subplots()
    assert nn.Sequential([nn.Linear(2)]).plot(ax, in_shape=3) is ax
    assert plt.get_fignums() == [1]


def test_without_shapes_there_is_no_picture():
    with pytest.raises(nn.NotBuiltError, match=r"plot\(in_shape="):
        nn.Sequential([nn.Linear(2)]).plot()
    assert plt.get_fignums() == []
