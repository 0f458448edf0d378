"""The contract of an optimizer."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnkit.core.container import Model, model_of
from nnkit.core.part import Part, kernel_names
from nnkit.core.registry import Registry
from nnkit.core.schedule import Schedule
from nnkit.core.words import NEEDLESS
from nnkit.engine.lazy import lazy
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array, Coefficient, ControlWord, Operand, Storage, constant
from nnkit.engine.program import Instruction, Program
from nnkit.engine.runner import Runner
from nnkit.errors import KernelError, ParameterError
from nnkit.kernels.control import CONTROL_WORDS, Word
from nnkit.kernels.data import (
    add_slabs,
    clip_gradient,
    decay_gradient,
    gradient_norm,
    scale_gradient,
    shrink_value,
)

__all__ = ["Optimizer", "Updater", "UpdaterProgress"]


@dataclass(repr=False, eq=False)
class Optimizer(Part):
    """One step of descent on the flat vector of all parameters.

    ``update`` is a kernel (a static method) over a chunk of the vector. It may name ``value`` (to be changed), ``grad``, every
    array in ``states`` (same length, zero at first, kept from step to step), ``lr``, ``step`` (a real number, 1 in the first
    step), every attribute that is a number (or several, as in a `Layer`), and whatever `coefficients` returns.

    Clipping, weight decay and the schedule are the framework's, in this order: the gradient is clipped by value, then by
    norm; then the decay is added to it (or, with ``decoupled = True``, the parameters are shrunk by lr * weight_decay); then
    ``update`` runs.

    Parameters
    ----------
    lr : float > 0, learning rate (per step)
    weight_decay : float >= 0
    clip_norm : float > 0, optional: the largest Euclidean norm of the whole gradient
    clip_value : float > 0, optional: the largest absolute value of each number of the gradient
    schedule : Schedule or its name, optional: makes the learning rate a function of the epoch

    Hooks
    -----
    What an optimizer may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one,
    which may be overridden, and is described below.

    ============  =======  ====================================================================================================
    hook          default  what it is
    ============  =======  ====================================================================================================
    update        needed   kernel, a static method: changes ``value``
    states        ()       names of arrays as long as the vector, zero at first and kept from step to step
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
    hooks = (*Part.hooks, "update", "states", "coefficients", "decoupled", "check")

    states: ClassVar[tuple[str, ...]] = ()
    decoupled: ClassVar[bool] = False

    update: ClassVar[Callable[..., Any]]

    lr: float = 1e-3
    _: KW_ONLY
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    schedule: Schedule | str | None = None

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse hyper-parameters out of range; the constructor, `fit` and `step` call it."""
        several = hasattr(self.lr, "__iter__") and not isinstance(self.lr, str)
        self.require("lr", not several, f"a number ({NEEDLESS['params']})")
        self.require_number("lr", 0.0, above=True)
        self.require_number("weight_decay", 0.0)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                self.require_number(name, 0.0, above=True)

    def coefficients(self, lr: NDArray[np.float64], step: NDArray[np.float64]) -> dict[str, Any]:
        """Numbers that depend on the step alone, in float64 for many steps at once; ``update`` may name them."""
        return {}

    def step(self, model: Model, epoch: float | None = None, epochs: float = 1.0) -> None:
        """Update a model's parameters by its gradients, after ``model.backward``.

        The state (moments, number of the step) belongs to the pair of optimizer and model.

        Parameters
        ----------
        model : a built model
        epoch, epochs : the time now and at the end, for the schedule; needed where there is one

        Raises
        ------
        ParameterError
            There is a schedule, but no time for it.
        """
        if self.schedule is not None and epoch is None:
            raise ParameterError(f"{self!r}: expected step(model, epoch=..., epochs=...) because of its schedule, got no epoch")
        model_of(model, f"{type(self).__name__}.step").update(self, epoch or 0.0, epochs)

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

    def check_kernel_names(self) -> None:
        """Refuse an update that names what nobody provides."""
        one = np.ones(1)
        names = ["value", "grad", "lr", "step", *self.states, *self.coefficients(one, one)]
        twice = [name for place, name in enumerate(names) if name in names[:place]]
        if twice:
            raise KernelError(f"{self!r}: expected states and coefficients under names of their own, got {twice[0]!r} again")
        for name in kernel_names(type(self).update):
            if name in ("weight_decay", "clip_norm", "clip_value"):
                raise KernelError(f"{self!r}: update names {name!r}, which the framework applies already, before update")
            if name in names:
                continue
            if not self.provides(name):
                near = difflib.get_close_matches(name, [*names, *vars(self)], 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it may name {', '.join(names)}, or a number of its own"
                raise KernelError(f"{self!r}: update names {name!r}, which nobody provides; {hint}")
            self.operand(name, "float64")  # or it says why it cannot be


@dataclass(frozen=True)
class UpdaterProgress:
    """How far an optimizer has come: its class, the number of steps, the schedule with what it has observed, and the states."""

    kind: type[Optimizer]
    steps: int
    schedule: Schedule
    states: dict[str, NDArray[Any]]


class Updater:
    """An optimizer at work on one vector of parameters: its state, and the programs that apply it.

    The vector is cut into chunks that fit the first-level cache; everything that happens to a chunk happens while it is there.

    Parameters
    ----------
    value : flat vector, a multiple of ``chunk`` long
    slabs : (shards, length), the shards' gradients; they are summed into the first
    chunk : numbers of a chunk
    shard_rows : rows of a shard
    """

    def __init__(
        self,
        optimizer: Optimizer,
        value: NDArray[Any],
        slabs: NDArray[Any],
        *,
        chunk: int,
        shard_rows: int = 0,
        python: bool = False,
    ) -> None:
        optimizer.check()
        optimizer.check_kernel_names()
        self.optimizer = optimizer
        self.real = value.dtype.name
        self.states = {name: aligned_zeros(value.size, self.real) for name in optimizer.states}
        self.steps = 0
        self.schedule = copy.deepcopy(Schedule.make(optimizer.schedule if optimizer.schedule is not None else "constant"))
        self.chunks = value.size // chunk
        self.norms = np.zeros(self.chunks + 1)
        one = np.ones(1)
        self._names = ["lr", "step", *optimizer.coefficients(one, one)]
        given = {name: self._chunk(array, chunk) for name, array in
                 {"value": value, "grad": slabs[0], **self.states}.items()}  # fmt: skip
        norm = Array(Storage(shared=self.norms), (1,), "float64", stride=8)
        factor = Array(Storage(shared=self.norms), (1,), "float64", offset=8 * self.chunks)
        reduce, update = self._gradient(given, slabs, shard_rows, norm), self._update(given, factor)
        control = aligned_zeros(CONTROL_WORDS, "int64").reshape(1, CONTROL_WORDS)
        options: dict[str, Any] = {"shards": self.chunks, "python": python, "control": control}
        self.reduce = Program(reduce, self.real, **options)
        self.update = Program(update, self.real, **options)

    @staticmethod
    def _chunk(array: NDArray[Any], chunk: int) -> Array:
        return Array(Storage(shared=array), (chunk,), array.dtype.name, stride=chunk * array.itemsize)

    def _gradient(
        self, given: dict[str, Array], slabs: NDArray[Any], shard_rows: int, norm: Array
    ) -> list[Instruction]:
        """The shards' gradients -> one, clipped by value; its squared norm."""
        optimizer, grad = self.optimizer, given["grad"]
        program: list[tuple[Callable[..., Any], tuple[Operand, ...]]] = []
        if len(slabs) > 1:
            (chunk,), size = grad.shape, slabs.shape[1]
            every = Array(Storage(shared=slabs), ((len(slabs) - 1) * size + chunk,), self.real, stride=grad.stride)
            rows = ControlWord(Word.BATCH_ROWS), constant(shard_rows, self.real)
            program.append((add_slabs, (every, constant(size, self.real), *rows, constant(chunk, self.real))))
        if optimizer.clip_value is not None:
            program.append((clip_gradient, (grad, constant(float(optimizer.clip_value), self.real))))
        if optimizer.clip_norm is not None:
            program.append((gradient_norm, (grad, norm)))
        return [Instruction(function, operands, type(optimizer).__name__, "update") for function, operands in program]

    def _update(self, given: dict[str, Array], factor: Array) -> list[Instruction]:
        """Clip by norm, decay, descend."""
        optimizer, value, grad = self.optimizer, given["value"], given["grad"]
        decay = constant(float(optimizer.weight_decay), self.real)
        program: list[tuple[Callable[..., Any], tuple[Operand, ...]]] = []
        if optimizer.clip_norm is not None:
            program.append((scale_gradient, (grad, factor)))
        if optimizer.weight_decay and optimizer.decoupled:
            program.append((shrink_value, (value, Coefficient(0, self.real), decay)))
        elif optimizer.weight_decay:
            program.append((decay_gradient, (grad, value, decay)))
        named: dict[str, Operand] = {name: Coefficient(i, self.real) for i, name in enumerate(self._names)}
        function = type(optimizer).update
        program.append(
            (function, tuple({**named, **given}.get(name) or optimizer.operand(name, self.real)
                             for name in kernel_names(function)))
        )  # fmt: skip
        return [Instruction(function, operands, type(optimizer).__name__, "update") for function, operands in program]

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
            state[:] = other.states[name]

    def runner(self, program: Program, shard_rows: int, **options: Any) -> Runner:
        """Make a runner that updates the parameters after every step of ``program``."""
        return Runner(
            program, shard_rows, reduce=self.reduce, update=self.update, norms=self.norms,
            clip_norm=float(self.optimizer.clip_norm or 0.0), coefficients=len(self._names), **options,
        )  # fmt: skip

    @lazy
    def _alone(self) -> Runner:
        return self.runner(Program([], self.real, python=self.update.python), 1)

    def step(self, epoch: float = 0.0, epochs: float = 1.0) -> None:
        """Update the parameters once, from the gradient that is there."""
        self.fill(self._alone.coefficients, np.array([float(epoch)]), float(epochs))
        self._alone.order(0, 1, 0, 0, self.steps)
        self._alone.run(0, 1)
        self.steps += 1

    def fill(
        self, coefficients: NDArray[Any], epoch: NDArray[np.float64], epochs: float, done: int = 0
    ) -> NDArray[np.float64]:
        """Compute the coefficients of ``len(epoch)`` steps, which begin at these times; return their rates.

        They are the next ones, but for the first ``done``, which are the last ones.
        """
        first = self.steps - done + 1
        step = np.arange(first, first + len(epoch), dtype=np.float64)
        lr = self.optimizer.lr * self.schedule.factor(epoch, epochs)
        numbers = {"lr": lr, "step": step, **self.optimizer.coefficients(lr, step)}
        for index, name in enumerate(self._names):
            coefficients[: len(epoch), index] = numbers[name]
        return lr
