"""``nnkit warmup``."""

from __future__ import annotations

import time

__all__ = ["warmup"]


def warmup() -> int:
    """Compile the float32 kernels of all parts ahead, on all cores.

    They are kept on disk (`nnkit cache` says where): without it, each is compiled when it is first used.
    """
    from rich.progress import track

    from nnkit.engine.cache import kernel_cache
    from nnkit.warmup import parts, warm_up

    begin, total = time.perf_counter(), len(parts())
    cpu = sum(track(warm_up(), "compiling", total + 2))
    print(f"{total} parts in {time.perf_counter() - begin:.0f} s, {cpu:.0f} s of it compiling, summed over all cores")
    print(f"kernels are kept in {kernel_cache}")
    return 0
