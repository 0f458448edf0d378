"""The contract of losses, one property to a function; each raises `CheckError` where it is broken."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.loss import BoundLoss, Loss, RowWeights
from nnkit.core.part import Example
from nnkit.engine.program import Program, uncompiled
from nnkit.inspect.trace.differences import central_differences
from nnkit.model import Sequential
from nnkit.testing.arrays import looked_at
from nnkit.testing.compare import Suspects, agree, because, require_close, require_equal, usual_suspects, wrong_slope
from nnkit.testing.docstrings import wrong_examples
from nnkit.testing.inputs import go_near, keep_away
from nnkit.testing.part import (
    AGREEMENT,
    DIFFERENCES,
    PART_CHECKS,
    ROUNDING,
    ROWS,
    SEED,
    Arrays,
    Check,
    machine_code_stays_in_float32,
)

__all__ = ["COMPILED_LOSS_CHECKS", "LOSS_CHECKS", "loss_program", "loss_results"]


class _Case:
    """A loss with predictions, targets and weights for some rows."""

    def __init__(self, example: Example, dtype: str = "float64", rows: int = ROWS, reduction: str = "mean") -> None:
        self.loss: Loss = copy.copy(example.part)
        self.loss.reduction = reduction
        random = np.random.default_rng(SEED)
        shape = (rows, *example.in_shape)
        self.target = self.loss.example_target(random, rows, example.in_shape)
        self.prediction = random.uniform(example.low, example.high, shape)
        if self.target.shape == shape:  # the kinks are of their difference
            beside = go_near(random, self.prediction - self.target, example.kinks)
            self.prediction = keep_away(beside, example.kinks) + self.target
        self.prediction = self.prediction.astype(dtype)
        self.weight = random.integers(1, 4, rows).astype(np.float64)

    def run(self, python: bool = True) -> Arrays:
        """The weighted loss and its gradient."""
        grad = np.full_like(self.prediction, np.nan)
        bound = BoundLoss(self.loss, self.prediction, self.target, self.weight, grad, python)
        return {"loss": np.array(bound.value()), "grad_prediction": grad}

    def alone(self, python: bool = True, target: NDArray[Any] | None = None) -> BoundLoss:
        """The weighted loss by the kernel that computes nothing else, maybe with other targets."""
        target = self.target if target is None else target
        return BoundLoss(self.loss, self.prediction, target, self.weight, None, python)

    def without_gradient(self, python: bool = True) -> Arrays:
        """The weighted loss by the kernel that computes nothing else."""
        return {"loss": np.array(self.alone(python).value())}

    def unfused(self) -> _Case:
        """The same by forward and backward, where the loss has a kernel for both, too."""
        case = copy.copy(self)
        case.loss = copy.copy(self.loss)
        case.loss.fused = None
        return case

    def fused(self) -> _Case:
        """The same by the kernel for both."""
        case = copy.copy(self)
        case.loss = copy.copy(self.loss)
        case.loss.fused = type(self.loss).fused
        return case

    def kernel_of(self, name: str) -> str:
        """Which kernel gives the loss, or its gradient, where both are asked for."""
        return "fused" if self.loss.fused is not None else "forward" if name == "loss" else "backward"

    def of_probabilities(self) -> _Case:
        """The same with a probability for each class, as drawn, in the place of labels; the first row is of one class."""
        case, axis = copy.copy(self), 1 + self.loss.axis(self.prediction.shape[1:])
        classes = self.prediction.shape[axis]
        target = np.random.default_rng(SEED).dirichlet(np.ones(classes), self.target.shape)
        target[0] = np.eye(classes)[0]
        case.target = np.moveaxis(target, -1, axis)
        return case

    def counts(self) -> NDArray[np.float64]:
        """How much each row counts in a mean, weights left out."""
        counts = self.loss.counts(self.target, self.prediction.shape[1:])
        return np.ones(len(self.target)) if counts is None else counts.mean(axis=1)


def _cases(example: Example, dtype: str = "float64", rows: int = ROWS) -> list[_Case]:
    return [_Case(example, dtype, rows, reduction) for reduction in ("mean", "sum")]


def _require_same_loss(case: _Case, got: Arrays, expected: Arrays, rtol: float, suspects: Suspects = ()) -> None:
    for name, array in expected.items():
        require_close(case.loss, case.kernel_of(name), name, got[name], array, rtol, 0.0 if rtol == 0.0 else None, suspects)


def loss_program(example: Example) -> Program:
    """The float32 kernels of a loss."""
    case = _Case(example, "float32")
    return BoundLoss(case.loss, case.prediction, case.target, case.weight, np.empty_like(case.prediction)).program


def loss_results(example: Example) -> Iterator[Arrays]:
    """What a loss gives for several batches, with and without a gradient, for labels and for probabilities."""
    for rows in (ROWS, 3, 1):
        for case in _cases(example, rows=rows):
            for way in (case, case.unfused()):
                yield {"loss": way.without_gradient()["loss"]}
                yield way.run()
                if case.loss.takes_probabilities:
                    yield {"loss": way.of_probabilities().without_gradient()["loss"]}
                    yield way.of_probabilities().run()


def loss_indices_are_in_range(example: Example) -> None:
    """Run as Python, with 4, 3 and 1 rows: every index fits, every shape is what it should be."""
    for rows in (ROWS, 3, 1):
        for case in _cases(example, rows=rows):
            for grad in (np.empty_like(case.prediction), None):
                bound = BoundLoss(case.loss, case.prediction, case.target, case.weight, grad, python=True)
                looked_at(bound.program)
                bound.value()


def loss_gradient_is_the_derivative(example: Example) -> None:
    """Of the loss that is reported, weights and reduction included, in float64 against central differences."""
    for case in _cases(example):
        expected = central_differences(case.alone().value, case.prediction)
        for way in (case.unfused(), case):
            given = way.run()["grad_prediction"]
            suspects = _suspects(way, given, expected)
            kernel = way.kernel_of("grad_prediction")
            require_close(case.loss, kernel, "grad_prediction", given, expected, DIFFERENCES, suspects=suspects)


def _suspects(case: _Case, got: NDArray[Any], expected: NDArray[Any]) -> Iterator[tuple[bool, str]]:
    """Why a gradient may be wrong: hypotheses, each tried out."""
    if type(case.loss).fused is not None:
        fused, apart = (way.run()["grad_prediction"] for way in (case.fused(), case.unfused()))
        yield agree(fused, apart), "forward gives a wrong loss; backward and fused say the same"
    shown = any(_first(want) != _first(got) for want, got in wrong_examples(type(case.loss)))
    yield shown, "forward gives a wrong loss, as an example in its docstring shows; backward may be right"
    if np.isfinite(got).all():
        if case.target.shape == case.prediction.shape and case.loss.target_values is None:
            target = case.target.astype(np.float64)
            by_target = central_differences(lambda: case.alone(target=target).value(), target)
            yield agree(got, by_target), "it is the derivative by the target, not by the prediction (or the sign is wrong)"
        for count, words in ((got.shape[-1], "the numbers of a row"), (ROWS, "the rows")):
            reason = f"it is averaged over {words}; reduction is the framework's, forward and backward are of one term each"
            yield count > 1 and agree(count * got, expected), reason
            yield count > 1 and agree(got, count * expected), f"forward averages over {words}, backward does not"
    yield from usual_suspects(got, expected)
    if not case.loss.rowwise and not case.loss.interpreted and case.target.shape == case.prediction.shape:
        share = RowWeights(case.loss, case.target, got.shape[1:], case.weight).share.reshape(-1, *[1] * (got.ndim - 1))
        numbers = {"prediction": case.prediction, "target": case.target}
        yield True, wrong_slope(numbers, got / share, expected / share)
    both = f"{case.kernel_of('grad_prediction')} is not the derivative of the value that forward gives: check both"
    yield True, both


def _first(text: str) -> str:
    """The first number of what an example gives: the loss."""
    found = re.search(r"-?\d[\d.e+-]*", text)
    return found[0] if found is not None else text


def weights_equal_repetition(example: Example) -> None:
    """A row of weight 3 counts as much as the same row three times."""
    for case in _cases(example):
        times = case.weight.astype(int)
        given = case.run()
        repeated = copy.copy(case)
        repeated.prediction, repeated.target = case.prediction.repeat(times, axis=0), case.target.repeat(times, axis=0)
        repeated.weight = np.ones(times.sum())
        expected = repeated.run()
        expected["grad_prediction"] = np.add.reduceat(expected["grad_prediction"], np.cumsum(times) - times)
        reason = because("weights are left out, or rows depend on each other or on how many there are")
        _require_same_loss(case, given, expected, ROUNDING, reason)


def weightless_places_do_not_matter(example: Example) -> None:
    """The loss is the same whatever is predicted there, and the gradient there is 0; apart, the losses add up to the sum."""
    for case in _cases(example):
        places = case.loss.places(example.in_shape)
        random = np.random.default_rng(SEED)
        case.weight = random.integers(1, 4, (ROWS, *places)).astype(np.float64)
        if case.loss.reduction == "sum":
            apart = copy.copy(case.loss)
            apart.reduction = "none"
            case.weight = case.weight.reshape(ROWS, -1)[:, 0]
            with uncompiled():
                each, grad = apart.grade(case.prediction, case.target, case.weight)
            _require_same_loss(case, {"loss": np.array(each.sum()), "grad_prediction": grad}, case.run(), ROUNDING)
        elif places:
            case.weight[0] = 0.0
            given = case.run()
            require_equal(case.loss, "backward", "grad_prediction", given["grad_prediction"][0], np.zeros(example.in_shape))
            other = copy.copy(case)
            other.prediction = case.prediction.copy()
            other.prediction[0] = example.high
            _require_same_loss(case, given, other.run(), 0.0)


def weightless_rows_do_not_matter(example: Example) -> None:
    """The loss is that of the other rows, and their own gradient is 0."""
    for case in _cases(example):
        case.weight[0] = 0.0
        given = case.run()
        without = given["grad_prediction"].copy()
        without[0] = 0.0
        reason = because("the gradient of a row must be multiplied by its weight, as backward's is; fused does so itself")
        require_equal(case.loss, "backward", "grad_prediction", given["grad_prediction"], without, reason)
        rest = copy.copy(case)
        rest.prediction, rest.target, rest.weight = case.prediction[1:], case.target[1:], case.weight[1:]
        expected = rest.run()
        given["grad_prediction"] = given["grad_prediction"][1:]
        _require_same_loss(case, given, expected, ROUNDING)


def labels_equal_probabilities(example: Example) -> None:
    """Where targets are classes: an integer label is the same as a probability of 1 for it.

    But where a mean is divided by the weights of the labels: of probabilities, it is divided by the rows.
    """
    for case in _cases(example):
        same = case.loss.reduction != "mean" or case.loss.counts(case.target, example.in_shape) is None
        if not (case.loss.takes_probabilities and same):
            continue
        given = case.run()
        spelt, axis = copy.copy(case), case.loss.axis(example.in_shape)
        spelt.target = np.moveaxis(np.eye(example.in_shape[axis])[case.target], -1, axis + 1)
        _require_same_loss(case, given, spelt.run(), 0.0)


def probabilities_have_their_gradient(example: Example) -> None:
    """Where a row of targets has a probability for each class: the gradient is the derivative."""
    for labelled in _cases(example):
        if labelled.loss.takes_probabilities:
            case = labelled.of_probabilities()
            expected = {"grad_prediction": central_differences(case.alone().value, case.prediction)}
            for way in (case.unfused(), case):
                _require_same_loss(way, way.run(), expected, DIFFERENCES)


def loss_needs_no_gradient(example: Example) -> None:
    """The kernel that computes the loss alone gives what the one for the loss and its gradient gives."""
    for case in _cases(example):
        reason = because("fused computes another loss than forward")
        for labels_or_not in [case, case.of_probabilities()] if case.loss.takes_probabilities else [case]:
            given = {"loss": labels_or_not.run()["loss"]}
            _require_same_loss(labels_or_not, given, labels_or_not.without_gradient(), ROUNDING, reason)


def loss_compiled_equals_uncompiled(example: Example) -> None:
    """In both dtypes, with the gradient and without, of labels and of probabilities where it takes both."""
    for dtype, rtol in AGREEMENT.items():
        cases = _cases(example, dtype)
        for case in [*cases, *(case.of_probabilities() for case in cases if case.loss.takes_probabilities)]:
            uncompiled = case.run()
            _require_same_loss(case, case.run(python=False), uncompiled, rtol)
            _require_same_loss(case, case.without_gradient(python=False), {"loss": uncompiled["loss"]}, rtol)


def loss_float32_stays_float32(example: Example) -> None:
    """No float64 arithmetic and no allocation in the machine code of the float32 kernel."""
    machine_code_stays_in_float32(example.part, loss_program(example), ("loss",))


def batch_of_one_is_a_row(example: Example) -> None:
    """The loss of one row alone, with whatever weight, is that row's in a batch: nothing divides by rows - 1."""
    for case in _cases(example):
        total, gradients = 0.0, []
        counted = case.weight * case.counts()
        share = counted / counted.sum() if case.loss.reduction == "mean" else np.ones(ROWS)
        for n in range(ROWS):
            row = copy.copy(case)
            row.prediction, row.target, row.weight = case.prediction[n : n + 1], case.target[n : n + 1], case.weight[n : n + 1]
            given = row.run()
            total += share[n] * float(given["loss"])
            gradients.append(share[n] * given["grad_prediction"])
        joined = {"loss": np.array(total), "grad_prediction": np.concatenate(gradients)}
        _require_same_loss(case, case.run(), joined, ROUNDING)


