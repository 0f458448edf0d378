"""PyTorch's words and where they are here: ``python -m benchmarks.coverage [--markdown]``.

Every public name of torch.nn, torch.optim, torch.optim.lr_scheduler, torch.optim.swa_utils and torch.nn.init, with nnkit's
beside it, or the reason why there is none. What is here is read from PyTorch and nnkit themselves: a part that has PyTorch's
name is found as soon as it is registered. Only names that differ, and reasons, are written down below.
"""

from __future__ import annotations

import argparse
import inspect
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import nnkit as nn
from nnkit.core.words import CLASSES, NEEDLESS, RENAMED
from nnkit.inspect.pictures.table import Table

__all__ = ["ELSEWHERE", "LATER", "REASONS", "Word", "main", "markdown", "totals", "words"]

# PyTorch's name -> how it is written here, where that is not known from `nnkit.core.words.CLASSES`.
ELSEWHERE = {
    "CosineAnnealingWarmRestarts": "CosineSchedule(restart=10, stretch=2)",
    "CrossMapLRN2d": "LocalResponseNorm",
    "NLLLoss2d": "NLLLoss",
    "AveragedModel": "SWA",
    "SWALR": "LinearSchedule().then('constant', after=10)",
    "get_ema_avg_fn": "EMA",
    "get_ema_multi_avg_fn": "EMA",
    "get_swa_avg_fn": "SWA",
    "get_swa_multi_avg_fn": "SWA",
    "update_bn": "SWA",
    "calculate_gain": "KaimingUniform('relu')",
    "uniform_": "Uniform",
    "normal_": "Normal",
    "trunc_normal_": "TruncatedNormal",
    "constant_": "Constant",
    "ones_": "Ones",
    "zeros_": "Zeros",
    "eye_": "Eye",
    "dirac_": "Dirac",
    "xavier_uniform_": "GlorotUniform",
    "xavier_normal_": "GlorotNormal",
    "kaiming_uniform_": "KaimingUniform",
    "kaiming_normal_": "KaimingNormal",
    "orthogonal_": "Orthogonal",
    "sparse_": "Sparse",
}

_LAZY = "sizes of the input always come from the data: the layer without Lazy does it"
_PYTHON = "layers are held by Sequential, and by lists and dicts of Python's own"
_DECLARED = "a layer's build declares what it has: self.parameter(name, shape) and self.state(name, shape)"
_BASE = "a base class of layers that are here"

