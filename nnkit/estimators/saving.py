"""What of an estimator is in a file: around its net, hyper-parameters, what was learned, and the optimizer's state."""

from __future__ import annotations

from typing import Any, TypeVar

from numpy.typing import NDArray

from nnkit.core.optimizer import Optimizer, UpdaterProgress
from nnkit.core.schedule import Schedule
from nnkit.engine.memory import aligned_zeros
from nnkit.errors import NotBuiltError, PersistenceError
from nnkit.estimators.learned import Learner
from nnkit.estimators.members import apart
from nnkit.estimators.parameters import KINDS, is_auto
from nnkit.model import Sequential
from nnkit.network import Network, network_of
from nnkit.persistence.description import Describer, Restorer
from nnkit.persistence.model import describe, pack
from nnkit.training.history import History

__all__ = ["described", "restored", "saved"]

E = TypeVar("E", bound=type[Learner])
AROUND = ("learned", "history", "optimizer")
OF_MEMBER = ("n_iter_", "loss_", "loss_curve_", "_random")  # attributes that one of several nets has for itself
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
    members, net = learned.pop("estimators_", []), learned["model_"]
    model = describe(network_of(net, f"{who}.save"), net.last_fit, describer)
    around = {
        "class": who,
        "parameters": {name: describer.describe(value, f"{who}'s {name}")
                       for name, value in estimator.get_params(deep=False).items()},
        **_described_net(learned, describer, who),
    }  # fmt: skip
    if members:
        around["nets"] = [_described_member(member, describer, who) for member in members]
    return pack(describer, model=model, estimator=around)


def _described_net(learned: dict[str, Any], describer: Describer, who: str) -> dict[str, Any]:
    """What a fit leaves behind around a net, as JSON."""
    network = network_of(learned.pop("model_"))
    history, before = learned.pop("history_"), learned.pop("_before")
    return {
        "learned": {name: describer.describe(value, f"{who}'s {name}") for name, value in learned.items()},
        "history": describer.describe(history.record(), "the history"),
        "optimizer": describer.describe(_describable(network, before), "the optimizer's state"),
    }


def _described_member(member: Learner, describer: Describer, who: str) -> dict[str, Any]:
    """What one of several nets has for itself, beside its part of the whole."""
    own = {name: value for name, value in member.noted().items() if name in (*OF_MEMBER, "model_", "history_", "_before")}
    seed = member.get_params(deep=False)["random_state"]
    return {"seed": seed, "position": list(network_of(member.model_).random_position), **_described_net(own, describer, who)}


def restored(described: Any, restorer: Restorer, model: Sequential) -> Learner:
    """The estimator that `save` has described, around its net.

    Raises
    ------
    PersistenceError
        It was not described so.
    """
    names = {"class", "parameters", *AROUND}
    if not isinstance(described, dict) or set(described) - {"nets"} != names or described["class"] not in [*ESTIMATORS]:
        raise PersistenceError(f"expected one of {', '.join(ESTIMATORS)}")
    who, kind = described["class"], ESTIMATORS[described["class"]]
    parameters, learned = (_restored_values(described[group], restorer) for group in ("parameters", "learned"))
    members = _restored_members(described.get("nets", []), learned, restorer, kind, model)
    net: Sequential = members[0][1]["model_"] if members else model  # which the attributes are of
    attributes = {**_restored_net(described, learned, restorer, kind, net), "model_": model}
    parameters["callbacks"] = restorer.quiet(parameters.get("callbacks", ()), f"callbacks of {who}")
    for name, value in parameters.items():
        of = None if is_auto(value) else KINDS.get(name)
        restorer.accepted(value, f"{who}'s {name[:40]}", of)

    def make(own: dict[str, Any], attributes: dict[str, Any]) -> Learner:
        estimator: Learner = restorer.make(who, lambda: kind(**parameters | own))
        estimator.__dict__.update(attributes)
        return estimator

    if members:
        alone = {"n_members": 1, "callbacks": ()}
        attributes["estimators_"] = [make(alone | {"random_state": seed}, its) for seed, its in members]
    return make({}, attributes)


def _restored_values(described: Any, restorer: Restorer) -> dict[str, Any]:
    if not isinstance(described, dict):
        raise PersistenceError("expected parameters and attributes by name")
    return {name: restorer.restore(value) for name, value in described.items()}


def _restored_net(
    described: dict[str, Any], learned: dict[str, Any], restorer: Restorer, kind: type[Learner], net: Sequential
) -> dict[str, Any]:
    """What a fit has left behind around a net, with the attributes ``learned``, all of it checked."""
    learned = kind.recalled(learned, net)
    for name in ("_loss", "optimizer_"):
        if name in learned:
            restorer.accepted(learned[name], f"{kind.__name__}'s {name.strip('_')}")
    history = restorer.make("the history", History.of, restorer.restore(described["history"]))
    progress = restorer.accepted(restorer.restore(described["optimizer"]), "the optimizer's state")
    before = restorer.make("the optimizer's state", _progress, network_of(net, "load"), progress)
    return {**learned, "model_": net, "history_": history, "_before": before}


def _restored_members(
    described: Any, shared: dict[str, Any], restorer: Restorer, kind: type[Learner], whole: Sequential
) -> list[tuple[int, dict[str, Any]]]:
    """Of each of several nets the seed, and what its fit has left behind, where all have learned ``shared``."""
    names = {"seed", "position", *AROUND}
    if not isinstance(described, list) or not all(isinstance(item, dict) and set(item) == names for item in described):
        raise PersistenceError("expected several nets, each with its seed and what it has learned")
    for item in described:
        numbers = [item["seed"], *item["position"]] if isinstance(item["position"], list) else []
        if len(numbers) != 3 or any(type(number) is not int or not 0 <= number < 2**62 for number in numbers):
            raise PersistenceError("expected the seed of a net, and its position in random numbers")
    layers, found = shared.get("n_layers_"), []
    positions = [tuple(item["position"]) for item in described]
    nets = apart(whole, positions, layers) if isinstance(layers, int) and described else []
    for item, net in zip(described, nets, strict=True):
        own = _restored_values(item["learned"], restorer)
        if own.keys() != set(OF_MEMBER):
            raise PersistenceError(f"expected {', '.join(OF_MEMBER)} of each net")
        found.append((item["seed"], _restored_net(item, shared | own, restorer, kind, net)))
    return found


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
