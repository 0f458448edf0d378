"""The gradients that a layer gives, against central differences; and why they may differ."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.activation import Activation
from nnkit.inspect.trace.differences import STEP, central_differences
from nnkit.testing.bench import Batch, Bench, gradient_of
from nnkit.testing.compare import CheckError, agree, require_close, usual_suspects, wrong_slope
from nnkit.testing.docstrings import wrong_examples
from nnkit.testing.part import DIFFERENCES, ROWS, Arrays

__all__ = ["READS_A_STATE", "Derivatives"]

READS_A_STATE = ("forward reads a state that it changes, and backward takes it for a constant; checked only as far as the "
                 "output does not depend on the state: add an example in which it does not")  # fmt: skip
REACHED = 1e-6  # slopes, and pieces of a gradient, that count as 0 here


class Derivatives:
    """The gradients of the input and of every parameter, in training or out of it."""

    def __init__(self, bench: Bench, training: bool) -> None:
        self._bench, self._training = bench, training
        self._batch = Batch(bench, training=training)
        self._out = self._batch.forward(bench.x)
        self.given = self._batch.backward(bench.grad_out)
        parameters = {gradient_of(name): array for name, array in bench.model.parameters().items()}
        self._arrays = {"grad_x": bench.x, **parameters}

    def check(self) -> list[str]:
        """Raise `CheckError` where one is wrong; return those that leave out what goes through a state that forward changes."""
        partly = []
        for name in self.given:
            expected = self._expected(name, self._batch)
            try:
                self._require(name, expected)
            except CheckError:
                if not self._training or not self._bench.states:
                    raise
                if not self._has_its_state(name, expected):
                    Derivatives(self._beside_states(), self._training)._require(name)
                    partly.append(name)
        return partly

    def _expected(self, name: str, batch: Batch, states: Arrays | None = None) -> NDArray[np.float64]:
        x, grad_out = self._bench.x, self._bench.grad_out
        return central_differences(lambda: float((batch.forward(x, states=states) * grad_out).sum()), self._arrays[name])

    def _require(self, name: str, expected: NDArray[np.float64] | None = None) -> None:
        expected = self._expected(name, self._batch) if expected is None else expected
        kernel, got = "backward" if self._training else "backward, out of training,", self.given[name]
        require_close(self._bench.part, kernel, name, got, expected, DIFFERENCES, suspects=self._suspects(name, got, expected))

    # ------------------------------------------------------------------------------------ through a state, or around it

    def _has_its_state(self, name: str, expected: NDArray[np.float64]) -> bool:
        """Whether the gradient is right where the state stays as it is, which is not the whole derivative.

        That can be told where the layer computes the same out of training, from the state before the step or after it.
        """
        batch = Batch(self._bench, training=False)
        for states in (self._bench.before, self._after()):
            if agree(batch.forward(self._bench.x, states=states), self._out, DIFFERENCES):
                alone = self._expected(name, batch, states)
                if not agree(alone, expected, DIFFERENCES):
                    self._require(name, alone)
                    return True
        return False

    def _after(self) -> Arrays:
        self._batch.forward(self._bench.x)
        return self._bench.held()

    def _beside_states(self) -> Bench:
        """The same with a gradient of the output that does not see the states: sum(out * grad_out) is the same for any.

        Then nothing goes through a state, and it makes no difference whether backward follows that way.
        """
        slopes = self._by_states()
        wanted = self._bench.grad_out.ravel()
        slopes[np.abs(slopes) < REACHED] = 0.0
        left = wanted - slopes @ np.linalg.lstsq(slopes, wanted, REACHED)[0]
        if np.abs(left).max() < REACHED:
            left = np.zeros_like(left)
        beside = copy.copy(self._bench)
        beside.grad_out = left.reshape(self._bench.grad_out.shape)
        return beside

    def _by_states(self) -> NDArray[np.float64]:
        """D out / d states, (numbers of the output, numbers of the states)."""
        x, columns = self._bench.x, []
        for name, state in self._bench.before.items():
            for place in np.ndindex(state.shape):
                ends = []
                for step in (STEP, -STEP):
                    moved = {**self._bench.before, name: state.copy()}
                    moved[name][place] += step
                    ends.append(self._batch.forward(x, states=moved).ravel())
                columns.append((ends[0] - ends[1]) / (2 * STEP))
        slopes = np.stack(columns, axis=1)
        return np.where(np.abs(slopes) < REACHED, 0.0, slopes)

    # -------------------------------------------------------------------------------------------------- likely causes

    def _suspects(self, name: str, got: NDArray[Any], expected: NDArray[Any]) -> Iterator[tuple[bool, str]]:
        """Why a gradient may be wrong: hypotheses, each tried out."""
        bench, training = self._bench, self._training
        shown = "forward gives a wrong out, as an example in its docstring shows; backward may be right"
        yield any(wrong_examples(type(built.layer)) for built in bench.network.leaves), shown
        written = bool(np.isfinite(got).all() and got.any())
        doubled = Batch(bench, training=training)
        doubled.forward(bench.x)
        yield (
            written and agree(doubled.backward(2 * bench.grad_out)[name], got),
            "it does not depend on grad_out; multiply by it",
        )
        if name != "grad_x":
            yield agree(ROWS * got, expected), "it is averaged over the rows; add them up, the loss does the averaging"
            for row, words in ((ROWS - 1, "last"), (0, "first")):
                alone = bench.run(slice(row, row + 1), training=training)[name]
                yield written and agree(alone, got), f"only the {words} row of the batch counts; add up over the rows (+=)"
        unread = name.removeprefix("grad_")
        yield written and not expected.any(), f"forward gives a wrong out: it does not depend on {unread}"
        yield from usual_suspects(got, expected)
        apart = bench.run(training=training, keep=True)[name]
        in_place = "inplace = True, but it reads numbers that it has written over by then"
        yield bench.part.inplace and agree(apart, expected), in_place
        if bench.grad_out.shape == bench.x.shape and bench.network.input_dtype == bench.model.dtype:
            swapped = Batch(bench, training=training, keep=True)
            out = swapped.forward(bench.x)
            swapped.work.array(swapped.work.nodes()[0].x)[...] = out
            yield agree(swapped.backward(bench.grad_out)[name], expected), "it would be right with out in place of x"
        others = [other for other in self.given if other != name]
        shown = "forward gives a wrong out: every gradient differs from its derivative"
        right = (agree(self.given[other], self._expected(other, self._batch), DIFFERENCES) for other in others)
        yield bool(others) and not any(right), shown
        if isinstance(bench.part, Activation) and bench.part.elementwise:
            yield True, wrong_slope({"x": bench.x}, got / bench.grad_out, expected / bench.grad_out)
