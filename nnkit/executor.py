"""What runs a built network for a model: predictions, evaluation, passes by hand, and steps of optimizers."""

from __future__ import annotations

import copy
import weakref
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnkit.core.arrays import numeric
from nnkit.core.calls import brief, same
from nnkit.core.criterion import Criterion
from nnkit.core.fields import by_name, each, fields
from nnkit.core.optimizer import Optimizer, Updater
from nnkit.core.schedule import Schedule
from nnkit.engine.critical import imported
from nnkit.engine.exclusive import Exclusive
from nnkit.engine.workers import Team
from nnkit.errors import DataError, NotBuiltError, ParameterError, ShapeError
from nnkit.metrics import metrics_of
from nnkit.network import Network
from nnkit.passes import BLOCK, BulkPredictor, Evaluator, Pass, Predictor, prediction_shards, predictor_of
from nnkit.training.data import check_row_shape, count_of, is_sparse, to_inputs
from nnkit.training.goals import targets_of, weights_of
from nnkit.training.padding import without_padding

if TYPE_CHECKING:
    from nnkit.native import RowFunction

__all__ = ["Executor"]


class _Stepper(NamedTuple):
    """An optimizer that a model is stepped with by hand, as it was set when its programs were made."""

    optimizer: weakref.ref[Optimizer]  # as it goes, so does this
    settings: dict[str, Any]
    frozen: frozenset[str]
    updater: Updater  # of a copy

    def is_set_as(self, optimizer: Optimizer, frozen: frozenset[str]) -> bool:
        """Whether the optimizer has the settings of then; the rate may be another in each step."""
        then, now = self.settings, vars(optimizer)
        if len(then) == len(now) and all(map(is_, then.values(), now.values())):  # as nearly always
            return self.frozen == frozen
        alike = all(now[name] is then.get(name) or name == "lr" or same(then.get(name), now[name]) for name in now)
        return alike and self.frozen == frozen


