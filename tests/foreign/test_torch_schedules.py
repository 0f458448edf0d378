"""torch.optim.lr_scheduler: the same learning rates after every epoch, and after every step.

PyTorch counts calls of ``step``: once an epoch, or once a batch, and then its sizes are in batches. nnkit counts epochs, and a
batch is a fraction of one. Both are compared: with ``steps`` batches in an epoch, PyTorch's sizes are ``steps`` times ours.
"""

import inspect
import itertools
import warnings

import numpy as np
import pytest

import nnkit as nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    from torch.optim import lr_scheduler

torch.set_num_threads(1)  # the tensors are tiny
KNOWN_TORCH = (2, 13)
EPS = np.finfo(np.float64).eps
EPOCHS = 20
steps_an_epoch = pytest.mark.parametrize("steps", [1, 7, 10])

MOMENTUM = {name: name for name in ("cycle_momentum", "base_momentum", "max_momentum")}
# PyTorch's words in ours; None: said by the time that is asked for.
WORDS = {
    "StepLR": (nn.StepSchedule, {"step_size": "step_size", "gamma": "gamma"}),
    "MultiStepLR": (nn.MultiStepSchedule, {"milestones": "milestones", "gamma": "gamma"}),
    "ExponentialLR": (nn.ExponentialSchedule, {"gamma": "gamma"}),
    "ConstantLR": (nn.ConstantSchedule, {"factor": "gamma", "total_iters": "length"}),
    "LinearLR": (nn.LinearSchedule, {"start_factor": "initial", "end_factor": "final", "total_iters": "length"}),
    "PolynomialLR": (nn.PolynomialSchedule, {"total_iters": "length", "power": "power"}),
    "CosineAnnealingLR": (nn.CosineSchedule, {"T_max": None, "eta_min": "final"}),
    "CosineAnnealingWarmRestarts": (nn.CosineSchedule, {"T_0": "restart", "T_mult": "stretch", "eta_min": "final"}),
    "CyclicLR": (
        nn.CyclicSchedule,
        {"base_lr": "initial", "max_lr": None, "step_size_up": "step_size_up", "step_size_down": "step_size_down",
         "mode": "mode", "gamma": "gamma", **MOMENTUM},
    ),
    "LambdaLR": (nn.LambdaSchedule, {"lr_lambda": "function"}),
    "MultiplicativeLR": (nn.MultiplicativeSchedule, {"lr_lambda": "function"}),
    "SequentialLR": (nn.SequentialSchedule, {"schedulers": "schedules", "milestones": "milestones"}),
    "ChainedScheduler": (nn.ChainedSchedule, {"schedulers": "schedules"}),
    "OneCycleLR": (
        nn.OneCycle,
        {"max_lr": None, "total_steps": None, "epochs": None, "steps_per_epoch": None,
         "pct_start": "rise", "div_factor": "div", "final_div_factor": "final_div", "three_phase": "three_phase",
         "anneal_strategy": "anneal_strategy", **MOMENTUM},
    ),
    "ReduceLROnPlateau": (
        nn.ReduceOnPlateau,
        {"factor": "gamma", "patience": "patience", "threshold": "threshold", "min_lr": "min_factor",
         "threshold_mode": "threshold_mode", "cooldown": "cooldown", "eps": "eps"},
    ),
}  # fmt: skip
NOT_HERE = {"LRScheduler": "their base class"}
REFUSED = {
    "scale_fn": "a LambdaSchedule",
    "scale_mode": "a LambdaSchedule",
    "mode": "losses go down",
}
NEEDS_NOTHING = sorted(key for key, part in nn.registry.schedules.items() if part.examples())
MECHANICS = {"self", "optimizer", "last_epoch"}


def their_rates(make, count, number="lr"):
    """What PyTorch's rate, or another number, is before each of so many calls of ``step``, and after the last."""
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=1.0, momentum=0.5)
    schedule, rates = make(optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0][number])
        optimizer.step()
        schedule.step()
    return np.array([*rates, optimizer.param_groups[0][number]])


