"""scikit-learn's cross-validation and its curves, with all fits side by side."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from sklearn import model_selection

from nnkit.search.threads import side_by_side

__all__ = ["cross_val_score", "cross_validate", "learning_curve", "validation_curve"]


def cross_val_score(
    estimator: Any, X: Any, y: Any = None, *, n_jobs: int | None = None, progress: bool | str = "auto", **how: Any
) -> NDArray[Any]:
    """Score of an estimator on each fold, trained on the others: scikit-learn's `cross_val_score`, its fits side by side.

    Parameters
    ----------
    estimator, X, y : an estimator, or a pipeline; rows and targets
    n_jobs, progress : as those of `side_by_side`
    **how : ``cv``, ``scoring``, ``groups``, ``params`` and what else scikit-learn's function takes

    Returns
    -------
    (n_splits,) array, scikit-learn's to the bit

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> net = nn.NNClassifier([16], epochs=30, batch_size=16, random_state=0)
    >>> scores = nn.cross_val_score(net, *load_iris(return_X_y=True), cv=5)
    >>> scores.shape, bool(scores.mean() > 0.9)
    ((5,), True)
    """
    with side_by_side(n_jobs, progress=progress):
        return model_selection.cross_val_score(estimator, X, y, **how)


def cross_validate(
    estimator: Any, X: Any, y: Any = None, *, n_jobs: int | None = None, progress: bool | str = "auto", **how: Any
) -> dict[str, Any]:
    """Scores, times and, if asked for, the estimators of all folds: scikit-learn's `cross_validate`, its fits side by side.

    Parameters
    ----------
    estimator, X, y : an estimator, or a pipeline; rows and targets
    n_jobs, progress : as those of `side_by_side`
    **how : ``cv``, ``scoring`` (several, too), ``return_train_score``, ``return_estimator`` and what else scikit-learn's
        function takes

    Returns
    -------
    dict of (n_splits,) arrays by "test_score", "fit_time" and so on, scikit-learn's to the bit but for the times

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> net = nn.NNClassifier([16], epochs=30, random_state=0)
    >>> sorted(nn.cross_validate(net, *load_iris(return_X_y=True), cv=3, scoring=["accuracy", "neg_log_loss"]))
    ['fit_time', 'score_time', 'test_accuracy', 'test_neg_log_loss']
    """
    with side_by_side(n_jobs, progress=progress):
        return model_selection.cross_validate(estimator, X, y, **how)


def learning_curve(
    estimator: Any, X: Any, y: Any, *, n_jobs: int | None = None, progress: bool | str = "auto", **how: Any
) -> tuple[NDArray[Any], ...]:
    """Scores by how many rows are learned from: scikit-learn's `learning_curve`, its fits side by side.

    Parameters
    ----------
    estimator, X, y : an estimator, or a pipeline; rows and targets
    n_jobs, progress : as those of `side_by_side`
    **how : ``train_sizes``, ``cv``, ``scoring``, ``shuffle`` and what else scikit-learn's function takes

    Returns
    -------
    train_sizes : (n_sizes,)
    train_scores, test_scores : (n_sizes, n_splits), scikit-learn's to the bit
    fit_times, score_times : the same, with ``return_times=True``

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> net = nn.NNClassifier([16], epochs=30, random_state=0)
    >>> sizes, train_scores, test_scores = nn.learning_curve(net, *load_iris(return_X_y=True), cv=3, train_sizes=[0.5, 1.0],
    ...                                                      shuffle=True, random_state=0)
    >>> sizes, test_scores.shape
    (array([ 50, 100]), (2, 3))
    """
    with side_by_side(n_jobs, progress=progress):
        return model_selection.learning_curve(estimator, X, y, **how)


def validation_curve(
    estimator: Any, X: Any, y: Any, *, n_jobs: int | None = None, progress: bool | str = "auto", **how: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores by the values of one hyper-parameter: scikit-learn's `validation_curve`, its fits side by side.

    Parameters
    ----------
    estimator, X, y : an estimator, or a pipeline; rows and targets
    n_jobs, progress : as those of `side_by_side`
    **how : ``param_name`` and ``param_range``, ``cv``, ``scoring`` and what else scikit-learn's function takes

    Returns
    -------
    train_scores, test_scores : (n_values, n_splits), scikit-learn's to the bit

    Examples
    --------
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> net = nn.NNClassifier([16], epochs=30, random_state=0)
    >>> train_scores, test_scores = nn.validation_curve(net, *load_iris(return_X_y=True), param_name="optimizer__lr",
    ...                                                 param_range=[0.001, 0.01, 0.1], cv=3)
    >>> test_scores.shape
    (3, 3)
    """
    with side_by_side(n_jobs, progress=progress):
        return model_selection.validation_curve(estimator, X, y, **how)
