"""What nnkit-focal registers keeps its contract."""

import numpy as np
import pytest
from nnkit_focal import FocalLoss

import nnkit as nn
from nnkit.testing import check_plugin


def test_plugin():
    """Every example of every part, and the examples in docstrings."""
    check_plugin("nnkit-focal")


def test_weights_of_classes_are_those_of_their_rows():
    """Given in whatever form, they give what weights of samples do."""
    prediction, labels = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6) % 3
    weights = np.array([0.5, 1.0, 2.0])
    by_row = FocalLoss(reduction="sum")(prediction, labels, weights[labels])
    for given in (weights, weights.tolist(), tuple(weights)):
        by_class = FocalLoss(reduction="sum", class_weight=given)(prediction, labels)
        np.testing.assert_allclose(by_class.loss, by_row.loss)
        np.testing.assert_allclose(by_class.grad, by_row.grad)


def test_there_is_a_weight_for_each_class():
    """Compiled code would read beyond the last one."""
    with pytest.raises(nn.ShapeError, match="a weight for each of 3 classes, got 2"):
        FocalLoss(class_weight=(1.0, 2.0))(np.zeros((4, 3)), np.zeros(4, int))
    with pytest.raises(nn.ParameterError, match="class_weight"):
        FocalLoss(class_weight=(1.0, -2.0))
