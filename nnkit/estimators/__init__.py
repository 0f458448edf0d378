"""scikit-learn's estimators: a classifier and a regressor whose nets are made of parts."""

from nnkit.estimators.classifier import NNClassifier
from nnkit.estimators.regressor import NNRegressor
from nnkit.estimators.saving import restored
from nnkit.estimators.table import TableClassifier, TableRegressor

__all__ = ["NNClassifier", "NNRegressor", "TableClassifier", "TableRegressor", "restored"]
