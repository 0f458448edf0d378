"""What all parts have in common: a constructor that only stores, a repr that can be typed back in, examples."""

from __future__ import annotations

import copy
import dis
import inspect
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from reprlib import recursive_repr
from typing import Any, ClassVar, Self, cast

import numpy as np

from nnkit.core.calls import Called, Familiar, require_known, same, shown
from nnkit.core.registry import Registry
from nnkit.core.travel import keep_sources
from nnkit.engine.hyperparameters import hyperparameter
from nnkit.engine.operands import Constant, Operand, constant
from nnkit.engine.source import require_source
from nnkit.errors import KernelError, ParameterError, ShapeError

__all__ = ["Example", "Part", "Shape", "first_line", "from_strangers", "kernel_names", "listed", "row_shape"]

Shape = tuple[int, ...]


_from_strangers: ContextVar[bool] = ContextVar("_from_strangers", default=False)


@contextmanager
def from_strangers(distrust: bool = True) -> Iterator[None]:
    """While parts are made of what a file says: no name becomes a part that acts outside of the model."""
    token = _from_strangers.set(distrust)
    try:
        yield
    finally:
        _from_strangers.reset(token)


@dataclass(frozen=True)
class Example:
    """A part with legal inputs: the contract tests, the benchmarks and the documentation take theirs from here.

    Attributes
    ----------
    part : the part, ready to use.
    in_shape : shape of one input row (of a prediction row, for a loss); of a layer that reads several values a dict of shapes.
    low, high : range that inputs are drawn from.
    kinks : inputs where there is no derivative; finite differences keep away from them.
    """

    part: Any
    in_shape: Any = (5,)
    low: float = -3.0
    high: float = 3.0
    kinks: tuple[float, ...] = ()


