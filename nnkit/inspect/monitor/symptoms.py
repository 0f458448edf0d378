"""How it shows that a net does not learn as it should: each symptom is one function of the looks, with plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nnkit.inspect.monitor.look import InputLook, LayerLook, Look

__all__ = ["SYMPTOMS", "Finding", "what_grew"]

Finding = tuple[str, str]  # who ("" for the whole net), and what is wrong with it

# Karpathy's notes for CS231n (Stanford, "Neural networks part 1") have 40 % of dead units as what a learning rate that is too
# high makes of a net. But deep and narrow nets that learn digits well were measured with 40 % in their last layers.
DEAD = 0.6
# Of the way from what standard normal z would have to all; tanh nets whose initial weights are 30 times too large are beyond.
SATURATED = 0.5
USUAL = 0.25  # functions that are flat for more of standard normal z than this, as rectifiers are, are meant to be
# From layer to layer delta may change by a factor of some units, and by a few tens where images or sequences are summed up.
DELTA = 1e4
# Karpathy (as above, "Neural networks part 3"): updates are to be about 1e-3 of the weights. 300 times as much forgets in three
# steps what was learned; below half the distance of two float32 numbers (6e-8) additions change nothing any more.
WILD, STILL = 0.3, 6e-8
SETTLED = 10  # steps, within which large ones bring small initial weights to their size
SMALL = 1e-3  # of all input numbers: three orders of magnitude below 1; rows of length 1 with 10 000 features are above
PATIENCE = 5  # epochs in which the loss has to fall
FALL = 1e-3  # by which part
GROWN = 10.0  # times the spread before training: that healthy layers grow by as well


def dead_units(looks: Sequence[Look]) -> Iterator[Finding]:
    """Units that no row reaches: their weights get no gradient, so nothing brings them back."""
    look = looks[-1]
    for name, layer in look.layers.items():
        if layer.units and layer.dead >= max(1, DEAD * layer.units):
            yield name, (
                f"{layer.dead} of {layer.units} units have slope 0 for all of {look.rows} rows and get no gradient any more; "
                "lower the learning rate, make the bias before it larger, or take LeakyReLU"
            )


def saturation(looks: Sequence[Look]) -> Iterator[Finding]:
    """Functions of which only the flat ends are used. The net's output is left out: there they mean that it is sure."""
    for name, layer in list(looks[-1].layers.items())[:-1]:
        if layer.ordinary < USUAL and layer.saturated > layer.ordinary + SATURATED * (1 - layer.ordinary):
            yield name, (
                f"{layer.saturated:.0%} of the numbers lie where the function is flat (slope below 1 % of its largest), so "
                "that hardly any gradient passes; scale the data, take smaller initial weights or a lower learning rate, or "
                "put BatchNorm1d or LayerNorm before it"
            )


def _deltas(look: Look) -> list[tuple[str, LayerLook]]:
    return [(name, layer) for name, layer in look.layers.items() if layer.delta == layer.delta]


def _is_cut(look: Look) -> bool:
    """Whether a layer without any living unit is in the way: that is said already."""
    return any(layer.units and layer.dead == layer.units for layer in look.layers.values())


def vanishing_delta(looks: Sequence[Look]) -> Iterator[Finding]:
    """The gradient is lost on its way back."""
    layers = _deltas(looks[-1])
    if layers and layers[0][1].delta * DELTA < layers[-1][1].delta and not _is_cut(looks[-1]):
        (first, low), (last, high) = layers[0], layers[-1]
        yield "", (
            f"delta vanishes on its way back: its RMS is {high.delta:.1e} at {last}, but {low.delta:.1e} at {first}, which "
            "hardly learns; take fewer layers, ReLU instead of sigmoid or tanh, BatchNorm1d or LayerNorm, or Residual around "
            "some layers"
        )


