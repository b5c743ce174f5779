"""The identity of this machine and of its boot: several machines can see a directory on a network disk."""

import os
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

_MACHINE_ID = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_BOOT_ID = ("/proc/sys/kernel/random/boot_id",)


class Machine(NamedTuple):
    """A machine as it runs now.

    machine: a hash of its id, since the id itself is confidential. boot: differs after each start; containers on one
    kernel have the same. host: its name, for people.
    """

    machine: str
    boot: str
    host: str

    def is_elsewhere(self) -> bool:
        """Whether this is another machine, and another kernel, than this process runs on."""
        here = this_machine()
        same_kernel = self.boot == here.boot != ""
        return not same_kernel and self.machine != here.machine


def this_machine() -> Machine:
    """The machine that this process runs on."""
    host = os.uname().nodename
    identity = _first_line(_MACHINE_ID) or host
    return Machine(sha256(b"recipes " + identity.encode()).hexdigest()[:32], _first_line(_BOOT_ID), host)


def _first_line(files: tuple[str, ...]) -> str:
    for file in files:
        try:
            line = Path(file).read_text().strip()
        except OSError:
            continue
        if line:
            return line
    return ""
