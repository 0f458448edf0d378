"""What a node says of its windows, and what layers with windows call that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnkit.core.exchange import Node
from nnkit.core.part import Shape
from nnkit.errors import OnnxError

__all__ = ["padding", "window"]

NEUTRAL = {"padding": 0, "dilation": 1, "output_padding": 0}  # what goes without saying


def _reaches(node: Node, dims: int, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Strides and dilations, and how many places behind its first one each window reaches, along each axis."""
    strides, dilations = (list(node.attributes.get(name) or [1] * dims) for name in ("strides", "dilations"))
    return strides, dilations, [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]


def padding(node: Node, in_shape: Shape, dims: int, kernel: Sequence[int]) -> list[int]:
    """The padding of a node's windows: before each axis, and behind each."""
    strides, _, reach = _reaches(node, dims, kernel)
    auto, pads = node.attributes.get("auto_pad", "NOTSET"), list(node.attributes.get("pads") or [0] * 2 * dims)
    if auto == "VALID":
        return [0] * 2 * dims
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        whole = [max(0, -(-size // step) * step - step + far + 1 - size)
                 for size, step, far in zip(in_shape[1:], strides, reach, strict=True)]  # fmt: skip
        less, more = [size // 2 for size in whole], [size - size // 2 for size in whole]
        return less + more if auto == "SAME_UPPER" else more + less
    return pads


def window(node: Node, in_shape: Shape, dims: int, kernel: Sequence[int] | None = None) -> dict[str, Any]:
    """The arguments of a constructor; those that go without saying are left out, and what is the same for all axes is one."""
    given = node.attributes
    kernel = list(given.get("kernel_shape") or kernel or [])
    strides, dilations, reach = _reaches(node, dims, kernel)
    same = [far // 2 for far in reach] + [far - far // 2 for far in reach]
    auto, pads = given.get("auto_pad", "NOTSET"), padding(node, in_shape, dims, kernel)
    if given.get("output_shape") or (auto.startswith("SAME") and "Transpose" in node.op):
        raise OnnxError(f"expected pads in numbers, got auto_pad={auto!r}, output_shape={given.get('output_shape')}")
    if pads[:dims] != pads[dims:] and pads != same:
        raise OnnxError(f"expected the same padding on both sides, got pads={pads}")
    sizes = {
        "kernel_size": kernel,
        "stride": strides,
        "padding": pads[:dims] if pads[:dims] == pads[dims:] else "same",
        "dilation": dilations,
        "output_padding": list(given.get("output_padding") or [0] * dims),
    }
    single = {name: value if isinstance(value, str) else value[0] if len(set(value)) == 1 else tuple(value)
              for name, value in sizes.items()}  # fmt: skip
    return {name: value for name, value in single.items() if name not in NEUTRAL or value != NEUTRAL[name]}
