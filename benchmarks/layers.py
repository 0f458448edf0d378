"""Training steps of convolutions, recurrence, normalisation and attention beside PyTorch's."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .image_nets import IMAGE_NETS
from .nets import NETS, Net
from .peers import NnkitTrainer, TorchTrainer
from .registry import Options, suite
from .report import Section
from .sequence_nets import SEQUENCE_NETS
from .training import OWN, Workers, side_by_side
from .workloads import Problem

__all__ = ["NnkitNetTrainer", "TorchNetTrainer", "layers"]


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
        last = torch.channels_last_3d if self.X.dim() == 5 else torch.channels_last
        order = last if self.channels_last else torch.contiguous_format
        self.model = self.problem.workload.torch().to(memory_format=order)
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in self.problem.weights.items()})
        if self.problem.workload.image:
            self.X = self.X.contiguous(memory_format=order)
        if self.problem.workload.loss == "mse":
            self.loss = torch.nn.functional.mse_loss
        else:
            self.loss = lambda out, target: torch.nn.functional.cross_entropy(out.flatten(0, -2), target.flatten())


class NnkitNetTrainer(NnkitTrainer):
    """``Sequential.fit`` from PyTorch's weights."""

    def build(self, problem: Problem) -> Any:
        import nnkit as nn

        return nn.Sequential(problem.workload.layers(nn)).build(problem.X.shape[1:], random_state=0)

    def reset(self) -> None:
        import nnkit as nn

        if self.problem.weights is None:
            self.model = self.build(self.problem)
        else:
            nn.torch_weights(self.model, self.problem.weights)


def _problem(net: Net, workers: Workers) -> Problem:
    """The net's data and PyTorch's weights; None where there is no PyTorch."""
    torch = next((worker for (name, _), worker in workers.items() if name == "torch" and not isinstance(worker, str)), None)
    return Problem(net, *net.data(), torch and torch.call("weights", net))


@suite("layers", "training of convolutions, recurrence, normalisation and attention beside PyTorch, from its weights")
def layers(options: Options) -> list[Section]:
    notes = [
        "Cross entropy, of images squared errors; the same batches in the same order. Losses may differ by 1 %; norms' by 10 "
        "%: each library draws dropout's zeros in its own way.",
        "GFLOP/s: products with weights and, in attention, of the pairs that a causal mask leaves; not pooling, norms, exp.",
    ]
    trainers = {OWN: NnkitNetTrainer, "torch": TorchNetTrainer}
    return side_by_side("Layers", (*NETS, *IMAGE_NETS, *SEQUENCE_NETS), trainers, _problem, options, notes)
