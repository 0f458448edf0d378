"""What users of PyTorch, Keras and scikit-learn type by habit works as they mean it, or says what is written here."""

import inspect
from collections import OrderedDict

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.words import ATTRIBUTES, CLASSES, ELSEWHERE, NAMES, RENAMED

KINDS = [getattr(nn.registry, kind) for kind in nn.registry.__all__]
PARTS = [part for kind in KINDS for part in kind.values()]
X, Y = np.ones((4, 3)), np.ones((4, 2))


def built():
    return nn.Sequential([nn.Linear(2)]).build((3,), random_state=0)


CALLS = {  # a call as it is typed by habit -> as it is written here
    "Linear(64, 128)": "Linear(128)",
    "Linear(64, 128, False)": "Linear(128, bias=False)",
    "Linear(in_features=64, out_features=128)": "Linear(out_features=128)",
    "Linear(64, out_features=128)": "Linear(out_features=128)",
    "Linear(units=64, input_shape=(3,))": "Linear(out_features=64)",
    "Linear(64, activation='relu')": "Linear(64)",
    "Linear(64, bais=False)": "Linear(64, bias=False)",
    "Linear(64, use_bias=False, kernel_initializer='zeros')": "Linear(64, bias=False, weight_init='zeros')",
    "Conv2d(1, 8, 3)": "Conv2d(8, 3)",
    "Conv2d(1, 8, 3, 2, 1)": "Conv2d(8, 3, stride=2, padding=1)",
    "Conv2d(3, 8, kernel_size=3)": "Conv2d(8, kernel_size=3)",
    "Conv2d(in_channels=3, out_channels=8, kernel_size=3)": "Conv2d(out_channels=8, kernel_size=3)",
    "Conv2d(8)": "Conv2d(8, kernel_size=...)",
    "Conv2d(filters=8, kernel_size=3, strides=2)": "Conv2d(out_channels=8, kernel_size=3, stride=2)",
    "Conv1d(1, 8, 3)": "Conv1d(8, 3)",
    "Conv3d(3, 8, 3)": "Conv3d(8, 3)",
    "ConvTranspose1d(1, 8, 3, 2)": "ConvTranspose1d(8, 3, stride=2)",
    "ConvTranspose3d(1, 8, 3)": "ConvTranspose3d(8, 3)",
    "InstanceNorm2d(16, affine=True)": "InstanceNorm2d(affine=True)",
    "BatchNorm3d(16)": "BatchNorm3d()",
    "ConvTranspose2d(1, 8, 3, 2, 1, 1)": "ConvTranspose2d(8, 3, stride=2, padding=1, output_padding=1)",
    "LSTM(28, 64)": "LSTM(64)",
    "LSTM(28, 64, 2, batch_first=True)": "LSTM(64, num_layers=2)",
    "LSTM(input_size=28, hidden_size=64, batch_first=True)": "LSTM(hidden_size=64)",
    "GRU(units=3)": "GRU(hidden_size=3)",
    "RNN(28, 64, 2, 'relu')": "RNN(64, num_layers=2, nonlinearity='relu')",
    "BatchNorm1d(16)": "BatchNorm1d()",
    "BatchNorm2d(num_features=16)": "BatchNorm2d()",
    "LayerNorm(16, 1e-6)": "LayerNorm(16, eps=1e-06)",
    "LayerNorm([16, 4], 1e-6)": "LayerNorm([16, 4], eps=1e-06)",
    "RMSNorm(16, 1e-6)": "RMSNorm(16, eps=1e-06)",
    "GroupNorm(2, 8)": "GroupNorm(2)",
    "MultiHeadAttention(64, 4)": "MultiHeadAttention(4)",
    "Embedding(10)": "Embedding(10, embedding_dim=...)",
    "Embedding(input_dim=10, output_dim=4)": "Embedding(num_embeddings=10, embedding_dim=4)",
    "PositionalEmbedding(8)": "PositionalEmbedding(max_len=8)",
    "Dropout(p=0.5)": "Dropout(rate=0.5)",
    "Dropout(0.2, True)": "Dropout(0.2)",
    "ReLU(True)": "ReLU()",
    "ReLU(inplace=True)": "ReLU()",
    "LeakyReLU(0.2, True)": "LeakyReLU(0.2)",
    "LeakyReLU(alpha=0.3)": "LeakyReLU(negative_slope=0.3)",
    "Softmax(axis=1)": "Softmax(dim=1)",
    "MaxPool2d(3, 2, 1, 1, False, True)": "MaxPool2d(3, 2, 1, ceil_mode=True)",
    "MaxPool2d(pool_size=2)": "MaxPool2d(kernel_size=2)",
    "Upsample(None, 2, 'bilinear')": "Upsample(None, scale_factor=2, mode='bilinear')",
    "Unfold(3, 1, 0, 2)": "Unfold(3, stride=2)",
    "MaxPool3d(2, 2, 0, 1, False, True)": "MaxPool3d(2, 2, 0, ceil_mode=True)",
    "AvgPool3d(2, 2, 0, False, True, 3)": "AvgPool3d(2, 2, 0, divisor_override=3)",
    "LPPool2d(2, 3, 1, True)": "LPPool2d(2, 3, 1, ceil_mode=True)",
    "ZeroPad2d(1, 2)": "ZeroPad2d(1)",
    "AlphaDropout(p=0.3)": "AlphaDropout(rate=0.3)",
    "GaussianNoise(stddev=0.1)": "GaussianNoise(std=0.1)",
    "Hardshrink(0.5, True)": "Hardshrink(0.5)",
    "Reshape(4, 4)": "Reshape([4, 4])",
    "Permute(2, 1)": "Permute([2, 1])",
    "CrossEntropyLoss([1.0, 2.0])": "CrossEntropyLoss(weight=[1.0, 2.0])",
    "CrossEntropyLoss(None, None, -1)": "CrossEntropyLoss(ignore_index=-1)",
    "NLLLoss(ignore_idx=0)": "NLLLoss(ignore_index=0)",
    "BCEWithLogitsLoss(None, None, None, 'sum', [3.0])": "BCEWithLogitsLoss(reduction='sum', pos_weight=[3.0])",
    "MSELoss(weight=X)": "MSELoss()",
    "TripletMarginLoss(0.5, 2)": "TripletMarginLoss(margin=0.5, p=2)",
    "CTCLoss(1, 'sum')": "CTCLoss(blank=1, reduction='sum')",
    "MSELoss('sum')": "MSELoss(reduction='sum')",
    "HuberLoss('sum')": "HuberLoss(reduction='sum')",
    "HuberLoss(1.5)": "HuberLoss(delta=1.5)",
    "Adam(built().parameters(), lr=0.1)": "Adam(lr=0.1)",
    "Adam(learning_rate=0.1)": "Adam(lr=0.1)",
    "Adam(0.1, (0.8, 0.99))": "Adam(0.1, betas=(0.8, 0.99))",
    "SGD(0.1, 0.9)": "SGD(0.1, momentum=0.9)",
    "SGD(built().parameters(), 0.1, 0.9)": "SGD(0.1, momentum=0.9)",
    "SGD(lr=0.1, momentun=0.9)": "SGD(lr=0.1, momentum=0.9)",
    "EarlyStopping('val_loss', 0.01, 5)": "EarlyStopping('val_loss', min_delta=0.01, patience=5)",
    "EarlyStopping(restore_best_weights=False)": "EarlyStopping(restore_best=False)",
    "Checkpoint(filepath='net')": "Checkpoint(path='net')",
    "StepSchedule(10, 0.5)": "StepSchedule(10, gamma=0.5)",
    "StepSchedule(nn.Adam(), 10, 0.5)": "StepSchedule(10, gamma=0.5)",
    "CosineSchedule(50)": "CosineSchedule()",
    "CosineSchedule(T_max=50, eta_min=1e-5)": "CosineSchedule(final=1e-05)",
    "ReduceOnPlateau('min', 0.5, 3)": "ReduceOnPlateau(gamma=0.5, patience=3)",
    "Normal(mean=0.0, stddev=0.1)": "Normal(mean=0.0, std=0.1)",
    "NNClassifier(hidden_layer_sizes=(10,), max_iter=9)": "NNClassifier(layers=(10,), epochs=9)",
    "Sequential(nn.ReLU(), nn.Tanh())": "Sequential([ReLU(), Tanh()])",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_constructors_error_shows_the_call_as_it_is_written_here(call):
    with pytest.raises(nn.CallError) as caught:
        eval(f"nn.{call}")
    message = str(caught.value)
    assert message.startswith(call.partition("(")[0] + "(")
    assert message.endswith(f"write {CALLS[call]}")
    if "..." not in CALLS[call]:
        eval(f"nn.{CALLS[call].replace('ReLU(), Tanh()', 'nn.ReLU(), nn.Tanh()')}")


WORDS = {
    "Linear(64, 128)": "sizes of the input come from the data",
    "LSTM(8, batch_first=True)":
        r"^LSTM\(\.\.\.\) got an unexpected argument 'batch_first'; "
        r"sequences are always \(N, steps, features\)",
    "Linear(8, activation='relu')": "an activation is a layer of its own",
    "Linear(8, weight_decay=0.1)": r"weight decay is the optimizer's, as in nn\.Adam\(weight_decay",
    "AvgPool2d(2, dilation=2)": "its windows have no gaps",
    "ReLU(inplace=True)": "in place by themselves",
    "Linear(8, foo=1)": "it takes out_features, bias, weight_init, bias_init",
    "Adam(built().parameters())": r"expected lr to be a number \(fit and optimizer.step\(model\) tell an optimizer its model\)",
    "Sequential(nn.Linear(2))": r"write Sequential\(\[\.\.\.\]\)",
    "Sequential(OrderedDict(a=nn.Linear(2)))": r"got OrderedDict; write Sequential\(list\(layers.values\(\)\)\)",
    "Linear(64, bias=128)": "Linear: expected bias to be True or False, got 128",
    "SGD(0.1, momentum=0.9, nesterov=1)": "SGD: expected nesterov to be True or False, got 1",
}


@pytest.mark.parametrize("call", WORDS)
def test_a_constructors_error_says_what_is_otherwise_here(call):
    with pytest.raises(nn.ParameterError, match=WORDS[call]):
        eval(f"nn.{call}", {**globals(), "OrderedDict": OrderedDict})


SAME = ["Softmax(1)", "Softmax(dim=1)", "LeakyReLU(0.2)", "MaxPool2d(2, 2)", "MaxPool2d(3, 2, 1)", "AvgPool2d(2, 2)",
        "Dropout(0.5)", "Embedding(10, 4)", "Flatten(1, -1)", "PReLU(3, 0.1)", "Hardtanh(-2, 2)",
        "Adam(1e-3)", "Normal(0, 0.1)"]  # fmt: skip


@pytest.mark.parametrize("call", SAME)
def test_what_means_the_same_elsewhere_works(call):
    eval(f"nn.{call}")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_by_position_come_sizes_alone(part):
    """One argument, or what cannot be left out, or what PyTorch has in the same places; the rest goes by name."""
    parameters = inspect.signature(part).parameters.values()
    placed = [item for item in parameters if item.kind is item.POSITIONAL_OR_KEYWORD]
    names = tuple(item.name for item in placed)
    required = all(item.default is item.empty for item in placed)
    assert len(placed) <= 1 or required or part.elsewhere[: len(names)] == names


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_truth_values_and_eps_are_what_they_say(part):
    for example in part.examples():
        for name, value in example.part.hyperparameters().items():
            if isinstance(value, bool):
                with pytest.raises(nn.ParameterError, match=f"{part.__name__}: expected {name} to be True or False, got 16"):
                    example.part.replace(**{name: 16})
                assert getattr(example.part.replace(**{name: np.bool_(value)}), name) is value
            if name == "eps":
                for wrong in (16, 1.0, 0.0, -1e-5):
                    with pytest.raises(nn.ParameterError, match=f"{part.__name__}: expected eps to be a number in"):
                        example.part.replace(eps=wrong)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_constructor_names_its_public_class(part):
    parameters = inspect.signature(part).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):  # it takes any name, not anything
        with pytest.raises(nn.NnkitError, match=f"^{part.__name__}: "):
            part(no_such_argument=None)
        return
    with pytest.raises(nn.CallError) as caught:
        part(no_such_argument=1)
    if list(inspect.signature(part).parameters.values())[-1:] and not str(caught.value).startswith(f"{part.__name__}("):
        raise AssertionError(str(caught.value))
    assert "__init__" not in str(caught.value)


