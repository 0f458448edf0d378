"""Training step by step: compiled slices of steps, each on a batch, alternate with bookkeeping."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import fields
from nnkit.core.optimizer import Updater, UpdaterProgress
from nnkit.engine.critical import check
from nnkit.engine.instruction import Instruction
from nnkit.engine.lazy import weakly
from nnkit.engine.memory import aligned_zeros
from nnkit.engine.operands import Array
from nnkit.engine.program import Program
from nnkit.engine.template import Likeness
from nnkit.engine.workers import Team
from nnkit.errors import NonFiniteError
from nnkit.kernels.control import NOT_FINITE
from nnkit.kernels.random import permute
from nnkit.training.averaging import Averaging, averaging_of
from nnkit.training.data import sources_of
from nnkit.training.diagnosis import diagnosis
from nnkit.training.fit import Fit
from nnkit.training.goals import planned
from nnkit.training.shards import shard_rows
from nnkit.training.snapshot import Snapshot

__all__ = ["Steps"]

EPOCHS, BATCH = 10, 64  # where nothing is said
SLICE = 0.1  # seconds of compiled work between two looks at Ctrl-C and the progress line
BLOCK_STEPS = 2048  # epochs are planned together until they have so many steps


class Steps(Fit):
    """A fit in which an optimizer goes a step for each batch of the rows, in an order that is drawn anew in each epoch."""

    def _count(self, epochs: int | None, batch_size: int | None, accumulate: int) -> int:
        self._batch = BATCH if batch_size is None else int(batch_size), int(accumulate)
        return EPOCHS if epochs is None else int(epochs)

    # ------------------------------------------------------------------------------------------------- preparing

    def _plan(self) -> None:
        """Layers, loss and optimizer -> programs."""
        network, real = self.network, self.network.dtype
        rows = shard_rows(network, self._wave_rows)
        shards = -(-self._wave_rows // rows)
        slabs = network.gradient[None]
        if shards > 1:
            slabs = aligned_zeros(shards * network.vector.size, real).reshape(shards, -1)
        self._slabs = slabs
        self._sources = sources_of(self._X, real)
        waves, average = self._wave_rows < self.batch_size, averaging_of(self._callbacks)
        self._updater = Updater(
            self._optimizer, network.vector, slabs, chunk=network.chunk, segments=network.segments(), waves=waves,
            average=average, live=[*network.live(), *self._live], python=self._python,
        )  # fmt: skip
        self._averaging = None if average is None else Averaging(
            self.model, self._updater.states["averaged"], [segment for segment in network.segments() if segment.trained],
            self._batches if average.anew else None, self._wave_rows, self._python,
        )  # fmt: skip
        self._gradient = self._updater.gradient if waves or shards > 1 else None  # which is another one than the network's
        if self._before is not None:
            self._updater.take_over(self._before)
        program = self._step_program(shards, rows)
        self._seed = int(self._random.integers(2**62))
        watched = self._evaluator is not None or any(self._metrics.values()) or self._updater.schedule.adaptive
        watched = watched or any(callback.watches("on_epoch_end") for callback in self._callbacks)
        self._stops = [(callback, callback.interval(self)) for callback in self._callbacks if callback.watches("on_batch_end")]
        self._watched = bool(watched)
        together = 1 if watched or self._stops else -(-BLOCK_STEPS // self.steps_per_epoch)
        self._block_epochs = min(together, self.epochs)
        self._plan_shuffling()
        self._workers = 1 if self._python else min(self._threads, shards)
        capacity = self._block_epochs * self.steps_per_epoch
        self._runner = self._updater.runner(
            program, rows, capacity=capacity, wave_rows=self._wave_rows, seed=self._seed, workers=self._workers
        )

    def _step_program(self, shards: int, rows: int) -> Program:
        """What every shard does in a step, on so many rows."""
        likes = [self.network.likeness, *(goal.likeness for goal in self._goals.values()),
                 *(source.likeness for source in fields(self._sources).values())]  # fmt: skip
        key = "step", *self._goals, None, *fields(self._sources)
        like = Likeness.of(key, *likes, arrays=[self._slabs, *(number for _, number in self._live)])
        return Program(weakly(self._write), self.network.dtype, shards=shards, rows=rows, python=self._python, like=like)

    def _write(self) -> list[Instruction]:
        return planned(self.network, self._goals, self._sources, self._slabs)[0].instructions

    def _plan_shuffling(self) -> None:
        """Memory for the order of the rows in the epochs that are planned together, and the program that draws it."""
        self._orders = np.tile(self._rows, (self._block_epochs, 1))
        self._epoch_seeds = np.zeros(self._block_epochs, np.int64)
        arrays = self._rows, self._orders, self._epoch_seeds
        self._shuffler = Program(lambda: [Instruction(permute, tuple(map(Array.view, arrays)), "shuffle", "data")], "float64",
                                 python=self._python, like=Likeness("shuffle", arrays))  # fmt: skip

    # --------------------------------------------------------------------------------------------------- running

    @property
    def _wave_rows(self) -> int:
        """Rows that there is memory for at a time."""
        return min(self._batch[0], len(self._rows))

    @property
    def batch_size(self) -> int:
        """Rows of a step. The programs have memory for no more, so nobody changes it."""
        return min(self._batch[0] * self._batch[1], len(self._rows))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-len(self._rows) // self.batch_size)

    @property
    def updater_progress(self) -> UpdaterProgress:
        """How far the optimizer has come, for another fit to go on from."""
        return self._updater.progress

    @property
    def _own_figures(self) -> tuple[str, ...]:
        return ("lr",)

    _budget = 1  # steps of the next slice: as many as SLICE has, once it is known how long one takes

    def _run_block(self, team: Team) -> None:
        """Plan and run the next epochs, as many as nobody has to look at one by one."""
        count = min(self._block_epochs, self.epochs - self.epoch)
        rows, steps = len(self._rows), count * self.steps_per_epoch
        done = self.step % self.steps_per_epoch  # a fit may go on within an epoch
        first = self.step - done
        self._drawn_from = self._random.bit_generator.state
        order = self._order(count)
        begins = np.add.outer(np.arange(count) * rows, np.arange(self.steps_per_epoch) * self.batch_size).ravel()
        table = self._runner.steps
        table[:steps, 0] = order.ctypes.data + 8 * begins
        table[:steps, 1] = np.minimum(self.batch_size, rows - np.arange(steps) % self.steps_per_epoch * self.batch_size)
        table[:steps, 3] = first + np.arange(steps)
        times = (first + np.arange(steps)) / self.steps_per_epoch
        ends = (first + np.arange(steps) + 1) / self.steps_per_epoch
        rates = self._updater.fill(self._runner.coefficients, times, float(self.epochs), done, ends)
        self._updater.note(self.step / self.steps_per_epoch, float(self.epochs))
        while done < steps and not (self._stopping and self._stops):
            begin = time.perf_counter()
            until_stop = min((interval - self.step % interval for _, interval in self._stops), default=steps)
            finished = self._runner.run(done, min(done + self._budget, done + until_stop, steps), team)
            if self._runner.status == NOT_FINITE:
                raise self._diagnosed(order, table[done + finished - 1])
            ended = range(done // self.steps_per_epoch, (done + finished) // self.steps_per_epoch)
            done += finished
            self.step += finished
            self._updater.steps += finished
            self.loss = float(self._runner.losses[done - 1])
            spent = time.perf_counter() - begin
            self.loop_seconds += spent
            speed = spent / finished
            self._budget = max(1, min(int(SLICE / max(speed, 1e-9)), 8 * self._budget))
            self._call_after_step()
            for epoch in ended:
                self._finish_epoch(team, self._figures(epoch, rates))
            self._progress.update(self.step, self.history)
            check()

    def _order(self, epochs: int) -> NDArray[np.int64]:
        """The rows of the next epochs, one after the other."""
        if self._shuffle:
            self._epoch_seeds[:epochs] = self._random.integers(2**62, size=epochs)
            self._shuffler.run()
        return self._orders[:epochs].ravel()

    def _figures(self, index: int, rates: NDArray[np.float64]) -> dict[str, float]:
        """Of an epoch of the block: its loss, and the last rate."""
        piece = slice(index * self.steps_per_epoch, (index + 1) * self.steps_per_epoch)
        losses = self._runner.losses[piece]
        if self.criterion.is_sum:
            loss = float(losses.sum())
        else:  # a batch weighs as many rows as it has: weights are 1 on average over the data
            loss = float(np.average(losses, weights=self._runner.steps[piece, 1]))
        return {"loss": loss, "lr": float(rates[piece][-1])}

    def _measuring(self) -> AbstractContextManager[None]:
        return self._averaging.in_place() if self._averaging is not None and self._watched else nullcontext()

    def _observe(self, figures: dict[str, float]) -> None:
        self._updater.schedule.observe(figures.get("val_loss", figures["loss"]))

    def _settle(self) -> None:
        if self._averaging is not None:
            self._averaging.settle()

    def _batches(self) -> Iterator[NDArray[Any]]:
        """The inputs that are trained on, a batch at a time."""
        for begin in range(0, len(self._rows), self._wave_rows):
            yield self._take(self._rows[begin : begin + self._wave_rows])[0]

    def _diagnosed(self, order: NDArray[np.int64], step: NDArray[np.int64]) -> NonFiniteError:
        """What has not been finite in a step that was given up."""
        address, count, _, number = (int(item) for item in step)
        first = (address - order.ctypes.data) // 8
        rows = self._take(order[first : first + count])
        return diagnosis(self.network, self.criterion, *rows, epoch=number // self.steps_per_epoch, step=number,
                         seed=self._seed, python=self._python)  # fmt: skip

    # ----------------------------------------------------------------------------------------- stopping and going on

    @property
    def _moments(self) -> dict[str, NDArray[Any]]:
        return self._updater.states

    def _place(self) -> dict[str, Any]:
        within, updater = self.step % self.steps_per_epoch, self._updater
        return {
            "drawn": self._drawn_from if within else self._random.bit_generator.state,
            "losses": self._runner.losses[:within].copy(), "updates": updater.steps,
            "schedule": updater.schedule.observed(),
        }  # fmt: skip

    def _take_place(self, before: Snapshot) -> None:
        updater = self._updater
        self._runner.losses[: len(before.losses)] = before.losses
        updater.schedule.resume(before.schedule)
        updater.take_over(UpdaterProgress(type(updater.optimizer), before.updates, updater.schedule, before.moments))
