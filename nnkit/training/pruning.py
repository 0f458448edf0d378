"""Searches of Optuna's that give up fits which do badly."""

from __future__ import annotations

from typing import Any, Self

from nnkit.core.callback import Callback
from nnkit.core.registry import register
from nnkit.core.training import RunningFit
from nnkit.engine.critical import imported
from nnkit.errors import ParameterError
from nnkit.training.callbacks import monitored

__all__ = ["PruneTrials"]


@register("prune_trials")
class PruneTrials(Callback):
    """Tell a trial of Optuna's a figure of every epoch, and give up the fit where the trial says so.

    Then `optuna.TrialPruned` is raised out of ``fit``, for the study to note; an estimator is left as it was before, and a
    `Sequential` as it is then. The steps of the trial are epochs, from 0. It is for one fit a trial: of several, as the
    folds of a cross-validation are, Optuna hears the first; `OptunaSearchCV(enable_pruning=True)` prunes by the mean of the
    folds. Within `cross_val_score` it needs ``error_score="raise"``: otherwise scikit-learn takes the end of the fit for a
    failure with the score NaN, trains the other folds, and the trial fails. A file does not hold the trial, and `nnkit.load`
    leaves the callback out.

    Parameters
    ----------
    trial : what a study hands to the objective, an `optuna.Trial`
    monitor : "val_loss", "loss" or the name of a metric; by default val_loss where there is one, else loss

    Raises
    ------
    ParameterError
        As training begins: there is no trial; nothing is measured under the name ``monitor``; the study has several objectives,
        or minimizes a figure that is to rise, or maximizes one that is to fall.
    optuna.TrialPruned
        After an epoch, where the trial says so.

    Examples
    --------
    >>> import optuna
    >>> import nnkit as nn
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> def objective(trial):
    ...     net = nn.Sequential([nn.Linear(16), "relu", nn.Linear(3)])
    ...     adam = nn.Adam(lr=trial.suggest_float("lr", 1e-5, 1e-1, log=True))
    ...     history = net.fit(X, y, loss="cross_entropy", optimizer=adam, epochs=20, validation_split=0.3, random_state=0,
    ...                       callbacks=[nn.PruneTrials(trial)])
    ...     return history["val_loss"][-1]
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> sampler, pruner = optuna.samplers.RandomSampler(seed=0), optuna.pruners.SuccessiveHalvingPruner()
    >>> study = optuna.create_study(sampler=sampler, pruner=pruner)
    >>> study.optimize(objective, n_trials=10)
    >>> any(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials), study.best_value < 0.5
    (True, True)

    References
    ----------
    Akiba, Sano, Yanase, Ohta and Koyama 2019, "Optuna: a next-generation hyperparameter optimization framework".
    """

    late = True  # others have noted the epoch
    unsaved = ("trial",)

    def __init__(self, trial: Any = None, *, monitor: str | None = None) -> None:
        self.trial = trial
        self.monitor = monitor
        self.require("monitor", monitor is None or isinstance(monitor, str), "the name of a figure, such as 'val_loss'")

    def __deepcopy__(self, memo: Any) -> Self:
        """What a clone of an estimator reports to is the same trial: a copy of that one would talk to nobody."""
        return type(self)(self.trial, monitor=self.monitor)

    def on_fit_begin(self, fit: RunningFit) -> None:
        told = all(hasattr(self.trial, method) for method in ("report", "should_prune"))
        self.require("trial", told, "a trial of Optuna's, as the objective is given it")
        self._name, rises = monitored(self, self.monitor, fit)
        directions = [direction.name for direction in getattr(getattr(self.trial, "study", None), "directions", ())]
        if len(directions) > 1:
            raise ParameterError(f"PruneTrials: expected a study of one objective, got {len(directions)}, which Optuna does "
                                 "not prune")  # fmt: skip
        if directions and rises is not None and rises != (directions[0] == "MAXIMIZE"):
            how = "rise" if rises else "fall"
            raise ParameterError(f"PruneTrials: expected a figure that the study is to {directions[0].lower()}, got "
                                 f"{self._name}, which is to {how}; give another monitor, or create_study(direction="
                                 f"{'maximize' if rises else 'minimize'!r})")  # fmt: skip

    def on_epoch_end(self, fit: RunningFit) -> None:
        value = fit.history.last()[self._name]
        self.trial.report(value, step=fit.epoch)
        if self.trial.should_prune():
            raise imported("optuna").TrialPruned(f"{self._name} is {value:.4g} after epoch {fit.epoch}")
