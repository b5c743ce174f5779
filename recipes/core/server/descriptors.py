"""The limit of this process's file descriptors, and how many of them clients may use."""

import os
import resource
from contextlib import suppress

_RESERVED = 96  # for files, for the other servers' links and for the admin ports


def raise_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit, as a JVM does at its start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems report no limit but have one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def in_use() -> tuple[int, int]:
    """How many descriptors this process has open, and how many it may have; -1 where the system does not tell."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        count = len(os.listdir("/proc/self/fd")) - 1  # without the one of this list
    except OSError:
        count = -1
    return count, -1 if soft == resource.RLIM_INFINITY else soft


def most_clients() -> int | None:
    """The most clients that leave enough descriptors for everything else; None without a limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else max(soft - _RESERVED, soft // 2)
