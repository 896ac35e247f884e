"""The number of CPU cores this process may use: CPU affinity, CPU limits of its container, ``OMP_NUM_THREADS``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Root of the file system from which the limits of a container (cgroups) are read."""


def usable_cores() -> int:
    """Number of CPU cores that this process may use at once, at least 1."""
    return _limit()[0]


def default_threads() -> tuple[int, str]:
    """Default number of CPU threads, and the reason, which is empty if all cores are used.

    ``OMP_NUM_THREADS`` takes precedence; of a list such as ``4,2``, for nested loops, the first number applies.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text), "OMP_NUM_THREADS"
    return _limit()


def describe_threads(threads: int, reason: str = "") -> str:
    """Describe the number of threads, with the reason if there is one.

    >>> describe_threads(2, "OMP_NUM_THREADS")
    '2 threads (OMP_NUM_THREADS)'
    """
    return f"{threads} thread{'' if threads == 1 else 's'}" + (f" ({reason})" if reason else "")


def _limit() -> tuple[int, str]:
    machine = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    quota = min(_quotas(ROOT), default=math.inf)
    if quota < affinity:
        return max(1, math.ceil(quota)), f"container CPU limit of {quota:g}"
    return affinity, "CPU affinity" if affinity < machine else ""


def _quotas(root: Path) -> Iterator[float]:
    """The limits, in cores, of the process's control groups and their parents."""
    groups = root / "sys" / "fs" / "cgroup"
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        controllers, _, group = line.partition(":")[2].partition(":")
        if not controllers:  # cgroup v2
            for folder in _with_parents(groups, group):
                yield from _quota(*_read(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):  # v1
            for mount in {groups / "cpu", groups / controllers}:
                for folder in _with_parents(mount, group):
                    yield from _quota(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _with_parents(mount: Path, group: str) -> Iterator[Path]:
    """The directory of a group and its parents; a container may see its own group as the mount itself."""
    folder = mount / group.lstrip("/")
    yield folder
    yield from (parent for parent in folder.parents if parent.is_relative_to(mount))


def _quota(quota: str = "", period: str = "", *_: str) -> Iterator[float]:
    """Convert microseconds of CPU time per period to cores; nothing for ``max``, -1 or a missing file."""
    try:
        if int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)
    except ValueError:
        return


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
