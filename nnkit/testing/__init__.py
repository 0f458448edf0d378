"""Check parts of your own as nnkit's own are checked.

>>> import nnkit as nn
>>> from nnkit.testing import check_activation
>>> class Cube(nn.Activation):
...     @staticmethod
...     def forward(x):
...         return x * x * x
...     @staticmethod
...     def backward(grad_out, x):
...         return 3.0 * x * x * grad_out
>>> check_activation(Cube())
"""

from nnkit.testing.checks import check_activation, check_layer, check_loss, check_optimizer
from nnkit.testing.compare import CheckError
from nnkit.testing.gradcheck import central_differences

__all__ = ["CheckError", "central_differences", "check_activation", "check_layer", "check_loss", "check_optimizer"]