def compare(ours, make, steps, epochs=EPOCHS):
    """Equal, as far as float64 can tell: PyTorch's rates come each from the one before, with at most 4 roundings."""
    count = steps * epochs
    rates = their_rates(make, count)
    times = np.arange(count + 1) / steps
    np.testing.assert_allclose(ours.factor(times, epochs), rates, rtol=0, atol=4 * count * EPS)
    momenta = their_rates(make, count, "momentum")
    np.testing.assert_allclose(ours.momentum(times, epochs, np.full(count + 1, 0.5)), momenta, rtol=0, atol=4 * count * EPS)


@steps_an_epoch
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("size", [1, 3, 20])
def test_steps_equal_torchs(size, gamma, steps):
    compare(nn.StepSchedule(step_size=size, gamma=gamma), lambda o: lr_scheduler.StepLR(o, size * steps, gamma), steps)


@steps_an_epoch
@pytest.mark.parametrize("milestones", [[1], [2, 3, 7], [5, 5, 19], [30]], ids=str)
def test_milestones_equal_torchs(milestones, steps):
    theirs = [milestone * steps for milestone in milestones]
    compare(nn.MultiStepSchedule(milestones=milestones, gamma=0.3), lambda o: lr_scheduler.MultiStepLR(o, theirs, 0.3), steps)


@steps_an_epoch
@pytest.mark.parametrize("gamma", [0.5, 0.95, 1.01])
def test_exponential_equals_torchs(gamma, steps):
    compare(nn.ExponentialSchedule(gamma=gamma), lambda o: lr_scheduler.ExponentialLR(o, gamma ** (1 / steps)), steps)


@steps_an_epoch
@pytest.mark.parametrize(("gamma", "length"), [(1 / 3, 5), (0.01, 1), (0.9, 40)])
def test_constant_equals_torchs(gamma, length, steps):
    compare(nn.ConstantSchedule(gamma=gamma, length=length), lambda o: lr_scheduler.ConstantLR(o, gamma, length * steps), steps)


@steps_an_epoch
@pytest.mark.parametrize(("initial", "final", "length"), [(1 / 3, 1.0, 5), (1.0, 0.25, 20), (0.5, 0.0, 3), (0.1, 0.7, 40)])
def test_line_equals_torchs(initial, final, length, steps):
    compare(nn.LinearSchedule(initial=initial, final=final, length=length),
            lambda o: lr_scheduler.LinearLR(o, initial, final, length * steps), steps)  # fmt: skip


@steps_an_epoch
@pytest.mark.parametrize(("length", "power"), [*itertools.product([1, 5, 20, 40], [1, 2, 0.5])])
def test_polynomial_equals_torchs(length, power, steps):
    compare(nn.PolynomialSchedule(length=length, power=power),
            lambda o: lr_scheduler.PolynomialLR(o, length * steps, power), steps)  # fmt: skip


def test_lines_and_powers_go_over_the_whole_training():
    times = np.linspace(0.0, 9.0, 10)
    for named in ({"length": None}, {"length": 9.0}):
        ours = nn.LinearSchedule(initial=1.0, final=0.0, **named).factor(times, 9.0)
        np.testing.assert_array_equal(ours, nn.PolynomialSchedule(**named).factor(times, 9.0))
        np.testing.assert_allclose(ours, 1 - times / 9, atol=EPS)
    assert (nn.ConstantSchedule(gamma=0.5).factor(times, 9.0) == 0.5).all()


@steps_an_epoch
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize(("up", "down"), [(1, None), (2, 3), (3, 1)])
@pytest.mark.parametrize(
    ("initial", "momentum"), [(0.0, {"cycle_momentum": False}), (0.2, {}), (0.1, {"base_momentum": 0.3, "max_momentum": 0.97})]
)
def test_cycles_equal_torchs(initial, momentum, up, down, mode, steps):
    compare(
        nn.CyclicSchedule(initial=initial, step_size_up=up, step_size_down=down, mode=mode, gamma=0.9, **momentum),
        lambda o: lr_scheduler.CyclicLR(o, initial, 1.0, up * steps, down and down * steps, mode, 0.9 ** (1 / steps),
                                        **momentum),
        steps,
    )  # fmt: skip


