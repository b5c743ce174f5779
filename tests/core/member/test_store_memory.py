"""A store that takes as much memory as it may: what adds to it is refused, and everything else goes on."""

from random import Random

import pytest

from recipes.core.codes import QUOTA_EXCEEDED
from recipes.core.history import History
from recipes.core.jute import opcodes as op
from recipes.core.jute.records import ACL, Id
from recipes.core.jute.requests import (
    encode_create,
    encode_multi,
    encode_path_version,
    encode_set_acl,
    encode_set_data,
)
from recipes.core.member.store_memory import StoreMemory
from recipes.core.replication import Entry
from recipes.core.tree.tree import DataTree
from recipes.core.tree.znode import ZNODE_BYTES
from tests.core.member.test_fairness import OPEN, Server, get, request

LIMIT = 100_000


def filled(size=1000):
    """A server whose store is full, its client, and the paths that fill it."""
    server = Server(store_limit_bytes=LIMIT)
    client = server.session()
    paths = []
    while not server.member.memory.full:
        paths.append(b"/%d" % len(paths))
        client.receive(request(1, op.CREATE, encode_create(paths[-1], bytes(size), OPEN, 0)))
        server.run()
        assert server.replies(client) == [(1, 0)]
        said = server.member.measure_memory()
    assert "storeMemoryLimitInMb" in said and "QUOTAEXCEEDED" in said
    assert server.member.measure_memory() is None  # it is said once
    return server, client, paths


def answer(server, client, kind, body=b""):
    client.receive(request(7, kind, body))
    server.run()
    [(xid, code)] = server.replies(client)
    assert xid == 7
    return code


def test_f16_what_adds_to_a_full_store_is_refused():
    server, client, paths = filled()
    refused = [
        (op.CREATE, encode_create(b"/new", b"", OPEN, 0)),
        (op.CREATE2, encode_create(b"/new-", b"", OPEN, 3)),
        (op.SET_DATA, encode_set_data(paths[0], bytes(1001), -1)),
        (op.SET_ACL, encode_set_acl(paths[0], (*OPEN, ACL(1, Id("ip", "127.0.0.1"))), -1)),
    ]
    assert [answer(server, client, *each) for each in refused] == [QUOTA_EXCEEDED] * 4
    nodes = server.member.tree.count
    parts = [(op.DELETE, encode_path_version(paths[-1], -1)), (op.CREATE, encode_create(b"/new", bytes(3000), OPEN, 0))]
    answer(server, client, op.MULTI, encode_multi(parts))
    assert server.member.tree.count == nodes and paths[-1] in dict(server.member.tree.items())


def test_f16_everything_else_goes_on():
    server, client, paths = filled()
    assert answer(server, client, op.SET_DATA, encode_set_data(paths[0], bytes(1000), -1)) == 0
    assert answer(server, client, op.SET_DATA, encode_set_data(paths[0], b"", -1)) == 0
    assert answer(server, client, op.SET_ACL, encode_set_acl(paths[0], OPEN, -1)) == 0
    parts = [(op.DELETE, encode_path_version(paths[1], -1)), (op.CREATE, encode_create(b"/new", bytes(900), OPEN, 0))]
    answer(server, client, op.MULTI, encode_multi(parts))  # what it frees, it may use
    assert b"/new" in dict(server.member.tree.items()) and paths[1] not in dict(server.member.tree.items())
    client.receive(get(8, b"/new"))
    server.run()
    assert server.replies(client) == [(8, 0)]
    other = server.session()  # sessions begin and end
    assert answer(server, other, op.CLOSE_SESSION) == 0


def test_f16_it_is_taken_again_once_there_is_room():
    server, client, paths = filled()
    said = None
    while said is None:
        assert answer(server, client, op.CREATE, encode_create(b"/new", b"", OPEN, 0)) == QUOTA_EXCEEDED
        assert answer(server, client, op.DELETE, encode_path_version(paths.pop(), -1)) == 0
        said = server.member.measure_memory()
    assert "all writes are taken again" in said
    assert server.member.memory.used_bytes < 0.95 * LIMIT
    assert answer(server, client, op.CREATE, encode_create(b"/new", b"", OPEN, 0)) == 0


@pytest.mark.parametrize("limit", [0, LIMIT])
def test_f16_the_estimate_follows_the_tree(limit):
    memory, tree, random = StoreMemory(limit), DataTree(), Random(1)
    acls = [((31, b"digest", b"user%d:hash" % at),) for at in range(20)]
    held = []
    for zxid in range(1, 400):
        if held and random.random() < 0.4:
            tree.apply((1, 0, zxid, 0, op.DELETE, (held.pop(),)))
        else:
            held.append(b"/%d" % zxid)
            record = (held[-1], bytes(random.randrange(900)), random.choice(acls), False, zxid)
            tree.apply((1, 0, zxid, 0, op.CREATE, record))
        memory.measured(tree.memory_bytes())
        least = sum(len(path) + len(node.data or b"") + ZNODE_BYTES for path, node in tree.items())
        assert least <= memory.used_bytes <= least + 20_000
        assert memory.full == (bool(limit) and memory.used_bytes >= (0.95 if memory.full else 1) * limit)
    assert memory.step_bytes == (1 << 62 if not limit else 0 if memory.full else limit // 1024)


def test_f16_the_end_of_the_log_is_kept_only_as_far_as_there_is_memory():
    entries = [Entry(zxid, bytes(100)) for zxid in range(1, 11)]
    history = History(0, entries)
    assert history.keep_bytes(1000, 10) == 1000 and history.holds(0)
    assert history.keep_bytes(350, 10) == 300
    assert history.base_zxid == 7 and history.holds(7) and not history.holds(6) and history.last_zxid == 10
    assert history.keep_bytes(0, 8) == 200  # what is not applied yet stays
    assert [entry.zxid for entry in history.behind(0)] == [9, 10]
    assert history.keep_bytes(0, 10) == 0
    assert history.base_zxid == 10 == history.last_zxid
