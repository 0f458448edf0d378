"""Models within models, branches and ways around, layers used twice: shapes, names, gradients, refusals."""

import pickle

import numpy as np
import pytest

import nnkit as nn
from nnkit.inspect.trace.differences import central_differences
from nnkit.network import network_of
from nnkit.testing.part import repr_can_be_typed_back_in

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(5, 4))
LINEAR, CONV = nn.Linear(4), nn.Conv2d(2, 3, padding=1)

NETS = {
    "residual of a residual": ([nn.Residual(nn.Tanh(), nn.Residual(nn.Linear(4), nn.Tanh()), nn.Linear(4))], (4,)),
    "in place on both sides of a branch": ([nn.Linear(4), nn.Branches(nn.Tanh(), nn.Sigmoid(), "identity", merge="add")], (4,)),
    "branches of branches": ([nn.Branches(nn.Branches(nn.Linear(2), nn.Tanh()), [nn.Linear(3), "relu"])], (4,)),
    "mean of one": ([nn.Branches(nn.Linear(3), merge="mean"), nn.Linear(2)], (4,)),
    "a view in a branch": ([nn.Branches(nn.Flatten(), [nn.Flatten(), nn.Tanh()], merge="add")], (2, 3)),
    "concat along the last axis": ([nn.Branches(nn.Linear(2), "tanh", dim=-1), nn.Linear(2)], (3, 4)),
    "one layer three times": ([LINEAR, nn.Tanh(), LINEAR, nn.Residual(nn.Tanh(), LINEAR)], (4,)),
    "one model twice": ([(shared := nn.Sequential([nn.Linear(4), "tanh"])), nn.Residual(shared), shared], (4,)),
    "the same in two branches": ([nn.Branches(LINEAR, [nn.Tanh(), LINEAR])], (4,)),
    "images: a residual block": (
        [nn.Conv2d(2, 3, padding=1), nn.Residual("relu", CONV, nn.BatchNorm2d(), "relu", CONV)], (1, 4, 3)),
    "images: channels put together": (
        [nn.Branches(nn.Conv2d(2, 1), [nn.Conv2d(3, 3, padding=1), "relu"], nn.MaxPool2d(3, 1, 1)), nn.GlobalAvgPool()],
        (2, 3, 4)),
    "images: rows meet blocks": (
        [nn.Branches(nn.Conv2d(2, 3, padding=1), "identity", merge="add"), nn.Branches("tanh", nn.Linear(3), dim=3)],
        (2, 3, 3)),
    "images: along another axis": ([nn.Branches(nn.Conv2d(2, 1), nn.Conv2d(2, (2, 1), stride=(2, 1)), dim=2)], (1, 4, 3)),
    "every step its own net": (
        [nn.TimeDistributed([nn.Conv2d(2, 2), nn.BatchNorm2d(), "relu", nn.Flatten()]), nn.Linear(2)], (3, 1, 3, 3)),
    "steps of steps": ([nn.TimeDistributed(nn.TimeDistributed([nn.Flatten(), nn.Linear(2)]))], (2, 3, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_the_derivatives(name, training):
    layers, shape = NETS[name]
    model = nn.Sequential(layers).build(shape, 0, "float64")
    x = RANDOM.normal(size=(5, *shape))
    grad_out = RANDOM.normal(size=(5, *model.out_shape))

    def value():
        return float((model.forward(x, training=training) * grad_out).sum())

    value()
    grad_x = model.backward(grad_out)
    gradients = {name: gradient.copy() for name, gradient in model.gradients().items()}
    np.testing.assert_allclose(grad_x, central_differences(value, x), rtol=1e-6, atol=1e-8)
    for parameter, array in model.parameters().items():
        np.testing.assert_allclose(gradients[parameter], central_differences(value, array), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NETS)
def test_fit_goes_the_way_of_passes_by_hand_with_any_number_of_threads(name):
    """One epoch of plain descent, cut into shards where the model allows it, is the sum of what each batch gives."""
    layers, shape = NETS[name]
    data = RANDOM.normal(size=(160, *shape))
    target = RANDOM.normal(size=(160, *nn.Sequential(layers).build(shape).out_shape))
    fitted = []
    for threads in (1, 2, 4):
        model = nn.Sequential(layers).build(shape, 0, "float64")
        model.fit(data, target, optimizer=nn.SGD(lr=0.1), epochs=1, batch_size=80, shuffle=False, n_threads=threads)
        fitted.append(model)
    for model in fitted[1:]:
        assert network_of(model).vector.tobytes() == network_of(fitted[0]).vector.tobytes()
        assert all(np.array_equal(state, fitted[0].states()[key]) for key, state in model.states().items())
    by_hand = nn.Sequential(layers).build(shape, 0, "float64")
    for first in (0, 80):
        _, grad = nn.MSELoss()(by_hand.forward(data[first : first + 80], training=True), target[first : first + 80])
        by_hand.backward(grad)
        nn.SGD(lr=0.1).step(by_hand)
    np.testing.assert_allclose(network_of(fitted[0]).vector, network_of(by_hand).vector, rtol=1e-9, atol=1e-12)
    for key, state in by_hand.states().items():
        np.testing.assert_allclose(fitted[0].states()[key], state, rtol=1e-9)


def test_parameters_are_named_by_their_places():
    model = nn.Sequential([nn.Linear(4), nn.Residual("tanh", LINEAR), nn.Branches(LINEAR, [nn.Linear(2), nn.Linear(3)])])
    names = ["0.bias", "0.weight", "1.1.bias", "1.1.weight", "2.1.0.bias", "2.1.0.weight", "2.1.1.bias", "2.1.1.weight"]
    assert sorted(model.build((4,)).parameters()) == names


def test_a_shared_layer_has_one_set_of_weights():
    model = nn.Sequential([LINEAR, nn.Tanh(), LINEAR]).build((4,), 0)
    assert list(model.parameters()) == ["0.weight", "0.bias"]
    again = pickle.loads(pickle.dumps(model))
    again.parameters()["0.weight"][...] = 0.5
    alone = nn.Sequential([nn.Linear(4), nn.Tanh(), nn.Linear(4)]).build((4,), 0)
    for name, array in alone.parameters().items():
        array[...] = 0.5 if name.endswith("weight") else 0.0
    np.testing.assert_array_equal(again.predict(X), alone.predict(X))


def test_a_layer_cannot_be_shared_between_different_widths():
    with pytest.raises(nn.ShapeError, match=r"used twice and shares its weight: expected shape \(4, 5\).*make two layers"):
        nn.Sequential([(layer := nn.Linear(5)), layer]).build((4,))


def test_a_built_model_brings_its_weights():
    trained = nn.Sequential([nn.Linear(3), nn.BatchNorm1d()]).build((4,), 0)
    trained.forward(X, training=True)
    model = nn.Sequential([nn.Sequential([trained, nn.ReLU()]), nn.Linear(2)]).build((4,), 1)
    np.testing.assert_array_equal(model.parameters()["0.0.0.weight"], trained.parameters()["0.weight"])
    np.testing.assert_array_equal(model.states()["0.0.1.running_var"], trained.states()["1.running_var"])
    model.parameters()["0.0.0.weight"][...] = 0.0
    assert trained.parameters()["0.weight"].any()  # copies


def test_a_built_model_does_not_fit_other_rows():
    trained = nn.Sequential([nn.Linear(3)]).build((4,))
    with pytest.raises(nn.ShapeError, match=r"brings its 0.weight: expected shape \(5, 3\) here, got \(4, 3\)"):
        nn.Sequential([trained, nn.Linear(2)]).build((5,))


def test_a_slice_with_containers_shares_its_part():
    layers = [nn.Linear(4), nn.Residual(nn.Linear(4)), nn.Branches(nn.Linear(2), "tanh")]
    model = nn.Sequential(layers).build((4,), 0, "float64")
    np.testing.assert_allclose(model[1:].predict(model[:1].predict(X)), model.predict(X))
    model[1:].parameters()["1.0.weight"][...] = 0.0
    assert not model.parameters()["2.0.weight"].any()


def test_a_slice_cannot_share_with_what_is_outside():
    model = nn.Sequential([LINEAR, LINEAR]).build((4,))
    with pytest.raises(nn.ParameterError, match="a slice that shares no weights with layers outside of it"):
        model[1:]


@pytest.mark.parametrize(
    ("layer", "shape", "match"),
    [
        (nn.Residual(nn.Linear(3)), (4,), r"give the shape of their input, \(4,\), to be added to it, got \(3,\)"),
        (nn.Branches(nn.Linear(3), nn.Linear(2), merge="add"), (4,), r"branches that give equal shapes, got \(3,\), \(2,\)"),
        (nn.Branches(nn.Conv2d(1, 1), nn.Conv2d(1, 2)), (1, 4, 4), r"equal shapes but along dim=1, got \(1, 4, 4\), \(1, 3"),
        (nn.Branches(nn.Flatten(), nn.Linear(2)), (1, 4), r"equal shapes but along dim=1, got \(4,\), \(1, 2\)"),
        (nn.Branches(nn.Linear(3), dim=2), (4,), r"outputs with axis dim=2, got \(3,\)"),
        (nn.TimeDistributed(nn.Linear(3)), (4,), r"input rows of shape \(steps, ...\), got \(4,\)"),
        (nn.Conv2d(2, 5), (1, 4, 4), r"at least as large as the window, 5 with padding of 0 in all, got \(1, 4, 4\)"),
        (nn.Conv2d(2, 1, groups=2), (3, 4, 4), "channels that groups=2 share out evenly, got 3"),
        (nn.Conv1d(2, 3), (3, 4, 4), r"input rows of shape \(channels, length\), got \(3, 4, 4\)"),
        (nn.ConvTranspose2d(2, 1, padding=1), (1, 2, 2), "nothing is left of the output"),
        (nn.ConvTranspose2d(2, 1, output_padding=1), (1, 2, 2), "output_padding smaller than stride or dilation"),
        (nn.Conv3d(2, 3), (3, 4, 4), r"input rows of shape \(channels, depth, height, width\), got \(3, 4, 4\)"),
        (nn.Conv1d(2, 3, padding=4, padding_mode="reflect"), (1, 4), r"rows longer than their margins, got \(1, 4\)"),
        (nn.Conv2d(2, 3, padding=(1, 4), padding_mode="circular"), (1, 4, 3), "rows longer than their margins"),
        (nn.InstanceNorm2d(), (4, 4), r"input rows of shape \(channels, height, width\), got \(4, 4\)"),
        (nn.BatchNorm3d(), (2, 4, 4), r"input rows of shape \(channels, depth, height, width\), got \(2, 4, 4\)"),
        (nn.LayerNorm(5), (3, 4), r"input rows that end in \(5,\), got \(3, 4\)"),
        (nn.LayerNorm((4, 3)), (3, 4), r"input rows that end in \(4, 3\), got \(3, 4\)"),
        (nn.RMSNorm([2, 4]), (4,), r"input rows that end in \(2, 4\), got \(4,\)"),
        (nn.MaxPool2d(2), (4, 4), r"input rows of shape \(channels, height, width\), got \(4, 4\)"),
        (nn.GroupNorm(3), (4, 2), r"channels that num_groups=3 share out evenly, got rows of \(4, 2\)"),
        (nn.BatchNorm2d(), (4,), r"input rows of shape \(channels, height, width\), got \(4,\)"),
        (nn.Upsample(scale_factor=0.1), (1, 4, 4), "nothing is left of the output"),
        (nn.GlobalAvgPool(), (4,), r"input rows of shape \(channels, ...\), got \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(layer, shape, match):
    with pytest.raises(nn.ShapeError, match=match):
        nn.Sequential([layer]).build(shape)


def test_a_norm_over_the_steps_does_not_tell_which_are_padding():
    assert nn.LayerNorm(2).place((3, 2)).keeps_mask
    assert nn.LayerNorm((4, 2)).place((3, 4, 2)).keeps_mask
    assert not nn.LayerNorm((3, 2)).place((3, 2)).keeps_mask


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: nn.Conv2d(0, 3), "expected out_channels to be an integer of at least 1, got 0"),
        (lambda: nn.Conv2d(2, (3, 3, 3)), "expected kernel_size to be an integer of at least 1, or 2 of them"),
        (lambda: nn.Conv2d(2, 3, padding="full"), "padding to be an integer of at least 0, or 2 of them or 'same' or 'valid'"),
        (lambda: nn.Conv2d(2, 3, stride=2, padding="same"), "expected stride to be 1 where padding is 'same'"),
        (lambda: nn.Conv2d(3, 3, groups=2), "expected groups to be a divisor of out_channels=3"),
        (lambda: nn.Conv1d(3, (3, 2)), "expected kernel_size to be an integer of at least 1"),
        (lambda: nn.Conv3d(3, (3, 2)), "expected kernel_size to be an integer of at least 1, or 3 of them"),
        (lambda: nn.Conv2d(3, 3, padding_mode="wrap"), "to be one of 'zeros', 'reflect', 'replicate', 'circular', got"),
        (lambda: nn.ConvTranspose3d(3, 3, padding="same"), "padding to be an integer of at least 0, or 3 of them, got"),
        (lambda: nn.LayerNorm(()), "expected normalized_shape to be None, a size of at least 1, or those of the last axes"),
        (lambda: nn.RMSNorm((3, 0)), "expected normalized_shape to be None, a size of at least 1, or those of the last axes"),
        (lambda: nn.LayerNorm(True), "expected normalized_shape to be None, a size of at least 1, or those of the last axes"),
        (lambda: nn.InstanceNorm1d(momentum=-0.5), "expected momentum to be a number in"),
        (lambda: nn.MaxPool2d(2, padding=2), "expected padding to be at most half of kernel_size"),
        (lambda: nn.MaxPool2d(True), "expected kernel_size to be an integer"),
        (lambda: nn.BatchNorm1d(momentum=2.0), "expected momentum to be a number in"),
        (lambda: nn.Branches(), "expected branches to be at least one branch"),
        (lambda: nn.Branches("relu", merge="max"), "expected merge to be 'concat', 'add' or 'mean'"),
        (lambda: nn.Branches("relu", dim=0), "an axis other than the batch's"),
        (lambda: nn.Residual(), "expected at least one layer"),
        (lambda: nn.Residual("reul"), "did you mean 'relu'"),
        (lambda: nn.Upsample(scale_factor=2, mode="cubic"), "expected mode to be 'nearest' or 'bilinear'"),
    ],
)
def test_constructors_refuse_what_cannot_be(make, match):
    with pytest.raises(nn.NnkitError, match=match):
        make()


def test_integers_enter_at_the_front_only():
    with pytest.raises(nn.ShapeError, match="takes integers, so it can only be the first layer"):
        nn.Sequential([nn.Linear(2), nn.Residual(nn.Embedding(5, 2))]).build((3,))


def test_running_statistics_follow_the_whole_batch():
    """However it is cut into shards: as PyTorch's, the mean of the batch and its variance without bias."""
    X = RANDOM.normal(2.0, 3.0, size=(256, 64))
    model = nn.Sequential([nn.BatchNorm1d(momentum=1.0), nn.Linear(64)]).build((64,), 0, "float64")
    model.fit(X, np.zeros((256, 64)), epochs=1, batch_size=256, shuffle=False)
    np.testing.assert_allclose(model.states()["0.running_mean"], X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.states()["0.running_var"], X.var(axis=0, ddof=1), rtol=1e-12)


def test_a_batch_of_one_row_is_no_division_by_zero():
    model = nn.Sequential([nn.BatchNorm1d()]).build((2,))
    assert np.isfinite(model.forward([[1.0, 2.0]], training=True)).all()
    assert np.isfinite(model.states()["0.running_var"]).all()


def test_a_model_within_a_part_can_be_typed_back_in():
    layers = [nn.Linear(4, weight_init=nn.Normal(std=0.1)), nn.Residual(nn.Sequential(["tanh"]))]
    repr_can_be_typed_back_in(nn.Example(nn.Branches(nn.Sequential(layers), "relu"), (4,)))
