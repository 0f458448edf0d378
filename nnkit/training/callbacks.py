"""Callbacks that come with nnkit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.callback import Callback
from nnkit.core.calls import nearest
from nnkit.core.container import Model, model_of
from nnkit.core.registry import register
from nnkit.core.training import RunningFit
from nnkit.errors import ParameterError, ShapeError
from nnkit.network import Network, network_of
from nnkit.training.averaging import Mean

__all__ = ["EMA", "SWA", "EarlyStopping", "LambdaCallback"]


def monitored(callback: Callback, monitor: str | None, fit: RunningFit) -> tuple[str, bool | None]:
    """The figure of an epoch that a callback looks at, by default val_loss where there is one, and whether it is to rise.

    Raises
    ------
    ParameterError
        Nothing is measured under that name.
    """
    figures = fit.figures
    name = monitor or ("val_loss" if "val_loss" in figures else "loss")
    if name not in figures:
        near = nearest(name, figures)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ParameterError(f"{callback!r}: expected monitor to be one of {', '.join(figures)}, got {name!r}{hint}")
    return name, figures[name]


@register("early_stopping")
class EarlyStopping(Callback):
    """Stop when a figure has not improved for some epochs, and go back to the parameters of the best one.

    By hand, `update` is told the figure of each epoch and says whether to stop, and `restore` goes back.

    Parameters
    ----------
    monitor : "val_loss", "loss" or the name of a metric; by default val_loss where there is one, else loss
    patience : int >= 0, epochs to wait for an improvement
    min_delta : float >= 0, the least improvement that counts
    mode : "min", "max" or "auto": losses are to fall, metrics what their ``greater_is_better`` says
    restore_best : go back to the parameters of the best epoch, also when training ends for another reason
    keep : "best" goes back to the first of several epochs that are equally good, "last_best" to the last of them
    stop : False never ends training, but for going back to the best epoch at its end

    Raises
    ------
    ParameterError
        As training begins: nothing is measured under the name ``monitor``; or ``mode`` is needed, as a metric does not say
        whether it is to rise.

    Examples
    --------
    >>> import nnkit as nn
    >>> nn.EarlyStopping(patience=5)
    EarlyStopping(patience=5)
    >>> model, stopping = nn.Sequential(["linear"]).build((1,)), nn.EarlyStopping(patience=1)
    >>> [stopping.update(model, val_loss) for val_loss in (3.0, 2.0, 2.5, 2.25)]
    [False, False, False, True]
    >>> stopping.restore(model)  # the number of the best epoch
    1

    References
    ----------
    Prechelt 1998, "Early stopping - but when?".
    """

    elsewhere = ("monitor", "min_delta", "patience", "verbose", "mode", "baseline", "restore_best")
    acts_outside = False
    interruptible = False  # it copies all parameters

    _updates: int | None = None  # by hand

    def __init__(
        self,
        monitor: str | None = None,
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
        keep: str = "best",
        stop: bool = True,
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.restore_best = restore_best
        self.keep = keep
        self.stop = stop
        self.require("keep", keep in ("best", "last_best"), "'best' or 'last_best'")
        self.require("monitor", monitor is None or isinstance(monitor, str), "the name of a figure, such as 'val_loss'")
        self.require_size("patience", 0)
        self.require_number("min_delta", 0.0)
        self.require("mode", mode in ("auto", "min", "max"), "'auto', 'min' or 'max'")

    def on_fit_begin(self, fit: RunningFit) -> None:
        self._name, rises = monitored(self, self.monitor, fit)
        if rises is None and self.mode == "auto":
            raise ParameterError(f"{self!r}: expected mode='min' or mode='max', as {self._name} does not say whether the "
                                 "greater is the better (Metric.greater_is_better)")  # fmt: skip
        self._begin(fit.network, bool(self.mode == "max" or (self.mode == "auto" and rises)))
        self._updates = None

    def _begin(self, network: Network, rises: bool) -> None:
        self._rises = rises
        self._best = self._figure = np.inf  # the best one, and that of the epoch that is kept; negative where they rise
        self._waited = 0
        self._epoch: int | None = None
        self._kept: NDArray[Any] | None = None
        self._states: dict[str, NDArray[Any]] = {}
        self._shapes = network.vector.shape, {key: state.shape for key, state in network.states().items()}

    def noted(self) -> dict[str, Any]:
        return {name: getattr(self, f"_{name}") for name in ("best", "figure", "waited", "epoch", "kept", "states")}

    def resume(self, noted: dict[str, Any]) -> None:
        vector, states = self._shapes
        match noted:
            case {"best": float(), "figure": float(), "waited": int(waited), "epoch": None, "kept": None, "states": {}}:
                fits = waited >= 0 and not noted["states"]
            case {"best": float(), "figure": float(), "waited": int(waited), "epoch": int(epoch), "kept": kept,
                  "states": dict(copies)}:  # fmt: skip
                shapes = _shape(kept), {key: _shape(state) for key, state in copies.items()}
                fits = min(waited, epoch) >= 0 and (kept is None or shapes == (vector, states))
            case _:
                fits = False
        if not fits or len(noted) != 6:
            raise ParameterError(f"{self!r}: expected what such a callback has noted in a fit of this net, got something else")
        vars(self).update({f"_{name}": value for name, value in noted.items()})

    def on_epoch_end(self, fit: RunningFit) -> None:
        if self._take(fit.network, fit.epoch, fit.history.last()[self._name]):
            fit.stop(f"{self._name} has not improved for {self._waited} epochs")

    def on_fit_end(self, fit: RunningFit) -> None:
        if self._kept is not None:
            self._go_back(fit.network)
            fit.history.best_epoch = self._epoch

    def _take(self, network: Network, epoch: int, value: float) -> bool:
        """Note the figure of an epoch, and its parameters where it is the best; whether it is time to stop."""
        value = -value if self._rises else value
        improved = value < self._best - self.min_delta  # never where it is NaN
        if improved or (self.keep == "last_best" and self._epoch is not None and value <= self._figure):
            self._epoch, self._figure = epoch, value
            if self.restore_best:
                self._kept = network.vector.copy()
                self._states = {key: state.copy() for key, state in network.states().items()}
        if improved:
            self._best = value
        self._waited = 0 if improved else self._waited + 1
        return self.stop and self._waited > self.patience

    def _go_back(self, network: Network) -> None:
        network.vector[:] = self._kept
        for key, state in network.states().items():
            state[...] = self._states[key]

    def update(self, model: Model, value: float) -> bool:
        """By hand: take note of the figure of an epoch; returns whether it is time to stop.

        The first call begins; ``mode="auto"`` is for losses.

        Raises
        ------
        ParameterError, NotBuiltError, ShapeError
            ``mode`` is needed; the model has no parameters yet, or others than at the last call.
        """
        network = self._network_of(model, "update")
        if self._updates is None:
            known = self.mode != "auto" or (self.monitor or "loss").endswith("loss")
            self.require("mode", known, "'min' or 'max', by hand, for anything but a loss")
            self._begin(network, self.mode == "max")
        self._require_alike(network, "update")
        epoch = self._updates or 0
        self._updates = epoch + 1
        return self._take(network, epoch, float(value))

    def restore(self, model: Model) -> int | None:
        """By hand: go back to the parameters of the best epoch; returns its number, from 0, or None where none was good."""
        network = self._network_of(model, "restore")
        if self._updates is None or self._kept is None:
            return None
        self._require_alike(network, "restore")
        self._go_back(network)
        return self._epoch

    def _network_of(self, model: Model, method: str) -> Network:
        who = f"{type(self).__name__}.{method}"
        return network_of(model_of(model, who), who)

    def _require_alike(self, network: Network, method: str) -> None:
        if self._shapes != (network.vector.shape, {key: state.shape for key, state in network.states().items()}):
            raise ShapeError(f"{type(self).__name__}.{method}: expected the model of the calls before, got one with other "
                             "parameters; make one for each model")  # fmt: skip


def _shape(array: Any) -> tuple[int, ...] | None:
    """The shape of an array of numbers; None where it is none."""
    return array.shape if isinstance(array, np.ndarray) and array.dtype.kind in "biuf" else None


@register("lambda")
class LambdaCallback(Callback):
    """Calls ``function(fit)`` after every epoch.

    Examples
    --------
    >>> import nnkit as nn
    >>> seen = []
    >>> history = nn.Sequential(["linear"]).fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=2,
    ...     callbacks=[nn.LambdaCallback(lambda fit: seen.append(fit.epoch))])
    >>> seen
    [0, 1]
    """

    def __init__(self, function: Any = None) -> None:
        self.function = function

    def on_epoch_end(self, fit: RunningFit) -> None:
        if self.function is not None:
            self.function(fit)


@register("ema")
class EMA(Mean):
    """Keep an exponential moving average of the parameters; it is what is validated, and what the net is after the fit.

    a <- decay a + (1 - decay) w after every step, beginning with the parameters after the first. It is computed in the compiled
    loop, and callbacks see it after an epoch; training goes on from w. By hand, `update` does one step of it, and `averaged`
    gives a model with it.

    Parameters
    ----------
    decay : float in [0, 1)

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential(["linear"])
    >>> history = model.fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=3, callbacks=[nn.EMA(0.9)])
    >>> average = nn.EMA(0.9)
    >>> for weight in (1.0, 2.0):  # by hand: where steps of an optimizer would be
    ...     model.parameters()["0.weight"][...] = weight
    ...     average.update(model)
    >>> average.averaged(model).parameters()["0.weight"]
    array([[1.1]], dtype=float32)

    References
    ----------
    Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; as in torch.optim.swa_utils.
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay
        self.require_number("decay", 0.0, 1.0, below=True)

    def shares(
        self, begin: NDArray[np.float64], end: NDArray[np.float64], epochs: float
    ) -> NDArray[np.float64]:
        return np.where(begin == 0.0, 1.0, 1.0 - self.decay)


