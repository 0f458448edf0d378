"""Sequential: layers one after the other, with fit, predict and the passes by hand."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkit.core.arrays import numeric
from nnkit.core.calls import Familiar, brief, explained
from nnkit.core.container import Chain, has_layers
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer, Updater
from nnkit.core.part import listed, row_shape
from nnkit.core.random_state import generator
from nnkit.engine.critical import imported
from nnkit.engine.exclusive import Exclusive
from nnkit.engine.workers import Team
from nnkit.errors import CallError, DataError, NotBuiltError, ParameterError, ShapeError, TrainingWarning, warn
from nnkit.metrics import named
from nnkit.network import LiveArrays, Network
from nnkit.passes import BLOCK, BulkPredictor, Evaluator, Pass, Predictor, prediction_shards
from nnkit.training.data import check_row_shape, check_weights, is_sparse, to_array, to_rows
from nnkit.training.fit import Fit
from nnkit.training.last_layer import misfit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nnkit.core.callback import Callback
    from nnkit.core.metric import Metric
    from nnkit.inspect.profile import Profile
    from nnkit.inspect.summary import Summary
    from nnkit.native import RowFunction
    from nnkit.training.history import History

__all__ = ["Sequential"]


class _Stepper(NamedTuple):
    """An optimizer that a model is stepped with by hand, as it was set when its programs were made."""

    optimizer: weakref.ref[Optimizer]  # as it goes, so does this
    settings: dict[str, Any]
    updater: Updater  # of a copy


class _Made:
    """A network, with what was made to work on it: who builds a model again gets another one whole."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.predictors: list[Predictor] = []  # that nobody is using: one for each call in flight
        self.passes: dict[bool, Pass] = {}
        self.last: Pass | None = None
        self.updaters: dict[int, _Stepper] = {}
        self.functions: dict[bool, RowFunction] = {}
        self.by_hand = Exclusive("a model")

    def forgetting(self, optimizer: Optimizer) -> weakref.ref[Optimizer]:
        """A reference that ends an optimizer's updater with it."""
        me, key = weakref.ref(self), id(optimizer)

        def forget(_: Any) -> None:
            made = me()
            if made is not None:
                made.updaters.pop(key, None)

        return weakref.ref(optimizer, forget)


