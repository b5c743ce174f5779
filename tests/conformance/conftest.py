"""Replies whose lists have no order that means anything, taken apart so that two servers' can be compared."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

GET_ACL, CHILDREN, CHILDREN2, MULTI_READ, GET_EPHEMERALS, WHO_AM_I = 6, 8, 12, 22, 103, 107


def read_string(body: bytes, at: int) -> tuple[bytes, int]:
    end = at + 4 + max(0, struct.unpack_from(">i", body, at)[0])
    return body[at + 4 : end], end


def read_acl(body: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    scheme, middle = read_string(body, at + 4)
    ident, end = read_string(body, middle)
    return (body[at : at + 4], scheme, ident), end


def read_user(body: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    scheme, middle = read_string(body, at)
    user, end = read_string(body, middle)
    return (scheme, user), end


READERS: dict[int, Callable] = {
    CHILDREN: read_string,
    CHILDREN2: read_string,
    GET_EPHEMERALS: read_string,
    GET_ACL: read_acl,  # `auth` stands for all identities, in any order
    WHO_AM_I: read_user,
}


def sorted_list(read: Callable, body: bytes, at: int = 0) -> tuple[list, int]:
    count, at = struct.unpack_from(">i", body, at)[0], at + 4
    found = []
    for _ in range(count):
        item, at = read(body, at)
        found.append(item)
    return sorted(found), at


def sorted_parts(body: bytes) -> list[object]:
    """The results of a multiRead, each list of children sorted."""
    found: list[object] = []
    at = 0
    while body[at : at + 4] != b"\xff\xff\xff\xff" or not body[at + 4]:
        kind = struct.unpack_from(">i", body, at)[0]
        at += 9
        if kind == CHILDREN:
            item, at = sorted_list(read_string, body, at)
        else:
            start, at = at, at + 4 if kind == -1 else read_string(body, at)[1] + 68
            item = body[start:at]
        found.append((kind, item))
    return [*found, body[at:]]


@pytest.fixture(scope="session")
def in_order() -> Callable[[int, bytes], object]:
    """in_order(opcode, body) of a reply without an error."""

    def take_apart(kind: int, body: bytes) -> object:
        if kind == MULTI_READ:
            return sorted_parts(body)
        read = READERS.get(kind)
        if read is None:
            return body
        found, at = sorted_list(read, body)
        return found, body[at:]

    return take_apart
