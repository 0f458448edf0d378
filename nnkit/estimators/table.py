"""Estimators that take tables as they are: classes, and numbers, of their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin

from nnkit.core.exchange import File, Value
from nnkit.errors import DataError
from nnkit.estimators.doubt import half_width, probabilities, temperature_of
from nnkit.estimators.members import MeanAccuracy, MeanError
from nnkit.estimators.recipes import recipe_of
from nnkit.estimators.saving import saved
from nnkit.estimators.tabular import Rows, TableEstimator
from nnkit.estimators.weights import class_weighted
from nnkit.tables.targets import Classes, Scaled

__all__ = ["TableClassifier", "TableRegressor"]


@saved
class TableClassifier(ClassifierMixin, TableEstimator):
    """Classes of the rows of a table, which may have columns of any kind; a net that is trained by a recipe known to be good.

    Columns are read as `TableScheme` says: numbers, categories, text, dates, missing values anywhere. Their names count, not
    their order. A part of the rows is held out, and the parameters of the last of the best epochs are kept.

    Parameters
    ----------
    recipe : "td", RealMLP-TD: embeddings of numbers and of many categories, learnt activations, dropout and weight decay;
        "td-s", RealMLP-TD-S, which is smaller and faster; or "tabm", 32 nets in one that share their weights, which is slower
    hidden : sizes of the hidden layers; by default those that the recipe is made for
    epochs : int >= 1
    batch_size : int >= 1; batches are about so large, all of about one size
    validation_fraction : float in [0, 1), held out of `fit`, the same share of each class, where it is given no X_val; with 0
        the parameters of the last epoch are kept
    n_members : int >= 1, nets that are trained side by side on the cores; their probabilities are averaged
    resample : what each of several nets learns from: "folds", all rows but a fold of its own, of at least five; "seeds", a
        share of ``validation_fraction`` drawn anew is held out; "bootstrap", rows drawn with replacement
    refit : train the nets again, on all rows, each for as many epochs as were best
    calibrate : divide scores by a temperature, the best one for the log loss of the rows held out. The recipes smooth labels,
        and so tend to be less sure than they might be.
    categorical, numeric, dates, ignore : names or places of columns, see `TableScheme`
    class_weight : None, "balanced", or a dict from labels to weights, which those of rows are multiplied by; they count for the
        rows held out, too
    callbacks : callbacks or their names; each net but the first has copies
    random_state : None, int or RandomState
    n_threads : int, optional; all cores by default. The result does not depend on it.
    verbose : show a line of progress

    Attributes
    ----------
    classes_ : labels
    scheme_ : TableScheme, what the columns are; ``scheme_.about()`` says it in words
    model_ : Sequential, the net of the rows of ``scheme_.transform``; several nets side by side are one
    recipe_ : that of the fit
    temperature_ : what scores are divided by
    loss_curve_, loss_ : training loss of each epoch, and of the last, of the first net
    n_iter_ : epochs done
    history_ : History of the first net; ``history_.best_epoch`` is the one that was kept
    best_epochs_ : how many epochs were best for each net
    n_features_in_, feature_names_in_
    target_names_ : names of the columns of y, where they have any

    Examples
    --------
    >>> import nnkit as nn
    >>> rows = [[20.0, "red"], [30.0, "blue"], [None, "red"], [25.0, "blue"]] * 10
    >>> labels = ["apple", "plum", "apple", "plum"] * 10
    >>> net = nn.TableClassifier("td-s", hidden=16, epochs=20, random_state=0).fit(rows, labels)
    >>> net.predict([[22.0, "red"], [28.0, "blue"]]).tolist()
    ['apple', 'plum']

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data".
    Gorishniy, Kotelnikov and Babenko 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling".
    """

    _targets = Classes
    _classes = True
    _metric = MeanAccuracy
    _kinds = TableEstimator._kinds | {"temperature_": float}
    targets_: Classes
    temperature_: float

    def __init__(
        self,
        recipe: str = "td",
        *,
        hidden: Any = None,
        epochs: int = 256,
        batch_size: int = 256,
        validation_fraction: float = 0.2,
        n_members: int = 1,
        resample: str = "folds",
        refit: bool = False,
        calibrate: bool = False,
        categorical: Any = (),
        numeric: Any = (),
        dates: Any = (),
        ignore: Any = (),
        class_weight: Any = None,
        callbacks: Any = (),
        random_state: Any = None,
        n_threads: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            recipe, hidden=hidden, epochs=epochs, batch_size=batch_size, validation_fraction=validation_fraction,
            n_members=n_members, resample=resample, refit=refit, categorical=categorical, numeric=numeric, dates=dates,
            ignore=ignore, callbacks=callbacks, random_state=random_state, n_threads=n_threads, verbose=verbose,
        )  # fmt: skip
        self.calibrate = calibrate
        self.class_weight = class_weight

    def _weights(self, target: NDArray[Any], sample_weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        with self._naming("class_weight"):
            return class_weighted(self.class_weight, self.targets_.decode(target[:, None]), sample_weight)

    def _encoded(self, y: Any) -> NDArray[Any]:
        codes = super()._encoded(y)
        if codes.shape[1] > 1:
            raise DataError(f"{type(self).__name__}: y: expected one label a row, shape (n_samples,), got {codes.shape[1]}; "
                            "fit one for each")  # fmt: skip
        return codes[:, 0]

    def _trust(self, said: NDArray[np.float64], held: Rows) -> None:
        self._require_switches("calibrate")
        self.temperature_ = 1.0
        if self.calibrate:
            if not len(said):
                raise DataError(f"{type(self).__name__}: calibrate: expected rows that are held out, got none; raise "
                                "validation_fraction, or give X_val and y_val")  # fmt: skip
            self.temperature_ = temperature_of(said, held.target, held.weights)

    @staticmethod
    def _width(targets: Any) -> int:
        return len(targets.labels[0])

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels; an attribute of the fit."""
        self._fitted_scheme("classes_")
        return self.targets_.labels[0]

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels, (n_samples,)."""
        places = self.predict_proba(X).argmax(axis=1)
        return self.targets_.decode(places[:, None])

    def predict_proba(self, X: Any, return_std: bool = False) -> Any:
        """Probability of each class, (n_samples, n_classes): the mean of what the nets say.

        With ``return_std``, a pair: the same, and its standard deviation over the nets.

        Raises
        ------
        ParameterError
            There is one net, and ``return_std``.
        """
        each = probabilities(self._said(X), self.temperature_)
        mean = each.mean(axis=1)
        return (mean, self._spread(each)) if return_std else mean

    def _onnx_out(self, graph: File, said: Value) -> None:
        each = graph.node("Softmax", said / self.temperature_, axis=2)
        mean = graph.node("ReduceMean", each, [1], keepdims=0)
        label, dtype = self.targets_.onnx(graph, graph.node("ArgMax", mean, axis=1, keepdims=0))
        graph.output("label", label, dtype, ())
        graph.output("probabilities", mean, "float64", (self._width(self.targets_),))


@saved
class TableRegressor(RegressorMixin, TableEstimator):
    """Numbers for the rows of a table, which may have columns of any kind; a net that is trained by a recipe known to be good.

    Targets, of one output or of several, are learned with mean 0 and standard deviation 1. The recipe "td" predicts nothing
    below the least and above the largest target of training.

    Parameters
    ----------
    recipe, hidden, epochs, batch_size, n_members, resample, refit, callbacks, random_state, n_threads, verbose : as those of
        `TableClassifier`
    validation_fraction : float in [0, 1), held out of `fit`, where it is given no X_val
    categorical, numeric, dates, ignore : names or places of columns, see `TableScheme`

    Attributes
    ----------
    residuals_ : (n, n_outputs), how far predictions were from the targets of rows held out, each column sorted
    scheme_, model_, recipe_, loss_curve_, loss_, n_iter_, history_, best_epochs_, n_features_in_, feature_names_in_,
        target_names_ : as those of `TableClassifier`

    Examples
    --------
    >>> import nnkit as nn
    >>> rows = [[float(size), town] for size in range(40, 120, 4) for town in ("Bonn", "Jena")]
    >>> rents = [size * (12 if town == "Bonn" else 9) for size, town in rows]
    >>> net = nn.TableRegressor("td-s", hidden=32, epochs=100, random_state=0).fit(rows, rents)
    >>> bool(net.score(rows, rents) > 0.9)
    True

    References
    ----------
    Holzmueller, Grinsztajn and Steinwart 2024, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data".
    Gorishniy, Kotelnikov and Babenko 2025, "TabM: advancing tabular deep learning with parameter-efficient ensembling".
    """

    _targets = Scaled
    _classes = False
    _metric = MeanError
    _kinds = TableEstimator._kinds | {"residuals_": np.ndarray}
    targets_: Scaled
    residuals_: NDArray[np.float64]

    @staticmethod
    def _width(targets: Any) -> int:
        return len(targets.mean)

    def _trust(self, said: NDArray[np.float64], held: Rows) -> None:
        predicted, right = self._decoded(said.mean(axis=1)), self.targets_.decode(held.target)
        self.residuals_ = np.sort(np.abs(predicted - right).reshape(len(said), said.shape[2]), axis=0)

    def _decoded(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        given = self.targets_.decode(mean)
        return self.targets_.clamped(given) if recipe_of(self.recipe_).clamps else given

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predicted values, (n_samples,) or (n_samples, n_outputs), as y was: the mean of what the nets say.

        With ``return_std``, a pair: the same, and its standard deviation over the nets. That says where nets differ, which
        they may do little where all of them are wrong; `predict_interval` says how far from the truth they were.

        Raises
        ------
        ParameterError
            There is one net, and ``return_std``.
        """
        said = self._said(X)
        mean = self._decoded(said.mean(axis=1))
        if not return_std:
            return mean
        return mean, (self._spread(said) * self.targets_.std).reshape(mean.shape)

    def _onnx_out(self, graph: File, said: Value) -> None:
        given = self.targets_.in_units(graph.node("ReduceMean", said, [1], keepdims=0))
        clamps = recipe_of(self.recipe_).clamps
        graph.output("out", self.targets_.clamped(given) if clamps else given, "float64", (self._width(self.targets_),))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> NDArray[np.float64]:
        """Least and largest value that are to be expected, (n_samples, 2) or (n_samples, n_outputs, 2).

        The distance to both is that within which a share of ``coverage`` of the rows held out of the fit lies, with the
        correction for their number (split conformal prediction): a row like them is within with that probability, whatever
        their distribution. Two things make that a little less exact. The best epoch was chosen by the same rows, and of several
        nets, each is measured by itself, which makes the interval of their mean too wide rather than too narrow.

        Parameters
        ----------
        X : as for `predict`
        coverage : float in (0, 1)

        Raises
        ------
        ParameterError, DataError
            ``coverage`` is no such share, or takes more rows than were held out.

        References
        ----------
        Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018, "Distribution-free predictive inference for regression".
        """
        mean = self.predict(X)
        half = half_width(self.residuals_, coverage, f"{type(self).__name__}.predict_interval").reshape(mean.shape[1:])
        return np.stack([mean - half, mean + half], axis=-1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
