"""The commands of `recipes shell`, with the names and formats of zkCli.sh."""

import json as json_text
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from getopt import GetoptError, gnu_getopt
from typing import NamedTuple

from recipes import ACL, Client, Id, NoNode, RecipesError, Stat
from recipes.cli.terminal import complain, escaped, shown
from recipes.core import paths

_PERMISSIONS = {"c": 4, "d": 8, "r": 1, "w": 2, "a": 16}


class _Asked(NamedTuple):
    options: dict[str, str]
    words: list[str]
    json: bool
    alone: bool

    def say(self, text: str, value: object) -> None:
        print(json_text.dumps(value) if self.json else shown(text), flush=True)


async def execute(client: Client, words: Sequence[str], *, json: bool, alone: bool) -> int:
    """Run one command and return its exit code. Errors are printed.

    alone: whether the session ends with this command.
    """
    name, *rest = words
    if name == "help":
        print(help_text())
        return 0
    found = COMMANDS.get(name)
    if found is None:
        complain("recipes shell", f"{name}: not a command; try help")
        return 2
    try:
        pairs, operands = gnu_getopt(rest, found.options)
        options = {option.lstrip("-"): value for option, value in pairs}
        if not found.least <= len(operands) <= found.most:
            raise GetoptError("wrong number of arguments")
        await found.run(client, _Asked(options, operands, json, alone))
    except (GetoptError, ValueError) as error:
        complain("recipes shell", f"{error}; usage: {name} {found.usage}")
        return 2
    except RecipesError as error:
        error = await _explained(client, error)
        complain("recipes shell", error, kind=type(error).__name__, path=getattr(error, "path", ""))
        return 1
    return 0


async def _explained(client: Client, error: RecipesError) -> RecipesError:
    """For a NoNode with a missing chroot, an error that says so. Without a chroot the root always exists."""
    try:
        if isinstance(error, NoNode) and await client.exists("/") is None:
            return NoNode("/", "the chroot is missing")
    except RecipesError:
        pass  # report the first error
    return error


def format_stat(stat: Stat) -> str:
    """The Stat as zkCli.sh prints it."""
    return "\n".join(
        (
            f"cZxid = {stat.czxid:#x}",
            f"ctime = {_format_time(stat.ctime)}",
            f"mZxid = {stat.mzxid:#x}",
            f"mtime = {_format_time(stat.mtime)}",
            f"pZxid = {stat.pzxid:#x}",
            f"cversion = {stat.cversion}",
            f"dataVersion = {stat.version}",
            f"aclVersion = {stat.aversion}",
            f"ephemeralOwner = {stat.ephemeral_owner & 0xFFFFFFFFFFFFFFFF:#x}",
            f"dataLength = {stat.data_length}",
            f"numChildren = {stat.num_children}",
        )
    )


def _format_time(time_ms: int) -> str:
    # As java.util.Date.toString, which zkCli.sh uses.
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone().strftime("%a %b %d %H:%M:%S %Z %Y")


def parse_acl(text: str) -> list[ACL]:
    """The ACL in `scheme:id:cdrwa,...`, the syntax of zkCli.sh. Raises ValueError."""
    entries = []
    for entry in text.split(","):
        scheme, _, rest = entry.partition(":")
        name, colon, letters = rest.rpartition(":")
        if not colon or not set(letters) <= _PERMISSIONS.keys():
            raise ValueError(f"{entry}: expected scheme:id:permissions, permissions out of cdrwa")
        entries.append(ACL(sum(_PERMISSIONS[letter] for letter in sorted(set(letters))), Id(scheme, name)))
    return entries


def _format_acl(entries: Sequence[ACL]) -> str:
    lines = []
    for entry in entries:
        letters = "".join(letter for letter, bit in _PERMISSIONS.items() if entry.perms & bit)
        lines.append(f"'{escaped(entry.id.scheme)},'{escaped(entry.id.id)}\n: {letters}")
    return "\n".join(lines)


def _version(asked: _Asked) -> int:
    return int(asked.options.get("v", "-1"))


def _text(data: bytes | None) -> str:
    return "null" if data is None else data.decode("utf-8", "replace")


async def _ls(client: Client, asked: _Asked) -> None:
    path = asked.words[0]
    if "R" in asked.options:
        found = [path async for path in _below(client, path)]
        asked.say("\n".join(escaped(each) for each in found), found)
        return
    names = sorted(await client.children(path))
    text = f"[{', '.join(escaped(name) for name in names)}]"
    if "s" not in asked.options:
        asked.say(text, names)
        return
    stat = await client.exists(path)
    if stat is None:
        raise NoNode(path)
    asked.say(f"{text}\n{format_stat(stat)}", {"children": names, "stat": stat._asdict()})


