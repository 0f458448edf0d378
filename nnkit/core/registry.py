"""Parts by name: one `Registry` for each kind."""

from __future__ import annotations

import sys
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, Generic, TypeVar

from nnkit.core import plugins
from nnkit.core.calls import nearest
from nnkit.core.words import NAMES
from nnkit.errors import RegistryError

__all__ = ["Registry", "bring", "named", "register", "registered", "registry_of"]

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from names to the classes of one kind of part.

    Who asks for a name that is not there yet, or for all names, makes it load the installed plugins.

    Parameters
    ----------
    kind : what the parts are called
    within : the registry of a more general kind: these parts serve wherever those do, so no two may share a name
    """

    def __init__(self, kind: str, within: Registry[Any] | None = None) -> None:
        _registries.append(self)
        self.kind = kind
        self._classes: dict[str, type[T]] = {}
        self._origins: dict[str, tuple[ModuleType | None, Any]] = {}
        self._family: list[Registry[Any]] = [self] if within is None else within._family
        self._serving: list[Registry[Any]] = [self]  # this kind, and those within it
        if within is not None:
            within._family.append(self)
            within._serving.append(self)

    def __getitem__(self, key: str) -> type[T]:
        if key not in self:
            raise self.unknown(key, self._classes)
        return self._classes[key]

    def __contains__(self, key: object) -> bool:
        if key not in self._classes:
            plugins.load(_forget)
        return key in self._classes

    def __iter__(self) -> Iterator[str]:
        plugins.load(_forget)
        return iter(self._classes)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"

    def find(self, key: str) -> Any:
        """The class of this name, also of the kinds within this one: an activation is a layer."""
        known = self._known()
        if key not in known:
            plugins.load(_forget)
        if key not in known:
            raise self.unknown(key, known)
        return known[key]

    def serves(self, part: type[Any]) -> bool:
        """Whether a class is of this kind, or of one within it."""
        return any(getattr(part, "registry", None) is registry for registry in self._serving)

    def classes(self) -> Iterator[type[Any]]:
        """All classes that serve as this kind, also those of the kinds within it."""
        plugins.load(_forget)
        return iter(self._known().values())

    def _known(self) -> ChainMap[str, type[Any]]:
        return ChainMap(*(registry._classes for registry in self._serving))

    def unknown(self, key: str, known: Iterable[str]) -> RegistryError:
        """The error for a name that nobody has registered."""
        known = list(known)
        near = NAMES[key] if NAMES.get(str(key)) in known else nearest(key, known)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(known)}"
        absent = [f"{plugin} (it cannot be loaded)" for plugin in plugins.failures]
        if plugins.left_out():
            absent.append(f"{plugins.left_out()} (by NNKIT_PLUGINS)")
        return RegistryError(
            f"no {self.kind} is named {key!r}; {hint}" + (f"; plugins left out: {', '.join(absent)}" if absent else "")
        )

    def add(self, key: str, part: type[T]) -> None:
        """Register a class. It quietly replaces the one of a module or notebook cell that is run again, and no other."""
        origin = _origin(part)
        for registry in self._family:
            old = registry._classes.get(key)
            if old is not None and not (registry is self and self._is_made_again(key, part, origin)):
                raise RegistryError(
                    f"{registry.kind} {key!r} is taken by {old.__module__}.{old.__qualname__}; "
                    f"{part.__module__}.{part.__qualname__} needs another name"
                )
        self._classes[key] = part
        self._origins[key] = origin

    def _is_made_again(self, key: str, part: type[T], origin: tuple[ModuleType | None, Any]) -> bool:
        """Whether the class of this name comes from an earlier run of the very code that makes ``part``."""
        old = self._classes[key]
        same = (old.__module__, old.__qualname__) == (part.__module__, part.__qualname__)
        interactive = not hasattr(origin[0], "__file__")
        ran_before = any(one is not other for one, other in zip(self._origins[key], origin, strict=True))
        return same and (interactive or ran_before)


_registries: list[Registry[Any]] = []


_brought: set[tuple[str, str]] = set()  # kind and name of parts that came from another process


def registered() -> Iterator[tuple[str, str, type[Any]]]:
    """Kind, name and class of all that is registered by now."""
    for registry in _registries:
        for key, part in registry._classes.items():
            yield registry.kind, key, part


def bring(kind: str, key: str, part: type[Any], lasting: bool) -> None:
    """Register a class of another process. It replaces one that came before, unless ``lasting``, and none of this process."""
    registry = registry_of(kind)
    if registry is None or (named(key) and ((kind, key) not in _brought or lasting)):
        return
    registry._classes[key], registry._origins[key] = part, _origin(part)
    _brought.add((kind, key))


def registry_of(kind: str) -> Registry[Any] | None:
    """The registry of a kind of part, such as "layer"."""
    return next((registry for registry in _registries if registry.kind == kind), None)


def named(key: str) -> list[type[Any]]:
    """The classes of this name, of whatever kind, that are registered by now."""
    return [registry._classes[key] for registry in _registries if key in registry._classes]


def _forget(module: str) -> None:
    """Take back all that a module, or one below it, has registered."""
    for registry in _registries:
        for key, part in list(registry._classes.items()):
            if f"{part.__module__}.".startswith(f"{module}."):
                del registry._classes[key], registry._origins[key]


def _origin(part: type) -> tuple[ModuleType | None, Any]:
    """The run of a module: its object is a new one after a new import, its spec after a reload."""
    module = sys.modules.get(part.__module__)
    return module, getattr(module, "__spec__", None)


def register(key: str) -> Callable[[C], C]:
    """Register a class under a name; the kind comes from its base class.

    Running a notebook cell again, or reloading a module, redefines the part; any other use of a taken name is refused, and
    so no plugin replaces a built-in part.

    Parameters
    ----------
    key : str
        In snake_case, as it is then written in ``Sequential([...])``, ``loss=...``, ``optimizer=...``.

    Raises
    ------
    RegistryError
        The name is taken, is no identifier, or the class derives from no kind of part.
    KernelError
        A kernel of the class names something that nobody provides.

    Examples
    --------
    >>> import nnkit as nn
    >>> @nn.register("cube")
    ... class Cube(nn.Activation):
    ...     @staticmethod
    ...     def forward(x):
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(grad_out, x):
    ...         return 3.0 * x * x * grad_out
    >>> nn.Sequential(["cube"]).build((2,)).predict([[2.0, -1.0]])
    array([[ 8., -1.]], dtype=float32)
    """

    def decorate(part: C) -> C:
        registry = getattr(part, "registry", None)
        if not isinstance(registry, Registry):
            raise RegistryError(
                f"register({key!r}): expected a class derived from Layer, Activation, Loss, Optimizer, Trainer, "
                f"Initializer, Schedule, Metric or Callback, got {part!r}"
            )
        if not isinstance(key, str) or not key.isidentifier() or key != key.lower():
            raise RegistryError(f"register({key!r}): expected a snake_case name")
        part.require_whole()
        if not part.__module__.startswith("nnkit."):  # whose parts the tests look at, not every import
            part.require_kept()
            part.require_sources()
            part.validate()
        registry.add(key, part)
        part.key = key
        return part

    return decorate
