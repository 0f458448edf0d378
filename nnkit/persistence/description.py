"""Parts and their hyper-parameters as JSON, and back: every registered part, a plugin's too, with no code of its own.

What JSON knows stands for itself: null, truth values, integers, finite floats, strings and lists. Everything else is an object
with one entry, whose name says what it is::

    {"tuple": [3, 3]}    {"float": "inf"}    {"number": ["float32", 0.5]}    {"dict": [["a", 1.0]]}
    {"array": "array.0"}     numbers, kept as a tensor of this name
    {"part": 2}              number 2 in the table of parts
    {"model": 3}             the same as a model, where it is an argument of a container

An entry of the table is a part, ``{"kind": "layer", "key": "linear", "arguments": {...}, "from": ["nnkit-numba", "0.1.0"]}``,
or layers one after the other, ``{"layers": [{"part": 0}, {"part": 1}]}``. It names only entries before it: nothing turns in
circles, and what was one object is one object again. A class is only ever looked up in the registry, by kind and key. Strings
that may be names of plugins' parts are listed with where those came from, so that it can be said what is missing.

Parts that act outside of the model (`Part.acts_outside`) are not even made of what a file says, unless it is trusted: a
`LeftOut` stands in their place, which nothing but a list of callbacks may hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import singledispatchmethod
from math import isfinite, prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nnkit.about import DISTRIBUTION, install
from nnkit.core.callback import Callback
from nnkit.core.container import Chain, Model, chain_of
from nnkit.core.layer import Layer
from nnkit.core.part import Part, listed
from nnkit.core.plugins import provider
from nnkit.core.registry import named, registry_of
from nnkit.errors import PersistenceError, RegistryError
from nnkit.persistence.file import DTYPES

__all__ = ["PARTS_LIMIT", "Describer", "Restorer"]

PARTS_LIMIT = 10_000  # parts of a model, each counted as often as it is used: more take minutes to lay out
STRINGS_LIMIT = 1 << 26  # characters of an array of strings, where each takes as many as the longest
TEXT = 500  # characters of a part that is left out
LONG = 16  # floats of a list from which on they are kept as a tensor

Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")


class Describer:
    """Turns values into JSON.

    Attributes
    ----------
    parts : the table of parts
    names : kind, key, distribution and version of the parts that strings may name
    arrays : the tensors that descriptions name
    """

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.names: list[list[str]] = []
        self.arrays: Arrays = {}
        self._numbers: dict[int, int] = {}  # of parts in the table, by their id
        self._held: list[Any] = []  # parts whose ids these are

    def describe(self, value: Any, where: str) -> Any:
        """``value`` as JSON; ``where`` says in messages whose it is.

        Raises
        ------
        PersistenceError
            It cannot be described, or a class is not registered.
        """
        try:
            return self._describe(value, where)
        except RecursionError:
            raise PersistenceError(f"save: cannot describe {where}: expected layers and lists in each other, but not hundreds "
                                   "deep, nor within themselves") from None  # fmt: skip

    @singledispatchmethod
    def _describe(self, value: Any, where: str) -> Any:
        if value is None:
            return None
        raise PersistenceError(
            f"save: cannot describe {where}, {value!r}: expected None, numbers, strings, arrays, registered parts, or tuples, "
            f"lists and dicts of these, got {type(value).__name__}"
        )

    @_describe.register
    def _(self, value: int, where: str) -> Any:
        return value if isinstance(value, bool) else int(value)

    @_describe.register
    def _(self, value: float, where: str) -> Any:
        return float(value) if isfinite(value) else {"float": repr(float(value))}

    @_describe.register
    def _(self, value: str, where: str) -> Any:
        for cls in named(value):
            entry = [cls.registry.kind, cls.key, *provider(cls)]
            if provider(cls) != provider(Part) and entry not in self.names:
                self.names.append(entry)
        return str(value)

    @_describe.register
    def _(self, value: np.number | np.bool_, where: str) -> Any:
        if value.dtype.name not in DTYPES.values():
            raise PersistenceError(f"save: cannot describe {where}, {value!r}: expected real numbers of at most 64 bits")
        return {"number": [value.dtype.name, self._describe(value.item(), where)]}

    @_describe.register
    def _(self, value: list, where: str) -> Any:  # type: ignore[type-arg]
        if len(value) >= LONG and all(type(item) is float for item in value):
            return {"floats": self._keep(np.array(value))}
        return [self._describe(item, where) for item in value]

    @_describe.register
    def _(self, value: tuple, where: str) -> Any:  # type: ignore[type-arg]
        return {"tuple": [self._describe(item, where) for item in value]}

    @_describe.register
    def _(self, value: dict, where: str) -> Any:  # type: ignore[type-arg]
        return {"dict": [[self._describe(key, where), self._describe(item, where)] for key, item in value.items()]}

    @_describe.register
    def _(self, value: np.ndarray, where: str) -> Any:
        if value.dtype.name in DTYPES.values():
            return {"array": self._keep(value)}
        if value.dtype.kind not in "UO":
            raise PersistenceError(f"save: cannot describe {where}, an array of {value.dtype}: expected numbers or strings")
        items = [self._describe(item, where) for item in value.ravel().tolist()]
        return {"strings" if value.dtype.kind == "U" else "objects": [list(value.shape), items]}

    @_describe.register
    def _(self, value: np.random.RandomState, where: str) -> Any:
        state = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise PersistenceError(f"save: cannot describe {where}, {value!r}: expected a RandomState as NumPy makes it")
        inner = state["state"]
        return {"random_state": [self._keep(inner["key"]), inner["pos"], state["has_gauss"], state["gauss"]]}

    @_describe.register
    def _(self, value: type, where: str) -> Any:
        if not issubclass(value, Part):
            raise PersistenceError(f"save: cannot describe {where}, {value!r}: expected a part or its class")
        return self._describe(_key(value), where)

    @_describe.register
    def _(self, value: Part, where: str) -> Any:
        return {"part": self._number(value)}

    @_describe.register
    def _(self, value: Model, where: str) -> Any:
        return {"model": self._number(chain_of(value))}

    def _keep(self, array: NDArray[Any]) -> str:
        name = f"array.{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def _number(self, part: Part) -> int:
        """The place of a part in the table, where it is entered only once."""
        if id(part) not in self._numbers:
            entry = self._entry(part)  # parts within come before
            self._numbers[id(part)] = len(self.parts)
            self._held.append(part)
            self.parts.append(entry)
        return self._numbers[id(part)]

    def _entry(self, part: Part) -> dict[str, Any]:
        if isinstance(part, Chain):
            return {"layers": [self._describe(layer, "a layer") for layer in part.layers]}
        cls = type(part)
        key = _key(cls)
        arguments = {name: self._describe(value, f"{cls.__name__}'s {name}")
                     for name, value in part.hyperparameters().items() if name not in cls.unsaved}  # fmt: skip
        return {"kind": cls.registry.kind, "key": key, "arguments": arguments, "from": list(provider(cls))}


def _key(cls: type[Part]) -> str:
    """The name under which a class is registered."""
    registered = cls.key and cls.registry.find(cls.key) is cls
    if not registered:
        raise PersistenceError(
            f"save: {cls.__module__}.{cls.__qualname__} is not registered, so that load could not find it; write "
            f'@nnkit.register("a_name") above the class, in a module that is imported before load'
        )
    return cls.key


@dataclass(frozen=True)
class LeftOut:
    """Stands for a part that acts outside of the model, in a file that nobody has said to trust."""

    text: str  # as it is typed


class Restorer:
    """Makes values from JSON that may come from anybody.

    Parameters
    ----------
    table, names : those of the `Describer`
    read : gives a tensor by its name
    trust : make parts that act outside of the model, too
    make_model : makes a model of layers

    Attributes
    ----------
    left_out : those that were not made and are not missed, and where they stood
    trusted : those that were made
    """

    def __init__(
        self, table: Any, names: Any, read: Callable[[str], NDArray[Any]], trust: bool = False,
        make_model: Callable[[list[Layer]], Model] = Model,
    ) -> None:  # fmt: skip
        self._read = read
        self._make_model = make_model
        self._trust = trust
        self.left_out: list[str] = []
        self.trusted: list[str] = []
        self._names = [_several(entry, 4, "a name and its origin") for entry in _checked(names, list, "names")]
        self._parts: list[Part | Model] = []
        self._uses: list[int] = []  # how many parts each is, with those within, counted as often as they are used
        self._using = 0
        self._taken: set[str] = set()  # tensors
        for entry in _checked(table, list, "a table of parts"):
            self._using = 1
            self._parts.append(self._restored(_checked(entry, dict, "a part")))
            self._uses.append(self._using)
        self._using = 0

    def restore(self, described: Any) -> Any:
        """The value that was described.

        Raises
        ------
        PersistenceError
            Nobody has described it so.
        """
        if isinstance(described, list):
            return [self.restore(item) for item in described]
        if not isinstance(described, dict):
            return described
        if len(described) != 1:
            raise PersistenceError("expected a described value to have one entry")
        ((tag, content),) = described.items()
        method = _TAGS.get(tag)
        if method is None:
            raise PersistenceError(f"expected one of {', '.join(_TAGS)}, got {tag[:40]!r}")
        return method(self, content)

    def make(self, what: str, function: Callable[..., T], *given: Any) -> T:
        """``function(*given)``; whatever it raises, what the file holds was wrong, or a part is missing that it names."""
        try:
            return function(*given)
        except PersistenceError:
            raise
        except Exception as error:
            if isinstance(error, RegistryError):
                for kind, key, *origin in self._names:
                    _find(_checked(kind, str, "a kind"), _checked(key, str, "a name"), _origin(origin))
            raise PersistenceError(f"cannot make {what[:120]}: {type(error).__name__}: {str(error)[:1000]}") from error

    def accepted(self, value: Any, where: str, kind: type[Part] | None = None, *, names: bool = True) -> Any:
        """A restored argument, if it brings nothing that acts outside of the model, and no number that no machine has.

        Parameters
        ----------
        value : maybe with parts in it, or with names that stand for such
        where : whose it is, for the message
        kind : what those names stand for, if that is known: what no plugin has registered yet is looked for, too
        names : whether strings may be names of parts

        Raises
        ------
        PersistenceError
            It brings such.
        """
        for item in _leaves(value):
            if type(item) is int and not -(2**63) <= item < 2**63:
                raise PersistenceError(f"expected {where} to hold integers of at most 64 bits, got {item.bit_length()}")
            if (names or not isinstance(item, str)) and self._acts(item, kind):
                raise PersistenceError(f"{where} is or has {_text(item)}, which may write files, run commands or act "
                                       "outside of the model in other ways; if you trust who wrote the file: "
                                       "nnkit.load(path, trust=True)")  # fmt: skip
        return value

    def quiet(self, callbacks: Any, where: str) -> Any:
        """Callbacks without those that act outside of the model, or of which nobody knows what they do."""
        items = listed(callbacks)
        if self._trust:
            self.trusted += [repr(item) for item in items if isinstance(item, str)]
            return callbacks
        acting = [(isinstance(item, str) and not _found(Callback, item)) or self._acts(item, Callback) for item in items]
        if not any(acting):
            return callbacks
        self.left_out += [f"{_text(item)} ({where})" for item, acts in zip(items, acting, strict=True) if acts]
        kept = [item for item, acts in zip(items, acting, strict=True) if not acts]
        return tuple(kept) if isinstance(callbacks, tuple) else kept

    def _acts(self, item: Any, kind: type[Part] | None) -> bool:
        """Whether a value, or the part whose name it may be, acts outside of the model."""
        if isinstance(item, str) and not self._trust:
            return any(cls.acts_outside for cls in [*named(item), *([] if kind is None else _found(kind, item))])
        return isinstance(item, LeftOut)

    def _restored(self, entry: dict[str, Any]) -> Any:
        if "layers" in entry:
            layers = self.accepted(self.restore(_checked(entry["layers"], list, "layers")), "a chain of layers")
            return self.make("a chain of layers", self._make_model, layers)
        kind, key = (_checked(entry.get(name), str, f"the {name} of a part") for name in ("kind", "key"))
        described = _checked(entry.get("arguments"), dict, f"the arguments of {key[:40]!r}")
        cls = _find(kind, key, _origin(entry.get("from")))
        arguments = {name: self.restore(value) for name, value in described.items()}
        if cls.acts_outside and not self._trust:
            return LeftOut(self.make(f"{kind} {key!r}", _typed, cls, arguments))
        for name, value in arguments.items():
            self.accepted(value, f"{cls.__name__}'s {name[:40]}")
        part = self.make(f"{kind} {key!r}", cls.from_hyperparameters, arguments)
        self.trusted += [repr(part)] * cls.acts_outside
        return part

    def _part(self, content: Any) -> Any:
        found = self._at(content)
        return chain_of(found) if isinstance(found, Model) else found

    def _model(self, content: Any) -> Any:
        found = self._at(content)
        if not isinstance(found, Model):
            raise PersistenceError(f"expected a model, got {type(found).__name__}")
        return found

    def _at(self, place: Any) -> Any:
        if type(place) is not int or not 0 <= place < len(self._parts):
            raise PersistenceError(f"expected a part among the {len(self._parts)} before it")
        self._using += self._uses[place]
        if self._using > PARTS_LIMIT:
            raise PersistenceError(f"expected at most {PARTS_LIMIT} parts, each counted as often as it is used")
        return self._parts[place]

    def _array(self, content: Any) -> Any:
        name = _checked(content, str, "the name of a tensor")
        if name in self._taken:  # or a short file could ask for a long tensor many times
            raise PersistenceError(f"expected tensor {name!r} to be described once")
        self._taken.add(name)
        return self._read(name)

    def _floats(self, content: Any) -> Any:
        array = self._array(content)
        if array.dtype != np.float64 or array.ndim != 1:
            raise PersistenceError("expected a list of floats")
        return array.tolist()

    def _float(self, content: Any) -> Any:
        if content not in ("inf", "-inf", "nan"):
            raise PersistenceError("expected inf, -inf or nan")
        return float(content)

    def _scalar(self, content: Any) -> Any:
        dtype, value = _several(content, 2, "a number with its dtype")
        value = self.restore(value)
        if dtype not in DTYPES.values() or not isinstance(value, int | float):
            raise PersistenceError("expected a number with its dtype")
        return self.make("a number", np.dtype(dtype).type, value)

    def _tuple(self, content: Any) -> Any:
        return tuple(self.restore(_checked(content, list, "a tuple")))

    def _dict(self, content: Any) -> Any:
        pairs = [_several(item, 2, "a pair") for item in _checked(content, list, "pairs")]
        return self.make("a dict", dict, [(self.restore(key), self.restore(value)) for key, value in pairs])

    def _objects(self, content: Any, dtype: Any = object) -> Any:
        shape, items = _several(content, 2, "a shape and its items")
        sizes, values = _checked(shape, list, "a shape"), _checked(items, list, "items")
        if not all(type(size) is int and size >= 0 for size in sizes) or prod(sizes) != len(values):
            raise PersistenceError("expected as many items as the shape holds")
        array = np.empty(len(values), object)
        array[:] = [self.restore(value) for value in values]
        longest = max((len(_checked(item, str, "a string")) for item in array), default=0) if dtype is str else 0
        if longest * len(array) > STRINGS_LIMIT:
            raise PersistenceError(f"expected an array of strings of at most {STRINGS_LIMIT} characters")
        return self.make("an array", array.astype(dtype).reshape, sizes)

    def _strings(self, content: Any) -> Any:
        return self._objects(content, str)

    def _random_state(self, content: Any) -> Any:
        name, place, has_gauss, gauss = _several(content, 4, "a random state")
        key = self._array(name)
        whole = key.dtype == np.uint32 and key.shape == (624,) and type(place) is int and 0 <= place <= 624
        if not whole or has_gauss not in (0, 1) or not isinstance(gauss, float):
            raise PersistenceError("expected the state of a RandomState")
        random = np.random.RandomState()
        random.set_state(("MT19937", key, place, int(has_gauss), gauss))
        return random


_TAGS: dict[str, Callable[[Restorer, Any], Any]] = {
    "part": Restorer._part, "model": Restorer._model, "array": Restorer._array, "floats": Restorer._floats,
    "float": Restorer._float, "number": Restorer._scalar, "tuple": Restorer._tuple, "dict": Restorer._dict,
    "objects": Restorer._objects, "strings": Restorer._strings, "random_state": Restorer._random_state,
}  # fmt: skip


def _leaves(value: Any) -> Iterator[Any]:
    """What a restored value is made of; of dicts the values."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist() if value.dtype.kind in "OU" else []
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _text(item: Any) -> str:
    """A part that is left out, or the name of one, as it is typed."""
    return item.text if isinstance(item, LeftOut) else repr(item)[:TEXT]


