"""Many fits that scikit-learn asks for, side by side: searches, cross-validation, curves."""

from nnkit.search.curves import cross_val_score, cross_validate, learning_curve, validation_curve
from nnkit.search.grid import SearchCV
from nnkit.search.halving import HalvingSearchCV
from nnkit.search.threads import side_by_side

__all__ = [
    "HalvingSearchCV", "SearchCV", "cross_val_score", "cross_validate", "learning_curve", "side_by_side", "validation_curve",
]  # fmt: skip
