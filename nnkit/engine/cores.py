"""How many cores this process may use: of the machine, of its affinity, and of its time in Linux's control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

__all__ = ["usable_cores"]


@cache
def usable_cores() -> int:
    """Cores, at least 1; looked up once in a process, for 0.2 ms."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cores_by_quota()
    return max(1, count if quota >= count else math.ceil(quota))


def cores_by_quota(root: Path = Path("/")) -> float:
    """How many cores' worth of time this process's control groups, and those that they are in, leave it; inf for any.

    Containers and services are limited so. ``root`` is where /proc and the file system of the groups are looked for.
    """
    quotas = [math.inf]
    with suppress(OSError, ValueError):  # this system knows no control groups
        for folder in _folders(root):
            quotas += _quotas(folder)
    return min(quotas)


def _folders(root: Path) -> Iterator[Path]:
    """The folders of the groups of this process that rule over time, and of those around them.

    Lines of /proc/self/cgroup are ``4:cpu,cpuacct:/group`` (version 1) or ``0::/group`` (version 2). Where these hierarchies
    are mounted, mountinfo says: ``... /beginning /mount/point options - cgroup source options``.
    """
    groups = {}
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            groups["cgroup" if controllers else "cgroup2"] = PurePosixPath(path)
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options, *_ = after.split(" ")
        if kind not in groups or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        beginning, point = before.split(" ")[3:5]
        top = root / point.lstrip("/")
        group = groups[kind]
        inner = group.relative_to(beginning) if group.is_relative_to(beginning) else PurePosixPath()  # a container sees its own
        yield from (top / part for part in (inner, *inner.parents))


def _quotas(folder: Path) -> Iterator[float]:
    """What a group's own files say: time allowed in a period, by the period."""
    for read in (_version_2, _version_1):
        with suppress(OSError, ValueError):
            allowed, period = read(folder)
            if allowed > 0 and period > 0:
                yield allowed / period


def _version_2(folder: Path) -> tuple[float, float]:
    allowed, period = (folder / "cpu.max").read_text().split()
    return float(allowed.replace("max", "inf")), float(period)


def _version_1(folder: Path) -> tuple[float, float]:
    allowed, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return float(allowed), float(period)  # -1 where there is no quota
