"""How much memory a process may still take."""

import os
from collections.abc import Iterator
from pathlib import Path

_MEMINFO, _CGROUPS, _MOUNTED = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Of both versions of Linux's control groups: folder of the hierarchy, limit, use, and what can be reclaimed of that.
_VERSIONS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, on this machine and within the job's or container's limit.

    None where the system does not tell.
    """
    left = [*_left_in_machine(), *_left_in_groups()]
    return max(0, min(left)) if left else None


def _left_in_machine() -> Iterator[int]:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        if "SC_AVPHYS_PAGES" in os.sysconf_names:
            yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return
    yield from (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _left_in_groups() -> Iterator[int]:
    """What each control group that this process is in, and each above it, leaves; a container may show only some."""
    try:
        lines = _CGROUPS.read_text().splitlines()
    except OSError:
        return
    for number, controllers, path in (line.split(":", 2) for line in lines):
        hierarchy, limit, use, reclaimable = _VERSIONS[number != "0"]
        if number != "0" and "memory" not in controllers.split(","):
            continue
        top = _MOUNTED / hierarchy
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):
                yield from _left_in(folder, limit, use, reclaimable)


def _left_in(folder: Path, limit: str, use: str, reclaimable: str) -> Iterator[int]:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / use).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # the group is not mounted here, or has no such file
        return
    if most != "max":
        yield int(most) - used + int(stat.get(reclaimable, 0))