# PyTorch's name -> why there is none here.
REASONS = {
    **dict.fromkeys(
        ("LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
         "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d",
         "LazyInstanceNorm3d", "LazyLinear"), _LAZY,
    ),
    **dict.fromkeys(("Container", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList"), _PYTHON),
    **dict.fromkeys(("Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter"), _DECLARED),
    **dict.fromkeys(("RNNBase", "RNNCellBase"), _BASE),
    "DataParallel": "fit takes all cores: fit(n_threads=...) says how many",
    "LinearCrossEntropyOptions": "how PyTorch computes LinearCrossEntropyLoss, not what it is",
    "SyncBatchNorm": "batch norms see the whole batch, whatever the number of threads",
    "TripletMarginWithDistanceLoss": "its distance is a function in Python: write a PythonLoss",
    "SparseAdam": "gradients are dense",
    "swap_in_optimizer_params_and_state": "an optimizer's state belongs to the model that it is at work on",
    **dict.fromkeys(
        ("uniform", "normal", "constant", "eye", "dirac", "xavier_uniform", "xavier_normal", "kaiming_uniform",
         "kaiming_normal", "orthogonal", "sparse"), "an old name of the function with an underscore",
    ),
}  # fmt: skip

# What is to come.
LATER: frozenset[str] = frozenset()


class Word(NamedTuple):
    """A public name of PyTorch.

    Attributes
    ----------
    module, name : where it is, and what it is called
    ours : how it is written here, or ""
    reason : why it is not here, or ""
    without : arguments that it takes there and not here, which mean something there
    """

    module: str
    name: str
    ours: str
    reason: str
    without: tuple[str, ...]

    @property
    def where(self) -> str:
        """Which column of the totals it counts in."""
        if self.ours:
            return "here" if self.ours == self.name else "under another name"
        return "there is a reason" if self.reason else "to come" if self.name in LATER else "without a reason"


KINDS = ("here", "under another name", "there is a reason", "to come", "without a reason")


def theirs() -> dict[str, dict[str, Any]]:
    """PyTorch's public names by module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from torch.optim import lr_scheduler, swa_utils
    classes = {name: item for name, item in vars(torch.nn).items() if inspect.isclass(item) and name[0] != "_"}
    listed = {name: {key: getattr(module, key) for key in module.__all__} for name, module in
              {"torch.optim": torch.optim, "torch.optim.lr_scheduler": lr_scheduler, "torch.optim.swa_utils": swa_utils,
               "torch.nn.init": torch.nn.init}.items()}  # fmt: skip
    return {module: {name: item for name, item in sorted(items.items()) if not inspect.ismodule(item)}
            for module, items in {"torch.nn": classes, **listed}.items()}  # fmt: skip


def is_here(written: str) -> bool:
    """Whether there is such a name, or a part that can be made so."""
    if re.split(r"\W", written)[0] not in nn.__all__:
        return False
    try:
        return eval(f"nn.{written}", {"nn": nn}) is not None
    except nn.CallError:
        return False


def ours_of(name: str) -> str:
    """How a name of PyTorch's is written here, or ""."""
    known = filter(None, (ELSEWHERE.get(name), name, CLASSES.get(name)))
    return next(filter(is_here, known), "")


def left_out(item: Any, written: str) -> tuple[str, ...]:
    """The arguments that PyTorch's class takes, ours does not, and nothing else stands for."""
    part = getattr(nn, written, None)
    if not inspect.isclass(item) or not inspect.isclass(part):
        return ()
    own = inspect.signature(part).parameters
    here = {name for name in inspect.signature(item.__init__).parameters if {name, *RENAMED.get(name, ())} & own.keys()}
    no_such = NEEDLESS["foreach"]
    mechanics = {"self", "args", "kwargs", "defaults", "epochs", "foreach", "fused", "capturable", "differentiable"}
    return tuple(
        name for name in inspect.signature(item.__init__).parameters
        if name[0] != "_" and name not in mechanics | here and NEEDLESS.get(name, no_such) == no_such
    )


def words() -> list[Word]:
    """All of PyTorch's words."""
    found = []
    for module, items in theirs().items():
        for name, item in items.items():
            written = ours_of(name)
            reason = "" if written else REASONS.get(name, "")
            found.append(Word(module, name, written, reason, left_out(item, written) if written else ()))
    return found


def totals(found: Sequence[Word]) -> list[list[str]]:
    """How many names of each module are here, or why not."""
    modules = list(dict.fromkeys(word.module for word in found))
    rows = [(module, [word for word in found if word.module == module]) for module in modules]
    return [[module, str(len(some)), *(str(sum(word.where == kind for word in some)) for kind in KINDS)]
            for module, some in [*rows, ("all", list(found))]]  # fmt: skip


def told(word: Word) -> str:
    """What there is to say of a word beside its name here."""
    if word.ours:
        return f"without {', '.join(word.without)}" if word.without else ""
    return word.reason or ("to come" if word.name in LATER else "")


def markdown(found: Sequence[Word]) -> str:
    """The table as a page."""
    lines = [
        "# PyTorch's words, and nnkit's", "",
        "What is called alike takes the same arguments with the same meaning, and gives the same numbers; sizes of the input",
        "come from the data. Arguments that PyTorch has and nnkit has not are named. Written by",
        "`python -m benchmarks.coverage --markdown`.", "",
        "| module | names | " + " | ".join(KINDS) + " |", "|---|" + "---:|" * (len(KINDS) + 1),
        *(f"| {' | '.join(row)} |" for row in totals(found)),
    ]  # fmt: skip
    for module in dict.fromkeys(word.module for word in found):
        lines += ["", f"## {module}", "", "| PyTorch | nnkit | |", "|---|---|---|"]
        lines += [f"| `{word.name}` | {f'`{word.ours}`' if word.ours else ''} | {told(word)} |"
                  for word in found if word.module == module]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="the table as a page, for PYTORCH.md")
    found = words()
    if parser.parse_args().markdown:
        print(markdown(found))
        return
    rows = [[word.module, word.name, word.ours, told(word)] for word in found]
    print(Table("PyTorch's words", ["module", "PyTorch", "nnkit", ""], rows, words=4))
    print(Table("\nHow many", ["module", "names", *KINDS], totals(found)))


if __name__ == "__main__":
    main()
