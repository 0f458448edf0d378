"""Parts by name: one `Registry` for each kind."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from nnkit.errors import RegistryError

__all__ = ["Registry", "register"]

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from names to the classes of one kind of part."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def __getitem__(self, key: str) -> type[T]:
        try:
            return self._classes[key]
        except KeyError:
            raise self.unknown(key, self._classes) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self._classes)})"

    def __contains__(self, key: object) -> bool:
        return key in self._classes

    def unknown(self, key: str, known: Mapping[str, Any]) -> RegistryError:
        """The error for a name that nobody has registered."""
        near = difflib.get_close_matches(str(key), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return RegistryError(f"no {self.kind} is named {key!r}; {hint}")

    def add(self, key: str, part: type[T]) -> None:
        """Register a class; a second run of a notebook cell replaces the first one's class, nothing else is replaced."""
        old = self._classes.get(key)
        if old is not None:
            again = (old.__module__, old.__qualname__) == (part.__module__, part.__qualname__)
            interactive = not hasattr(sys.modules.get(part.__module__), "__file__")
            if not (again and interactive):
                raise RegistryError(
                    f"{self.kind} {key!r} is taken by {old.__module__}.{old.__qualname__}; "
                    f"{part.__module__}.{part.__qualname__} needs another name"
                )
        self._classes[key] = part


def register(key: str) -> Callable[[C], C]:
    """Register a class under a name; the kind comes from its base class.

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
    """

    def decorate(part: C) -> C:
        registry = getattr(part, "registry", None)
        if not isinstance(registry, Registry):
            raise RegistryError(
                f"register({key!r}): expected a class derived from Layer, Activation, Loss, Optimizer, Initializer, "
                f"Schedule, Metric or Callback, got {part!r}"
            )
        if not isinstance(key, str) or not key.isidentifier() or key != key.lower():
            raise RegistryError(f"register({key!r}): expected a snake_case name")
        part.validate()
        registry.add(key, part)
        part.key = key
        return part

    return decorate
