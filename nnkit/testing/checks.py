"""All checks of a part of any kind, in order, and a report of what they have found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from nnkit.core.activation import Activation
from nnkit.core.fields import by_name, each
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer
from nnkit.core.part import Example, Part, Shape
from nnkit.engine.program import Program
from nnkit.layers.merge import packed
from nnkit.testing.compare import CheckError
from nnkit.testing.layers import (
    ACTIVATION_CHECKS,
    COMPILED_ACTIVATION_CHECKS,
    COMPILED_LAYER_CHECKS,
    LAYER_CHECKS,
    layer_program,
    layer_results,
)
from nnkit.testing.losses import COMPILED_LOSS_CHECKS, LOSS_CHECKS, loss_program, loss_results
from nnkit.testing.optimizers import COMPILED_OPTIMIZER_CHECKS, OPTIMIZER_CHECKS, optimizer_program, optimizer_results
from nnkit.testing.others import INITIALIZER_CHECKS, SCHEDULE_CHECKS
from nnkit.testing.part import PART_CHECKS, Arrays, Check, explained, how_compiled
from nnkit.testing.progress import Watching
from nnkit.testing.trainers import TRAINER_CHECKS

__all__ = [
    "Finding",
    "Report",
    "check_activation",
    "check_examples",
    "check_layer",
    "check_loss",
    "check_optimizer",
    "checked",
    "checks_of",
    "examples_of",
    "findings",
    "report",
    "results_of",
    "uncompiled_checks_of",
]


@dataclass(frozen=True)
class Report:
    """What was checked of a part, all of it found right, and how its kernels were compiled.

    Attributes
    ----------
    part : the part
    checks : names of the checks that it has passed
    kernels : for each compiled kernel, whether its loops were vectorised; slow is not wrong
    notes : what of a check could not be done, by the check's name, and why
    """

    part: Any
    checks: tuple[str, ...]
    kernels: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = [f"{self.part!r}: all {len(self.checks)} checks passed"]
        width = max(map(len, self.kernels), default=0)
        lines += [f"  {name}, in part: {words}" for name, words in self.notes.items()]
        return "\n".join([*lines, *(f"  {name:{width}}  {words}" for name, words in self.kernels.items())])


class Finding(NamedTuple):
    """What a check has found.

    Attributes
    ----------
    check : the check
    error : what is wrong; None where nothing is
    note : what of it could not be checked, and why; mostly nothing
    """

    check: Check
    error: CheckError | None = None
    note: str = ""


@dataclass(frozen=True)
class _Kind:
    """The checks for parts of a kind, uncompiled and compiled; the program of their kernels, which of its stages are theirs."""

    checks: tuple[Check, ...] = PART_CHECKS
    compiled: tuple[Check, ...] = ()
    program: Callable[[Example], Program] | None = None
    stages: tuple[str, ...] = ()
    results: Callable[[Example], Iterator[Arrays]] | None = None


_PLAIN = _Kind()
_KINDS = {
    "layer": _Kind(LAYER_CHECKS, COMPILED_LAYER_CHECKS, layer_program, ("forward", "backward"), layer_results),
    "activation": _Kind(ACTIVATION_CHECKS, COMPILED_ACTIVATION_CHECKS, layer_program, ("forward", "backward"), layer_results),
    "loss": _Kind(LOSS_CHECKS, COMPILED_LOSS_CHECKS, loss_program, ("loss",), loss_results),
    "optimizer": _Kind(OPTIMIZER_CHECKS, COMPILED_OPTIMIZER_CHECKS, optimizer_program, ("update",), optimizer_results),
    "initializer": _Kind(INITIALIZER_CHECKS),
    "schedule": _Kind(SCHEDULE_CHECKS),
    "trainer": _Kind(TRAINER_CHECKS),
}


def checks_of(part: Any) -> tuple[Check, ...]:
    """Every check that a part, or the parts of a class, must pass, in order: first those that compile nothing."""
    kind = _KINDS.get(part.registry.kind, _PLAIN)
    return (*kind.checks, *kind.compiled)


def uncompiled_checks_of(part: Any) -> tuple[Check, ...]:
    """Those of `checks_of` that compile nothing: they take some hundredths of a second."""
    return _KINDS.get(part.registry.kind, _PLAIN).checks


def examples_of(part: type[Part] | Part | Example) -> Sequence[Example]:
    """What a part, or a class of parts, is checked on.

    Raises
    ------
    CheckError
        It has no examples: its constructor needs arguments that only its author knows.
    """
    if not isinstance(part, type):
        return [on_one_array(part if isinstance(part, Example) else Example(part))]
    examples = part.examples()
    if not examples:
        raise CheckError(
            f"{part.__name__}: expected examples to check it on, got none, because its constructor needs arguments; "
            "define the classmethod examples() that returns [nnkit.Example(part, in_shape), ...]"
        )
    return list(map(on_one_array, examples))


def on_one_array(example: Example) -> Example:
    """The example; of a layer that reads several values, one on an array of which each value is some columns."""
    if not isinstance(example.in_shape, dict):
        return example
    whole = packed(example.part, **example.in_shape)
    return replace(example, part=whole.part, in_shape=whole.in_shape)


def compile_kernels(part: type[Part]) -> None:
    """Compile the float32 kernels of a class's examples, or load them from the cache."""
    kind = _KINDS.get(part.registry.kind, _PLAIN)
    if kind.program is not None:
        for example in part.examples():
            kind.program(example)


