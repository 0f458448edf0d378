"""`nnkit.inspect.monitor.look` as it was called before: pickles name its classes by this path."""

from nnkit.inspect.monitor.look import InputLook as InputLook
from nnkit.inspect.monitor.look import LayerLook as LayerLook
from nnkit.inspect.monitor.look import Look as Look
from nnkit.inspect.monitor.look import ParameterLook as ParameterLook