def losses_do_not_disturb_each_other(example: Example) -> None:
    """Computed again, it is the same to the bit; inputs stay as they are."""
    for case in _cases(example):
        before = case.prediction.copy(), case.target.copy()
        expected = case.run()
        reason = because("it works in place; backward may write to grad_prediction only")
        for name, array, kept in zip(("prediction", "target"), (case.prediction, case.target), before, strict=True):
            require_equal(case.loss, "a kernel", name, array, kept, reason)
        _require_same_loss(case, case.run(), expected, 0.0, because("it draws numbers of its own, or remembers"))


def losses_of_several_threads_are_apart(example: Example) -> None:
    """Computed by two threads at once, on different data, it is to the bit what it is alone."""
    for case in _cases(example):
        turned = copy.copy(case)
        turned.prediction, turned.target = case.prediction[::-1].copy(), case.target[::-1].copy()
        cases = {False: case, True: turned}
        expected = {which: each.run(python=False) for which, each in cases.items()}
        reason = because("threads share something that one of them changes: a global, the class, or a container on the loss")
        with ThreadPoolExecutor(2) as pool:
            order = [False, True] * 20
            runs = pool.map(lambda which, cases=cases: cases[which].run(python=False), order)
            for which, got in zip(order, runs, strict=True):
                _require_same_loss(case, got, expected[which], 0.0, reason)