def _found(kind: type[Part], name: str) -> list[type[Part]]:
    """The class of this name, also of a plugin that is not imported yet, in a list; nothing where there is none."""
    try:
        return [kind.registry.find(name)]
    except RegistryError:
        return []


def _typed(cls: type[Part], arguments: dict[str, Any]) -> str:
    """How a part of these arguments is typed, at some length."""
    text = f"{cls.__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
    return text if len(text) <= TEXT else f"{text[: TEXT - 4]}...)"


def _checked(value: Any, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise PersistenceError(f"expected {what}, got {type(value).__name__}")
    return value


def _several(value: Any, count: int, what: str) -> Any:
    if len(_checked(value, list, what)) != count:
        raise PersistenceError(f"expected {what}, got {len(value)} items")
    return value


def _origin(described: Any) -> tuple[str, str]:
    """Distribution and version of a part, or nothing and its module, where they look like such."""
    if not (isinstance(described, list) and len(described) == 2 and all(isinstance(item, str) for item in described)):
        return "", ""
    distribution, version = described
    if not distribution:
        return "", version if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", version, re.ASCII) and len(version) <= 80 else ""
    is_one = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,80}", item) for item in described)
    return (distribution, version) if is_one else ("", "")


def _find(kind: str, key: str, origin: tuple[str, str]) -> Any:
    """The class that is registered under a key, or how to get it."""
    registry = registry_of(kind)
    if registry is None:
        raise PersistenceError(f"expected a kind of part such as 'layer', got {kind[:40]!r}")
    try:
        return registry.find(key)
    except RegistryError as error:
        distribution, version = origin
        if distribution in (DISTRIBUTION, "nnkit"):  # the package's name, which early files have, is another distribution's
            advice = f"it came from nnkit {version}: {install(upgrade=True)}"
        elif distribution:
            advice = f"it came from {distribution} {version}: pip install {distribution}"
        elif version in ("", "__main__"):
            advice = "it came from a script or a notebook: import what registers it before nnkit.load"
        else:
            advice = f"it came from a script or a notebook, where it was in {version}: import {version} before nnkit.load"
        raise PersistenceError(f"the {kind} {key[:80]!r} is missing; {advice} ({str(error)[:400]})") from error
