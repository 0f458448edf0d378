"""model.summary(): shapes, parameters, memory and arithmetic, against figures computed by hand."""

import pickle

import numpy as np
import pytest

import nnkit as nn

EXAMPLES = [example for layer in nn.registry.layers.values() for example in layer.examples()]


def row(summary, path):
    return next(item for item in summary.layers if item.path == path)


def test_an_mlp_by_hand():
    summary = nn.Sequential([nn.Linear(3), nn.Tanh(), nn.Linear(2, bias=False)]).summary(in_shape=4, batch_size=10)
    first, tanh, last = summary.layers
    assert [(item.path, item.depth, item.in_shape, item.out_shape) for item in summary.layers] == [
        ("0", 0, (4,), (3,)), ("1", 0, (3,), (3,)), ("2", 0, (3,), (2,))]  # fmt: skip
    assert (first.parameters, tanh.parameters, last.parameters) == (4 * 3 + 3, 0, 3 * 2)
    assert (first.parameter_bytes, first.activation_bytes) == (4 * 15, 4 * 3)
    assert (first.flops, tanh.flops, last.flops) == (2 * (15 + 3), 2 * 3, 2 * (6 + 2))  # work: parameters and outputs
    assert (summary.parameters, summary.states, summary.parameter_bytes) == (21, 0, 84)
    assert summary.activation_bytes == 4 * (3 + 3 + 2)
    assert summary.flops == 36 + 6 + 16
    assert summary.training_flops == 2 * 36 + 2 * 6 + 3 * 16  # nobody needs the gradient of the input
    assert summary.training_bytes == 84 + 84 + 10 * 32
    assert summary.in_shape == (4,) and summary.out_shape == (2,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_built_model_is_told_as_it_is(dtype):
    model = nn.Sequential([nn.BatchNorm1d(), nn.Linear(3)]).build((4,), dtype=dtype)
    summary = model.summary()
    assert summary.dtype == dtype
    assert summary.parameters == sum(array.size for array in model.parameters().values())
    assert summary.states == sum(array.size for array in model.states().values())
    assert summary.parameter_bytes == sum(array.nbytes for array in {**model.parameters(), **model.states()}.values())
    assert row(summary, "0").states == 8


def test_a_container_is_the_sum_of_its_layers_and_of_what_joins_them():
    summary = nn.Sequential([nn.Residual(nn.Linear(6), nn.ReLU(), nn.Linear(4))]).summary(4)
    whole, *inner = summary.layers
    assert [item.path for item in inner] == ["0.0", "0.1", "0.2"] and {item.depth for item in inner} == {1}
    assert whole.is_container and whole.name == "0 Residual"
    for name in ("parameters", "flops", "parameter_bytes"):
        assert getattr(whole, name) == sum(getattr(item, name) for item in inner) == getattr(summary, name)
    assert whole.activation_bytes == sum(item.activation_bytes for item in inner) + 4 * 4  # the sum


def test_every_step_of_a_sequence_counts():
    alone = nn.Sequential([nn.Linear(2)]).summary(3)
    steps = nn.Sequential([nn.TimeDistributed(nn.Linear(2))]).summary((5, 3))
    assert steps.parameters == alone.parameters
    assert steps.flops == 5 * alone.flops
    assert steps.activation_bytes == 5 * alone.activation_bytes


def test_a_layer_used_twice_has_its_parameters_once():
    shared = nn.Linear(4)
    model = nn.Sequential([shared, nn.ReLU(), nn.Residual(shared)]).build((4,))
    summary = model.summary()
    again = row(summary, "2.0")
    assert again.shares == "0" and again.parameters == 0 and again.flops == row(summary, "0").flops
    assert summary.parameters == model.parameters()["0.weight"].size + 4
    assert "layer 2.0 is layer 0" in str(summary) and "(shared)" in str(summary)


def test_layers_that_compute_nothing_cost_nothing():
    flatten = row(nn.Sequential([nn.Flatten(), nn.Linear(2)]).summary((2, 3)), "0")
    assert (flatten.flops, flatten.activation_bytes, flatten.parameters) == (0, 0, 0)
    assert flatten.out_shape == (6,)


def test_notes_for_backward_are_memory_of_a_row():
    pool = row(nn.Sequential([nn.MaxPool2d(2)]).summary((1, 4, 4)), "0")
    built = nn.MaxPool2d(2).place((1, 4, 4))
    sizes = {"real": 4}
    notes = sum(np.prod(item.shape) * (sizes.get(item.dtype) or np.dtype(item.dtype).itemsize)
                for item in built.scratch.values())  # fmt: skip
    assert pool.activation_bytes == 4 * 4 + notes


def test_nothing_is_built_or_allocated_for_it():
    model = nn.Sequential([nn.Linear(10**9), nn.Linear(10**9)])
    summary = model.summary(in_shape=10**9)
    assert not model.is_built
    assert summary.parameters == 2 * (10**18 + 10**9)
    assert "EB" in str(summary)


def test_whole_numbers_as_input():
    summary = nn.Sequential([nn.Embedding(65, 8), nn.Linear(3)]).summary((7,))
    assert [item.out_shape for item in summary.layers] == [(7, 8), (7, 3)]
    assert summary.parameters == 65 * 8 + 8 * 3 + 3


def test_rows_of_another_shape():
    model = nn.Sequential([nn.Conv2d(2, 3), nn.GlobalAvgPool()]).build((1, 8, 8))
    assert model.summary().flops < model.summary((1, 16, 16)).flops
    assert model.in_shape == (1, 8, 8)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_layer_can_be_told(example):
    model = nn.Sequential([example.part]).build(example.in_shape)
    summary = model.summary()
    assert summary.out_shape == model.out_shape
    assert summary.parameters == sum(array.size for array in model.parameters().values())
    assert summary.states == sum(array.size for array in model.states().values())
    text = str(summary)
    assert text.isascii() and max(map(len, text.splitlines())) <= 100
    assert summary._repr_html_().count("<tr>") == len(summary.layers) + 1


def test_long_names_are_shortened():
    layer = nn.Conv2d(8, (3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), bias=False)
    text = str(nn.Sequential([layer]).summary((1, 9, 9)))
    assert "...)" in text and max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("given, error, message", [
    ({}, nn.NotBuiltError, "in_shape"),
    ({"in_shape": 0}, nn.ShapeError, "positive integers"),
    ({"in_shape": (2, -1)}, nn.ShapeError, "positive integers"),
    ({"in_shape": "four"}, nn.ShapeError, "positive integers"),
    ({"in_shape": (2.5,)}, nn.ShapeError, "positive integers"),
    ({"in_shape": 4, "batch_size": 0}, nn.ParameterError, "batch_size"),
    ({"in_shape": 4, "batch_size": True}, nn.ParameterError, "batch_size"),
])  # fmt: skip
def test_what_cannot_be_told_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        nn.Sequential([nn.Linear(2)]).summary(**given)


def test_a_pickle_of_before_loads():
    summary = nn.Sequential([nn.Linear(2)]).summary(3)
    pickled, now = pickle.dumps(summary, protocol=0), b"nnkit.inspect.cost.summary\n"
    assert now in pickled
    assert pickle.loads(pickled.replace(now, b"nnkit.inspect.summary\n")) == summary
