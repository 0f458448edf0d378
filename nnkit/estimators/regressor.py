"""How numbers become targets of a loss, and outputs become numbers again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from nnkit.core.arrays import numeric
from nnkit.core.calls import explained
from nnkit.core.loss import Loss
from nnkit.errors import NnkitError
from nnkit.estimators.base import Estimator
from nnkit.estimators.saving import saved

__all__ = ["NNRegressor"]


@saved
class NNRegressor(RegressorMixin, Estimator):
    """A neural network that predicts numbers, as a scikit-learn estimator.

    Parameters
    ----------
    layers, optimizer, activation, epochs, batch_size : as those of `NNClassifier`
    early_stopping, validation_fraction, patience, metrics, callbacks : as those of `NNClassifier`
    loss : Loss or its name: "mse" (which "auto" is), "mae", "huber", "quantile", "poisson_nll", "gaussian_nll", yours;
        like those of `NNClassifier` it sees the raw outputs of the last `Linear` layer
    shuffle, warm_start, random_state, dtype, n_threads, transform_layer, verbose : as those of `NNClassifier`
    n_members, resample : as those of `NNClassifier`; of M nets f_m, predictions are f(x) = 1/M sum_m f_m(x), and `predict`
        gives their spread, sqrt(1/M sum_m (f_m(x) - f(x))**2), with ``return_std``

    Attributes
    ----------
    model_ : Sequential; of several nets one net with the same mean. Where the loss makes something else of outputs than these
        themselves ("poisson_nll", "gaussian_nll"), it gives the raw outputs of all, (n_members, n_outputs).
    estimators_ : of several nets, an estimator for each, as of `NNClassifier`
    loss_curve_, loss_ : training loss of each epoch, and of the last
    n_iter_ : epochs done
    optimizer_ : Optimizer of the last fit
    history_ : History of the last fit; of several nets these are all of the first
    n_features_in_, feature_names_in_, n_outputs_, n_layers_
    target_name_ : name of y, where it had one (a pandas Series)

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> import nnkit as nn
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = nn.NNRegressor(layers=[32], loss="huber", epochs=300, random_state=0).fit(scale(X), scale(y))
    >>> bool(net.score(scale(X), scale(y)) > 0.4)
    True
    >>> several = nn.NNRegressor([32], epochs=50, n_members=4, resample="bootstrap", random_state=0).fit(scale(X), y)
    >>> mean, std = several.predict(scale(X), return_std=True)  # in the units of y
    >>> mean.shape, std.shape
    ((442,), (442,))
    """

    _default_loss = "mse"
    _kinds = Estimator._kinds | {"_columns": int | None}
    _columns: int | None  # of y; None where it was (n_samples,)

    def _check_pairs(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = super()._check_pairs(X, y, reset)
        with self._naming():
            return X, np.asarray(numeric(y, "y"), np.float64)

    def _learn_targets(self, y: Any, loss: Loss, labels: Any) -> None:
        self._columns = y.shape[1] if y.ndim == 2 else None
        self.n_outputs_ = self._outputs(loss, self._columns or 1)

    def _encode(self, y: Any, loss: Loss) -> NDArray[Any]:
        y = np.asarray(y, np.float64)
        return y.reshape(-1, 1) if y.ndim == 1 else y

    @explained
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One more epoch on these rows, with the optimizer's state of the last one.

        Raises
        ------
        ParameterError
            ``early_stopping`` is True: rows of every call would be held out; the optimizer takes all rows at once; or
            several nets are to learn from folds, which are of all rows.
        """
        self._check_partial()
        return self._learn(X, y, sample_weight, 1, reset=not hasattr(self, "model_"), streamed=True)

    def rescale(self, center: float, scale: float) -> Self:
        """Predict ``scale * p + center`` from now on, where the prediction was p.

        For a net that was trained on (y - center) / scale: its last layer is linear, so that weight becomes scale * weight, and
        bias scale * bias + center. What the optimizer has noted does not fit any longer, and is forgotten.

        Examples
        --------
        >>> import nnkit as nn, numpy as np
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1000.0, 1100.0, 1200.0])
        >>> net = nn.NNRegressor(layers=[], optimizer=nn.SGD(lr=0.1), epochs=200, random_state=0)
        >>> net.fit(X, (y - y.mean()) / y.std()).rescale(y.mean(), y.std()).predict(X).round()
        array([1000., 1100., 1200.])
        """
        check_is_fitted(self, "model_")
        for net in self._nets:
            parameters, last = net.model_.parameters(), self.n_layers_ - 1
            weight, bias = parameters[f"{last}.weight"], parameters[f"{last}.bias"]
            weight *= scale
            bias[:] = bias.astype(np.float64) * scale + center
            net._before = None
        self._join(self._nets)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predicted values, (n_samples,) or (n_samples, n_outputs), as y was. Of several nets it is their mean.

        With ``return_std``, a pair: the same, and its standard deviation over the nets, in the units of y. That says where nets
        differ, which they may do little where all of them are wrong.

        Raises
        ------
        ParameterError
            There is one net, and ``return_std``.
        """
        return self._average(X, self._values, return_std)

    def _values(self, raw: NDArray[Any]) -> NDArray[Any]:
        """What `predict` says of the outputs of a net."""
        decided = self._fitted_loss.decide(raw)
        return decided.ravel() if self._columns is None else decided

    def _link(self) -> list[str] | None:
        return [] if type(self._fitted_loss).decide is Loss.decide else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        with suppress(NnkitError):  # of hyper-parameters that `fit` refuses
            tags.target_tags.positive_only = bool(self._make_loss().target_low >= 0)
        return tags
