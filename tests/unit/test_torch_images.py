"""Layers of images, and those that normalise channels, compute what PyTorch computes, also its gradients and states."""

import copy
import warnings

import numpy as np
import pytest

import nnkit as nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of the largest number
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding:UserWarning")
ROWS = 19  # more than a block, and odd

CASES = [
    (nn.Conv2d(6, 5), torch.nn.Conv2d(1, 6, 5), (1, 28, 28)),
    (nn.Conv2d(16, 5), torch.nn.Conv2d(6, 16, 5), (6, 12, 12)),
    (nn.Conv2d(7, (3, 2), stride=(2, 3), padding=(2, 1), dilation=(2, 1)),
     torch.nn.Conv2d(3, 7, (3, 2), (2, 3), (2, 1), (2, 1)), (3, 11, 13)),
    (nn.Conv2d(8, 3, padding="same", groups=2), torch.nn.Conv2d(4, 8, 3, padding="same", groups=2), (4, 7, 9)),
    (nn.Conv2d(8, (4, 1), padding="same"), torch.nn.Conv2d(2, 8, (4, 1), padding="same"), (2, 5, 1)),
    (nn.Conv2d(8, 3, stride=3, padding=4, dilation=2, groups=4, bias=False), torch.nn.Conv2d(4, 8, 3, 3, 4, 2, 4, bias=False),
     (4, 8, 5)),  # depthwise
    (nn.Conv2d(2, 1, stride=2), torch.nn.Conv2d(13, 2, 1, stride=2), (13, 3, 4)),
    (nn.Conv1d(4, 4, padding="same"), torch.nn.Conv1d(2, 4, 4, padding="same"), (2, 9)),
    (nn.Conv1d(6, 3, stride=2, padding=3, dilation=2, groups=3), torch.nn.Conv1d(3, 6, 3, 2, 3, 2, 3), (3, 10)),
    (nn.ConvTranspose2d(6, 4, stride=2, padding=1, groups=2), torch.nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=2), (4, 5, 6)),
    (nn.ConvTranspose2d(3, 3, stride=(3, 2), padding=(0, 1), output_padding=(2, 1), dilation=(1, 3)),
     torch.nn.ConvTranspose2d(4, 3, 3, (3, 2), (0, 1), (2, 1), dilation=(1, 3)), (4, 5, 6)),
    (nn.ConvTranspose2d(2, 1, stride=3, bias=False), torch.nn.ConvTranspose2d(1, 2, 1, 3, bias=False), (1, 2, 3)),
    (nn.Conv1d(4, 4, padding=2, padding_mode="circular"), torch.nn.Conv1d(2, 4, 4, padding=2, padding_mode="circular"), (2, 2)),
    (nn.Conv1d(2, 4, padding="same", padding_mode="reflect"),
     torch.nn.Conv1d(2, 2, 4, padding="same", padding_mode="reflect"), (2, 3)),
    (nn.Conv2d(4, 3, stride=2, padding=(2, 3), groups=2, padding_mode="replicate"),
     torch.nn.Conv2d(2, 4, 3, 2, (2, 3), groups=2, padding_mode="replicate"), (2, 1, 5)),
    (nn.Conv3d(3, (2, 3, 1), padding=(1, 2, 0), dilation=(1, 2, 1), padding_mode="reflect"),
     torch.nn.Conv3d(2, 3, (2, 3, 1), padding=(1, 2, 0), dilation=(1, 2, 1), padding_mode="reflect"), (2, 2, 4, 3)),
    (nn.Conv3d(6, 3, padding=1), torch.nn.Conv3d(2, 6, 3, padding=1), (2, 4, 5, 3)),
    (nn.Conv3d(4, 3, padding="same", bias=False), torch.nn.Conv3d(1, 4, 3, padding="same", bias=False), (1, 3, 4, 5)),
    (nn.Conv3d(6, (3, 2, 1), stride=(2, 1, 3), padding=(4, 0, 1), dilation=(2, 3, 1), groups=3),
     torch.nn.Conv3d(3, 6, (3, 2, 1), (2, 1, 3), (4, 0, 1), (2, 3, 1), 3), (3, 4, 5, 6)),
    (nn.Conv3d(4, 2, padding="valid", groups=4), torch.nn.Conv3d(4, 4, 2, padding="valid", groups=4), (4, 3, 2, 4)),
    (nn.ConvTranspose3d(4, 3, stride=2, padding=1, output_padding=1, groups=2),
     torch.nn.ConvTranspose3d(2, 4, 3, 2, 1, 1, 2), (2, 3, 2, 4)),
    (nn.ConvTranspose3d(2, (2, 3, 1), stride=(3, 1, 2), padding=(1, 0, 0), output_padding=(2, 0, 1), dilation=(1, 2, 3)),
     torch.nn.ConvTranspose3d(3, 2, (2, 3, 1), (3, 1, 2), (1, 0, 0), (2, 0, 1), dilation=(1, 2, 3)), (3, 2, 3, 2)),
    (nn.ConvTranspose1d(4, 4, stride=3, padding=2, output_padding=2, groups=2, dilation=2, bias=False),
     torch.nn.ConvTranspose1d(6, 4, 4, 3, 2, 2, 2, dilation=2, bias=False), (6, 5)),
    (nn.MaxPool2d(2), torch.nn.MaxPool2d(2), (3, 8, 7)),
    (nn.MaxPool2d((3, 2), (2, 1), (1, 0), dilation=(1, 2)), torch.nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2)), (2, 9, 8)),
    (nn.MaxPool2d(3, 2, 1, ceil_mode=True), torch.nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 8, 7)),
    (nn.MaxPool1d(3, 2), torch.nn.MaxPool1d(3, 2), (2, 9)),
    (nn.AvgPool2d(2), torch.nn.AvgPool2d(2), (3, 8, 7)),
    (nn.AvgPool2d((3, 2), (2, 1), 1, ceil_mode=True), torch.nn.AvgPool2d((3, 2), (2, 1), 1, ceil_mode=True), (2, 8, 7)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), torch.nn.AvgPool2d(3, 2, 1, True, False), (2, 8, 6)),
    (nn.AvgPool1d(3, 2, 1), torch.nn.AvgPool1d(3, 2, 1), (2, 9)),
    (nn.AdaptiveAvgPool2d((3, 2)), torch.nn.AdaptiveAvgPool2d((3, 2)), (2, 7, 5)),
    (nn.AdaptiveAvgPool2d(4), torch.nn.AdaptiveAvgPool2d(4), (2, 3, 5)),  # more parts than places
    (nn.GlobalAvgPool(), torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), (5, 4, 3)),
    (nn.Upsample(scale_factor=2), torch.nn.Upsample(scale_factor=2), (2, 3, 4)),
    (nn.Upsample(scale_factor=(1.5, 2.6)), torch.nn.Upsample(scale_factor=(1.5, 2.6)), (2, 5, 4)),
    (nn.Upsample(scale_factor=2.5, mode="bilinear"), torch.nn.Upsample(scale_factor=2.5, mode="bilinear"), (2, 5, 4)),
    (nn.Upsample(scale_factor=(0.7, 2), mode="bilinear"), torch.nn.Upsample(scale_factor=(0.7, 2.0), mode="bilinear"),
     (2, 7, 3)),
    (nn.Upsample((5, 2)), torch.nn.Upsample((5, 2)), (2, 3, 4)),
    (nn.Upsample(7, mode="nearest-exact"), torch.nn.Upsample(7, mode="nearest-exact"), (2, 4)),
    (nn.Upsample(scale_factor=(2, 0.6, 1.5)), torch.nn.Upsample(scale_factor=(2.0, 0.6, 1.5)), (1, 2, 5, 3)),
    (nn.Upsample(scale_factor=2.5, mode="linear"), torch.nn.Upsample(scale_factor=2.5, mode="linear"), (2, 5)),
    (nn.Upsample(1, mode="linear", align_corners=True), torch.nn.Upsample(1, mode="linear", align_corners=True), (2, 5)),
    (nn.Upsample((7, 2), mode="bilinear", align_corners=True), torch.nn.Upsample((7, 2), mode="bilinear", align_corners=True),
     (2, 3, 4)),
    (nn.Upsample(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
     torch.nn.Upsample(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True), (2, 3, 4)),
    (nn.Upsample(scale_factor=1.7, mode="bicubic"), torch.nn.Upsample(scale_factor=1.7, mode="bicubic"), (2, 3, 6)),
    (nn.Upsample((4, 9), mode="bicubic", align_corners=True), torch.nn.Upsample((4, 9), mode="bicubic", align_corners=True),
     (2, 5, 4)),
    (nn.Upsample((5, 3, 4), mode="trilinear"), torch.nn.Upsample((5, 3, 4), mode="trilinear"), (1, 2, 5, 3)),
    (nn.UpsamplingNearest2d(scale_factor=3), torch.nn.UpsamplingNearest2d(scale_factor=3), (2, 2, 3)),
    (nn.UpsamplingBilinear2d((5, 4)), torch.nn.UpsamplingBilinear2d((5, 4)), (2, 2, 3)),
    (nn.Unfold((2, 3), dilation=(1, 2), padding=(2, 1), stride=(1, 2)), torch.nn.Unfold((2, 3), (1, 2), (2, 1), (1, 2)),
     (2, 4, 7)),
    (nn.Fold((4, 7), (2, 3), dilation=(1, 2), padding=(2, 1), stride=(1, 2)),
     torch.nn.Fold((4, 7), (2, 3), (1, 2), (2, 1), (1, 2)), (12, 21)),
    (nn.PixelShuffle(3), torch.nn.PixelShuffle(3), (18, 2, 4)),
    (nn.PixelUnshuffle(2), torch.nn.PixelUnshuffle(2), (3, 4, 6)),
    (nn.ChannelShuffle(3), torch.nn.ChannelShuffle(3), (12, 2, 3)),
    (nn.Unflatten(2, (2, -1)), torch.nn.Unflatten(2, (2, -1)), (3, 4)),
    (nn.AdaptiveAvgPool3d((2, None, 3)), torch.nn.AdaptiveAvgPool3d((2, None, 3)), (2, 3, 4, 5)),
    (nn.AdaptiveMaxPool2d((None, 3)), torch.nn.AdaptiveMaxPool2d((None, 3)), (2, 3, 5)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=2),
     torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=2), (2, 8, 6)),
    (nn.LPPool2d(2.0, (2, 3), (1, 2), ceil_mode=True), torch.nn.LPPool2d(2.0, (2, 3), (1, 2), ceil_mode=True), (2, 4, 6)),
    (nn.CircularPad2d((2, -1, -1, 2)), torch.nn.CircularPad2d((2, -1, -1, 2)), (2, 4, 5)),
    (nn.ReflectionPad1d((3, -1)), torch.nn.ReflectionPad1d((3, -1)), (2, 4)),
    (nn.ReplicationPad3d((1, -1, 0, 2, -1, 3)), torch.nn.ReplicationPad3d((1, -1, 0, 2, -1, 3)), (2, 2, 3, 4)),
    (nn.ConstantPad3d((1, -1, 0, 2, -1, 3), 1.5), torch.nn.ConstantPad3d((1, -1, 0, 2, -1, 3), 1.5), (2, 2, 3, 4)),
    (nn.ZeroPad1d(2), torch.nn.ZeroPad1d(2), (2, 4)),
    (nn.RReLU(0.2, 0.4), torch.nn.RReLU(0.2, 0.4).eval(), (5,)),
    (nn.AlphaDropout(0.4), torch.nn.AlphaDropout(0.4).eval(), (5,)),
    (nn.BatchNorm1d(), torch.nn.BatchNorm1d(7), (7,)),
    (nn.BatchNorm1d(eps=1e-3, momentum=0.3), torch.nn.BatchNorm1d(3, 1e-3, 0.3), (3, 5)),
    (nn.BatchNorm1d(affine=False), torch.nn.BatchNorm1d(4, affine=False), (4,)),
    (nn.BatchNorm2d(), torch.nn.BatchNorm2d(4), (4, 5, 3)),
    (nn.BatchNorm2d(bias=False), torch.nn.BatchNorm2d(4, bias=False), (4, 1, 3)),
    (nn.BatchNorm1d(momentum=None), torch.nn.BatchNorm1d(7, momentum=None), (7,)),
    (nn.BatchNorm2d(momentum=None, bias=False), torch.nn.BatchNorm2d(4, momentum=None, bias=False), (4, 2, 3)),
    (nn.BatchNorm3d(momentum=0.3), torch.nn.BatchNorm3d(2, momentum=0.3), (2, 2, 1, 3)),
    (nn.InstanceNorm1d(), torch.nn.InstanceNorm1d(2), (2, 5)),
    (nn.InstanceNorm1d(track_running_stats=True), torch.nn.InstanceNorm1d(3, track_running_stats=True), (3, 7)),
    (nn.InstanceNorm2d(eps=1e-3, momentum=0.4, affine=True, track_running_stats=True),
     torch.nn.InstanceNorm2d(2, 1e-3, 0.4, True, True), (2, 3, 3)),
    (nn.InstanceNorm3d(affine=True, bias=False), torch.nn.InstanceNorm3d(2, affine=True, bias=False), (2, 2, 3, 3)),
    (nn.GroupNorm(2), torch.nn.GroupNorm(2, 6), (6, 3, 4)),
    (nn.GroupNorm(2, bias=False), torch.nn.GroupNorm(2, 6, bias=False), (6, 3)),
    (nn.GroupNorm(2, affine=False), torch.nn.GroupNorm(2, 8, affine=False), (8,)),
    (nn.GroupNorm(1, eps=1e-3), torch.nn.GroupNorm(1, 4, 1e-3), (4, 7)),
    (nn.Dropout2d(0.5), torch.nn.Dropout2d(0.5).eval(), (4, 2, 3)),
]


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape) + 0.25


