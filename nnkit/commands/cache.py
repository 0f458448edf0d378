"""``nnkit cache``."""

from __future__ import annotations

from typing import Literal

__all__ = ["cache"]


def cache(action: Literal["info", "clear"] = "info") -> int:
    """Say where compiled kernels are kept and how many there are, or remove them.

    Nothing is lost: what is needed again is compiled again. It may be done while other processes use them. The environment
    variable NNKIT_CACHE_DIR sets another folder; nobody but you may be able to write into it.

    Parameters
    ----------
    action : info: where, how many, how large; clear: remove those of all versions of nnkit
    """
    from nnkit.engine.cache import kernel_cache
    from nnkit.inspect.pictures.table import count

    print(kernel_cache)
    found = kernel_cache.clear() if action == "clear" else kernel_cache.count()
    print(f"{count(found.kernels)} kernels, {found.size / 1e6:.1f} MB{', removed' if action == 'clear' else ''}")
    return 0
