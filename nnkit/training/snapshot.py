"""Where a fit is: what another one needs to go on, to the same bits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.errors import ParameterError, PersistenceError
from nnkit.network import Network
from nnkit.training.data import is_sparse
from nnkit.training.history import History

__all__ = ["Snapshot", "digest", "spelt"]

ROWS = 64  # of each array of data, evenly spaced, that are compared


@dataclass
class Snapshot:
    """A fit between two of its steps.

    Attributes
    ----------
    network : the net as it is then
    last_fit : what the model will be told of this fit
    settings : what the fit was given, in so far as it has to be the same
    step : steps done
    stopping : why it is to stop after this epoch, or ""
    begun, drawn : states of the random generator, before any row was held out, and before the order of this epoch was drawn
    losses : (steps of this epoch,) float64
    history : figures of the finished epochs
    updates : steps of the optimizer
    schedule : what it has observed
    moments : the optimizer's states, (numbers of the parameter vector,) each; a trainer's are as long as it says
    noted : what each callback has noted
    """

    network: Network
    last_fit: dict[str, Any]
    settings: dict[str, Any]
    step: int
    stopping: str
    begun: Mapping[str, Any]
    drawn: Mapping[str, Any]
    losses: NDArray[np.float64]
    history: History
    updates: int
    schedule: dict[str, Any]
    moments: dict[str, NDArray[Any]]
    noted: list[dict[str, Any]]

    def generator(self, which: str) -> np.random.Generator:
        """A random generator in the state ``"begun"`` or ``"drawn"``.

        Raises
        ------
        PersistenceError
            It is the state of none.
        """
        state = getattr(self, which)
        kinds = (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
        known = {kind.__name__: kind for kind in kinds}
        name = str(state.get("bit_generator"))
        if name not in known:
            raise PersistenceError(f"fit: expected one of {', '.join(known)} as random generator to go on with, got {name!r}")
        bits = known[name]()
        try:
            _require_places(state)
            bits.state = state
        except Exception as error:  # of whatever kind NumPy's are
            raise PersistenceError(f"fit: expected the state of a {name} to go on with, got another ({error})") from error
        return np.random.Generator(bits)

    @contextmanager
    def taken_over(self) -> Iterator[None]:
        """While parts take what they had noted: whatever they say of it, the file was wrong."""
        try:
            yield
        except PersistenceError:
            raise
        except Exception as error:
            what = str(error) or type(error).__name__
            raise PersistenceError(f"fit: expected a checkpoint of this very fit to resume, got another ({what})") from error

    def require(self, settings: Mapping[str, Any], frozen: frozenset[str]) -> None:
        """Refuse to go on with other settings, or where others of the parameters are frozen.

        Raises
        ------
        ParameterError
            Says which, and what they were.
        """
        if self.network.frozen != frozen:
            raise ParameterError(f"fit: expected the parameters to be frozen that were in the fit that is resumed, "
                                 f"{sorted(self.network.frozen)}, got {sorted(frozen)}")  # fmt: skip
        others = [name for name, value in settings.items() if self.settings.get(name) != value]
        if others:
            name = others[0]
            was, now = self.settings.get(name), settings[name]
            more = f" (and {', '.join(others[1:])})" if others[1:] else ""
            raise ParameterError(f"fit: expected {name} as it was in the fit that is resumed, {was!r}, got {now!r}{more}")

    def require_lengths(self, losses: int, epochs: int, moments: Mapping[str, int]) -> None:
        """Refuse arrays that do not fit the step, the finished epochs or the parameters."""
        mine = {name: len(moment) for name, moment in self.moments.items()}
        if len(self.losses) != losses or self.history.epochs != epochs or mine != moments:
            raise PersistenceError("fit: expected a checkpoint of this very fit to resume, got one of other lengths")


def _require_places(state: Mapping[str, Any]) -> None:
    """Refuse places in a generator's buffer that lie outside of it: NumPy reads there, wherever that is.

    Raises
    ------
    ValueError
    """
    limits = {"pos": 624, "buffer_pos": 4}  # of MT19937 and of Philox; the end is where all has been used
    for name, place in {**state, **state.get("state", {})}.items():
        if name in limits and (type(place) is not int or not 0 <= place <= limits[name]):
            raise ValueError(f"{name}={place!r}")


def spelt(part: Any) -> str:
    """How a part is written, without the addresses of functions, which every process has others of."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(part))


def digest(array: Any) -> str:
    """Shape, dtype and a hash of some of the rows; "" for no array."""
    if array is None:
        return ""
    if isinstance(array, dict):
        return "; ".join(f"{name}: {digest(item)}" for name, item in array.items())
    chosen = np.unique(np.linspace(0, max(array.shape[0] - 1, 0), ROWS).astype(int))
    rows = array[chosen].toarray() if is_sparse(array) else np.asarray(array[chosen])
    rest = "" if rows.dtype.hasobject else hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:16]
    return f"{array.dtype} {tuple(array.shape)} {rest}"
