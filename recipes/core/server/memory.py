"""How much memory this process may use, by the machine, its control group and its own limits."""

import os
import resource
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def default_limit_bytes() -> int:
    """How much the store may take unless zoo.cfg says otherwise: half of it. The rest is for all else and for peaks."""
    return available_bytes() // 2


def available_bytes(process: Path = Path("/proc/self/cgroup"), groups: Path = _GROUPS) -> int:
    """The least of these limits. process, groups: where Linux shows a process's control group, and a group's limits."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits += [soft for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA) if (soft := resource.getrlimit(kind)[0]) > 0]
    try:
        lines = process.read_text().splitlines()
    except OSError:  # no Linux
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (groups / "memory", "memory.limit_in_bytes") if controllers else (groups, "memory.max")
        group = root / path.lstrip("/")
        for each in (group, *group.parents):  # inside a container the path may not be there: its root is
            if each == root.parent:
                break
            try:
                limits.append(int((each / name).read_text()))
            except (OSError, ValueError):  # there is none, or it is "max"
                continue
    return min(limits)
