"""One fit: everything is checked and planned first; then training, in one way or another, alternates with bookkeeping."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.callback import Callback
from nnkit.core.container import Model, chain_of
from nnkit.core.criterion import Criterion
from nnkit.core.fields import by_name, each, fields
from nnkit.core.frames import column_names
from nnkit.core.optimizer import Optimizer, UpdaterProgress
from nnkit.core.part import listed
from nnkit.core.random_state import generator
from nnkit.engine.critical import check, interruptible, uninterrupted
from nnkit.engine.lazy import lazy
from nnkit.engine.stub import statistics
from nnkit.engine.workers import Team, available_threads
from nnkit.errors import DataError, NonFiniteError, ParameterError, ShapeError
from nnkit.metrics import confusion, metrics_of
from nnkit.network import Network, adopt, inputs_of, network_of
from nnkit.passes import Evaluator
from nnkit.training.beginning import begin_from_data
from nnkit.training.data import (
    check_finite,
    check_row_shape,
    count_of,
    taken,
    to_inputs,
)
from nnkit.training.diagnosis import check_parameters
from nnkit.training.goals import goals_of, targets_of, weights_of
from nnkit.training.history import History
from nnkit.training.padding import without_padding
from nnkit.training.progress import Progress
from nnkit.training.snapshot import Snapshot, digest, spelt

__all__ = ["Fit"]

SAMPLING = 0  # seed for the choice of rows to look at: the same ones each time, and nothing drawn from the fit's own stream



class Fit:
    """A running fit: what `Sequential.fit` makes, and what callbacks see. `nnkit.training.kinds.fit_of` makes the right kind.

    Parameters
    ----------
    model : what is trained; it is built for rows as those of X, where it is not yet
    X : (N, ...) numbers, in C or Fortran order, sliced, memory-mapped; read in place, never copied whole (reversed arrays,
        float16 and foreign byte order are). Of a frame (pandas, Polars, PyArrow ...) every column has to be of numbers or
        truth values; text, categories and times are refused by name.
    y : targets that fit the loss (integer labels for ``"cross_entropy"``; the shape of the output for ``"mse"``)
    loss, optimizer : parts or their names; of several outputs a dict of losses by their names
    loss_weights : of several outputs, what each loss weighs in their sum, a dict of numbers; 1 where nothing is said
    epochs, batch_size : int >= 1; the last batch of an epoch may be smaller. By default 10 and 64; where an optimizer takes all
        rows at once, its ``max_iter`` and all
    accumulate : int >= 1: a step has so many batches, and memory for one of them. It is the step of one large batch, to
        rounding, but for layers that mix rows: batch norm sees the rows of one at a time, as in PyTorch.
    validation_data : (X, y) or (X, y, sample_weight), evaluated after every epoch
    validation_split : float in [0, 1): instead of the former, hold out this part of the rows, drawn at random
    sample_weight : (N,) weights of at least 0: a row of weight 2 counts as two, one of weight 0 is absent, as if it were
        not in the data. Where the loss is a mean, weights are divided by their mean over all rows that are trained on,
        and a batch's loss is the mean of weight times loss over its rows; so a row's weight is the same in every batch,
        even in one of that row alone, and only the weights' ratios count. Equal weights are the same as none. Where a loss is
        of every step of a sequence, weights may be, too, (N, steps), and steps that a mask says to be padding (of `Masking`, or
        an `Embedding` with padding_idx) weigh nothing, whatever is given.
    metrics : metrics or their names (also those of scikit-learn's scorers), on the validation data where there are any; of
        several outputs a dict of these
    callbacks : callbacks or their names
    shuffle : draw the rows in a new order each epoch
    random_state : None, int, RandomState or Generator: decides parameters, order and dropout
    n_threads : int, optional; by default as many as this process may use cores. The result is the same to the bit.
    progress : "auto" (on a terminal and in a notebook), "compiling" (only what is compiled), True or False
    engine : "compiled", or "python" to run every kernel uncompiled, for debugging
    before : how far the optimizer had come in an earlier fit, to go on from there
    resumed : what a `Checkpoint` has written in an earlier fit with the same data and arguments: go on where that was.
        Parameters and history end as if it had never stopped, to the bit.

    Attributes
    ----------
    model, network, history : what is trained, and what was measured
    epoch, step : the present ones, from 0; ``step`` counts through all epochs
    loss : of the last step
    criterion : the losses, and what each weighs
    failure : the exception that has ended it, once there is one, Ctrl-C included: an estimator raises that one and forgets the
        fit, unless a callback has set it back to None at the end
    engine : "compiled" or "python"
    loop_seconds : how long the compiled loop has run
    """

    def __init__(
        self,
        model: Model,
        X: Any,
        y: Any,
        *,
        loss: Any,
        optimizer: Any,
        epochs: int | None,
        batch_size: int | None,
        validation_data: tuple[Any, ...] | None,
        validation_split: float,
        sample_weight: Any,
        metrics: Any,
        callbacks: Sequence[Callback | str],
        shuffle: bool,
        random_state: Any,
        n_threads: int | None,
        progress: bool | str,
        engine: str,
        accumulate: int = 1,
        loss_weights: Any = None,
        before: UpdaterProgress | None = None,
        resumed: Snapshot | None = None,
    ) -> None:
        self._begin, self._compiling = time.perf_counter(), statistics.seconds
        for name, number in (("epochs", epochs), ("batch_size", batch_size), ("accumulate", accumulate)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1):
                raise ParameterError(f"fit: expected {name} to be an integer of at least 1, got {number!r}")
        if engine not in ("compiled", "python"):
            raise ParameterError(f"fit: expected engine to be 'compiled' or 'python', got {engine!r}")
        self.model = model
        self.history = History()
        self.epoch = self.step = 0
        self.loss = float("nan")
        self.failure: BaseException | None = None
        self.engine, self._python = engine, engine == "python"
        self.loop_seconds = 0.0
        self._given = loss, loss_weights, metrics
        self._optimizer: Any = Optimizer.make(optimizer, "optimizer")
        self.epochs = self._count(epochs, batch_size, accumulate)
        chosen = [Callback.make(item, "callbacks") for item in listed(callbacks)]
        for callback in chosen:
            callback.require_event()
        self._callbacks = sorted(chosen, key=lambda callback: callback.late)
        self._shuffle = shuffle
        self._random = generator(random_state)
        self._threads = available_threads(n_threads)
        self._stopping = ""
        self._before, self._resumed = before, resumed
        self._progress = Progress(progress, self.epochs)
        with self._progress.preparing():
            self._check_data(X, y, sample_weight)
            if resumed is not None:
                self._random = resumed.generator("begun")
            self._begun = self._random.bit_generator.state
            self._split(validation_data, validation_split)
            self._progress.steps = self.steps_per_epoch
            self._plan()

    # ------------------------------------------------------------------------------------------------- preparing

    def _check_data(self, X: Any, y: Any, sample_weight: Any) -> None:
        model = self.model
        columns = each(column_names, by_name(X, inputs_of(model, X), "fit", "X"))
        self._X = to_inputs(X, inputs_of(model, X), "fit")
        for name, array in fields(self._X).items():
            if array.ndim == 1:
                which = f"X[{name!r}]" if name else "X"
                raise ShapeError(f"fit: expected {which} of shape (N, ...), got {array.shape}; one feature is "
                                 f"{which}.reshape(-1, 1)")  # fmt: skip
        if not model.is_built:
            in_shape = each(lambda array: tuple(array.shape[1:]), self._X)
            adopt(model, Network.drawn(chain_of(model), in_shape, "float32", self._random))
        self.network = network = network_of(model, "fit")
        check_row_shape(self._X, network.in_shape, "fit")
        check_finite(self._X, "X", columns)
        network.check_input(self._X, "X")
        rows, out_shape = count_of(self._X), network.out_shape
        loss, loss_weights, metrics = self._given
        self.criterion = Criterion.make(loss, loss_weights, out_shape, "fit")
        self._metrics = metrics_of(metrics, out_shape, "fit")
        self._y = targets_of(self.criterion, y, out_shape, rows, "fit", finite=True)
        weights = weights_of(self.criterion, sample_weight, out_shape, rows)
        self._weights = without_padding(network, self.criterion, self._X, weights, python=self._python)
        if network.frozen and not any(segment.trained for segment in network.segments()):
            raise ParameterError("fit: expected parameters to train, got all of them frozen; model.unfreeze() trains all")
        self._timed, self._live = self.criterion.live(network.dtype)

    def _split(self, validation_data: tuple[Any, ...] | None, validation_split: float) -> None:
        """Say which rows are trained on, and what is validated on."""
        rows = count_of(self._X)
        self._evaluator: Evaluator | None = None
        self._rows = np.arange(rows)
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                raise ParameterError("fit: expected validation_data to be (X, y) or (X, y, sample_weight)")
            if validation_split:
                raise ParameterError("fit: expected validation_data or validation_split, got both")
            self._validate_on(*validation_data)
        elif validation_split:
            if not isinstance(validation_split, float | np.floating) or not 0 < validation_split < 1:
                raise ParameterError(f"fit: expected validation_split to be in [0, 1), got {validation_split!r}")
            held = max(1, round(rows * validation_split))
            if held >= rows:
                raise ParameterError(f"fit: validation_split={validation_split} leaves no rows of {rows} to train on")
            order = self._random.permutation(rows)
            chosen, self._rows = np.sort(order[:held]), np.sort(order[held:])
            given = [weights for weights in self._weights.values() if weights is not None]
            if not all(weights[side].any() for weights in given for side in (chosen, self._rows)):
                raise DataError("fit: expected rows of positive weight on both sides of validation_split, got zeros only on "
                                "one; hold rows out yourself (validation_data)")  # fmt: skip
            self._evaluate_on(self._X, self._y, self._weights, chosen)
        self._weigh()

    def _weigh(self) -> None:
        """Rows that weigh nothing in any loss are absent."""
        weights = list(self._weights.values())
        if all(item is not None for item in weights):
            counted = [item.reshape(len(item), -1)[self._rows].any(axis=1) for item in weights if item is not None]
            self._rows = self._rows[np.logical_or.reduce(counted)]
        self._goals = goals_of(self.network, self._timed, self._y, self._weights, self._rows)

    def _validate_on(self, X: Any, y: Any, sample_weight: Any = None) -> None:
        X, out_shape = to_inputs(X, inputs_of(self.model, X), "fit", "validation X"), self.network.out_shape
        check_row_shape(X, self.network.in_shape, "fit", "validation X")
        check_finite(X, "validation X")
        self.network.check_input(X, "validation X")
        targets = targets_of(self.criterion, y, out_shape, count_of(X), "fit", "validation y", finite=True)
        weights = weights_of(self.criterion, sample_weight, out_shape, count_of(X), "validation sample_weight")
        weights = without_padding(self.network, self.criterion, X, weights, python=self._python, name="validation X")
        self._evaluate_on(X, targets, weights)

    def _evaluate_on(
        self, X: Any, y: dict[str, NDArray[Any]], weights: dict[str, NDArray[Any] | None],
        chosen: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        """Evaluate on these rows after every epoch, with threads where there is work for them (a million multiplications)."""
        rows = count_of(y) if chosen is None else len(chosen)
        shards = max(1, min(self._threads, rows * self.network.work() // 1_000_000))
        self._evaluator = Evaluator(self.network, self.criterion, X, y, weights, chosen=chosen, shards=shards,
                                    python=self._python, predictions=any(self._metrics.values()))  # fmt: skip

    # ------------------------------------------------------------------------------- what each kind of training does

    _workers: int  # threads that it can use
    _stops: list[tuple[Callback, int]]  # callbacks that are called after so many steps
    _gradient: NDArray[Any] | None = None  # where that is another one than the network's

    def _count(self, epochs: int | None, batch_size: int | None, accumulate: int) -> int:
        """How many epochs there are at most; and keep in mind what is said of batches."""
        raise NotImplementedError

    def _plan(self) -> None:
        """Layers, loss and optimizer -> programs."""
        raise NotImplementedError

    def _run_block(self, team: Team) -> None:
        """Train on, until there is something to look at."""
        raise NotImplementedError

    @property
    def _moments(self) -> dict[str, NDArray[Any]]:
        """What the optimizer keeps from step to step, live."""
        raise NotImplementedError

    def _place(self) -> dict[str, Any]:
        """What else of a `Snapshot` is of this kind of training: where the optimizer is, and where it is within an epoch."""
        raise NotImplementedError

    def _take_place(self, before: Snapshot) -> None:
        """Be there."""
        raise NotImplementedError

    @property
    def batch_size(self) -> int:
        """Rows of a step."""
        raise NotImplementedError

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        raise NotImplementedError

    @property
    def updater_progress(self) -> UpdaterProgress | None:
        """How far the optimizer has come, for another fit to go on from."""
        return None

    @property
    def _own_figures(self) -> tuple[str, ...]:
        """What is noted after each epoch beside the losses."""
        raise NotImplementedError

    def _measuring(self) -> AbstractContextManager[None]:
        """What is measured meanwhile stands in the net."""
        return nullcontext()

    def _observe(self, figures: dict[str, float]) -> None:
        """Take note of what was measured."""

    def _settle(self) -> None:
        """Let the net have the numbers that it ends with."""

    # --------------------------------------------------------------------------------------------------- running

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked to stop."""
        return bool(self._stopping)

    def stop(self, reason: str) -> None:
        """End training after this epoch (after this step, where a callback says so after a step)."""
        self._stopping = self._stopping or reason

    def run(self) -> History:
        """Train; return the history. Signals come in between two slices of steps, and while code of others runs."""
        self.model.last_fit = {"loss": self.criterion.given, "optimizer": self._optimizer, "epochs": self.epochs,
                               "batch_size": self.batch_size, "shuffle": bool(self._shuffle)}  # fmt: skip
        if len(self._goals) > 1:
            self.model.last_fit["loss_weights"] = self.criterion.factors
        with uninterrupted:
            with self._progress.preparing():
                if self._resumed is None:
                    begin_from_data(self.network, self._X, self._rows, python=self._python)
                self._call("on_fit_begin")
                if self._resumed is not None:
                    self._go_on(self._resumed)
            try:
                with Team(self._workers) as team, self._progress.begin(self.step):
                    while self.epoch < self.epochs and not self._stopping:
                        self._run_block(team)
                    self._progress.update(self.step, self.history, last=True)
                check_parameters(self.network, self.epochs - 1, self.step - 1)
                check()
            except KeyboardInterrupt as interrupt:
                self.failure = interrupt
                self.stop("interrupted")
            except BaseException as error:
                self.failure = error
                self.stop(f"failed: {type(error).__name__}")
                if isinstance(error, NonFiniteError):
                    error.history = self.history
                self._end()
                raise
            self._end()
        return self.history

    def _end(self) -> None:
        """Close the history and let the callbacks clean up, however training has ended, and each whatever another one does."""
        self.history.stopped = self._stopping or "finished"
        self._clock()
        self.model.last_fit |= {"loss": self._timed.now().given}
        if self.failure is None or isinstance(self.failure, KeyboardInterrupt):
            self._settle()
        with ExitStack() as calls:
            calls.callback(self._clock)
            calls.callback(self._confuse)
            for callback in reversed(self._callbacks):
                calls.callback(self._call, "on_fit_end", [callback])

    def _confuse(self) -> None:
        """Note which classes the net takes for which, as it is now; predictions are there where metrics were asked for."""
        if not self._metrics.get("") or not self.history.epochs or self.failure is not None:
            return
        evaluator = self._evaluator or self._training_evaluator()
        evaluator.run()
        table = confusion(evaluator.y[""], evaluator.prediction, self.criterion.losses[""], evaluator.sample_weight[""])
        self.history.confusion = None if table is None else table.tolist()

    def _clock(self) -> None:
        """Note steps and seconds."""
        history, before = self.history, self._resumed
        compiling, seconds = statistics.seconds - self._compiling, time.perf_counter() - self._begin
        history.steps = self.step
        history.compile_seconds = compiling + (0.0 if before is None else before.history.compile_seconds)
        history.seconds = seconds - compiling + (0.0 if before is None else before.history.seconds)

    def _call(self, event: str, callbacks: Sequence[Callback] | None = None) -> None:
        if self._gradient is not None:
            self.network.gradient[:] = self._gradient
        for callback in self._callbacks if callbacks is None else callbacks:
            with interruptible() if callback.interruptible else uninterrupted:
                getattr(callback, event)(self)

    def _finish_epoch(self, team: Team, figures: dict[str, float]) -> None:
        """Record an epoch with these figures, and whatever is measured after it."""
        with self._measuring():
            figures = figures | self._measure(team)
            self.history.add(**figures)
            self._observe(figures)
            self._call("on_epoch_end", [callback for callback in self._callbacks if not callback.late])
        self._call("on_epoch_end", [callback for callback in self._callbacks if callback.late])
        self.epoch += 1

    def _call_after_step(self) -> None:
        """Call those who watch steps, and are to see this one."""
        if self._stops:
            self._call("on_batch_end", [callback for callback, interval in self._stops if self.step % interval == 0])

    def _measure(self, team: Team) -> dict[str, float]:
        """Validation loss and metrics."""
        figures: dict[str, float] = {}
        evaluator = self._evaluator
        if evaluator is not None:
            figures["val_loss"] = evaluator.run(team)
            figures |= {f"val_{name}_loss": value for name, value in evaluator.losses.items() if name}
        if any(self._metrics.values()):
            prefix = "val_" if evaluator is not None else ""
            if evaluator is None:
                evaluator = self._training_evaluator()
                evaluator.run()
            with interruptible():
                figures |= {prefix + name: value for name, value in evaluator.figures(self._metrics).items()}
        return figures

    @property
    def figures(self) -> dict[str, bool | None]:
        """The figures of an epoch by name, and whether the greater is the better; None where nobody says."""
        held = self._evaluator is not None
        own: dict[str, bool | None] = dict.fromkeys(self._own_figures)
        losses = {"loss": False, **own, **({"val_loss": False} if held else {})}
        losses |= {f"val_{name}_loss": False for name in self._goals if name and held}
        prefix = "val_" if held else ""
        return {**losses, **{f"{prefix}{output}{'_' * bool(output)}{name}": item.greater_is_better
                             for output, metrics in self._metrics.items() for name, item in metrics.items()}}  # fmt: skip

    def _training_evaluator(self) -> Evaluator:
        """Where metrics are asked for and nothing is held out, they are of the training data."""
        if not hasattr(self, "_on_training"):
            rows = None if len(self._rows) == count_of(self._X) else self._rows
            self._on_training = Evaluator(self.network, self.criterion, self._X, self._y, self._weights, chosen=rows,
                                          python=self._python, predictions=True)  # fmt: skip
        return self._on_training

    def sample(self, rows: int) -> tuple[Any, Any, Any]:
        """Some of the rows that are trained on, drawn at random but the same ones each time, for callbacks to look at.

        Parameters
        ----------
        rows : how many at most

        Returns
        -------
        X : (n, *in_shape), dense
        y : (n, ...), as given to the fit
        sample_weight : (n,), or None

        Of several inputs or outputs they are dicts of these.
        """
        count = min(rows, len(self._rows))
        return self._take(np.sort(np.random.default_rng(SAMPLING).choice(self._rows, count, replace=False)))

    def _take(self, chosen: NDArray[np.int64]) -> tuple[Any, Any, Any]:
        """These rows of the data, as `Pass` and `Criterion` take them."""
        y = {name: array[chosen] for name, array in self._y.items()}
        weights = {name: None if array is None else array[chosen] for name, array in self._weights.items()}
        return taken(self._X, chosen), y.get("", y), weights.get("", weights)

    # ----------------------------------------------------------------------------------------- stopping and going on

    def snapshot(self) -> Snapshot:
        """All that another fit needs to go on from here, to the same bits; for callbacks that come late."""
        self._clock()
        return Snapshot(
            network=self.network, last_fit=self.model.last_fit, settings=self._settings, step=self.step,
            stopping=self._stopping, begun=self._begun, history=self.history,
            noted=[callback.noted() for callback in self._callbacks if not callback.late], moments=self._moments,
            **self._place(),
        )  # fmt: skip

    def _go_on(self, before: Snapshot) -> None:
        """Be where another fit was, the model included, when it took the snapshot."""
        before.require(self._settings, self.network.frozen)
        self._random = before.generator("drawn")
        self.step, self._stopping = before.step, before.stopping
        self.epoch, within = divmod(before.step, self.steps_per_epoch)
        before.require_lengths(within, self.epoch, {name: len(moment) for name, moment in self._moments.items()})
        self.history = copy.deepcopy(before.history)
        with before.taken_over():
            for callback, noted in zip((item for item in self._callbacks if not item.late), before.noted, strict=True):
                callback.resume(noted)
            self.network.take_over(before.network)
            self._take_place(before)

    @lazy
    def _settings(self) -> dict[str, Any]:
        """What has to be the same for a fit to go on: the net, the data (some rows of them), and how they are trained on."""
        evaluator, model = self._evaluator, self.model
        return {
            "model": spelt(model), "dtype": self.network.dtype, "loss": spelt(self.criterion.given),
            "loss_weights": spelt(self.criterion.factors), "optimizer": spelt(self._optimizer),
            "batch_size": self.batch_size, "shuffle": bool(self._shuffle),
            "metrics": [name for metrics in self._metrics.values() for name in metrics],
            "callbacks": [type(callback).__name__ for callback in self._callbacks if not callback.late],
            "X": digest(self._X), "y": digest(self._y), "sample_weight": digest(self._weights),
            "validation": [] if evaluator is None else [digest(evaluator.y), digest(evaluator.sample_weight)],
        }  # fmt: skip
