"""What is computed when it is first asked for."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

__all__ = ["lazy", "weakly"]

T = TypeVar("T")


class lazy(Generic[T]):
    """What `functools.cached_property` is from Python 3.12 on.

    Before, one lock of the class was held while the attribute of any instance was computed: threads waited for each other,
    and a forked child for ever.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> T | Self:
        if instance is None:
            return self
        value = self.function(instance)
        return vars(instance).setdefault(self.name, value)  # type: ignore[no-any-return]


def weakly(method: Callable[..., T]) -> Callable[..., T]:
    """A method to be called later, by something that its object holds: as a bound method it would hold the object."""
    reference = weakref.WeakMethod(method)

    def call(*args: Any) -> T:
        alive = reference()
        assert alive is not None
        return alive(*args)

    return call
