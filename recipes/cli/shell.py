"""`recipes shell`: look at a tree and change it, in the words and formats of zkCli.sh."""

import json as json_text
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from getopt import GetoptError, gnu_getopt
from typing import Annotated, NamedTuple

import anyio
from anyio import to_thread
from cyclopts import Parameter

from recipes import ACL, Client, Id, NoNode, RecipesError, Stat, connect
from recipes.cli.hosts import find_hosts

_PERMISSIONS = {"c": 4, "d": 8, "r": 1, "w": 2, "a": 16}


class _Asked(NamedTuple):
    options: dict[str, str]
    words: list[str]
    json: bool

    def say(self, text: str, value: object) -> None:
        print(json_text.dumps(value) if self.json else text, flush=True)


def shell(
    *words: Annotated[str, Parameter(allow_leading_hyphen=True)],
    hosts: str | None = None,
    auth: str | None = None,
    read_only: bool = False,
    json: bool = False,
) -> int:
    """Run one command, or read commands from standard input: recipes shell [HOST:PORT] [COMMAND...].

    Args:
        words: HOST:PORT, when it is not given otherwise, and a command; `help` lists the commands.
        hosts: HOST:PORT,...; else RECIPES_HOSTS, else the store of this user on this machine.
        auth: SCHEME:CREDENTIALS, as digest:user:password.
        read_only: also talk to a server that has no leader and serves those that only read.
        json: print each answer as one JSON value.
    """
    if words and hosts is None and words[0] not in _COMMANDS and words[0] not in ("help", "quit"):
        if ":" not in words[0]:
            print(f"recipes shell: {words[0]}: neither HOST:PORT nor a command; try help", file=sys.stderr)
            return 2
        hosts, words = words[0], words[1:]
    if words[:1] == ("help",):
        print(_help())
        return 0
    scheme, _, credentials = (auth or "").partition(":")
    if auth is not None and not (scheme and credentials):
        print(f"recipes shell: --auth {auth}: expected SCHEME:CREDENTIALS, as digest:user:password", file=sys.stderr)
        return 2
    shown = [(scheme, credentials)] if auth else []
    return anyio.run(_run, find_hosts(hosts), words, shown, read_only, json)


async def _run(hosts: str, words: Sequence[str], auth: Sequence[tuple[str, str]], read_only: bool, json: bool) -> int:
    async with connect(hosts, auth=auth, read_only=read_only) as client:
        if words:
            return await _execute(client, words, json)
        while True:
            try:
                line = await to_thread.run_sync(_read_line, f"[{hosts}] ", abandon_on_cancel=True)
                words = shlex.split(line)
            except EOFError:
                return 0
            except ValueError as error:
                print(f"recipes shell: {error}", file=sys.stderr)
                continue
            if words[:1] == ["quit"]:
                return 0
            if words:
                await _execute(client, words, json)


def _read_line(prompt: str) -> str:
    return input(prompt if sys.stdin.isatty() else "")


async def _execute(client: Client, words: Sequence[str], json: bool) -> int:
    name, *rest = words
    if name == "help":
        print(_help())
        return 0
    found = _COMMANDS.get(name)
    if found is None:
        print(f"recipes shell: {name}: not a command; try help", file=sys.stderr)
        return 2
    try:
        pairs, operands = gnu_getopt(rest, found.options)
        options = {option.lstrip("-"): value for option, value in pairs}
        if not found.least <= len(operands) <= found.most:
            raise GetoptError("wrong number of arguments")
        await found.run(client, _Asked(options, operands, json))
    except (GetoptError, ValueError) as error:
        print(f"recipes shell: {error}; usage: {name} {found.usage}", file=sys.stderr)
        return 2
    except RecipesError as error:
        print(f"recipes shell: {await _explained(client, error)}", file=sys.stderr)
        return 1
    return 0


async def _explained(client: Client, error: RecipesError) -> RecipesError:
    """A NoNode that comes of a missing chroot says so: the root of every client without one exists."""
    try:
        if isinstance(error, NoNode) and await client.exists("/") is None:
            return NoNode("/", "the chroot is missing")
    except RecipesError:
        pass  # what went wrong first is what there is to tell
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
    # java.util.Date.toString, which is what zkCli.sh uses.
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone().strftime("%a %b %d %H:%M:%S %Z %Y")


def parse_acl(text: str) -> list[ACL]:
    """`scheme:id:cdrwa,...` as zkCli.sh takes it. Raises ValueError."""
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
        lines.append(f"'{entry.id.scheme},'{entry.id.id}\n: {letters}")
    return "\n".join(lines)


def _version(asked: _Asked) -> int:
    return int(asked.options.get("v", "-1"))


def _text(data: bytes | None) -> str:
    return "null" if data is None else data.decode("utf-8", "replace")


async def _ls(client: Client, asked: _Asked) -> None:
    names = sorted(await client.children(asked.words[0]))
    asked.say(f"[{', '.join(names)}]", names)


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
    )
    asked.say(f"Created {path}", {"path": path})


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
            asked.say(f"{kind} {event.path}", {"type": kind, "path": event.path})


class _Command(NamedTuple):
    run: Callable[[Client, _Asked], Awaitable[None]]
    options: str
    least: int
    most: int
    usage: str


_COMMANDS = {
    "ls": _Command(_ls, "", 1, 1, "PATH"),
    "get": _Command(_get, "s", 1, 1, "[-s] PATH"),
    "set": _Command(_set, "sv:", 2, 2, "[-s] [-v VERSION] PATH DATA"),
    "create": _Command(_create, "esct:", 1, 3, "[-e] [-s] [-c] [-t TTL_MS] PATH [DATA [ACL]]"),
    "delete": _Command(_delete, "v:", 1, 1, "[-v VERSION] PATH"),
    "deleteall": _Command(_delete_all, "", 1, 1, "PATH"),
    "stat": _Command(_stat, "", 1, 1, "PATH"),
    "watch": _Command(_watch, "r", 1, 1, "[-r] PATH (until interrupted)"),
    "getAcl": _Command(_get_acl, "", 1, 1, "PATH"),
    "setAcl": _Command(_set_acl, "v:", 2, 2, "[-v VERSION] PATH ACL"),
    "sync": _Command(_sync, "", 0, 1, "[PATH]"),
}


def _help() -> str:
    return "\n".join([*(f"{name} {command.usage}" for name, command in _COMMANDS.items()), "quit"])