@steps_an_epoch
def test_function_equals_torchs(steps):
    compare(nn.LambdaSchedule(lambda t: 1 / (1 + t)), lambda o: lr_scheduler.LambdaLR(o, lambda n: 1 / (1 + n / steps)), steps)


def test_factors_of_epochs_equal_torchs():
    def function(epoch):
        return 0.5 if epoch % 3 == 0 else 1.1

    ours = nn.MultiplicativeSchedule(function)
    compare(ours, lambda o: lr_scheduler.MultiplicativeLR(o, function), 1)
    assert ours.factor(np.array([2.9, 3.0]), 9.0).tolist() == [1.1 * 1.1, 1.1 * 1.1 * 0.5]
    assert ours.factor(np.array([0.5]), 9.0) == 1.0


@steps_an_epoch
@pytest.mark.parametrize("final", [0.0, 0.01, 0.5])
def test_cosine_equals_torchs(final, steps):
    compare(nn.CosineSchedule(final=final), lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS * steps, eta_min=final), steps)


@steps_an_epoch
@pytest.mark.parametrize(("restart", "stretch", "final"), [*itertools.product([1, 3, 5], [1, 2, 3], [0.0, 0.1])])
def test_restarts_equal_torchs(restart, stretch, final, steps):
    compare(
        nn.CosineSchedule(restart=restart, stretch=stretch, final=final),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, restart * steps, stretch, eta_min=final),
        steps,
    )


@steps_an_epoch
@pytest.mark.parametrize("start", [0.01, 1 / 3, 1.0])
@pytest.mark.parametrize("warmup", [1, 5, 20, 40])
def test_warmup_equals_torchs(warmup, start, steps):
    compare(
        nn.LinearWarmup(warmup=warmup, initial=start), lambda o: lr_scheduler.LinearLR(o, start, 1.0, warmup * steps), steps
    )


AFTER = {
    "step": (nn.StepSchedule(step_size=4, gamma=0.5), lambda o, steps: lr_scheduler.StepLR(o, 4 * steps, 0.5)),
    "exponential": (
        nn.ExponentialSchedule(gamma=0.9), lambda o, steps: lr_scheduler.ExponentialLR(o, 0.9 ** (1 / steps))
    ),
    "cosine": (nn.CosineSchedule(), lambda o, steps: lr_scheduler.CosineAnnealingLR(o, (EPOCHS - 5) * steps)),
    "restarts": (
        nn.CosineSchedule(restart=4), lambda o, steps: lr_scheduler.CosineAnnealingWarmRestarts(o, 4 * steps)
    ),
}  # fmt: skip


@steps_an_epoch
@pytest.mark.parametrize("after", AFTER)
def test_one_schedule_after_another_equals_torchs(after, steps):
    ours, theirs = AFTER[after]

    def make(optimizer):
        first = lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 5 * steps)
        return lr_scheduler.SequentialLR(optimizer, [first, theirs(optimizer, steps)], [5 * steps])

    compare(nn.LinearWarmup(warmup=5, initial=0.1, after=ours), make, steps)
    compare(nn.LinearSchedule(initial=0.1, length=5).then(ours, after=5), make, steps)


@steps_an_epoch
def test_three_schedules_one_after_the_other_equal_torchs(steps):
    def make(optimizer):
        parts = [lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 5 * steps), lr_scheduler.StepLR(optimizer, 2 * steps, 0.5),
                 lr_scheduler.ConstantLR(optimizer, 0.25, 3 * steps)]  # fmt: skip
        return lr_scheduler.SequentialLR(optimizer, parts, [3 * steps, 12 * steps])

    first, second = nn.LinearSchedule(initial=0.1), nn.StepSchedule(2, gamma=0.5)
    third = nn.ConstantSchedule(gamma=0.25, length=3)
    compare(nn.SequentialSchedule([first, second, third], milestones=[3, 12]), make, steps)
    compare(first.then(second, after=3).then(third, after=12), make, steps)


