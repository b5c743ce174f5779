"""What a log of commands is executed on: values by key, and a small tree of names.

With `propose="changes"` a leader turns `create` into the change that it makes, as a ZooKeeper leader does: it checks
the parent against its own state, with all that is under way, and copies apply the change without a check. That needs a
log without holes. With commands each copy checks when it executes, and holes do no harm.
"""

from typing import Any

NO_OP: list[Any] = [0, ["noop"]]  # a command of no call


class Register:
    """The state of one copy."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.nodes: set[str] = {"/"}
        self.orphans: list[str] = []  # nodes whose parent is missing: the tree is broken

    def execute(self, command: list[Any]) -> tuple[str, Any]:
        """Execute one command; returns the outcome and the value of its answer."""
        what = command[0]
        if what == "set":
            self.values[command[1]] = command[2]
            return "ok", command[2]
        if what == "get":
            return "ok", self.values.get(command[1])
        if what == "create":
            if parent_of(command[1]) not in self.nodes:
                return "fail", "no parent"
            self.nodes.add(command[1])
            return "ok", command[1]
        if what == "node":
            if parent_of(command[1]) not in self.nodes:
                self.orphans.append(command[1])
            self.nodes.add(command[1])
            return "ok", command[1]
        return "ok", None


def parent_of(path: str) -> str:
    """The name that a name is below."""
    return path.rpartition("/")[0] or "/"
