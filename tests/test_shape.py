"""The import arrows between the rooms, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "recipes").rglob("*.py"))

# What a room may import of ours; everything is ordered by these arrows.
STORE = ["codes", "errors", "paths", "zxid", "jute", "replication", "standalone", "tree", "zab", "disk"]
ALLOWED = {
    "recipes.core.codes": [],
    "recipes.core.errors": ["codes"],
    "recipes.core.paths": ["errors"],
    "recipes.core.zxid": [],
    "recipes.core.properties": ["errors"],
    "recipes.core.ensemble": ["errors", "properties", "zab"],
    "recipes.core.config": ["errors", "properties", "ensemble", "zab"],
    "recipes.core.replication": ["errors", "jute"],
    "recipes.core.standalone": ["errors", "zxid", "jute", "replication"],
    "recipes.core.permissions": ["errors", "jute"],
    "recipes.core.jute": ["codes", "errors", "paths", "zxid", "jute"],
    "recipes.core.zab": ["codes", "errors", "paths", "zxid", "jute", "replication", "zab"],
    # The preparer makes Entries, the unit the seam carries.
    "recipes.core.tree": ["codes", "errors", "paths", "zxid", "jute", "replication", "tree"],
    "recipes.core.disk": ["codes", "errors", "paths", "zxid", "jute", "tree", "replication", "disk"],
    "recipes.core.member": [*STORE, "member"],
    "recipes.core.turn": [*STORE, "member"],
    "recipes.core.server": [*STORE, "config", "member", "turn", "server"],
    "recipes.core.sim": [*STORE, "config", "member", "turn", "client", "sim"],
    "recipes.core.client": ["codes", "errors", "paths", "jute", "client"],
}
RECIPES = [
    "agreement", "barrier", "blocking", "cache", "contender", "counter", "damping", "election", "encoding", "hold",
    "line", "lock", "membership", "naming", "queue", "renewal", "transaction", "update", "writer",
]  # fmt: skip
PURE = [
    "jute",
    "tree",
    "zab",
    "member",
    "sim",
    "replication",
    "standalone",
    "codes",
    "zxid",
    "paths",
    "errors",
    "client/call",
    "client/session",
]
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
            allowed |= {"recipes.embedded", "recipes.store.place", "recipes.store.start"}
        wrong = [name for name in ours if name not in allowed and room_of(name) not in allowed]
        assert wrong == [], f"{module_name(path)} must not import {wrong}"
    elif module_name(path).startswith(tuple(f"recipes.{name}" for name in RECIPES)):
        wrong = [name for name in ours if name.startswith(("recipes.core.server", "recipes.core.member"))]
        assert wrong == []
    elif module_name(path).startswith("recipes.store") and path.stem not in ("daemon", "settings"):
        # A client's part of the store: it sees the server's process, never the server.
        assert [name for name in ours if not name.startswith(("recipes.store", "recipes.core.errors"))] == []


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
