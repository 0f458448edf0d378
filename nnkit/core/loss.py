"""The contract of a loss; its reduction, weights and targets, which are the framework's."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.core.arrays import numeric
from nnkit.core.calls import no_attribute
from nnkit.core.interpreted import call_copy
from nnkit.core.loss_loop import GIVEN, loss_loop
from nnkit.core.part import Example, Part, Shape, kernel_names
from nnkit.core.registry import Registry
from nnkit.core.schedule import Schedule
from nnkit.core.span import Span
from nnkit.core.targets import require_distribution, require_labels, require_range, wrong_shape
from nnkit.engine.operands import Array, Constant, Control, Live, constant
from nnkit.engine.program import Instruction, Program, as_python
from nnkit.errors import DataError, KernelError, ShapeError
from nnkit.kernels.control import Word
from nnkit.kernels.data import accumulate_loss, fill, spell

__all__ = ["BoundLoss", "Graded", "Loss", "LossArrays", "PythonLoss"]


@dataclass(frozen=True)
class LossArrays:
    """What a loss works on, seen as (rows, last axis) and (rows,); targets are rows of numbers, or class labels."""

    prediction: Array
    weight: Array
    row_loss: Array
    grad: Array | None = None  # None where only the loss is wanted
    target: Array | None = None  # rows of numbers,
    label: Array | None = None  # or class labels, int64


class Graded(NamedTuple):
    """What a loss gives for a batch: ``loss, grad = criterion(prediction, target)``."""

    loss: np.floating[Any]
    grad: NDArray[Any]  # d loss / d prediction

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, name)


class Loss(Part):
    """What training minimises: ``forward`` gives the loss, ``backward`` its derivative by the prediction.

    Both are static methods. By default they are scalar functions ``forward(prediction, target)`` and
    ``backward(prediction, target)`` of each number. With ``rowwise = True`` they get one row (the last axis) at a time:
    ``forward(prediction, target)`` returns the row's loss and ``backward(prediction, target, grad_prediction)`` writes the
    row's gradient. Both may name hyper-parameters.

    With ``classes = True`` (and ``rowwise``) targets are class labels, or rows of a probability for each class. A loss whose
    kernels name ``label`` reads labels as they are, and so costs no more for many classes than the predictions do: ``target``
    holds the probabilities of the classes ``label``, ``label + 1`` and so on. For a class label that is one number, 1; for
    a row of probabilities ``label`` is 0. Naming ``label`` and not ``target``, it takes class labels alone; naming ``target``
    and not ``label``, it is given labels as rows of one 1 among zeros.

    Reduction and sample weights are applied outside: with w the weights (1 by default) and K the terms of a row (all its
    numbers, or its last-axis rows), ``"mean"`` is sum_n w_n sum_k l_nk / (K sum_n w_n) over the data, ``"sum"`` is
    sum_n w_n sum_k l_nk. A row of weight 2 counts as two such rows, and one of weight 0 is absent. A step of a fit sees a
    batch of B rows of the data: a mean is sum_n v_n sum_k l_nk / (K B) there, where v_n is w_n divided by the mean weight of
    all rows that are trained on. So rows weigh the same whatever batch they are in.

    Parameters
    ----------
    reduction : {"mean", "sum"}

    Hooks
    -----
    What a loss may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one, which may
    be overridden, and is described below. The first three are static methods. What depends on hyper-parameters is a property.

    ===============  =======  ==================================================================================================
    hook             default  what it is
    ===============  =======  ==================================================================================================
    forward          needed   the loss of a number, or with `rowwise` of a row
    backward         needed   its derivative by the prediction
    fused            None     kernel, both at once for a shard, where sharing work pays: ``fused(prediction, target, ...,
                              weight, grad, row_loss)`` writes every row's loss, without its weight, and its gradient, times its
                              weight
    rowwise          False    forward and backward get a row, instead of a number
    classes          False    targets are class labels, or rows of a probability for each class
    interpreted      False    kernels stay Python; so it is for every `PythonLoss`
    expects          ()       what predictions should be: one of these `nnkit.Span`, which `fit` compares with what the last
                              layer gives; (): anything
    advice           ''       what to do where the last layer gives something else, for the warning
    target_low       -inf     the least legal target; of probabilities, where targets are classes
    target_high      inf      the greatest legal target
    target_values    None     the only legal targets, where there are few, such as (0.0, 1.0)
    prediction_low   -2.0     the checks draw predictions from here
    prediction_high  2.0      to here
    kinks            ()       values of prediction - target where there is no derivative; the checks keep away from them
    target_shape     method   the shape of a row of targets, for rows of predictions of a shape
    check_target     method   refuses targets that do not fit, or are out of range
    example_target   method   legal targets that the checks take
    probabilities    method   probabilities of the classes, from raw predictions; None: they are not about classes
    decide           method   the labels or values that are predicted, from raw predictions; these themselves
    examples         method   class method: ready-made ones, with legal inputs, that the checks take; one with its defaults
    acts_outside     False    it writes files, runs commands or the like: a file from somebody else does not bring it along
    elsewhere        ()       what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    ===============  =======  ==================================================================================================

    Examples
    --------
    >>> import nnkit as nn
    >>> class Quartic(nn.Loss):
    ...     @staticmethod
    ...     def forward(prediction, target):
    ...         return (prediction - target) ** 4.0
    ...     @staticmethod
    ...     def backward(prediction, target):
    ...         return 4.0 * (prediction - target) ** 3.0
    >>> loss, grad = Quartic(reduction="sum")([[1.0, 2.0]], [[0.0, 0.0]])
    >>> float(loss), grad.tolist()
    (17.0, [[4.0, 32.0]])
    """

    registry: ClassVar[Registry[Any]] = Registry("loss")
    needed = ("forward", "backward")
    hooks = (
        *Part.hooks, "forward", "backward", "fused", "rowwise", "classes", "interpreted", "expects", "advice", "target_low",
        "target_high", "target_values", "prediction_low", "prediction_high", "kinks", "target_shape", "check_target",
        "example_target", "probabilities", "decide",
    )  # fmt: skip

    rowwise: ClassVar[bool] = False
    interpreted: ClassVar[bool] = False
    classes: ClassVar[bool] = False
    expects: ClassVar[tuple[Span, ...]] = ()
    advice: ClassVar[str] = ""
    target_low: ClassVar[float] = -np.inf
    target_high: ClassVar[float] = np.inf
    target_values: ClassVar[tuple[float, ...] | None] = None
    # What follows is a property where it depends on hyper-parameters.
    prediction_low: ClassVar[float] = -2.0
    prediction_high: ClassVar[float] = 2.0
    kinks: ClassVar[tuple[float, ...]] = ()

    reduction: str = "mean"  # also of a loss whose constructor leaves it out

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    fused: Callable[..., Any] | None = None

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = reduction
        self.check_reduction()

    @classmethod
    def positions(cls, args: Sequence[Any]) -> tuple[str, ...]:
        """Elsewhere, class weights come first, or the reduction, or two truth values for it."""
        if isinstance(args[0], bool):
            return ("size_average", "reduce", "reduction")
        if isinstance(args[0], int | float):
            return super().positions(args)
        return ("reduction",) if isinstance(args[0], str) else ("weight",)

    def check_reduction(self) -> None:
        self.require("reduction", self.reduction in ("mean", "sum"), "'mean' or 'sum'")

    @property
    def reads_labels(self) -> bool:
        """Whether its kernels take class labels as they are."""
        return "label" in kernel_names(type(self).forward)

    @property
    def takes_probabilities(self) -> bool:
        """Whether targets may be a probability for each class, instead of labels."""
        return self.classes and "target" in kernel_names(type(self).forward)

    # ------------------------------------------------------------------------------------------------- shapes

    def target_shape(self, out_shape: Shape) -> Shape:
        """Shape of a row of targets (of class labels, where targets are classes) for prediction rows of ``out_shape``."""
        return out_shape[:-1] if self.classes else out_shape

    def terms(self, out_shape: Shape) -> int:
        """How many terms a row has in the mean."""
        return prod(out_shape[:-1]) if self.rowwise else prod(out_shape)

    def suits(self, given: Span) -> bool:
        """Whether a layer whose outputs are such numbers may come last."""
        return not self.expects or any(given.meets(expected) for expected in self.expects)

    def probabilities(self, prediction: NDArray[Any]) -> NDArray[Any] | None:
        """Class probabilities behind raw predictions; None where predictions are not about classes."""
        return None

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        """The predicted labels or values behind raw predictions."""
        return prediction

    # ------------------------------------------------------------------------------------------------ targets

    def check_target(self, y: NDArray[Any], out_shape: Shape, rows: int, name: str = "y") -> None:
        """Refuse targets that do not fit predictions of ``out_shape``, or are out of the loss's range."""
        who = type(self).__name__
        if y.dtype.kind not in "biuf":
            raise DataError(f"{who}: expected {name} to hold numbers, got dtype {y.dtype}")
        if self.classes and not out_shape:
            raise ShapeError(f"{who}: expected predictions with an axis of classes, (N, ..., classes), got shape {(rows,)}")
        if y.ndim == 0 or len(y) != rows:
            raise ShapeError(f"{who}: expected {name} with {rows} rows, as X has, got shape {y.shape}")
        expected = self.target_shape(out_shape)
        are_probabilities = self.takes_probabilities and y.shape[1:] == out_shape != expected
        if not are_probabilities and y.shape[1:] != expected:
            raise wrong_shape(who, y, name, (rows, *expected), (rows, *out_shape), self.takes_probabilities)
        if are_probabilities or not self.classes:
            require_range(who, y, name, self.target_low, self.target_high, self.target_values)
        if are_probabilities:
            require_distribution(who, y, name)
        elif self.classes:
            require_labels(who, y, name)
            self.check_labels(y, out_shape[-1], name)

    def check_labels(self, y: NDArray[Any], count: int, name: str = "y") -> None:
        """Refuse whole numbers that are no label of ``count`` classes."""
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= count:
            wrong = low if low < 0 else high
            raise DataError(
                f"{type(self).__name__}: expected labels in {name} from 0 to {count - 1} (the model has {count} outputs), "
                f"got {wrong} in row {int(np.argwhere(y == wrong)[0][0])}"
            )

    def are_labels(self, y: NDArray[Any], out_shape: Shape) -> bool:
        """Whether these targets, which were checked, are class labels."""
        return self.classes and y.shape[1:] != out_shape

    # ------------------------------------------------------------------------------------------------ kernels

    def live(self, real: str) -> tuple[Self, list[tuple[Schedule, NDArray[Any]]]]:
        """The loss with numbers that lie in memory where they follow schedules; and these, with what they follow.

        They begin as they are at the start of a fit. By hand, where no time passes, they stay so.
        """
        timed = {name: value for name, value in self.hyperparameters().items() if isinstance(value, Schedule)}
        if not timed:
            return self, []
        numbers = {name: np.full(1, schedule.at(0.0, 1.0), real) for name, schedule in timed.items()}
        loss = copy.copy(self)
        vars(loss).update({name: Live(number) for name, number in numbers.items()})
        return loss, [(timed[name], number) for name, number in numbers.items()]

    def now(self) -> Self:
        """The loss with the numbers that are in memory now."""
        numbers = {name: float(value.memory[0]) for name, value in self.hyperparameters().items() if isinstance(value, Live)}
        return self.replace(**numbers) if numbers else self

    def kernel(self, gradient: bool) -> Callable[..., Any]:
        """The loop over a shard: writes ``row_loss`` and, with ``gradient``, ``grad`` times the weights."""
        if gradient and self.fused is not None:
            return self.fused
        part: Any = type(self)
        return loss_loop(part, gradient)

    def __call__(
        self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Graded:
        """The loss of a batch and its gradient by the prediction.

        Parameters
        ----------
        prediction : (N, ...) array of float32 or float64 (anything else counts as float64)
        target : (N, ...) array, or (N,) integer labels where targets are classes
        sample_weight : (N,) array, optional: a row of weight 2 counts as two, one of weight 0 is absent. A mean is that of
            these rows, so that only the ratios of their weights count.

        Returns
        -------
        loss : float
        grad : (N, ...) array, d loss / d prediction

        Raises
        ------
        ShapeError, DataError
            The target does not fit the prediction, or is out of range.
        """
        p = numeric(prediction, "prediction")
        if p.ndim == 0 or p.size == 0:
            raise ShapeError(f"{type(self).__name__}: expected predictions of shape (N, ...), got {p.shape}")
        p = np.ascontiguousarray(p, p.dtype if p.dtype in (np.float32, np.float64) else np.float64)
        y = numeric(target, "target")
        self.check_target(y, p.shape[1:], len(p), "target")
        grad = np.empty_like(p)
        return Graded(p.dtype.type(BoundLoss(self, p, y, sample_weight, grad).value()), grad)

    def usable_weights(self, weights: NDArray[np.float64], name: str = "sample_weight") -> NDArray[np.float64]:
        """Weights of the rows, of a size that kernels can compute with.

        Of a mean only their ratios count: where they are huge or tiny, all are multiplied by the same power of two.

        Raises
        ------
        DataError
            They are negative, or not finite; or the loss is a sum, which they change by more than 1e30 or less than 1e-30.
        """
        largest = float(weights.max())
        if not (np.isfinite(largest) and weights.min() >= 0):
            raise DataError(f"{name}: expected finite weights of at least 0, got {weights.min():g} to {largest:g}")
        exponent = math.frexp(largest)[1]
        if self.reduction == "mean":
            return weights if abs(exponent) < 500 else np.ldexp(weights, -exponent)
        if largest and abs(exponent) > 100:
            raise DataError(f"{name}: expected weights of 1e-30 to 1e30 for {self!r}, which is a sum, got up to {largest:g}; "
                            f"divide them by their mean")  # fmt: skip
        return weights

    def relative_weights(self, weights: NDArray[np.float64], name: str = "sample_weight") -> NDArray[np.float64] | None:
        """Weights of rows by which their losses are multiplied, before those of a batch are added up or averaged.

        Where the loss is a mean, they are divided by their own mean. None: all rows count the same.

        Raises
        ------
        DataError
            As for `usable_weights`.
        """
        weights = self.usable_weights(weights, name)
        common = weights.max() if self.reduction == "mean" else 1.0
        if (weights == common).all():
            return None
        return weights / weights.mean() if self.reduction == "mean" else weights

    def row_instructions(self, arrays: LossArrays, real: str) -> list[Instruction]:
        """Compute the loss of every row, and the gradient, where there is an array for it."""
        function = self.kernel(gradient=arrays.grad is not None)
        names = kernel_names(function)[self.interpreted :]  # a Python kernel gets its shard first
        spelling, targets = self._targets(arrays, real, names)
        self._require_one_loop(arrays.prediction, targets)
        given = {"prediction": arrays.prediction, "weight": arrays.weight, "row_loss": arrays.row_loss, "grad": arrays.grad}
        operands = tuple(targets.get(name) or given.get(name) or self.operand(name, real) for name in names)
        return [*spelling, Instruction(function, operands, type(self).__name__, "loss", self.interpreted)]

    def _require_one_loop(self, prediction: Array, targets: dict[str, Array | None]) -> None:
        """Refuse targets that have not a row for each of the prediction, or where kernels are of numbers, a number for each."""
        for name, given in targets.items():
            if given is not None and given.spread != prediction.spread:
                raise ShapeError(f"{self!r}: expected target_shape to have the axes of the outputs before their last one, so "
                                 f"that {name} has {prediction.spread} rows for each, got {given.spread}")  # fmt: skip
        target = targets["target"]
        each = not (self.rowwise or self.interpreted)
        if each and target is not None and target.shape != prediction.shape:
            raise ShapeError(f"{self!r}: expected target_shape to be that of the outputs, as forward is of single numbers, got "
                             f"{target.shape} beside {prediction.shape}; or set rowwise = True")  # fmt: skip

    def _targets(
        self, arrays: LossArrays, real: str, names: Sequence[str]
    ) -> tuple[list[Instruction], dict[str, Array | None]]:
        """What the kernel's ``target`` and ``label`` are, and how that of the two is written that is not given."""
        target, label, who, spread = arrays.target, arrays.label, type(self).__name__, arrays.row_loss.spread
        spelling = []
        if label is None and "label" in names:  # all classes, beginning with the first
            label = Array.rows((spread,), "int64").flat()
            spelling = [Instruction(fill, (Constant(0, "int64"), label), who, "loss")]
        elif label is not None and not self.reads_labels:
            target = Array.rows((spread, *arrays.prediction.shape), real).folded()
            spelling = [Instruction(spell, (label, target), who, "loss")]
        elif label is not None and "target" in names:
            whole = Array.rows((spread, 1), real)
            spelling, target = [Instruction(fill, (constant(1.0, real), whole.flat()), who, "loss")], whole.folded()
        return spelling, {"target": target, "label": label}

    def instructions(self, arrays: LossArrays, real: str) -> list[Instruction]:
        """Compute the loss of every row (and the gradient, where there is an array for it) and what they add up to."""
        total = Instruction(accumulate_loss, (arrays.weight, arrays.row_loss, Control("float64")), type(self).__name__, "loss")
        return [*self.row_instructions(arrays, real), total]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Ready-made losses: what the contract tests run on."""
        part = cls()
        return [Example(part, (4,), part.prediction_low, part.prediction_high, part.kinks)]

    def example_target(self, random: np.random.Generator, rows: int, out_shape: Shape) -> NDArray[Any]:
        """Legal targets for the contract tests."""
        if self.classes:
            return random.integers(0, out_shape[-1], (rows, *out_shape[:-1]))
        shape = (rows, *self.target_shape(out_shape))
        if self.target_values is not None:
            return random.choice(np.array(self.target_values), shape)
        return random.uniform(max(self.target_low, -2.0), min(self.target_high, 2.0), shape)

    @classmethod
    def require_whole(cls) -> None:
        """Refuse a class without kernels."""
        super().require_whole()
        for name in ("forward", "backward"):
            if not isinstance(inspect.getattr_static(cls, name), staticmethod) and not cls.interpreted:
                raise KernelError(f"{cls.__name__}: expected {name} to be a @staticmethod")
        if cls.rowwise and not cls.interpreted and "grad_prediction" not in kernel_names(cls.backward):
            raise KernelError(f"{cls.__name__}: expected backward to name (and write) grad_prediction, as rowwise = True")
        cls._check_labels_are_read()

    @classmethod
    def validate(cls) -> None:
        for example in cls.examples():
            for function in (cls.forward, cls.backward):
                for name in kernel_names(function):
                    if name not in GIVEN:
                        example.part.operand(name, "float64")

    @classmethod
    def _check_labels_are_read(cls) -> None:
        """Refuse a loss of which one kernel reads labels, and another one rows of numbers."""
        kernels = [function for function in (cls.forward, cls.backward, cls.fused) if function is not None]
        read = {frozenset(kernel_names(function)) & {"target", "label"} for function in kernels}
        if not any("label" in names for names in read):
            return
        if not cls.classes or not (cls.rowwise or cls.interpreted):
            raise KernelError(f"{cls.__name__}: expected rowwise = classes = True, as its kernels name 'label'")
        if len(read) > 1:
            raise KernelError(f"{cls.__name__}: expected all kernels to name 'label' and 'target', or all one of them, got "
                              + ", ".join(sorted(" and ".join(sorted(names)) or "none" for names in read)))  # fmt: skip


class PythonLoss(Loss):
    """A loss in plain NumPy: for a first draft, or for code that Numba cannot compile.

    ``forward(self, prediction, target)`` gets arrays of shape (rows, k), where rows counts whatever lies before the last axis,
    and returns the loss of every number, (rows, k), or, with ``rowwise = True``, of every row, (rows,).
    ``backward(self, prediction, target)`` returns its derivative by the prediction, (rows, k). Where targets are classes, they
    come as one-hot rows; a loss whose two methods name ``label``, too, gets labels as for any `Loss`: (rows,) of them and a
    ``target`` of (rows, 1). Reduction and weights are applied outside.

    Every shard works on its own copy of the loss, so ``forward`` may keep things on ``self`` for ``backward``, which is called
    right after it.

    Parameters
    ----------
    reduction : {"mean", "sum"}

    Raises
    ------
    ShapeError
        When it runs: a method returns an array of another shape.

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> class Quartic(nn.PythonLoss):
    ...     def forward(self, prediction, target):
    ...         return (prediction - target) ** 4
    ...     def backward(self, prediction, target):
    ...         return 4 * (prediction - target) ** 3
    >>> loss, grad = Quartic(reduction="sum")([[1.0, 2.0]], [[0.0, 0.0]])
    >>> float(loss), grad.tolist()
    (17.0, [[4.0, 32.0]])
    """

    interpreted: ClassVar[bool] = True

    def kernel(self, gradient: bool) -> Callable[..., Any]:
        copies: dict[int, PythonLoss] = {}

        def call(shard: int, method: str, prediction: Any, target: Any, label: Any, shape: Shape, what: str) -> Any:
            named = {"prediction": prediction, "target": target, "label": label}
            given = [named[name] for name in kernel_names(getattr(type(self), method))]
            return call_copy(self, copies, shard, method, given, shape, what)

        def value(shard: int, prediction: Any, target: Any, label: Any, row_loss: Any) -> None:
            shape = row_loss.shape if self.rowwise else prediction.shape
            losses = call(shard, "forward", prediction, target, label, shape, "losses")
            row_loss[...] = losses if self.rowwise else losses.sum(axis=1)

        def value_and_gradient(
            shard: int, prediction: Any, target: Any, label: Any, weight: Any, grad: Any, row_loss: Any
        ) -> None:
            value(shard, prediction, target, label, row_loss)
            derivative = call(shard, "backward", prediction, target, label, grad.shape, "gradient of the prediction")
            np.multiply(derivative, weight[:, None], out=grad, casting="same_kind")

        return value_and_gradient if gradient else value

    @classmethod
    def validate(cls) -> None:
        for name in ("forward", "backward"):
            names = kernel_names(getattr(cls, name, None) or (lambda: None))
            static = isinstance(inspect.getattr_static(cls, name, None), staticmethod)
            if static or names not in (("prediction", "target"), ("prediction", "target", "label")):
                raise KernelError(f"{cls.__name__}: expected a method {name}(self, prediction, target)")


class BoundLoss:
    """A loss on arrays that stay where they are: `value` computes it (and the gradient) from what they hold then."""

    def __init__(
        self,
        loss: Loss,
        prediction: NDArray[Any],
        target: NDArray[Any],
        sample_weight: ArrayLike | None,
        grad: NDArray[Any] | None = None,
        python: bool = False,
    ) -> None:
        rows, out_shape, real = len(prediction), prediction.shape[1:], prediction.dtype.name
        loss, _ = loss.live(real)
        self._rows = RowWeights(loss, rows, out_shape, sample_weight)
        spread = prod(out_shape[:-1])
        count = rows * spread
        self._row_loss = np.empty((rows, spread), real)
        self._grad = grad
        targets = {}
        if loss.are_labels(target, out_shape):
            label = np.array(target, np.int64).reshape(count)  # ours: compiled code does not look at them again
            loss.check_labels(label, out_shape[-1], "target")
            targets["label"] = Array.batch(label)
        else:
            targets["target"] = Array.batch(np.ascontiguousarray(target, real).reshape(count, -1), written=False)
        share = self._rows.share.astype(real)
        arrays = LossArrays(
            Array.batch(prediction.reshape(count, -1), written=False),
            Array.batch(share if spread == 1 else np.repeat(share, spread)),
            Array.batch(self._row_loss.reshape(count)),
            None if grad is None else Array.batch(grad.reshape(count, -1)),
            **targets,
        )
        instructions = loss.row_instructions(arrays, real)
        if not as_python(python):
            from nnkit.engine.arithmetic import after_loop, as_loop  # Numba, which `import nnkit` does without

            # Denormal numbers count as 0 here as they do in the loop, or a loss would depend on who asks.
            begin, end = (Instruction(function, (Control(),), "loss", "loss") for function in (as_loop, after_loop))
            instructions = [begin, *instructions, end]
        self.program = Program(instructions, real, rows=count, python=python)
        self.program.controls[0, Word.ROWS] = count

    def value(self) -> float:
        """The loss now."""
        self.program.run()
        if self._grad is not None and self._rows.absent is not None:
            self._grad[self._rows.absent] = 0.0
        return self._rows.total(self._row_loss)


class RowWeights:
    """What the rows of some data weigh in a loss of all of them.

    Attributes
    ----------
    share : (rows,) float64, what each row's loss is multiplied by
    absent : which rows have weight 0, whatever their loss is; None if there is none
    """

    def __init__(self, loss: Loss, rows: int, out_shape: Shape, sample_weight: ArrayLike | None) -> None:
        self.absent: NDArray[np.bool_] | None = None
        self.share = np.full(rows, 1.0 / (rows * loss.terms(out_shape)) if loss.reduction == "mean" else 1.0)
        if sample_weight is None:
            return
        given = numeric(sample_weight, "sample_weight").astype(np.float64)
        if given.shape != (rows,):
            raise ShapeError(f"{type(loss).__name__}: expected sample_weight of shape {(rows,)}, got {given.shape}")
        relative = loss.relative_weights(given) if given.any() else given
        if relative is not None:
            self.share *= relative
            self.absent = None if relative.all() else relative == 0

    def total(self, row_losses: NDArray[Any]) -> float:
        """The loss, from the terms of each row."""
        with np.errstate(over="ignore", invalid="ignore"):  # it may be infinite, or NaN
            of_rows = row_losses.sum(axis=1, dtype=np.float64)
            if self.absent is not None:
                of_rows[self.absent] = 0.0
            return float((of_rows * self.share).sum())
