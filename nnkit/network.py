"""The net itself: layers in their places, and the memory of their numbers.

A `Network` is made whole: shapes, places and arrays belong together and never change their places, so whoever holds one may go
on using it whatever becomes of the model. A model that is built again gets another network.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkit.core.arrays import refuse_masked
from nnkit.core.container import Chain, Container, Model, Placed, chain_of, model_of, readers, require_unchanged
from nnkit.core.csr import CSRLayer
from nnkit.core.fields import by_name, each, fields
from nnkit.core.groups import Segment, matching
from nnkit.core.identity import identity
from nnkit.core.layer import Built, Declared, Layer
from nnkit.core.part import row_shape
from nnkit.core.schedule import Schedule, followed
from nnkit.engine.lazy import lazy
from nnkit.engine.memory import ALIGNMENT, aligned_zeros, own
from nnkit.engine.operands import Array, Live, Operand, Storage
from nnkit.engine.template import Likeness
from nnkit.errors import KernelError, NotBuiltError, ParameterError, ShapeError

__all__ = ["LiveArrays", "Network", "adopt", "given_shape", "inputs_of", "network_of", "one_output", "root_of"]

# Numbers of a chunk of parameters. With gradient and two moments 2048 fill a first-level cache; in large nets all of them come
# from beyond it, and longer runs stream better (784-512-512-10: 2.94 -> 2.84 ms a step).
CHUNK, LARGE_CHUNK = 2048, 8192


class _Leaf(NamedTuple):
    """A layer that is no container, and where it is."""

    path: str  # "2", or "2.0.1" within containers
    home: str  # path of the first use of the same layer, whose parameters it shares
    built: Built


def _arrays_of(built: Built) -> list[tuple[tuple[Any, ...], ...]]:
    """What arrays of each group a layer has; its `build` says so, which may go by more than the layer."""
    groups = built.parameters, built.states, built.scratch, built.workspace, built.partials
    return [tuple((item.name, item.shape, item.dtype, item.fixed) for item in group.values()) for group in groups]


class LiveArrays(MutableMapping[str, NDArray[Any]]):
    """Arrays by name, none more and none less: to set one is to write its numbers.

    Raises
    ------
    ShapeError, ParameterError, DataError
        As one is set to an array of another shape; there is none of this name; something in the array is masked.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __setitem__(self, name: str, values: Any) -> None:
        if name not in self._arrays:
            near = difflib.get_close_matches(str(name), self._arrays, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self._arrays)}"
            raise ParameterError(f"expected the name of an array of the model, got {name!r}; {hint}")
        refuse_masked(values, name)
        given = np.asarray(values)
        if given.dtype.kind not in "biuf" or given.shape != self._arrays[name].shape:
            raise ShapeError(f"{name}: expected numbers of shape {self._arrays[name].shape}, got {given.dtype} of shape "
                             f"{given.shape}; nothing is broadcast")  # fmt: skip
        self._arrays[name][...] = given

    def __delitem__(self, name: str) -> None:
        raise ParameterError(f"expected the arrays of a model to stay, got a call that removes {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return repr(self._arrays)


class Network:
    """Layers in their places with one vector of all parameters, one of their gradients, and their states.

    Parameters
    ----------
    root : the chain of all layers, built
    dtype : "float32" or "float64"
    input_dtype : "int64" where the first layers look numbers up, else ``dtype``; of rows with fields a dict of these
    whole : the network that this one is a part of, on its memory; by default it has its own, filled with zeros
    chosen : which of the whole network's layers it has

    Attributes
    ----------
    in_shape, out_shape : shapes of one row; of rows with fields dicts of shapes
    vector, gradient : all parameters, and the loss's gradient by them
    chunk : how many numbers of the vector an optimizer updates in one go
    frozen : names of the parameters that are not trained; nothing computes their gradients
    seed, step : of the random numbers of training passes by hand: the seed, and the number of the last step
    """

    frozen: frozenset[str] = frozenset()

    def __init__(
        self, root: Built, dtype: str, input_dtype: Any, whole: Network | None = None, chosen: range = range(0)
    ) -> None:
        self.root = root
        self.in_shape, self.out_shape = root.in_shape, root.out_shape
        self.dtype, self.input_dtype = dtype, input_dtype
        paths = {id(built): path for path, built in root.walk() if built.home is built}
        self._leaves = [_Leaf(path, paths.get(id(built.home), ""), built) for path, built in root.walk()]
        self._offsets: dict[str, int] = {}  # of each parameter in the vector
        self._states: dict[str, NDArray[Any]] = {}
        self._drawn: dict[str, bytes] = {}  # of layers that are to begin from data: what was drawn for them
        self.vector: NDArray[Any]
        self.gradient: NDArray[Any]
        self.seed = self.step = 0
        if whole is None:
            self._allocate()
        else:
            self._share(whole, chosen)

    @classmethod
    def of(cls, chain: Chain, root: Built, dtype: str) -> Network:
        """A chain that was built as ``root``, on memory of its own."""
        return cls(root, dtype, cls.inputs(root, dtype))

    @staticmethod
    def inputs(root: Built, dtype: str) -> Any:
        """The dtype of the input of a chain of layers; of rows with fields those of each.

        Raises
        ------
        ShapeError
            Layers read the same numbers in several dtypes.
        """
        read: dict[str, str] = {}
        for reader in readers(root):
            layer, given = reader.built.layer, read.get(reader.name)
            wanted = dtype if reader.columns is not None or reader.dtype == "real" else reader.dtype
            if given not in (None, wanted):
                raise ShapeError(f"{layer!r}: expected layers that all read {reader.name or 'the input'} as {given}, got one "
                                 f"that takes {wanted}; give it an input of its own, with nn.Inputs")  # fmt: skip
            read[reader.name] = wanted
        every = {name: read.get(name, dtype) for name in fields(root.in_shape)}
        return every.get("", every)

    @classmethod
    def drawn(cls, chain: Chain, in_shape: Any, dtype: str, random: np.random.Generator) -> Network:
        """A chain for input rows of ``in_shape``, with all its numbers drawn.

        Raises
        ------
        ShapeError
            A layer does not fit the output of the one before.
        """
        network = cls.of(chain, chain.place(in_shape), dtype)
        network._draw(random)
        return network

    def part(self, chain: Chain, chosen: range) -> Network:
        """Some of the layers, as a network on this one's memory."""
        if chosen.step != 1:
            raise ParameterError(f"Sequential: expected a slice of neighbouring layers, got every {chosen.step}th")
        root = chain.around([self.root.children[place] for place in chosen])
        return Network(root, self.dtype, self.input_dtype if chosen.start == 0 else self.dtype, self, chosen)

    def _share(self, whole: Network, chosen: range) -> None:
        """Use the memory of another network, of whose layers these are some."""
        if not all(leaf.home for leaf in self._leaves):
            raise ParameterError("Sequential: expected a slice that shares no weights with layers outside of it")

        def within(name: str) -> str:
            """The name here of what the whole network has under another."""
            place, _, rest = name.partition(".")
            return f"{int(place) - chosen.start}.{rest}"

        inside = {name: offset for name, offset in whole._offsets.items() if int(name.partition(".")[0]) in chosen}
        later = (offset for name, offset in whole._offsets.items() if int(name.partition(".")[0]) >= chosen.stop)
        begin = min(inside.values(), default=0)
        end = min(later, default=whole.vector.size) if inside else 0
        self._offsets = {within(name): offset - begin for name, offset in inside.items()}
        self._states = {within(name): state for name, state in whole._states.items()
                        if int(name.partition(".")[0]) in chosen}  # fmt: skip
        self.vector, self.gradient = whole.vector[begin:end], whole.gradient[begin:end]
        self.frozen = frozenset(within(name) for name in whole.frozen if name in inside)
        line = ALIGNMENT // self.vector.itemsize
        lines = (end - begin) // line
        self.chunk = line * max((count for count in range(1, LARGE_CHUNK // line + 1) if lines % count == 0), default=1)
        self.seed = whole.seed

    def _allocate(self) -> None:
        """Lay all parameters out in one vector (each on a cache line, so that kernels can)."""
        line = ALIGNMENT // np.dtype(self.dtype).itemsize
        total = 0
        for path, built in self.homes():
            for declared in (*built.parameters.values(), *built.states.values()):
                if (numbers := prod(declared.shape)) >= 2**56:  # more bytes than a process has addresses for
                    raise ParameterError(f"{built.layer!r}: expected {declared.name!r} to be of a size that can be addressed, "
                                         f"got {numbers} numbers")  # fmt: skip
            for name, declared in built.parameters.items():
                self._offsets[f"{path}.{name}"] = total
                total += -(-prod(declared.shape) // line) * line
        chunks = max(1, -(-total // min(max(total // 16, CHUNK), LARGE_CHUNK)))
        self.chunk = max(line, -(-total // (chunks * line)) * line)
        self.vector = aligned_zeros(chunks * self.chunk, self.dtype)
        self.gradient = aligned_zeros(chunks * self.chunk, self.dtype)
        self._states = {
            f"{path}.{name}": aligned_zeros(prod(declared.shape), self.dtype).reshape(declared.shape)
            for path, built in self.homes() for name, declared in built.states.items()
        }  # fmt: skip

    def _draw(self, random: np.random.Generator) -> None:
        """Fill all parameters and states."""
        arrays = self.arrays()
        for path, built in self.homes():
            for declared in (*built.parameters.values(), *built.states.values()):
                if prod(declared.shape):
                    arrays[f"{path}.{declared.name}"][...] = _drawn(built, declared, random)
        self._drawn = {path: self._print_of(path) for path, built in self.homes() if built.layer.from_data}
        self._take_from_models(self.root)
        self.seed = int(random.integers(2**62))

    def _take_from_models(self, built: Built, path: str = "") -> None:
        """Copy the parameters and states of built models within this one."""
        layer = built.layer
        model = layer.model if isinstance(layer, Chain) else None
        if model is not None and path and model.is_built:
            require_unchanged(model, "within another model")
            mine, theirs = self.arrays(), network_of(model, "Sequential.build").arrays()
            for name, array in theirs.items():
                here = mine.get(f"{path}.{name}")
                if here is not None and here.shape != array.shape:
                    raise ShapeError(f"{model!r} brings its {name}: expected shape {here.shape} here, got {array.shape}; "
                                     "make a new model for another input shape")  # fmt: skip
                if here is not None:
                    here[...] = array
            self._drawn |= {(where := f"{path}.{place}"): self._print_of(where) for place in network_of(model).as_drawn()}
        for index, child in enumerate(built.children):
            self._take_from_models(child, f"{path}.{index}" if path else str(index))

    def _print_of(self, path: str) -> bytes:
        """What tells the present arrays of a layer from others."""
        mine = (array for name, array in self.arrays().items() if name.rpartition(".")[0] == path)
        return hashlib.blake2b(b"".join(array.tobytes() for array in mine), digest_size=16).digest()

    def as_drawn(self) -> list[str]:
        """The paths of the layers that are to begin from data, and whose arrays nobody has set since they were drawn."""
        return [path for path, drawn in self._drawn.items() if self._print_of(path) == drawn]

    def begin(self, path: str, values: Mapping[str, Any]) -> None:
        """Have a layer begin with some of its arrays as `Layer.initialise` says; frozen parameters stay as they are.

        Raises
        ------
        KernelError
            It has no arrays of these names and shapes, or the numbers are not finite.
        """
        arrays = self.arrays()
        for own_name, given in values.items():
            name, numbers = f"{path}.{own_name}", np.asarray(given)
            fits = name in arrays and arrays[name].shape == numbers.shape and numbers.dtype.kind in "biuf"
            if not fits or not np.isfinite(numbers).all():
                expected = f"finite numbers of shape {arrays[name].shape}" if name in arrays else "one of its arrays"
                raise KernelError(f"{self.name_of(path)}: initialise: expected {expected}, got {own_name!r} of "
                                  f"{numbers.dtype}, shape {numbers.shape}")  # fmt: skip
            if name not in self.frozen:
                arrays[name][...] = numbers

    def begun(self) -> None:
        """Nothing is to begin from data any more: training does."""
        self._drawn = {}

    def fill(
        self, arrays: Mapping[str, NDArray[Any]], random_position: tuple[int, int], frozen: frozenset[str] | None = None
    ) -> None:
        """Have these parameters and states, which fit it."""
        for name, array in self.arrays().items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape:
                came = "none" if given is None else given.shape
                raise ShapeError(f"{name}: expected numbers of shape {array.shape}, got {came}; was a layer changed after the "
                                 "model was built?")  # fmt: skip
            array[...] = given
        self.seed, self.step = random_position
        self.frozen = self.frozen if frozen is None else frozen

    def copied(self, chain: Chain, dtype: str, rename: Callable[[str], str]) -> Network:
        """A chain of the same layers, or of some, with the same numbers under names that these have there."""
        network = Network.of(chain, chain.place(self.in_shape), dtype)
        arrays = {rename(name): array for name, array in self.arrays().items()}
        network.fill(arrays, self.random_position, frozenset(map(rename, self.frozen)) & network.parameters().keys())
        places = {path for path, _ in network.homes()} & {rename(f"{path}.").removesuffix(".") for path in self.as_drawn()}
        network._drawn = {path: network._print_of(path) for path in places}
        return network

    def take_over(self, other: Network) -> None:
        """Take all numbers of a network with the same layers and shapes.

        Raises
        ------
        ShapeError
            The parameters or states are others, or the dtype is.
        """
        mine, theirs = self.arrays(), other.arrays()
        shapes = [{name: array.shape for name, array in arrays.items()} for arrays in (mine, theirs)]
        if shapes[0] != shapes[1] or self.dtype != other.dtype:
            raise ShapeError(f"{self!r}: expected a model with the same parameters in {self.dtype}, "
                             f"got {other!r} in {other.dtype}")  # fmt: skip
        self.fill(theirs, other.random_position)

    def __repr__(self) -> str:
        return repr(self.root.layer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Where they are read back to is not aligned, and may be read-only: a file that is mapped into memory.
        self.vector, self.gradient = own(self.vector), own(self.gradient)
        self._states = {name: own(array) for name, array in self._states.items()}

    # ------------------------------------------------------------------------------------------------- its layers

    @property
    def leaves(self) -> list[Built]:
        """All layers that have kernels, or are a view; those within containers instead of the containers."""
        return [leaf.built for leaf in self._leaves]

    @property
    def layers(self) -> list[Layer]:
        """The layers that it was built of."""
        return [child.source or child.layer for child in self.root.children]

    @lazy
    def _names(self) -> dict[str, str]:
        return {path: f"layer {path}, {built.layer!r}" for path, _, built in self._leaves}

    def homes(self) -> Iterator[tuple[str, Built]]:
        """The layers that have parameters and states of their own, each once."""
        return ((path, built) for path, home, built in self._leaves if path == home)

    def name_of(self, path: str) -> str:
        """What messages call the layer at a path."""
        return self._names[path]

    def work(self) -> int:
        """Multiplications of a forward pass of one row, roughly."""
        return self.root.work()

    def rows_of_matrices(self) -> float:
        """How many rows of its matrix products a row of a batch is, on average over the work: the steps of a sequence, or 1."""
        works = [built.work() for built in self.leaves]
        folds = [prod(built.out_shape[:-1]) if built.layer.folds_rows else 1 for built in self.leaves]
        return sum(work * fold for work, fold in zip(works, folds, strict=True)) / max(sum(works), 1)

    @property
    def looks_at_input(self) -> bool:
        """Whether a layer looks at the input in Python, beyond what compiled code checks itself."""
        return any(type(reader.built.layer).check_input is not Layer.check_input for reader in readers(self.root))

    def check_input(self, rows: Any, name: str) -> None:
        """Refuse rows that the layers which read them could not take; what is sparse is checked where it is copied."""
        for reader in readers(self.root):
            beside = reader.dtype == "real" != reader.built.layer.input_dtype  # of what is looked up
            if isinstance(fields(rows)[reader.name], np.ndarray) and not beside:
                reader.built.layer.check_input(reader.of(rows), f"{name}[{reader.name!r}]" if reader.name else name)

    # ------------------------------------------------------------------------------------------------- its arrays

    @property
    def random_position(self) -> tuple[int, int]:
        """Seed and number of the last step of training passes by hand."""
        return self.seed, self.step

    def parameters(self) -> dict[str, NDArray[Any]]:
        """All trained arrays by name: live views."""
        return self.views(self.vector)

    def gradients(self) -> dict[str, NDArray[Any]]:
        """The loss's gradients by the parameters, by name: live views."""
        return self.views(self.gradient)

    def states(self) -> dict[str, NDArray[Any]]:
        """All arrays that are kept but not trained, by name: live."""
        return {name: array.view() for name, array in self._states.items()}  # whose flags, shape and dtype are their own

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Parameters and states."""
        return {**self.parameters(), **self._states}

    def views(self, vector: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Pieces of a vector that is laid out as that of all parameters, by their names."""
        views = {}
        for path, built in self.homes():
            for name, declared in built.parameters.items():
                size, offset = prod(declared.shape), self._offsets[f"{path}.{name}"]
                if size:
                    views[f"{path}.{name}"] = vector[offset : offset + size].reshape(declared.shape)
        return views

    def freeze(self, patterns: Sequence[str], frozen: bool, who: str) -> None:
        """Have all parameters that a pattern matches be frozen, or trained again."""
        names = self.parameters()
        found = {name for pattern in patterns for name in matching(pattern, names, who)}
        self.frozen = self.frozen | found if frozen else self.frozen - found
        gradients = self.views(self.gradient)
        for name in self.frozen:
            gradients[name][...] = 0.0

    @property
    def likeness(self) -> Likeness:
        """What programs follow from that run its layers: it is the same for another network of the same ones."""
        within = identity(self.root.layer) if any(child.children for child in self.root.children) else None
        leaves = [(path, home, identity(built.layer), *map(identity, (built.in_shape, built.out_shape, built.views)),
                   *_arrays_of(built)) for path, home, built in self._leaves]  # fmt: skip
        return Likeness((self.dtype, self.chunk, self.frozen, within, *leaves), [self.vector, *self._states.values()])

    def segments(self) -> list[Segment]:
        """Where in the vector each parameter is."""
        line = ALIGNMENT // self.vector.itemsize
        found = []
        for name, array in self.parameters().items():
            begin = self._offsets[name]
            found.append(Segment(name, begin, begin - (-array.size // line) * line, array.shape, name not in self.frozen))
        return sorted(found, key=lambda segment: segment.begin)

    def live(self) -> list[tuple[Schedule, NDArray[Any]]]:
        """The numbers of layers that follow schedules, as kernels read them."""
        return [(schedule, self._states[f"{path}.{name}"]) for path, built in self.homes()
                for name, schedule in followed(built.layer, built.layer.kernels().values()).items()]  # fmt: skip

    def placed(self, gradient: NDArray[Any] | None = None, sources: Any = None) -> Placed:
        """The layers with their arrays as operands.

        Parameters
        ----------
        gradient : (shards, size) or flat, of which their gradients are parts; those of frozen parameters are nowhere
        sources : what the input is gathered from (see `nnkit.training.data`), where that is a CSR matrix, in which the first
            layers look it up; for rows with fields a dict of these
        """
        item = self.vector.itemsize
        parameters = Storage(shared=self.vector)
        slabs = Storage(shared=gradient)
        stride = gradient.strides[0] if gradient is not None and gradient.ndim == 2 else 0
        homes = {path: home for path, home, _ in self._leaves}
        matrices = {name: source.arrays for name, source in fields(sources).items() if source is not None}
        reading = {id(reader.built): matrices.get(reader.name) for reader in readers(self.root)}

        def place(path: str, built: Built) -> Placed:
            if built.children:
                within = [place(f"{path}.{index}" if path else str(index), child) for index, child in enumerate(built.children)]
                return Placed(path, built, children=within)
            arrays: dict[str, Operand] = {}
            home = homes[path]
            for name, declared in built.parameters.items():
                offset = self._offsets[f"{home}.{name}"] * item
                arrays[name] = Array(parameters, declared.shape, self.dtype, offset=offset)
                if gradient is not None and f"{home}.{name}" not in self.frozen:
                    arrays[f"grad_{name}"] = Array(slabs, declared.shape, self.dtype, offset=offset, stride=stride)
            for name in built.states:
                number = self._states[f"{home}.{name}"]
                arrays[name] = Live(number) if isinstance(getattr(built.layer, name, None), Schedule) else Array.view(number)
            if matrix := reading.get(id(built)):
                built = CSRLayer.of(built)
                arrays |= matrix
            return Placed(self._names[path], built, home, arrays)

        return place("", self.root)


def network_of(given: Any, who: str = "network_of") -> Network:
    """The network of a built model, which is given itself or as a fitted estimator; it raises what `model_of` does."""
    network = model_of(given, who)._network
    assert isinstance(network, Network)
    return network


def adopt(model: Model, network: Network) -> None:
    """Have a model be built as this network of its own layers."""
    model._network = network


def inputs_of(model: Model, X: Any) -> tuple[str, ...]:
    """The names of a model's inputs; () where it has one, or where nothing says yet that it has several."""
    if model.is_built:
        in_shape = network_of(model).in_shape
        return tuple(in_shape) if isinstance(in_shape, dict) else ()
    return chain_of(model).inputs if isinstance(X, dict | tuple | list) and not hasattr(X, "tocsr") else ()


def one_output(layers: list[Layer], output: str | None) -> tuple[list[Layer], Callable[[str], str]]:
    """Layers of which the last one computes one of its outputs alone; and the new names of arrays, by their old ones.

    Raises
    ------
    ParameterError
        There is no such output.
    """
    if output is None:
        return layers, str
    last, before = layers[-1], str(len(layers) - 1)
    names = getattr(last, "_outs", ())
    if not isinstance(last, Container) or output not in names or isinstance(names, str):
        there = ", ".join(names) if isinstance(names, tuple) and names else "one alone"
        raise ParameterError(f"Sequential.copy: expected one of the outputs, {there}, got {output!r}")
    layer, places = last.only(output)

    def renamed(name: str) -> str:
        first, _, rest = name.partition(".")
        if first != before:
            return name
        place, _, rest = rest.partition(".")
        return ".".join(filter(None, (before, places.get(place, "left out"), rest)))

    return [*layers[:-1], layer], renamed


def given_shape(in_shape: Any, inputs: Sequence[str], who: str) -> Any:
    """The shape of one input row as a user gives it; for rows with fields a dict of shapes, or a tuple of them."""
    several = isinstance(in_shape, dict) or (bool(inputs) and isinstance(in_shape, tuple) and any(map(np.ndim, in_shape)))
    if not several:
        return row_shape(in_shape, who)
    return each(lambda shape: row_shape(shape, who), by_name(in_shape, inputs, who, "in_shape"))


def root_of(model: Model, in_shape: Any, who: str) -> Built:
    """The layers of a model in their places: as it is built, or as it would be for rows of ``in_shape``."""
    if in_shape is not None:
        return chain_of(model).place(given_shape(in_shape, chain_of(model).inputs, f"Sequential.{who}"))
    if not model.is_built:
        raise NotBuiltError(f"Sequential.{who}: expected a built model or in_shape, got neither; write "
                            f"{who}(in_shape=(...)), the shape of one row of the input")  # fmt: skip
    return network_of(model, who).root


def _drawn(built: Built, declared: Declared, random: np.random.Generator) -> NDArray[Any]:
    """What an initializer gives for an array of a layer."""
    values = np.asarray(declared.init(declared.shape, random))
    if values.shape not in ((), declared.shape):  # or NumPy might repeat them
        raise ShapeError(f"{declared.init!r}: expected an array for {declared.name!r} of {built.layer!r}, of shape "
                         f"{declared.shape}, got {values.shape}")  # fmt: skip
    return values