class Executor:
    """Runs a network, and keeps the programs that it has made for it: who builds a model again gets another one.

    Its methods are those of `nnkit.Sequential`, which say what they take and give.

    Attributes
    ----------
    network : what it runs
    idle : predictors that nobody is using: one for each call in flight
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.idle: list[Predictor] = []
        self._passes: dict[bool, Pass] = {}  # of evaluation and of training
        self._last: Pass | None = None
        self._frozen = network.frozen  # for which the passes were made
        self._steppers: dict[int, _Stepper] = {}
        self._functions: dict[bool, RowFunction] = {}
        self._by_hand = Exclusive("a model")

    def _check_rows(self, X: Any, what: str) -> Any:
        """``X`` as rows that fit the network: an array, or a CSR matrix."""
        in_shape = self.network.in_shape
        rows = to_inputs(X, tuple(in_shape) if isinstance(in_shape, dict) else (), f"Sequential.{what}")
        check_row_shape(rows, self.network.in_shape, f"Sequential.{what}")
        self.network.check_input(rows, "X")
        return rows

    # ---------------------------------------------------------------------------------------------- in evaluation mode

    @brief
    def predict(self, X: Any, n_threads: int | None = None, predictor: Predictor | None = None) -> Any:
        """The outputs; ``predictor`` is one that is idle, but may not fit. What has run is then idle."""
        network, rows = self.network, self._check_rows(X, "predict")
        count = count_of(rows)
        if count > BLOCK or any(map(is_sparse, fields(rows).values())):
            out = each(lambda shape: np.empty((count, *shape), network.dtype), network.out_shape)
            shards = prediction_shards(network, count, n_threads)
            every = BulkPredictor(network, rows, out, shards)
            with Team(shards) as team:
                every.run(team)
        else:
            if predictor is None or predictor.rows < count:
                predictor = predictor_of(network, min(BLOCK, 1 << (count - 1).bit_length()))
            out = predictor(rows)
        if predictor is not None:
            self.idle.append(predictor)
        return out

    def evaluate(
        self, X: Any, y: Any, loss: Any, loss_weights: Any, sample_weight: Any, n_threads: int | None, metrics: Any
    ) -> float | dict[str, float]:
        """The loss on data, and metrics where they are asked for."""
        network, rows = self.network, self._check_rows(X, "evaluate")
        who, out_shape, count = "Sequential.evaluate", network.out_shape, count_of(rows)
        asked = None if metrics is None else metrics_of(metrics, out_shape, who)
        criterion = Criterion.make(loss, loss_weights, out_shape, who)
        targets = targets_of(criterion, y, out_shape, count, who)
        weights = without_padding(network, criterion, rows, weights_of(criterion, sample_weight, out_shape, count))
        shards = prediction_shards(network, count, n_threads)
        kept = asked is not None and any(asked.values())
        evaluator = Evaluator(network, criterion, rows, targets, weights, shards=shards, predictions=kept)
        with Team(shards) as team:
            value = evaluator.run(team)
        if asked is None:
            return value
        each_loss = {f"{name}_loss": item for name, item in evaluator.losses.items() if name}
        return {"loss": value, **each_loss, **evaluator.figures(asked)}

    def function(self, gradient: bool) -> RowFunction:
        """The net as a function of one row."""
        if gradient not in self._functions:
            self._functions.setdefault(gradient, imported("nnkit.native").RowFunction(self.network, gradient))
        return self._functions[gradient]

    # --------------------------------------------------------------------------------------------------------- by hand

    def forward(self, x: Any, training: bool) -> Any:
        """Output of one batch, remembered for `backward`."""
        network, batch = self.network, self._check_rows(x, "forward")
        if any(map(is_sparse, fields(batch).values())):
            raise DataError("Sequential.forward: expected dense rows, got a sparse matrix; pass x.toarray()")
        rows = count_of(batch)
        with self._by_hand.by("Sequential.forward"):
            if self._frozen != network.frozen:
                self._passes, self._frozen = {}, network.frozen
            last = self._passes.get(training)
            if last is None or last.rows < rows:
                last = self._passes[training] = Pass(network, rows, training=training, gradient=network.gradient)
            self._last = None  # nothing to go back through, should this fail
            network.step += training
            out = last.forward(batch, step=network.step, seed=network.seed)
            self._last = last
            return out

    def backward(self, grad_out: Any, accumulate: bool) -> Any:
        """Gradients of the last batch: the parameters' are written, or added to what is there, the input's is returned."""
        with self._by_hand.by("Sequential.backward"):
            if self._last is None:
                raise NotBuiltError("Sequential.backward: expected a forward pass before it, got none")
            out_shape, rows = self.network.out_shape, self._last.current_rows
            names = tuple(out_shape) if isinstance(out_shape, dict) else ()
            grad = each(lambda array: numeric(array, "grad_out"), by_name(grad_out, names, "Sequential.backward", "grad_out"))
            for name, shape in fields(out_shape).items():
                if fields(grad)[name].shape != (rows, *shape):
                    which, came = f" {name}" if name else "", fields(grad)[name].shape
                    raise ShapeError(f"Sequential.backward: expected grad_out of shape {(rows, *shape)}, as the output{which}, "
                                     f"got {came}")  # fmt: skip
            before = self.network.gradient.copy() if accumulate else None
            grad_x = self._last.backward(grad)
            if before is not None:
                self.network.gradient += before
            return grad_x

    def update(self, optimizer: Optimizer, epoch: float | None, epochs: float) -> None:
        """One step of the optimizer from the present gradients; its state belongs to this network."""
        network = self.network
        if not isinstance(optimizer, Optimizer):
            raise ParameterError(f"Sequential.update: expected an optimizer that goes by steps, such as nn.Adam(), got "
                                 f"{optimizer!r}; trainers of all rows at once, such as nn.LBFGS(), are for fit")  # fmt: skip
        with self._by_hand.by("Sequential.update"):
            known = self._steppers.get(id(optimizer))
            if known is None or not known.is_set_as(optimizer, network.frozen):
                settings = {name: copy.deepcopy(value) if isinstance(value, list | dict | np.ndarray) else value
                            for name, value in vars(optimizer).items()}  # fmt: skip
                updater = Updater(
                    copy.copy(optimizer), network.vector, network.gradient[None], chunk=network.chunk,
                    segments=network.segments(), live=network.live(),
                )  # fmt: skip
                if known is not None:
                    updater.take_over(known.updater.progress)
                known = self._steppers[id(optimizer)] = _Stepper(self._forgetting(optimizer), settings, network.frozen, updater)
            known.updater.optimizer.lr = optimizer.lr
            if isinstance(optimizer.schedule, Schedule):  # itself, as who steps tells it the losses
                known.updater.schedule = optimizer.schedule
            known.updater.step(epoch, epochs)

    def _forgetting(self, optimizer: Optimizer) -> weakref.ref[Optimizer]:
        """A reference that ends an optimizer's stepper with it."""
        me, key = weakref.ref(self), id(optimizer)

        def forget(_: Any) -> None:
            executor = me()
            if executor is not None:
                executor._steppers.pop(key, None)

        return weakref.ref(optimizer, forget)
