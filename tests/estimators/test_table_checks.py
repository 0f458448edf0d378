"""Estimators of tables pass scikit-learn's own checks."""

import pytest
from sklearn.utils.estimator_checks import check_estimator

import nnkit as nn
from nnkit.estimators.recipes import RECIPES

FEW = {"hidden": (16,), "epochs": 40, "batch_size": 64}  # of which nothing depends but how long it takes
FAILED = {
    "check_sample_weight_equivalence_on_dense_data":
        "a row of weight 2 is drawn for once, the row twice is drawn for twice: to hold it out",
    "check_class_weight_classifiers":
        "where all rows weigh next to nothing, the recipe td says anything; test_tables looks at the weights themselves",
    "check_methods_subset_invariance":
        "float32 is rounded by more than 1e-7; test_tables predicts rows alone, and together",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # what a check does on purpose; those about warnings look for themselves
@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("kind", [nn.TableClassifier, nn.TableRegressor])
def test_every_check_passes(kind, recipe):
    results = check_estimator(kind(recipe, **FEW), expected_failed_checks=FAILED, on_fail=None, on_skip=None)
    assert [f"{item['check_name']}: {item['exception']!r}" for item in results if item["status"] == "failed"] == []
    assert sum(item["status"] == "passed" for item in results) >= 45
