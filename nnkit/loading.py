"""What `save` has written, back again."""

from __future__ import annotations

from os import PathLike
from typing import Any

from nnkit.errors import NnkitError, PersistenceError
from nnkit.persistence.file import Reader, opened
from nnkit.persistence.model import restored_from

__all__ = ["load"]


def load(path: str | PathLike[str], *, self_test: bool = True) -> Any:
    """The model or the estimator of a file.

    A file from anybody may be loaded: it holds numbers and names, nothing is executed, and no more memory is taken than the
    file is long (some times over). Names are looked up among the registered parts only; plugins are imported where they are
    installed.

    Parameters
    ----------
    path : str or path-like
    self_test : compute the output of the one row that the file keeps, and compare it with the one it had. Without, a model
        loads also where a part of it computes something else than it did.

    Returns
    -------
    Sequential, NNClassifier or NNRegressor : what was saved

    Raises
    ------
    PersistenceError
        The file cannot be read, is damaged, or holds no model; a part of it is missing here (then it says which distribution to
        install); or the self-test fails.

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
    with opened(path) as file:
        try:
            return _restored(file, self_test)
        except (NnkitError, RecursionError, MemoryError) as error:
            what = str(error) or f"it asks for too much ({type(error).__name__})"
            raise PersistenceError(f"cannot load {str(file.path)!r}: {what}") from error


def _restored(file: Reader, self_test: bool) -> Any:
    """The model that a file holds, or the estimator around it."""
    model, restorer = restored_from(file, self_test)
    if "estimator" not in file.description:
        return model
    from nnkit.estimators import restored

    return restored(file.description["estimator"], restorer, model)
