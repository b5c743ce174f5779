"""The import arrows between the rooms, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "recipes").rglob("*.py"))

# What a room may import of ours; everything is ordered by these arrows.
STORE = [
    "address",
    "codes",
    "errors",
    "paths",
    "zxid",
    "jute",
    "quorum",
    "forwarding",
    "outbox",
    "replication",
    "standalone",
    "tree",
    "disk",
]
ALLOWED = {
    "recipes.core.build": ["jute"],
    "recipes.core.codes": [],
    "recipes.core.errors": ["codes"],
    "recipes.core.paths": ["errors"],
    "recipes.core.zxid": [],
    "recipes.core.properties": ["errors"],
    "recipes.core.address": [],
    "recipes.core.summary": [],
    "recipes.core.http_request": [],
    "recipes.core.quorum": ["address", "build"],
    "recipes.core.ensemble": ["address", "errors", "properties", "quorum"],
    "recipes.core.zoo_keys": [],
    "recipes.core.zoo_values": ["protocols", "zoo_keys"],
    "recipes.core.config": ["errors", "properties", "protocols", "ensemble", "quorum", "zoo_keys", "zoo_values"],
    "recipes.core.forwarding": ["jute"],
    "recipes.core.giving_way": [],
    "recipes.core.outbox": ["jute"],
    "recipes.core.replication": ["errors", "jute", "quorum", "forwarding", "outbox"],
    "recipes.core.link": ["errors"],
    "recipes.core.standalone": ["errors", "zxid", "jute", "outbox", "replication"],
    "recipes.core.permissions": ["errors", "jute"],
    "recipes.core.jute": ["codes", "errors", "paths", "zxid", "jute"],
    "recipes.core.history": ["errors", "replication", "zxid"],
    "recipes.core.awaiting_commit": ["replication"],
    "recipes.core.replicas": [
        "errors",
        "zxid",
        "jute",
        "link",
        "quorum",
        "forwarding",
        "outbox",
        "replication",
        "awaiting_commit",
        "history",
        "replicas",
    ],
    "recipes.core.zab": [
        "build",
        "codes",
        "errors",
        "paths",
        "zxid",
        "jute",
        "link",
        "quorum",
        "forwarding",
        "outbox",
        "replication",
        "awaiting_commit",
        "history",
        "giving_way",
        "zab",
    ],
    "recipes.core.raft": ["errors", "giving_way", "zxid", "jute", "link", "quorum", "replication", "replicas", "raft"],
    "recipes.core.paxos": ["errors", "zxid", "jute", "link", "replication", "replicas", "paxos"],
    "recipes.core.primary_backup": ["errors", "zxid", "replication", "replicas", "primary_backup"],
    # Only here does a server name its protocol, and the simulator in sim.protocols.
    "recipes.core.protocols": ["replication", "zab", "raft"],
    # The preparer makes Entries, the unit the seam carries.
    "recipes.core.tree": ["codes", "errors", "paths", "zxid", "jute", "replication", "tree"],
    "recipes.core.disk": ["codes", "errors", "paths", "zxid", "jute", "tree", "replication", "disk"],
    "recipes.core.member": [*STORE, "summary", "member"],
    "recipes.core.turn": [*STORE, "member"],
    "recipes.core.server": [*STORE, "config", "http_request", "properties", "protocols", "member", "turn", "server"],
    "recipes.core.sim.zab_rules": ["jute", "replication", "zab", "zxid", "sim"],
    "recipes.core.sim.raft_rules": ["errors", "jute", "raft", "replicas", "replication", "zxid", "sim"],
    "recipes.core.sim.paxos_rules": ["jute", "paxos", "replicas", "replication", "sim", "sim.frames"],
    "recipes.core.sim.primary_backup_rules": ["primary_backup", "jute", "replicas", "replication", "sim", "sim.frames"],
    "recipes.core.sim.frames": ["errors", "replicas", "sim"],
    "recipes.core.sim.protocols": [
        "primary_backup",
        "paxos",
        "raft",
        "replication",
        "sim",
        "sim.primary_backup_rules",
        "sim.paxos_rules",
        "sim.raft_rules",
        "sim.zab_rules",
        "zab",
    ],
    "recipes.core.sim": [
        *STORE,
        "config",
        "protocols",
        "member",
        "turn",
        "client",
        "sim",
        "sim.frames",
        "sim.protocols",
    ],
    # The laboratory's protocols: pure machines that know nothing but each other.
    "recipes.core.agree": ["errors", "agree"],
    "recipes.core.client": ["address", "codes", "errors", "paths", "jute", "client"],
}
RECIPES = [
    "barrier", "blocking", "cache", "contender", "counter", "damping", "election", "encoding", "hold",
    "line", "lock", "membership", "naming", "queue", "renewal", "shared_settings", "transaction", "update", "writer",
]  # fmt: skip
# What the laboratory reads of ours, besides itself.
LAB_MAY_READ = (
    "recipes.lab", "recipes.core.agree", "recipes.core.errors", "recipes.core.http_request", "recipes.core.sim",
    "recipes.core.jute", "recipes.core.zab", "recipes.core.raft", "recipes.core.replicas", "recipes.core.replication",
    "recipes.core.quorum", "recipes.core.disk", "recipes.core.tree", "recipes.core.member",
    "recipes.core.link", "recipes.core.outbox", "recipes.core.zxid",
)  # fmt: skip
PURE = [
    "agree",
    "jute",
    "tree",
    "zab",
    "raft",
    "paxos",
    "primary_backup",
    "replicas",
    "awaiting_commit",
    "history",
    "giving_way",
    "member",
    "sim",
    "protocols",
    "address",
    "http_request",
    "summary",
    "quorum",
    "forwarding",
    "outbox",
    "outbox",
    "replication",
    "standalone",
    "codes",
    "zxid",
    "paths",
    "errors",
    "link",
    "turn",
    "disk/jobs",
    "disk/replacements",
    "disk/snapshot_writer",
    "disk/write_queue",
    "client/call",
    "client/session",
]
# Circles of imports, by type checkers alone: a part and the whole that made it and that it calls back. No others.
CIRCLES = [
    {"blocking.atomic", "blocking.block", "blocking.client", "blocking.hold", "blocking.portal", "blocking.watching"},
    {"core.client.bound", "core.client.client", "core.client.leftovers"},
    {
        "core.member.admin",
        "core.member.commits",
        "core.member.connection",
        "core.member.handshakes",
        "core.member.member",
        "core.member.metrics",
        "core.member.read_only",
    },
    {"core.primary_backup.peer", "core.primary_backup.primary", "core.primary_backup.succession"},
    {"core.paxos.election", "core.paxos.follower", "core.paxos.leader", "core.paxos.peer"},
    {"core.raft.election", "core.raft.follower", "core.raft.leader", "core.raft.peer"},
    {"core.replicas.election", "core.replicas.follower", "core.replicas.leader", "core.replicas.peer"},
    {"core.server.election_connection", "core.server.election_port"},
    {"core.server.admin_http", "core.server.client_port", "core.server.peering", "core.server.server"},
    {"core.sim.ensemble", "core.sim.faults"},
    {"core.sim.flusher", "core.sim.node", "core.sim.surroundings"},
    {"core.sim.network", "core.sim.recorder"},
    {"core.tree.session_end", "core.tree.tree"},
    {"lab.course", "lab.script"},
    {"lab.served.client", "lab.served.site", "lab.served.tracer", "lab.served.world"},
    {"lab.site", "lab.world"},
    {"core.zab.leader", "core.zab.learner", "core.zab.peer", "core.zab.pending_syncs", "core.zab.synchronize"},
    {"queue.dead_letters", "queue.finder"},
]
STORE_MAY_READ = ("recipes.store", "recipes.core.errors", "recipes.core.properties")
SHELLS = ["recipes/core/server/server.py", "recipes/core/sim/node.py", "tests/core/zab/conftest.py"]
STEPS_OF_A_TURN = {"take_writes", "take_outbox", "take_touched"}
IMPURE_MODULES = {"time", "random", "os", "asyncio", "socket", "threading", "uuid", "secrets"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager"}


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from recipes.core import paths` imports the module, not the empty package.
            if node.module == "recipes.core":
                names += [f"recipes.core.{alias.name}" for alias in node.names]
            else:
                names.append(node.module or "")
    return names


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    return next((room for room in ALLOWED if module == room or module.startswith(room + ".")), None)


def is_pure(path: Path) -> bool:
    inside = path.relative_to(ROOT / "recipes").as_posix()
    if inside.startswith("lab/"):
        # The first two make the sources of chance, from a seed; the last one is a server.
        return inside not in ("lab/run.py", "lab/hunt.py", "lab/serving.py")
    if inside == "core/sim/loop.py":  # an event loop of its own, of which the rest of the room sees no asyncio
        return False
    return any(inside == f"core/{pure}.py" or inside.startswith(f"core/{pure}/") for pure in PURE)


def test_there_is_something_to_look_at():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_follow_the_arrows(path: Path):
    room = room_of(module_name(path))
    ours = [name for name in imported(path) if name == "recipes" or name.startswith("recipes.")]
    if room is not None:
        allowed = {f"recipes.core.{name}" for name in ALLOWED[room]}
        if room == "recipes.core.client":
            # The doors to a server of this machine, opened only when no hosts are given.
            allowed |= {"recipes.embedded", "recipes.store.directory", "recipes.store.start"}
        wrong = [name for name in ours if name not in allowed and room_of(name) not in allowed]
        assert wrong == [], f"{module_name(path)} must not import {wrong}"
    elif module_name(path).startswith(tuple(f"recipes.{name}" for name in RECIPES)):
        wrong = [name for name in ours if name.startswith(("recipes.core.server", "recipes.core.member"))]
        assert wrong == []
    elif module_name(path).startswith("recipes.lab"):
        assert [name for name in ours if not name.startswith(LAB_MAY_READ)] == []
    elif module_name(path).startswith("recipes.store") and path.stem not in ("daemon", "settings"):
        # A client's part of the store: it sees the server's process, never the server.
        assert [name for name in ours if not name.startswith(STORE_MAY_READ)] == []


@pytest.mark.parametrize("path", [path for path in FILES if is_pure(path)], ids=module_name)
def test_pure_modules_touch_no_clock_file_or_task(path: Path):
    assert IMPURE_MODULES.isdisjoint(name.partition(".")[0] for name in imported(path))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_are_small_and_say_what_they_are(path: Path):
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    assert path.stem not in FORBIDDEN_NAMES
    if text.strip():
        assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", SHELLS)
def test_every_shell_drives_the_one_turn(path):
    assert "recipes.core.turn" in imported(ROOT / path)


def test_nobody_but_the_turn_takes_what_a_turn_has_decided():
    callers = [module_name(path) for path in FILES if any(f".{step}(" in path.read_text() for step in STEPS_OF_A_TURN)]
    # The second one stands between a Replica and its Turn, which takes it from there.
    assert callers == ["recipes.core.turn", "recipes.lab.served.watched"]


def test_there_are_no_circles_but_those_of_parts_and_their_whole():
    modules = {module_name(path): path for path in FILES}
    arrows = {}
    for module, path in modules.items():
        tree = ast.parse(path.read_text())
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = {f"{node.module}.{alias.name}" for node in froms for alias in node.names} | set(imported(path))
        arrows[module] = names & modules.keys() - {module}
    assert sorted(map(sorted, circles(arrows))) == sorted(
        sorted(f"recipes.{name}" for name in each) for each in CIRCLES
    )


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Groups in which each can be reached from each."""

    def behind(start: str) -> set[str]:
        found, left = set(), [start]
        while left:
            for module in arrows[left.pop()] - found:
                found.add(module)
                left.append(module)
        return found

    reached = {module: behind(module) for module in arrows}
    inside = [module for module in arrows if module in reached[module]]
    groups = [frozenset(other for other in reached[module] if module in reached[other]) for module in inside]
    return [set(group) for group in dict.fromkeys(groups)]


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [{"b", "c"}]
