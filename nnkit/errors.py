"""What can go wrong, by kind; every message says who, what was expected, what came and what to do."""

from __future__ import annotations

import os
import sys
import unicodedata
import warnings
from pathlib import Path
from types import FrameType

__all__ = [
    "BusyError",
    "CacheWarning",
    "CallError",
    "DataError",
    "EnvironmentWarning",
    "KernelError",
    "MissingLibraryError",
    "NativeError",
    "NnkitError",
    "NnkitWarning",
    "NonFiniteError",
    "NotBuiltError",
    "OnnxError",
    "ParameterError",
    "PersistenceError",
    "PersistenceWarning",
    "PluginWarning",
    "RegistryError",
    "ShapeError",
    "TrainingWarning",
]


def printable(text: str) -> str:
    r"""A text that is safe to show, wherever it comes from: what would steer a terminal or hide letters is spelt out.

    Lines stay lines. Names in files may be anybody's, so this is done where text leaves nnkit: in messages, in tables, and in
    what the commands print.

    Examples
    --------
    >>> print(printable("a\x1b[2Jb \u202e"))
    a\x1b[2Jb \u202e
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" or unicodedata.category(letter) == "Zs"
                   else letter.encode("unicode_escape").decode() for letter in text)  # fmt: skip


def warn(message: str, category: type[Warning]) -> None:
    """Give a warning that points at the user's line, however far away that is, and whatever libraries are between."""
    frame = _users(sys._getframe(1))
    place, names = frame.f_code.co_filename, frame.f_globals
    warnings.warn_explicit(message, category, place, frame.f_lineno, module=str(names.get("__name__", place)),
                           registry=names.setdefault("__warningregistry__", {}))  # fmt: skip


def _users(frame: FrameType) -> FrameType:
    """The first frame, from here outwards, that is no library's; where all are, as in a thread, the first not of nnkit."""
    outward = [frame]
    while (further := outward[-1].f_back) is not None:
        outward.append(further)
    outside = [frame for frame in outward if str(frame.f_globals.get("__name__")).partition(".")[0] != "nnkit"]
    return next((frame for frame in outside if not _is_library(frame.f_code.co_filename)), (outside or outward[-1:])[0])


def _is_library(file: str) -> bool:
    """Whether code is Python's own, or is installed."""
    installed = {"site-packages", "dist-packages"}.intersection(Path(file).parts)
    return bool(installed) or file.startswith(("<frozen", os.path.dirname(os.__file__)))


class Shown:
    """A message that is printable, whatever names of files or columns stand in it."""

    def __str__(self) -> str:
        return printable(super().__str__())


class NnkitError(Shown, Exception):
    """The root of every error that nnkit raises on purpose.

    Every message says who complains, what was expected, what came and what to do. Catch this class to catch them all; anything
    else that comes out of nnkit is a fault of nnkit's, and worth a report.

    Examples
    --------
    >>> import nnkit as nn
    >>> try:
    ...     nn.Sequential(["rely"])
    ... except nn.NnkitError as error:
    ...     print(error)
    no layer is named 'rely'; did you mean 'relu'?
    """


class RegistryError(NnkitError, LookupError):
    """A part's name is unknown, or taken.

    Take the spelling that the message offers; ``nnkit list`` prints all names. A part of a plugin has a name only where the
    plugin is installed. A class that you register anew needs a name of its own.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.registry.losses["cross_entropi"]
    Traceback (most recent call last):
    nnkit.errors.RegistryError: no loss is named 'cross_entropi'; did you mean 'cross_entropy'?
    """


class NnkitWarning(Shown, UserWarning):
    """The root of every warning that nnkit gives on purpose.

    Everything goes on, and the message says how. It points at your line, however far below it was found out. To make errors
    of them, ``warnings.simplefilter("error", nn.NnkitWarning)``.
    """


class CacheWarning(NnkitWarning):
    """Compiled kernels cannot be kept on disk; everything works without, and is compiled again in every process.

    Let ``NNKIT_CACHE_DIR`` name a folder on a disk with space that nobody but you can write to. The message says what is wrong
    with the present one, such as ::

        compiled kernels are not kept on disk: /srv/kernels cannot be written. Everything works, but every process compiles
        anew; let NNKIT_CACHE_DIR name a folder on a disk with space that only you can write
    """


class PluginWarning(NnkitWarning):
    """An installed plugin cannot be loaded; everything else works without it.

    Update the plugin, or what it imports: the message has the error that its import raises. Until then,
    ``NNKIT_PLUGINS_BLOCK`` leaves it out in silence::

        the plugin nnkit-snake 0.1 cannot be loaded and is left out: importing nnkit_snake raises ImportError: no module named
        'waves' (NNKIT_PLUGINS_BLOCK=nnkit-snake leaves it out without this warning)
    """


