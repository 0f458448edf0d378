"""How sure predictions are, by what was held out: probabilities that are met, and intervals that hold as often as they say."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from nnkit.errors import DataError, ParameterError

__all__ = ["half_width", "probabilities", "temperature_of"]

Floats = NDArray[np.float64]
COLDEST, HOTTEST = 0.05, 20.0  # beyond, all probabilities are 0 and 1, or all the same


def probabilities(scores: Floats, temperature: float = 1.0) -> Floats:
    """Softmax of scores over the temperature, (rows, members, classes)."""
    return np.asarray(softmax(scores / temperature, axis=2))


def temperature_of(scores: Floats, labels: NDArray[np.int64], weights: Floats | None) -> float:
    """The temperature with which scores of rows that were held out have the least log loss.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", section 4.2.
    """
    rows, least = np.arange(len(labels)), np.finfo(np.float64).tiny

    def log_loss(logarithm: float) -> float:
        right = probabilities(scores, np.exp(logarithm)).mean(axis=1)[rows, labels]
        return float(np.average(-np.log(np.maximum(right, least)), weights=weights))

    found = minimize_scalar(log_loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def half_width(residuals: Floats, coverage: float, who: str) -> Floats:
    """How far from a prediction its target lies at most, with probability ``coverage``: (outputs,).

    Parameters
    ----------
    residuals : (rows, outputs), distances of rows that were held out, each column sorted
    coverage : in (0, 1)

    The k-th least of n distances, with k = ceil((n + 1) coverage): a new row's distance is as likely to have any rank among
    n + 1, so that it is below this one with at least that probability (split conformal prediction).

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018, "Distribution-free predictive inference for regression", section 2.2.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, float | np.floating) or not 0 < coverage < 1:
        raise ParameterError(f"{who}: coverage: expected a share of the rows between 0 and 1, got {coverage!r}")
    rank = ceil((len(residuals) + 1) * coverage)
    if rank > len(residuals):
        needed = ceil(coverage / (1 - coverage))
        raise DataError(f"{who}: expected at least {needed} rows held out of the fit for a coverage of {coverage}, got "
                        f"{len(residuals)}; ask for less coverage, hold out more (validation_fraction), or train several nets "
                        "on folds (n_members)")  # fmt: skip
    return residuals[rank - 1]
