"""What a class of one's own lacks or misspells is said at once; what metrics measure knows which way it is to go."""

import inspect
import re
import types

import numpy as np
import pytest

import nnkit as nn
from nnkit.core.calls import require_known
from nnkit.core.container import Container
from nnkit.core.part import Part

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X[:, :1] + 0.1 * X[:, 1:2]
BASES = [nn.Layer, nn.PythonLayer, nn.Activation, nn.Loss, nn.PythonLoss, nn.Optimizer, nn.Initializer, nn.Schedule, nn.Metric,
         nn.Callback, Container]  # fmt: skip
KINDS = [base for base in BASES if base not in (nn.PythonLayer, nn.PythonLoss)]  # whose hooks are those of their kinds


def derived(base, **names):
    return types.new_class("Mine", (base,), {}, lambda namespace: namespace.update(names))


MISSPELT = [
    (nn.Callback, "epoch_end", "on_epoch_end"), (nn.Callback, "on_epoch_ends", "on_epoch_end"),
    (nn.Callback, "on_batch_emd", "on_batch_end"), (nn.Callback, "on_train_begin", "on_fit_begin"),
    (nn.Callback, "on_train_batch_end", "on_batch_end"), (nn.Layer, "foward", "forward"), (nn.Layer, "backwards", "backward"),
    (nn.Layer, "call", "forward"), (nn.Layer, "in_place", "inplace"), (nn.Activation, "forwards", "forward"),
    (nn.Activation, "element_wise", "elementwise"), (nn.PythonLayer, "foward", "forward"), (nn.Loss, "row_wise", "rowwise"),
    (nn.Loss, "backwards", "backward"), (nn.PythonLoss, "foward", "forward"), (nn.Optimizer, "state", "states"),
    (nn.Optimizer, "updates", "update"), (nn.Schedule, "factors", "factor"), (nn.Schedule, "get_lr", "factor"),
    (nn.Metric, "compute", "__call__"), (nn.Metric, "greater_is_beter", "greater_is_better"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "name", "meant"), MISSPELT)
def test_a_misspelt_hook_is_refused_with_the_nearest(base, name, meant):
    with pytest.raises(nn.KernelError, match=f"Mine: expected names that are known, got '{name}', .*; did you mean '{meant}'"):
        derived(base, **{name: lambda self: None})


@pytest.mark.parametrize("name", ["on_improvement", "on_epoch_begin_or_end", "on_save_checkpoint"])
def test_callbacks_have_no_other_events(name):
    with pytest.raises(nn.KernelError, match=f"expected methods on_... to be among on_fit_begin, .*, got '{name}'"):
        derived(nn.Callback, **{name: lambda self, fit: None})


def test_methods_of_ones_own_stay():
    class Own(nn.Callback):
        notes = ()
        later = True

        def on_epoch_end(self, fit):
            self.epoch_end(fit)

        def epoch_end(self, fit):  # beside the hook, which calls it
            pass

        def _on_improvement(self):
            pass

    class Child(Own):
        def epoch_end(self, fit):
            pass

    Child()
    derived(nn.Layer, constants=(1.0,), parameters_of=None, forward_columns=None, scale=2.0)


@pytest.mark.parametrize("base", BASES)
def test_hooks_exist(base):
    """What the kinds say that they call is there, or at least announced."""
    announced = {name for one in base.__mro__ for name in vars(one).get("__annotations__", {})}
    assert set(Part.hooks) < set(base.hooks)
    assert [name for name in (*base.hooks, *base.needed) if not hasattr(base, name) and name not in announced] == []


def test_hooks_are_all_that_parts_override():
    """A part overrides nothing of its kind's that the list of hooks would not spell."""
    for kind in nn.registry.__all__:
        for part in getattr(nn.registry, kind).values():
            base = next(one for one in part.__mro__ if "registry" in vars(one))
            names = {name for one in part.__mro__[: part.__mro__.index(base)] for name in vars(one) if hasattr(base, name)}
            ignored = {"key", "require_whole", "validate", "kernels", "hyperparameters", "from_hyperparameters", "terms",
                       "hooks", "needed", "number", "place"}  # fmt: skip - the framework's own
            fields = getattr(part, "__dataclass_fields__", {})
            left = {name for name in names if not name.startswith("_")} - ignored - set(base.hooks) - set(fields)
            assert left == set(), part


def table(doc):
    """The hooks that a docstring describes: the default and the meaning of each, as they are written."""
    rule, body = (part.splitlines() for part in re.split(r"^(?==+ )", inspect.cleandoc(doc), flags=re.MULTILINE)[1:3])
    ends = [found.end() for found in re.finditer("=+", rule[0])]
    described = {}
    for line in body[1:]:
        hook, default, meaning = line[: ends[0]].strip(), line[ends[0] : ends[1]].strip(), line[ends[1] :].strip()
        if hook:
            assert hook not in described
            described[hook] = [default, meaning]
        else:
            described[[*described][-1]][1] += f" {meaning}"
    return described