class EnvironmentWarning(NnkitWarning):
    """The machine, or an environment variable, is not what it should be; the message says what nnkit does instead.

    Mend the variable, or unset it; what each may be is on the page of environment variables::

        NNKIT_NUM_THREADS: expected an integer of at least 1, got 'many'; nnkit goes on as if it were not set
    """


class TrainingWarning(NnkitWarning):
    """A net does not learn as it should; the message says in plain words what is wrong, where, and what helps.

    Do what it says, or leave it if you mean it so. `Monitor` finds more of the kind: dead and saturated units, gradients that
    vanish or explode.

    Examples
    --------
    >>> import warnings
    >>> import nnkit as nn
    >>> net = nn.Sequential([nn.Linear(2), nn.Softmax()])
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     history = net.fit([[0.0], [1.0]], [0, 1], loss="cross_entropy", epochs=1, random_state=0)
    >>> print(caught[0].message)
    fit: CrossEntropyLoss() expects any real numbers or numbers of at most 0 whose exponentials add up to 1, and Softmax(), the
    last layer, gives numbers from 0 to 1 that add up to 1; leave the activation out: the loss takes the softmax itself
    """


class PersistenceWarning(NnkitWarning):
    """A file has been loaded without some of what it names; the message says what, and how to have it.

    That is so on purpose: a file from somebody else must not write files or run commands here. Give the estimator callbacks of
    your own, or load it with ``trust=True`` if you know who wrote it::

        nnkit.load: 'net.safetensors' is loaded without callbacks[0] (Checkpoint): what a file brings must not write files, run
        commands or act outside of the model in other ways. Give the estimator callbacks of your own,
        set_params(callbacks=[...]); or, if you trust who wrote the file: nnkit.load(path, trust=True)
    """


class ParameterError(NnkitError, ValueError):
    """A hyper-parameter is out of its range or of the wrong type.

    The message says what it may be; so does the docstring of the class.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Dropout(1.5)
    Traceback (most recent call last):
    nnkit.errors.ParameterError: Dropout: expected rate to be a number in [0, 1), got 1.5
    """


class CallError(ParameterError, TypeError):
    """A class or a function does not take such arguments; the message shows the call as it is written here.

    Sizes of the input are never given, what a layer is made of goes by position, and all else by keyword. Words of PyTorch,
    Keras and scikit-learn are known, and translated.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Linear(in_features=2, out_features=3)
    Traceback (most recent call last):
    nnkit.errors.CallError: Linear(...) got an unexpected argument 'in_features'; sizes of the input come from the data; write
        Linear(out_features=3)
    """


class ShapeError(NnkitError, ValueError):
    """Arrays or layers do not fit together.

    Look at the shape that came: rows are always the first axis, images are (N, channels, height, width), sequences (N, steps,
    features). ``model.summary(in_shape=...)`` shows the shape behind every layer. A shape is never guessed: targets (N, 1)
    beside predictions (N,) are refused as well.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Conv2d(2, 3)]).build((5,))
    Traceback (most recent call last):
    nnkit.errors.ShapeError: Conv2d(2, 3): expected input rows of shape (channels, height, width), got (5,)
    """


class DataError(NnkitError, ValueError):
    """The data cannot be learnt from: ragged, empty, not finite, out of range.

    The message names the row and the column of the first number that is wrong. Fill missing numbers in, or drop their rows;
    `TableClassifier` and `TableRegressor` take tables with missing cells as they are.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Linear(1)]).fit([[1.0], [float("nan")]], [[1.0], [2.0]], loss="mse")
    Traceback (most recent call last):
    nnkit.errors.DataError: X: expected finite numbers, got nan in row 1, column 0; impute it or drop the row
    """


class KernelError(NnkitError, TypeError):
    """A part's class is not right: a kernel cannot be compiled or names what nobody provides, a method is missing.

    Where it is about a line of yours, the message has the line. `nnkit.testing.check_layer` and its like find more than
    a fit does: wrong gradients, indices out of range, numbers that are read before they are written.

    Examples
    --------
    >>> import nnkit as nn
    >>> class Shifted(nn.Activation):
    ...     @staticmethod
    ...     def forward(x, shfit):
    ...         return x + shfit
    ...     @staticmethod
    ...     def backward(grad_out):
    ...         return grad_out
    ...     def __init__(self, shift=1.0):
    ...         self.shift = shift
    >>> nn.Sequential([Shifted()]).build((2,)).predict([[1.0, 2.0]])
    Traceback (most recent call last):
    nnkit.errors.KernelError: Shifted(): forward names 'shfit', which nobody provides; did you mean 'shift'?
    """


