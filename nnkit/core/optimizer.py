"""The contract of an optimizer."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nnkit.core.average import Average
from nnkit.core.container import Model, model_of
from nnkit.core.groups import Piece, Segment, group_of, pieces
from nnkit.core.identity import identity, once
from nnkit.core.part import Part, kernel_names
from nnkit.core.registry import Registry
from nnkit.core.schedule import Schedule, SteeredMomentum, at_times, is_timed
from nnkit.core.words import NEEDLESS
from nnkit.engine.hyperparameters import hyperparameter
from nnkit.engine.instruction import Instruction
from nnkit.engine.lazy import lazy
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, Coefficient, ControlWord, Operand, Storage, constant
from nnkit.engine.program import Program
from nnkit.engine.runner import Runner
from nnkit.engine.template import Likeness
from nnkit.errors import KernelError, ParameterError
from nnkit.kernels.control import CONTROL_WORDS, Word
from nnkit.kernels.data import (
    add_slabs,
    add_wave,
    blend,
    clip_gradient,
    decay_gradient,
    gradient_norm,
    limit_columns,
    limit_rows,
    note,
    push_to_zero,
    rest,
    scale_gradient,
    shrink_value,
    turn_gradient,
)

__all__ = ["Optimizer", "Updater", "UpdaterProgress"]


@dataclass(repr=False, eq=False)
class Optimizer(Part):
    """One step of descent on the flat vector of all parameters.

    ``update`` is a kernel (a static method) over a chunk of the vector. It may name ``value`` (to be changed), ``grad``, every
    array in ``states`` (same length, zero at first, kept from step to step), ``lr``, ``step`` (a real number, 1 in the first
    step), every attribute that is a number (or several, as in a `Layer`), and whatever `coefficients` returns. With ``whole =
    True`` the chunks are the parameters, one after the other, each flat, and ``shape`` is an array of its sizes: (in, out) of
    the weight of a linear layer, (out, in, *kernel) of a convolution's.

    Clipping, penalties and the schedule are the framework's, in this order: the gradient is clipped by value, then by
    norm, and turned round with ``maximize``; then the penalties are added to it, l1 sign(w) and weight_decay w (or, with
    ``decoupled = True``, the parameters are shrunk by lr * weight_decay); then ``update`` runs; then norms are limited.

    Parameters
    ----------
    lr : float > 0, learning rate (per step)
    weight_decay : float >= 0, or a `Schedule` of it, such as ``0.1 * nn.CosineSchedule()``: an L2 penalty
    clip_norm : float > 0, optional: the largest Euclidean norm of the whole gradient
    clip_value : float > 0, optional: the largest absolute value of each number of the gradient
    schedule : Schedule or its name, optional: makes the learning rate a function of the epoch, and some the momentum, too
    maximize : bool: climb, instead of descending; what the weight decay does stays the same
    l1 : float >= 0, or a `Schedule` of it: an L1 penalty
    max_norm : float > 0, optional: the largest Euclidean norm of the weights that lead to one unit: of a column of a matrix
        (in, out), of a filter (the first axis) of arrays with more axes; arrays of one axis, such as biases, are left alone
    groups : dict, optional: other values of these and of the optimizer's own hyper-parameters for some of the parameters, by
        patterns over their names (those of ``model.parameters()``; ``*`` stands for anything, as in a shell). They are values
        as in PyTorch's parameter groups, not factors. Of several patterns the first that matches counts, and one that matches
        none is an error. ``schedule``, which multiplies the rates of all groups, and ``clip_norm`` are the whole model's.

    Hooks
    -----
    What an optimizer may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one,
    which may be overridden, and is described below.

    ============  =======  ====================================================================================================
    hook          default  what it is
    ============  =======  ====================================================================================================
    update        needed   kernel, a static method: changes ``value``
    states        ()       names of arrays as long as the vector, zero at first and kept from step to step
    optional      ()       pairs of names: a state, and the truth value among the hyper-parameters without which it is not
                           kept, and ``update`` gets None for it
    whole         False    ``update`` gets one parameter after the other, no chunks of the vector, and may name ``shape``
    scratch       ()       names of arrays as long as the vector that are of use within one step, and not kept
    coefficients  method   numbers that depend on the step alone, by name; ``update`` may name them
    decoupled     False    weight decay shrinks the parameters, instead of being added to the gradient
    check         method   refuses hyper-parameters out of range; who overrides it calls ``super().check()``
    examples      method   class method: ready-made ones, with legal inputs, that the checks take; one with its defaults, where
                           the constructor needs no arguments
    acts_outside  False    it writes files, runs commands or the like: a file from somebody else does not bring it along
    elsewhere     ()       what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    ============  =======  ====================================================================================================

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import nnkit as nn
    >>> @dataclass(repr=False, eq=False)  # a repr and a constructor come with nnkit.Optimizer
    ... class SoftSignDescent(nn.Optimizer):
    ...     softness: float = 1.0
    ...     @staticmethod
    ...     def update(value, grad, lr, softness):
    ...         for i in range(value.shape[0]):
    ...             value[i] -= lr * grad[i] / (abs(grad[i]) + softness)
    >>> optimizer = SoftSignDescent(lr=0.1, softness=2.0, schedule="cosine")
    >>> history = nn.Sequential(["linear"]).fit([[1.0], [2.0]], [[2.0], [4.0]], optimizer=optimizer, epochs=1)
    """

    registry: ClassVar[Registry[Any]] = Registry("optimizer")
    needed = ("update",)
    hooks = (*Part.hooks, "update", "states", "optional", "whole", "scratch", "coefficients", "decoupled", "check")

    states: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[tuple[str, str], ...]] = ()
    whole: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ()
    decoupled: ClassVar[bool] = False

    update: ClassVar[Callable[..., Any]]

    lr: float = 1e-3
    _: KW_ONLY
    weight_decay: float | Schedule = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    schedule: Schedule | str | None = None
    maximize: bool = False
    l1: float | Schedule = 0.0
    max_norm: float | None = None
    groups: Mapping[str, Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse hyper-parameters out of range; the constructor, `fit` and `step` call it."""
        several = hasattr(self.lr, "__iter__") and not isinstance(self.lr, str)
        self.require("lr", not several, f"a number ({NEEDLESS['params']})")
        self.require_number("lr", 0.0, above=True)
        self.require_number("weight_decay", 0.0)
        self.require_number("l1", 0.0)
        for name in ("clip_norm", "clip_value", "max_norm"):
            if getattr(self, name) is not None:
                self.require_number(name, 0.0, above=True)
        known = "a dict of dicts: patterns over parameters' names, and other values for those that match"
        self.require("groups", self.groups is None or isinstance(self.groups, Mapping), known)
        for values in (self.groups or {}).values():
            self.require("groups", isinstance(values, Mapping), known)
            self.variant(values)

    def variant(self, values: Mapping[str, Any]) -> Self:
        """The optimizer of a group with these values: all else is as here."""
        common = sorted({"clip_norm", "groups", "schedule"} & set(values))
        if common:
            raise ParameterError(f"{type(self).__name__}: expected groups without {common[0]}, which is the whole model's; "
                                 f"give it to {type(self).__name__} itself")  # fmt: skip
        return self.replace(**{**values, "groups": None})

    def steered(self, schedule: Schedule) -> Self:
        """The optimizer with the momentum, or where it has none with the first of the betas, that a schedule says.

        Raises
        ------
        ParameterError
            It has neither.
        """
        known = self.hyperparameters()
        if not schedule.cycle_momentum:
            return self
        then = copy.copy(self)
        match known:
            case {"momentum": own}:
                vars(then)["momentum"] = SteeredMomentum(schedule, own)
            case {"betas": (own, *others)}:
                vars(then)["betas"] = SteeredMomentum(schedule, own), *others
            case _:
                raise ParameterError(f"{type(self).__name__}: expected a schedule that leaves momentum alone, as there is none "
                                     f"here, got {schedule!r}; pass cycle_momentum=False to it")  # fmt: skip
        return then

    def coefficients(self, lr: NDArray[np.float64], step: NDArray[np.float64]) -> dict[str, Any]:
        """Numbers that depend on the step alone, in float64 for many steps at once; ``update`` may name them."""
        return {}

    @property
    def kept(self) -> tuple[str, ...]:
        """The states that there are with these hyper-parameters."""
        left_out = {name for name, wanted in self.optional if not getattr(self, wanted)}
        return tuple(name for name in self.states if name not in left_out)

    def operand(self, name: str, real: str) -> Operand:
        if name in dict(self.optional):
            return hyperparameter(None, real)
        return super().operand(name, real)

    def step(self, model: Model, epoch: float | None = None, epochs: float = 1.0) -> None:
        """Update a model's parameters by its gradients, after ``model.backward``.

        The state (moments, number of the step) belongs to the pair of optimizer and model.

        Parameters
        ----------
        model : a built model
        epoch, epochs : the time now and at the end, for schedules; needed where there is one

        Raises
        ------
        ParameterError
            There is a schedule, of the rate or of another number, but no time for it.
        """
        model_of(model, f"{type(self).__name__}.step").update(self, epoch, epochs)

    @classmethod
    def positions(cls, args: Sequence[Any]) -> tuple[str, ...]:
        """Elsewhere, the parameters come first; here fit and `step` bring them."""
        shared = inspect.signature(Optimizer).parameters
        own = sorted(super().positions(args), key=lambda name: name in shared and name != "lr")
        return tuple(own) if isinstance(args[0], int | float | np.number) else ("params", *own)

    @classmethod
    def require_whole(cls) -> None:
        """Refuse a class without a kernel."""
        super().require_whole()
        if not isinstance(inspect.getattr_static(cls, "update"), staticmethod):
            raise KernelError(f"{cls.__name__}: expected update to be a @staticmethod")

    @classmethod
    def validate(cls) -> None:
        for example in cls.examples():
            example.part.check_kernel_names()

    @once
    def check_kernel_names(self) -> None:
        """Refuse an update that names what nobody provides."""
        names = ["value", "grad", *["shape"] * self.whole, *self.states, *self.scratch, *_Group(self, 0).names]
        twice = [name for place, name in enumerate(names) if name in names[:place]]
        if twice:
            raise KernelError(f"{self!r}: expected states and coefficients under names of their own, got {twice[0]!r} again")
        for name in kernel_names(type(self).update):
            if name in ("weight_decay", "clip_norm", "clip_value", "l1", "max_norm"):
                raise KernelError(f"{self!r}: update names {name!r}, which the framework applies already, before update")
            if name in names or isinstance(getattr(self, name, None), Schedule):
                continue
            if not self.provides(name):
                near = difflib.get_close_matches(name, [*names, *vars(self)], 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it may name {', '.join(names)}, or a number of its own"
                raise KernelError(f"{self!r}: update names {name!r}, which nobody provides; {hint}")
            self.operand(name, "float64")  # or it says why it cannot be


_Call = tuple[Callable[..., Any], tuple[Operand, ...]]
_REST: _Call = (rest, ())


@dataclass(frozen=True)
class UpdaterProgress:
    """How far an optimizer has come: its class, the number of steps, the schedule with what it has observed, and the states."""

    kind: type[Optimizer]
    steps: int
    schedule: Schedule
    states: dict[str, NDArray[Any]]


class _Group:
    """Parameters that are updated alike: the optimizer with their settings, and where its numbers begin in the row of a step.

    Attributes
    ----------
    optimizer : the optimizer, or for a group of its own a copy with other settings
    names : of the numbers that depend on the step: the rate, the step, its coefficients, and what schedules say
    """

    def __init__(self, optimizer: Optimizer, begin: int, own_rate: bool = True) -> None:
        self.optimizer, self._own_rate = optimizer, own_rate
        self._timed = {name: copy.deepcopy(value) for name, value in optimizer.hyperparameters().items()
                       if is_timed(value) and name != "schedule"}  # fmt: skip
        one = np.ones(1)
        alone = [name for name, value in self._timed.items() if isinstance(value, Schedule)]
        self.names = ["lr", "step", *self._at(one, 1.0).coefficients(one, one), *alone]
        self._places = {name: begin + place for place, name in enumerate(self.names)}
        self.end = begin + len(self.names)

    def _at(self, epoch: NDArray[np.float64], epochs: float) -> Optimizer:
        """The optimizer with what its schedules say at some times."""
        if not self._timed:
            return self.optimizer
        then = copy.copy(self.optimizer)
        vars(then).update({name: at_times(value, epoch, epochs) for name, value in self._timed.items()})
        return then

    @property
    def is_timed(self) -> bool:
        """Whether some of its numbers follow schedules."""
        return bool(self._timed)

    def operand(self, name: str, real: str) -> Operand:
        """A number by its name: one of the step, or a hyper-parameter."""
        place = self._places.get(name)
        return self.optimizer.operand(name, real) if place is None else Coefficient(place, real)

    def fill(
        self, rows: NDArray[Any], rate: float, factor: NDArray[np.float64], step: NDArray[np.float64],
        epoch: NDArray[np.float64], epochs: float,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Write the numbers of these steps; return their rates. ``rate`` is that of a group without one of its own."""
        lr = (self.optimizer.lr if self._own_rate else rate) * factor
        then = self._at(epoch, epochs)
        numbers = {"lr": lr, "step": step, **then.coefficients(lr, step), **{name: getattr(then, name) for name in self._timed}}
        for name, place in self._places.items():
            rows[:, place] = numbers[name]
        return lr


@dataclass
class _Descent:
    """What happens to each piece of the vector, as calls of kernels.

    Attributes
    ----------
    groups : by the numbers that pieces have of them
    cut : the pieces
    vectors : what there is for each parameter, by the names that kernels have for it
    slabs : (shards, length), the shards' gradients
    norms : of the pieces' gradients, with one more number, by which gradients are scaled
    live : numbers that others read, which stand in the row of a step from ``first_live`` on
    share : where in that row it stands how far a mean of the parameters moves; None where there is none
    """

    real: str
    groups: Sequence[_Group]
    cut: Sequence[Piece]
    vectors: dict[str, Storage]
    slabs: Array
    norms: Array
    live: Sequence[NDArray[Any]]
    first_live: int
    share: int | None

    def write(self, calls: Callable[[int, Piece], list[_Call]], notes: bool) -> list[Instruction]:
        """The calls for each piece, and for each number that others read, where it is as much for all of them."""
        lists = [calls(place, piece) for place, piece in enumerate(self.cut)]
        lists += [self._note(number) if notes else [] for number in range(len(self.live))]
        most, part = max(map(len, lists), default=0), type(self.groups[0].optimizer).__name__
        every = [call for given in lists for call in [*given, *[_REST] * (most - len(given))]]
        return [Instruction(function, operands, part, "update") for function, operands in every]

    def _array(self, name: str, piece: Piece) -> Array:
        storage = self.vectors[name]
        item = np.dtype(self.real).itemsize
        return Array(storage, (piece.size,), self.real, offset=piece.begin * item, stride=piece.size * item)

    def _sum(self, piece: Piece) -> list[_Call]:
        """The shards' gradients -> that of the first."""
        shards, length = self.slabs.shape
        if shards == 1:
            return []
        item = np.dtype(self.real).itemsize
        every = replace(self.slabs, shape=((shards - 1) * length + piece.size,), offset=piece.begin * item,
                        stride=piece.size * item)  # fmt: skip
        sizes = constant(length, self.real), ControlWord(Word.SHARDS), constant(piece.size, self.real)
        return [(add_slabs, (every, *sizes))]

    def collect(self, place: int, piece: Piece) -> list[_Call]:
        """The gradient of a wave -> added to that of the waves before."""
        grad = self._array("grad", piece)
        wave = replace(grad, storage=self.slabs.storage)
        return [*self._sum(piece), (add_wave, (wave, ControlWord(Word.FIRST_ROW), grad))]

    def sum_and_reduce(self, place: int, piece: Piece) -> list[_Call]:
        return [*self._sum(piece), *self.reduce(place, piece)]

    def reduce(self, place: int, piece: Piece) -> list[_Call]:
        """The gradient clipped by value; its norm."""
        optimizer, grad = self.groups[piece.group].optimizer, self._array("grad", piece)
        calls: list[_Call] = []
        if optimizer.clip_value is not None:
            calls.append((clip_gradient, (grad, constant(float(optimizer.clip_value), self.real))))
        if optimizer.clip_norm is not None:
            norm = replace(self.norms, shape=(1,), offset=8 * place, stride=8)
            calls.append((gradient_norm, (grad, norm)))
        return calls

    def update(self, place: int, piece: Piece) -> list[_Call]:
        """Clip by norm, decay, descend; then what the new numbers have to be like, and their mean."""
        group, value, grad = self.groups[piece.group], self._array("value", piece), self._array("grad", piece)
        optimizer = group.optimizer
        vectors = {name: self._array(name, piece) for name in ("value", "grad", *optimizer.kept, *optimizer.scratch)}
        given: dict[str, Operand] = {**vectors}
        if optimizer.whole:
            given = {name: replace(array, shape=(prod(piece.shape),)) for name, array in vectors.items()}
            given["shape"] = Array.view(np.array(piece.shape, np.int64), written=False)
        calls: list[_Call] = []
        if optimizer.clip_norm is not None:
            factor = replace(self.norms, shape=(1,), offset=8 * (self.norms.shape[0] - 1))
            calls.append((scale_gradient, (grad, factor)))
        if optimizer.maximize:
            calls.append((turn_gradient, (grad,)))
        if optimizer.weight_decay:
            decay = group.operand("weight_decay", self.real)
            calls.append((shrink_value, (value, group.operand("lr", self.real), decay)) if optimizer.decoupled else
                         (decay_gradient, (grad, value, decay)))  # fmt: skip
        if optimizer.l1:
            calls.append((push_to_zero, (grad, value, group.operand("l1", self.real))))
        function = type(optimizer).update
        calls.append((function, tuple(given.get(name) or group.operand(name, self.real) for name in kernel_names(function))))
        if len(piece.shape) > 1 and optimizer.max_norm is not None:
            calls.append(self._limit(piece, group))
        if self.share is not None:
            calls.append((blend, (self._array("averaged", piece), value, Coefficient(self.share, self.real))))
        return calls

    def _limit(self, piece: Piece, group: _Group) -> _Call:
        """What keeps the weights that lead to one unit below a norm: a column of a matrix, a filter of a convolution."""
        units, *rest = piece.shape
        value = replace(self._array("value", piece), shape=(units, prod(rest)))
        limit = group.operand("max_norm", self.real)
        if len(rest) > 1:
            return limit_rows, (value, limit)
        return limit_columns, (value, limit, Array.view(aligned_zeros(rest[0], self.real)))

    def _note(self, place: int) -> list[_Call]:
        """Write down what a schedule says of the next step, for those who read it there."""
        return [(note, (Coefficient(self.first_live + place, self.real), Array.view(self.live[place])))]


class Updater:
    """An optimizer at work on one vector of parameters: its state, and the programs that apply it.

    The vector is cut into chunks that fit the first-level cache; everything that happens to a chunk happens while it is there.
    Where all parameters are trained alike, chunks are of one size, and a chunk's frame is that of the first one moved on. Else
    the vector is cut where the optimizer's groups change and around what is frozen (see `nnkit.core.groups`).

    Parameters
    ----------
    value : flat vector, a multiple of ``chunk`` long
    slabs : (shards, length), the shards' gradients; they are summed into the first
    chunk : numbers of a chunk
    segments : where which parameter is, for groups and frozen parameters
    waves : whether a batch runs in several waves, whose gradients are added up
    average : a mean of the parameters that is kept beside them
    live : numbers that others read, with the schedules that say what they are
    """

    def __init__(
        self,
        optimizer: Optimizer,
        value: NDArray[Any],
        slabs: NDArray[Any],
        *,
        chunk: int,
        segments: Sequence[Segment] = (),
        waves: bool = False,
        average: Average | None = None,
        live: Sequence[tuple[Schedule, NDArray[Any]]] = (),
        python: bool = False,
    ) -> None:
        optimizer.check()
        optimizer.check_kernel_names()
        self.optimizer, self.average = optimizer, average
        self.real = value.dtype.name
        self.steps = 0
        given = optimizer.schedule
        self.schedule = Schedule.make("constant") if given is None else copy.deepcopy(Schedule.make(given))
        self._live = [(copy.deepcopy(schedule), number) for schedule, number in live]
        self._lay_out(segments)
        kept = dict.fromkeys(name for group in self._groups for name in group.optimizer.kept)
        names = [*kept, *["averaged"] * (average is not None)]
        self.states = {name: aligned_zeros(value.size, self.real) for name in names}
        self.gradient = grad = aligned_zeros(value.size, self.real) if waves else slabs[0]
        scratch = {name: aligned_zeros(value.size, self.real) for name in optimizer.scratch}
        vectors = {"value": value, "grad": grad, **self.states, **scratch}
        cut, repeats = self._pieces(segments, value.size, chunk)
        self.norms = np.zeros(len(cut) * repeats + len(self._live) + 1)
        numbers = [number for _, number in self._live]
        storages = {name: Storage(shared=array) for name, array in vectors.items()}
        descent = _Descent(self.real, self._groups, cut, storages, Array.view(slabs), Array.view(self.norms), numbers,
                           self._first_live, None if average is None else self._share)  # fmt: skip
        control = aligned_zeros(CONTROL_WORDS, "int64").reshape(1, CONTROL_WORDS)
        key = identity(optimizer), *segments, chunk, waves, average is None
        arrays = [*vectors.values(), slabs, self.norms, *numbers]

        def program(calls: Callable[[int, Piece], list[_Call]], notes: bool = False) -> Program:
            """What happens to each chunk."""
            write, like = partial(descent.write, calls, notes), Likeness((calls.__name__, *key), arrays)
            return Program(write, self.real, shards=repeats, python=python, control=control, like=like)

        self.collect = program(descent.collect) if waves else None
        self.reduce = program(descent.reduce if waves else descent.sum_and_reduce)
        self.update = program(descent.update, notes=True)

    def _lay_out(self, segments: Sequence[Segment]) -> None:
        """Say who has which numbers in the row of a step: each group, what others read, and the share of the average."""
        names = [segment.name for segment in segments]
        groups = self.optimizer.groups or {}
        self._group_of = group_of(list(groups), names, f"{type(self.optimizer).__name__}: groups")
        self._groups = [_Group(self.optimizer.steered(self.schedule), 0, own_rate=False)]
        for values in groups.values():
            of_group = self.optimizer.variant(values).steered(self.schedule)
            self._groups.append(_Group(of_group, self._groups[-1].end, own_rate="lr" in values))
        self._first_live = self._groups[-1].end
        self._share = self._first_live + len(self._live)

    def _pieces(self, segments: Sequence[Segment], size: int, chunk: int) -> tuple[list[Piece], int]:
        """The pieces of the vector, and for how many chunks of one size each of them stands."""
        whole = {number: 0 if group.optimizer.whole else 2 for number, group in enumerate(self._groups)
                 if group.optimizer.whole or group.optimizer.max_norm is not None}  # fmt: skip
        alike = all(segment.trained for segment in segments)
        if alike and not (self._group_of or whole or self._live):
            return [Piece(0, chunk)], size // chunk
        if not segments:
            raise ParameterError(f"{self.optimizer!r}: expected a model for groups, max_norm and whole parameters, "
                                 "got a vector alone")
        return pieces(segments, self._group_of, whole, chunk), 1

    @property
    def progress(self) -> UpdaterProgress:
        """What another updater needs to go on from here."""
        return UpdaterProgress(type(self.optimizer), self.steps, self.schedule, self.states)

    def take_over(self, other: UpdaterProgress) -> None:
        """Go on from another updater's progress, perhaps with other hyper-parameters; after another optimizer begin anew."""
        if other.kind is not type(self.optimizer):
            return
        self.steps = other.steps
        if repr(other.schedule) == repr(self.schedule):  # what another one has observed means nothing to this one
            self.schedule = other.schedule
        for name, state in self.states.items():
            if name in other.states:
                state[:] = other.states[name]

    def runner(self, program: Program, shard_rows: int, **options: Any) -> Runner:
        """Make a runner that updates the parameters after every step of ``program``."""
        return Runner(
            program, shard_rows, collect=self.collect, reduce=self.reduce, update=self.update, norms=self.norms,
            clip_norm=float(self.optimizer.clip_norm or 0.0), coefficients=self._share + (self.average is not None), **options,
        )  # fmt: skip

    @lazy
    def _alone(self) -> Runner:
        return self.runner(Program([], self.real, python=self.update.python), 1)

    def step(self, epoch: float | None = None, epochs: float = 1.0) -> None:
        """Update the parameters once, from the gradient that is there.

        Raises
        ------
        ParameterError
            There is no time, but a schedule.
        """
        if epoch is None and (self.optimizer.schedule is not None or any(group.is_timed for group in self._groups)):
            raise ParameterError(f"{self.optimizer!r}: expected step(model, epoch=..., epochs=...) because of its schedule, "
                                 "got no epoch")  # fmt: skip
        self.fill(self._alone.coefficients, np.array([float(epoch or 0.0)]), float(epochs))
        self._alone.order(0, 1, 0, 0, self.steps)
        self._alone.run(0, 1)
        self.steps += 1

    def note(self, epoch: float, epochs: float) -> None:
        """Write down what schedules say of numbers that others read."""
        for schedule, number in self._live:
            number[0] = schedule.factor(np.array([epoch]), epochs)[0]

    def fill(
        self, coefficients: NDArray[Any], epoch: NDArray[np.float64], epochs: float, done: int = 0,
        following: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Compute the coefficients of ``len(epoch)`` steps, which begin at these times; return their rates.

        They are the next ones, but for the first ``done``, which are the last ones. ``following`` is when they end.
        """
        following = epoch if following is None else following
        first = self.steps - done + 1
        step = np.arange(first, first + len(epoch), dtype=np.float64)
        rows, factor = coefficients[: len(epoch)], self.schedule.factor(epoch, epochs)
        base, *groups = self._groups
        rates = base.fill(rows, self.optimizer.lr, factor, step, epoch, epochs)
        for group in groups:
            group.fill(rows, self.optimizer.lr, factor, step, epoch, epochs)
        for place, (schedule, _) in enumerate(self._live, self._first_live):
            rows[:, place] = schedule.factor(following, epochs)
        if self.average is not None:
            rows[:, self._share] = self.average.shares(epoch, following, epochs)
        return rates
