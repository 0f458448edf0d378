"""Learning-rate schedules. t is the time in epochs (fractional), T the number of epochs; lr(t) = lr factor(t)."""

from nnkit.schedules.composed import ChainedSchedule, ScaledSchedule, SequentialSchedule
from nnkit.schedules.cosines import CoslogSchedule, FlatCosineSchedule
from nnkit.schedules.curves import (
    ConstantSchedule,
    CosineSchedule,
    CyclicSchedule,
    ExponentialSchedule,
    LinearSchedule,
    LinearWarmup,
    MultiStepSchedule,
    OneCycle,
    PolynomialSchedule,
    ReduceOnPlateau,
    StepSchedule,
)
from nnkit.schedules.functions import LambdaSchedule, MultiplicativeSchedule

__all__ = [
    "ChainedSchedule",
    "ConstantSchedule",
    "CosineSchedule",
    "CoslogSchedule",
    "CyclicSchedule",
    "ExponentialSchedule",
    "FlatCosineSchedule",
    "LambdaSchedule",
    "LinearSchedule",
    "LinearWarmup",
    "MultiStepSchedule",
    "MultiplicativeSchedule",
    "OneCycle",
    "PolynomialSchedule",
    "ReduceOnPlateau",
    "ScaledSchedule",
    "SequentialSchedule",
    "StepSchedule",
]