class MissingLibraryError(NnkitError, ImportError):
    """Something needs a library that is not installed; the message says how to install it.

    Pictures need Matplotlib, Parquet needs pyarrow, ONNX files need onnx: extras of nnkit's, all of them::

        Trace.plot: expected the library matplotlib, which is not installed; pip install "nnkit-numba[plot]"
    """


class NativeError(NnkitError, TypeError):
    """A model cannot be a native function, or a native function not what is asked of it.

    Compiled code cannot call Python: leave a `PythonLayer` out, or write its kernels as a `Layer` does; layers that mix rows
    have no function of one row while they train.

    Examples
    --------
    >>> import nnkit as nn
    >>> class Same(nn.PythonLayer):
    ...     def forward(self, x):
    ...         return x
    ...     def backward(self, grad_out):
    ...         return grad_out
    >>> nn.Sequential([Same()]).build((2,)).as_function()
    Traceback (most recent call last):
    nnkit.errors.NativeError: Sequential([Same()]).as_function(): expected layers that are compiled, got Same(), which runs in
        Python; derive it from Layer
    """


class BusyError(NnkitError, RuntimeError):
    """A model is asked for two things at once that would change it: it is being trained, or is in a pass by hand.

    Wait for the other one, or work on ``model.copy()``. Predicting is no change: any number of threads may do it.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Sequential([nn.Linear(1)]).build((1,), random_state=0)
    >>> again = nn.LambdaCallback(lambda fit: net.build((1,)))
    >>> net.fit([[1.0]], [[1.0]], loss="mse", epochs=1, callbacks=[again])
    Traceback (most recent call last):
    nnkit.errors.BusyError: Sequential.build: expected a model that nobody is changing, but its Sequential.fit has not ended;
        wait for it, or work on a copy
    """


class NotBuiltError(NnkitError, RuntimeError):
    """A model is used before its shapes are known.

    A net learns the sizes of its input from data: call ``fit``, or say them, ``model.build(in_shape)`` with the shape of one
    row.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.Sequential([nn.Linear(1)]).parameters()
    Traceback (most recent call last):
    nnkit.errors.NotBuiltError: Sequential.parameters: expected a built model; call fit, or build(in_shape=...) first
    """


class OnnxError(NnkitError, ValueError):
    """A model has no form in ONNX, or a file has none in nnkit.

    A layer of your own says by a method ``onnx`` how it is written, and by ``from_onnx`` how it is read. Of a file from
    elsewhere the message names the operator that nobody here can be.

    Examples
    --------
    >>> import nnkit as nn
    >>> class Same(nn.PythonLayer):
    ...     def forward(self, x):
    ...         return x
    ...     def backward(self, grad_out):
    ...         return grad_out
    >>> nn.onnx.export(nn.Sequential([Same()]).build((2,)), "net.onnx")
    Traceback (most recent call last):
    nnkit.errors.OnnxError: onnx.export: layer 0, Same(): Same() has no form in ONNX: its class Same has no method onnx(self,
        graph, x); write one, or leave the layer out
    """


class NonFiniteError(NnkitError, ArithmeticError):
    """Training met NaN or infinity.

    The message says at which step, and which part gave the first number that was not finite. Scale the data to about -1 to 1,
    take a smaller learning rate, or limit the gradient, ``nn.Adam(clip_norm=1.0)``. The parameters are what the last good step
    has left.

    Attributes
    ----------
    epoch, step : int
        Where it happened; both count from 0, ``step`` within the whole fit.
    part : str
        The first part, in the order of computation, whose output or gradient was not finite.
    history : History or None
        What the finished epochs have measured.

    Examples
    --------
    >>> import nnkit as nn
    >>> net = nn.Sequential([nn.Linear(1)]).build((1,), random_state=0)
    >>> net.fit([[1e20], [2.0]], [[1.0], [2.0]], loss="mse")
    Traceback (most recent call last):
    nnkit.errors.NonFiniteError: fit: expected finite numbers, but in epoch 0, step 0, the value of MSELoss was not; nothing was
        updated before: scale the data, or, if an earlier fit has failed, begin again with model.build(in_shape)
    """

    def __init__(self, message: str, *, epoch: int, step: int, part: str) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.part = part
        self.history: object = None


class PersistenceError(NnkitError, OSError):
    """Something cannot be saved, or a file cannot be loaded: the system refuses, or the file is not what was written.

    Look at the path, at its permissions, and at the space on the disk. A file that is damaged, or from a newer nnkit, is
    refused as a whole; the file that was there before is never half written over.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.load("no/such.safetensors")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    nnkit.errors.PersistenceError: cannot read '...such.safetensors': there is no such file or folder
    """
