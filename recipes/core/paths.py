"""Paths of znodes: which are legal, and how they are taken apart.

Inside the core a path is UTF-8 `bytes`; the public API uses `str`. Rules: ZooKeeper, PathUtils.validatePath.
"""

import re

from recipes.core.errors import BadArguments

ROOT = b"/"

# Compiled at its first use: nearly no path needs it, and every program that imports this would wait for it.
_FORBIDDEN = "[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]"


def why_invalid(path: str) -> str | None:
    """What is wrong with `path` as the full path of a znode, or None when nothing is."""
    if not path:
        return "it is empty"
    if path[0] != "/":
        return "it does not start with /"
    if path == "/":
        return None
    if path[-1] == "/":
        return "it ends with /"
    if "//" in path:
        return "it has an empty component"
    if "/." in path and any(part in (".", "..") for part in path.split("/")):
        return "it has a component . or .."
    found = re.search(_FORBIDDEN, path)
    if found:
        return f"it has the character U+{ord(found.group()):04X} at index {found.start()}"
    return None


def check(path: str) -> str:
    """Return `path` if it is a legal full path; else raise BadArguments, which says what is wrong."""
    # Nearly every path is printable ASCII, in which only slashes and dots must be checked.
    if path.isascii() and path.isprintable() and path[:1] == "/" and "//" not in path and "/." not in path:
        if path[-1] != "/":
            return path
    wrong = why_invalid(path)
    if wrong:
        raise BadArguments(path, f"not a znode path: {wrong}")
    return path


def is_valid(path: bytes) -> bool:
    """Whether `path`, as it came from the wire, is a legal full path."""
    # Nearly every path is printable ASCII, in which only slashes and dots must be checked.
    if path.isascii():
        text = path.decode("ascii")
        if text.isprintable() and text[:1] == "/" and "//" not in text and "/." not in text:
            return text[-1] != "/" or text == "/"
        return why_invalid(text) is None
    return why_invalid(path.decode("utf-8", errors="replace")) is None


def parent(path: bytes) -> bytes:
    """The parent's path; the root's parent is the root."""
    return path.rpartition(b"/")[0] or ROOT


def name(path: bytes) -> bytes:
    """The last component."""
    return path[path.rfind(b"/") + 1 :]


def join(parent_path: str, child: str) -> str:
    """The path of `child` below `parent_path`."""
    return f"/{child}" if parent_path == "/" else f"{parent_path}/{child}"


def sequence(child: str, marker: str) -> int:
    """The sequence number behind the last `marker` in a sequential znode's name.

    It is a signed 32-bit counter printed as %010d, so that after a wrap it is negative; only the marker tells
    its minus sign from a dash. Raises ValueError when there is no number.
    """
    return int(child.rpartition(marker)[2])