class Sequential(Familiar):
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

    def __init__(self, layers: Iterable[Layer | type[Layer] | str]) -> None:
        if isinstance(layers, str | Layer):
            raise ParameterError(f"Sequential: expected a list of layers, got {layers!r}; write Sequential([...])")
        if isinstance(layers, Mapping):
            raise ParameterError(f"Sequential: expected a list of layers, which go by their places, got "
                                 f"{type(layers).__name__}; write Sequential(list(layers.values()))")  # fmt: skip
        self.chain = Chain(layers, self)
        self.layers: list[Layer] = self.chain.layers
        self.last_fit: dict[str, Any] = {}
        self._made: _Made | None = None
        self._training = Exclusive("a model")

    def __repr__(self) -> str:
        return repr(self.chain)

    def __len__(self) -> int:
        return len(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer | Sequential:
        """A layer, or some of the layers as a model of their own that shares this one's parameters."""
        if not isinstance(index, slice):
            return self.layers[index]
        self.require_unchanged("a slice")
        part = Sequential(self.layers[index])
        if self._made is not None:
            part._made = _Made(self._made.network.part(part.chain, range(len(self.layers))[index]))
            part._training = self._training
        return part

    def __call__(self, *args: Any, **named: Any) -> NoReturn:
        """Models are not functions: `predict` gives outputs, `forward` those that `backward` goes on from."""
        raise CallError(f"{type(self).__name__}: expected model.predict(X), or model.forward(x, training=True) before "
                        "model.backward(grad), got model(...)")  # fmt: skip

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    # -------------------------------------------------------------------------------------------------- building

    @explained
    def build(self, in_shape: Sequence[int], random_state: Any = None, dtype: DTypeLike = "float32") -> Sequential:
        """Infer all shapes and draw all parameters; `fit` does it when needed. Building again starts afresh.

        Parameters
        ----------
        in_shape : shape of one input row, without the batch axis
        random_state : None, int, RandomState or Generator
        dtype : "float32" or "float64"

        Returns
        -------
        self

        Raises
        ------
        ShapeError
            A layer does not fit the output of the one before.
        BusyError
            The model is being trained.
        """
        random = generator(random_state)
        name = np.dtype(dtype).name
        if name not in ("float32", "float64"):
            raise ParameterError(f"Sequential.build: expected dtype float32 or float64, got {name}")
        shape = row_shape(in_shape, "Sequential.build")
        with self.changing("build"):
            self.adopt(Network.drawn(self.chain, shape, name, random))
        return self

    def changing(self, who: str) -> AbstractContextManager[None]:
        """Be the only one to change the model's numbers within a ``with`` block; others get a `BusyError`."""
        return self._training.by(f"Sequential.{who}")

    def require_unchanged(self, what: str) -> None:
        """Refuse what needs both the layers and the numbers, where ``layers`` is not what the model was built with."""
        if self._made is not None and not has_layers(self._made.network.root, self.layers):
            raise ParameterError(f"Sequential: {what}: expected the layers that the model was built with, got others in "
                                 "model.layers; build it again, which draws new numbers, or make another model")  # fmt: skip

    def adopt(self, network: Network) -> None:
        """Be built as this network of the model's own layers."""
        self._made = _Made(network)

    def copy(self, dtype: DTypeLike | None = None) -> Sequential:
        """The same layers with arrays of their own that hold the same numbers, perhaps in another dtype.

        Examples
        --------
        >>> import nnkit as nn
        >>> model = nn.Sequential([nn.Linear(2)]).build((3,))
        >>> exact = model.copy("float64")
        >>> exact.dtype, bool((exact.parameters()["0.weight"] == model.parameters()["0.weight"]).all())
        ('float64', True)
        """
        self.require_unchanged("copy")
        again = Sequential(copy.deepcopy(self.layers))  # in Python, layers may keep things on themselves
        if self._made is not None:
            mine = self._made.network
            name = mine.dtype if dtype is None else np.dtype(dtype).name
            network = Network.of(again.chain, again.chain.place(mine.in_shape), name)
            network.fill(mine.arrays(), mine.random_position)
            again.adopt(network)
        return again

    def __getstate__(self) -> dict[str, Any]:
        """Layers, shapes and numbers; never addresses."""
        made = self._made
        # A loss of one's own in last_fit may not be pickled.
        return {"chain": self.chain, "layers": self.layers, "network": None if made is None else made.network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.chain, self.layers = state["chain"], state["layers"]
        self.last_fit, self._training = {}, Exclusive("a model")
        self._made = None if state["network"] is None else _Made(state["network"])

    @property
    def is_built(self) -> bool:
        """Whether the shapes are known."""
        return self._made is not None

    def _require_made(self, what: str) -> _Made:
        made = self._made
        if made is None:
            raise NotBuiltError(f"Sequential.{what}: expected a built model; call fit, or build(in_shape=...) first")
        return made

    @property
    def network(self) -> Network:
        """The net itself: shapes, places and arrays, which belong together. Building again makes another one."""
        return self._require_made("network").network

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The shape of one input row."""
        return self._require_made("in_shape").network.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The shape of one output row."""
        return self._require_made("out_shape").network.out_shape

    @property
    def dtype(self) -> str:
        """In what it computes: "float32" or "float64"."""
        return self._require_made("dtype").network.dtype

    def parameters(self) -> LiveArrays:
        """All trained arrays by name, such as ``"0.weight"``: live views, writing to them changes the model.

        So does writing by name, where the shape has to be the same.

        Examples
        --------
        >>> import nnkit as nn
        >>> model = nn.Sequential([nn.Linear(2)]).build((1,))
        >>> model.parameters()["0.weight"] = [[2.0, 3.0]]
        >>> model.predict([[10.0]])
        array([[20., 30.]], dtype=float32)
        """
        return LiveArrays(self._require_made("parameters").network.parameters())

    def gradients(self) -> LiveArrays:
        """The loss's gradients by the parameters, from the last backward pass: live views."""
        network = self._require_made("gradients").network
        return LiveArrays(network.views(network.gradient))

    def states(self) -> LiveArrays:
        """All arrays that are kept but not trained, by name: live."""
        return LiveArrays(self._require_made("states").network.states())

    # --------------------------------------------------------------------------------------------------- using it

    def _check_rows(self, network: Network, X: Any, what: str) -> Any:
        """``X`` as rows that fit the network: an array, or a CSR matrix."""
        rows = to_rows(X, "X")
        check_row_shape(rows, network.in_shape, f"Sequential.{what}")
        network.check_input(rows, "X")
        return rows

    def predict(self, X: ArrayLike, n_threads: int | None = None) -> NDArray[Any]:
        """Raw outputs of the last layer, in evaluation mode (dropout off).

        Parameters
        ----------
        X : (N, *in_shape) array of numbers; NaN and infinity go through
        n_threads : int, optional. The result does not depend on it.

        Returns
        -------
        (N, *out_shape) array of the model's dtype

        Raises
        ------
        NotBuiltError, ShapeError, DataError
        """
        made = self._made or self._require_made("predict")
        idle = made.predictors
        try:
            predictor = idle.pop()  # nobody else has it now: another call, from wherever it comes, takes another one
        except IndexError:
            predictor = None
        if predictor is not None and type(X) is np.ndarray and predictor.fits(X):  # what every call but the first comes to
            out = predictor(X)
            idle.append(predictor)
            return out
        return self._predict_otherwise(made, predictor, X, n_threads)

    @brief
    def _predict_otherwise(self, made: _Made, predictor: Predictor | None, X: ArrayLike, n_threads: int | None) -> NDArray[Any]:
        """The outputs where there is no predictor for such rows yet; what is then there is kept."""
        rows = self._check_rows(made.network, X, "predict")
        count = rows.shape[0]
        if count > BLOCK or is_sparse(rows):
            out = self._predict_many(made.network, rows, n_threads)
        else:
            if predictor is None or predictor.rows < count:
                predictor = Predictor(made.network, min(BLOCK, 1 << (count - 1).bit_length()))
            out = predictor(rows)
        if predictor is not None:
            made.predictors.append(predictor)
        return out

    @staticmethod
    def _predict_many(network: Network, X: Any, n_threads: int | None) -> NDArray[Any]:
        out = np.empty((X.shape[0], *network.out_shape), network.dtype)
        shards = prediction_shards(network, X.shape[0], n_threads)
        predictor = BulkPredictor(network, X, out, shards)
        with Team(shards) as team:
            predictor.run(team)
        return out

    def as_function(self, gradient: bool = False) -> RowFunction:
        """The model as a function of one row, in evaluation mode, for use inside your own ``@njit`` code (or from Python).

        ``f(x, out)`` writes the output for the row ``x`` into ``out``: C-contiguous arrays of the shapes `in_shape` and
        `out_shape` and of the model's dtype (``x`` of int64, where the first layer takes whole numbers). With ``gradient``,
        ``f(x, out, grad_out, grad_x)`` also writes the gradient of the input, grad_x_i = sum_j grad_out_j d out_j / d x_i.

        It reads the model's present parameters whenever it is called, and keeps them alive, but knows nothing of a later
        `build`. Many threads may call it at once. Nothing is compiled for it. Your function may have it as an argument or as a
        global; as an argument, the same compiled code serves all models whose rows have as many dimensions, and Numba can
        keep it on disk.

        Parameters
        ----------
        gradient : bool

        Returns
        -------
        f
            In compiled code, a wrong dtype, layout or number of dimensions is a TypingError as your function is compiled, and
            a wrong shape raises ValueError. Whole numbers out of range give NaN there.

        Raises
        ------
        NotBuiltError
        NativeError
            The model has a layer that runs in Python, or its input has to be looked at in Python.

        Examples
        --------
        >>> import nnkit as nn, numba, numpy as np
        >>> model = nn.Sequential([nn.Linear(16), nn.Tanh(), nn.Linear(2)]).build((2,), random_state=0, dtype="float64")
        >>> @numba.njit
        ... def euler(f, state, step, steps):
        ...     state, slope = state.copy(), np.empty_like(state)
        ...     for _ in range(steps):
        ...         f(state, slope)  # d state / dt
        ...         state += step * slope
        ...     return state
        >>> state = euler(model.as_function(), np.array([1.0, 0.0]), 0.01, 100)
        >>> expected = np.array([1.0, 0.0])
        >>> for _ in range(100):
        ...     expected += 0.01 * model.predict(expected[None])[0]
        >>> np.allclose(state, expected)
        True
        """
        made = self._require_made("as_function")
        if gradient not in made.functions:
            made.functions.setdefault(gradient, imported("nnkit.native").RowFunction(made.network, gradient))
        return made.functions[gradient]

    @property
    def address(self) -> int:
        """A C function pointer, as an integer, to ``void f(const T *x, T *out)``: the output for one row, in evaluation mode.

        T is float or double, the model's dtype (``x`` points to int64_t, where the first layer takes whole numbers). It needs
        no GIL, may be called by many threads at once, and is valid as long as the model lives and is not built again. The
        functions that `as_function` returns have such an ``address``, too; with the gradient it takes four pointers.

        What wants another signature gets a function of yours around it: SciPy's integrators, for one, take the pointer of a
        ``numba.cfunc`` that calls `as_function`.

        Examples
        --------
        >>> import ctypes, nnkit as nn, numpy as np
        >>> model = nn.Sequential([nn.Linear(8), nn.Tanh(), nn.Linear(1)]).build((1,), random_state=0, dtype="float64")
        >>> pointer = ctypes.POINTER(ctypes.c_double)
        >>> net = ctypes.CFUNCTYPE(None, pointer, pointer)(model.address)
        >>> x, out = np.array([0.5]), np.empty(1)
        >>> net(x.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
        >>> bool(out[0] == model.predict([[0.5]])[0, 0])
        True

        With cffi it is ``ffi.cast("void (*)(const double *, double *)", model.address)``. An integrand for SciPy:

        >>> import numba, scipy.integrate
        >>> f = model.as_function()
        >>> @numba.cfunc("float64(intc, CPointer(float64))")
        ... def integrand(n, x):
        ...     out = np.empty(1)
        ...     f(numba.carray(x, (1,)), out)
        ...     return out[0]
        >>> area, error = scipy.integrate.quad(scipy.LowLevelCallable(integrand.ctypes), 0, 1)
        >>> xs = (np.arange(1000) + 0.5) / 1000
        >>> bool(abs(area - model.predict(xs[:, None]).mean()) < 1e-6)
        True
        """
        return self.as_function().address

    @overload
    def evaluate(
        self, X: ArrayLike, y: ArrayLike, loss: Loss | str | None = None, sample_weight: ArrayLike | None = None,
        n_threads: int | None = None, *, metrics: None = None,
    ) -> float: ...  # fmt: skip
    @overload
    def evaluate(
        self, X: ArrayLike, y: ArrayLike, loss: Loss | str | None = None, sample_weight: ArrayLike | None = None,
        n_threads: int | None = None, *, metrics: Sequence[Metric | str] | Metric | str,
    ) -> dict[str, float]: ...  # fmt: skip
    @explained
    def evaluate(
        self, X: ArrayLike, y: ArrayLike, loss: Loss | str | None = None, sample_weight: ArrayLike | None = None,
        n_threads: int | None = None, *, metrics: Sequence[Metric | str] | Metric | str | None = None,
    ) -> float | dict[str, float]:  # fmt: skip
        """The loss on data, and metrics where they are asked for, in evaluation mode.

        Rows are read block by block. Predictions are kept only for metrics, which are figures of all of them.

        Parameters
        ----------
        X, y : as for `fit`
        loss : Loss or its name; by default that of the last `fit`, else "mse"
        sample_weight : (N,) weights of at least 0: a row of weight 2 counts as two, one of weight 0 is absent
        n_threads : int, optional. The result does not depend on it.
        metrics : metrics or their names, as for `fit`

        Returns
        -------
        float, or dict of floats
            The loss. With ``metrics`` (also an empty list of them) a dict: ``"loss"``, and each metric by its name, as in the
            history of a fit. What metrics the last fit had does not matter: what comes back depends on the call alone.

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
        network = self._require_made("evaluate").network
        checked = self._check_rows(network, X, "evaluate")
        loss = Loss.make(self.last_fit.get("loss", "mse") if loss is None else loss)
        asked = None if metrics is None else named(metrics)
        target = to_array(y, "y")
        rows = checked.shape[0]
        loss.check_target(target, network.out_shape, rows)
        weights = check_weights(sample_weight, rows)
        shards = prediction_shards(network, rows, n_threads)
        evaluator = Evaluator(network, loss, checked, target, weights, shards=shards, predictions=bool(asked))
        with Team(shards) as team:
            value = evaluator.run(team)
        return value if asked is None else {"loss": value, **evaluator.figures(asked)}

    @brief
    def forward(self, x: ArrayLike, training: bool = False) -> NDArray[Any]:
        """Output of one batch, remembered for `backward`.

        Parameters
        ----------
        x : (N, *in_shape)
        training : True switches dropout and the like on; each call draws anew
        """
        made = self._require_made("forward")
        network = made.network
        batch = self._check_rows(network, x, "forward")
        if is_sparse(batch):
            raise DataError("Sequential.forward: expected dense rows, got a sparse matrix; pass x.toarray()")
        with made.by_hand.by("Sequential.forward"):
            last = made.passes.get(training)
            if last is None or last.rows < len(batch):
                last = made.passes[training] = Pass(network, len(batch), training=training, gradient=network.gradient)
            made.last = None  # nothing to go back through, should this fail
            network.step += training
            out = last.forward(batch, step=network.step, seed=network.seed)
            made.last = last
            return out

    @brief
    def backward(self, grad_out: ArrayLike) -> NDArray[Any] | None:
        """Backpropagate the gradient of the loss by the output of the last `forward`.

        Writes `gradients` and returns the gradient by the input (None where the input holds integers).
        """
        made = self._require_made("backward")
        with made.by_hand.by("Sequential.backward"):
            if made.last is None:
                raise NotBuiltError("Sequential.backward: expected a forward pass before it, got none")
            grad = numeric(grad_out, "grad_out")
            expected = (made.last.current_rows, *made.network.out_shape)
            if grad.shape != expected:
                raise ShapeError(f"Sequential.backward: expected grad_out of shape {expected}, as the output, got {grad.shape}")
            return made.last.backward(grad)

    def update(self, optimizer: Optimizer, epoch: float = 0.0, epochs: float = 1.0) -> None:
        """One step of the optimizer from the present gradients: what ``optimizer.step(model)`` does."""
        made = self._require_made("update")
        network = made.network
        with made.by_hand.by("Sequential.update"):
            known = made.updaters.get(id(optimizer))
            settings = {name: value for name, value in vars(optimizer).items() if name != "lr"}
            if known is None or known.settings != settings:
                updater = Updater(copy.copy(optimizer), network.vector, network.gradient[None], chunk=network.chunk)
                if known is not None:
                    updater.take_over(known.updater.progress)
                known = made.updaters[id(optimizer)] = _Stepper(made.forgetting(optimizer), settings, updater)
            known.updater.optimizer.lr = optimizer.lr
            known.updater.step(epoch, epochs)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to one file: layers, shapes, weights, states, and what the last fit was given.

        The file is in the safetensors format, with a description in JSON; nothing in it can be executed. It is written as a
        whole or not at all. `nnkit.load` reads it; parts of other distributions must be installed there.

        Parameters
        ----------
        path : str or path-like, "net.safetensors" for example

        Raises
        ------
        NotBuiltError
            The model has no weights yet.
        PersistenceError
            A layer, or an argument of one, cannot be described (a class that is not registered, a function), or the system
            refuses; a file that was there before is as it was.

        Examples
        --------
        >>> import tempfile
        >>> import nnkit as nn
        >>> model = nn.Sequential([nn.Linear(3), nn.ReLU()]).build((2,), random_state=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/net.safetensors")
        ...     again = nn.load(f"{folder}/net.safetensors")
        >>> bool((again.predict([[1.0, 2.0]]) == model.predict([[1.0, 2.0]])).all())
        True
        """
        from nnkit.persistence.model import save

        save(self, path)

    def to_c(self, path: Any, name: str = "predict") -> None:
        """Write the net as one C99 file that needs nothing but the C library: for machines without Python.

        The file has the numbers, exactly, and a function for each kind of layer. Of it, a program calls
        ``void predict(const float *x, float *out)`` for one row (double for a float64 model; int64_t where the first layer
        looks numbers up), or ``predict_with(x, out, work)`` with ``PREDICT_WORK`` numbers of working memory of its own: both
        keep nothing between calls. Where more than 256 KB are needed, too much for some stacks, there is only the second.
        By itself the file makes a program that tests it; how to compile it is said at its top.

        Parameters
        ----------
        path : str or path-like, where to; what is there before is replaced once all is written
        name : of the function, for programs with several nets

        Raises
        ------
        NotBuiltError
            The shapes and numbers are not known yet.
        KernelError
            A layer cannot be written in C: recurrent layers, attention, and those of plugins without a method ``c``.
        PersistenceError, ParameterError
            The file cannot be written; the name is not one for C.

        Examples
        --------
        >>> import nnkit as nn, pathlib, tempfile
        >>> model = nn.Sequential([nn.Linear(2), nn.ReLU()]).build((3,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "net.c"
        ...     model.to_c(path)
        ...     "void predict(const float *x, float *out)" in path.read_text()
        True
        """
        from nnkit.persistence.c_source import write_c

        write_c(self, path, name)

    @explained
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        loss: Loss | str = "mse",
        optimizer: Optimizer | str = "adam",
        epochs: int = 10,
        batch_size: int = 64,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float = 0.0,
        sample_weight: ArrayLike | None = None,
        metrics: Sequence[Metric | str] = (),
        callbacks: Sequence[Callback | str] = (),
        shuffle: bool = True,
        random_state: Any = None,
        n_threads: int | None = None,
        progress: bool | str = "auto",
        engine: str = "compiled",
        resume: str | PathLike[str] | bool = False,
    ) -> History:
        """Train on data; a second call goes on from the present parameters, with a fresh optimizer state.

        Parameters
        ----------
        X : (N, ...) numbers, in C or Fortran order, sliced, memory-mapped; read in place, never copied whole (reversed arrays,
            float16 and foreign byte order are). Of a frame (pandas, Polars, PyArrow ...) every column has to be of numbers or
            truth values; text, categories and times are refused by name.
        y : targets that fit the loss (integer labels for ``"cross_entropy"``; the shape of the output for ``"mse"``)
        loss : Loss or its name
        optimizer : Optimizer or its name
        epochs : int >= 1
        batch_size : int >= 1; the last batch of an epoch may be smaller
        validation_data : (X, y) or (X, y, sample_weight), evaluated after every epoch
        validation_split : float in [0, 1): instead of the former, hold out this part of the rows, drawn at random
        sample_weight : (N,) weights of at least 0: a row of weight 2 counts as two, one of weight 0 is absent, as if it were
            not in the data. Where the loss is a mean, weights are divided by their mean over all rows that are trained on,
            and a batch's loss is the mean of weight times loss over its rows; so a row's weight is the same in every batch,
            even in one of that row alone, and only the weights' ratios count. Equal weights are the same as none.
        metrics : metrics or their names (also those of scikit-learn's scorers), on the validation data where there are any
        callbacks : callbacks or their names
        shuffle : draw the rows in a new order each epoch
        random_state : None, int, RandomState or Generator: decides parameters, order and dropout
        n_threads : int, optional; by default as many as this process may use cores. The result is the same to the bit.
        progress : "auto" (on a terminal and in a notebook), True or False
        engine : "compiled", or "python" to run every kernel uncompiled, for debugging
        resume : the file of a `Checkpoint`, from an earlier fit with the same data and arguments: go on where that was.
            Parameters and history end as if it had never stopped, to the bit. True stands for the file of the `Checkpoint`
            among the callbacks, if it is there already; else training begins.

        Returns
        -------
        History
            What was measured after each epoch; also kept after Ctrl-C, which ends training cleanly.

        Raises
        ------
        ShapeError, DataError, ParameterError
            The input is refused, before training begins.
        PersistenceError
            The checkpoint to resume cannot be read.
        NonFiniteError
            A loss or gradient became NaN or infinite.
        BusyError
            The model is being trained already, or is built just now.

        Warns
        -----
        TrainingWarning
            The loss does not fit the last layer: a softmax before ``"cross_entropy"``, which takes it itself, or none before
            ``"nll"``.
        """
        from nnkit.persistence.checkpoint import snapshot_in

        self.require_unchanged("fit")
        with self.changing("fit"):
            resumed = snapshot_in(resume, listed(callbacks)) if resume else None
            fit = Fit(
                self, X, y, loss=loss, optimizer=optimizer, epochs=epochs, batch_size=batch_size,
                validation_data=validation_data, validation_split=validation_split, sample_weight=sample_weight,
                metrics=metrics, callbacks=callbacks, shuffle=shuffle, random_state=random_state, n_threads=n_threads,
                progress=progress, engine=engine, resumed=resumed,
            )  # fmt: skip
            if wrong := misfit(Loss.make(loss), self.network.root):
                warn(f"fit: {wrong}", TrainingWarning)
            return fit.run()

    # -------------------------------------------------------------------------------------------------- looking at it

    def summary(self, in_shape: Sequence[int] | int | None = None, batch_size: int = 64) -> Summary:
        """What the model is made of: a table of its layers with shapes, parameters, memory and arithmetic.

        Parameters
        ----------
        in_shape : shape of one input row, for a model that is not built, or for rows of another shape; nothing is built or
            allocated for it
        batch_size : of the training that the memory is told of

        Returns
        -------
        Summary
            The table, as text and in notebooks; every figure is an attribute (see `nnkit.inspect.summary.Summary`).

        Raises
        ------
        NotBuiltError
            The shapes are not known, and ``in_shape`` is not given.
        ShapeError
            A layer does not fit the output of the one before.

        Examples
        --------
        >>> import nnkit as nn
        >>> summary = nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Linear(10)]).summary(in_shape=(64,))
        >>> summary.parameters == 64 * 128 + 128 + 128 * 10 + 10
        True
        >>> print(summary)
        Sequential: (N, 64) float32
        <BLANKLINE>
        layer                        output   parameters    memory   per row     FLOP
        -----------------------------------------------------------------------------
        0 Linear(out_features=128)   128           8 320   33.3 kB     512 B   16.9 k
        1 ReLU()                     128               -         -     512 B      256
        2 Linear(out_features=10)    10            1 290   5.16 kB      40 B   2.60 k
        <BLANKLINE>
        9 610 parameters: 38.4 kB.
        Memory to train on batches of 64: 145 kB for parameters, gradients and activations;
        the optimizer's moments come on top.
        Arithmetic of a row: 19.8 k forward, 42.1 k in a training step.
        memory: of parameters and states; per row: output and notes for backward, at most;
        FLOP: of a row forward, 2 for each multiply-add, roughly.
        """
        from nnkit.inspect.summary import summary

        return summary(self, in_shape, batch_size)

    def plot(self, ax: Axes | None = None, in_shape: Sequence[int] | int | None = None) -> Axes:
        """Draw the model: a box for each layer, frames for containers, the shapes of rows on the arrows between.

        Parameters
        ----------
        ax : matplotlib axes to draw on, by default a new figure of the size that is needed
        in_shape : as for `summary`

        Returns
        -------
        matplotlib.axes.Axes
            Their unit is an inch. ``ax.figure.savefig("net.png")`` writes a file.

        Raises
        ------
        MissingLibraryError
            matplotlib is not installed.
        NotBuiltError, ShapeError
            As for `summary`.

        Examples
        --------
        >>> import nnkit as nn
        >>> ax = nn.Sequential([nn.Residual(nn.Linear(8), nn.ReLU())]).plot(in_shape=8)
        >>> ax.figure.clear()
        """
        from nnkit.inspect.diagram import plot

        return plot(self, ax, in_shape)

    @explained
    def profile(
        self, X: ArrayLike, y: ArrayLike, *, loss: Loss | str | None = None, optimizer: Optimizer | str | None = None,
        batch_size: int = 64, n_threads: int | None = None, random_state: Any = None, seconds: float = 1.0,
    ) -> Profile:  # fmt: skip
        """Measure where the time of a training step goes.

        Copies of the model are trained for some steps, as `fit` begins to, on batches from all over the data, with the clock
        read between the kernels, and without; the fastest counts. The model stays as it is, built or not.

        Parameters
        ----------
        X, y : as for `fit`
        loss, optimizer : parts or their names; by default those of the last `fit`, else "mse" and "adam"
        batch_size, n_threads, random_state : as for `fit`
        seconds : how long to measure, roughly; at least some 30 steps are done however long they take. What is not compiled
            yet is compiled before, and the speed of the machine is measured once in a process (0.3 s).

        Returns
        -------
        Profile
            Tables as text and in notebooks, `Profile.plot`, and every figure as an attribute (see
            `nnkit.inspect.profile.Profile`).

        Raises
        ------
        ShapeError, DataError, ParameterError, NonFiniteError
            As `fit` does.

        Examples
        --------
        >>> import nnkit as nn, numpy as np
        >>> model = nn.Sequential([nn.Linear(16), nn.ReLU(), nn.Linear(1)])
        >>> profile = model.profile(np.ones((64, 4)), np.ones((64, 1)), seconds=0.01)
        >>> [kernel.name for kernel in profile.kernels if kernel.stage == "forward"]
        ['0 Linear forward', '1 ReLU forward', '2 Linear forward']
        >>> profile.step_us > 0
        True
        """
        from nnkit.inspect.profile import profile

        return profile(self, X, y, loss=loss, optimizer=optimizer, batch_size=batch_size, n_threads=n_threads,
                       random_state=random_state, seconds=seconds)  # fmt: skip
