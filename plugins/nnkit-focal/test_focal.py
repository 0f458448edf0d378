"""What nnkit-focal registers keeps its contract."""

from nnkit.testing import check_plugin


def test_plugin():
    """Every example of every part, and the examples in docstrings."""
    check_plugin("nnkit-focal")
