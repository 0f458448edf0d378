"""Models in ONNX's form: other programs run what nnkit has trained, and nnkit trains what others have written.

``nnkit.onnx.export(model, path)`` and ``nnkit.onnx.load(path)``. Each part's class says how it is written (``Layer.onnx``) and
from which operators it is read (``Layer.from_onnx``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from nnkit.about import install
from nnkit.core.container import Model
from nnkit.errors import OnnxError
from nnkit.model import Sequential
from nnkit.network import adopt, network_of
from nnkit.persistence.disk import read_whole, reason, to_path, write_atomically

__all__ = ["export", "load"]

MOST = 1 << 31  # bytes of a file: more than Google's protocol buffers, which ONNX is made of, may have


def _require_onnx(what: str) -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise OnnxError(f"onnx.{what}: expected the library onnx, which is not installed; {install('onnx')}") from None


def export(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a built model to an ONNX file, as it predicts: dropout off, batch normalisation by the running statistics.

    The file's input is ``x`` (N, *in_shape), with any number of rows, its output ``out`` (N, *out_shape); a float64 model is
    written as double, which not every runtime has for every operator. Operators are those of opset 18. A layer that is used
    several times has its weights in the file once. The file takes the place of another of its name when it is complete.

    Of a `TableClassifier` or `TableRegressor` all is written: what the columns are, the net, and what its outputs mean.

    - Where all columns of the table hold numbers or truth values, the input is ``x``, float64 (N, columns), NaN where one is
      missing. Else each column that is read is an input with its name, (N, 1). Text and categories are strings, spelt as
      ``scheme_.columns_`` has them, "" where one is missing; numbers are float64, also those that were text; dates are seconds
      since 1970 began, float64, as ``(frame["day"] - pandas.Timestamp(0)).dt.total_seconds()`` gives them.
    - A classifier's outputs are ``label`` (N,), text or numbers, and ``probabilities``, float64 (N, classes); a regressor's is
      ``out``, float64 (N, outputs), in the units of the targets. An output that is called as an input gets ``_out`` behind it.

    They are predicted as nnkit does, to the rounding of float32. Such a file is not read by `load`: it is more than a net.

    Parameters
    ----------
    model : a built Sequential, or a fitted estimator; of `NNClassifier` and `NNRegressor` the net is written, ``model_``: its
        outputs, raw; of several nets (``n_members``) the mean of their probabilities, or of their predictions
    path : str or path

    Raises
    ------
    NotBuiltError
        The shapes of the model are not known yet.
    OnnxError
        A part has no form in ONNX, or the library onnx is not installed; columns of a table have the same name, or all of
        them say nothing; labels are neither text nor numbers.
    PersistenceError
        The system refuses to write; a file that was there before is as it was.

    Examples
    --------
    >>> import nnkit as nn, numpy as np, os, tempfile
    >>> model = nn.Sequential([nn.Linear(3), nn.ReLU(), nn.Linear(1)]).build((2,), random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.onnx.export(model, os.path.join(folder, "net.onnx"))
    ...     again = nn.onnx.load(os.path.join(folder, "net.onnx"))
    >>> again
    Sequential([Linear(out_features=3), ReLU(), Linear()])
    >>> bool((again.predict([[1.0, 2.0]]) == model.predict([[1.0, 2.0]])).all())
    True
    """
    _require_onnx("export")
    from nnkit.persistence.onnx.writing import Written, of_network, to_proto

    network, whole = network_of(model, "onnx.export"), getattr(model, "write_onnx", None)
    graph = of_network(network) if whole is None else Written()
    if whole is not None:
        whole(graph)
    try:
        content = to_proto(graph, repr(model)).SerializeToString()
    except UnicodeEncodeError as error:
        raise OnnxError(f"onnx.export: expected text that UTF-8 can write, got {error.object[:60]!r}") from None
    write_atomically(path, content)


def load(path: str | os.PathLike[str], in_shape: Sequence[int] | Mapping[str, Sequence[int]] | None = None) -> Sequential:
    """Read a model from an ONNX file: a built `Sequential` with its weights, which can be trained further.

    The graph has to be made of what nnkit has layers for: one layer after the other, or ways that meet in an Add, a Sum, a Mean
    or a Concat. That is what `export` writes, and what PyTorch exports for most nets. Weights that two layers have in common
    stay shared. Several inputs or outputs (N, ...), and ways that are no branches, come back as a `nnkit.Graph`, whose inputs
    and outputs have their names in the file.

    Parameters
    ----------
    path : str or path
    in_shape : shape of an input row, without the batch axis, where the file leaves some of it open; of several inputs a dict of
        these

    Returns
    -------
    Sequential

    Raises
    ------
    OnnxError
        The file cannot be read, is no sound ONNX file, or has operators that no layer does; the library onnx is not installed.
    """
    _require_onnx("load")
    from nnkit.persistence.onnx.reading import from_proto

    source = to_path(path)
    try:
        content = read_whole(source, MOST)
    except OSError as error:
        raise OnnxError(f"onnx.load: {os.fspath(path)!r} cannot be read: {reason(error)}") from None
    network = from_proto(content, source.parent, in_shape)
    model = Sequential(network.layers)
    adopt(model, network)
    return model
