"""Checkpoints: files from which training goes on, to the same bits, however it was stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnkit.core.callback import Callback
from nnkit.core.part import from_strangers
from nnkit.core.registry import register
from nnkit.core.training import RunningFit
from nnkit.errors import NnkitError, ParameterError, PersistenceError
from nnkit.persistence.disk import check_writable, reason, remove_leftovers, replace_name, to_path
from nnkit.persistence.file import opened, write
from nnkit.training.history import History
from nnkit.training.snapshot import Snapshot

if TYPE_CHECKING:
    from nnkit.network import Network
    from nnkit.persistence.description import Restorer

__all__ = ["Checkpoint", "snapshot_in"]

GENERATORS = ("begun", "drawn")  # states of random generators, whose integers have up to 128 bits
MOST = 2**53  # steps, which real numbers count, too

KINDS: dict[str, type] = {
    "settings": dict, "step": int, "stopping": str, "begun": dict, "drawn": dict, "losses": np.ndarray, "history": dict,
    "updates": int, "schedule": dict, "moments": dict, "noted": list,
}  # fmt: skip


@register("checkpoint")
class Checkpoint(Callback):
    """Write the model, and all that training needs to go on, to a file every so often.

    ``fit(..., resume=path)`` goes on from there, also within an epoch: parameters and history end as if training had never
    stopped, to the bit. The file is written whole or not at all and is on the disk before training goes on, so that a power
    failure or ``kill -9`` at any moment leaves a file that can be resumed. `nnkit.load` reads it as a model.

    Parameters
    ----------
    path : str or path-like, "training.safetensors" for example
    every : float > 0, in epochs; 0.25 is four times an epoch
    keep : int >= 1, files to keep: path is the last one, training.1.safetensors the one before, and so on

    Raises
    ------
    PersistenceError
        The system refuses to write, which is looked at before training begins; or what has the name of a numbered file, and so
        would be replaced, is no checkpoint (those of earlier trainings are replaced). The files that were there before are as
        they were.

    Examples
    --------
    >>> import tempfile
    >>> import nnkit as nn, numpy as np
    >>> X = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> def train(epochs, path):
    ...     model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)])
    ...     model.fit(X, X**2, epochs=epochs, random_state=0, callbacks=[nn.Checkpoint(path, every=0.5)], resume=True)
    ...     return model.predict(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     part = train(2, f"{folder}/a.safetensors")
    ...     whole = train(5, f"{folder}/a.safetensors")  # three more
    ...     at_once = train(5, f"{folder}/b.safetensors")
    >>> bool((whole == at_once).all())
    True

    Notes
    -----
    A schedule that depends on the number of epochs is another one where ``epochs`` is another number.
    """

    late = True
    interruptible = False  # several files are renamed

    def __init__(self, path: str | os.PathLike[str], *, every: float = 1.0, keep: int = 1) -> None:
        self.path = path
        self.every = every
        self.keep = keep
        self.require_number("every", 0.0, above=True)
        self.require_size("keep")
        to_path(path)

    def checkpoint(self) -> Path | None:
        path = to_path(self.path)
        return path if path.exists() else None

    def interval(self, fit: RunningFit) -> int:
        return max(1, round(self.every * fit.steps_per_epoch))

    def on_fit_begin(self, fit: RunningFit) -> None:
        check_writable(self.path)
        for path in self._numbered():
            _require_checkpoint(path)
        remove_leftovers(self.path)

    def on_batch_end(self, fit: RunningFit) -> None:
        if fit.step % fit.steps_per_epoch:  # else the epoch is to be finished first
            self._write(fit)

    def on_epoch_end(self, fit: RunningFit) -> None:
        if fit.step % self.interval(fit) == 0:
            self._write(fit)

    def _write(self, fit: RunningFit) -> None:
        from nnkit.persistence.description import Describer  # a tenth of the time of `import nnkit`
        from nnkit.persistence.model import describe, pack

        describer, snapshot = Describer(), fit.snapshot()
        model = describe(snapshot.network, snapshot.last_fit, describer)
        fields = {name: getattr(snapshot, name) for name in KINDS} | {"history": snapshot.history.record()}
        training = {name: describer.describe(value, f"{name} of the fit") for name, value in fields.items()}
        content = pack(describer, model=model, training=training)
        self._make_room()
        write(self.path, *content)

    def _numbered(self) -> list[Path]:
        """Where the files before the last one are, the newest first."""
        last = to_path(self.path)
        return [last.with_suffix(f".{number}{last.suffix}") for number in range(1, self.keep)]

    def _make_room(self) -> None:
        """Let every file that is to be kept have the number of the one before it; the last one keeps its name, too."""
        last, numbered = to_path(self.path), self._numbered()
        try:
            for newer, older in reversed(list(pairwise(numbered))):
                if newer.exists():
                    _require_checkpoint(older)
                    os.replace(newer, older)
            if numbered and _is_checkpoint(last):
                _require_checkpoint(numbered[0])
                replace_name(last, numbered[0])
        except FileNotFoundError:
            raise PersistenceError(f"cannot keep {str(last)!r}: another training moves its files, too; give "
                                   "each a path of its own") from None  # fmt: skip
        except OSError as error:
            if isinstance(error, PersistenceError):
                raise
            raise PersistenceError(f"cannot keep {str(last)!r}: {reason(error)}; it is as it was") from error


def _is_checkpoint(path: Path) -> bool:
    """Whether there is a file that a `Checkpoint` has written, by what it says of itself."""
    try:
        with opened(path) as file:
            return isinstance(file.description.get("training"), dict)
    except PersistenceError:
        return False


def _require_checkpoint(path: Path) -> None:
    """Refuse to replace what is no checkpoint: its name may be somebody's for something else."""
    if os.path.lexists(path) and not _is_checkpoint(path):
        raise PersistenceError(f"Checkpoint: expected {str(path)!r}, which is to be replaced when files are numbered, to be a "
                               "checkpoint, got something else; move it away, or choose another path or keep=1")  # fmt: skip


def snapshot_in(resume: Any, callbacks: Sequence[Any]) -> Snapshot | None:
    """The snapshot in a checkpoint; None where ``resume`` is True and there is no file yet.

    Raises
    ------
    PersistenceError
        The file cannot be read, or is no checkpoint.
    ParameterError
        ``resume`` is True, and no `Checkpoint` is among the callbacks.
    """
    if resume is True:
        writers = [callback for callback in callbacks if isinstance(callback, Callback) and callback.watches("checkpoint")]
        if not writers:
            raise ParameterError("fit: expected a Checkpoint among the callbacks for resume=True, got none; give its path")
        resume = writers[0].checkpoint()
        if resume is None:
            return None
    from nnkit.persistence.model import restored_from

    try:
        with opened(resume) as file, from_strangers():
            described = file.description.get("training")
            if not isinstance(described, dict) or set(described) != set(KINDS):
                raise PersistenceError(f"fit: expected a checkpoint to resume, got {str(resume)!r}, which holds none; "
                                       "Checkpoint writes them")  # fmt: skip
            saved = restored_from(file, self_test=False)
            restorer = saved.restorer
            fields = {name: restorer.restore(value) for name, value in described.items()}
            return restorer.make("a snapshot", _snapshot, fields, restorer, saved.network, saved.model.last_fit)
    except (NnkitError, RecursionError, MemoryError) as error:
        what = str(error) or f"it asks for too much ({type(error).__name__})"
        raise PersistenceError(f"fit: cannot resume {str(resume)!r}: {what}") from error


def _snapshot(fields: dict[str, Any], restorer: Restorer, network: Network, last_fit: dict[str, Any]) -> Snapshot:
    """The snapshot of these fields, all of which are looked at here, for what can be known without the fit."""
    _check(fields, restorer, network)
    history = History.of(fields.pop("history"))
    snapshot = Snapshot(**fields, history=history, network=network, last_fit=last_fit)
    for which in GENERATORS:
        snapshot.generator(which)
    return snapshot


def _plain(settings: dict[str, Any]) -> Iterator[Any]:
    """Names and values of settings, lists taken apart."""
    for name, value in settings.items():
        yield from (name, *(value if isinstance(value, list) else [value]))


def _check(fields: dict[str, Any], restorer: Restorer, network: Network) -> None:
    """Refuse values of other kinds than `Snapshot` has, and numbers that no training goes on from."""
    wrong = [name for name, kind in KINDS.items() if type(fields[name]) is not kind]
    if not wrong:
        for name in KINDS.keys() - set(GENERATORS):
            restorer.accepted(fields[name], f"{name} of the fit", names=False)
        vectors = [fields["losses"], *fields["moments"].values()]
        counts = [fields[name] for name, kind in KINDS.items() if kind is int]
        fine = {
            "numbers of steps": all(0 <= count < MOST for count in counts),
            "losses or moments": all(isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind == "f"
                                     and not np.isnan(array).any() for array in vectors),
            "settings": all(isinstance(item, str | int) for item in _plain(fields["settings"])),
            "noted": all(isinstance(noted, dict) and set(map(type, noted)) <= {str} for noted in fields["noted"]),
            "parameters": bool(np.isfinite(network.vector).all()),
        }  # fmt: skip
        wrong = [name for name, right in fine.items() if not right]
    if wrong:
        raise PersistenceError(f"it is no checkpoint: its {', '.join(wrong)} cannot be right")
