"""How many descriptors this process may have, and how many of them clients may take."""

import resource
from contextlib import suppress

_RESERVED = 96  # for files, for the other servers' links and for the admin ports


def raise_limit() -> None:
    """Have as many as the system allows without asking, as a JVM does at its start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems say there is no limit, and have one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_clients() -> int | None:
    """How many clients leave enough descriptors for everything else; None where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else max(soft - _RESERVED, soft // 2)
