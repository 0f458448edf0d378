"""Whether the net learns.

While it is trained, some rows run through a copy of it after every epoch: what each layer makes of them is noted, shown, and
judged.
"""

from nnkit.inspect.monitor.monitor import Monitor as Monitor  # pickles name it by this path