@register("swa")
class SWA(Mean):
    """Keep the mean of the parameters at the ends of the last epochs; it is what is validated, and the net after the fit.

    Running statistics of batch norm are computed anew for it, from the training data. By hand, each call of `update` counts as
    an epoch, the first one as that with which the mean begins; `averaged` gives a model with it, and with ``batches`` computes
    the statistics.

    Parameters
    ----------
    start : float in [0, 1), the part of training that is over before the mean begins
    every : int >= 1, epochs from one to the next that counts

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> model = nn.Sequential(["linear"])
    >>> history = model.fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=8, callbacks=[nn.SWA(start=0.5)])
    >>> average = nn.SWA()
    >>> for weight in (1.0, 2.0, 6.0):  # by hand: at the ends of epochs
    ...     model.parameters()["0.weight"][...] = weight
    ...     average.update(model)
    >>> average.averaged(model, batches=[np.ones((2, 1))]).parameters()["0.weight"]
    array([[3.]], dtype=float32)

    References
    ----------
    Izmailov, Podoprikhin, Garipov, Vetrov and Wilson 2018, "Averaging weights leads to wider optima and better
    generalization", algorithm 1; as in torch.optim.swa_utils.
    """

    anew = True

    def __init__(self, start: float = 0.75, *, every: int = 1) -> None:
        self.start = start
        self.every = every
        self.require_number("start", 0.0, 1.0, below=True)
        self.require_size("every")

    def shares(
        self, begin: NDArray[np.float64], end: NDArray[np.float64], epochs: float
    ) -> NDArray[np.float64]:
        ended, before = (np.floor(time * (1 + 4 * np.finfo(np.float64).eps)) for time in (end, begin))
        later = ended - np.floor(self.start * epochs) - 1.0  # epochs since the first one that counts
        counts = (ended > before) & (later >= 0.0) & (later % self.every == 0.0)
        return np.where(counts, self.every / (np.maximum(later, 0.0) + self.every), 0.0)
