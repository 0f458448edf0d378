"""The front door: layers one after the other, with fit, predict, and all that one asks of a net."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import DTypeLike

from nnkit.core.calls import brief, explained
from nnkit.core.container import Model, changing, require_built, require_unchanged
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer
from nnkit.core.part import listed
from nnkit.core.random_state import generator
from nnkit.errors import ParameterError, TrainingWarning, warn
from nnkit.executor import Executor
from nnkit.network import LiveArrays, Network, given_shape, one_output, root_of
from nnkit.training.kinds import fit_of
from nnkit.training.last_layer import misfits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nnkit.core.callback import Callback
    from nnkit.inspect.cost.profile import Profile
    from nnkit.inspect.cost.summary import Summary
    from nnkit.native import RowFunction
    from nnkit.training.history import History

__all__ = ["Sequential"]

Losses = Loss | str | Mapping[str, Loss | str]  # one, or one for each of several outputs


class Sequential(Model):
    """Layers one after the other.

    Parameters
    ----------
    layers : layers, their classes or their names; also lists of layers and other models. The same layer object at two places
        is one layer used twice: its parameters are shared, their gradients summed. A model that is built brings copies of
        its parameters and states.

    Attributes
    ----------
    last_fit : what the last `fit` was given: ``"loss"``, ``"optimizer"``, ``"epochs"``, ``"batch_size"``, ``"shuffle"``

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = np.array([0, 1, 1, 0])
    >>> model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(2)])
    >>> history = model.fit(X, y, loss="cross_entropy", optimizer=nn.Adam(lr=0.1), epochs=100, random_state=0)
    >>> model.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """

    _executor: Executor | None = None  # around the network of a built model

    @property
    def _network(self) -> Network | None:
        return None if self._executor is None else self._executor.network

    @_network.setter
    def _network(self, network: Network | None) -> None:
        self._executor = None if network is None else Executor(network)

    def _built(self, what: str) -> Executor:
        require_built(self, f"Sequential.{what}")
        assert self._executor is not None
        return self._executor

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer | Sequential:
        """A layer, or some of the layers as a model of their own that shares this one's parameters."""
        if not isinstance(index, slice):
            return self.layers[index]
        require_unchanged(self, "a slice")
        part = Sequential(self.layers[index])
        if (network := self._network) is not None:
            part._network = network.part(part._chain, range(len(self.layers))[index])
            part._training = self._training
        return part

    @explained
    def build(self, in_shape: Any, random_state: Any = None, dtype: DTypeLike = "float32") -> Sequential:
        """Infer all shapes and draw all parameters; `fit` does it when needed. Building again starts afresh.

        Parameters
        ----------
        in_shape : shape of one input row, without the batch axis; of several inputs a dict of their shapes
        random_state : None, int, RandomState or Generator
        dtype : "float32" or "float64"

        Raises
        ------
        ShapeError, BusyError
            A layer does not fit the output of the one before; the model is being trained.
        """
        name = np.dtype(dtype).name
        if name not in ("float32", "float64"):
            raise ParameterError(f"Sequential.build: expected dtype float32 or float64, got {name}")
        shape = given_shape(in_shape, self._chain.inputs, "Sequential.build")
        with changing(self, "build"):
            self._network = Network.drawn(self._chain, shape, name, generator(random_state))
        return self

    def copy(self, dtype: DTypeLike | None = None, output: str | None = None) -> Sequential:
        """The same layers with arrays of their own that hold the same numbers, perhaps in another dtype.

        With ``output``, the copy computes that one of several outputs alone: heads that only helped to train are left out.

        Raises
        ------
        ParameterError
            There is no such output.

        Examples
        --------
        >>> import nnkit as nn
        >>> nn.Sequential([nn.Linear(2)]).build((3,)).copy("float64").dtype
        'float64'
        """
        require_unchanged(self, "copy")
        layers, rename = one_output(copy.deepcopy(self.layers), output)  # in Python, layers may keep things on themselves
        again = Sequential(layers)
        if (mine := self._network) is not None:
            again._network = mine.copied(again._chain, mine.dtype if dtype is None else np.dtype(dtype).name, rename)
        return again

    def parameters(self) -> LiveArrays:
        """All trained arrays by name, such as ``"0.weight"``: live views, writing to them changes the model.

        Examples
        --------
        >>> import nnkit as nn
        >>> model = nn.Sequential([nn.Linear(2)]).build((1,))
        >>> model.parameters()["0.weight"] = [[2.0, 3.0]]
        >>> model.predict([[10.0]])
        array([[20., 30.]], dtype=float32)
        """
        return LiveArrays(self._built("parameters").network.parameters())

    def gradients(self) -> LiveArrays:
        """The loss's gradients by the parameters, from the last backward pass: live views."""
        return LiveArrays(self._built("gradients").network.gradients())

    def states(self) -> LiveArrays:
        """All arrays that are kept but not trained, by name: live."""
        return LiveArrays(self._built("states").network.states())

    # --------------------------------------------------------------------------------------------------- training

    @explained
    def fit(
        self, X: Any, y: Any, *, loss: Losses = "mse", optimizer: Optimizer | str = "adam", epochs: int | None = None,
        batch_size: int | None = None, validation_data: tuple[Any, ...] | None = None, validation_split: float = 0.0,
        sample_weight: Any = None, metrics: Any = (), callbacks: Sequence[Callback | str] = (),
        shuffle: bool = True, random_state: Any = None, n_threads: int | None = None, progress: bool | str = "auto",
        engine: str = "compiled", resume: str | PathLike[str] | bool = False, accumulate: int = 1,
        loss_weights: Mapping[str, float] | None = None,
    ) -> History:  # fmt: skip
        """Train on data; a second call goes on from the present parameters, with a fresh optimizer state.

        Of what it is given, `nnkit.training.fit.Fit` says more.

        Parameters
        ----------
        X : (N, ...) numbers: an array, a CSR matrix, a frame of columns of numbers; of several inputs a dict or tuple of these
        y : targets that fit the loss: labels, or arrays of the output's shape; of several outputs a dict or tuple of these
        loss, optimizer, loss_weights : parts or their names; of several outputs a dict of losses, and one of their weights
        epochs, batch_size, accumulate : int >= 1; a step is of so many batches, in memory for one; by default 10, 64 and 1
        validation_data : (X, y) or (X, y, sample_weight), evaluated after every epoch
        validation_split : float in [0, 1): instead of the former, hold out this part of the rows, drawn at random
        sample_weight : (N,) weights of at least 0: a row of weight 2 counts as two, one of weight 0 is absent, as padding is
        metrics, callbacks : parts or their names
        shuffle : draw the rows in a new order each epoch
        random_state : None, int, RandomState or Generator: decides parameters, order and dropout
        n_threads : int, optional; by default as many as this process may use cores. The result is the same to the bit.
        progress : "auto" (on a terminal and in a notebook), "compiling" (only what is compiled), True or False
        engine : "compiled", or "python" to run every kernel uncompiled, for debugging
        resume : the file of a `Checkpoint` to go on from, to the bit; True for that of the `Checkpoint` among the callbacks

        Returns
        -------
        History
            What was measured after each epoch; also kept after Ctrl-C, which ends training cleanly.

        Raises
        ------
        ShapeError, DataError, ParameterError, PersistenceError, NonFiniteError, BusyError
            The input is refused, before training begins; the checkpoint cannot be read; a loss or gradient became NaN or
            infinite; the model is being changed already.

        Warns
        -----
        TrainingWarning
            A loss does not fit the layer that its output is of: a softmax before ``"cross_entropy"``, which takes it itself.
        """
        from nnkit.persistence.checkpoint import snapshot_in

        require_unchanged(self, "fit")
        with changing(self, "fit"):
            fit = fit_of(
                self, X, y, loss=loss, optimizer=optimizer, epochs=epochs, batch_size=batch_size,
                validation_data=validation_data, validation_split=validation_split, sample_weight=sample_weight,
                metrics=metrics, callbacks=callbacks, shuffle=shuffle, random_state=random_state, n_threads=n_threads,
                progress=progress, engine=engine, accumulate=accumulate, loss_weights=loss_weights,
                resumed=snapshot_in(resume, listed(callbacks)) if resume else None,
            )  # fmt: skip
            for wrong in misfits(fit.criterion, fit.network.root):
                warn(f"fit: {wrong}", TrainingWarning)
            return fit.run()

    @brief
    def forward(self, x: Any, training: bool = False) -> Any:
        """Output of one batch, remembered for `backward`.

        ``x`` is (N, *in_shape); ``training`` switches dropout and the like on, and each call draws anew.
        """
        return self._built("forward").forward(x, training)

    @brief
    def backward(self, grad_out: Any, accumulate: bool = False) -> Any:
        """Backpropagate the gradient of the loss by the output of the last `forward`.

        Writes `gradients`, or with ``accumulate`` adds to them; returns the gradient by the input (None where it is integers).
        """
        return self._built("backward").backward(grad_out, accumulate)

    def update(self, optimizer: Optimizer, epoch: float | None = None, epochs: float = 1.0) -> None:
        """One step of the optimizer from the present gradients: what ``optimizer.step(model)`` does."""
        self._built("update").update(optimizer, epoch, epochs)

    # --------------------------------------------------------------------------------------------------- using it

    def predict(self, X: Any, n_threads: int | None = None) -> Any:
        """Raw outputs of the last layer, in evaluation mode (dropout off).

        Parameters
        ----------
        X : (N, *in_shape) array of numbers, or of several inputs a dict or tuple of these; NaN and infinity go through
        n_threads : int, optional. The result does not depend on it.

        Returns
        -------
        (N, *out_shape) array of the model's dtype, or of several outputs a dict of these

        Raises
        ------
        NotBuiltError, ShapeError, DataError
        """
        executor = self._executor or self._built("predict")
        idle = executor.idle
        try:
            predictor = idle.pop()  # nobody else has it now: another call, from wherever it comes, takes another one
        except IndexError:
            predictor = None
        if predictor is not None and type(X) is np.ndarray and predictor.fits(X):  # what every call but the first comes to
            out = predictor(X)
            idle.append(predictor)
            return out
        return executor.predict(X, n_threads, predictor)

    @overload
    def evaluate(
        self, X: Any, y: Any, loss: Any = ..., sample_weight: Any = ..., n_threads: int | None = ..., *, metrics: None = ...
    ) -> float: ...
    @overload
    def evaluate(
        self, X: Any, y: Any, loss: Any = ..., sample_weight: Any = ..., n_threads: int | None = ..., *, metrics: Any
    ) -> dict[str, float]: ...
    @explained
    def evaluate(
        self, X: Any, y: Any, loss: Losses | None = None, sample_weight: Any = None, n_threads: int | None = None, *,
        metrics: Any = None,
    ) -> float | dict[str, float]:  # fmt: skip
        """The loss on data, and metrics where they are asked for, in evaluation mode.

        Predictions are kept only for metrics.

        Parameters
        ----------
        X, y, sample_weight, metrics, n_threads : as for `fit`
        loss : Loss or its name; by default that of the last `fit`, else "mse"

        Returns
        -------
        float, or dict of floats
            The loss. With ``metrics`` (also an empty list) a dict: ``"loss"``, and each metric by its name, as in a history.

        Raises
        ------
        NotBuiltError, ShapeError, DataError, RegistryError

        Examples
        --------
        >>> import nnkit as nn
        >>> model = nn.Sequential([nn.Linear(2, weight_init="ones")]).build((1,))
        >>> round(model.evaluate([[1.0], [2.0]], [0, 1], loss="cross_entropy"), 4)
        0.6931
        >>> model.evaluate([[1.0], [2.0]], [0, 1], loss="cross_entropy", metrics=["accuracy"])["accuracy"]
        0.5
        """
        executor = self._built("evaluate")
        loss, weights = (self.last_fit.get("loss", "mse"), self.last_fit.get("loss_weights")) if loss is None else (loss, None)
        return executor.evaluate(X, y, loss, weights, sample_weight, n_threads, metrics)

    def as_function(self, gradient: bool = False) -> RowFunction:
        """The model as a function of one row, in evaluation mode, for use inside your own ``@njit`` code (or from Python).

        ``f(x, out)`` writes the output for the row ``x`` into ``out``. With ``gradient``, ``f(x, out, grad_out, grad_x)`` also
        writes the gradient of the input. Several inputs are a tuple. `nnkit.native.RowFunction` says more, with examples.

        Raises
        ------
        NotBuiltError, NativeError
            Also where a layer runs in Python, or the input has to be looked at in Python.
        """
        return self._built("as_function").function(gradient)

    @property
    def address(self) -> int:
        """A C function pointer, as an integer, to ``void f(const T *x, T *out)``: the output for one row, in evaluation mode.

        It is that of `as_function`, valid as long as the model lives and is not built again. T is float or double.
        """
        return self.as_function().address

    # ---------------------------------------------------------------------------------------------------- keeping it

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to one file: layers, shapes, weights, states, and what the last fit was given.

        The file is in the safetensors format, with a description in JSON; nothing in it can be executed. It is written as a
        whole or not at all. `nnkit.load` reads it; parts of other distributions must be installed there.

        Parameters
        ----------
        path : str or path-like, "net.safetensors" for example

        Raises
        ------
        NotBuiltError, PersistenceError
            There are no weights yet; a layer, or an argument of one, cannot be described (a class that is not registered, a
            function), or the system refuses: a file that was there before is as it was.

        Examples
        --------
        >>> import nnkit as nn, tempfile
        >>> model = nn.Sequential([nn.Linear(3), nn.ReLU()]).build((2,), random_state=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/net.safetensors")
        ...     again = nn.load(f"{folder}/net.safetensors")
        >>> bool((again.predict([[1.0, 2.0]]) == model.predict([[1.0, 2.0]])).all())
        True
        """
        from nnkit.persistence.model import save

        save(self._built("save").network, self.last_fit, path)

    def to_c(self, path: Any, name: str = "predict") -> None:
        """Write the net as one C99 file that needs nothing but the C library: for machines without Python.

        Of it, a program calls ``void predict(const float *x, float *out)`` for one row; ``name`` is that of the function.
        `nnkit.persistence.c_source.write_c` says what else is in it, and how several inputs and outputs are arguments.

        Raises
        ------
        NotBuiltError, KernelError, PersistenceError, ParameterError
            There are no weights yet; a layer cannot be written in C (recurrent layers, attention, and those of plugins without
            a method ``c``); the file cannot be written; the name is not one for C.
        """
        from nnkit.persistence.c_source import write_c

        write_c(self._built("to_c").network, path, name)

    # -------------------------------------------------------------------------------------------------- looking at it

    def summary(self, in_shape: Any = None, batch_size: int = 64) -> Summary:
        """What the model is made of: a table of its layers with shapes, parameters, memory and arithmetic.

        Parameters
        ----------
        in_shape : shape of one input row, for a model that is not built, or for rows of another shape; nothing is built or
            allocated for it
        batch_size : of the training that the memory is told of

        Returns
        -------
        Summary
            The table, as text and in notebooks; every figure is an attribute (see `nnkit.inspect.cost.summary.Summary`).

        Raises
        ------
        NotBuiltError, ShapeError
            The shapes are not known, and ``in_shape`` is not given; a layer does not fit the output of the one before.
        """
        from nnkit.inspect.cost.summary import summary

        dtype, frozen = (self._network.dtype, self._network.frozen) if self._network is not None else ("float32", ())
        return summary(root_of(self, in_shape, "summary"), dtype, batch_size, frozen)

    def plot(self, ax: Axes | None = None, in_shape: Any = None) -> Axes:
        """Draw the model: a box for each layer, frames for containers, the shapes of rows on the arrows between.

        It is drawn on ``ax``, matplotlib's axes, by default those of a new figure of the size that is needed; ``in_shape`` is
        as for `summary`. ``model.plot().figure.savefig("net.png")`` writes a file.

        Raises
        ------
        MissingLibraryError, NotBuiltError, ShapeError
            matplotlib is not installed; or as for `summary`.
        """
        from nnkit.inspect.cost.diagram import plot

        return plot(root_of(self, in_shape, "plot"), ax)

    @explained
    def profile(
        self, X: Any, y: Any, *, loss: Losses | None = None, optimizer: Optimizer | str | None = None,
        batch_size: int = 64, n_threads: int | None = None, random_state: Any = None, seconds: float = 1.0,
    ) -> Profile:  # fmt: skip
        """Measure where the time of a training step goes, on copies of the model, which stays as it is, built or not.

        Parameters
        ----------
        X, y, batch_size, n_threads, random_state : as for `fit`
        loss, optimizer : parts or their names; by default those of the last `fit`, else "mse" and "adam"
        seconds : how long to measure, roughly; at least some 30 steps are done however long they take

        Returns
        -------
        Profile
            Tables as text and in notebooks, `Profile.plot`, and every figure as an attribute (see
            `nnkit.inspect.cost.profile.Profile`, which also says how it is measured). It raises what `fit` does.
        """
        from nnkit.inspect.cost.timing import profile

        return profile(self, X, y, loss=loss, optimizer=optimizer, batch_size=batch_size, n_threads=n_threads,
                       random_state=random_state, seconds=seconds)  # fmt: skip
