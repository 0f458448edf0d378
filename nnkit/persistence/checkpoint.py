"""Checkpoints: files from which training goes on, to the same bits, however it was stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnkit.core.callback import Callback
from nnkit.core.registry import register
from nnkit.errors import NnkitError, ParameterError, PersistenceError
from nnkit.persistence.file import opened, remove_leftovers, to_path, write
from nnkit.training.history import History
from nnkit.training.snapshot import Snapshot

if TYPE_CHECKING:
    from nnkit.training.fit import Fit

__all__ = ["Checkpoint", "snapshot_in"]

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
        The system refuses to write; the files that were there before are as they were.

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

    def __init__(self, path: str | os.PathLike[str], every: float = 1.0, keep: int = 1) -> None:
        self.path = path
        self.every = every
        self.keep = keep
        self.require_number("every", 0.0, above=True)
        self.require_size("keep")
        to_path(path)

    def checkpoint(self) -> Path | None:
        path = to_path(self.path)
        return path if path.exists() else None

    def interval(self, fit: Fit) -> int:
        return max(1, round(self.every * fit.steps_per_epoch))

    def on_fit_begin(self, fit: Fit) -> None:
        remove_leftovers(self.path)

    def on_batch_end(self, fit: Fit) -> None:
        if fit.step % fit.steps_per_epoch:  # else the epoch is to be finished first
            self._write(fit)

    def on_epoch_end(self, fit: Fit) -> None:
        if fit.step % self.interval(fit) == 0:
            self._write(fit)

    def _write(self, fit: Fit) -> None:
        from nnkit.persistence.description import Describer  # a tenth of the time of `import nnkit`
        from nnkit.persistence.model import describe, pack

        describer, snapshot = Describer(), fit.snapshot()
        model = describe(snapshot.model, describer)
        fields = {name: getattr(snapshot, name) for name in KINDS} | {"history": snapshot.history.record()}
        training = {name: describer.describe(value, f"{name} of the fit") for name, value in fields.items()}
        content = pack(describer, model=model, training=training)
        self._make_room()
        write(self.path, *content)

    def _make_room(self) -> None:
        """Let every file that is to be kept have the number of the one before it; the last one keeps its name, too."""
        last = to_path(self.path)
        names = [last, *(last.with_suffix(f".{number}{last.suffix}") for number in range(1, self.keep))]
        try:
            for newer, older in reversed(list(pairwise(names[1:]))):
                if newer.exists():
                    os.replace(newer, older)
            if self.keep > 1 and last.exists():
                _link(last, names[1])
        except OSError as error:
            raise PersistenceError(f"cannot keep {str(last)!r}: {error.strerror or error}; it is as it was") from error


def _link(source: Path, target: Path) -> None:
    """Another name for a file, or a copy where the file system knows no links."""
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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
        with opened(resume) as file:
            described = file.description.get("training")
            if not isinstance(described, dict) or set(described) != set(KINDS):
                raise PersistenceError(f"fit: expected a checkpoint to resume, got {str(resume)!r}, which holds none; "
                                       "Checkpoint writes them")  # fmt: skip
            model, restorer = restored_from(file, self_test=False)
            fields = {name: restorer.restore(value) for name, value in described.items()}
    except (RecursionError, MemoryError) as error:
        raise PersistenceError(f"fit: {str(resume)!r} asks for too much: {type(error).__name__}") from error
    _check(fields, resume)
    try:
        history = History.of(fields["history"])
    except NnkitError as error:
        raise PersistenceError(f"fit: {str(resume)!r} is no checkpoint: {error}") from error
    return Snapshot(**fields | {"history": history, "model": model})


def _check(fields: dict[str, Any], path: Any) -> None:
    """Refuse values of other kinds than `Snapshot` has."""
    wrong = [name for name, kind in KINDS.items() if type(fields[name]) is not kind]
    arrays = [fields["losses"], *(fields["moments"].values() if not wrong else ())]
    fine = not wrong and all(isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind == "f" for array in arrays)
    counts = [fields[name] for name, kind in KINDS.items() if kind is int]
    if not fine or min(counts) < 0 or not all(isinstance(noted, dict) for noted in fields["noted"]):
        raise PersistenceError(f"fit: {str(path)!r} is no checkpoint: {', '.join(wrong) or 'its numbers'} cannot be right")
