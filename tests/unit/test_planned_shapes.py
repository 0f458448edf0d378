"""What one loop over several arrays would read beyond their ends is refused before anything runs, compiled or not."""

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.container import Container, as_layer


class Narrowing(nn.Activation):
    """An elementwise function that says it halves its rows: its loop would go on to the end of the longer array."""

    def build(self, in_shape):
        return (*in_shape[:-1], in_shape[-1] // 2)

    @staticmethod
    def forward(x):
        return x

    @staticmethod
    def backward(grad_out):
        return grad_out


class Folding(nn.Layer):
    """Sees (rows, last axis); ``given`` says what shape its output has."""

    folds_rows = True

    def __init__(self, given):
        self.given = given

    def build(self, in_shape):
        return self.given

    @staticmethod
    def forward(x, out):
        for n in range(x.shape[0]):
            out[n, 0] = x[n, 0]

    @staticmethod
    def backward(grad_out, grad_x):
        for n in range(grad_x.shape[0]):
            grad_x[n, :] = grad_out[n, 0]


class Viewing(nn.Layer):
    def __init__(self, name, shape):
        self.name, self.shape = name, shape

    def build(self, in_shape):
        self.parameter("weight", (2, 3))
        self.view(**{self.name: self.shape})
        return in_shape

    @staticmethod
    def forward(x, weight, out):
        out[:] = x

    @staticmethod
    def backward(grad_out, grad_x, grad_weight):
        grad_x[:] = grad_out
        grad_weight[:] = 0.0


class Crossed(Container):
    """Gives each of its layers, or itself, what is not for it."""

    def __init__(self, layers, how):
        self.layers, self.how = layers, how

    def build(self, in_shape):
        first = self.within(as_layer(self.layers[0]), in_shape, 0)
        second = self.within(as_layer(self.layers[1]), in_shape if self.how in ("add", "concatenate") else first.out_shape, 1)
        return second.out_shape

    def connect(self, plan, children, x):
        first, second = children
        if self.how == "forward":
            return plan.forward(second, x)
        if self.how == "return":
            return plan.forward(first, x)
        with plan.holding(x):
            values = [plan.forward(child, x) for child in children]
        return plan.add(values) if self.how == "add" else plan.concatenate(values, 0)


class Shortening(nn.Layer):
    """Leaves out every other step, and says that the same ones are padding."""

    passes_mask = True

    def build(self, in_shape):
        return (in_shape[0] // 2, in_shape[1])

    @staticmethod
    def forward(x, out):
        out[:] = x[:, ::2]

    @staticmethod
    def backward(grad_out, grad_x):
        grad_x[:] = 0.0
        grad_x[:, ::2] = grad_out


class OfNumbers(nn.Loss):
    """A function of single numbers, whose targets have another shape."""

    def __init__(self, shape, *, reduction="mean"):
        self.shape = shape
        super().__init__(reduction=reduction)

    def target_shape(self, out_shape):
        return self.shape

    @staticmethod
    def forward(prediction, target):
        return prediction * target

    @staticmethod
    def backward(target):
        return target


class OfRows(OfNumbers):
    rowwise = True

    @staticmethod
    def forward(prediction, target):
        return prediction[0] * target[0]

    @staticmethod
    def backward(target, grad_prediction):
        grad_prediction[:] = 0.0
        grad_prediction[0] = target[0]


def refused(words, layers, in_shape, plan=False):
    with pytest.raises(nn.NnkitError, match=words) as caught:
        model = nn.Sequential(layers).build(in_shape)
        assert plan, "it is to be found where the layer is built"
        model.predict(np.zeros((2, *in_shape)))
    return caught


def test_an_elementwise_function_gives_as_many_numbers_as_it_gets():
    refused(r"Narrowing\(\): expected build to return a shape of as many numbers as \(4,\)", [Narrowing()], (4,))


def test_folded_rows_are_those_of_all_arrays():
    refused(r"expected build to return a shape with the axes \(3,\) of x before the last one", [Folding((1,))], (3, 2))
    nn.Sequential([Folding((3, 1))]).build((3, 2)).predict(np.zeros((2, 3, 2)))


def test_views_are_of_what_is_there_and_of_its_size():
    refused("expected views of x, out, weight, got one of 'wieght'", [Viewing("wieght", (6,))], (2,))
    refused("expected a view of 'weight' with as many numbers as", [Viewing("weight", (7,))], (2,))
    nn.Sequential([Viewing("weight", (6,))]).build((2,)).predict([[1.0, 2.0]])


@pytest.mark.parametrize(
    "how, words",
    [("forward", r"expected rows of shape \(5,\), for which it was built, got \(4,\)"),
     ("return", r"expected connect to return what build says, shape \(2, 3\), got \(5,\)"),
     ("add", r"expected values of one shape to add, got \(5,\), \(2, 3\)"),
     ("concatenate", "expected values that differ along axis 0 of their rows alone to concatenate")],
)  # fmt: skip
def test_a_container_gives_each_layer_what_it_was_built_for(how, words):
    second = nn.Reshape((2, 2)) if how in ("add", "concatenate") else nn.Linear(3)
    if how == "return":
        second, words = nn.Linear(6), words.replace(r"\(2, 3\)", r"\(6,\)")
    words = words.replace("(2, 3", "(2, 2")
    refused(words, [Crossed([nn.Linear(5), second], how)], (4,), plan=True)


class Repeating(nn.Initializer):
    """Gives what NumPy would repeat for each row of a weight."""

    def __call__(self, shape, random):
        return np.zeros(shape[-1:])


def test_an_initializer_gives_the_whole_array():
    words = r"expected an array for 'weight' of Linear.*, of shape \(4, 3\), got \(3,\)"
    refused(words, [nn.Linear(3, weight_init=Repeating())], (4,))


class Twice(nn.Optimizer):
    """Would lose the gradient behind a state of its name."""

    states = ("grad",)

    @staticmethod
    def update(value, grad, lr):
        value[0] -= lr * grad[0]


def test_states_of_an_optimizer_stand_for_nothing_else():
    with pytest.raises(nn.KernelError, match="names of their own, got 'grad' again"):
        nn.register("twice")(Twice)


def test_a_mask_has_the_steps_of_what_it_masks():
    layers = [nn.Embedding(5, 2, padding_idx=0), Shortening(), nn.GRU(3)]
    model = nn.Sequential(layers).build((6,))
    with pytest.raises(nn.ShapeError, match=r"expected a mask of \(3,\) steps, got one of \(6,\); a layer before"):
        model.predict(np.ones((2, 6), int))


@pytest.mark.parametrize("python", [False, True])
def test_targets_have_the_shape_that_the_loop_of_a_loss_needs(python):
    engine = "python" if python else "compiled"
    X = np.zeros((4, 2))
    for loss, shape, words in (
        (OfNumbers((1,)), (4, 1), "expected target_shape to be that of the outputs, as forward is of single numbers"),
        (OfRows((1,)), (4, 1), "so that target has 2 rows for each, got 1"),
    ):
        layers = [nn.Linear(6), nn.Reshape((2, 3))] if isinstance(loss, OfRows) else [nn.Linear(3)]
        with pytest.raises(nn.ShapeError, match=words):
            nn.Sequential(layers).fit(X, np.zeros(shape), loss=loss, epochs=1, engine=engine)
    nn.Sequential([nn.Linear(3)]).fit(X, np.zeros((4, 1)), loss=OfRows((1,)), epochs=1, engine=engine)