class Part(Familiar):
    """Base of everything that can be registered.

    The constructor stores its arguments under their own names and does nothing else but check them: the repr, copies and
    searches over hyper-parameters follow from that.
    """

    registry: ClassVar[Registry[Any]]
    key: ClassVar[str] = ""
    # It writes files, runs commands or reaches beyond the model in some other way: files from others do not bring it along.
    acts_outside: ClassVar[bool] = False
    # The least and the greatest number that it stands for where it is a hyper-parameter; None: it stands for none.
    extremes: tuple[float, float] | None = None
    # What a class of the kind has to have, and what it may have: the framework calls these methods, and reads these attributes.
    # What each is, with its default, is a table in the docstring of the kind.
    needed: ClassVar[tuple[str, ...]] = ()
    hooks: ClassVar[tuple[str, ...]] = ("examples", "acts_outside", "elsewhere")
    # What PyTorch's or Keras' constructor of this name takes by position, in its words, where that is not as here.
    elsewhere: ClassVar[tuple[str, ...]] = ()
    # Hyper-parameters that mean something in this run alone: files do not hold them.
    unsaved: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        """Nothing to store."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.__module__.startswith("nnkit."):  # whose names the tests look at, not every import
            require_known(cls, cls.hooks)

    @classmethod
    def positions(cls, args: Sequence[Any]) -> tuple[str, ...]:
        """The names of arguments that are given by position, as who knows another library means them."""
        parameters = _parameters(cast(Any, cls))
        return cls.elsewhere or tuple(item.name for item in parameters if item.kind is not item.VAR_KEYWORD)

    @classmethod
    def require_whole(cls) -> None:
        """Refuse a class that lacks what its kind needs."""
        Called.require_whole(cls)

    @classmethod
    def require_sources(cls) -> None:
        """Refuse kernels that were typed where no source is kept, such as Python's prompt."""
        for name, item in vars(cls).items():
            if isinstance(item, staticmethod) and not name.startswith("_"):
                require_source(item.__func__)

    @classmethod
    def require_kept(cls) -> None:
        """Refuse a constructor that keeps an argument under another name, or not at all: repr and copies ask for it."""
        owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
        code = getattr(vars(owner)["__init__"], "__code__", None)
        if code is None or not {"setattr", "vars", "__dict__", "locals"}.isdisjoint(code.co_names):
            return
        stored = {item.argval for item in dis.get_instructions(code) if item.opname == "STORE_ATTR"}
        names = [item.name for item in _parameters(cast(Any, cls))]
        missing = [name for name in names if name not in stored and not hasattr(cls, name)]
        if "__init__" in code.co_names:  # of a class above, which keeps its own
            others_init = [vars(base)["__init__"] for base in owner.__mro__[1:-1] if "__init__" in vars(base)]
            above = {name for init in others_init for name in inspect.signature(init).parameters}
            missing = [name for name in missing if name not in above]
        if missing:
            others = sorted(stored - set(names))
            came = f", got self.{others[0]}" if len(others) == 1 else ""
            raise KernelError(f"{cls.__name__}: expected the constructor to keep {missing[0]} under its own name{came}; write "
                              f"self.{missing[0]} = {missing[0]}, and make what follows from it in build")  # fmt: skip

    @classmethod
    def validate(cls) -> None:
        """Check the class as it is registered."""

    @classmethod
    def make(cls, part: Any, what: str = "") -> Self:
        """A part from a part, its class or its name."""
        if isinstance(part, str):
            named: type[Self] = cls.registry.find(part)
            if named.acts_outside and _from_strangers.get():
                raise ParameterError(f"{what or cls.registry.kind}: expected no part that may write files, run commands or act "
                                     f"outside of the model in other ways, got {part!r}")  # fmt: skip
            return named()
        given: type[Any] = part if isinstance(part, type) else type(part)
        if issubclass(given, cls) or cls.registry.serves(given):  # of a kind within this one: a trainer serves as an optimizer
            return part() if isinstance(part, type) else part  # type: ignore[no-any-return]
        kind = cls.registry.kind
        article = "an" if kind[0] in "aeiou" else "a"
        hint = f"; make it a class that derives from nnkit.{cls.__name__}" if inspect.isroutine(part) else ""
        raise ParameterError(f"{what or kind}: expected {article} {kind} or the name of one, got {part!r}{hint}")

    @classmethod
    def about(cls) -> str:
        """What the class says of itself in its docstring's first line."""
        return first_line(cls)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Ready-made parts with legal inputs; none where the constructor needs arguments, unless overridden."""
        return [] if any(map(_is_required, _parameters(cast(Any, cls)))) else [Example(cls())]

    def hyperparameters(self) -> dict[str, Any]:
        """The constructor's arguments, as this part was made."""
        try:
            return {parameter.name: getattr(self, parameter.name) for parameter in _parameters(cast(Any, type(self)))}
        except AttributeError:
            self.require_kept()  # which was not looked at before, where the class is not registered
            raise

    @classmethod
    def from_hyperparameters(cls, hyperparameters: Mapping[str, Any]) -> Self:
        """The part with these `hyperparameters`; those that are left out are the constructor's own."""
        named = dict(hyperparameters)
        parameters = _parameters(cast(Any, cls))
        several = [item for parameter in parameters if parameter.kind is parameter.VAR_POSITIONAL
                   for item in named.pop(parameter.name, ())]  # fmt: skip
        by_name = [named.pop(parameter.name, {}) for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
        return cls(*several, **named, **dict(*by_name))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The hyper-parameters under the name that scikit-learn asks for; with ``deep``, those of parts within, too."""
        params = self.hyperparameters()
        if deep:
            for name, value in list(params.items()):
                if isinstance(value, Part):
                    params |= {f"{name}__{inner}": item for inner, item in value.get_params().items()}
        return params

    def replace(self, **params: Any) -> Self:
        """The same part with other hyper-parameters."""
        unknown = sorted(set(params) - set(self.hyperparameters()))
        if unknown:
            known = ", ".join(self.hyperparameters()) or "no hyper-parameters"
            raise ParameterError(f"{self!r}: expected some of {known}, got {unknown[0]!r}")
        return self.from_hyperparameters({**self.hyperparameters(), **params})

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle it; a class that other processes cannot import takes the source of its kernels along."""
        keep_sources(type(self))
        return super().__reduce_ex__(protocol)

    def __sklearn_clone__(self) -> Self:
        """Training leaves a part as it is, so a copy is what scikit-learn calls a clone."""
        return copy.deepcopy(self)

    def number(self, name: str, real: str) -> Constant:
        """An attribute as a kernel gets it: where the constructor says float, an integer counts as a real number, too."""
        value, cls = getattr(self, name), cast(Any, type(self))
        return constant(float(value) if name in _real_parameters(cls) else value, real)

    def operand(self, name: str, real: str) -> Operand:
        """An attribute as a kernel gets it: a `number`, several of them, or None.

        Raises
        ------
        KernelError
            There is none of this name, or it is something that compiled code does not have.
        """
        who, cls = type(self).__name__, cast(Any, type(self))
        if not self.provides(name):
            raise KernelError(f"{who}: a kernel names {name!r}, which nobody provides")
        value = getattr(self, name)
        if isinstance(value, bool | int | float | np.number):
            return self.number(name, real)
        if isinstance(value, Operand):
            return value
        try:
            return hyperparameter(value, real, name in _real_parameters(cls))
        except KernelError as error:
            raise KernelError(f"{who}: a kernel names {name!r}: {error}") from None

    def provides(self, name: str) -> bool:
        """Whether there is an attribute of this name that is data, and so may be meant for a kernel."""
        return hasattr(self, name) and not inspect.isroutine(getattr(self, name))

    @recursive_repr("...")
    def __repr__(self) -> str:
        shown: list[str] = []
        kept = self.hyperparameters()
        for parameter in _parameters(cast(Any, type(self))):
            value = kept[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                shown += map(repr, value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                shown += [f"{name}={item!r}" for name, item in value.items()]
            elif _is_required(parameter):
                shown.append(_typed(value))
            elif not same(value, parameter.default):
                shown.append(f"{parameter.name}={_typed(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def require(self, name: str, condition: bool, expected: str) -> None:
        """Refuse a hyper-parameter that does not meet ``condition``."""
        if not condition:
            raise ParameterError(f"{type(self).__name__}: expected {name} to be {expected}, got {shown(getattr(self, name))}")

    def require_number(
        self, name: str, low: float = -np.inf, high: float = np.inf, *, above: bool = False, below: bool = False
    ) -> None:
        """Refuse a hyper-parameter that is not a finite number in [low, high]; ``above`` and ``below`` exclude an end."""
        given = getattr(self, name)
        self._require_64_bits(name)
        ends = f"{'(' if above or low == -np.inf else '['}{low:g}, {high:g}{')' if below or high == np.inf else ']'}"
        extremes = given.extremes if isinstance(given, Part) else None
        for value in (given,) if extremes is None else extremes:
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            fits = number and np.isfinite(value) and low <= value <= high
            fits = fits and not (above and value == low) and not (below and value == high)
            self.require(name, bool(fits), f"a number in {ends}")

    def require_fractions(self, name: str, count: int = 2) -> None:
        """Refuse a hyper-parameter that is not so many numbers in [0, 1), or schedules of such."""
        given = getattr(self, name)
        fits = isinstance(given, tuple | list) and len(given) == count
        for value in given if fits else ():
            ends = value.extremes if isinstance(value, Part) and value.extremes is not None else (value,)
            fits = fits and all(isinstance(end, int | float | np.number) and 0 <= end < 1 for end in ends)
        self.require(name, fits, f"{('one', 'two', 'three')[count - 1]} numbers in [0, 1)")

    def require_eps(self) -> None:
        """Refuse an ``eps`` that is not a small number above 0: it only keeps a quotient finite."""
        self.require_number("eps", 0.0, 1.0, above=True, below=True)

    def require_size(self, name: str, low: int = 1) -> None:
        """Refuse a hyper-parameter that is not an integer of at least ``low``."""
        value = getattr(self, name)
        self._require_64_bits(name)
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        self.require(name, whole and value >= low, f"an integer of at least {low}")

    def _require_64_bits(self, name: str) -> None:
        """Refuse a whole number that no kernel can be given."""
        value = getattr(self, name)
        self.require(name, not isinstance(value, int) or -(2**63) <= value < 2**63, "from -2**63 to 2**63 - 1")


@cache
def _parameters(cls: Any) -> tuple[inspect.Parameter, ...]:
    """The constructor's parameters, without ``self``."""
    return tuple(inspect.signature(cls).parameters.values())


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD


@cache
def _real_parameters(cls: Any) -> frozenset[str]:
    """Which of the constructor's parameters are real numbers, or hold such, by their annotation or their default."""
    names = set()
    for item in _parameters(cls):
        said = set(re.findall(r"\w+", item.annotation if isinstance(item.annotation, str) else repr(item.annotation)))
        default = item.default if isinstance(item.default, tuple) else (item.default,)
        if ("float" in said and "int" not in said) or any(type(number) is float for number in default):
            names.add(item.name)
    return frozenset(names)


def _typed(value: Any) -> str:
    """A hyper-parameter as it is typed, in one line."""
    if isinstance(value, float) and np.isinf(value):
        return "np.inf" if value > 0 else "-np.inf"
    if not isinstance(value, np.ndarray):
        return repr(value)
    numbers = " ".join(np.array2string(value, separator=", ", formatter={"float_kind": str}).split())
    usual = value.dtype in (np.float64, np.int64, np.bool_)
    return f"np.array({numbers}{'' if usual else f', dtype={value.dtype.name!r}'})"


def listed(parts: Any) -> list[Any]:
    """Several parts, or one alone."""
    return list(parts) if isinstance(parts, list | tuple | np.ndarray) else [parts]


def kernel_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a kernel's arguments, without the ``self`` of a part in plain NumPy."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    return names[1:] if names[:1] == ("self",) else names


def first_line(item: Any) -> str:
    """What the docstring of a class or function says first."""
    return (item.__doc__ or "").strip().partition("\n")[0]


def row_shape(in_shape: Sequence[int] | int, who: str) -> Shape:
    """The shape of one input row as a user gives it; a number is that of its features."""
    try:
        shape = (operator.index(in_shape),) if not hasattr(in_shape, "__iter__") else tuple(map(operator.index, in_shape))
    except TypeError:
        shape = (0,)
    if any(size < 1 for size in shape):
        raise ShapeError(f"{who}: expected in_shape of positive integers, got {in_shape!r}")
    return shape