async def _below(client: Client, path: str) -> AsyncIterator[str]:
    """`path` and all paths below it, parents first. Znodes that are deleted meanwhile are left out."""
    names = sorted(await client.children(path))
    yield path
    for name in names:
        with suppress(NoNode):
            async for each in _below(client, paths.join(path, name)):
                yield each


async def _get(client: Client, asked: _Asked) -> None:
    data, stat = await client.get(asked.words[0])
    full = "s" in asked.options
    text = f"{_text(data)}\n{format_stat(stat)}" if full else _text(data)
    value = None if data is None else _text(data)
    asked.say(text, {"data": value, "stat": stat._asdict()} if full else {"data": value})


async def _stat(client: Client, asked: _Asked) -> None:
    _, stat = await client.get(asked.words[0])
    asked.say(format_stat(stat), stat._asdict())


async def _set(client: Client, asked: _Asked) -> None:
    stat = await client.set(asked.words[0], asked.words[1].encode(), _version(asked))
    if asked.json or "s" in asked.options:
        asked.say(format_stat(stat), stat._asdict())


async def _create(client: Client, asked: _Asked) -> None:
    options = asked.options
    path = await client.create(
        asked.words[0],
        asked.words[1].encode() if len(asked.words) > 1 else b"",
        ephemeral="e" in options,
        sequential="s" in options,
        container="c" in options,
        ttl=int(options["t"]) / 1000 if "t" in options else None,
        acl=parse_acl(asked.words[2]) if len(asked.words) > 2 else None,
        make_parents="p" in options,
    )
    asked.say(f"Created {escaped(path)}", {"path": path})
    if "e" in options and asked.alone:
        hint = f"{path} is deleted now: an ephemeral znode ends with its session; create it inside `recipes shell`"
        complain("recipes shell", hint)


async def _delete(client: Client, asked: _Asked) -> None:
    await client.delete(asked.words[0], _version(asked))


async def _delete_all(client: Client, asked: _Asked) -> None:
    await _delete_below(client, asked.words[0])


async def _delete_below(client: Client, path: str) -> None:
    for name in await client.children(path):
        await _delete_below(client, f"{path.rstrip('/')}/{name}")
    await client.delete(path)


async def _sync(client: Client, asked: _Asked) -> None:
    await client.sync(asked.words[0] if asked.words else "/")
    asked.say("Sync is OK", {"sync": True})


async def _get_acl(client: Client, asked: _Asked) -> None:
    entries, _ = await client.get_acl(asked.words[0])
    asked.say(_format_acl(entries), [[entry.perms, entry.id.scheme, entry.id.id] for entry in entries])


async def _set_acl(client: Client, asked: _Asked) -> None:
    await client.set_acl(asked.words[0], parse_acl(asked.words[1]), _version(asked))


async def _watch(client: Client, asked: _Asked) -> None:
    async with client.watch(asked.words[0], recursive="r" in asked.options) as events:
        async for event in events:
            kind = getattr(event.type, "name", str(event.type))
            asked.say(f"{kind} {escaped(event.path)}", {"type": kind, "path": event.path})


QUITS = ("quit", "exit")


class _Command(NamedTuple):
    run: Callable[[Client, _Asked], Awaitable[None]]
    options: str
    least: int
    most: int
    usage: str


COMMANDS = {
    "ls": _Command(_ls, "Rs", 1, 1, "[-R] [-s] PATH"),
    "get": _Command(_get, "s", 1, 1, "[-s] PATH"),
    "set": _Command(_set, "sv:", 2, 2, "[-s] [-v VERSION] PATH DATA"),
    "create": _Command(_create, "esct:p", 1, 3, "[-e] [-s] [-c] [-p] [-t TTL_MS] PATH [DATA [ACL]]"),
    "delete": _Command(_delete, "v:", 1, 1, "[-v VERSION] PATH"),
    "deleteall": _Command(_delete_all, "", 1, 1, "PATH"),
    "stat": _Command(_stat, "", 1, 1, "PATH"),
    "watch": _Command(_watch, "r", 1, 1, "[-r] PATH (until interrupted)"),
    "getAcl": _Command(_get_acl, "", 1, 1, "PATH"),
    "setAcl": _Command(_set_acl, "v:", 2, 2, "[-v VERSION] PATH ACL"),
    "sync": _Command(_sync, "", 0, 1, "[PATH]"),
}


def help_text() -> str:
    """A line for each command."""
    return "\n".join([*(f"{name} {command.usage}" for name, command in COMMANDS.items()), "help", *QUITS])
