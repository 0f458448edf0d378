"""Callbacks that come with nnkit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.callback import Callback
from nnkit.core.calls import nearest
from nnkit.core.registry import register
from nnkit.core.training import RunningFit
from nnkit.errors import ParameterError
from nnkit.training.averaging import Mean

__all__ = ["EMA", "SWA", "EarlyStopping", "LambdaCallback"]


@register("early_stopping")
class EarlyStopping(Callback):
    """Stop when a figure has not improved for some epochs, and go back to the parameters of the best one.

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

    References
    ----------
    Prechelt 1998, "Early stopping - but when?".
    """

    elsewhere = ("monitor", "min_delta", "patience", "verbose", "mode", "baseline", "restore_best")
    acts_outside = False
    interruptible = False  # it copies all parameters

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
        figures = fit.figures
        self._name = self.monitor or ("val_loss" if "val_loss" in figures else "loss")
        if self._name not in figures:
            near = nearest(self._name, figures)
            hint = f"; did you mean {near!r}?" if near else ""
            raise ParameterError(f"{self!r}: expected monitor to be one of {', '.join(figures)}, got {self._name!r}{hint}")
        rises = figures[self._name]
        if rises is None and self.mode == "auto":
            raise ParameterError(f"{self!r}: expected mode='min' or mode='max', as {self._name} does not say whether the "
                                 "greater is the better (Metric.greater_is_better)")  # fmt: skip
        self._rises = self.mode == "max" or (self.mode == "auto" and rises)
        self._best, self._waited = np.inf, 0
        self._epoch: int | None = None
        self._kept: NDArray[Any] | None = None
        self._states: dict[str, NDArray[Any]] = {}
        self._shapes = fit.network.vector.shape, {key: state.shape for key, state in fit.network.states().items()}

    def noted(self) -> dict[str, Any]:
        return {name: getattr(self, f"_{name}") for name in ("best", "waited", "epoch", "kept", "states")}

    def resume(self, noted: dict[str, Any]) -> None:
        vector, states = self._shapes
        match noted:
            case {"best": float(), "waited": int(waited), "epoch": None, "kept": None, "states": {}}:
                fits = waited >= 0 and not noted["states"]
            case {"best": float(), "waited": int(waited), "epoch": int(epoch), "kept": kept, "states": dict(copies)}:
                shapes = _shape(kept), {key: _shape(state) for key, state in copies.items()}
                fits = min(waited, epoch) >= 0 and (kept is None or shapes == (vector, states))
            case _:
                fits = False
        if not fits or len(noted) != 5:
            raise ParameterError(f"{self!r}: expected what such a callback has noted in a fit of this net, got something else")
        vars(self).update({f"_{name}": value for name, value in noted.items()})

    def on_epoch_end(self, fit: RunningFit) -> None:
        value = fit.history.last()[self._name]
        value = -value if self._rises else value
        improved = value < self._best - self.min_delta  # never where it is NaN
        if improved or (self.keep == "last_best" and self._is_as_good(fit)):
            self._epoch = fit.epoch
            if self.restore_best:
                self._kept = fit.network.vector.copy()
                self._states = {key: state.copy() for key, state in fit.network.states().items()}
        if improved:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self.stop and self._waited > self.patience:
            fit.stop(f"{self._name} has not improved for {self._waited} epochs")

    def _is_as_good(self, fit: RunningFit) -> bool:
        """Whether this epoch is at least as good as the one that is kept."""
        values = fit.history[self._name]
        return self._epoch is not None and (values[-1] - values[self._epoch]) * (-1 if self._rises else 1) <= 0

    def on_fit_end(self, fit: RunningFit) -> None:
        if self._kept is None:
            return
        fit.network.vector[:] = self._kept
        for key, state in fit.network.states().items():
            state[...] = self._states[key]
        fit.history.best_epoch = self._epoch


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