def test_the_time_of_a_part_is_the_training_to_it():
    """Half a cosine over its own epochs, and another over what is left."""
    ours = nn.CosineSchedule().then("cosine", after=4)
    np.testing.assert_allclose(ours.factor(np.array([0.0, 2.0, 4.0, 7.0, 10.0]), 10.0), [1, 0.5, 1, 0.5, 0], atol=EPS)


@steps_an_epoch
def test_several_at_once_equal_torchs(steps):
    def make(optimizer):
        return lr_scheduler.ChainedScheduler([
            lr_scheduler.StepLR(optimizer, 3 * steps, 0.5), lr_scheduler.ExponentialLR(optimizer, 0.9 ** (1 / steps)),
            lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 5 * steps),
        ])  # fmt: skip

    parts = [nn.StepSchedule(3, gamma=0.5), nn.ExponentialSchedule(0.9), nn.LinearSchedule(initial=0.1)]
    compare(nn.ChainedSchedule(parts), make, steps)


def test_parts_of_schedules_observe_in_their_time_and_go_on_with_it():
    def make():
        return nn.ReduceOnPlateau(gamma=0.5, patience=0)

    times = np.array([0.0, 2.0])
    several = [(make().then(make(), after=1), [1.0, 0.25]), (nn.ChainedSchedule([make(), "constant"]), [0.125] * 2)]
    for ours, expected in several:
        assert ours.adaptive
        for loss in (3.0, 3.0, 3.0, 3.0):
            ours.observe(loss)
        np.testing.assert_array_equal(ours.factor(times, 9.0), expected)
        again = ours.replace()
        again.resume(ours.observed())
        np.testing.assert_array_equal(again.factor(times, 9.0), expected)
        for wrong in ({"_made": [{}]}, {"_made": 3}, {"_made": [{}, 2]}, {"_made": [{"gone": 1.0}, {}]}, {"schedules": []}):
            with pytest.raises(nn.ParameterError, match="expected what such a schedule has noted"):
                again.resume(wrong)
    assert not nn.CosineSchedule().then("step", after=1).adaptive


@pytest.mark.parametrize(("rise", "div", "final_div"), [*itertools.product([0.3, 0.4], [25.0, 2.0], [1e4, 1.0])])
@pytest.mark.parametrize(
    "options",
    [{"cycle_momentum": False}, {}, {"three_phase": True}, {"three_phase": True, "anneal_strategy": "linear"},
     {"anneal_strategy": "linear", "base_momentum": 0.2, "max_momentum": 0.6}],
)  # fmt: skip
@steps_an_epoch
def test_one_cycle_equals_torchs(rise, div, final_div, options, steps):
    """PyTorch's steps are points from 0 to total_steps - 1, and the peak is the point pct_start * total_steps - 1."""
    count = EPOCHS * steps

    def make(optimizer):
        return lr_scheduler.OneCycleLR(optimizer, 1.0, count + 1, pct_start=(rise * count + 1) / (count + 1), div_factor=div,
                                       final_div_factor=final_div, **options)  # fmt: skip

    compare(nn.OneCycle(rise=rise, div=div, final_div=final_div, **options), make, steps)


@steps_an_epoch
def test_momentum_cycles_within_other_schedules_as_in_pytorch(steps):
    """Before its turn the optimizer's own momentum counts, where PyTorch writes the cycle's first one down at once."""
    cycle = nn.CyclicSchedule(step_size_up=2, base_momentum=0.3)
    times, own = np.arange(0.0, 9.0, 1 / steps), np.full(9 * steps, 0.5)
    alone = cycle.momentum(times, 9.0, own)
    assert np.ptp(alone) > 0.5
    late = np.where(times < 3, own, cycle.momentum(np.maximum(times - 3, 0.0), 6.0, own))
    for several, expected in {
        nn.ConstantSchedule().then(cycle, after=3): late,
        nn.LinearWarmup(3, after=cycle): late,
        nn.ChainedSchedule([cycle, "step"]): alone,
        nn.ScaledSchedule(0.5, schedule=cycle): alone,
    }.items():
        assert several.cycle_momentum
        np.testing.assert_array_equal(several.momentum(times, 9.0, own), expected, err_msg=repr(several))
    assert not nn.ChainedSchedule(["cosine", "step"]).cycle_momentum
    compare(
        nn.ChainedSchedule([cycle, nn.StepSchedule(3, gamma=0.5)]),
        lambda o: lr_scheduler.ChainedScheduler([
            lr_scheduler.CyclicLR(o, 0.1, 1.0, 2 * steps, base_momentum=0.3), lr_scheduler.StepLR(o, 3 * steps, 0.5)]),
        steps, epochs=2,
    )  # fmt: skip


