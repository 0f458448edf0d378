"""What of an estimator is in a file: around its net, hyper-parameters, what was learned, and the optimizer's state."""

from __future__ import annotations

from typing import Any, TypeVar

from numpy.typing import NDArray

from nnkit.core.optimizer import Optimizer, UpdaterProgress
from nnkit.core.schedule import Schedule
from nnkit.engine.memory import aligned_zeros
from nnkit.errors import NotBuiltError, PersistenceError
from nnkit.estimators.learned import Learner
from nnkit.estimators.parameters import KINDS, is_auto
from nnkit.model import Sequential
from nnkit.network import Network, network_of
from nnkit.persistence.description import Describer, Restorer
from nnkit.persistence.model import describe, pack
from nnkit.training.history import History

__all__ = ["described", "restored", "saved"]

E = TypeVar("E", bound=type[Learner])
ESTIMATORS: dict[str, type[Learner]] = {}  # that a file may hold


def saved(kind: E) -> E:
    """Let files hold estimators of this class."""
    ESTIMATORS[kind.__name__] = kind
    return kind


def described(estimator: Learner) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `write` wants: the fitted estimator as JSON, and arrays.

    Raises
    ------
    NotBuiltError
        The estimator is not fitted.
    PersistenceError
        A hyper-parameter cannot be described, or its class is none that files hold.
    """
    who = type(estimator).__name__
    if type(estimator) not in ESTIMATORS.values():
        raise PersistenceError(f"{who}.save: expected one of {', '.join(ESTIMATORS)}; save its net, {who}.model_, instead")
    if not hasattr(estimator, "model_"):
        raise NotBuiltError(f"{who}.save: expected a fitted estimator; call fit first")
    describer, learned = Describer(), estimator.noted()
    net, history, before = (learned.pop(name) for name in ("model_", "history_", "_before"))
    network = network_of(net, f"{who}.save")
    model = describe(network, net.last_fit, describer)
    around = {
        "class": who,
        "parameters": {name: describer.describe(value, f"{who}'s {name}")
                       for name, value in estimator.get_params(deep=False).items()},
        "learned": {name: describer.describe(value, f"{who}'s {name}") for name, value in learned.items()},
        "history": describer.describe(history.record(), "the history"),
        "optimizer": describer.describe(_describable(network, before), "the optimizer's state"),
    }  # fmt: skip
    return pack(describer, model=model, estimator=around)


def restored(described: Any, restorer: Restorer, model: Sequential) -> Learner:
    """The estimator that `save` has described, around its net.

    Raises
    ------
    PersistenceError
        It was not described so.
    """
    names = {"class", "parameters", "learned", "history", "optimizer"}
    if not isinstance(described, dict) or set(described) != names or described["class"] not in [*ESTIMATORS]:
        raise PersistenceError(f"expected one of {', '.join(ESTIMATORS)}")
    if not isinstance(described["parameters"], dict) or not isinstance(described["learned"], dict):
        raise PersistenceError("expected parameters and attributes by name")
    kind = ESTIMATORS[described["class"]]
    parameters, learned = ({name: restorer.restore(value) for name, value in described[group].items()}
                           for group in ("parameters", "learned"))  # fmt: skip
    learned = kind.recalled(learned, model)
    who = described["class"]
    for name in ("_loss", "optimizer_"):
        if name in learned:
            restorer.accepted(learned[name], f"{who}'s {name.strip('_')}")
    parameters["callbacks"] = restorer.quiet(parameters.get("callbacks", ()), f"callbacks of {who}")
    for name, value in parameters.items():
        of = None if is_auto(value) else KINDS.get(name)
        restorer.accepted(value, f"{who}'s {name[:40]}", of)
    history = restorer.make("the history", History.of, restorer.restore(described["history"]))
    progress = restorer.accepted(restorer.restore(described["optimizer"]), "the optimizer's state")
    before = restorer.make("the optimizer's state", _progress, network_of(model, "load"), progress)
    estimator: Learner = restorer.make(described["class"], lambda: kind(**parameters))
    for name, value in {**learned, "model_": model, "history_": history, "_before": before}.items():
        setattr(estimator, name, value)
    return estimator


def _describable(network: Network, before: UpdaterProgress | None) -> dict[str, Any] | None:
    """How far the optimizer has come, the states by the names of the parameters that they belong to."""
    if before is None:
        return None
    states = {name: network.views(state) for name, state in before.states.items()}
    observed = before.schedule.observed()
    return {"optimizer": before.kind, "steps": before.steps, "schedule": before.schedule, "observed": observed,
            "states": states}  # fmt: skip


def _progress(network: Network, described: Any) -> UpdaterProgress | None:
    """What `_describable` has described."""
    if described is None:
        return None
    optimizer, schedule = Optimizer.registry[described["optimizer"]], Schedule.make(described["schedule"])
    steps, given = described["steps"], described["states"]
    known = set(optimizer.states) - set(dict(optimizer.optional)) <= set(given) <= set(optimizer.states)
    if type(steps) is not int or not 0 <= steps < 2**53 or not known:
        raise PersistenceError(f"expected the steps and the states of {optimizer.__name__}")
    schedule.resume(described["observed"])
    states = {name: aligned_zeros(network.vector.size, network.dtype) for name in given}
    for name, state in states.items():
        views = network.views(state)
        came = {parameter: (array.dtype, array.shape) for parameter, array in given[name].items()}
        if came != {parameter: (view.dtype, view.shape) for parameter, view in views.items()}:
            raise PersistenceError(f"expected the state {name!r} of the optimizer for every parameter")
        for parameter, view in views.items():
            view[...] = given[name][parameter]
    return UpdaterProgress(optimizer, steps, schedule, states)
