"""What residuals are near a place, to first order: r + J s; as products of J, which is not always written out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "Factors", "Room", "Tangent", "Written"]

Matrix = NDArray[np.float64]
KEPT = 1 << 28  # bytes of J, or of what makes it, that are kept for another look
PIECE, MOST = 1 << 20, 1 << 25  # bytes of products at a time: what stays near the core; more where that is too few rows
FEW = 128  # rows: in matrix products of fewer, most time goes into writing what comes out


class Room:
    """Memory that is used again: new pages of memory may cost more than the arithmetic on them."""

    def __init__(self) -> None:
        self._held: dict[Hashable, Matrix] = {}

    def __call__(self, name: Hashable, *shape: int) -> Matrix:
        """An array of whatever was in it; it is the same one for the same name."""
        size, held = prod(shape), self._held.get(name)
        if held is None or held.size < size:
            held = self._held[name] = np.empty(size)
        return held[:size].reshape(shape)


class Block(ABC):
    """J of some rows: the derivative of each of their outputs' residuals, (outputs, rows), by all trained numbers."""

    size: int

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """How much memory it takes."""

    @abstractmethod
    def gram(self, out: Matrix) -> None:
        """Add J'J to (size, size) ``out``."""

    @abstractmethod
    def outer(self, other: Any) -> Matrix:
        """J K', (outputs, rows, outputs, rows), with K of another block."""

    @abstractmethod
    def push(self, v: Matrix) -> Matrix:
        """J v, (outputs, rows)."""

    @abstractmethod
    def pull(self, u: Matrix) -> Matrix:
        """J'u, (size,)."""


class Written(Block):
    """J as it is, (outputs, rows, size)."""

    def __init__(self, jacobian: Matrix) -> None:
        self._jacobian, self.size = jacobian, jacobian.shape[-1]

    @property
    def nbytes(self) -> int:
        return self._jacobian.nbytes

    def gram(self, out: Matrix) -> None:
        rows = self._jacobian.reshape(-1, self.size)
        out += rows.T @ rows

    def outer(self, other: Written) -> Matrix:
        return np.tensordot(self._jacobian, other._jacobian, (2, 2))

    def push(self, v: Matrix) -> Matrix:
        return self._jacobian @ v

    def pull(self, u: Matrix) -> Matrix:
        pulled: Matrix = u.ravel() @ self._jacobian.reshape(-1, self.size)
        return pulled


