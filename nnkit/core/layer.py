"""The contract of a layer."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import SELF, each, fields, numbers, of_field, spelt
from nnkit.core.identity import identity, once
from nnkit.core.initializer import Given, Initializer
from nnkit.core.interpreted import fill_by_copy, read_only
from nnkit.core.part import Part, Shape, kernel_names
from nnkit.core.registry import Registry
from nnkit.core.schedule import followed
from nnkit.core.shapes import require_one_loop, require_views
from nnkit.core.span import Span
from nnkit.engine.program import Numbers
from nnkit.errors import CallError, KernelError, OnnxError, ShapeError

if TYPE_CHECKING:
    from nnkit.core.exchange import Cursor, Found, Graph, Value

__all__ = ["Built", "Declared", "Layer", "Places", "PythonLayer"]

# What every kernel of a layer may name, beside what the layer declares and its own attributes.
FORWARD_NAMES = ("out", "training", "seed", "first_row", "rows", "shards", "mask")
BACKWARD_NAMES = (SELF, *FORWARD_NAMES, "grad_out", "grad_x")
CHUNK = 1 << 20  # rows looked at in one go
STAGES = ("forward_partial", "forward", "backward_partial", "backward", "backward_x")


@dataclass(frozen=True)
class Declared:
    """An array that a layer has asked for."""

    name: str
    shape: Shape
    init: Any = "zeros"
    dtype: str = "real"  # "real": the model's
    fixed: bool = False  # kernels only read it


@dataclass
class Built:
    """A layer in its place in a model: shapes known, arrays declared."""

    layer: Layer
    in_shape: Any  # a shape, or shapes by the names of the fields of a row
    out_shape: Any = ()
    views: dict[str, Shape] = field(default_factory=dict)  # shapes in which the kernels see some arrays and their gradients
    children: list[Built] = field(default_factory=list)
    source: Layer | None = None  # what the container was given, of which the layer is a copy
    home: Built | None = None  # the first place of a layer that is used again: its parameters are these, too
    parameters: dict[str, Declared] = field(default_factory=dict)  # trained
    states: dict[str, Declared] = field(default_factory=dict)  # kept, not trained
    scratch: dict[str, Declared] = field(default_factory=dict)  # one for every row of a batch, gone after the step
    workspace: dict[str, Declared] = field(default_factory=dict)  # one for every shard, gone after the kernel
    partials: dict[str, Declared] = field(default_factory=dict)  # one for every shard, which all shards can read

    def work(self) -> int:
        """Multiplications of a forward pass of one row, roughly."""
        parameters = sum(prod(item.shape) for item in self.parameters.values())
        return self.layer.work(self.in_shape, self.out_shape, parameters)

    @property
    def inputs(self) -> dict[str, Shape]:
        """The shapes of what its kernels read, by the names in which they do."""
        return {name or SELF: shape for name, shape in fields(self.in_shape).items()}

    @property
    def in_one_shard(self) -> bool:
        """Whether every row has to see all rows of the batch, or what they leave behind, and shards cannot meet for that."""
        changes = any(not state.fixed for state in self.states.values())
        return (changes or self.layer.mixes_rows) and not self.partials

    @property
    def keeps_mask(self) -> bool:
        """Whether it is known which steps of the output are padding: those of the input, or those that it finds."""
        return self.layer.passes_mask or "mask" in self.scratch

    def declared(self) -> dict[str, Declared]:
        """Every array by its name."""
        return {**self.parameters, **self.states, **self.scratch, **self.workspace, **self.partials}

    def walk(self, path: str = "") -> Iterator[tuple[str, Built]]:
        """All layers within, with their paths such as "2.0"; a layer alone is within itself. In the order of use."""
        if not self.children:
            yield path, self
        for index, child in enumerate(self.children):
            yield from child.walk(f"{path}.{index}" if path else str(index))


class Places(dict["Layer", Built]):
    """The places of the layers that are built already, and the layers ``around`` the one that is being built."""

    def __init__(self) -> None:
        self.around: list[Layer] = []


class Layer(Part):
    """A layer: ``build`` says what it needs, ``forward`` and ``backward`` are kernels whose argument names say the same.

    Kernels are static methods in plain Python that Numba can compile. They get the arrays that they name and write into
    them; they return nothing:

    - ``x`` (N, *in_shape) and ``out`` (N, *out_shape); in backward also ``grad_out`` and ``grad_x``, alike;
    - every declared parameter, state, scratch and workspace array by its name, and ``grad_<parameter>`` in backward, which is
      to be *written*, not added to;
    - every attribute of the layer that is a number or a truth value, a tuple, list or array of such, or None. A list is a tuple
      there, and an array is only read. One kernel serves all arrays; a tuple of up to eight numbers is one in compiled code,
      too, and compiled once for each length. What ``if weights is None`` rules out is not compiled at all;
    - ``training``; ``seed``, the layer's random stream in this step (see ``nnkit.kernels.random``); ``first_row``, where
      these N rows begin in the batch; ``rows``, which is N;
    - ``mask`` (N, steps) uint8: 0 where a step of a sequence is padding. It comes from a layer before that has declared
      a scratch of this name; where there is none, it is (N, 0).

    ``backward`` may leave ``grad_x`` to a second kernel, ``backward_x``: where nobody needs the gradient of the input,
    it is not run.

    A layer that in training has to know the whole batch, of which each shard has some rows, has kernels ``forward_partial`` and
    ``backward_partial``. They write what the shard knows into arrays declared as `partial`; then the shards meet; ``forward``
    and ``backward`` read those of all ``shards`` as ``all_<name>``, and combine them in order.

    With ``blocked``, kernels see rows interleaved in blocks, x as (blocks, *in_shape, lanes): loops over the last axis are
    vector instructions, whatever the shape. The last block is filled up with copies of the last row; gradients there are
    zero, and ``backward`` has to keep them so.

    What backward does not name need not be kept: with ``inplace``, a layer whose backward does not name ``x`` works in
    place.

    A layer that reads several values of a row says how it calls them: with ``inputs = ("x1", "x2")`` its kernels name ``x1``
    and ``x2`` in the place of ``x``, and ``grad_x1`` and ``grad_x2`` in that of ``grad_x``; ``build`` gets a dict of shapes by
    these names. ``mask`` is that of the first one; ``mask_x2`` is that of ``x2``.

    Hooks
    -----
    What a layer may have, and what stands where it has none. ``needed``: it has to have it; ``method``: there is one, which may
    be overridden, and is described below. Kernels are static methods. Attributes stand on the class, are set by ``build``, or
    are properties, where they depend on hyper-parameters.

    ================  =======  =================================================================================================
    hook              default  what it is
    ================  =======  =================================================================================================
    forward           needed   kernel: writes ``out``
    backward          needed   kernel: writes the gradient of every parameter, and ``grad_x``, unless `backward_x` does
    backward_x        None     kernel: writes ``grad_x``; not run where nobody needs it
    forward_partial   None     kernel, in training: before `forward`, writes what the shard lets the others know
    backward_partial  None     kernel, in training: the same before `backward`
    forward_csr       None     kernel for input that stays sparse: there ``x`` (N,) holds the numbers of the rows, and
                               ``indptr``, ``indices`` and ``data`` are the matrix (SciPy's CSR)
    backward_csr      None     kernel: its backward; without ``grad_x``
    build             method   declares the arrays for rows of a shape, and returns the shape of a row of the output
    check_input       method   refuses rows that the kernels could not take
    work              method   multiplications of a forward pass of one row, roughly; decides how a batch is cut into shards
    c                 method   the forward kernel as a text in C; without it `Sequential.to_c` refuses the layer
    onnx              method   writes the layer in operators of ONNX; without it `nnkit.onnx.export` refuses it
    from_onnx         method   class method: reads the layer from operators of ONNX
    from_torch        method   its arrays, from those of its twin in PyTorch
    from_data         False    before the first step of their first fit, `initialise` says what its arrays begin as
    initialise        method   what its arrays begin as, from rows that it reads; nothing
    examples          method   class method: ready-made ones, with legal inputs, that the checks take; one with its defaults,
                               where the constructor needs no arguments
    mixes_rows        False    in training, a row of the output depends on other rows: a batch is not cut into shards, unless
                               they meet (see `partial`). Out of training it must not: rows are then computed some at a time
    inplace           False    ``x`` and ``out`` may be one array, ``grad_out`` and ``grad_x`` another: kernels read a number
                               before they write over it
    folds_rows        False    kernels see (rows, last axis), whatever lies between
    flat              False    kernels see one long row of numbers
    blocked           False    kernels see rows in blocks, as above
    pointwise         False    each number is computed by itself, wherever it lies: kernels take rows as well as blocks
    interpreted       False    kernels stay Python; so it is for every `PythonLayer`
    inputs            ()       the names of the values of a row that it reads, where these are several; (): one, ``x``
    selects           False    its outputs are some of its inputs, as they are: a layer behind it may look them up
    input_dtype       'real'   "real": the model's; "int64" for a layer that looks the model's input up; of `inputs` a dict
    input_limit       0        whole numbers of the input are from 0 to below this; who takes some says it, in `build` at last
    passes_mask       False    a row of the output has the steps of its row of the input, so that the same ones are padding
    gives             None     what numbers its outputs can be, a `nnkit.Span`, which `fit` compares with what the loss expects;
                               None: nobody knows
    dense             None     the names of (weight, bias), where out_j = sum_i x_i weight_ij + bias_j: then `nnkit.trace`
                               spells the units out
    acts_outside      False    it writes files, runs commands or the like: a file from somebody else does not bring it along
    elsewhere         ()       what PyTorch's or Keras' constructor takes by position, in its words, where that is not as here
    ================  =======  =================================================================================================

    Examples
    --------
    >>> import nnkit as nn
    >>> class Scale(nn.Layer):
    ...     def build(self, in_shape):
    ...         self.parameter("scale", in_shape, init="ones")
    ...         return in_shape
    ...     @staticmethod
    ...     def forward(x, scale, out):
    ...         for n in range(x.shape[0]):
    ...             for j in range(x.shape[1]):
    ...                 out[n, j] = x[n, j] * scale[j]
    ...     @staticmethod
    ...     def backward(x, scale, grad_out, grad_x, grad_scale):
    ...         grad_scale[:] = 0.0
    ...         for n in range(x.shape[0]):
    ...             for j in range(x.shape[1]):
    ...                 grad_scale[j] += grad_out[n, j] * x[n, j]
    ...                 grad_x[n, j] = grad_out[n, j] * scale[j]
    >>> nn.Sequential([Scale()]).build((3,)).predict([[1.0, 2.0, 3.0]])
    array([[1., 2., 3.]], dtype=float32)
    """

    registry: ClassVar[Registry[Any]] = Registry("layer")
    needed: ClassVar[tuple[str, ...]] = ("forward", "backward")
    hooks: ClassVar[tuple[str, ...]] = (
        *Part.hooks, "forward", "backward", "backward_x", "forward_partial", "backward_partial", "forward_csr", "backward_csr",
        "build", "check_input", "work", "c", "onnx", "from_onnx", "from_torch", "from_data", "initialise",
        "mixes_rows", "inplace", "folds_rows", "flat", "blocked", "pointwise", "interpreted", "inputs", "selects",
        "input_dtype", "input_limit", "passes_mask", "gives", "dense",
    )  # fmt: skip

    from_data: bool = False
    mixes_rows: ClassVar[bool] = False
    inplace: ClassVar[bool] = False
    folds_rows: bool = False
    flat: bool = False
    blocked: bool = False
    pointwise: ClassVar[bool] = False
    interpreted: ClassVar[bool] = False
    inputs: tuple[str, ...] = ()
    selects: ClassVar[bool] = False
    input_dtype: ClassVar[str | dict[str, str]] = "real"
    input_limit: int = 0
    passes_mask: bool = False
    gives: ClassVar[Span | None] = None
    dense: ClassVar[tuple[str, str] | None] = None

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    backward_x: Callable[..., Any] | None = None
    forward_partial: Callable[..., Any] | None = None
    backward_partial: Callable[..., Any] | None = None
    forward_csr: Callable[..., Any] | None = None
    backward_csr: Callable[..., Any] | None = None

    _built: Built
    _known: Places  # while it is built

    def __call__(self, *args: Any, **named: Any) -> NoReturn:
        """Layers are not functions: they work in a model."""
        raise CallError(f"{type(self).__name__}: expected a model around the layer, such as nn.Sequential([{self!r}])"
                        ".build(in_shape).forward(x), got layer(...)")  # fmt: skip

    def build(self, in_shape: Any) -> Any:
        """Declare what the layer needs for input rows of ``in_shape``; return the shape of an output row."""
        return in_shape

    def check_input(self, array: NDArray[Any], name: str) -> None:
        """Refuse input rows that the kernels could not take, with a `DataError`; asked of the layers that read a model's input.

        ``name`` is what the user calls the array. As it stands, it looks for whole numbers from 0 to below `input_limit`,
        where the layer has one. Such numbers are looked at once more on their way to the kernels, whoever has changed them
        meanwhile.
        """
        if not self.input_limit:
            return
        for start in range(0, len(array), CHUNK):
            piece = array[start : start + CHUNK]
            if piece.dtype.kind == "b" or piece.size == 0:
                wrong = piece >= self.input_limit
            elif piece.dtype.kind == "f":
                wrong = ~((piece >= 0) & (piece < self.input_limit) & (piece == np.floor(piece)))  # NaN is among these
            elif piece.min() >= 0 and piece.max() < self.input_limit:
                continue
            else:
                wrong = (piece < 0) | (piece >= self.input_limit)
            if wrong.any():
                row, *place = (int(i) for i in np.argwhere(wrong)[0])
                raise Numbers(name, self.input_limit).error(repr(self), piece[(row, *place)], start + row, place)

    def work(self, in_shape: Any, out_shape: Any, parameters: int) -> int:
        """Multiplications of a forward pass of one row, roughly; decides how a batch is cut into shards."""
        folded = prod(out_shape[:-1]) if self.folds_rows else 1
        return parameters * folded + numbers(out_shape)

    def c(self) -> str:
        """The forward kernel for one row, in evaluation mode, as a function in C99; what `Sequential.to_c` asks for.

        As in Python, the arguments' names say what it needs: ``x``, ``out``, and the layer's parameters and states by their
        names. The sizes in brackets name the axes of one row, in the shape in which the kernels see it, without batch and
        blocks; leading axes that are not named are one with the first (``x[N]`` is all of a row). A parameter of size zero
        is NULL. ``real`` is the model's dtype; literals and functions of math.h are written as for double.

        The text may further name every number, or tuple of numbers, that is an attribute of this (built) layer, and call
        static methods of its class, and functions of its module, that are Python functions of single numbers, perhaps with
        tuples of constants: they are translated.

        With ``folds_rows`` it is called for every row along the last axis, and with ``inplace`` ``x`` and ``out`` may be the
        same. An empty text says that nothing is computed: the output is the input, maybe in another shape.

        Examples
        --------
        >>> import nnkit as nn
        >>> print(nn.GLU().c())
        void forward(const real x[N], real out[M])
        {
            for (int i = 0; i < M; i++) {
                const int a = i / half * half + i, b = a + half;
                out[i] = x[a] * sigmoid(x[b]);
            }
        }
        """
        raise KernelError(
            f"cannot be written in C: {type(self).__name__} has no method c; give it one (see nnkit.Layer.c), or write "
            "model[:k], the layers before it, and do the rest yourself"
        )

    def require_axis(self, name: str) -> None:
        """Refuse a hyper-parameter that cannot name an axis of a row, counted as in PyTorch: from 1 (0 is the batch), or from
        the end.
        """
        value = getattr(self, name)
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        self.require(name, whole and value != 0, "an axis, counted from 1 (0 is the batch) or from the end")

    def axis_of_row(self, dim: int, in_shape: Shape) -> int:
        """The place in ``in_shape`` of an axis that is counted as in PyTorch."""
        axis = dim - 1 if dim > 0 else dim + len(in_shape)
        if not 0 <= axis < len(in_shape):
            shape = ", ".join(["N", *map(str, in_shape)])
            raise ShapeError(f"{self!r}: expected input rows with an axis {dim} (0 is the batch), got shape ({shape})")
        return axis

    def parameter(self, name: str, shape: Iterable[int], init: Any = "zeros") -> None:
        """Declare a trained array; one of size zero is absent."""
        self._declare(self._built.parameters, name, shape, Initializer.make(init, f"{type(self).__name__}: init of {name!r}"))

    def state(self, name: str, shape: Iterable[int], init: Any = "zeros") -> None:
        """Declare an array that is kept with the model but not trained, such as a running mean.

        All rows share it, and training may write it: a model with states is trained in one shard, unless shards meet for them
        (see `partial`).
        """
        self._declare(self._built.states, name, shape, Initializer.make(init, f"{type(self).__name__}: init of {name!r}"))

    def constant(self, name: str, values: Any) -> None:
        """Declare a state of given numbers, which kernels only read: no shard has to meet another for it."""
        init = Given(np.asarray(values, np.float64))
        self._declare(self._built.states, name, init.values.shape, init, fixed=True)

    def scratch(self, name: str, shape: Iterable[int], dtype: str = "real") -> None:
        """Declare working memory for each row of the batch: ``shape`` is without the batch axis."""
        self._declare(self._built.scratch, name, shape, "zeros", dtype)

    def workspace(self, name: str, shape: Iterable[int], dtype: str = "real") -> None:
        """Declare working memory of a fixed size, whatever the number of rows; each shard has its own."""
        self._declare(self._built.workspace, name, shape, "zeros", dtype)

    def partial(self, name: str, shape: Iterable[int]) -> None:
        """Declare what a shard lets the others know; after a meeting all can read ``all_<name>``, (shards, *shape)."""
        self._declare(self._built.partials, name, shape, "zeros")

    def view(self, **shapes: Shape) -> None:
        """Let the kernels see arrays (by name) and their gradients in other shapes of equally many numbers."""
        self._built.views |= shapes

    def _declare(
        self, group: dict[str, Declared], name: str, shape: Iterable[int], init: Any, dtype: str = "real", fixed: bool = False
    ) -> None:
        own = {"mask"} if group is self._built.scratch else set()  # which a layer may draw itself
        given = {*BACKWARD_NAMES, *self.inputs} - own
        if not name.isidentifier() or name in {*given, *self._built.declared()} or name.startswith(("grad_", "all_")):
            raise KernelError(f"{self!r}: the name {name!r} cannot be declared; it is taken or no identifier")
        sizes = tuple(shape) if isinstance(shape, Iterable) else (shape,)
        if not sizes or not all(isinstance(size, int | np.integer) and size >= 0 for size in sizes):
            hint = "; one number alone is an array of shape (1,)" * (not sizes)
            raise KernelError(f"{self!r}: expected the shape of {name!r} to be integers of at least 0, got {sizes}{hint}")
        group[name] = Declared(name, tuple(int(size) for size in sizes), init, dtype, fixed)

    def _held(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_built", "_known")}  # of a place

    def place(self, in_shape: Shape, known: Places | None = None) -> Built:
        """Build a copy of this layer for input rows of ``in_shape``; the layer itself stays as it was.

        ``known`` are the places of the layers before this one: a layer that is used again shares its parameters.
        """
        known = Places() if known is None else known
        self.hyperparameters()  # or it says which of them the constructor has lost
        layer = copy.copy(self)
        layer._known = known
        layer._require_fields(in_shape)
        if isinstance(in_shape, dict) and set(in_shape) == set(layer.inputs):
            in_shape = {name: in_shape[name] for name in layer.inputs}  # in the order in which it reads them
        layer._built = built = Built(layer, each(tuple, in_shape))
        out_shape = layer.build(built.in_shape)
        several = isinstance(out_shape, dict) and bool(out_shape) and not layer.kernels()
        if not all(map(_is_shape, out_shape.values() if several else [out_shape])):
            hint = "; end it with return in_shape, or the shape of an output row" if out_shape is None else ""
            raise ShapeError(f"{self!r}: expected build to return a shape of positive integers, got {out_shape!r}{hint}")
        built.out_shape = each(lambda shape: tuple(int(size) for size in shape), out_shape)
        del layer._known
        for name, schedule in followed(layer, layer.kernels().values()).items():
            layer.constant(name, [schedule.at(0.0, 1.0)])
        if layer.kernels():
            self._check_loops(built)
        check_kernel_names(built)
        built.home = known.setdefault(self, built)
        if built.home is not built:
            self._check_shared(built, built.home)
        return built

    def _require_fields(self, in_shape: Any) -> None:
        """Refuse rows of other fields than those that it reads.

        Raises
        ------
        ShapeError
        """
        if self.inputs and (not isinstance(in_shape, dict) or set(in_shape) != set(self.inputs)):
            raise ShapeError(f"{self!r}: expected rows with the fields {', '.join(self.inputs)}, got {spelt(in_shape)}; "
                             "nn.Graph and nn.Heads make such rows, and so does a dict of arrays")  # fmt: skip
        if isinstance(in_shape, dict) and not self.inputs:
            raise ShapeError(f"{self!r}: expected rows of one array, got the fields {spelt(in_shape)}; nn.Inputs brings "
                             "several together, and nn.Graph takes one of them")  # fmt: skip

    def _check_loops(self, built: Built) -> None:
        """Refuse arrays of sizes that lead a loop of the kernels out of one of them."""
        row = {**built.inputs, "out": built.out_shape}
        require_views(self, {**row, **{name: item.shape for name, item in built.declared().items()}}, built.views)
        if row.keys().isdisjoint(built.views):
            for shape in built.inputs.values():
                require_one_loop(self, shape, built.out_shape, pointwise=self.pointwise, folded=self.folds_rows)

    def _check_shared(self, built: Built, home: Built) -> None:
        for name, declared in {**built.parameters, **built.states}.items():
            first = {**home.parameters, **home.states}[name].shape
            if first != declared.shape:
                raise ShapeError(f"{self!r} is used twice and shares its {name}: expected shape {first} as the first time (for "
                                 f"rows of {home.in_shape}), got {declared.shape} (for {built.in_shape}); make two layers")

    def kernels(self) -> dict[str, Callable[..., Any]]:
        """The functions that run, by their names, in the order in which they do."""
        return {name: function for name in STAGES if (function := getattr(type(self), name)) is not None}

    def onnx(self, graph: Graph, x: Value) -> Value:
        """Write this built layer in the operators of ONNX, as it is out of training; return the output.

        ``x`` and ``out`` are (N, *shape), and ``graph.array(name)`` is a parameter or state of the layer. Arithmetic with these
        values, and ``graph.node(operator, *values, **attributes)``, write nodes. All that there is to use is described in
        `nnkit.core.exchange`: `Graph` and `Value`.
        """
        raise OnnxError(f"{self!r} has no form in ONNX: its class {type(self).__name__} has no method onnx(self, graph, x); "
                        "write one, or leave the layer out")  # fmt: skip

    @classmethod
    def from_onnx(cls, at: Cursor) -> Found | None:
        """The layer of this class that the operators from ``at`` on are; None where they are something else.

        Unless overridden, they are if one of the `examples`, with some numbers for those that it has in its constructor, would
        be written so. All that there is to use is described in `nnkit.core.exchange`: `Cursor`, and the `Node` that it gives.
        """
        return at.like(example.part for example in cls.examples())

    def from_torch(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The parameters and states of this built layer, from those of its twin in PyTorch by their names there."""
        return dict(arrays)

    def initialise(self, x: Any, random: np.random.Generator) -> dict[str, NDArray[Any]]:
        """What arrays of this built layer begin as, by their names, from rows that it reads.

        With `from_data` it is asked before the first step of the first fit, unless somebody has set its arrays since they were
        drawn; the layers before it have begun by then. All that it draws comes from ``random``.

        ``x`` is (n, *in_shape), in evaluation mode, of the model's dtype; of a layer with several ``inputs`` a dict of arrays.
        """
        return {}

    @classmethod
    def validate(cls) -> None:
        for example in cls.examples():
            example.part.place(example.in_shape)


def _names_of(built: Built) -> Any:
    """What `check_kernel_names` looks at."""
    learnt = [name for name, item in built.parameters.items() if prod(item.shape)]
    return identity([built.layer, learnt, [*built.declared()], [*built.inputs], [*built.partials]])


@partial(once, of=_names_of)
def check_kernel_names(built: Built) -> None:
    """Refuse a kernel that names what nobody provides."""
    layer = built.layer
    kernels = layer.kernels()
    declared = [*built.declared(), *(f"all_{name}" for name in built.partials)]
    for stage, function in kernels.items():
        is_forward = stage.startswith("forward")
        names = [*built.inputs, *FORWARD_NAMES, *(f"mask_{name}" for name in layer.inputs), *declared]
        if not is_forward:
            names += ["grad_out", *(f"grad_{name}" for name in (*built.inputs, *built.parameters, *built.scratch))]
        for name in kernel_names(function):
            if name in names:
                continue
            if layer.provides(name):
                layer.operand(name, "float64")  # or it says why it cannot be
                continue
            near = difflib.get_close_matches(name, [*names, *vars(layer)], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it may name {', '.join(names)}, or a number of the layer's"
            raise KernelError(f"{layer!r}: {stage} names {name!r}, which nobody provides; {hint}")
        if not layer.interpreted:
            _check_written(layer, function, stage)
    limit, looks_up = layer.input_limit, not layer.interpreted and layer.input_dtype != "real"
    if kernels and (looks_up or type(limit) is not int or limit) and not _is_limit(limit):
        raise KernelError(f"{layer!r}: expected build to set self.input_limit, as the layer takes whole numbers: they are "
                          f"from 0 to below it, an integer of at least 1, got {limit!r}")  # fmt: skip
    if kernels and not layer.interpreted:
        stages = [stage for stage in ("backward_partial", "backward") if stage in kernels]
        always = {name for stage in stages for name in kernel_names(kernels[stage])}
        forgotten = [f"grad_{name}" for name, item in built.parameters.items()
                     if prod(item.shape) and f"grad_{name}" not in always]  # fmt: skip - backward_x is not always run
        if "backward_x" in kernels:
            always |= {*kernel_names(kernels["backward_x"])}
        learnt = [f"grad_{name}" for name in built.inputs if of_field(layer.input_dtype, name) == "real"]
        forgotten = [*(name for name in learnt if name not in always), *forgotten]
        if forgotten:
            raise KernelError(f"{layer!r}: expected backward to name (and write) {', '.join(forgotten)}")


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(isinstance(size, int | np.integer) and size > 0 for size in shape)


def _is_limit(limit: Any) -> bool:
    """Whether compiled code can compare with it."""
    return isinstance(limit, int | np.integer) and not isinstance(limit, bool) and 0 < int(limit) < 2**63


def _check_written(layer: Layer, function: Callable[..., Any], stage: str) -> None:
    if not isinstance(inspect.getattr_static(type(layer), stage), staticmethod):
        raise KernelError(f"{layer!r}: {stage} must be a @staticmethod (or derive from PythonLayer)")
    if stage == "forward" and "out" not in kernel_names(function):
        raise KernelError(f"{layer!r}: expected forward to name (and write) out")


class Work(Protocol):
    """A Python kernel of one shard: gets the shard's number, then the arrays it named."""

    def __call__(self, shard: int, *arguments: Any) -> None: ...


class PythonLayer(Layer):
    """A layer in plain NumPy: for a first draft, or for code that Numba cannot compile.

    ``forward(self, x, ...)`` returns the output, ``backward(self, grad_out, ...)`` the gradient of the input; a layer with
    several ``inputs`` returns a tuple of gradients, in their order. Both may name,
    after these, what the kernels of any `Layer` may name; ``grad_<parameter>`` arrays are written. Every shard works on its
    own copy of the layer, so ``forward`` may keep things on ``self`` for ``backward``.

    Everything works as with a compiled layer, in the same model; each call costs some microseconds more.

    Examples
    --------
    >>> import numpy as np, nnkit as nn
    >>> class Sine(nn.PythonLayer):
    ...     def forward(self, x):
    ...         return np.sin(x)
    ...     def backward(self, x, grad_out):
    ...         return grad_out * np.cos(x)
    >>> nn.Sequential([Sine()]).build((2,), dtype="float64").predict([[0.0, np.pi / 2]])
    array([[0., 1.]])
    """

    interpreted: ClassVar[bool] = True

    def forward_kernel(self, shards: dict[int, PythonLayer]) -> Work:
        """A kernel that calls ``forward`` on the shard's own copy and stores what it returns in the last operand."""
        return self._kernel(shards, "forward", ["output"])

    def backward_kernel(self, shards: dict[int, PythonLayer]) -> Work:
        """The same for ``backward``."""
        return self._kernel(shards, "backward", [f"gradient of {name}" for name in self.inputs] or ["gradient of the input"])

    def _kernel(self, shards: dict[int, PythonLayer], method: str, what: Sequence[str]) -> Work:
        # Whole numbers may be indices of other layers beside this one, which have been looked at: they stay as they are.
        names = kernel_names(getattr(type(self), method)) if self.input_dtype != "real" else ()

        def work(shard: int, *arguments: Any) -> None:
            given, targets = list(arguments[: -len(what)]), arguments[-len(what) :]
            if "x" in names:
                given[names.index("x")] = read_only(given[names.index("x")])
            fill_by_copy(self, shards, shard, method, given, targets, what)

        return work