def test_a_part_of_ones_own_explains_itself_too():
    class Mine(nn.Identity):
        def __init__(self, size, flag=False):
            self.size, self.flag = size, flag

    assert str(inspect.signature(Mine)) == "(size, flag=False)"
    message = r"^Mine\(\.\.\.\) got an unexpected argument 'sise'; did you mean 'size'\? write Mine\(size=3\)$"
    with pytest.raises(TypeError, match=message):
        Mine(sise=3)
    with pytest.raises(nn.CallError, match="Mine: expected flag to be True or False, got 3"):
        Mine(2, 3)


def test_an_error_from_within_a_constructor_comes_through():
    class Broken(nn.Identity):
        def __init__(self, size=1):
            len(size)

    with pytest.raises(TypeError, match="has no len"):
        Broken()


ATTEMPTS = {  # on a model
    "model(X)": r"model\.predict\(X\)",
    "model.train()": r"model\.fit\(X, y, \.\.\.\) trains",
    "model.eval()": "leave dropout off",
    "model.zero_grad()": "backward writes gradients anew",
    "model.state_dict()": r"model\.parameters\(\) and model\.states\(\)",
    "model.load_state_dict({})": r"nn\.torch_weights\(model, state_dict\)",
    "model.to('cpu')": "computed on the CPU",
    "model.compile(optimizer='adam')": r"model\.fit\(X, y, loss=\.\.\., optimizer=\.\.\.",
    "model.add(nn.ReLU())": r"nn\.Sequential\(\[\.\.\.\]\)",
    "model.predict_proba(X)": "nn.NNClassifier",
    "model.fit(X, Y, batch_size=2, validation_split=0.25, verbose=1)":
        r"^Sequential\.fit\(\.\.\.\) got an unexpected argument 'verbose'.*progress=True.*; "
        r"write Sequential\.fit\(X, y, batch_size=2, validation_split=0\.25\)$",
    "model.fit(X, Y, 10)":
        r"^Sequential\.fit\(X, y, 10\): expected X, y by position, got 3 values; write Sequential\.fit\(X, y\)$",
    "model.fit(X, Y, epoch=10)": r"did you mean 'epochs'\? write Sequential\.fit\(X, y, epochs=10\)$",
    "model.fit(X, Y, learning_rate=0.1)": r"the learning rate is the optimizer's",
    "model.fit(X)": r"^Sequential\.fit\(X\): expected y, missing",
    "model.evaluate(X, Y, verbose=0)": r"^Sequential\.evaluate\(\.\.\.\) got an unexpected argument 'verbose'",
    "model.fit(X, Y, loss='mean_squared_error')": "did you mean 'mse'",
    "model.fit(X, Y, loss='MSELoss')": "did you mean 'mse'",
    "model.fit(X, Y, optimizer='Adam')": "did you mean 'adam'",
    "model.fit(X, Y, metrics=['acc'])": "did you mean 'accuracy'",
    "nn.MSELoss()(Y, Y).backward()": r"write loss, grad = criterion\(out, y\), then model\.backward\(grad\)",
    "nn.MSELoss()(Y, Y).item()": r"float\(loss\)",
    "history.history": r"write history\['loss'\]",
    "history.accuracy": "has no attribute 'accuracy'",
    "history['los']": "no figure is named 'los'; did you mean 'loss'",
    "nn.Adam().zero_grad()": "backward writes gradients anew",
    "nn.Dense": "did you mean 'Linear'",
    "nn.Module": "did you mean 'Layer'",
    "nn.Conv2D": "did you mean 'Conv2d'",
    "nn.StepLR": "did you mean 'StepSchedule'",
    "nn.DataLoader": r"has no 'DataLoader'; write model\.fit\(X, y, batch_size=64\)",
    "nn.functional": "activations and losses are classes",
    "nn.optim": "stand in nnkit itself, such as nn.Adam",
    "nn.save": r"write model\.save\(path\)",
    "nn.manual_seed": "random_state=0",
    "nn.ReLU()(X)": r"^ReLU: expected a model around the layer, such as nn\.Sequential\(\[ReLU\(\)\]\)",
    "nn.SGD(lr=-1)": r"expected lr to be a number in \(0, inf\), got -1$",
    "model.layers[0].weight": r"write model\.parameters\(\)\['0\.weight'\]",
    "model.export('net.onnx')": r"write nn\.onnx\.export\(model, path\)",
    "model.fit(X.repeat(100, axis=0), Y, epoch=10)": r"did you mean 'epochs'\? write Sequential\.fit\(X, y, epochs=10\)$",
    "nn.Linaer": "did you mean 'Linear'",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_another_librarys_way_is_answered_with_the_one_here(attempt):
    history = nn.History()
    history.add(loss=1.0)
    with pytest.raises((nn.NnkitError, AttributeError, KeyError), match=ATTEMPTS[attempt]):
        eval(attempt, {"model": built(), "nn": nn, "X": X, "Y": Y, "history": history})


def test_what_is_answered_does_not_exist_here():
    """A word that has a meaning here must not be explained away."""
    for item in (nn.Sequential, nn.Adam, nn.EarlyStopping):
        assert [name for name in ATTRIBUTES if hasattr(item, name)] in ([], ["backward"])  # which a loss's result has not
    assert not [name for name in (*CLASSES, *ELSEWHERE) if name in nn.__all__]
    assert all(name in nn.__all__ for name in CLASSES.values())
    keys = {key for kind in KINDS for key in kind}
    assert set(NAMES.values()) <= keys
    taken = {name for part in [*PARTS, nn.NNClassifier] for name in inspect.signature(part).parameters}
    taken |= set(inspect.signature(nn.Sequential.fit).parameters)
    assert {name for names in RENAMED.values() for name in names} <= taken


def test_copies_and_pickles_need_no_arguments():
    import copy
    import pickle

    for part in (nn.Conv2d(8, 3), nn.Adam(0.1), nn.StepSchedule(3)):
        assert repr(copy.deepcopy(part)) == repr(copy.copy(part)) == repr(pickle.loads(pickle.dumps(part))) == repr(part)


def test_figures_of_a_history_are_attributes_too():
    import copy
    import pickle

    history = built().fit(X, Y, epochs=2, validation_data=(X, Y))
    for again in (history, copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert again.loss == again["loss"] and again.val_loss == again["val_loss"] and len(again.loss) == 2
    assert (history.epochs, history.steps) == (2, 2)


LABELS = {
    "labels without a loss": (np.array([0, 1, 1, 0]), {}, r"got \(4,\); labels of classes take loss='cross_entropy'"),
    "words": (np.array(["a", "b", "a", "b"]), {"loss": "cross_entropy"}, "nnkit.NNClassifier takes labels as they are"),
    "words in a list": (["a", "b", "a", "b"], {"loss": "cross_entropy"}, "nnkit.NNClassifier takes labels as they are"),
    "words in objects": (np.array(["a", "b", "a", None]), {"loss": "cross_entropy"}, "nnkit.NNClassifier takes labels"),
    "labels as floats": (np.array([0.0, 1, 1, 0]), {"loss": "cross_entropy"}, r"got dtype float64; pass y\.astype\(int\)"),
    "numbers": (np.array([0.5, 1, 1, 0]), {"loss": "cross_entropy"}, "no labels take another loss, such as 'mse'"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_do_not_fit_say_what_does(case):
    y, options, message = LABELS[case]
    with pytest.raises(nn.NnkitError, match=message):
        built().fit(X, y, **options)


def test_text_in_x_is_no_matter_of_labels():
    with pytest.raises(nn.DataError, match=r"encode it as numbers first$"):
        built().fit(np.full((4, 3), "a"), Y)


def test_warnings_point_at_the_line_of_the_user(monkeypatch):
    monkeypatch.setenv("NNKIT_NUM_THREADS", "rather many")  # through scikit-learn's wrappers, and several floors
    with pytest.warns(nn.EnvironmentWarning, match="rather many") as caught:
        nn.NNClassifier([2], epochs=1).fit(X, [0, 1, 0, 1])
    assert {item.filename for item in caught} == {__file__}


def test_what_a_repr_shows_can_be_typed():
    names = {**vars(nn), **{part.__name__: part for part in PARTS}, "np": np}
    for part in PARTS:
        for example in part.examples():
            again = eval(repr(example.part), {"__builtins__": {}, **names})
            assert repr(again) == repr(example.part)
