"""What two searches have found, compared."""

import numpy as np

__all__ = ["same_results"]


def same_results(ours, theirs):
    """All but the times, in the same order."""
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        if name == "params":
            assert list(map(repr, ours[name])) == list(map(repr, expected))
        elif not name.endswith("_time"):
            assert ours[name].dtype == expected.dtype
            if name.startswith("param_"):
                assert repr(ours[name]) == repr(expected)
            else:
                np.testing.assert_array_equal(ours[name], expected)