def report(example: Example, passed: Sequence[Finding]) -> Report:
    """The report on a part of which nothing wrong was found."""
    kind = _KINDS.get(example.part.registry.kind, _PLAIN)
    kernels = how_compiled(kind.program(example), kind.stages) if kind.program is not None else {}
    notes = {item.check.__name__: item.note for item in passed if item.note}
    return Report(example.part, tuple(item.check.__name__ for item in passed), kernels, notes)


def results_of(example: Example) -> Iterator[Arrays]:
    """What the kernels of a part give for inputs of many kinds, uncompiled."""
    kind = _KINDS.get(example.part.registry.kind, _PLAIN)
    return iter(()) if kind.results is None else kind.results(example)


def checked(check: Check, example: Example) -> str | None:
    """Run a check; whatever a kernel raises is a `CheckError` that says where."""
    with explained(example.part):
        return check(example)


def findings(example: Example) -> Iterator[Finding]:
    """Run the checks of a part in turn, and say what each has found wrong.

    The first one looks at every index; where it fails nothing is run compiled, where nothing stops a wrong one.
    """
    checks = checks_of(example.part)
    for check in checks:
        try:
            note = checked(check, example)
        except CheckError as error:
            yield Finding(check, error)
            if check is checks[0]:
                return
        else:
            yield Finding(check, note=note or "")


def _check(example: Example) -> Report:
    passed: list[Finding] = []
    with Watching(repr(example.part)):
        for found in findings(example):
            if found.error is not None:
                raise found.error.with_traceback(None)  # its message says all: the way through the checks says nothing
            passed.append(found)
        return report(example, passed)


def check_examples(cls: type[Part]) -> list[Report]:
    """Check all examples of a class."""
    return [_check(example) for example in examples_of(cls)]


def check_layer(
    layer: Layer | type[Layer] | str, in_shape: Any = (5,), low: float = -3.0, high: float = 3.0, kinks: Sequence[float] = ()
) -> Report:
    """Check everything that a layer promises, compiled or a `PythonLayer`.

    Its gradients (of the input and every parameter, in float64 against central differences, in training and out of it); that it
    stays within its arrays and within float32, writes all of its results and nothing else, reads nothing unwritten; that it
    does the same compiled and as Python, with one row and many, between other layers, in shards and threads; that its
    randomness follows the seed, is another one in each row, and ends with training; that training changes its states; that
    large inputs give numbers; that padded steps are left out, and sparse matrices read as full ones are, where it has kernels
    for them; its repr and pickle.

    All that can be found uncompiled is looked for first, within some tenths of a second; a line on a terminal tells what is
    compiled then. A state that training changes is put back before each pass. A backward may go on through such
    a state, or take it for a constant, as most running statistics are meant; where only a part of the gradient could be told
    from differences then, the report's ``notes`` say so.

    Parameters
    ----------
    layer : the layer, its class or its name
    in_shape : shape of one input row; of a layer that reads several values a dict of their shapes
    low, high : range that inputs are drawn from
    kinks : inputs where there is no derivative

    Returns
    -------
    Report
        Also says whether the loops of each kernel were vectorised, and what of a check could not be done.

    Raises
    ------
    CheckError
        Says which kernel wrote which array wrong, at which index, what was expected, what came, and the likely cause.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_layer
    >>> report = check_layer(nn.Linear(3), in_shape=(4,))
    >>> report.part, "gradients_are_the_derivatives" in report.checks
    (Linear(out_features=3), True)
    """
    part = Layer.make(layer)
    shapes = each(tuple, by_name(in_shape, part.inputs, "check_layer", "in_shape"))
    return _check(on_one_array(Example(part, shapes, low, high, tuple(kinks))))


def check_activation(activation: Activation | type[Activation] | str, in_shape: Shape = (3, 4)) -> Report:
    """Check everything that an activation promises: what `check_layer` checks, and NaN and large inputs.

    The range of inputs and the kinks are the activation's own ``low``, ``high`` and ``kinks``.

    Raises
    ------
    CheckError
        Says which kernel wrote which array wrong, at which index, what was expected, what came, and the likely cause.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_activation
    >>> check_activation(nn.Tanh()).part
    Tanh()
    """
    part = Activation.make(activation)
    return _check(Example(part, tuple(in_shape), part.low, part.high, part.kinks))


def check_loss(loss: Loss | type[Loss] | str, in_shape: Shape = (4,)) -> Report:
    """Check everything that a loss promises: its gradient, its reductions and weights, its dtype.

    Parameters
    ----------
    loss : the loss, its class or its name
    in_shape : shape of one row of predictions

    Raises
    ------
    CheckError
        Says which kernel gave what wrong, at which index, what was expected, what came, and the likely cause.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_loss
    >>> check_loss(nn.MSELoss()).part
    MSELoss()
    """
    part = Loss.make(loss)
    return _check(Example(part, tuple(in_shape), part.prediction_low, part.prediction_high, part.kinks))


def check_optimizer(optimizer: Optimizer | type[Optimizer] | str) -> Report:
    """Check everything that an optimizer promises: that it descends, in any dtype and however the vector is cut.

    Raises
    ------
    CheckError
        Says what was expected, what came, and the likely cause.

    Examples
    --------
    >>> import nnkit as nn
    >>> from nnkit.testing import check_optimizer
    >>> check_optimizer(nn.SGD(momentum=0.9)).part
    SGD(momentum=0.9)
    """
    return _check(Example(Optimizer.make(optimizer)))
