"""Training on all rows at once: a trainer's iterations, each followed by what follows an epoch."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.layer import Built, Layer
from nnkit.core.part import kernel_names
from nnkit.core.trainer import Trainer
from nnkit.engine.critical import check, interruptible
from nnkit.engine.workers import Team
from nnkit.errors import NonFiniteError, ParameterError
from nnkit.passes import Pass
from nnkit.training.averaging import averaging_of
from nnkit.training.callbacks import EarlyStopping
from nnkit.training.data import count_of
from nnkit.training.diagnosis import diagnosis
from nnkit.training.fit import Fit
from nnkit.training.objective import Objective
from nnkit.training.problem import AllRows
from nnkit.training.residuals import Residuals
from nnkit.training.snapshot import Snapshot

__all__ = ["Iterations", "follows_batches", "has_seed"]

LOOKED_AT = 4096  # rows at a time, for what is not finite
TRIED = 64  # rows, for what is drawn
MEMORY = 1 << 32  # bytes, for matrices of a trainer


class Iterations(Fit):
    """A fit in which an epoch, and a step, is an iteration of a `Trainer`."""

    _optimizer: Trainer

    def _count(self, epochs: int | None, batch_size: int | None, accumulate: int) -> int:
        trainer, who = self._optimizer, type(self._optimizer).__name__
        trainer.check()
        if batch_size is not None or accumulate != 1:
            given = f"accumulate={accumulate}" if batch_size is None else f"batch_size={batch_size}"
            raise ParameterError(f"{who}: expected no batches, as an iteration takes all rows, got {given}; leave it out, or "
                                 "train with 'adam'")  # fmt: skip
        return trainer.max_iter if epochs is None else min(int(epochs), trainer.max_iter)

    # ------------------------------------------------------------------------------------------------- preparing

    def _plan(self) -> None:
        trainer, network = self._optimizer, self.network
        self._require_steady()
        objective = Objective(network, self._goals, self._X, self._rows, training=True, workers=self._threads,
                              python=self._python)  # fmt: skip
        residuals = None
        if trainer.squares:
            residuals = Residuals(network, self._timed, self._X, self._y, self._weights, self._rows,
                                  who=type(trainer).__name__, workers=self._threads, python=self._python)  # fmt: skip
            if (needed := trainer.memory(objective.size, residuals.terms)) > MEMORY:
                raise ParameterError(f"{type(trainer).__name__}: expected a small net, got {objective.size} parameters and "
                                     f"{residuals.terms} residuals, whose matrices need {needed / 2**30:.1f} GB; train with "
                                     "'lbfgs' or 'adam'")  # fmt: skip
        self._progress.counted = f"{type(trainer).__name__}, iteration"
        self._problem = AllRows(objective, residuals, self._diagnosed)
        self._states = {name: np.zeros(length) for name, length in trainer.states(objective.size).items()}
        self._workers, self._gradient = objective.workers, objective.gradient
        if trainer.max_fail is not None and self._evaluator is not None:
            stopping = EarlyStopping("val_loss", patience=trainer.max_fail)
            self._callbacks = sorted([*self._callbacks, stopping], key=lambda callback: callback.late)
        self._stops = [(callback, callback.interval(self)) for callback in self._callbacks if callback.watches("on_batch_end")]

    def _require_steady(self) -> None:
        """Refuse what makes the loss another function from one look at it to the next."""
        who, network = type(self._optimizer).__name__, self.network
        batches = [built.layer for built in network.leaves if follows_batches(built)]
        draws = [] if batches else self._drawing()
        if batches or draws:
            layer, why = [*batches, *draws][0], "follows the statistics of batches" if batches else "draws numbers"
            raise ParameterError(f"{who}: expected layers that give the same in every pass, got {layer!r}, which {why}; leave "
                                 "it out, or train with 'adam'")  # fmt: skip
        if moving := [*network.live(), *self._live]:
            raise ParameterError(f"{who}: expected numbers that stay as they are, got one that follows {moving[0][0]!r}; "
                                 "give a plain number, or train with 'adam'")  # fmt: skip
        if (average := averaging_of(self._callbacks)) is not None:
            raise ParameterError(f"{who}: expected no mean of the parameters, as it goes to one minimum, got {average!r}")

    def _drawing(self) -> list[Layer]:
        """The layers that give something else with another seed: some that have one leave it alone, as a dropout of 0 does."""
        network = self.network
        if not any(has_seed(built.layer) for built in network.leaves):
            return []
        rows = self._take(self._rows[:TRIED])[0]
        trial = Pass(network, count_of(rows), training=True, gradient=np.zeros_like(network.gradient), keep=True,
                     python=self._python)  # fmt: skip
        given = []
        for seed in (1, 2):
            with np.errstate(all="ignore"):
                trial.forward(rows, seed=seed)
            given.append([trial.array(node.out).copy() for node in trial.nodes()])
        return [node.built.layer for node, one, other in zip(trial.nodes(), *given, strict=True)
                if has_seed(node.built.layer) and not np.array_equal(one, other, equal_nan=True)]  # fmt: skip

    # --------------------------------------------------------------------------------------------------- running

    @property
    def batch_size(self) -> int:
        """All rows."""
        return len(self._rows)

    @property
    def steps_per_epoch(self) -> int:
        """An epoch is one iteration."""
        return 1

    @property
    def _own_figures(self) -> tuple[str, ...]:
        return self._optimizer.figures

    def _run_block(self, team: Team) -> None:
        problem, begin = self._problem, time.perf_counter()
        problem.team, before = team, problem.position()
        try:
            with np.errstate(all="ignore"):
                iteration = self._optimizer.iterate(problem, self._states)
        except BaseException:  # no fit ends at a place that was only tried
            problem.move(before)
            raise
        self.loop_seconds += time.perf_counter() - begin
        self.step += 1
        self.loss = iteration.loss
        if iteration.stopping:
            self.stop(iteration.stopping)
        self._call_after_step()
        self._finish_epoch(team, {"loss": iteration.loss, **iteration.figures})
        self._progress.update(self.step, self.history)
        check()

    def _diagnosed(self) -> NonFiniteError:
        """What is not finite now."""
        for begin in range(0, len(self._rows), LOOKED_AT):
            rows = self._take(self._rows[begin : begin + LOOKED_AT])
            with interruptible():
                error = diagnosis(self.network, self.criterion, *rows, epoch=self.epoch, step=self.step, seed=0,
                                  python=self._python)  # fmt: skip
            if error.part != "the sum of the shards":
                break
        return error

    # ----------------------------------------------------------------------------------------- stopping and going on

    @property
    def _moments(self) -> dict[str, NDArray[Any]]:
        return self._states

    def _place(self) -> dict[str, Any]:
        return {"drawn": self._random.bit_generator.state, "losses": np.zeros(0), "updates": self.step, "schedule": {}}

    def _take_place(self, before: Snapshot) -> None:
        for name, state in self._states.items():
            state[:] = before.moments[name]


def follows_batches(built: Built) -> bool:
    """Whether a layer's numbers depend on which rows come together."""
    return built.layer.mixes_rows or bool(built.partials) or any(not state.fixed for state in built.states.values())


def has_seed(layer: Layer) -> bool:
    """Whether a layer may draw numbers."""
    return any("seed" in kernel_names(kernel) for kernel in layer.kernels().values())
