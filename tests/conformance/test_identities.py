"""Which ACL entries and which credentials are taken, and what they become: odd ones too, the same at both servers."""

from __future__ import annotations

import struct

import pytest

pytestmark = pytest.mark.apache
IP = [
    "1.2.3.4", "1.2.3.4/0", "1.2.3.4/32", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/", "1.2.3.4/a", "1.2.3", "1.2.3.4.5",
    "1.2.3.256", "::1", "01.2.3.4", "0001.2.3.4", "1.2.3.4/01", "1.2.3.4/+1", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4/1/2", "",
    "+1.2.3.4", "1.2.3.-0", "1..3.4", "1.2.3.4.", "127.0.0.1", "+127.0.0.1/8",
]  # fmt: skip
DIGEST = ["a:b", "a", "a:", ":b", "a:b:c", "a::b", "a:b:", "", ":", "::", "\u00e9:x", "a:b::"]
OTHER = [
    ("auth", "x"), ("auth", None), ("world", "anyone"), ("world", "x"), (None, "anyone"), ("super", "x"),
    ("sasl", "bob"), ("sasl", None), ("WORLD", "anyone"), ("", ""),
]  # fmt: skip
ENTRIES = [("ip", ident) for ident in IP] + [("digest", ident) for ident in DIGEST] + OTHER
CREDENTIALS = [
    ("digest", "bob:pw"), ("digest", ""), ("digest", "nocolon"), ("digest", None), ("digest", ":"),
    ("digest", b"\xff:\xff"), ("digest", "\u00e9:\u00fc"), ("DIGEST", "a:b"), ("ip", ""), ("ip", "9.9.9.9"),
    ("ip", None), ("world", ""), ("super", "x"), ("auth", "x"), ("sasl", ""), (None, "x"), ("", ""),
]  # fmt: skip
CREATE, DELETE, GET, SET, GET_ACL, SET_ACL, CHILDREN = 1, 2, 4, 5, 6, 7, 8
BITS = [1 << bit for bit in range(5, 31)] + [-(1 << 31)]  # beyond READ, WRITE, CREATE, DELETE and ADMIN
UNKNOWN = [
    *(pytest.param(bits, marks=pytest.mark.thorough) for bits in BITS),
    0x20 | 1, 0x7FFFFFE0, -32, -32 | 1 | 4, -32 | 16, -32 | 2 | 8, -1,
]  # fmt: skip


def entry(client, scheme, ident, perms: int) -> bytes:
    return struct.pack(">ii", 1, perms) + client.text(scheme) + client.text(ident)


@pytest.mark.parametrize(
    "perms", [31, -1, *(pytest.param(perms, marks=pytest.mark.thorough) for perms in (1, 0, 1 << 20))]
)
@pytest.mark.parametrize(("scheme", "ident"), ENTRIES)
def test_an_acl_entry(our_server, apache_server, wire, root, scheme, ident, perms):
    found = []
    for server in (our_server, apache_server):
        client = wire(server.port)
        body = client.text(root) + client.text("") + entry(client, scheme, ident, perms) + struct.pack(">i", 0)
        created = client.call(1, body)
        error, answer = client.call(6, client.text(root))
        found.append((created, error, answer[:-68]))
    assert found[0] == found[1]


@pytest.mark.parametrize("perms", UNKNOWN, ids=hex)
def test_bits_of_permissions_that_mean_nothing_are_kept_and_permit_nothing(
    our_server, apache_server, wire, root, perms
):
    """They come with a create and with a setACL; then each kind of request tries what the ACL permits."""
    found = []
    for server in (our_server, apache_server):
        client, open_to_all = wire(server.port), struct.pack(">i", 0)
        acl = entry(client, "world", "anyone", perms)
        everything = entry(client, "world", "anyone", 31)
        assert client.call(CREATE, client.text(root) + client.text("") + everything + open_to_all)[0] == 0
        outcome: list[object] = []
        for way in ("create", "setACL"):
            path = f"{root}/{way}"
            made = client.text(path) + client.text("") + (acl if way == "create" else everything) + open_to_all
            outcome.append(client.call(CREATE, made)[0])
            if way == "setACL":
                outcome.append(client.call(SET_ACL, client.text(path) + acl + struct.pack(">i", -1))[0])
            error, answer = client.call(GET_ACL, client.text(path))
            outcome += [error, answer[:-68]]
            version = struct.pack(">i", -1)
            outcome += [
                client.call(kind, client.text(at) + body)[0]
                for kind, at, body in (
                    (GET, path, b"\0"),
                    (CHILDREN, path, b"\0"),
                    (SET, path, client.text("x") + version),
                    (CREATE, f"{path}/child", client.text("") + everything + open_to_all),
                    (DELETE, f"{path}/child", version),
                    (SET_ACL, path, acl + version),
                )
            ]
        found.append(outcome)
    assert found[0] == found[1]
    shown = (0, struct.pack(">ii", 1, perms)) if perms & 17 else (-102, b"")  # READ or ADMIN lets see the ACL
    for at in (1, 11):
        error, answer = found[0][at : at + 2]
        assert (error, answer[:8]) == shown
    assert found[0][3:7] == [0 if perms & bit else -102 for bit in (1, 1, 2, 4)]


@pytest.mark.parametrize(("scheme", "credentials"), CREDENTIALS)
def test_credentials(our_server, apache_server, wire, root, in_order, scheme, credentials):
    found = []
    for server in (our_server, apache_server):
        client = wire(server.port)
        outcome: list[object] = [
            client.call(100, struct.pack(">i", 0) + client.text(scheme) + client.text(credentials))
        ]
        try:
            outcome.append(in_order(107, client.call(107)[1]))
            body = client.text(root) + client.text("") + entry(client, "auth", "", 31) + struct.pack(">i", 0)
            outcome += [client.call(1, body), client.call(6, client.text(root))[1][:-68]]
        except (EOFError, ConnectionResetError):
            outcome.append("closed")
        found.append(outcome)
    assert found[0] == found[1]