def defaults(base, hooks):
    """What the table has to say in the column of defaults: of methods, whether there is one."""
    found = {}
    for name in hooks:
        item = inspect.getattr_static(base, name, None)
        method = inspect.isroutine(item) or isinstance(item, classmethod | staticmethod)
        found[name] = "needed" if name in base.needed else "method" if method else repr(item)
    return found


def above(base):
    """The kind whose table has the hooks that a kind does not name again."""
    return next((one for one in base.__mro__[1:] if one in KINDS), None)


def told(base, doc):
    """What is wrong with the table of hooks in a docstring."""
    general = above(base)
    own = set(base.hooks) - (set(general.hooks) if general else set())
    described = table(doc)
    given = {name: default for name, (default, _) in described.items()}
    wrong = [f"{name} is missing" for name in sorted(own - set(described))]
    wrong += [f"{name} is no hook" for name in sorted(set(described) - own)]
    wrong += [f"{name} is {now}" for name, now in defaults(base, own & set(described)).items() if given[name] != now]
    wrong += [f"{name} says nothing" for name, (_, meaning) in described.items() if len(meaning) < 5]
    return wrong + ([f"{general.__name__} is not named"] if general and f"nnkit.{general.__name__}" not in doc else [])


@pytest.mark.parametrize("base", KINDS)
def test_the_docstring_of_a_kind_has_a_table_of_its_hooks(base):
    assert told(base, base.__doc__) == []


@pytest.mark.parametrize("base", [nn.PythonLayer, nn.PythonLoss])
def test_parts_in_plain_numpy_say_where_their_hooks_are_described(base):
    kind = above(base)
    assert base.hooks == kind.hooks
    assert base.needed == kind.needed
    assert f"`{kind.__name__}`" in base.__doc__


@pytest.mark.parametrize(
    ("base", "before", "after", "fault"),
    [
        (nn.Layer, "inplace           False ", "inplace           True  ", "inplace is False"),
        (nn.Layer, "gives             None ", "yields            None ", "gives is missing"),
        (nn.Layer, "gives             None ", "yields            None ", "yields is no hook"),
        (nn.Layer, "build             method", "build             needed", "build is method"),
        (nn.Loss, "prediction_high  2.0 ", "prediction_high  3.0 ", "prediction_high is 2.0"),
        (nn.Callback, "acts_outside   True ", "acts_outside   False", "acts_outside is True"),
        (nn.Activation, "`nnkit.Layer`", "layer", "Layer is not named"),
    ],
)  # fmt: skip
def test_a_table_of_hooks_that_has_gone_stale_is_seen(base, before, after, fault):
    assert before in base.__doc__
    assert fault in told(base, base.__doc__.replace(before, after))


LACKING = [
    (nn.Layer, "methods forward and backward, forward and backward missing"),
    (nn.PythonLayer, "methods forward and backward"), (nn.Activation, "methods forward and backward"),
    (nn.Loss, "methods forward and backward"), (nn.PythonLoss, "methods forward and backward"),
    (nn.Optimizer, "a method update, update missing"),
    (nn.Initializer, r"a method __call__\(self, shape, random\), __call__ missing"),
    (nn.Schedule, r"a method factor\(self, epoch, epochs\), factor missing"),
    (nn.Metric, r"a method __call__\(self, y, prediction, loss, sample_weight=None\), __call__ missing"),
    (Container, r"a method connect\(self, plan, children, x\), connect missing"),
]


@pytest.mark.parametrize(("base", "message"), LACKING)
def test_what_a_class_lacks_is_said_as_it_is_used(base, message):
    mine = derived(base)
    with pytest.raises(nn.KernelError, match=f"^Mine: expected {message}"):
        mine()
    with pytest.raises(nn.KernelError, match=f"^Mine: expected {message}"):
        nn.register("mine_that_lacks")(mine)


def test_a_callback_that_no_fit_would_call_is_refused_by_it():
    with pytest.raises(nn.KernelError, match=r"Mine: expected one of on_fit_begin, on_batch_end, .*, all missing"):
        nn.Sequential(["linear"]).fit(X, Y, callbacks=[derived(nn.Callback, acts_outside=False)()])


