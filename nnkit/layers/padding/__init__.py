"""Padding: more places around rows, or fewer, along one to three axes."""

from nnkit.layers.padding.circular import CircularPad1d, CircularPad2d, CircularPad3d
from nnkit.layers.padding.constant import ConstantPad1d, ConstantPad2d, ConstantPad3d, ZeroPad1d, ZeroPad2d, ZeroPad3d
from nnkit.layers.padding.reflection import ReflectionPad1d, ReflectionPad2d, ReflectionPad3d
from nnkit.layers.padding.replication import ReplicationPad1d, ReplicationPad2d, ReplicationPad3d

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]
