"""All parts by name: one mapping for each kind.

>>> import nnkit as nn
>>> nn.registry.activations["relu"]
<class 'nnkit.activations.ReLU'>
"""

from nnkit.core.activation import Activation
from nnkit.core.callback import Callback
from nnkit.core.initializer import Initializer
from nnkit.core.layer import Layer
from nnkit.core.loss import Loss
from nnkit.core.metric import Metric
from nnkit.core.optimizer import Optimizer
from nnkit.core.schedule import Schedule
from nnkit.core.trainer import Trainer

__all__ = ["activations", "callbacks", "initializers", "layers", "losses", "metrics", "optimizers", "schedules", "trainers"]

layers = Layer.registry
activations = Activation.registry
losses = Loss.registry
optimizers = Optimizer.registry
trainers = Trainer.registry
initializers = Initializer.registry
schedules = Schedule.registry
metrics = Metric.registry
callbacks = Callback.registry
