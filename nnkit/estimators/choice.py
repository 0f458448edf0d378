"""``optimizer="auto"``: which one suits a net and its rows."""

from __future__ import annotations

from collections.abc import Sequence

from nnkit.core.callback import Callback
from nnkit.core.loss import Loss
from nnkit.core.optimizer import Optimizer
from nnkit.core.trainer import Trainer
from nnkit.network import Network
from nnkit.optimizers import LBFGS, Adam, LevenbergMarquardt
from nnkit.training.averaging import averaging_of
from nnkit.training.iterations import follows_batches, has_seed
from nnkit.training.objective import trained_places

__all__ = ["suited"]

FEW_WEIGHTS, TERMS_A_WEIGHT = 1500, 10  # for Levenberg-Marquardt
FEW_ROWS = 20_000  # for L-BFGS, beyond which small batches are as good and sooner there


def suited(network: Network, loss: Loss, rows: int, callbacks: Sequence[Callback]) -> Optimizer | Trainer:
    """The optimizer for a net of so many weights and a loss, on so many rows; ``benchmarks second_order`` has the figures.

    Levenberg-Marquardt where the loss is made of squares, for at most 1500 weights that have at least ten numbers to fit each:
    with fewer it learns the noise by heart, so soon does it get to the minimum. L-BFGS on at most 20 000 rows. Adam for more,
    and where the loss is not the same function from one look to the next: with dropout, statistics of batches, noise, numbers
    that follow a schedule.
    """
    steady = not any(has_seed(built.layer) or follows_batches(built) for built in network.leaves) and not network.live()
    if not steady or averaging_of(callbacks) is not None or rows > FEW_ROWS:
        return Adam()
    weights, terms = len(trained_places(network)), rows * network.out_shape[0]
    if loss.least_squares and weights <= FEW_WEIGHTS and terms >= TERMS_A_WEIGHT * weights:
        return LevenbergMarquardt()
    return LBFGS()
