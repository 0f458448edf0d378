"""What PyTorch's own exporter writes is read with PyTorch's numbers, or refused by the name of what no layer does."""

import logging
import warnings

import numpy as np
import pytest

import nnkit as nn

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="the exporter needs it")

of = torch.nn


class Of(of.Module):
    """What a function takes of the outputs of a recurrence."""

    def __init__(self, rnn, take):
        super().__init__()
        self.rnn = rnn
        self.take = take

    def forward(self, x):
        return self.take(*self.rnn(x))


def every(states, last):
    return states


def final(states, last):
    return states[:, -1]


def hidden(states, last):
    return (last[0] if isinstance(last, tuple) else last)[-1]


READ = {
    "MLP": lambda: (of.Sequential(of.Linear(4, 8), of.ReLU(), of.Dropout(), of.Linear(8, 3)), (4,)),
    "MLP on sequences": lambda: (of.Sequential(of.Linear(4, 8), of.GELU(), of.Linear(8, 3, bias=False)), (6, 4)),
    "activations": lambda: (of.Sequential(of.GELU(), of.SiLU(), of.GELU("tanh"), of.Mish(), of.Hardswish(), of.Softsign(),
                                          of.LogSigmoid(), of.GLU(), of.LogSoftmax(-1)), (4,)),
    "more activations": lambda: (of.Sequential(of.ELU(0.5), of.CELU(2.0), of.SELU(), of.LeakyReLU(0.2), of.Softplus(),
                                               of.Hardtanh(), of.Hardsigmoid(), of.ReLU6(), of.PReLU(), of.Sigmoid(),
                                               of.Softmax(-1)), (4,)),
    "CNN": lambda: (of.Sequential(of.Conv2d(1, 4, 3, padding=1), of.BatchNorm2d(4), of.ReLU(), of.MaxPool2d(2), of.Flatten(),
                                  of.Linear(64, 3)), (1, 8, 8)),
    "CNN on sequences": lambda: (of.Sequential(of.Conv1d(3, 4, 2), of.LeakyReLU(0.2), of.MaxPool1d(2), of.Flatten(),
                                               of.BatchNorm1d(8), of.Hardtanh()), (3, 5)),
    "transposed convolution": lambda: (of.Sequential(of.AvgPool2d(2), of.ConvTranspose2d(1, 4, 2, stride=2),
                                                     of.GroupNorm(2, 4)), (1, 8, 8)),
    "upsampling": lambda: (of.Sequential(of.Upsample(scale_factor=2), of.Upsample(scale_factor=3, mode="bilinear")), (1, 3, 4)),
    "bicubic": lambda: (of.Upsample(scale_factor=2, mode="bicubic"), (1, 3, 4)),
    "padding": lambda: (of.Sequential(of.ReflectionPad2d((1, 2, 0, 1)), of.ReplicationPad2d(1), of.ZeroPad2d((1, 0, 2, 1)),
                                      of.ConstantPad2d(1, 2.5)), (2, 3, 4)),
    "shuffles": lambda: (of.Sequential(of.PixelShuffle(2), of.PixelUnshuffle(2), of.ChannelShuffle(2)), (4, 2, 4)),
    "three axes": lambda: (of.Sequential(of.AvgPool3d(2), of.MaxPool3d((1, 2, 1)), of.Hardshrink(0.1), of.Softshrink(0.2)),
                           (2, 4, 4, 4)),
    "global pooling": lambda: (of.Sequential(of.Conv2d(1, 4, 3), of.AdaptiveAvgPool2d(1), of.Flatten(),
                                             of.Linear(4, 2)), (1, 8, 8)),
    "adaptive pooling": lambda: (of.Sequential(of.AdaptiveAvgPool2d((2, 4)), of.Flatten(), of.Linear(8, 2)), (1, 8, 8)),
    "LayerNorm": lambda: (of.Sequential(of.Linear(4, 6), of.LayerNorm(6), of.Linear(6, 2)), (3, 4)),
    "RMSNorm": lambda: (of.Sequential(of.RMSNorm(6), of.Linear(6, 2)), (3, 6)),
    "LSTM": lambda: (of.Sequential(Of(of.LSTM(3, 4, batch_first=True), final), of.Linear(4, 2)), (6, 3)),
    "LSTM, states": lambda: (Of(of.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), every), (6, 3)),
    "LSTM, hidden": lambda: (Of(of.LSTM(3, 4, batch_first=True), hidden), (6, 3)),
    "GRU": lambda: (of.Sequential(Of(of.GRU(3, 4, num_layers=2, batch_first=True), final), of.Linear(4, 2)), (6, 3)),
    "GRU, states": lambda: (Of(of.GRU(3, 4, batch_first=True), every), (6, 3)),
    "GRU, hidden": lambda: (Of(of.GRU(3, 4, batch_first=True), hidden), (6, 3)),
}  # fmt: skip
REFUSED = {  # and what is named
    "unrolled RNN": (lambda: (Of(of.RNN(3, 4, batch_first=True), every), (6, 3)), "Transpose"),
    "uneven adaptive pooling": (lambda: (of.AdaptiveAvgPool2d((3, 2)), (1, 8, 8)), "Transpose"),
    "transformer": (lambda: (of.TransformerEncoderLayer(8, 2, 16, batch_first=True), (6, 8)), "Transpose"),
}  # fmt: skip


