"""Recurrent layers: a state that every step of a sequence changes.

All of them work alike. The product of the inputs of all steps with ``weight_ih`` is one matrix product. Then each step
multiplies the state before it with ``weight_hh`` and goes through the gates, the only thing in which the layers differ.
Backward takes the steps the other way round; the weights' gradients are again one matrix product over all steps.

Working arrays have the steps first, in the order in which they are taken (``reverse``: the last one first), so that what a
step needs of all rows is one contiguous matrix. A padded step leaves the state as it was.
"""

from nnkit.layers.recurrent.cells import GRUCell, LSTMCell, RNNCell
from nnkit.layers.recurrent.gru import GRU
from nnkit.layers.recurrent.lstm import LSTM
from nnkit.layers.recurrent.masking import Masking
from nnkit.layers.recurrent.rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "Masking", "RNNCell"]
