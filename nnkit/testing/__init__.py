"""Check parts of your own as nnkit's own are checked.

>>> import nnkit as nn
>>> from nnkit.testing import check_activation
>>> class Cube(nn.Activation):
...     @staticmethod
...     def forward(x):
...         return x * x * x
...     @staticmethod
...     def backward(grad_out, x):
...         return -3.0 * x * x * grad_out
>>> check_activation(Cube())  # doctest: +ELLIPSIS
Traceback (most recent call last):
...
nnkit.testing.compare.CheckError: Cube(): backward gives a wrong grad_x: at [...] expected ..., got ... (48 of 48 numbers
differ); likely cause: the sign is wrong
"""

from nnkit.inspect.trace.differences import central_differences
from nnkit.testing.checks import Report, check_activation, check_layer, check_loss, check_optimizer
from nnkit.testing.compare import CheckError
from nnkit.testing.optimizers import walk
from nnkit.testing.plugin import check_plugin

__all__ = [
    "CheckError",
    "Report",
    "central_differences",
    "check_activation",
    "check_layer",
    "check_loss",
    "check_optimizer",
    "check_plugin",
    "walk",
]
