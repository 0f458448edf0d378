"""Optimizers. w is a parameter (``value``), g its gradient (``grad``), t the number of the step, from 1.

What all share (weight decay, clipping, the schedule, the sign) is described in `nnkit.Optimizer`. Those that take all rows at
once are trainers, see `nnkit.Trainer`.
"""

from nnkit.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from nnkit.optimizers.descent import ASGD, SGD, Rprop
from nnkit.optimizers.lbfgs import LBFGS
from nnkit.optimizers.levenberg import BayesianLM, LevenbergMarquardt
from nnkit.optimizers.matrices import Adafactor, Muon
from nnkit.optimizers.moments import Adam, Adamax, AdamW, Lion, NAdam, RAdam

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "BayesianLM", "LevenbergMarquardt",
    "Lion", "Muon", "NAdam", "RAdam", "RMSprop", "Rprop",
]  # fmt: skip