def exported(make, fixed, path):
    """A net of PyTorch, rows, and the file that its exporter writes, for as many rows or for any number."""
    torch.manual_seed(0)
    net, in_shape = make()
    x = torch.randn(5, *in_shape)
    options = {} if fixed else {"dynamic_shapes": ({0: torch.export.Dim("rows")},)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(net.eval(), (x,), str(path), dynamo=True, input_names=["x"], verbose=False, **options)
        finally:
            logging.disable(logging.NOTSET)
    return net, x


@pytest.mark.parametrize("fixed", [True, False], ids=["these rows", "any rows"])
@pytest.mark.parametrize("name", READ)
def test_what_the_exporter_writes_is_read_with_the_same_numbers(name, fixed, tmp_path):
    net, x = exported(READ[name], fixed, tmp_path / "net.onnx")
    model = nn.onnx.load(tmp_path / "net.onnx")
    for rows in (x, x[:2]):
        out = net(rows).detach().numpy()
        assert model.predict(rows.numpy()).shape == out.shape
        assert np.abs(model.predict(rows.numpy()) - out).max() < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_layer_does_is_refused_by_name(name, tmp_path):
    make, named = REFUSED[name]
    exported(make, True, tmp_path / "net.onnx")
    with pytest.raises(nn.OnnxError, match=named):
        nn.onnx.load(tmp_path / "net.onnx")


class Several(of.Module):
    """Two inputs that meet, and two outputs."""

    def __init__(self):
        super().__init__()
        self.image, self.table = of.Sequential(of.Conv2d(1, 2, 3), of.ReLU(), of.Flatten()), of.Linear(3, 4)
        self.trunk, self.price, self.kind = of.Sequential(of.Linear(12, 5), of.Tanh()), of.Linear(5, 1), of.Linear(5, 3)

    def forward(self, image, table):
        h = self.trunk(torch.cat([self.image(image), torch.relu(self.table(table))], 1))
        return self.price(h), torch.softmax(self.kind(h), -1)


def test_several_inputs_and_outputs_are_read_with_the_same_numbers(tmp_path):
    torch.manual_seed(0)
    net, given = Several().eval(), (torch.randn(5, 1, 4, 4), torch.randn(5, 3))
    shapes = tuple({0: torch.export.Dim("rows")} for _ in given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(net, given, str(tmp_path / "net.onnx"), dynamo=True, input_names=["image", "table"],
                              output_names=["price", "kind"], verbose=False, dynamic_shapes=shapes)  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    model = nn.onnx.load(tmp_path / "net.onnx")
    assert model.in_shape == {"image": (1, 4, 4), "table": (3,)} and model.out_shape == {"price": (1,), "kind": (3,)}
    for rows in (given, tuple(item[:2] for item in given)):
        found = model.predict(tuple(item.numpy() for item in rows))
        for out, expected in zip(found.values(), net(*rows), strict=True):
            assert np.abs(out - expected.detach().numpy()).max() < 1e-5