def close(got, expected, dtype):
    expected = expected.detach().numpy()
    assert got.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@dtypes
@pytest.mark.parametrize(("ours", "theirs", "shape"), CASES)
def test_layer_equals_torchs(ours, theirs, shape, dtype):
    torch.manual_seed(5)
    theirs = copy.deepcopy(theirs).to(getattr(torch, dtype))
    model = nn.Sequential([ours]).build(shape, dtype=dtype)
    for name, parameter in theirs.named_parameters():
        parameter.data.uniform_(-1.0, 1.0)
        model.parameters()[f"0.{name}"][...] = parameter.detach().numpy()
    modes = (True, False) if isinstance(theirs, torch.nn.modules.batchnorm._NormBase) else (False,)
    for training in modes:
        x = numbers(1, ROWS, *shape).astype(dtype)
        grad_out = numbers(2, ROWS, *model.out_shape).astype(dtype)
        tensor = torch.tensor(x, requires_grad=True)
        theirs.train(training).zero_grad()
        out = theirs(tensor)
        close(model.forward(x, training=training), out, dtype)
        out.backward(torch.tensor(grad_out))
        close(model.backward(grad_out), tensor.grad, dtype)
        for name, parameter in theirs.named_parameters():
            close(model.gradients()[f"0.{name}"], parameter.grad, dtype)
        for name, state in model.states().items():
            close(state, dict(theirs.named_buffers())[name.removeprefix("0.")].reshape(-1), dtype)
        close(model.predict(x), theirs.eval()(tensor), dtype)


def test_the_first_of_equal_numbers_gets_the_gradient():
    model = nn.Sequential([nn.MaxPool2d(2)]).build((1, 2, 2))
    model.forward(np.ones((1, 1, 2, 2)))
    assert model.backward(np.ones((1, 1, 1, 1))).ravel().tolist() == [1, 0, 0, 0]


def test_nan_survives_a_maximum():
    x = np.ones((3, 1, 2, 2))
    x[1, 0, 1, 0] = np.nan
    assert np.isnan(nn.Sequential([nn.MaxPool2d(2)]).build((1, 2, 2)).predict(x)).ravel().tolist() == [False, True, False]
