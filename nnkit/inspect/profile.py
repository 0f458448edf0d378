"""`nnkit.inspect.cost.profile` as it was called before: pickles name its classes by this path."""

from nnkit.inspect.cost.profile import KernelTime as KernelTime
from nnkit.inspect.cost.profile import Portion as Portion
from nnkit.inspect.cost.profile import Profile as Profile