def exploding_delta(looks: Sequence[Look]) -> Iterator[Finding]:
    """The gradient grows on its way back."""
    layers = _deltas(looks[-1])
    if layers and layers[-1][1].delta * DELTA < layers[0][1].delta < np.inf:
        (first, high), (last, low) = layers[0], layers[-1]
        yield "", (
            f"delta explodes on its way back: its RMS is {low.delta:.1e} at {last}, but {high.delta:.1e} at {first}; take "
            "smaller initial weights, clip the gradient (clip_norm=1.0), or put BatchNorm1d or LayerNorm between"
        )


def wild_updates(looks: Sequence[Look]) -> Iterator[Finding]:
    """Each step throws away what the ones before have learned, at two looks in turn."""
    before, now = looks[-2:]
    updates = {name: item.update for name, item in now.parameters.items()
               if item.axes > 1 and min(item.update, before.parameters[name].update) > WILD}  # fmt: skip
    if updates and before.step >= SETTLED:
        name, update = max(updates.items(), key=lambda pair: pair[1])
        yield "", (
            f"weights move wildly: the next step would change {name!r} by {update:.1g} of its size, where 1e-3 is usual; lower "
            "the learning rate"
        )


def still_weights(looks: Sequence[Look]) -> Iterator[Finding]:
    """No step has been large enough to be seen."""
    updates = [item.update for look in looks for item in look.parameters.values() if item.axes > 1 and item.update >= 0]
    if looks[-1].step and updates and max(updates) < STILL and not _is_cut(looks[-1]):
        yield "", (
            f"weights hardly move: no step seen changes a layer's weights by more than {max(updates):.1g} of their size, where "
            "1e-3 is usual; raise the learning rate, or look where delta gets lost"
        )


def level_loss(looks: Sequence[Look]) -> Iterator[Finding]:
    """Nothing is learned, for whatever reason."""
    first, *later = (look.loss for look in looks)
    epochs = looks[-1].epoch - looks[0].epoch
    if epochs >= PATIENCE and first - min(later) < FALL * abs(first):
        yield "", (
            f"the loss has not fallen in {epochs} epochs: it was {first:.4g} before, and at best {min(later):.4g} since; try "
            "other learning rates, ten times lower and higher, and see whether the targets belong to their rows"
        )


def unscaled_input(looks: Sequence[Look]) -> Iterator[Finding]:
    """Initial weights and learning rates are made for numbers around 1."""
    seen = looks[-1].inputs
    if seen is None:
        return
    if seen.large:
        yield "", (
            f"the input is not scaled: {seen.large} of the {seen.numbers} numbers of a row are of the size of "
            f"{InputLook.LARGE:g} and above (up to {seen.largest:.3g}, RMS), where about 1 is best; standardise the "
            "columns, or divide images by 255"
        )
    elif 0 < seen.rms < SMALL:
        yield "", (
            f"the input is not scaled: the numbers of a row are of the size of {seen.rms:.1g} (RMS), where about 1 is best; "
            "standardise the columns"
        )


SYMPTOMS: tuple[Callable[[Sequence[Look]], Iterator[Finding]], ...] = (
    unscaled_input, dead_units, saturation, vanishing_delta, exploding_delta, wild_updates, still_weights, level_loss,
)  # fmt: skip


def what_grew(looks: Sequence[Look]) -> str:
    """What was seen on the way to numbers that are not finite; the last look is at the wreck."""
    words, growth = "training has met numbers that are not finite; ", {}
    for name in looks[0].layers:
        spread = [look.layers[name].std for look in looks if 0 < look.layers[name].std < np.inf]
        if spread and spread[-1] > GROWN * spread[0]:
            growth[name] = (spread[-1] / spread[0], spread)
    if growth:
        name, (_, spread) = max(growth.items(), key=lambda pair: pair[1][0])
        words += f"the outputs of {name} had grown most, from a spread of {spread[0]:.2g} to {spread[-1]:.2g}; "
    broken = [name for name, layer in looks[-1].layers.items() if not np.isfinite(layer.std)]
    if broken:
        words += f"the first ones that were not finite any more are those of {broken[0]}; "
    return words + "lower the learning rate, clip the gradient (clip_norm=1.0), or scale the data"