def test_kernels_that_are_no_static_methods_are_refused_as_they_are_used():
    method = {"update": lambda self, value, grad: None}
    with pytest.raises(nn.KernelError, match="Mine: expected update to be a @staticmethod"):
        derived(nn.Optimizer, **method)()
    both = {"forward": lambda self, x: None, "backward": lambda self, x: None}
    for base in (nn.Loss, nn.Activation):
        with pytest.raises(nn.KernelError, match="Mine: expected forward to be a @staticmethod"):
            derived(base, **both)()


@pytest.mark.parametrize("argument", ["callbacks", "loss", "optimizer"])
def test_a_function_is_no_part(argument):
    with pytest.raises(nn.ParameterError, match=r"make it a class that derives from nnkit\."):
        nn.Sequential(["linear"]).fit(X, Y, **{argument: lambda *arguments: 0.0})


@pytest.mark.parametrize("base", BASES)
def test_kinds_show_how_to_derive(base):
    assert f"({base.__name__})" in inspect.getdoc(base).partition("Examples")[2].replace("nn.", "")


# ------------------------------------------------------------------------------------------------------ which way


def stopped(monitor, metrics, **options):
    """The history of a fit that goes back to the best epoch."""
    model = nn.Sequential(["linear"])
    stopping = nn.EarlyStopping(monitor, patience=50, **options)
    return model.fit(X, Y, epochs=12, validation_split=0.2, random_state=0, metrics=metrics, optimizer=nn.Adam(lr=0.05),
                     callbacks=[stopping])  # fmt: skip


SCORERS = ["d2_absolute_error_score", "neg_mean_squared_error", "r2", "explained_variance", "neg_max_error"]


@pytest.mark.parametrize("name", SCORERS)
def test_the_best_epoch_of_a_score_is_the_greatest(name):
    history = stopped(f"val_{name}", [name])
    assert history.best_epoch == int(np.argmax(history[f"val_{name}"])) > 5


class Largest(nn.Metric):
    """Named like nothing that is known."""

    def __init__(self, greater=None):
        self.greater = greater
        if greater is not None:
            self.greater_is_better = greater

    def __call__(self, y, prediction, loss, sample_weight=None):
        return float(np.abs(y - prediction).max()) * (-1 if self.greater else 1)


@pytest.mark.parametrize("greater", [True, False])
def test_a_metric_says_which_way_it_goes(greater):
    history = stopped("val_Largest", [Largest(greater)])
    best = np.argmax if greater else np.argmin
    assert history.best_epoch == int(best(history["val_Largest"])) > 5


def test_a_metric_that_does_not_say_asks_for_mode():
    with pytest.raises(nn.ParameterError, match="expected mode='min' or mode='max', as val_Largest does not say"):
        stopped("val_Largest", [Largest()])
    history = stopped("val_Largest", [Largest()], mode="min")
    assert history.best_epoch == int(np.argmin(history["val_Largest"]))
    with pytest.raises(nn.ParameterError, match="as lr does not say"):
        stopped("lr", [])


def test_an_unknown_figure_is_refused_before_training_with_the_nearest():
    model = nn.Sequential(["linear"]).build((3,), random_state=0)
    before = model.parameters()["0.weight"].copy()
    with pytest.raises(nn.ParameterError, match="one of loss, lr, accuracy, got 'acuracy'; did you mean 'accuracy'"):
        model.fit(X, Y, metrics=["accuracy"], callbacks=[nn.EarlyStopping("acuracy")], epochs=1)
    assert (model.parameters()["0.weight"] == before).all()
    with pytest.raises(nn.ParameterError, match="expected monitor to be the name of a figure"):
        nn.EarlyStopping(5)


def test_all_figures_of_a_fit_have_a_direction_or_say_that_they_have_none():
    class Look(nn.Callback):
        def on_epoch_end(self, fit):
            assert list(fit.figures) == list(fit.history)

    for split in (0.0, 0.2):
        nn.Sequential(["linear"]).fit(X, Y, epochs=1, metrics=["r2", Largest()], validation_split=split, callbacks=[Look()])


BUILT_IN = [part for kind in nn.registry.__all__ for part in getattr(nn.registry, kind).values()]


@pytest.mark.parametrize("part", BUILT_IN, ids=lambda part: part.__name__)
def test_what_registering_looks_at_is_right(part):
    """nnkit's own parts are not looked at as they are imported, which would take a tenth of a second."""
    require_known(part, part.hooks)
    part.require_whole()
    part.validate()


def test_what_registering_looks_at_is_looked_at_elsewhere():
    with pytest.raises(nn.KernelError, match="names 'scal', which nobody provides"):

        @nn.register("scaled_wrongly")
        class Wrong(nn.Layer):
            scale = 2.0

            @staticmethod
            def forward(x, scal, out):
                out[:] = x * scal

            @staticmethod
            def backward(grad_out, grad_x):
                grad_x[:] = grad_out
