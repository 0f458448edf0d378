"""Calls that explain themselves: who calls a class or a function as another library's is told how it is called here."""

from __future__ import annotations

import difflib
import inspect
import reprlib
import sys
import weakref
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import numpy as np

from nnkit.core.words import ATTRIBUTES, HOOKS, NEEDLESS, RENAMED
from nnkit.errors import CallError, KernelError

__all__ = [
    "Absent", "Called", "Familiar", "brief", "explained", "nearest", "no_attribute", "present", "require_known", "same",
    "shown",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")

ALIKE = 0.82  # how similar a name is to a misspelt one; names of different methods are less
LONGEST, LONGEST_CALL = 80, 240  # letters of a value, and of a call, in a message

_short = reprlib.Repr()
_short.maxstring, _short.maxother = LONGEST, LONGEST + 1  # no part of an array: it goes by its name


class Called(ABCMeta):
    """The type of classes whose constructor explains itself.

    What a constructor does not take is refused under the name of the class, with the call as it is written here; what it
    says to be a truth value is one; and a class that lacks a method makes no instances.
    """

    checks_values = True  # in the constructor
    exchanged = 0  # how often something of a class was exchanged for something else

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's, for `inspect.signature` and for help: that of `__call__` says nothing."""
        return _signature(cls)

    def __dir__(cls) -> list[str]:
        return present(cls, super().__dir__())

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        Called.exchanged += not name.startswith("__")  # what Python itself notes of a class is none

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        Called.exchanged += 1

    if not TYPE_CHECKING:  # or checkers would not look at the constructors

        def __call__(cls, *args: Any, **named: Any) -> Any:
            if _whole.get(cls) != Called.exchanged:
                cls.require_whole()
                _whole[cls] = Called.exchanged
            if cls.checks_values:
                args, named = _with_truths(cls.__name__, _truth_values(cls), args, named)
            try:
                return super().__call__(*args, **named)
            except TypeError:
                _require_fit(cls.__name__, _signature(cls), args, named, getattr(cls, "positions", None))
                raise

    def require_whole(cls) -> None:
        """Refuse a class that lacks what its kind needs."""
        needed = {name: getattr(cls, name, None) for name in getattr(cls, "needed", ())}
        missing = [name for name, method in needed.items() if getattr(method, "__isabstractmethod__", method is None)]
        if missing:
            written = " and ".join(name + _written(method) for name, method in needed.items())
            what = "a method" if len(needed) == 1 else "methods"
            raise KernelError(f"{cls.__name__}: expected {what} {written}, {' and '.join(missing)} missing")


_whole: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # when a class was last looked at


def present(cls: type, names: Iterable[str]) -> list[str]:
    """Those of these names of a class's attributes that are there."""
    return [name for name in names if not isinstance(inspect.getattr_static(cls, name, None), Absent)]


class Absent:
    """An attribute that is not there, and says what is written instead.

    As a ``__getattr__``, it would make every attribute slower.
    """

    def __init__(self, name: str, hint: str) -> None:
        self.name, self.hint = name, hint

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        who = owner.__name__
        raise AttributeError(f"{who!r} object has no attribute {self.name!r}; {self.hint}", name=self.name, obj=instance)


class Familiar(metaclass=Called):
    """A class whose instances say what is written here, where somebody asks for another library's method."""

    if not TYPE_CHECKING:
        locals().update({name: Absent(name, hint) for name, hint in ATTRIBUTES.items()})

    def __dir__(self) -> list[str]:
        return present(type(self), super().__dir__())

    def _held(self) -> dict[str, Any]:
        """What makes it what it is, beside its class."""
        return vars(self)


def _written(method: Any) -> str:
    """The arguments of an abstract method, as they are written in a class."""
    if method is None or not hasattr(method, "__isabstractmethod__"):
        return ""
    parameters = inspect.signature(method).parameters.values()
    return f"({', '.join(str(item.replace(annotation=item.empty)) for item in parameters)})"


def require_known(cls: type, hooks: Sequence[str]) -> None:
    """Refuse a class with a name of its own that is a hook misspelt, or another library's word for it: nobody would call it."""
    for name in vars(cls):
        inherited = any(hasattr(base, name) for base in cls.__bases__)
        if inherited or name in hooks or name.startswith("_") or name in vars(cls).get("__annotations__", ()):
            continue
        long = [hook for hook in hooks if len(hook) > 4]  # words like "late" have other words near
        near = HOOKS[name] if HOOKS.get(name) in hooks else nearest(name, long, ALIKE)
        if near and near not in vars(cls):
            raise KernelError(f"{cls.__name__}: expected names that are known, got {name!r}, which nobody calls or reads; did "
                              f"you mean {near!r}?")  # fmt: skip


def no_attribute(item: Any, name: str) -> AttributeError:
    """The error for an attribute that is not there."""
    who = type(item).__name__
    hint = f"; {ATTRIBUTES[name]}" if name in ATTRIBUTES else ""
    return AttributeError(f"{who!r} object has no attribute {name!r}{hint}", name=name, obj=item)


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Let a method explain itself as the constructors do."""
    signature = inspect.signature(function)
    own = signature.replace(parameters=tuple(signature.parameters.values())[1:])
    truths = _truths_of(own)

    @wraps(function)
    def call(self: Any, /, *args: Any, **named: Any) -> R:
        who = f"{type(self).__name__}.{function.__name__}"
        args, named = _with_truths(who, truths, args, named)
        try:
            return function(self, *args, **named)
        except KernelError as error:
            raise _brief(error) from None
        except TypeError:
            _require_fit(who, own, args, named)
            raise

    return call  # type: ignore[return-value]


def brief(function: Callable[P, R]) -> Callable[P, R]:
    """Let an error in a kernel leave a method in a few lines."""

    @wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        try:
            return function(*args, **named)
        except KernelError as error:
            raise _brief(error) from None

    return call


def _brief(error: KernelError) -> KernelError:
    """The error without the way through the engine, which says nothing: it says where it is itself."""
    return error.with_traceback(_of_others(error.__traceback__))


def _of_others(entry: TracebackType | None) -> TracebackType | None:
    """A traceback without the lines of nnkit and of the compiler."""
    if entry is None:
        return None
    rest = _of_others(entry.tb_next)
    if str(entry.tb_frame.f_globals.get("__name__")).startswith(("nnkit.", "numba.")):
        return rest
    return TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)


def nearest(word: str, words: Any, cutoff: float = 0.6) -> str | None:
    """The most similar word, whatever its letters' case."""
    known = {str(item).lower(): str(item) for item in reversed(list(words))}
    near = difflib.get_close_matches(str(word).lower(), list(known), 1, cutoff)
    return known[near[0]] if near else None


@cache
def _signature(cls: Any) -> inspect.Signature:
    """The constructor's signature, without ``self``."""
    signature = inspect.signature(cls.__init__)
    return signature.replace(
        parameters=tuple(signature.parameters.values())[1:], return_annotation=inspect.Signature.empty
    )


def _truths_of(signature: inspect.Signature) -> dict[str, int]:
    """Parameters that are truth values, by their annotations or their defaults, and their places in a call."""
    return {
        item.name: place if item.kind is item.POSITIONAL_OR_KEYWORD else sys.maxsize
        for place, item in enumerate(signature.parameters.values())
        if item.annotation in (bool, "bool") or (type(item.default) is bool and item.annotation is item.empty)
    }  # fmt: skip


@cache
def _truth_values(cls: Any) -> dict[str, int]:
    """Those of the constructor."""
    return _truths_of(_signature(cls))


def _with_truths(
    who: str, truths: dict[str, int], args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:  # fmt: skip
    """The arguments of a call, of which these are truth values, NumPy's as Python's."""
    for name, place in truths.items():
        by_name = name in named
        if not by_name and place >= len(args):
            continue
        value = named[name] if by_name else args[place]
        if isinstance(value, np.bool_):
            named, args = ({**named, name: bool(value)}, args) if by_name else \
                (named, (*args[:place], bool(value), *args[place + 1 :]))
        elif not isinstance(value, bool):
            raise CallError(f"{who}: expected {name} to be True or False, got {shown(value)}")
    return args, named


def _require_fit(
    who: str, signature: inspect.Signature, args: tuple[Any, ...], named: dict[str, Any],
    positions: Callable[[Sequence[Any]], tuple[str, ...]] | None = None,
) -> None:  # fmt: skip
    """Refuse a call that the signature does not take."""
    try:
        signature.bind(*args, **named)
    except TypeError:
        order = positions(args) if positions and args else ()
        raise CallError(_Misfit(who, signature, args, named, order).message()) from None


class _Misfit:
    """A call that a signature does not take, and what would be written instead."""

    def __init__(
        self, who: str, signature: inspect.Signature, args: tuple[Any, ...], named: Mapping[str, Any], order: tuple[str, ...]
    ) -> None:
        self.who, self.args, self.named = who, args, named
        self.parameters = signature.parameters
        kinds = [(name, item.kind) for name, item in self.parameters.items()]
        self.positional = [name for name, kind in kinds if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        self.rest = next((name for name, kind in kinds if kind is inspect.Parameter.VAR_POSITIONAL), None)
        self.any_name = next((name for name, kind in kinds if kind is inspect.Parameter.VAR_KEYWORD), None)
        self.too_many = self.rest is None and len(args) > len(self.positional)
        self.twice = [name for name in self.positional[: len(args)] if name in named]
        # Who gives too much by position means another library's order.
        self.order = order if order and (self.too_many or self.twice) else tuple(self.positional)
        self.notes: list[str] = []

    def message(self) -> str:
        """Who, what was expected, what came, and what to write."""
        unexpected = [word for word in self.named if word not in self.parameters]
        free = (self.rest, self.any_name)
        missing = [name for name, item in self.parameters.items() if item.default is item.empty and name not in free]
        write = self._several() or self._under_names() or self._written(missing)
        write = write if write is not None and len(write) <= LONGEST_CALL else None
        call = self._call(self.args, self.named, self.order)
        if self.too_many:
            values = "1 value" if len(self.args) == 1 else f"{len(self.args)} values"
            what = f"{call}: expected {', '.join(self.positional) or 'nothing'} by position, got {values}"
        elif unexpected:
            what = f"{self.who}(...) got an unexpected argument {unexpected[0]!r}"
        elif self.twice:
            what = f"{call}: got {self.twice[0]} twice"
        else:
            lacking = [name for name in missing[len(self.args) :] if name not in self.named]
            what = f"{call}: expected {' and '.join(lacking)}, missing"
        return "; ".join([what, *dict.fromkeys(self.notes), *([f"write {write}"] if write else [])]).replace("?;", "?")

    def _several(self) -> str | None:
        """The call with one list, where values are given one by one."""
        first = self.parameters[self.positional[0]] if len(self.positional) == 1 else None
        if first is None or not self.too_many or not str(first.annotation).startswith(("Sequence", "Iterable")):
            return None
        return self._call((list(self.args),), self.named, self.positional)

    def _under_names(self) -> str | None:
        """The call with a name for each value, where a constructor takes any names."""
        if self.any_name is None or not self.too_many:
            return None
        self.notes.append("each goes by a name that you choose")
        first = self.args[0]
        if isinstance(first, Mapping):
            return f"{self.who}(**{_shown(first) or '{...}'})"
        values = list(first) if isinstance(first, list | tuple) and len(self.args) == 1 else self.args
        return self._call((), dict(zip("abcdefgh", values, strict=False)), ())

    def _written(self, missing: list[str]) -> str | None:
        """The call as it is written here: by position what may be, and by name what was, under its name here."""
        if self.rest is not None:
            return None
        placed = self._meant(dict(zip(self.order, self.args, strict=False)))
        named = self._meant(self.named)
        args: list[Any] = []
        for name in self.positional:
            if name not in placed or name in named:
                break
            args.append(placed.pop(name))
        moved = {name: value for name, value in placed.items() if not same(value, self.parameters[name].default)}
        lacking = [name for name in missing if name not in {**moved, **named} and name not in self.positional[: len(args)]]
        return self._call(args, {**moved, **named, **dict.fromkeys(lacking, ...)}, self.positional)

    def _meant(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments under their names here; notes what there is to say."""
        meant = {self._here(word): value for word, value in given.items()}
        return {name: value for name, value in meant.items() if name is not None}

    def _here(self, word: str) -> str | None:
        if word in self.parameters:
            return word
        renamed = next((name for name in RENAMED.get(word, ()) if name in self.parameters), None)
        if renamed is not None:
            self.notes.append(f"{word} is {renamed} here")
            return renamed
        if word in NEEDLESS:
            self.notes.append(NEEDLESS[word])
            return None
        near = nearest(word, self.parameters, 0.7)
        self.notes.append(f"did you mean {near!r}?" if near else f"it takes {', '.join(self.parameters) or 'no arguments'}")
        return near

    def _call(self, args: Sequence[Any], named: Mapping[str, Any], order: Sequence[str]) -> str:
        """A call in one line; what is long goes by its name."""
        names = [*order, *("..." for _ in args)]
        shown = [_shown(value) or name for name, value in zip(names, args, strict=False)]
        shown += [f"{name}={'...' if value is ... else _shown(value) or name}" for name, value in named.items()]
        return f"{self.who}({', '.join(shown)})"


def shown(value: Any) -> str:
    """A value in one line of a message; of what is long, the class."""
    return _shown(value) or f"{type(value).__name__}(...)"


def _shown(value: Any) -> str | None:
    """A value in one short line, if it has one."""
    text = _short.repr(value)
    return text if len(text) <= LONGEST and "\n" not in text else None


def same(value: Any, other: Any) -> bool:
    """Whether two hyper-parameters say the same."""
    if value is other or type(value) is not type(other):
        return value is other
    if isinstance(value, np.ndarray):
        return value.dtype == other.dtype and np.array_equal(value, other)
    return bool(np.all(value == other))