LOSSES = {
    "plateaus": [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.5, 1.0, 1.0, 0.99999, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6],
    "not finite": [np.inf, np.inf, 2.0, np.nan, np.nan, 1.0, np.inf, np.nan, 1.0, 0.5],
    "random": np.random.default_rng(0).exponential(size=60).tolist(),
}


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize(
    ("gamma", "patience", "threshold", "least"), [*itertools.product([0.1, 0.5], [0, 2], [1e-4, 0.1], [0.0, 0.2])]
)
@pytest.mark.parametrize(
    "options", [{}, {"cooldown": 1, "eps": 1e-30}, {"cooldown": 3, "threshold_mode": "abs"}, {"eps": 0.02}], ids=str
)
def test_plateau_equals_torchs(gamma, patience, threshold, least, options, losses):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=gamma, patience=patience, threshold=threshold, min_lr=least, **options
    )
    ours = nn.ReduceOnPlateau(gamma=gamma, patience=patience, threshold=threshold, min_factor=least, **options)
    for loss in LOSSES[losses]:
        theirs.step(loss)
        ours.observe(loss)
        np.testing.assert_allclose(ours.factor(np.zeros(1), 1.0), optimizer.param_groups[0]["lr"], rtol=60 * EPS)


def test_a_loss_below_0_improves_by_becoming_less():
    """On purpose otherwise: PyTorch takes -1 after -1.05 for an improvement, below (1 - threshold) times -1.05."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.1)
    ours = nn.ReduceOnPlateau(gamma=0.5, patience=0, threshold=0.1)
    for loss in (-1.05, -1.0):
        theirs.step(loss)
        ours.observe(loss)
    assert (ours.factor(np.zeros(1), 1.0)[0], optimizer.param_groups[0]["lr"]) == (0.5, 1.0)


@pytest.mark.parametrize("key", sorted(set(NEEDS_NOTHING) - {"reduce_on_plateau"}))
def test_a_step_by_hand_takes_the_rate_of_its_time(key):
    """With a gradient of 1, SGD moves by the rate."""
    model = nn.Sequential([nn.Linear(1, bias=False)]).build((1,), dtype="float64")
    value, grad = model.parameters()["0.weight"], model.gradients()["0.weight"]
    schedule = nn.registry.schedules[key]()
    if schedule.cycle_momentum:
        schedule = schedule.replace(cycle_momentum=False)
    optimizer = nn.SGD(lr=0.5, schedule=schedule)
    for step in range(30):
        value[...], grad[...] = 0.0, 1.0
        optimizer.step(model, epoch=step / 3, epochs=10)
        np.testing.assert_allclose(-value[0, 0], 0.5 * schedule.factor(np.array([step / 3]), 10.0)[0], rtol=2 * EPS)


def test_every_schedule_and_every_word_is_compared_or_said_not_to_be():
    theirs = set(lr_scheduler.__all__)
    assert not WORDS.keys() & NOT_HERE.keys()
    if KNOWN_TORCH == tuple(map(int, torch.__version__.split(".")[:2])):
        assert theirs == WORDS.keys() | NOT_HERE.keys()
    for name, (ours, words) in WORDS.items():
        own = inspect.signature(ours).parameters
        for word in inspect.signature(getattr(lr_scheduler, name)).parameters:
            if word in words:
                assert words[word] is None or words[word] in own
            elif word not in MECHANICS:
                assert word in REFUSED, f"{name}({word}=...)"
                with pytest.raises(TypeError, match=word):
                    ours(**{word: 1})
