"""`nnkit.inspect.cost.summary` as it was called before: pickles name its classes by this path."""

from nnkit.inspect.cost.summary import LayerSummary as LayerSummary
from nnkit.inspect.cost.summary import Summary as Summary
