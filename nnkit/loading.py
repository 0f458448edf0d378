"""What `save` has written, back again."""

from __future__ import annotations

from os import PathLike
from typing import Any

from nnkit.core.part import from_strangers
from nnkit.errors import NnkitError, ParameterError, PersistenceError, PersistenceWarning, warn
from nnkit.model import Sequential
from nnkit.persistence.description import Restorer
from nnkit.persistence.file import Reader, opened
from nnkit.persistence.model import restored_from

__all__ = ["load"]


def load(path: str | PathLike[str], *, self_test: bool = True, trust: bool = False) -> Any:
    """The model or the estimator of a file.

    A file from anybody may be loaded: it holds numbers and names, nothing is executed, and no more memory is taken than the
    file is long (some times over). Names are looked up among the registered parts only; plugins are imported where they are
    installed.

    What a file brings does not act outside of the model either. An estimator's callbacks may: a `Checkpoint` with a path of the
    writer's choice would replace that file of yours at the next fit. Those of them that do, and those that do not say
    (``Callback.acts_outside``), are left out, with a warning that lists them; give the estimator your own, with
    ``set_params(callbacks=[...])``. A file that has such a part anywhere else is refused.

    Parameters
    ----------
    path : str or path-like
    self_test : compute the output of the one row that the file keeps, and compare it with the one it had. Without, a model
        loads also where a part of it computes something else than it did.
    trust : restore parts that act outside of the model, too, with the paths and commands that the file has for them: for files
        that you, or somebody whom you trust as yourself, have written. A warning lists them.

    Returns
    -------
    Sequential, NNClassifier, NNRegressor, TableClassifier or TableRegressor
        What was saved.

    Raises
    ------
    PersistenceError
        The file cannot be read, is damaged, or holds no model; a part of it is missing here (then it says which distribution to
        install), or acts outside of the model; or the self-test fails.

    Warns
    -----
    PersistenceWarning
        Callbacks were left out.

    Examples
    --------
    >>> import tempfile
    >>> import nnkit as nn
    >>> model = nn.Sequential([nn.Linear(1)]).build((2,), random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/net.safetensors")
    ...     nn.load(f"{folder}/net.safetensors")
    Sequential([Linear()])
    """
    if not isinstance(trust, bool):
        raise ParameterError(f"load: expected trust to be True or False, got {trust!r}")
    with opened(path) as file:
        try:
            with from_strangers(not trust):
                loaded, restorer = _restored(file, self_test, trust)
        except (NnkitError, RecursionError, MemoryError) as error:
            what = str(error) or f"it asks for too much ({type(error).__name__})"
            raise PersistenceError(f"cannot load {str(file.path)!r}: {what}") from error
    _warn_of(restorer, str(file.path))
    return loaded


def _warn_of(restorer: Restorer, path: str) -> None:
    """Say what a file brings that may act outside of the model, whether it is there or left out."""
    if restorer.trusted:
        warn(
            f"nnkit.load: {path!r} is trusted, and brings along what may act outside of the model: "
            f"{', '.join(restorer.trusted)}", PersistenceWarning,
        )  # fmt: skip
    if restorer.left_out:
        warn(
            f"nnkit.load: {path!r} is loaded without {', '.join(restorer.left_out)}: what a file brings must not "
            "write files, run commands or act outside of the model in other ways. Give the estimator callbacks of your own, "
            "set_params(callbacks=[...]); or, if you trust who wrote the file: nnkit.load(path, trust=True)",
            PersistenceWarning,
        )


def _restored(file: Reader, self_test: bool, trust: bool) -> tuple[Any, Restorer]:
    """The model that a file holds, or the estimator around it, and what has restored it."""
    model, _, restorer = restored_from(file, Sequential, self_test, trust)
    if "estimator" not in file.description:
        return model, restorer
    from nnkit.estimators import restored

    return restored(file.description["estimator"], restorer, model), restorer
