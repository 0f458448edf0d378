"""Training steps of convolutions, recurrence, normalisation and attention beside PyTorch's."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.nets import Net
from benchmarks.peers import NnkitTrainer, TorchTrainer
from benchmarks.workloads import Problem

__all__ = ["NnkitNetTrainer", "TorchNetTrainer"]


class TorchNetTrainer(TorchTrainer):
    """The plain eager loop with a net of PyTorch's own modules; images in the faster of its two orders of memory."""

    TRIAL = 5  # steps
    channels_last: bool

    def weights(self, net: Net) -> dict[str, NDArray[Any]]:
        """What everybody begins from."""
        import torch

        torch.manual_seed(0)
        return {name: tensor.numpy().copy() for name, tensor in net.torch().state_dict().items()}

    def prepare(self, problem: Problem) -> str:
        self.channels_last = False
        note = super().prepare(problem)
        if not problem.workload.image:
            return note
        self.channels_last = self.fastest("channels_last", (False, True))
        return f"{note}; {'channels_last' if self.channels_last else 'contiguous images, faster than channels_last'}"

    def reset(self) -> None:
        import torch

        torch.manual_seed(0)
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        self.model = self.problem.workload.torch().to(memory_format=order)
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in self.problem.weights.items()})
        if self.problem.workload.image:
            self.X = self.X.contiguous(memory_format=order)
        self.loss = lambda out, target: torch.nn.functional.cross_entropy(out.flatten(0, -2), target.flatten())


class NnkitNetTrainer(NnkitTrainer):
    """``Sequential.fit`` from PyTorch's weights."""
