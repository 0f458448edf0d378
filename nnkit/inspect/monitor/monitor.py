"""Monitor: how each layer of a net learns, epoch by epoch, and a word of warning where one does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.callback import Callback
from nnkit.core.registry import register
from nnkit.errors import NonFiniteError, NotBuiltError, ParameterError, TrainingWarning, warn

if TYPE_CHECKING:
    from nnkit.core.training import RunningFit
    from nnkit.inspect.monitor.look import Look
    from nnkit.inspect.monitor.observer import Observer
    from nnkit.inspect.pictures.table import Table

__all__ = ["Monitor"]

LEGEND = (
    "mean, std: of the output; delta: RMS of the loss's gradient by the output",
    "dead: units whose slope is 0 for all rows; flat: numbers whose slope is below 1 %",
    "grad/w: |gradient| / |w|; step/w: |change by the next step| / |w|, 1e-3 is usual",
)
FIGURES = {
    **dict.fromkeys(("mean", "std", "delta", "units", "dead", "saturated"), "layers"),
    **dict.fromkeys(("gradient", "update"), "parameters"),
}
PANELS = {"std": "spread of the outputs", "delta": "delta (RMS)", "gradient": "|gradient| / |w|", "update": "|update| / |w|"}


@register("monitor")
class Monitor(Callback):
    """Watch how each layer learns: activations, dead and saturated units, delta, gradients and updates; warn where it does not.

    Before training and after every ``every`` epochs some training rows, always the same, run through a copy of the net,
    forward and backward. Training goes on as if nobody had looked, to the bit. ``print(monitor)`` shows the last look as a
    table, `plot` all of them, and ``looks`` holds the numbers.

    A `TrainingWarning` says in plain words, once for each layer and cause: units that are dead, functions that are saturated,
    delta that vanishes or explodes, weights that move wildly or not at all, a loss that does not fall, input that is not
    scaled, and, after numbers that were not finite, what had grown.

    Parameters
    ----------
    every : int >= 1, epochs between two looks
    rows : int >= 1, how many rows are looked at; fewer where their activations would take more than 256 MB

    Attributes
    ----------
    looks : list of Look, the first one before training
    warned : what has been warned of, by cause and layer

    Examples
    --------
    >>> import nnkit as nn, numpy as np
    >>> X = np.random.default_rng(0).standard_normal((200, 5))
    >>> model = nn.Sequential([nn.Linear(16), nn.ReLU(), nn.Linear(1)])
    >>> monitor = nn.Monitor()
    >>> history = model.fit(X, X[:, :1], epochs=3, random_state=0, callbacks=[monitor])
    >>> [look.epoch for look in monitor.looks]
    [0, 1, 2, 3]
    >>> monitor.looks[-1].layers["layer 1, ReLU()"].dead
    0
    >>> monitor.series("delta")["layer 0, Linear(out_features=16)"].shape
    (4,)

    References
    ----------
    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks": activations and
    gradients by layer. Karpathy, notes for CS231n, "Neural networks part 3": the ratio of updates to weights.
    """

    acts_outside = False
    looks: Sequence[Look] = ()
    warned: dict[str, str]
    _observer: Observer | None = None

    def __init__(self, *, every: int = 1, rows: int = 256) -> None:
        self.every = every
        self.rows = rows
        self.require_size("every")
        self.require_size("rows")

    # ------------------------------------------------------------------------------------------------ as a callback

    def on_fit_begin(self, fit: RunningFit) -> None:
        from nnkit.inspect.monitor.observer import Observer

        self._observer = Observer(fit, self.rows)
        self.looks, self.warned = [self._observer.look(fit, 0)], {}

    def on_epoch_end(self, fit: RunningFit) -> None:
        epoch = fit.epoch + 1
        if epoch % self.every == 0 or epoch == fit.epochs:
            self._look(fit, epoch)
            self._judge()

    def on_fit_end(self, fit: RunningFit) -> None:
        try:
            if isinstance(fit.failure, NonFiniteError):
                from nnkit.inspect.monitor.symptoms import what_grew

                self._look(fit, fit.epoch)
                self._warn("not_finite", "", what_grew(self.looks))
        finally:
            self._observer = None

    def _look(self, fit: RunningFit, epoch: int) -> None:
        assert self._observer is not None
        self.looks = [*self.looks, self._observer.look(fit, epoch)]

    def _judge(self) -> None:
        from nnkit.inspect.monitor.symptoms import SYMPTOMS

        for symptom in SYMPTOMS:
            for who, what in symptom(self.looks):
                self._warn(symptom.__name__, who, what)

    def _warn(self, cause: str, who: str, what: str) -> None:
        """Once for each layer and cause."""
        key, message = f"{cause} {who}".strip(), f"{who}: {what}" if who else what
        if key not in self.warned:
            self.warned[key] = message
            warn(message, TrainingWarning)

    def noted(self) -> dict[str, Any]:
        return {"looks": [look.record() for look in self.looks], "warned": self.warned}

    def resume(self, noted: dict[str, Any]) -> None:
        from nnkit.inspect.monitor.look import Look

        try:
            looks, warned = [Look.of(record) for record in noted["looks"]], dict(noted["warned"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ParameterError(f"{self!r}: expected what such a callback has noted, got something else") from error
        messages = {type(item) for item in (*warned, *warned.values())} <= {str}
        if not looks or not messages or any(look.what() != self.looks[0].what() for look in looks):
            raise ParameterError(f"{self!r}: expected what such a callback has noted of this net, got something else")
        self.looks, self.warned = looks, warned

    # ------------------------------------------------------------------------------------------------- looking at it

    def series(self, figure: str) -> dict[str, NDArray[np.float64]]:
        """One figure of all looks.

        Parameters
        ----------
        figure : "mean", "std", "delta", "units", "dead" or "saturated" by layer, "gradient" or "update" by parameter

        Returns
        -------
        dict of (looks,) arrays

        Raises
        ------
        ParameterError
            There is no such figure.
        """
        if figure not in FIGURES:
            raise ParameterError(f"Monitor.series: expected one of {', '.join(map(repr, FIGURES))}, got {figure!r}")
        of_looks = [getattr(look, FIGURES[figure]) for look in self.looks]
        names = of_looks[0] if of_looks else {}
        return {name: np.array([getattr(items[name], figure) for items in of_looks], float) for name in names}

    def _table(self) -> Table:
        """The last look."""
        from nnkit.inspect.pictures.table import Table, number

        def shown(value: float, form: str = "") -> str:
            return "" if value != value else format(value, form) if form else number(value, 2)

        look = self.looks[-1]
        rows, left = [], dict(look.parameters)  # a layer that is used again shows its parameters at its first place
        for name, layer in look.layers.items():
            dead = f"{layer.dead}/{layer.units}" if layer.units else ""
            flat = shown(layer.saturated, ".0%")
            figures = [shown(layer.mean), shown(layer.std), dead, flat, shown(layer.delta)]
            rows.append([_plain(name), *figures, "", ""])
            for parameter in [item for item in left if item.rpartition(".")[0] == layer.home]:
                seen = left.pop(parameter)
                ratios = [shown(seen.gradient), shown(seen.update)]
                rows.append([f"  .{parameter.rpartition('.')[2]}", "", "", "", "", "", *ratios])
        headers = ["layer", "mean", "std", "dead", "flat", "delta", "grad/w", "step/w"]
        title = f"After epoch {look.epoch}, step {look.step}: {look.rows} rows, loss {look.loss:.4g}"
        return Table(title, headers, rows, notes=[*LEGEND, *(f"! {message}" for message in self.warned.values())])

    def __str__(self) -> str:
        return str(self._table()) if self.looks else repr(self)

    def _repr_html_(self) -> str:
        from html import escape

        return self._table()._repr_html_() if self.looks else escape(repr(self))

    def plot(self, ax: Any = None) -> Any:
        """Draw how the layers have learned: for each, one row of colours over the epochs in each of four panels.

        The panels are the spread (standard deviation) of the outputs, delta (RMS), and the ratios of gradients and of updates
        to their parameters, all as powers of ten; white is zero, or nothing to show.

        Parameters
        ----------
        ax : matplotlib's Axes to draw into, optional; several for as many panels, one for the first

        Returns
        -------
        array of Axes

        Raises
        ------
        MissingLibraryError
            Matplotlib is not installed.
        NotBuiltError
            Nothing has been looked at yet.
        """
        if not self.looks:
            raise NotBuiltError("Monitor.plot: expected a monitor that has watched a fit; give it to one, callbacks=[monitor]")
        from nnkit.inspect.pictures.learning import plot_layers

        panels = {title: {_plain(name): values for name, values in self.series(figure).items()}
                  for figure, title in PANELS.items()}  # fmt: skip
        return plot_layers(panels, [look.epoch for look in self.looks], ax)


def _plain(name: str) -> str:
    """A layer as `Sequential.summary` has it: "3 Linear(out_features=10)"; errors and looks have "layer 3, Linear(...)"."""
    return name.removeprefix("layer ").replace(", ", " ", 1)
