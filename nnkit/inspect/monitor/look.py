"""What is seen of a net at one time while it is trained: numbers by layer and by parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypeVar

T = TypeVar("T")

__all__ = ["InputLook", "LayerLook", "Look", "ParameterLook"]


@dataclass(frozen=True)
class LayerLook:
    """What a layer makes of the rows.

    Attributes
    ----------
    mean, std : of all numbers of its output
    delta : root of the mean square of the loss's gradient by its output: dL/dz of a layer with an activation after it, dL/da of
        the activation. NaN where backward does not come by
    units, dead : how many units (features, or maps of an image) an activation has, and of how many the slope s'(z) is exactly 0
        for all rows; 0 units for other layers
    home : path of its parameters
    saturated : share of numbers where the slope is below 1 % of the function's largest; NaN for other layers
    ordinary : the same share if z were standard normal, for comparison
    """

    mean: float
    std: float
    delta: float
    home: str
    units: int = 0
    dead: int = 0
    saturated: float = float("nan")
    ordinary: float = float("nan")


@dataclass(frozen=True)
class ParameterLook:
    """How a parameter w learns.

    Attributes
    ----------
    gradient : |dL/dw| / |w|; NaN where w is 0
    update : |change of w| / |w|, by the optimizer's next step, as it would be from the gradient of these rows; NaN where a
        `Trainer` takes all rows
    axes : how many w has
    """

    gradient: float
    update: float
    axes: int


@dataclass(frozen=True)
class InputLook:
    """What the first layer with a matrix of weights gets, if no layer with other parameters stands before it.

    Attributes
    ----------
    numbers : of a row
    rms : root of the mean square of all of them
    largest : of the roots of the mean squares of each
    large : how many of these are above `LARGE`
    """

    LARGE = 100.0  # two orders of magnitude above what initial weights are made for

    numbers: int
    rms: float
    largest: float
    large: int


@dataclass(frozen=True)
class Look:
    """What is seen of a net at one time.

    Attributes
    ----------
    epoch, step : finished by then
    rows : how many were looked at
    loss : of these rows, in training mode
    layers : by name, in the order of computation
    parameters : by name
    inputs : None where the net looks its input up
    """

    epoch: int
    step: int
    rows: int
    loss: float
    layers: dict[str, LayerLook]
    parameters: dict[str, ParameterLook]
    inputs: InputLook | None

    def record(self) -> dict[str, Any]:
        """All of it as plain numbers and dicts, for a file; `of` reads it."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """The look whose `record` this is; TypeError, KeyError or AttributeError where it is that of none."""
        layers = {name: _made(LayerLook, item) for name, item in record["layers"].items()}
        parameters = {name: _made(ParameterLook, item) for name, item in record["parameters"].items()}
        given = record["inputs"]
        inputs = None if given is None else _made(InputLook, given)
        return _made(cls, {**record, "layers": layers, "parameters": parameters, "inputs": inputs})

    def what(self) -> tuple[list[str], list[str], bool]:
        """What it is a look at: the names of layers and parameters, and whether there is an input."""
        return [*self.layers], [*self.parameters], self.inputs is not None


def _made(cls: type[T], record: Mapping[str, Any]) -> T:
    """A dataclass of what a file has for it, if those are numbers where it has numbers, and strings where it has strings."""
    kinds = {"int": int, "float": float, "str": str}
    for item in fields(cls):  # type: ignore[arg-type]
        if type(record[item.name]) is not kinds.get(str(item.type), type(record[item.name])):
            raise TypeError(f"expected {item.name} as {item.type}")
    return cls(**record)
