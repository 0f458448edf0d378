"""The contract of a loss; its reduction, weights and targets, which are the framework's."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkit.core.arrays import numeric
from nnkit.core.calls import no_attribute
from nnkit.core.formulas import Formulas
from nnkit.core.layer import Layer
from nnkit.core.loss.arrays import LossArrays
from nnkit.core.loss.loop import GIVEN, loss_loop
from nnkit.core.loss.weights import RowWeights
from nnkit.core.part import Example, Part, Shape, kernel_names
from nnkit.core.registry import Registry
from nnkit.core.schedule import Schedule
from nnkit.core.span import Span
from nnkit.core.targets import require_distribution, require_labels, require_range, wrong_shape
from nnkit.engine.operands import Array, Constant, Control, Live, Operand, constant
from nnkit.engine.program import Instruction, Program, as_python
from nnkit.errors import DataError, KernelError, ParameterError, ShapeError
from nnkit.kernels.control import Word
from nnkit.kernels.data import accumulate_loss, fill, spell

__all__ = ["BoundLoss", "Graded", "Loss"]


class Graded(NamedTuple):
    """What a loss gives for a batch: ``loss, grad = criterion(prediction, target)``."""

    loss: Any  # a number of NumPy; with reduction="none", an array of them
    grad: Any  # d loss / d prediction; of several predictions, one for each

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
    all rows that are trained on. So rows weigh the same whatever batch they are in. Weights w_nk may also be given for each
    position of a row, such as the steps of a sequence: a padded or missing one has the weight 0. Where a mask reaches the
    output, as that of `Masking`, a fit and an evaluation give padded steps that weight by themselves; by hand nobody does.

    Where terms count differently, by the weights of their classes or because their label is `ignore_index`, a mean is
    sum_nk w_nk l_nk / sum_nk w_nk c_nk with c_nk what the term counts; by hand that is PyTorch's number. A step of a fit
    divides by B times the mean of sum_k w_nk c_nk over all rows that are trained on: in a batch of all rows it is PyTorch's
    step, and in a smaller one a label weighs the same whatever others it meets there. ``"none"``, by hand, gives every term's
    own loss, and the gradient of their sum.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}; "none" by hand alone

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
    row_axes         1        how many of the last axes make a row
    dim              -1       the axis that rows run along, as PyTorch counts them; where it is not the last one, the kernels
                              see the same numbers with it last
    per_output       ()       names of hyper-parameters of which there is a number for each number of a row: where forward and
                              backward are of numbers, they get that one; None where there are none
    joined           method   a layer that gives this loss of each row from what the last layer reads; None: there is none
    workspace        method   the shape of memory that the kernels name ``workspace``: what is in it, nobody keeps
    classes          False    targets are class labels, or rows of a probability for each class
    ignore_index     None     a label of places that do not count
    counts           method   how much each place counts in a mean, from targets; None: all the same
    interpreted      False    kernels stay Python; so it is for every `PythonLoss`
    least_squares    False    it is at least 0, and 0 with a curvature above 0 where prediction and target agree: trainers that
                              take a loss apart into squares take its square root
    expects          ()       what predictions should be: one of these `nnkit.Span`, which `fit` compares with what the last
                              layer gives; (): anything
    advice           ''       what to do where the last layer gives something else, for the warning
    target_low       -inf     the least legal target; of probabilities, where targets are classes
    target_high      inf      the greatest legal target
    target_values    None     the only legal targets, where there are few, such as (0.0, 1.0)
    prediction_low   -2.0     the checks draw predictions from here
    prediction_high  2.0      to here
    kinks            ()       values of prediction - target where there is no derivative; the checks keep away from them
    formulas         None     what a lecture writes where its kernels are loops, for `trace`: `nnkit.Formulas`
    target_shape     method   the shape of a row of targets, for rows of predictions of a shape
    check_target     method   refuses targets that do not fit, or are out of range
    example_target   method   legal targets that the checks take
    probabilities    method   probabilities of the classes, from raw predictions; None: they are not about classes
    decide           method   the labels or values that are predicted, from raw predictions; these themselves
    link             ''       the activation, by its name, that makes `probabilities` of raw predictions
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
        *Part.hooks, "forward", "backward", "fused", "rowwise", "row_axes", "dim", "per_output", "joined", "workspace",
        "classes", "ignore_index", "counts", "interpreted", "least_squares", "expects", "advice", "target_low", "target_high",
        "target_values", "prediction_low", "prediction_high", "kinks", "target_shape", "check_target", "example_target",
        "probabilities", "decide", "link", "formulas",
    )  # fmt: skip

    rowwise: ClassVar[bool] = False
    row_axes: ClassVar[int] = 1
    per_output: ClassVar[tuple[str, ...]] = ()
    dim: int | None = -1
    ignore_index: int | None = None
    interpreted: ClassVar[bool] = False
    classes: ClassVar[bool] = False
    least_squares: ClassVar[bool] = False
    expects: ClassVar[tuple[Span, ...]] = ()
    advice: ClassVar[str] = ""
    link: ClassVar[str] = ""
    target_low: ClassVar[float] = -np.inf
    target_high: ClassVar[float] = np.inf
    target_values: ClassVar[tuple[float, ...] | None] = None
    # What follows is a property where it depends on hyper-parameters.
    prediction_low: ClassVar[float] = -2.0
    prediction_high: ClassVar[float] = 2.0
    kinks: ClassVar[tuple[float, ...]] = ()
    formulas: ClassVar[Formulas | None] = None

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
        return ("reduction",) if isinstance(args[0], str) else cls.elsewhere or ("weight",)

    def check_reduction(self) -> None:
        self.require("reduction", self.reduction in ("mean", "sum", "none"), "'mean', 'sum' or 'none'")

    def require_one_number(self, who: str) -> None:
        """Refuse a loss that is many numbers where one is wanted."""
        if self.reduction == "none":
            raise ParameterError(f"{who}: expected a loss that is one number, reduction='mean' or 'sum', got {self!r}")

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
        return self.places(out_shape) if self.classes else out_shape

    def axis(self, out_shape: Shape) -> int:
        """The axis of prediction rows that `dim` says."""
        dim = -1 if self.dim is None else self.dim
        axis = dim - 1 if dim > 0 else len(out_shape) + dim
        if out_shape and not 0 <= axis < len(out_shape):
            raise ShapeError(f"{self!r}: expected predictions with an axis {dim}, got shape {('N', *out_shape)}")
        return max(axis, 0)

    def places(self, out_shape: Shape) -> Shape:
        """The axes of a row of predictions on each place of which there is a loss: all but those that a loss is of."""
        if not self.rowwise:
            return out_shape if self.reduction == "none" else out_shape[:-1]
        axis = self.axis(out_shape)
        return (out_shape[:axis] + out_shape[axis + 1 :])[: max(0, len(out_shape) - self.row_axes)]

    def terms(self, out_shape: Shape) -> int:
        """How many terms a row has in the mean."""
        return prod(self.places(out_shape)) if self.rowwise else prod(out_shape)

    def workspace(self, row: Shape, target: Shape) -> Shape:
        """Shape of memory that the kernels name ``workspace``, for rows of predictions and of targets of these shapes."""
        return ()

    def joined(self, last: Layer | None) -> Layer | None:
        """A layer with the parameters of the ``last`` one that gives this loss of each row (N, ..., 1); None: there is none.

        ``last`` is None where the output is that of several layers, such as a sum. The new layer declares scratch named
        ``label`` and ``target`` (N, ..., 1), which is written before; ``grad_out`` is what the rows weigh.
        """
        return None

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
            raise wrong_shape(who, y, name, (rows, *expected), (rows, *out_shape), self.classes, self.takes_probabilities)
        if are_probabilities or not self.classes:
            require_range(who, y, name, self.target_low, self.target_high, self.target_values)
        if are_probabilities:
            require_distribution(who, y, name, self.axis(out_shape) + 1)
        elif self.classes:
            if self.dim is None and out_shape[1:] == out_shape[:-1] and len(out_shape) > 1:
                raise ShapeError(f"{who}: expected to be told which axis of model outputs of shape {(rows, *out_shape)} holds "
                                 "the classes, as each could; pass dim=1 (PyTorch's layout), or dim=-1")  # fmt: skip
            require_labels(who, y, name)
            self.check_labels(y, out_shape[self.axis(out_shape)], name)

    def check_labels(self, y: NDArray[Any], count: int, name: str = "y") -> None:
        """Refuse whole numbers that are no label of ``count`` classes, and not `ignore_index`."""
        if int(y.min()) >= 0 and int(y.max()) < count:
            return
        given = y if self.ignore_index is None else y[y != self.ignore_index]
        low, high = (int(given.min()), int(given.max())) if given.size else (0, 0)
        if low < 0 or high >= count:
            wrong = low if low < 0 else high
            raise DataError(
                f"{type(self).__name__}: expected labels in {name} from 0 to {count - 1} (the model has {count} outputs), "
                f"got {wrong} in row {int(np.argwhere(y == wrong)[0][0])}"
            )

    def are_labels(self, y: NDArray[Any], out_shape: Shape) -> bool:
        """Whether these targets, which were checked, are class labels."""
        return self.classes and y.shape[1:] != out_shape

    def there(self, y: NDArray[Any], out_shape: Shape) -> NDArray[np.bool_] | None:
        """Where labels are not `ignore_index`, (N, places); None: everywhere."""
        if self.ignore_index is None or not self.are_labels(y, out_shape):
            return None
        there = np.asarray(y != self.ignore_index).reshape(len(y), -1)
        return None if there.all() else there

    def counts(self, y: NDArray[Any], out_shape: Shape) -> NDArray[np.float64] | None:
        """How much each place counts in a mean, (N, places); None: all the same."""
        there = self.there(y, out_shape)
        return None if there is None else there.astype(np.float64)

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
        return loss_loop(part, gradient, tuple(name for name in self.per_output if getattr(self, name) is not None))

    def __call__(self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None) -> Graded:
        """The loss of a batch and its gradient by the prediction.

        Parameters
        ----------
        prediction : (N, ...) array of float32 or float64 (anything else counts as float64)
        target : (N, ...) array, or (N,) integer labels where targets are classes
        sample_weight : (N,) array, optional: a row of weight 2 counts as two, one of weight 0 is absent. A mean is that of
            these rows, so that only the ratios of their weights count. Or one weight for each place: (N, steps).

        Returns
        -------
        loss : float; with ``reduction="none"``, an array of one for each term
        grad : (N, ...) array, d loss / d prediction

        Raises
        ------
        ShapeError, DataError
            The target does not fit the prediction, or is out of range.
        """
        return self.grade(prediction, target, sample_weight)

    def grade(self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None) -> Graded:
        """What a call gives, of predictions as a model gives them."""
        p = numeric(prediction, "prediction")
        if p.ndim == 0 or p.size == 0:
            raise ShapeError(f"{type(self).__name__}: expected predictions of shape (N, ...), got {p.shape}")
        p = np.ascontiguousarray(p, p.dtype if p.dtype in (np.float32, np.float64) else np.float64)
        y = numeric(target, "target")
        self.check_target(y, p.shape[1:], len(p), "target")
        grad = np.empty_like(p)
        bound = BoundLoss(self, p, y, sample_weight, grad)
        if self.reduction == "none":
            return Graded(bound.values().reshape(len(p), *self.places(p.shape[1:])), grad)
        return Graded(p.dtype.type(bound.value()), grad)

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

    def relative_weights(
        self, weights: NDArray[np.float64] | None, counts: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64] | None:
        """Numbers by which the losses of rows are multiplied, before those of a batch are added up or averaged.

        Parameters
        ----------
        weights : (N, 1) sample weights, or (N, places); None: all are 1
        counts : what `counts` says of the targets

        Returns
        -------
        (N, 1) or (N, places): where the loss is a mean, the weights divided by the mean of weights times counts. None: all
        losses count the same.

        Raises
        ------
        DataError
            As for `usable_weights`; or nothing counts at all.
        """
        if weights is not None:
            weights = self.usable_weights(weights)
        if self.reduction != "mean":
            return None if weights is None or (weights == 1.0).all() else weights
        if counts is not None:
            weights = np.ones((len(counts), 1)) if weights is None else weights
            mean = float((weights * counts).mean())
            if not mean > 0.0:
                raise DataError(f"{type(self).__name__}: expected targets that count, got none: all are ignored, or weigh 0")
            return np.asarray(weights / mean)
        if weights is None or (weights == weights.max()).all():
            return None
        return np.asarray(weights / weights.mean())

    def row_instructions(self, arrays: LossArrays, real: str) -> list[Instruction]:
        """Compute the loss of every row, and the gradient, where there is an array for it."""
        out_shape, who = arrays.prediction.shape, type(self).__name__
        before, arrays, after = arrays.rows(self.places(out_shape), self.axis(out_shape), who)
        function = self.kernel(gradient=arrays.grad is not None)
        names = kernel_names(function)[self.interpreted :]  # a Python kernel gets its shard first
        spelling, targets = self._targets(arrays, real, names)
        self._require_one_loop(arrays.prediction, targets)
        given: dict[str, Operand | None] = {
            "prediction": arrays.prediction, "weight": arrays.weight, "row_loss": arrays.row_loss, "grad": arrays.grad,
            **targets,
            **{name: self._per_output(name, arrays.prediction, out_shape) for name in self.per_output if name in names},
        }  # fmt: skip
        if "workspace" in names:
            row = () if targets["target"] is None else targets["target"].shape
            given["workspace"] = Array.fixed(self.workspace(arrays.prediction.shape, row), real)
        operands = tuple(given.get(name) or self.operand(name, real) for name in names)
        return [*before, *spelling, Instruction(function, operands, who, "loss", self.interpreted), *after]

    def joined_memory(self, arrays: LossArrays, real: str) -> tuple[list[Instruction], dict[str, Array]]:
        """What comes before the layer that `joined` gives, and what its kernels get beside the arrays of the last layer."""
        out_shape, who = arrays.prediction.shape, type(self).__name__
        places = self.places(out_shape)
        before, arrays, _ = replace(arrays, grad=None).rows(places, self.axis(out_shape), who)
        spelling, targets = self._targets(arrays, real, ("target", "label"))
        given = {name: array for name, array in targets.items() if array is not None}
        return [*before, *spelling], {name: array.unfolded((*places, *(array.shape or (1,)))) for name, array in given.items()}

    def _per_output(self, name: str, prediction: Array, out_shape: Shape) -> Array:
        """A hyper-parameter of which there is a number for each of a row of predictions."""
        given = np.asarray(getattr(self, name), prediction.dtype)
        try:
            numbers = np.broadcast_to(given, out_shape or (1,))
        except ValueError:
            raise ShapeError(f"{type(self).__name__}: expected {name} with a number for each output of a row, shape "
                             f"{out_shape}, or what broadcasts to it, got shape {given.shape}") from None  # fmt: skip
        return Array.view(np.ascontiguousarray(numbers).reshape(prediction.spread, -1), written=False)

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
            return random.integers(0, out_shape[self.axis(out_shape)], (rows, *self.target_shape(out_shape)))
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


class BoundLoss:
    """A loss on arrays that stay where they are: `value` computes it (and the gradient) from what they hold then."""

    def __init__(
        self, loss: Loss, prediction: NDArray[Any], target: NDArray[Any], sample_weight: ArrayLike | None,
        grad: NDArray[Any] | None = None, python: bool = False,
    ) -> None:  # fmt: skip
        rows, out_shape, real = len(prediction), prediction.shape[1:], prediction.dtype.name
        loss, _ = loss.live(real)
        self._rows = RowWeights(loss, target, out_shape, sample_weight)
        spread = prod(loss.places(out_shape))
        self._row_loss = np.empty((rows, spread), real)
        targets: dict[str, Any] = {}
        if loss.are_labels(target, out_shape):
            label = np.array(target, np.int64).reshape(rows, spread)  # ours: compiled code does not look at them again
            loss.check_labels(label, out_shape[loss.axis(out_shape)], "target")
            if loss.ignore_index is not None:
                label[label == loss.ignore_index] = 0  # which weighs nothing
            targets["label"] = Array.batch(label).flat()
        else:
            targets["target"] = Array.batch(np.ascontiguousarray(target, real), written=False)
        arrays = LossArrays(
            Array.batch(prediction, written=False),
            Array.batch(np.array(np.broadcast_to(self._rows.share, (rows, spread)), real)).flat(),
            Array.batch(self._row_loss).flat(),
            None if grad is None else Array.batch(grad),
            gaps=self._rows.absent is not None,
            **targets,
        )
        instructions = loss.row_instructions(arrays, real)
        if not as_python(python):
            from nnkit.engine.arithmetic import after_loop, as_loop  # Numba, which `import nnkit` does without

            # Denormal numbers count as 0 here as they do in the loop, or a loss would depend on who asks.
            begin, end = (Instruction(function, (Control(),), "loss", "loss") for function in (as_loop, after_loop))
            instructions = [begin, *instructions, end]
        self.program = Program(instructions, real, rows=rows, python=python)
        self.program.controls[0, Word.ROWS] = rows

    def value(self) -> float:
        """The loss now."""
        self.program.run()
        return self._rows.total(self._row_loss)

    def values(self) -> NDArray[Any]:
        """The losses now, (rows, places), times their weights."""
        self.program.run()
        return self._rows.weighed(self._row_loss).astype(self._row_loss.dtype)
