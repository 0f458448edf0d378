"""The loop around the two functions of a loss: over the rows of a shard, or over all their numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from nnkit.core.part import kernel_names

__all__ = ["GIVEN", "loss_loop"]

# What forward and backward can name beside numbers of the loss.
GIVEN = ("prediction", "target", "label", "workspace", "grad_prediction")
_ROWS = {"prediction": "p_", "target": "t_", "label": "c_", "grad_prediction": "g_"}  # one row of each, in the loop


@cache
def loss_loop(cls: Any, gradient: bool, each_output: tuple[str, ...] = ()) -> Callable[..., Any]:
    """The kernel of a class of losses: writes ``row_loss`` and, with ``gradient``, ``grad`` times the weights.

    ``each_output`` are those of its `per_output` hyper-parameters that are not None.
    """
    value, derivative = cls.forward, cls.backward
    used = [*kernel_names(value), *(kernel_names(derivative) if gradient else ())]
    each_output = tuple(name for name in each_output if name in used)
    absent = {*cls.per_output} - {*each_output}
    numbers = [name for name in dict.fromkeys(used) if name not in (*GIVEN, *absent)]
    numbers += ["workspace"] if "workspace" in used else []
    targets = ["target", "label"] if {"target", "label"} <= set(used) else ["label"] if "label" in used else ["target"]
    names = ["prediction", *targets, *numbers, *(["weight", "grad"] if gradient else []), "row_loss"]
    each = _ROWS if cls.rowwise else {name: f"{row}[j_]" for name, row in _ROWS.items()}
    place = "" if cls.rowwise else "[j_]"
    each = {**each, **dict.fromkeys(absent, "None"), **{name: f"{name}_{place}" for name in each_output}}
    alone = {**each, **{name: f"{name}[0, 0]" for name in each_output}}

    def calls(each: dict[str, str]) -> tuple[str, str | None]:
        functions = {"value": value, "derivative": derivative if gradient else None}
        text = [None if function is None else f"{name}({', '.join(each.get(item, item) for item in kernel_names(function))})"
                for name, function in functions.items()]  # fmt: skip
        return text[0] or "", text[1]

    rows = [
        "    for n_ in range(prediction.shape[0]):",
        "        p_ = prediction[n_]",
        *(f"        {_ROWS[name]} = {name}[n_]" for name in targets),
        *(f"        {name}_ = {name}[n_ % {name}.shape[0]]" for name in each_output),
        *(["        g_, w_ = grad[n_], weight[n_]"] if gradient else []),
    ]
    one = " and ".join(["prediction.shape[1] == 1", *(f"{name}.shape[0] == 1" for name in each_output)])
    lines = _by_row(rows, *calls(each), cls.row_axes) if cls.rowwise else _by_number(rows, *calls(each), one, *calls(alone))
    source = "\n".join([f"def loss({', '.join(names)}):", *lines]) + "\n"
    namespace: dict[str, Any] = {"value": value, "derivative": derivative}
    exec(source, namespace)
    loop = namespace["loss"]
    loop.source = source
    loop.described = f"{cls.__module__}.{cls.__qualname__}"
    return loop  # type: ignore[no-any-return]


def _by_row(rows: list[str], value: str, derivative: str | None, axes: int) -> list[str]:
    """Of every row at once; the derivative is written there, and then multiplied by the weight."""
    lines = [*rows, f"        row_loss[n_] = {value}"]
    if derivative is not None:
        flat = "g_" if axes == 1 else "g_.reshape(-1)"
        lines += [f"        {derivative}", f"        f_ = {flat}", "        for j_ in range(f_.shape[0]):",
                  "            f_[j_] *= w_"]  # fmt: skip
    return lines


def _by_number(
    rows: list[str], value: str, derivative: str | None, one: str, value_alone: str, derivative_alone: str | None
) -> list[str]:
    """Of every number of a row, and these added up."""
    gradient = derivative is not None
    return [
        f"    if {one}:  # one loop over the rows, or each would be a loop of one",
        "        p_, t_ = prediction.reshape(-1), target.reshape(-1)",
        *(["        g_ = grad.reshape(-1)"] if gradient else []),
        "        for j_ in range(p_.shape[0]):",
        f"            row_loss[j_] = {value_alone}",
        *([f"            g_[j_] = weight[j_] * {derivative_alone}"] if gradient else []),
        "        return",
        *rows,
        "        total_ = 0.0",
        "        for j_ in range(p_.shape[0]):",
        f"            total_ += {value}",
        *([f"            g_[j_] = w_ * {derivative}"] if gradient else []),
        "        row_loss[n_] = total_",
    ]
