"""One at a time: who changes something that others hold, too."""

from __future__ import annotations

import os
import weakref
from types import TracebackType

from nnkit.errors import BusyError

__all__ = ["Exclusive"]


class Exclusive:
    """Something that one call at a time may change; a second one is refused, from whatever thread it comes.

    It is free again as soon as the call has ended, however that was: what it remembers of the call does not keep it alive.

    Parameters
    ----------
    what : is changed, for messages

    Examples
    --------
    >>> from nnkit.engine.exclusive import Exclusive
    >>> numbers = Exclusive("a model")
    >>> with numbers.by("fit"), numbers.by("build"):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    ...
    nnkit.errors.BusyError: build: expected a model that nobody is changing, but its fit has not ended; ...
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._users: dict[weakref.ref[_Use], None] = {}  # in the order in which they came; the first one has it

    def by(self, who: str) -> _Use:
        """Be the only one within a ``with`` block, or raise `BusyError` as it begins."""
        return _Use(self, who)

    def __reduce__(self) -> tuple[type[Exclusive], tuple[str]]:
        """A copy is free."""
        return Exclusive, (self.what,)


class _Use:
    """One call. It takes no lock: a signal handler or a finalizer that came while it held one would wait for ever."""

    __slots__ = ("__weakref__", "_mine", "_of", "process", "who")

    def __init__(self, of: Exclusive, who: str) -> None:
        self._of, self.who, self.process = of, who, os.getpid()
        self._mine = weakref.ref(self)  # without a callback: a Ctrl-C that came in there would be lost

    def __enter__(self) -> None:
        users = self._of._users
        users[self._mine] = None
        for user in tuple(users):
            other = user()
            if other is self:
                return
            if other is None:  # it has gone without leaving its block
                users.pop(user, None)
            elif other.process == self.process:  # a forked child does not do what its parent does
                users.pop(self._mine, None)
                raise BusyError(f"{self.who}: expected {self._of.what} that nobody is changing, but its {other.who} has not "
                                "ended; wait for it, or work on a copy")  # fmt: skip

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._of._users.pop(self._mine, None)
