"""nnkit: small and medium neural networks on the CPU, at the speed of the machine.

Layers, activations, losses and optimizers are classes with kernels; a `Sequential` of them trains as machine code.

>>> import nnkit as nn
>>> nn.Sequential([nn.Linear(128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(10)])
Sequential([Linear(out_features=128), ReLU(), Dropout(rate=0.2), Linear(out_features=10)])
"""

from types import ModuleType as _Module
from typing import TYPE_CHECKING

from nnkit import registry as registry
from nnkit.about import __version__ as __version__
from nnkit.activations import *  # noqa: F403
from nnkit.core.activation import Activation as Activation
from nnkit.core.callback import Callback as Callback
from nnkit.core.calls import nearest as _nearest
from nnkit.core.formulas import Formulas as Formulas
from nnkit.core.initializer import Initializer as Initializer
from nnkit.core.layer import Layer as Layer
from nnkit.core.layer import PythonLayer as PythonLayer
from nnkit.core.loss import Loss as Loss
from nnkit.core.loss import PythonLoss as PythonLoss
from nnkit.core.metric import Metric as Metric
from nnkit.core.optimizer import Optimizer as Optimizer
from nnkit.core.part import Example as Example
from nnkit.core.part import Shape as Shape
from nnkit.core.registry import register as register
from nnkit.core.schedule import Schedule as Schedule
from nnkit.core.span import Span as Span
from nnkit.core.trainer import Iteration as Iteration
from nnkit.core.trainer import Trainer as Trainer
from nnkit.core.words import CLASSES as _CLASSES
from nnkit.core.words import ELSEWHERE as _ELSEWHERE
from nnkit.engine.critical import imported as _imported
from nnkit.errors import *  # noqa: F403
from nnkit.initializers import *  # noqa: F403
from nnkit.inspect.monitor.monitor import Monitor as Monitor
from nnkit.layers import *  # noqa: F403
from nnkit.losses import *  # noqa: F403
from nnkit.metrics import *  # noqa: F403
from nnkit.model import Sequential as Sequential
from nnkit.optimizers import *  # noqa: F403
from nnkit.persistence.checkpoint import Checkpoint as Checkpoint
from nnkit.persistence.pytorch import torch_weights as torch_weights
from nnkit.schedules import *  # noqa: F403
from nnkit.training.callbacks import *  # noqa: F403
from nnkit.training.history import History as History
from nnkit.training.pruning import PruneTrials as PruneTrials

if TYPE_CHECKING:
    from nnkit import onnx as onnx
    from nnkit import testing as testing
    from nnkit.estimators import NNClassifier as NNClassifier
    from nnkit.estimators import NNRegressor as NNRegressor
    from nnkit.estimators import TableClassifier as TableClassifier
    from nnkit.estimators import TableRegressor as TableRegressor
    from nnkit.inspect.decision import plot_decision as plot_decision
    from nnkit.inspect.effects.dependence import plot_effects as plot_effects
    from nnkit.inspect.effects.expected import expected_gradients as expected_gradients
    from nnkit.inspect.effects.importance import feature_importance as feature_importance
    from nnkit.inspect.trace.trace import trace as trace
    from nnkit.loading import load as load
    from nnkit.many import fit_many as fit_many
    from nnkit.search import HalvingSearchCV as HalvingSearchCV
    from nnkit.search import SearchCV as SearchCV
    from nnkit.search import cross_val_score as cross_val_score
    from nnkit.search import cross_validate as cross_validate
    from nnkit.search import learning_curve as learning_curve
    from nnkit.search import side_by_side as side_by_side
    from nnkit.search import validation_curve as validation_curve
    from nnkit.tables.scheme import TableScheme as TableScheme
    from nnkit.training.function import row_gradients as row_gradients
    from nnkit.training.function import value_and_grad as value_and_grad

# What is slow to import is loaded when it is asked for: names and where they are, and modules.
_LATER = {
    "HalvingSearchCV": "nnkit.search",
    "NNClassifier": "nnkit.estimators",
    "NNRegressor": "nnkit.estimators",
    "SearchCV": "nnkit.search",
    "TableClassifier": "nnkit.estimators",
    "TableRegressor": "nnkit.estimators",
    "TableScheme": "nnkit.tables.scheme",
    "cross_val_score": "nnkit.search",
    "cross_validate": "nnkit.search",
    "expected_gradients": "nnkit.inspect.effects.expected",
    "feature_importance": "nnkit.inspect.effects.importance",
    "fit_many": "nnkit.many",
    "learning_curve": "nnkit.search",
    "load": "nnkit.loading",
    "plot_decision": "nnkit.inspect.decision",
    "plot_effects": "nnkit.inspect.effects.dependence",
    "row_gradients": "nnkit.training.function",
    "side_by_side": "nnkit.search",
    "trace": "nnkit.inspect.trace.trace",
    "validation_curve": "nnkit.search",
    "value_and_grad": "nnkit.training.function",
}
_MODULES = ("onnx", "testing")

__all__: list[str] = sorted(  # what is imported above, without the modules on the way there
    {"registry", *_LATER, *_MODULES}
    | {name for name, item in globals().items() if name[0] != "_" and not isinstance(item, _Module | bool)}
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import it."""
        if name in _MODULES:
            return _imported(f"nnkit.{name}")
        if name in _LATER:
            return getattr(_imported(_LATER[name]), name)
        if name in _ELSEWHERE:
            raise AttributeError(f"nnkit has no {name!r}; {_ELSEWHERE[name]}", name=name)
        near = None if name.startswith("_") else _CLASSES.get(name) or _nearest(name, __all__)
        raise AttributeError(f"nnkit has no {name!r}" + (f"; did you mean {near!r}?" if near else ""), name=name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
