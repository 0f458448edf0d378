"""scikit-learn's estimators: a classifier and a regressor whose nets are made of parts."""

from nnkit.estimators.classifier import NNClassifier
from nnkit.estimators.regressor import NNRegressor
from nnkit.estimators.saving import restored

__all__ = ["NNClassifier", "NNRegressor", "restored"]
