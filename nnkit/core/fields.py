"""Rows of several arrays: what is one thing for a plain row is a dict of such things, by name, for a row with fields.

So it is with shapes, dtypes, users' arrays, and the values of a plan. A row with fields is what several inputs are read as, and
what several outputs are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

from nnkit.core.calls import shown
from nnkit.errors import DataError, ShapeError

__all__ = ["SELF", "by_name", "each", "fields", "numbers", "of_field", "picked", "spelt"]

SELF = "x"  # what a plain row is called among named values


def fields(value: Any) -> dict[str, Any]:
    """The fields by name; a plain value is the only one, under the name of no field."""
    return value if type(value) is dict else {"": value}  # of a sparse matrix that is a dict, too, the type is another


def each(function: Callable[..., Any], value: Any, *others: Any) -> Any:
    """What a function gives for a plain value, or for every field; ``others`` have the same fields."""
    if type(value) is dict:
        return {name: function(item, *(other[name] for other in others)) for name, item in value.items()}
    return function(value, *others)


def of_field(given: Any, name: str) -> Any:
    """What holds of a field: the same of all of them, or one thing of each, by name."""
    return given[name] if type(given) is dict else given


def numbers(shape: Any) -> int:
    """How many numbers a row of this shape has."""
    return sum(prod(item) for item in fields(shape).values())


def spelt(shape: Any) -> str:
    """A shape in words: "(3, 4)", or "left (3,), right (4,)"."""
    return ", ".join(f"{name} {item}" for name, item in shape.items()) if isinstance(shape, dict) else str(shape)


def picked(values: Mapping[str, Any], reads: str | Sequence[str], inputs: Sequence[str] = ()) -> Any:
    """One of some named values, or several of them as fields: by the names of ``inputs``, or else by their own."""
    if isinstance(reads, str):
        return values[reads]
    if inputs and len(inputs) != len(reads):
        raise ShapeError(f"expected values for {', '.join(inputs)}, got {', '.join(reads)}")
    return {known: values[name] for known, name in zip(inputs or reads, reads, strict=True)}


def by_name(given: Any, names: Iterable[str], who: str, what: str) -> Any:
    """What a user gives for fields of these names: a dict of arrays, or a tuple or list of them in this order.

    Without names it is what it is: one array.

    Raises
    ------
    ShapeError, DataError
        It is something else, or has other fields.
    """
    wanted = list(names)
    is_dict = isinstance(given, Mapping) and not hasattr(given, "tocsr")  # as a sparse matrix of SciPy is one
    if not wanted:
        if is_dict:
            came = ", ".join(map(repr, given)) or "nothing"
            raise DataError(f"{who}: expected {what} to be one array, got a dict of {came}; several arrays are for a model "
                            "that begins with nn.Inputs, or ends with nn.Heads")  # fmt: skip
        return given
    listed = ", ".join(wanted)
    if isinstance(given, tuple | list) and len(given) == len(wanted):
        return dict(zip(wanted, given, strict=True))
    if not is_dict:
        plain = "one array" if hasattr(given, "shape") else shown(given)
        came = f"{len(given)} of them" if isinstance(given, tuple | list) else plain
        raise ShapeError(f"{who}: expected {what} to be a dict of arrays for {listed}, or a tuple of them in this order, got "
                         f"{came}")  # fmt: skip
    if set(given) != set(wanted):
        raise ShapeError(f"{who}: expected {what} to have arrays for {listed}, got {', '.join(map(str, given)) or 'none'}")
    return {name: given[name] for name in wanted}