def link_gives_the_probabilities(example: Example) -> None:
    """The activation that ``link`` names makes of predictions what ``probabilities`` does."""
    loss: Loss = example.part
    if loss.link and len(example.in_shape) == 1:
        prediction = _Case(example).prediction
        given = Sequential([loss.link]).build(example.in_shape, 0, "float64").predict(prediction)
        expected = loss.probabilities(prediction)
        reason = because("link names another activation; leave it out where there is none")
        require_close(loss, "link", "array of probabilities", given, np.nan if expected is None else expected, ROUNDING,
                      suspects=reason)  # fmt: skip


LOSS_CHECKS: tuple[Check, ...] = (
    loss_indices_are_in_range,  # first: compiled code does not look
    loss_gradient_is_the_derivative,
    weights_equal_repetition,
    weightless_rows_do_not_matter,
    weightless_places_do_not_matter,
    labels_equal_probabilities,
    probabilities_have_their_gradient,
    loss_needs_no_gradient,
    batch_of_one_is_a_row,
    losses_do_not_disturb_each_other,
    *PART_CHECKS,
)

COMPILED_LOSS_CHECKS: tuple[Check, ...] = (
    loss_compiled_equals_uncompiled,
    loss_float32_stays_float32,
    losses_of_several_threads_are_apart,
    link_gives_the_probabilities,
)