class Factors(Block):
    """J of dense layers, by what makes it: dr_o / dW_ij = x_i d_oj in each row, with d_o the gradient of r_o by what x W gives.

    So the part of J'J that belongs to two layers is a sum over rows of (x y') times (sum_o d_o e_o'), entry by entry: one
    matrix product, whatever the number of outputs. Within a layer both factors are symmetric, which leaves a quarter of it.

    Parameters
    ----------
    inputs : (I, rows) of each layer; a bias is one more input, which is 1
    deltas : (outputs, J, rows) of each layer
    room : for products
    """

    def __init__(self, inputs: Sequence[Matrix], deltas: Sequence[Matrix], room: Room) -> None:
        self._room = room
        self._layers = list(zip(inputs, deltas, strict=True))
        self._outputs, _, self._rows = deltas[0].shape
        ends = np.cumsum([0, *(len(x) * d.shape[1] for x, d in self._layers)]).tolist()
        self._places = [slice(*ends[k : k + 2]) for k in range(len(self._layers))]
        self.size = ends[-1]

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes + d.nbytes for x, d in self._layers)

    def gram(self, out: Matrix) -> None:
        layers = list(zip(self._places, self._layers, strict=True))
        if self._outputs == 1:
            self._of_columns(out)
            return
        for k, (here, (x, d)) in enumerate(layers):
            out[here, here] += self._of_one(x, d)
            for there, (y, e) in layers[k + 1 :]:
                found = self._of_two(x, d, y, e)
                out[here, there] += found
                out[there, here] += found.T

    def _of_columns(self, out: Matrix) -> None:
        """J'J from J' itself, of one output."""
        for piece in self._pieces(self.size):
            columns = self._room("columns", self.size, piece.stop - piece.start)
            for place, (x, d) in zip(self._places, self._layers, strict=True):
                _products(x[None, :, piece], d[:, :, piece], columns[place])
            out += np.matmul(columns, columns.T, out=self._room("product", *out.shape))

    def _of_one(self, x: Matrix, d: Matrix) -> Matrix:
        """J'J of a layer: of the pairs i <= k and j <= l, which the others repeat."""
        sizes = len(x), d.shape[1]
        pairs = sizes[0] * (sizes[0] + 1) // 2, sizes[1] * (sizes[1] + 1) // 2
        found = self._room("found", *pairs)
        for piece in self._pieces(sum(pairs)):
            left, right = self._left_right(pairs, piece)
            _own_products(x[None, :, piece], left)
            _own_products(d[:, :, piece], right)
            self._add(found, left, right, piece)
        (i, j), workspace = sizes, self._room
        rows = np.take(found, _pairs(i).ravel(), 0, workspace("rows", i * i, pairs[1]), "clip")
        every = np.take(rows, _pairs(j).ravel(), 1, workspace("every", i * i, j * j), "clip")  # the clip leaves out a copy
        return _by_layer(every.reshape(i, i, j, j), workspace)

    def _of_two(self, x: Matrix, d: Matrix, y: Matrix, e: Matrix) -> Matrix:
        """J'J of two layers."""
        shape = len(x), len(y), d.shape[1], e.shape[1]
        pairs = shape[0] * shape[1], shape[2] * shape[3]
        found = self._room("found", *pairs)
        for piece in self._pieces(sum(pairs)):
            left, right = self._left_right(pairs, piece)
            _products(x[None, :, piece], y[None, :, piece], left)
            _products(d[:, :, piece], e[:, :, piece], right)
            self._add(found, left, right, piece)
        return _by_layer(found.reshape(shape), self._room)

    def _pieces(self, numbers: int) -> Iterator[slice]:
        """Rows, as many at a time as there is room for so many numbers of each."""
        step = max(1, min(max(FEW, PIECE // (8 * numbers)), MOST // (8 * numbers)))
        return (slice(begin, min(begin + step, self._rows)) for begin in range(0, self._rows, step))

    def _left_right(self, pairs: tuple[int, int], piece: slice) -> tuple[Matrix, Matrix]:
        """Room for the products of inputs, and for those of deltas."""
        rows = piece.stop - piece.start
        return self._room("left", pairs[0], rows), self._room("right", pairs[1], rows)

    def _add(self, out: Matrix, a: Matrix, b: Matrix, piece: slice) -> None:
        """Add a b' of a piece; the first one is all there is."""
        if piece.start:
            out += np.matmul(a, b.T, out=self._room("product", *out.shape))
        else:
            np.matmul(a, b.T, out=out)

    def outer(self, other: Factors) -> Matrix:
        rows, theirs = (self._outputs, self._rows), (other._outputs, other._rows)
        found = np.zeros((*rows, *theirs))
        for (x, d), (y, e) in zip(self._layers, other._layers, strict=True):
            found += np.tensordot(d, e, (1, 1)) * (x.T @ y)[None, :, None, :]
        return found

    def push(self, v: Matrix) -> Matrix:
        found = np.zeros((self._outputs, self._rows))
        for place, (x, d) in zip(self._places, self._layers, strict=True):
            found += (d * (v[place].reshape(len(x), -1).T @ x)).sum(axis=1)
        return found

    def pull(self, u: Matrix) -> Matrix:
        return np.concatenate([(x @ (u[:, None] * d).sum(axis=0).T).ravel() for x, d in self._layers])


def _by_layer(found: Matrix, room: Room) -> Matrix:
    """From (I, K, J, L) to (I J, K L)."""
    mine, theirs, my_outputs, their_outputs = found.shape
    out = room("layers", mine, my_outputs, theirs, their_outputs)
    out[...] = found.transpose(0, 2, 1, 3)
    return out.reshape(mine * my_outputs, -1)


def _products(a: Matrix, b: Matrix, out: Matrix) -> None:
    """Each of a (outputs, I, rows) times each of b (outputs, K, rows), row by row, summed over the outputs."""
    np.einsum("oin,okn->ikn", a, b, out=out.reshape(a.shape[1], b.shape[1], -1))


def _own_products(a: Matrix, out: Matrix) -> None:
    """Each of a (outputs, I, rows) times itself and those after it, as `_products`."""
    end = 0
    for k in range(a.shape[1]):
        begin, end = end, end + a.shape[1] - k
        np.einsum("on,okn->kn", a[:, k], a[:, k:], out=out[begin:end])


def _pairs(count: int) -> NDArray[np.int64]:
    """Where the pair of i and k is among those with i <= k, (count, count)."""
    found, (i, k) = np.empty((count, count), np.int64), np.triu_indices(count)
    found[i, k] = found[k, i] = np.arange(len(i))
    return found


class Tangent:
    """The `nnkit.core.trainer.Tangent` of a net's residuals.

    Blocks are kept where they are small, or where each is needed with each other; else they are made again, at the place where
    the net is then.

    Parameters
    ----------
    value : the loss
    residual : (outputs * rows,)
    blocks : makes (rows, J) for one block of rows after the other
    shape : outputs and rows
    wide : JJ' is asked for, instead of J'J
    room : for J'J and its copy: of one tangent at a time
    """

    def __init__(
        self, value: float, residual: Matrix, blocks: Callable[[], Iterator[tuple[slice, Block]]], shape: tuple[int, int], *,
        wide: bool, room: Room,
    ) -> None:  # fmt: skip
        self.value, self._made, self._shape, self._room = value, blocks, shape, room
        self._kept: list[tuple[slice, Block]] | None = []
        every, self.gradient = residual.reshape(shape), np.zeros(0)
        for piece, block in blocks():
            pulled = block.pull(every[:, piece])
            if not self.gradient.size:
                self.gradient = np.zeros(block.size)
                self.curvature = np.zeros((0, 0)) if wide else room("curvature", block.size, block.size)
                self.curvature[...] = 0.0
            self.gradient += pulled
            if not wide:
                block.gram(self.curvature)
            if self._kept is not None:
                self._kept.append((piece, block))
                if not wide and sum(kept.nbytes for _, kept in self._kept) > KEPT:
                    self._kept = None
        if wide:
            self.curvature = self._outer()

    def _outer(self) -> Matrix:
        """JJ', (terms, terms)."""
        out = np.empty((*self._shape, *self._shape))
        for k, (piece, block) in enumerate(self._kept or []):
            for there, other in (self._kept or [])[k:]:
                found = block.outer(other)
                out[:, piece, :, there] = found
                out[:, there, :, piece] = found.transpose(2, 3, 0, 1)
        return out.reshape(self._shape[0] * self._shape[1], -1)

    def copied(self) -> Matrix:
        out = self._room("copied", *self.curvature.shape)
        out[...] = self.curvature
        return out

    def _blocks(self) -> Iterator[tuple[slice, Block]]:
        return iter(self._kept) if self._kept is not None else self._made()

    def push(self, v: Matrix) -> Matrix:
        out = np.empty(self._shape)
        for piece, block in self._blocks():
            out[:, piece] = block.push(v)
        return out.ravel()

    def pull(self, u: Matrix) -> Matrix:
        every = u.reshape(self._shape)
        found = [block.pull(every[:, piece]) for piece, block in self._blocks()]
        return found[0] if len(found) == 1 else np.sum(found, axis=0)
