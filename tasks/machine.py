"""What this process may take of the machine: memory and cores; inside a container what its control group lets."""

import os
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED_BYTES = 1 << 60
"""Control groups of the first version say a number above this where there is no limit."""


def memory_bytes() -> tuple[int, int]:
    """Memory that this process may take: all of it, and what is free now. In a control group at most its limit."""
    said = dict(line.split(":", 1) for line in lines_of("/proc/meminfo") if ":" in line)
    if {"MemTotal", "MemAvailable"} <= said.keys():
        total, free = (int(said[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    else:  # not Linux: half of what is built in counts as free
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = total // 2
    for limit, used in _limits():
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def group_limit_bytes() -> int | None:
    """The smallest limit of memory of this process's control groups; None without one."""
    return min((limit for limit, _ in _limits()), default=None)


def _limits() -> list[tuple[int, int]]:
    """(limit, taken) in bytes, of every control group above this process that has a limit."""
    found = []
    for folder, limit, used in [
        *((folder, "memory.max", "memory.current") for folder in _folders("")),
        *((folder, "memory.limit_in_bytes", "memory.usage_in_bytes") for folder in _folders("memory")),
    ]:
        most, taken = lines_of(folder / limit), lines_of(folder / used)
        if most and taken and most[0].isdigit() and int(most[0]) < UNLIMITED_BYTES:
            found.append((int(most[0]), int(taken[0])))
    return found


def cores() -> tuple[int, float | None]:
    """Cores that this process may run on, and how many of them its control group's quota is worth; None without one."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        allowed = os.cpu_count() or 1
    quotas = []
    for folder in _folders(""):
        said = (lines_of(folder / "cpu.max") or [""])[0].split()
        if len(said) == 2 and said[0].isdigit():
            quotas.append(int(said[0]) / int(said[1]))
    for folder in _folders("cpu"):
        quota, period = lines_of(folder / "cpu.cfs_quota_us"), lines_of(folder / "cpu.cfs_period_us")
        if quota and period and quota[0].isdigit():
            quotas.append(int(quota[0]) / int(period[0]))
    return allowed, min(quotas, default=None)


def whole_cores() -> int:
    """Cores that this process can keep busy, at least one."""
    allowed, quota = cores()
    return max(1, min(allowed, int(quota or allowed)))


def _folders(controller: str) -> list[Path]:
    """The folders of this process's control group and those above it; `controller` empty: of the second version."""
    for line in lines_of(OWN):
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            root = GROUPS / controller
            here = root / path.lstrip("/")
            return [here, *(one for one in here.parents if one == root or root in one.parents)]
    return []


def lines_of(path: str | Path) -> list[str]:
    """The lines of a file of the system; none where it is not there or may not be read."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
