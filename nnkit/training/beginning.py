"""What layers begin as, where that depends on data: see `nnkit.Layer.initialise`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkit.core.fields import SELF, each, numbers
from nnkit.engine.operands import Array
from nnkit.engine.program import Program
from nnkit.engine.runner import Runner
from nnkit.engine.workers import single_threaded_blas
from nnkit.kernels.control import Word
from nnkit.network import Network
from nnkit.passes import rows_of
from nnkit.planner import Node, Plan
from nnkit.training.data import taken

__all__ = ["begin_from_data"]

LOOKED_AT = 1 << 23  # numbers of a layer's rows at most; tables of 10 000 rows, and nets 800 wide, are looked at whole
FEWEST = 64  # rows, however wide a layer is


def begin_from_data(network: Network, X: Any, rows: NDArray[np.int64], *, python: bool = False) -> None:
    """Have the layers that begin from data do so, one after the other, each with what those before it give by then.

    Rows pass in evaluation mode. What a layer draws depends on the seed that the network was drawn with, and on its place.

    Parameters
    ----------
    X : the data, as arrays or CSR matrices
    rows : those that are trained on; where these are too many, some of them, drawn at random
    python : run the kernels uncompiled
    """
    waiting = network.as_drawn()
    network.begun()
    if not waiting:
        return
    paths = [path for path, _ in network.homes()]
    widest = max(numbers(shape) for built in network.leaves for shape in (built.in_shape, built.out_shape))
    count = min(len(rows), max(FEWEST, LOOKED_AT // widest))
    random = np.random.default_rng((network.seed, len(paths)))
    sample = taken(X, rows if count == len(rows) else np.sort(random.choice(rows, count, replace=False)))
    plan = Plan(network.dtype, training=False, differentiate=False)
    x = each(Array.rows, network.in_shape, network.input_dtype)
    plan.run(network.placed(), x)
    program = Program(plan.instructions, network.dtype, rows=count, python=python)
    program.controls[0, Word.ROWS] = count
    each(lambda array, given: np.copyto(program.array(array), given, casting="unsafe"), x, sample)
    done = 0
    with single_threaded_blas():  # threads of BLAS would add up in another order
        for node in plan.nodes:
            if node.home not in waiting:
                continue
            waiting.remove(node.home)
            runner = Runner(program, count, part=slice(done, node.end - 1))  # its forward kernel is the last before its end
            runner.order(0, count, 0, 0, 0)
            runner.run(0, 1)
            done = node.end - 1
            draws = np.random.default_rng((network.seed, paths.index(node.home)))
            network.begin(node.home, node.built.layer.initialise(_seen(program, node, count), draws))


def _seen(program: Program, node: Node, rows: int) -> Any:
    """What a layer reads, as arrays that it cannot write to."""
    seen = {name: rows_of(program, array, rows) for name, array in node.inputs.items()}
    for array in seen.values():
        array.flags.writeable = False
    return seen[SELF] if list(seen) == [SELF] else seen
